/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

#include <stdio.h>

#define ROOT_CN "pri-abcdefgh.consul.ca.11111111.consul"

/* The dotted OIDs of a certificate's extensions, with '!' behind critical ones. */
static void list_extensions(const struct x509 *certificate, char *text, size_t size)
{
    struct der_cursor tbs, wrapped, list;
    struct der_element element;
    struct extension extension;
    size_t used = 0;
    char oid[32];
    text[0] = '\0';
    assert_int_equal(der_enter_only(certificate->object.tbs, DER_SEQUENCE, &tbs), 0);
    while (!der_next_is(&tbs, DER_CONTEXT_CONSTRUCTED(3)))
        assert_int_equal(der_any(&tbs, &element), 0);
    assert_int_equal(der_enter(&tbs, DER_CONTEXT_CONSTRUCTED(3), &wrapped), 0);
    assert_int_equal(der_enter(&wrapped, DER_SEQUENCE, &list), 0);
    while (!extension_read(&list, &extension)) {
        der_oid_text(extension.oid, oid, sizeof oid);
        used += (size_t)snprintf(text + used, size - used, "%s%s ", oid, extension.critical ? "!" : "");
    }
    assert_int_equal(der_end(&list), 0);
}

static void assert_slice(struct der_slice slice, const char *text)
{
    assert_true(der_equal(slice, der_slice(text, strlen(text))));
}

static void root_profile(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, ROOT_CN);
    const struct x509 *x509 = &root.x509;
    char text[X509_ID_TEXT_BYTES];
    char extensions[200];
    assert_true(der_equal(x509->issuer, x509->subject));
    assert_true(x509_common_name(x509, text, sizeof text));
    assert_string_equal(text, ROOT_CN);
    assert_memory_equal(x509->subject.data + 2, "\x31\x2f\x30\x2d\x06\x03\x55\x04\x03\x13\x26",
                        11); /* Printable */
    assert_int_equal(x509->key_usage, X509_DIGITAL_SIGNATURE | X509_KEY_CERT_SIGN | X509_CRL_SIGN);
    assert_true(x509->is_ca);
    assert_int_equal(x509->path_length, -1);
    assert_slice(x509_only_uri(x509), "spiffe://" FIXTURE_TRUST_DOMAIN);
    assert_int_equal(x509->subject_key_id.length, 32);
    assert_memory_equal(x509->subject_key_id.data, key_id(root.key), 32);
    assert_true(der_equal(x509->subject_key_id, x509->authority_key_id));
    assert_int_equal(x509->algorithm, SIGNATURE_ECDSA_SHA256);
    list_extensions(x509, extensions, sizeof extensions);
    assert_string_equal(extensions, "2.5.29.15! 2.5.29.19! 2.5.29.14 2.5.29.35 2.5.29.17 ");
    assert_int_equal(x509_verify_signature(x509, &x509->public_key, NULL), 0);
    assert_int_equal(x509_serial_low64(x509), 7);
    assert_int_equal(x509_root_id(x509, text), 0);
    assert_int_equal(strlen(text), 59);
    fixture_free(&root);
}

static void root_signatures_follow_the_curve(void **state)
{
    static const struct {
        enum key_type type;
        unsigned bits;
        enum signature_algorithm algorithm;
    } cases[] = {
        {KEY_TYPE_EC, 224, SIGNATURE_ECDSA_SHA256}, {KEY_TYPE_EC, 384, SIGNATURE_ECDSA_SHA384},
        {KEY_TYPE_EC, 521, SIGNATURE_ECDSA_SHA512}, {KEY_TYPE_RSA, 2048, SIGNATURE_RSA_SHA256},
        {KEY_TYPE_ED25519, 0, SIGNATURE_ED25519},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture_certificate root = fixture_root(*state, cases[i].type, cases[i].bits, ROOT_CN);
        struct fixture_certificate leaf = fixture_leaf(*state, &root);
        assert_int_equal(root.x509.algorithm, cases[i].algorithm);
        assert_int_equal(leaf.x509.algorithm, signature_default(cases[i].type));
        assert_int_equal(x509_verify_signature(&leaf.x509, &root.x509.public_key, NULL), 0);
        fixture_free(&leaf);
        fixture_free(&root);
    }
}

static void leaf_profile(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, ROOT_CN);
    struct fixture_certificate leaf = fixture_leaf(*state, &root);
    const struct x509 *x509 = &leaf.x509;
    char extensions[200], text[100];
    assert_true(x509->subject_is_empty);
    assert_true(der_equal(x509->issuer, root.x509.subject));
    assert_true(x509->san_extension.critical);
    assert_slice(x509_only_uri(x509), FIXTURE_LEAF_URI);
    assert_int_equal(x509->key_usage, X509_DIGITAL_SIGNATURE | X509_KEY_ENCIPHERMENT |
                                          X509_DATA_ENCIPHERMENT | X509_KEY_AGREEMENT);
    assert_int_equal(x509->eku, X509_EKU_CLIENT_AUTH | X509_EKU_SERVER_AUTH);
    assert_true(der_equal(x509->eku_extension.value,
                          der_slice("\x30\x14\x06\x08" OID_CLIENT_AUTH "\x06\x08" OID_SERVER_AUTH, 22)));
    assert_false(x509->is_ca);
    assert_true(der_equal(x509->basic_constraints_extension.value, der_slice("\x30\x00", 2)));
    assert_true(der_equal(x509->authority_key_id, root.x509.subject_key_id));
    assert_memory_equal(x509->subject_key_id.data, key_id(leaf.key), 32);
    list_extensions(x509, extensions, sizeof extensions);
    assert_string_equal(extensions, "2.5.29.15! 2.5.29.37 2.5.29.19! 2.5.29.14 2.5.29.35 2.5.29.17! ");
    assert_true(x509->not_before == FIXTURE_NOW - 60 && x509->not_after == FIXTURE_NOW + FIXTURE_DAY);
    x509_describe(x509, text, sizeof text);
    assert_string_equal(text, FIXTURE_LEAF_URI);
    assert_true(x509_is_valid_at(x509, x509->not_after));
    assert_false(x509_is_valid_at(x509, x509->not_after + 1));
    fixture_free(&leaf);
    fixture_free(&root);
}

static void leaf_names_are_sorted_and_a_cn_makes_them_uncritical(void **state)
{
    struct ca_thread *thread = *state;
    struct fixture_certificate root = fixture_root(thread, KEY_TYPE_EC, 256, ROOT_CN), leaf = {0};
    struct certificate_issuer issuer = fixture_issuer(&root);
    struct certificate_terms terms = fixture_terms(0x0102);
    struct general_name names[] = {
        general_name_text(GENERAL_NAME_URI, FIXTURE_LEAF_URI),
        {GENERAL_NAME_IP, der_slice("\x7f\x00\x00\x01", 4)},
        general_name_text(GENERAL_NAME_DNS, "b.example"),
        general_name_text(GENERAL_NAME_EMAIL, "a@b.example"),
        general_name_text(GENERAL_NAME_DNS, "a.example"),
    };
    struct certificate_leaf wanted = {"web.svc.default.11111111.consul", key_public(root.key)->spki, names,
                                      5};
    static const enum general_name_type order[] = {GENERAL_NAME_DNS, GENERAL_NAME_DNS, GENERAL_NAME_EMAIL,
                                                   GENERAL_NAME_IP, GENERAL_NAME_URI};
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &leaf.der, &leaf.size, NULL), 0);
    fixture_parse(&leaf);
    struct der_cursor cursor = x509_names(&leaf.x509);
    for (size_t i = 0; i < 5; i++) {
        struct general_name name;
        assert_int_equal(general_name_read(&cursor, &name, false), 0);
        assert_int_equal(name.type, order[i]);
        if (i == 0)
            assert_slice(name.value, "b.example");
    }
    assert_true(der_at_end(&cursor));
    assert_false(leaf.x509.san_extension.critical);
    assert_false(leaf.x509.subject_is_empty);
    char text[16];
    x509_colon_hex(leaf.x509.serial.data, leaf.x509.serial.length, text);
    assert_string_equal(text, "01:02");

    uint8_t *der = NULL;
    size_t size;
    wanted.name_count = 0;
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &der, &size, NULL),
                     ERROR_INVALID);
    wanted.name_count = 5;
    names[2] = general_name_text(GENERAL_NAME_DNS, "");
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &der, &size, NULL),
                     ERROR_INVALID);
    names[2] = (struct general_name){GENERAL_NAME_URI, der_slice("spiffe://td\0evil", 16)};
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &der, &size, NULL),
                     ERROR_INVALID);
    names[2] = general_name_text(GENERAL_NAME_DNS, "b.example");
    terms.serial = 0;
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &der, &size, NULL),
                     ERROR_INVALID);
    terms.serial_bytes = der_slice("\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    assert_int_equal(certificate_make_leaf(thread, &issuer, &wanted, &terms, &der, &size, NULL),
                     ERROR_INVALID);
    assert_null(der);
    fixture_free(&leaf);
    fixture_free(&root);
}

static void intermediate_profile(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 384, ROOT_CN);
    struct fixture_certificate made = fixture_intermediate(*state, &root);
    char extensions[200];
    assert_true(made.x509.subject_is_empty);
    assert_true(made.x509.is_ca);
    assert_int_equal(made.x509.path_length, 0);
    assert_true(made.x509.san_extension.critical);
    assert_slice(x509_only_uri(&made.x509), "spiffe://" FIXTURE_TRUST_DOMAIN);
    assert_int_equal(made.x509.algorithm, SIGNATURE_ECDSA_SHA256); /* whatever the curve */
    assert_true(der_equal(made.x509.authority_key_id, root.x509.subject_key_id));
    list_extensions(&made.x509, extensions, sizeof extensions);
    assert_string_equal(extensions, "2.5.29.15! 2.5.29.19! 2.5.29.14 2.5.29.35 2.5.29.17! ");
    assert_int_equal(x509_verify_signature(&made.x509, &root.x509.public_key, NULL), 0);
    fixture_free(&made);
    fixture_free(&root);
}

static void cross_signed_profile(void **state)
{
    struct fixture_certificate old_root = fixture_root(*state, KEY_TYPE_EC, 384, "old");
    struct fixture_certificate new_root = fixture_root(*state, KEY_TYPE_RSA, 2048, "new");
    struct fixture_certificate cross = fixture_cross(*state, &old_root, &new_root);
    assert_true(der_equal(cross.x509.subject, new_root.x509.subject));
    assert_true(der_equal(cross.x509.issuer, old_root.x509.subject));
    assert_true(der_equal(cross.x509.subject_key_id, new_root.x509.subject_key_id));
    assert_true(der_equal(cross.x509.authority_key_id, old_root.x509.subject_key_id));
    assert_true(der_equal(cross.x509.public_key.spki, new_root.x509.public_key.spki));
    assert_true(der_equal(cross.x509.san_extension.value, new_root.x509.san_extension.value));
    assert_int_equal(cross.x509.algorithm, SIGNATURE_ECDSA_SHA384); /* as the old root's own signature */
    assert_true(cross.x509.is_ca);
    assert_int_equal(x509_verify_signature(&cross.x509, &old_root.x509.public_key, NULL), 0);
    struct certificate_issuer mixed = {&old_root.x509, new_root.key};
    struct certificate_terms terms = fixture_terms(3);
    uint8_t *der;
    size_t size;
    assert_int_equal(certificate_cross_sign(*state, &mixed, &new_root.x509, &terms, &der, &size, NULL),
                     ERROR_CONFLICT);
    fixture_free(&cross);
    fixture_free(&new_root);
    fixture_free(&old_root);
}

static void ca_names(void **state)
{
    char text[CERTIFICATE_COMMON_NAME_MAX_BYTES + 1], other[CERTIFICATE_COMMON_NAME_MAX_BYTES + 1];
    for (int i = 0; i < 50; i++) {
        int uid_length = 0, end = 0;
        assert_int_equal(certificate_ca_common_name(*state, "pri", "consul",
                                                    "11111111-2222-3333-4444-555555555555", text, NULL),
                         0);
        assert_int_equal(sscanf(text, "pri-%*[0-9a-z]%n.consul.ca.11111111.consul%n", &uid_length, &end), 0);
        assert_int_equal(text[end], '\0');
        assert_true(uid_length - 4 == 7 || uid_length - 4 == 8);
    }
    assert_int_equal(certificate_ca_common_name(*state, "pri", "consul", "11111111", other, NULL), 0);
    assert_string_not_equal(text, other);
}

/* Makes a certificate of these extensions and answers how parsing goes. */
static int parse_with(void **state, const struct fixture_extension *extensions, size_t count,
                      struct error *error)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {
        .subject = "x", .issuer = "x", .extensions = extensions, .extension_count = count};
    struct x509 x509;
    size_t size;
    uint8_t *der = fixture_raw(*state, &raw, key, key, &size);
    int result = x509_parse(&x509, der, size, error);
    free(der);
    key_free(key);
    return result;
}

static void refuses_bad_extensions(void **state)
{
    static const struct {
        struct fixture_extension extension;
        int expected;
    } cases[] = {
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false,
                           "\x30\x06\x86\x04"
                           "a://"),
         0},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false,
                           "\x30\x12\x86\x10"
                           "spiffe://td\0evil"),
         ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x02\x82\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x06\x87\x04\x01\x02\x03\x04"), 0},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x07\x87\x05\x01\x02\x03\x04\x05"),
         ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x03\x82\x01\xe9"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x03\xa2\x01\x61"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_SUBJECT_ALT_NAME, false, "\x30\x03\x82\x01\x61\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true, "\x30\x03\x02\x01\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true, "\x30\x03\x01\x01\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true, FIXTURE_CA_TRUE "\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_KEY_USAGE, true, "\x03\x02\x01\x87"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_EXT_KEY_USAGE, false, "\x30\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION(OID_NAME_CONSTRAINTS, true, "\x30\x00"), ERROR_INVALID},
        {FIXTURE_EXTENSION("\x2a\x03\x04", false, "anything"), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        int result = parse_with(state, &cases[i].extension, 1, &error);
        if (result != cases[i].expected)
            fail_msg("case %zu: %d %s", i, result, error.text);
    }
    struct fixture_extension twice[] = {cases[0].extension, cases[0].extension};
    struct error error = {0};
    assert_int_equal(parse_with(state, twice, 2, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "2.5.29.17 occurs twice"));
}

static void notes_unknown_critical_extensions(void **state)
{
    static const struct fixture_extension extension = FIXTURE_EXTENSION("\x2a\x03\x04", true, "anything");
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {.subject = "x", .issuer = "x", .extensions = &extension, .extension_count = 1};
    struct fixture_certificate made = fixture_make(*state, &raw, key, key);
    assert_int_equal(made.x509.unknown_critical_count, 1);
    assert_true(der_equal(made.x509.unknown_critical, der_slice("\x2a\x03\x04", 3)));
    fixture_free(&made);
    key_free(key);
}

/* Each certificate with one byte cut off, added or changed: no crash, and no extra byte accepted. */
static void survives_damage(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, ROOT_CN);
    struct x509 x509;
    uint8_t *copy = malloc(root.size + 1);
    assert_non_null(copy);
    memcpy(copy, root.der, root.size);
    copy[root.size] = 0;
    assert_int_equal(x509_parse(&x509, copy, root.size + 1, NULL), ERROR_INVALID);
    for (size_t length = 0; length < root.size; length++) {
        uint8_t *exact = malloc(length ? length : 1);
        memcpy(exact, root.der, length);
        assert_int_equal(x509_parse(&x509, exact, length, NULL), ERROR_INVALID);
        free(exact);
    }
    size_t accepted = 0;
    for (size_t i = 0; i < root.size; i++) {
        copy[i] ^= 0x41;
        if (x509_parse(&x509, copy, root.size, NULL) == 0) {
            accepted++;
            assert_true(x509_verify_signature(&x509, &root.x509.public_key, NULL) != 0);
        }
        copy[i] ^= 0x41;
    }
    assert_true(accepted > 0); /* changed keys and names still parse; no signature holds over them */
    free(copy);
    fixture_free(&root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_profile),
        cmocka_unit_test(root_signatures_follow_the_curve),
        cmocka_unit_test(leaf_profile),
        cmocka_unit_test(leaf_names_are_sorted_and_a_cn_makes_them_uncritical),
        cmocka_unit_test(intermediate_profile),
        cmocka_unit_test(cross_signed_profile),
        cmocka_unit_test(ca_names),
        cmocka_unit_test(refuses_bad_extensions),
        cmocka_unit_test(notes_unknown_critical_extensions),
        cmocka_unit_test(survives_damage),
    };
    return FIXTURE_RUN(tests);
}

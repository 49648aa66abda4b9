/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

static struct general_name uri_name(void)
{
    return general_name_text(GENERAL_NAME_URI, FIXTURE_LEAF_URI);
}

static void made_requests_check(void **state)
{
    static const struct {
        enum key_type type;
        unsigned bits;
    } kinds[] = {{KEY_TYPE_EC, 256}, {KEY_TYPE_EC, 521}, {KEY_TYPE_RSA, 2048}, {KEY_TYPE_ED25519, 0}};
    struct general_name names[] = {
        uri_name(),
        general_name_text(GENERAL_NAME_DNS, "localhost"),
        {GENERAL_NAME_IP, der_slice("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16)},
    };
    struct csr_request request = {.names = names, .name_count = 3};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct key *key = fixture_key(*state, kinds[i].type, kinds[i].bits);
        struct csr csr;
        struct error error = {0};
        uint8_t *der;
        size_t size;
        assert_int_equal(csr_make(*state, key, &request, &der, &size, NULL), 0);
        if (csr_check(&csr, der, size, &error))
            fail_msg("%s", error.text);
        assert_true(csr.subject_is_empty && csr.san_critical && !csr.wants_ca);
        assert_int_equal(csr.uri_count, 1);
        assert_int_equal(csr.dns_count, 1);
        assert_int_equal(csr.ip_count, 1);
        assert_true(der_equal(csr_only_uri(&csr), names[0].value));
        assert_true(der_equal(csr.public_key.spki, key_public(key)->spki));
        free(der);
        key_free(key);
    }
}

static void refuses_every_changed_byte(void **state)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct general_name name = uri_name();
    struct csr_request request = {.common_name = "web", .names = &name, .name_count = 1, .ca = true};
    struct csr csr;
    uint8_t *der;
    size_t size;
    assert_int_equal(csr_make(*state, key, &request, &der, &size, NULL), 0);
    assert_int_equal(csr_check(&csr, der, size, NULL), 0);
    assert_true(csr.wants_ca && !csr.san_critical && !csr.subject_is_empty);
    for (size_t i = 0; i < size; i++) {
        der[i] ^= 0x21;
        assert_true(csr_check(&csr, der, size, NULL) != 0);
        der[i] ^= 0x21;
    }
    for (size_t length = 0; length < size; length++)
        assert_true(csr_check(&csr, der, length, NULL) != 0);
    free(der);
    key_free(key);
}

/* A request of raw attributes, signed by one key for another's SPKI. */
static int check_raw(void **state, struct der_slice spki, const struct key *signer, const char *attributes,
                     size_t length, struct error *error)
{
    struct der_writer writer;
    uint8_t *info, *der;
    size_t info_size, size;
    struct csr csr;
    der_writer_init(&writer);
    der_write_raw(&writer, attributes, length);
    der_write_slice(&writer, spki);
    certificate_write_name(&writer, NULL);
    der_write_unsigned(&writer, 0);
    der_write_header(&writer, DER_SEQUENCE, 0);
    assert_int_equal(der_writer_take(&writer, &info, &info_size, "test", NULL), 0);
    assert_int_equal(signature_frame(*state, signer, signature_default(key_type(signer)),
                                     der_slice(info, info_size), &der, &size, NULL),
                     0);
    int result = csr_check(&csr, der, size, error);
    free(info);
    free(der);
    return result;
}

#define CHECK_RAW(spki, signer, attributes, error) \
    check_raw(state, spki, signer, attributes, sizeof(attributes) - 1, error)

static void tolerates_foreign_attributes(void **state)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct der_slice spki = key_public(key)->spki;
    struct error error = {0};
    /* 1.3.6.1.4.1.311.13.2.3 with an IA5String */
    if (CHECK_RAW(spki, key,
                  "\xa0\x15\x30\x13\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x0d\x02\x03\x31\x05\x16\x03"
                  "6.1",
                  &error))
        fail_msg("%s", error.text);
    assert_int_equal(CHECK_RAW(spki, key, "\xa0\x00", NULL), 0);
    assert_int_equal(CHECK_RAW(spki, key, "", NULL), 0);
    assert_int_equal(CHECK_RAW(spki, key, "\xa0\x02\x30\x00", NULL), ERROR_INVALID);
    assert_int_equal(CHECK_RAW(spki, key, "\xa0\x00\x05\x00", NULL), ERROR_INVALID);
    key_free(key);
}

static void demands_proof_and_a_sound_key(void **state)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256), *other = fixture_key(*state, KEY_TYPE_EC, 256);
    struct der_slice spki = key_public(key)->spki;
    struct error error = {0};
    uint8_t bent[128];
    assert_int_equal(CHECK_RAW(spki, other, "\xa0\x00", &error), ERROR_CRYPTO);
    assert_non_null(strstr(error.text, "no proof"));
    assert_true(spki.length <= sizeof bent);
    memcpy(bent, spki.data, spki.length);
    bent[spki.length - 1] ^= 1;
    assert_int_equal(CHECK_RAW(der_slice(bent, spki.length), key, "\xa0\x00", &error), ERROR_CRYPTO);
    assert_non_null(strstr(error.text, "not a point"));
    key_free(key);
    key_free(other);
}

static void refuses_short_rsa(void **state)
{
    struct key *rsa = fixture_key(*state, KEY_TYPE_RSA, 2048);
    struct der_writer writer;
    uint8_t modulus[128], *spki;
    size_t size;
    struct error error = {0};
    memset(modulus, 0xf1, sizeof modulus);
    der_writer_init(&writer);
    der_write_unsigned(&writer, 65537);
    der_write_magnitude(&writer, modulus, sizeof modulus);
    der_write_header(&writer, DER_SEQUENCE, 0);
    der_write_raw(&writer, "\x00", 1);
    der_write_header(&writer, DER_BIT_STRING, 0);
    size_t mark = der_writer_mark(&writer);
    der_write_null(&writer);
    der_write_oid(&writer, OID(OID_RSA));
    der_write_header(&writer, DER_SEQUENCE, mark);
    der_write_header(&writer, DER_SEQUENCE, 0);
    assert_int_equal(der_writer_take(&writer, &spki, &size, "test", NULL), 0);
    assert_int_equal(CHECK_RAW(der_slice(spki, size), rsa, "\xa0\x00", &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "RSA of 1024 bits"));
    free(spki);
    key_free(rsa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_requests_check),
        cmocka_unit_test(refuses_every_changed_byte),
        cmocka_unit_test(tolerates_foreign_attributes),
        cmocka_unit_test(demands_proof_and_a_sound_key),
        cmocka_unit_test(refuses_short_rsa),
    };
    return FIXTURE_RUN(tests);
}

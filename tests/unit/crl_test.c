/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

#include "agent/ca/crl.h"

static uint8_t *make(void **state, const struct fixture_certificate *ca, const struct crl_terms *terms,
                     size_t *size)
{
    struct certificate_issuer issuer = fixture_issuer(ca);
    struct error error = {0};
    uint8_t *der = NULL;
    if (crl_make(*state, &issuer, terms, &der, size, &error))
        fail_msg("%s", error.text);
    return der;
}

static const struct crl_terms empty_terms = {
    .number = 5, .this_update = FIXTURE_NOW, .next_update = FIXTURE_NOW + FIXTURE_DAY};

static void written_lists_read_back(void **state)
{
    struct fixture_certificate ca = fixture_root(*state, KEY_TYPE_EC, 256, "ca");
    struct fixture_certificate other = fixture_root(*state, KEY_TYPE_EC, 256, "ca");
    const struct crl_entry entries[] = {
        {der_slice("\x05", 1), FIXTURE_NOW - 10, CRL_KEY_COMPROMISE},
        {der_slice("\xff\x01", 2), FIXTURE_NOW - 5, CRL_UNSPECIFIED},
        {der_slice("\x07", 1), FIXTURE_NOW - 1, CRL_SUPERSEDED},
    };
    struct crl_terms terms = empty_terms;
    struct crl crl;
    struct crl_entry entry;
    size_t size;
    terms.entries = entries;
    terms.entry_count = 3;
    uint8_t *der = make(state, &ca, &terms, &size);
    assert_int_equal(crl_parse(&crl, der, size, NULL), 0);
    assert_int_equal(crl.entry_count, 3);
    assert_true(crl.this_update == terms.this_update && crl.next_update == terms.next_update);
    assert_true(der_equal(crl.number, der_slice("\x05", 1)));
    assert_true(der_equal(crl.authority_key_id, ca.x509.subject_key_id));
    struct der_cursor cursor = crl_entries(&crl);
    for (size_t i = 0; i < 3; i++) {
        assert_true(crl_next(&cursor, &entry));
        assert_true(der_equal(entry.serial, entries[i].serial));
        assert_true(entry.revoked_at == entries[i].revoked_at);
        assert_int_equal(entry.reason, entries[i].reason);
    }
    assert_false(crl_next(&cursor, &entry));
    assert_int_equal(crl_verify(&crl, &ca.x509, NULL), 0);
    assert_int_equal(crl_verify(&crl, &other.x509, NULL), ERROR_DENIED); /* same name, other key id */
    der[size - 1] ^= 1;
    assert_int_equal(crl_parse(&crl, der, size, NULL), 0);
    assert_int_equal(crl_verify(&crl, &ca.x509, NULL), ERROR_CRYPTO);
    free(der);
    fixture_free(&ca);
    fixture_free(&other);
}

static void only_a_crl_signer_counts(void **state)
{
    static const struct fixture_extension extensions[] = {
        FIXTURE_EXT_CA, FIXTURE_EXTENSION(OID_KEY_USAGE, true, "\x03\x02\x02\x04")};
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {
        .subject = "ca", .issuer = "ca", .extensions = extensions, .extension_count = 2};
    struct fixture_certificate ca = fixture_make(*state, &raw, key, key);
    struct crl crl;
    size_t size;
    ca.key = key;
    uint8_t *der = make(state, &ca, &empty_terms, &size);
    assert_int_equal(crl_parse(&crl, der, size, NULL), 0);
    assert_int_equal(crl.entry_count, 0);
    assert_int_equal(crl_verify(&crl, &ca.x509, NULL), ERROR_DENIED);
    free(der);
    fixture_free(&ca);
}

static void an_older_list_does_not_replace(void **state)
{
    struct fixture_certificate ca = fixture_root(*state, KEY_TYPE_EC, 256, "ca");
    struct crl_terms terms = empty_terms;
    struct crl five, two_hundred;
    size_t size_five, size_200;
    uint8_t *der_five = make(state, &ca, &terms, &size_five);
    terms.number = 200; /* compares as a number, not as bytes */
    terms.this_update -= 1000;
    uint8_t *der_200 = make(state, &ca, &terms, &size_200);
    assert_int_equal(crl_parse(&five, der_five, size_five, NULL), 0);
    assert_int_equal(crl_parse(&two_hundred, der_200, size_200, NULL), 0);
    assert_int_equal(crl_check_newer(&two_hundred, &five, NULL), 0);
    assert_int_equal(crl_check_newer(&five, &five, NULL), 0);
    assert_int_equal(crl_check_newer(&five, &two_hundred, NULL), ERROR_CONFLICT);
    free(der_five);
    free(der_200);
    fixture_free(&ca);
}

/* A list whose entries and extensions are given raw. */
static int parse_raw(void **state, const char *entries, size_t entries_length, const char *extensions,
                     size_t extensions_length, bool with_next_update, struct error *error)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct der_writer writer;
    uint8_t *tbs, *der;
    size_t tbs_size, size;
    struct crl crl;
    der_writer_init(&writer);
    if (extensions_length) {
        der_write_raw(&writer, extensions, extensions_length);
        der_write_header(&writer, DER_SEQUENCE, 0);
        der_write_header(&writer, DER_CONTEXT_CONSTRUCTED(0), 0);
    }
    if (entries_length)
        der_write_tlv(&writer, DER_SEQUENCE, entries, entries_length);
    if (with_next_update)
        der_write_time(&writer, FIXTURE_NOW + FIXTURE_DAY);
    der_write_time(&writer, FIXTURE_NOW);
    certificate_write_name(&writer, "ca");
    signature_write_algorithm(&writer, SIGNATURE_ECDSA_SHA256);
    der_write_unsigned(&writer, 1);
    der_write_header(&writer, DER_SEQUENCE, 0);
    assert_int_equal(der_writer_take(&writer, &tbs, &tbs_size, "test", NULL), 0);
    assert_int_equal(
        signature_frame(*state, key, SIGNATURE_ECDSA_SHA256, der_slice(tbs, tbs_size), &der, &size, NULL), 0);
    int result = crl_parse(&crl, der, size, error);
    free(tbs);
    free(der);
    key_free(key);
    return result;
}

#define ENTRY_TIME \
    "\x17\x0d"     \
    "250101000000Z"

static void refuses_what_it_does_not_understand(void **state)
{
    static const struct {
        const char *entries;
        size_t entries_length;
        const char *extensions;
        size_t extensions_length;
        bool with_next_update;
        int expected;
    } cases[] = {
#define CASE(entries, extensions, next, expected) \
    {entries, sizeof(entries) - 1, extensions, sizeof(extensions) - 1, next, expected}
        CASE("", "", true, 0),
        CASE("", "", false, ERROR_INVALID),
        CASE("", "\x30\x09\x06\x03\x2a\x03\x04\x04\x02\x05\x00", true, 0),
        CASE("", "\x30\x0c\x06\x03\x2a\x03\x04\x01\x01\xff\x04\x02\x05\x00", true, ERROR_INVALID),
        /* delta CRL, critical or not */
        CASE("", "\x30\x0d\x06\x03\x55\x1d\x1b\x01\x01\xff\x04\x03\x02\x01\x01", true, ERROR_INVALID),
        CASE("", "\x30\x0a\x06\x03\x55\x1d\x1b\x04\x03\x02\x01\x01", true, ERROR_INVALID),
        /* critical IssuingDistributionPoint */
        CASE("", "\x30\x0c\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x02\x30\x00", true, ERROR_INVALID),
        /* the number twice */
        CASE("",
             "\x30\x0a\x06\x03\x55\x1d\x14\x04\x03\x02\x01\x01\x30\x0a\x06\x03\x55\x1d\x14\x04\x03\x02\x01"
             "\x01",
             true, ERROR_INVALID),
        CASE("\x30\x12\x02\x01\x05" ENTRY_TIME, "", true, 0),
        CASE("\x30\x12\x02\x01\x85" ENTRY_TIME, "", true, ERROR_INVALID),
        CASE("\x30\x13\x02\x01\x05" ENTRY_TIME "\x05", "", true, ERROR_INVALID),
        /* reason 1; reason 7, which is unused; removeFromCRL */
        CASE("\x30\x20\x02\x01\x05" ENTRY_TIME "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x01", "",
             true, 0),
        CASE("\x30\x20\x02\x01\x05" ENTRY_TIME "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x07", "",
             true, ERROR_INVALID),
        CASE("\x30\x20\x02\x01\x05" ENTRY_TIME "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x08", "",
             true, ERROR_INVALID),
        /* critical certificateIssuer on an entry */
        CASE("\x30\x22\x02\x01\x05" ENTRY_TIME
             "\x30\x0e\x30\x0c\x06\x03\x55\x1d\x1d\x01\x01\xff\x04\x02\x30\x00",
             "", true, ERROR_INVALID),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        int result = parse_raw(state, cases[i].entries, cases[i].entries_length, cases[i].extensions,
                               cases[i].extensions_length, cases[i].with_next_update, &error);
        if (result != cases[i].expected)
            fail_msg("case %zu: %d %s", i, result, error.text);
    }
}

static void large_lists(void **state)
{
    enum { COUNT = 20000 };
    struct fixture_certificate ca = fixture_root(*state, KEY_TYPE_EC, 256, "ca");
    struct crl_entry *entries = calloc(COUNT, sizeof *entries);
    uint8_t(*serials)[3] = calloc(COUNT, 3);
    struct crl_terms terms = empty_terms;
    struct crl crl;
    struct crl_entry entry;
    size_t size, count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        serials[i][0] = 1;
        serials[i][1] = (uint8_t)(i >> 8);
        serials[i][2] = (uint8_t)i;
        entries[i] = (struct crl_entry){der_slice(serials[i], 3), FIXTURE_NOW, CRL_CESSATION_OF_OPERATION};
    }
    terms.entries = entries;
    terms.entry_count = COUNT;
    uint8_t *der = make(state, &ca, &terms, &size);
    assert_int_equal(crl_parse(&crl, der, size, NULL), 0);
    assert_int_equal(crl_verify(&crl, &ca.x509, NULL), 0);
    for (struct der_cursor cursor = crl_entries(&crl); crl_next(&cursor, &entry); count++)
        assert_true(der_equal(entry.serial, entries[count].serial));
    assert_int_equal(count, COUNT);
    free(der);
    free(serials);
    free(entries);
    fixture_free(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_lists_read_back),
        cmocka_unit_test(only_a_crl_signer_counts),
        cmocka_unit_test(an_older_list_does_not_replace),
        cmocka_unit_test(refuses_what_it_does_not_understand),
        cmocka_unit_test(large_lists),
    };
    return FIXTURE_RUN(tests);
}

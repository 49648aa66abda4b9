/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/ca/pem.h"

#if defined(__SANITIZE_ADDRESS__)
#    define UNDER_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#    define UNDER_ADDRESS_SANITIZER __has_feature(address_sanitizer)
#else
#    define UNDER_ADDRESS_SANITIZER 0
#endif

static const struct {
    enum key_type type;
    unsigned bits;
    const char *label;
} kinds[] = {
    {KEY_TYPE_EC, 224, PEM_EC_PRIVATE_KEY},    {KEY_TYPE_EC, 256, PEM_EC_PRIVATE_KEY},
    {KEY_TYPE_EC, 384, PEM_EC_PRIVATE_KEY},    {KEY_TYPE_EC, 521, PEM_EC_PRIVATE_KEY},
    {KEY_TYPE_RSA, 2048, PEM_RSA_PRIVATE_KEY}, {KEY_TYPE_ED25519, 256, PEM_PRIVATE_KEY},
};

static void export_and_import(struct ca_thread *thread, const struct key *key, enum key_format format,
                              const char *label)
{
    char *text, head[64];
    size_t size;
    struct key *back;
    struct error error = {0};
    assert_int_equal(key_export_pem(key, format, &text, &size, NULL), 0);
    snprintf(head, sizeof head, "-----BEGIN %s-----\n", label);
    assert_memory_equal(text, head, strlen(head));
    if (key_import_pem(thread, text, size, &back, &error))
        fail_msg("%s", error.text);
    assert_int_equal(key_type(back), key_type(key));
    assert_int_equal(key_bits(back), key_bits(key));
    assert_memory_equal(key_id(back), key_id(key), KEY_ID_BYTES);
    assert_true(der_equal(key_secret(back), key_secret(key)));
    assert_true(der_equal(key_public(back)->spki, key_public(key)->spki));
    key_free(back);
    pem_free_secret(text, size);
}

static void every_kind_round_trips_and_signs(void **state)
{
    struct ca_thread *thread = *state;
    struct der_slice message = der_slice("hello", 5), other = der_slice("hellp", 5);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct key *key = fixture_key(thread, kinds[i].type, kinds[i].bits);
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size;
        export_and_import(thread, key, KEY_FORMAT_TRADITIONAL, kinds[i].label);
        export_and_import(thread, key, KEY_FORMAT_PKCS8, PEM_PRIVATE_KEY);
        assert_int_equal(public_key_check(key_public(key), NULL), 0);
        enum signature_algorithm algorithm = signature_of_root(kinds[i].type, kinds[i].bits);
        assert_int_equal(signature_make(thread, key, algorithm, message, signature, &size, NULL), 0);
        assert_int_equal(
            signature_verify(key_public(key), algorithm, message, der_slice(signature, size), NULL), 0);
        assert_int_equal(signature_verify(key_public(key), algorithm, other, der_slice(signature, size),
                                          NULL),
                         ERROR_CRYPTO);
        signature[size / 2] ^= 1;
        assert_int_equal(signature_verify(key_public(key), algorithm, message, der_slice(signature, size),
                                          NULL),
                         ERROR_CRYPTO);
        assert_int_equal(signature_verify(key_public(key), algorithm, message, der_slice(signature, 0), NULL),
                         ERROR_CRYPTO);
        key_free(key);
    }
}

static void algorithm_must_fit_the_key(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key = fixture_key(thread, KEY_TYPE_EC, 256);
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size;
    assert_int_equal(signature_make(thread, key, SIGNATURE_RSA_SHA256, der_slice("x", 1), signature, &size,
                                    NULL),
                     ERROR_INVALID);
    assert_int_equal(signature_make(thread, key, SIGNATURE_UNKNOWN, der_slice("x", 1), signature, &size,
                                    NULL),
                     ERROR_INVALID);
    assert_int_equal(
        signature_make(thread, key, SIGNATURE_ECDSA_SHA256, der_slice("x", 1), signature, &size, NULL), 0);
    assert_int_equal(signature_verify(key_public(key), SIGNATURE_ED25519, der_slice("x", 1),
                                      der_slice(signature, size), NULL),
                     ERROR_CRYPTO);
    /* Bytes after the ECDSA value would make a second encoding of the same signature. */
    signature[size] = 0;
    assert_int_equal(signature_verify(key_public(key), SIGNATURE_ECDSA_SHA256, der_slice("x", 1),
                                      der_slice(signature, size + 1), NULL),
                     ERROR_CRYPTO);
    key_free(key);
}

/* The private key and the first P-256 example of RFC 6979, A.2.5. */
static const char rfc6979_scalar[] = "\xC9\xAF\xA9\xD8\x45\xBA\x75\x16\x6B\x5C\x21\x57\x67\xB1\xD6\x93"
                                     "\x4E\x50\xC3\xDB\x36\xE8\x9B\x12\x7B\x8A\x62\x2B\x12\x0F\x67\x21";
static const char rfc6979_r[] = "\xEF\xD4\x8B\x2A\xAC\xB6\xA8\xFD\x11\x40\xDD\x9C\xD4\x5E\x81\xD6"
                                "\x9D\x2C\x87\x7B\x56\xAA\xF9\x91\xC3\x4D\x0E\xA8\x4E\xAF\x37\x16";
static const char rfc6979_s[] = "\xF7\xCB\x1C\x94\x2D\x65\x7C\x41\xD4\x36\xC7\xA1\xB6\xE2\x9F\x65"
                                "\xF3\xE9\x00\xDB\xB9\xAF\xF4\x06\x4D\xC4\xAB\x2F\x84\x3A\xCD\xA8";

/* ECPrivateKey on P-256 without a public point, or with the one given. */
static int import_scalar(struct ca_thread *thread, const char *scalar, size_t length, struct der_slice point,
                         struct key **key, struct error *error)
{
    struct der_writer writer;
    uint8_t *der;
    size_t size;
    der_writer_init(&writer);
    if (point.data) {
        der_write_bit_string(&writer, point.data, point.length);
        der_write_header(&writer, DER_CONTEXT_CONSTRUCTED(1), 0);
    }
    size_t mark = der_writer_mark(&writer);
    der_write_oid(&writer, OID(OID_P256));
    der_write_header(&writer, DER_CONTEXT_CONSTRUCTED(0), mark);
    der_write_tlv(&writer, DER_OCTET_STRING, scalar, length);
    der_write_unsigned(&writer, 1);
    der_write_header(&writer, DER_SEQUENCE, 0);
    assert_int_equal(der_writer_take(&writer, &der, &size, "test", NULL), 0);
    int result = key_import_der(thread, der, size, key, error);
    free(der);
    return result;
}

static void p256_signatures_are_deterministic(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size;
    struct der_cursor inner;
    struct der_slice r, s;
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, (struct der_slice){0}, &key, NULL), 0);
    assert_int_equal(key_public(key)->point.data[1], 0x60);
    assert_int_equal(signature_make(thread, key, SIGNATURE_ECDSA_SHA256, der_slice("sample", 6), signature,
                                    &size, NULL),
                     0);
    assert_int_equal(der_enter_only(der_slice(signature, size), DER_SEQUENCE, &inner), 0);
    assert_int_equal(der_integer(&inner, &r), 0);
    assert_int_equal(der_integer(&inner, &s), 0);
    assert_true(der_equal(der_magnitude(r), der_slice(rfc6979_r, 32)));
    assert_true(der_equal(der_magnitude(s), der_slice(rfc6979_s, 32)));
    key_free(key);
}

static void refuses_a_foreign_public_point(void **state)
{
    struct ca_thread *thread = *state;
    struct key *other = fixture_key(thread, KEY_TYPE_EC, 256), *key = NULL, *good;
    struct error error = {0};
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, key_public(other)->point, &key, &error),
                     ERROR_INVALID);
    assert_non_null(strstr(error.text, "another key"));
    assert_null(key);
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, (struct der_slice){0}, &good, NULL), 0);
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, key_public(good)->point, &key, NULL), 0);
    key_free(key);
    uint8_t compressed[33];
    memcpy(compressed, key_public(good)->point.data, 33);
    compressed[0] = (uint8_t)(2 + (key_public(good)->point.data[64] & 1));
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, der_slice(compressed, 33), &key, NULL), 0);
    key_free(key);
    compressed[0] ^= 1;
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 32, der_slice(compressed, 33), &key, NULL),
                     ERROR_INVALID);
    key_free(good);
    key_free(other);
}

static void refuses_bad_scalars(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key;
    char zero[33] = {0}, order[33];
    memset(order, 0xff, sizeof order);
    assert_int_equal(import_scalar(thread, zero, 32, (struct der_slice){0}, &key, NULL), ERROR_CRYPTO);
    assert_int_equal(import_scalar(thread, order, 32, (struct der_slice){0}, &key, NULL), ERROR_CRYPTO);
    assert_int_equal(import_scalar(thread, order, 33, (struct der_slice){0}, &key, NULL), ERROR_INVALID);
    assert_int_equal(import_scalar(thread, order, 0, (struct der_slice){0}, &key, NULL), ERROR_INVALID);
    /* A scalar written without its leading zeros is padded. */
    assert_int_equal(import_scalar(thread, rfc6979_scalar, 20, (struct der_slice){0}, &key, NULL), 0);
    assert_int_equal(key_secret(key).length, 32);
    key_free(key);
}

/* RSA whose CRT value is wrong signs wrongly, which would give a factor away. */
static void refuses_damaged_rsa(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key = fixture_key(thread, KEY_TYPE_RSA, 2048), *back;
    uint8_t *der;
    size_t size;
    assert_int_equal(key_export_der(key, KEY_FORMAT_TRADITIONAL, &der, &size, NULL), 0);
    der[size - 1] ^= 1; /* qInv */
    assert_true(key_import_der(thread, der, size, &back, NULL) < 0);
    der[size - 1] ^= 1;
    assert_int_equal(key_import_der(thread, der, size - 1, &back, NULL), ERROR_INVALID);
    assert_int_equal(key_import_der(thread, der, size, &back, NULL), 0);
    key_free(back);
    pem_free_secret(der, size);
    key_free(key);
}

static void refuses_what_is_no_key(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key;
    struct error error = {0};
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nQUJD\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_int_equal(key_import_pem(thread, encrypted, strlen(encrypted), &key, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "decrypt it"));
    assert_int_equal(key_import_pem(thread, "", 0, &key, NULL), ERROR_INVALID);
    assert_int_equal(key_import_der(thread, (const uint8_t *)"\x30\x00", 2, &key, NULL), ERROR_INVALID);
    assert_int_equal(key_generate(thread, KEY_TYPE_EC, 192, &key, NULL), ERROR_INVALID);
    assert_int_equal(key_generate(thread, KEY_TYPE_RSA, 1024, &key, NULL), ERROR_INVALID);
}

static void off_curve_points_fail_the_check(void **state)
{
    struct ca_thread *thread = *state;
    struct key *key = fixture_key(thread, KEY_TYPE_EC, 256);
    struct der_slice spki = key_public(key)->spki;
    uint8_t bytes[128];
    struct public_key parsed;
    assert_true(spki.length <= sizeof bytes);
    memcpy(bytes, spki.data, spki.length);
    assert_int_equal(public_key_parse(&parsed, der_slice(bytes, spki.length), NULL), 0);
    assert_int_equal(public_key_check(&parsed, NULL), 0);
    bytes[spki.length - 1] ^= 1;
    assert_int_equal(public_key_parse(&parsed, der_slice(bytes, spki.length), NULL), 0);
    assert_int_equal(public_key_check(&parsed, NULL), ERROR_CRYPTO);
    assert_int_equal(public_key_parse(&parsed, der_slice(bytes, spki.length - 1), NULL), ERROR_INVALID);
    key_free(key);
}

static void forked_generators_differ(void **state)
{
    struct ca_thread *thread = *state;
    uint8_t ours[32], theirs[32];
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        if (ca_thread_random(thread, ours, sizeof ours, NULL) ||
            write(pipe_fds[1], ours, sizeof ours) != (ssize_t)sizeof ours)
            _exit(1);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(ca_thread_random(thread, ours, sizeof ours, NULL), 0);
    assert_int_equal(read(pipe_fds[0], theirs, sizeof theirs), sizeof theirs);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_memory_not_equal(ours, theirs, sizeof ours);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static long resident_pages(void)
{
    long total, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return resident;
}

static void *sign_in_a_thread(void *key)
{
    struct ca_thread *thread = ca_thread_create(NULL);
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size;
    bool good = thread;
    for (int i = 0; i < 3; i++) /* the second use of a key builds its table */
        good =
            good &&
            !signature_make(thread, key, SIGNATURE_ECDSA_SHA256, der_slice("x", 1), signature, &size, NULL) &&
            !signature_verify(key_public(key), SIGNATURE_ECDSA_SHA256, der_slice("x", 1),
                              der_slice(signature, size), NULL);
    ca_thread_free(thread);
    return good ? key : NULL;
}

/* Without wc_ecc_fp_free() each thread leaves more than a megabyte behind. */
static void ended_threads_leave_nothing(void **state)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    long before = 0;
    for (int i = 0; i < 40; i++) {
        pthread_t thread;
        void *result;
        assert_int_equal(pthread_create(&thread, NULL, sign_in_a_thread, key), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, key);
        if (i == 9)
            before = resident_pages();
    }
    /* The sanitizer's quarantine keeps freed memory; it reports leaks by itself. */
    if (!UNDER_ADDRESS_SANITIZER)
        assert_true(resident_pages() - before < 8 << 20 >> 12);
    key_free(key);
}

/* One key, several threads: each decodes its own copy. */
static void keys_are_shared_by_threads(void **state)
{
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    pthread_t threads[4];
    void *result;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_in_a_thread, key), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, key);
    }
    key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_round_trips_and_signs),
        cmocka_unit_test(algorithm_must_fit_the_key),
        cmocka_unit_test(p256_signatures_are_deterministic),
        cmocka_unit_test(refuses_a_foreign_public_point),
        cmocka_unit_test(refuses_bad_scalars),
        cmocka_unit_test(refuses_damaged_rsa),
        cmocka_unit_test(refuses_what_is_no_key),
        cmocka_unit_test(off_curve_points_fail_the_check),
        cmocka_unit_test(forked_generators_differ),
        cmocka_unit_test(ended_threads_leave_nothing),
        cmocka_unit_test(keys_are_shared_by_threads),
    };
    return FIXTURE_RUN(tests);
}

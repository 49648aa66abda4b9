/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ca/pem.h"

static void round_trip_of_every_length(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 3);
    for (size_t length = 1; length <= sizeof bytes; length++) {
        char *text;
        uint8_t *der;
        size_t size, der_size;
        assert_int_equal(pem_encode(PEM_CERTIFICATE, bytes, length, &text, &size, NULL), 0);
        assert_int_equal(strlen(text), size);
        assert_int_equal(text[size - 1], '\n');
        for (char *line = text; *line; line = strchr(line, '\n') + 1)
            assert_true(strcspn(line, "\n") <= 64);
        assert_int_equal(pem_decode_only(text, size, PEM_CERTIFICATE, &der, &der_size, NULL), 0);
        assert_int_equal(der_size, length);
        assert_memory_equal(der, bytes, length);
        free(text);
        free(der);
    }
}

/* The text that every encoder writes, so that a mistake in both directions would show. */
static void known_text(void **state)
{
    (void)state;
    uint8_t bytes[66];
    char *text;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 4 + 1);
    bytes[0] = 0xfb;
    bytes[1] = 0xff;
    assert_int_equal(pem_encode("X509 CRL", bytes, 50, &text, NULL, NULL), 0);
    assert_string_equal(text, "-----BEGIN X509 CRL-----\n"
                              "+/8JDREVGR0hJSktMTU5PUFFSU1RVVldYWVpbXF1eX2BhYmNkZWZnaGlqa2xtbm9\n"
                              "wcU=\n"
                              "-----END X509 CRL-----\n");
    free(text);
}

static int read_all(const char *text, struct error *error)
{
    struct pem_reader reader;
    struct pem_block block;
    int count = 0, more;
    assert_int_equal(pem_reader_init(&reader, text, strlen(text), error), 0);
    while ((more = pem_next(&reader, &block, error)) > 0) {
        count++;
        pem_block_free(&block);
    }
    return more < 0 ? more : count;
}

static void bundles_and_explanations(void **state)
{
    (void)state;
    assert_int_equal(read_all("", NULL), 0);
    assert_int_equal(read_all("nothing here\n", NULL), 0);
    assert_int_equal(read_all("subject: x\n-----BEGIN A-----\r\nQUJD\r\n-----END A-----\r\nmore\n"
                              "-----BEGIN B-----\nQUI=\n-----END B-----",
                              NULL),
                     2);
}

static void refuses_bad_blocks(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "-----BEGIN A-----\nQUJD\n",                      /* no end */
        "-----BEGIN A-----\nQUJD\n-----END B-----\n",     /* other label */
        "-----BEGIN A-----\n-----END A-----\n",           /* empty */
        "-----BEGIN A-----\nQUJ\n-----END A-----\n",      /* padding missing */
        "-----BEGIN A-----\nQUJDQ\n-----END A-----\n",    /* one digit left */
        "-----BEGIN A-----\nQUJ=QUJD\n-----END A-----\n", /* after padding */
        "-----BEGIN A-----\nQQ=A\n-----END A-----\n",     /* digit after '=' */
        "-----BEGIN A-----\nQ===\n-----END A-----\n",     /* too much padding */
        "-----BEGIN A-----\nQR==\n-----END A-----\n",     /* stray bits */
        "-----BEGIN A-----\nQU-_\n-----END A-----\n",     /* base64url */
        "-----BEGIN A-----\nQU JD\n-----END A-----\n",    /* inner space */
        "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nQUJD\n-----END A-----\n",
        "-----BEGIN A----\nQUJD\n-----END A-----\n", /* short dashes */
        "-----END A-----\n",                         /* stray end */
        "-----BEGIN A-----\nQUJD\n-----BEGIN A-----\nQUJD\n-----END A-----\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error error = {0};
        int result = read_all(bad[i], &error);
        if (result != ERROR_INVALID)
            fail_msg("case %zu: %d", i, result);
        assert_non_null(strstr(error.text, "PEM"));
    }
}

static void only_one_of_the_label(void **state)
{
    (void)state;
    static const char two[] =
        "-----BEGIN A-----\nQUJD\n-----END A-----\n-----BEGIN A-----\nQUJD\n-----END A-----\n";
    uint8_t *der;
    size_t size;
    assert_int_equal(pem_decode_only(two, strlen(two), "A", &der, &size, NULL), ERROR_INVALID);
    assert_int_equal(pem_decode_only(two, strlen(two) / 2, "B", &der, &size, NULL), ERROR_INVALID);
    assert_int_equal(pem_decode_only("", 0, "A", &der, &size, NULL), ERROR_INVALID);
    assert_int_equal(pem_decode_only(two, strlen(two) / 2, "A", &der, &size, NULL), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(der, "ABC", 3);
    free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_of_every_length), cmocka_unit_test(known_text),
        cmocka_unit_test(bundles_and_explanations),   cmocka_unit_test(refuses_bad_blocks),
        cmocka_unit_test(only_one_of_the_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

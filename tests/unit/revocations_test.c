/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/revocations.h"

static const uint8_t issuer_a[] = {0xa, 1}, issuer_b[] = {0xb, 2};

static struct revocation *make(const uint8_t *issuer, size_t issuer_size, uint32_t serial, uint32_t reason,
                               int64_t expires_at)
{
    const uint8_t octets[] = {(uint8_t)(serial >> 24), (uint8_t)(serial >> 16), (uint8_t)(serial >> 8),
                              (uint8_t)serial};
    struct revocation *made = NULL;
    struct error error;
    assert_int_equal(revocation_make(issuer, issuer_size, octets, sizeof octets, reason, 100, expires_at, 5,
                                     &made, &error),
                     0);
    return made;
}

static void issuers_are_told_apart(void **state)
{
    struct revocations *set = revocations_new(1);
    const uint8_t serial[] = {0, 0, 7}, other[] = {8};
    (void)state;
    assert_null(revocations_put(set, make(issuer_a, 2, 7, 1, 0)));
    assert_non_null(revocations_find(set, issuer_a, 2, serial, 3));
    assert_non_null(revocations_find(set, NULL, 0, serial, 3));
    assert_null(revocations_find(set, issuer_b, 2, serial, 3));
    assert_null(revocations_find(set, issuer_a, 1, serial, 3));
    assert_null(revocations_find(set, issuer_a, 2, other, 1));
    assert_null(revocations_get(set, NULL, 0, serial, 3));
    assert_null(revocations_put(set, make(NULL, 0, 7, 4, 0)));
    assert_int_equal(revocations_find(set, issuer_b, 2, serial, 3)->reason, 4);
    assert_int_equal(revocations_get(set, issuer_a, 2, serial, 3)->reason, 1);
    assert_int_equal(revocations_count(set), 2);
    struct revocation *old = revocations_put(set, make(issuer_a, 2, 7, 3, 0));
    assert_int_equal(old->reason, 1);
    revocation_free(old);
    assert_int_equal(revocations_count(set), 2);
    revocation_free(revocations_remove(set, NULL, 0, serial, 3));
    assert_null(revocations_find(set, issuer_b, 2, serial, 3));
    assert_null(revocations_remove(set, NULL, 0, serial, 3));
    assert_int_equal(revocations_get(set, issuer_a, 2, serial, 3)->reason, 3);
    revocations_free(set);
}

struct pruned {
    size_t count;
    uint32_t sum;
};

static void note_pruned(void *argument, const struct revocation *revocation)
{
    struct pruned *pruned = argument;
    pruned->count++;
    pruned->sum += revocation_serial(revocation)[0];
}

static int count_all(void *argument, const struct revocation *revocation)
{
    (void)revocation;
    return ++*(int *)argument == 2 ? 9 : 0;
}

static void expired_ones_are_pruned(void **state)
{
    struct revocations *set = revocations_new(1);
    struct pruned pruned = {0};
    int seen = 0;
    (void)state;
    revocations_put(set, make(issuer_a, 2, 1, 0, 50));
    revocations_put(set, make(issuer_a, 2, 2, 0, 60));
    revocations_put(set, make(issuer_a, 2, 3, 0, 61));
    revocations_put(set, make(issuer_a, 2, 4, 0, 0));
    assert_int_equal(revocations_for_each(set, count_all, &seen), 9);
    assert_int_equal(seen, 2);
    assert_int_equal(revocations_prune(set, 60, note_pruned, &pruned), 1);
    assert_int_equal(pruned.sum, 1);
    assert_int_equal(revocations_prune(set, 62, note_pruned, &pruned), 2);
    assert_int_equal(pruned.sum, 6);
    assert_int_equal(revocations_prune(set, INT64_MAX, NULL, NULL), 0);
    assert_int_equal(revocations_count(set), 1);
    revocations_free(set);
}

static void faults_are_refused(void **state)
{
    uint8_t octets[40] = {1};
    struct revocation *made = NULL;
    struct error error;
    (void)state;
    assert_int_equal(revocation_make(NULL, 0, NULL, 0, 0, 0, 0, 0, &made, &error), ERROR_INVALID);
    assert_int_equal(revocation_make(NULL, 0, octets, 21, 0, 0, 0, 0, &made, &error), ERROR_INVALID);
    assert_int_equal(revocation_make(octets, 33, octets, 20, 0, 0, 0, 0, &made, &error), ERROR_INVALID);
    assert_int_equal(revocation_make(NULL, 0, octets, 20, 7, 0, 0, 0, &made, &error), ERROR_INVALID);
    assert_int_equal(revocation_make(NULL, 0, octets, 20, 11, 0, 0, 0, &made, &error), ERROR_INVALID);
    assert_null(made);
    octets[0] = 0;
    assert_int_equal(revocation_make(octets, 32, octets, 40, 10, 0, 0, 0, &made, &error), 0);
    assert_int_equal(made->serial_size, 1);
    revocation_free(made);
}

static void reads(const char *text, enum revocation_serial_form form, const char *expected)
{
    uint8_t serial[REVOCATION_SERIAL_MAX];
    size_t size;
    char found[2 * REVOCATION_SERIAL_MAX + 1] = "";
    struct error error = {0};
    if (revocation_parse_serial(text, form, serial, &size, &error) != 0)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < size; i++)
        snprintf(found + 2 * i, 3, "%02x", serial[i]);
    assert_string_equal(found, expected);
}

static void serials_are_read(void **state)
{
    (void)state;
    for (enum revocation_serial_form form = REVOCATION_SERIAL_HEX; form <= REVOCATION_SERIAL_EITHER; form++) {
        reads("00:0a:1B", form, "0a1b");
        reads("0a-1b", form, "0a1b");
        reads("0A1B", form, "0a1b");
        reads("a1b", form, "0a1b");
        reads("0x10", form, "10");
        reads("decimal:10", form, "0a");
        reads("0", form, "00");
        reads("09", form, "09");
        reads("decimal:1461501637330902918203684832716283019655932542975", form,
              "ffffffffffffffffffffffffffffffffffffffff");
        reads("00:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff", form,
              "ffffffffffffffffffffffffffffffffffffffff");
    }
    reads("10", REVOCATION_SERIAL_HEX, "10");
    reads("10", REVOCATION_SERIAL_DECIMAL, "0a");
    reads("18446744073709551616", REVOCATION_SERIAL_DECIMAL, "010000000000000000");
}

static void bad_serials_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ":",
                                      "0a:",
                                      ":0a",
                                      "0a:1",
                                      "0a::1b",
                                      "0a:1b-2c",
                                      "0x",
                                      "xyz",
                                      "decimal:",
                                      "decimal:a",
                                      "-1",
                                      "0a 1b",
                                      "decimal:1461501637330902918203684832716283019655932542976",
                                      "01:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff",
                                      "00:00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15"};
    uint8_t serial[REVOCATION_SERIAL_MAX];
    size_t size = 77;
    struct error error = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (revocation_parse_serial(bad[i], REVOCATION_SERIAL_HEX, serial, &size, &error) != ERROR_INVALID)
            fail_msg("\"%s\" was read", bad[i]);
        assert_int_equal(size, 77);
    }
    assert_int_equal(revocation_parse_serial("10", REVOCATION_SERIAL_EITHER, serial, &size, &error),
                     ERROR_INVALID);
    assert_string_equal(error.text, "serial number \"10\" may be hexadecimal or decimal; write \"0x10\" or "
                                    "\"decimal:10\"");
}

static void issuer_key_ids_are_read(void **state)
{
    uint8_t id[REVOCATION_ISSUER_MAX];
    size_t size = 5;
    struct error error;
    (void)state;
    assert_int_equal(revocation_parse_issuer_key_id("", id, &size, &error), 0);
    assert_int_equal(size, 0);
    assert_int_equal(revocation_parse_issuer_key_id("0a:01", id, &size, &error), 0);
    assert_int_equal(size, 2);
    assert_memory_equal(id, issuer_a, 2);
    assert_int_equal(revocation_parse_issuer_key_id("000A01", id, &size, &error), 0);
    assert_int_equal(size, 3);
    assert_int_equal(revocation_parse_issuer_key_id("a01", id, &size, &error), ERROR_INVALID);
    assert_int_equal(revocation_parse_issuer_key_id("keyid:0a:01", id, &size, &error), ERROR_INVALID);
}

static void reasons_have_names(void **state)
{
    uint32_t reason;
    struct error error;
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        char number[4];
        snprintf(number, sizeof number, "%u", (unsigned)i);
        const char *name = revocation_reason_name(i);
        if (i == 7 || i > 10) {
            assert_null(name);
            assert_int_equal(revocation_parse_reason(number, &reason, &error), ERROR_INVALID);
            continue;
        }
        assert_int_equal(revocation_parse_reason(name, &reason, &error), 0);
        assert_int_equal(reason, i);
        assert_int_equal(revocation_parse_reason(number, &reason, &error), 0);
        assert_int_equal(reason, i);
    }
    assert_string_equal(revocation_reason_name(1), "keyCompromise");
    assert_int_equal(revocation_parse_reason("KEYCOMPROMISE", &reason, &error), 0);
    assert_int_equal(revocation_parse_reason(":", &reason, &error), ERROR_INVALID);
    assert_int_equal(revocation_parse_reason("", &reason, &error), ERROR_INVALID);
}

static void rows_carry_everything(void **state)
{
    struct revocation *made = make(issuer_b, 2, 0x1234, 9, 300), *again;
    struct store_revocation row;
    struct error error;
    (void)state;
    revocation_to_store(made, &row);
    assert_int_equal(row.serial.size, 2);
    assert_int_equal(revocation_from_store(&row, &again, &error), 0);
    assert_memory_equal(revocation_issuer_key_id(again), issuer_b, 2);
    assert_memory_equal(revocation_serial(again), "\x12\x34", 2);
    assert_int_equal(again->reason, 9);
    assert_true(again->revoked_at == 100 && again->expires_at == 300 && again->index == 5);
    revocation_free(again);
    revocation_free(made);
}

static void hundred_thousand_come_and_go(void **state)
{
    enum { COUNT = 100000 };
    struct revocations *set = revocations_new(9);
    struct pruned pruned = {0};
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_null(revocations_put(set, make(issuer_a, 2, i, 0, 1 + i % 2)));
    assert_int_equal(revocations_count(set), COUNT);
    assert_int_equal(revocations_prune(set, 2, note_pruned, &pruned), COUNT / 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint8_t serial[] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct revocation *found = revocations_remove(set, issuer_a, 2, serial, 3);
        assert_true((found != NULL) == (i % 2 == 1));
        revocation_free(found);
    }
    assert_int_equal(revocations_count(set), 0);
    revocations_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(issuers_are_told_apart),       cmocka_unit_test(expired_ones_are_pruned),
        cmocka_unit_test(faults_are_refused),           cmocka_unit_test(serials_are_read),
        cmocka_unit_test(bad_serials_are_refused),      cmocka_unit_test(issuer_key_ids_are_read),
        cmocka_unit_test(reasons_have_names),           cmocka_unit_test(rows_carry_everything),
        cmocka_unit_test(hundred_thousand_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

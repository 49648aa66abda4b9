/* SPDX-License-Identifier: MIT */
/* Revocations: whom an entry meets, by issuer and serial, and what comes and goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/unit/harness.h"

static struct harness harness;

static int open_harness(void **state)
{
    (void)state;
    harness_open(&harness, 64u << 20);
    harness_set(&harness, "web", "db", POLICY_ALLOW);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

static int is_revoked(const char *issuer, const void *serial, size_t size)
{
    struct xylem_target target;
    struct xylem_verdict verdict;
    const char *uri = HARNESS_PREFIX "web";
    struct xylem_peer peer = {
        {(const uint8_t *)uri, strlen(uri)}, {serial, size}, {(const uint8_t *)issuer, strlen(issuer)}};
    MUST(xylem_target_init(&target, "db") == XYLEM_OK);
    int allow = xylem_authorize_peer(harness.reader, &target, &peer, &verdict);
    assert_int_equal(allow, verdict.why != XYLEM_WHY_REVOKED);
    assert_int_equal(verdict.why == XYLEM_WHY_REVOKED || verdict.why == XYLEM_WHY_INTENTION, 1);
    return !allow;
}

static int put_on_list(const char *issuer, const void *serial, size_t size)
{
    return policy_revoke(harness.policy, *issuer ? (const uint8_t *)issuer : NULL, strlen(issuer), serial,
                         size, 1);
}

static int take_back(const char *issuer, const void *serial, size_t size)
{
    return policy_unrevoke(harness.policy, *issuer ? (const uint8_t *)issuer : NULL, strlen(issuer), serial,
                           size);
}

static void test_who_is_met(void **state)
{
    const char *long_issuer = "an issuer key id of more than thirty-two bytes";
    (void)state;
    const struct {
        const char *revoked_issuer;
        const char *issuer;
        int met;
    } cases[] = {
        {"one", "one", 1},
        {"one", "two", 0},
        {"one", "on", 0},
        {"one", "onee", 0},
        {"one", "", 1},
        {"", "one", 1},
        {"", "", 1},
        {"", long_issuer, 1},
        {long_issuer, long_issuer, 1},
        {long_issuer, "one", 1}, /* it does not fit, so it meets any */
        {"one", long_issuer, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(put_on_list(cases[i].revoked_issuer, "\x12\x34", 2), 0);
        if (is_revoked(cases[i].issuer, "\x12\x34", 2) != cases[i].met)
            fail_msg("revoked for '%s', asked for '%s'", cases[i].revoked_issuer, cases[i].issuer);
        assert_int_equal(is_revoked(cases[i].issuer, "\x12\x35", 2), 0);
        assert_int_equal(take_back(cases[i].revoked_issuer, "\x12\x34", 2), 0);
        assert_int_equal(is_revoked(cases[i].issuer, "\x12\x34", 2), 0);
    }
}

static void test_serials(void **state)
{
    uint8_t longest[XYLEM_NAME_MAX + 1];
    (void)state;
    memset(longest, 0x55, sizeof longest);
    /* Leading zeros do not count, on either side. */
    assert_int_equal(put_on_list("one", "\0\0\x12", 3), 0);
    assert_int_equal(is_revoked("one", "\x12", 1), 1);
    assert_int_equal(is_revoked("one", "\0\x12", 2), 1);
    assert_int_equal(is_revoked("one", "\x12\0", 2), 0);
    assert_int_equal(take_back("one", "\x12", 1), 0);
    assert_int_equal(is_revoked("one", "\0\0\x12", 3), 0);
    /* Zero is a serial; nothing is none. */
    assert_int_equal(put_on_list("one", "\0\0", 2), 0);
    assert_int_equal(is_revoked("one", "\0", 1), 1);
    assert_int_equal(is_revoked("one", "", 0), 0);
    assert_int_equal(put_on_list("one", "", 0), -EINVAL);
    assert_int_equal(take_back("one", "", 0), 0);
    assert_int_equal(put_on_list("one", longest, XYLEM_NAME_MAX + 1), -EINVAL);
    assert_int_equal(take_back("one", longest, XYLEM_NAME_MAX + 1), 0);
    assert_int_equal(is_revoked("one", longest, XYLEM_NAME_MAX + 1), 0);
    assert_int_equal(put_on_list("one", longest, XYLEM_NAME_MAX), 0);
    assert_int_equal(is_revoked("one", longest, XYLEM_NAME_MAX), 1);
    assert_int_equal(is_revoked("one", longest, XYLEM_NAME_MAX - 1), 0);
    /* Serials of all lengths that differ in one byte, wherever it is. */
    for (size_t size = 1; size <= 20; size++)
        for (size_t at = 0; at < size; at++) {
            uint8_t other[20];
            memset(other, 0x77, sizeof other);
            assert_int_equal(put_on_list("two", other, size), 0);
            other[at] ^= 1;
            assert_int_equal(is_revoked("two", other, size), 0);
            other[at] ^= 1;
            assert_int_equal(is_revoked("two", other, size), 1);
            assert_int_equal(take_back("two", other, size), 0);
        }
}

static void test_several_issuers_of_one_serial(void **state)
{
    char issuer[24];
    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(issuer, sizeof issuer, "issuer-%d", i);
        assert_int_equal(put_on_list(issuer, "\x01", 1), 0);
        assert_int_equal(put_on_list(issuer, "\x01", 1), 0); /* twice is once */
    }
    for (int i = 0; i < 40; i += 2) {
        snprintf(issuer, sizeof issuer, "issuer-%d", i);
        assert_int_equal(take_back(issuer, "\x01", 1), 0);
        assert_int_equal(take_back(issuer, "\x01", 1), 0);
    }
    for (int i = 0; i < 40; i++) {
        snprintf(issuer, sizeof issuer, "issuer-%d", i);
        assert_int_equal(is_revoked(issuer, "\x01", 1), i & 1);
    }
    /* There is an end to it. */
    int error = 0;
    for (int i = 0; i < 2000 && !error; i++) {
        snprintf(issuer, sizeof issuer, "more-%d", i);
        error = put_on_list(issuer, "\x01", 1);
    }
    assert_int_equal(error, -EINVAL);
}

static void test_many(void **state)
{
    uint8_t serial[8];
    (void)state;
    harness_settle(&harness);
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t number = xylem_hash(1, i, NULL, 0);
        memcpy(serial, &number, 8);
        assert_int_equal(put_on_list("one", serial, 8), 0);
        if (i % 64 == 0)
            grace_advance(harness.grace);
    }
    for (uint32_t i = 0; i < 40000; i++) {
        uint64_t number = xylem_hash(1, i, NULL, 0);
        memcpy(serial, &number, 8);
        assert_int_equal(is_revoked("one", serial, 8), i < 20000);
    }
    harness_settle(&harness);
    uint64_t full = harness_statistics(&harness).live_bytes;
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t number = xylem_hash(1, i, NULL, 0);
        memcpy(serial, &number, 8);
        assert_int_equal(take_back("one", serial, 8), 0);
        assert_int_equal(is_revoked("one", serial, 8), 0);
        if (i % 64 == 0)
            grace_advance(harness.grace);
    }
    harness_settle(&harness);
    /* The filter and empty shards stay; 20000 entries and names of at least 32 bytes each do not. */
    assert_in_range(harness_statistics(&harness).live_bytes, 0, full - 20000 * 64);
}

int main(void)
{
#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, open_harness, close_harness)
    const struct CMUnitTest tests[] = {
        WITH_HARNESS(test_who_is_met),
        WITH_HARNESS(test_serials),
        WITH_HARNESS(test_several_issuers_of_one_serial),
        WITH_HARNESS(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

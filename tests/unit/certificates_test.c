/* SPDX-License-Identifier: MIT */
/* Roots and leaves, from the writer's hands to the reader's. */
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
    harness_open_with(&harness, 4u << 20, 4u << 20, 0);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

#define ASSERT_SLICE(slice, bytes, length)                  \
    do {                                                    \
        assert_int_equal((slice).size, (length));           \
        assert_memory_equal((slice).data, bytes, (length)); \
    } while (0)
#define ASSERT_TEXT(slice, text)                                                                       \
    do {                                                                                               \
        ASSERT_SLICE(slice, text, strlen(text));                                                       \
        assert_int_equal((slice).data[(slice).size], 0); /* forgives those who take it for a string */ \
    } while (0)

static const uint8_t chain[] = "leaf certificate, intermediate certificate";
static const uint8_t key[] = "PKCS#8 of a private key";

static struct scope_leaf make_leaf(uint64_t version, int64_t not_after)
{
    return (struct scope_leaf){.uri = HARNESS_PREFIX "web",
                               .serial = (const uint8_t *)"\x0b\x0c",
                               .serial_size = 2,
                               .chain_der = chain,
                               .chain_der_size = sizeof chain,
                               .leaf_der_size = 16,
                               .chain_pem = "-----BEGIN CERTIFICATE-----",
                               .key_der = key,
                               .key_der_size = sizeof key,
                               .key_pem = "-----BEGIN PRIVATE KEY-----",
                               .not_before = 100,
                               .not_after = not_after,
                               .version = version,
                               .roots_version = 3};
}

static void put_leaf(const char *service, uint64_t version, int64_t not_after)
{
    struct scope_leaf leaf = make_leaf(version, not_after);
    assert_int_equal(scope_put_leaf(harness.scope, service, &leaf), 0);
}

static void put_roots(size_t count, size_t active, uint64_t version)
{
    static const uint8_t der[2][4] = {"one", "two"};
    static const struct policy_root roots[2] = {{der[0], 4, "PEM one\n", "aa:01", 1, 2},
                                                {der[1], 4, "PEM two\nits issuer\n", "aa:02", 3, 4}};
    assert_int_equal(policy_set_roots(harness.policy, roots, count, active, version), 0);
}

static void test_leaf(void **state)
{
    struct xylem_leaf_view leaf;
    (void)state;
    put_leaf("web", 7, INT64_MAX);
    xylem_read_lock(harness.reader);
    assert_int_equal(xylem_leaf(harness.reader, "web", &leaf), XYLEM_OK);
    ASSERT_TEXT(leaf.uri, HARNESS_PREFIX "web");
    ASSERT_SLICE(leaf.serial, "\x0b\x0c", 2);
    ASSERT_SLICE(leaf.chain_der, chain, sizeof chain);
    ASSERT_SLICE(leaf.leaf_der, chain, 16);
    ASSERT_TEXT(leaf.chain_pem, "-----BEGIN CERTIFICATE-----");
    ASSERT_SLICE(leaf.key_der, key, sizeof key);
    ASSERT_TEXT(leaf.key_pem, "-----BEGIN PRIVATE KEY-----");
    assert_int_equal(leaf.version, 7);
    assert_int_equal(leaf.roots_version, 3);
    assert_int_equal(leaf.not_before, 100);
    assert_int_equal(leaf.expired, 0);
    assert_int_equal(xylem_leaf(harness.reader, "Web", &leaf), XYLEM_E_NOT_FOUND);
    assert_int_equal(xylem_leaf(harness.reader, "", &leaf), XYLEM_E_NOT_FOUND);
    char name[XYLEM_NAME_MAX + 2];
    memset(name, 'a', sizeof name);
    name[XYLEM_NAME_MAX + 1] = '\0';
    assert_int_equal(xylem_leaf(harness.reader, name, &leaf), XYLEM_E_NOT_FOUND);
    xylem_read_unlock(harness.reader);
    assert_int_equal(xylem_leaf(harness.reader, "web", &leaf), XYLEM_E_NO_SECTION);
    struct scope_leaf bad = make_leaf(8, 0);
    assert_int_equal(scope_put_leaf(harness.scope, name, &bad), -EINVAL);
    assert_int_equal(scope_put_leaf(harness.scope, "", &bad), -EINVAL);
    bad.leaf_der_size = bad.chain_der_size + 1;
    assert_int_equal(scope_put_leaf(harness.scope, "web", &bad), -EINVAL);
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 7);
}

static void test_expired(void **state)
{
    struct xylem_leaf_view leaf;
    int64_t now = time(NULL);
    (void)state;
    const struct {
        int64_t not_after;
        int expired;
    } cases[] = {{now - 3600, 1}, {now + 3600, 0}, {0, 1}, {INT64_MIN, 1}, {INT64_MAX, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_leaf("web", i + 1, cases[i].not_after);
        xylem_read_lock(harness.reader);
        assert_int_equal(xylem_leaf(harness.reader, "web", &leaf), XYLEM_OK);
        xylem_read_unlock(harness.reader);
        assert_int_equal(leaf.not_after, cases[i].not_after);
        assert_int_equal(leaf.expired, cases[i].expired);
    }
}

/* What a section has seen stays as it is until the section ends, and is wiped afterwards. */
static void test_replace_and_withdraw(void **state)
{
    struct xylem_leaf_view leaf;
    struct region_statistics statistics;
    (void)state;
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 0);
    put_leaf("web", 7, INT64_MAX);
    harness_settle(&harness);
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 7);
    xylem_read_lock(harness.reader);
    assert_int_equal(xylem_leaf(harness.reader, "web", &leaf), XYLEM_OK);
    put_leaf("web", 8, INT64_MAX);
    harness_settle(&harness);
    ASSERT_SLICE(leaf.key_der, key, sizeof key);
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 8);
    const uint8_t *was = leaf.key_der.data;
    xylem_read_unlock(harness.reader);
    harness_settle(&harness);
    assert_memory_not_equal(was, key, sizeof key);
    region_statistics(scope_region(harness.scope), &statistics);
    assert_int_equal(statistics.retired_bytes, 0);
    assert_int_equal(scope_remove_leaf(harness.scope, "web"), 0);
    assert_int_equal(scope_remove_leaf(harness.scope, "web"), 0);
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 0);
    xylem_read_lock(harness.reader);
    assert_int_equal(xylem_leaf(harness.reader, "web", &leaf), XYLEM_E_NOT_FOUND);
    xylem_read_unlock(harness.reader);
    harness_settle(&harness);
    put_leaf("web", 9, INT64_MAX);
    assert_int_equal(xylem_leaf_version(harness.reader, "web"), 9);
}

static void test_many_leaves(void **state)
{
    char name[16];
    struct xylem_leaf_view leaf;
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%u", i);
        put_leaf(name, 1000 + i, INT64_MAX);
    }
    xylem_read_lock(harness.reader);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(xylem_leaf(harness.reader, name, &leaf), XYLEM_OK);
        assert_int_equal(leaf.version, 1000 + i);
    }
    xylem_read_unlock(harness.reader);
}

static void test_full_scope(void **state)
{
    char name[16];
    uint32_t count = 0;
    int error = 0;
    (void)state;
    for (; !error; count += error == 0) {
        struct scope_leaf leaf = make_leaf(1 + count, INT64_MAX);
        snprintf(name, sizeof name, "s%u", count);
        error = scope_put_leaf(harness.scope, name, &leaf);
    }
    assert_int_equal(error, -ENOSPC);
    for (uint32_t i = 0; i <= count; i++) {
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(xylem_leaf_version(harness.reader, name), i < count ? 1 + i : 0);
    }
}

static void test_roots(void **state)
{
    struct xylem_roots_view roots = {0};
    struct xylem_root_view root = {0};
    struct xylem_leaf_view leaf;
    struct policy_root none = {NULL, 0, "", "", 0, 0};
    (void)state;
    put_leaf("web", 7, INT64_MAX);
    assert_int_equal(xylem_roots(harness.reader, &roots), XYLEM_E_NO_SECTION);
    xylem_read_lock(harness.reader);
    assert_int_equal(xylem_roots(harness.reader, &roots), XYLEM_E_NOT_READY);
    assert_int_equal(xylem_identity(harness.reader, "web", &leaf, &roots), XYLEM_E_NOT_READY);
    put_roots(2, 1, 3);
    assert_int_equal(xylem_roots(harness.reader, &roots), XYLEM_OK);
    assert_int_equal(roots.count, 2);
    assert_int_equal(roots.active, 1);
    assert_int_equal(roots.version, 3);
    ASSERT_TEXT(roots.trust_domain, HARNESS_TRUST_DOMAIN);
    ASSERT_TEXT(roots.bundle_pem, "PEM one\nPEM two\nits issuer\n");
    assert_int_equal(xylem_root_at(&roots, 0, &root), XYLEM_OK);
    ASSERT_SLICE(root.der, "one", 4);
    ASSERT_TEXT(root.pem, "PEM one\n");
    ASSERT_TEXT(root.id, "aa:01");
    assert_int_equal(root.not_before, 1);
    assert_int_equal(root.not_after, 2);
    assert_int_equal(root.active, 0);
    assert_int_equal(xylem_root_at(&roots, 1, &root), XYLEM_OK);
    ASSERT_TEXT(root.id, "aa:02");
    assert_int_equal(root.active, 1);
    assert_int_equal(xylem_root_at(&roots, 2, &root), XYLEM_E_NOT_FOUND);
    assert_int_equal(xylem_identity(harness.reader, "web", &leaf, &roots), XYLEM_OK);
    assert_true(roots.version >= leaf.roots_version);
    assert_int_equal(xylem_identity(harness.reader, "db", &leaf, &roots), XYLEM_E_NOT_FOUND);
    /* New ones: the view stays what it was. */
    put_roots(1, 0, 4);
    harness_settle(&harness);
    ASSERT_TEXT(roots.bundle_pem, "PEM one\nPEM two\nits issuer\n");
    assert_int_equal(xylem_roots(harness.reader, &roots), XYLEM_OK);
    assert_int_equal(roots.count, 1);
    assert_int_equal(roots.version, 4);
    xylem_read_unlock(harness.reader);
    assert_int_equal(policy_set_roots(harness.policy, &none, 0, 0, 5), -EINVAL);
    assert_int_equal(policy_set_roots(harness.policy, &none, 1, 1, 5), -EINVAL);
    assert_int_equal(region_header(policy_region(harness.policy))->roots_version, 4);
}

static void test_freshness(void **state)
{
    struct xylem_freshness_view freshness;
    (void)state;
    xylem_freshness(harness.reader, &freshness);
    assert_int_equal(freshness.heartbeat_age_ns, UINT64_MAX);
    assert_int_equal(freshness.upstream_contact_age_ns, UINT64_MAX);
    assert_int_equal(freshness.attached, 0);
    assert_int_equal(freshness.superseded, 0);
    assert_int_equal(freshness.policy_version, policy_version(harness.policy));
    uint64_t now = xylem_now_ns_(CLOCK_BOOTTIME);
    policy_heartbeat(harness.policy, now - 5000000000u);
    policy_upstream_contact(harness.policy, now + 5000000000u);
    xylem_freshness(harness.reader, &freshness);
    assert_in_range(freshness.heartbeat_age_ns, 5000000000u, 60000000000u);
    assert_int_equal(freshness.upstream_contact_age_ns, 0); /* clocks that disagree make no negative age */
}

int main(void)
{
#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, open_harness, close_harness)
    const struct CMUnitTest tests[] = {
        WITH_HARNESS(test_leaf),
        WITH_HARNESS(test_expired),
        WITH_HARNESS(test_replace_and_withdraw),
        WITH_HARNESS(test_many_leaves),
        WITH_HARNESS(test_full_scope),
        WITH_HARNESS(test_roots),
        WITH_HARNESS(test_freshness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

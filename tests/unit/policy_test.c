/* SPDX-License-Identifier: MIT */
/* The policy region's own promises: versions, memory, refusals, handles. What verdicts come out is authorize_test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "tests/unit/harness.h"

static struct harness harness;

static int open_harness(void **state)
{
    (void)state;
    harness_open(&harness, 16u << 20);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

/* --- versions --- */

static void test_version_moves(void **state)
{
    static const uint8_t serial[] = {1, 2, 3};
    struct policy_root root = {serial, 3, "pem", "id", 0, 0};
    uint64_t version = policy_version(harness.policy);
    struct policy_change changes[2] = {harness_change("web", "db", POLICY_ALLOW),
                                       harness_change("web", "db", POLICY_REMOVE)};
    (void)state;
    assert_true(version > 1000); /* above what it was created with */
    assert_int_equal(xylem_policy_version(harness.reader), version);
#define MOVES(call)                                                      \
    do {                                                                 \
        assert_int_equal((call), 0);                                     \
        assert_true(policy_version(harness.policy) > version);           \
        version = policy_version(harness.policy);                        \
        assert_int_equal(xylem_policy_version(harness.reader), version); \
    } while (0)
    MOVES(policy_apply(harness.policy, changes, 1));
    MOVES(policy_apply(harness.policy, changes + 1, 1));
    MOVES(policy_apply(harness.policy, changes, 2));
    MOVES(policy_revoke(harness.policy, NULL, 0, serial, 3, 1));
    MOVES(policy_unrevoke(harness.policy, NULL, 0, serial, 3));
    MOVES((policy_set_default(harness.policy, true), 0));
    MOVES(policy_set_identities(harness.policy, "other.consul", "dc1", NULL, 0));
    MOVES((policy_supersede(harness.policy), 0));
#undef MOVES
    /* What changes no verdict leaves it alone. */
    assert_int_equal(policy_set_roots(harness.policy, &root, 1, 0, 1), 0);
    policy_heartbeat(harness.policy, 1);
    changes[0] = harness_change("nobody", "nothing", POLICY_REMOVE);
    assert_int_equal(policy_apply(harness.policy, changes, 1), 0);
    assert_int_equal(policy_apply(harness.policy, changes, 0), 0);
    assert_int_equal(policy_version(harness.policy), version);
}

static void test_superseded(void **state)
{
    struct xylem_verdict verdict;
    struct xylem_freshness_view freshness;
    (void)state;
    harness_set(&harness, "web", "db", POLICY_ALLOW);
    assert_int_equal(harness_ask(harness.reader, "web", "db", &verdict), 1);
    policy_supersede(harness.policy);
    assert_int_equal(harness_ask(harness.reader, "web", "db", &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_SUPERSEDED);
    xylem_freshness(harness.reader, &freshness);
    assert_int_equal(freshness.superseded, 1);
}

/* --- memory --- */

static const struct intention {
    const char *source;
    const char *destination;
    enum policy_action action;
    const char *legacy_id;
} few[] = {
    {"web", "db", POLICY_ALLOW, NULL},
    {"api", "db", POLICY_PERMISSIONS, NULL},
    {"*", "db", POLICY_DENY, "11111111-2222-3333-4444-555555555555"},
    {"web", "cache", POLICY_ALLOW, "11111111-2222-3333-4444-666666666666"},
    {"web", "*", POLICY_ALLOW, NULL},
    {"*", "*", POLICY_DENY, NULL},
};

#define FEW (sizeof few / sizeof few[0])

static void change_few(enum policy_action action, bool batch)
{
    struct policy_change changes[FEW];
    for (size_t i = 0; i < FEW; i++) {
        changes[i] = harness_change(few[i].source, few[i].destination,
                                    action == POLICY_REMOVE ? POLICY_REMOVE : few[i].action);
        changes[i].legacy_id = action == POLICY_REMOVE ? NULL : few[i].legacy_id;
    }
    for (size_t i = 0; i < FEW; i += batch ? FEW : 1)
        assert_int_equal(policy_apply(harness.policy, changes + i, batch ? FEW : 1), 0);
}

/* Everything that was made for an intention goes with it, to the last byte. */
static void test_memory_comes_back(void **state)
{
    (void)state;
    change_few(POLICY_ALLOW, true); /* a directory keeps its first shard */
    change_few(POLICY_REMOVE, true);
    harness_settle(&harness);
    struct region_statistics floor = harness_statistics(&harness);
    for (int round = 0; round < 8; round++) {
        change_few(POLICY_ALLOW, round & 1);
        change_few(POLICY_ALLOW, round & 2); /* once more, as it is */
        assert_true(harness_statistics(&harness).live_bytes > floor.live_bytes);
        change_few(POLICY_REMOVE, round & 4);
        harness_settle(&harness);
        struct region_statistics now = harness_statistics(&harness);
        assert_int_equal(now.live_bytes, floor.live_bytes);
        assert_int_equal(now.allocations, floor.allocations);
        assert_int_equal(now.retired_bytes, 0);
    }
}

/* A detail that goes while its intention stays. */
static void test_details_come_back(void **state)
{
    struct policy_change change = harness_change("web", "db", POLICY_ALLOW);
    (void)state;
    assert_int_equal(policy_apply(harness.policy, &change, 1), 0);
    harness_settle(&harness);
    struct region_statistics floor = harness_statistics(&harness);
    for (int round = 0; round < 4; round++) {
        change.legacy_id = round & 1 ? NULL : "11111111-2222-3333-4444-555555555555";
        assert_int_equal(policy_apply(harness.policy, &change, 1), 0);
    }
    harness_settle(&harness);
    assert_int_equal(harness_statistics(&harness).live_bytes, floor.live_bytes);
}

static void change_many(const char *destination, uint32_t first, uint32_t count, enum policy_action action,
                        bool batch)
{
    struct policy_change *changes = calloc(count, sizeof *changes);
    char(*names)[16] = calloc(count, sizeof *names);
    MUST(changes && names);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "s%u", first + i);
        changes[i] = harness_change(names[i], destination, action);
    }
    for (uint32_t i = 0; i < count; i += batch ? count : 1) {
        assert_int_equal(policy_apply(harness.policy, changes + i, batch ? count : 1), 0);
        if (i % 64 == 0)
            grace_advance(harness.grace);
    }
    free(changes);
    free(names);
}

static const struct xylem_destination *destination_of(const char *name)
{
    struct xylem_target target;
    struct xylem_peer peer = {
        {(const uint8_t *)HARNESS_PREFIX "x", sizeof HARNESS_PREFIX}, {NULL, 0}, {NULL, 0}};
    MUST(xylem_target_init(&target, name) == XYLEM_OK);
    xylem_authorize_peer(harness.reader, &target, &peer, NULL);
    if (!target.anchors_[0])
        return NULL;
    const struct xylem_anchor *anchor = region_at(policy_region(harness.policy), target.anchors_[0]);
    return anchor->root ? region_at(policy_region(harness.policy), anchor->root) : NULL;
}

/* One table grows into shards, shards split, and all of it shrinks back to one table and to nothing. */
static void test_shards_come_and_go(void **state)
{
    (void)state;
    for (int batch = 0; batch < 2; batch++) {
        change_many("db", 0, 500, POLICY_ALLOW, batch);
        assert_int_equal(destination_of("db")->sharded, 0);
        change_many("db", 500, 1500, POLICY_ALLOW, batch);
        assert_int_equal(destination_of("db")->sharded, 1);
        assert_int_equal(destination_of("db")->count, 2000);
        uint32_t bits = destination_of("db")->shard_bits;
        assert_in_range(bits, 1, 6);
        change_many("db", 2000, 4000, POLICY_ALLOW, batch);
        assert_true(destination_of("db")->shard_bits > bits);
        for (uint32_t i = 0; i < 7000; i += 7) {
            char name[16];
            snprintf(name, sizeof name, "s%u", i);
            assert_int_equal(harness_ask(harness.reader, name, "db", NULL), i < 6000);
        }
        change_many("db", 100, 5900, POLICY_REMOVE, batch);
        assert_int_equal(destination_of("db")->sharded, 0);
        assert_int_equal(destination_of("db")->count, 100);
        assert_int_equal(harness_ask(harness.reader, "s99", "db", NULL), 1);
        assert_int_equal(harness_ask(harness.reader, "s100", "db", NULL), 0);
        change_many("db", 0, 100, POLICY_REMOVE, batch);
        assert_null(destination_of("db"));
        harness_settle(&harness);
    }
    /* In one stroke from thousands to nothing. */
    change_many("db", 0, 3000, POLICY_ALLOW, true);
    change_many("db", 0, 3000, POLICY_REMOVE, true);
    assert_null(destination_of("db"));
}

/* One intention changed very often in one batch is one intention. */
static void test_same_source_over_and_over(void **state)
{
    struct policy_change changes[2000];
    (void)state;
    for (uint32_t i = 0; i < 2000; i++)
        changes[i] = harness_change("web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY);
    assert_int_equal(policy_apply(harness.policy, changes, 2000), 0);
    assert_int_equal(harness_ask(harness.reader, "web", "db", NULL), 1);
    assert_int_equal(destination_of("db")->count, 1);
    assert_int_equal(destination_of("db")->sharded, 0);
    assert_int_equal(policy_apply(harness.policy, changes, 1999), 0);
    assert_int_equal(harness_ask(harness.reader, "web", "db", NULL), 0);
    changes[1999].action = POLICY_REMOVE;
    assert_int_equal(policy_apply(harness.policy, changes, 2000), 0);
    assert_null(destination_of("db"));
}

/* --- refusals --- */

static void test_full_region(void **state)
{
    char name[16];
    uint32_t count = 0;
    int error = 0;
    (void)state;
    harness_close(&harness);
    harness_open(&harness, 192u << 10);
    while (!error) {
        snprintf(name, sizeof name, "s%u", count);
        struct policy_change change = harness_change(name, "db", count & 1 ? POLICY_ALLOW : POLICY_DENY);
        error = policy_apply(harness.policy, &change, 1);
        count += error == 0;
        harness_settle(&harness);
    }
    assert_int_equal(error, -ENOSPC);
    assert_in_range(count, 100, 5000);
    uint64_t version = policy_version(harness.policy);
    /* A batch of which the last part finds no room changes nothing of the first. */
    struct policy_change changes[40];
    char names[40][16];
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "t%u", i);
        changes[i] = harness_change(i ? names[i] : "s1", i ? names[i] : "db", i ? POLICY_ALLOW : POLICY_DENY);
    }
    struct region_statistics statistics = harness_statistics(&harness);
    assert_true(statistics.live_bytes <= statistics.region_bytes);
    if (policy_apply(harness.policy, changes, 40) == 0)
        fail_msg("there was room after all");
    assert_int_equal(policy_version(harness.policy), version);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(harness_ask(harness.reader, name, "db", NULL), i & 1);
    }
}

static void test_names_refused(void **state)
{
    char long_name[XYLEM_NAME_MAX + 2];
    uint64_t version = policy_version(harness.policy);
    (void)state;
    memset(long_name, 'a', sizeof long_name);
    long_name[XYLEM_NAME_MAX + 1] = '\0';
    const struct policy_name bad[] = {
        {NULL, NULL, ""},     {NULL, NULL, long_name},  {NULL, "", "web"},        {"", NULL, "web"},
        {"*", NULL, "web"},   {"*", "*", "*"},          {NULL, "*", "web"},       {NULL, "a/b", "web"},
        {"a/b", NULL, "web"}, {long_name, NULL, "web"}, {NULL, long_name, "web"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (int side = 0; side < 2; side++) {
            struct policy_change changes[2] = {harness_change("good", "good", POLICY_ALLOW),
                                               harness_change("good", "good", POLICY_ALLOW)};
            *(side ? &changes[1].source : &changes[1].destination) = bad[i];
            assert_int_equal(policy_apply(harness.policy, changes, 2), -EINVAL);
        }
    assert_int_equal(policy_version(harness.policy), version);
    assert_int_equal(harness_ask(harness.reader, "good", "good", NULL), 0);
    long_name[XYLEM_NAME_MAX] = '\0';
    harness_set(&harness, long_name, long_name, POLICY_ALLOW);
    assert_int_equal(harness_ask(harness.reader, long_name, long_name, NULL), 1);
    long_name[XYLEM_NAME_MAX - 1] = '\0';
    assert_int_equal(harness_ask(harness.reader, long_name, long_name, NULL), 0);
}

/* --- handles --- */

/* Regions of two agents may have the same id and the same version of their directory; a handle must tell them apart. */
static void test_handle_in_another_agents_region(void **state)
{
    struct harness other;
    struct xylem_target target;
    const char *uri = HARNESS_PREFIX "web";
    struct xylem_peer peer = {{(const uint8_t *)uri, strlen(uri)}, {NULL, 0}, {NULL, 0}};
    (void)state;
    /* The same number of names, in another order: the same refs name something else. */
    harness_set(&harness, "api", "cache", POLICY_DENY);
    harness_set(&harness, "web", "db", POLICY_ALLOW);
    harness_open(&other, 16u << 20);
    harness_set(&other, "web", "db", POLICY_DENY);
    harness_set(&other, "web", "cache", POLICY_ALLOW);
    assert_int_equal(region_header(policy_region(other.policy))->region_id,
                     region_header(policy_region(harness.policy))->region_id);
    assert_int_equal(region_header(policy_region(other.policy))->directory_version,
                     region_header(policy_region(harness.policy))->directory_version);
    assert_int_equal(xylem_target_init(&target, "db"), 0);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(xylem_authorize_peer(harness.reader, &target, &peer, NULL), 1);
        assert_int_equal(xylem_authorize_peer(other.reader, &target, &peer, NULL), 0);
    }
    harness_close(&other);
}

static void test_targets(void **state)
{
    char name[XYLEM_NAME_MAX + 2];
    struct xylem_target target;
    struct xylem_verdict verdict;
    (void)state;
    memset(name, 'a', sizeof name);
    name[XYLEM_NAME_MAX + 1] = '\0';
    const struct {
        const char *text;
        int result;
        const char *tenancy;
        const char *service;
    } cases[] = {
        {"db", 0, "", "db"},
        {"DB", 0, "", "db"},
        {"team/db", 0, "default/team", "db"},
        {"default/db", 0, "", "db"},
        {"east/team/Db", 0, "east/team", "db"},
        {"default/default/db", 0, "", "db"},
        {"", XYLEM_E_INVALID, NULL, NULL},
        {"/", XYLEM_E_INVALID, NULL, NULL},
        {"/db", XYLEM_E_INVALID, NULL, NULL},
        {"db/", XYLEM_E_INVALID, NULL, NULL},
        {"//db", XYLEM_E_INVALID, NULL, NULL},
        {"a//db", XYLEM_E_INVALID, NULL, NULL},
        {"/a/db", XYLEM_E_INVALID, NULL, NULL},
        {"a/b/c/db", XYLEM_E_INVALID, NULL, NULL},
        {name, XYLEM_E_INVALID, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int result = xylem_target_init(&target, cases[i].text);
        if (result != cases[i].result)
            fail_msg("'%s': %d", cases[i].text, result);
        if (result) {
            assert_int_equal(
                xylem_authorize(harness.reader, cases[i].text, HARNESS_PREFIX "web", NULL, &verdict), 0);
            assert_int_equal(verdict.why, XYLEM_WHY_MALFORMED);
            continue;
        }
        assert_int_equal(target.name_bytes_, strlen(cases[i].service));
        assert_memory_equal(target.name_, cases[i].service, target.name_bytes_);
        assert_int_equal(target.tenancy_bytes_, strlen(cases[i].tenancy));
        assert_memory_equal(target.tenancy_, cases[i].tenancy, target.tenancy_bytes_);
    }
    /* The wildcard as a target: what holds for any name, in its own precedence. */
    harness_set(&harness, "web", "*", POLICY_ALLOW);
    assert_int_equal(harness_ask(harness.reader, "web", "*", &verdict), 1);
    assert_int_equal(verdict.precedence, 6);
    struct policy_change change = harness_change("web", "*", POLICY_ALLOW);
    change.destination.namespace_name = "*";
    assert_int_equal(policy_apply(harness.policy, &change, 1), 0);
    assert_int_equal(harness_ask(harness.reader, "web", "*/*", &verdict), 1);
    assert_int_equal(verdict.precedence, 3);
}

/* --- a reader meanwhile --- */

static uint32_t stop;

static void *ask_all_the_while(void *context)
{
    struct xylem_reader *reader;
    uint64_t *allowed = context;
    MUST(xylem_reader_open(harness.client, &reader) == XYLEM_OK);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        *allowed += (uint64_t)harness_ask(reader, "web", "db", NULL);
        *allowed += (uint64_t)harness_ask(reader, "web", "cache", NULL);
    }
    xylem_reader_close(reader);
    return NULL;
}

/* Denied before, denied after: never allowed in between, in one destination or over several. */
static void test_never_allowed_in_between(void **state)
{
    struct policy_change first[] = {harness_change("web", "db", POLICY_DENY),
                                    harness_change("*", "db", POLICY_DENY),
                                    harness_change("web", "cache", POLICY_DENY),
                                    harness_change("*", "*", POLICY_ALLOW),
                                    harness_change("api", "*", POLICY_DENY)};
    struct policy_change second[] = {harness_change("*", "db", POLICY_ALLOW),
                                     harness_change("web", "db", POLICY_DENY),
                                     harness_change("web", "cache", POLICY_REMOVE),
                                     harness_change("*", "*", POLICY_DENY),
                                     harness_change("api", "*", POLICY_ALLOW)};
    pthread_t thread;
    uint64_t allowed = 0;
    (void)state;
    stop = 0;
    assert_int_equal(policy_apply(harness.policy, first, 5), 0);
    assert_int_equal(pthread_create(&thread, NULL, ask_all_the_while, &allowed), 0);
    for (int round = 0; round < 20000; round++) {
        assert_int_equal(policy_apply(harness.policy, round & 1 ? first : second, 5), 0);
        if (round % 8 == 0)
            grace_advance(harness.grace);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(allowed, 0);
}

int main(void)
{
#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, open_harness, close_harness)
    const struct CMUnitTest tests[] = {
        WITH_HARNESS(test_version_moves),
        WITH_HARNESS(test_superseded),
        WITH_HARNESS(test_memory_comes_back),
        WITH_HARNESS(test_details_come_back),
        WITH_HARNESS(test_shards_come_and_go),
        WITH_HARNESS(test_same_source_over_and_over),
        WITH_HARNESS(test_full_region),
        WITH_HARNESS(test_names_refused),
        WITH_HARNESS(test_handle_in_another_agents_region),
        WITH_HARNESS(test_targets),
        WITH_HARNESS(test_never_allowed_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

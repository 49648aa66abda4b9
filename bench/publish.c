/* SPDX-License-Identifier: MIT */
/* xylem-bench publish: one change, from the call that compiles and publishes it
 * until a reader in another thread has seen it. */
#include <pthread.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/workload.h"
#include "bench/world.h"

#define COMMITS          4000u
#define SEEN_CHANGES     1000u
#define WILDCARD_SOURCES 32u /* of the destination "*" */
#define GRACE_EVERY      16u
#define LOAD_BATCH       4096u

enum change_kind { EXACT, WILDCARD_SOURCE, WILDCARD_DESTINATION };

static void apply_one(struct world *world, const struct policy_change *change)
{
    int error = policy_apply(world->policy, change, 1);
    if (error)
        bench_fail("policy_apply: %s", strerror(-error));
}

/* Change number `i`: half of them turn an action, a quarter add, a quarter
 * remove again. */
static struct policy_change choose(const struct workload *workload, enum change_kind kind, uint32_t i,
                                   uint64_t *random)
{
    static const enum policy_action actions[4] = {POLICY_DENY, POLICY_ALLOW, POLICY_REMOVE, POLICY_ALLOW};
    uint32_t d = (uint32_t)(bench_random(random) % workload->services);
    uint32_t source = workload_source(workload, d, (uint32_t)(bench_random(random) % workload->services));
    if (kind == WILDCARD_DESTINATION)
        return workload_change(workload->names[source % WILDCARD_SOURCES], "*", actions[i % 4]);
    if (kind == WILDCARD_SOURCE)
        return workload_change("*", workload->names[d], actions[i % 4]);
    return workload_change(workload->names[source], workload->names[d], actions[i % 4]);
}

static void measure_commits(const struct workload *workload, struct world *world, struct report *report)
{
    static const char *const names[] = {"commit_us", "commit_wildcard_source_us",
                                        "commit_wildcard_destination_us"};
    struct samples samples[3] = {{0}};
    uint64_t random = 0x13198a2e03707344ULL;
    for (uint32_t i = 0; i < WILDCARD_SOURCES; i++) {
        struct policy_change change = workload_change(workload->names[i], "*", POLICY_ALLOW);
        apply_one(world, &change);
    }
    for (uint32_t i = 0; i < COMMITS * 3; i++) { /* the kinds take turns */
        struct policy_change change = choose(workload, (enum change_kind)(i % 3), i / 3, &random);
        uint64_t start_ns = bench_now_ns();
        apply_one(world, &change);
        samples_add(&samples[i % 3], (double)(bench_now_ns() - start_ns) / 1000);
        if (i % GRACE_EVERY == 0)
            grace_advance(world->grace);
    }
    for (int kind = 0; kind < 3; kind++) {
        report_distribution(report, names[kind], &samples[kind]);
        samples_free(&samples[kind]);
    }
}

/* --- until it is seen --- */

struct watcher {
    struct world *world;
    const char *source;
    const char *target;
    uint64_t seen_ns; /* atomic: when the verdict last changed */
    uint32_t verdict; /* atomic: to what; stored behind seen_ns */
    bool ended;       /* atomic */
};

static void *watcher_main(void *context)
{
    struct watcher *watcher = context;
    struct xylem_reader *reader = world_reader(watcher->world->client);
    struct xylem_target target;
    char uri[256];
    uint32_t before = 2;
    snprintf(uri, sizeof uri, "%s%s", WORKLOAD_URI_PREFIX, watcher->source);
    struct xylem_peer peer = {.uri = {(const uint8_t *)uri, strlen(uri)}};
    if (xylem_target_init(&target, watcher->target) != XYLEM_OK)
        bench_fail("xylem_target_init(\"%s\")", watcher->target);
    while (!__atomic_load_n(&watcher->ended, __ATOMIC_RELAXED)) {
        uint32_t verdict = (uint32_t)xylem_authorize_peer(reader, &target, &peer, NULL);
        if (verdict == before)
            continue;
        before = verdict;
        __atomic_store_n(&watcher->seen_ns, bench_now_ns(), __ATOMIC_RELAXED);
        __atomic_store_n(&watcher->verdict, verdict, __ATOMIC_RELEASE);
    }
    xylem_reader_close(reader);
    return NULL;
}

static void wait_for(const struct watcher *watcher, uint32_t verdict)
{
    while (__atomic_load_n(&watcher->verdict, __ATOMIC_ACQUIRE) != verdict)
        ;
}

static void measure_visible(const struct workload *workload, struct world *world, struct report *report)
{
    struct watcher watcher = {.world = world,
                              .source = workload_pair_source(workload, 0),
                              .target = workload_pair_target(workload, 0),
                              .verdict = 2};
    struct samples samples = {0};
    pthread_t thread;
    struct policy_change change = workload_change(watcher.source, watcher.target, POLICY_DENY);
    apply_one(world, &change);
    int error = pthread_create(&thread, NULL, watcher_main, &watcher);
    if (error)
        bench_fail("pthread_create: %s", strerror(error));
    wait_for(&watcher, 0);
    for (uint32_t i = 0; i < SEEN_CHANGES; i++) {
        uint32_t verdict = i % 2 == 0;
        change.action = verdict ? POLICY_ALLOW : POLICY_DENY;
        apply_one(world, &change);
        uint64_t published_ns = bench_now_ns();
        wait_for(&watcher, verdict);
        uint64_t seen_ns = __atomic_load_n(&watcher.seen_ns, __ATOMIC_RELAXED);
        /* Seen before the call was back, even: publication is its middle, not its
     * end. */
        samples_add(&samples, seen_ns > published_ns ? (double)(seen_ns - published_ns) / 1000 : 0);
        if (i % GRACE_EVERY == 0)
            grace_advance(world->grace);
    }
    __atomic_store_n(&watcher.ended, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    report_distribution(report, "visible_us", &samples);
    samples_free(&samples);
}

void publish_run(const struct options *options, struct report *report)
{
    struct workload workload;
    struct world world;
    workload_create(&workload, options->pairs);
    world_create(&world, workload_region_bytes(options->pairs));
    workload_load(&workload, world.policy, world.grace, LOAD_BATCH);
    report_number(report, "pairs", workload.pairs);
    measure_commits(&workload, &world, report);
    measure_visible(&workload, &world, report);
    durable_measure(report);
    world_destroy(&world);
    workload_destroy(&workload);
}

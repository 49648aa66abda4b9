/* SPDX-License-Identifier: MIT */
#include "bench/churn.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"

#define TICK_NS         1000000u
#define TICKS_PER_GRACE 4u
#define LATE_TICKS_MAX  20u /* a writer that was not scheduled catches up this far */

enum { RESTING, BUSY, RESTING_WANTED, ENDED };

struct churn {
    const struct workload *workload;
    struct world *world;
    uint32_t changes_per_second;
    uint32_t state; /* atomic */
    pthread_t thread;
    uint64_t random;
    uint64_t changes;
    uint64_t busy_ns;
};

static void change_one(struct churn *churn)
{
    const struct workload *workload = churn->workload;
    uint64_t number = churn->changes++;
    uint32_t destination = (uint32_t)(bench_random(&churn->random) % workload->services);
    uint32_t known = workload_sources(workload, destination);
    if (workload->services == known || known == 0)
        return;
    /* Even changes flip a pair that is there; odd ones add and remove the first
   * source that is not. */
    uint32_t i = number & 1 ? known : (uint32_t)(bench_random(&churn->random) % known);
    enum policy_action action = bench_random(&churn->random) & 1 ? POLICY_ALLOW : POLICY_DENY;
    if ((number & 3) == 3)
        action = POLICY_REMOVE;
    struct policy_change change = workload_change(workload->names[workload_source(workload, destination, i)],
                                                  workload->names[destination], action);
    int error = policy_apply(churn->world->policy, &change, 1);
    if (error)
        bench_fail("policy_apply under churn: %s", strerror(-error));
}

/* Changes in small bursts until told to rest. */
static void change_many(struct churn *churn)
{
    uint64_t start_ns = bench_now_ns();
    uint64_t first = churn->changes;
    uint64_t tick_ns = start_ns;
    for (uint32_t tick = 1; __atomic_load_n(&churn->state, __ATOMIC_ACQUIRE) == BUSY; tick++) {
        tick_ns += TICK_NS;
        uint64_t now_ns = bench_now_ns();
        if (now_ns > tick_ns + (uint64_t)LATE_TICKS_MAX * TICK_NS)
            tick_ns = now_ns;
        struct timespec until = {(time_t)(tick_ns / 1000000000u), (long)(tick_ns % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        uint64_t due = (tick_ns - start_ns) / 1000u * churn->changes_per_second / 1000000u;
        while (churn->changes - first < due)
            change_one(churn);
        if (tick % TICKS_PER_GRACE == 0)
            grace_advance(churn->world->grace);
    }
    churn->busy_ns += bench_now_ns() - start_ns;
}

static void *churn_main(void *context)
{
    struct churn *churn = context;
    const struct timespec nap = {0, 200000};
    for (;;) {
        uint32_t state = __atomic_load_n(&churn->state, __ATOMIC_ACQUIRE);
        if (state == ENDED)
            return NULL;
        if (state == BUSY)
            change_many(churn);
        uint32_t wanted = RESTING_WANTED;
        __atomic_compare_exchange_n(&churn->state, &wanted, RESTING, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
        nanosleep(&nap, NULL);
    }
}

struct churn *churn_start(const struct workload *workload, struct world *world, uint32_t changes_per_second)
{
    struct churn *churn = bench_allocate(1, sizeof *churn);
    churn->workload = workload;
    churn->world = world;
    churn->changes_per_second = changes_per_second;
    churn->random = 0xa4093822299f31d0ULL;
    int error = pthread_create(&churn->thread, NULL, churn_main, churn);
    if (error)
        bench_fail("pthread_create: %s", strerror(error));
    return churn;
}

void churn_set(struct churn *churn, bool busy)
{
    const struct timespec nap = {0, 100000};
    if (busy) {
        __atomic_store_n(&churn->state, BUSY, __ATOMIC_RELEASE);
        return;
    }
    __atomic_store_n(&churn->state, RESTING_WANTED, __ATOMIC_RELEASE);
    while (__atomic_load_n(&churn->state, __ATOMIC_ACQUIRE) != RESTING)
        nanosleep(&nap, NULL);
}

uint64_t churn_stop(struct churn *churn, double *per_second)
{
    __atomic_store_n(&churn->state, ENDED, __ATOMIC_RELEASE);
    pthread_join(churn->thread, NULL);
    uint64_t changes = churn->changes;
    *per_second = churn->busy_ns ? (double)changes * 1e9 / (double)churn->busy_ns : 0;
    free(churn);
    return changes;
}

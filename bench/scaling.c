/* SPDX-License-Identifier: MIT */
#include "bench/scaling.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/query.h"

#define WINDOW_NS 40000000u

struct team {
    const struct workload *workload;
    struct world *world;
    uint32_t threads;
    uint32_t active; /* members with a lower number measure in this window */
    enum query_kind kind;
    bool ended;
    pthread_barrier_t start;
    pthread_barrier_t finish;
};

struct member {
    struct team *team;
    pthread_t thread;
    uint32_t number;
    double rate; /* queries a nanosecond, in the last window */
};

static double measure(struct querier *querier, enum query_kind kind)
{
    uint64_t end_ns = bench_now_ns() + WINDOW_NS;
    uint64_t spent_ns = 0;
    uint64_t queries = 0;
    while (bench_now_ns() < end_ns) {
        spent_ns += querier_run(querier, kind);
        queries += QUERY_BATCH;
    }
    return (double)queries / (double)(spent_ns ? spent_ns : 1);
}

static void *member_main(void *context)
{
    struct member *member = context;
    struct team *team = member->team;
    struct querier *querier = querier_create(team->workload, team->world, NULL, NULL, member->number);
    for (;;) {
        pthread_barrier_wait(&team->start);
        if (team->ended)
            break;
        member->rate = member->number < team->active ? measure(querier, team->kind) : 0;
        pthread_barrier_wait(&team->finish);
    }
    querier_destroy(querier);
    return NULL;
}

/* One window. Returns million queries a second of all active members. */
static double window(struct team *team, struct member *members, uint32_t active, enum query_kind kind)
{
    double rate = 0;
    team->active = active;
    team->kind = kind;
    pthread_barrier_wait(&team->start);
    pthread_barrier_wait(&team->finish);
    for (uint32_t i = 0; i < active; i++)
        rate += members[i].rate;
    return rate * 1000.0;
}

static struct scaling measure_windows(struct team *team, struct member *members, double seconds)
{
    struct samples one = {0}, all = {0}, ratio = {0}, control = {0};
    uint64_t end_ns = bench_now_ns() + (uint64_t)(seconds * 1e9);
    while (bench_now_ns() < end_ns) {
        double single = window(team, members, 1, QUERY_AUTHORIZE);
        double together = window(team, members, team->threads, QUERY_AUTHORIZE);
        double single_control = window(team, members, 1, QUERY_ARITHMETIC);
        double together_control = window(team, members, team->threads, QUERY_ARITHMETIC);
        samples_add(&one, single);
        samples_add(&all, together);
        samples_add(&ratio, together / (team->threads * single));
        samples_add(&control, together_control / (team->threads * single_control));
    }
    struct scaling result = {
        .mops_one = samples_percentile(&one, 0.5),
        .mops = samples_percentile(&all, 0.5),
        .scaling = samples_percentile(&ratio, 0.5),
        .control_scaling = samples_percentile(&control, 0.5),
    };
    samples_free(&one);
    samples_free(&all);
    samples_free(&ratio);
    samples_free(&control);
    return result;
}

struct scaling scaling_measure(const struct workload *workload, struct world *world, uint32_t threads,
                               double seconds)
{
    struct team team = {.workload = workload, .world = world, .threads = threads};
    struct member *members = bench_allocate(threads, sizeof *members);
    pthread_barrier_init(&team.start, NULL, threads + 1);
    pthread_barrier_init(&team.finish, NULL, threads + 1);
    for (uint32_t i = 0; i < threads; i++) {
        members[i].team = &team;
        members[i].number = i;
        int error = pthread_create(&members[i].thread, NULL, member_main, &members[i]);
        if (error)
            bench_fail("pthread_create: %s", strerror(error));
    }
    struct scaling result = measure_windows(&team, members, seconds);
    team.ended = true;
    pthread_barrier_wait(&team.start);
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(members[i].thread, NULL);
    pthread_barrier_destroy(&team.start);
    pthread_barrier_destroy(&team.finish);
    free(members);
    return result;
}

/* SPDX-License-Identifier: MIT */
#include "bench/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "shm/grace.h"

#define HUB_EVERY      1000u
#define HUB_FACTOR     10u
#define WILDCARD_EVERY 10u

static const char *const areas[] = {"billing",  "checkout",  "inventory", "identity",  "search",   "shipping",
                                    "payments", "analytics", "catalogue", "messaging", "frontend", "fraud"};
static const char *const things[] = {"orders", "ledger",  "cart",    "session", "pricing", "index",
                                     "events", "profile", "invoice", "stock",   "audit"};
static const char *const roles[] = {"api", "worker", "gateway", "cache", "db", "proxy", "scheduler"};
#define COUNT_OF(list) ((uint32_t)(sizeof(list) / sizeof(list)[0]))

static void make_names(struct workload *workload)
{
    workload->names = bench_allocate(workload->services, sizeof *workload->names);
    for (uint32_t i = 0; i < workload->services; i++)
        /* The three lengths have no common divisor, so the words come in every
     * combination; the number keeps names apart. */
        snprintf(workload->names[i], sizeof workload->names[i], "%s-%s-%s-%u", areas[i % COUNT_OF(areas)],
                 things[i % COUNT_OF(things)], roles[i % COUNT_OF(roles)], i);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint32_t usual_sources(uint32_t pairs)
{
    return pairs <= 10000 ? 20 : pairs <= 300000 ? 50 : 100;
}

static void make_pairs(struct workload *workload, uint32_t usual, uint64_t *random)
{
    uint32_t used = 0;
    for (uint32_t d = 0; d < workload->services; d++) {
        bool hub = d % HUB_EVERY == HUB_EVERY / 2 && usual * HUB_FACTOR < workload->services;
        uint32_t wanted = hub ? usual * HUB_FACTOR : usual;
        if (wanted > workload->pairs - used)
            wanted = workload->pairs - used;
        workload->first[d] = used;
        workload->starts[d] = (uint32_t)(bench_random(random) % workload->services);
        do
            workload->steps[d] = 1 + (uint32_t)(bench_random(random) % (workload->services - 1));
        while (common_divisor(workload->steps[d], workload->services) != 1);
        for (uint32_t i = 0; i < wanted; i++)
            workload->destination[used++] = d;
    }
    workload->first[workload->services] = used;
    workload->pairs = used;
}

void workload_create(struct workload *workload, uint32_t pairs)
{
    uint64_t random = 0x9e3779b97f4a7c15ULL;
    uint32_t usual = usual_sources(pairs);
    uint32_t services = pairs / usual;
    if (services < usual + usual / 2)
        services = usual + usual / 2; /* some sources must have no intention */
    workload->services = services;
    workload->pairs = pairs;
    make_names(workload);
    workload->first = bench_allocate(services + 1, sizeof *workload->first);
    workload->starts = bench_allocate(services, sizeof *workload->starts);
    workload->steps = bench_allocate(services, sizeof *workload->steps);
    workload->destination = bench_allocate(pairs, sizeof *workload->destination);
    workload->order = bench_allocate(pairs, sizeof *workload->order);
    make_pairs(workload, usual, &random);
    for (uint32_t i = 0; i < workload->pairs; i++) {
        uint32_t j = (uint32_t)(bench_random(&random) % (i + 1));
        uint32_t d = workload->destination[i];
        workload->order[i] = workload->order[j];
        workload->order[j] = (struct workload_pair){
            .destination = d,
            .source = workload_source(workload, d, i - workload->first[d]) & 0x7fffffffu,
            .allows = workload_pair_allows(i),
        };
    }
}

void workload_destroy(struct workload *workload)
{
    free(workload->names);
    free(workload->first);
    free(workload->starts);
    free(workload->steps);
    free(workload->destination);
    free(workload->order);
}

uint32_t workload_sources(const struct workload *workload, uint32_t destination)
{
    return workload->first[destination + 1] - workload->first[destination];
}

uint32_t workload_source(const struct workload *workload, uint32_t destination, uint32_t i)
{
    return (uint32_t)((workload->starts[destination] + (uint64_t)i * workload->steps[destination]) %
                      workload->services);
}

const char *workload_pair_source(const struct workload *workload, uint32_t pair)
{
    uint32_t d = workload->destination[pair];
    return workload->names[workload_source(workload, d, pair - workload->first[d])];
}

const char *workload_pair_target(const struct workload *workload, uint32_t pair)
{
    return workload->names[workload->destination[pair]];
}

bool workload_pair_allows(uint32_t pair)
{
    return (pair * 2654435761u) >> 29 != 0;
}

bool workload_has_wildcard(uint32_t destination)
{
    return destination % WILDCARD_EVERY == 3;
}

struct policy_change workload_change(const char *source, const char *destination, enum policy_action action)
{
    return (struct policy_change){
        .source = {.name = source}, .destination = {.name = destination}, .action = action};
}

static void apply(struct policy *policy, struct grace *grace, const struct policy_change *changes,
                  uint32_t count)
{
    int error = policy_apply(policy, changes, count);
    if (error)
        bench_fail("policy_apply: %s", strerror(-error));
    grace_advance(grace);
}

uint64_t workload_load(const struct workload *workload, struct policy *policy, struct grace *grace,
                       uint32_t batch)
{
    struct policy_change *changes = bench_allocate(batch, sizeof *changes);
    uint64_t applied = 0;
    uint32_t count = 0;
    for (uint32_t pair = 0; pair < workload->pairs; pair++) {
        changes[count++] =
            workload_change(workload_pair_source(workload, pair), workload_pair_target(workload, pair),
                            workload_pair_allows(pair) ? POLICY_ALLOW : POLICY_DENY);
        applied++;
        if (count == batch || pair + 1 == workload->pairs) {
            apply(policy, grace, changes, count);
            count = 0;
        }
    }
    for (uint32_t d = 0; d < workload->services; d++) {
        if (!workload_has_wildcard(d))
            continue;
        changes[count++] = workload_change("*", workload->names[d], POLICY_ALLOW);
        applied++;
        if (count == batch) {
            apply(policy, grace, changes, count);
            count = 0;
        }
    }
    if (count)
        apply(policy, grace, changes, count);
    free(changes);
    return applied;
}

uint64_t workload_region_bytes(uint32_t pairs)
{
    return (32ull << 20) + (uint64_t)pairs * 96u;
}

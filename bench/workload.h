/* SPDX-License-Identifier: MIT */
/* The pairs that are measured: which service may call which.
 *
 * Every service is a destination. A destination has 20 exact sources up to
 * 10,000 pairs, 50 up to 300,000, else 100; so 1,000 pairs are 50 destinations
 * x 20, 100,000 are 2,000 x 50, 1,000,000 are 10,000 x 100. One destination in
 * a thousand is a hub with ten times as many, if there are so many services.
 * One pair in eight is a denial. Beyond these pairs, one destination in ten
 * also has the intention (any source, allow). Sources are drawn evenly from all
 * services; names look like "checkout-ledger-api-17". All of it is the same in
 * every run. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/policy.h"

#define WORKLOAD_TRUST_DOMAIN "11111111-2222-3333-4444-555555555555.consul"
#define WORKLOAD_URI_PREFIX   "spiffe://" WORKLOAD_TRUST_DOMAIN "/ns/default/dc/dc1/svc/"
#define WORKLOAD_NAME_BYTES   48u

/* All that a measuring thread wants to know of a pair, in one place: it should
 * find its own caches as a proxy would, not full of the benchmark's tables. */
struct workload_pair {
    uint32_t destination;
    uint32_t source : 31;
    uint32_t allows : 1;
};

struct workload {
    uint32_t services;
    uint32_t pairs;
    char (*names)[WORKLOAD_NAME_BYTES];
    uint32_t *first;       /* of each destination's pairs; services + 1 entries */
    uint32_t *starts;      /* source i of destination d is service (starts[d] + i * steps[d]) % services */
    uint32_t *steps;       /* without a common divisor with `services`: so no source comes twice */
    uint32_t *destination; /* of each pair */
    struct workload_pair *order; /* all pairs, shuffled */
};

void workload_create(struct workload *workload, uint32_t pairs);
void workload_destroy(struct workload *workload);

/* Exact sources of a destination. */
uint32_t workload_sources(const struct workload *workload, uint32_t destination);

/* Source number i of a destination, a service; from workload_sources() to
 * services - 1 they have no intention. */
uint32_t workload_source(const struct workload *workload, uint32_t destination, uint32_t i);

const char *workload_pair_source(const struct workload *workload, uint32_t pair);
const char *workload_pair_target(const struct workload *workload, uint32_t pair);
bool workload_pair_allows(uint32_t pair);

/* Has this destination the intention (any source, allow)? */
bool workload_has_wildcard(uint32_t destination);

struct policy_change workload_change(const char *source, const char *destination, enum policy_action action);

/* Applies all pairs, destination by destination, `batch` changes at a time,
 * with a grace period behind each; then the wildcards. Fails the program if the
 * region is too small. Returns the changes applied. */
uint64_t workload_load(const struct workload *workload, struct policy *policy, struct grace *grace,
                       uint32_t batch);

/* A region that holds this many pairs with room for changes. */
uint64_t workload_region_bytes(uint32_t pairs);

#endif

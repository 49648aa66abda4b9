/* SPDX-License-Identifier: MIT */
/* What the tests of regions share: a writer and a client of it in one process, with no agent between them. */
#ifndef TESTS_UNIT_HARNESS_H
#define TESTS_UNIT_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/xylem.h>

#include "shm/certificates.h"
#include "shm/policy.h"

/* For set-up that cannot fail on a healthy machine; what is under test uses cmocka's asserts. */
#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

#define HARNESS_TRUST_DOMAIN "11111111-2222-3333-4444-555555555555.consul"
#define HARNESS_PREFIX       "spiffe://" HARNESS_TRUST_DOMAIN "/ns/default/dc/dc1/svc/"
#define HARNESS_SEED         0x5eed5eed5eed5eedULL

struct harness {
    struct grace *grace;
    struct policy *policy;
    struct scope *scope; /* NULL unless harness_open_scope() */
    struct xylem_client *client;
    struct grace_reader *slots;
    struct xylem_reader *reader;
};

static inline void harness_set_consul_identities(struct policy *policy)
{
    static const char *const patterns[] = {"/ap/{partition}/ns/{namespace}/dc/{datacenter}/svc/{service}",
                                           "/ns/{namespace}/dc/{datacenter}/svc/{service}"};
    MUST(policy_set_identities(policy, HARNESS_TRUST_DOMAIN, "dc1", patterns, 2) == 0);
}

/* Gives the client the regions as they are now, as a new set. */
static inline void harness_install(struct harness *harness)
{
    struct region *regions[2] = {policy_region(harness->policy),
                                 harness->scope ? scope_region(harness->scope) : NULL};
    uint32_t count = harness->scope ? 2 : 1;
    int fds[2];
    uint64_t sizes[2];
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = region_fd(regions[i]);
        sizes[i] = region_header(regions[i])->region_bytes;
        MUST(grace_reader_use(harness->slots, regions[i]) == 0);
    }
    MUST(xylem_install_(harness->client, grace_raise(harness->grace), fds, sizes, count) == XYLEM_OK);
}

static inline void harness_open_with(struct harness *harness, uint64_t policy_bytes, uint64_t scope_bytes,
                                     uint32_t flags)
{
    memset(harness, 0, sizeof *harness);
    MUST(grace_create(&harness->grace, grace_first_epoch()) == 0);
    MUST(policy_create(&harness->policy, harness->grace, policy_bytes, 1, HARNESS_SEED, 1000) == 0);
    harness_set_consul_identities(harness->policy);
    if (scope_bytes)
        MUST(scope_create(&harness->scope, harness->grace, scope_bytes, 2, HARNESS_SEED) == 0);
    MUST(xylem_new_(&harness->client, 64, flags) == XYLEM_OK);
    MUST(grace_reader_create(harness->grace, harness->client->page_fd, harness->client->slot_capacity,
                             &harness->slots) == 0);
    harness_install(harness);
    MUST(xylem_reader_open(harness->client, &harness->reader) == XYLEM_OK);
}

static inline void harness_open(struct harness *harness, uint64_t policy_bytes)
{
    harness_open_with(harness, policy_bytes, 0, 0);
}

static inline void harness_close(struct harness *harness)
{
    xylem_reader_close(harness->reader);
    xylem_close(harness->client);
    policy_destroy(harness->policy);
    scope_destroy(harness->scope);
    grace_destroy(harness->grace);
}

/* What was retired before is free afterwards if no reader holds it. */
static inline void harness_settle(struct harness *harness)
{
    grace_advance(harness->grace);
    grace_advance(harness->grace);
}

static inline struct region_statistics harness_statistics(const struct harness *harness)
{
    struct region_statistics statistics;
    region_statistics(policy_region(harness->policy), &statistics);
    return statistics;
}

static inline struct policy_name harness_name(const char *name)
{
    return (struct policy_name){NULL, NULL, name};
}

static inline struct policy_change harness_change(const char *source, const char *destination,
                                                  enum policy_action action)
{
    return (struct policy_change){.destination = harness_name(destination),
                                  .source = harness_name(source),
                                  .action = action,
                                  .permissions = action == POLICY_PERMISSIONS ? 1 : 0,
                                  .legacy_id = NULL};
}

static inline void harness_set(struct harness *harness, const char *source, const char *destination,
                               enum policy_action action)
{
    struct policy_change change = harness_change(source, destination, action);
    MUST(policy_apply(harness->policy, &change, 1) == 0);
}

/* May the service `source` of default/default connect? */
static inline int harness_ask(struct xylem_reader *reader, const char *source, const char *target,
                              struct xylem_verdict *verdict)
{
    char uri[sizeof HARNESS_PREFIX + XYLEM_NAME_MAX + 1];
    snprintf(uri, sizeof uri, "%s%s", HARNESS_PREFIX, source);
    return xylem_authorize(reader, target, uri, NULL, verdict);
}

/* A small generator of pseudo-random numbers: a test that failed is run again by its seed. */
struct harness_random {
    uint64_t state;
};

static inline uint64_t harness_random(struct harness_random *random)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return random->state * 0x2545f4914f6cdd1dULL >> 16;
}

static inline uint32_t harness_below(struct harness_random *random, uint32_t limit)
{
    return (uint32_t)(harness_random(random) % limit);
}

/* The seed of this run: XYLEM_TEST_SEED, else always the same, so that a failure in CI is the failure at home. */
static inline uint64_t harness_seed(void)
{
    const char *text = getenv("XYLEM_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 0;
    return seed ? seed : 0x9e3779b97f4a7c15ULL;
}

#endif

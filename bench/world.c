/* SPDX-License-Identifier: MIT */
#include "bench/world.h"

#include <string.h>

#include "bench/bench.h"
#include "bench/workload.h"
#include "shm/region.h"

#define REVOCATIONS 1000u

static void must(const char *what, int error)
{
    if (error)
        bench_fail("%s: %s", what, strerror(-error));
}

/* Serials of RFC 5280's greatest length. */
static void revoke_some(struct policy *policy)
{
    uint64_t random = 0x243f6a8885a308d3ULL;
    for (uint32_t i = 0; i < REVOCATIONS; i++) {
        uint64_t serial[3] = {bench_random(&random) | 1u, bench_random(&random), bench_random(&random)};
        must("policy_revoke", policy_revoke(policy, NULL, 0, (const uint8_t *)serial, 20, 1));
    }
}

static struct xylem_client *attach(struct world *world, uint32_t flags)
{
    struct xylem_client *client;
    struct grace_reader *page;
    struct region *region = policy_region(world->policy);
    int error = xylem_new_(&client, 64, flags);
    if (error)
        bench_fail("xylem_new_: %s", xylem_strerror(error));
    must("grace_reader_create",
         grace_reader_create(world->grace, client->page_fd, client->slot_capacity, &page));
    must("grace_reader_use", grace_reader_use(page, region));
    int fd = region_fd(region);
    uint64_t size_bytes = region_header(region)->region_bytes;
    error = xylem_install_(client, grace_raise(world->grace), &fd, &size_bytes, 1);
    if (error)
        bench_fail("xylem_install_: %s", xylem_strerror(error));
    return client;
}

void world_create(struct world *world, uint64_t region_bytes)
{
    static const char *const patterns[] = {"/ns/{namespace}/dc/{datacenter}/svc/{service}"};
    must("grace_create", grace_create(&world->grace, grace_first_epoch()));
    must("policy_create",
         policy_create(&world->policy, world->grace, region_bytes, 1, 0x5851f42d4c957f2dULL, 1));
    must("policy_set_identities",
         policy_set_identities(world->policy, WORKLOAD_TRUST_DOMAIN, "dc1", patterns, 1));
    revoke_some(world->policy);
    world->client = attach(world, 0);
    world->fenced = attach(world, XYLEM_OPEN_FENCED);
    if (world->client->fenced)
        bench_fail("this kernel refuses membarrier: every section would be a fenced one");
}

void world_destroy(struct world *world)
{
    xylem_close(world->client);
    xylem_close(world->fenced);
    policy_destroy(world->policy);
    grace_destroy(world->grace);
}

struct xylem_reader *world_reader(struct xylem_client *client)
{
    struct xylem_reader *reader;
    int error = xylem_reader_open(client, &reader);
    if (error)
        bench_fail("xylem_reader_open: %s", xylem_strerror(error));
    return reader;
}

/* SPDX-License-Identifier: MIT */
/* A policy region and a client of it in one process, without an agent: the
 * writer's side is the agent's own code, and the client maps the region by
 * itself, read-only, as every client does. */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <stdint.h>

#include <xylem/xylem.h>

#include "shm/grace.h"
#include "shm/policy.h"

struct world {
    struct grace *grace;
    struct policy *policy;
    struct xylem_client *client;
    struct xylem_client *fenced; /* the same region, read with a fence in every section */
};

/* Makes the region with Consul's identities and a thousand revocations, and
 * both clients. Denies by default. */
void world_create(struct world *world, uint64_t region_bytes);
void world_destroy(struct world *world);

/* A reader of the calling thread. */
struct xylem_reader *world_reader(struct xylem_client *client);

#endif

/* SPDX-License-Identifier: MIT */
/* The writer's side of a region: a sealed memfd, an allocator over it, and memory that waits for its grace period.
 *
 * Life of an object: region_allocate() -> fill -> region_finish() -> publish by one store of its ref -> later
 * region_retire(), after the store that replaced it -> reused when every reader has left (grace.h). Everything here
 * belongs to the agent's main thread. Codes are negative errno values; -ENOSPC means that the region is full and has
 * to be superseded by a larger one. */
#ifndef SHM_REGION_H
#define SHM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xylem/abi.h>

#include "shm/grace.h"

struct region;

struct region_statistics {
    uint64_t region_bytes;
    uint64_t committed_bytes; /* backed by memory */
    uint64_t live_bytes;      /* allocated and not retired, rounded up as allocated */
    uint64_t retired_bytes;   /* waiting for their grace period */
    uint64_t leaked_bytes;    /* could not be queued for want of memory; given up until the region goes */
    uint64_t allocations;     /* live objects */
    bool locked;              /* scope regions: kept out of swap */
};

/* Makes, seals and maps a region of `region_bytes` (rounded up to pages). Scope regions are locked in memory as far
 * as the limit allows, left out of core dumps, and wiped where they are freed.
 * Returns 0; -EINVAL, -ENOMEM, or the errno of what the kernel refused. */
int region_create(struct region **out, struct grace *grace, uint32_t kind, uint64_t region_bytes,
                  uint64_t region_id, uint64_t hash_seed);

/* Unmaps and closes; scope regions are wiped first. No reader may be inside, except those who keep their own
 * mapping: they then read zeros. */
void region_destroy(struct region *region);

struct xylem_region_header *region_header(const struct region *region);
int region_fd(const struct region *region); /* read-only; the region's, for handing out */

/* An object of `size_bytes`, its header filled in, the rest zero. NULL: the region is full. */
void *region_allocate(struct region *region, uint32_t kind, size_t size_bytes);

/* Seals the object before it is published: computes its checksum in test builds. */
void region_finish(struct region *region, void *object);

xylem_ref region_ref(const struct region *region, const void *object);
void *region_at(const struct region *region, xylem_ref ref);

/* Gives back an object that was never published. NULL is allowed. */
void region_free(struct region *region, void *object);

/* Gives back an object that readers may still see; call it after the store that took it away. 0 is allowed. */
void region_retire(struct region *region, xylem_ref ref);

/* Can objects of this total size still be had without superseding? A headroom check, not a promise. */
bool region_has_room(const struct region *region, uint64_t size_bytes);

void region_statistics(const struct region *region, struct region_statistics *out);

/* For grace.c: what readers hold, as of the scan under way, and reuse of what they do not. */
void region_hold_nothing(struct region *region);
void region_hold(struct region *region, uint64_t epoch);
void region_reclaim(struct region *region, uint64_t ended_epoch);

/* True when something waits for a grace period. */
bool region_has_retired(const struct region *region);

#endif

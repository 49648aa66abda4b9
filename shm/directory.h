/* SPDX-License-Identifier: MIT */
/* The writer's side of a directory (abi.h): names to anchors, by extendible hashing.
 *
 * A shard is rebuilt when a name comes or goes and exchanged by one store an entry; the list of shards is copied when
 * it doubles. No operation costs more than one shard and that list. Main thread only. */
#ifndef SHM_DIRECTORY_H
#define SHM_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include <xylem/abi.h>

#include "shm/region.h"

struct directory {
    struct region *region;
    xylem_ref *where; /* the word of the header that names it, or one of the writer's own */
    uint64_t count;
};

/* Makes an empty directory and stores its ref in *where. Returns 0, -ENOSPC. */
int directory_create(struct directory *directory, struct region *region, xylem_ref *where);

/* NULL if there is none of this name. */
struct xylem_anchor *directory_find(const struct directory *directory, uint32_t tenancy, const uint8_t *name,
                                    size_t size);

/* An anchor that is in no directory. NULL: the region is full. */
struct xylem_anchor *directory_new_anchor(struct region *region, uint32_t tenancy, const uint8_t *name,
                                          size_t size);

/* Adds an anchor that is not there yet. Returns 0; -ENOSPC, and nothing has changed. */
int directory_insert(struct directory *directory, struct xylem_anchor *anchor);

/* Takes an anchor out; retiring it is the caller's business. Returns 0; -ENOSPC, and nothing has changed. */
int directory_remove(struct directory *directory, const struct xylem_anchor *anchor);

/* Calls `visit` for every anchor, in no order. The directory must not change meanwhile. */
void directory_each(const struct directory *directory,
                    void (*visit)(struct xylem_anchor *anchor, void *context), void *context);

#endif

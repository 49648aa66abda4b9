/* SPDX-License-Identifier: MIT */
/* Builds the object that one destination's root names: all its sources, in one table or in shards. Main thread only. */
#ifndef SHM_DESTINATION_H
#define SHM_DESTINATION_H

#include "shm/sources.h"

struct destination_change {
    struct source_change source;
    struct xylem_detail detail; /* counts if the slot says XYLEM_SLOT_DETAIL */
};

/* What `old` (NULL: nothing) becomes by the changes, at most one a source; *out is NULL when nothing is left. The old
 * object, and those parts of it that are not used on, are stale in the transaction. Cost: the table, or the shards that
 * the changes meet and the list of shards. Returns 0, -ENOSPC, -ENOMEM. */
int destination_build(struct transaction *transaction, const struct xylem_destination *old,
                      struct destination_change *changes, size_t count, struct xylem_destination **out);

/* What stands beside its root in the anchor (abi.h); 0 for NULL. */
uint32_t destination_shape(const struct xylem_destination *destination);

/* The slot of a source, 0 if there is none. */
uint64_t destination_find(const struct region *region, const struct xylem_destination *destination,
                          uint64_t hash, xylem_ref key);

/* Calls `visit` for every slot. */
void destination_each(const struct region *region, const struct xylem_destination *destination,
                      void (*visit)(uint64_t slot, void *context), void *context);

#endif

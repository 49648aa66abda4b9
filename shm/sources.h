/* SPDX-License-Identifier: MIT */
/* Tables of sources (abi.h): linear probing over 8-byte slots, built exactly sized, never changed once published.
 *
 * A changed table is a copy with the change made in it; it is laid out anew only when it has outgrown its size or a
 * probe has become long. Main thread only. */
#ifndef SHM_SOURCES_H
#define SHM_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/transaction.h"

/* One source to set or to take out. */
struct source_change {
    uint64_t slot; /* flags and key's ref as in abi.h; the tag is filled in */
    uint64_t hash; /* of the key */
    bool remove;
    int8_t *effect; /* may be NULL; set to +1 added, -1 taken out, 0 replaced or was not there */
};

/* The moving parts of a table, wherever its slots are. */
struct sources_table {
    uint64_t *slots;
    uint32_t capacity;
    uint32_t seed;
    uint32_t probe_max;
    uint32_t count;
};

/* Builds an object of `kind` whose table stands `header_bytes` from its start and holds `old` with the changes
 * applied, in order. The caller fills in the rest of the object and finishes it. Returns NULL: the region is full. */
void *sources_build(struct transaction *transaction, uint32_t kind, size_t header_bytes,
                    const struct sources_table *old, const struct source_change *changes, size_t count,
                    struct sources_table *out);

/* The slot of a key, 0 if it is not there. */
uint64_t sources_find(const struct sources_table *table, uint64_t hash, xylem_ref key);

#endif

/* SPDX-License-Identifier: MIT */
/* Objects that come and go together: everything is built first, then published, then the old is retired; or, when
 * one allocation fails, everything built is given back and nothing has happened. Main thread only. */
#ifndef SHM_TRANSACTION_H
#define SHM_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/region.h"

struct transaction_refs {
    xylem_ref *refs;
    size_t count;
    size_t capacity;
};

struct transaction {
    struct region *region;
    struct transaction_refs fresh; /* built here; freed on abort */
    struct transaction_refs stale; /* replaced by what is built here; retired on commit */
};

void transaction_begin(struct transaction *transaction, struct region *region);

/* NULL: the region is full, or there is no memory to remember the object. */
void *transaction_allocate(struct transaction *transaction, uint32_t kind, size_t size_bytes);

/* Gives back at once something allocated here: a table that did not turn out well. */
void transaction_discard(struct transaction *transaction, void *object);

/* Remembers an object that the commit takes away. 0 is allowed. False: no memory. */
bool transaction_replace(struct transaction *transaction, xylem_ref stale);

/* After the publication. */
void transaction_commit(struct transaction *transaction);
/* Instead of it. */
void transaction_abort(struct transaction *transaction);

#endif

/* SPDX-License-Identifier: MIT */
#include "shm/transaction.h"

#include <stdlib.h>
#include <string.h>

void transaction_begin(struct transaction *transaction, struct region *region)
{
    memset(transaction, 0, sizeof *transaction);
    transaction->region = region;
}

static bool push(struct transaction_refs *list, xylem_ref ref)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        xylem_ref *grown = realloc(list->refs, capacity * sizeof *grown);
        if (!grown)
            return false;
        list->refs = grown;
        list->capacity = capacity;
    }
    list->refs[list->count++] = ref;
    return true;
}

void *transaction_allocate(struct transaction *transaction, uint32_t kind, size_t size_bytes)
{
    void *object = region_allocate(transaction->region, kind, size_bytes);
    if (object && !push(&transaction->fresh, region_ref(transaction->region, object))) {
        region_free(transaction->region, object);
        return NULL;
    }
    return object;
}

void transaction_discard(struct transaction *transaction, void *object)
{
    xylem_ref ref = region_ref(transaction->region, object);
    for (size_t i = transaction->fresh.count; i-- > 0;)
        if (transaction->fresh.refs[i] == ref) {
            transaction->fresh.refs[i] = transaction->fresh.refs[--transaction->fresh.count];
            break;
        }
    region_free(transaction->region, object);
}

bool transaction_replace(struct transaction *transaction, xylem_ref stale)
{
    return !stale || push(&transaction->stale, stale);
}

static void end(struct transaction *transaction)
{
    free(transaction->fresh.refs);
    free(transaction->stale.refs);
}

void transaction_commit(struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->stale.count; i++)
        region_retire(transaction->region, transaction->stale.refs[i]);
    end(transaction);
}

void transaction_abort(struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->fresh.count; i++)
        region_free(transaction->region, region_at(transaction->region, transaction->fresh.refs[i]));
    end(transaction);
}

/* SPDX-License-Identifier: MIT */
#include "shm/destination.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/xylem.h>

#define SHARD_SOURCES_MAX  512u /* a fuller shard is split */
#define SHARD_SOURCES_MADE 256u /* as full as a split leaves it, at most */
#define SHARD_BITS_MAX     20u
#define SLOTS_OFFSET       offsetof(struct xylem_destination, slots)

/* Shards that are to stand in the new list. */
struct placed_shard {
    uint64_t prefix; /* a hash that belongs there */
    uint32_t bits;
    xylem_ref ref;
};

struct placed_shards {
    struct placed_shard *entries;
    size_t count;
    size_t capacity;
    uint32_t bits_max;
};

static struct sources_table inline_table(const struct xylem_destination *destination)
{
    struct sources_table table = {0};
    if (destination) {
        table.slots = (uint64_t *)(uintptr_t)destination->slots;
        table.capacity = destination->capacity;
        table.seed = destination->seed;
        table.probe_max = destination->probe_max;
        table.count = destination->count;
    }
    return table;
}

static struct sources_table shard_table(const struct xylem_sources *shard)
{
    struct sources_table table = {0};
    if (shard) {
        table.slots = (uint64_t *)(uintptr_t)shard->slots;
        table.capacity = shard->capacity;
        table.seed = shard->seed;
        table.probe_max = shard->probe_max;
        table.count = shard->count;
    }
    return table;
}

static const xylem_ref *shard_list(const struct xylem_destination *destination)
{
    return (const xylem_ref *)destination->slots;
}

static uint64_t top(uint64_t hash, uint32_t bits)
{
    return bits ? hash >> (64 - bits) : 0;
}

uint32_t destination_shape(const struct xylem_destination *destination)
{
    /* A table that does not fit the bits, or is smaller than a reader's glance, is found by its fixed part. */
    if (!destination || destination->sharded || destination->capacity < XYLEM_GLANCE_ ||
        destination->capacity > XYLEM_SHAPE_CAPACITY || destination->seed > XYLEM_SHAPE_SEED)
        return 0;
    return destination->capacity | destination->seed << XYLEM_SHAPE_SEED_SHIFT | XYLEM_SHAPE_INLINE |
           (destination->forms & XYLEM_FORM_EXACT ? XYLEM_SHAPE_EXACT : 0) |
           (destination->forms & ~XYLEM_FORM_EXACT ? XYLEM_SHAPE_WILDCARDS : 0);
}

uint64_t destination_find(const struct region *region, const struct xylem_destination *destination,
                          uint64_t hash, xylem_ref key)
{
    struct sources_table table;
    if (!destination)
        return 0;
    if (destination->sharded) {
        xylem_ref ref = shard_list(destination)[top(hash, destination->shard_bits)];
        table = shard_table(ref ? region_at(region, ref) : NULL);
    } else {
        table = inline_table(destination);
    }
    return sources_find(&table, hash, key);
}

static void each_slot(const struct sources_table *table, void (*visit)(uint64_t slot, void *context),
                      void *context)
{
    for (uint32_t i = 0; i < table->capacity; i++)
        if (table->slots[i])
            visit(table->slots[i], context);
}

void destination_each(const struct region *region, const struct xylem_destination *destination,
                      void (*visit)(uint64_t slot, void *context), void *context)
{
    struct sources_table table;
    if (!destination->sharded) {
        table = inline_table(destination);
        each_slot(&table, visit, context);
        return;
    }
    xylem_ref before = 0;
    for (uint64_t i = 0; i < 1ull << destination->shard_bits; i++) {
        xylem_ref ref = shard_list(destination)[i];
        if (!ref || ref == before)
            continue;
        before = ref;
        table = shard_table(region_at(region, ref));
        each_slot(&table, visit, context);
    }
}

/* --- details --- */

static bool is_changed(xylem_ref key, const struct destination_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((xylem_ref)changes[i].source.slot == key)
            return true;
    return false;
}

/* The new list of details; most destinations have none before and after. */
static int build_details(struct transaction *transaction, const struct xylem_destination *old,
                         const struct destination_change *changes, size_t count, xylem_ref *out)
{
    const struct xylem_details *before =
        old && old->details ? region_at(transaction->region, old->details) : NULL;
    uint32_t most = before ? before->count : 0;
    *out = 0;
    for (size_t i = 0; i < count; i++)
        most += !changes[i].source.remove && changes[i].source.slot >> 32 & XYLEM_SLOT_DETAIL;
    if (most == 0)
        return 0;
    struct xylem_details *details = transaction_allocate(transaction, XYLEM_OBJECT_DETAILS,
                                                         sizeof *details + most * sizeof details->entries[0]);
    if (!details)
        return -ENOSPC;
    for (uint32_t i = 0; before && i < before->count; i++)
        if (!is_changed(before->entries[i].key, changes, count))
            details->entries[details->count++] = before->entries[i];
    for (size_t i = 0; i < count; i++) {
        uint64_t slot = changes[i].source.slot;
        if (changes[i].source.remove || !(slot >> 32 & XYLEM_SLOT_DETAIL))
            continue;
        details->entries[details->count] = changes[i].detail;
        details->entries[details->count++].key = (xylem_ref)slot;
    }
    if (details->count == 0) {
        transaction_discard(transaction, details);
    } else {
        *out = region_ref(transaction->region, details);
        region_finish(transaction->region, details);
    }
    return before && !transaction_replace(transaction, old->details) ? -ENOMEM : 0;
}

/* How many sources of each form there are now: what there was, and what the changes turned out to do. */
static void set_counts(struct xylem_destination *destination, const struct xylem_destination *old,
                       const struct destination_change *changes, const int8_t *effects, size_t count)
{
    int64_t sources = old ? old->count : 0;
    int64_t any_name = old ? old->any_name_count : 0;
    int64_t any_namespace = old ? old->any_namespace_count : 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t flags = changes[i].source.slot >> 32;
        sources += effects[i];
        any_name += flags & XYLEM_SLOT_ANY_NAME ? effects[i] : 0;
        any_namespace += flags & XYLEM_SLOT_ANY_NAMESPACE ? effects[i] : 0;
    }
    destination->count = (uint32_t)sources;
    destination->any_name_count = (uint32_t)any_name;
    destination->any_namespace_count = (uint32_t)any_namespace;
    uint32_t wildcards = destination->any_name_count + destination->any_namespace_count;
    destination->forms = (destination->count > wildcards ? XYLEM_FORM_EXACT : 0) |
                         (destination->any_name_count ? XYLEM_FORM_ANY_NAME : 0) |
                         (destination->any_namespace_count ? XYLEM_FORM_ANY_NAMESPACE : 0);
}

/* --- one table --- */

static int build_inline(struct transaction *transaction, const struct xylem_destination *old,
                        const struct source_change *changes, size_t count, struct xylem_destination **out)
{
    struct sources_table before = inline_table(old);
    struct sources_table table = {0};
    struct xylem_destination *made =
        sources_build(transaction, XYLEM_OBJECT_DESTINATION, SLOTS_OFFSET, &before, changes, count, &table);
    if (!made)
        return -ENOSPC;
    made->capacity = table.capacity;
    made->seed = table.seed;
    made->probe_max = table.probe_max;
    *out = made;
    return 0;
}

/* --- shards --- */

static bool place_shard(struct placed_shards *placed, uint64_t prefix, uint32_t bits, xylem_ref ref)
{
    if (placed->count == placed->capacity) {
        size_t capacity = placed->capacity ? placed->capacity * 2 : 8;
        struct placed_shard *grown = realloc(placed->entries, capacity * sizeof *grown);
        if (!grown)
            return false;
        placed->entries = grown;
        placed->capacity = capacity;
    }
    placed->entries[placed->count++] = (struct placed_shard){prefix, bits, ref};
    if (bits > placed->bits_max)
        placed->bits_max = bits;
    return true;
}

static int make_shard(struct transaction *transaction, const struct xylem_sources *old,
                      const struct source_change *changes, size_t count, uint64_t prefix, uint32_t bits,
                      struct placed_shards *placed)
{
    struct sources_table before = shard_table(old);
    struct sources_table table = {0};
    struct xylem_sources *made =
        sources_build(transaction, XYLEM_OBJECT_SOURCES, offsetof(struct xylem_sources, slots), &before,
                      changes, count, &table);
    if (!made)
        return -ENOSPC;
    made->capacity = table.capacity;
    made->seed = table.seed;
    made->probe_max = table.probe_max;
    made->count = table.count;
    made->bits = bits;
    region_finish(transaction->region, made);
    return place_shard(placed, prefix, bits, region_ref(transaction->region, made)) ? 0 : -ENOMEM;
}

/* `changes` are sorted by hash and start from nothing: as many shards as they need. */
static int make_shards(struct transaction *transaction, const struct source_change *changes, size_t count,
                       uint64_t prefix, uint32_t bits, struct placed_shards *placed)
{
    if (count <= SHARD_SOURCES_MADE || bits == SHARD_BITS_MAX)
        return make_shard(transaction, NULL, changes, count, prefix, bits, placed);
    uint64_t bit = 1ull << (63 - bits);
    size_t low = 0;
    while (low < count && !(changes[low].hash & bit))
        low++;
    int error = make_shards(transaction, changes, low, prefix & ~bit, bits + 1, placed);
    if (!error)
        error = make_shards(transaction, changes + low, count - low, prefix | bit, bits + 1, placed);
    return error;
}

static int by_hash(const void *left, const void *right)
{
    const struct source_change *a = left;
    const struct source_change *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    /* Equal hashes keep their order: what was there first, then the changes as they came. */
    return a->slot >> 40 < b->slot >> 40 ? -1 : a->slot >> 40 > b->slot >> 40;
}

struct gathered {
    const struct region *region;
    struct source_change *changes;
    size_t count;
};

static void gather(uint64_t slot, void *context)
{
    struct gathered *list = context;
    const struct xylem_anchor *key = region_at(list->region, (xylem_ref)slot);
    list->changes[list->count++] = (struct source_change){
        .slot = slot & 0xffffffffffu, .hash = key->hash, .remove = false, .effect = NULL};
}

/* What stands in a table and the changes behind it, sorted by hash: for building shards from nothing. The position
 * rides in the bits of the slot where the tag will be, which makes the sort stable. */
static int remake(struct transaction *transaction, const struct sources_table *table,
                  const struct source_change *changes, size_t count, uint64_t prefix, uint32_t bits,
                  struct placed_shards *placed)
{
    struct gathered list = {transaction->region, NULL, 0};
    list.changes = malloc((table->count + count) * sizeof *list.changes);
    if (!list.changes)
        return -ENOMEM;
    each_slot(table, gather, &list);
    for (size_t i = 0; i < count; i++) {
        list.changes[list.count] = changes[i];
        list.changes[list.count++].slot = (changes[i].slot & 0xffffffffffu) | (uint64_t)(i + 1) << 40;
    }
    qsort(list.changes, list.count, sizeof *list.changes, by_hash);
    int error = make_shards(transaction, list.changes, list.count, prefix, bits, placed);
    free(list.changes);
    return error;
}

/* The changes that meet one shard of a sharded destination, sorted by hash. */
static int change_shard(struct transaction *transaction, xylem_ref ref, const struct source_change *changes,
                        size_t count, struct placed_shards *placed)
{
    const struct xylem_sources *shard = region_at(transaction->region, ref);
    if (!transaction_replace(transaction, ref))
        return -ENOMEM;
    if (shard->count + count <= SHARD_SOURCES_MAX || shard->bits == SHARD_BITS_MAX)
        return make_shard(transaction, shard, changes, count, changes[0].hash, shard->bits, placed);
    struct sources_table table = shard_table(shard);
    return remake(transaction, &table, changes, count, changes[0].hash, shard->bits, placed);
}

static int change_shards(struct transaction *transaction, const struct xylem_destination *old,
                         const struct source_change *changes, size_t count, struct placed_shards *placed)
{
    int error = 0;
    for (size_t first = 0, next; first < count && !error; first = next) {
        xylem_ref ref = shard_list(old)[top(changes[first].hash, old->shard_bits)];
        for (next = first + 1; next < count; next++)
            if (shard_list(old)[top(changes[next].hash, old->shard_bits)] != ref)
                break;
        error = change_shard(transaction, ref, changes + first, next - first, placed);
    }
    return error;
}

/* The list of shards: the old one, as deep as needed, with the new shards in their places. */
static struct xylem_destination *list_shards(struct transaction *transaction,
                                             const struct xylem_destination *old,
                                             const struct placed_shards *placed)
{
    uint32_t old_bits = old && old->sharded ? old->shard_bits : 0;
    uint32_t bits = placed->bits_max > old_bits ? placed->bits_max : old_bits;
    uint64_t entries = 1ull << bits;
    struct xylem_destination *made =
        transaction_allocate(transaction, XYLEM_OBJECT_DESTINATION,
                             SLOTS_OFFSET + (entries + 1) / 2 * sizeof(uint64_t));
    if (!made)
        return NULL;
    xylem_ref *list = (xylem_ref *)made->slots;
    made->sharded = 1;
    made->shard_bits = bits;
    if (old && old->sharded && bits == old_bits)
        memcpy(list, shard_list(old), entries * sizeof *list);
    else if (old && old->sharded)
        for (uint64_t i = 0; i < entries; i++)
            list[i] = shard_list(old)[i >> (bits - old_bits)];
    for (size_t i = 0; i < placed->count; i++) {
        const struct placed_shard *shard = &placed->entries[i];
        uint64_t span = 1ull << (bits - shard->bits);
        uint64_t first = top(shard->prefix, bits) & ~(span - 1);
        for (uint64_t entry = first; entry < first + span; entry++)
            list[entry] = shard->ref;
    }
    return made;
}

/* A list of shards that has become small, as one table again. */
static int fold_shards(struct transaction *transaction, struct xylem_destination *list, size_t count,
                       struct xylem_destination **out)
{
    struct gathered slots = {transaction->region, NULL, 0};
    int error = -ENOMEM;
    xylem_ref before = 0;
    slots.changes = malloc((count + 1) * sizeof *slots.changes);
    if (!slots.changes)
        return -ENOMEM;
    destination_each(transaction->region, list, gather, &slots);
    for (uint64_t i = 0; i < 1ull << list->shard_bits; i++) {
        xylem_ref ref = shard_list(list)[i];
        if (ref != before && !transaction_replace(transaction, ref))
            goto out;
        before = ref;
    }
    error = build_inline(transaction, NULL, slots.changes, slots.count, out);
    if (!error)
        transaction_discard(transaction, list);
out:
    free(slots.changes);
    return error;
}

static int build_sharded(struct transaction *transaction, const struct xylem_destination *old,
                         struct source_change *changes, size_t count, struct xylem_destination **out)
{
    struct placed_shards placed = {0};
    size_t left = old ? old->count : 0;
    int error;
    if (old && old->sharded) {
        for (size_t i = 0; i < count; i++) /* the position, for a stable sort: see remake() */
            changes[i].slot = (changes[i].slot & 0xffffffffffu) | (uint64_t)(i + 1) << 40;
        qsort(changes, count, sizeof *changes, by_hash);
        error = change_shards(transaction, old, changes, count, &placed);
    } else {
        struct sources_table table = inline_table(old);
        error = remake(transaction, &table, changes, count, 0, 0, &placed);
    }
    if (!error) {
        *out = list_shards(transaction, old, &placed);
        error = *out ? 0 : -ENOSPC;
    }
    for (size_t i = 0; i < count; i++)
        left = (size_t)((int64_t)left + *changes[i].effect);
    if (!error && left <= SHARD_SOURCES_MADE)
        error = fold_shards(transaction, *out, left, out);
    free(placed.entries);
    return error;
}

int destination_build(struct transaction *transaction, const struct xylem_destination *old,
                      struct destination_change *changes, size_t count, struct xylem_destination **out)
{
    struct source_change few[8];
    int8_t few_effects[8];
    struct source_change *sources = few;
    int8_t *effects = few_effects;
    *out = NULL;
    if (count > sizeof few / sizeof few[0]) {
        sources = malloc(count * (sizeof *sources + 1));
        if (!sources)
            return -ENOMEM;
        effects = (int8_t *)(sources + count);
    }
    for (size_t i = 0; i < count; i++) {
        effects[i] = 0;
        sources[i] = changes[i].source;
        sources[i].effect = &effects[i];
    }
    struct xylem_destination *made = NULL;
    int error = (old && old->sharded) || (old ? old->count : 0) + count > XYLEM_SOURCES_INLINE
                    ? build_sharded(transaction, old, sources, count, &made)
                    : build_inline(transaction, old, sources, count, &made);
    if (!error)
        error = build_details(transaction, old, changes, count, &made->details);
    if (!error && old && !transaction_replace(transaction, region_ref(transaction->region, old)))
        error = -ENOMEM;
    if (!error) {
        set_counts(made, old, changes, effects, count);
        for (size_t i = 0; i < count; i++)
            if (changes[i].source.effect)
                *changes[i].source.effect = effects[i];
        region_finish(transaction->region, made);
        *out = made;
        if (made->count == 0) {
            transaction_discard(transaction, made);
            *out = NULL;
        }
    }
    if (sources != few)
        free(sources);
    return error;
}

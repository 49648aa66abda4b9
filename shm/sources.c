/* SPDX-License-Identifier: MIT */
#include "shm/sources.h"

#include <string.h>

#define PROBES_WANTED 12u /* two cache lines: eight slots are one */
#define SEEDS_TRIED   6u

static uint64_t key_hash(const struct region *region, uint64_t slot)
{
    const struct xylem_anchor *key = region_at(region, (xylem_ref)slot);
    return key->hash;
}

static uint32_t after(const struct sources_table *table, uint32_t slot)
{
    return slot + 1 == table->capacity ? 0 : slot + 1;
}

static uint32_t find_index(const struct sources_table *table, uint64_t hash, xylem_ref key, bool *found,
                           uint32_t *probe)
{
    uint32_t slot = xylem_slot_index(hash, table->seed, table->capacity);
    for (*probe = 0; table->slots[slot]; ++*probe) {
        if ((xylem_ref)table->slots[slot] == key) {
            *found = true;
            return slot;
        }
        slot = after(table, slot);
    }
    *found = false;
    return slot;
}

uint64_t sources_find(const struct sources_table *table, uint64_t hash, xylem_ref key)
{
    bool found = false;
    uint32_t probe;
    if (table->capacity == 0)
        return 0;
    uint32_t slot = find_index(table, hash, key, &found, &probe);
    return found ? table->slots[slot] : 0;
}

static int8_t put(struct sources_table *table, uint64_t slot, uint64_t hash)
{
    bool found;
    uint32_t probe;
    uint32_t index = find_index(table, hash, (xylem_ref)slot, &found, &probe);
    table->slots[index] = (slot & 0xffffffffffu) | (uint64_t)xylem_slot_tag(hash) << 40;
    if (found)
        return 0;
    if (probe > table->probe_max)
        table->probe_max = probe;
    table->count++;
    return 1;
}

/* Takes a slot out and moves those behind it up, so that no probe meets a hole where it should go on. */
static int8_t take(const struct region *region, struct sources_table *table, xylem_ref key, uint64_t hash)
{
    bool found;
    uint32_t probe;
    uint32_t hole = find_index(table, hash, key, &found, &probe);
    if (!found)
        return 0;
    for (uint32_t next = after(table, hole); table->slots[next]; next = after(table, next)) {
        uint32_t home = xylem_slot_index(key_hash(region, table->slots[next]), table->seed, table->capacity);
        uint32_t from_home = next >= home ? next - home : next + table->capacity - home;
        uint32_t from_hole = next >= hole ? next - hole : next + table->capacity - hole;
        if (from_home >= from_hole) {
            table->slots[hole] = table->slots[next];
            hole = next;
        }
    }
    table->slots[hole] = 0;
    table->count--;
    return -1;
}

/* The old table's slots at their places under the new capacity and seed. */
static void carry_over(const struct region *region, struct sources_table *table,
                       const struct sources_table *old)
{
    table->count = 0;
    table->probe_max = 0;
    if (old->capacity == table->capacity && old->seed == table->seed) {
        memcpy(table->slots, old->slots, table->capacity * sizeof table->slots[0]);
        table->count = old->count;
        table->probe_max = old->probe_max;
        return;
    }
    memset(table->slots, 0, table->capacity * sizeof table->slots[0]);
    for (uint32_t i = 0; i < old->capacity; i++)
        if (old->slots[i])
            put(table, old->slots[i], key_hash(region, old->slots[i]));
}

static void fill(const struct region *region, struct sources_table *table, const struct sources_table *old,
                 const struct source_change *changes, size_t count)
{
    carry_over(region, table, old);
    for (size_t i = 0; i < count; i++) {
        int8_t effect = changes[i].remove ? take(region, table, (xylem_ref)changes[i].slot, changes[i].hash)
                                          : put(table, changes[i].slot, changes[i].hash);
        if (changes[i].effect)
            *changes[i].effect = effect;
    }
}

static uint32_t choose_capacity(const struct sources_table *old, size_t additions)
{
    uint64_t most = old->count + additions;
    uint64_t wanted = most + most / 2 + 3; /* two thirds full: most sources are within a reader's glance */
    bool fits = old->capacity > most + most / 4 && old->capacity <= 2 * wanted + 8;
    return fits ? old->capacity : (uint32_t)wanted;
}

void *sources_build(struct transaction *transaction, uint32_t kind, size_t header_bytes,
                    const struct sources_table *old, const struct source_change *changes, size_t count,
                    struct sources_table *out)
{
    size_t additions = 0;
    for (size_t i = 0; i < count; i++)
        additions += !changes[i].remove;
    out->capacity = choose_capacity(old, additions);
    uint8_t *object =
        transaction_allocate(transaction, kind, header_bytes + out->capacity * sizeof out->slots[0]);
    if (!object)
        return NULL;
    out->slots = (uint64_t *)(void *)(object + header_bytes);
    uint32_t best = old->seed;
    uint32_t best_probe = UINT32_MAX;
    for (uint32_t try = 0; try <= SEEDS_TRIED && best_probe > PROBES_WANTED; try++) {
        out->seed = (old->seed + try) & XYLEM_SHAPE_SEED; /* first as it is: the copy is then a plain one */
        fill(transaction->region, out, old, changes, count);
        if (out->probe_max < best_probe) {
            best_probe = out->probe_max;
            best = out->seed;
        }
    }
    if (out->seed != best) {
        out->seed = best;
        fill(transaction->region, out, old, changes, count);
    }
    return object;
}

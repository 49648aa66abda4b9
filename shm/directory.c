/* SPDX-License-Identifier: MIT */
#include "shm/directory.h"

#include <errno.h>
#include <string.h>

#include <xylem/xylem.h>

#define SHARD_NAMES_MAX 48u                   /* a fuller shard is split */
#define SHARD_NAMES_CAP (4 * SHARD_NAMES_MAX) /* of those that cannot be split */
#define BITS_MAX        24u
#define PROBES_WANTED   1u /* a second probe is a mispredicted branch */
#define SEEDS_TRIED     8u

static struct xylem_directory *table(const struct directory *directory)
{
    return region_at(directory->region, *directory->where);
}

static struct xylem_directory *new_table(struct region *region, uint32_t bits)
{
    struct xylem_directory *made =
        region_allocate(region, XYLEM_OBJECT_DIRECTORY,
                        sizeof(struct xylem_directory) + (sizeof(xylem_ref) << bits));
    if (made)
        made->bits = bits;
    return made;
}

int directory_create(struct directory *directory, struct region *region, xylem_ref *where)
{
    struct xylem_directory *made = new_table(region, 0);
    if (!made)
        return -ENOSPC;
    directory->region = region;
    directory->where = where;
    directory->count = 0;
    __atomic_store_n(where, region_ref(region, made), __ATOMIC_RELEASE); /* [publish] */
    return 0;
}

struct xylem_anchor *directory_find(const struct directory *directory, uint32_t tenancy, const uint8_t *name,
                                    size_t size)
{
    const struct xylem_region_header *header = region_header(directory->region);
    uint64_t hash = xylem_hash(header->hash_seed, tenancy, name, size);
    const struct xylem_anchor *anchor = xylem_find_(header, *directory->where, hash, tenancy, name, size);
    return (struct xylem_anchor *)(uintptr_t)anchor;
}

struct xylem_anchor *directory_new_anchor(struct region *region, uint32_t tenancy, const uint8_t *name,
                                          size_t size)
{
    struct xylem_anchor *anchor = region_allocate(region, XYLEM_OBJECT_ANCHOR, sizeof *anchor + size);
    if (!anchor)
        return NULL;
    anchor->hash = xylem_hash(region_header(region)->hash_seed, tenancy, name, size);
    anchor->tenancy = tenancy;
    anchor->name_bytes = (uint32_t)size;
    memcpy(anchor->name, name, size);
    return anchor;
}

/* The anchors of a shard as a list. Returns how many. */
static uint32_t list_shard(const struct directory *directory, xylem_ref ref, xylem_ref *anchors)
{
    uint32_t count = 0;
    if (!ref)
        return 0;
    const struct xylem_shard *shard = region_at(directory->region, ref);
    for (uint32_t i = 0; i < shard->capacity; i++)
        if (shard->slots[i].anchor)
            anchors[count++] = shard->slots[i].anchor;
    return count;
}

/* Places all anchors with one seed. Returns the longest probe. */
static uint32_t place(const struct directory *directory, struct xylem_shard *shard, const xylem_ref *anchors,
                      uint32_t count, uint32_t seed)
{
    uint32_t longest = 0;
    memset(shard->slots, 0, shard->capacity * sizeof shard->slots[0]);
    for (uint32_t i = 0; i < count; i++) {
        const struct xylem_anchor *anchor = region_at(directory->region, anchors[i]);
        uint32_t slot = xylem_slot_index(anchor->hash, seed, shard->capacity);
        uint32_t probe = 0;
        for (; shard->slots[slot].anchor; probe++)
            slot = slot + 1 == shard->capacity ? 0 : slot + 1;
        shard->slots[slot].tag = (uint32_t)anchor->hash;
        shard->slots[slot].anchor = anchors[i];
        if (probe > longest)
            longest = probe;
    }
    return longest;
}

/* A shard of these anchors; NULL: the region is full. */
static struct xylem_shard *build_shard(const struct directory *directory, const xylem_ref *anchors,
                                       uint32_t count, uint32_t bits)
{
    uint32_t capacity = 3 * count + 1; /* names are few beside pairs, and every look-up comes through here */
    struct xylem_shard *shard = region_allocate(directory->region, XYLEM_OBJECT_SHARD,
                                                sizeof *shard + capacity * sizeof shard->slots[0]);
    if (!shard)
        return NULL;
    shard->capacity = capacity;
    shard->bits = bits;
    uint32_t best = 0;
    uint32_t best_probe = UINT32_MAX;
    for (uint32_t seed = 0; seed < SEEDS_TRIED && best_probe > PROBES_WANTED; seed++) {
        uint32_t longest = place(directory, shard, anchors, count, seed);
        if (longest < best_probe) {
            best_probe = longest;
            best = seed;
        }
    }
    shard->seed = best;
    shard->probe_max = place(directory, shard, anchors, count, best);
    region_finish(directory->region, shard);
    return shard;
}

static uint64_t entry_of(const struct xylem_directory *list, uint64_t hash)
{
    return list->bits ? hash >> (64 - list->bits) : 0;
}

/* Stores a shard into every entry that its local depth covers. A reader finds the old one or the new one. */
static void publish_shard(const struct directory *directory, uint64_t hash, xylem_ref ref, uint32_t bits)
{
    struct xylem_directory *list = table(directory);
    uint64_t span = 1ull << (list->bits - bits);
    uint64_t first = entry_of(list, hash) & ~(span - 1);
    for (uint64_t i = first; i < first + span; i++)
        __atomic_store_n(&list->shards[i], ref, __ATOMIC_RELEASE); /* [publish] */
}

static int double_list(struct directory *directory)
{
    const struct xylem_directory *old = table(directory);
    xylem_ref old_ref = *directory->where;
    struct xylem_directory *grown = new_table(directory->region, old->bits + 1);
    if (!grown)
        return -ENOSPC;
    for (uint64_t i = 0; i < 1ull << grown->bits; i++)
        grown->shards[i] = old->shards[i >> 1];
    __atomic_store_n(directory->where, region_ref(directory->region, grown),
                     __ATOMIC_RELEASE); /* [publish] */
    region_retire(directory->region, old_ref);
    return 0;
}

/* Splits a full shard, with the new anchor in it, by the next bit of the hash. */
static int split(struct directory *directory, const xylem_ref *anchors, uint32_t count, xylem_ref old_ref,
                 uint32_t bits, uint64_t hash)
{
    if (bits == table(directory)->bits && double_list(directory) != 0)
        return -ENOSPC;
    xylem_ref halves[2][SHARD_NAMES_CAP];
    uint32_t counts[2] = {0, 0};
    for (uint32_t i = 0; i < count; i++) {
        const struct xylem_anchor *anchor = region_at(directory->region, anchors[i]);
        uint32_t side = (uint32_t)(anchor->hash >> (63 - bits)) & 1u;
        halves[side][counts[side]++] = anchors[i];
    }
    struct xylem_shard *low = build_shard(directory, halves[0], counts[0], bits + 1);
    struct xylem_shard *high = build_shard(directory, halves[1], counts[1], bits + 1);
    if (!low || !high) {
        region_free(directory->region, low);
        region_free(directory->region, high);
        return -ENOSPC;
    }
    uint64_t bit = 1ull << (63 - bits);
    publish_shard(directory, hash & ~bit, region_ref(directory->region, low), bits + 1);
    publish_shard(directory, hash | bit, region_ref(directory->region, high), bits + 1);
    region_retire(directory->region, old_ref);
    return 0;
}

int directory_insert(struct directory *directory, struct xylem_anchor *anchor)
{
    struct xylem_directory *list = table(directory);
    xylem_ref old_ref = list->shards[entry_of(list, anchor->hash)];
    const struct xylem_shard *old = old_ref ? region_at(directory->region, old_ref) : NULL;
    uint32_t bits = old ? old->bits : 0;
    /* Shards outgrow SHARD_NAMES_MAX for a while when all names fall on one side of a split, and at the deepest level,
     * where this buffer bounds them. */
    xylem_ref anchors[SHARD_NAMES_CAP];
    if (old && old->capacity > SHARD_NAMES_CAP - 1)
        return -ENOSPC;
    uint32_t count = list_shard(directory, old_ref, anchors);
    anchors[count++] = region_ref(directory->region, anchor);
    if (count > SHARD_NAMES_MAX && bits < BITS_MAX) {
        int error = split(directory, anchors, count, old_ref, bits, anchor->hash);
        directory->count += error == 0;
        return error;
    }
    struct xylem_shard *shard = build_shard(directory, anchors, count, bits);
    if (!shard)
        return -ENOSPC;
    publish_shard(directory, anchor->hash, region_ref(directory->region, shard), bits);
    region_retire(directory->region, old_ref);
    directory->count++;
    return 0;
}

int directory_remove(struct directory *directory, const struct xylem_anchor *anchor)
{
    struct xylem_directory *list = table(directory);
    xylem_ref old_ref = list->shards[entry_of(list, anchor->hash)];
    const struct xylem_shard *old = region_at(directory->region, old_ref);
    xylem_ref anchors[SHARD_NAMES_CAP];
    xylem_ref gone = region_ref(directory->region, anchor);
    uint32_t count = list_shard(directory, old_ref, anchors);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (anchors[i] != gone)
            anchors[kept++] = anchors[i];
    struct xylem_shard *shard = build_shard(directory, anchors, kept, old->bits);
    if (!shard)
        return -ENOSPC;
    publish_shard(directory, anchor->hash, region_ref(directory->region, shard), old->bits);
    region_retire(directory->region, old_ref);
    directory->count--;
    return 0;
}

void directory_each(const struct directory *directory,
                    void (*visit)(struct xylem_anchor *anchor, void *context), void *context)
{
    const struct xylem_directory *list = table(directory);
    xylem_ref before = 0;
    for (uint64_t i = 0; i < 1ull << list->bits; i++) {
        xylem_ref ref = list->shards[i];
        if (!ref || ref == before) /* neighbours may share a shard */
            continue;
        before = ref;
        const struct xylem_shard *shard = region_at(directory->region, ref);
        for (uint32_t slot = 0; slot < shard->capacity; slot++)
            if (shard->slots[slot].anchor)
                visit(region_at(directory->region, shard->slots[slot].anchor), context);
    }
}

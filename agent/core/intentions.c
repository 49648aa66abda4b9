/* SPDX-License-Identifier: MIT */
/* The set: four maps over intentions that bring their own links. */
#include "agent/core/intention_internal.h"

#include <stdlib.h>
#include <strings.h>

#include <xylem/abi.h>

/* ---- Keys ---- */

static uint64_t hash_text(uint64_t seed, uint32_t part, const char *text)
{
    return xylem_hash(seed, part, (const uint8_t *)text, strlen(text));
}

/* Names longer than INTENTION_NAME_MAX hash by their beginning; nothing in the set equals them. */
static uint64_t hash_lower(uint64_t seed, uint32_t part, const char *text)
{
    uint8_t lower[INTENTION_NAME_MAX];
    size_t size = strnlen(text, sizeof lower);
    for (size_t i = 0; i < size; i++)
        lower[i] = (uint8_t)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
    return xylem_hash(seed, part, lower, size);
}

static uint32_t fold(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

static uint64_t hash_tenancy(const struct intentions *set, const struct intention_name *name)
{
    return hash_text(hash_text(set->hash_seed, 0, name->partition), 1, name->namespace_name);
}

static uint64_t hash_destination(const struct intentions *set, const struct intention_name *name)
{
    return hash_lower(hash_tenancy(set, name), 2, name->name);
}

static uint64_t hash_source(const struct intentions *set, const struct intention_name *name)
{
    return hash_text(hash_tenancy(set, name), 3, name->name);
}

static uint32_t hash_key(uint64_t destination, uint64_t source, const char *peer)
{
    return fold(hash_text(destination ^ (source * 2 + 1), 4, peer));
}

/* The C locale's strcasecmp() folds ASCII only; the agent never sets another. */
bool intention_same_destination(const struct intention_name *a, const struct intention_name *b)
{
    return strcasecmp(a->name, b->name) == 0 && strcmp(a->namespace_name, b->namespace_name) == 0 &&
           strcmp(a->partition, b->partition) == 0;
}

bool intention_same_source(const struct intention_name *a, const struct intention_name *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->namespace_name, b->namespace_name) == 0 &&
           strcmp(a->partition, b->partition) == 0;
}

/* ---- Rings ---- */

enum { NOT_FIRST, FIRST };

static void join(struct hash_map *map, struct intention_ring *first, struct intention_ring *ring,
                 uint32_t hash)
{
    ring->node.hash = hash;
    ring->node.tag = first ? NOT_FIRST : FIRST;
    ring->next = first ? first->next : ring;
    ring->previous = first ? first : ring;
    ring->next->previous = ring;
    ring->previous->next = ring;
    if (!first)
        hash_map_add(map, &ring->node, hash);
}

static void leave(struct hash_map *map, struct intention_ring *ring)
{
    struct intention_ring *heir = ring->next;
    ring->previous->next = ring->next;
    ring->next->previous = ring->previous;
    if (ring->node.tag != FIRST)
        return;
    hash_map_remove(map, &ring->node);
    if (heir == ring)
        return;
    heir->node.tag = FIRST;
    hash_map_add(map, &heir->node, ring->node.hash);
}

static struct intention *of_destination(const void *ring)
{
    return HASH_MAP_MEMBER(struct intention, by_destination, ring);
}

static struct intention *of_source(const void *ring)
{
    return HASH_MAP_MEMBER(struct intention, by_source, ring);
}

struct intention_ring *intentions_destination_ring(const struct intentions *set,
                                                   const struct intention_name *name)
{
    uint32_t hash = fold(hash_destination(set, name));
    for (struct hash_node *node = hash_map_chain(&set->by_destination, hash); node; node = node->next) {
        struct intention_ring *ring = HASH_MAP_MEMBER(struct intention_ring, node, node);
        if (node->hash == hash && intention_same_destination(&of_destination(ring)->destination, name))
            return ring;
    }
    return NULL;
}

struct intention_ring *intentions_source_ring(const struct intentions *set, const struct intention_name *name)
{
    uint32_t hash = fold(hash_source(set, name));
    for (struct hash_node *node = hash_map_chain(&set->by_source, hash); node; node = node->next) {
        struct intention_ring *ring = HASH_MAP_MEMBER(struct intention_ring, node, node);
        if (node->hash == hash && intention_same_source(&of_source(ring)->source, name))
            return ring;
    }
    return NULL;
}

/* ---- The set ---- */

struct intentions *intentions_new(uint64_t hash_seed)
{
    struct intentions *set = calloc(1, sizeof *set);
    if (!set)
        return NULL;
    set->hash_seed = hash_seed;
    if (hash_map_init(&set->by_key) == 0 && hash_map_init(&set->by_destination) == 0 &&
        hash_map_init(&set->by_source) == 0 && hash_map_init(&set->by_legacy_id) == 0)
        return set;
    intentions_free(set);
    return NULL;
}

void intentions_free(struct intentions *set)
{
    if (!set)
        return;
    for (size_t chain = 0; chain < set->by_key.used; chain++)
        for (struct hash_node *node = set->by_key.chains[chain], *next; node; node = next) {
            next = node->next;
            intention_free(HASH_MAP_MEMBER(struct intention, by_key, node));
        }
    hash_map_free(&set->by_key);
    hash_map_free(&set->by_destination);
    hash_map_free(&set->by_source);
    hash_map_free(&set->by_legacy_id);
    free(set);
}

size_t intentions_count(const struct intentions *set)
{
    return set->by_key.count;
}

static struct intention *find(const struct intentions *set, uint32_t hash,
                              const struct intention_name *destination, const struct intention_name *source,
                              const char *peer)
{
    for (struct hash_node *node = hash_map_chain(&set->by_key, hash); node; node = node->next) {
        struct intention *intention = HASH_MAP_MEMBER(struct intention, by_key, node);
        if (node->hash == hash && intention_same_destination(&intention->destination, destination) &&
            intention_same_source(&intention->source, source) && strcmp(intention->source_peer, peer) == 0)
            return intention;
    }
    return NULL;
}

static struct intention *find_named(const struct intentions *set, const struct intention_name *destination,
                                    const struct intention_name *source, const char *peer)
{
    struct intention_name to = intention_full_name(destination);
    struct intention_name from = intention_full_name(source);
    peer = intention_text(peer);
    return find(set, hash_key(hash_destination(set, &to), hash_source(set, &from), peer), &to, &from, peer);
}

const struct intention *intentions_get(const struct intentions *set, const struct intention_name *destination,
                                       const struct intention_name *source, const char *source_peer)
{
    return find_named(set, destination, source, source_peer);
}

const struct intention *intentions_find_legacy_id(const struct intentions *set, const char *legacy_id)
{
    uint32_t hash = fold(hash_lower(set->hash_seed, 5, legacy_id));
    for (struct hash_node *node = hash_map_chain(&set->by_legacy_id, hash); node; node = node->next) {
        struct intention_details *details = HASH_MAP_MEMBER(struct intention_details, by_legacy_id, node);
        if (node->hash == hash && strcasecmp(details->legacy_id, legacy_id) == 0)
            return details->owner;
    }
    return NULL;
}

static void unlink_intention(struct intentions *set, struct intention *intention)
{
    hash_map_remove(&set->by_key, &intention->by_key);
    leave(&set->by_destination, &intention->by_destination);
    if (!intention->source_peer[0])
        leave(&set->by_source, &intention->by_source);
    if (intention->details->legacy_id[0])
        hash_map_remove(&set->by_legacy_id, &intention->details->by_legacy_id);
}

static void link_intention(struct intentions *set, struct intention *intention)
{
    const struct intention_name *to = &intention->destination;
    const struct intention_name *from = &intention->source;
    uint64_t destination = hash_destination(set, to);
    uint64_t source = hash_source(set, from);
    hash_map_add(&set->by_key, &intention->by_key, hash_key(destination, source, intention->source_peer));
    join(&set->by_destination, intentions_destination_ring(set, to), &intention->by_destination,
         fold(destination));
    if (!intention->source_peer[0])
        join(&set->by_source, intentions_source_ring(set, from), &intention->by_source, fold(source));
    if (intention->details->legacy_id[0])
        hash_map_add(&set->by_legacy_id, &intention->details->by_legacy_id,
                     fold(hash_lower(set->hash_seed, 5, intention->details->legacy_id)));
}

int intentions_put(struct intentions *set, struct intention *intention, struct intention **replaced,
                   struct error *error)
{
    const char *legacy_id = intention->details->legacy_id;
    struct intention *old =
        find_named(set, &intention->destination, &intention->source, intention->source_peer);
    const struct intention *same_id = legacy_id[0] ? intentions_find_legacy_id(set, legacy_id) : NULL;
    if (same_id && same_id != old)
        return error_set(error, ERROR_CONFLICT,
                         "intention with ID \"%s\": \"%s\" => \"%s\" has this ID already; use another",
                         legacy_id, same_id->source.name, same_id->destination.name);
    if (old)
        unlink_intention(set, old);
    link_intention(set, intention);
    *replaced = old;
    return 0;
}

struct intention *intentions_remove(struct intentions *set, const struct intention_name *destination,
                                    const struct intention_name *source, const char *source_peer)
{
    struct intention *intention = find_named(set, destination, source, source_peer);
    if (intention)
        unlink_intention(set, intention);
    return intention;
}

int intentions_for_each(const struct intentions *set, intentions_each *each, void *argument)
{
    int result = 0;
    for (size_t chain = 0; chain < set->by_key.used; chain++)
        for (struct hash_node *node = set->by_key.chains[chain]; node && !result; node = node->next)
            result = each(argument, HASH_MAP_MEMBER(struct intention, by_key, node));
    return result;
}

int intentions_for_each_destination(const struct intentions *set, intentions_each *each, void *argument)
{
    int result = 0;
    for (size_t chain = 0; chain < set->by_destination.used; chain++)
        for (struct hash_node *node = set->by_destination.chains[chain]; node && !result; node = node->next)
            result = each(argument, of_destination(HASH_MAP_MEMBER(struct intention_ring, node, node)));
    return result;
}

/* ---- Verdicts ---- */

/* The three forms of a name in the order of their precedence: itself, any name, any namespace. */
static void list_forms(const struct intention_name *name, struct intention_name forms[3])
{
    forms[0] = intention_full_name(name);
    forms[1] = (struct intention_name){forms[0].partition, forms[0].namespace_name, "*"};
    forms[2] = (struct intention_name){forms[0].partition, "*", "*"};
}

/* A change that is asked about and not made. */
struct change {
    const struct intention *put, *remove;
};

static bool is_of(const struct intention *intention, const struct intention_name *destination,
                  const struct intention_name *source)
{
    return intention && !intention->source_peer[0] &&
           intention_same_destination(&intention->destination, destination) &&
           intention_same_source(&intention->source, source);
}

/* From precedence 9 down to 1: each step has at most one intention, so the first is the one that a sorted list
 * of all matches would begin with. */
static const struct intention *decide(const struct intentions *set, const struct change *change,
                                      const struct intention_name *source,
                                      const struct intention_name *destination)
{
    struct intention_name to[3], from[3];
    uint64_t to_hash[3], from_hash[3];
    list_forms(destination, to);
    list_forms(source, from);
    for (size_t i = 0; i < 3; i++) {
        to_hash[i] = hash_destination(set, &to[i]);
        from_hash[i] = hash_source(set, &from[i]);
    }
    for (size_t step = 0; step < 9; step++) {
        size_t d = step / 3, s = step % 3;
        if (change && is_of(change->put, &to[d], &from[s]))
            return change->put;
        if (change && is_of(change->remove, &to[d], &from[s]))
            continue;
        const struct intention *found =
            find(set, hash_key(to_hash[d], from_hash[s], ""), &to[d], &from[s], "");
        if (found)
            return found;
    }
    return NULL;
}

const struct intention *intentions_check(const struct intentions *set, const struct intention_name *source,
                                         const struct intention_name *destination)
{
    return decide(set, NULL, source, destination);
}

bool intention_allows(const struct intention *decision, bool default_allow)
{
    return decision ? decision->action == INTENTION_ALLOW : default_allow;
}

size_t intentions_would_flip(const struct intentions *set, const struct intention *put,
                             const struct intention *remove, bool default_allow,
                             const struct intention_pair *pairs, size_t count, enum intention_flip *flips)
{
    const struct change change = {put, remove};
    size_t flipped = 0;
    for (size_t i = 0; i < count; i++) {
        const struct intention_name *from = &pairs[i].source, *to = &pairs[i].destination;
        bool before = intention_allows(decide(set, NULL, from, to), default_allow);
        bool after = intention_allows(decide(set, &change, from, to), default_allow);
        flips[i] = before == after ? INTENTION_SAME
                   : after         ? INTENTION_TURNS_ALLOWED
                                   : INTENTION_TURNS_DENIED;
        flipped += before != after;
    }
    return flipped;
}

/* SPDX-License-Identifier: MIT */
#include "agent/core/hash_map.h"

#include <stdlib.h>

enum { INITIAL_CHAINS = 16 };

int hash_map_init(struct hash_map *map)
{
    struct hash_node **chains = calloc(INITIAL_CHAINS, sizeof(struct hash_node *));
    if (!chains)
        return -1;
    *map = (struct hash_map){
        .chains = chains, .capacity = INITIAL_CHAINS, .used = INITIAL_CHAINS, .low = INITIAL_CHAINS};
    return 0;
}

void hash_map_free(struct hash_map *map)
{
    free(map->chains);
    *map = (struct hash_map){0};
}

/* Chains below `used - low` have been split already, so their members go by one bit more. */
static size_t chain_of(const struct hash_map *map, uint32_t hash)
{
    size_t chain = hash & (map->low * 2 - 1);
    return chain < map->used ? chain : hash & (map->low - 1);
}

static void push(struct hash_map *map, struct hash_node *node)
{
    struct hash_node **chain = &map->chains[chain_of(map, node->hash)];
    node->next = *chain;
    *chain = node;
}

/* Splits the next chain in order, which keeps one member a chain on average. */
static void grow(struct hash_map *map)
{
    if (map->used == map->capacity) {
        if (map->capacity > SIZE_MAX / 2 / sizeof(struct hash_node *))
            return;
        struct hash_node **larger = realloc(map->chains, 2 * map->capacity * sizeof(struct hash_node *));
        if (!larger)
            return;
        map->chains = larger;
        map->capacity *= 2;
    }
    size_t split = map->used - map->low;
    struct hash_node *node = map->chains[split];
    map->chains[split] = NULL;
    map->chains[map->used++] = NULL;
    while (node) {
        struct hash_node *next = node->next;
        push(map, node);
        node = next;
    }
    if (map->used == 2 * map->low)
        map->low = map->used;
}

void hash_map_add(struct hash_map *map, struct hash_node *node, uint32_t hash)
{
    node->hash = hash;
    push(map, node);
    if (++map->count > map->used)
        grow(map);
}

void hash_map_remove(struct hash_map *map, struct hash_node *node)
{
    struct hash_node **at = &map->chains[chain_of(map, node->hash)];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    map->count--;
}

struct hash_node *hash_map_chain(const struct hash_map *map, uint32_t hash)
{
    return map->chains[chain_of(map, hash)];
}

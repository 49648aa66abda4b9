/* SPDX-License-Identifier: MIT */
/* A hash map of members that bring their own links, so that adding never fails. It grows by linear hashing: each
 * addition splits one chain, and there is no pause to move all members. Without memory to grow, chains get
 * longer and everything stays right. One thread at a time. */
#ifndef AGENT_CORE_HASH_MAP_H
#define AGENT_CORE_HASH_MAP_H

#include <stddef.h>
#include <stdint.h>

struct hash_node {
    struct hash_node *next;
    uint32_t hash;
    uint32_t tag; /* the member's own use */
};

/* All members hang off chains[0..used-1]. */
struct hash_map {
    struct hash_node **chains;
    size_t capacity; /* allocated */
    size_t used;     /* chains in use: low + split, where low is a power of two */
    size_t low;
    size_t count; /* members */
};

/* Returns 0, or -1 without memory. */
int hash_map_init(struct hash_map *map);
/* Frees the map, not its members. A zeroed map is fine. */
void hash_map_free(struct hash_map *map);

/* `hash` should be good in its low bits. The member must not be in any map by this node. */
void hash_map_add(struct hash_map *map, struct hash_node *node, uint32_t hash);
/* The node must be in the map. */
void hash_map_remove(struct hash_map *map, struct hash_node *node);

/* The first node of the chain that members with `hash` are in; compare `hash` and the key, and go on by `next`. */
struct hash_node *hash_map_chain(const struct hash_map *map, uint32_t hash);

#define HASH_MAP_MEMBER(type, member, pointer) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif

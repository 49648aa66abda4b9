/* SPDX-License-Identifier: MIT */
/* Lists of intentions in order of evaluation. */
#include "agent/core/intention_internal.h"

#include <stdlib.h>

static int compare_names(const struct intention_name *a, const struct intention_name *b)
{
    int order = strcmp(a->partition, b->partition);
    if (!order)
        order = strcmp(a->namespace_name, b->namespace_name);
    return order ? order : strcmp(a->name, b->name);
}

int intention_compare(const void *left, const void *right)
{
    const struct intention *a = *(const struct intention *const *)left;
    const struct intention *b = *(const struct intention *const *)right;
    if (a->precedence != b->precedence)
        return a->precedence > b->precedence ? -1 : 1;
    int order = strcmp(a->source_peer, b->source_peer);
    if (!order)
        order = compare_names(&a->source, &b->source);
    return order ? order : compare_names(&a->destination, &b->destination);
}

static int allocate(struct intention_list *list, size_t count, struct error *error)
{
    *list = (struct intention_list){0};
    if (count == 0)
        return 0;
    list->items = calloc(count, sizeof(const struct intention *));
    if (!list->items)
        return error_set(error, ERROR_SYSTEM, "list of %zu intentions: out of memory", count);
    return 0;
}

void intention_list_free(struct intention_list *list)
{
    free(list->items);
    *list = (struct intention_list){0};
}

static void sort(struct intention_list *list)
{
    if (list->count > 1)
        qsort(list->items, list->count, sizeof(const struct intention *), intention_compare);
}

static int append(void *argument, const struct intention *intention)
{
    struct intention_list *list = argument;
    list->items[list->count++] = intention;
    return 0;
}

int intentions_sorted(const struct intentions *set, struct intention_list *list, struct error *error)
{
    int code = allocate(list, intentions_count(set), error);
    if (code)
        return code;
    intentions_for_each(set, append, list);
    sort(list);
    return 0;
}

/* Lists all members of up to three rings. `offset` is where the ring's links are in an intention. */
static int list_rings(struct intention_ring *const *rings, size_t count, size_t offset,
                      struct intention_list *list, struct error *error)
{
    size_t members = 0;
    for (size_t i = 0; i < count; i++) {
        struct intention_ring *ring = rings[i];
        while (ring) {
            members++;
            ring = ring->next == rings[i] ? NULL : ring->next;
        }
    }
    int code = allocate(list, members, error);
    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct intention_ring *ring = rings[i];
        while (ring) {
            append(list, (const void *)((const char *)ring - offset));
            ring = ring->next == rings[i] ? NULL : ring->next;
        }
    }
    sort(list);
    return 0;
}

typedef struct intention_ring *find_ring(const struct intentions *set, const struct intention_name *name);

/* The rings of a name and of the wildcards that cover it. A wildcard is not listed twice. */
static size_t find_rings(const struct intentions *set, find_ring *find, const struct intention_name *name,
                         struct intention_ring *rings[3])
{
    struct intention_name full = intention_full_name(name);
    struct intention_name any_name = {full.partition, full.namespace_name, "*"};
    struct intention_name any_namespace = {full.partition, "*", "*"};
    size_t count = 0;
    rings[count++] = find(set, &full);
    if (!intention_is_wildcard(full.name))
        rings[count++] = find(set, &any_name);
    if (!intention_is_wildcard(full.namespace_name))
        rings[count++] = find(set, &any_namespace);
    return count;
}

int intentions_of_destination(const struct intentions *set, const struct intention_name *destination,
                              struct intention_list *list, struct error *error)
{
    struct intention_name full = intention_full_name(destination);
    struct intention_ring *ring = intentions_destination_ring(set, &full);
    return list_rings(&ring, 1, offsetof(struct intention, by_destination), list, error);
}

int intentions_match_destination(const struct intentions *set, const struct intention_name *destination,
                                 struct intention_list *list, struct error *error)
{
    struct intention_ring *rings[3];
    size_t count = find_rings(set, intentions_destination_ring, destination, rings);
    return list_rings(rings, count, offsetof(struct intention, by_destination), list, error);
}

int intentions_match_source(const struct intentions *set, const struct intention_name *source,
                            struct intention_list *list, struct error *error)
{
    struct intention_ring *rings[3];
    size_t count = find_rings(set, intentions_source_ring, source, rings);
    return list_rings(rings, count, offsetof(struct intention, by_source), list, error);
}

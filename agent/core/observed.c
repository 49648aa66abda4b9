/* SPDX-License-Identifier: MIT */
#include "agent/core/observed.h"

#include <stdlib.h>
#include <string.h>

#include "agent/core/hash_map.h"
#include "agent/core/publication.h"
#include "agent/utf8.h"

/* What one harvest and all of them together may cost, however hostile the pages are. */
enum {
    SLOTS_A_HARVEST = 16384,   /* whose counters are read: 128 MiB */
    SLOTS_TRACKED_MAX = 16384, /* that have baselines: 32 MiB; of others only the totals count */
    NEW_PAIRS_A_PAGE = 256,    /* a harvest: making room for a pair looks at all of them */
    NAME_MAX_BYTES = XYLEM_COUNTER_TEXT / 2,
};

/* What a counter was when it was read last. */
struct baseline {
    uint64_t hash, allowed, denied;
    uint32_t generation;
};

struct slot_state {
    uint64_t allowed, denied;
    struct baseline *counters; /* XYLEM_COUNTERS of them; NULL until the slot has counted something */
};

struct page_state {
    struct hash_node node;
    struct page_state *next;
    uint64_t client_id;
    uint64_t seen;   /* the harvest that met the page last */
    uint64_t served; /* the last that read all of it */
    uint32_t slot_capacity;
    struct slot_state slots[];
};

struct pair {
    struct hash_node node;
    uint64_t changed; /* the harvest that added to it last */
    struct observed_pair public;
};

struct observed {
    struct hash_map by_client;
    struct hash_map by_name;
    struct page_state *pages;
    struct pair *pairs; /* pairs_max, the first pair_count in use */
    size_t pairs_max, pair_count;
    uint64_t next_id;
    uint64_t allowed, denied;
    size_t tracked;  /* slots with baselines */
    uint64_t number; /* of this harvest, from 1 */
    size_t budget;
    bool overran;      /* somebody had to wait the last time */
    uint64_t earliest; /* the smallest `served` then: these come first */
    bool second_pass;
    unsigned new_pairs;
};

struct observed *observed_new(size_t pairs_max)
{
    struct observed *observed = calloc(1, sizeof *observed);
    if (!observed)
        return NULL;
    observed->pairs = calloc(pairs_max, sizeof *observed->pairs);
    observed->pairs_max = pairs_max;
    observed->next_id = 1;
    if (!observed->pairs || hash_map_init(&observed->by_client) != 0 ||
        hash_map_init(&observed->by_name) != 0) {
        observed_free(observed);
        return NULL;
    }
    return observed;
}

static void free_page(struct observed *observed, struct page_state *page)
{
    hash_map_remove(&observed->by_client, &page->node);
    for (uint32_t i = 0; i < page->slot_capacity; i++) {
        observed->tracked -= page->slots[i].counters != NULL;
        free(page->slots[i].counters);
    }
    free(page);
}

void observed_free(struct observed *observed)
{
    if (!observed)
        return;
    while (observed->pages) {
        struct page_state *page = observed->pages;
        observed->pages = page->next;
        free_page(observed, page);
    }
    hash_map_free(&observed->by_client);
    hash_map_free(&observed->by_name);
    free(observed->pairs);
    free(observed);
}

size_t observed_pairs_max(const struct observed *observed)
{
    return observed->pairs_max;
}

/* --- pairs --- */

static void add(uint64_t *sum, uint64_t more)
{
    if (__builtin_add_overflow(*sum, more, sum))
        *sum = UINT64_MAX;
}

/* A control character, or what is not UTF-8 (also where a name was cut inside a character), becomes "?". */
static void copy_name(char out[OBSERVED_NAME_SIZE], const uint8_t *bytes, size_t size)
{
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        uint32_t character = 0;
        size_t length = utf8_decode(bytes + at, size - at, &character);
        bool printable = length > 0 && character >= 0x20 && (character < 0x7f || character >= 0xa0);
        if (printable)
            memcpy(out + used, bytes + at, length);
        else
            out[used] = '?';
        used += printable ? length : 1;
        at += length ? length : 1;
    }
    memset(out + used, 0, OBSERVED_NAME_SIZE - used);
}

static uint32_t hash_names(const struct observed_pair *pair)
{
    uint64_t source = xylem_hash(1, 0, (const uint8_t *)pair->source, strlen(pair->source));
    return (uint32_t)xylem_hash(source, 0, (const uint8_t *)pair->target, strlen(pair->target));
}

static struct pair *find_pair(struct observed *observed, const struct observed_pair *wanted, uint32_t hash)
{
    for (struct hash_node *node = hash_map_chain(&observed->by_name, hash); node; node = node->next) {
        struct pair *pair = HASH_MAP_MEMBER(struct pair, node, node);
        if (node->hash == hash && strcmp(pair->public.source, wanted->source) == 0 &&
            strcmp(pair->public.target, wanted->target) == 0)
            return pair;
    }
    return NULL;
}

/* A place for another pair: a fresh one, or that of the pair that has not changed for the longest time. */
static struct pair *take_place(struct observed *observed)
{
    struct pair *oldest = observed->pairs;
    if (observed->pair_count < observed->pairs_max)
        return &observed->pairs[observed->pair_count++];
    for (size_t i = 1; i < observed->pair_count; i++)
        if (observed->pairs[i].changed < oldest->changed)
            oldest = &observed->pairs[i];
    hash_map_remove(&observed->by_name, &oldest->node);
    return oldest;
}

/* NULL: not kept this time. */
static struct pair *get_pair(struct observed *observed, const struct observed_pair *wanted)
{
    uint32_t hash = hash_names(wanted);
    struct pair *pair = find_pair(observed, wanted, hash);
    if (pair || observed->pairs_max == 0 || observed->new_pairs == NEW_PAIRS_A_PAGE)
        return pair;
    observed->new_pairs++;
    pair = take_place(observed);
    pair->public = *wanted;
    pair->public.position = (size_t)(pair - observed->pairs);
    pair->public.id = observed->next_id++;
    pair->public.allowed = pair->public.denied = 0;
    hash_map_add(&observed->by_name, &pair->node, hash);
    return pair;
}

/* --- pages --- */

/* Copies an entry that its owner may be changing. False: it is being given to another pair, or was meanwhile. */
static bool copy_counter(const struct xylem_counter *entry, struct xylem_counter *copy)
{
    union {
        uint64_t words[sizeof(struct xylem_counter) / 8];
        struct xylem_counter counter;
    } read;
    uint32_t generation = __atomic_load_n(&entry->generation, __ATOMIC_ACQUIRE);
    if (generation & 1u)
        return false;
    const uint64_t *from = (const uint64_t *)(const void *)entry;
    for (size_t i = 0; i < sizeof read.words / sizeof *read.words; i++)
        read.words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    __atomic_thread_fence(
        __ATOMIC_ACQUIRE); /* the words before the second look; pairs with xylem_claim_counter_() */
    if (__atomic_load_n(&entry->generation, __ATOMIC_RELAXED) != generation)
        return false;
    *copy = read.counter;
    copy->generation = generation;
    return copy->hash != 0;
}

static uint64_t growth(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

static void harvest_counter(struct observed *observed, struct baseline *baseline,
                            const struct xylem_counter *counter)
{
    bool same = baseline->hash == counter->hash && baseline->generation == counter->generation;
    uint64_t allowed = growth(counter->allowed, same ? baseline->allowed : 0);
    uint64_t denied = growth(counter->denied, same ? baseline->denied : 0);
    *baseline = (struct baseline){counter->hash, counter->allowed, counter->denied, counter->generation};
    if (allowed == 0 && denied == 0)
        return;
    struct observed_pair wanted;
    size_t source = counter->source_bytes < NAME_MAX_BYTES ? counter->source_bytes : NAME_MAX_BYTES;
    size_t target = counter->target_bytes < NAME_MAX_BYTES ? counter->target_bytes : NAME_MAX_BYTES;
    memset(&wanted, 0, sizeof wanted);
    copy_name(wanted.source, counter->text, source);
    copy_name(wanted.target, counter->text + source, target);
    wanted.cut = source == NAME_MAX_BYTES || target == NAME_MAX_BYTES;
    struct pair *pair = get_pair(observed, &wanted);
    if (!pair)
        return;
    add(&pair->public.allowed, allowed);
    add(&pair->public.denied, denied);
    pair->changed = observed->number;
}

static void harvest_counters(struct observed *observed, struct slot_state *state,
                             const struct xylem_counter *counters)
{
    if (!state->counters && observed->tracked < SLOTS_TRACKED_MAX) {
        state->counters = calloc(XYLEM_COUNTERS, sizeof *state->counters);
        observed->tracked += state->counters != NULL;
    }
    if (!state->counters)
        return;
    for (size_t i = 0; i < XYLEM_COUNTERS; i++) {
        struct xylem_counter copy;
        if (copy_counter(&counters[i], &copy))
            harvest_counter(observed, &state->counters[i], &copy);
    }
}

/* The counters are looked at only when the slot's totals have moved: what nobody has touched is not read, and a page
 * that its client has never written takes no memory because of us. */
static bool harvest_slot(struct observed *observed, struct slot_state *state,
                         const struct xylem_reader_page *page, uint32_t slot_capacity, uint32_t index)
{
    const struct xylem_reader_slot *slot = &page->slots[index];
    uint64_t allowed = __atomic_load_n(&slot->allowed, __ATOMIC_RELAXED);
    uint64_t denied = __atomic_load_n(&slot->denied, __ATOMIC_RELAXED);
    if (allowed == state->allowed && denied == state->denied)
        return true;
    if (observed->budget == 0)
        return false;
    observed->budget--;
    add(&observed->allowed, growth(allowed, state->allowed));
    add(&observed->denied, growth(denied, state->denied));
    state->allowed = allowed;
    state->denied = denied;
    harvest_counters(
        observed, state,
        (const struct xylem_counter *)(const void *)((const uint8_t *)page +
                                                     xylem_reader_counters_offset(slot_capacity, index)));
    return true;
}

static struct page_state *get_page(struct observed *observed, uint64_t client_id, uint32_t slot_capacity)
{
    uint32_t hash = (uint32_t)xylem_hash(2, 0, (const uint8_t *)&client_id, sizeof client_id);
    for (struct hash_node *node = hash_map_chain(&observed->by_client, hash); node; node = node->next) {
        struct page_state *page = HASH_MAP_MEMBER(struct page_state, node, node);
        if (page->client_id == client_id && page->slot_capacity == slot_capacity)
            return page;
    }
    struct page_state *page = calloc(1, sizeof *page + slot_capacity * sizeof *page->slots);
    if (!page)
        return NULL;
    page->client_id = client_id;
    page->slot_capacity = slot_capacity;
    page->next = observed->pages;
    observed->pages = page;
    hash_map_add(&observed->by_client, &page->node, hash);
    return page;
}

void observed_page(void *context, uint64_t client_id, const struct xylem_reader_page *page,
                   uint32_t slot_capacity)
{
    struct observed *observed = context;
    struct page_state *state = get_page(observed, client_id, slot_capacity);
    if (!state)
        return;
    state->seen = observed->number;
    bool first = !observed->overran || state->served <= observed->earliest;
    if (state->served == observed->number || first == observed->second_pass)
        return;
    uint32_t used = __atomic_load_n(&page->slots_used, __ATOMIC_ACQUIRE);
    used = used < slot_capacity ? used : slot_capacity;
    bool complete = true;
    observed->new_pairs = 0;
    for (uint32_t i = 0; i < used && complete; i++)
        complete = harvest_slot(observed, &state->slots[i], page, slot_capacity, i);
    if (complete)
        state->served = observed->number;
}

void observed_begin(struct observed *observed)
{
    observed->number++;
    observed->budget = SLOTS_A_HARVEST;
    observed->second_pass = false;
}

bool observed_end(struct observed *observed)
{
    struct page_state **link = &observed->pages;
    observed->overran = false;
    observed->earliest = UINT64_MAX;
    while (*link) {
        struct page_state *page = *link;
        if (page->seen != observed->number) {
            *link = page->next;
            free_page(observed, page);
            continue;
        }
        observed->overran |= page->served != observed->number;
        observed->earliest = page->served < observed->earliest ? page->served : observed->earliest;
        link = &page->next;
    }
    return observed->overran;
}

void observed_harvest(struct observed *observed, struct publication *publication)
{
    observed_begin(observed);
    publication_each_page(publication, observed_page, observed);
    if (observed->overran) {
        observed->second_pass = true;
        publication_each_page(publication, observed_page, observed);
    }
    observed_end(observed);
}

/* --- looking --- */

void observed_totals(const struct observed *observed, uint64_t *allowed, uint64_t *denied)
{
    *allowed = observed->allowed;
    *denied = observed->denied;
}

size_t observed_count(const struct observed *observed)
{
    return observed->pair_count;
}

void observed_each(const struct observed *observed,
                   void (*visit)(void *context, const struct observed_pair *pair), void *context)
{
    for (size_t i = 0; i < observed->pair_count; i++)
        visit(context, &observed->pairs[i].public);
}

/* SPDX-License-Identifier: MIT */
/* Intentions: who may connect to whom, as the administrator said it. What the proxies read is compiled from
 * this model (intention_to_policy_change()), and both give the same verdicts.
 *
 * Names have three parts. The partition and the namespace are "default" where nobody names them. "*" stands
 * for any name, and as a namespace (then the name is "*" too) for any namespace; partitions have no wildcard.
 * The names of destinations compare without regard to ASCII case, everything else byte by byte.
 *
 * Everything belongs to the main thread; nothing here does I/O. */
#ifndef AGENT_CORE_INTENTIONS_H
#define AGENT_CORE_INTENTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/hash_map.h"
#include "agent/error.h"
#include "agent/json.h"
#include "agent/store/store.h"
#include "shm/policy.h"

enum {
    INTENTION_NAME_MAX = 255,        /* bytes of each part of a name, as in the regions */
    INTENTION_DESCRIPTION_MAX = 512, /* bytes; also of a value of Meta, as Consul has it */
    INTENTION_META_COUNT_MAX = 64,
    INTENTION_META_KEY_MAX = 128,
};

/* NULL or "" as partition or namespace mean "default". In an intention there is neither. */
struct intention_name {
    const char *partition;
    const char *namespace_name;
    const char *name;
};

enum intention_action {
    INTENTION_PERMISSIONS, /* neither: the L7 permissions decide, which denies at L4 */
    INTENTION_ALLOW,
    INTENTION_DENY,
};

struct intention;

/* What most intentions do not have; they share one that is empty. */
struct intention_details {
    const char *permissions_json; /* "" or a canonical array: Consul's order of keys, methods in upper case */
    const char *description;
    const char *meta_json; /* "" or a canonical object: keys sorted, values are texts */
    const char *legacy_id; /* "" or unique among all intentions */
    uint32_t permission_count;

    /* --- links --- */
    struct hash_node by_legacy_id;
    struct intention *owner;
};

/* One allocation. No text is NULL. Times and indexes may be set by the owner at any time, nothing else once it is
 * made; the members behind `links` are for intentions.c. */
struct intention {
    struct intention_name destination;
    struct intention_name source;
    const char *source_peer; /* "": a source in this cluster */
    struct intention_details *details;
    int64_t created_at; /* Unix seconds; 0: not known */
    int64_t updated_at;
    uint64_t create_index;
    uint64_t modify_index;
    uint8_t action; /* enum intention_action */
    uint8_t precedence;

    /* --- links --- */
    struct hash_node by_key;
    struct intention_ring {
        struct hash_node node; /* in the map while this is the first of its ring, which `tag` says */
        struct intention_ring *next, *previous;
    } by_destination, by_source;
};

/* ---- Making one ---- */

/* All borrowed; zero is a good value everywhere. Texts may be NULL for "". */
struct intention_fields {
    struct intention_name destination;
    struct intention_name source;
    const char *source_peer;
    const char *source_sameness_group; /* refused, with Consul's words, unless "" */
    const char *source_type;           /* "" or "consul" */
    const char *action; /* "allow", "deny", or "" with permissions; in lower case, as in Consul */
    const char *description;
    /* Either the value or its text; the value counts if there is one. */
    struct json_value permissions;
    const char *permissions_json;
    struct json_value meta;
    const char *meta_json;
    const char *legacy_id; /* a UUID */
    int64_t created_at;
    int64_t updated_at;
    uint64_t create_index;
    uint64_t modify_index;
    size_t position; /* this is Sources[position] in the texts of errors */
};

/* Validates in the order and with the texts of Consul's service-intentions entries, and makes a canonical copy.
 * ERROR_INVALID; ERROR_SYSTEM without memory. Free it unless intentions_put() took it. */
int intention_make(const struct intention_fields *fields, struct intention **intention, struct error *error);
/* NULL is fine. Not one that is in a set. */
void intention_free(struct intention *intention);

/* Rewrites L7 permissions (a JSON array) to `out` in canonical form while checking them. `*count` is how many
 * there are; 0 for a missing or null value, and then nothing is written. The writer holds a partial value
 * after an error. */
int intention_write_permissions(struct json_writer *out, struct json_value permissions, size_t position,
                                uint32_t *count, struct error *error);

/* Reads the JSON form of an intention (Consul's body of PUT /v1/connect/intentions/exact and one item of its
 * lists). Fields that Consul ignores (Precedence, Hash, CreatedAt, ...) are ignored here, unknown ones are
 * `json: unknown field "X"`. Everything in `fields` borrows from the document. Validates types only. */
int intention_read_json(struct json_value body, struct intention_fields *fields, struct error *error);

/* A name as parameters have it, taken apart: "name", "namespace/name", "partition/namespace/name", and, where a
 * peer makes sense, "peer:PEER/name" or "peer:PEER/namespace/name". Parts that are not there are "default"; the
 * name may come out empty, which intention_make() refuses. */
struct intention_parsed_name {
    char partition[INTENTION_NAME_MAX + 1];
    char namespace_name[INTENTION_NAME_MAX + 1];
    char name[INTENTION_NAME_MAX + 1];
    char peer[INTENTION_NAME_MAX + 1]; /* "": none */
};
int intention_parse_name(const char *text, bool peer_allowed, struct intention_parsed_name *parsed,
                         struct error *error);
/* Borrows from `parsed`. */
struct intention_name intention_name_of(const struct intention_parsed_name *parsed);

/* 9 (all exact) to 1 (all wildcards). */
uint8_t intention_precedence(const struct intention_name *destination, const struct intention_name *source);

/* ---- The set ---- */

struct intentions;

/* `hash_seed` should be hard to guess. NULL without memory. */
struct intentions *intentions_new(uint64_t hash_seed);
void intentions_free(struct intentions *set);
size_t intentions_count(const struct intentions *set);

/* Puts it in, in the place of the one with the same destination, source and peer, if any: that one is handed
 * out in `*replaced` (else NULL) for the caller to free. Needs no memory, so it cannot fail after the change has
 * become durable, except with ERROR_CONFLICT if another intention has its legacy ID (ask
 * intentions_find_legacy_id() first). */
int intentions_put(struct intentions *set, struct intention *intention, struct intention **replaced,
                   struct error *error);

/* Takes it out and hands it to the caller to free. NULL: there was none. */
struct intention *intentions_remove(struct intentions *set, const struct intention_name *destination,
                                    const struct intention_name *source, const char *source_peer);

/* NULL: none. Valid until it is replaced or removed. `source_peer` may be NULL. */
const struct intention *intentions_get(const struct intentions *set, const struct intention_name *destination,
                                       const struct intention_name *source, const char *source_peer);
/* ASCII letters match in either case. */
const struct intention *intentions_find_legacy_id(const struct intentions *set, const char *legacy_id);

/* Consul's rules for PUT exact, to be applied to `fields` before intention_make(). A peered source is refused.
 * The destination gets the spelling that its entry has already (or the key in the store would change); Meta
 * belongs to the entry: it is taken from there, and the fields may have none or the same; create_index and
 * created_at stay those of the intention that is replaced. `fields` borrows from the set until its next change. */
int intentions_prepare_exact(const struct intentions *set, struct intention_fields *fields,
                             struct error *error);

/* Every intention, in no order. A value other than 0 from `each` ends it and is returned. `each` must not
 * change the set. */
typedef int intentions_each(void *argument, const struct intention *intention);
int intentions_for_each(const struct intentions *set, intentions_each *each, void *argument);
/* The same with one intention (any) of every destination. */
int intentions_for_each_destination(const struct intentions *set, intentions_each *each, void *argument);

/* ---- Lists, in order of evaluation: by descending precedence, then by name ---- */

/* Borrowed intentions; `items` is for free(). */
struct intention_list {
    const struct intention **items;
    size_t count;
};

/* Each returns 0, or ERROR_SYSTEM without memory. None found: an empty list. */
int intentions_sorted(const struct intentions *set, struct intention_list *list, struct error *error);
/* Those of one destination as it is named, peered ones included: Consul's service-intentions entry. */
int intentions_of_destination(const struct intentions *set, const struct intention_name *destination,
                              struct intention_list *list, struct error *error);
/* All that may decide about connections to `destination`: its own and those of the wildcards that cover it. */
int intentions_match_destination(const struct intentions *set, const struct intention_name *destination,
                                 struct intention_list *list, struct error *error);
/* All that may decide about connections from `source`, which is in this cluster. */
int intentions_match_source(const struct intentions *set, const struct intention_name *source,
                            struct intention_list *list, struct error *error);
void intention_list_free(struct intention_list *list);

/* qsort()'s view of the order of evaluation, for arrays of pointers to intentions. */
int intention_compare(const void *left, const void *right);

/* ---- Verdicts ---- */

/* The intention that decides, or NULL: the default does. At most nine look-ups, however many there are. */
const struct intention *intentions_check(const struct intentions *set, const struct intention_name *source,
                                         const struct intention_name *destination);
/* What a decision means at L4. */
bool intention_allows(const struct intention *decision, bool default_allow);

struct intention_pair {
    struct intention_name source;
    struct intention_name destination;
};

enum intention_flip {
    INTENTION_SAME,
    INTENTION_TURNS_ALLOWED,
    INTENTION_TURNS_DENIED,
};

/* What a change would do to connections that have been seen. `put` (may be NULL) is what would be put, `remove`
 * (may be NULL) what would be removed, a member of the set. Fills flips[0..count-1]; returns how many are not
 * INTENTION_SAME. The set stays as it is. */
size_t intentions_would_flip(const struct intentions *set, const struct intention *put,
                             const struct intention *remove, bool default_allow,
                             const struct intention_pair *pairs, size_t count, enum intention_flip *flips);

/* ---- Forms ---- */

/* "default/web => default/db (Precedence: 9, Action: ALLOW)", cut to fit; returns the whole length. A partition is
 * named where it is not "default". */
size_t intention_describe(const struct intention *intention, char *text, size_t size);
/* "Matched L4 intention: ..." or "Matched L7 intention: ...": Consul's reason for a verdict. */
size_t intention_reason(const struct intention *intention, char *text, size_t size);

/* Consul's JSON form. Partitions are written where they are not "default"; ID, times and Hash only of those
 * with a legacy ID. The indexes are the intention's own, where Consul gives those of the whole entry. */
void intention_write_json(struct json_writer *json, const struct intention *intention);

/* Borrows from the intention. */
void intention_to_store(const struct intention *intention, struct store_intention *row);
/* As intention_make(): rows are validated again. */
int intention_from_store(const struct store_intention *row, struct intention **intention,
                         struct error *error);

/* Borrows from the intention. To take one back, set `action` to POLICY_REMOVE afterwards. Returns false, and
 * fills nothing, for a peered source: such peers are not of this trust domain and never reach the tables. */
bool intention_to_policy_change(const struct intention *intention, struct policy_change *change);

#endif

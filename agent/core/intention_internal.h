/* SPDX-License-Identifier: MIT */
/* What the files of the model of intentions share among themselves. */
#ifndef AGENT_CORE_INTENTION_INTERNAL_H
#define AGENT_CORE_INTENTION_INTERNAL_H

#include <string.h>

#include "agent/core/intentions.h"

struct intentions {
    uint64_t hash_seed;
    struct hash_map by_key;
    struct hash_map by_destination; /* the first intention of each; the others are in its ring */
    struct hash_map by_source;      /* likewise; peered sources are in no ring */
    struct hash_map by_legacy_id;
};

/* What is stored may be larger than what was read: escapes are added to it. */
extern const struct json_limits intention_json_limits;

static inline const char *intention_text(const char *text)
{
    return text ? text : "";
}

static inline bool intention_is_wildcard(const char *text)
{
    return text[0] == '*' && text[1] == '\0';
}

/* The same name without NULL and with the defaults. */
static inline struct intention_name intention_full_name(const struct intention_name *name)
{
    struct intention_name full = {intention_text(name->partition), intention_text(name->namespace_name),
                                  intention_text(name->name)};
    if (!full.partition[0])
        full.partition = "default";
    if (!full.namespace_name[0])
        full.namespace_name = "default";
    return full;
}

bool intention_same_destination(const struct intention_name *a, const struct intention_name *b);
bool intention_same_source(const struct intention_name *a, const struct intention_name *b);

/* The first of the ring of those that have exactly this (full) name as destination or as source, or NULL. */
struct intention_ring *intentions_destination_ring(const struct intentions *set,
                                                   const struct intention_name *name);
struct intention_ring *intentions_source_ring(const struct intentions *set,
                                              const struct intention_name *name);

/* "allow", "deny", or "" where permissions decide. */
const char *intention_action_text(const struct intention *intention);

/* A text in double quotes with Go's escapes, cut to fit. */
const char *intention_quote(const char *text, char *out, size_t size);

/* Checks all of an entry with one source whose `permissions` and `meta` are values, and writes these two in
 * canonical form, or nothing where they are empty. */
int intention_validate(const struct intention_fields *fields, struct json_writer *meta,
                       struct json_writer *permissions, uint32_t *permission_count, struct error *error);

/* Sets `*value` from its text, if there is no value but a text. `*parsed` is to be freed. */
int intention_parse_member(struct json_value *value, const char *text, struct json_document **parsed,
                           struct error *error);

/* Every Name of a JWT provider must be there; Consul looks at this before anything else about permissions. */
int intention_check_jwt_providers(struct json_value permissions, struct error *error);

/* Writes Meta (a JSON object of texts) to `out` in canonical form while checking it; nothing if it is empty. */
int intention_write_meta(struct json_writer *out, struct json_value meta, struct error *error);

/* Consul's Hash of an intention of the legacy kind: BLAKE2b-256 over its fields. Returns 0, or -1 without memory. */
int intention_hash(const struct intention *intention, uint8_t hash[32]);

#endif

/* SPDX-License-Identifier: MIT */
/* Intentions decided the slow and obvious way: one list, walked whole for each question. What the compiled tables of a
 * region answer is compared with what this answers. */
#ifndef TESTS_UNIT_EVALUATOR_H
#define TESTS_UNIT_EVALUATOR_H

#include <stdbool.h>
#include <strings.h>

#include "tests/unit/harness.h"

struct evaluator_name {
    char partition[16];
    char namespace_name[16];
    char name[32];
};

struct evaluator_rule {
    struct evaluator_name destination;
    struct evaluator_name source;
    enum policy_action action;
    uint32_t permissions;
    char legacy_id[40];
};

struct evaluator_revocation {
    uint8_t issuer[8];
    uint8_t issuer_size;
    uint8_t serial[8];
    uint8_t serial_size;
};

struct evaluator {
    struct evaluator_rule *rules;
    size_t count;
    size_t capacity;
    struct evaluator_revocation revoked[64];
    size_t revoked_count;
    bool default_allow;
};

static inline void evaluator_free(struct evaluator *evaluator)
{
    free(evaluator->rules);
}

static inline bool evaluator_is_star(const char *text)
{
    return text[0] == '*' && text[1] == '\0';
}

/* Destinations are the same without regard to case, sources only letter by letter. */
static inline bool evaluator_same_rule(const struct evaluator_rule *a, const struct evaluator_rule *b)
{
    return strcmp(a->source.name, b->source.name) == 0 && /* first: it differs most often */
           strcmp(a->source.namespace_name, b->source.namespace_name) == 0 &&
           strcmp(a->source.partition, b->source.partition) == 0 &&
           strcasecmp(a->destination.name, b->destination.name) == 0 &&
           strcmp(a->destination.namespace_name, b->destination.namespace_name) == 0 &&
           strcmp(a->destination.partition, b->destination.partition) == 0;
}

static inline void evaluator_apply(struct evaluator *evaluator, const struct evaluator_rule *change)
{
    size_t at = 0;
    while (at < evaluator->count && !evaluator_same_rule(&evaluator->rules[at], change))
        at++;
    if (change->action == POLICY_REMOVE) {
        if (at < evaluator->count)
            evaluator->rules[at] = evaluator->rules[--evaluator->count];
        return;
    }
    if (at == evaluator->capacity) {
        evaluator->capacity = evaluator->capacity ? evaluator->capacity * 2 : 64;
        evaluator->rules = realloc(evaluator->rules, evaluator->capacity * sizeof *evaluator->rules);
        MUST(evaluator->rules);
    }
    evaluator->rules[at] = *change;
    evaluator->count += at == evaluator->count;
}

/* How exact a name is: 2 all of it, 1 any name, 0 any namespace. */
static inline int evaluator_count(const struct evaluator_name *name)
{
    return evaluator_is_star(name->namespace_name) ? 0 : evaluator_is_star(name->name) ? 1 : 2;
}

static inline int evaluator_precedence(const struct evaluator_rule *rule)
{
    int destination = evaluator_count(&rule->destination);
    return 9 - 3 * (2 - destination) - (2 - evaluator_count(&rule->source));
}

static inline bool evaluator_fits(const struct evaluator_name *pattern, const struct evaluator_name *name,
                                  int (*compare)(const char *, const char *))
{
    return strcmp(pattern->partition, name->partition) == 0 &&
           (evaluator_is_star(pattern->namespace_name) ||
            strcmp(pattern->namespace_name, name->namespace_name) == 0) &&
           (evaluator_is_star(pattern->name) || compare(pattern->name, name->name) == 0);
}

/* The rule that decides, NULL if none does. */
static inline const struct evaluator_rule *evaluator_match(const struct evaluator *evaluator,
                                                           const struct evaluator_name *source,
                                                           const struct evaluator_name *target)
{
    const struct evaluator_rule *best = NULL;
    for (size_t i = 0; i < evaluator->count; i++) {
        const struct evaluator_rule *rule = &evaluator->rules[i];
        if (evaluator_fits(&rule->source, source, strcmp) &&
            evaluator_fits(&rule->destination, target, strcasecmp) &&
            (!best || evaluator_precedence(rule) > evaluator_precedence(best)))
            best = rule;
    }
    return best;
}

static inline bool evaluator_same_revocation(const struct evaluator_revocation *a,
                                             const struct evaluator_revocation *b)
{
    return a->issuer_size == b->issuer_size && memcmp(a->issuer, b->issuer, a->issuer_size) == 0 &&
           a->serial_size == b->serial_size && memcmp(a->serial, b->serial, a->serial_size) == 0;
}

static inline void evaluator_revoke(struct evaluator *evaluator,
                                    const struct evaluator_revocation *revocation, bool revoke)
{
    size_t at = 0;
    while (at < evaluator->revoked_count && !evaluator_same_revocation(&evaluator->revoked[at], revocation))
        at++;
    if (revoke && at == evaluator->revoked_count) {
        MUST(at < sizeof evaluator->revoked / sizeof evaluator->revoked[0]);
        evaluator->revoked[evaluator->revoked_count++] = *revocation;
    }
    if (!revoke && at < evaluator->revoked_count)
        evaluator->revoked[at] = evaluator->revoked[--evaluator->revoked_count];
}

/* A revocation without issuer fits any; a peer without issuer is met by any. */
static inline bool evaluator_is_revoked(const struct evaluator *evaluator,
                                        const struct evaluator_revocation *peer)
{
    for (size_t i = 0; i < evaluator->revoked_count; i++) {
        const struct evaluator_revocation *entry = &evaluator->revoked[i];
        if (peer->serial_size && entry->serial_size == peer->serial_size &&
            memcmp(entry->serial, peer->serial, peer->serial_size) == 0 &&
            (entry->issuer_size == 0 || peer->issuer_size == 0 ||
             (entry->issuer_size == peer->issuer_size &&
              memcmp(entry->issuer, peer->issuer, peer->issuer_size) == 0)))
            return true;
    }
    return false;
}

static inline void evaluator_append_name(char *text, size_t size, const struct evaluator_name *name,
                                         bool lower)
{
    size_t used = strlen(text);
    if (strcmp(name->partition, "default") != 0)
        used += (size_t)snprintf(text + used, size - used, "%s/", name->partition);
    used += (size_t)snprintf(text + used, size - used, "%s/%s", name->namespace_name, name->name);
    for (size_t i = used - strlen(name->name); lower && i < used; i++)
        text[i] = (char)xylem_lower_((uint8_t)text[i]);
}

/* The text that consul-connect's authorize gives for a rule. */
static inline void evaluator_reason(const struct evaluator_rule *rule, char *text, size_t size)
{
    bool l7 = rule->action == POLICY_PERMISSIONS;
    snprintf(text, size, "Matched %s intention: ", l7 ? "L7" : "L4");
    evaluator_append_name(text, size, &rule->source, false);
    strncat(text, " => ", size - strlen(text) - 1);
    evaluator_append_name(text, size, &rule->destination, true);
    size_t used = strlen(text);
    used += (size_t)snprintf(text + used, size - used, " (%s%s%sPrecedence: %d, ",
                             rule->legacy_id[0] ? "ID: " : "", rule->legacy_id,
                             rule->legacy_id[0] ? ", " : "", evaluator_precedence(rule));
    if (l7)
        snprintf(text + used, size - used, "Permissions: %u)", rule->permissions);
    else
        snprintf(text + used, size - used, "Action: %s)", rule->action == POLICY_ALLOW ? "ALLOW" : "DENY");
}

/* The change as the writer takes it. Points into `rule`. */
static inline struct policy_change evaluator_change(const struct evaluator_rule *rule)
{
    return (struct policy_change){.destination = {rule->destination.partition,
                                                  rule->destination.namespace_name, rule->destination.name},
                                  .source = {rule->source.partition, rule->source.namespace_name,
                                             rule->source.name},
                                  .action = rule->action,
                                  .permissions = rule->permissions,
                                  .legacy_id = rule->legacy_id[0] ? rule->legacy_id : NULL};
}

#endif

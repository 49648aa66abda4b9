/* SPDX-License-Identifier: MIT */
/* Drives a policy region and the evaluator through the same changes and asks both the same questions. Every choice is
 * drawn from one source: random numbers in the unit test, the bytes of the input under the fuzzer. */
#ifndef TESTS_UNIT_DIFFERENTIAL_H
#define TESTS_UNIT_DIFFERENTIAL_H

#include "tests/unit/evaluator.h"

#define DIFFERENTIAL_HANDLES 24u
#define DIFFERENTIAL_BATCH   64u

struct differential {
    struct harness harness;
    struct evaluator evaluator;
    struct xylem_target handles[DIFFERENTIAL_HANDLES];
    struct evaluator_name handle_names[DIFFERENTIAL_HANDLES];
    uint64_t version;
    uint64_t questions;
    uint64_t allowed;
    /* Where choices come from. */
    struct harness_random random;
    const uint8_t *bytes; /* NULL: from `random` */
    size_t size;
};

static inline uint32_t differential_below(struct differential *driver, uint32_t limit)
{
    uint32_t value = 0;
    if (!driver->bytes)
        return harness_below(&driver->random, limit);
    for (uint32_t range = limit - 1; range; range >>= 8) {
        value = value << 8 | (driver->size ? *driver->bytes : 0);
        driver->bytes += driver->size != 0;
        driver->size -= driver->size != 0;
    }
    return value % limit;
}

static inline bool differential_one_in(struct differential *driver, uint32_t n)
{
    return differential_below(driver, n) == n - 1;
}

static const char *const differential_partitions[] = {"default", "east", "west"};
static const char *const differential_namespaces[] = {"default", "team", "ops"};
static const char *const differential_names[] = {
    "web", "Web", "db", "api", "cache-1", "a", "WEB", "payment.v2", "a-very-long-service-name-of-31", "x_y"};

#define DIFFERENTIAL_PICK(driver, list) (list)[differential_below(driver, sizeof(list) / sizeof *(list))]

static inline struct evaluator_name differential_name(struct differential *driver, bool wildcards)
{
    struct evaluator_name name = {"default", "default", ""};
    if (differential_one_in(driver, 4))
        strcpy(name.partition, DIFFERENTIAL_PICK(driver, differential_partitions));
    if (differential_one_in(driver, 3))
        strcpy(name.namespace_name, DIFFERENTIAL_PICK(driver, differential_namespaces));
    strcpy(name.name, DIFFERENTIAL_PICK(driver, differential_names));
    if (wildcards && differential_one_in(driver, 4)) {
        strcpy(name.name, "*");
        if (differential_one_in(driver, 3))
            strcpy(name.namespace_name, "*");
    }
    return name;
}

/* One of many sources, so that tables grow. */
static inline struct evaluator_name differential_numbered(uint32_t number)
{
    struct evaluator_name name = {"default", "default", ""};
    snprintf(name.name, sizeof name.name, "s%u", number);
    return name;
}

static inline struct evaluator_rule differential_rule(struct differential *driver)
{
    static const enum policy_action actions[] = {POLICY_DENY,        POLICY_ALLOW,  POLICY_ALLOW,
                                                 POLICY_PERMISSIONS, POLICY_REMOVE, POLICY_REMOVE};
    struct evaluator_rule rule = {.destination = differential_name(driver, true),
                                  .source = differential_name(driver, true)};
    strcpy(rule.source.partition,
           rule.destination.partition); /* mostly: peers of other partitions are rare */
    if (differential_one_in(driver, 8))
        strcpy(rule.source.partition, DIFFERENTIAL_PICK(driver, differential_partitions));
    rule.action = DIFFERENTIAL_PICK(driver, actions);
    if (rule.action == POLICY_PERMISSIONS)
        rule.permissions = 1 + differential_below(driver, 5);
    if (rule.action != POLICY_REMOVE && differential_one_in(driver, 8))
        snprintf(rule.legacy_id, sizeof rule.legacy_id, "%08x-1111-2222-3333-444444444444",
                 differential_below(driver, 1000));
    return rule;
}

/* --- changes --- */

static inline void differential_commit(struct differential *driver, const struct evaluator_rule *rules,
                                       size_t count)
{
    struct policy_change *changes = calloc(count + 1, sizeof *changes);
    bool sets = false;
    MUST(changes);
    for (size_t i = 0; i < count; i++) {
        changes[i] = evaluator_change(&rules[i]);
        sets |= rules[i].action != POLICY_REMOVE;
    }
    MUST(policy_apply(driver->harness.policy, changes, count) == 0);
    for (size_t i = 0; i < count; i++)
        evaluator_apply(&driver->evaluator, &rules[i]);
    MUST(!sets || policy_version(driver->harness.policy) > driver->version);
    driver->version = policy_version(driver->harness.policy);
    free(changes);
}

static inline void differential_batch(struct differential *driver)
{
    struct evaluator_rule rules[DIFFERENTIAL_BATCH];
    uint32_t count = 1 + differential_below(driver, DIFFERENTIAL_BATCH);
    for (uint32_t i = 0; i < count; i++) {
        rules[i] = differential_rule(driver);
        if (i && differential_one_in(driver, 4)) { /* several changes of one pair in one batch */
            rules[i].destination = rules[i - 1].destination;
            rules[i].source = rules[i - 1].source;
        }
    }
    differential_commit(driver, rules, count);
}

/* Many sources of one destination at once: from one table to shards, and back. */
static inline void differential_bulk(struct differential *driver, uint32_t most)
{
    uint32_t count = 1 + differential_below(driver, most);
    uint32_t first = differential_below(driver, most);
    bool remove = differential_one_in(driver, 3);
    bool details = differential_one_in(driver, 8);
    struct evaluator_name destination = differential_name(driver, true);
    struct evaluator_rule *rules = calloc(count, sizeof *rules);
    MUST(rules);
    strcpy(destination.partition, "default");
    for (uint32_t i = 0; i < count; i++) {
        rules[i].destination = destination;
        rules[i].source = differential_numbered(first + i);
        rules[i].action = remove ? POLICY_REMOVE : (first + i) % 3 ? POLICY_ALLOW : POLICY_DENY;
        if (details && !remove)
            snprintf(rules[i].legacy_id, sizeof rules[i].legacy_id, "%08x-aaaa-bbbb-cccc-dddddddddddd", i);
    }
    differential_commit(driver, rules, count);
    free(rules);
}

static inline struct evaluator_revocation differential_serial(struct differential *driver)
{
    struct evaluator_revocation revocation = {.issuer_size = 0};
    revocation.serial_size = 2;
    revocation.serial[0] = 1;
    revocation.serial[1] = (uint8_t)differential_below(driver, 12);
    if (!differential_one_in(driver, 3)) {
        revocation.issuer_size = 4;
        memset(revocation.issuer, (int)differential_below(driver, 3), 4);
    }
    return revocation;
}

static inline void differential_revoke(struct differential *driver)
{
    struct evaluator_revocation revocation = differential_serial(driver);
    bool revoke = !differential_one_in(driver, 3);
    const uint8_t *issuer = revocation.issuer_size ? revocation.issuer : NULL;
    MUST((revoke ? policy_revoke(driver->harness.policy, issuer, revocation.issuer_size, revocation.serial,
                                 revocation.serial_size, 1)
                 : policy_unrevoke(driver->harness.policy, issuer, revocation.issuer_size, revocation.serial,
                                   revocation.serial_size)) == 0);
    evaluator_revoke(&driver->evaluator, &revocation, revoke);
}

static inline void differential_change(struct differential *driver, uint32_t bulk_most)
{
    uint32_t kind = differential_below(driver, 16);
    struct evaluator_rule rule;
    driver->version = policy_version(driver->harness.policy);
    if (kind < 9) {
        rule = differential_rule(driver);
        differential_commit(driver, &rule, 1);
    } else if (kind < 11) {
        differential_batch(driver);
    } else if (kind < 12) {
        differential_bulk(driver, bulk_most);
    } else if (kind < 14) {
        differential_revoke(driver);
    } else if (kind < 15) {
        driver->evaluator.default_allow = differential_one_in(driver, 2);
        policy_set_default(driver->harness.policy, driver->evaluator.default_allow);
    } else {
        grace_advance(driver->harness.grace);
    }
    driver->version = policy_version(driver->harness.policy);
}

/* --- questions --- */

/* The SPIFFE ID of a source, in one of the spellings that mean the same. */
static inline void differential_uri(struct differential *driver, const struct evaluator_name *source,
                                    char *uri, size_t size)
{
    char name[100];
    char partition[32] = "";
    snprintf(name, sizeof name, "%s", source->name);
    if (differential_one_in(driver, 4))
        snprintf(name, sizeof name, "%%%02x%s", (unsigned)source->name[0], source->name + 1);
    if (strcmp(source->partition, "default") != 0 || differential_one_in(driver, 8))
        snprintf(partition, sizeof partition, "/ap/%s", source->partition);
    snprintf(uri, size, "%s%s%s/ns/%s/dc/%s/svc/%s",
             differential_one_in(driver, 8) ? "SPIFFE://" : "spiffe://", HARNESS_TRUST_DOMAIN, partition,
             source->namespace_name, differential_one_in(driver, 8) ? "dc2" : "dc1", name);
}

static inline void differential_target_text(const struct evaluator_name *target, char *text, size_t size)
{
    if (strcmp(target->partition, "default") != 0)
        snprintf(text, size, "%s/%s/%s", target->partition, target->namespace_name, target->name);
    else if (strcmp(target->namespace_name, "default") != 0)
        snprintf(text, size, "%s/%s", target->namespace_name, target->name);
    else
        snprintf(text, size, "%s", target->name);
}

static inline void differential_compare(struct differential *driver, const struct evaluator_name *source,
                                        const struct evaluator_name *target,
                                        const struct evaluator_revocation *serial,
                                        const struct xylem_verdict *verdict)
{
    const struct evaluator *evaluator = &driver->evaluator;
    const struct evaluator_rule *rule = evaluator_match(evaluator, source, target);
    char expected[256] = "Default intention policy";
    char reason[256];
    int allow = rule ? rule->action == POLICY_ALLOW : evaluator->default_allow;
    int why = rule ? XYLEM_WHY_INTENTION : XYLEM_WHY_DEFAULT;
    if (rule)
        evaluator_reason(rule, expected, sizeof expected);
    if (evaluator_is_revoked(evaluator, serial)) {
        allow = 0;
        why = XYLEM_WHY_REVOKED;
        rule = NULL;
        strcpy(expected, xylem_why_text(XYLEM_WHY_REVOKED));
    }
    size_t length = xylem_reason(driver->harness.reader, verdict, reason, sizeof reason);
    bool agrees = verdict->allow == allow && verdict->why == why && strcmp(reason, expected) == 0 &&
                  length == strlen(expected) && verdict->policy_version == driver->version &&
                  verdict->precedence == (rule ? evaluator_precedence(rule) : 0) &&
                  verdict->permissions == (rule && rule->action == POLICY_PERMISSIONS);
    if (!agrees)
        fprintf(stderr,
                "source %s/%s/%s target %s/%s/%s\n expected allow %d why %d: %s\n found allow %d why %d "
                "precedence %d permissions %d version %llu (now %llu): %s\n",
                source->partition, source->namespace_name, source->name, target->partition,
                target->namespace_name, target->name, allow, why, expected, verdict->allow, verdict->why,
                verdict->precedence, verdict->permissions, (unsigned long long)verdict->policy_version,
                (unsigned long long)driver->version, reason);
    MUST(agrees);
    driver->questions++;
    driver->allowed += verdict->allow;
}

static inline void differential_ask(struct differential *driver, uint32_t numbers)
{
    struct evaluator_name source = differential_name(driver, false);
    struct evaluator_revocation serial = differential_serial(driver);
    uint32_t handle = differential_below(driver, DIFFERENTIAL_HANDLES);
    struct evaluator_name target = driver->handle_names[handle];
    struct xylem_verdict verdict;
    char uri[256], text[96];
    if (!differential_one_in(driver, 3))
        strcpy(source.partition, target.partition);
    if (differential_one_in(driver, 3))
        source = differential_numbered(differential_below(driver, numbers));
    if (!differential_one_in(driver, 6))
        serial = (struct evaluator_revocation){.serial_size = 0};
    differential_uri(driver, &source, uri, sizeof uri);
    differential_target_text(&target, text, sizeof text);
    struct xylem_peer peer = {.uri = {(const uint8_t *)uri, strlen(uri)},
                              .serial = {serial.serial, serial.serial_size},
                              .issuer_key_id = {serial.issuer, serial.issuer_size}};
    xylem_read_lock(driver->harness.reader);
    int allow = xylem_authorize_peer(driver->harness.reader, &driver->handles[handle], &peer, &verdict);
    MUST(allow == verdict.allow);
    differential_compare(driver, &source, &target, &serial, &verdict);
    allow = xylem_authorize(driver->harness.reader, text, uri, serial.serial_size ? &peer.serial : NULL,
                            &verdict);
    MUST(allow == verdict.allow);
    serial.issuer_size = 0;
    differential_compare(driver, &source, &target, &serial, &verdict);
    xylem_read_unlock(driver->harness.reader);
}

/* --- life --- */

static inline void differential_open(struct differential *driver, uint64_t region_bytes)
{
    memset(driver, 0, sizeof *driver);
    driver->random.state = harness_seed();
    harness_open(&driver->harness, region_bytes);
    /* The handles live as long as the run: through every change of what they point to. */
    for (uint32_t i = 0; i < DIFFERENTIAL_HANDLES; i++) {
        char text[96];
        driver->handle_names[i] = differential_name(driver, false);
        differential_target_text(&driver->handle_names[i], text, sizeof text);
        MUST(xylem_target_init(&driver->handles[i], text) == XYLEM_OK);
    }
    driver->version = policy_version(driver->harness.policy);
}

/* Takes everything back, half of it in one batch. */
static inline void differential_clear(struct differential *driver)
{
    struct evaluator *evaluator = &driver->evaluator;
    size_t half = evaluator->count / 2;
    struct evaluator_rule *rules = malloc((half + 1) * sizeof *rules);
    MUST(rules);
    for (size_t i = 0; i < half; i++) {
        rules[i] = evaluator->rules[i];
        rules[i].action = POLICY_REMOVE;
    }
    differential_commit(driver, rules, half);
    free(rules);
    while (evaluator->count) {
        struct evaluator_rule rule = evaluator->rules[0];
        rule.action = POLICY_REMOVE;
        differential_commit(driver, &rule, 1);
    }
    while (evaluator->revoked_count) {
        struct evaluator_revocation revocation = evaluator->revoked[0];
        MUST(policy_unrevoke(driver->harness.policy, revocation.issuer_size ? revocation.issuer : NULL,
                             revocation.issuer_size, revocation.serial, revocation.serial_size) == 0);
        evaluator_revoke(evaluator, &revocation, false);
    }
    driver->version = policy_version(driver->harness.policy);
}

static inline void differential_close(struct differential *driver)
{
    harness_close(&driver->harness);
    evaluator_free(&driver->evaluator);
}

#endif

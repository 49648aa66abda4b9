/* SPDX-License-Identifier: MIT */
/* Commands about intentions and verdicts. */
#include <stdlib.h>
#include <string.h>

#include <xylem/xylem.h>

#include "agent/serve/admin_internal.h"

enum { REASON_SIZE = 2048 };

static bool default_allow(const struct admin_call *call)
{
    return model_config(call->admin->options.model)->default_policy == CONFIG_ALLOW;
}

/* --- authorize --- */

static void answer_verdict(struct admin_call *call, const struct xylem_verdict *verdict, const char *reason)
{
    struct json_writer *json = &call->out;
    json_begin_object(json);
    json_member_bool(json, "allowed", verdict->allow != 0);
    json_member_text(json, "reason", reason);
    json_member_u64(json, "precedence", verdict->precedence);
    json_member_bool(json, "permissions", verdict->permissions != 0);
    json_member_u64(json, "policy_version", verdict->policy_version);
    json_end_object(json);
    admin_answer(call, verdict->allow ? "allowed" : "denied");
}

void admin_authorize(struct admin_call *call, size_t count, char **words)
{
    struct xylem_reader *reader = publication_reader(model_publication(call->admin->options.model));
    uint8_t bytes[REVOCATION_SERIAL_MAX];
    char reason[REASON_SIZE];
    struct error error;
    struct xylem_verdict verdict;
    struct xylem_slice serial = {bytes, 0};
    if (!reader) {
        admin_fail_with(call, ERROR_BUSY, "nothing is published yet; the agent is starting");
        return;
    }
    if (count == 3 &&
        revocation_parse_serial(words[2], REVOCATION_SERIAL_EITHER, bytes, &serial.size, &error) != 0) {
        admin_fail(call, &error);
        return;
    }
    xylem_read_lock(reader);
    xylem_authorize(reader, words[0], words[1], serial.size ? &serial : NULL, &verdict);
    xylem_reason(reader, &verdict, reason, sizeof reason);
    xylem_read_unlock(reader);
    answer_verdict(call, &verdict, reason);
}

/* --- names --- */

struct names {
    struct intention_parsed_name source, destination;
};

static int parse_names(struct admin_call *call, const char *source, const char *destination,
                       struct names *names, struct error *error)
{
    admin_subject(call, "%.180s => %.180s", source, destination);
    int code = intention_parse_name(source, false, &names->source, error);
    if (code)
        return error_at(error, "source \"%.255s\"", source);
    code = intention_parse_name(destination, false, &names->destination, error);
    return code ? error_at(error, "destination \"%.255s\"", destination) : 0;
}

static void write_name(struct json_writer *json, const char *key, const struct intention_name *name)
{
    char text[3 * INTENTION_NAME_MAX + 3];
    if (strcmp(name->partition, "default") != 0)
        snprintf(text, sizeof text, "%s/%s/%s", name->partition, name->namespace_name, name->name);
    else if (strcmp(name->namespace_name, "default") != 0)
        snprintf(text, sizeof text, "%s/%s", name->namespace_name, name->name);
    else
        snprintf(text, sizeof text, "%s", name->name);
    json_member_text(json, key, text);
}

/* --- lists --- */

/* A program gets Consul's form, a person what fits on a line. */
static void write_intention(const struct admin_call *call, struct json_writer *json,
                            const struct intention *intention)
{
    static const char *const actions[] = {"permissions", "allow", "deny"};
    if (call->json) {
        intention_write_json(json, intention);
        return;
    }
    json_begin_object(json);
    write_name(json, "source", &intention->source);
    write_name(json, "destination", &intention->destination);
    json_member_text(json, "action", actions[intention->action]);
    json_member_u64(json, "precedence", intention->precedence);
    json_member_text(json, "peer", intention->source_peer);
    json_member_text(json, "description", intention->details ? intention->details->description : "");
    json_end_object(json);
}

static void answer_list(struct admin_call *call, int code, struct intention_list *list,
                        const struct error *error)
{
    if (code) {
        admin_fail(call, error);
        return;
    }
    json_begin_array(&call->out);
    for (size_t i = 0; i < list->count && call->out.size <= ADMIN_ANSWER_MAX; i++)
        write_intention(call, &call->out, list->items[i]);
    json_end_array(&call->out);
    intention_list_free(list);
    admin_answer(call, NULL);
}

void admin_intention_list(struct admin_call *call, size_t count, char **words)
{
    struct intention_list list = {0};
    struct error error;
    (void)count, (void)words;
    int code = intentions_sorted(model_intentions(call->admin->options.model), &list, &error);
    answer_list(call, code, &list, &error);
}

void admin_intention_match(struct admin_call *call, size_t count, char **words)
{
    const struct intentions *set = model_intentions(call->admin->options.model);
    struct intention_parsed_name parsed;
    struct intention_list list = {0};
    struct error error;
    (void)count;
    bool by_source = strcmp(words[0], "source") == 0;
    if (!by_source && strcmp(words[0], "destination") != 0) {
        admin_fail_with(call, ERROR_INVALID, "usage: intention match source|destination NAME");
        return;
    }
    int code = intention_parse_name(words[1], false, &parsed, &error);
    if (!code) {
        struct intention_name name = intention_name_of(&parsed);
        code = by_source ? intentions_match_source(set, &name, &list, &error)
                         : intentions_match_destination(set, &name, &list, &error);
    }
    answer_list(call, code, &list, &error);
}

void admin_intention_check(struct admin_call *call, size_t count, char **words)
{
    const struct intentions *set = model_intentions(call->admin->options.model);
    struct names names;
    struct error error;
    char reason[REASON_SIZE];
    (void)count;
    if (parse_names(call, words[0], words[1], &names, &error) != 0) {
        admin_fail(call, &error);
        return;
    }
    struct intention_name source = intention_name_of(&names.source);
    struct intention_name destination = intention_name_of(&names.destination);
    const struct intention *decision = intentions_check(set, &source, &destination);
    bool allowed = intention_allows(decision, default_allow(call));
    if (decision)
        intention_reason(decision, reason, sizeof reason);
    else
        snprintf(reason, sizeof reason, "Default intention policy");
    json_begin_object(&call->out);
    json_member_bool(&call->out, "allowed", allowed);
    json_member_text(&call->out, "reason", reason);
    json_member_u64(&call->out, "precedence", decision ? decision->precedence : 0);
    json_end_object(&call->out);
    admin_answer(call, allowed ? "allowed" : "denied");
}

/* --- dry runs --- */

struct seen {
    const struct observed_pair **items;
    struct intention_pair *pairs;
    size_t count;
    size_t cut; /* pairs whose names are not known whole */
};

static void collect(void *context, const struct observed_pair *pair)
{
    struct seen *seen = context;
    if (pair->cut) {
        seen->cut++;
        return;
    }
    seen->items[seen->count] = pair;
    seen->pairs[seen->count++] =
        (struct intention_pair){.source = {.name = pair->source}, .destination = {.name = pair->target}};
}

static void write_flips(struct json_writer *json, const struct seen *seen, const enum intention_flip *flips)
{
    json_key(json, "flips");
    json_begin_array(json);
    for (size_t i = 0; i < seen->count; i++) {
        if (flips[i] == INTENTION_SAME)
            continue;
        json_begin_object(json);
        json_member_text(json, "source", seen->items[i]->source);
        json_member_text(json, "destination", seen->items[i]->target);
        json_member_text(json, "becomes", flips[i] == INTENTION_TURNS_ALLOWED ? "allowed" : "denied");
        json_member_u64(json, "seen_allowed", seen->items[i]->allowed);
        json_member_u64(json, "seen_denied", seen->items[i]->denied);
        json_end_object(json);
    }
    json_end_array(json);
}

/* Which of the pairs seen would be answered differently. Counters carry names only, so each pair is taken to be in
 * default/default. */
static void dry_run(struct admin_call *call, const struct intention *put, const struct intention *removed)
{
    struct admin *admin = call->admin;
    observed_harvest(admin->observed, model_publication(admin->options.model));
    size_t count = observed_count(admin->observed);
    struct seen seen = {calloc(count + 1, sizeof *seen.items), calloc(count + 1, sizeof *seen.pairs), 0, 0};
    enum intention_flip *flips = calloc(count + 1, sizeof *flips);
    if (!seen.items || !seen.pairs || !flips) {
        admin_fail_with(call, ERROR_SYSTEM, "no memory for a dry run");
    } else {
        observed_each(admin->observed, collect, &seen);
        size_t flipped = intentions_would_flip(model_intentions(admin->options.model), put, removed,
                                               default_allow(call), seen.pairs, seen.count, flips);
        json_begin_object(&call->out);
        json_member_bool(&call->out, "dry_run", true);
        json_member_u64(&call->out, "pairs_seen", seen.count);
        json_member_u64(&call->out, "pairs_skipped", seen.cut);
        json_member_u64(&call->out, "pairs_flipped", flipped);
        write_flips(&call->out, &seen, flips);
        json_end_object(&call->out);
        admin_answer(call, NULL);
    }
    free(flips);
    free(seen.pairs);
    free(seen.items);
}

/* --- changes --- */

struct add_options {
    const char *action;
    const char *permissions;
    const char *description;
    bool dry_run;
};

static int read_add_options(size_t count, char **words, struct add_options *options, struct error *error)
{
    size_t at = 1;
    *options = (struct add_options){.action = words[0]};
    if (strcmp(words[0], "permissions") == 0) {
        options->action = "";
        options->permissions = at < count ? words[at++] : "";
    } else if (strcmp(words[0], "allow") != 0 && strcmp(words[0], "deny") != 0) {
        return error_set(error, ERROR_INVALID, "\"%.40s\" is no action; say allow, deny or permissions JSON",
                         words[0]);
    }
    for (; at < count; at++) {
        if (strcmp(words[at], "--dry-run") == 0)
            options->dry_run = true;
        else if (strcmp(words[at], "--description") == 0 && at + 1 < count)
            options->description = words[++at];
        else
            return error_set(error, ERROR_INVALID,
                             "\"%.100s\" is not understood here; try: help intention add", words[at]);
    }
    return 0;
}

static int make_intention(struct admin_call *call, const struct names *names,
                          const struct add_options *options, struct intention **intention,
                          struct error *error)
{
    struct intention_fields fields = {
        .source = intention_name_of(&names->source),
        .destination = intention_name_of(&names->destination),
        .action = options->action,
        .description = options->description,
        .permissions_json = options->permissions,
    };
    int code = intentions_prepare_exact(model_intentions(call->admin->options.model), &fields, error);
    return code ? code : intention_make(&fields, intention, error);
}

void admin_intention_add(struct admin_call *call, size_t count, char **words)
{
    struct names names;
    struct add_options options;
    struct intention *intention = NULL;
    struct error error;
    int code = parse_names(call, words[0], words[1], &names, &error);
    if (!code)
        code = read_add_options(count - 2, words + 2, &options, &error);
    if (!code)
        code = make_intention(call, &names, &options, &intention, &error);
    if (code) {
        admin_fail(call, &error);
        return;
    }
    admin_subject(call, "%.150s => %.150s %s", words[0], words[1], words[2]);
    if (options.dry_run) {
        call->audited = false;
        dry_run(call, intention, NULL);
        intention_free(intention);
        return;
    }
    if (model_put_intention(call->admin->options.model, intention, admin_done, call, &error) != 0) {
        intention_free(intention);
        admin_fail(call, &error);
    }
}

void admin_intention_delete(struct admin_call *call, size_t count, char **words)
{
    struct model *model = call->admin->options.model;
    struct names names;
    struct error error;
    int code = parse_names(call, words[0], words[1], &names, &error);
    if (!code && count == 3 && strcmp(words[2], "--dry-run") != 0)
        code = error_set(&error, ERROR_INVALID, "usage: intention delete SRC DST [--dry-run]");
    if (code) {
        admin_fail(call, &error);
        return;
    }
    struct intention_name source = intention_name_of(&names.source);
    struct intention_name destination = intention_name_of(&names.destination);
    if (count == 2) {
        if (model_delete_intention(model, &destination, &source, admin_done, call, &error) != 0)
            admin_fail(call, &error);
        return;
    }
    call->audited = false;
    const struct intention *present = intentions_get(model_intentions(model), &destination, &source, NULL);
    if (present)
        dry_run(call, NULL, present);
    else
        admin_fail_with(call, ERROR_NOT_FOUND, "no intention from \"%.200s\" to \"%.200s\"", words[0],
                        words[1]);
}

/* SPDX-License-Identifier: MIT */
/* The command `top`: what moves, measured from the same connection's `top` before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/serve/admin_internal.h"

enum { ROWS_DEFAULT = 30 };

struct row {
    const struct observed_pair *pair;
    uint64_t allowed, denied; /* since the last snapshot */
};

struct rows {
    const struct admin_snapshot *snapshot;
    struct row *items;
    size_t count;
};

static void collect(void *context, const struct observed_pair *pair)
{
    struct rows *rows = context;
    struct row row = {pair, 0, 0};
    if (rows->snapshot->pairs) {
        const struct admin_counted *before = &rows->snapshot->pairs[pair->position];
        bool known = before->id == pair->id;
        row.allowed = pair->allowed - (known ? before->allowed : 0);
        row.denied = pair->denied - (known ? before->denied : 0);
    }
    rows->items[rows->count++] = row;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* The busiest now first, then the busiest ever. */
static int compare(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    uint64_t now_a = sum(a->allowed, a->denied), now_b = sum(b->allowed, b->denied);
    if (now_a != now_b)
        return now_a > now_b ? -1 : 1;
    uint64_t all_a = sum(a->pair->allowed, a->pair->denied), all_b = sum(b->pair->allowed, b->pair->denied);
    if (all_a != all_b)
        return all_a > all_b ? -1 : 1;
    return a->pair->id < b->pair->id ? -1 : a->pair->id > b->pair->id;
}

/* With one digit behind the point; null on the first look. */
static void member_rate(struct json_writer *json, const char *key, uint64_t count, double interval_sec)
{
    json_key(json, key);
    if (interval_sec > 0)
        json_double(json, (double)(int64_t)((double)count / interval_sec * 10 + 0.5) / 10);
    else
        json_null(json);
}

static void write_pairs(struct json_writer *json, const struct rows *rows, size_t limit, double interval_sec)
{
    json_key(json, "pairs");
    json_begin_array(json);
    for (size_t i = 0; i < rows->count && i < limit; i++) {
        const struct row *row = &rows->items[i];
        json_begin_object(json);
        json_member_text(json, "source", row->pair->source);
        json_member_text(json, "target", row->pair->target);
        json_member_u64(json, "allowed", row->pair->allowed);
        json_member_u64(json, "denied", row->pair->denied);
        member_rate(json, "allowed_rate", row->allowed, interval_sec);
        member_rate(json, "denied_rate", row->denied, interval_sec);
        json_end_object(json);
    }
    json_end_array(json);
}

static void remember(void *context, const struct observed_pair *pair)
{
    struct admin_snapshot *snapshot = context;
    snapshot->pairs[pair->position] = (struct admin_counted){pair->id, pair->allowed, pair->denied};
}

static void take_snapshot(struct admin_snapshot *snapshot, const struct observed *observed, ev_tstamp now)
{
    if (!snapshot->pairs)
        snapshot->pairs = calloc(observed_pairs_max(observed), sizeof *snapshot->pairs);
    if (!snapshot->pairs)
        return; /* no rates next time either */
    observed_each(observed, remember, snapshot);
    observed_totals(observed, &snapshot->allowed, &snapshot->denied);
    snapshot->taken_at = now;
}

static void write_top(struct admin_call *call, const struct rows *rows, size_t limit, double interval_sec)
{
    struct admin *admin = call->admin;
    const struct admin_snapshot *before = rows->snapshot;
    struct json_writer *json = &call->out;
    uint64_t allowed, denied;
    observed_totals(admin->observed, &allowed, &denied);
    json_begin_object(json);
    json_member_u64(json, "allowed", allowed);
    json_member_u64(json, "denied", denied);
    member_rate(json, "allowed_rate", allowed - before->allowed, interval_sec);
    member_rate(json, "denied_rate", denied - before->denied, interval_sec);
    model_describe(admin->options.model, json);
    write_pairs(json, rows, limit, interval_sec);
    json_key(json, "leaves");
    admin_write_leaves(admin->options.model, json, true);
    json_key(json, "clients");
    publication_describe_clients(model_publication(admin->options.model), json);
    json_end_object(json);
}

static int read_limit(size_t count, char **words, size_t *limit, struct error *error)
{
    char *end = NULL;
    *limit = ROWS_DEFAULT;
    if (count == 0)
        return 0;
    errno = 0;
    unsigned long number = strtoul(words[0], &end, 10);
    if (errno || *words[0] < '0' || *words[0] > '9' || *end)
        return error_set(error, ERROR_INVALID, "\"%.40s\" is no number; usage: top [COUNT]", words[0]);
    *limit = number;
    return 0;
}

void admin_top(struct admin_call *call, size_t count, char **words)
{
    struct admin *admin = call->admin;
    struct admin_snapshot *snapshot = &call->connection->snapshot; /* there: a command begins with its peer */
    struct error error;
    size_t limit;
    if (read_limit(count, words, &limit, &error) != 0) {
        admin_fail(call, &error);
        return;
    }
    observed_harvest(admin->observed, model_publication(admin->options.model));
    struct rows rows = {.snapshot = snapshot};
    rows.items = calloc(observed_count(admin->observed) + 1, sizeof *rows.items);
    if (!rows.items) {
        admin_fail_with(call, ERROR_SYSTEM, "no memory for the answer");
        return;
    }
    ev_tstamp now = ev_time();
    observed_each(admin->observed, collect, &rows);
    qsort(rows.items, rows.count, sizeof *rows.items, compare);
    write_top(call, &rows, limit,
              snapshot->taken_at > 0 && now > snapshot->taken_at ? now - snapshot->taken_at : 0);
    take_snapshot(snapshot, admin->observed, now);
    free(rows.items);
    admin_answer(call, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Commands about revocations. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/serve/admin_internal.h"

/* Like RFC 5280's longest validity anybody uses; what is kept longer is kept for ever. */
#define EXPIRES_SEC_MAX (INT64_C(100) * 365 * 86400)

enum { CRL_REASON_REMOVE_FROM_CRL = 8 }; /* for delta CRLs only: here that is `unrevoke` */

struct target {
    uint8_t serial[REVOCATION_SERIAL_MAX];
    size_t serial_size;
    uint8_t issuer[REVOCATION_ISSUER_MAX];
    size_t issuer_size;
    uint32_t reason;
    int64_t expires_at;
};

static int read_expires(const char *text, int64_t *expires_at, struct error *error)
{
    char *end = NULL;
    errno = 0;
    long long seconds = strtoll(text, &end, 10);
    if (errno || end == text || *end || seconds <= 0 || seconds > EXPIRES_SEC_MAX)
        return error_set(error, ERROR_INVALID, "expires \"%.40s\": say in how many seconds, 1 to %lld", text,
                         (long long)EXPIRES_SEC_MAX);
    *expires_at = (int64_t)ev_time() + seconds;
    return 0;
}

static int read_reason(const char *text, uint32_t *reason, struct error *error)
{
    int code = revocation_parse_reason(text, reason, error);
    if (!code && *reason == CRL_REASON_REMOVE_FROM_CRL)
        return error_set(error, ERROR_INVALID, "removeFromCRL takes a revocation back; say: unrevoke SERIAL");
    return code;
}

static int read_target(struct admin_call *call, size_t count, char **words, struct target *target,
                       struct error *error)
{
    bool issuer = false;
    memset(target, 0, sizeof *target);
    admin_subject(call, "serial %.100s", words[0]);
    int code = revocation_parse_serial(words[0], REVOCATION_SERIAL_EITHER, target->serial,
                                       &target->serial_size, error);
    for (size_t at = 1; at < count && !code; at++) {
        if (strcmp(words[at], "reason") == 0 && at + 1 < count) {
            code = read_reason(words[++at], &target->reason, error);
        } else if (strcmp(words[at], "expires") == 0 && at + 1 < count) {
            code = read_expires(words[++at], &target->expires_at, error);
        } else if (!issuer) {
            issuer = true;
            admin_subject(call, "serial %.100s of issuer %.150s", words[0], words[at]);
            code = revocation_parse_issuer_key_id(words[at], target->issuer, &target->issuer_size, error);
        } else {
            code = error_set(error, ERROR_INVALID, "\"%.100s\" is not understood here; try: help revoke",
                             words[at]);
        }
    }
    return code;
}

void admin_revoke(struct admin_call *call, size_t count, char **words)
{
    struct target target;
    struct error error;
    int code = read_target(call, count, words, &target, &error);
    if (!code)
        code = model_revoke(call->admin->options.model, target.issuer, target.issuer_size, target.serial,
                            target.serial_size, target.reason, target.expires_at, admin_done, call, &error);
    if (code)
        admin_fail(call, &error);
}

void admin_unrevoke(struct admin_call *call, size_t count, char **words)
{
    struct target target;
    struct error error;
    int code = read_target(call, count, words, &target, &error);
    if (!code)
        code = model_unrevoke(call->admin->options.model, target.issuer, target.issuer_size, target.serial,
                              target.serial_size, admin_done, call, &error);
    if (code)
        admin_fail(call, &error);
}

/* --- the list --- */

struct list {
    const struct revocation **items;
    size_t count;
};

static int collect(void *context, const struct revocation *revocation)
{
    struct list *list = context;
    list->items[list->count++] = revocation;
    return 0;
}

static int by_index(const void *left, const void *right)
{
    const struct revocation *a = *(const struct revocation *const *)left;
    const struct revocation *b = *(const struct revocation *const *)right;
    return a->index < b->index ? -1 : a->index > b->index;
}

static void member_hex(struct json_writer *json, const char *key, const uint8_t *bytes, size_t size)
{
    char text[3 * REVOCATION_ISSUER_MAX + 1] = "";
    for (size_t i = 0; i < size; i++)
        snprintf(text + 3 * i, 4, i + 1 < size ? "%02x:" : "%02x", bytes[i]);
    json_member_text(json, key, text);
}

static void member_time(struct json_writer *json, const char *key, int64_t when)
{
    json_key(json, key);
    if (when)
        json_time(json, (struct timespec){.tv_sec = when});
    else
        json_null(json);
}

void admin_revocations(struct admin_call *call, size_t count, char **words)
{
    const struct revocations *set = model_revocations(call->admin->options.model);
    struct list list = {calloc(revocations_count(set) + 1, sizeof *list.items), 0};
    struct json_writer *json = &call->out;
    (void)count, (void)words;
    if (!list.items) {
        admin_fail_with(call, ERROR_SYSTEM, "no memory for the answer");
        return;
    }
    revocations_for_each(set, collect, &list);
    qsort(list.items, list.count, sizeof *list.items, by_index);
    json_begin_array(json);
    for (size_t i = 0; i < list.count && json->size <= ADMIN_ANSWER_MAX; i++) {
        const struct revocation *revocation = list.items[i];
        const char *reason = revocation_reason_name(revocation->reason);
        json_begin_object(json);
        member_hex(json, "serial", revocation_serial(revocation), revocation->serial_size);
        member_hex(json, "issuer_key_id", revocation_issuer_key_id(revocation),
                   revocation->issuer_key_id_size);
        json_member_text(json, "reason", reason ? reason : "");
        member_time(json, "revoked", revocation->revoked_at);
        member_time(json, "expires", revocation->expires_at);
        json_member_u64(json, "index", revocation->index);
        json_end_object(json);
    }
    json_end_array(json);
    free(list.items);
    admin_answer(call, NULL);
}

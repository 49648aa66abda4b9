/* SPDX-License-Identifier: MIT */
/* Commands about roots and leaves. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xylem/xylem.h>

#include "agent/serve/admin_internal.h"

/* Octets as hexadecimal with colons, as Consul writes serial numbers and key ids. */
static void member_hex(struct json_writer *json, const char *key, const uint8_t *bytes, size_t size)
{
    char text[3 * 64 + 1] = "";
    for (size_t i = 0; i < size && i < 64; i++)
        snprintf(text + 3 * i, 4, i + 1 < size && i < 63 ? "%02x:" : "%02x", bytes[i]);
    json_member_text(json, key, text);
}

static void member_time(struct json_writer *json, const char *key, int64_t when)
{
    json_key(json, key);
    json_time(json, (struct timespec){.tv_sec = when});
}

/* --- roots --- */

static void write_root(struct json_writer *json, const struct source_root *root, int64_t now)
{
    json_begin_object(json);
    json_member_text(json, "id", root->id);
    json_member_text(json, "name", root->name);
    json_member_bool(json, "active", root->active);
    json_member_text(json, "key_type", root->key_type);
    json_member_u64(json, "key_bits", root->key_bits);
    member_time(json, "not_before", root->not_before);
    member_time(json, "not_after", root->not_after);
    json_member_i64(json, "left_sec", root->not_after - now);
    json_member_u64(json, "intermediates", root->intermediate_count);
    json_member_u64(json, "modify_index", root->modify_index);
    json_end_object(json);
}

static void answer_roots_pem(struct admin_call *call, const struct source_roots *roots)
{
    size_t size = 0, used = 0;
    for (size_t i = 0; i < roots->count; i++)
        size += strlen(roots->roots[i].pem);
    char *bundle = malloc(size + 1);
    if (!bundle) {
        admin_fail_with(call, ERROR_SYSTEM, "no memory for the answer");
        return;
    }
    for (size_t i = 0; i < roots->count; i++) {
        size_t length = strlen(roots->roots[i].pem);
        memcpy(bundle + used, roots->roots[i].pem, length);
        used += length;
    }
    admin_answer_text(call, "pem", bundle, used);
    free(bundle);
}

void admin_roots(struct admin_call *call, size_t count, char **words)
{
    struct identity_source *source = model_identity(call->admin->options.model);
    const struct source_roots *roots = source ? source->ops->roots(source) : NULL;
    int64_t now = (int64_t)ev_time();
    if (count == 1 && strcmp(words[0], "pem") != 0) {
        admin_fail_with(call, ERROR_INVALID, "usage: roots [pem]");
    } else if (!roots) {
        admin_fail_with(call, ERROR_BUSY, "there are no roots yet; the agent is starting");
    } else if (count == 1) {
        answer_roots_pem(call, roots);
    } else {
        json_begin_array(&call->out);
        for (size_t i = 0; i < roots->count; i++)
            write_root(&call->out, &roots->roots[i], now);
        json_end_array(&call->out);
        admin_answer(call, NULL);
    }
}

/* --- leaves --- */

struct leaf_list {
    struct json_writer *json;
    int64_t now;
    bool brief;
};

static void write_leaf(void *context, const struct leaf_info *leaf)
{
    const struct leaf_list *list = context;
    struct json_writer *json = list->json;
    bool there = leaf->version != 0;
    json_begin_object(json);
    json_member_text(json, "service", leaf->service);
    if (there) {
        json_member_i64(json, "left_sec", leaf->not_after - list->now);
        json_member_i64(json, "renew_in_sec", leaf->renew_at - list->now);
    } else {
        json_member_null(json, "left_sec");
        json_member_null(json, "renew_in_sec");
    }
    json_member_u64(json, "version", leaf->version);
    json_member_bool(json, "requested", leaf->requested);
    json_member_u64(json, "failures", leaf->failures);
    if (!list->brief) {
        json_member_text(json, "last_error", leaf->last_error);
        member_hex(json, "serial", there ? leaf->serial : NULL, there ? leaf->serial_size : 0);
    }
    json_end_object(json);
}

void admin_write_leaves(struct model *model, struct json_writer *json, bool brief)
{
    struct leaf_list list = {json, (int64_t)ev_time(), brief};
    json_begin_array(json);
    leaves_each(model_leaves(model), write_leaf, &list);
    json_end_array(json);
}

void admin_leaves(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    admin_write_leaves(call->admin->options.model, &call->out, false);
    admin_answer(call, NULL);
}

static void answer_info(struct admin_call *call, const struct leaf_info *leaf)
{
    struct json_writer *json = &call->out;
    int64_t now = (int64_t)ev_time();
    bool there = leaf->version != 0;
    json_begin_object(json);
    json_member_text(json, "service", leaf->service);
    if (there) {
        json_member_text(json, "uri", leaf->uri);
        member_hex(json, "serial", leaf->serial, leaf->serial_size);
        member_hex(json, "issuer_key_id", leaf->issuer_key_id, leaf->issuer_key_id_size);
        member_time(json, "not_before", leaf->not_before);
        member_time(json, "not_after", leaf->not_after);
        json_member_i64(json, "left_sec", leaf->not_after - now);
        json_member_i64(json, "renew_in_sec", leaf->renew_at - now);
    }
    json_member_u64(json, "version", leaf->version);
    json_member_u64(json, "index", leaf->index);
    json_member_bool(json, "requested", leaf->requested);
    json_member_u64(json, "failures", leaf->failures);
    json_member_text(json, "last_error", leaf->last_error);
    json_end_object(json);
    admin_answer(call, NULL);
}

static void answer_slice(struct admin_call *call, const char *key, struct xylem_slice slice)
{
    admin_answer_text(call, key, (const char *)slice.data, slice.size);
}

static void answer_der(struct admin_call *call, struct xylem_slice der)
{
    json_begin_object(&call->out);
    json_key(&call->out, "der");
    json_base64(&call->out, der.data, der.size);
    json_end_object(&call->out);
    if (call->json) {
        admin_answer(call, NULL);
        return;
    }
    struct json_writer base64;
    json_writer_init(&base64, 0);
    json_base64(&base64, der.data, der.size);
    if (base64.failed || base64.size < 2)
        admin_fail_with(call, ERROR_SYSTEM, "no memory for the answer");
    else
        admin_answer_text(call, "der", base64.data + 1, base64.size - 2); /* without its quotes */
    json_writer_free(&base64);
}

static void answer_material(struct admin_call *call, const char *service, const char *what)
{
    const struct admin_options *options = &call->admin->options;
    struct xylem_leaf_view leaf;
    struct error error = {0};
    if (strcmp(what, "pem") != 0 && strcmp(what, "der") != 0 && strcmp(what, "key") != 0) {
        admin_fail_with(call, ERROR_INVALID, "usage: leaf SERVICE [pem|der|key]");
        return;
    }
    if (strcmp(what, "key") == 0) {
        call->audited = true;
        admin_subject(call, "private key of %.350s", service);
        if (call->level < CONFIG_ADMIN) {
            admin_fail_with(call, ERROR_DENIED,
                            "a private key needs level admin, and this connection has level %s",
                            admin_level_name(call->level));
            return;
        }
    }
    memset(&leaf, 0, sizeof leaf);
    int code = options->read_leaf ? options->read_leaf(options->read_leaf_argument, service, &leaf, &error)
                                  : error_set(&error, ERROR_SYSTEM,
                                              "this agent does not hand out certificates at this door");
    if (code)
        admin_fail(call, &error);
    else if (*what == 'p')
        answer_slice(call, "pem", leaf.chain_pem);
    else if (*what == 'k')
        answer_slice(call, "key", leaf.key_pem);
    else
        answer_der(call, leaf.leaf_der);
}

void admin_leaf(struct admin_call *call, size_t count, char **words)
{
    const struct leaf_info *leaf = leaves_find(model_leaves(call->admin->options.model), words[0]);
    if (!leaf)
        admin_fail_with(call, ERROR_NOT_FOUND, "no leaf for service \"%.255s\"; see: leaves", words[0]);
    else if (count == 1)
        answer_info(call, leaf);
    else
        answer_material(call, words[0], words[1]);
}

void admin_renew(struct admin_call *call, size_t count, char **words)
{
    struct error error;
    (void)count;
    admin_subject(call, "%.390s", words[0]);
    if (leaves_renew(model_leaves(call->admin->options.model), words[0], &error) != 0)
        admin_fail(call, &error);
    else
        admin_answer_ok(call);
}

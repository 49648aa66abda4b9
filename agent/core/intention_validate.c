/* SPDX-License-Identifier: MIT */
/* What Consul refuses in a service-intentions entry, in its order and its words. */
#include "agent/core/intention_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/utf8.h"

const struct json_limits intention_json_limits = {
    .size_max = 8 << 20, .depth_max = 32, .tokens_max = 1 << 17};

const char *intention_quote(const char *text, char *out, size_t size)
{
    static const char letters[] = "abtnvfr"; /* from 7 on */
    size_t used = 0, left = strlen(text), room = size - 2;
    out[used++] = '"';
    for (const char *at = text; left > 0;) {
        uint32_t character;
        char one[8];
        unsigned char byte = (unsigned char)*at;
        size_t taken = utf8_decode((const unsigned char *)at, left, &character);
        if (byte == '"' || byte == '\\')
            snprintf(one, sizeof one, "\\%c", byte);
        else if (byte >= 7 && byte <= 13)
            snprintf(one, sizeof one, "\\%c", letters[byte - 7]);
        else if (byte < 0x20 || byte == 0x7f || !taken)
            snprintf(one, sizeof one, "\\x%02x", byte);
        else
            snprintf(one, sizeof one, "%.*s", (int)taken, at);
        size_t length = strlen(one);
        if (used + length > room)
            break;
        memcpy(out + used, one, length);
        used += length;
        at += taken ? taken : 1;
        left -= taken ? taken : 1;
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

static bool is_utf8(const char *text, size_t size)
{
    uint32_t character;
    while (size > 0) {
        size_t taken = utf8_decode((const unsigned char *)text, size, &character);
        if (!taken)
            return false;
        text += taken;
        size -= taken;
    }
    return true;
}

/* What no part of a name may be, beyond Consul's rules: the regions could not hold it. */
static int check_part(const char *what, const char *text, bool slash_allowed, struct error *error)
{
    size_t size = strlen(text);
    if (size > INTENTION_NAME_MAX)
        return error_set(error, ERROR_INVALID, "%s: %zu bytes exceed the maximum length %d", what, size,
                         (int)INTENTION_NAME_MAX);
    if (!is_utf8(text, size))
        return error_set(error, ERROR_INVALID, "%s: must be valid UTF-8", what);
    if (!slash_allowed && strchr(text, '/'))
        return error_set(error, ERROR_INVALID, "%s: must not contain '/'", what);
    return 0;
}

static int check_name(const struct intention_name *name, const char *peer, struct error *error)
{
    bool any_namespace = intention_is_wildcard(name->namespace_name);
    bool any_name = intention_is_wildcard(name->name);
    if (!any_namespace && strchr(name->namespace_name, '*'))
        return error_set(error, ERROR_INVALID,
                         "Namespace: wildcard character '*' cannot be used with partial values");
    if (!any_name && strchr(name->name, '*'))
        return error_set(error, ERROR_INVALID,
                         "Name: wildcard character '*' cannot be used with partial values");
    if (any_namespace && !any_name)
        return error_set(error, ERROR_INVALID, "Name: exact value cannot follow wildcard namespace");
    if (strchr(name->partition, '*'))
        return error_set(error, ERROR_INVALID, "Partition: cannot use wildcard '*' in partition");
    if (strchr(peer, '*'))
        return error_set(error, ERROR_INVALID, "Peer: cannot use wildcard '*' in peer");
    int code = check_part("Namespace", name->namespace_name, false, error);
    if (!code)
        code = check_part("Name", name->name, true, error);
    if (!code)
        code = check_part("Partition", name->partition, false, error);
    return code ? code : check_part("Peer", peer, false, error);
}

/* ---- Meta ---- */

struct meta {
    const char *key, *value;
    size_t order;
};

static int compare_meta(const void *left, const void *right)
{
    const struct meta *a = left, *b = right;
    int order = strcmp(a->key, b->key);
    return order ? order : a->order < b->order ? -1 : 1;
}

static int read_meta(struct json_value meta, struct meta *members, size_t *count, struct error *error)
{
    char quoted[300];
    *count = 0;
    if (json_count(meta) > INTENTION_META_COUNT_MAX)
        return error_set(error, ERROR_INVALID, "Meta exceeds maximum element count %d",
                         (int)INTENTION_META_COUNT_MAX);
    for (struct json_value member = json_first(meta); member.document; member = json_next(member)) {
        struct meta *one = &members[*count];
        *one = (struct meta){json_key_of(member), "", *count};
        int code = json_type(member) == JSON_NULL ? 0 : json_read_text(member, &one->value, error);
        if (code)
            return code;
        intention_quote(one->key, quoted, sizeof quoted);
        if (strlen(one->key) > INTENTION_META_KEY_MAX)
            return error_set(error, ERROR_INVALID, "Meta key %s exceeds maximum length %d", quoted,
                             (int)INTENTION_META_KEY_MAX);
        if (strlen(one->value) > INTENTION_DESCRIPTION_MAX)
            return error_set(error, ERROR_INVALID, "Meta value for key %s exceeds maximum length %d", quoted,
                             (int)INTENTION_DESCRIPTION_MAX);
        (*count)++;
    }
    return 0;
}

int intention_write_meta(struct json_writer *out, struct json_value meta, struct error *error)
{
    struct meta members[INTENTION_META_COUNT_MAX];
    size_t count;
    enum json_type type = json_type(meta);
    if (type == JSON_MISSING || type == JSON_NULL)
        return 0;
    if (type != JSON_OBJECT)
        return error_set(error, ERROR_INVALID, "Meta: must be an object of texts");
    int code = read_meta(meta, members, &count, error);
    if (code || count == 0)
        return code;
    qsort(members, count, sizeof members[0], compare_meta);
    json_begin_object(out);
    for (size_t i = 0; i < count; i++)
        /* Of several the last counts, as in a Go map. */
        if (i + 1 == count || strcmp(members[i].key, members[i + 1].key) != 0)
            json_member_text(out, members[i].key, members[i].value);
    json_end_object(out);
    return 0;
}

int intention_parse_member(struct json_value *value, const char *text, struct json_document **parsed,
                           struct error *error)
{
    *parsed = NULL;
    if (value->document || !text || !text[0])
        return 0;
    int code = json_parse(text, strlen(text), &intention_json_limits, parsed, error);
    if (!code)
        *value = json_root(*parsed);
    return code;
}

/* ---- The entry ---- */

static int check_destination(const struct intention_fields *fields, struct error *error)
{
    struct intention_name destination = intention_full_name(&fields->destination);
    if (!destination.name[0])
        return error_set(error, ERROR_INVALID, "Name is required");
    return check_name(&destination, "", error);
}

static int check_source_name(const struct intention_fields *fields, const char *where, struct error *error)
{
    struct intention_name source = intention_full_name(&fields->source);
    const char *peer = intention_text(fields->source_peer);
    if (!source.name[0])
        return error_set(error, ERROR_INVALID, "%s.Name is required", where);
    if (intention_text(fields->source_sameness_group)[0])
        return error_set(error, ERROR_INVALID,
                         "%s.SamenessGroup: Sameness groups are a Consul Enterprise feature. ", where);
    if (check_name(&source, peer, error) != 0) {
        struct error reason = *error;
        return error_set(error, ERROR_INVALID, "%s.%s", where, reason.text);
    }
    if (peer[0] && intention_text(fields->source.partition)[0] && strcmp(source.partition, "default") != 0)
        return error_set(error, ERROR_INVALID, "%s.Peer: cannot set Peer and Partition at the same time.",
                         where);
    return 0;
}

static int check_action(const struct intention_fields *fields, bool has_permissions, const char *where,
                        struct error *error)
{
    const char *action = intention_text(fields->action);
    bool any_destination = intention_is_wildcard(intention_text(fields->destination.name));
    if (!has_permissions && strcmp(action, "allow") != 0 && strcmp(action, "deny") != 0)
        return error_set(error, ERROR_INVALID, "%s.Action must be set to 'allow' or 'deny'", where);
    if (has_permissions && action[0])
        return error_set(error, ERROR_INVALID, "%s.Action must be omitted if Permissions are specified",
                         where);
    if (has_permissions && any_destination)
        return error_set(error, ERROR_INVALID,
                         "%s.Permissions cannot be specified on intentions with wildcarded destinations",
                         where);
    return 0;
}

static bool is_uuid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '-' ? text[i] != '-' : !strchr("0123456789abcdefABCDEF", text[i]))
            return false;
    return true;
}

static int check_source(const struct intention_fields *fields, bool has_permissions, struct error *error)
{
    char where[40];
    const char *description = intention_text(fields->description);
    const char *type = intention_text(fields->source_type);
    const char *legacy_id = intention_text(fields->legacy_id);
    snprintf(where, sizeof where, "Sources[%zu]", fields->position);
    int code = check_source_name(fields, where, error);
    if (code)
        return code;
    if (strlen(description) > INTENTION_DESCRIPTION_MAX)
        return error_set(error, ERROR_INVALID, "%s.Description exceeds maximum length %d", where,
                         (int)INTENTION_DESCRIPTION_MAX);
    if (!is_utf8(description, strlen(description)))
        return error_set(error, ERROR_INVALID, "%s.Description must be valid UTF-8", where);
    if (legacy_id[0] && !is_uuid(legacy_id))
        return error_set(error, ERROR_INVALID, "%s.LegacyID must be a UUID of 36 characters", where);
    code = check_action(fields, has_permissions, where, error);
    if (code)
        return code;
    if (type[0] && strcmp(type, "consul") != 0)
        return error_set(error, ERROR_INVALID, "%s.Type must be set to 'consul'", where);
    return 0;
}

int intention_validate(const struct intention_fields *fields, struct json_writer *meta,
                       struct json_writer *permissions, uint32_t *permission_count, struct error *error)
{
    /* The place of a fault is put in front of a text, so there must be one. */
    struct error ignored;
    error = error ? error : &ignored;
    int code = check_destination(fields, error);
    if (!code)
        code = intention_check_jwt_providers(fields->permissions, error);
    if (!code)
        code = intention_write_meta(meta, fields->meta, error);
    if (!code)
        code = check_source(fields, json_count(fields->permissions) > 0, error);
    if (!code)
        code = intention_write_permissions(permissions, fields->permissions, fields->position,
                                           permission_count, error);
    return code;
}

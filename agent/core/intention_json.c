/* SPDX-License-Identifier: MIT */
/* Consul's JSON form of an intention, both ways. */
#include "agent/core/intention_internal.h"

/* ---- Reading ---- */

/* Where a text of the body goes. */
struct text_field {
    const char *key;
    const char **out;
};

int intention_read_json(struct json_value body, struct intention_fields *fields, struct error *error)
{
    static const char *const known[] = {"CreatedAt",   "UpdatedAt",   "ID",
                                        "Description", "SourceNS",    "SourceName",
                                        "SourceType",  "SourcePeer",  "SourceSamenessGroup",
                                        "Action",      "Permissions", "SourcePartition",
                                        "JWT",         "DefaultAddr", "DestinationPartition",
                                        "DefaultPort", "Meta",        "DestinationNS",
                                        "Precedence",  "Hash",        "DestinationName",
                                        "CreateIndex", "ModifyIndex", NULL};
    struct intention_fields read = {0};
    const struct text_field texts[] = {
        {"ID", &read.legacy_id},
        {"Description", &read.description},
        {"SourcePartition", &read.source.partition},
        {"SourceNS", &read.source.namespace_name},
        {"SourceName", &read.source.name},
        {"SourcePeer", &read.source_peer},
        {"SourceSamenessGroup", &read.source_sameness_group},
        {"SourceType", &read.source_type},
        {"DestinationPartition", &read.destination.partition},
        {"DestinationNS", &read.destination.namespace_name},
        {"DestinationName", &read.destination.name},
        {"Action", &read.action},
    };
    if (json_type(body) != JSON_OBJECT)
        return error_set(error, ERROR_INVALID, "an intention must be a JSON object");
    int code = json_refuse_unknown(body, known, error);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !code; i++)
        code = json_get_text(body, texts[i].key, texts[i].out, error);
    if (!code)
        code = json_get_array(body, "Permissions", &read.permissions, error);
    if (!code)
        code = json_get_object(body, "Meta", &read.meta, error);
    if (!code)
        code = json_get_u64(body, "CreateIndex", &read.create_index, error);
    if (!code)
        code = json_get_u64(body, "ModifyIndex", &read.modify_index, error);
    if (!code)
        *fields = read;
    return code;
}

/* ---- Writing ---- */

static void write_unless(struct json_writer *json, const char *key, const char *text, const char *omitted)
{
    if (strcmp(text, omitted) != 0)
        json_member_text(json, key, text);
}

static void write_time(struct json_writer *json, const char *key, int64_t when)
{
    struct timespec time = {.tv_sec = (time_t)when};
    if (when == 0)
        return;
    json_key(json, key);
    json_time(json, time);
}

/* Permissions and Meta were canonical text; they are written anew for the sake of indentation. */
static void write_member(struct json_writer *json, const char *key, const char *text)
{
    struct json_document *document;
    struct json_value value = {0};
    uint32_t count;
    int code;
    if (!text[0])
        return;
    if (intention_parse_member(&value, text, &document, NULL) != 0) {
        json->failed = true;
        return;
    }
    json_key(json, key);
    if (json_type(value) == JSON_ARRAY)
        code = intention_write_permissions(json, value, 0, &count, NULL);
    else
        code = intention_write_meta(json, value, NULL);
    if (code)
        json->failed = true;
    json_free(document);
}

static void write_hash(struct json_writer *json, const struct intention *intention)
{
    uint8_t hash[32];
    if (intention_hash(intention, hash) != 0) {
        json->failed = true;
        return;
    }
    json_key(json, "Hash");
    json_base64(json, hash, sizeof hash);
}

const char *intention_action_text(const struct intention *intention)
{
    static const char *const texts[] = {
        [INTENTION_PERMISSIONS] = "", [INTENTION_ALLOW] = "allow", [INTENTION_DENY] = "deny"};
    return texts[intention->action];
}

void intention_write_json(struct json_writer *json, const struct intention *intention)
{
    const struct intention_name *from = &intention->source, *to = &intention->destination;
    const struct intention_details *details = intention->details;
    bool legacy = details->legacy_id[0] != '\0';
    json_begin_object(json);
    write_time(json, "CreatedAt", legacy ? intention->created_at : 0);
    write_time(json, "UpdatedAt", legacy ? intention->updated_at : 0);
    write_unless(json, "ID", details->legacy_id, "");
    write_unless(json, "Description", details->description, "");
    json_member_text(json, "SourceNS", from->namespace_name);
    json_member_text(json, "SourceName", from->name);
    json_member_text(json, "DestinationNS", to->namespace_name);
    json_member_text(json, "DestinationName", to->name);
    write_unless(json, "SourcePartition", from->partition, "default");
    write_unless(json, "DestinationPartition", to->partition, "default");
    write_unless(json, "SourcePeer", intention->source_peer, "");
    json_member_text(json, "SourceType", "consul");
    write_unless(json, "Action", intention_action_text(intention), "");
    write_member(json, "Permissions", details->permissions_json);
    write_member(json, "Meta", details->meta_json);
    json_member_u64(json, "Precedence", intention->precedence);
    if (legacy)
        write_hash(json, intention);
    json_member_u64(json, "CreateIndex", intention->create_index);
    json_member_u64(json, "ModifyIndex", intention->modify_index);
    json_end_object(json);
}

/* SPDX-License-Identifier: MIT */
/* Intentions are one allocation each: the structure, the details of those that have any, then the texts. */
#include "agent/core/intention_internal.h"

#include <stdlib.h>

/* Never written to: whoever has a legacy ID has details of its own. */
static struct intention_details no_details = {
    .permissions_json = "", .description = "", .meta_json = "", .legacy_id = ""};

/* The length of the name decides: * is 0 for a namespace, 1 for a name, and exact is 2. */
static unsigned exactness(const struct intention_name *name)
{
    if (intention_is_wildcard(intention_text(name->namespace_name)))
        return 0;
    return intention_is_wildcard(intention_text(name->name)) ? 1 : 2;
}

uint8_t intention_precedence(const struct intention_name *destination, const struct intention_name *source)
{
    return (uint8_t)(3 * exactness(destination) + 1 + exactness(source));
}

void intention_free(struct intention *intention)
{
    free(intention);
}

/* ---- Texts ---- */

static const char *const shared_texts[] = {"", "default", "*"};

static const char *find_shared(const char *text)
{
    for (size_t i = 0; i < sizeof shared_texts / sizeof shared_texts[0]; i++)
        if (strcmp(text, shared_texts[i]) == 0)
            return shared_texts[i];
    return NULL;
}

static size_t text_size(const char *text)
{
    return find_shared(text) ? 0 : strlen(text) + 1;
}

static const char *store_text(char **end, const char *text)
{
    const char *shared = find_shared(text);
    if (shared)
        return shared;
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*end, text, size);
    *end += size;
    return copy;
}

static struct intention_name store_name(char **end, const struct intention_name *name)
{
    struct intention_name copy = {store_text(end, name->partition), store_text(end, name->namespace_name),
                                  store_text(end, name->name)};
    return copy;
}

static size_t name_size(const struct intention_name *name)
{
    return text_size(name->partition) + text_size(name->namespace_name) + text_size(name->name);
}

/* ---- Making ---- */

/* Everything is valid here. `given` has texts only. */
static struct intention *allocate(const struct intention_fields *given,
                                  const struct intention_details *details)
{
    struct intention_name destination = intention_full_name(&given->destination);
    struct intention_name source = intention_full_name(&given->source);
    const char *peer = intention_text(given->source_peer);
    bool detailed = details->permissions_json[0] || details->description[0] || details->meta_json[0] ||
                    details->legacy_id[0];
    size_t size = sizeof(struct intention) + name_size(&destination) + name_size(&source) + text_size(peer);
    if (detailed)
        size += sizeof *details + text_size(details->permissions_json) + text_size(details->description) +
                text_size(details->meta_json) + text_size(details->legacy_id);
    struct intention *intention = malloc(size);
    if (!intention)
        return NULL;
    *intention = (struct intention){.details = &no_details};
    char *end = (char *)(intention + 1);
    if (detailed) {
        intention->details = (struct intention_details *)(intention + 1);
        end += sizeof *details;
        *intention->details = (struct intention_details){
            .permissions_json = store_text(&end, details->permissions_json),
            .description = store_text(&end, details->description),
            .meta_json = store_text(&end, details->meta_json),
            .legacy_id = store_text(&end, details->legacy_id),
            .permission_count = details->permission_count,
            .owner = intention,
        };
    }
    intention->destination = store_name(&end, &destination);
    intention->source = store_name(&end, &source);
    intention->source_peer = store_text(&end, peer);
    return intention;
}

/* The text that was written, "" if none was; NULL without memory. `*taken` is to be freed. */
static const char *take(struct json_writer *writer, char **taken)
{
    if (writer->size == 0 && !writer->failed)
        return "";
    size_t size;
    return *taken = json_take(writer, &size);
}

static enum intention_action action_of(const char *action)
{
    if (!action[0])
        return INTENTION_PERMISSIONS;
    return action[0] == 'a' ? INTENTION_ALLOW : INTENTION_DENY;
}

/* `fields` has values for permissions and Meta. */
static int make(const struct intention_fields *fields, struct json_writer *permissions,
                struct json_writer *meta, struct intention **intention, struct error *error)
{
    struct intention_details details = {.description = intention_text(fields->description),
                                        .legacy_id = intention_text(fields->legacy_id)};
    char *permissions_text = NULL, *meta_text = NULL;
    struct intention *made = NULL;
    int code = intention_validate(fields, meta, permissions, &details.permission_count, error);
    if (code)
        return code;
    details.permissions_json = take(permissions, &permissions_text);
    details.meta_json = take(meta, &meta_text);
    if (details.permissions_json && details.meta_json)
        made = allocate(fields, &details);
    free(meta_text);
    free(permissions_text);
    if (!made)
        return error_set(error, ERROR_SYSTEM, "intention for \"%s\": out of memory",
                         intention_text(fields->destination.name));
    made->created_at = fields->created_at;
    made->updated_at = fields->updated_at;
    made->create_index = fields->create_index;
    made->modify_index = fields->modify_index;
    made->action = (uint8_t)action_of(intention_text(fields->action));
    made->precedence = intention_precedence(&made->destination, &made->source);
    *intention = made;
    return 0;
}

int intention_make(const struct intention_fields *fields, struct intention **intention, struct error *error)
{
    struct intention_fields parsed = *fields;
    struct json_document *permissions = NULL, *meta = NULL;
    struct json_writer permissions_out, meta_out;
    json_writer_init(&permissions_out, 0);
    json_writer_init(&meta_out, 0);
    int code = intention_parse_member(&parsed.permissions, fields->permissions_json, &permissions, error);
    if (code) {
        error_at(error, "Permissions");
        goto out;
    }
    code = intention_parse_member(&parsed.meta, fields->meta_json, &meta, error);
    if (code) {
        error_at(error, "Meta");
        goto out;
    }
    code = make(&parsed, &permissions_out, &meta_out, intention, error);
out:
    json_writer_free(&meta_out);
    json_writer_free(&permissions_out);
    json_free(meta);
    json_free(permissions);
    return code;
}

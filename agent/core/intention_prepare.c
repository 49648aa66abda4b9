/* SPDX-License-Identifier: MIT */
/* What Consul does to a body of PUT exact before it becomes a source of the destination's entry. */
#include "agent/core/intention_internal.h"

#include <stdlib.h>

/* Is the Meta of the fields, canonical, the same as `entry_meta`? */
static int same_meta(const struct intention_fields *fields, const char *entry_meta, bool *same, bool *empty,
                     struct error *error)
{
    struct json_value meta = fields->meta;
    struct json_document *document;
    struct json_writer out;
    int code = intention_parse_member(&meta, fields->meta_json, &document, error);
    if (code)
        return code;
    json_writer_init(&out, 0);
    code = intention_write_meta(&out, meta, error);
    if (!code && out.failed)
        code = error_set(error, ERROR_SYSTEM, "Meta: out of memory");
    if (!code) {
        *empty = out.size == 0;
        *same = out.size == strlen(entry_meta) && (*empty || memcmp(out.data, entry_meta, out.size) == 0);
    }
    json_writer_free(&out);
    json_free(document);
    return code;
}

int intentions_prepare_exact(const struct intentions *set, struct intention_fields *fields,
                             struct error *error)
{
    struct intention_name destination = intention_full_name(&fields->destination);
    const struct intention_ring *ring = intentions_destination_ring(set, &destination);
    const struct intention *of_entry =
        ring ? HASH_MAP_MEMBER(const struct intention, by_destination, ring) : NULL;
    bool same, empty;
    if (intention_text(fields->source_peer)[0])
        return error_set(error, ERROR_INVALID,
                         "SourcePeer field is not supported on this endpoint. Use config entries instead");
    int code = same_meta(fields, of_entry ? of_entry->details->meta_json : "", &same, &empty, error);
    if (code)
        return code;
    if (!of_entry && !empty)
        return error_set(error, ERROR_INVALID, "Meta must not be specified");
    if (!empty && !same)
        return error_set(error, ERROR_INVALID,
                         "Meta must not be specified, or should be unchanged during an update.");
    if (!of_entry)
        return 0;
    const struct intention *old = intentions_get(set, &fields->destination, &fields->source, NULL);
    fields->destination.name = of_entry->destination.name;
    fields->meta = (struct json_value){0};
    fields->meta_json = of_entry->details->meta_json;
    if (old) {
        fields->create_index = old->create_index;
        fields->created_at = old->created_at;
    }
    return 0;
}

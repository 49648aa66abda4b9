/* SPDX-License-Identifier: MIT */
#include "client/ctl/pretty.h"

#include <stdbool.h>
#include <stdint.h>

#include "agent/json.h"

static void copy_number(struct json_writer *out, struct json_value value)
{
    uint64_t u;
    int64_t i;
    double d;
    if (json_read_u64(value, &u, NULL) == 0)
        json_u64(out, u);
    else if (json_read_i64(value, &i, NULL) == 0)
        json_i64(out, i);
    else if (json_read_double(value, &d, NULL) == 0)
        json_double(out, d);
    else
        json_null(out);
}

static void copy(struct json_writer *out, struct json_value value)
{
    enum json_type type = json_type(value);
    const char *text = "";
    bool yes = false;
    if (type == JSON_OBJECT) {
        json_begin_object(out);
        for (struct json_value v = json_first(value); v.document; v = json_next(v)) {
            json_key(out, json_key_of(v));
            copy(out, v);
        }
        json_end_object(out);
    } else if (type == JSON_ARRAY) {
        json_begin_array(out);
        for (struct json_value v = json_first(value); v.document; v = json_next(v))
            copy(out, v);
        json_end_array(out);
    } else if (type == JSON_TEXT && json_read_text(value, &text, NULL) == 0) {
        json_text(out, text);
    } else if (type == JSON_BOOL && json_read_bool(value, &yes, NULL) == 0) {
        json_bool(out, yes);
    } else if (type == JSON_NUMBER) {
        copy_number(out, value);
    } else {
        json_null(out);
    }
}

int pretty_json(const char *text, size_t size, unsigned indent, char **out, size_t *out_size,
                struct error *error)
{
    struct json_limits limits = {.size_max = SIZE_MAX, .depth_max = 60, .tokens_max = 64u << 20};
    struct json_document *document = NULL;
    struct json_writer writer;
    size_t length = 0;
    int code = json_parse(text, size, &limits, &document, error);
    if (code)
        return code;
    json_writer_init(&writer, indent);
    copy(&writer, json_root(document));
    *out = json_take(&writer, out_size ? out_size : &length);
    json_writer_free(&writer);
    json_free(document);
    return *out ? 0 : error_set(error, ERROR_SYSTEM, "no memory");
}

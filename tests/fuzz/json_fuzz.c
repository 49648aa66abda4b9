/* SPDX-License-Identifier: MIT */
/* Any bytes as JSON. What is accepted is written again from its values, read again, and must come out the
 * same. */
#include "agent/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int fact)
{
    if (!fact)
        abort();
}

static void copy_scalar(struct json_writer *writer, struct json_value value)
{
    const char *text = NULL;
    uint64_t u;
    int64_t i;
    double d;
    bool b = false;
    if (json_read_text(value, &text, NULL) == 0)
        json_text(writer, text);
    else if (json_read_u64(value, &u, NULL) == 0)
        json_u64(writer, u);
    else if (json_read_i64(value, &i, NULL) == 0 && i != 0) /* "-0" is a double */
        json_i64(writer, i);
    else if (json_read_double(value, &d, NULL) == 0)
        json_double(writer, d);
    else if (json_read_bool(value, &b, NULL) == 0)
        json_bool(writer, b);
    else
        json_null(writer);
}

static void copy(struct json_writer *writer, struct json_value value)
{
    bool object = json_type(value) == JSON_OBJECT;
    if (!object && json_type(value) != JSON_ARRAY) {
        copy_scalar(writer, value);
        return;
    }
    size_t count = 0;
    if (object)
        json_begin_object(writer);
    else
        json_begin_array(writer);
    for (struct json_value v = json_first(value); v.document; v = json_next(v), count++) {
        char path[40];
        json_path(v, path, sizeof path);
        if (object) {
            json_find(value, json_key_of(v));
            json_key(writer, json_key_of(v));
        }
        copy(writer, v);
    }
    if (object)
        json_end_object(writer);
    else
        json_end_array(writer);
    require(count == json_count(value));
}

static char *round_trip(const char *text, size_t size, size_t *out_size)
{
    struct json_limits limits = json_limits_default;
    limits.size_max = SIZE_MAX;
    struct json_document *document = NULL;
    struct error error = {0};
    int status = json_parse(text, size, &limits, &document, &error);
    require((status == 0) == (document != NULL));
    if (status != 0) {
        require(strncmp(error.text, "JSON", 4) == 0);
        return NULL;
    }
    struct json_writer writer;
    json_writer_init(&writer, 0);
    copy(&writer, json_root(document));
    char *copied = json_take(&writer, out_size);
    require(copied != NULL);
    json_free(document);
    return copied;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1);
    require(text != NULL);
    if (size > 4096)
        size = 4096; /* json_find() in every member makes this quadratic */
    memcpy(text, data, size);
    size_t first_size = 0, second_size = 0;
    char *first = round_trip(text, size, &first_size);
    free(text);
    if (!first)
        return 0;
    char *second = round_trip(first, first_size, &second_size);
    require(second && first_size == second_size && memcmp(first, second, first_size) == 0);
    free(first);
    free(second);
    return 0;
}

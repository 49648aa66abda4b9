/* SPDX-License-Identifier: MIT */
#include "agent/serve/admin_text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/json.h"
#include "agent/utf8.h"

enum { COLUMNS_MAX = 32, INDENT = 2, CELL_MAX = 64 * 1024, DEPTH_MAX = 32 };

struct text {
    char *data;
    size_t size, capacity;
    bool failed;
};

static void append(struct text *text, const char *bytes, size_t size)
{
    if (text->failed)
        return;
    if (text->capacity - text->size <= size) {
        size_t capacity = (text->capacity + size + 1) * 2;
        char *grown = realloc(text->data, capacity);
        if (!grown) {
            text->failed = true;
            return;
        }
        text->data = grown;
        text->capacity = capacity;
    }
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = '\0';
}

static void append_spaces(struct text *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        append(text, " ", 1);
}

/* --- widths --- */

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t character, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    return false;
}

/* wcwidth() would do this by the locale, which a daemon does not have. */
static size_t width_of(uint32_t character)
{
    static const struct range none[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},
                                        {0x610, 0x61a},   {0x64b, 0x65f},   {0x1ab0, 0x1aff},
                                        {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x20d0, 0x20ff},
                                        {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};
    static const struct range wide[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x33ff},
                                        {0x3400, 0x4dbf},   {0x4e00, 0xa4cf},   {0xac00, 0xd7a3},
                                        {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                        {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
                                        {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
    if (character < 0x300)
        return 1;
    if (is_in(character, none, sizeof none / sizeof *none))
        return 0;
    return is_in(character, wide, sizeof wide / sizeof *wide) ? 2 : 1;
}

size_t admin_text_width(const char *text)
{
    size_t width = 0, left = strlen(text);
    while (left > 0) {
        uint32_t character = 0;
        size_t length = utf8_decode((const unsigned char *)text, left, &character);
        width += length ? width_of(character) : 1;
        text += length ? length : 1;
        left -= length ? length : 1;
    }
    return width;
}

/* --- scalars --- */

static bool ends_in(const char *key, const char *ending)
{
    size_t size = strlen(key), end = strlen(ending);
    return size > end && strcmp(key + size - end, ending) == 0;
}

static void append_duration(struct text *out, int64_t seconds)
{
    char line[64];
    uint64_t left = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
    const char *sign = seconds < 0 ? "-" : "";
    if (left >= 2 * 86400)
        snprintf(line, sizeof line, "%s%llud%lluh", sign, (unsigned long long)(left / 86400),
                 (unsigned long long)(left / 3600 % 24));
    else if (left >= 3600)
        snprintf(line, sizeof line, "%s%lluh%llum", sign, (unsigned long long)(left / 3600),
                 (unsigned long long)(left / 60 % 60));
    else if (left >= 60)
        snprintf(line, sizeof line, "%s%llum%llus", sign, (unsigned long long)(left / 60),
                 (unsigned long long)(left % 60));
    else
        snprintf(line, sizeof line, "%s%llus", sign, (unsigned long long)left);
    append(out, line, strlen(line));
}

static void append_bytes(struct text *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char line[64];
    size_t unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(line, sizeof line, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    append(out, line, strlen(line));
}

static void append_instant(struct text *out, int64_t unix_time)
{
    char line[64];
    struct tm parts;
    time_t when = (time_t)unix_time;
    if (unix_time == 0 || !gmtime_r(&when, &parts) ||
        !strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%SZ", &parts))
        snprintf(line, sizeof line, "-");
    append(out, line, strlen(line));
}

/* The characters themselves, and escapes for what could steer a terminal or break a line. */
static void append_text(struct text *out, const char *value)
{
    size_t left = strlen(value);
    if (left > CELL_MAX)
        left = CELL_MAX;
    while (left > 0) {
        char escaped[JSON_ESCAPED_MAX];
        size_t escaped_size = 0;
        size_t took = json_escape_one(value, left, JSON_ESCAPE_LOG, escaped, &escaped_size);
        if (took == 1 && (*value == '"' || *value == '\\'))
            append(out, value, 1);
        else
            append(out, escaped, escaped_size);
        value += took;
        left -= took;
    }
}

static void append_number(struct text *out, const char *key, struct json_value value)
{
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0;
    char line[64];
    if (json_read_i64(value, &i, NULL) == 0 && key && ends_in(key, "_sec"))
        append_duration(out, i);
    else if (json_read_i64(value, &i, NULL) == 0 && key && ends_in(key, "_at"))
        append_instant(out, i);
    else if (json_read_u64(value, &u, NULL) == 0 && key && ends_in(key, "_bytes"))
        append_bytes(out, u);
    else if (json_read_u64(value, &u, NULL) == 0) {
        snprintf(line, sizeof line, "%llu", (unsigned long long)u);
        append(out, line, strlen(line));
    } else if (json_read_i64(value, &i, NULL) == 0) {
        snprintf(line, sizeof line, "%lld", (long long)i);
        append(out, line, strlen(line));
    } else if (json_read_double(value, &d, NULL) == 0) {
        snprintf(line, sizeof line, "%.6g", d);
        append(out, line, strlen(line));
    } else {
        append(out, "?", 1); /* JSON has numbers that no type of ours holds */
    }
}

/* Anything on one line. Deeper containers show their number of items. */
static void append_inline(struct text *out, const char *key, struct json_value value, unsigned depth)
{
    const char *text = "";
    bool yes = false, first = true;
    char line[32];
    switch (json_type(value)) {
    case JSON_TEXT:
        json_read_text(value, &text, NULL);
        append_text(out, *text ? text : "-");
        break;
    case JSON_BOOL:
        json_read_bool(value, &yes, NULL);
        append_text(out, yes ? "yes" : "no");
        break;
    case JSON_NUMBER:
        append_number(out, key, value);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (depth > 0 || json_type(value) == JSON_OBJECT || json_type(json_first(value)) == JSON_OBJECT) {
            snprintf(line, sizeof line, "%zu", json_count(value));
            append(out, line, strlen(line));
            break;
        }
        for (struct json_value v = json_first(value); v.document; v = json_next(v), first = false) {
            append(out, ",", first ? 0 : 1);
            append_inline(out, NULL, v, depth + 1);
        }
        append(out, "-", first ? 1 : 0);
        break;
    default:
        append(out, "-", 1);
    }
}

/* "not_after" -> "not after", "left_sec" -> "left". */
static void label_of(const char *key, bool number, bool capitals, char *out, size_t size)
{
    size_t length = strlen(key);
    if (number && ends_in(key, "_sec"))
        length -= 4;
    else if (number && ends_in(key, "_bytes"))
        length -= 6;
    size_t used = 0;
    for (size_t at = 0; at < length && used + JSON_ESCAPED_MAX < size;) {
        char escaped[JSON_ESCAPED_MAX];
        size_t escaped_size = 0;
        at += json_escape_one(key + at, length - at, JSON_ESCAPE_LOG, escaped, &escaped_size);
        for (size_t i = 0; i < escaped_size; i++) {
            char c = escaped[i] == '_' ? ' ' : escaped[i];
            out[used++] = capitals && c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        }
    }
    if (used == 0)
        out[used++] = '-';
    out[used] = '\0';
}

/* --- tables --- */

struct column {
    const char *key;
    char label[64];
    size_t width;
    bool number; /* every cell is one: right-aligned */
};

struct table {
    struct column columns[COLUMNS_MAX];
    size_t column_count;
    char **cells; /* row after row; NULL where a row has no such member */
    size_t row_count;
};

static struct column *find_column(struct table *table, struct json_value member, size_t hint)
{
    const char *key = json_key_of(member);
    if (hint < table->column_count && strcmp(table->columns[hint].key, key) == 0)
        return &table->columns[hint];
    for (size_t i = 0; i < table->column_count; i++)
        if (strcmp(table->columns[i].key, key) == 0)
            return &table->columns[i];
    if (table->column_count == COLUMNS_MAX)
        return NULL;
    struct column *column = &table->columns[table->column_count++];
    column->key = key;
    column->number = true;
    label_of(key, json_type(member) == JSON_NUMBER, true, column->label, sizeof column->label);
    column->width = admin_text_width(column->label);
    return column;
}

static int fill_cells(struct table *table, struct json_value array)
{
    size_t row = 0;
    for (struct json_value item = json_first(array); item.document; item = json_next(item), row++) {
        size_t hint = 0;
        if (json_type(item) != JSON_OBJECT)
            continue; /* somebody else's JSON may mix them */
        for (struct json_value v = json_first(item); v.document; v = json_next(v), hint++) {
            struct text cell = {0};
            struct column *column = find_column(table, v, hint);
            if (!column)
                continue;
            append_inline(&cell, column->key, v, 0);
            append(&cell, "", 0);
            if (cell.failed)
                return ERROR_SYSTEM;
            char **place = &table->cells[row * COLUMNS_MAX + (size_t)(column - table->columns)];
            free(*place); /* a key that comes twice */
            *place = cell.data;
            size_t width = admin_text_width(cell.data);
            column->width = width > column->width ? width : column->width;
            column->number &= json_type(v) == JSON_NUMBER;
        }
    }
    return 0;
}

static void append_cell(struct text *out, const struct column *column, const char *cell, bool last)
{
    size_t width = admin_text_width(cell);
    size_t padding = column->width > width ? column->width - width : 0;
    if (column->number)
        append_spaces(out, padding);
    append(out, cell, strlen(cell));
    if (!last)
        append_spaces(out, (column->number ? 0 : padding) + 2);
}

static void append_rows(struct text *out, const struct table *table, size_t indent)
{
    for (size_t row = 0; row <= table->row_count; row++) {
        append_spaces(out, indent);
        for (size_t i = 0; i < table->column_count; i++) {
            const char *cell = row == 0 ? table->columns[i].label : table->cells[(row - 1) * COLUMNS_MAX + i];
            append_cell(out, &table->columns[i], cell ? cell : "-", i + 1 == table->column_count);
        }
        append(out, "\n", 1);
    }
}

static void append_table(struct text *out, struct json_value array, size_t indent)
{
    struct table *table = calloc(1, sizeof *table);
    if (table) {
        table->row_count = json_count(array);
        table->cells = calloc(table->row_count * COLUMNS_MAX, sizeof *table->cells);
    }
    if (!table || !table->cells || fill_cells(table, array) != 0)
        out->failed = true;
    else if (table->column_count > 0)
        append_rows(out, table, indent);
    for (size_t i = 0; table && table->cells && i < table->row_count * COLUMNS_MAX; i++)
        free(table->cells[i]);
    if (table)
        free(table->cells);
    free(table);
}

/* --- containers --- */

static bool is_nested(struct json_value value)
{
    enum json_type type = json_type(value);
    return (type == JSON_OBJECT && json_count(value) > 0) ||
           (type == JSON_ARRAY && json_type(json_first(value)) == JSON_OBJECT);
}

static void append_value(struct text *out, struct json_value value, size_t indent, unsigned depth);

static void append_object(struct text *out, struct json_value object, size_t indent, unsigned depth)
{
    char label[128];
    size_t widest = 0;
    for (struct json_value v = json_first(object); v.document; v = json_next(v)) {
        label_of(json_key_of(v), json_type(v) == JSON_NUMBER, false, label, sizeof label);
        size_t width = admin_text_width(label);
        widest = !is_nested(v) && width > widest ? width : widest;
    }
    for (struct json_value v = json_first(object); v.document; v = json_next(v)) {
        const char *key = json_key_of(v);
        label_of(key, json_type(v) == JSON_NUMBER, false, label, sizeof label);
        append_spaces(out, indent);
        append(out, label, strlen(label));
        append(out, ":", 1);
        if (is_nested(v) && depth < DEPTH_MAX) {
            append(out, "\n", 1);
            append_value(out, v, indent + INDENT, depth + 1);
            continue;
        }
        append_spaces(out, widest > admin_text_width(label) ? widest - admin_text_width(label) + 1 : 1);
        append_inline(out, key, v, 0);
        append(out, "\n", 1);
    }
}

static void append_value(struct text *out, struct json_value value, size_t indent, unsigned depth)
{
    if (json_type(value) == JSON_OBJECT) {
        append_object(out, value, indent, depth);
        return;
    }
    if (json_type(value) == JSON_ARRAY && json_type(json_first(value)) == JSON_OBJECT) {
        append_table(out, value, indent);
        return;
    }
    if (json_type(value) == JSON_ARRAY && json_count(value) > 0) {
        for (struct json_value v = json_first(value); v.document; v = json_next(v))
            append_value(out, v, indent, depth + 1);
        return;
    }
    append_spaces(out, indent);
    if (json_type(value) == JSON_ARRAY)
        append(out, "(none)", 6);
    else
        append_inline(out, NULL, value, 0);
    append(out, "\n", 1);
}

int admin_text_render(const char *json, size_t size, char **text, size_t *text_size, struct error *error)
{
    struct json_limits limits = {.size_max = SIZE_MAX, .depth_max = DEPTH_MAX, .tokens_max = 64u << 20};
    struct json_document *document = NULL;
    int code = json_parse(json, size, &limits, &document, error);
    if (code)
        return code;
    struct text out = {0};
    append(&out, "", 0);
    append_value(&out, json_root(document), 0, 0);
    json_free(document);
    if (out.failed) {
        free(out.data);
        return error_set(error, ERROR_SYSTEM, "no memory for the answer");
    }
    *text = out.data;
    *text_size = out.size;
    return 0;
}

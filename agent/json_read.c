/* SPDX-License-Identifier: MIT */
/* Reading. jsmn finds the tokens but accepts far more than JSON, so the grammar is checked first. */
#include "agent/json.h"

#include "agent/json_scan.h"
#include "agent/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JSMN_STATIC
#define JSMN_PARENT_LINKS /* without it, closing a bracket costs time proportional to the document */
#include <jsmn.h>

const struct json_limits json_limits_default = {.size_max = 512 << 10, .depth_max = 32, .tokens_max = 65536};

/* One value or key. `end` is the token behind the last one inside it. */
struct node {
    enum json_type type;
    bool is_key;
    unsigned start, size; /* in the document's text; of a text, unescaped and terminated */
    unsigned end;
    unsigned items;
    int parent; /* of a member's value: its key */
};

struct json_document {
    char *text;
    size_t size;
    struct node *nodes;
    unsigned count;
    char *duplicate;
};

/* ---- Texts ---- */

static uint32_t hex4(const char *digits)
{
    char text[5] = {digits[0], digits[1], digits[2], digits[3], 0};
    return (uint32_t)strtoul(text, NULL, 16);
}

/* Behind a backslash and 'u'. As Go does, half a surrogate pair becomes U+FFFD. */
static size_t unescape_code(const char *in, size_t left, char out[4], size_t *out_size)
{
    uint32_t code = hex4(in);
    size_t taken = 4;
    if (code >= 0xd800 && code <= 0xdfff) {
        uint32_t low = left >= 10 && in[4] == '\\' && in[5] == 'u' ? hex4(in + 6) : 0;
        if (code <= 0xdbff && low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            taken = 10;
        } else {
            code = 0xfffd;
        }
    }
    *out_size = utf8_encode(code, out);
    return taken;
}

/* In place: no escape is shorter than what it stands for. The closing quote gives its byte to the
 * terminator. */
static unsigned unescape(char *text, size_t size)
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        if (text[at] != '\\') {
            text[used++] = text[at++];
            continue;
        }
        char c = text[at + 1];
        at += 2;
        if (c == 'u') {
            char out[4];
            size_t out_size;
            at += unescape_code(text + at, size - at, out, &out_size);
            memcpy(text + used, out, out_size);
            used += out_size;
        } else {
            const char *letter = strchr(letters, c);
            text[used++] = letter ? meanings[letter - letters] : c;
        }
    }
    text[used] = '\0';
    return (unsigned)used;
}

/* ---- The document ---- */

static enum json_type type_of(const jsmntok_t *token, const char *text)
{
    if (token->type == JSMN_OBJECT)
        return JSON_OBJECT;
    if (token->type == JSMN_ARRAY)
        return JSON_ARRAY;
    if (token->type == JSMN_STRING)
        return JSON_TEXT;
    char first = text[token->start];
    return first == 'n' ? JSON_NULL : first == 't' || first == 'f' ? JSON_BOOL : JSON_NUMBER;
}

static void fill_nodes(struct json_document *document, const jsmntok_t *tokens)
{
    struct node *nodes = document->nodes;
    for (unsigned i = 0; i < document->count; i++) {
        nodes[i] = (struct node){.type = type_of(&tokens[i], document->text),
                                 .start = (unsigned)tokens[i].start,
                                 .size = (unsigned)(tokens[i].end - tokens[i].start),
                                 .end = i + 1,
                                 .parent = tokens[i].parent};
        if (nodes[i].parent >= 0) {
            struct node *parent = &nodes[nodes[i].parent];
            nodes[i].is_key = parent->type == JSON_OBJECT;
            parent->items++;
        }
    }
    /* Children come after their parents, so backwards every `end` is final before it is passed on. */
    for (unsigned i = document->count; i-- > 0;) {
        struct node *parent = nodes[i].parent >= 0 ? &nodes[nodes[i].parent] : NULL;
        if (parent && parent->end < nodes[i].end)
            parent->end = nodes[i].end;
        if (nodes[i].type == JSON_TEXT)
            nodes[i].size = unescape(document->text + nodes[i].start, nodes[i].size);
    }
}

static int compare_keys(const void *left, const void *right, void *context)
{
    const struct json_document *document = context;
    const struct node *a = &document->nodes[*(const unsigned *)left];
    const struct node *b = &document->nodes[*(const unsigned *)right];
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    /* Of one length, or a key with an embedded NUL would pass for its beginning. */
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    for (unsigned i = 0; i < a->size; i++) {
        int left_char = tolower((unsigned char)document->text[a->start + i]);
        int right_char = tolower((unsigned char)document->text[b->start + i]);
        if (left_char != right_char)
            return left_char - right_char;
    }
    return 0;
}

static int find_duplicate(struct json_document *document, struct error *error)
{
    unsigned *keys = malloc((document->count + 1) * sizeof *keys);
    if (!keys)
        return error_errno(error, "JSON");
    unsigned count = 0;
    for (unsigned i = 0; i < document->count; i++) {
        if (document->nodes[i].is_key)
            keys[count++] = i;
    }
    qsort_r(keys, count, sizeof *keys, compare_keys, document);
    int status = 0;
    for (unsigned i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i], document) != 0)
            continue;
        char path[256];
        json_path((struct json_value){document, keys[i] + 1}, path, sizeof path);
        document->duplicate = strdup(path);
        if (!document->duplicate)
            status = error_errno(error, "JSON");
        break;
    }
    free(keys);
    return status;
}

static int refuse(const struct json_scan *scan, struct error *error)
{
    unsigned line = 1, column = 1;
    for (size_t i = 0; i < scan->at && i < scan->size; i++) {
        bool new_line = scan->text[i] == '\n';
        line += new_line;
        column = new_line ? 1 : column + 1;
    }
    return error_set(error, ERROR_INVALID, "JSON line %u column %u: %s", line, column, scan->problem);
}

/* `size` bytes of `text` are known to be one value of `tokens` tokens. */
static int build(const char *text, size_t size, unsigned tokens, struct json_document **result,
                 struct error *error)
{
    int status;
    struct json_document *document = calloc(1, sizeof *document);
    jsmntok_t *found = calloc(tokens, sizeof *found);
    if (document) {
        document->size = size;
        document->count = tokens;
        document->text = malloc(size + 1);
        document->nodes = calloc(tokens, sizeof *document->nodes);
    }
    if (!document || !found || !document->text || !document->nodes) {
        status = error_errno(error, "JSON");
        goto fail;
    }
    memcpy(document->text, text, size);
    document->text[size] = '\0';
    jsmn_parser parser;
    jsmn_init(&parser);
    if (jsmn_parse(&parser, document->text, size, found, tokens) != (int)tokens) {
        status = error_set(error, ERROR_INVALID, "JSON: not understood");
        goto fail;
    }
    fill_nodes(document, found);
    status = find_duplicate(document, error);
    if (status != 0)
        goto fail;
    free(found);
    *result = document;
    return 0;
fail:
    free(found);
    json_free(document);
    return status;
}

int json_parse(const char *text, size_t size, const struct json_limits *limits,
               struct json_document **document, struct error *error)
{
    struct json_scan scan = {
        .text = (const unsigned char *)text, .size = size, .limits = limits ? limits : &json_limits_default};
    if (size > scan.limits->size_max || size > INT_MAX / 2)
        return error_set(error, ERROR_LIMIT, "JSON: %zu bytes are more than the %zu that are accepted", size,
                         scan.limits->size_max);
    if (!json_scan_value(&scan))
        return refuse(&scan, error);
    size_t value_size = scan.at;
    json_skip_white(&scan);
    if (scan.at < size && !scan.limits->ignore_trailing) {
        scan.problem = "something follows the value";
        return refuse(&scan, error);
    }
    return build(text, value_size, scan.tokens, document, error);
}

void json_free(struct json_document *document)
{
    if (!document)
        return;
    if (document->text)
        explicit_bzero(document->text, document->size);
    free(document->text);
    free(document->nodes);
    free(document->duplicate);
    free(document);
}

struct json_value json_root(const struct json_document *document)
{
    return (struct json_value){document, 0};
}

const char *json_duplicate_key(const struct json_document *document)
{
    return document->duplicate;
}

/* ---- Values ---- */

static const struct node *node_of(struct json_value value)
{
    return value.document ? &value.document->nodes[value.token] : NULL;
}

enum json_type json_type(struct json_value value)
{
    return value.document ? node_of(value)->type : JSON_MISSING;
}

static const struct json_value nothing = {NULL, 0};

struct json_value json_first(struct json_value container)
{
    enum json_type type = json_type(container);
    if ((type != JSON_OBJECT && type != JSON_ARRAY) || node_of(container)->items == 0)
        return nothing;
    return (struct json_value){container.document, container.token + (type == JSON_OBJECT ? 2 : 1)};
}

struct json_value json_next(struct json_value item)
{
    const struct node *node = node_of(item);
    if (!node || node->parent < 0)
        return nothing;
    const struct node *nodes = item.document->nodes;
    bool member = nodes[node->parent].is_key;
    unsigned container = (unsigned)(member ? nodes[node->parent].parent : node->parent);
    if (node->end >= nodes[container].end)
        return nothing;
    return (struct json_value){item.document, node->end + (member ? 1 : 0)};
}

const char *json_key_of(struct json_value member)
{
    const struct node *node = node_of(member);
    if (!node || node->parent < 0 || !member.document->nodes[node->parent].is_key)
        return NULL;
    return member.document->text + member.document->nodes[node->parent].start;
}

size_t json_count(struct json_value container)
{
    enum json_type type = json_type(container);
    return type == JSON_OBJECT || type == JSON_ARRAY ? node_of(container)->items : 0;
}

static bool key_is(struct json_value member, const char *key)
{
    const struct node *node = &member.document->nodes[node_of(member)->parent];
    return node->size == strlen(key) && strcasecmp(member.document->text + node->start, key) == 0;
}

struct json_value json_find(struct json_value object, const char *key)
{
    struct json_value found = nothing;
    if (json_type(object) != JSON_OBJECT)
        return nothing;
    for (struct json_value v = json_first(object); v.document; v = json_next(v)) {
        if (key_is(v, key))
            found = v;
    }
    return found;
}

static size_t index_of(struct json_value item)
{
    size_t index = 0;
    struct json_value array = {item.document, (unsigned)node_of(item)->parent};
    for (struct json_value v = json_first(array); v.document && v.token != item.token; v = json_next(v))
        index++;
    return index;
}

void json_path(struct json_value value, char *path, size_t size)
{
    struct json_value chain[JSON_READ_DEPTH_MAX + 1];
    size_t length = 0, used = 0;
    path[0] = '\0';
    while (value.document && node_of(value)->parent >= 0 && length <= JSON_READ_DEPTH_MAX) {
        chain[length++] = value;
        const struct node *parent = &value.document->nodes[node_of(value)->parent];
        value.token = (unsigned)(parent->is_key ? parent->parent : node_of(value)->parent);
    }
    while (length > 0 && used + 1 < size) {
        struct json_value step = chain[--length];
        const char *key = json_key_of(step);
        int wrote = key ? snprintf(path + used, size - used, "%s%s", used ? "." : "", key)
                        : snprintf(path + used, size - used, "[%zu]", index_of(step));
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

/* Only names of types appear, never the value: it might be a secret. */
static int mismatch(struct json_value value, const char *wanted, struct error *error)
{
    static const char *const names[] = {"nothing",  "null",     "a boolean", "a number",
                                        "a string", "an array", "an object"};
    char path[200];
    json_path(value, path, sizeof path);
    return error_set(error, ERROR_INVALID, "%s%sexpected %s, found %s", path, path[0] ? ": " : "", wanted,
                     names[json_type(value)]);
}

static int out_of_range(struct json_value value, const char *wanted, struct error *error)
{
    char path[200];
    json_path(value, path, sizeof path);
    return error_set(error, ERROR_INVALID, "%s%sexpected %s", path, path[0] ? ": " : "", wanted);
}

int json_read_text(struct json_value value, const char **text, struct error *error)
{
    if (json_type(value) != JSON_TEXT)
        return mismatch(value, "a string", error);
    const struct node *node = node_of(value);
    const char *start = value.document->text + node->start;
    if (strlen(start) != node->size)
        return out_of_range(value, "a string without the character U+0000", error);
    *text = start;
    return 0;
}

/* strtoull() and its like stop at what follows the number in the document, so the number is copied out
 * first. */
static bool number_text(struct json_value value, const char *forbidden, char *text, size_t size)
{
    const struct node *node = node_of(value);
    if (node->size >= size)
        return false;
    memcpy(text, value.document->text + node->start, node->size);
    text[node->size] = '\0';
    errno = 0;
    return strpbrk(text, forbidden) == NULL;
}

int json_read_u64(struct json_value value, uint64_t *number, struct error *error)
{
    static const char wanted[] = "an integer from 0 to 18446744073709551615";
    char text[32];
    if (json_type(value) != JSON_NUMBER)
        return mismatch(value, wanted, error);
    if (!number_text(value, "-.eE", text, sizeof text))
        return out_of_range(value, wanted, error);
    uint64_t result = strtoull(text, NULL, 10);
    if (errno == ERANGE)
        return out_of_range(value, wanted, error);
    *number = result;
    return 0;
}

int json_read_i64(struct json_value value, int64_t *number, struct error *error)
{
    static const char wanted[] = "an integer from -9223372036854775808 to 9223372036854775807";
    char text[32];
    if (json_type(value) != JSON_NUMBER)
        return mismatch(value, wanted, error);
    if (!number_text(value, ".eE", text, sizeof text))
        return out_of_range(value, wanted, error);
    int64_t result = strtoll(text, NULL, 10);
    if (errno == ERANGE)
        return out_of_range(value, wanted, error);
    *number = result;
    return 0;
}

int json_read_double(struct json_value value, double *number, struct error *error)
{
    char text[512];
    if (json_type(value) != JSON_NUMBER)
        return mismatch(value, "a number", error);
    if (!number_text(value, "", text, sizeof text))
        return out_of_range(value, "a number of fewer digits", error);
    double result = strtod(text, NULL);
    if (errno == ERANGE && (result > 1 || result < -1))
        return out_of_range(value, "a number that a double can hold", error);
    *number = result;
    return 0;
}

int json_read_bool(struct json_value value, bool *boolean, struct error *error)
{
    if (json_type(value) != JSON_BOOL)
        return mismatch(value, "a boolean", error);
    *boolean = value.document->text[node_of(value)->start] == 't';
    return 0;
}

static bool is_given(struct json_value value)
{
    return json_type(value) != JSON_MISSING && json_type(value) != JSON_NULL;
}

int json_get_text(struct json_value object, const char *key, const char **text, struct error *error)
{
    struct json_value value = json_find(object, key);
    return is_given(value) ? json_read_text(value, text, error) : 0;
}

int json_get_u64(struct json_value object, const char *key, uint64_t *number, struct error *error)
{
    struct json_value value = json_find(object, key);
    return is_given(value) ? json_read_u64(value, number, error) : 0;
}

int json_get_i64(struct json_value object, const char *key, int64_t *number, struct error *error)
{
    struct json_value value = json_find(object, key);
    return is_given(value) ? json_read_i64(value, number, error) : 0;
}

int json_get_double(struct json_value object, const char *key, double *number, struct error *error)
{
    struct json_value value = json_find(object, key);
    return is_given(value) ? json_read_double(value, number, error) : 0;
}

int json_get_bool(struct json_value object, const char *key, bool *boolean, struct error *error)
{
    struct json_value value = json_find(object, key);
    return is_given(value) ? json_read_bool(value, boolean, error) : 0;
}

static int get_container(struct json_value object, const char *key, enum json_type type, const char *wanted,
                         struct json_value *result, struct error *error)
{
    struct json_value value = json_find(object, key);
    if (!is_given(value))
        return 0;
    if (json_type(value) != type)
        return mismatch(value, wanted, error);
    *result = value;
    return 0;
}

int json_get_object(struct json_value object, const char *key, struct json_value *value, struct error *error)
{
    return get_container(object, key, JSON_OBJECT, "an object", value, error);
}

int json_get_array(struct json_value object, const char *key, struct json_value *value, struct error *error)
{
    return get_container(object, key, JSON_ARRAY, "an array", value, error);
}

int json_refuse_unknown(struct json_value object, const char *const *known, struct error *error)
{
    if (json_type(object) != JSON_OBJECT)
        return 0;
    for (struct json_value v = json_first(object); v.document; v = json_next(v)) {
        const char *const *name = known;
        while (*name && !key_is(v, *name))
            name++;
        if (!*name)
            return error_set(error, ERROR_INVALID, "json: unknown field \"%.200s\"", json_key_of(v));
    }
    return 0;
}

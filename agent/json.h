/* SPDX-License-Identifier: MIT */
/* JSON as Go's encoding/json writes and reads it, because Consul's clients expect exactly that. */
#ifndef AGENT_JSON_H
#define AGENT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "agent/error.h"

/* ---- Writing ----
 *
 * Calls append to a growing buffer. An allocation that fails is remembered: later calls do nothing, and
 * json_take() or `failed` tells at the end, once. A key comes before every member of an object and before
 * nothing else; this and the balance of begin and end are the caller's duty (a mistake sets `failed`). One
 * thread at a time. */

enum { JSON_WRITE_DEPTH_MAX = 64 };

struct json_writer {
    char *data; /* not terminated */
    size_t size, capacity;
    unsigned indent; /* spaces a level; 0: compact */
    unsigned depth;
    uint64_t filled; /* bit n: the container at depth n has an item already */
    uint64_t object; /* bit n: the container at depth n is an object */
    bool after_key;
    bool failed;
};

/* `indent` is 0 or, for ?pretty, 4. The layout is that of Go's MarshalIndent; no newline at the end. */
void json_writer_init(struct json_writer *writer, unsigned indent);
/* Wipes and frees. Fine after json_take(). */
void json_writer_free(struct json_writer *writer);
/* Hands over the text (terminated; the zero is not counted in `*size`) for free(), or NULL if memory ran out
 * or the calls did not make one complete value. The writer is empty afterwards and may be used again. */
char *json_take(struct json_writer *writer, size_t *size);

void json_begin_object(struct json_writer *writer);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer);
void json_end_array(struct json_writer *writer);
void json_key(struct json_writer *writer, const char *key);

/* Go's escapes (1.22 and later): < > & U+2028 U+2029 and controls as \uXXXX, except \b \f \n \r \t; bytes
 * that are not UTF-8 as \ufffd. NULL is written as "". */
void json_text(struct json_writer *writer, const char *text);
void json_text_of_size(struct json_writer *writer, const char *text, size_t size);
void json_u64(struct json_writer *writer, uint64_t value);
void json_i64(struct json_writer *writer, int64_t value);
/* Shortest form that reads back the same, as Go prints a float64; not finite: sets `failed`. */
void json_double(struct json_writer *writer, double value);
void json_bool(struct json_writer *writer, bool value);
void json_null(struct json_writer *writer);
/* Standard base64 with padding, as Go writes []byte; NULL is null. */
void json_base64(struct json_writer *writer, const void *bytes, size_t size);
/* RFC 3339 in UTC with up to nine fractional digits and no trailing zeros. Years 0 to 9999, else `failed`. */
void json_time(struct json_writer *writer, struct timespec when);

/* A key and its value in one call. */
void json_member_text(struct json_writer *writer, const char *key, const char *text);
void json_member_u64(struct json_writer *writer, const char *key, uint64_t value);
void json_member_i64(struct json_writer *writer, const char *key, int64_t value);
void json_member_bool(struct json_writer *writer, const char *key, bool value);
void json_member_null(struct json_writer *writer, const char *key);

/* The escapes alone, for lines that are rendered without allocation. Writes the JSON form of the first
 * character of `text` (`size` > 0 bytes) to `out`, its length to `*out_size`; returns how many bytes of
 * `text` it took. Beside what JSON demands, JSON_ESCAPE_GO escapes what Go does, JSON_ESCAPE_LOG what could
 * steer a terminal or reorder a line. */
enum json_escape { JSON_ESCAPE_GO, JSON_ESCAPE_LOG };
enum { JSON_ESCAPED_MAX = 6 };
size_t json_escape_one(const char *text, size_t size, enum json_escape style, char out[JSON_ESCAPED_MAX],
                       size_t *out_size);

/* ---- Reading ----
 *
 * json_parse() accepts exactly RFC 8259: valid UTF-8, one value, nothing after it but white space, within
 * limits. The document owns a copy of the text; values and texts borrow from it. Immutable once parsed: any
 * number of threads. */

struct json_limits {
    size_t size_max;
    unsigned depth_max; /* containers within each other, at most JSON_READ_DEPTH_MAX */
    unsigned tokens_max;
    bool
        ignore_trailing; /* read one value and ignore what follows it, as Go's Decoder (and so Consul) does */
};
enum { JSON_READ_DEPTH_MAX = 128 };
/* 512 KiB (Consul's limit for a request), 32 levels, 65536 tokens, trailing bytes refused. */
extern const struct json_limits json_limits_default;

struct json_document;

/* A place in a document. `document` is NULL where there is nothing: every function below accepts that. */
struct json_value {
    const struct json_document *document;
    unsigned token;
};

enum json_type { JSON_MISSING, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

/* `limits` NULL: the default. Errors name line and column. */
int json_parse(const char *text, size_t size, const struct json_limits *limits,
               struct json_document **document, struct error *error);
/* Wipes (a document may hold a private key) and frees; NULL is fine. */
void json_free(struct json_document *document);
struct json_value json_root(const struct json_document *document);
/* The path of a key that an object has twice (compared as json_find() does), or NULL. Go takes the last and
 * says nothing; whoever must not be ambiguous asks. */
const char *json_duplicate_key(const struct json_document *document);

enum json_type json_type(struct json_value value);
/* Writes the value's path, "Config.Roots[2].Name" ("" for the root), cut to fit. */
void json_path(struct json_value value, char *path, size_t size);

/* The member with that key; ASCII letters match in either case and the last of several wins, as in Go. */
struct json_value json_find(struct json_value object, const char *key);
/* Items of an array, or members of an object, in order: for (v = json_first(x); v.document; v =
 * json_next(v)) */
struct json_value json_first(struct json_value container);
struct json_value json_next(struct json_value item);
/* The key of a member that json_first() or json_next() gave; NULL for an item of an array. */
const char *json_key_of(struct json_value member);
/* Items of an array or members of an object; 0 for anything else. */
size_t json_count(struct json_value container);

/* The value itself. ERROR_INVALID with path, what was wanted and what was found. Texts are unescaped and
 * terminated; one with an embedded NUL is refused. Integers: no fraction, no exponent, in range. */
int json_read_text(struct json_value value, const char **text, struct error *error);
int json_read_u64(struct json_value value, uint64_t *number, struct error *error);
int json_read_i64(struct json_value value, int64_t *number, struct error *error);
int json_read_double(struct json_value value, double *number, struct error *error);
int json_read_bool(struct json_value value, bool *boolean, struct error *error);

/* A member. Absent or null leaves the result as it is and returns 0, as Go does; preset it to the default. */
int json_get_text(struct json_value object, const char *key, const char **text, struct error *error);
int json_get_u64(struct json_value object, const char *key, uint64_t *number, struct error *error);
int json_get_i64(struct json_value object, const char *key, int64_t *number, struct error *error);
int json_get_double(struct json_value object, const char *key, double *number, struct error *error);
int json_get_bool(struct json_value object, const char *key, bool *boolean, struct error *error);
int json_get_object(struct json_value object, const char *key, struct json_value *value, struct error *error);
int json_get_array(struct json_value object, const char *key, struct json_value *value, struct error *error);

/* ERROR_INVALID `json: unknown field "X"` (Go's text) for the first key that is not among `known`, a list
 * that ends with NULL. */
int json_refuse_unknown(struct json_value object, const char *const *known, struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
/* Writing. Reading is in json_read.c. */
#include "agent/json.h"

#include "agent/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t escape_code(uint32_t character, char out[JSON_ESCAPED_MAX])
{
    static const char digits[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'u';
    for (unsigned i = 0; i < 4; i++)
        out[2 + i] = digits[character >> (12 - 4 * i) & 0xf];
    return 6;
}

static bool must_escape(uint32_t c, enum json_escape style)
{
    if (c < 0x20 || c == 0x2028 || c == 0x2029)
        return true;
    if (style == JSON_ESCAPE_GO)
        return c == '<' || c == '>' || c == '&';
    /* DEL and C1 are controls to a terminal; bidirectional overrides make a line read differently than it
     * is. */
    return (c >= 0x7f && c <= 0x9f) || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

size_t json_escape_one(const char *text, size_t size, enum json_escape style, char out[JSON_ESCAPED_MAX],
                       size_t *out_size)
{
    uint32_t character;
    size_t taken = utf8_decode((const unsigned char *)text, size, &character);
    if (taken == 0) {
        *out_size = escape_code(0xfffd, out);
        return 1;
    }
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *letter = character && character < 0x80 ? strchr(letters, (int)character) : NULL;
    if (letter) {
        out[0] = '\\';
        out[1] = names[letter - letters];
        *out_size = 2;
    } else if (must_escape(character, style)) {
        *out_size = escape_code(character, out);
    } else {
        memcpy(out, text, taken);
        *out_size = taken;
    }
    return taken;
}

void json_writer_init(struct json_writer *writer, unsigned indent)
{
    *writer = (struct json_writer){.indent = indent};
}

void json_writer_free(struct json_writer *writer)
{
    if (writer->data)
        explicit_bzero(writer->data, writer->capacity);
    free(writer->data);
    json_writer_init(writer, writer->indent);
}

/* realloc() would leave a copy of what may be a key behind in freed memory, so growth copies and wipes. */
static bool reserve(struct json_writer *writer, size_t more)
{
    if (writer->failed)
        return false;
    if (more <= writer->capacity - writer->size)
        return true;
    size_t capacity = writer->capacity ? writer->capacity : 256;
    while (capacity - writer->size < more) {
        if (capacity > SIZE_MAX / 2) {
            writer->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = malloc(capacity);
    if (!data) {
        writer->failed = true;
        return false;
    }
    if (writer->data) {
        memcpy(data, writer->data, writer->size);
        explicit_bzero(writer->data, writer->size);
    }
    free(writer->data);
    writer->data = data;
    writer->capacity = capacity;
    return true;
}

static void append(struct json_writer *writer, const char *bytes, size_t size)
{
    if (!reserve(writer, size))
        return;
    memcpy(writer->data + writer->size, bytes, size);
    writer->size += size;
}

char *json_take(struct json_writer *writer, size_t *size)
{
    char *data = NULL;
    if (writer->depth == 0 && writer->filled)
        append(writer, "", 1);
    else
        writer->failed = true;
    if (!writer->failed) {
        data = writer->data;
        if (size)
            *size = writer->size - 1;
        writer->data = NULL;
        writer->capacity = 0;
    }
    json_writer_free(writer);
    return data;
}

static void new_line(struct json_writer *writer)
{
    if (writer->indent == 0)
        return;
    append(writer, "\n", 1);
    for (unsigned i = 0; i < writer->depth * writer->indent; i++)
        append(writer, " ", 1);
}

/* What stands before a value or a key: a comma after an earlier item, and the line break of an indented
 * layout. */
static void begin_item(struct json_writer *writer, bool is_key)
{
    uint64_t bit = UINT64_C(1) << writer->depth;
    bool in_object = writer->depth > 0 && (writer->object & bit);
    if (writer->after_key ? is_key : in_object != is_key) {
        writer->failed = true; /* a key where none belongs, or a member without one */
        return;
    }
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (writer->depth == 0) {
        writer->failed |= writer->filled != 0; /* a second value */
    } else {
        if (writer->filled & bit)
            append(writer, ",", 1);
        new_line(writer);
    }
    writer->filled |= bit;
}

static void begin_container(struct json_writer *writer, const char *bracket, bool object)
{
    begin_item(writer, false);
    if (writer->depth + 1 >= JSON_WRITE_DEPTH_MAX)
        writer->failed = true;
    if (writer->failed)
        return;
    append(writer, bracket, 1);
    writer->depth++;
    uint64_t bit = UINT64_C(1) << writer->depth;
    writer->filled &= ~bit;
    writer->object = object ? writer->object | bit : writer->object & ~bit;
}

static void end_container(struct json_writer *writer, const char *bracket, bool object)
{
    uint64_t bit = UINT64_C(1) << writer->depth;
    if (writer->depth == 0 || writer->after_key || ((writer->object & bit) != 0) != object)
        writer->failed = true;
    if (writer->failed)
        return;
    writer->depth--;
    if (writer->filled & bit)
        new_line(writer);
    append(writer, bracket, 1);
}

void json_begin_object(struct json_writer *writer)
{
    begin_container(writer, "{", true);
}

void json_end_object(struct json_writer *writer)
{
    end_container(writer, "}", true);
}

void json_begin_array(struct json_writer *writer)
{
    begin_container(writer, "[", false);
}

void json_end_array(struct json_writer *writer)
{
    end_container(writer, "]", false);
}

static void append_text(struct json_writer *writer, const char *text, size_t size)
{
    append(writer, "\"", 1);
    for (size_t at = 0; at < size && !writer->failed;) {
        char escaped[JSON_ESCAPED_MAX];
        size_t escaped_size;
        at += json_escape_one(text + at, size - at, JSON_ESCAPE_GO, escaped, &escaped_size);
        append(writer, escaped, escaped_size);
    }
    append(writer, "\"", 1);
}

void json_key(struct json_writer *writer, const char *key)
{
    begin_item(writer, true);
    append_text(writer, key, strlen(key));
    append(writer, ": ", writer->indent ? 2 : 1);
    writer->after_key = true;
}

void json_text_of_size(struct json_writer *writer, const char *text, size_t size)
{
    begin_item(writer, false);
    append_text(writer, text, text ? size : 0);
}

void json_text(struct json_writer *writer, const char *text)
{
    json_text_of_size(writer, text, text ? strlen(text) : 0);
}

/* A value that needs no escaping. */
static void plain(struct json_writer *writer, const char *text)
{
    begin_item(writer, false);
    append(writer, text, strlen(text));
}

void json_u64(struct json_writer *writer, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    plain(writer, text);
}

void json_i64(struct json_writer *writer, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    plain(writer, text);
}

void json_bool(struct json_writer *writer, bool value)
{
    plain(writer, value ? "true" : "false");
}

void json_null(struct json_writer *writer)
{
    plain(writer, "null");
}

/* The fewest digits that read back as `value`, which is finite and not negative; returns the decimal
 * exponent. */
static int shortest_digits(double value, char digits[20])
{
    char text[40];
    for (int places = 0;; places++) {
        snprintf(text, sizeof text, "%.*e", places, value);
        if (places == 16 || strtod(text, NULL) == value) /* 17 digits always suffice */
            break;
    }
    size_t count = 0;
    char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.')
            digits[count++] = *at;
    }
    digits[count] = '\0';
    return (int)strtol(at + 1, NULL, 10);
}

void json_double(struct json_writer *writer, double value)
{
    if (!isfinite(value)) {
        writer->failed = true;
        return;
    }
    char digits[20], text[64];
    int exponent = shortest_digits(fabs(value), digits);
    int count = (int)strlen(digits);
    static const char zeros[] = "00000000000000000000";
    const char *sign = signbit(value) ? "-" : "";
    double size = fabs(value);
    if (size > 0 && (size < 1e-6 || size >= 1e21)) /* where encoding/json changes to an exponent */
        snprintf(text, sizeof text, "%s%c%s%se%c%d", sign, digits[0], count > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(text, sizeof text, "%s0.%.*s%s", sign, -exponent - 1, zeros, digits);
    else if (count <= exponent + 1)
        snprintf(text, sizeof text, "%s%s%.*s", sign, digits, exponent + 1 - count, zeros);
    else
        snprintf(text, sizeof text, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
    plain(writer, text);
}

void json_base64(struct json_writer *writer, const void *bytes, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    if (!in) {
        json_null(writer);
        return;
    }
    begin_item(writer, false);
    append(writer, "\"", 1);
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t group =
            (uint32_t)in[at] << 16 | (left > 1 ? (uint32_t)in[at + 1] << 8 : 0) | (left > 2 ? in[at + 2] : 0);
        char out[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63],
                       left > 1 ? alphabet[group >> 6 & 63] : '=', left > 2 ? alphabet[group & 63] : '='};
        append(writer, out, sizeof out);
    }
    append(writer, "\"", 1);
}

void json_time(struct json_writer *writer, struct timespec when)
{
    struct tm utc;
    if (!gmtime_r(&when.tv_sec, &utc) || utc.tm_year < -1900 || utc.tm_year > 9999 - 1900) {
        writer->failed = true;
        return;
    }
    char text[64], fraction[16] = "";
    if (when.tv_nsec > 0 && when.tv_nsec < 1000000000) {
        size_t length = (size_t)snprintf(fraction, sizeof fraction, ".%09ld", (long)when.tv_nsec);
        while (fraction[length - 1] == '0')
            fraction[--length] = '\0';
    }
    snprintf(text, sizeof text, "\"%04d-%02d-%02dT%02d:%02d:%02d%sZ\"", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, fraction);
    plain(writer, text);
}

void json_member_text(struct json_writer *writer, const char *key, const char *text)
{
    json_key(writer, key);
    json_text(writer, text);
}

void json_member_u64(struct json_writer *writer, const char *key, uint64_t value)
{
    json_key(writer, key);
    json_u64(writer, value);
}

void json_member_i64(struct json_writer *writer, const char *key, int64_t value)
{
    json_key(writer, key);
    json_i64(writer, value);
}

void json_member_bool(struct json_writer *writer, const char *key, bool value)
{
    json_key(writer, key);
    json_bool(writer, value);
}

void json_member_null(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_null(writer);
}

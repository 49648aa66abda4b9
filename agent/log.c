/* SPDX-License-Identifier: MIT */
#include "agent/log.h"

#include "agent/duration.h"
#include "agent/error.h"
#include "agent/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const format_names[] = {"logfmt", "json"};

static int current_level = LOG_INFO;
static int current_format = LOG_LOGFMT;
static uint64_t lost_lines;

struct log_field log_text_of_size(const char *key, const char *text, size_t size)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_TEXT, .size = size, .value.data = text};
}

struct log_field log_text(const char *key, const char *text)
{
    return log_text_of_size(key, text, text ? strlen(text) : 0);
}

struct log_field log_message(const char *text)
{
    return log_text("msg", text);
}

struct log_field log_u64(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_U64, .value.u64 = value};
}

struct log_field log_i64(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_I64, .value.i64 = value};
}

struct log_field log_bool(const char *key, bool value)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_BOOL, .value.boolean = value};
}

struct log_field log_hex(const char *key, const void *bytes, size_t size)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_HEX, .size = size, .value.data = bytes};
}

struct log_field log_duration(const char *key, int64_t nanoseconds)
{
    return (struct log_field){.key = key, .type = LOG_TYPE_DURATION, .value.i64 = nanoseconds};
}

struct log_field log_reason(const struct error *error)
{
    return log_text("error", error->text);
}

struct log_field log_errno(int number)
{
    const char *words = strerrordesc_np(number);
    return log_text("error", words ? words : "unknown system error");
}

void log_configure(enum log_level level, enum log_format format)
{
    __atomic_store_n(&current_level, (int)level, __ATOMIC_RELAXED);
    __atomic_store_n(&current_format, (int)format, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= __atomic_load_n(&current_level, __ATOMIC_RELAXED);
}

bool log_level_parse(const char *word, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(word, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *word, enum log_format *format)
{
    for (unsigned i = 0; i < sizeof format_names / sizeof *format_names; i++) {
        if (strcmp(word, format_names[i]) == 0) {
            *format = (enum log_format)i;
            return true;
        }
    }
    return false;
}

/* A line under way. Past `limit` there is room left for a closing quote, the truncation mark and the
 * newline. */
enum { LINE_RESERVE = 32 };
struct line {
    char *data;
    size_t used, limit;
    enum log_format format;
    bool truncated;
};

/* All of it or nothing: a line is never cut inside an escape or a character. */
static void put(struct line *line, const char *bytes, size_t size)
{
    /* A closing quote may have taken `used` one past the limit. */
    if (line->truncated || line->used + size > line->limit) {
        line->truncated = true;
        return;
    }
    memcpy(line->data + line->used, bytes, size);
    line->used += size;
}

static void put_reserved(struct line *line, const char *text)
{
    size_t size = strlen(text);
    memcpy(line->data + line->used, text, size);
    line->used += size;
}

static bool is_plain_word(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '=' || text[i] == '\\')
            return false;
    }
    return size > 0;
}

static void put_text(struct line *line, const char *text, size_t size)
{
    bool quoted = line->format == LOG_JSON || !is_plain_word(text, size);
    if (quoted)
        put(line, "\"", 1);
    bool opened = !line->truncated;
    for (size_t at = 0; at < size && !line->truncated;) {
        char escaped[JSON_ESCAPED_MAX];
        size_t escaped_size;
        at += json_escape_one(text + at, size - at, JSON_ESCAPE_LOG, escaped, &escaped_size);
        put(line, escaped, escaped_size);
    }
    if (quoted && opened)
        put_reserved(line, "\"");
}

static void put_hex(struct line *line, const unsigned char *bytes, size_t size)
{
    if (line->format == LOG_JSON)
        put(line, "\"", 1);
    bool opened = !line->truncated;
    for (size_t i = 0; i < size && !line->truncated; i++) {
        char pair[4];
        snprintf(pair, sizeof pair, "%02x:", bytes[i]);
        put(line, pair, i + 1 < size ? 3 : 2);
    }
    if (line->format == LOG_JSON && opened)
        put_reserved(line, "\"");
}

/* Numbers and words: whole or not at all. */
static void put_scalar(struct line *line, const struct log_field *field)
{
    char text[DURATION_TEXT_SIZE + 8];
    switch (field->type) {
    case LOG_TYPE_U64:
        snprintf(text, sizeof text, "%" PRIu64, field->value.u64);
        break;
    case LOG_TYPE_I64:
        snprintf(text, sizeof text, "%" PRId64, field->value.i64);
        break;
    case LOG_TYPE_BOOL:
        snprintf(text, sizeof text, "%s", field->value.boolean ? "true" : "false");
        break;
    default:
        duration_print(field->value.i64, text);
        put_text(line, text, strlen(text));
        return;
    }
    put(line, text, strlen(text));
}

static void put_field(struct line *line, const struct log_field *field)
{
    size_t start = line->used;
    bool json = line->format == LOG_JSON;
    if (start > 0)
        put(line, json ? "," : " ", 1);
    else if (json)
        put(line, "{", 1);
    if (json)
        put(line, "\"", 1);
    put(line, field->key, strlen(field->key));
    put(line, json ? "\":" : "=", json ? 2 : 1);
    bool keyed = !line->truncated;
    size_t value = line->used;
    if (field->type == LOG_TYPE_TEXT)
        put_text(line, field->value.data, field->value.data ? field->size : 0);
    else if (field->type == LOG_TYPE_HEX)
        put_hex(line, field->value.data, field->size);
    else
        put_scalar(line, field);
    if (line->truncated && (!keyed || line->used == value))
        line->used = start; /* nothing of the value got in: drop the key as well */
}

size_t log_render(char *buffer, size_t size, enum log_format format, const struct log_field *first,
                  const struct log_field *rest)
{
    struct line line = {.data = buffer, .limit = size - LINE_RESERVE, .format = format};
    for (; first && first->key && !line.truncated; first++)
        put_field(&line, first);
    for (; rest && rest->key && !line.truncated; rest++)
        put_field(&line, rest);
    bool json = format == LOG_JSON;
    if (json && line.used == 0)
        put_reserved(&line, line.truncated ? "{\"truncated\":true" : "{");
    else if (line.truncated)
        put_reserved(&line, json ? ",\"truncated\":true" : " truncated=true");
    put_reserved(&line, json ? "}\n" : "\n");
    return line.used;
}

/* gmtime_r() takes a lock in glibc. This is the proleptic Gregorian calendar by years that begin in March, so
 * that the leap day comes last; right from 1970 on. */
void log_time_now(char text[LOG_TIME_SIZE])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seconds = now.tv_sec > 0 ? (uint64_t)now.tv_sec : 0;
    uint64_t days = seconds / 86400 + 719468, second = seconds % 86400; /* from 0000-03-01 */
    unsigned era_day = (unsigned)(days % 146097);                       /* 400 years */
    unsigned era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    unsigned year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    unsigned march_month = (5 * year_day + 2) / 153;
    unsigned month = march_month < 10 ? march_month + 3 : march_month - 9;
    unsigned year = (unsigned)(days / 146097) * 400 + era_year + (month <= 2);
    snprintf(text, LOG_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000, month,
             year_day - (153 * march_month + 2) / 5 + 1, (unsigned)(second / 3600),
             (unsigned)(second / 60 % 60), (unsigned)(second % 60), (unsigned)(now.tv_nsec / 1000000 % 1000));
}

void log_emit(enum log_level level, const struct log_field *fields)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    char now[LOG_TIME_SIZE], line[LOG_LINE_MAX];
    log_time_now(now);
    const struct log_field head[] = {log_text("time", now), log_text("level", level_names[level]), {0}};
    enum log_format format = (enum log_format)__atomic_load_n(&current_format, __ATOMIC_RELAXED);
    size_t size = log_render(line, sizeof line, format, head, fields);
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line, size);
    } while (written < 0 && errno == EINTR);
    if (written != (ssize_t)size)
        __atomic_fetch_add(&lost_lines, 1, __ATOMIC_RELAXED);
    errno = saved;
}

uint64_t log_lost(void)
{
    return __atomic_load_n(&lost_lines, __ATOMIC_RELAXED);
}

/* The bucket as one word (the generic cell rate algorithm): `next_ns` is when all tokens would be back, and a
 * line is allowed while that lies less than a burst ahead. One compare-and-swap takes a token. */
bool log_limit_allow_at(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
    uint64_t ahead_max = (limit->burst > 0 ? limit->burst - 1 : 0) * limit->interval_ns;
    uint64_t next = __atomic_load_n(&limit->next_ns, __ATOMIC_RELAXED);
    uint64_t from;
    do {
        from = next > now_ns ? next : now_ns;
        if (from - now_ns > ahead_max) {
            __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
            return false;
        }
    } while (!__atomic_compare_exchange_n(&limit->next_ns, &next, from + limit->interval_ns, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
    return true;
}

bool log_limit_allow(struct log_limit *limit, uint64_t *suppressed)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return log_limit_allow_at(limit, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, suppressed);
}

/* SPDX-License-Identifier: MIT */
/* Log lines on standard error: a level, a message, typed fields.
 *
 *     log_info(log_message("leaf renewed"), log_text("service", name), log_u64("retry_sec", n));
 *
 * A line is rendered on the stack and leaves in one write(2): no lock, no allocation, any thread. A line is
 * at most LOG_LINE_MAX bytes; a longer one is cut at a character and ends with truncated=true. Values are
 * escaped, so what comes from outside can neither end a line nor steer a terminal.
 *
 * There is no field for a private key, a token or any other secret, on purpose: nothing that holds one
 * converts to a field. */
#ifndef AGENT_LOG_H
#define AGENT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum { LOG_LINE_MAX = 4096 }; /* PIPE_BUF: up to here a pipe keeps the lines of several writers apart */

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_type {
    LOG_TYPE_TEXT = 1,
    LOG_TYPE_U64,
    LOG_TYPE_I64,
    LOG_TYPE_BOOL,
    LOG_TYPE_HEX,
    LOG_TYPE_DURATION
};

/* One field. It borrows what it points to until the call returns. A NULL key ends a list of fields. */
struct log_field {
    const char *key; /* a literal of ours: [a-z0-9_]+ */
    enum log_type type;
    size_t size; /* of `data` */
    union {
        const void *data;
        uint64_t u64;
        int64_t i64;
        bool boolean;
    } value;
};

/* The message: a constant sentence, what varies goes into fields. */
struct log_field log_message(const char *text);
/* NULL is written as an empty text. */
struct log_field log_text(const char *key, const char *text);
/* Text that is not terminated; may hold any byte. */
struct log_field log_text_of_size(const char *key, const char *text, size_t size);
struct log_field log_u64(const char *key, uint64_t value);
struct log_field log_i64(const char *key, int64_t value);
struct log_field log_bool(const char *key, bool value);
/* Serial numbers and key ids, in lower-case hex separated by colons, as Consul writes them. */
struct log_field log_hex(const char *key, const void *bytes, size_t size);
/* Nanoseconds, written as Go writes a duration: 1m30s. */
struct log_field log_duration(const char *key, int64_t nanoseconds);
/* The text of `error` as field "error". */
struct log_field log_reason(const struct error *error);
/* errno's words as field "error". */
struct log_field log_errno(int number);

/* What is written from now on. Starts as LOG_INFO, LOG_LOGFMT. Any thread, any time. */
void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
/* "error", "warning", "info", "debug"; "logfmt", "json". Return false and change nothing for any other
 * word. */
bool log_level_parse(const char *word, enum log_level *level);
bool log_format_parse(const char *word, enum log_format *format);

/* Writes one line if `level` is enabled; `fields` ends with a NULL key. Keeps errno. A line that standard
 * error does not take (full pipe, closed) is dropped and counted. */
void log_emit(enum log_level level, const struct log_field *fields);
/* Lines lost so far because standard error refused them. */
uint64_t log_lost(void);

#define log_fields(...)  ((const struct log_field[]){__VA_ARGS__, {0}})
#define log_error(...)   log_emit(LOG_ERROR, log_fields(__VA_ARGS__))
#define log_warning(...) log_emit(LOG_WARNING, log_fields(__VA_ARGS__))
#define log_info(...)    log_emit(LOG_INFO, log_fields(__VA_ARGS__))
/* Its fields are not evaluated unless debug lines are wanted. */
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_emit(LOG_DEBUG, log_fields(__VA_ARGS__)) : (void)0)

/* A token bucket for lines that could repeat without end: `burst` at once, then `per_second`. Static storage:
 *
 *     static struct log_limit limit = LOG_LIMIT(1, 5);
 *     uint64_t suppressed;
 *     if (log_limit_allow(&limit, &suppressed))
 *         log_warning(log_message("hello refused"), log_u64("suppressed", suppressed));
 *
 * Lock-free, any thread. `*suppressed` is how many were refused since the last one that was allowed. */
struct log_limit {
    uint64_t interval_ns;
    uint64_t burst;
    uint64_t next_ns;    /* when the bucket would be full again, CLOCK_MONOTONIC */
    uint64_t suppressed; /* since the last allowed one */
};
#define LOG_LIMIT(per_second, burst_)                                \
    {                                                                \
        .interval_ns = 1000000000u / (per_second), .burst = (burst_) \
    }
bool log_limit_allow(struct log_limit *limit, uint64_t *suppressed);
/* The same at a given time, for callers that have read the clock already. */
bool log_limit_allow_at(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

/* The line itself, for audit.c and tests: the fields of `first` (may be NULL), then those of `rest`, and a
 * newline, in at most `size` bytes (at least 128). Returns the length; no terminating zero. */
size_t log_render(char *line, size_t size, enum log_format format, const struct log_field *first,
                  const struct log_field *rest);
/* Now in UTC, RFC 3339 with milliseconds: 2024-05-01T12:00:00.000Z, for a field "time". */
enum { LOG_TIME_SIZE = 32 };
void log_time_now(char text[LOG_TIME_SIZE]);

#endif

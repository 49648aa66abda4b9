/* SPDX-License-Identifier: MIT */
/* The lines of the admin door, taken apart into words. Any thread; no state. */
#ifndef SERVE_ADMIN_LINE_H
#define SERVE_ADMIN_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/error.h"

enum {
    ADMIN_LINE_MAX = 64 * 1024, /* bytes, without the newline */
    ADMIN_WORDS_MAX = 64,
};

struct admin_line {
    bool json; /* the line began with --json, which is not among the words */
    size_t count;
    char *words[ADMIN_WORDS_MAX + 1]; /* NULL behind the last */
};

/* Words are separated by spaces and tabs. A word that begins with " ends at the next " and may hold anything printable;
 * \" and \\ stand for " and \ there. Elsewhere quotes and backslashes stand for themselves, so that JSON without
 * spaces needs no quoting. The line is UTF-8 without control characters; a carriage return at its end is ignored.
 *
 * `line` has room for size + 1 bytes and is overwritten; the words point into it. Returns 0, also for a blank line
 * (count 0); ERROR_INVALID names the place by byte. */
int admin_line_parse(char *line, size_t size, struct admin_line *out, struct error *error);

/* Writes `word` as admin_line_parse() reads it: quoted if it must be. Returns the length, without writing more than
 * `size` bytes with the terminating zero; a result >= size means that it did not fit. */
size_t admin_line_quote(const char *word, char *out, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/* What libconfuse 3.3 must not be given.
 *
 *  - Its scanner keeps its state in globals and does not reset it: after an unterminated string or a bad
 *    escape the next file, at a reload, would be read as the inside of a string.
 *  - It expands ${NAME} from the environment. Here a file means what it says.
 *  - It counts lines within comments wrongly, so every message behind a comment would name the wrong line.
 *  - It takes the end of the file for the end of every open section.
 *  - It skips characters that it does not know, and cuts strings at an escaped NUL.
 *  - It reads a quoted key with | or = in it as a path into other sections.
 *
 * So the text passes through here first: the lexical rules are checked, comments become blanks, and what
 * remains has one meaning. */
#include "agent/config_internal.h"

#include "agent/utf8.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum token { TOKEN_START, TOKEN_WORD, TOKEN_STRING, TOKEN_EQUALS, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA };
enum {
    GUARD_DEPTH_MAX = 8,      /* connect, ca_config and a list are three */
    GUARD_BRACES_MAX = 16384, /* libconfuse compares every title with all before it */
};

struct guard {
    const char *name, *text;
    char *clean;
    size_t size, at;
    unsigned line;
    unsigned depth, opened[GUARD_DEPTH_MAX], braces;
    enum token earlier, previous;
    struct error *error;
};

static int __attribute__((format(printf, 3, 4)))
refuse(const struct guard *guard, unsigned line, const char *format, ...)
{
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(guard->error, ERROR_INVALID, "%s:%u: %s", guard->name, line, text);
}

static int peek(const struct guard *guard, size_t ahead)
{
    return guard->at + ahead < guard->size ? (unsigned char)guard->text[guard->at + ahead] : -1;
}

static int check_characters(const struct guard *guard)
{
    unsigned line = 1;
    for (size_t at = 0; at < guard->size;) {
        uint32_t c;
        size_t length = utf8_decode((const unsigned char *)guard->text + at, guard->size - at, &c);
        if (length == 0)
            return refuse(guard, line, "not valid UTF-8; save the file as UTF-8");
        if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
            return refuse(guard, line, "control character 0x%02x; remove it", (unsigned)c);
        line += c == '\n';
        at += length;
    }
    return 0;
}

/* The order of tokens that keeps a string from being taken for a key: strings are values, items of lists and
 * titles. */
static int accept(struct guard *guard, enum token token)
{
    bool misplaced = false;
    if (guard->previous == TOKEN_STRING && guard->earlier == TOKEN_OPEN)
        misplaced = token != TOKEN_COMMA && token != TOKEN_CLOSE;
    else if (guard->previous == TOKEN_STRING && guard->earlier == TOKEN_WORD)
        misplaced = token != TOKEN_OPEN;
    if (token == TOKEN_STRING)
        misplaced |= guard->previous == TOKEN_START || guard->previous == TOKEN_CLOSE ||
                     guard->previous == TOKEN_STRING ||
                     (guard->previous == TOKEN_WORD && guard->earlier == TOKEN_EQUALS);
    if (misplaced)
        return refuse(guard, guard->line,
                      "quoted text in a place of its own; write KEY = \"VALUE\", with the key "
                      "unquoted");
    guard->earlier = guard->previous;
    guard->previous = token;
    return 0;
}

static void blank(struct guard *guard)
{
    if (guard->text[guard->at] == '\n')
        guard->line++;
    else
        guard->clean[guard->at] = ' ';
    guard->at++;
}

static int pass_comment(struct guard *guard)
{
    if (peek(guard, 0) == '#' || peek(guard, 1) == '/') {
        while (guard->at < guard->size && guard->text[guard->at] != '\n')
            blank(guard);
        return 0;
    }
    unsigned line = guard->line;
    blank(guard);
    blank(guard);
    while (guard->at < guard->size && !(peek(guard, 0) == '*' && peek(guard, 1) == '/'))
        blank(guard);
    if (guard->at == guard->size)
        return refuse(guard, line, "comment is not closed; add */");
    blank(guard);
    blank(guard);
    return 0;
}

static int pass_string(struct guard *guard)
{
    unsigned line = guard->line;
    char quote = guard->text[guard->at++];
    for (; guard->at < guard->size && guard->text[guard->at] != quote; guard->at++) {
        char c = guard->text[guard->at];
        if (c == '\n')
            guard->line++;
        if (quote == '"' && c == '$' && peek(guard, 1) == '{')
            return refuse(guard, guard->line, "${...} is not expanded; write the value, or quote with '...'");
        if (c != '\\')
            continue;
        int next = peek(guard, 1);
        if (quote == '"' && (next <= 0 || !strchr("nrt\"\\", next)))
            return refuse(guard, guard->line, "unknown escape; in \"...\" there are \\n \\r \\t \\\" \\\\");
        if (next == '\n')
            return refuse(guard, guard->line, "backslash at the end of a line; write \\\\ for a backslash");
        guard->at++;
    }
    if (guard->at >= guard->size)
        return refuse(guard, line, "string is not closed; add %c", quote);
    guard->at++;
    return accept(guard, TOKEN_STRING);
}

static bool in_word(int c)
{
    return c > 0 && (isalnum(c) || strchr("_./:@-", c)) && c < 0x80;
}

static int pass_word(struct guard *guard)
{
    while (in_word(peek(guard, 0)))
        guard->at++;
    return accept(guard, TOKEN_WORD);
}

static int pass_mark(struct guard *guard)
{
    char c = guard->text[guard->at++];
    if (c == '{') {
        if (guard->depth == GUARD_DEPTH_MAX)
            return refuse(guard, guard->line, "sections nested too deeply; close some with }");
        if (++guard->braces > GUARD_BRACES_MAX)
            return refuse(guard, guard->line, "more than %d sections and lists", GUARD_BRACES_MAX);
        guard->opened[guard->depth++] = guard->line;
        return accept(guard, TOKEN_OPEN);
    }
    if (c == '}') {
        if (guard->depth == 0)
            return refuse(guard, guard->line, "} closes nothing; remove it");
        guard->depth--;
        return accept(guard, TOKEN_CLOSE);
    }
    return accept(guard, c == '=' ? TOKEN_EQUALS : TOKEN_COMMA);
}

static int pass_next(struct guard *guard)
{
    int c = peek(guard, 0), next = peek(guard, 1);
    if (c == '\n' || c == ' ' || c == '\t' || c == '\r') {
        blank(guard);
        return 0;
    }
    if (c == '#' || (c == '/' && (next == '/' || next == '*')))
        return pass_comment(guard);
    if (c == '"' || c == '\'')
        return pass_string(guard);
    if (in_word(c))
        return pass_word(guard);
    if (c == '{' || c == '}' || c == '=' || c == ',')
        return pass_mark(guard);
    if (c == '$' && next == '{')
        return refuse(guard, guard->line, "${...} is not expanded; write the value");
    if (c == '(')
        return refuse(guard, guard->line, "there are no functions and no include(); write one file");
    if (c == '[' || c == ']')
        return refuse(guard, guard->line, "lists are written {\"a\", \"b\"}");
    return refuse(guard, guard->line, "unexpected character; put the value in double quotes");
}

int config_guard(const char *name, const char *text, size_t size, char *clean, struct error *error)
{
    struct guard guard = {
        .name = name, .text = text, .clean = clean, .size = size, .line = 1, .error = error};
    memcpy(clean, text, size);
    int status = check_characters(&guard);
    while (status == 0 && guard.at < size)
        status = pass_next(&guard);
    if (status == 0 && guard.depth > 0)
        return refuse(&guard, guard.opened[guard.depth - 1], "{ is not closed; add }");
    return status;
}

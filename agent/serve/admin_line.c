/* SPDX-License-Identifier: MIT */
#include "agent/serve/admin_line.h"

#include <string.h>

#include "agent/utf8.h"

static int check_characters(const char *line, size_t size, struct error *error)
{
    for (size_t at = 0; at < size;) {
        uint32_t character;
        size_t length = utf8_decode((const unsigned char *)line + at, size - at, &character);
        if (length == 0)
            return error_set(error, ERROR_INVALID, "byte %zu of the line is not UTF-8", at + 1);
        if ((character < 0x20 && character != '\t') || (character >= 0x7f && character < 0xa0))
            return error_set(error, ERROR_INVALID,
                             "byte %zu of the line is a control character; write it as an escape in JSON",
                             at + 1);
        at += length;
    }
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Unescapes from `*at`, which is behind the opening quote, to the front of the same memory. */
static int take_quoted(char *line, size_t size, size_t *at, char **word, struct error *error)
{
    size_t opened = *at, from = *at, to = *at;
    while (from < size && line[from] != '"') {
        if (line[from] == '\\') {
            from++;
            if (from == size || (line[from] != '"' && line[from] != '\\'))
                return error_set(error, ERROR_INVALID,
                                 "byte %zu of the line: only \\\" and \\\\ are escapes inside quotes", from);
        }
        line[to++] = line[from++];
    }
    if (from == size)
        return error_set(error, ERROR_INVALID, "the quote at byte %zu of the line is never closed", opened);
    if (from + 1 < size && !is_blank(line[from + 1]))
        return error_set(error, ERROR_INVALID, "byte %zu of the line: put a space behind a closing quote",
                         from + 2);
    line[to] = '\0';
    *word = line + opened;
    *at = from + 1;
    return 0;
}

static void take_plain(char *line, size_t size, size_t *at, char **word)
{
    *word = line + *at;
    while (*at < size && !is_blank(line[*at]))
        (*at)++;
    line[*at] = '\0';
    (*at)++;
}

int admin_line_parse(char *line, size_t size, struct admin_line *out, struct error *error)
{
    memset(out, 0, sizeof *out);
    if (size > 0 && line[size - 1] == '\r')
        size--;
    int code = check_characters(line, size, error);
    bool quoted = false;
    for (size_t at = 0; !code && at < size;) {
        if (is_blank(line[at])) {
            at++;
            continue;
        }
        if (out->count == ADMIN_WORDS_MAX)
            return error_set(error, ERROR_LIMIT, "a command has at most %d words", ADMIN_WORDS_MAX);
        char **word = &out->words[out->count];
        quoted = line[at] == '"';
        if (quoted) {
            at++;
            code = take_quoted(line, size, &at, word, error);
        } else {
            take_plain(line, size, &at, word);
        }
        if (out->count == 0 && !quoted && !code && !out->json && strcmp(*word, "--json") == 0)
            out->json = true;
        else
            out->count++;
    }
    out->words[code ? 0 : out->count] = NULL;
    return code;
}

static void put(char *out, size_t size, size_t *used, char c)
{
    if (*used + 1 < size)
        out[*used] = c;
    (*used)++;
}

size_t admin_line_quote(const char *word, char *out, size_t size)
{
    size_t used = 0;
    bool quoted =
        word[0] == '\0' || word[0] == '"' || strpbrk(word, " \t") != NULL || strcmp(word, "--json") == 0;
    if (quoted)
        put(out, size, &used, '"');
    for (const char *at = word; *at; at++) {
        if (quoted && (*at == '"' || *at == '\\'))
            put(out, size, &used, '\\');
        put(out, size, &used, *at);
    }
    if (quoted)
        put(out, size, &used, '"');
    if (size > 0)
        out[used < size ? used : size - 1] = '\0';
    return used;
}

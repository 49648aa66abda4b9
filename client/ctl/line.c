/* SPDX-License-Identifier: MIT */
#include "client/ctl/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/json.h"
#include "agent/serve/admin_line.h"
#include "client/ctl/pretty.h"

/* --- arguments --- */

static int usage(const struct ctl_command *command, struct error *error)
{
    return error_set(error, ERROR_INVALID, "usage: xylemctl %s%s%s", command->name,
                     *command->arguments ? " " : "", command->arguments);
}

static int read_number(const char *option, const char *text, double *number, struct error *error)
{
    char *end = NULL;
    errno = 0;
    *number = strtod(text, &end);
    if (errno || end == text || *end || !(*number >= 0.1 && *number <= 1e6))
        return error_set(error, ERROR_INVALID, "%s \"%.40s\": say a number of at least 0.1", option, text);
    return 0;
}

/* An option of the command: becomes words, or a setting of ours. Advances `*at` over its value. */
static int read_option(struct ctl_request *request, int count, char **arguments, int *at, struct error *error)
{
    const char *text = arguments[*at];
    const struct ctl_option *option = request->command->options;
    while (option->name && strcmp(option->name, text) != 0)
        option++;
    if (!option->name)
        return error_set(error, ERROR_INVALID, "option %.60s is not known here; usage: xylemctl %s %s", text,
                         request->command->name, request->command->arguments);
    if (option->has_value && *at + 1 >= count)
        return error_set(error, ERROR_INVALID, "option %s wants a value", text);
    const char *value = option->has_value ? arguments[++*at] : NULL;
    if (option->word) {
        request->option_words[request->option_word_count++] = option->word;
        if (value)
            request->option_words[request->option_word_count++] = value;
        return 0;
    }
    double number = 0;
    int code = read_number(text, value, &number, error);
    if (strcmp(text, "--interval") == 0)
        request->interval_sec = number;
    else
        request->count = number < 1 ? 1 : (unsigned long)number;
    return code;
}

/* Options that every command has. Returns how many arguments they take, or a negative code. */
static int read_common(struct ctl_request *request, int left, char **arguments, struct error *error)
{
    if (strcmp(arguments[0], "--json") == 0) {
        request->json = true;
        return 1;
    }
    if (strcmp(arguments[0], "--help") == 0 || strcmp(arguments[0], "-h") == 0) {
        request->help = true;
        return 1;
    }
    if (strcmp(arguments[0], "--socket") != 0)
        return 0;
    if (left < 2)
        return error_set(error, ERROR_INVALID, "option --socket wants a path");
    request->socket_path = arguments[1];
    return 2;
}

static int read_command(struct ctl_request *request, int left, char **arguments, struct error *error)
{
    size_t name_words = 0;
    request->command = ctl_find_command((size_t)left, arguments, &name_words);
    if (!request->command)
        return error_set(error, ERROR_INVALID, "unknown command \"%.60s%s%.60s\"; try: xylemctl --help",
                         arguments[0], left > 1 ? " " : "", left > 1 ? arguments[1] : "");
    return (int)name_words;
}

static int read_all(int count, char **arguments, struct ctl_request *request, size_t *words,
                    struct error *error)
{
    bool only_words = false;
    for (int at = 0; at < count;) {
        const char *text = arguments[at];
        int took = only_words ? 0 : read_common(request, count - at, arguments + at, error);
        if (took == 0 && !request->command && strcmp(text, "--version") == 0) {
            request->version = true;
            took = 1;
        }
        if (took == 0 && !request->command)
            took = text[0] == '-' ? error_set(error, ERROR_INVALID, "unknown option %.60s", text)
                                  : read_command(request, count - at, arguments + at, error);
        if (took < 0)
            return took;
        if (took > 0) {
            at += took;
            continue;
        }
        if (!only_words && strcmp(text, "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(text, "--", 2) == 0) {
            int code = read_option(request, count, arguments, &at, error);
            if (code)
                return code;
        } else {
            request->words[request->word_count++] = text;
            ++*words;
        }
        at++;
    }
    return 0;
}

int ctl_read_arguments(int count, char **arguments, struct ctl_request *request, struct error *error)
{
    size_t words = 0;
    memset(request, 0, sizeof *request);
    request->words = calloc((size_t)count * 4 + 1, sizeof *request->words);
    if (!request->words)
        return error_set(error, ERROR_SYSTEM, "no memory");
    request->option_words = request->words + 2 * count;
    int code = read_all(count, arguments, request, &words, error);
    for (size_t i = 0; i < request->option_word_count; i++)
        request->words[request->word_count++] = request->option_words[i];
    if (code || !request->command || request->help)
        return code;
    if (words < request->command->words_min || words > request->command->words_max)
        return usage(request->command, error);
    return 0;
}

/* --- the line --- */

static int read_stream(FILE *file, char *text, size_t capacity, size_t *size)
{
    *size = fread(text, 1, capacity, file);
    return ferror(file) ? -1 : 0;
}

/* The JSON of a file on one line. Kept out of argv, where every user of the machine could read it. */
static int read_json_file(const char *word, char **out, struct error *error)
{
    const char *name = *word == '@' ? word + 1 : "standard input";
    FILE *file = *word == '@' ? fopen(name, "re") : stdin;
    char *text = malloc(ADMIN_LINE_MAX + 1);
    size_t size = 0;
    int code = 0;
    if (!text || !file || read_stream(file, text, ADMIN_LINE_MAX + 1, &size) != 0)
        code = error_errno(error, "cannot read \"%s\"", name);
    else if (size > ADMIN_LINE_MAX)
        code = error_set(error, ERROR_LIMIT, "\"%s\" is longer than %d bytes", name, ADMIN_LINE_MAX);
    else if ((code = pretty_json(text, size, 0, out, NULL, error)) != 0)
        error_at(error, "%s", name);
    if (file && file != stdin)
        fclose(file);
    if (text)
        explicit_bzero(text, ADMIN_LINE_MAX + 1);
    free(text);
    return code;
}

static bool names_file(const struct ctl_request *request, size_t at)
{
    const char *after = request->command->file_after, *word = request->words[at];
    if (!after || (*word != '@' && strcmp(word, "-") != 0))
        return false;
    return *after == '\0' || (at > 0 && strcmp(request->words[at - 1], after) == 0);
}

/* JSON over several lines is put on one, because a newline would end the command. */
static int take_word(const struct ctl_request *request, size_t at, char **own, struct error *error)
{
    const char *word = request->words[at];
    *own = NULL;
    if (names_file(request, at))
        return read_json_file(word, own, error);
    if (request->command->file_after && (*word == '{' || *word == '['))
        return pretty_json(word, strlen(word), 0, own, NULL, error);
    return 0;
}

static int append_word(char *line, size_t *used, const char *word, struct error *error)
{
    line[(*used)++] = ' ';
    *used += admin_line_quote(word, line + *used, ADMIN_LINE_MAX - *used);
    if (*used >= ADMIN_LINE_MAX)
        return error_set(error, ERROR_LIMIT, "the command is longer than %d bytes", ADMIN_LINE_MAX);
    return 0;
}

int ctl_make_line(const struct ctl_request *request, bool json, char **out, size_t *size, struct error *error)
{
    char *line = malloc(ADMIN_LINE_MAX + 2);
    if (!line)
        return error_set(error, ERROR_SYSTEM, "no memory");
    size_t used =
        (size_t)snprintf(line, ADMIN_LINE_MAX, "%s%s", json ? "--json " : "", request->command->name);
    int code = 0;
    for (size_t i = 0; i < request->word_count && !code; i++) {
        char *own = NULL;
        code = take_word(request, i, &own, error);
        const char *word = own ? own : request->words[i];
        if (!code && word[strcspn(word, "\r\n")])
            code = error_set(error, ERROR_INVALID, "argument %zu has a line break", i + 1);
        if (!code)
            code = append_word(line, &used, word, error);
        if (own)
            explicit_bzero(own, strlen(own));
        free(own);
    }
    if (code) {
        explicit_bzero(line, ADMIN_LINE_MAX + 2);
        free(line);
        return code;
    }
    memcpy(line + used, "\n", 2);
    *out = line;
    *size = used + 1;
    return 0;
}

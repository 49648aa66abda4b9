/* SPDX-License-Identifier: MIT */
/* From a command line to the line that the agent reads. */
#ifndef CTL_LINE_H
#define CTL_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/error.h"
#include "client/ctl/commands.h"

/* What the command line says. The texts are argv's. */
struct ctl_request {
    const struct ctl_command *command; /* NULL: none was given */
    const char *socket_path;           /* NULL: not given */
    bool json;
    bool help;
    bool version;
    double interval_sec; /* of top; 0: not given */
    unsigned long count; /* likewise */
    size_t word_count;
    const char **words;       /* behind the command's name, options translated and last; for free() */
    size_t option_word_count; /* for ctl_read_arguments() */
    const char **option_words;
};

/* Reads the arguments without the program's name. --json, --socket PATH and --help may stand anywhere; behind "--"
 * everything is a word. ERROR_INVALID: wrong usage; says what would be right. */
int ctl_read_arguments(int count, char **arguments, struct ctl_request *request, struct error *error);

/* The line with its newline, terminated, for explicit_bzero() and free(): it may hold a private key. Reads the files
 * that the request names. ERROR_INVALID (not JSON, too long), ERROR_SYSTEM. */
int ctl_make_line(const struct ctl_request *request, bool json, char **line, size_t *size,
                  struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
/* The commands of xylemctl: one table, which usage, completion and manual page are held against. */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

enum ctl_how {
    CTL_ASK,        /* send it, print the answer */
    CTL_FOLLOW,     /* print what comes until there is no more */
    CTL_LIVE,       /* again and again */
    CTL_RESTORE,    /* without an agent */
    CTL_COMPLETION, /* print the script */
};

/* An option is sent as a word of the agent's language; where it takes a value, so is that. */
struct ctl_option {
    const char *name; /* "--pem" */
    const char *word; /* "pem" */
    bool has_value;
};

enum { CTL_OPTIONS_MAX = 3 };

struct ctl_command {
    const char *name; /* one word or two, as the agent knows it */
    const char *arguments;
    const char *help;
    size_t words_min, words_max; /* without options */
    enum ctl_how how;
    const char
        *file_after; /* "-" and "@FILE" stand for the contents of a file behind this word; "": anywhere */
    struct ctl_option options[CTL_OPTIONS_MAX + 1];
};

extern const struct ctl_command ctl_commands[]; /* ends with a NULL name */

/* The command that the arguments begin with, and of how many words its name is. NULL: none. */
const struct ctl_command *ctl_find_command(size_t count, char *const *arguments, size_t *name_words);

#endif

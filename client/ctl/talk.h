/* SPDX-License-Identifier: MIT */
/* Asking the agent over its admin socket. Blocks. */
#ifndef CTL_TALK_H
#define CTL_TALK_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/error.h"

/* Exit statuses; a promise to scripts. */
enum ctl_status {
    CTL_OK = 0,       /* done, or allowed */
    CTL_NO = 1,       /* denied (authorize, intention check), or there is no such thing */
    CTL_USAGE = 2,    /* the command line is wrong */
    CTL_NO_AGENT = 3, /* nobody answers, or the answer broke off */
    CTL_REFUSED = 4,  /* the agent, or the system, refused */
};

/* --socket, else $XYLEM_ADMIN, else /run/xylem/admin.sock. Returns a descriptor or a negative code; the text names the
 * path and the remedy. */
int talk_connect(const char *socket_path, struct error *error);

struct talk_answer {
    char *text; /* without the blank line at its end; terminated */
    size_t size;
    char *rest; /* what came behind it; points into the same memory */
    size_t rest_size;
    size_t capacity;
};

/* Sends the line and reads the answer up to its blank line. ERROR_SYSTEM. */
int talk_ask(int fd, const char *line, size_t size, struct talk_answer *answer, struct error *error);
/* Wipes and frees. A zeroed one is fine. */
void talk_answer_free(struct talk_answer *answer);

/* What an answer says, in either form. For text, `*body` is what is behind the first line. For a failure `error` gets
 * the agent's code and words. */
enum ctl_status talk_judge(const struct talk_answer *answer, bool json, const char **body,
                           struct error *error);

#endif

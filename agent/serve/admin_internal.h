/* SPDX-License-Identifier: MIT */
/* What the files of the admin door share: admin.c (sockets, levels), admin_connection.c (lines in, answers out),
 * admin_call.c (one command under way), admin_commands.c (the table), admin_*.c (the commands). */
#ifndef SERVE_ADMIN_INTERNAL_H
#define SERVE_ADMIN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "agent/core/model.h"
#include "agent/core/denials.h"
#include "agent/core/observed.h"
#include "agent/json.h"
#include "agent/serve/admin.h"
#include "agent/serve/admin_line.h"
#include "agent/serve/peer.h"
#include "agent/serve/socket.h"

enum {
    ADMIN_CONNECTIONS_DEFAULT = 64,
    ADMIN_CONNECTIONS_RESERVED =
        8, /* beyond the limit, for level admin: nobody can lock the administrator out */
    ADMIN_ANSWER_MAX = 32 << 20, /* bytes of JSON */
    ADMIN_WATCH_BYTES_MAX = 256 * 1024,
};
#define ADMIN_IDLE_DEFAULT_SEC 600.0

struct admin_call;
struct admin_connection;

/* --- commands --- */

/* Calls exactly one of admin_answer...() and admin_fail...(), now or later. `words` are those behind the name, NULL
 * behind the last, and valid during the call only. */
typedef void admin_run(struct admin_call *call, size_t count, char **words);

struct admin_command {
    const char *name; /* one word or two */
    enum config_level level;
    const char *arguments;
    const char *help;
    size_t words_min, words_max;
    bool changes; /* leaves an audit line */
    admin_run *run;
};

extern const struct admin_command admin_commands[]; /* ends with a NULL name */

/* The command that the words begin with, and of how many words its name is. NULL: none. */
const struct admin_command *admin_find_command(const struct admin_command *table,
                                               const struct admin_line *line, size_t *name_words);

/* --- a command under way --- */

struct admin_call {
    struct admin *admin;
    struct admin_connection *connection; /* NULL: the peer has gone */
    const struct admin_command *command;
    uid_t uid;
    pid_t pid;
    enum config_level level;
    bool json;
    bool audited;           /* starts as what the command's row says */
    char subject[400];      /* what the command was about, for the audit line; no secrets */
    struct json_writer out; /* the answer is made here */
};

/* Says what the audit line will name. */
void admin_subject(struct admin_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each ends the call, which is freed. admin_answer() sends the value in call->out; with `word` it becomes the first
 * line's second word. */
void admin_answer(struct admin_call *call, const char *word);
/* "OK" and nothing else; {"ok":true}. */
void admin_answer_ok(struct admin_call *call);
/* Text as it is, for programs: {"key":"text"} in JSON. */
void admin_answer_text(struct admin_call *call, const char *key, const char *text, size_t size);
void admin_fail(struct admin_call *call, const struct error *error);
void admin_fail_with(struct admin_call *call, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As model_done, store_done and authority_done; the argument is the call. */
void admin_done(void *call, const struct error *error);

/* Sends a failure that no command has caused, or the end of one. */
void admin_send_error(struct admin_connection *connection, const struct error *error, bool json);
const char *admin_error_name(int code);

/* --- the door --- */

struct admin_listener {
    struct admin_listener *next;
    struct admin *admin;
    struct socket_listener socket;
    const struct config_admin *config; /* borrowed */
    ev_io watcher;
};

/* A connection's last `top`: what rates are measured from. */
struct admin_snapshot {
    struct admin_counted {
        uint64_t id, allowed, denied;
    } * pairs; /* by observed_pair.position */
    uint64_t allowed, denied;
    ev_tstamp taken_at; /* 0: never */
};

struct admin_connection {
    struct admin_connection *next, **link;
    struct admin *admin;
    struct admin_listener *listener;
    int fd;
    struct peer peer;
    ev_io reading, writing;
    ev_timer idle;
    struct admin_call *call; /* under way */
    bool processing;         /* in the loop that takes lines; it goes on when a call ends at once */
    bool closing;            /* after what is in `out` */
    bool ended;              /* the peer sends nothing more */
    bool json;
    size_t in_size, in_taken; /* bytes of `in`, and how many of these are done with */
    char *in;                 /* ADMIN_LINE_MAX + 2 */
    char *out;
    size_t out_size, out_sent, out_capacity;
    uint32_t watched; /* MODEL_* */
    bool watch_json;
    uint64_t watch_lost;
    struct admin_snapshot snapshot;
};

struct admin {
    struct admin_options options;
    const struct admin_command *commands;
    struct admin_listener *listeners;
    struct admin_connection *connections;
    unsigned connection_count;
    ev_timer accept_again; /* when there were no descriptors left */
    ev_timer harvest;
    struct model_listener listener;
    struct observed *observed;
    struct denials *denials;
    ev_tstamp started_at;
    uid_t own_uid;
};

enum config_level admin_level_of(const struct admin *admin, const struct config_admin *config,
                                 const struct peer *peer);
const char *admin_level_name(enum config_level level);

/* Takes the descriptor and the peer over, also on failure. */
int admin_connection_open(struct admin *admin, struct admin_listener *listener, int fd, struct peer *peer,
                          struct error *error);
void admin_connection_close(struct admin_connection *connection);

/* Sends an answer: the bytes, a newline where they do not end in one, and the empty line. */
void admin_connection_answer(struct admin_connection *connection, const char *first, size_t first_size,
                             const char *body, size_t body_size);
/* The call is over: goes on with the next line. */
void admin_connection_resume(struct admin_connection *connection);

/* --- watching --- */

void admin_watch_event(void *admin, const struct model_event *event);
/* When the buffer has drained: says how much was lost. */
void admin_watch_drained(struct admin_connection *connection);
/* One line to a watcher; counts it as lost when the buffer is full. */
void admin_connection_line(struct admin_connection *connection, const char *line, size_t size);

/* --- the commands' functions, by file --- */

/* admin_status.c */
void admin_status(struct admin_call *call, size_t count, char **words);
void admin_version(struct admin_call *call, size_t count, char **words);
void admin_clients(struct admin_call *call, size_t count, char **words);
void admin_regions(struct admin_call *call, size_t count, char **words);
void admin_regions_supersede(struct admin_call *call, size_t count, char **words);
void admin_log_level(struct admin_call *call, size_t count, char **words);
void admin_backup(struct admin_call *call, size_t count, char **words);
/* admin_leaf.c */
void admin_roots(struct admin_call *call, size_t count, char **words);
void admin_leaf(struct admin_call *call, size_t count, char **words);
void admin_leaves(struct admin_call *call, size_t count, char **words);
void admin_renew(struct admin_call *call, size_t count, char **words);
void admin_write_leaves(struct model *model, struct json_writer *json, bool brief);
/* admin_intention.c */
void admin_authorize(struct admin_call *call, size_t count, char **words);
void admin_intention_list(struct admin_call *call, size_t count, char **words);
void admin_intention_add(struct admin_call *call, size_t count, char **words);
void admin_intention_delete(struct admin_call *call, size_t count, char **words);
void admin_intention_check(struct admin_call *call, size_t count, char **words);
void admin_intention_match(struct admin_call *call, size_t count, char **words);
/* admin_revocation.c */
void admin_revoke(struct admin_call *call, size_t count, char **words);
void admin_unrevoke(struct admin_call *call, size_t count, char **words);
void admin_revocations(struct admin_call *call, size_t count, char **words);
/* admin_ca.c */
void admin_ca_rotate(struct admin_call *call, size_t count, char **words);
void admin_ca_show(struct admin_call *call, size_t count, char **words);
void admin_ca_set(struct admin_call *call, size_t count, char **words);
void admin_ca_crl(struct admin_call *call, size_t count, char **words);
/* admin_top.c, admin_watch.c */
void admin_top(struct admin_call *call, size_t count, char **words);
void admin_watch(struct admin_call *call, size_t count, char **words);

#endif

/* SPDX-License-Identifier: MIT */
/* The admin door: text commands for people, `xylemctl` and scripts, over Unix sockets.
 *
 * One command a line (admin_line.h), answered in order, several a connection. An answer is ended by an empty line; its
 * first line is "OK", with a word behind it where the answer is one ("OK allowed"), or "ERROR CODE: text". A line that
 * begins with --json (or any line after `json on`) is answered with one line of JSON instead, and
 * {"error":{"code","text"}} on failure. `help` lists the commands.
 *
 * What a peer may do is the highest of its socket's `level` and the access lists it is on; root and the agent's own
 * user are admin. It is decided anew for each command, so a reload takes hold at once. Every command that changes
 * something, and every private key handed out, leaves an audit line with the peer's uid and pid.
 *
 * Main thread, on its loop. Answers to changes wait until they are durable; the loop never does. */
#ifndef SERVE_ADMIN_H
#define SERVE_ADMIN_H

#include <stddef.h>

#include <ev.h>

#include "agent/config.h"
#include "agent/error.h"

struct admin;
struct authority;
struct model;
struct store;
struct xylem_leaf_view;

/* Looks up the leaf of `service` with its key where it is published. What `leaf` points to need only stay until the
 * main loop runs again. ERROR_NOT_FOUND. */
typedef int admin_read_leaf(void *argument, const char *service, struct xylem_leaf_view *leaf,
                            struct error *error);

struct admin_options {
    struct ev_loop *loop;
    struct model *model;
    struct store *store;
    struct authority *authority; /* NULL: the CA is elsewhere, and the `ca` commands say so */
    admin_read_leaf *read_leaf;
    void *read_leaf_argument;           /* e.g. the publication */
    const struct config_admin *sockets; /* at least one; borrowed until admin_reload() or admin_close() */
    size_t socket_count;
    unsigned connections_max; /* 0: 64; admins get a few more */
    double idle_timeout_sec;  /* 0: 600; without a command, or without reading an answer */
};

/* Makes the sockets and begins to accept. Everything in `options` outlives the door. ERROR_CONFLICT (a live agent or
 * something else is at a path), ERROR_SYSTEM; then nothing has changed. */
int admin_create(struct admin **out, const struct admin_options *options, struct error *error);

/* Other sockets, access lists and levels from now on; borrows `sockets` in place of the former ones. Sockets whose path
 * stays keep listening, with connections; connections of a socket that goes are closed. On failure nothing has
 * changed. */
int admin_reload(struct admin *admin, const struct config_admin *sockets, size_t socket_count,
                 struct error *error);

/* Removes the sockets and closes all connections. Commands under way go on and leave their audit lines, which is safe
 * after this too. Before the model goes. NULL is fine. */
void admin_close(struct admin *admin);

#endif

/* SPDX-License-Identifier: MIT */
/* The attach door: where processes with <xylem/xylem.h> connect (wire.h) and are handed their sets.
 *
 * A thread of its own does everything that touches a client's socket or descriptors; the main thread
 * speaks to it by mail only, and is the only one to call publication_*(). So a hostile client can slow
 * down neither. The functions here belong to the main thread. */
#ifndef SERVE_ATTACH_H
#define SERVE_ATTACH_H

#include <stddef.h>
#include <sys/types.h>

#include <ev.h>

#include "agent/config.h"
#include "agent/error.h"

struct attach;
struct publication;
struct publication_client;

/* A client asks for the leaf of `service` (NUL-terminated, otherwise unchecked). Main thread. `groups`
 * holds the primary group and the supplementary ones. A failure is logged; the client hears nothing,
 * because a leaf may come later and is announced then. */
typedef int attach_want(void *argument, struct publication_client *client, const char *service, uid_t uid,
                        const gid_t *groups, size_t group_count, struct error *error);

struct attach_limits {
    unsigned clients;         /* connections, with those that have not said hello */
    unsigned clients_per_uid; /* of these, from one uid */
};

struct attach_options {
    struct ev_loop *loop; /* the main thread's */
    struct publication *publication;
    const struct config_attach *sockets; /* at least one; copied */
    size_t socket_count;
    struct attach_limits limits;
    attach_want *want; /* may be NULL: every WANT fails */
    void *want_argument;
    /* 0: 2 s until a hello must be there, 30 s for a client to read what it is sent. */
    double hello_deadline_sec;
    double stall_deadline_sec;
};

/* Makes the sockets, starts the thread and begins to accept. `publication` must outlive the door. Fails with
 * ERROR_CONFLICT (a live agent or something else is at a path), ERROR_SYSTEM; then nothing has changed. */
int attach_create(struct attach **out, const struct attach_options *options, struct error *error);

/* Other sockets and limits from now on. A socket whose path stays keeps listening. Connections stay, also
 * when their socket goes; but where a socket's list of services has changed they end, and clients come again.
 * On failure nothing has changed. */
int attach_reload(struct attach *attach, const struct config_attach *sockets, size_t socket_count,
                  const struct attach_limits *limits, struct error *error);

/* Unlinks the sockets, closes all connections (publication_disconnected() for each) and joins the thread:
 * at most some seconds, when descriptors that clients have sent resist being closed. NULL is fine. */
void attach_close(struct attach *attach);

#endif

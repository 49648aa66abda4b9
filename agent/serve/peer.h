/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a Unix socket, as the kernel noted it when the peer connected. Any thread. */
#ifndef SERVE_PEER_H
#define SERVE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/config.h"
#include "agent/error.h"

struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;     /* 0 if it lives in a pid namespace that we do not see */
    gid_t *groups; /* the primary group first, then the supplementary ones */
    size_t group_count;
};

/* Reads the credentials of a connected socket's peer. Returns 0 and fills `peer`, for peer_free(); or
 * ERROR_SYSTEM. */
int peer_read(struct peer *peer, int socket_fd, struct error *error);
void peer_free(struct peer *peer);

/* A pidfd of the peer, close-on-exec, the caller's: readable when the process has exited. Returns 0 and -1
 * in `*pidfd` where the kernel cannot name the process (before Linux 5.3, foreign pid namespace);
 * ERROR_NOT_FOUND if it has exited already; ERROR_SYSTEM without descriptors. Before Linux 6.5 it is found
 * by pid, which may have passed to another process since the peer connected: then that one's exit is
 * waited for, and the peer's memory is freed late, never early. */
int peer_pidfd(int *pidfd, int socket_fd, const struct peer *peer, struct error *error);

/* Whether the peer is this user. The overflow uid, which stands for every uid of a user namespace that has
 * no number here, is nobody. */
bool peer_is_user(const struct peer *peer, uid_t uid);

/* Whether the peer is on an access list. */
bool peer_is_allowed(const struct peer *peer, const struct config_access *access);

#endif

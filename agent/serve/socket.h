/* SPDX-License-Identifier: MIT */
/* Unix sockets that listen at a path: made with the right owner and mode before anybody can connect, taken
 * over from an agent that died, never from one that lives. */
#ifndef SERVE_SOCKET_H
#define SERVE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/config.h"
#include "agent/error.h"

struct socket_listener {
    int fd; /* non-blocking, close-on-exec */
    char *path;
    dev_t device; /* what we made at `path`: whatever else is there is not ours to remove */
    ino_t inode;  /* nobody else gets this number while the socket is open */
};

/* Listens at config->path; `type` is SOCK_SEQPACKET or SOCK_STREAM. Returns 0; ERROR_CONFLICT if a live
 * process listens there or it is no socket; ERROR_INVALID if the path is too long; ERROR_SYSTEM. */
int socket_listen(struct socket_listener *listener, const struct config_socket *config, int type,
                  struct error *error);

/* Gives the socket the owner and mode of `config`, whose path must be the listener's. Returns 0 or
 * ERROR_SYSTEM. */
int socket_set_access(const struct socket_listener *listener, const struct config_socket *config,
                      struct error *error);

/* Whether what is at the path is still what we made. */
bool socket_is_there(const struct socket_listener *listener);

/* Removes the path if it is still ours; nobody can connect any more. The descriptor stays open. */
void socket_remove(const struct socket_listener *listener);

/* socket_remove(), then closes and frees. The connections that nobody has accepted are closed with it,
 * together with the descriptors that wait in them, which may block. */
void socket_close(struct socket_listener *listener);

#endif

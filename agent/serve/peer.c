/* SPDX-License-Identifier: MIT */
#include "agent/serve/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/config_internal.h"

#ifndef SO_PEERGROUPS
#    define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#    define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

enum { GROUPS_FIRST_GUESS = 32 };

/* Puts the supplementary groups behind the primary one, which the caller has left room for in `*groups`. */
static int read_groups(int socket_fd, gid_t **groups, size_t *count)
{
    socklen_t size = GROUPS_FIRST_GUESS * sizeof(gid_t);
    for (;;) {
        gid_t *grown = realloc(*groups, sizeof(gid_t) + size);
        if (!grown)
            return -1;
        *groups = grown;
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, grown + 1, &size) == 0) {
            *count = 1 + size / sizeof(gid_t);
            return 0;
        }
        if (errno == ENOPROTOOPT) { /* before Linux 4.13: the primary group only */
            *count = 1;
            return 0;
        }
        if (errno != ERANGE) /* ERANGE: `size` says now how much is needed; a peer's groups never change */
            return -1;
    }
}

int peer_read(struct peer *peer, int socket_fd, struct error *error)
{
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == -1)
        return error_errno(error, "cannot read the credentials of a peer");
    gid_t *groups = NULL;
    size_t count;
    if (read_groups(socket_fd, &groups, &count) == -1) {
        error_errno(error, "cannot read the groups of a peer");
        free(groups);
        return ERROR_SYSTEM;
    }
    groups[0] = credentials.gid;
    *peer = (struct peer){credentials.uid, credentials.gid, credentials.pid, groups, count};
    return 0;
}

void peer_free(struct peer *peer)
{
    free(peer->groups);
    peer->groups = NULL;
    peer->group_count = 0;
}

int peer_pidfd(int *pidfd, int socket_fd, const struct peer *peer, struct error *error)
{
    int fd = -1;
    socklen_t size = sizeof fd;
    *pidfd = -1;
    int failed = getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size);
    if (failed && errno == ENOPROTOOPT) {
        if (peer->pid <= 0)
            return 0;
        fd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
        failed = fd == -1;
    }
    if (!failed) {
        *pidfd = fd;
        return 0;
    }
    if (errno == ENOSYS || errno == ENODATA || errno == EPERM)
        return 0; /* no such call, no such process here, or seccomp */
    if (errno == ESRCH || errno == EINVAL)
        return error_set(error, ERROR_NOT_FOUND, "process %d has exited", (int)peer->pid);
    return error_errno(error, "cannot watch process %d", (int)peer->pid);
}

bool peer_is_user(const struct peer *peer, uid_t uid)
{
    return peer->uid == uid && uid != config_overflow_uid();
}

bool peer_is_allowed(const struct peer *peer, const struct config_access *access)
{
    return config_access_allows(access, peer->uid, peer->groups, peer->group_count);
}

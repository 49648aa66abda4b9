/* SPDX-License-Identifier: MIT */
#include "agent/serve/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int set_address(struct sockaddr_un *address, const char *path, struct error *error)
{
    size_t size = strlen(path) + 1;
    if (size > sizeof address->sun_path)
        return error_set(error, ERROR_INVALID, "socket \"%s\": the path is longer than %zu bytes", path,
                         sizeof address->sun_path - 1);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, size);
    return 0;
}

/* Asks whoever listens there. Returns 0 if nobody does, or a code. A full backlog (EAGAIN) is somebody,
 * and so is a socket of another type. */
static int probe(const struct sockaddr_un *address, int type, struct error *error)
{
    const char *path = address->sun_path;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1)
        return error_errno(error, "socket \"%s\"", path);
    int failed = connect(fd, (const struct sockaddr *)address, sizeof *address);
    int reason = errno;
    close(fd);
    if (failed && (reason == ECONNREFUSED || reason == ENOENT))
        return 0;
    if (failed && (reason == EACCES || reason == EPERM))
        return error_set(
            error, ERROR_CONFLICT,
            "socket \"%s\" belongs to another user, and whether it is in use cannot be told; remove "
            "it or choose another path",
            path);
    return error_set(error, ERROR_CONFLICT,
                     "socket \"%s\" is in use by a running process; is another agent running?", path);
}

/* Takes away what an agent that died has left behind, and nothing else. */
static int remove_stale(const struct sockaddr_un *address, int type, struct error *error)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) == -1)
        return errno == ENOENT ? 0 : error_errno(error, "socket \"%s\"", path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(error, ERROR_CONFLICT,
                         "\"%s\" is there and is no socket; remove it or choose another path", path);
    int code = probe(address, type, error);
    if (code)
        return code;
    if (unlink(path) == -1 && errno != ENOENT)
        return error_errno(error, "cannot remove the stale socket \"%s\"", path);
    return 0;
}

/* The inode that bind() makes has the mode of the socket's own (less the umask, which is the whole
 * process's and therefore not to be touched): nobody but root can connect before the mode is set, and
 * listen() comes last. */
static int bind_closed(int fd, const struct sockaddr_un *address, int type, struct error *error)
{
    if (fchmod(fd, 0) == -1)
        return error_errno(error, "socket \"%s\"", address->sun_path);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    if (errno == EADDRINUSE) {
        int code = remove_stale(address, type, error);
        if (code)
            return code;
        if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
            return 0;
    }
    return error_errno(error,
                       "cannot make socket \"%s\"; does the directory exist, and may the agent write there",
                       address->sun_path);
}

int socket_set_access(const struct socket_listener *listener, const struct config_socket *config,
                      struct error *error)
{
    /* The mode first: afterwards the inode may belong to somebody else. */
    if (chmod(listener->path, config->mode) == -1)
        return error_errno(error, "cannot set the mode of socket \"%s\"", listener->path);
    bool owned = config->user != CONFIG_UID_UNSET || config->group != CONFIG_GID_UNSET;
    if (owned && lchown(listener->path, config->user, config->group) == -1)
        return error_errno(error, "cannot set the owner of socket \"%s\"", listener->path);
    return 0;
}

static int publish(struct socket_listener *listener, const struct config_socket *config, struct error *error)
{
    struct stat status;
    if (lstat(listener->path, &status) == -1)
        return error_errno(error, "socket \"%s\"", listener->path);
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    int code = socket_set_access(listener, config, error);
    if (!code && listen(listener->fd, BACKLOG) == -1)
        code = error_errno(error, "cannot listen on socket \"%s\"", listener->path);
    if (code)
        socket_remove(listener);
    return code;
}

int socket_listen(struct socket_listener *out, const struct config_socket *config, int type,
                  struct error *error)
{
    struct sockaddr_un address;
    int code = set_address(&address, config->path, error);
    if (code)
        return code;
    struct socket_listener listener = {.path = strdup(config->path), .fd = -1};
    if (!listener.path)
        return error_errno(error, "socket \"%s\"", config->path);
    listener.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener.fd == -1) {
        code = error_errno(error, "socket \"%s\"", config->path);
        goto free_path;
    }
    code = bind_closed(listener.fd, &address, type, error);
    if (!code)
        code = publish(&listener, config, error);
    if (code)
        goto close_fd;
    *out = listener;
    return 0;

close_fd:
    close(listener.fd);
free_path:
    free(listener.path);
    return code;
}

bool socket_is_there(const struct socket_listener *listener)
{
    struct stat status;
    return lstat(listener->path, &status) == 0 && status.st_dev == listener->device &&
           status.st_ino == listener->inode;
}

void socket_remove(const struct socket_listener *listener)
{
    if (socket_is_there(listener))
        unlink(listener->path);
}

void socket_close(struct socket_listener *listener)
{
    socket_remove(listener);
    close(listener->fd);
    free(listener->path);
    listener->fd = -1;
    listener->path = NULL;
}

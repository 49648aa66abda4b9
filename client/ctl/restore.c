/* SPDX-License-Identifier: MIT */
#include "client/ctl/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store/store.h"

/* Returns a descriptor that holds the agents' lock on the directory, or a negative code. */
static int lock_directory(const char *path, struct stat *status, struct error *error)
{
    if (mkdir(path, 0700) == -1 && errno != EEXIST)
        return error_errno(error, "cannot make state directory \"%s\"", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1)
        return error_errno(error, "cannot open state directory \"%s\"", path);
    int code = 0;
    if (fstat(fd, status) == -1)
        code = error_errno(error, "cannot examine state directory \"%s\"", path);
    else if (status->st_mode & 077)
        code =
            error_set(error, ERROR_DENIED, "state directory \"%s\" is open to others: chmod 0700 it", path);
    else if (flock(fd, LOCK_EX | LOCK_NB) == -1)
        code = errno == EWOULDBLOCK
                   ? error_set(error, ERROR_BUSY, "an agent is using state directory \"%s\": stop it first",
                               path)
                   : error_errno(error, "cannot lock state directory \"%s\"", path);
    if (!code)
        return fd;
    close(fd);
    return code;
}

static int copy_bytes(int from, int to)
{
    char buffer[64 * 1024];
    int result = 0;
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got <= 0) {
            result = (int)got;
            break;
        }
        for (ssize_t at = 0, wrote = 0; at < got && result == 0; at += wrote) {
            wrote = write(to, buffer + at, (size_t)(got - at));
            result = wrote < 0 ? -1 : 0;
        }
        if (result)
            break;
    }
    explicit_bzero(buffer, sizeof buffer);
    return result;
}

/* A durable copy beside the store, of its owner, that nobody else can read. */
static int copy_beside(const char *file, const char *temporary, int to, const struct stat *owner,
                       struct error *error)
{
    int from = open(file, O_RDONLY | O_CLOEXEC);
    if (from == -1)
        return errno == ENOENT ? error_set(error, ERROR_NOT_FOUND, "there is no file \"%s\"", file)
                               : error_errno(error, "cannot read \"%s\"", file);
    int code = 0;
    if (copy_bytes(from, to) != 0 || fchmod(to, 0600) == -1)
        code = error_errno(error, "cannot copy \"%s\" to \"%s\"", file, temporary);
    else if ((owner->st_uid != geteuid() || owner->st_gid != getegid()) &&
             fchown(to, owner->st_uid, owner->st_gid) == -1)
        code = error_errno(error, "cannot give \"%s\" to the owner of its directory", temporary);
    else if (fsync(to) == -1)
        code = error_errno(error, "cannot make \"%s\" durable", temporary);
    close(from);
    return code;
}

static int remove_if_there(int directory, const char *name)
{
    return unlinkat(directory, name, 0) == -1 && errno != ENOENT ? -1 : 0;
}

/* The write-ahead log goes first: beside another database it would be replayed into that one. Should the machine die in
 * between, the former store is there as of its last checkpoint, and restoring again completes the work. */
static int replace(int directory, const char *temporary, const char *path, struct error *error)
{
    const char *name = strrchr(temporary, '/') + 1;
    if (remove_if_there(directory, "state.db-wal") || remove_if_there(directory, "state.db-shm") ||
        remove_if_there(directory, "state.db-journal") || fsync(directory) == -1)
        return error_errno(error, "cannot remove the former store's log in \"%s\"", path);
    if (renameat(directory, name, directory, "state.db") == -1)
        return error_errno(error, "cannot replace the store in \"%s\"", path);
    if (fsync(directory) == -1)
        return error_errno(error, "cannot make the restored store in \"%s\" durable", path);
    return 0;
}

int restore_store(const char *file, const char *directory, struct error *error)
{
    struct stat status;
    char *temporary = NULL;
    int lock = lock_directory(directory, &status, error);
    if (lock < 0)
        return lock;
    int code = 0, fd = -1;
    if (asprintf(&temporary, "%s/restore.XXXXXX", directory) < 0) {
        code = error_errno(error, "cannot restore \"%s\"", file);
        goto unlock;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd == -1) {
        code = error_errno(error, "cannot write to \"%s\"", directory);
        goto free_name;
    }
    code = copy_beside(file, temporary, fd, &status, error);
    if (!code && (code = store_restore_check(temporary, error)) != 0)
        error_at(error, "\"%s\" cannot be restored", file);
    if (!code)
        code = replace(lock, temporary, directory, error);
    if (code)
        unlink(temporary);
    close(fd);
free_name:
    free(temporary);
unlock:
    close(lock);
    return code;
}

/* SPDX-License-Identifier: MIT */
/* Consistent copies, and the question whether a file is one. */
#include "agent/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct backup {
    struct mail mail;
    struct store *store;
    char *path;
    struct error error;
    store_done *done;
    void *argument;
};

/* Copies the open database into the empty file `path`. */
static int copy_database(struct store *store, const char *path, struct error *error)
{
    sqlite3 *copy = NULL;
    int code = 0;
    if (sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        code = store_sqlite_error(copy, path, "open the backup", error);
        goto close;
    }
    /* The caller syncs once at the end; nobody ever sees the file before. */
    code =
        store_execute(copy, path, "set up the backup",
                      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF",
                      error);
    if (code)
        goto close;
    sqlite3_backup *backup = sqlite3_backup_init(copy, "main", store->database, "main");
    if (!backup || sqlite3_backup_step(backup, -1) != SQLITE_DONE) {
        sqlite3_backup_finish(backup); /* hands the failure of the step over to the copy's connection */
        code = store_sqlite_error(copy, path, "write the backup", error);
        goto close;
    }
    sqlite3_backup_finish(backup);
    /* The copied header says WAL; a backup shall be one file that opens anywhere, also read-only. */
    code = store_execute(copy, path, "finish the backup", "PRAGMA journal_mode = DELETE", error);
close:
    sqlite3_close(copy);
    return code;
}

static int sync_directory_of(const char *path)
{
    char *directory = strdup(path);
    if (!directory)
        return -1;
    char *slash = strrchr(directory, '/'); /* the path is absolute */
    slash[slash == directory] = '\0';
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    if (descriptor < 0)
        return -1;
    int rc = fsync(descriptor);
    close(descriptor);
    return rc;
}

int store_backup_write(struct store *store, const char *path, struct error *error)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return error_errno(error, "cannot write backup \"%s\"", path);
    int code = 0;
    int descriptor = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (descriptor < 0) {
        code = error_errno(error, "cannot write backup \"%s\"", path);
        goto free;
    }
    if ((code = copy_database(store, temporary, error)))
        goto unlink;
    if (fsync(descriptor) || rename(temporary, path)) {
        code = error_errno(error, "cannot write backup \"%s\"", path);
        goto unlink;
    }
    if (sync_directory_of(path))
        code = error_errno(error, "cannot make backup \"%s\" durable", path);
    goto close;
unlink:
    unlink(temporary);
close:
    close(descriptor);
free:
    free(temporary);
    return code;
}

static void answer(struct mail *mail)
{
    struct backup *backup = caa_container_of(mail, struct backup, mail);
    struct store *store = backup->store;
    if (backup->done)
        backup->done(backup->argument, backup->error.code ? &backup->error : NULL);
    free(backup->path);
    free(backup);
    __atomic_fetch_sub(&store->outstanding, 1, __ATOMIC_RELEASE);
}

static void make_backup(struct mail *mail)
{
    struct backup *backup = caa_container_of(mail, struct backup, mail);
    store_commit_group(backup->store); /* what was submitted before belongs into the copy */
    store_backup_write(backup->store, backup->path, &backup->error);
    backup->mail.run = answer;
    mailbox_post(backup->store->answers, &backup->mail);
}

int store_backup(struct store *store, const char *path, store_done *done, void *argument, struct error *error)
{
    if (path[0] != '/')
        return error_set(error, ERROR_INVALID, "backup \"%s\": name an absolute path", path);
    struct backup *backup = calloc(1, sizeof *backup);
    if (!backup || !(backup->path = strdup(path))) {
        error_errno(error, "cannot begin backup \"%s\"", path);
        free(backup);
        return ERROR_SYSTEM;
    }
    backup->mail.run = make_backup;
    backup->store = store;
    backup->done = done;
    backup->argument = argument;
    __atomic_fetch_add(&store->outstanding, 1, __ATOMIC_RELAXED);
    mailbox_post(&store->mailbox, &backup->mail);
    return 0;
}

int store_restore_check(const char *path, struct error *error)
{
    if (access(path, R_OK))
        return errno == ENOENT ? error_set(error, ERROR_NOT_FOUND, "there is no file \"%s\"", path)
                               : error_errno(error, "cannot read \"%s\"", path);
    sqlite3 *database = NULL;
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = 0;
    if (sqlite3_open_v2(path, &database, flags, NULL) != SQLITE_OK)
        code = store_sqlite_error(database, path, "open it", error);
    else
        code = store_schema_check(database, path, false, error);
    sqlite3_close(database);
    return code;
}

/* SPDX-License-Identifier: MIT */
/* Opening and closing: the directory, its lock, the connection and its settings. */
#include "agent/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store/internal.h"

static int error_code_of(int extended)
{
    switch (extended & 0xff) {
    case SQLITE_CONSTRAINT:
        return extended == SQLITE_CONSTRAINT_CHECK || extended == SQLITE_CONSTRAINT_NOTNULL ||
                       extended == SQLITE_CONSTRAINT_DATATYPE
                   ? ERROR_INVALID
                   : ERROR_CONFLICT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERROR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERROR_CORRUPT;
    case SQLITE_TOOBIG:
        return ERROR_LIMIT;
    default:
        return ERROR_SYSTEM;
    }
}

int store_sqlite_error(sqlite3 *database, const char *path, const char *doing, struct error *error)
{
    int extended = sqlite3_extended_errcode(database);
    int code = error_code_of(extended);
    int primary = extended & 0xff;
    const char *remedy = "";
    if (code == ERROR_BUSY)
        remedy = "; another process has it open: end that one first";
    else if (code == ERROR_CORRUPT)
        remedy = "; put a backup in its place, or move it away to begin anew";
    else if (primary == SQLITE_FULL)
        remedy = "; make room on that file system";
    int number = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? sqlite3_system_errno(database) : 0;
    char words[128];
    const char *system = number ? strerror_r(number, words, sizeof words) : "";
    return error_set(error, code, "store \"%s\": cannot %s: %s%s%s%s", path, doing, sqlite3_errmsg(database),
                     *system ? ": " : "", system, remedy);
}

int store_execute(sqlite3 *database, const char *path, const char *doing, const char *sql,
                  struct error *error)
{
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_sqlite_error(database, path, doing, error);
    return 0;
}

/* The store holds private keys: nobody else may own or read what it lies in. */
static int check_private(const char *path, const struct stat *status, const char *mode, struct error *error)
{
    if (status->st_uid != geteuid())
        return error_set(error, ERROR_DENIED, "\"%s\" belongs to uid %u, the agent runs as uid %u: chown it",
                         path, status->st_uid, geteuid());
    if (status->st_mode & 077)
        return error_set(error, ERROR_DENIED,
                         "\"%s\" holds private keys but others have access (mode %04o): chmod %s it", path,
                         status->st_mode & 07777, mode);
    return 0;
}

/* A new directory entry is durable when the directory that holds it is. */
static int sync_parent(int directory)
{
    int parent = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -1;
    int rc = fsync(parent);
    close(parent);
    return rc;
}

/* Opens the directory and takes the lock that keeps a second agent out. The lock is flock() on the directory
 * itself: it ends with the process whatever happens, and, unlike POSIX record locks, does not vanish when
 * some other descriptor of the same file is closed. Returns the descriptor or a negative code. */
static int open_directory(const char *directory, struct error *error)
{
    bool made = mkdir(directory, 0700) == 0;
    if (!made && errno != EEXIST)
        return error_errno(error, "cannot make state directory \"%s\"", directory);
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return error_errno(error, "cannot open state directory \"%s\"", directory);
    struct stat status;
    int code = 0;
    if (made && sync_parent(descriptor))
        code = error_errno(error, "cannot make state directory \"%s\" durable", directory);
    else if (fstat(descriptor, &status))
        code = error_errno(error, "cannot examine state directory \"%s\"", directory);
    else if (!(code = check_private(directory, &status, "0700", error)) &&
             flock(descriptor, LOCK_EX | LOCK_NB))
        code = errno == EWOULDBLOCK
                   ? error_set(error, ERROR_BUSY,
                               "another agent is using state directory \"%s\": end it, or configure another "
                               "directory",
                               directory)
                   : error_errno(error, "cannot lock state directory \"%s\"", directory);
    if (!code)
        return descriptor;
    close(descriptor);
    return code;
}

/* Makes the file if need be, before SQLite would with a mode of its own (-wal inherits the mode). An existing
 * file is not opened here: closing it again would drop this process's POSIX locks on it. */
static int make_file(int directory, const char *path, struct error *error)
{
    int descriptor = openat(directory, "state.db", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor >= 0) {
        close(descriptor);
        if (fsync(directory))
            return error_errno(error, "cannot make store \"%s\" durable", path);
        return 0;
    }
    if (errno != EEXIST)
        return error_errno(error, "cannot make store \"%s\"", path);
    struct stat status;
    if (fstatat(directory, "state.db", &status, AT_SYMLINK_NOFOLLOW))
        return error_errno(error, "cannot examine store \"%s\"", path);
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_DENIED, "store \"%s\" is not a regular file: move it away", path);
    return check_private(path, &status, "0600", error);
}

static int enable_wal(sqlite3 *database, const char *path, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(database, "PRAGMA journal_mode = WAL", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    int code = 0;
    if (!mode)
        code = store_sqlite_error(database, path, "turn on its write-ahead log", error);
    else if (strcmp(mode, "wal") != 0)
        code = error_set(error, ERROR_SYSTEM,
                         "store \"%s\": cannot turn on its write-ahead log: it stays in mode \"%s\"", path,
                         mode);
    sqlite3_finalize(statement);
    return code;
}

/* At least the time in seconds: a backup that is put back brings a lower generation with it, and what was counted from
 * the ones since then must not come again. At least one more than before: the clock may have been set back. */
static int raise_generation(struct store *store, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->database,
                                "INSERT INTO meta (" META_COLUMNS ") VALUES ('generation', unixepoch())"
                                " ON CONFLICT (key) DO UPDATE SET value = max(value + 1, unixepoch())"
                                " RETURNING value",
                                -1, &statement, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        store->generation = (uint64_t)sqlite3_column_int64(statement, 0);
        rc = sqlite3_step(statement); /* the row is durable only when the statement is done */
    }
    int code = rc == SQLITE_DONE
                   ? 0
                   : store_sqlite_error(store->database, store->path, "raise its generation", error);
    sqlite3_finalize(statement);
    return code;
}

static int prepare_statements(struct store *store, struct error *error)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v3(store->database, store_statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->statements[i], NULL) != SQLITE_OK)
            return store_sqlite_error(store->database, store->path, "prepare its statements", error);
    return 0;
}

/* Nothing is written before the check has passed. The exclusive locking mode, set before the first access,
 * keeps the WAL's index in our memory instead of a file that a stranger's connection would share. */
static int open_database(struct store *store, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(store->path, &store->database, flags, NULL) != SQLITE_OK)
        return store_sqlite_error(store->database, store->path, "open it", error);
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    static const char settings[] =
        "PRAGMA locking_mode = EXCLUSIVE;"
        "PRAGMA synchronous = FULL;"
        "PRAGMA foreign_keys = ON;"
        "PRAGMA secure_delete = ON;" /* an old key is overwritten, not just unlinked */
        "PRAGMA trusted_schema = OFF;"
        "PRAGMA cell_size_check = ON;"
        "PRAGMA temp_store = MEMORY;"
        "PRAGMA journal_size_limit = 67108864;";
    int code;
    if ((code = store_execute(store->database, store->path, "set it up", settings, error)) ||
        (code = store_schema_check(store->database, store->path, true, error)) ||
        (code = enable_wal(store->database, store->path, error)) ||
        (code = store_schema_migrate(store->database, store->path, error)) ||
        (code = raise_generation(store, error)) || (code = prepare_statements(store, error)))
        return code;
    return 0;
}

static void store_free(struct store *store)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
    if (store->mailbox.descriptor >= 0)
        mailbox_destroy(&store->mailbox);
    if (store->directory >= 0)
        close(store->directory);
    free(store->path);
    free(store);
}

int store_open(const char *directory, struct store **opened, struct error *error)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return error_errno(error, "cannot open the store in \"%s\"", directory);
    store->directory = -1;
    store->mailbox.descriptor = -1;
    store->group_last = &store->group;
    int code = 0;
    if (asprintf(&store->path, "%s/state.db", directory) < 0) {
        store->path = NULL;
        code = error_errno(error, "cannot open the store in \"%s\"", directory);
    } else if ((store->directory = open_directory(directory, error)) < 0)
        code = store->directory;
    else if (!(code = mailbox_init(&store->mailbox, error)) &&
             !(code = make_file(store->directory, store->path, error)))
        code = open_database(store, error);
    if (code) {
        store_free(store);
        return code;
    }
    *opened = store;
    return 0;
}

uint64_t store_generation(const struct store *store)
{
    return store->generation;
}

int store_start(struct store *store, struct mailbox *answers, struct error *error)
{
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    store->answers = answers;
    int rc = pthread_create(&store->thread, NULL, store_thread, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        errno = rc;
        return error_errno(error, "cannot start the thread of store \"%s\"", store->path);
    }
    store->started = true;
    return 0;
}

static void stop(struct mail *mail)
{
    struct store *store = caa_container_of(mail, struct store, stop);
    store->stopping = true;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    if (store->started) {
        /* Done functions may submit, so the thread goes on until all are answered. */
        while (__atomic_load_n(&store->outstanding, __ATOMIC_ACQUIRE)) {
            mailbox_wait(store->answers);
            mailbox_run(store->answers);
        }
        store->stop.run = stop;
        mailbox_post(&store->mailbox, &store->stop);
        pthread_join(store->thread, NULL);
    }
    store_free(store);
}

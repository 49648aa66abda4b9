/* SPDX-License-Identifier: MIT */
/* The store's thread: gathers the batches that wait, commits them as one transaction, answers. */
#include "agent/store/internal.h"

#include <stdlib.h>
#include <string.h>

/* Runs a statement to its end. SQLite's code, extended; the connection keeps the text until its next call. */
static int run(struct store *store, enum statement statement)
{
    int rc = sqlite3_step(store->statements[statement]);
    /* A reset returns the step's failure again and keeps its text. */
    int reset = sqlite3_reset(store->statements[statement]);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? reset : rc;
}

static int bind(sqlite3_stmt *statement, int index, const struct value *value)
{
    switch (value->type) {
    case SQLITE_INTEGER:
        return sqlite3_bind_int64(statement, index, value->integer);
    case SQLITE_TEXT:
        return sqlite3_bind_text64(statement, index, value->data, value->size, SQLITE_STATIC, SQLITE_UTF8);
    default:
        return sqlite3_bind_blob64(statement, index, value->data, value->size, SQLITE_STATIC);
    }
}

static int apply_change(struct store *store, const struct change *change)
{
    sqlite3_stmt *statement = store->statements[change->statement];
    for (size_t i = 0; i < change->count; i++) {
        int rc = bind(statement, (int)i + 1, &change->values[i]);
        if (rc != SQLITE_OK)
            return rc;
    }
    return run(store, change->statement);
}

/* Applies one batch inside the group's transaction, in a savepoint of its own. A batch that contradicts the
 * schema is undone alone and keeps the error; 0 is returned. Any other failure is the whole group's:
 * returned, with `error` filled. */
static int apply_batch(struct store *store, struct store_batch *batch, struct error *error)
{
    int rc = run(store, STATEMENT_SAVEPOINT);
    for (struct change *change = batch->first; change && rc == SQLITE_OK; change = change->next)
        rc = apply_change(store, change);
    if (rc == SQLITE_OK)
        rc = run(store, STATEMENT_SAVEPOINT_RELEASE);
    if (rc == SQLITE_OK)
        return 0;
    int code = store_sqlite_error(store->database, store->path, "change it", error);
    bool of_batch = (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_TOOBIG;
    /* Some failures make SQLite roll back everything by itself; then there is no savepoint to return to. */
    if (!of_batch || sqlite3_get_autocommit(store->database))
        return code;
    batch->error = *error;
    if (run(store, STATEMENT_SAVEPOINT_ROLLBACK) != SQLITE_OK ||
        run(store, STATEMENT_SAVEPOINT_RELEASE) != SQLITE_OK)
        return store_sqlite_error(store->database, store->path, "undo a change", error);
    return 0;
}

static int apply_group(struct store *store, struct error *error)
{
    if (run(store, STATEMENT_BEGIN) != SQLITE_OK)
        return store_sqlite_error(store->database, store->path, "begin a change", error);
    for (struct store_batch *batch = store->group; batch; batch = batch->next)
        if (!batch->error.code && apply_batch(store, batch, error))
            return error->code;
    if (run(store, STATEMENT_COMMIT) != SQLITE_OK)
        return store_sqlite_error(store->database, store->path, "commit a change", error);
    __atomic_fetch_add(&store->commits, 1, __ATOMIC_RELAXED);
    return 0;
}

static void answer(struct mail *mail)
{
    struct store_batch *batch = caa_container_of(mail, struct store_batch, mail);
    struct store *store = batch->store;
    if (batch->done)
        batch->done(batch->argument, batch->error.code ? &batch->error : NULL);
    store_batch_free(batch);
    /* Last: store_close() frees the store when the count has fallen to zero. */
    __atomic_fetch_sub(&store->outstanding, 1, __ATOMIC_RELEASE);
}

void store_commit_group(struct store *store)
{
    if (!store->group)
        return;
    struct error error = {0};
    if (apply_group(store, &error)) {
        if (!sqlite3_get_autocommit(store->database))
            run(store, STATEMENT_ROLLBACK);
        for (struct store_batch *batch = store->group; batch; batch = batch->next)
            if (!batch->error.code)
                batch->error = error;
    }
    struct store_batch *next;
    for (struct store_batch *batch = store->group; batch; batch = next) {
        next = batch->next; /* from the post on the batch may be gone */
        batch->mail.run = answer;
        mailbox_post(store->answers, &batch->mail);
    }
    store->group = NULL;
    store->group_last = &store->group;
}

static void join_group(struct mail *mail)
{
    struct store_batch *batch = caa_container_of(mail, struct store_batch, mail);
    struct store *store = batch->store;
    *store->group_last = batch;
    store->group_last = &batch->next;
}

void *store_thread(void *argument)
{
    struct store *store = argument;
    pthread_setname_np(pthread_self(), "store");
    while (!store->stopping) {
        mailbox_wait(&store->mailbox);
        mailbox_run(&store->mailbox);
        store_commit_group(store);
    }
    return NULL;
}

void store_submit(struct store *store, struct store_batch *batch, store_done *done, void *argument)
{
    batch->store = store;
    batch->done = done;
    batch->argument = argument;
    batch->mail.run = join_group;
    __atomic_fetch_add(&store->outstanding, 1, __ATOMIC_RELAXED);
    mailbox_post(&store->mailbox, &batch->mail);
}

uint64_t store_commit_count(const struct store *store)
{
    return __atomic_load_n(&store->commits, __ATOMIC_RELAXED);
}

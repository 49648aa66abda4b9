/* SPDX-License-Identifier: MIT */
/* The baseline LMDB: one database, loaded in order so that its pages are full,
 * a renewed transaction a look-up. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/baseline.h"
#include "bench/bench.h"

struct lmdb {
    MDB_env *environment;
    MDB_dbi handle;
    char directory[256];
};

struct lmdb_reader {
    MDB_txn *transaction;
    MDB_dbi handle;
};

struct item {
    char *key;
    size_t size;
    bool allow;
};

static void must(const char *what, int error)
{
    if (error)
        bench_fail("%s: %s", what, mdb_strerror(error));
}

static int by_key(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->key, b->key, common);
    return order ? order : a->size < b->size ? -1 : a->size > b->size;
}

static void fill(struct lmdb *database, const struct workload *workload)
{
    MDB_txn *transaction;
    struct item *items = bench_allocate(workload->pairs, sizeof *items);
    char *text = bench_allocate(workload->pairs, BASELINE_KEY_MAX);
    for (uint32_t pair = 0; pair < workload->pairs; pair++) {
        items[pair].key = text + (size_t)pair * BASELINE_KEY_MAX;
        items[pair].allow = workload_pair_allows(pair);
        items[pair].size = baseline_key(workload_pair_target(workload, pair),
                                        workload_pair_source(workload, pair), (uint8_t *)items[pair].key);
    }
    qsort(items, workload->pairs, sizeof *items, by_key);
    must("mdb_txn_begin", mdb_txn_begin(database->environment, NULL, 0, &transaction));
    must("mdb_dbi_open", mdb_dbi_open(transaction, NULL, 0, &database->handle));
    for (uint32_t i = 0; i < workload->pairs; i++) {
        MDB_val key = {items[i].size, items[i].key};
        MDB_val value = {sizeof items[i].allow, &items[i].allow};
        must("mdb_put", mdb_put(transaction, database->handle, &key, &value, MDB_APPEND));
    }
    must("mdb_txn_commit", mdb_txn_commit(transaction));
    free(items);
    free(text);
}

struct lmdb *lmdb_create(const struct workload *workload)
{
    const char *parent = getenv("TMPDIR");
    struct lmdb *made = bench_allocate(1, sizeof *made);
    snprintf(made->directory, sizeof made->directory, "%s/xylem-bench-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(made->directory))
        bench_fail("no directory for the LMDB baseline: set TMPDIR to one that can "
                   "be written");
    must("mdb_env_create", mdb_env_create(&made->environment));
    must("mdb_env_set_mapsize",
         mdb_env_set_mapsize(made->environment, (64u << 20) + (size_t)workload->pairs * 512u));
    must("mdb_env_open", mdb_env_open(made->environment, made->directory, MDB_NOSYNC | MDB_NOTLS, 0600));
    fill(made, workload);
    return made;
}

void lmdb_destroy(struct lmdb *database)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char path[sizeof database->directory + 16];
    mdb_env_close(database->environment);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", database->directory, files[i]);
        unlink(path);
    }
    rmdir(database->directory);
    free(database);
}

struct lmdb_reader *lmdb_reader_open(struct lmdb *database)
{
    struct lmdb_reader *reader = bench_allocate(1, sizeof *reader);
    reader->handle = database->handle;
    must("mdb_txn_begin", mdb_txn_begin(database->environment, NULL, MDB_RDONLY, &reader->transaction));
    mdb_txn_reset(reader->transaction);
    return reader;
}

void lmdb_reader_close(struct lmdb_reader *reader)
{
    mdb_txn_abort(reader->transaction);
    free(reader);
}

int lmdb_look_up(struct lmdb_reader *reader, const uint8_t *key, size_t size)
{
    MDB_val wanted = {size, (void *)(uintptr_t)key};
    MDB_val value;
    int verdict = -1;
    if (mdb_txn_renew(reader->transaction) != 0)
        return -1;
    if (mdb_get(reader->transaction, reader->handle, &wanted, &value) == 0)
        verdict = *(const uint8_t *)value.mv_data != 0;
    mdb_txn_reset(reader->transaction);
    return verdict;
}

/* SPDX-License-Identifier: MIT */
/* What the files of the store share. Nobody else includes this. */
#ifndef AGENT_STORE_INTERNAL_H
#define AGENT_STORE_INTERNAL_H

#include <pthread.h>

#include <sqlite3.h>

#include "agent/store/store.h"

/* Every statement that the store's thread runs; batch.c has their SQL. */
enum statement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_SAVEPOINT,
    STATEMENT_SAVEPOINT_RELEASE,
    STATEMENT_SAVEPOINT_ROLLBACK,
    STATEMENT_META_PUT,
    STATEMENT_META_DELETE,
    STATEMENT_ROOT_INSERT,
    STATEMENT_ROOT_DELETE,
    STATEMENT_ROOT_INTERMEDIATE_INSERT,
    STATEMENT_CA_KEY_PUT,
    STATEMENT_CA_KEY_DELETE,
    STATEMENT_CA_CONFIG_PUT,
    STATEMENT_CERTIFICATE_INSERT,
    STATEMENT_CERTIFICATE_PRUNE,
    STATEMENT_LEAF_PUT,
    STATEMENT_LEAF_DELETE,
    STATEMENT_INTENTION_INSERT,
    STATEMENT_INTENTION_DELETE,
    STATEMENT_REVOCATION_PUT,
    STATEMENT_REVOCATION_DELETE,
    STATEMENT_REVOCATION_PRUNE,
    STATEMENT_COUNT,
};
extern const char *const store_statement_sql[STATEMENT_COUNT];

/* The columns of each table, in the order in which batch.c binds and load.c reads them. */
#define META_COLUMNS "key, value"
#define ROOT_COLUMNS                                                                                         \
    "id, name, der, pem_chain, serial_number, signing_key_id, external_trust_domain, not_before, not_after," \
    " key_type, key_bits, active, rotated_out_at, create_index, modify_index"
#define ROOT_INTERMEDIATE_COLUMNS "root_id, position, der"
#define CA_KEY_COLUMNS            "key_id, sealed, key"
#define CA_CONFIG_COLUMNS \
    "provider, config_json, state_json, force_without_cross_signing, create_index, modify_index"
#define CERTIFICATE_COLUMNS \
    "issuer_key_id, serial, kind, subject_uri, service, not_before, not_after, issued_at"
#define LEAF_COLUMNS                                                                                         \
    "service, sealed, key, chain, uri, not_before, not_after, serial, issuer_key_id, version, create_index," \
    " modify_index, requested, last_used"
#define INTENTION_KEY_COLUMNS                                                                             \
    "destination_partition, destination_namespace, destination_name, source_partition, source_namespace," \
    " source_name, source_peer"
#define INTENTION_COLUMNS                                                                                    \
    INTENTION_KEY_COLUMNS ", action, permissions_json, permission_count, description, meta_json, legacy_id," \
                          " created_at, updated_at, precedence, create_index, modify_index"
#define REVOCATION_COLUMNS "issuer_key_id, serial, reason, revoked_at, expires_at, create_index"

/* One parameter of a change. A type of SQLite's decides which members count. */
struct value {
    int type; /* SQLITE_INTEGER, SQLITE_TEXT or SQLITE_BLOB */
    int64_t integer;
    const void *data; /* never NULL: SQLite would take an empty blob for NULL */
    size_t size;
};

/* One statement with its parameters; the bytes that the values point at follow in the same allocation. */
struct change {
    struct change *next;
    enum statement statement;
    size_t size_bytes; /* of the allocation, for wiping: values may be keys */
    size_t count;
    struct value values[];
};

struct store_batch {
    struct mail mail; /* first to the store's thread, then back to the answers */
    struct store *store;
    struct store_batch *next; /* in the group */
    struct change *first;
    struct change **last;
    size_t size_bytes;
    struct error error; /* code 0 while all is well */
    store_done *done;
    void *argument;
};

struct store {
    char *path;    /* of the database file, for texts and SQLite */
    int directory; /* holds the lock on the directory */
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t generation;
    uint64_t commits;     /* atomic */
    uint64_t outstanding; /* atomic: submissions whose done function has not run */
    bool started;
    pthread_t thread;
    struct mailbox mailbox;
    struct mailbox *answers;
    struct mail stop;
    /* Of the store's thread alone: */
    struct store_batch *group;
    struct store_batch **group_last;
    bool stopping;
};

/* Fills `error` from the connection's last failure, as "store \"PATH\": cannot DOING: ...". Returns the code.
 */
int store_sqlite_error(sqlite3 *database, const char *path, const char *doing, struct error *error);

/* Runs SQL without parameters. */
int store_execute(sqlite3 *database, const char *path, const char *doing, const char *sql,
                  struct error *error);

/* Tells whether the open file is a store of ours, of a version we know and undamaged; an empty file is only
 * if `allow_empty`. Changes nothing. */
int store_schema_check(sqlite3 *database, const char *path, bool allow_empty, struct error *error);

/* Brings the schema to this program's version, one transaction for each step. */
int store_schema_migrate(sqlite3 *database, const char *path, struct error *error);

/* Writes a copy of the open database to `path`. */
int store_backup_write(struct store *store, const char *path, struct error *error);

/* Commits the batches that have gathered in the group. Store's thread only. */
void store_commit_group(struct store *store);

/* The store's thread. */
void *store_thread(void *argument);

#endif

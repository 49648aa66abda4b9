/* SPDX-License-Identifier: MIT */
/* The schema, its versions, and how one becomes the next.
 *
 * A released migration never changes: databases that ran it exist. A new version is a new entry at the end.
 */
#include "agent/store/internal.h"

#include <stdio.h>
#include <string.h>

/* "XYLM": tells our databases from everybody else's SQLite files. */
enum { APPLICATION_ID = 0x58594c4d };

/* Entry i takes version i to version i + 1. STRICT tables hold SQLite to the declared types, so that a load
 * needs no checks of its own; quick_check verifies them at every open. */
static const char *const migrations[] = {
    "PRAGMA application_id = 1482247245;"
    "CREATE TABLE meta ("
    " key TEXT NOT NULL PRIMARY KEY CHECK (key <> ''),"
    " value ANY NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE root ("
    " id TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),"
    " name TEXT NOT NULL,"
    " der BLOB NOT NULL CHECK (length(der) > 0),"
    " pem_chain TEXT NOT NULL,"
    " serial_number INTEGER NOT NULL,"
    " signing_key_id TEXT NOT NULL,"
    " external_trust_domain TEXT NOT NULL,"
    " not_before INTEGER NOT NULL,"
    " not_after INTEGER NOT NULL,"
    " key_type TEXT NOT NULL,"
    " key_bits INTEGER NOT NULL,"
    " active INTEGER NOT NULL CHECK (active IN (0, 1)),"
    " rotated_out_at INTEGER NOT NULL,"
    " create_index INTEGER NOT NULL,"
    " modify_index INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE root_intermediate ("
    " root_id TEXT NOT NULL REFERENCES root (id) ON DELETE CASCADE,"
    " position INTEGER NOT NULL,"
    " der BLOB NOT NULL CHECK (length(der) > 0),"
    " PRIMARY KEY (root_id, position)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE ca_key ("
    " key_id TEXT NOT NULL PRIMARY KEY CHECK (key_id <> ''),"
    " sealed INTEGER NOT NULL CHECK (sealed IN (0, 1)),"
    " key BLOB NOT NULL CHECK (length(key) > 0)"
    ") STRICT;"
    "CREATE TABLE ca_config ("
    " single INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (single = 1),"
    " provider TEXT NOT NULL CHECK (provider <> ''),"
    " config_json TEXT NOT NULL,"
    " state_json TEXT NOT NULL,"
    " force_without_cross_signing INTEGER NOT NULL CHECK (force_without_cross_signing IN (0, 1)),"
    " create_index INTEGER NOT NULL,"
    " modify_index INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE certificate ("
    " issuer_key_id BLOB NOT NULL,"
    " serial BLOB NOT NULL CHECK (length(serial) > 0),"
    " kind TEXT NOT NULL CHECK (kind IN ('root', 'intermediate', 'cross', 'leaf')),"
    " subject_uri TEXT NOT NULL,"
    " service TEXT NOT NULL,"
    " not_before INTEGER NOT NULL,"
    " not_after INTEGER NOT NULL,"
    " issued_at INTEGER NOT NULL,"
    " PRIMARY KEY (issuer_key_id, serial)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX certificate_not_after ON certificate (not_after);"
    "CREATE TABLE leaf ("
    " service TEXT NOT NULL PRIMARY KEY CHECK (service <> ''),"
    " sealed INTEGER NOT NULL CHECK (sealed IN (0, 1)),"
    " key BLOB NOT NULL,"
    " chain BLOB NOT NULL,"
    " uri TEXT NOT NULL,"
    " not_before INTEGER NOT NULL,"
    " not_after INTEGER NOT NULL,"
    " serial BLOB NOT NULL,"
    " issuer_key_id BLOB NOT NULL,"
    " version INTEGER NOT NULL,"
    " create_index INTEGER NOT NULL,"
    " modify_index INTEGER NOT NULL,"
    " requested INTEGER NOT NULL CHECK (requested IN (0, 1)),"
    " last_used INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE intention ("
    " destination_partition TEXT NOT NULL,"
    " destination_namespace TEXT NOT NULL,"
    " destination_name TEXT NOT NULL CHECK (destination_name <> ''),"
    " source_partition TEXT NOT NULL,"
    " source_namespace TEXT NOT NULL,"
    " source_name TEXT NOT NULL CHECK (source_name <> ''),"
    " source_peer TEXT NOT NULL,"
    " action TEXT NOT NULL CHECK (action IN ('allow', 'deny', '')),"
    " permissions_json TEXT NOT NULL,"
    " permission_count INTEGER NOT NULL,"
    " description TEXT NOT NULL,"
    " meta_json TEXT NOT NULL,"
    " legacy_id TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " precedence INTEGER NOT NULL,"
    " create_index INTEGER NOT NULL,"
    " modify_index INTEGER NOT NULL,"
    " PRIMARY KEY (destination_partition, destination_namespace, destination_name,"
    "  source_partition, source_namespace, source_name, source_peer)"
    ") STRICT;"
    "CREATE UNIQUE INDEX intention_legacy_id ON intention (legacy_id) WHERE legacy_id <> '';"
    "CREATE TABLE revocation ("
    " issuer_key_id BLOB NOT NULL,"
    " serial BLOB NOT NULL CHECK (length(serial) > 0),"
    " reason INTEGER NOT NULL,"
    " revoked_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL,"
    " create_index INTEGER NOT NULL,"
    " PRIMARY KEY (issuer_key_id, serial)"
    ") STRICT, WITHOUT ROWID;",
};
enum { SCHEMA_VERSION = sizeof migrations / sizeof migrations[0] };

/* The first column of the first row. */
static int query_integer(sqlite3 *database, const char *path, const char *sql, int64_t *value,
                         struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    int code = 0;
    if (rc == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        code = store_sqlite_error(database, path, "read it", error);
    sqlite3_finalize(statement);
    return code;
}

static int damaged(const char *path, const char *what, struct error *error)
{
    return error_set(error, ERROR_CORRUPT,
                     "store \"%s\" is damaged (%s): put a backup in its place, or move it away to begin anew",
                     path, what);
}

static int quick_check(sqlite3 *database, const char *path, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(database, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    int code = 0;
    const char *answer = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (!answer)
        code = store_sqlite_error(database, path, "check it", error);
    else if (strcmp(answer, "ok") != 0) {
        const char *last_line = strrchr(answer, '\n'); /* the lines before only name the database */
        code = damaged(path, last_line ? last_line + 1 : answer, error);
    }
    sqlite3_finalize(statement);
    return code;
}

int store_schema_check(sqlite3 *database, const char *path, bool allow_empty, struct error *error)
{
    int64_t application, version, objects;
    int code;
    if ((code = query_integer(database, path, "PRAGMA application_id", &application, error)) ||
        (code = query_integer(database, path, "PRAGMA user_version", &version, error)) ||
        (code = query_integer(database, path, "SELECT count(*) FROM sqlite_schema", &objects, error)))
        return code;
    if (allow_empty && !application && !version && !objects)
        return 0;
    if (application != APPLICATION_ID)
        return error_set(error, ERROR_CONFLICT,
                         "\"%s\" is an SQLite database of another program (application_id %lld): configure "
                         "another directory or move it away",
                         path, (long long)application);
    if (version > SCHEMA_VERSION)
        return error_set(
            error, ERROR_CONFLICT,
            "store \"%s\" has schema version %lld, this program knows versions up to %d: run the "
            "newer program that wrote it, or put a backup in its place",
            path, (long long)version, SCHEMA_VERSION);
    if (version < 1)
        return damaged(path, "no schema version", error);
    return quick_check(database, path, error);
}

int store_schema_migrate(sqlite3 *database, const char *path, struct error *error)
{
    int64_t version;
    int code = query_integer(database, path, "PRAGMA user_version", &version, error);
    for (; !code && version < SCHEMA_VERSION; version++) {
        char finish[64];
        snprintf(finish, sizeof finish, "PRAGMA user_version = %lld; COMMIT", (long long)version + 1);
        if ((code = store_execute(database, path, "migrate it", "BEGIN IMMEDIATE", error)) ||
            (code = store_execute(database, path, "migrate it", migrations[version], error)) ||
            (code = store_execute(database, path, "migrate it", finish, error)))
            if (!sqlite3_get_autocommit(database))
                sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    }
    return code;
}

/* SPDX-License-Identifier: MIT */
/* Reading the rows back. The STRICT schema guarantees types and the absence of NULL. */
#include "agent/store/internal.h"

#include <stdlib.h>
#include <string.h>

struct cursor {
    struct store *store;
    sqlite3_stmt *statement;
    int code; /* not 0: no more rows */
    struct error *error;
};

static int fail(struct cursor *cursor)
{
    return cursor->code = store_sqlite_error(cursor->store->database, cursor->store->path, "load from it",
                                             cursor->error);
}

static struct cursor cursor_open(struct store *store, const char *sql, struct error *error)
{
    struct cursor cursor = {.store = store, .error = error};
    if (store->started)
        cursor.code = error_set(error, ERROR_INVALID, "store \"%s\" is running: load before it is started",
                                store->path);
    else if (sqlite3_prepare_v2(store->database, sql, -1, &cursor.statement, NULL) != SQLITE_OK)
        fail(&cursor);
    return cursor;
}

static bool cursor_next(struct cursor *cursor)
{
    if (cursor->code)
        return false;
    int rc = sqlite3_step(cursor->statement);
    if (rc == SQLITE_ROW)
        return true;
    if (rc != SQLITE_DONE)
        fail(cursor);
    return false;
}

static int cursor_close(struct cursor *cursor)
{
    sqlite3_finalize(cursor->statement);
    return cursor->code;
}

static int64_t i64(struct cursor *cursor, int column)
{
    return sqlite3_column_int64(cursor->statement, column);
}

static uint64_t u64(struct cursor *cursor, int column)
{
    return (uint64_t)sqlite3_column_int64(cursor->statement, column);
}

static uint32_t u32(struct cursor *cursor, int column)
{
    return (uint32_t)sqlite3_column_int64(cursor->statement, column);
}

static bool flag(struct cursor *cursor, int column)
{
    return sqlite3_column_int64(cursor->statement, column) != 0;
}

/* NULL means that SQLite had no memory to terminate the text. */
static const char *text(struct cursor *cursor, int column)
{
    const char *bytes = (const char *)sqlite3_column_text(cursor->statement, column);
    if (!bytes)
        fail(cursor);
    return bytes;
}

static struct store_blob blob(struct cursor *cursor, int column)
{
    const uint8_t *data = sqlite3_column_blob(cursor->statement, column);
    return (struct store_blob){.data = data, .size = (size_t)sqlite3_column_bytes(cursor->statement, column)};
}

int store_load_meta(struct store *store, store_meta_each *each, void *argument, struct error *error)
{
    struct cursor c = cursor_open(store, "SELECT " META_COLUMNS " FROM meta ORDER BY key", error);
    while (cursor_next(&c)) {
        bool is_text = sqlite3_column_type(c.statement, 1) == SQLITE_TEXT;
        struct store_meta row = {
            .key = text(&c, 0),
            .text = is_text ? text(&c, 1) : NULL,
            .integer = is_text ? 0 : u64(&c, 1),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

static void free_blobs(struct store_blob *blobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)blobs[i].data);
    free(blobs);
}

/* Copies of the intermediates of one root, since SQLite keeps only the current row. */
static int load_intermediates(struct store *store, const char *id, struct store_blob **blobs, size_t *count,
                              struct error *error)
{
    struct cursor c =
        cursor_open(store, "SELECT der FROM root_intermediate WHERE root_id = ? ORDER BY position", error);
    if (!c.code && sqlite3_bind_text(c.statement, 1, id, -1, SQLITE_STATIC) != SQLITE_OK)
        fail(&c);
    while (cursor_next(&c)) {
        struct store_blob der = blob(&c, 0);
        struct store_blob *grown = reallocarray(*blobs, *count + 1, sizeof **blobs);
        if (grown)
            *blobs = grown;
        uint8_t *copy = grown ? malloc(der.size) : NULL;
        if (!copy) {
            c.code = error_errno(error, "cannot load the intermediates of root %s", id);
            break;
        }
        memcpy(copy, der.data, der.size);
        (*blobs)[(*count)++] = (struct store_blob){.data = copy, .size = der.size};
    }
    return cursor_close(&c);
}

int store_load_roots(struct store *store, store_root_each *each, void *argument, struct error *error)
{
    struct cursor c = cursor_open(store, "SELECT " ROOT_COLUMNS " FROM root ORDER BY id", error);
    while (cursor_next(&c)) {
        struct store_root row = {
            .id = text(&c, 0),
            .name = text(&c, 1),
            .der = blob(&c, 2),
            .pem_chain = text(&c, 3),
            .serial_number = u64(&c, 4),
            .signing_key_id = text(&c, 5),
            .external_trust_domain = text(&c, 6),
            .not_before = i64(&c, 7),
            .not_after = i64(&c, 8),
            .key_type = text(&c, 9),
            .key_bits = u32(&c, 10),
            .active = flag(&c, 11),
            .rotated_out_at = i64(&c, 12),
            .create_index = u64(&c, 13),
            .modify_index = u64(&c, 14),
        };
        struct store_blob *intermediates = NULL;
        if (!c.code)
            c.code = load_intermediates(store, row.id, &intermediates, &row.intermediate_count, error);
        row.intermediates = intermediates;
        if (!c.code)
            c.code = each(argument, &row, error);
        free_blobs(intermediates, row.intermediate_count);
    }
    return cursor_close(&c);
}

int store_load_ca_keys(struct store *store, store_ca_key_each *each, void *argument, struct error *error)
{
    struct cursor c = cursor_open(store, "SELECT " CA_KEY_COLUMNS " FROM ca_key ORDER BY key_id", error);
    while (cursor_next(&c)) {
        struct store_ca_key row = {.key_id = text(&c, 0), .sealed = flag(&c, 1), .key = blob(&c, 2)};
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

int store_load_ca_config(struct store *store, store_ca_config_each *each, void *argument, struct error *error)
{
    struct cursor c = cursor_open(store, "SELECT " CA_CONFIG_COLUMNS " FROM ca_config", error);
    while (cursor_next(&c)) {
        struct store_ca_config row = {
            .provider = text(&c, 0),
            .config_json = text(&c, 1),
            .state_json = text(&c, 2),
            .force_without_cross_signing = flag(&c, 3),
            .create_index = u64(&c, 4),
            .modify_index = u64(&c, 5),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

int store_load_certificates(struct store *store, store_certificate_each *each, void *argument,
                            struct error *error)
{
    struct cursor c =
        cursor_open(store, "SELECT " CERTIFICATE_COLUMNS " FROM certificate ORDER BY issuer_key_id, serial",
                    error);
    while (cursor_next(&c)) {
        struct store_certificate row = {
            .issuer_key_id = blob(&c, 0),
            .serial = blob(&c, 1),
            .kind = text(&c, 2),
            .subject_uri = text(&c, 3),
            .service = text(&c, 4),
            .not_before = i64(&c, 5),
            .not_after = i64(&c, 6),
            .issued_at = i64(&c, 7),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

int store_load_leaves(struct store *store, store_leaf_each *each, void *argument, struct error *error)
{
    struct cursor c = cursor_open(store, "SELECT " LEAF_COLUMNS " FROM leaf ORDER BY service", error);
    while (cursor_next(&c)) {
        struct store_leaf row = {
            .service = text(&c, 0),
            .sealed = flag(&c, 1),
            .key = blob(&c, 2),
            .chain = blob(&c, 3),
            .uri = text(&c, 4),
            .not_before = i64(&c, 5),
            .not_after = i64(&c, 6),
            .serial = blob(&c, 7),
            .issuer_key_id = blob(&c, 8),
            .version = u64(&c, 9),
            .create_index = u64(&c, 10),
            .modify_index = u64(&c, 11),
            .requested = flag(&c, 12),
            .last_used = i64(&c, 13),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

int store_load_intentions(struct store *store, store_intention_each *each, void *argument,
                          struct error *error)
{
    struct cursor c =
        cursor_open(store, "SELECT " INTENTION_COLUMNS " FROM intention ORDER BY " INTENTION_KEY_COLUMNS,
                    error);
    while (cursor_next(&c)) {
        struct store_intention row = {
            .key =
                {
                    .destination_partition = text(&c, 0),
                    .destination_namespace = text(&c, 1),
                    .destination_name = text(&c, 2),
                    .source_partition = text(&c, 3),
                    .source_namespace = text(&c, 4),
                    .source_name = text(&c, 5),
                    .source_peer = text(&c, 6),
                },
            .action = text(&c, 7),
            .permissions_json = text(&c, 8),
            .permission_count = u32(&c, 9),
            .description = text(&c, 10),
            .meta_json = text(&c, 11),
            .legacy_id = text(&c, 12),
            .created_at = i64(&c, 13),
            .updated_at = i64(&c, 14),
            .precedence = u32(&c, 15),
            .create_index = u64(&c, 16),
            .modify_index = u64(&c, 17),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

int store_load_revocations(struct store *store, store_revocation_each *each, void *argument,
                           struct error *error)
{
    struct cursor c =
        cursor_open(store, "SELECT " REVOCATION_COLUMNS " FROM revocation ORDER BY issuer_key_id, serial",
                    error);
    while (cursor_next(&c)) {
        struct store_revocation row = {
            .issuer_key_id = blob(&c, 0),
            .serial = blob(&c, 1),
            .reason = u32(&c, 2),
            .revoked_at = i64(&c, 3),
            .expires_at = i64(&c, 4),
            .create_index = u64(&c, 5),
        };
        if (!c.code)
            c.code = each(argument, &row, error);
    }
    return cursor_close(&c);
}

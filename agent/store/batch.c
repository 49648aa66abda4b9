/* SPDX-License-Identifier: MIT */
/* Building batches: every change is one prepared statement and a deep copy of its parameters. */
#include "agent/store/internal.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* A put replaces the whole row. Where a replacement could silently remove another row (root: its
 * intermediates; intention: the one with the same legacy id) it is a delete by key and a plain insert
 * instead. */
const char *const store_statement_sql[STATEMENT_COUNT] = {
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_SAVEPOINT] = "SAVEPOINT batch",
    [STATEMENT_SAVEPOINT_RELEASE] = "RELEASE batch",
    [STATEMENT_SAVEPOINT_ROLLBACK] = "ROLLBACK TO batch",
    [STATEMENT_META_PUT] = "INSERT OR REPLACE INTO meta (" META_COLUMNS ") VALUES (?, ?)",
    [STATEMENT_META_DELETE] = "DELETE FROM meta WHERE key = ?",
    [STATEMENT_ROOT_INSERT] =
        "INSERT INTO root (" ROOT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_ROOT_DELETE] = "DELETE FROM root WHERE id = ?",
    [STATEMENT_ROOT_INTERMEDIATE_INSERT] =
        "INSERT INTO root_intermediate (" ROOT_INTERMEDIATE_COLUMNS ") VALUES (?, ?, ?)",
    [STATEMENT_CA_KEY_PUT] = "INSERT OR REPLACE INTO ca_key (" CA_KEY_COLUMNS ") VALUES (?, ?, ?)",
    [STATEMENT_CA_KEY_DELETE] = "DELETE FROM ca_key WHERE key_id = ?",
    [STATEMENT_CA_CONFIG_PUT] =
        "INSERT OR REPLACE INTO ca_config (single, " CA_CONFIG_COLUMNS ") VALUES (1, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_CERTIFICATE_INSERT] =
        "INSERT INTO certificate (" CERTIFICATE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_CERTIFICATE_PRUNE] = "DELETE FROM certificate WHERE not_after < ?",
    [STATEMENT_LEAF_PUT] =
        "INSERT OR REPLACE INTO leaf (" LEAF_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_LEAF_DELETE] = "DELETE FROM leaf WHERE service = ?",
    [STATEMENT_INTENTION_INSERT] = "INSERT INTO intention (" INTENTION_COLUMNS
                                   ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_INTENTION_DELETE] =
        "DELETE FROM intention WHERE (" INTENTION_KEY_COLUMNS ") = (?, ?, ?, ?, ?, ?, ?)",
    [STATEMENT_REVOCATION_PUT] =
        "INSERT OR REPLACE INTO revocation (" REVOCATION_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?)",
    [STATEMENT_REVOCATION_DELETE] = "DELETE FROM revocation WHERE issuer_key_id = ? AND serial = ?",
    [STATEMENT_REVOCATION_PRUNE] = "DELETE FROM revocation WHERE expires_at <> 0 AND expires_at < ?",
};

/* The pattern of bits is kept, the order above 2^63 is not. */
static struct value from_u64(uint64_t integer)
{
    return (struct value){.type = SQLITE_INTEGER, .integer = (int64_t)integer, .data = ""};
}

static struct value from_i64(int64_t integer)
{
    return (struct value){.type = SQLITE_INTEGER, .integer = integer, .data = ""};
}

static struct value from_text(const char *text)
{
    return (struct value){.type = SQLITE_TEXT, .data = text ? text : "", .size = text ? strlen(text) : 0};
}

static struct value from_blob(struct store_blob blob)
{
    return (struct value){
        .type = SQLITE_BLOB, .data = blob.size ? (const void *)blob.data : "", .size = blob.size};
}

struct store_batch *store_batch_new(void)
{
    struct store_batch *batch = calloc(1, sizeof *batch);
    if (batch)
        batch->last = &batch->first;
    return batch;
}

void store_batch_free(struct store_batch *batch)
{
    if (!batch)
        return;
    struct change *next;
    for (struct change *change = batch->first; change; change = next) {
        next = change->next;
        explicit_bzero(change, change->size_bytes);
        free(change);
    }
    free(batch);
}

static void record(struct store_batch *batch, enum statement statement, const struct value *values,
                   size_t count)
{
    if (batch->error.code)
        return;
    size_t size = sizeof(struct change) + count * sizeof *values;
    for (size_t i = 0; i < count; i++) {
        if (values[i].size > STORE_BATCH_LIMIT_BYTES - batch->size_bytes ||
            size + values[i].size > STORE_BATCH_LIMIT_BYTES - batch->size_bytes) {
            error_set(&batch->error, ERROR_LIMIT,
                      "a change of the store holds more than %d bytes: split it into several",
                      STORE_BATCH_LIMIT_BYTES);
            return;
        }
        size += values[i].size;
    }
    struct change *change = malloc(size);
    if (!change) {
        error_errno(&batch->error, "cannot record a change of the store");
        return;
    }
    *change = (struct change){.statement = statement, .size_bytes = size, .count = count};
    uint8_t *bytes = (uint8_t *)(change->values + count);
    for (size_t i = 0; i < count; i++) {
        change->values[i] = values[i];
        change->values[i].data = bytes;
        memcpy(bytes, values[i].data, values[i].size);
        bytes += values[i].size;
    }
    batch->size_bytes += size;
    *batch->last = change;
    batch->last = &change->next;
}

static bool key_is_ours(struct store_batch *batch, const char *key)
{
    if (!key || strcmp(key, "generation") != 0)
        return false;
    if (!batch->error.code)
        error_set(&batch->error, ERROR_INVALID, "the key \"generation\" is the store's own");
    return true;
}

void store_put_meta(struct store_batch *batch, const struct store_meta *row)
{
    if (key_is_ours(batch, row->key))
        return;
    const struct value values[] = {from_text(row->key),
                                   row->text ? from_text(row->text) : from_u64(row->integer)};
    record(batch, STATEMENT_META_PUT, values, COUNT_OF(values));
}

void store_delete_meta(struct store_batch *batch, const char *key)
{
    if (key_is_ours(batch, key))
        return;
    const struct value values[] = {from_text(key)};
    record(batch, STATEMENT_META_DELETE, values, COUNT_OF(values));
}

void store_put_root(struct store_batch *batch, const struct store_root *row)
{
    const struct value values[] = {
        from_text(row->id),
        from_text(row->name),
        from_blob(row->der),
        from_text(row->pem_chain),
        from_u64(row->serial_number),
        from_text(row->signing_key_id),
        from_text(row->external_trust_domain),
        from_i64(row->not_before),
        from_i64(row->not_after),
        from_text(row->key_type),
        from_i64(row->key_bits),
        from_i64(row->active),
        from_i64(row->rotated_out_at),
        from_u64(row->create_index),
        from_u64(row->modify_index),
    };
    store_delete_root(batch, row->id);
    record(batch, STATEMENT_ROOT_INSERT, values, COUNT_OF(values));
    for (size_t i = 0; i < row->intermediate_count; i++) {
        const struct value child[] = {from_text(row->id), from_u64(i), from_blob(row->intermediates[i])};
        record(batch, STATEMENT_ROOT_INTERMEDIATE_INSERT, child, COUNT_OF(child));
    }
}

void store_delete_root(struct store_batch *batch, const char *id)
{
    const struct value values[] = {from_text(id)};
    record(batch, STATEMENT_ROOT_DELETE, values, COUNT_OF(values));
}

void store_put_ca_key(struct store_batch *batch, const struct store_ca_key *row)
{
    const struct value values[] = {from_text(row->key_id), from_i64(row->sealed), from_blob(row->key)};
    record(batch, STATEMENT_CA_KEY_PUT, values, COUNT_OF(values));
}

void store_delete_ca_key(struct store_batch *batch, const char *key_id)
{
    const struct value values[] = {from_text(key_id)};
    record(batch, STATEMENT_CA_KEY_DELETE, values, COUNT_OF(values));
}

void store_put_ca_config(struct store_batch *batch, const struct store_ca_config *row)
{
    const struct value values[] = {
        from_text(row->provider),    from_text(row->config_json),
        from_text(row->state_json),  from_i64(row->force_without_cross_signing),
        from_u64(row->create_index), from_u64(row->modify_index),
    };
    record(batch, STATEMENT_CA_CONFIG_PUT, values, COUNT_OF(values));
}

void store_add_certificate(struct store_batch *batch, const struct store_certificate *row)
{
    const struct value values[] = {
        from_blob(row->issuer_key_id), from_blob(row->serial),   from_text(row->kind),
        from_text(row->subject_uri),   from_text(row->service),  from_i64(row->not_before),
        from_i64(row->not_after),      from_i64(row->issued_at),
    };
    record(batch, STATEMENT_CERTIFICATE_INSERT, values, COUNT_OF(values));
}

void store_prune_certificates(struct store_batch *batch, int64_t time)
{
    const struct value values[] = {from_i64(time)};
    record(batch, STATEMENT_CERTIFICATE_PRUNE, values, COUNT_OF(values));
}

void store_put_leaf(struct store_batch *batch, const struct store_leaf *row)
{
    const struct value values[] = {
        from_text(row->service),  from_i64(row->sealed),       from_blob(row->key),
        from_blob(row->chain),    from_text(row->uri),         from_i64(row->not_before),
        from_i64(row->not_after), from_blob(row->serial),      from_blob(row->issuer_key_id),
        from_u64(row->version),   from_u64(row->create_index), from_u64(row->modify_index),
        from_i64(row->requested), from_i64(row->last_used),
    };
    record(batch, STATEMENT_LEAF_PUT, values, COUNT_OF(values));
}

void store_delete_leaf(struct store_batch *batch, const char *service)
{
    const struct value values[] = {from_text(service)};
    record(batch, STATEMENT_LEAF_DELETE, values, COUNT_OF(values));
}

void store_put_intention(struct store_batch *batch, const struct store_intention *row)
{
    const struct value values[] = {
        from_text(row->key.destination_partition),
        from_text(row->key.destination_namespace),
        from_text(row->key.destination_name),
        from_text(row->key.source_partition),
        from_text(row->key.source_namespace),
        from_text(row->key.source_name),
        from_text(row->key.source_peer),
        from_text(row->action),
        from_text(row->permissions_json),
        from_i64(row->permission_count),
        from_text(row->description),
        from_text(row->meta_json),
        from_text(row->legacy_id),
        from_i64(row->created_at),
        from_i64(row->updated_at),
        from_i64(row->precedence),
        from_u64(row->create_index),
        from_u64(row->modify_index),
    };
    store_delete_intention(batch, &row->key);
    record(batch, STATEMENT_INTENTION_INSERT, values, COUNT_OF(values));
}

void store_delete_intention(struct store_batch *batch, const struct store_intention_key *key)
{
    const struct value values[] = {
        from_text(key->destination_partition), from_text(key->destination_namespace),
        from_text(key->destination_name),      from_text(key->source_partition),
        from_text(key->source_namespace),      from_text(key->source_name),
        from_text(key->source_peer),
    };
    record(batch, STATEMENT_INTENTION_DELETE, values, COUNT_OF(values));
}

void store_put_revocation(struct store_batch *batch, const struct store_revocation *row)
{
    const struct value values[] = {
        from_blob(row->issuer_key_id), from_blob(row->serial),    from_i64(row->reason),
        from_i64(row->revoked_at),     from_i64(row->expires_at), from_u64(row->create_index),
    };
    record(batch, STATEMENT_REVOCATION_PUT, values, COUNT_OF(values));
}

void store_delete_revocation(struct store_batch *batch, struct store_blob issuer_key_id,
                             struct store_blob serial)
{
    const struct value values[] = {from_blob(issuer_key_id), from_blob(serial)};
    record(batch, STATEMENT_REVOCATION_DELETE, values, COUNT_OF(values));
}

void store_prune_revocations(struct store_batch *batch, int64_t time)
{
    const struct value values[] = {from_i64(time)};
    record(batch, STATEMENT_REVOCATION_PRUNE, values, COUNT_OF(values));
}

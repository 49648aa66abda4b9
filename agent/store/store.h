/* SPDX-License-Identifier: MIT */
/* What must survive a kill -9 or a power loss: one SQLite database, `state.db`, in the state directory.
 *
 * Life of a store: store_open(), the store_load_...() functions, store_start(), then batches, store_close().
 * Until store_start() everything happens on the caller's thread; from then on the database belongs to a
 * thread of its own, which commits all batches that wait when it wakes as one transaction with one fsync. The
 * agent answers from its own memory: nothing is read from the database once it has been loaded.
 *
 * Texts in rows are NUL-terminated UTF-8; NULL is stored as "", and loading never gives NULL. Times are Unix
 * seconds. SQLite has signed 64-bit integers only: uint64_t members are stored as the same bit pattern, so
 * values from 2^63 on survive but sort as negative numbers in ad-hoc SQL. */
#ifndef AGENT_STORE_STORE_H
#define AGENT_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/error.h"
#include "agent/mailbox.h"

struct store;
struct store_batch;

/* Bytes that somebody else owns. `data` may be NULL when `size` is 0. */
struct store_blob {
    const uint8_t *data;
    size_t size;
};

/* A single value of the agent's own. The key "generation" is the store's; batches may not write it. */
struct store_meta {
    const char *key;
    const char *text; /* NULL: the value is `integer` */
    uint64_t integer;
};

/* A CA root, as readers know it. */
struct store_root {
    const char *id; /* key: SHA-1 of the DER in colon hex */
    const char *name;
    struct store_blob der;
    const char *pem_chain;
    uint64_t serial_number;
    const char *signing_key_id;
    const char *external_trust_domain;
    int64_t not_before;
    int64_t not_after;
    const char *key_type;
    uint32_t key_bits;
    bool active;
    int64_t rotated_out_at;                 /* 0: it was not */
    const struct store_blob *intermediates; /* DER; their order is kept */
    size_t intermediate_count;
    uint64_t create_index;
    uint64_t modify_index;
};

/* A private key of the built-in CA. */
struct store_ca_key {
    const char *key_id; /* key */
    bool sealed;        /* `key` is encrypted rather than DER */
    struct store_blob key;
};

/* The CA's configuration. There is at most one. */
struct store_ca_config {
    const char *provider;
    const char *config_json;
    const char *state_json;
    bool force_without_cross_signing;
    uint64_t create_index;
    uint64_t modify_index;
};

/* One line of the inventory of everything issued. */
struct store_certificate {
    struct store_blob issuer_key_id; /* key, with `serial` */
    struct store_blob serial;
    const char *kind; /* "root", "intermediate", "cross" or "leaf" */
    const char *subject_uri;
    const char *service;
    int64_t not_before;
    int64_t not_after;
    int64_t issued_at;
};

/* A service's leaf with its key, so that a restart is neither a gap nor a storm of CSRs. */
struct store_leaf {
    const char *service; /* key: the name as configured or asked for */
    bool sealed;         /* `key` is encrypted rather than DER */
    struct store_blob key;
    struct store_blob chain; /* DER certificates one after the other, leaf first */
    const char *uri;
    int64_t not_before;
    int64_t not_after;
    struct store_blob serial;
    struct store_blob issuer_key_id;
    uint64_t version;
    uint64_t create_index;
    uint64_t modify_index;
    bool requested; /* by a client's first request rather than by configuration */
    int64_t last_used;
};

/* What identifies an intention. `source_peer` is "" for a source in this cluster. */
struct store_intention_key {
    const char *destination_partition;
    const char *destination_namespace;
    const char *destination_name;
    const char *source_partition;
    const char *source_namespace;
    const char *source_name;
    const char *source_peer;
};

struct store_intention {
    struct store_intention_key key;
    const char *action; /* "allow", "deny", or "" when the permissions decide */
    const char *permissions_json;
    uint32_t permission_count;
    const char *description;
    const char *meta_json;
    const char *legacy_id; /* "" or unique among all intentions */
    int64_t created_at;
    int64_t updated_at;
    uint32_t precedence;
    uint64_t create_index;
    uint64_t modify_index;
};

struct store_revocation {
    struct store_blob issuer_key_id; /* key, with `serial`; empty: any issuer */
    struct store_blob serial;
    uint32_t reason; /* CRLReason of RFC 5280, section 5.3.1 */
    int64_t revoked_at;
    int64_t expires_at; /* 0: never */
    uint64_t create_index;
};

/* Opens the store in `directory`, which is made (0700) if only its last component is missing, brings its
 * schema up to date, and raises the generation durably. Before anything is changed it verifies that directory
 * and file belong to the caller and to nobody else, that no other agent has the directory, and that the file
 * is a sound store of a version that this program knows. On failure nothing is held and *store is untouched;
 * codes: ERROR_DENIED (owner or mode), ERROR_BUSY (in use), ERROR_CONFLICT (not a store, or of a newer
 * program), ERROR_CORRUPT (damaged), ERROR_SYSTEM. */
int store_open(const char *directory, struct store **store, struct error *error);

/* Raised at each opening, to at least the time in Unix seconds: unique and rising over restarts, and over a backup put
 * back. */
uint64_t store_generation(const struct store *store);

/* Loading: calls `each` for every row in the order of the keys. The row and all it points at are valid during
 * the call. A value other than 0 from `each` ends the load and is returned (`each` fills `error` then). Only
 * between store_open() and store_start(), on that thread: ERROR_INVALID otherwise. */
typedef int store_meta_each(void *argument, const struct store_meta *row, struct error *error);
typedef int store_root_each(void *argument, const struct store_root *row, struct error *error);
typedef int store_ca_key_each(void *argument, const struct store_ca_key *row, struct error *error);
typedef int store_ca_config_each(void *argument, const struct store_ca_config *row, struct error *error);
typedef int store_certificate_each(void *argument, const struct store_certificate *row, struct error *error);
typedef int store_leaf_each(void *argument, const struct store_leaf *row, struct error *error);
typedef int store_intention_each(void *argument, const struct store_intention *row, struct error *error);
typedef int store_revocation_each(void *argument, const struct store_revocation *row, struct error *error);
int store_load_meta(struct store *store, store_meta_each *each, void *argument, struct error *error);
int store_load_roots(struct store *store, store_root_each *each, void *argument, struct error *error);
int store_load_ca_keys(struct store *store, store_ca_key_each *each, void *argument, struct error *error);
int store_load_ca_config(struct store *store, store_ca_config_each *each, void *argument,
                         struct error *error);
int store_load_certificates(struct store *store, store_certificate_each *each, void *argument,
                            struct error *error);
int store_load_leaves(struct store *store, store_leaf_each *each, void *argument, struct error *error);
int store_load_intentions(struct store *store, store_intention_each *each, void *argument,
                          struct error *error);
int store_load_revocations(struct store *store, store_revocation_each *each, void *argument,
                           struct error *error);

/* Starts the store's thread. `answers` is where done functions run; it outlives the store. ERROR_SYSTEM. */
int store_start(struct store *store, struct mailbox *answers, struct error *error);

/* Commits everything submitted so far, runs the done functions that are outstanding (on this thread, which
 * must be the one that owns `answers`; other mail there runs too), closes the database and frees the store.
 * No other thread may submit any more. Not from a done function. Also for a store that was never started.
 * NULL is allowed. */
void store_close(struct store *store);

/* A list of changes that become durable together or not at all. One thread builds it; all values are copied.
 * Returns NULL without memory. A batch is given up with store_batch_free() or handed over with
 * store_submit(). */
struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *batch);

/* Changes, applied in the order of these calls. `put` makes or replaces the row with that key; deleting what
 * is not there is no error. A change that cannot be recorded (no memory, a batch above
 * STORE_BATCH_LIMIT_BYTES, a key that is the store's own) spoils the batch: its submission is answered with
 * that error and nothing is written. */
enum { STORE_BATCH_LIMIT_BYTES = 64 * 1024 * 1024 };
void store_put_meta(struct store_batch *batch, const struct store_meta *row);
void store_delete_meta(struct store_batch *batch, const char *key);
void store_put_root(struct store_batch *batch, const struct store_root *row);
void store_delete_root(struct store_batch *batch, const char *id);
void store_put_ca_key(struct store_batch *batch, const struct store_ca_key *row);
void store_delete_ca_key(struct store_batch *batch, const char *key_id);
void store_put_ca_config(struct store_batch *batch, const struct store_ca_config *row);
void store_put_leaf(struct store_batch *batch, const struct store_leaf *row);
void store_delete_leaf(struct store_batch *batch, const char *service);
void store_put_intention(struct store_batch *batch, const struct store_intention *row);
void store_delete_intention(struct store_batch *batch, const struct store_intention_key *key);
void store_put_revocation(struct store_batch *batch, const struct store_revocation *row);
void store_delete_revocation(struct store_batch *batch, struct store_blob issuer_key_id,
                             struct store_blob serial);

/* Adds to the inventory. Unlike `put`, a serial number that this issuer has used already is a conflict. */
void store_add_certificate(struct store_batch *batch, const struct store_certificate *row);

/* Drop what has lost its meaning: inventory lines with not_after, revocations with expires_at (other than 0),
 * before `time`. */
void store_prune_certificates(struct store_batch *batch, int64_t time);
void store_prune_revocations(struct store_batch *batch, int64_t time);

/* Called once for every submission, on the thread that runs the answers mailbox. `error` is NULL when the
 * batch is on stable storage, else it says why it is not (valid during the call): ERROR_CONFLICT or
 * ERROR_INVALID when the batch contradicts the schema, which leaves the other batches alone; ERROR_SYSTEM
 * when the disk is full or fails, which fails every batch of that commit. After an error the agent's previous
 * state is the durable one, with one exception that no database can exclude: if the machine dies right after
 * a failed fsync, the batch may be found after all. A done function may submit again. */
typedef void store_done(void *argument, const struct error *error);

/* Hands the batch over, after store_start(). Any thread; wait-free. Batches are applied in the order of
 * submission (per thread; over threads in the order of their posting). `done` may be NULL for changes whose
 * loss is harmless. */
void store_submit(struct store *store, struct store_batch *batch, store_done *done, void *argument);

/* Writes a consistent copy of the store, including every batch submitted before, to `path`: a single file,
 * 0600, replaced atomically and durably (temporary file beside it, fsync, rename, fsync of the directory).
 * Returns at once and answers through `done` as store_submit() does, unless it cannot begin (`path` is not
 * absolute: ERROR_INVALID; no memory): then it says so itself and `done` is not called. */
int store_backup(struct store *store, const char *path, store_done *done, void *argument,
                 struct error *error);

/* Verifies that the file is a sound store which this program can read, without changing it: what to ask
 * before a backup is put in the place of state.db. Any thread. Codes as store_open(), and ERROR_NOT_FOUND. */
int store_restore_check(const char *path, struct error *error);

/* Transactions committed by batches so far. Any thread. */
uint64_t store_commit_count(const struct store *store);

#endif

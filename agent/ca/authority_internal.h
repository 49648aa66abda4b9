/* SPDX-License-Identifier: MIT */
/* What the files of the authority share. */
#ifndef AGENT_CA_AUTHORITY_INTERNAL_H
#define AGENT_CA_AUTHORITY_INTERNAL_H

#include "agent/ca/authority.h"
#include "agent/ca/ca_config.h"
#include "agent/ca/key.h"
#include "agent/ca/x509.h"

#define AUTHORITY_PROVIDER           "consul"
#define AUTHORITY_META_CLUSTER_ID    "ca_cluster_id"
#define AUTHORITY_META_SERIAL        "ca_serial"
#define AUTHORITY_META_CRL_NUMBER    "ca_crl_number"
#define AUTHORITY_META_ROOTS_INDEX   "ca_roots_index"
#define AUTHORITY_META_FILE_SETTINGS "ca_file_settings"

enum {
    AUTHORITY_CLUSTER_ID_SIZE = 36 + 1,
    AUTHORITY_TRUST_DOMAIN_SIZE = 36 + sizeof ".consul",
    AUTHORITY_KEY_ID_SIZE = 3 * KEY_ID_BYTES,
};

/* ---- Settings: the CA configuration as written (authority_settings.c) ---- */

struct authority_settings {
    struct ca_config ca;
    char *json;        /* normalised: keys sorted, the private key replaced by AUTHORITY_KEPT_SECRET */
    char *private_key; /* PEM; only until the key is imported; secret */
    char *root_cert;   /* PEM, or NULL */
    bool key_is_kept;  /* PrivateKey is AUTHORITY_KEPT_SECRET: the one that is in force */
    bool force_without_cross_signing;
    uint64_t create_index, modify_index;
};

/* Parses and validates the object "Config". Texts are Consul's. */
int authority_settings_parse(const char *json, size_t size, struct authority_settings **settings,
                             struct error *error);
int authority_settings_from_file(const struct config_ca *config, struct authority_settings **settings,
                                 struct error *error);
/* A hash over the file's configuration, in hex: tells whether it has changed since the bootstrap. */
enum { AUTHORITY_FINGERPRINT_SIZE = 65 };
int authority_settings_fingerprint(const struct config_ca *config, char text[AUTHORITY_FINGERPRINT_SIZE],
                                   struct error *error);
/* Whether a key was given by configuration rather than generated. */
bool authority_settings_have_key(const struct authority_settings *settings);
/* Once the key is imported: wipes the text, which counts as kept from then on. */
void authority_settings_forget_key(struct authority_settings *settings);
/* Writes the map as it was written, the private key as AUTHORITY_KEPT_SECRET. */
void authority_settings_write(const struct authority_settings *settings, struct json_writer *writer);
void authority_settings_free(struct authority_settings *settings);

/* ---- Sets of roots (authority_roots.c) ---- */

/* A set is built, finished, published, and then only read until it is replaced. */
struct authority_root_set {
    struct source_roots view;
    struct source_root *items;
};

/* A deep copy with room for one more; `set` may be NULL. NULL without memory. */
struct authority_root_set *authority_root_set_copy(const struct authority_root_set *set);
void authority_root_set_free(struct authority_root_set *set);
/* Moves the root in; one with the same id is replaced. At most one call for each copy. */
void authority_root_set_put(struct authority_root_set *set, struct source_root *root);
void authority_root_set_remove(struct authority_root_set *set, size_t position);
/* Sorts and fills the view; ERROR_CORRUPT unless exactly one root is active. */
int authority_root_set_finish(struct authority_root_set *set, const char *trust_domain, uint64_t index,
                              struct error *error);
/* The position of this id, or the count. */
size_t authority_root_set_find(const struct authority_root_set *set, const char *id);

/* Fills a zeroed root from its certificate. */
int authority_root_make(struct source_root *root, const uint8_t *der, size_t size, const char *cluster_id,
                        struct error *error);
int authority_root_append(struct source_root *root, const uint8_t *intermediate, size_t size,
                          struct error *error);
void authority_root_clear(struct source_root *root);
/* Drops the intermediates that have expired; says whether there were any. */
bool authority_root_drop_expired(struct source_root *root, int64_t now);
int authority_root_load(struct source_root *root, const struct store_root *row, struct error *error);
int authority_root_store(const struct source_root *root, struct store_batch *batch, struct error *error);
/* Where AuthorityKeyIdentifiers of what this certificate signs come from: its SKI, or its key id (in
 * `buffer`). */
struct der_slice authority_signer_id(const struct x509 *certificate, uint8_t buffer[KEY_ID_BYTES]);

/* ---- The issuer: what workers sign with (authority_issuer.c) ---- */

struct authority_link {
    uint8_t *der;
    size_t size;
    char *pem;
    int64_t not_after;
};

/* Immutable once made, so workers may read it; the main thread counts the references. */
struct authority_issuer {
    unsigned references;
    struct key *key;
    uint8_t *der;
    size_t size;
    struct x509 certificate; /* borrows from `der` */
    struct authority_link *intermediates;
    size_t intermediate_count;
};

/* Takes the key, on success only. ERROR_CONFLICT when key and root do not belong together. */
int authority_issuer_make(const struct source_root *root, struct key *key, struct authority_issuer **issuer,
                          struct error *error);
struct authority_issuer *authority_issuer_hold(struct authority_issuer *issuer);
void authority_issuer_release(struct authority_issuer *issuer);
/* ERROR_CRYPTO with Consul's text when the root has expired. */
int authority_issuer_check(const struct authority_issuer *issuer, int64_t now, struct error *error);
/* The store's name of a key. */
void authority_key_name(const uint8_t id[KEY_ID_BYTES], char text[AUTHORITY_KEY_ID_SIZE]);
int authority_key_store(const struct authority *authority, const struct key *key, struct store_batch *batch,
                        struct error *error);
int authority_key_load(const struct authority *authority, const struct store_ca_key *row, struct key **key,
                       struct error *error);

/* ---- The authority ---- */

enum authority_state { AUTHORITY_UNINITIALIZED, AUTHORITY_INITIALIZED, AUTHORITY_RECONFIGURING };

/* The latest end of a leaf under one issuer. */
struct authority_issued {
    uint8_t *issuer_key_id;
    size_t size;
    int64_t not_after;
};

struct authority {
    struct authority_setup setup;
    struct worker_pool *workers;
    enum authority_state state;
    char cluster_id[AUTHORITY_CLUSTER_ID_SIZE];
    char trust_domain[AUTHORITY_TRUST_DOMAIN_SIZE];
    char file_settings[AUTHORITY_FINGERPRINT_SIZE]; /* of the bootstrap */
    struct authority_root_set *roots;               /* these three: all or none */
    struct authority_issuer *issuer;
    struct authority_settings *settings;
    bool key_is_unsealed; /* in the store, though there is a keywrap */
    uint64_t roots_index;
    uint64_t last_serial;
    uint64_t crl_number;
    struct authority_issued *issued;
    size_t issued_count;
    int64_t next_signature_ns; /* CLOCK_MONOTONIC: when the rate allows the next one */
    size_t signing;            /* leaves under way that count against csr_max_concurrent */
    int64_t inventory_pruned_at;
    void (*changed)(void *argument);
    void *changed_argument;
};

int64_t authority_now(const struct authority *authority);
void authority_set_cluster(struct authority *authority, const char *cluster_id);
/* Notes that a leaf lives under this issuer until then. ERROR_SYSTEM. */
int authority_note_issued(struct authority *authority, const uint8_t *issuer_key_id, size_t size,
                          int64_t not_after);
/* 0: no leaf known. */
int64_t authority_issued_until(const struct authority *authority, struct der_slice issuer_key_id);
void authority_put_serial(const struct authority *authority, struct store_batch *batch);

/* ---- Changes (authority_commit.c): one batch, then one swap ---- */

struct authority_commit;
/* How a commit ends; `error` NULL: durable and in force. */
typedef void authority_committed(struct authority_commit *commit, const struct error *error);

/* What replaces what; NULL members stay as they are. Owned by the commit from authority_commit_begin() on. */
struct authority_commit {
    struct authority *authority;
    struct authority_root_set *roots; /* not finished */
    struct authority_issuer *issuer;  /* with its key */
    struct authority_settings *settings;
    uint64_t index; /* drawn by authority_commit_new() */
    struct store_batch *batch;
    authority_committed *committed;
    void *argument; /* of the one who commits */
};

/* Begins: a batch to which the caller may add rows. NULL without memory. */
struct authority_commit *authority_commit_new(struct authority *authority, struct error *error);
/* Fills the batch from the members and hands it to the store; `committed` is called later. On failure the
 * commit is still the caller's. */
int authority_commit_submit(struct authority_commit *commit, struct error *error);
void authority_commit_free(struct authority_commit *commit);

/* ---- New roots (authority_rotation.c) ---- */

/* What it takes to make a root and the result; run by a worker, or at bootstrap by the main thread. */
struct authority_rotation {
    struct worker_job job;
    struct authority *authority;
    char cluster_id[AUTHORITY_CLUSTER_ID_SIZE];
    char trust_domain[AUTHORITY_TRUST_DOMAIN_SIZE];
    struct authority_issuer *old;        /* NULL at bootstrap */
    struct authority_settings *settings; /* what to become */
    bool force;                          /* no cross-signing */
    bool key_may_stay;                   /* no key is given and key type and bits are as before */
    uint64_t modify_index;               /* to compare with, or 0 */
    uint64_t root_serial, cross_serial;
    int64_t now;
    authority_done *done;
    void *argument;
    /* The result: */
    int code;
    struct error error;
    bool root_stays;
    struct key *key;
    bool imported;
    uint8_t *root, *cross;
    size_t root_size, cross_size;
};

/* Draws serials and holds the active root. Takes the settings, on failure too. NULL without memory. */
struct authority_rotation *authority_rotation_new(struct authority *authority,
                                                  struct authority_settings *settings, struct error *error);
void authority_rotation_run(struct authority_rotation *rotation, struct ca_thread *thread);
/* Adds to the commit: the new root as the active one, its issuer, and lines of the inventory. */
int authority_rotation_apply(struct authority_rotation *rotation, struct authority_commit *commit,
                             struct error *error);
void authority_rotation_audit(const struct authority_rotation *rotation);
void authority_rotation_free(struct authority_rotation *rotation);

#endif

/* SPDX-License-Identifier: MIT */
/* Where truth comes from. A source of identity knows the roots and makes leaves; sources of policy and revocation will
 * stand beside it as the built-in ones do now: in the store, through model.h. The core knows sources only by this
 * table; a source never learns who reads.
 *
 * All functions and callbacks run on the main thread; nothing here blocks. */
#ifndef CORE_SOURCE_H
#define CORE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/error.h"
#include "agent/json.h"

struct source_root {
    char *id;             /* SHA-1 of the DER in colon hex */
    char *name;           /* "Consul CA Primary Cert" */
    char *signing_key_id; /* SubjectKeyId of what signs leaves, colon hex */
    char *external_trust_domain;
    char *pem; /* may be a chain, issuing CA first */
    uint8_t *der;
    size_t der_size;
    char **intermediates_pem; /* cross-signed first, signer of leaves last */
    size_t intermediate_count;
    uint64_t serial_number; /* low 64 bits */
    int64_t not_before;     /* Unix seconds */
    int64_t not_after;
    int64_t rotated_out_at; /* 0: it was not */
    const char *key_type;   /* "ec", "rsa"; a constant */
    unsigned key_bits;
    bool active;
    uint64_t create_index;
    uint64_t modify_index;
};

struct source_roots {
    const char *trust_domain;
    const struct source_root *roots; /* ascending by id */
    size_t count;
    size_t active;  /* index */
    uint64_t index; /* of the last change; also the version that readers see */
};

struct source_leaf_request {
    const char *service; /* as in the SPIFFE ID: the name, not the path */
    const char *namespace_name;
    const char *partition;
    const char *const *dns;
    size_t dns_count;
    const char *const *ip; /* text */
    size_t ip_count;
    bool unlimited; /* what this node needs before it is ready: rate limits are for everything else */
};

/* Owned by whoever holds it; source_leaf_free() wipes the key. */
struct source_leaf {
    char *uri;
    uint8_t *serial;
    size_t serial_size;
    uint8_t *issuer_key_id; /* AuthorityKeyIdentifier */
    size_t issuer_key_id_size;
    uint8_t *chain_der; /* leaf first, one behind the other */
    size_t chain_der_size;
    size_t leaf_der_size;
    char *chain_pem;
    uint8_t *key_der; /* PKCS#8 */
    size_t key_der_size;
    char *key_pem; /* as Consul gives it: SEC 1 "EC PRIVATE KEY" */
    int64_t not_before;
    int64_t not_after;
    uint64_t roots_index; /* source_roots.index when it was signed */
};

void source_leaf_free(struct source_leaf *leaf);

/* `leaf` is the receiver's from now on, NULL when it failed and `error` says why (ERROR_BUSY, ERROR_LIMIT: worth
 * repeating). */
typedef void source_leaf_done(void *argument, struct source_leaf *leaf, const struct error *error);

struct identity_source;
struct store_batch;

struct identity_source_ops {
    const char *name; /* "consul" for the built-in CA, as Consul names its provider */

    /* The roots as they are; valid until the next roots_changed. */
    const struct source_roots *(*roots)(struct identity_source *source);

    /* Makes a key and a certificate; verified, not yet durable anywhere. `done` is called once, later. Returns 0, or
     * a code and `done` is never called. */
    int (*request_leaf)(struct identity_source *source, const struct source_leaf_request *request,
                        source_leaf_done *done, void *argument, struct error *error);

    /* Adds what the source itself must remember of a leaf that it made to the batch that makes the leaf durable. May
     * be NULL. */
    void (*record_leaf)(struct identity_source *source, struct store_batch *batch,
                        const struct source_leaf *leaf, const char *service);

    /* Does this leaf still hang off the roots as they are? False: renew it (a root change, a new signer). */
    bool (*leaf_is_current)(struct identity_source *source, const uint8_t *issuer_key_id, size_t size);

    /* How long leaves live, for estimating; seconds. */
    int64_t (*leaf_ttl_sec)(struct identity_source *source);

    /* Adds fields to an open JSON object: configuration, state of the upstream; no secrets. */
    void (*describe)(struct identity_source *source, struct json_writer *json);

    void (*close)(struct identity_source *source);
};

struct identity_source {
    const struct identity_source_ops *ops;
    /* Set by the core: called on the main thread after roots() has changed, durably. */
    void (*roots_changed)(void *argument);
    /* Likewise: the upstream has just confirmed what we have. */
    void (*contact)(void *argument);
    void *argument;
};

#endif

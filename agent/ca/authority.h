/* SPDX-License-Identifier: MIT */
/* The built-in CA: a Consul-compatible CA provider that lives in the agent. It owns the cluster's identity,
 * the roots, the active root's private key, the CA configuration and the counter of serial numbers.
 *
 * Everything is called on the main thread; keys are made and signatures computed by workers. The order of
 * every change is: made and verified, durable in the store, visible in memory, announced.
 *
 * How the agent uses it:
 *
 *     store_open()
 *     authority_load()                 reads the store
 *     store_start(), worker_pool_create()
 *     authority_start()                makes cluster and root if there are none; blocks until that is durable
 *     ... the loop; authority_tick() from a timer ...
 *     worker_pool_close(), store_close()   answer everything that is outstanding
 *     authority_free()
 *
 * Meta keys in the store that belong to the authority begin with "ca_". */
#ifndef AGENT_CA_AUTHORITY_H
#define AGENT_CA_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/ca/crl.h"
#include "agent/ca/keywrap.h"
#include "agent/config.h"
#include "agent/core/source.h"
#include "agent/error.h"
#include "agent/json.h"
#include "agent/store/store.h"
#include "agent/worker.h"

struct authority;

/* What the authority works with; everything outlives it. */
struct authority_setup {
    struct store *store;
    struct ca_thread *thread;       /* the main thread's */
    const struct keywrap *keywrap;  /* seals private keys at rest; NULL: they are stored as they are */
    const struct config_ca *config; /* of the file; only used in authority_load() and authority_start() */
    uint64_t (*next_index)(void *argument); /* a new index at each call, rising, unique over restarts */
    int64_t (*now)(void *argument);         /* Unix seconds; NULL: the system's clock */
    void *argument;                         /* of both */
};

/* Reads the CA's state; only between store_open() and store_start(). An empty store is fine. Fails with
 * ERROR_CORRUPT when the stored state contradicts itself, ERROR_DENIED when keys are sealed and `keywrap` is
 * not there or another. */
int authority_load(const struct authority_setup *setup, struct authority **authority, struct error *error);

/* After store_start(). Bootstraps a CA that has no root (with an RSA key that may take seconds), seals keys
 * that were stored before sealing was configured, warns when `config` differs from the one of the bootstrap
 * (later changes go through authority_set_config(), as in Consul). Runs the mail of `answers` until its own
 * is durable. */
int authority_start(struct authority *authority, struct worker_pool *workers, struct mailbox *answers,
                    struct error *error);

/* When nothing is outstanding any more: after worker_pool_close() and store_close(). Wipes keys. NULL is
 * harmless. */
void authority_free(struct authority *authority);

/* Called on the main thread after roots or configuration have changed, durably. One listener. */
void authority_on_change(struct authority *authority, void (*changed)(void *argument), void *argument);

/* Views; texts and roots are valid until the next change. Before authority_start() there may be no roots. */
const char *authority_cluster_id(const struct authority *authority);
const char *authority_trust_domain(const struct authority *authority);
const struct source_roots *authority_roots(const struct authority *authority);
int64_t authority_leaf_ttl_sec(const struct authority *authority);
/* Whether this AuthorityKeyIdentifier is that of the active root. */
bool authority_is_signing_key(const struct authority *authority, const uint8_t *key_id, size_t size);

/* Housekeeping; call it about every minute. Drops roots that were rotated out more than twice the leaf TTL
 * ago and under which no unexpired leaf lives, cross-signed certificates that have expired, and old lines of
 * the inventory. */
void authority_tick(struct authority *authority);

/* ---- Configuration and rotation ---- */

/* Stands for a private key in configurations that are shown; put back, it means "unchanged". */
#define AUTHORITY_KEPT_SECRET "(kept by the agent)"

/* `config_json` is the object "Config" of Consul's API, {"LeafCertTTL":"72h",...}; it replaces the old one. A
 * `modify_index` other than 0 must be that of the stored configuration, unless the change makes a new root. */
struct authority_change {
    const char *provider; /* NULL or "consul" */
    const char *config_json;
    size_t config_json_size;
    bool force_without_cross_signing;
    uint64_t modify_index;
};

/* `error` is NULL when the change is durable and in force, or when there was nothing to change. */
typedef void authority_done(void *argument, const struct error *error);

/* Begins a change. The same key material means new settings only; else a new root is made, cross-signed by
 * the active one unless forced not to, and takes its place. Returns 0 and calls `done` once, later; or a code
 * (texts are Consul's) and never calls it. ERROR_BUSY: `CA is already in state "RECONFIGURING"`. */
int authority_set_config(struct authority *authority, const struct authority_change *change,
                         authority_done *done, void *argument, struct error *error);

/* The same configuration with a new generated key and root. ERROR_CONFLICT when the key was given by
 * configuration. */
int authority_rotate(struct authority *authority, bool force_without_cross_signing, authority_done *done,
                     void *argument, struct error *error);

/* Writes one object, the body of Consul's GET /v1/connect/ca/configuration, with AUTHORITY_KEPT_SECRET for
 * the key. */
void authority_show(const struct authority *authority, struct json_writer *json);

/* Adds members to an open object, for status; no secrets. */
void authority_describe(const struct authority *authority, struct json_writer *json);

/* ---- Issuing ---- */

struct authority_leaf_request {
    const char *uri; /* the SPIFFE ID */
    const char *const *dns;
    size_t dns_count;
    const char *const *ip; /* text */
    size_t ip_count;
    bool unlimited; /* not counted against csr_max_per_second and csr_max_concurrent */
};

/* Makes a P-256 key and a leaf of Consul's profile, verified against the active root. It is audited by whoever makes it
 * durable. As identity_source_ops.request_leaf. ERROR_BUSY: `Rate limit reached, try again
 * later`. As in Consul, the leaf may outlive the root; an expired root signs nothing. */
int authority_sign_leaf(struct authority *authority, const struct authority_leaf_request *request,
                        source_leaf_done *done, void *argument, struct error *error);

/* Adds the leaf's line of the inventory and the counter of serial numbers to the batch that makes the leaf
 * durable. Every leaf goes through here before anybody may use it. */
void authority_record_leaf(struct authority *authority, struct store_batch *batch,
                           const struct source_leaf *leaf, const char *service);

/* `der` is the receiver's to free; NULL when it failed. */
typedef void authority_crl_done(void *argument, uint8_t *der, size_t size, const struct error *error);

/* Makes a list of these revocations (copied) signed by the active root, valid from now for `lifetime_sec`;
 * its number is above that of every list before, over restarts. Entries must be of certificates that the
 * active root has issued. */
int authority_crl(struct authority *authority, const struct crl_entry *entries, size_t entry_count,
                  int64_t lifetime_sec, authority_crl_done *done, void *argument, struct error *error);

#endif

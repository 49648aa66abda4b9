/* SPDX-License-Identifier: MIT */
/* The policy region: who may connect to whom, compiled; which certificates are revoked; which roots are current.
 *
 * Everything belongs to the agent's main thread. Codes are negative errno values. -ENOSPC means that the region is
 * full: nothing has changed, and the caller supersedes it by a larger one, filled from the model. Whoever raises the
 * epoch afterwards (grace_advance()) lets the memory of what was replaced be used again. */
#ifndef SHM_POLICY_H
#define SHM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/region.h"

struct policy;

/* How long a version stays unique: it starts above `version` and is raised by one with every change. */
int policy_create(struct policy **out, struct grace *grace, uint64_t region_bytes, uint64_t region_id,
                  uint64_t hash_seed, uint64_t version);
void policy_destroy(struct policy *policy);
struct region *policy_region(const struct policy *policy);
uint64_t policy_version(const struct policy *policy);

/* The trust domain and how its SPIFFE IDs are read. Patterns are path templates (abi.h) in order; `datacenter` makes
 * the fast prefix of Consul's form and may be NULL. Returns 0; -EINVAL: too long, or a pattern without {service};
 * -ENOSPC. */
int policy_set_identities(struct policy *policy, const char *trust_domain, const char *datacenter,
                          const char *const *patterns, size_t pattern_count);

/* What happens where no intention matches. */
void policy_set_default(struct policy *policy, bool allow);

/* NULL means "default" for partition and namespace; "*" is the wildcard for namespace and name. */
struct policy_name {
    const char *partition;
    const char *namespace_name;
    const char *name;
};

enum policy_action {
    POLICY_DENY,
    POLICY_ALLOW,
    POLICY_PERMISSIONS, /* has L7 permissions: denies at L4 */
    POLICY_REMOVE,      /* no intention any more */
};

struct policy_change {
    struct policy_name destination;
    struct policy_name source;
    enum policy_action action;
    uint32_t permissions;  /* how many, for POLICY_PERMISSIONS */
    const char *legacy_id; /* NULL: none */
};

/* Publishes changes, all or none, and raises the policy version behind them. A single destination changes by one store;
 * where there are several, all that is lost is published before anything is gained. Of several changes of one
 * (destination, source) the last one counts. Returns 0; -EINVAL: a name is empty, too long, or has an exact part behind
 * a wildcard; -ENOSPC, -ENOMEM. */
int policy_apply(struct policy *policy, const struct policy_change *changes, size_t count);

/* Revokes a serial (big-endian magnitude) of an issuer (size 0: of any). Revoking twice changes the reason.
 * Returns 0, -EINVAL, -ENOSPC, -ENOMEM. */
int policy_revoke(struct policy *policy, const uint8_t *issuer_key_id, size_t issuer_size,
                  const uint8_t *serial, size_t serial_size, uint32_t reason);

/* Takes a revocation back, or forgets one of an expired certificate. Returns 0, also if there was none; -ENOSPC. */
int policy_unrevoke(struct policy *policy, const uint8_t *issuer_key_id, size_t issuer_size,
                    const uint8_t *serial, size_t serial_size);

struct policy_root {
    const uint8_t *der;
    size_t der_size;
    const char *pem; /* may be a chain */
    const char *id;
    int64_t not_before;
    int64_t not_after;
};

/* Replaces the root bundle. Returns 0, -EINVAL, -ENOSPC. */
int policy_set_roots(struct policy *policy, const struct policy_root *roots, size_t count, size_t active,
                     uint64_t version);

/* CLOCK_BOOTTIME. */
void policy_heartbeat(struct policy *policy, uint64_t now_ns);
void policy_upstream_contact(struct policy *policy, uint64_t then_ns);

/* The last thing said in this region: every verdict of it is a denial from now on. */
void policy_supersede(struct policy *policy);

#endif

/* SPDX-License-Identifier: MIT */
/* Leaf certificates with their keys, in scope regions. Main thread only; codes as in policy.h. */
#ifndef SHM_CERTIFICATES_H
#define SHM_CERTIFICATES_H

#include <stddef.h>
#include <stdint.h>

#include "shm/region.h"

struct scope;

int scope_create(struct scope **out, struct grace *grace, uint64_t region_bytes, uint64_t region_id,
                 uint64_t hash_seed);

/* Wipes and unmaps. */
void scope_destroy(struct scope *scope);
struct region *scope_region(const struct scope *scope);

struct scope_leaf {
    const char *uri;
    const uint8_t *serial;
    size_t serial_size;
    const uint8_t *chain_der; /* leaf first, one behind the other */
    size_t chain_der_size;
    size_t leaf_der_size;
    const char *chain_pem;
    const uint8_t *key_der;
    size_t key_der_size;
    const char *key_pem;
    int64_t not_before;
    int64_t not_after;
    uint64_t version;       /* must differ from all before */
    uint64_t roots_version; /* publish those roots first */
};

/* Publishes a service's leaf in place of the one before, whose memory is wiped after its grace period.
 * Returns 0, -EINVAL, -ENOSPC. */
int scope_put_leaf(struct scope *scope, const char *service, const struct scope_leaf *leaf);

/* Copies a service's leaf as it is from one region to another: the key is held nowhere else in the agent. Returns 0,
 * also if there is none; -ENOSPC. */
int scope_copy_leaf(struct scope *to, const struct scope *from, const char *service);

/* Withdraws it. Returns 0, also if there was none; -ENOSPC. */
int scope_remove_leaf(struct scope *scope, const char *service);

#endif

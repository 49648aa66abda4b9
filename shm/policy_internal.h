/* SPDX-License-Identifier: MIT */
/* What policy.c and revocation.c share. */
#ifndef SHM_POLICY_INTERNAL_H
#define SHM_POLICY_INTERNAL_H

#include "shm/directory.h"
#include "shm/policy.h"
#include "shm/transaction.h"

struct policy {
    struct region *region;
    struct directory destinations;
    struct directory sources; /* interned names of sources; only the writer looks here */
    xylem_ref sources_ref;
    struct directory tenancy_names;
    struct directory revocations;
    uint64_t revocation_count;
    uint32_t tenancy_capacity;
};

/* Raises the version behind a publication. */
void policy_publish_version(struct policy *policy);

#endif

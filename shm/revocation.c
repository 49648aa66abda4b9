/* SPDX-License-Identifier: MIT */
/* Revoked serials: a directory keyed by serial, whose roots list issuers, behind a filter of one bit a serial. */
#include <errno.h>
#include <string.h>

#include <xylem/xylem.h>

#include "shm/policy_internal.h"

#define FILTER_BITS_MIN 4096u
#define BITS_PER_REVOCATION \
    32u /* one false positive in 32 at the fullest, one in 64 just after it has grown */
#define REVOCATIONS_PER_SERIAL_MAX 1024u

static struct xylem_region_header *header(const struct policy *policy)
{
    return region_header(policy->region);
}

static struct xylem_filter *filter(const struct policy *policy)
{
    xylem_ref ref = header(policy)->revocation_filter;
    return ref ? region_at(policy->region, ref) : NULL;
}

static void set_bit(struct xylem_anchor *anchor, void *context)
{
    struct xylem_filter *wanted = context;
    uint64_t bit = xylem_filter_hash(anchor->name, anchor->name_bytes) & wanted->mask;
    /* [publish] Release: who sees the bit sees the revocation that it stands for. */
    __atomic_or_fetch(&wanted->words[bit >> 6], 1ull << (bit & 63), __ATOMIC_RELEASE);
}

/* A filter that is large enough for one more, published with all bits that are due. */
static int grow_filter(struct policy *policy)
{
    const struct xylem_filter *old = filter(policy);
    uint64_t wanted = (policy->revocation_count + 1) * BITS_PER_REVOCATION;
    uint64_t bits = old ? old->mask + 1 : FILTER_BITS_MIN;
    if (old && bits >= wanted)
        return 0;
    while (bits < wanted)
        bits *= 2;
    struct xylem_filter *grown =
        region_allocate(policy->region, XYLEM_OBJECT_FILTER, sizeof *grown + bits / 8);
    if (!grown)
        return -ENOSPC;
    grown->mask = bits - 1;
    directory_each(&policy->revocations, set_bit, grown);
    xylem_ref old_ref = header(policy)->revocation_filter;
    __atomic_store_n(&header(policy)->revocation_filter, region_ref(policy->region, grown),
                     __ATOMIC_RELEASE); /* [publish] */
    region_retire(policy->region, old_ref);
    return 0;
}

static struct xylem_revocation_entry make_entry(const uint8_t *issuer_key_id, size_t issuer_size,
                                                uint32_t reason)
{
    struct xylem_revocation_entry entry = {.reason = reason};
    if (issuer_size > 0 && issuer_size <= sizeof entry.issuer_key_id) {
        entry.issuer_key_id_bytes = (uint32_t)issuer_size;
        memcpy(entry.issuer_key_id, issuer_key_id, issuer_size);
    }
    return entry;
}

static bool same_issuer(const struct xylem_revocation_entry *a, const struct xylem_revocation_entry *b)
{
    return a->issuer_key_id_bytes == b->issuer_key_id_bytes &&
           memcmp(a->issuer_key_id, b->issuer_key_id, a->issuer_key_id_bytes) == 0;
}

/* The list of one serial without an issuer's entry, and with `entry` if it is not NULL. NULL in *out: empty. */
static int rebuild(struct policy *policy, const struct xylem_revocation *old,
                   const struct xylem_revocation_entry *without, const struct xylem_revocation_entry *entry,
                   struct xylem_revocation **out)
{
    uint32_t most = (old ? old->count : 0) + (entry != NULL);
    *out = NULL;
    if (most > REVOCATIONS_PER_SERIAL_MAX)
        return -EINVAL;
    struct xylem_revocation *made = region_allocate(policy->region, XYLEM_OBJECT_REVOCATION,
                                                    sizeof *made + most * sizeof made->entries[0]);
    if (!made)
        return -ENOSPC;
    for (uint32_t i = 0; old && i < old->count; i++)
        if (!same_issuer(&old->entries[i], without))
            made->entries[made->count++] = old->entries[i];
    if (entry)
        made->entries[made->count++] = *entry;
    region_finish(policy->region, made);
    if (made->count)
        *out = made;
    else
        region_free(policy->region, made);
    return 0;
}

static void replace_root(struct policy *policy, struct xylem_anchor *anchor, struct xylem_revocation *made)
{
    xylem_ref old_ref = anchor->root;
    __atomic_store_n(&anchor->root, region_ref(policy->region, made), __ATOMIC_RELEASE); /* [publish] */
    region_retire(policy->region, old_ref);
}

static const uint8_t *strip_zeros(const uint8_t *serial, size_t *size)
{
    while (*size > 1 && *serial == 0) {
        serial++;
        --*size;
    }
    return serial;
}

int policy_revoke(struct policy *policy, const uint8_t *issuer_key_id, size_t issuer_size,
                  const uint8_t *serial, size_t serial_size, uint32_t reason)
{
    struct xylem_revocation *made;
    serial = strip_zeros(serial, &serial_size);
    if (serial_size == 0 || serial_size > XYLEM_NAME_MAX)
        return -EINVAL;
    struct xylem_revocation_entry entry = make_entry(issuer_key_id, issuer_size, reason);
    struct xylem_anchor *anchor = directory_find(&policy->revocations, 0, serial, serial_size);
    int error = grow_filter(policy);
    if (!error && !anchor) {
        anchor = directory_new_anchor(policy->region, 0, serial, serial_size);
        error = anchor ? directory_insert(&policy->revocations, anchor) : -ENOSPC;
        if (error) {
            region_free(policy->region, anchor);
            return error;
        }
        policy->revocation_count++;
    }
    if (!error)
        error = rebuild(policy, anchor->root ? region_at(policy->region, anchor->root) : NULL, &entry, &entry,
                        &made);
    if (error)
        return error; /* an anchor without a root revokes nothing */
    replace_root(policy, anchor, made);
    set_bit(anchor, filter(policy));
    policy_publish_version(policy);
    return 0;
}

int policy_unrevoke(struct policy *policy, const uint8_t *issuer_key_id, size_t issuer_size,
                    const uint8_t *serial, size_t serial_size)
{
    struct xylem_revocation *made;
    serial = strip_zeros(serial, &serial_size);
    struct xylem_anchor *anchor = directory_find(&policy->revocations, 0, serial, serial_size);
    if (!anchor || !anchor->root)
        return 0;
    struct xylem_revocation_entry entry = make_entry(issuer_key_id, issuer_size, 0);
    int error = rebuild(policy, region_at(policy->region, anchor->root), &entry, NULL, &made);
    if (error)
        return error;
    replace_root(policy, anchor, made);
    policy_publish_version(policy);
    /* The bit stays until the filter is built anew: it only costs a look. */
    if (!made && directory_remove(&policy->revocations, anchor) == 0) {
        region_retire(policy->region, region_ref(policy->region, anchor));
        policy->revocation_count--;
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "agent/core/revocations.h"

#include <stdlib.h>
#include <string.h>

#include <xylem/abi.h>

struct revocations {
    uint64_t hash_seed;
    struct hash_map by_serial; /* of whatever issuer */
};

const uint8_t *revocation_issuer_key_id(const struct revocation *revocation)
{
    return revocation->bytes;
}

const uint8_t *revocation_serial(const struct revocation *revocation)
{
    return revocation->bytes + revocation->issuer_key_id_size;
}

/* The serial zero keeps one octet. */
static const uint8_t *strip_zeros(const uint8_t *serial, size_t *size)
{
    while (*size > 1 && serial[0] == 0) {
        serial++;
        (*size)--;
    }
    return serial;
}

int revocation_make(const uint8_t *issuer_key_id, size_t issuer_key_id_size, const uint8_t *serial,
                    size_t serial_size, uint32_t reason, int64_t revoked_at, int64_t expires_at,
                    uint64_t index, struct revocation **revocation, struct error *error)
{
    serial = strip_zeros(serial, &serial_size);
    if (serial_size == 0)
        return error_set(error, ERROR_INVALID, "revocation: a serial number is required");
    if (serial_size > REVOCATION_SERIAL_MAX)
        return error_set(error, ERROR_INVALID,
                         "revocation: a serial number of %zu octets exceeds the maximum of %d", serial_size,
                         (int)REVOCATION_SERIAL_MAX);
    if (issuer_key_id_size > REVOCATION_ISSUER_MAX)
        return error_set(error, ERROR_INVALID,
                         "revocation: an issuer key identifier of %zu octets exceeds the maximum of %d",
                         issuer_key_id_size, (int)REVOCATION_ISSUER_MAX);
    if (!revocation_reason_name(reason))
        return error_set(error, ERROR_INVALID,
                         "revocation: %u is not a reason of RFC 5280; use 0 to 6 or 8 to 10",
                         (unsigned)reason);
    struct revocation *made = malloc(sizeof *made + issuer_key_id_size + serial_size);
    if (!made)
        return error_set(error, ERROR_SYSTEM, "revocation: out of memory");
    *made = (struct revocation){.index = index,
                                .revoked_at = revoked_at,
                                .expires_at = expires_at,
                                .reason = reason,
                                .issuer_key_id_size = (uint8_t)issuer_key_id_size,
                                .serial_size = (uint8_t)serial_size};
    if (issuer_key_id_size)
        memcpy(made->bytes, issuer_key_id, issuer_key_id_size);
    memcpy(made->bytes + issuer_key_id_size, serial, serial_size);
    *revocation = made;
    return 0;
}

void revocation_free(struct revocation *revocation)
{
    free(revocation);
}

/* ---- The set ---- */

struct revocations *revocations_new(uint64_t hash_seed)
{
    struct revocations *set = calloc(1, sizeof *set);
    if (!set)
        return NULL;
    set->hash_seed = hash_seed;
    if (hash_map_init(&set->by_serial) != 0) {
        free(set);
        return NULL;
    }
    return set;
}

static struct revocation *member(struct hash_node *node)
{
    return HASH_MAP_MEMBER(struct revocation, by_serial, node);
}

void revocations_free(struct revocations *set)
{
    if (!set)
        return;
    for (size_t chain = 0; chain < set->by_serial.used; chain++)
        for (struct hash_node *node = set->by_serial.chains[chain], *next; node; node = next) {
            next = node->next;
            revocation_free(member(node));
        }
    hash_map_free(&set->by_serial);
    free(set);
}

size_t revocations_count(const struct revocations *set)
{
    return set->by_serial.count;
}

static uint32_t hash_serial(const struct revocations *set, const uint8_t *serial, size_t size)
{
    uint64_t hash = xylem_hash(set->hash_seed, 0, serial, size);
    return (uint32_t)(hash ^ hash >> 32);
}

static bool has_serial(const struct revocation *revocation, const uint8_t *serial, size_t size)
{
    return revocation->serial_size == size && memcmp(revocation_serial(revocation), serial, size) == 0;
}

static bool has_issuer(const struct revocation *revocation, const uint8_t *issuer_key_id, size_t size)
{
    return revocation->issuer_key_id_size == size &&
           (size == 0 || memcmp(revocation_issuer_key_id(revocation), issuer_key_id, size) == 0);
}

static struct revocation *find_exact(const struct revocations *set, const uint8_t *issuer_key_id,
                                     size_t issuer_key_id_size, const uint8_t *serial, size_t serial_size)
{
    serial = strip_zeros(serial, &serial_size);
    uint32_t hash = hash_serial(set, serial, serial_size);
    for (struct hash_node *node = hash_map_chain(&set->by_serial, hash); node; node = node->next)
        if (node->hash == hash && has_serial(member(node), serial, serial_size) &&
            has_issuer(member(node), issuer_key_id, issuer_key_id_size))
            return member(node);
    return NULL;
}

struct revocation *revocations_put(struct revocations *set, struct revocation *revocation)
{
    const uint8_t *serial = revocation_serial(revocation);
    struct revocation *old =
        revocations_remove(set, revocation_issuer_key_id(revocation), revocation->issuer_key_id_size, serial,
                           revocation->serial_size);
    hash_map_add(&set->by_serial, &revocation->by_serial, hash_serial(set, serial, revocation->serial_size));
    return old;
}

struct revocation *revocations_remove(struct revocations *set, const uint8_t *issuer_key_id,
                                      size_t issuer_key_id_size, const uint8_t *serial, size_t serial_size)
{
    struct revocation *found = find_exact(set, issuer_key_id, issuer_key_id_size, serial, serial_size);
    if (found)
        hash_map_remove(&set->by_serial, &found->by_serial);
    return found;
}

const struct revocation *revocations_get(const struct revocations *set, const uint8_t *issuer_key_id,
                                         size_t issuer_key_id_size, const uint8_t *serial, size_t serial_size)
{
    return find_exact(set, issuer_key_id, issuer_key_id_size, serial, serial_size);
}

const struct revocation *revocations_find(const struct revocations *set, const uint8_t *issuer_key_id,
                                          size_t issuer_key_id_size, const uint8_t *serial,
                                          size_t serial_size)
{
    serial = strip_zeros(serial, &serial_size);
    uint32_t hash = hash_serial(set, serial, serial_size);
    for (struct hash_node *node = hash_map_chain(&set->by_serial, hash); node; node = node->next) {
        const struct revocation *one = member(node);
        if (node->hash == hash && has_serial(one, serial, serial_size) &&
            (issuer_key_id_size == 0 || one->issuer_key_id_size == 0 ||
             has_issuer(one, issuer_key_id, issuer_key_id_size)))
            return one;
    }
    return NULL;
}

int revocations_for_each(const struct revocations *set, revocations_each *each, void *argument)
{
    int result = 0;
    for (size_t chain = 0; chain < set->by_serial.used; chain++)
        for (struct hash_node *node = set->by_serial.chains[chain]; node && !result; node = node->next)
            result = each(argument, member(node));
    return result;
}

size_t revocations_prune(struct revocations *set, int64_t now, revocations_pruned *pruned, void *argument)
{
    size_t count = 0;
    for (size_t chain = 0; chain < set->by_serial.used; chain++)
        for (struct hash_node *node = set->by_serial.chains[chain], *next; node; node = next) {
            struct revocation *one = member(node);
            next = node->next;
            if (one->expires_at == 0 || one->expires_at >= now)
                continue;
            hash_map_remove(&set->by_serial, node);
            if (pruned)
                pruned(argument, one);
            revocation_free(one);
            count++;
        }
    return count;
}

/* ---- Rows ---- */

void revocation_to_store(const struct revocation *revocation, struct store_revocation *row)
{
    *row = (struct store_revocation){
        .issuer_key_id = {revocation_issuer_key_id(revocation), revocation->issuer_key_id_size},
        .serial = {revocation_serial(revocation), revocation->serial_size},
        .reason = revocation->reason,
        .revoked_at = revocation->revoked_at,
        .expires_at = revocation->expires_at,
        .create_index = revocation->index,
    };
}

int revocation_from_store(const struct store_revocation *row, struct revocation **revocation,
                          struct error *error)
{
    return revocation_make(row->issuer_key_id.data, row->issuer_key_id.size, row->serial.data,
                           row->serial.size, row->reason, row->revoked_at, row->expires_at, row->create_index,
                           revocation, error);
}

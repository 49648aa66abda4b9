/* SPDX-License-Identifier: MIT */
/* The leaf manager: which services need a leaf on this node, when each is renewed, and that none is served as fresh
 * that is not.
 *
 * A leaf is made by the source of identity, made durable with its key, published to the service's scope region, and
 * only then announced. It is renewed at a random instant between 60 % and 90 % of its life (Consul's soft window), at
 * once when the roots it hangs off are gone, spread over thirty seconds when they changed, with exponential back-off
 * and full jitter while the source fails. Wall clock decides validity, so a jump of the clock is noticed at the next
 * look (every second while anything is due) and met by renewal, never by a storm. Main thread only. */
#ifndef CORE_LEAVES_H
#define CORE_LEAVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

#include "agent/config.h"
#include "agent/error.h"
#include "agent/json.h"

struct leaves;
struct model;

/* What a door may know of a leaf; the key is in the region only. */
struct leaf_info {
    const char *service; /* "name", "namespace/name" or "partition/namespace/name" */
    const char *uri;
    const uint8_t *serial;
    size_t serial_size;
    const uint8_t *issuer_key_id;
    size_t issuer_key_id_size;
    int64_t not_before;
    int64_t not_after;
    int64_t renew_at;
    uint64_t version; /* 0: there is none yet */
    uint64_t index;
    bool requested;         /* by a client rather than by configuration */
    unsigned failures;      /* in a row */
    const char *last_error; /* "" after a success */
};

/* A client asks for a service's leaf. A service that is configured must admit the uid; any other is issued if the
 * configuration lets this uid request leaves and the cap is not reached. Returns 0 (it is there, or will be announced
 * as MODEL_LEAF); ERROR_DENIED, ERROR_LIMIT, ERROR_INVALID (the name). */
int leaves_want(struct leaves *leaves, const char *service, uid_t uid, const gid_t *groups,
                size_t group_count, struct error *error);

/* NULL if there is no such service. Valid until the main loop runs again. */
const struct leaf_info *leaves_find(struct leaves *leaves, const char *service);
void leaves_each(struct leaves *leaves, void (*visit)(void *context, const struct leaf_info *leaf),
                 void *context);

/* Renews now. ERROR_NOT_FOUND, ERROR_BUSY (under way). */
int leaves_renew(struct leaves *leaves, const char *service, struct error *error);

/* The last good leaf has been read by somebody: keeps a requested one from eviction. */
void leaves_used(struct leaves *leaves, const char *service);

#endif

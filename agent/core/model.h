/* SPDX-License-Identifier: MIT */
/* The agent's model: what is true now, and the only way to change it.
 *
 * A change is validated, made durable, published to the regions, and then answered, in this order; so what was
 * answered survives kill -9 and is seen by every read section that begins afterwards. Several changes may be under
 * way; they take effect in the order in which they were asked for. Doors ask here, and listen here for what changed.
 * Main thread only. */
#ifndef CORE_MODEL_H
#define CORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "agent/ca/keywrap.h"
#include "agent/ca/thread.h"
#include "agent/config.h"
#include "agent/core/intentions.h"
#include "agent/core/leaves.h"
#include "agent/core/publication.h"
#include "agent/core/revocations.h"
#include "agent/core/source.h"
#include "agent/error.h"
#include "agent/store/store.h"

struct model;

/* Loads what the store holds. What the setup names outlives the model. */
struct model_setup {
    struct ev_loop *loop;
    struct store *store;           /* opened, not started */
    const struct config *config;   /* borrowed until model_reconfigure() */
    const struct keywrap *keywrap; /* seals keys of leaves at rest; NULL: they are stored as they are */
    struct ca_thread *thread;      /* the main thread's */
};
int model_create(struct model **out, const struct model_setup *setup, struct error *error);

/* Gives the model its source of identity and opens the publication as soon as every configured service has a leaf
 * (from the store, or issued now); `ready` is called once then. */
int model_start(struct model *model, struct identity_source *identity, void (*ready)(void *argument),
                void *argument, struct error *error);
void model_destroy(struct model *model);

/* Takes over what may change at run time: services and their access, default policy, limits, identity patterns.
 * `config` replaces the former one, which the caller may free afterwards. On failure nothing has changed. */
int model_reconfigure(struct model *model, const struct config *config, struct error *error);

struct publication *model_publication(struct model *model);
const struct intentions *model_intentions(const struct model *model);
const struct revocations *model_revocations(const struct model *model);
struct leaves *model_leaves(struct model *model);
struct identity_source *model_identity(struct model *model);
const struct config *model_config(const struct model *model);

/* One counter for everything that changes, as Consul's index: rising, also over restarts, never 0. What is stored with
 * an index brings it back at the next start; model_store_index() is for batches whose rows have none. */
uint64_t model_index(const struct model *model);
uint64_t model_next_index(struct model *model);
void model_store_index(const struct model *model, struct store_batch *batch);

/* Whoever keeps rows with indexes of its own tells the highest after loading. */
void model_saw_index(struct model *model, uint64_t index);

/* --- changes --- */

/* `error` is NULL when the change is durable and published. */
typedef void model_done(void *argument, const struct error *error);

/* Sets an intention (replacing that of the same source and destination); its index is filled in. Returns 0, takes the
 * intention and answers later; or a code, then it stays the caller's and `done` is never called. */
int model_put_intention(struct model *model, struct intention *intention, model_done *done, void *argument,
                        struct error *error);
/* ERROR_NOT_FOUND if there is none (also if one under way will take it away first). */
int model_delete_intention(struct model *model, const struct intention_name *destination,
                           const struct intention_name *source, model_done *done, void *argument,
                           struct error *error);

/* `issuer_size` 0: any issuer. `expires_at` 0: kept for ever. */
int model_revoke(struct model *model, const uint8_t *issuer_key_id, size_t issuer_size, const uint8_t *serial,
                 size_t serial_size, uint32_t reason, int64_t expires_at, model_done *done, void *argument,
                 struct error *error);
int model_unrevoke(struct model *model, const uint8_t *issuer_key_id, size_t issuer_size,
                   const uint8_t *serial, size_t serial_size, model_done *done, void *argument,
                   struct error *error);

/* --- events --- */

enum model_what {
    MODEL_ROOTS = 1,
    MODEL_LEAF = 2,
    MODEL_INTENTIONS = 4,
    MODEL_REVOCATIONS = 8,
    MODEL_CONFIGURATION = 16,
};

struct model_event {
    enum model_what what;
    uint64_t index;
    const char *service; /* for MODEL_LEAF: its name as in the configuration */
};

/* Called on the main thread behind the publication of what changed. */
struct model_listener {
    void (*changed)(void *argument, const struct model_event *event);
    void *argument;
    struct model_listener *next; /* the model's */
};
void model_listen(struct model *model, struct model_listener *listener);
void model_unlisten(struct model *model, struct model_listener *listener);

/* For the parts of the core: tells everybody. */
void model_notify(struct model *model, enum model_what what, const char *service);

/* Adds the model's part of `status` to an open JSON object. */
void model_describe(struct model *model, struct json_writer *json);

#endif

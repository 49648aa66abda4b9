/* SPDX-License-Identifier: MIT */
/* Publication: the regions as they are, which client holds which, and when one is replaced.
 *
 * It owns the grace periods, the current policy region, one scope region for every access list, the regions that were
 * superseded and are still held by somebody, and the list of clients. It knows nothing of sockets: a door hands in
 * clients (publication_attach) and gets told what to send them (struct publication_sink). Main thread only, with its
 * loop. Codes are those of error.h. */
#ifndef CORE_PUBLICATION_H
#define CORE_PUBLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <ev.h>

#include "agent/config.h"
#include "agent/error.h"
#include "agent/json.h"
#include "shm/certificates.h"
#include "shm/grace.h"
#include "shm/policy.h"

struct publication;
struct publication_client;
struct xylem_reader;

/* Fills a fresh policy region with everything but what publication itself keeps (heartbeat). Returns a negative errno
 * as shm/policy.h does: -ENOSPC asks for a larger region. */
typedef int publication_fill(void *model, struct policy *policy);

struct publication_options {
    struct ev_loop *loop;
    uint64_t generation; /* of the store: makes versions unique over restarts */
    publication_fill *fill;
    void *model;
    unsigned clients_max;
    unsigned clients_per_uid_max;
    unsigned regions_per_uid_max; /* superseded ones that one uid's clients may pin; 0: no limit */
    uint64_t policy_bytes_max;
    uint64_t scope_bytes_max;
    int64_t supersede_interval_ns;
};

int publication_create(struct publication **out, const struct publication_options *options,
                       struct error *error);
void publication_destroy(struct publication *publication);

/* After a reload. */
void publication_set_limits(struct publication *publication, const struct publication_options *options);

/* Until this is called clients wait: they get a set only when policy, roots and leaves are there, never an empty
 * world. Builds the policy region (by `fill`) and offers sets. */
int publication_open(struct publication *publication, struct error *error);

/* --- policy --- */

/* Publishes changes of intentions, all or none, superseding the region if it is full. Returns 0, ERROR_LIMIT,
 * ERROR_SYSTEM. Before publication_open(): does nothing, since `fill` will bring everything. */
int publication_apply(struct publication *publication, const struct policy_change *changes, size_t count,
                      struct error *error);
int publication_revoke(struct publication *publication, const uint8_t *issuer_key_id, size_t issuer_size,
                       const uint8_t *serial, size_t serial_size, uint32_t reason, struct error *error);
int publication_unrevoke(struct publication *publication, const uint8_t *issuer_key_id, size_t issuer_size,
                         const uint8_t *serial, size_t serial_size, struct error *error);
int publication_set_roots(struct publication *publication, const struct policy_root *roots, size_t count,
                          size_t active, uint64_t version, struct error *error);
int publication_set_default(struct publication *publication, bool allow, struct error *error);
int publication_set_identities(struct publication *publication, const char *trust_domain,
                               const char *datacenter, const char *const *patterns, size_t pattern_count,
                               struct error *error);
void publication_contact(struct publication *publication);

/* --- leaves --- */

/* Who may read a service's leaf decides which scope region it is in: those on the access list, through a door that
 * hands this service out (`doors`: bit n for the n-th attach socket; services that differ here never share a region).
 * Copies `access`. Registering a known service with another list moves it, with its leaf, and 1 is returned: whoever
 * lost access still has the key, so issue a new one. The old region gets nothing more. */
int publication_add_service(struct publication *publication, const char *service,
                            const struct config_access *access, uint64_t doors, struct error *error);
void publication_remove_service(struct publication *publication, const char *service);

/* Does any client hold the region that the service's leaf is in? */
bool publication_is_service_held(const struct publication *publication, const char *service);

/* Publishes the leaf in the service's region and tells its clients. */
int publication_put_leaf(struct publication *publication, const char *service, const struct scope_leaf *leaf,
                         struct error *error);

/* The leaf with its key as it is published, for the agent's own doors; valid until the main loop runs again. The first
 * parameter is the publication. ERROR_NOT_FOUND. */
struct xylem_leaf_view;
int publication_read_leaf(void *publication, const char *service, struct xylem_leaf_view *leaf,
                          struct error *error);

/* --- clients --- */

/* How a door is told what to send. Called on the main thread; must not block. Descriptors stay the publication's:
 * duplicate what is kept. After `closed` none of these is called any more. */
struct publication_sink {
    void (*welcome)(void *connection, uint64_t client_id, bool fence);
    void (*set)(void *connection, uint64_t min_epoch, const int *fds, const uint64_t *sizes, size_t count);
    void (*release)(void *connection, uint64_t min_epoch);
    void (*changed)(void *connection, uint32_t what);             /* XYLEM_CHANGED_* */
    void (*refuse)(void *connection, int code, const char *text); /* then the door closes it */
};

struct publication_peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    int pidfd; /* becomes the publication's, -1 if there is none */
    const gid_t *groups;
    size_t group_count;
    char name[33];
    const struct config_texts *services; /* the door's own list; NULL or empty: no further limit */
    struct grace_page page;              /* verified and mapped; becomes the publication's */
    uint64_t installed;                  /* what it says it has, 0 none */
    bool fenced;
};

/* Takes a client in. Returns 0 and calls welcome, and set as soon as there is one; or ERROR_LIMIT, ERROR_SYSTEM and
 * nothing of `peer` is kept. The same reader page again means that the process has connected anew. */
int publication_attach(struct publication *publication, const struct publication_peer *peer,
                       const struct publication_sink *sink, void *connection, struct publication_client **out,
                       struct error *error);
void publication_installed(struct publication_client *client, uint64_t min_epoch);
void publication_refused(struct publication_client *client, uint64_t min_epoch, int code);
/* No reader of it is inside any section, and none will be. The client is gone. */
void publication_detach(struct publication_client *client);
/* The connection is closed; its slots are honoured until the process exits. */
void publication_disconnected(struct publication_client *client);
uid_t publication_client_uid(const struct publication_client *client);
const struct config_access *publication_service_access(const struct publication *publication,
                                                       const char *service);
bool publication_client_allowed(const struct publication_client *client, const struct config_access *access);

/* --- looking --- */

/* A reader for the main thread itself, through the same header as everybody; NULL before publication_open(). */
struct xylem_reader *publication_reader(struct publication *publication);

uint64_t publication_policy_version(const struct publication *publication);

/* Writes arrays of objects: what `xylemctl clients` and `xylemctl regions` show. */
void publication_describe_clients(struct publication *publication, struct json_writer *json);
void publication_describe_regions(struct publication *publication, struct json_writer *json);

/* Calls `visit` for every reader page, for harvesting counters. `client_id` is stable while the client lives. */
void publication_each_page(struct publication *publication,
                           void (*visit)(void *context, uint64_t client_id,
                                         const struct xylem_reader_page *page, uint32_t slot_capacity),
                           void *context);

/* Supersedes the policy region now: for tests and for `xylemctl regions supersede`. ERROR_BUSY inside the interval. */
int publication_supersede(struct publication *publication, struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
/* What publication.c (regions), publication_client.c (clients) and publication_describe.c share. */
#ifndef CORE_PUBLICATION_INTERNAL_H
#define CORE_PUBLICATION_INTERNAL_H

#include "agent/core/publication.h"

#include <xylem/wire.h>

enum { REGIONS_PER_SET = XYLEM_WIRE_REGIONS_MAX, REGIONS_HELD_MAX = 3 * XYLEM_WIRE_REGIONS_MAX };

/* One scope region and the services in it. */
struct scope_entry {
    struct scope_entry *next;
    struct scope *scope; /* NULL: to be made with the first leaf */
    uint64_t region_bytes;
    struct config_access access;
    uint64_t doors;
    char **services;
    size_t service_count;
};

/* A region that was superseded and may still be held. */
struct old_region {
    struct old_region *next;
    struct policy *policy; /* one of the two */
    struct scope *scope;
    ev_tstamp since; /* as publication_now() */
    bool silent;     /* nothing is published there any more */
};

struct region_list {
    struct region *regions[REGIONS_HELD_MAX];
    size_t count;
};

struct publication_client {
    struct publication *publication;
    struct publication_client *next;
    const struct publication_sink *sink;
    void *connection;            /* NULL: closed; the process may still be reading */
    struct grace_reader *reader; /* NULL: a later connection of the same process has taken it over */
    uint64_t device, inode;      /* of the reader page */
    uint64_t id;
    uid_t uid;
    gid_t *groups;
    size_t group_count;
    pid_t pid;
    char name[33];
    const struct config_texts *services;
    ev_io exit_watcher; /* on its pidfd */
    int pidfd;
    bool fenced;
    uint32_t dirty;             /* XYLEM_CHANGED_* not told yet */
    bool wants_set;             /* something newer than what it was offered */
    uint64_t offered;           /* min_epoch under way, 0 none */
    uint64_t installed;         /* min_epoch in use, 0 none */
    uint64_t release_after;     /* sections that began up to this epoch may use older sets; 0: released */
    ev_tstamp retry_at;         /* after a refusal; as publication_now() */
    ev_tstamp attached_at;      /* wall clock, for showing */
    struct region_list offer;   /* what was offered last */
    struct region_list current; /* what is installed */
    struct region_list held;    /* everything that it may be reading */
    struct region_list added;   /* of these, what it holds for the offer under way alone */
};

struct publication {
    struct publication_options options;
    struct grace *grace;
    struct policy *policy; /* NULL until open */
    uint64_t policy_bytes;
    uint64_t hash_seed;
    uint64_t next_region_id;
    uint64_t next_client_id;
    uint64_t contact_ns;
    struct old_region *old;
    struct scope_entry *scopes;
    struct publication_client *clients;
    unsigned client_count;
    ev_tstamp superseded_at; /* as publication_now() */
    ev_timer beat;           /* heartbeat and housekeeping */
    ev_timer grace_timer;
    ev_prepare flush; /* tells clients what changed, once a turn of the loop */
    bool dirty;
    struct xylem_client *local; /* the main thread's own */
    struct xylem_reader *local_reader;
    struct grace_reader *local_grace;
    struct region_list local_held;
};

/* publication.c */
/* Seconds that no step of the wall clock moves. */
ev_tstamp publication_now(void);
void publication_collect(struct publication *publication);

/* publication_client.c */
void client_offer(struct publication_client *client);
void client_flush(struct publication_client *client);
void client_try_release(struct publication_client *client);
void client_free(struct publication_client *client);
bool client_holds(const struct publication_client *client, const struct region *region);
bool region_list_has(const struct region_list *list, const struct region *region);
bool region_list_add(struct region_list *list, struct region *region);

#endif

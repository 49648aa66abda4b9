/* SPDX-License-Identifier: MIT */
/* What leaves.c (when) and leaf_store.c (durable form) and model.c share. */
#ifndef CORE_LEAVES_INTERNAL_H
#define CORE_LEAVES_INTERNAL_H

#include <ev.h>

#include "agent/ca/keywrap.h"
#include "agent/ca/thread.h"
#include "agent/core/leaves.h"
#include "agent/core/publication.h"
#include "agent/core/source.h"
#include "agent/store/store.h"

struct leaf {
    struct leaf *next;
    struct leaves *owner;
    char *service; /* the path under which readers find it */
    char *name, *namespace_name, *partition;
    struct config_texts dns, ip;
    struct leaf_info info;
    char *uri;
    uint8_t serial[24];
    uint8_t issuer_key_id[64];
    char last_error[500];
    struct source_leaf *loaded; /* from the store, until the publication opens */
    struct source_leaf *made;   /* new, on its way into the store */
    uint64_t made_index;
    bool under_way;
    bool gone;        /* no longer wanted; freed when nothing is under way */
    bool current;     /* hangs off the roots as they are, and has the names that it should have */
    bool outdated;    /* what is under way was asked for with other names */
    int64_t retry_at; /* Unix seconds; 0: at renew_at */
    int64_t last_used;
};

struct leaves_setup {
    struct ev_loop *loop;
    struct model *model;
    struct store *store;
    struct publication *publication;
    const struct keywrap *keywrap;
    struct ca_thread *thread;
};

struct leaves {
    struct leaves_setup setup;
    const struct config *config;
    struct identity_source *identity;
    struct leaf *list;
    size_t count;
    ev_timer tick;
    void (*ready)(void *argument); /* called once, when every configured service has a leaf */
    void *argument;
    bool open; /* leaves go straight into the publication */
};

int leaves_create(struct leaves **out, const struct leaves_setup *setup, struct error *error);
void leaves_destroy(struct leaves *leaves);

/* Before store_start(): takes in what was stored. */
int leaves_load(struct leaves *leaves, struct error *error);

/* Takes over the configured services; on the first call from the stored leaves, later after a reload. */
int leaves_configure(struct leaves *leaves, const struct config *config, struct error *error);

/* Issues what is missing; `ready` follows, at once if nothing is. */
void leaves_start(struct leaves *leaves, struct identity_source *identity, void (*ready)(void *argument),
                  void *argument);

/* Before the publication opens: puts in what there is. After a failure, call it again. */
int leaves_publish(struct leaves *leaves, struct error *error);

/* Those that no longer hang off the roots are renewed, spread out. */
void leaves_roots_changed(struct leaves *leaves);

/* leaf_store.c */
int leaf_to_store(const struct leaf *leaf, const struct source_leaf *made, uint64_t index,
                  const struct keywrap *keywrap, struct ca_thread *thread, struct store_batch *batch,
                  struct error *error);
/* Has it exactly these names beside its SPIFFE ID? */
bool leaf_has_names(const struct source_leaf *leaf, const struct config_texts *dns,
                    const struct config_texts *ip);
int leaf_from_store(const struct store_leaf *row, const struct keywrap *keywrap, struct ca_thread *thread,
                    struct source_leaf **out, struct error *error);

#endif

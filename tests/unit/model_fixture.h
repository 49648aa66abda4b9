/* SPDX-License-Identifier: MIT */
/* What the tests of the model and of the leaf manager share: a store, a model over it that can be stopped and started,
 * a clock of their own, and a source of identity that does as it is told. Built with -Wl,--wrap=time. */
#ifndef TESTS_UNIT_MODEL_FIXTURE_H
#define TESTS_UNIT_MODEL_FIXTURE_H

#include "tests/unit/ca_fixture.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "agent/core/leaves_internal.h"
#include "agent/core/model.h"
#include "agent/core/publication_internal.h"

enum { MODEL_REQUESTS_MAX = 1000 };

static int64_t model_now = FIXTURE_NOW;

time_t __wrap_time(time_t *where);
time_t __wrap_time(time_t *where)
{
    if (where)
        *where = (time_t)model_now;
    return (time_t)model_now;
}

/* A request that waits for its answer. */
struct model_request {
    char service[64];
    char namespace_name[64];
    char dns[64]; /* the first one */
    size_t dns_count;
    source_leaf_done *done;
    void *argument;
};

struct model_source {
    struct identity_source source;
    struct source_root root;
    struct source_roots roots;
    struct model_request requests[MODEL_REQUESTS_MAX];
    size_t count;
    unsigned requested; /* ever */
    unsigned issued;    /* ever; also the serial number */
    uint8_t signer;
    int64_t ttl_sec;
    int refuse; /* a code: no request is taken */
};

struct model_world {
    char base[64];
    char directory[80];
    struct ca_thread *thread;
    struct fixture_certificate ca;
    struct key *key; /* of every leaf */
    struct ev_loop *loop;
    struct mailbox answers;
    struct store *store;
    struct keywrap *keywrap;
    struct config *config;
    struct model *model;
    struct model_source fake;
    unsigned ready;
    struct error error;
};

/* --- the source --- */

static inline struct model_source *model_source_of(struct identity_source *source)
{
    return (struct model_source *)(void *)source;
}

static inline const struct source_roots *model_source_roots(struct identity_source *source)
{
    return &model_source_of(source)->roots;
}

static inline int model_source_request(struct identity_source *source,
                                       const struct source_leaf_request *request, source_leaf_done *done,
                                       void *argument, struct error *error)
{
    struct model_source *fake = model_source_of(source);
    if (fake->refuse)
        return error_set(error, fake->refuse, "the source was told to refuse");
    assert_true(fake->count < MODEL_REQUESTS_MAX);
    struct model_request *made = &fake->requests[fake->count++];
    *made = (struct model_request){.dns_count = request->dns_count, .done = done, .argument = argument};
    snprintf(made->service, sizeof made->service, "%s", request->service);
    snprintf(made->namespace_name, sizeof made->namespace_name, "%s", request->namespace_name);
    if (request->dns_count)
        snprintf(made->dns, sizeof made->dns, "%s", request->dns[0]);
    fake->requested++;
    return 0;
}

static inline bool model_source_is_current(struct identity_source *source, const uint8_t *issuer, size_t size)
{
    return size == 1 && issuer[0] == model_source_of(source)->signer;
}

static inline int64_t model_source_ttl(struct identity_source *source)
{
    return model_source_of(source)->ttl_sec;
}

static const struct identity_source_ops model_source_ops = {
    .name = "fake",
    .roots = model_source_roots,
    .request_leaf = model_source_request,
    .leaf_is_current = model_source_is_current,
    .leaf_ttl_sec = model_source_ttl,
};

static inline void *model_copy(const void *bytes, size_t size)
{
    void *made = malloc(size + 1);
    assert_non_null(made);
    memcpy(made, bytes, size);
    ((char *)made)[size] = '\0';
    return made;
}

static inline struct source_leaf *model_make_leaf(struct model_world *w, const struct model_request *request)
{
    struct source_leaf *leaf = calloc(1, sizeof *leaf);
    char uri[300];
    struct general_name names[2];
    struct certificate_leaf wanted = {.spki = key_public(w->key)->spki, .names = names};
    struct certificate_terms terms = fixture_terms(8);
    struct certificate_issuer issuer = fixture_issuer(&w->ca);
    uint32_t serial = ++w->fake.issued;
    assert_non_null(leaf);
    snprintf(uri, sizeof uri, "spiffe://" FIXTURE_TRUST_DOMAIN "/ns/%s/dc/dc1/svc/%s",
             request->namespace_name, request->service);
    if (request->dns_count)
        names[wanted.name_count++] = general_name_text(GENERAL_NAME_DNS, request->dns);
    names[wanted.name_count++] = general_name_text(GENERAL_NAME_URI, uri);
    if (certificate_make_leaf(w->thread, &issuer, &wanted, &terms, &leaf->chain_der, &leaf->chain_der_size,
                              &w->error))
        fail_msg("%s", w->error.text);
    leaf->leaf_der_size = leaf->chain_der_size;
    leaf->uri = strdup(uri);
    leaf->serial = model_copy(&serial, sizeof serial);
    leaf->serial_size = sizeof serial;
    leaf->issuer_key_id = model_copy(&w->fake.signer, 1);
    leaf->issuer_key_id_size = 1;
    leaf->chain_pem = strdup("CHAIN\n");
    leaf->not_before = model_now;
    leaf->not_after = model_now + w->fake.ttl_sec;
    leaf->roots_index = w->fake.roots.index;
    assert_int_equal(key_export_der(w->key, KEY_FORMAT_PKCS8, &leaf->key_der, &leaf->key_der_size, NULL), 0);
    assert_int_equal(key_export_pem(w->key, KEY_FORMAT_TRADITIONAL, &leaf->key_pem, &(size_t){0}, NULL), 0);
    return leaf;
}

/* Answers the oldest request: with a leaf, or with `code`. */
static inline void model_answer(struct model_world *w, int code)
{
    struct model_request request = w->fake.requests[0];
    struct error error;
    assert_true(w->fake.count > 0);
    memmove(&w->fake.requests[0], &w->fake.requests[1], --w->fake.count * sizeof request);
    if (code)
        error_set(&error, code, "the upstream is down");
    request.done(request.argument, code ? NULL : model_make_leaf(w, &request), code ? &error : NULL);
}

/* --- waiting --- */

static inline void model_note_flag(void *argument, const struct error *error)
{
    (void)error;
    *(bool *)argument = true;
}

/* Everything that the store has been given so far is answered afterwards. */
static inline void model_settle(struct model_world *w)
{
    bool done = false;
    store_submit(w->store, store_batch_new(), model_note_flag, &done);
    while (!done) {
        mailbox_wait(&w->answers);
        mailbox_run(&w->answers);
    }
    ev_invoke(w->loop, &model_publication(w->model)->flush, EV_PREPARE);
    ev_invoke(w->loop, &model_publication(w->model)->grace_timer, EV_TIMER);
}

/* Answers every request, and those that follow from it. */
static inline void model_serve(struct model_world *w)
{
    while (w->fake.count) {
        while (w->fake.count)
            model_answer(w, 0);
        model_settle(w);
    }
    model_settle(w);
}

/* --- life --- */

static inline void model_note_ready(void *argument)
{
    ((struct model_world *)argument)->ready++;
}

static inline struct config *model_config_of(struct model_world *w, const char *text)
{
    char whole[8000];
    struct config *config = NULL;
    int size = snprintf(whole, sizeof whole, "state_directory = \"%s\"\nrun_directory = \"%s\"\n%s",
                        w->directory, w->base, text);
    if (config_parse("test.conf", whole, (size_t)size, &config, NULL, &w->error))
        fail_msg("%s", w->error.text);
    return config;
}

static inline void model_world_start(struct model_world *w, const char *config)
{
    w->config = model_config_of(w, config);
    w->ready = 0;
    w->fake.count = 0;
    if (store_open(w->directory, &w->store, &w->error))
        fail_msg("%s", w->error.text);
    struct model_setup setup = {
        .loop = w->loop, .store = w->store, .config = w->config, .keywrap = w->keywrap, .thread = w->thread};
    if (model_create(&w->model, &setup, &w->error))
        fail_msg("%s", w->error.text);
    assert_int_equal(store_start(w->store, &w->answers, NULL), 0);
    if (model_start(w->model, &w->fake.source, model_note_ready, w, &w->error))
        fail_msg("%s", w->error.text);
}

static inline void model_world_stop(struct model_world *w)
{
    store_close(w->store);
    model_destroy(w->model);
    config_free(w->config);
    w->store = NULL;
    w->model = NULL;
    w->config = NULL;
}

static inline void model_world_restart(struct model_world *w, const char *config)
{
    model_world_stop(w);
    model_world_start(w, config);
}

static inline void model_world_reload(struct model_world *w, const char *text)
{
    struct config *fresh = model_config_of(w, text);
    if (model_reconfigure(w->model, fresh, &w->error))
        fail_msg("%s", w->error.text);
    config_free(w->config);
    w->config = fresh;
}

static inline void model_world_init(struct model_world *w, struct ca_thread *thread)
{
    model_now = FIXTURE_NOW;
    *w = (struct model_world){.base = "/tmp/xylem-model-XXXXXX", .thread = thread};
    assert_non_null(mkdtemp(w->base));
    snprintf(w->directory, sizeof w->directory, "%s/state", w->base);
    assert_int_equal(mailbox_init(&w->answers, NULL), 0);
    w->loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(w->loop);
    w->ca = fixture_root(thread, KEY_TYPE_EC, 256, "root");
    w->key = fixture_key(thread, KEY_TYPE_EC, 256);
    w->fake.source.ops = &model_source_ops;
    w->fake.signer = 1;
    w->fake.ttl_sec = 72 * 3600;
    static char id[] = "00:11", pem[] = "ROOT\n";
    w->fake.root = (struct source_root){.id = id,
                                        .name = id,
                                        .pem = pem,
                                        .der = w->ca.der,
                                        .der_size = w->ca.size,
                                        .not_after = INT64_MAX / 4,
                                        .active = true,
                                        .key_type = "ec"};
    w->fake.roots = (struct source_roots){
        .trust_domain = FIXTURE_TRUST_DOMAIN, .roots = &w->fake.root, .count = 1, .index = 5};
}

static inline void model_world_end(struct model_world *w)
{
    char command[128];
    model_world_stop(w);
    keywrap_free(w->keywrap);
    mailbox_destroy(&w->answers);
    ev_loop_destroy(w->loop);
    fixture_free(&w->ca);
    key_free(w->key);
    snprintf(command, sizeof command, "rm -rf '%s'", w->base);
    assert_int_equal(system(command), 0);
}

#endif

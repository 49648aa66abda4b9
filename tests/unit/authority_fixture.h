/* SPDX-License-Identifier: MIT */
/* What the tests of the authority and of the built-in source share: a whole small agent around a CA, with a
 * clock of its own, that can be stopped and started. */
#ifndef TESTS_UNIT_AUTHORITY_FIXTURE_H
#define TESTS_UNIT_AUTHORITY_FIXTURE_H

#include "tests/unit/ca_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/ca/authority.h"
#include "agent/ca/path.h"
#include "agent/ca/pem.h"

#define WORLD_CLUSTER_ID "11111111-2222-3333-4444-555555555555" /* of FIXTURE_TRUST_DOMAIN */

struct world {
    char base[64];
    char directory[80];
    struct ca_thread *thread;
    struct mailbox answers;
    struct store *store;
    struct worker_pool *workers;
    struct authority *authority;
    struct keywrap *keywrap;
    struct config_ca config;
    int64_t now;
    uint64_t index;
    unsigned changes;
    struct error error;
};

static inline uint64_t world_next_index(void *argument)
{
    return ++((struct world *)argument)->index;
}

static inline int64_t world_now(void *argument)
{
    return ((struct world *)argument)->now;
}

static inline void world_changed(void *argument)
{
    ((struct world *)argument)->changes++;
}

/* Opens store and CA; the code of what failed, with everything closed again. */
static inline int world_try_start(struct world *w)
{
    struct authority_setup setup = {
        .store = NULL,
        .thread = w->thread,
        .keywrap = w->keywrap,
        .config = &w->config,
        .next_index = world_next_index,
        .now = world_now,
        .argument = w,
    };
    w->error = (struct error){0};
    if (store_open(w->directory, &w->store, &w->error))
        fail_msg("%s", w->error.text);
    setup.store = w->store;
    int code = authority_load(&setup, &w->authority, &w->error);
    if (!code) {
        assert_int_equal(store_start(w->store, &w->answers, NULL), 0);
        assert_int_equal(worker_pool_create(2, &w->answers, &w->workers, NULL), 0);
        authority_on_change(w->authority, world_changed, w);
        code = authority_start(w->authority, w->workers, &w->answers, &w->error);
    }
    return code;
}

static inline void world_stop(struct world *w)
{
    worker_pool_close(w->workers);
    store_close(w->store);
    authority_free(w->authority);
    w->workers = NULL;
    w->store = NULL;
    w->authority = NULL;
}

static inline void world_start(struct world *w)
{
    if (world_try_start(w))
        fail_msg("%s", w->error.text);
}

static inline void world_restart(struct world *w)
{
    world_stop(w);
    world_start(w);
}

/* In place: a mailbox may not move. */
static inline void world_init(struct world *w, struct ca_thread *thread)
{
    *w = (struct world){
        .base = "/tmp/authority-XXXXXX",
        .thread = thread,
        .now = FIXTURE_NOW,
        .index = 100,
        .config = {.leaf_cert_ttl_ns = INT64_C(259200000000000),
                   .intermediate_cert_ttl_ns = INT64_C(31536000000000000),
                   .root_cert_ttl_ns = INT64_C(315360000000000000),
                   .private_key_bits = 256,
                   .csr_max_per_second = 50},
    };
    assert_non_null(mkdtemp(w->base));
    snprintf(w->directory, sizeof w->directory, "%s/state", w->base);
    assert_int_equal(mailbox_init(&w->answers, NULL), 0);
}

static inline void world_end(struct world *w)
{
    char command[128];
    world_stop(w);
    keywrap_free(w->keywrap);
    mailbox_destroy(&w->answers);
    snprintf(command, sizeof command, "rm -rf '%s'", w->base);
    assert_int_equal(system(command), 0);
}

struct world_outcome {
    bool over;
    int code;
    char text[500];
    struct source_leaf *leaf;
    uint8_t *crl;
    size_t crl_size;
};

static inline void world_note(void *argument, const struct error *error)
{
    struct world_outcome *outcome = argument;
    assert_false(outcome->over);
    outcome->over = true;
    outcome->code = error ? error->code : 0;
    snprintf(outcome->text, sizeof outcome->text, "%s", error ? error->text : "");
}

static inline void world_note_leaf(void *argument, struct source_leaf *leaf, const struct error *error)
{
    world_note(argument, error);
    assert_true(!leaf == !!error);
    ((struct world_outcome *)argument)->leaf = leaf;
}

static inline void world_await(struct world *w, const struct world_outcome *outcome)
{
    while (!outcome->over) {
        mailbox_wait(&w->answers);
        mailbox_run(&w->answers);
    }
}

/* Makes the leaf of "web" durable, as the agent does, and hands it over. */
static inline struct source_leaf *world_leaf(struct world *w)
{
    struct world_outcome outcome = {0}, stored = {0};
    char uri[200];
    snprintf(uri, sizeof uri, "spiffe://%s/ns/default/dc/dc1/svc/web", authority_trust_domain(w->authority));
    struct authority_leaf_request request = {.uri = uri, .unlimited = true};
    if (authority_sign_leaf(w->authority, &request, world_note_leaf, &outcome, &w->error))
        fail_msg("%s", w->error.text);
    world_await(w, &outcome);
    if (outcome.code)
        fail_msg("%s", outcome.text);
    struct store_batch *batch = store_batch_new();
    authority_record_leaf(w->authority, batch, outcome.leaf, "web");
    store_submit(w->store, batch, world_note, &stored);
    world_await(w, &stored);
    if (stored.code)
        fail_msg("%s", stored.text);
    return outcome.leaf;
}

static inline uint64_t world_serial(const struct source_leaf *leaf)
{
    uint64_t serial = 0;
    assert_true(leaf->serial_size <= 8);
    for (size_t i = 0; i < leaf->serial_size; i++)
        serial = serial << 8 | leaf->serial[i];
    return serial;
}

/* Sets a configuration and waits; the code, with the text in w->error. */
static inline int world_set_config(struct world *w, const char *json, bool force)
{
    struct world_outcome outcome = {0};
    struct authority_change change = {
        .config_json = json, .config_json_size = strlen(json), .force_without_cross_signing = force};
    int code = authority_set_config(w->authority, &change, world_note, &outcome, &w->error);
    if (code)
        return code;
    world_await(w, &outcome);
    snprintf(w->error.text, sizeof w->error.text, "%s", outcome.text);
    return outcome.code;
}

static inline void world_change(struct world *w, const char *json)
{
    if (world_set_config(w, json, false))
        fail_msg("%s", w->error.text);
}

static inline const struct source_root *world_root(const struct world *w)
{
    const struct source_roots *roots = authority_roots(w->authority);
    assert_true(roots->active < roots->count && roots->roots[roots->active].active);
    return &roots->roots[roots->active];
}

static inline void world_write(const struct world *w, const char *name, const char *text, char path[128])
{
    snprintf(path, 128, "%s/%s", w->base, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* What openssl says of the leaf, with the rest of its chain as untrusted certificates, under this root. */
static inline bool world_openssl_verifies(const struct world *w, const char *chain_pem, const char *root_pem)
{
    char chain[128], root[128], command[600];
    world_write(w, "chain.pem", chain_pem, chain);
    world_write(w, "root.pem", root_pem, root);
    snprintf(command, sizeof command,
             "openssl verify -x509_strict -purpose sslserver -attime %lld -CAfile %s -untrusted %s %s "
             ">/dev/null 2>&1",
             (long long)w->now, root, chain, chain);
    return system(command) == 0;
}

/* Whether any file of the store has these bytes. */
static inline bool world_store_has(const struct world *w, const void *bytes, size_t size)
{
    bool found = false;
    DIR *directory = opendir(w->directory);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[400];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", w->directory, entry->d_name);
        assert_int_equal(stat(path, &status), 0);
        if (!S_ISREG(status.st_mode) || status.st_size == 0)
            continue;
        char *content = malloc((size_t)status.st_size);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, content, (size_t)status.st_size), status.st_size);
        close(fd);
        found = found || memmem(content, (size_t)status.st_size, bytes, size);
        free(content);
    }
    closedir(directory);
    return found;
}

/* {"PrivateKey":"...","RootCert":"..."} with line ends as JSON has them; the caller frees it. */
static inline char *world_key_config(const char *key_pem, const char *root_pem)
{
    struct json_writer writer;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    if (key_pem)
        json_member_text(&writer, "PrivateKey", key_pem);
    if (root_pem)
        json_member_text(&writer, "RootCert", root_pem);
    json_end_object(&writer);
    return json_take(&writer, &(size_t){0});
}

static inline char *world_pem(const struct fixture_certificate *certificate)
{
    char *pem;
    assert_int_equal(pem_encode(PEM_CERTIFICATE, certificate->der, certificate->size, &pem, NULL, NULL), 0);
    return pem;
}

static inline char *world_key_pem(const struct key *key)
{
    char *pem;
    size_t size;
    assert_int_equal(key_export_pem(key, KEY_FORMAT_TRADITIONAL, &pem, &size, NULL), 0);
    return pem;
}

/* The text of what authority_show() or authority_describe() writes; the caller frees it. */
static inline char *world_shown(const struct world *w)
{
    struct json_writer writer;
    json_writer_init(&writer, 0);
    authority_show(w->authority, &writer);
    char *text = json_take(&writer, &(size_t){0});
    assert_non_null(text);
    return text;
}

static inline char *world_described(const struct world *w)
{
    struct json_writer writer;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    authority_describe(w->authority, &writer);
    json_end_object(&writer);
    char *text = json_take(&writer, &(size_t){0});
    assert_non_null(text);
    return text;
}

#endif

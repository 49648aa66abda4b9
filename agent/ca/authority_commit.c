/* SPDX-License-Identifier: MIT */
/* How the authority's state changes: everything that belongs together goes into one batch; when that is
 * durable, the new takes the place of the old in memory, and only then anybody hears of it. */
#include "agent/ca/authority_internal.h"

#include <stdlib.h>
#include <string.h>

#define SWAP(a, b)                 \
    do {                           \
        __typeof__(a) swap_ = (a); \
        (a) = (b);                 \
        (b) = swap_;               \
    } while (0)

struct authority_commit *authority_commit_new(struct authority *authority, struct error *error)
{
    struct authority_commit *commit = calloc(1, sizeof *commit);
    if (commit)
        commit->batch = store_batch_new();
    if (!commit || !commit->batch) {
        error_errno(error, "cannot change the CA");
        free(commit);
        return NULL;
    }
    commit->authority = authority;
    commit->index = authority->setup.next_index(authority->setup.argument);
    return commit;
}

void authority_commit_free(struct authority_commit *commit)
{
    if (!commit)
        return;
    authority_root_set_free(commit->roots);
    authority_issuer_release(commit->issuer);
    authority_settings_free(commit->settings);
    store_batch_free(commit->batch);
    free(commit);
}

static int put_roots(struct authority_commit *commit, struct error *error)
{
    const struct authority *authority = commit->authority;
    struct authority_root_set *roots = commit->roots;
    int code = authority_root_set_finish(roots, authority->trust_domain, commit->index, error);
    for (size_t i = 0; authority->roots && i < authority->roots->view.count; i++) {
        const char *id = authority->roots->items[i].id;
        if (authority_root_set_find(roots, id) == roots->view.count)
            store_delete_root(commit->batch, id);
    }
    for (size_t i = 0; i < roots->view.count && !code; i++)
        code = authority_root_store(&roots->items[i], commit->batch, error);
    return code;
}

/* The key of the root that goes is not kept: nothing is signed with it any more. */
static int put_key(struct authority_commit *commit, struct error *error)
{
    const struct authority_issuer *old = commit->authority->issuer, *new = commit->issuer;
    char name[AUTHORITY_KEY_ID_SIZE];
    if (old && memcmp(key_id(old->key), key_id(new->key), KEY_ID_BYTES) != 0) {
        authority_key_name(key_id(old->key), name);
        store_delete_ca_key(commit->batch, name);
    }
    return authority_key_store(commit->authority, new->key, commit->batch, error);
}

static void put_settings(struct authority_commit *commit)
{
    const struct authority_settings *old = commit->authority->settings;
    struct authority_settings *new = commit->settings;
    authority_settings_forget_key(new);
    new->create_index = old ? old->create_index : commit->index;
    new->modify_index = commit->index;
    store_put_ca_config(commit->batch, &(struct store_ca_config){
                                           .provider = AUTHORITY_PROVIDER,
                                           .config_json = new->json,
                                           .force_without_cross_signing = new->force_without_cross_signing,
                                           .create_index = new->create_index,
                                           .modify_index = new->modify_index,
                                       });
}

static void swap_in(struct authority_commit *commit)
{
    struct authority *authority = commit->authority;
    if (commit->roots)
        SWAP(authority->roots, commit->roots);
    if (commit->issuer)
        SWAP(authority->issuer, commit->issuer);
    if (commit->settings)
        SWAP(authority->settings, commit->settings);
    /* A change of the configuration alone moves the index of the roots as well: Consul's endpoint watches
     * both. */
    authority->roots_index = commit->index;
    authority->roots->view.index = commit->index;
}

static void finished(void *argument, const struct error *error)
{
    struct authority_commit *commit = argument;
    struct authority *authority = commit->authority;
    if (!error)
        swap_in(commit);
    authority->state = authority->issuer ? AUTHORITY_INITIALIZED : AUTHORITY_UNINITIALIZED;
    if (!error && authority->changed)
        authority->changed(authority->changed_argument);
    commit->committed(commit, error);
    authority_commit_free(commit);
}

int authority_commit_submit(struct authority_commit *commit, struct error *error)
{
    struct authority *authority = commit->authority;
    int code = commit->roots ? put_roots(commit, error) : 0;
    if (!code && commit->issuer)
        code = put_key(commit, error);
    if (code)
        return code;
    if (commit->settings)
        put_settings(commit);
    store_put_meta(commit->batch,
                   &(struct store_meta){.key = AUTHORITY_META_ROOTS_INDEX, .integer = commit->index});
    authority_put_serial(authority, commit->batch);
    struct store_batch *batch = commit->batch;
    commit->batch = NULL;
    authority->state = AUTHORITY_RECONFIGURING;
    store_submit(authority->setup.store, batch, finished, commit);
    return 0;
}

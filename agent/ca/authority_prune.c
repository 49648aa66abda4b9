/* SPDX-License-Identifier: MIT */
/* Housekeeping: what has lost its meaning goes. */
#include "agent/ca/authority_internal.h"

#include <stdlib.h>

#include "agent/audit.h"
#include "agent/log.h"

enum {
    INVENTORY_KEEP_SEC = 7 * 86400, /* expired lines stay this long, for whoever looks into what was issued */
    INVENTORY_EVERY_SEC = 3600,
};

/* Rotated out more than twice the leaf TTL ago, and no leaf that it issued lives. Cross-signed certificates
 * do not count: what chains through one to an old root chains to the new root by itself. */
static bool is_done_with(const struct authority *authority, const struct source_root *root, int64_t now)
{
    struct x509 certificate;
    uint8_t buffer[KEY_ID_BYTES];
    if (root->active || !root->rotated_out_at)
        return false;
    if (now - root->rotated_out_at <= 2 * authority_leaf_ttl_sec(authority))
        return false;
    if (x509_parse(&certificate, root->der, root->der_size, NULL))
        return false;
    return authority_issued_until(authority, authority_signer_id(&certificate, buffer)) < now;
}

/* Says whether anything went. A root that lost an intermediate has modify_index 0 until the index is drawn.
 */
static bool prune(const struct authority *authority, struct authority_root_set *copy, int64_t now)
{
    bool changed = false;
    for (size_t i = copy->view.count; i--;) {
        if (is_done_with(authority, &copy->items[i], now)) {
            authority_root_set_remove(copy, i);
            changed = true;
        } else if (authority_root_drop_expired(&copy->items[i], now)) {
            copy->items[i].modify_index = 0;
            changed = true;
        }
    }
    return changed;
}

/* The commit holds the set that was replaced. */
static void pruned(struct authority_commit *commit, const struct error *error)
{
    if (error) {
        log_warning(log_message("old roots were not pruned, will try again"), log_reason(error));
        return;
    }
    for (size_t i = 0; i < commit->roots->view.count; i++) {
        const char *id = commit->roots->items[i].id;
        if (authority_root_set_find(commit->authority->roots, id) < commit->authority->roots->view.count)
            continue;
        audit_emit("root_pruned", log_text("root", id));
        log_info(log_message("old root pruned: nothing that is alive chains to it"), log_text("root", id));
    }
}

static void prune_roots(struct authority *authority, int64_t now)
{
    struct error error = {0};
    struct authority_root_set *copy = authority_root_set_copy(authority->roots);
    struct authority_commit *commit = NULL;
    if (!copy || !prune(authority, copy, now)) {
        authority_root_set_free(copy);
        return;
    }
    commit = authority_commit_new(authority, &error);
    if (commit) {
        for (size_t i = 0; i < copy->view.count; i++)
            if (!copy->items[i].modify_index)
                copy->items[i].modify_index = commit->index;
        commit->roots = copy;
        commit->committed = pruned;
        if (authority_commit_submit(commit, &error) == 0)
            return;
        authority_commit_free(commit);
    } else {
        authority_root_set_free(copy);
    }
    log_warning(log_message("old roots were not pruned, will try again"), log_reason(&error));
}

static void prune_inventory(struct authority *authority, int64_t now)
{
    /* Absolute: a clock that was set back must not stop this for long. */
    if (llabs(now - authority->inventory_pruned_at) < INVENTORY_EVERY_SEC)
        return;
    struct store_batch *batch = store_batch_new();
    if (!batch)
        return;
    store_prune_certificates(batch, now - INVENTORY_KEEP_SEC);
    store_submit(authority->setup.store, batch, NULL, NULL);
    authority->inventory_pruned_at = now;
}

void authority_tick(struct authority *authority)
{
    int64_t now = authority_now(authority);
    if (authority->state != AUTHORITY_INITIALIZED)
        return;
    prune_inventory(authority, now);
    prune_roots(authority, now);
}

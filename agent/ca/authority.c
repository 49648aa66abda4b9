/* SPDX-License-Identifier: MIT */
/* The authority's state: loading it, what others may see of it, and its end. */
#include "agent/ca/authority_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t authority_now(const struct authority *authority)
{
    return authority->setup.now ? authority->setup.now(authority->setup.argument) : (int64_t)time(NULL);
}

void authority_set_cluster(struct authority *authority, const char *cluster_id)
{
    snprintf(authority->cluster_id, sizeof authority->cluster_id, "%s", cluster_id);
    snprintf(authority->trust_domain, sizeof authority->trust_domain, "%s.consul", authority->cluster_id);
}

static struct authority_issued *find_issued(const struct authority *authority, struct der_slice id)
{
    for (size_t i = 0; i < authority->issued_count; i++) {
        struct authority_issued *issued = &authority->issued[i];
        if (der_equal(id, der_slice(issued->issuer_key_id, issued->size)))
            return issued;
    }
    return NULL;
}

int authority_note_issued(struct authority *authority, const uint8_t *issuer_key_id, size_t size,
                          int64_t not_after)
{
    struct authority_issued *issued = find_issued(authority, der_slice(issuer_key_id, size));
    if (!issued) {
        struct authority_issued *grown =
            reallocarray(authority->issued, authority->issued_count + 1, sizeof *grown);
        uint8_t *id = malloc(size + 1);
        authority->issued = grown ? grown : authority->issued;
        if (!grown || !id) {
            free(id);
            return ERROR_SYSTEM;
        }
        memcpy(id, issuer_key_id, size);
        issued = &authority->issued[authority->issued_count++];
        *issued = (struct authority_issued){.issuer_key_id = id, .size = size};
    }
    if (not_after > issued->not_after)
        issued->not_after = not_after;
    return 0;
}

int64_t authority_issued_until(const struct authority *authority, struct der_slice issuer_key_id)
{
    const struct authority_issued *issued = find_issued(authority, issuer_key_id);
    return issued ? issued->not_after : 0;
}

void authority_put_serial(const struct authority *authority, struct store_batch *batch)
{
    store_put_meta(batch,
                   &(struct store_meta){.key = AUTHORITY_META_SERIAL, .integer = authority->last_serial});
}

/* ---- Loading ---- */

static int load_meta(void *argument, const struct store_meta *row, struct error *error)
{
    struct authority *authority = argument;
    if (strcmp(row->key, AUTHORITY_META_CLUSTER_ID) == 0) {
        if (!row->text || strlen(row->text) != AUTHORITY_CLUSTER_ID_SIZE - 1)
            return error_set(error, ERROR_CORRUPT, "store: the cluster id is no UUID");
        authority_set_cluster(authority, row->text);
    } else if (strcmp(row->key, AUTHORITY_META_SERIAL) == 0) {
        authority->last_serial = row->integer;
    } else if (strcmp(row->key, AUTHORITY_META_CRL_NUMBER) == 0) {
        authority->crl_number = row->integer;
    } else if (strcmp(row->key, AUTHORITY_META_ROOTS_INDEX) == 0) {
        authority->roots_index = row->integer;
    } else if (strcmp(row->key, AUTHORITY_META_FILE_SETTINGS) == 0 && row->text) {
        snprintf(authority->file_settings, sizeof authority->file_settings, "%s", row->text);
    }
    return 0;
}

static int load_root(void *argument, const struct store_root *row, struct error *error)
{
    struct authority *authority = argument;
    struct source_root root = {0};
    int code = authority_root_load(&root, row, error);
    if (code)
        return code;
    struct authority_root_set *grown = authority_root_set_copy(authority->roots);
    if (!grown) {
        authority_root_clear(&root);
        return error_errno(error, "store: roots");
    }
    authority_root_set_put(grown, &root);
    authority_root_set_free(authority->roots);
    authority->roots = grown;
    return 0;
}

static int load_settings(void *argument, const struct store_ca_config *row, struct error *error)
{
    struct authority *authority = argument;
    int code =
        authority_settings_parse(row->config_json, strlen(row->config_json), &authority->settings, error);
    if (code)
        return error_at(error, "store");
    authority->settings->force_without_cross_signing = row->force_without_cross_signing;
    authority->settings->create_index = row->create_index;
    authority->settings->modify_index = row->modify_index;
    return 0;
}

/* Picks the key of the active root; others are none of ours. */
static int load_key(void *argument, const struct store_ca_key *row, struct error *error)
{
    struct authority *authority = argument;
    const struct source_root *root = &authority->roots->items[authority->roots->view.active];
    struct x509 certificate;
    uint8_t id[KEY_ID_BYTES];
    char name[AUTHORITY_KEY_ID_SIZE];
    int code = x509_parse(&certificate, root->der, root->der_size, error);
    if (code)
        return code;
    if (public_key_id(certificate.public_key.spki, id))
        return error_set(error, ERROR_CRYPTO, "store: root %s: SHA-256 failed", root->id);
    authority_key_name(id, name);
    if (strcmp(name, row->key_id) != 0)
        return 0;
    struct key *key;
    code = authority_key_load(authority, row, &key, error);
    if (code)
        return code;
    code = authority_issuer_make(root, key, &authority->issuer, error);
    if (code) {
        key_free(key);
        return code;
    }
    authority->key_is_unsealed = authority->setup.keywrap && !row->sealed;
    return 0;
}

static int load_certificate(void *argument, const struct store_certificate *row, struct error *error)
{
    if (strcmp(row->kind, "leaf") != 0 && strcmp(row->kind, "intermediate") != 0)
        return 0;
    if (authority_note_issued(argument, row->issuer_key_id.data, row->issuer_key_id.size, row->not_after))
        return error_errno(error, "store: inventory");
    return 0;
}

static int load_all(struct authority *authority, struct error *error)
{
    struct store *store = authority->setup.store;
    int code;
    if ((code = store_load_meta(store, load_meta, authority, error)) ||
        (code = store_load_roots(store, load_root, authority, error)) ||
        (code = store_load_ca_config(store, load_settings, authority, error)) ||
        (code = store_load_certificates(store, load_certificate, authority, error)))
        return code;
    if (!authority->roots && !authority->settings && !authority->cluster_id[0])
        return 0;
    if (!authority->roots || !authority->settings || !authority->cluster_id[0])
        return error_set(error, ERROR_CORRUPT,
                         "store: the CA is incomplete (%s); put a backup of the store in its place",
                         !authority->roots      ? "no roots"
                         : !authority->settings ? "no configuration"
                                                : "no cluster id");
    code =
        authority_root_set_finish(authority->roots, authority->trust_domain, authority->roots_index, error);
    if (code)
        return error_at(error, "store");
    code = store_load_ca_keys(store, load_key, authority, error);
    if (!code && !authority->issuer)
        code = error_set(
            error, ERROR_CORRUPT,
            "store: the private key of the active root is not there; put a backup of the store in its "
            "place");
    if (!code)
        authority->state = AUTHORITY_INITIALIZED;
    return code;
}

int authority_load(const struct authority_setup *setup, struct authority **authority, struct error *error)
{
    struct authority *made = calloc(1, sizeof *made);
    if (!made)
        return error_errno(error, "CA");
    made->setup = *setup;
    int code = load_all(made, error);
    if (code) {
        authority_free(made);
        return code;
    }
    *authority = made;
    return 0;
}

void authority_free(struct authority *authority)
{
    if (!authority)
        return;
    for (size_t i = 0; i < authority->issued_count; i++)
        free(authority->issued[i].issuer_key_id);
    free(authority->issued);
    authority_root_set_free(authority->roots);
    authority_issuer_release(authority->issuer);
    authority_settings_free(authority->settings);
    free(authority);
}

/* ---- Views ---- */

void authority_on_change(struct authority *authority, void (*changed)(void *argument), void *argument)
{
    authority->changed = changed;
    authority->changed_argument = argument;
}

const char *authority_cluster_id(const struct authority *authority)
{
    return authority->cluster_id;
}

const char *authority_trust_domain(const struct authority *authority)
{
    return authority->trust_domain;
}

const struct source_roots *authority_roots(const struct authority *authority)
{
    static const struct source_roots none = {.trust_domain = ""};
    return authority->roots ? &authority->roots->view : &none;
}

int64_t authority_leaf_ttl_sec(const struct authority *authority)
{
    struct ca_config standard;
    ca_config_default(&standard);
    int64_t ttl_ns = authority->settings ? authority->settings->ca.leaf_ttl_ns : standard.leaf_ttl_ns;
    return ttl_ns / 1000000000 + (ttl_ns % 1000000000 > 0);
}

bool authority_is_signing_key(const struct authority *authority, const uint8_t *key_id, size_t size)
{
    uint8_t buffer[KEY_ID_BYTES];
    return authority->issuer &&
           der_equal(authority_signer_id(&authority->issuer->certificate, buffer), der_slice(key_id, size));
}

static const char *state_name(const struct authority *authority)
{
    static const char *const names[] = {
        [AUTHORITY_UNINITIALIZED] = "UNINITIALIZED",
        [AUTHORITY_INITIALIZED] = "INITIALIZED",
        [AUTHORITY_RECONFIGURING] = "RECONFIGURING",
    };
    return names[authority->state];
}

void authority_describe(const struct authority *authority, struct json_writer *json)
{
    json_member_text(json, "State", state_name(authority));
    json_member_text(json, "ClusterID", authority->cluster_id);
    json_member_text(json, "TrustDomain", authority->trust_domain);
    json_member_bool(json, "KeySealed", authority->setup.keywrap != NULL);
    json_member_u64(json, "LastSerial", authority->last_serial);
    json_member_u64(json, "Signing", authority->signing);
    json_member_i64(json, "LeafCertTTLSeconds", authority_leaf_ttl_sec(authority));
    if (!authority->roots)
        return;
    const struct source_root *active = &authority->roots->items[authority->roots->view.active];
    json_member_text(json, "ActiveRootID", active->id);
    json_member_text(json, "SigningKeyID", active->signing_key_id);
    json_key(json, "ActiveRootNotAfter");
    json_time(json, (struct timespec){.tv_sec = (time_t)active->not_after});
    json_member_u64(json, "Roots", authority->roots->view.count);
    json_member_u64(json, "ConfigIndex", authority->settings->modify_index);
    json_member_u64(json, "RootsIndex", authority->roots_index);
}

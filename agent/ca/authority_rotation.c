/* SPDX-License-Identifier: MIT */
/* How a new root comes to be: generated or imported, signed by itself and by the root before it, and tried
 * out before anything is stored. */
#include "agent/ca/authority_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/audit.h"
#include "agent/ca/path.h"
#include "agent/ca/pem.h"

void authority_rotation_free(struct authority_rotation *rotation)
{
    if (!rotation)
        return;
    authority_issuer_release(rotation->old);
    authority_settings_free(rotation->settings);
    key_free(rotation->key);
    free(rotation->root);
    free(rotation->cross);
    free(rotation);
}

/* A key object of its own for the new issuer. */
static int copy_key(const struct key *key, struct ca_thread *thread, struct key **copy, struct error *error)
{
    uint8_t *der;
    size_t size;
    int code = key_export_der(key, KEY_FORMAT_PKCS8, &der, &size, error);
    if (code)
        return code;
    code = key_import_der(thread, der, size, copy, error);
    pem_free_secret(der, size);
    return code;
}

/* The key that the settings ask for; none when a new one is to be generated. */
static int take_key(struct authority_rotation *rotation, struct ca_thread *thread, struct error *error)
{
    const struct authority_settings *settings = rotation->settings;
    if (settings->key_is_kept)
        return copy_key(rotation->old->key, thread, &rotation->key, error);
    if (!settings->private_key)
        return 0;
    int code =
        key_import_pem(thread, settings->private_key, strlen(settings->private_key), &rotation->key, error);
    if (code)
        return error_at(error, "PrivateKey");
    if (key_type(rotation->key) != KEY_TYPE_EC && key_type(rotation->key) != KEY_TYPE_RSA)
        return error_set(error, ERROR_INVALID, "private key type must be either 'ec' or 'rsa'");
    return 0;
}

static int take_certificate(struct authority_rotation *rotation, struct error *error)
{
    const char *pem = rotation->settings->root_cert;
    if (!pem)
        return 0;
    int code =
        pem_decode_only(pem, strlen(pem), PEM_CERTIFICATE, &rotation->root, &rotation->root_size, error);
    if (code)
        return error_at(error, "RootCert");
    rotation->imported = true;
    return 0;
}

/* Whether the active root is what the settings ask for already. */
static bool root_may_stay(const struct authority_rotation *rotation)
{
    const struct authority_issuer *old = rotation->old;
    if (!old)
        return false;
    if (!rotation->key)
        return rotation->key_may_stay;
    bool same_key = memcmp(key_id(rotation->key), key_id(old->key), KEY_ID_BYTES) == 0;
    bool same_root = !rotation->root ||
                     (rotation->root_size == old->size && memcmp(rotation->root, old->der, old->size) == 0);
    return same_key && same_root;
}

static bool has_uri(const struct x509 *certificate, const char *uri)
{
    struct der_slice is = x509_only_uri(certificate);
    return is.data && is.length == strlen(uri) && strncasecmp((const char *)is.data, uri, is.length) == 0;
}

/* What Consul takes without a look and then cannot sign with, or nobody can verify. */
static int check_import(const struct authority_rotation *rotation, const struct x509 *root,
                        struct error *error)
{
    char uri[sizeof "spiffe://" + AUTHORITY_TRUST_DOMAIN_SIZE];
    struct der_slice found = x509_only_uri(root);
    snprintf(uri, sizeof uri, "spiffe://%s", rotation->trust_domain);
    if (!der_equal(root->public_key.spki, key_public(rotation->key)->spki))
        return error_set(error, ERROR_CONFLICT, "RootCert and PrivateKey do not belong together");
    if (!root->is_ca)
        return error_set(error, ERROR_INVALID, "RootCert is not a CA certificate (basicConstraints CA:TRUE)");
    if (root->key_usage_extension.value.data && !(root->key_usage & X509_KEY_CERT_SIGN))
        return error_set(error, ERROR_INVALID,
                         "RootCert may not sign certificates (keyUsage lacks keyCertSign)");
    if (root->not_after < rotation->now)
        return error_set(error, ERROR_INVALID, "RootCert has expired");
    if (root->not_before > rotation->now)
        return error_set(error, ERROR_INVALID, "RootCert is not valid yet; is the clock right?");
    if (!has_uri(root, uri))
        return error_set(
            error, ERROR_INVALID,
            "RootCert has %s%.*s where this cluster needs the one URI name %s; set cluster_id, or make a "
            "certificate with that name",
            found.data ? "the URI name " : "not exactly one URI name", (int)(found.data ? found.length : 0),
            found.data ? (const char *)found.data : "", uri);
    return 0;
}

static int make_root(struct authority_rotation *rotation, struct ca_thread *thread, struct error *error)
{
    const struct ca_config *ca = &rotation->settings->ca;
    char name[CERTIFICATE_COMMON_NAME_MAX_BYTES + 1], uri[sizeof "spiffe://" + AUTHORITY_TRUST_DOMAIN_SIZE];
    struct certificate_terms terms = {
        .serial = rotation->root_serial,
        .not_before = rotation->now,
        .not_after = rotation->now + ca->root_ttl_ns / 1000000000,
    };
    int code = 0;
    if (!rotation->key)
        code = key_generate(thread, ca_config_key_type(ca), (unsigned)ca->private_key_bits, &rotation->key,
                            error);
    if (!code)
        code =
            certificate_ca_common_name(thread, "pri", AUTHORITY_PROVIDER, rotation->cluster_id, name, error);
    if (code)
        return code;
    snprintf(uri, sizeof uri, "spiffe://%s", rotation->trust_domain);
    return certificate_make_root(thread, rotation->key, name, uri, &terms, &rotation->root,
                                 &rotation->root_size, error);
}

static int cross_sign(struct authority_rotation *rotation, const struct x509 *root, struct ca_thread *thread,
                      struct error *error)
{
    struct certificate_issuer issuer = {&rotation->old->certificate, rotation->old->key};
    int64_t begin = rotation->now - CERTIFICATE_BACKDATE_SEC;
    struct certificate_terms terms = {
        .serial = rotation->cross_serial,
        .not_before = begin,
        .not_after = begin + CERTIFICATE_CROSS_SIGNED_SEC,
    };
    return certificate_cross_sign(thread, &issuer, root, &terms, &rotation->cross, &rotation->cross_size,
                                  error);
}

/* Verifies a leaf that never leaves this function up to `anchor`: what fails here would fail for every leaf.
 */
static int verify_trial(const struct authority_rotation *rotation, const struct x509 *trial,
                        const struct x509 *anchor, struct error *error)
{
    struct x509 cross;
    const struct x509 *intermediates[] = {&cross};
    struct path_request request = {
        .leaf = trial,
        .intermediates = intermediates,
        .intermediate_count = rotation->cross != NULL,
        .anchors = &anchor,
        .anchor_count = 1,
        .now = rotation->now,
        .purpose = PATH_PURPOSE_CLIENT,
    };
    if (rotation->cross && x509_parse(&cross, rotation->cross, rotation->cross_size, error))
        return ERROR_CRYPTO;
    return path_verify(&request, NULL, error);
}

static int try_chains(const struct authority_rotation *rotation, const struct x509 *root,
                      struct ca_thread *thread, struct error *error)
{
    struct certificate_issuer issuer = {root, rotation->key};
    struct certificate_terms terms = {
        .serial = 1,
        .not_before = rotation->now - CERTIFICATE_BACKDATE_SEC,
        .not_after = rotation->now + CERTIFICATE_BACKDATE_SEC,
    };
    struct x509 trial;
    uint8_t *der;
    size_t size;
    char uri[AUTHORITY_TRUST_DOMAIN_SIZE + 64];
    snprintf(uri, sizeof uri, "spiffe://%s/ns/default/dc/dc1/svc/trial", rotation->trust_domain);
    struct general_name name = general_name_text(GENERAL_NAME_URI, uri);
    struct certificate_leaf leaf = {.spki = key_public(rotation->key)->spki, .names = &name, .name_count = 1};
    int code = certificate_make_leaf(thread, &issuer, &leaf, &terms, &der, &size, error);
    if (code)
        return code;
    if ((code = x509_parse(&trial, der, size, error)) || (code = verify_trial(rotation, &trial, root, error)))
        error_at(error, "the new root cannot be used");
    else if (rotation->cross && (code = verify_trial(rotation, &trial, &rotation->old->certificate, error)))
        error_at(error,
                 "the active root cannot cross-sign the new one; ForceWithoutCrossSigning does without");
    free(der);
    return code;
}

static int run(struct authority_rotation *rotation, struct ca_thread *thread, struct error *error)
{
    struct x509 root;
    int code = take_key(rotation, thread, error);
    if (!code)
        code = take_certificate(rotation, error);
    if (code)
        return code;
    rotation->root_stays = root_may_stay(rotation);
    if (rotation->root_stays)
        return 0;
    if (!rotation->imported && (code = make_root(rotation, thread, error)))
        return code;
    if ((code = x509_parse(&root, rotation->root, rotation->root_size, error)))
        return error_at(error, "RootCert");
    if (rotation->imported && (code = check_import(rotation, &root, error)))
        return code;
    /* Nobody trusts an expired root any more: its signature would be of no use. */
    bool cross = rotation->old && !rotation->force && rotation->now <= rotation->old->certificate.not_after;
    if (cross && (code = cross_sign(rotation, &root, thread, error)))
        return code;
    return try_chains(rotation, &root, thread, error);
}

void authority_rotation_run(struct authority_rotation *rotation, struct ca_thread *thread)
{
    rotation->code = run(rotation, thread, &rotation->error);
}

static void add_inventory(struct authority_rotation *rotation, struct authority_commit *commit,
                          const char *kind, const uint8_t *der, size_t size, const struct x509 *issuer)
{
    struct x509 certificate;
    uint8_t buffer[KEY_ID_BYTES];
    if (x509_parse(&certificate, der, size, NULL)) /* it was parsed before */
        return;
    struct der_slice signer = authority_signer_id(issuer ? issuer : &certificate, buffer);
    char uri[sizeof "spiffe://" + AUTHORITY_TRUST_DOMAIN_SIZE];
    snprintf(uri, sizeof uri, "spiffe://%s", rotation->trust_domain);
    store_add_certificate(commit->batch, &(struct store_certificate){
                                             .issuer_key_id = {signer.data, signer.length},
                                             .serial = {certificate.serial.data, certificate.serial.length},
                                             .kind = kind,
                                             .subject_uri = uri,
                                             .not_before = certificate.not_before,
                                             .not_after = certificate.not_after,
                                             .issued_at = rotation->now,
                                         });
}

static void retire(struct authority_root_set *roots, int64_t now, uint64_t index)
{
    for (size_t i = 0; i < roots->view.count; i++) {
        struct source_root *root = &roots->items[i];
        if (!root->active)
            continue;
        root->active = false;
        root->rotated_out_at = now;
        root->modify_index = index;
    }
}

int authority_rotation_apply(struct authority_rotation *rotation, struct authority_commit *commit,
                             struct error *error)
{
    struct source_root root = {0};
    commit->roots = authority_root_set_copy(rotation->authority->roots);
    if (!commit->roots)
        return error_errno(error, "cannot change the CA");
    int code = authority_root_make(&root, rotation->root, rotation->root_size, rotation->cluster_id, error);
    if (!code && rotation->cross)
        code = authority_root_append(&root, rotation->cross, rotation->cross_size, error);
    if (!code)
        code = authority_issuer_make(&root, rotation->key, &commit->issuer, error);
    if (code) {
        authority_root_clear(&root);
        return code;
    }
    rotation->key = NULL;
    root.active = true;
    root.create_index = root.modify_index = commit->index;
    retire(commit->roots, rotation->now, commit->index);
    authority_root_set_put(commit->roots, &root);
    if (!rotation->imported)
        add_inventory(rotation, commit, "root", rotation->root, rotation->root_size, NULL);
    if (rotation->cross)
        add_inventory(rotation, commit, "cross", rotation->cross, rotation->cross_size,
                      &rotation->old->certificate);
    return 0;
}

static void audit_certificate(const char *kind, const uint8_t *der, size_t size)
{
    struct x509 certificate;
    if (x509_parse(&certificate, der, size, NULL))
        return;
    audit_emit("certificate_issued", log_text("kind", kind),
               log_hex("serial", certificate.serial.data, certificate.serial.length),
               log_i64("not_after", certificate.not_after));
}

void authority_rotation_audit(const struct authority_rotation *rotation)
{
    char old[X509_ID_TEXT_BYTES] = "";
    const struct source_roots *roots = authority_roots(rotation->authority);
    if (rotation->old && x509_root_id(&rotation->old->certificate, old))
        old[0] = '\0';
    if (!rotation->imported)
        audit_certificate("root", rotation->root, rotation->root_size);
    if (rotation->cross)
        audit_certificate("cross", rotation->cross, rotation->cross_size);
    audit_emit(rotation->old ? "ca_rotated" : "ca_bootstrapped",
               log_text("root", roots->roots[roots->active].id), log_text("old_root", old),
               log_bool("cross_signed", rotation->cross != NULL), log_bool("imported", rotation->imported),
               log_text("trust_domain", rotation->trust_domain));
}

/* SPDX-License-Identifier: MIT */
/* A leaf as it is kept over restarts: certificates in DER, the key in PKCS#8, sealed where a key file is configured. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ca/key.h"
#include "agent/ca/pem.h"
#include "agent/core/leaves_internal.h"
#include "agent/core/model.h"
#include "agent/der.h"

/* What a sealed key is bound to: it opens for this service only. */
static bool seal_context(const char *service, char *text, size_t size)
{
    return snprintf(text, size, "leaf-key/%s", service) < (int)size;
}

int leaf_to_store(const struct leaf *leaf, const struct source_leaf *made, uint64_t index,
                  const struct keywrap *keywrap, struct ca_thread *thread, struct store_batch *batch,
                  struct error *error)
{
    char context[1024];
    uint8_t *sealed = NULL;
    size_t sealed_size = 0;
    struct store_leaf row = {
        .service = leaf->service,
        .sealed = keywrap != NULL,
        .key = {made->key_der, made->key_der_size},
        .chain = {made->chain_der, made->chain_der_size},
        .uri = made->uri,
        .not_before = made->not_before,
        .not_after = made->not_after,
        .serial = {made->serial, made->serial_size},
        .issuer_key_id = {made->issuer_key_id, made->issuer_key_id_size},
        .version = index,
        .create_index = index,
        .modify_index = index,
        .requested = leaf->info.requested,
        .last_used = leaf->last_used,
    };
    if (keywrap) {
        if (!seal_context(leaf->service, context, sizeof context))
            return error_set(error, ERROR_INVALID, "service \"%s\": the name is too long", leaf->service);
        int code = keywrap_seal(keywrap, thread, context, made->key_der, made->key_der_size, &sealed,
                                &sealed_size, error);
        if (code)
            return code;
        row.key = (struct store_blob){sealed, sealed_size};
    }
    store_put_leaf(batch, &row);
    free(sealed);
    return 0;
}

static int open_key(const struct store_leaf *row, const struct keywrap *keywrap, struct source_leaf *leaf,
                    struct error *error)
{
    char context[1024];
    if (!row->sealed) {
        leaf->key_der = malloc(row->key.size);
        if (!leaf->key_der)
            return error_set(error, ERROR_SYSTEM, "no memory");
        memcpy(leaf->key_der, row->key.data, row->key.size);
        leaf->key_der_size = row->key.size;
        return 0;
    }
    if (!keywrap)
        return error_set(error, ERROR_DENIED, "its key is sealed; configure the key_file it was sealed with");
    if (!seal_context(row->service, context, sizeof context))
        return error_set(error, ERROR_CORRUPT, "the name is too long");
    return keywrap_open(keywrap, context, row->key.data, row->key.size, &leaf->key_der, &leaf->key_der_size,
                        error);
}

static int export_key_pem(struct source_leaf *leaf, struct ca_thread *thread, struct error *error)
{
    struct key *key;
    size_t size;
    int code = key_import_der(thread, leaf->key_der, leaf->key_der_size, &key, error);
    if (code)
        return code;
    code = key_export_pem(key, KEY_FORMAT_TRADITIONAL, &leaf->key_pem, &size, error);
    key_free(key);
    return code;
}

/* Appends the PEM of each certificate of the chain; notes where the first one ends. */
static int export_chain_pem(struct source_leaf *leaf, struct error *error)
{
    size_t used = 0;
    size_t at = 0;
    while (at < leaf->chain_der_size) {
        struct der_cursor cursor = der_cursor(der_slice(leaf->chain_der + at, leaf->chain_der_size - at));
        struct der_element certificate;
        char *text;
        size_t size;
        if (der_any(&cursor, &certificate) != 0)
            return error_set(error, ERROR_CORRUPT, "the certificate chain is damaged");
        struct der_slice whole = certificate.whole;
        int code = pem_encode("CERTIFICATE", whole.data, whole.length, &text, &size, error);
        if (code)
            return code;
        char *grown = realloc(leaf->chain_pem, used + size + 1);
        if (!grown) {
            free(text);
            return error_set(error, ERROR_SYSTEM, "no memory");
        }
        leaf->chain_pem = grown;
        memcpy(leaf->chain_pem + used, text, size + 1);
        free(text);
        used += size;
        if (at == 0)
            leaf->leaf_der_size = whole.length;
        at += whole.length;
    }
    return at > 0 ? 0 : error_set(error, ERROR_CORRUPT, "there is no certificate");
}

static uint8_t *copy(struct store_blob blob)
{
    uint8_t *bytes = malloc(blob.size + 1);
    if (bytes && blob.size)
        memcpy(bytes, blob.data, blob.size);
    return bytes;
}

int leaf_from_store(const struct store_leaf *row, const struct keywrap *keywrap, struct ca_thread *thread,
                    struct source_leaf **out, struct error *error)
{
    struct source_leaf *leaf = calloc(1, sizeof *leaf);
    if (!leaf)
        return error_set(error, ERROR_SYSTEM, "no memory");
    leaf->uri = strdup(row->uri);
    leaf->serial = copy(row->serial);
    leaf->serial_size = row->serial.size;
    leaf->issuer_key_id = copy(row->issuer_key_id);
    leaf->issuer_key_id_size = row->issuer_key_id.size;
    leaf->chain_der = copy(row->chain);
    leaf->chain_der_size = row->chain.size;
    leaf->not_before = row->not_before;
    leaf->not_after = row->not_after;
    int code = leaf->uri && leaf->serial && leaf->issuer_key_id && leaf->chain_der
                   ? open_key(row, keywrap, leaf, error)
                   : error_set(error, ERROR_SYSTEM, "no memory");
    if (!code)
        code = export_key_pem(leaf, thread, error);
    if (!code)
        code = export_chain_pem(leaf, error);
    if (code) {
        source_leaf_free(leaf);
        return code;
    }
    *out = leaf;
    return 0;
}

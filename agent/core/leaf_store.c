/* SPDX-License-Identifier: MIT */
/* A leaf as it is kept over restarts: certificates in DER, the key in PKCS#8, sealed where a key file is configured. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ca/key.h"
#include "agent/ca/general_name.h"
#include "agent/ca/pem.h"
#include "agent/ca/x509.h"
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

static bool lists_dns(const struct config_texts *dns, struct der_slice name)
{
    for (size_t i = 0; i < dns->count; i++) /* a port is no part of the name */
        if (strcspn(dns->items[i], ":") == name.length && memcmp(dns->items[i], name.data, name.length) == 0)
            return true;
    return false;
}

static bool is_address(const char *text, struct der_slice address)
{
    uint8_t bytes[16];
    return (address.length == 4 && inet_pton(AF_INET, text, bytes) == 1 &&
            memcmp(bytes, address.data, 4) == 0) ||
           (address.length == 16 && inet_pton(AF_INET6, text, bytes) == 1 &&
            memcmp(bytes, address.data, 16) == 0);
}

static bool lists_ip(const struct config_texts *ip, struct der_slice address)
{
    for (size_t i = 0; i < ip->count; i++)
        if (is_address(ip->items[i], address))
            return true;
    return false;
}

/* Is the text one of the certificate's names of this type? */
static bool certificate_has(const struct x509 *certificate, enum general_name_type type, const char *text)
{
    struct config_texts one = {(char *[]){(char *)(uintptr_t)text}, 1};
    struct der_cursor names = x509_names(certificate);
    struct general_name name;
    while (!der_at_end(&names) && general_name_read(&names, &name, false) == 0)
        if (name.type == type && (type == GENERAL_NAME_DNS ? lists_dns : lists_ip)(&one, name.value))
            return true;
    return false;
}

bool leaf_has_names(const struct source_leaf *leaf, const struct config_texts *dns,
                    const struct config_texts *ip)
{
    struct x509 certificate;
    struct general_name name;
    if (x509_parse(&certificate, leaf->chain_der, leaf->leaf_der_size, NULL) != 0)
        return false;
    struct der_cursor names = x509_names(&certificate);
    while (!der_at_end(&names) && general_name_read(&names, &name, false) == 0)
        if ((name.type == GENERAL_NAME_DNS && !lists_dns(dns, name.value)) ||
            (name.type == GENERAL_NAME_IP && !lists_ip(ip, name.value)))
            return false;
    for (size_t i = 0; i < dns->count; i++)
        if (strcspn(dns->items[i], ":") > 0 &&
            !certificate_has(&certificate, GENERAL_NAME_DNS, dns->items[i]))
            return false;
    for (size_t i = 0; i < ip->count; i++)
        if (!certificate_has(&certificate, GENERAL_NAME_IP, ip->items[i]))
            return false;
    return true;
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

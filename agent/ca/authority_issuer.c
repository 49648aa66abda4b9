/* SPDX-License-Identifier: MIT */
/* The active root with its private key: in the store, and as the snapshot that workers sign with. */
#include "agent/ca/authority_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/ca/pem.h"

static int add_link(struct authority_issuer *issuer, const char *pem, struct error *error)
{
    struct authority_link *link = &issuer->intermediates[issuer->intermediate_count];
    struct x509 certificate;
    int code = pem_decode_only(pem, strlen(pem), PEM_CERTIFICATE, &link->der, &link->size, error);
    if (code)
        return error_at(error, "intermediate certificate");
    issuer->intermediate_count++;
    code = x509_parse(&certificate, link->der, link->size, error);
    if (code)
        return error_at(error, "intermediate certificate");
    link->not_after = certificate.not_after;
    link->pem = strdup(pem);
    return link->pem ? 0 : error_errno(error, "intermediate certificate");
}

int authority_issuer_make(const struct source_root *root, struct key *key, struct authority_issuer **issuer,
                          struct error *error)
{
    struct authority_issuer *made = calloc(1, sizeof *made);
    if (!made)
        return error_errno(error, "issuer");
    int code = 0;
    made->references = 1;
    made->der = malloc(root->der_size);
    made->intermediates = calloc(root->intermediate_count + 1, sizeof *made->intermediates);
    if (!made->der || !made->intermediates) {
        code = error_errno(error, "issuer");
        goto fail;
    }
    memcpy(made->der, root->der, root->der_size);
    made->size = root->der_size;
    code = x509_parse(&made->certificate, made->der, made->size, error);
    if (code)
        goto fail;
    if (!der_equal(made->certificate.public_key.spki, key_public(key)->spki)) {
        code = error_set(error, ERROR_CONFLICT,
                         "root %s: its certificate and its private key do not belong together", root->id);
        goto fail;
    }
    for (size_t i = 0; i < root->intermediate_count; i++)
        if ((code = add_link(made, root->intermediates_pem[i], error)))
            goto fail;
    made->key = key;
    *issuer = made;
    return 0;
fail:
    authority_issuer_release(made);
    return code;
}

struct authority_issuer *authority_issuer_hold(struct authority_issuer *issuer)
{
    if (issuer)
        issuer->references++;
    return issuer;
}

void authority_issuer_release(struct authority_issuer *issuer)
{
    if (!issuer || --issuer->references)
        return;
    for (size_t i = 0; i < issuer->intermediate_count; i++) {
        free(issuer->intermediates[i].der);
        free(issuer->intermediates[i].pem);
    }
    free(issuer->intermediates);
    free(issuer->der);
    key_free(issuer->key);
    free(issuer);
}

int authority_issuer_check(const struct authority_issuer *issuer, int64_t now, struct error *error)
{
    char text[64] = "";
    struct tm calendar;
    time_t end = (time_t)issuer->certificate.not_after;
    if (now <= issuer->certificate.not_after)
        return 0;
    if (gmtime_r(&end, &calendar))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S +0000 UTC", &calendar);
    /* The words of Consul, to the blank at the end. */
    return error_set(error, ERROR_CRYPTO, "root expired: certificate expired, expiration date: %s ", text);
}

void authority_key_name(const uint8_t id[KEY_ID_BYTES], char text[AUTHORITY_KEY_ID_SIZE])
{
    x509_colon_hex(id, KEY_ID_BYTES, text);
}

/* What a sealed key is bound to. */
static void seal_context(const char *key_name, char context[AUTHORITY_KEY_ID_SIZE + 8])
{
    snprintf(context, AUTHORITY_KEY_ID_SIZE + 8, "ca-key/%s", key_name);
}

int authority_key_store(const struct authority *authority, const struct key *key, struct store_batch *batch,
                        struct error *error)
{
    const struct keywrap *keywrap = authority->setup.keywrap;
    char name[AUTHORITY_KEY_ID_SIZE], context[AUTHORITY_KEY_ID_SIZE + 8];
    uint8_t *der, *sealed = NULL;
    size_t size, sealed_size = 0;
    int code = key_export_der(key, KEY_FORMAT_PKCS8, &der, &size, error);
    if (code)
        return code;
    authority_key_name(key_id(key), name);
    seal_context(name, context);
    if (keywrap)
        code =
            keywrap_seal(keywrap, authority->setup.thread, context, der, size, &sealed, &sealed_size, error);
    if (!code)
        store_put_ca_key(batch, &(struct store_ca_key){
                                    .key_id = name,
                                    .sealed = keywrap,
                                    .key = {keywrap ? sealed : der, keywrap ? sealed_size : size},
                                });
    free(sealed);
    pem_free_secret(der, size);
    return code;
}

int authority_key_load(const struct authority *authority, const struct store_ca_key *row, struct key **key,
                       struct error *error)
{
    const struct keywrap *keywrap = authority->setup.keywrap;
    char context[AUTHORITY_KEY_ID_SIZE + 8];
    if (!row->sealed) {
        int code = key_import_der(authority->setup.thread, row->key.data, row->key.size, key, error);
        return code ? error_at(error, "store: private key of the CA") : 0;
    }
    if (!keywrap)
        return error_set(
            error, ERROR_DENIED,
            "the private key of the CA is sealed in the store: configure the key_file or key_credential "
            "that it was sealed with");
    uint8_t *der;
    size_t size;
    seal_context(row->key_id, context);
    int code = keywrap_open(keywrap, context, row->key.data, row->key.size, &der, &size, error);
    if (code)
        return code;
    code = key_import_der(authority->setup.thread, der, size, key, error);
    pem_free_secret(der, size);
    return code ? error_at(error, "store: private key of the CA") : 0;
}

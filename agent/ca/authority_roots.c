/* SPDX-License-Identifier: MIT */
/* Roots as records, and sets of them. */
#include "agent/ca/authority_internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ca/pem.h"

static const char root_name[] = "Consul CA Primary Cert";

struct der_slice authority_signer_id(const struct x509 *certificate, uint8_t buffer[KEY_ID_BYTES])
{
    if (certificate->subject_key_id.data)
        return certificate->subject_key_id;
    if (public_key_id(certificate->public_key.spki, buffer))
        return (struct der_slice){0};
    return der_slice(buffer, KEY_ID_BYTES);
}

void authority_root_clear(struct source_root *root)
{
    for (size_t i = 0; i < root->intermediate_count; i++)
        free(root->intermediates_pem[i]);
    free(root->intermediates_pem);
    free(root->id);
    free(root->name);
    free(root->signing_key_id);
    free(root->external_trust_domain);
    free(root->pem);
    free(root->der);
    *root = (struct source_root){0};
}

/* Consul leaves SigningKeyID empty for a root without SKI, and every leaf then looks stale; we name the key
 * instead. */
static char *signing_key_text(const struct x509 *certificate)
{
    uint8_t buffer[KEY_ID_BYTES];
    struct der_slice id = authority_signer_id(certificate, buffer);
    char *text = id.data ? malloc(3 * id.length + 1) : NULL;
    if (text)
        x509_colon_hex(id.data, id.length, text);
    return text;
}

int authority_root_make(struct source_root *root, const uint8_t *der, size_t size, const char *cluster_id,
                        struct error *error)
{
    struct x509 certificate;
    char id[X509_ID_TEXT_BYTES];
    int code = x509_parse(&certificate, der, size, error);
    if (code)
        return error_at(error, "root");
    if (x509_root_id(&certificate, id))
        return error_set(error, ERROR_CRYPTO, "root: SHA-1 failed");
    code = pem_encode(PEM_CERTIFICATE, der, size, &root->pem, NULL, error);
    if (code)
        return code;
    root->id = strdup(id);
    root->name = strdup(root_name);
    root->signing_key_id = signing_key_text(&certificate);
    root->external_trust_domain = strdup(cluster_id);
    root->der = malloc(size);
    if (!root->id || !root->name || !root->signing_key_id || !root->external_trust_domain || !root->der) {
        code = error_errno(error, "root");
        authority_root_clear(root);
        return code;
    }
    memcpy(root->der, der, size);
    root->der_size = size;
    root->serial_number = x509_serial_low64(&certificate);
    root->not_before = certificate.not_before;
    root->not_after = certificate.not_after;
    root->key_type = key_type_name(certificate.public_key.type);
    root->key_bits = certificate.public_key.bits;
    return 0;
}

static int append_pem(struct source_root *root, char *pem, struct error *error)
{
    char **grown = reallocarray(root->intermediates_pem, root->intermediate_count + 1, sizeof *grown);
    if (!pem || !grown) {
        int code = error_errno(error, "intermediate certificate");
        free(pem);
        root->intermediates_pem = grown ? grown : root->intermediates_pem;
        return code;
    }
    grown[root->intermediate_count++] = pem;
    root->intermediates_pem = grown;
    return 0;
}

int authority_root_append(struct source_root *root, const uint8_t *intermediate, size_t size,
                          struct error *error)
{
    char *pem;
    int code = pem_encode(PEM_CERTIFICATE, intermediate, size, &pem, NULL, error);
    return code ? code : append_pem(root, pem, error);
}

static bool has_expired(const char *pem, int64_t now)
{
    uint8_t *der = NULL;
    size_t size;
    struct x509 certificate;
    bool expired = pem_decode_only(pem, strlen(pem), PEM_CERTIFICATE, &der, &size, NULL) == 0 &&
                   x509_parse(&certificate, der, size, NULL) == 0 && certificate.not_after < now;
    free(der);
    return expired;
}

bool authority_root_drop_expired(struct source_root *root, int64_t now)
{
    size_t kept = 0, before = root->intermediate_count;
    for (size_t i = 0; i < before; i++) {
        if (has_expired(root->intermediates_pem[i], now))
            free(root->intermediates_pem[i]);
        else
            root->intermediates_pem[kept++] = root->intermediates_pem[i];
    }
    root->intermediate_count = kept;
    return kept < before;
}

int authority_root_load(struct source_root *root, const struct store_root *row, struct error *error)
{
    int code = authority_root_make(root, row->der.data, row->der.size, row->external_trust_domain, error);
    if (code)
        return error_at(error, "store: root %s", row->id);
    for (size_t i = 0; i < row->intermediate_count && !code; i++)
        code = authority_root_append(root, row->intermediates[i].data, row->intermediates[i].size, error);
    char *name = strdup(row->name);
    if (!code && !name)
        code = error_errno(error, "root");
    if (!code && strcmp(row->id, root->id) != 0)
        code = error_set(error, ERROR_CORRUPT, "store: root %s has the certificate of root %s", row->id,
                         root->id);
    if (code) {
        free(name);
        authority_root_clear(root);
        return code;
    }
    free(root->name);
    root->name = name;
    root->active = row->active;
    root->rotated_out_at = row->rotated_out_at;
    root->create_index = row->create_index;
    root->modify_index = row->modify_index;
    return 0;
}

/* The intermediates as DER. On failure nothing is held. */
static int decode_intermediates(const struct source_root *root, struct store_blob **blobs,
                                struct error *error)
{
    struct store_blob *made = calloc(root->intermediate_count + 1, sizeof *made);
    if (!made)
        return error_errno(error, "root");
    for (size_t i = 0; i < root->intermediate_count; i++) {
        const char *pem = root->intermediates_pem[i];
        uint8_t *der;
        int code = pem_decode_only(pem, strlen(pem), PEM_CERTIFICATE, &der, &made[i].size, error);
        if (code) {
            while (i--)
                free((void *)made[i].data);
            free(made);
            return code;
        }
        made[i].data = der;
    }
    *blobs = made;
    return 0;
}

int authority_root_store(const struct source_root *root, struct store_batch *batch, struct error *error)
{
    struct store_blob *intermediates = NULL;
    int code = decode_intermediates(root, &intermediates, error);
    if (code)
        return code;
    store_put_root(batch, &(struct store_root){
                              .id = root->id,
                              .name = root->name,
                              .der = {root->der, root->der_size},
                              .pem_chain = root->pem,
                              .serial_number = root->serial_number,
                              .signing_key_id = root->signing_key_id,
                              .external_trust_domain = root->external_trust_domain,
                              .not_before = root->not_before,
                              .not_after = root->not_after,
                              .key_type = root->key_type,
                              .key_bits = root->key_bits,
                              .active = root->active,
                              .rotated_out_at = root->rotated_out_at,
                              .intermediates = intermediates,
                              .intermediate_count = root->intermediate_count,
                              .create_index = root->create_index,
                              .modify_index = root->modify_index,
                          });
    for (size_t i = 0; i < root->intermediate_count; i++)
        free((void *)intermediates[i].data);
    free(intermediates);
    return 0;
}

static bool copy_root(struct source_root *copy, const struct source_root *root)
{
    *copy = *root;
    copy->id = strdup(root->id);
    copy->name = strdup(root->name);
    copy->signing_key_id = strdup(root->signing_key_id);
    copy->external_trust_domain = strdup(root->external_trust_domain);
    copy->pem = strdup(root->pem);
    copy->der = malloc(root->der_size);
    copy->intermediates_pem = NULL;
    copy->intermediate_count = 0;
    bool fine = copy->id && copy->name && copy->signing_key_id && copy->external_trust_domain && copy->pem &&
                copy->der;
    if (copy->der)
        memcpy(copy->der, root->der, root->der_size);
    for (size_t i = 0; fine && i < root->intermediate_count; i++)
        fine = append_pem(copy, strdup(root->intermediates_pem[i]), NULL) == 0;
    if (!fine)
        authority_root_clear(copy);
    return fine;
}

struct authority_root_set *authority_root_set_copy(const struct authority_root_set *set)
{
    size_t count = set ? set->view.count : 0;
    struct authority_root_set *copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->items = calloc(count + 1, sizeof *copy->items);
    for (size_t i = 0; copy->items && i < count; i++) {
        if (!copy_root(&copy->items[i], &set->items[i]))
            break;
        copy->view.count++;
    }
    if (!copy->items || copy->view.count < count) {
        authority_root_set_free(copy);
        return NULL;
    }
    return copy;
}

void authority_root_set_free(struct authority_root_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->view.count; i++)
        authority_root_clear(&set->items[i]);
    free(set->items);
    free(set);
}

size_t authority_root_set_find(const struct authority_root_set *set, const char *id)
{
    size_t i = 0;
    while (i < set->view.count && strcmp(set->items[i].id, id) != 0)
        i++;
    return i;
}

void authority_root_set_put(struct authority_root_set *set, struct source_root *root)
{
    size_t position = authority_root_set_find(set, root->id);
    if (position == set->view.count)
        set->view.count++;
    else
        authority_root_clear(&set->items[position]);
    set->items[position] = *root;
    *root = (struct source_root){0};
}

void authority_root_set_remove(struct authority_root_set *set, size_t position)
{
    authority_root_clear(&set->items[position]);
    set->view.count--;
    memmove(&set->items[position], &set->items[position + 1],
            (set->view.count - position) * sizeof *set->items);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct source_root *)a)->id, ((const struct source_root *)b)->id);
}

int authority_root_set_finish(struct authority_root_set *set, const char *trust_domain, uint64_t index,
                              struct error *error)
{
    size_t active = 0;
    qsort(set->items, set->view.count, sizeof *set->items, by_id);
    for (size_t i = 0; i < set->view.count; i++) {
        if (!set->items[i].active)
            continue;
        active++;
        set->view.active = i;
    }
    if (active != 1)
        return error_set(error, ERROR_CORRUPT, "%zu roots are active; exactly one must be", active);
    set->view.roots = set->items;
    set->view.trust_domain = trust_domain;
    set->view.index = index;
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* Issuing leaves: limits and bookkeeping on the main thread, key and signature on a worker. */
#include "agent/ca/authority_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/ca/path.h"
#include "agent/ca/pem.h"

enum {
    LEAF_NAMES_MAX = 64,
    LEAF_URI_MAX_BYTES = 2048,
    LEAF_KEY_BITS = 256,               /* P-256 whatever the CA's key, as Consul's agents do */
    RATE_TOLERANCE_NS = 500 * 1000000, /* Consul lets a request wait so long for its turn */
};

struct leaf_job {
    struct worker_job job;
    struct authority *authority;
    struct authority_issuer *issuer;
    struct general_name names[LEAF_NAMES_MAX + 1];
    size_t name_count;
    char *text; /* what the names point into */
    uint8_t addresses[LEAF_NAMES_MAX][16];
    uint64_t serial;
    int64_t now, ttl_sec;
    uint64_t roots_index;
    bool counted;
    source_leaf_done *done;
    void *argument;
    /* The result: */
    struct source_leaf *leaf; /* its uri is set at the beginning */
    int code;
    struct error error;
};

static void job_free(struct leaf_job *job)
{
    if (!job)
        return;
    authority_issuer_release(job->issuer);
    source_leaf_free(job->leaf);
    free(job->text);
    free(job);
}

/* ---- On the worker ---- */

static uint8_t *copy_bytes(struct der_slice bytes)
{
    uint8_t *copy = malloc(bytes.length + 1);
    if (copy)
        memcpy(copy, bytes.data, bytes.length);
    return copy;
}

static int export_key(const struct key *key, struct source_leaf *leaf, struct error *error)
{
    int code = key_export_der(key, KEY_FORMAT_PKCS8, &leaf->key_der, &leaf->key_der_size, error);
    size_t size;
    return code ? code : key_export_pem(key, KEY_FORMAT_TRADITIONAL, &leaf->key_pem, &size, error);
}

/* The leaf and every intermediate of the active root in order, without those that have expired. */
static int make_chain(const struct leaf_job *job, const uint8_t *der, size_t size, struct error *error)
{
    const struct authority_issuer *issuer = job->issuer;
    struct source_leaf *leaf = job->leaf;
    char *pem;
    size_t pem_size;
    int code = pem_encode(PEM_CERTIFICATE, der, size, &pem, &pem_size, error);
    if (code)
        return code;
    size_t der_total = size, pem_total = pem_size;
    for (size_t i = 0; i < issuer->intermediate_count; i++) {
        der_total += issuer->intermediates[i].size;
        pem_total += strlen(issuer->intermediates[i].pem);
    }
    leaf->chain_der = malloc(der_total);
    leaf->chain_pem = malloc(pem_total + 1);
    if (!leaf->chain_der || !leaf->chain_pem) {
        code = error_errno(error, "leaf certificate");
        free(pem);
        return code;
    }
    memcpy(leaf->chain_der, der, size);
    leaf->chain_der_size = leaf->leaf_der_size = size;
    char *end = stpcpy(leaf->chain_pem, pem);
    free(pem);
    for (size_t i = 0; i < issuer->intermediate_count; i++) {
        const struct authority_link *link = &issuer->intermediates[i];
        if (link->not_after < job->now)
            continue;
        memcpy(leaf->chain_der + leaf->chain_der_size, link->der, link->size);
        leaf->chain_der_size += link->size;
        end = stpcpy(end, link->pem);
    }
    return 0;
}

/* Parses what was made as a stranger would, and verifies it up to the root. */
static int check_and_describe(const struct leaf_job *job, const uint8_t *der, size_t size,
                              struct error *error)
{
    struct source_leaf *leaf = job->leaf;
    struct x509 certificate;
    const struct x509 *anchor = &job->issuer->certificate;
    struct path_request request = {
        .leaf = &certificate,
        .anchors = &anchor,
        .anchor_count = 1,
        .now = job->now,
        .purpose = PATH_PURPOSE_CLIENT,
    };
    int code = x509_parse(&certificate, der, size, error);
    if (!code)
        code = path_verify(&request, NULL, error);
    if (code)
        return error_at(error, "the new leaf certificate does not verify");
    leaf->serial = copy_bytes(certificate.serial);
    leaf->serial_size = certificate.serial.length;
    leaf->issuer_key_id = copy_bytes(certificate.authority_key_id);
    leaf->issuer_key_id_size = certificate.authority_key_id.length;
    leaf->not_before = certificate.not_before;
    leaf->not_after = certificate.not_after;
    leaf->roots_index = job->roots_index;
    return leaf->serial && leaf->issuer_key_id ? 0 : error_errno(error, "leaf certificate");
}

static int make_leaf(struct leaf_job *job, struct ca_thread *thread, struct error *error)
{
    struct key *key = NULL;
    struct certificate_issuer issuer = {&job->issuer->certificate, job->issuer->key};
    int64_t begin = job->now - CERTIFICATE_BACKDATE_SEC;
    struct certificate_terms terms = {
        .serial = job->serial,
        .not_before = begin,
        .not_after = begin + job->ttl_sec,
    };
    uint8_t *der = NULL;
    size_t size = 0;
    int code = key_generate(thread, KEY_TYPE_EC, LEAF_KEY_BITS, &key, error);
    if (code)
        return code;
    struct certificate_leaf leaf = {
        .spki = key_public(key)->spki,
        .names = job->names,
        .name_count = job->name_count,
    };
    if (!(code = certificate_make_leaf(thread, &issuer, &leaf, &terms, &der, &size, error)) &&
        !(code = check_and_describe(job, der, size, error)) && !(code = make_chain(job, der, size, error)))
        code = export_key(key, job->leaf, error);
    free(der);
    key_free(key);
    return code;
}

static void run(struct worker_job *worker_job, struct ca_thread *thread)
{
    struct leaf_job *job = caa_container_of(worker_job, struct leaf_job, job);
    job->code = make_leaf(job, thread, &job->error);
}

/* ---- On the main thread ---- */

static void done(struct worker_job *worker_job)
{
    struct leaf_job *job = caa_container_of(worker_job, struct leaf_job, job);
    struct source_leaf *leaf = job->leaf;
    job->authority->signing -= job->counted;
    if (worker_job->cancelled)
        job->code = error_set(&job->error, ERROR_BUSY, "the agent is stopping");
    if (job->code) {
        job->done(job->argument, NULL, &job->error);
    } else {
        job->leaf = NULL;
        job->done(job->argument, leaf, NULL);
    }
    job_free(job);
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Consul's limits. There, a request may wait half a second for its turn; here those requests go ahead at
 * once: the same ones pass and the same are refused, and nothing waits. */
static int take_turn(struct authority *authority, struct error *error)
{
    const struct ca_config *ca = &authority->settings->ca;
    static const char text[] = "Rate limit reached, try again later";
    if (ca->csr_max_per_second > 0) {
        int64_t now = monotonic_ns();
        double interval_ns = 1e9 / ca->csr_max_per_second;
        if (authority->next_signature_ns < now)
            authority->next_signature_ns = now;
        if (authority->next_signature_ns - now > RATE_TOLERANCE_NS)
            return error_set(error, ERROR_BUSY, text);
        authority->next_signature_ns += interval_ns > 1e15 ? (int64_t)1e15 : (int64_t)interval_ns;
    } else if (ca->csr_max_concurrent > 0 && authority->signing >= (size_t)ca->csr_max_concurrent) {
        return error_set(error, ERROR_BUSY, text);
    }
    return 0;
}

static bool has_dns(const struct leaf_job *job, const char *name, size_t length)
{
    for (size_t i = 0; i < job->name_count; i++)
        if (job->names[i].type == GENERAL_NAME_DNS && der_equal(job->names[i].value, der_slice(name, length)))
            return true;
    return false;
}

/* As Consul: a port is cut off, empty and repeated names are dropped. */
static void add_dns(struct leaf_job *job, const char *name, char **text)
{
    size_t length = strcspn(name, ":");
    if (length == 0 || has_dns(job, name, length))
        return;
    memcpy(*text, name, length);
    job->names[job->name_count++] =
        (struct general_name){.type = GENERAL_NAME_DNS, .value = der_slice(*text, length)};
    *text += length;
}

static int add_ip(struct leaf_job *job, const char *address, struct error *error)
{
    uint8_t *bytes = job->addresses[job->name_count];
    size_t size = inet_pton(AF_INET, address, bytes) == 1    ? 4
                  : inet_pton(AF_INET6, address, bytes) == 1 ? 16
                                                             : 0;
    if (!size)
        return error_set(error, ERROR_INVALID, "leaf certificate: \"%.100s\" is not an IP address", address);
    job->names[job->name_count++] =
        (struct general_name){.type = GENERAL_NAME_IP, .value = der_slice(bytes, size)};
    return 0;
}

static int add_names(struct leaf_job *job, const struct authority_leaf_request *request, struct error *error)
{
    size_t size = 1;
    if (request->dns_count > LEAF_NAMES_MAX || request->ip_count > LEAF_NAMES_MAX - request->dns_count)
        return error_set(error, ERROR_LIMIT, "leaf certificate: more than %d names beside the URI",
                         LEAF_NAMES_MAX);
    for (size_t i = 0; i < request->dns_count; i++)
        size += strlen(request->dns[i]);
    job->text = malloc(size);
    if (!job->text)
        return error_errno(error, "leaf certificate");
    char *text = job->text;
    for (size_t i = 0; i < request->dns_count; i++)
        add_dns(job, request->dns[i], &text);
    for (size_t i = 0; i < request->ip_count; i++) {
        int code = add_ip(job, request->ip[i], error);
        if (code)
            return code;
    }
    job->names[job->name_count++] = general_name_text(GENERAL_NAME_URI, job->leaf->uri);
    return 0;
}

static int check_uri(const struct authority *authority, const char *uri, struct error *error)
{
    char prefix[sizeof "spiffe://" + AUTHORITY_TRUST_DOMAIN_SIZE];
    int length = snprintf(prefix, sizeof prefix, "spiffe://%s/", authority->trust_domain);
    if (strncmp(uri, prefix, (size_t)length) != 0)
        return error_set(error, ERROR_INVALID, "SPIFFE ID \"%.200s\" is not of the trust domain %s", uri,
                         authority->trust_domain);
    if (strlen(uri) > LEAF_URI_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "a SPIFFE ID has at most %d bytes", LEAF_URI_MAX_BYTES);
    return 0;
}

static int prepare(struct leaf_job *job, const struct authority_leaf_request *request, struct error *error)
{
    job->leaf = calloc(1, sizeof *job->leaf);
    if (!job->leaf || !(job->leaf->uri = strdup(request->uri)))
        return error_errno(error, "leaf certificate");
    return add_names(job, request, error);
}

/* From now on the root may have a living leaf, and is not pruned before that has ended. */
static int note_issuer(struct authority *authority, const struct leaf_job *job, struct error *error)
{
    uint8_t buffer[KEY_ID_BYTES];
    struct der_slice id = authority_signer_id(&job->issuer->certificate, buffer);
    if (authority_note_issued(authority, id.data, id.length, job->now + job->ttl_sec))
        return error_errno(error, "leaf certificate");
    return 0;
}

int authority_sign_leaf(struct authority *authority, const struct authority_leaf_request *request,
                        source_leaf_done *leaf_done, void *argument, struct error *error)
{
    if (!authority->issuer)
        return error_set(error, ERROR_CONFLICT,
                         "CA is uninitialized and unable to sign certificates yet: provider is nil");
    int64_t now = authority_now(authority);
    int code = check_uri(authority, request->uri, error);
    if (!code)
        code = authority_issuer_check(authority->issuer, now, error);
    if (code)
        return code;
    struct leaf_job *job = calloc(1, sizeof *job);
    if (!job)
        return error_errno(error, "leaf certificate");
    if ((code = prepare(job, request, error)) ||
        (!request->unlimited && (code = take_turn(authority, error))))
        goto fail;
    job->authority = authority;
    job->issuer = authority_issuer_hold(authority->issuer);
    job->now = now;
    job->ttl_sec = authority_leaf_ttl_sec(authority);
    job->roots_index = authority->roots_index;
    job->serial = authority->last_serial + 1;
    job->done = leaf_done;
    job->argument = argument;
    job->job.run = run;
    job->job.done = done;
    if ((code = note_issuer(authority, job, error)) ||
        (code = worker_submit(authority->workers, &job->job, error)))
        goto fail;
    authority->last_serial++;
    job->counted = !request->unlimited;
    authority->signing += job->counted;
    return 0;
fail:
    job_free(job);
    return code;
}

void authority_record_leaf(struct authority *authority, struct store_batch *batch,
                           const struct source_leaf *leaf, const char *service)
{
    store_add_certificate(batch, &(struct store_certificate){
                                     .issuer_key_id = {leaf->issuer_key_id, leaf->issuer_key_id_size},
                                     .serial = {leaf->serial, leaf->serial_size},
                                     .kind = "leaf",
                                     .subject_uri = leaf->uri,
                                     .service = service,
                                     .not_before = leaf->not_before,
                                     .not_after = leaf->not_after,
                                     .issued_at = leaf->not_before + CERTIFICATE_BACKDATE_SEC,
                                 });
    authority_put_serial(authority, batch);
}

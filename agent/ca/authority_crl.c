/* SPDX-License-Identifier: MIT */
/* Revocation lists of the active root. */
#include "agent/ca/authority_internal.h"

#include <stdlib.h>
#include <string.h>

struct crl_job {
    struct worker_job job;
    struct authority *authority;
    struct authority_issuer *issuer;
    struct crl_terms terms;
    struct crl_entry *entries;
    uint8_t *serials; /* what the entries point into */
    authority_crl_done *done;
    void *argument;
    /* The result: */
    uint8_t *der;
    size_t size;
    int code;
    struct error error;
};

static void job_free(struct crl_job *job)
{
    authority_issuer_release(job->issuer);
    free(job->entries);
    free(job->serials);
    free(job->der);
    free(job);
}

static void end(struct crl_job *job, const struct error *error)
{
    uint8_t *der = error ? NULL : job->der;
    if (der)
        job->der = NULL;
    job->done(job->argument, der, der ? job->size : 0, error);
    job_free(job);
}

static void stored(void *argument, const struct error *error)
{
    end(argument, error);
}

/* The number is durable before anybody has the list: a restart cannot give it to another one. */
static void made(struct worker_job *worker_job)
{
    struct crl_job *job = caa_container_of(worker_job, struct crl_job, job);
    struct store_batch *batch = NULL;
    if (worker_job->cancelled)
        job->code = error_set(&job->error, ERROR_BUSY, "the agent is stopping");
    if (!job->code && !(batch = store_batch_new()))
        job->code = error_errno(&job->error, "CRL");
    if (job->code) {
        end(job, &job->error);
        return;
    }
    store_put_meta(batch, &(struct store_meta){.key = AUTHORITY_META_CRL_NUMBER,
                                               .integer = job->authority->crl_number});
    store_submit(job->authority->setup.store, batch, stored, job);
}

static void make(struct worker_job *worker_job, struct ca_thread *thread)
{
    struct crl_job *job = caa_container_of(worker_job, struct crl_job, job);
    struct certificate_issuer issuer = {&job->issuer->certificate, job->issuer->key};
    struct crl crl;
    job->code = crl_make(thread, &issuer, &job->terms, &job->der, &job->size, &job->error);
    if (!job->code)
        job->code = crl_parse(&crl, job->der, job->size, &job->error);
    if (!job->code)
        job->code = crl_verify(&crl, &job->issuer->certificate, &job->error);
}

static int copy_entries(struct crl_job *job, const struct crl_entry *entries, size_t count,
                        struct error *error)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size += entries[i].serial.length;
    job->entries = calloc(count + 1, sizeof *job->entries);
    job->serials = malloc(size);
    if (!job->entries || !job->serials)
        return error_errno(error, "CRL");
    uint8_t *at = job->serials;
    for (size_t i = 0; i < count; i++) {
        job->entries[i] = entries[i];
        if (entries[i].serial.length)
            memcpy(at, entries[i].serial.data, entries[i].serial.length);
        job->entries[i].serial.data = at;
        at += entries[i].serial.length;
    }
    return 0;
}

int authority_crl(struct authority *authority, const struct crl_entry *entries, size_t entry_count,
                  int64_t lifetime_sec, authority_crl_done *done, void *argument, struct error *error)
{
    if (!authority->issuer)
        return error_set(error, ERROR_CONFLICT,
                         "CA is uninitialized and unable to sign certificates yet: provider is nil");
    int64_t now = authority_now(authority);
    int code = authority_issuer_check(authority->issuer, now, error);
    if (code)
        return code;
    struct crl_job *job = calloc(1, sizeof *job);
    if (!job)
        return error_errno(error, "CRL");
    job->authority = authority;
    job->issuer = authority_issuer_hold(authority->issuer);
    job->done = done;
    job->argument = argument;
    job->job.run = make;
    job->job.done = made;
    if (!(code = copy_entries(job, entries, entry_count, error))) {
        job->terms = (struct crl_terms){
            .number = authority->crl_number + 1,
            .this_update = now,
            .next_update = now + lifetime_sec,
            .entries = job->entries,
            .entry_count = entry_count,
        };
        code = worker_submit(authority->workers, &job->job, error);
    }
    if (code)
        job_free(job);
    else
        authority->crl_number++;
    return code;
}

/* SPDX-License-Identifier: MIT */
/* xylem-bench issue: leaves a second through the built-in CA (key, certificate, verification, durable with its key in
 * the store), against what wolfCrypt alone needs for key, signature and verification, on the same number of threads; and how
 * late the main loop's timers are meanwhile. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include <ev.h>

#include "agent/audit.h"
#include "agent/ca/authority.h"
#include "agent/log.h"
#include "agent/mailbox.h"
#include "agent/store/store.h"
#include "agent/worker.h"
#include "bench/bench.h"

#define IN_FLIGHT 64u
#define LAG_SEC   0.001
#define SERVICES  1000u

struct issuing {
    struct ev_loop *loop;
    struct mailbox mail;
    ev_io mail_watcher;
    ev_timer lag_timer;
    ev_timer end_timer;
    struct store *store;
    struct worker_pool *workers;
    struct authority *authority;
    struct ca_thread *thread;
    struct samples lag_ms;
    uint64_t index;
    uint64_t expected_ns;
    uint32_t in_flight;
    uint64_t asked;
    uint64_t stored;
    bool ended;
};

/* One leaf on its way. */
struct order {
    struct issuing *issuing;
    struct source_leaf *leaf;
};

static void ask(struct issuing *issuing);

static void on_stored(void *argument, const struct error *error)
{
    struct order *order = argument;
    struct issuing *issuing = order->issuing;
    if (error)
        bench_fail("store: %s", error->text);
    source_leaf_free(order->leaf);
    free(order);
    issuing->stored++;
    issuing->in_flight--;
    ask(issuing);
}

static void on_made(void *argument, struct source_leaf *leaf, const struct error *error)
{
    struct issuing *issuing = argument;
    char service[32];
    if (!leaf && issuing->ended) /* cancelled: the workers are being stopped */
        return;
    if (!leaf)
        bench_fail("CA: %s", error->text);
    struct order *order = bench_allocate(1, sizeof *order);
    struct store_batch *batch = store_batch_new();
    if (!batch)
        bench_fail("no memory for a batch");
    order->issuing = issuing;
    order->leaf = leaf;
    snprintf(service, sizeof service, "service-%u", (unsigned)(issuing->index % SERVICES));
    issuing->index++;
    struct store_leaf row = {
        .service = service,
        .key = {leaf->key_der, leaf->key_der_size},
        .chain = {leaf->chain_der, leaf->chain_der_size},
        .uri = leaf->uri,
        .not_before = leaf->not_before,
        .not_after = leaf->not_after,
        .serial = {leaf->serial, leaf->serial_size},
        .issuer_key_id = {leaf->issuer_key_id, leaf->issuer_key_id_size},
        .version = issuing->index,
        .create_index = issuing->index,
        .modify_index = issuing->index,
    };
    store_put_leaf(batch, &row);
    authority_record_leaf(issuing->authority, batch, leaf, service);
    store_submit(issuing->store, batch, on_stored, order);
}

static void ask(struct issuing *issuing)
{
    while (issuing->in_flight < IN_FLIGHT && !issuing->ended) {
        char uri[200];
        struct error error;
        snprintf(uri, sizeof uri, "spiffe://%s/ns/default/dc/dc1/svc/service-%u",
                 authority_trust_domain(issuing->authority), (unsigned)(issuing->asked++ % SERVICES));
        struct authority_leaf_request request = {.uri = uri, .unlimited = true};
        if (authority_sign_leaf(issuing->authority, &request, on_made, issuing, &error) != 0)
            bench_fail("CA: %s", error.text);
        issuing->in_flight++;
    }
}

static void on_mail(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct issuing *issuing = watcher->data;
    mailbox_run(&issuing->mail);
}

static void on_lag(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct issuing *issuing = timer->data;
    uint64_t now_ns = bench_now_ns();
    if (now_ns > issuing->expected_ns)
        samples_add(&issuing->lag_ms, (double)(now_ns - issuing->expected_ns) / 1e6);
    ev_now_update(loop);
    issuing->expected_ns = now_ns + (uint64_t)(LAG_SEC * 1e9);
    ev_timer_again(loop, timer);
}

static void on_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct issuing *issuing = timer->data;
    issuing->ended = true;
    ev_break(loop, EVBREAK_ALL);
}

static uint64_t next_index(void *argument)
{
    struct issuing *issuing = argument;
    return ++issuing->index;
}

static void must(int code, const struct error *error)
{
    if (code)
        bench_fail("%s", error->text);
}

static void start(struct issuing *issuing, const char *directory, uint32_t workers)
{
    struct error error;
    struct config *config;
    char audit[64];
    issuing->loop = ev_default_loop(EVFLAG_AUTO);
    snprintf(audit, sizeof audit, "%s/audit", directory);
    must(audit_open(audit, &error), &error);
    log_configure(LOG_ERROR, LOG_LOGFMT);
    must(config_default_dev(directory, &config, &error), &error);
    must(mailbox_init(&issuing->mail, &error), &error);
    must(store_open(directory, &issuing->store, &error), &error);
    issuing->thread = ca_thread_create(&error);
    must(issuing->thread ? 0 : error.code, &error);
    struct authority_setup setup = {.store = issuing->store,
                                    .thread = issuing->thread,
                                    .config = &config->ca,
                                    .next_index = next_index,
                                    .argument = issuing};
    must(authority_load(&setup, &issuing->authority, &error), &error);
    must(store_start(issuing->store, &issuing->mail, &error), &error);
    must(worker_pool_create(workers, &issuing->mail, &issuing->workers, &error), &error);
    must(authority_start(issuing->authority, issuing->workers, &issuing->mail, &error), &error);
    config_free(config);
    ev_io_init(&issuing->mail_watcher, on_mail, mailbox_descriptor(&issuing->mail), EV_READ);
    issuing->mail_watcher.data = issuing;
    ev_io_start(issuing->loop, &issuing->mail_watcher);
}

static double issue_for(struct issuing *issuing, double seconds)
{
    uint64_t before = issuing->stored;
    uint64_t start_ns = bench_now_ns();
    issuing->ended = false;
    ev_timer_init(&issuing->end_timer, on_end, seconds, 0);
    issuing->end_timer.data = issuing;
    ev_now_update(issuing->loop);
    ev_timer_start(issuing->loop, &issuing->end_timer);
    ask(issuing);
    ev_run(issuing->loop, 0);
    return (double)(issuing->stored - before) / ((double)(bench_now_ns() - start_ns) / 1e9);
}

static void stop(struct issuing *issuing)
{
    worker_pool_close(issuing->workers);
    store_close(issuing->store);
    authority_free(issuing->authority);
    ca_thread_free(issuing->thread);
    mailbox_destroy(&issuing->mail);
}

/* --- the bound --- */

struct bound {
    double seconds;
    uint64_t made;
};

/* What no CA on this library that looks at its own work can do without: a key, a signature and its verification, with
 * the tables that a warm thread has. */
static void *bound_main(void *context)
{
    struct bound *bound = context;
    WC_RNG rng;
    ecc_key ca, leaf;
    uint8_t digest[32] = {1}, signature[128];
    if (wc_InitRng(&rng) != 0 || wc_ecc_init(&ca) != 0 ||
        wc_ecc_make_key_ex(&rng, 32, &ca, ECC_SECP256R1) != 0)
        bench_fail("wolfCrypt: no key");
    uint64_t end_ns = bench_now_ns() + (uint64_t)(bound->seconds * 1e9);
    while (bench_now_ns() < end_ns) {
        word32 size = sizeof signature;
        int valid = 0;
        digest[0]++;
        if (wc_ecc_init(&leaf) != 0 || wc_ecc_make_key_ex(&rng, 32, &leaf, ECC_SECP256R1) != 0 ||
            wc_ecc_sign_hash(digest, sizeof digest, signature, &size, &rng, &ca) != 0 ||
            wc_ecc_verify_hash(signature, size, digest, sizeof digest, &valid, &ca) != 0 || !valid)
            bench_fail("wolfCrypt: key or signature");
        wc_ecc_free(&leaf);
        bound->made++;
    }
    wc_ecc_free(&ca);
    wc_FreeRng(&rng);
    wc_ecc_fp_free();
    return NULL;
}

static double measure_bound(uint32_t threads, double seconds)
{
    pthread_t ids[WORKER_THREADS_MAX];
    struct bound bounds[WORKER_THREADS_MAX];
    uint64_t made = 0;
    for (uint32_t i = 0; i < threads; i++) {
        bounds[i] = (struct bound){.seconds = seconds};
        if (pthread_create(&ids[i], NULL, bound_main, &bounds[i]) != 0)
            bench_fail("no thread");
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        made += bounds[i].made;
    }
    return (double)made / seconds;
}

void issue_run(const struct options *options, struct report *report)
{
    struct issuing issuing = {0};
    char directory[] = "/tmp/xylem-bench-XXXXXX";
    char command[64];
    uint32_t workers = options->threads < WORKER_THREADS_MAX ? options->threads : WORKER_THREADS_MAX;
    if (!mkdtemp(directory))
        bench_fail("no directory in /tmp");
    start(&issuing, directory, workers);
    ev_timer_init(&issuing.lag_timer, on_lag, 0, LAG_SEC);
    issuing.lag_timer.data = &issuing;
    issuing.expected_ns = bench_now_ns() + (uint64_t)(LAG_SEC * 1e9);
    ev_timer_again(issuing.loop, &issuing.lag_timer);
    issue_for(&issuing, 0.3); /* warms the workers' tables */
    issuing.lag_ms.count = 0;
    /* In turns, so that a noisy machine is noisy to both. */
    double leaves = 0, bound = 0;
    for (int turn = 0; turn < 4; turn++) {
        bound += measure_bound(workers, options->seconds / 8) / 4;
        issuing.expected_ns = bench_now_ns() + (uint64_t)(LAG_SEC * 1e9);
        leaves += issue_for(&issuing, options->seconds / 8) / 4;
    }
    stop(&issuing);
    report_number(report, "workers", workers);
    report_number(report, "leaves_per_s", leaves);
    report_number(report, "bound_per_s", bound);
    report_number(report, "of_bound", leaves / bound);
    report_distribution(report, "loop_lag_ms", &issuing.lag_ms);
    samples_free(&issuing.lag_ms);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        bench_fail("%s stays behind", directory);
}

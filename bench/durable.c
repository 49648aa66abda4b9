/* SPDX-License-Identifier: MIT */
/* How long one acknowledged change takes to be on stable storage: what an administrator waits for beside the
 * publication. One change at a time; changes that come together share the fsync. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/mailbox.h"
#include "agent/store/store.h"
#include "bench/bench.h"

#define CHANGES 300

static void on_done(void *argument, const struct error *error)
{
    bool *done = argument;
    if (error)
        bench_fail("store: %s", error->text);
    *done = true;
}

static void put(struct store *store, struct mailbox *mail, unsigned number)
{
    char name[32];
    bool done = false;
    struct store_batch *batch = store_batch_new();
    if (!batch)
        bench_fail("no memory for a batch");
    snprintf(name, sizeof name, "service-%u", number);
    struct store_intention row = {
        .key = {"default", "default", "db", "default", "default", name, ""},
        .action = "allow",
        .permissions_json = "",
        .description = "",
        .meta_json = "",
        .legacy_id = "",
        .precedence = 9,
        .create_index = number + 1,
        .modify_index = number + 1,
    };
    store_put_intention(batch, &row);
    store_submit(store, batch, on_done, &done);
    while (!done) {
        mailbox_wait(mail);
        mailbox_run(mail);
    }
}

void durable_measure(struct report *report)
{
    struct samples samples = {0};
    struct store *store;
    struct mailbox mail;
    struct error error;
    char directory[] = "/tmp/xylem-bench-XXXXXX", command[64];
    if (!mkdtemp(directory))
        bench_fail("no directory in /tmp");
    if (store_open(directory, &store, &error) != 0 || mailbox_init(&mail, &error) != 0 ||
        store_start(store, &mail, &error) != 0)
        bench_fail("%s", error.text);
    for (unsigned i = 0; i < CHANGES; i++) {
        uint64_t start_ns = bench_now_ns();
        put(store, &mail, i);
        samples_add(&samples, (double)(bench_now_ns() - start_ns) / 1000);
    }
    store_close(store);
    mailbox_destroy(&mail);
    report_distribution(report, "durable_us", &samples);
    samples_free(&samples);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        bench_fail("%s stays behind", directory);
}

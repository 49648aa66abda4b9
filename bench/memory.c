/* SPDX-License-Identifier: MIT */
/* xylem-bench memory: what a pair and a leaf take in their regions, everything
 * included. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/workload.h"
#include "bench/world.h"
#include "shm/certificates.h"
#include "shm/region.h"

/* An EC leaf as the built-in CA issues it: P-256, one certificate and no
 * intermediate. */
#define LEAF_DER_BYTES 600u
#define LEAF_PEM_BYTES 870u /* base64 of that, with its lines */
#define KEY_DER_BYTES  138u
#define KEY_PEM_BYTES  241u
#define LEAF_ROOM      4096u
#define BATCH          4096u

static double resident_bytes(void)
{
    unsigned long long size, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    int fields = file ? fscanf(file, "%llu %llu", &size, &resident) : 0;
    if (file)
        fclose(file);
    return fields == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0;
}

static void measure_pairs(const struct options *options, struct report *report)
{
    struct workload workload;
    struct world world;
    struct region_statistics empty, full;
    workload_create(&workload, options->pairs);
    world_create(&world, workload_region_bytes(options->pairs));
    double before = resident_bytes();
    region_statistics(policy_region(world.policy), &empty);
    uint64_t pairs = workload_load(&workload, world.policy, world.grace, BATCH);
    grace_advance(world.grace);
    region_statistics(policy_region(world.policy), &full);
    report_number(report, "pairs", (double)pairs);
    report_number(report, "bytes_per_pair", (double)(full.live_bytes - empty.live_bytes) / (double)pairs);
    report_number(report, "committed_bytes_per_pair",
                  (double)(full.committed_bytes - empty.committed_bytes) / (double)pairs);
    report_number(report, "rss_bytes_per_pair", (resident_bytes() - before) / (double)pairs);
    world_destroy(&world);
    workload_destroy(&workload);
}

static void put_leaf(struct scope *scope, const char *service, uint32_t number)
{
    static uint8_t der[LEAF_DER_BYTES], key_der[KEY_DER_BYTES], serial[20];
    static char pem[LEAF_PEM_BYTES + 1], key_pem[KEY_PEM_BYTES + 1];
    char uri[256];
    memset(pem, 'A', LEAF_PEM_BYTES);
    memset(key_pem, 'A', KEY_PEM_BYTES);
    snprintf(uri, sizeof uri, "%s%s", WORKLOAD_URI_PREFIX, service);
    struct scope_leaf leaf = {
        .uri = uri,
        .serial = serial,
        .serial_size = sizeof serial,
        .chain_der = der,
        .chain_der_size = sizeof der,
        .leaf_der_size = sizeof der,
        .chain_pem = pem,
        .key_der = key_der,
        .key_der_size = sizeof key_der,
        .key_pem = key_pem,
        .not_after = INT64_MAX,
        .version = number + 1,
        .roots_version = 1,
    };
    int error = scope_put_leaf(scope, service, &leaf);
    if (error)
        bench_fail("scope_put_leaf: %s", strerror(-error));
}

static void measure_leaves(const struct options *options, struct report *report)
{
    struct grace *grace;
    struct scope *scope;
    struct region_statistics empty, full;
    char name[WORKLOAD_NAME_BYTES];
    int error = grace_create(&grace, grace_first_epoch());
    if (!error)
        error = scope_create(&scope, grace, (1u << 20) + (uint64_t)options->leaves * LEAF_ROOM, 2, 1);
    if (error)
        bench_fail("scope_create: %s", strerror(-error));
    region_statistics(scope_region(scope), &empty);
    for (uint32_t i = 0; i < options->leaves; i++) {
        snprintf(name, sizeof name, "checkout-ledger-api-%u", i);
        put_leaf(scope, name, i);
        if (i % 64 == 0)
            grace_advance(grace);
    }
    grace_advance(grace);
    region_statistics(scope_region(scope), &full);
    report_number(report, "leaves", options->leaves);
    report_number(report, "bytes_per_leaf", (double)(full.live_bytes - empty.live_bytes) / options->leaves);
    report_number(report, "leaves_locked", full.locked);
    scope_destroy(scope);
    grace_destroy(grace);
}

void memory_run(const struct options *options, struct report *report)
{
    measure_pairs(options, report);
    measure_leaves(options, report);
    footprint_measure(report);
}

/* SPDX-License-Identifier: MIT */
/* xylem-bench load: all pairs into an empty region, in batches as after a
 * restart of the agent. */
#include "bench/bench.h"
#include "bench/workload.h"
#include "bench/world.h"
#include "shm/region.h"

#define BATCH 4096u

void load_run(const struct options *options, struct report *report)
{
    struct workload workload;
    struct world world;
    struct region_statistics statistics;
    workload_create(&workload, options->pairs);
    world_create(&world, workload_region_bytes(options->pairs));
    uint64_t start_ns = bench_now_ns();
    uint64_t changes = workload_load(&workload, world.policy, world.grace, BATCH);
    double seconds = (double)(bench_now_ns() - start_ns) / 1e9;
    grace_advance(world.grace);
    region_statistics(policy_region(world.policy), &statistics);
    report_number(report, "pairs", (double)changes);
    report_number(report, "seconds", seconds);
    report_number(report, "pairs_per_s", (double)changes / seconds);
    report_number(report, "bytes", (double)statistics.live_bytes);
    report_number(report, "committed_bytes", (double)statistics.committed_bytes);
    world_destroy(&world);
    workload_destroy(&workload);
}

/* SPDX-License-Identifier: MIT */
/* xylem-bench authorize: verdicts, their baselines and the cost of a section,
 * in alternating windows of one run. */
#include <string.h>

#include "bench/bench.h"
#include "bench/churn.h"
#include "bench/query.h"
#include "bench/scaling.h"

#define WINDOW_NS  20000000u
#define WARM_NS    4000000u /* of each window: the caches change hands */
#define LOAD_BATCH 4096u

static const char *const kind_names[QUERY_KINDS] = {
    [QUERY_AUTHORIZE] = "authorize_ns",
    [QUERY_HANDLE] = "authorize_handle_ns",
    [QUERY_WILDCARD] = "wildcard_ns",
    [QUERY_MISS] = "miss_ns",
    [QUERY_LFHT] = "lfht_ns",
    [QUERY_LFHT_TEXT] = "lfht_text_ns",
    [QUERY_LMDB] = "lmdb_ns",
    [QUERY_SECTION] = "read_section_ns",
    [QUERY_FENCED] = "fenced_section_ns",
};

static void measure_window(struct querier *querier, enum query_kind kind, struct samples *samples)
{
    uint64_t start_ns = bench_now_ns();
    uint64_t now_ns = start_ns;
    while (now_ns - start_ns < WINDOW_NS) {
        uint64_t spent_ns = querier_run(querier, kind);
        if (now_ns - start_ns >= WARM_NS)
            samples_add(samples, (double)spent_ns / query_batch(kind));
        now_ns = bench_now_ns();
    }
}

/* Rounds of one window a kind. Under churn every other round is a quiet one,
 * which counts for `idle` only. */
static void measure_rounds(struct querier *querier, struct churn *churn, double seconds,
                           struct samples *samples, struct samples *idle)
{
    uint64_t end_ns = bench_now_ns() + (uint64_t)(seconds * 1e9);
    for (uint32_t round = 0; bench_now_ns() < end_ns || round < 2; round++) {
        bool quiet = churn && round % 2 == 0;
        if (churn && !quiet) {
            churn_set(churn, true);
            querier->unchecked = true; /* from the first change on */
        }
        for (int kind = 0; kind < QUERY_ARITHMETIC; kind++)
            if (!quiet)
                measure_window(querier, (enum query_kind)kind, &samples[kind]);
            else if (kind == QUERY_AUTHORIZE)
                measure_window(querier, QUERY_AUTHORIZE, idle);
        if (churn && !quiet)
            churn_set(churn, false);
    }
}

static void report_samples(struct report *report, struct samples *samples)
{
    for (int kind = 0; kind < QUERY_ARITHMETIC; kind++)
        report_distribution(report, kind_names[kind], &samples[kind]);
    double hit = samples_percentile(&samples[QUERY_AUTHORIZE], 0.5);
    report_number(report, "lfht_ratio", hit / samples_percentile(&samples[QUERY_LFHT], 0.5));
    report_number(report, "lmdb_ratio", hit / samples_percentile(&samples[QUERY_LMDB], 0.5));
    report_number(report, "section_ratio",
                  samples_percentile(&samples[QUERY_SECTION], 0.5) /
                      samples_percentile(&samples[QUERY_FENCED], 0.5));
}

/* One thread, all kinds. */
static void measure_latency(const struct options *options, const struct workload *workload,
                            struct world *world, struct report *report)
{
    struct samples samples[QUERY_KINDS] = {{0}};
    struct samples idle = {0};
    double per_second = 0;
    struct lfht *lfht = lfht_create(workload);
    struct lmdb *lmdb = lmdb_create(workload);
    struct querier *querier = querier_create(workload, world, lfht, lmdb, 0);
    struct churn *churn = options->churn ? churn_start(workload, world, options->churn) : NULL;
    measure_rounds(querier, churn, options->seconds, samples, &idle);
    if (churn)
        churn_stop(churn, &per_second);
    querier_destroy(querier);
    report_samples(report, samples);
    if (churn) {
        report_distribution(report, "authorize_idle_ns", &idle);
        report_number(report, "churn_ratio",
                      samples_percentile(&samples[QUERY_AUTHORIZE], 0.5) / samples_percentile(&idle, 0.5));
        report_number(report, "changes_per_s", per_second);
    }
    lmdb_destroy(lmdb);
    lfht_destroy(lfht);
    for (int kind = 0; kind < QUERY_KINDS; kind++)
        samples_free(&samples[kind]);
    samples_free(&idle);
}

void authorize_run(const struct options *options, struct report *report)
{
    struct workload workload;
    struct world world;
    workload_create(&workload, options->pairs);
    world_create(&world, workload_region_bytes(options->pairs));
    workload_load(&workload, world.policy, world.grace, LOAD_BATCH);
    report_number(report, "pairs", workload.pairs);
    report_number(report, "destinations", workload.services);
    report_number(report, "threads", options->threads);
    if (options->threads > 1 || !options->churn) {
        /* Before any churn: these verdicts are compared. */
        struct scaling scaling = scaling_measure(&workload, &world, options->threads,
                                                 options->threads > 1 ? options->seconds : 1.0);
        report_number(report, "mops_one_thread", scaling.mops_one);
        report_number(report, "mops", scaling.mops);
        report_number(report, "scaling", scaling.scaling);
        report_number(report, "control_scaling", scaling.control_scaling);
    }
    measure_latency(options, &workload, &world, report);
    world_destroy(&world);
    workload_destroy(&workload);
}

/* SPDX-License-Identifier: MIT */
/* xylem-bench start: from exec of the xylemd beside this program, with nothing stored and one configured service, until
 * a client has read the first leaf: the root, the key and the certificate are made meanwhile. */
#include "bench/agent.h"
#include "bench/bench.h"

#define RUNS 20

void start_run(const struct options *options, struct report *report)
{
    struct samples samples = {0};
    (void)options;
    for (int i = 0; i < RUNS; i++) {
        struct bench_agent agent;
        uint64_t start_ns = bench_now_ns();
        agent_start(&agent, 1);
        samples_add(&samples, (double)(agent_wait_for_leaf(&agent) - start_ns) / 1e6);
        agent_stop(&agent);
    }
    report_number(report, "runs", RUNS);
    report_distribution(report, "first_leaf_ms", &samples);
    samples_free(&samples);
}

/* SPDX-License-Identifier: MIT */
/* How verdicts a second grow with threads, beside how pure arithmetic does. */
#ifndef BENCH_SCALING_H
#define BENCH_SCALING_H

#include <stdint.h>

#include "bench/workload.h"
#include "bench/world.h"

struct scaling {
    double mops_one;        /* million verdicts a second of one thread */
    double mops;            /* of all threads together */
    double scaling;         /* mops / (threads * mops_one), the median over windows */
    double control_scaling; /* the same for arithmetic */
};

/* Alternates windows of one and of all threads, verdicts and arithmetic. Every
 * thread has a reader of its own. */
struct scaling scaling_measure(const struct workload *workload, struct world *world, uint32_t threads,
                               double seconds);

#endif

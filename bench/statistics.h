/* SPDX-License-Identifier: MIT */
/* Samples of one quantity and their percentiles. One thread at a time. */
#ifndef BENCH_STATISTICS_H
#define BENCH_STATISTICS_H

#include <stddef.h>

struct samples {
    double *values;
    size_t count;
    size_t capacity;
};

/* Starts empty if zeroed; samples_free() gives the memory back. */
void samples_add(struct samples *samples, double value);
void samples_free(struct samples *samples);

/* The smallest value that at least `share` (0 to 1) of all samples do not
 * exceed; 0 if there are none. Sorts the samples. */
double samples_percentile(struct samples *samples, double share);

#endif

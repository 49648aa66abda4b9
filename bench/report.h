/* SPDX-License-Identifier: MIT */
/* What a command found out, printed as one JSON object or as a table for
 * people. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>

#include "bench/statistics.h"

#define REPORT_FIELDS_MAX 64

struct report_field {
    const char *name;
    enum { REPORT_NUMBER, REPORT_DISTRIBUTION } form;
    double values[3]; /* the number, or p50, p99 and p999 */
};

struct report {
    const char *command;
    unsigned count;
    struct report_field fields[REPORT_FIELDS_MAX];
};

/* Names are constants of the caller; their end says the unit. */
void report_begin(struct report *report, const char *command);
void report_number(struct report *report, const char *name, double value);
void report_distribution(struct report *report, const char *name, struct samples *samples);

/* Prints the fields, and with them the state of transparent huge pages and the
 * name of the CPU. */
void report_print(const struct report *report, bool json);

#endif

/* SPDX-License-Identifier: MIT */
/* What the commands of xylem-bench share: options, the clock, failure. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/report.h"

struct options {
    uint32_t pairs;
    uint32_t leaves;
    uint32_t threads;
    uint32_t churn; /* changes a second */
    double seconds;
    bool json;
};

/* Reads the options behind the command's name; explains and exits if they make
 * no sense. */
void options_parse(struct options *options, int argc, char **argv);

/* One command. It adds what it measured to the report and exits by bench_fail()
 * if it cannot. */
struct command {
    const char *name;
    const char *usage;
    const char *summary;
    void (*run)(const struct options *options, struct report *report);
};

void authorize_run(const struct options *options, struct report *report);
void publish_run(const struct options *options, struct report *report);
void load_run(const struct options *options, struct report *report);
void memory_run(const struct options *options, struct report *report);
void issue_run(const struct options *options, struct report *report);
void start_run(const struct options *options, struct report *report);

/* Parts of commands. They add durable_us, and rss_bytes. */
void footprint_measure(struct report *report);
void durable_measure(struct report *report);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);

/* Prints the message and exits with status 1: a benchmark that cannot go on has
 * nothing to clean up. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory or failure. */
void *bench_allocate(uint64_t count, uint64_t size_bytes);

/* xorshift64*: a sequence that is the same in every run. The state must not be
 * 0. */
uint64_t bench_random(uint64_t *state);

#endif

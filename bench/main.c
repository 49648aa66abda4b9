/* SPDX-License-Identifier: MIT */
/* xylem-bench: measures every claim against its baseline in the same run. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"

static const struct command commands[] = {
    {"authorize", "--pairs N --threads T --seconds S [--churn C]",
     "verdicts against a cds_lfht and LMDB with the same pairs", authorize_run},
    {"publish", "--pairs N", "time to compile and publish one change, and until a reader sees it",
     publish_run},
    {"load", "--pairs N", "time to load all pairs into an empty region", load_run},
    {"issue", "--seconds S [--workers W]", "leaves a second from W workers, against wolfCrypt's bound",
     issue_run},
    {"start", "", "from exec of xylemd with nothing stored to the first leaf read, 20 times", start_run},
    {"memory", "[--pairs N] [--leaves L]", "bytes a pair and a leaf", memory_run},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

_Noreturn void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("xylem-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *bench_allocate(uint64_t count, uint64_t size_bytes)
{
    void *memory = calloc(count ? count : 1, size_bytes);
    if (!memory)
        bench_fail("no memory for %llu objects of %llu bytes; ask for fewer pairs", (unsigned long long)count,
                   (unsigned long long)size_bytes);
    return memory;
}

uint64_t bench_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static void usage(FILE *out)
{
    fputs("usage: xylem-bench COMMAND [options] [--json]\n\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].summary);
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        struct options options;
        struct report report;
        options_parse(&options, argc - 2, argv + 2);
        report_begin(&report, commands[i].name);
        commands[i].run(&options, &report);
        report_print(&report, options.json);
        return 0;
    }
    fprintf(stderr, "xylem-bench: no command \"%s\"\n", argv[1]);
    usage(stderr);
    return 1;
}

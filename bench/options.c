/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define PAIRS_MAX   10000000u
#define LEAVES_MAX  1000000u
#define THREADS_MAX 32u
#define CHURN_MAX   1000000u
#define SECONDS_MAX 3600.0

static uint32_t number(const char *name, const char *text, uint32_t least, uint32_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < least || value > most)
        bench_fail("%s wants a number from %u to %u, not \"%s\"", name, least, most, text);
    return (uint32_t)value;
}

static double duration(const char *name, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0.1 && value <= SECONDS_MAX))
        bench_fail("%s wants seconds from 0.1 to %.0f, not \"%s\"", name, SECONDS_MAX, text);
    return value;
}

void options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){.pairs = 100000, .leaves = 1000, .threads = 1, .seconds = 5};
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--json") == 0) {
            options->json = true;
            continue;
        }
        if (i + 1 == argc)
            bench_fail("%s is not an option, or lacks its value", name);
        const char *value = argv[++i];
        if (strcmp(name, "--pairs") == 0)
            options->pairs = number(name, value, 100, PAIRS_MAX);
        else if (strcmp(name, "--leaves") == 0)
            options->leaves = number(name, value, 1, LEAVES_MAX);
        else if (strcmp(name, "--threads") == 0 || strcmp(name, "--workers") == 0)
            options->threads = number(name, value, 1, THREADS_MAX);
        else if (strcmp(name, "--churn") == 0)
            options->churn = number(name, value, 0, CHURN_MAX);
        else if (strcmp(name, "--seconds") == 0)
            options->seconds = duration(name, value);
        else
            bench_fail("no option \"%s\"", name);
    }
}

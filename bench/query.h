/* SPDX-License-Identifier: MIT */
/* Batches of queries, timed as a whole: a single verdict is shorter than the
 * clock can see. */
#ifndef BENCH_QUERY_H
#define BENCH_QUERY_H

#include <stdint.h>

#include "bench/baseline.h"
#include "bench/workload.h"
#include "bench/world.h"

#define QUERY_BATCH    64u
#define QUERY_SECTIONS 1024u /* empty sections a batch: 64 are not much longer than reading the clock */

enum query_kind {
    QUERY_AUTHORIZE, /* complete: from two strings and a serial; hits of exact sources */
    QUERY_HANDLE,    /* the same hits, targets resolved beforehand */
    QUERY_WILDCARD,  /* the source is unknown to the destination, which allows any source */
    QUERY_MISS,      /* no intention: the default */
    QUERY_LFHT,      /* the same hits, in the baselines, their keys made beforehand */
    QUERY_LFHT_TEXT, /* from the two strings, as QUERY_AUTHORIZE is */
    QUERY_LMDB,
    QUERY_SECTION,    /* an empty read section */
    QUERY_FENCED,     /* the same with a fence */
    QUERY_ARITHMETIC, /* no memory at all: how a machine scales at its best */
    QUERY_KINDS,
};

struct query {
    uint8_t key[BASELINE_KEY_MAX]; /* target, NUL, URI, NUL */
    uint8_t serial[20];
    const char *uri;
    size_t key_bytes;
    struct xylem_peer peer;
    struct xylem_slice serial_slice;
    struct xylem_target *handle;
};

/* One measuring thread. */
struct querier {
    const struct workload *workload;
    struct lfht *lfht;
    struct lmdb_reader *lmdb;
    struct xylem_reader *reader;
    struct xylem_reader *fenced;
    struct xylem_target *handles; /* one a destination */
    uint64_t random;
    uint32_t position[QUERY_KINDS]; /* in the shuffled order: each kind walks through all pairs by itself */
    uint32_t expected;              /* verdicts of the batch that allow */
    bool unchecked;                 /* the policy changes meanwhile: verdicts are not compared */
    struct query queries[QUERY_BATCH];
};

/* To be called by the thread that measures. `lfht` and `lmdb` may be NULL if
 * they are not asked. `number` tells the threads apart. */
struct querier *querier_create(const struct workload *workload, struct world *world, struct lfht *lfht,
                               struct lmdb *lmdb, uint32_t number);
void querier_destroy(struct querier *querier);

/* Prepares a batch, off the clock: as in a proxy, the bytes that are asked
 * about are in the cache. Then runs it and returns its nanoseconds. Fails the
 * program if a verdict is wrong. */
uint64_t querier_run(struct querier *querier, enum query_kind kind);

/* How many queries a batch of this kind has. */
uint32_t query_batch(enum query_kind kind);

#endif

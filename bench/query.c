/* SPDX-License-Identifier: MIT */
#include "bench/query.h"

#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

size_t baseline_key(const char *target, const char *source, uint8_t *out)
{
    size_t target_size = strlen(target) + 1;
    size_t source_size = strlen(source);
    memcpy(out, target, target_size);
    memcpy(out + target_size, WORKLOAD_URI_PREFIX, sizeof WORKLOAD_URI_PREFIX - 1);
    memcpy(out + target_size + sizeof WORKLOAD_URI_PREFIX - 1, source, source_size + 1);
    return target_size + sizeof WORKLOAD_URI_PREFIX - 1 + source_size;
}

struct querier *querier_create(const struct workload *workload, struct world *world, struct lfht *lfht,
                               struct lmdb *lmdb, uint32_t number)
{
    struct querier *made = bench_allocate(1, sizeof *made);
    made->workload = workload;
    made->lfht = lfht;
    made->lmdb = lmdb ? lmdb_reader_open(lmdb) : NULL;
    made->reader = world_reader(world->client);
    made->fenced = world_reader(world->fenced);
    made->handles = bench_allocate(workload->services, sizeof *made->handles);
    made->random = 0x452821e638d01377ULL + number;
    for (uint32_t d = 0; d < workload->services; d++)
        if (xylem_target_init(&made->handles[d], workload->names[d]) != XYLEM_OK)
            bench_fail("xylem_target_init(\"%s\")", workload->names[d]);
    for (int kind = 0; kind < QUERY_KINDS; kind++)
        made->position[kind] = (uint32_t)(bench_random(&made->random) % workload->pairs);
    lfht_thread_begin();
    return made;
}

void querier_destroy(struct querier *querier)
{
    lfht_thread_end();
    xylem_reader_close(querier->reader);
    xylem_reader_close(querier->fenced);
    if (querier->lmdb)
        lmdb_reader_close(querier->lmdb);
    free(querier->handles);
    free(querier);
}

/* --- preparing --- */

static void fill_query(struct querier *querier, struct query *query, uint32_t destination, const char *source)
{
    const char *target = querier->workload->names[destination];
    query->key_bytes = baseline_key(target, source, query->key);
    query->uri = (const char *)query->key + strlen(target) + 1;
    for (size_t i = 0; i < sizeof query->serial; i += 4) {
        uint32_t part = (uint32_t)(bench_random(&querier->random) >> 32) | 1u;
        memcpy(query->serial + i, &part, sizeof part);
    }
    query->serial_slice = (struct xylem_slice){query->serial, sizeof query->serial};
    query->peer = (struct xylem_peer){
        .uri = {(const uint8_t *)query->uri, query->key_bytes - strlen(target) - 1},
        .serial = query->serial_slice,
    };
    query->handle = &querier->handles[destination];
    __builtin_prefetch(query->handle); /* a proxy has a handle or two, always in its cache */
}

/* The next pair in the shuffled order: an exact source. */
static void next_hit(struct querier *querier, enum query_kind kind, struct query *query)
{
    const struct workload *workload = querier->workload;
    struct workload_pair pair = workload->order[querier->position[kind]];
    if (++querier->position[kind] == workload->pairs)
        querier->position[kind] = 0;
    querier->expected += pair.allows;
    fill_query(querier, query, pair.destination, workload->names[pair.source]);
}

/* A known destination with or without the wildcard, and a known service that it
 * says nothing about. */
static void next_stranger(struct querier *querier, struct query *query, bool wildcard)
{
    const struct workload *workload = querier->workload;
    uint32_t destination;
    do
        destination = (uint32_t)(bench_random(&querier->random) % workload->services);
    while (workload_has_wildcard(destination) != wildcard);
    uint32_t known = workload_sources(workload, destination);
    uint32_t i = known + (uint32_t)(bench_random(&querier->random) % (workload->services - known));
    querier->expected += wildcard;
    fill_query(querier, query, destination, workload->names[workload_source(workload, destination, i)]);
}

static void prepare(struct querier *querier, enum query_kind kind)
{
    querier->expected = 0;
    if (kind >= QUERY_SECTION)
        return;
    for (uint32_t i = 0; i < QUERY_BATCH; i++)
        if (kind == QUERY_WILDCARD || kind == QUERY_MISS)
            next_stranger(querier, &querier->queries[i], kind == QUERY_WILDCARD);
        else
            next_hit(querier, kind, &querier->queries[i]);
}

/* --- what is timed --- */

static __attribute__((noinline)) uint32_t run_authorize(struct querier *querier)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < QUERY_BATCH; i++) {
        struct xylem_verdict verdict;
        const struct query *query = &querier->queries[i];
        allowed += (uint32_t)xylem_authorize(querier->reader, (const char *)query->key, query->uri,
                                             &query->serial_slice, &verdict);
    }
    return allowed;
}

static __attribute__((noinline)) uint32_t run_handle(struct querier *querier)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < QUERY_BATCH; i++) {
        struct xylem_verdict verdict;
        const struct query *query = &querier->queries[i];
        allowed += (uint32_t)xylem_authorize_peer(querier->reader, query->handle, &query->peer, &verdict);
    }
    return allowed;
}

static __attribute__((noinline)) uint32_t run_lfht(struct querier *querier)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < QUERY_BATCH; i++) {
        const struct query *query = &querier->queries[i];
        allowed += (uint32_t)lfht_look_up(querier->lfht, query->key, query->key_bytes);
    }
    return allowed;
}

static __attribute__((noinline)) uint32_t run_lfht_text(struct querier *querier)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < QUERY_BATCH; i++) {
        const struct query *query = &querier->queries[i];
        uint8_t key[BASELINE_KEY_MAX];
        size_t target_size = strlen((const char *)query->key) + 1;
        size_t uri_size = strlen(query->uri);
        memcpy(key, query->key, target_size);
        memcpy(key + target_size, query->uri, uri_size);
        allowed += (uint32_t)lfht_look_up(querier->lfht, key, target_size + uri_size);
    }
    return allowed;
}

static __attribute__((noinline)) uint32_t run_lmdb(struct querier *querier)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < QUERY_BATCH; i++) {
        const struct query *query = &querier->queries[i];
        allowed += (uint32_t)lmdb_look_up(querier->lmdb, query->key, query->key_bytes);
    }
    return allowed;
}

static __attribute__((noinline)) uint32_t run_sections(struct xylem_reader *reader)
{
    for (uint32_t i = 0; i < QUERY_SECTIONS; i++) {
        xylem_read_lock(reader);
        xylem_read_unlock(reader);
    }
    return 0;
}

/* About as long as a verdict. */
static __attribute__((noinline)) uint32_t run_arithmetic(struct querier *querier)
{
    uint64_t state = querier->random;
    for (uint32_t i = 0; i < QUERY_BATCH * 16; i++)
        bench_random(&state);
    querier->random = state;
    return 0;
}

static uint32_t run(struct querier *querier, enum query_kind kind)
{
    switch (kind) {
    case QUERY_HANDLE:
        return run_handle(querier);
    case QUERY_LFHT:
        return run_lfht(querier);
    case QUERY_LFHT_TEXT:
        return run_lfht_text(querier);
    case QUERY_LMDB:
        return run_lmdb(querier);
    case QUERY_SECTION:
        return run_sections(querier->reader);
    case QUERY_FENCED:
        return run_sections(querier->fenced);
    case QUERY_ARITHMETIC:
        return run_arithmetic(querier);
    default:
        return run_authorize(querier);
    }
}

uint32_t query_batch(enum query_kind kind)
{
    return kind == QUERY_SECTION || kind == QUERY_FENCED ? QUERY_SECTIONS : QUERY_BATCH;
}

uint64_t querier_run(struct querier *querier, enum query_kind kind)
{
    prepare(querier, kind);
    uint64_t start_ns = bench_now_ns();
    uint32_t allowed = run(querier, kind);
    uint64_t spent_ns = bench_now_ns() - start_ns;
    bool checked = !querier->unchecked || (kind >= QUERY_LFHT && kind <= QUERY_LMDB);
    if (checked && allowed != querier->expected)
        bench_fail("wrong verdicts: %u of a batch of kind %d allowed, %u expected", allowed, (int)kind,
                   querier->expected);
    return spent_ns;
}

/* SPDX-License-Identifier: MIT */
/* The baseline cds_lfht: presized, the key inline in its node, the same hash as
 * ours, a read section a look-up. */
/* liburcu then inlines the read lock, as ours is inlined. */
#define _LGPL_SOURCE
#include <stdlib.h>
#include <string.h>
#include <urcu/rculfhash.h>
#include <urcu/urcu-memb.h>

#include <xylem/abi.h>

#include "bench/baseline.h"
#include "bench/bench.h"

#define HASH_SEED 0x5851f42d4c957f2dULL

struct entry {
    struct cds_lfht_node node;
    uint16_t key_bytes;
    bool allow;
    uint8_t key[];
};

struct lfht {
    struct cds_lfht *table;
};

struct wanted {
    const uint8_t *key;
    size_t size;
};

static int matches(struct cds_lfht_node *node, const void *key)
{
    const struct entry *entry = caa_container_of(node, struct entry, node);
    const struct wanted *wanted = key;
    return entry->key_bytes == wanted->size && memcmp(entry->key, wanted->key, wanted->size) == 0;
}

static unsigned long hash_of(const uint8_t *key, size_t size)
{
    return xylem_hash(HASH_SEED, 0, key, size);
}

static void add(struct cds_lfht *table, const uint8_t *key, size_t size, bool allow)
{
    struct entry *entry = malloc(sizeof *entry + size);
    if (!entry)
        bench_fail("no memory for the baseline; ask for fewer pairs");
    cds_lfht_node_init(&entry->node);
    entry->key_bytes = (uint16_t)size;
    entry->allow = allow;
    memcpy(entry->key, key, size);
    urcu_memb_read_lock();
    cds_lfht_add(table, hash_of(key, size), &entry->node);
    urcu_memb_read_unlock();
}

struct lfht *lfht_create(const struct workload *workload)
{
    uint8_t key[BASELINE_KEY_MAX];
    struct lfht *made = bench_allocate(1, sizeof *made);
    unsigned long buckets = 1;
    while (buckets < workload->pairs)
        buckets *= 2;
    made->table = cds_lfht_new_flavor(buckets, buckets, 0, 0, &urcu_memb_flavor, NULL);
    if (!made->table)
        bench_fail("cds_lfht_new of %lu buckets failed", buckets);
    lfht_thread_begin();
    for (uint32_t pair = 0; pair < workload->pairs; pair++) {
        size_t size =
            baseline_key(workload_pair_target(workload, pair), workload_pair_source(workload, pair), key);
        add(made->table, key, size, workload_pair_allows(pair));
    }
    lfht_thread_end();
    return made;
}

void lfht_destroy(struct lfht *table)
{
    struct cds_lfht_iter iterator;
    struct entry *entry;
    lfht_thread_begin();
    urcu_memb_read_lock();
    cds_lfht_for_each_entry(table->table, &iterator, entry, node)
    {
        cds_lfht_del(table->table, &entry->node);
        free(entry); /* nobody reads any more, and the iterator knows the next one */
    }
    urcu_memb_read_unlock();
    lfht_thread_end();
    cds_lfht_destroy(table->table, NULL);
    free(table);
}

void lfht_thread_begin(void)
{
    urcu_memb_register_thread();
}

void lfht_thread_end(void)
{
    urcu_memb_unregister_thread();
}

int lfht_look_up(struct lfht *table, const uint8_t *key, size_t size)
{
    struct cds_lfht_iter iterator;
    struct wanted wanted = {key, size};
    int verdict = -1;
    urcu_memb_read_lock();
    cds_lfht_lookup(table->table, hash_of(key, size), matches, &wanted, &iterator);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&iterator);
    if (node)
        verdict = caa_container_of(node, struct entry, node)->allow;
    urcu_memb_read_unlock();
    return verdict;
}

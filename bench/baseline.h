/* SPDX-License-Identifier: MIT */
/* What a verdict is measured against: the same pairs in a lock-free hash table
 * of liburcu and in LMDB, under the key target, NUL, whole URI. Both are read
 * by threads that have called lfht_thread_begin() or have an lmdb_reader. */
#ifndef BENCH_BASELINE_H
#define BENCH_BASELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/workload.h"

#define BASELINE_KEY_MAX 256u

/* Writes the key of (target, source) and returns its length; the URI starts
 * behind the first NUL, and a NUL that the key does not count follows it. */
size_t baseline_key(const char *target, const char *source, uint8_t *out);

struct lfht;
struct lfht *lfht_create(const struct workload *workload);
void lfht_destroy(struct lfht *table);
void lfht_thread_begin(void);
void lfht_thread_end(void);

/* One look-up in a read section of its own. Returns 1 allow, 0 deny, -1 not
 * found. */
int lfht_look_up(struct lfht *table, const uint8_t *key, size_t size);

struct lmdb;
struct lmdb_reader;
struct lmdb *lmdb_create(const struct workload *workload);
void lmdb_destroy(struct lmdb *database);
struct lmdb_reader *lmdb_reader_open(struct lmdb *database);
void lmdb_reader_close(struct lmdb_reader *reader);

/* Renews the transaction, gets, resets. Returns as lfht_look_up(). */
int lmdb_look_up(struct lmdb_reader *reader, const uint8_t *key, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/* Which connections have been seen: the verdict counters that clients keep in their reader pages (abi.h), summed up by
 * (source, target). The agent learns of verdicts no other way.
 *
 * A page is the memory of a client, which may write there what it likes, while we read. A client that lies spoils these
 * statistics and nothing else: each entry is copied once, between two looks at its generation, lengths are clamped, and
 * what is not text becomes "?". Sums never go backwards and end at UINT64_MAX. Main thread only. */
#ifndef CORE_OBSERVED_H
#define CORE_OBSERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xylem/abi.h>

struct observed;
struct publication;

enum { OBSERVED_NAME_SIZE = XYLEM_COUNTER_TEXT / 2 + 1 };

/* Names are those of services, without namespace and partition: counters carry no more. */
struct observed_pair {
    char source[OBSERVED_NAME_SIZE];
    char target[OBSERVED_NAME_SIZE];
    bool cut;        /* one of them may be longer than a counter holds */
    size_t position; /* below pairs_max; may be given to another pair later, which has another id */
    uint64_t id;
    uint64_t allowed;
    uint64_t denied;
};

/* Keeps at most `pairs_max` pairs; the one that has not changed for the longest time makes room. NULL without memory. */
struct observed *observed_new(size_t pairs_max);
void observed_free(struct observed *observed);
size_t observed_pairs_max(const struct observed *observed);

/* Reads all pages that the publication has. Call it about every second: what a client counted between the last harvest
 * and its exit is lost. Its work is bounded; pages that had to wait come first the next time. */
void observed_harvest(struct observed *observed, struct publication *publication);

/* The same page by page, for a harvest by other means: each page once between begin and end. Returns from end true if a
 * page had to wait. */
void observed_begin(struct observed *observed);
void observed_page(void *observed, uint64_t client_id, const struct xylem_reader_page *page,
                   uint32_t slot_capacity);
bool observed_end(struct observed *observed);

/* All verdicts, also those of pairs that were not kept. */
void observed_totals(const struct observed *observed, uint64_t *allowed, uint64_t *denied);
size_t observed_count(const struct observed *observed);
void observed_each(const struct observed *observed,
                   void (*visit)(void *context, const struct observed_pair *pair), void *context);

#endif

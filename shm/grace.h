/* SPDX-License-Identifier: MIT */
/* Grace periods across processes: when has every reader left what it may have been reading?
 *
 * One `struct grace` an agent. It owns the epoch, which only grows; it knows the reader pages of all clients, and
 * which regions each of them may be reading. Everything here belongs to the agent's main thread.
 *
 * The argument. A reader stores its epoch, then loads what it reads; nothing orders the two in its CPU. We publish,
 * raise the epoch, then issue membarrier(GLOBAL_EXPEDITED): on every CPU that runs a registered thread a full
 * barrier happens before the call returns. Take any reader. If its slot store came before that barrier, the scan
 * that follows sees the slot in use. If it comes after, so do its loads, and they see what we published, not what we
 * retired. A slot read late, or an epoch cached long ago, only makes the oldest reader look older: memory is freed
 * late, never early. */
#ifndef SHM_GRACE_H
#define SHM_GRACE_H

#include <stdbool.h>
#include <stdint.h>

#include <xylem/abi.h>

struct grace;
struct grace_reader; /* one client's reader page */
struct region;

/* `first_epoch` must lie above every epoch that any client may still hold: see grace_first_epoch().
 * Returns 0, -ENOMEM. */
int grace_create(struct grace **out, uint64_t first_epoch);
void grace_destroy(struct grace *grace);

/* CLOCK_BOOTTIME in microseconds: epochs are raised less than once a microsecond, so this is above whatever an
 * earlier agent reached since boot, and no client survives a reboot. */
uint64_t grace_first_epoch(void);

uint64_t grace_epoch(const struct grace *grace);

/* False where the kernel or a seccomp filter refuses membarrier: then every reader has to fence. */
bool grace_has_membarrier(const struct grace *grace);

/* Raises the epoch, waits for the barrier, scans all slots; then regions know what they may reuse, and
 * grace_reader_left() answers. Costs one interruption of every CPU that runs a client: batch, milliseconds apart. */
void grace_advance(struct grace *grace);

/* Raises the epoch only, as a new set's min_epoch. */
uint64_t grace_raise(struct grace *grace);

/* A mapped reader page. `device` and `inode` name the memfd: the same again is the same process, connected anew. */
struct grace_page {
    const struct xylem_reader_page *page;
    uint64_t page_bytes;
    uint64_t device;
    uint64_t inode;
    uint32_t slot_capacity;
};

/* Verifies and maps a reader page that a client has sent; the descriptor stays the caller's. Any thread: a hostile
 * descriptor may block here. Returns 0; -EINVAL: not a sealed tmpfs memfd of a capacity from the list; mmap's errno. */
int grace_page_map(struct grace_page *out, int page_fd, uint32_t slot_capacity);
void grace_page_unmap(struct grace_page *page);

/* Takes a mapped page in; it is unmapped with the reader. Returns 0, -ENOMEM. */
int grace_reader_adopt(struct grace *grace, const struct grace_page *page, struct grace_reader **out);

/* Both at once. */
int grace_reader_create(struct grace *grace, int page_fd, uint32_t slot_capacity, struct grace_reader **out);

/* Only when no thread can be inside a section any more: after DETACH, exit, or when all it used is superseded. */
void grace_reader_destroy(struct grace_reader *reader);

/* From now on this reader may be reading `region`; or no longer. Returns 0, -ENOMEM. */
int grace_reader_use(struct grace_reader *reader, struct region *region);
void grace_reader_unuse(struct grace_reader *reader, struct region *region);

/* Has every section that began in `epoch` or before been left, as of the last grace_advance()? Small epochs count
 * too here: a reader that is still entering may hold the set it loaded first. */
bool grace_reader_left(const struct grace_reader *reader, uint64_t epoch);

/* The page, for harvesting counters. Trust nothing in it. */
const struct xylem_reader_page *grace_reader_page(const struct grace_reader *reader, uint32_t *slot_capacity);

/* The oldest epoch that a section of this reader is in, UINT64_MAX if none was, as of the last advance. */
uint64_t grace_reader_oldest(const struct grace_reader *reader);

/* For region.c. */
int grace_attach_region(struct grace *grace, struct region *region);
void grace_detach_region(struct grace *grace, struct region *region);

#endif

/* SPDX-License-Identifier: MIT */
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xylem/xylem.h>

#ifndef MFD_NOEXEC_SEAL
#    define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#ifndef MADV_POPULATE_WRITE
#    define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#    define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* Sizes are rounded up to a class: 16 bytes apart up to 128, then eight classes a doubling, so that at most an eighth
 * is lost. Freed memory goes back to its class and is never merged: a region that fragments is superseded. */
#define CLASS_COUNT  224u
#define COMMIT_BYTES (256u * 1024u)

struct retired {
    uint64_t epoch;
    xylem_ref ref;
    uint32_t size_bytes;
};

/* What the first bytes of free memory hold. */
struct free_block {
    struct xylem_object object;
    xylem_ref next;
};

struct region {
    struct xylem_region_header *header;
    struct grace *grace;
    int fd;
    bool locked;
    uint64_t bump;      /* bytes from the start that were ever allocated */
    uint64_t committed; /* bytes from the start that are backed by memory */
    uint64_t held;      /* oldest epoch that a reader of this region is in */
    uint64_t live_bytes;
    uint64_t retired_bytes;
    uint64_t leaked_bytes;
    uint64_t allocations;
    xylem_ref free_lists[CLASS_COUNT];
    /* A queue in order of epoch: [first, first + count) of a ring of `capacity`, a power of two. */
    struct retired *retired;
    size_t first;
    size_t count;
    size_t capacity;
};

static uint32_t class_of(uint64_t size_bytes)
{
    if (size_bytes <= 128)
        return (uint32_t)((size_bytes + 15) / 16) - 1;
    uint32_t log2 = 63u - (uint32_t)__builtin_clzll(size_bytes - 1); /* 2^log2 < size <= 2^(log2+1) */
    uint32_t eighth = (uint32_t)((size_bytes - 1) >> (log2 - 3)) & 7u;
    return 8 + (log2 - 7) * 8 + eighth;
}

static uint64_t class_bytes(uint32_t class)
{
    if (class < 8)
        return (class + 1) * 16u;
    uint32_t log2 = 7 + (class - 8) / 8;
    return (1ull << log2) + (((class - 8) % 8 + 1ull) << (log2 - 3));
}

static int open_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd == -1 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Before any descriptor leaves: no more writable mappings, no other size, readable by its owner only; and what is
 * handed out is a second, read-only description, since a memfd is born readable and writable by all. */
static int seal(int fd, int *readonly_fd)
{
    char path[32];
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == -1 ||
        fchmod(fd, 0400) == -1)
        return -errno;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *readonly_fd = open(path, O_RDONLY | O_CLOEXEC);
    return *readonly_fd == -1 ? -errno : 0;
}

/* A large policy region is committed by huge pages, each collapsed while nothing is in it: a reader then never waits for
 * that, and no page is there that would not have been committed soon. Where the kernel will not, small pages do. */
static uint64_t commit_unit(uint32_t kind, uint64_t region_bytes)
{
    return kind == XYLEM_REGION_POLICY && region_bytes >= XYLEM_LARGE_REGION_ ? XYLEM_HUGE_PAGE_
                                                                              : COMMIT_BYTES;
}

static void collapse(uint8_t *start, uint64_t size_bytes, uint64_t unit)
{
    if (unit == XYLEM_HUGE_PAGE_ && size_bytes % unit == 0 && (uintptr_t)start % unit == 0)
        (void)madvise(start, size_bytes, MADV_COLLAPSE);
}

/* Running out of memory has to be an error here, not a SIGBUS in the middle of a publication. */
static int commit(struct region *region, uint64_t up_to)
{
    uint64_t limit = region->header->region_bytes;
    uint64_t unit = commit_unit(region->header->kind, limit);
    uint64_t target = (up_to + unit - 1) / unit * unit;
    if (up_to <= region->committed)
        return 0;
    if (up_to > limit)
        return -ENOSPC;
    if (target > limit)
        target = limit;
    uint8_t *start = (uint8_t *)region->header + region->committed;
    if (madvise(start, target - region->committed, MADV_POPULATE_WRITE) == -1) {
        if (errno != EINVAL)
            return errno == ENOMEM || errno == EFAULT ? -ENOSPC : -errno;
        for (uint64_t at = 0; at < target - region->committed;
             at += 4096) /* an older kernel: touch each page */
            __atomic_store_n(start + at, 0, __ATOMIC_RELAXED);
    }
    collapse(start, target - region->committed, unit);
    region->committed = target;
    return 0;
}

static int map(struct region *region, int fd, uint64_t region_bytes)
{
    if (ftruncate(fd, (off_t)region_bytes) == -1)
        return -errno;
    void *memory = xylem_map_shared_(fd, region_bytes, PROT_READ | PROT_WRITE);
    if (memory == MAP_FAILED)
        return -errno;
    region->header = memory;
    return madvise(memory, region_bytes, MADV_DONTFORK) == -1 ? -errno : 0;
}

static void fill_header(struct region *region, uint32_t kind, uint64_t region_bytes, uint64_t region_id,
                        uint64_t hash_seed)
{
    struct xylem_region_header *header = region->header;
    header->magic = XYLEM_REGION_MAGIC;
    header->abi_major = XYLEM_ABI_MAJOR;
    header->abi_minor = XYLEM_ABI_MINOR;
    header->kind = kind;
    header->header_bytes = sizeof *header;
    header->region_bytes = region_bytes;
    header->region_id = region_id;
    header->hash_seed = hash_seed;
    region->bump = sizeof *header;
}

static int prepare(struct region *region, int fd, uint32_t kind, uint64_t region_bytes, uint64_t region_id,
                   uint64_t hash_seed)
{
    int error = map(region, fd, region_bytes);
    if (error)
        return error;
    if (kind == XYLEM_REGION_SCOPE) {
        madvise(region->header, region_bytes, MADV_DONTDUMP);
        region->locked = mlock2(region->header, region_bytes, MLOCK_ONFAULT) == 0;
    }
    uint64_t unit = commit_unit(kind, region_bytes);
    uint64_t first = region_bytes < unit ? region_bytes : unit;
    struct xylem_region_header *header = region->header;
    if (madvise(header, first, MADV_POPULATE_WRITE) == -1 && errno != EINVAL)
        return -errno;
    collapse((uint8_t *)header, first, unit);
    region->committed = first;
    fill_header(region, kind, region_bytes, region_id, hash_seed);
    return seal(fd, &region->fd);
}

int region_create(struct region **out, struct grace *grace, uint32_t kind, uint64_t region_bytes,
                  uint64_t region_id, uint64_t hash_seed)
{
    region_bytes = (region_bytes + 4095u) & ~(uint64_t)4095u;
    if (region_bytes < 2 * sizeof(struct xylem_region_header) ||
        region_bytes > (uint64_t)UINT32_MAX * XYLEM_REF_UNIT || region_id == 0)
        return -EINVAL;
    struct region *region = calloc(1, sizeof *region);
    if (!region)
        return -ENOMEM;
    region->fd = -1;
    region->grace = grace;
    region->held = UINT64_MAX;
    int error;
    int fd = open_memfd(kind == XYLEM_REGION_SCOPE ? "xylem-scope" : "xylem-policy");
    if (fd == -1) {
        error = -errno;
        goto fail;
    }
    error = prepare(region, fd, kind, region_bytes, region_id, hash_seed);
    close(fd); /* the mapping keeps the memory; nobody needs a writable descriptor any more */
    if (!error)
        error = grace_attach_region(grace, region);
    if (error)
        goto fail;
    region->header->min_epoch = grace_raise(grace);
    *out = region;
    return 0;
fail:
    if (region->header)
        munmap(region->header, region_bytes);
    if (region->fd != -1)
        close(region->fd);
    free(region);
    return error;
}

void region_destroy(struct region *region)
{
    if (!region)
        return;
    grace_detach_region(region->grace, region);
    uint64_t region_bytes = region->header->region_bytes;
    if (region->header->kind == XYLEM_REGION_SCOPE)
        explicit_bzero((uint8_t *)region->header + sizeof *region->header,
                       region->bump - sizeof *region->header);
    munmap(region->header, region_bytes);
    close(region->fd);
    free(region->retired);
    free(region);
}

struct xylem_region_header *region_header(const struct region *region)
{
    return region->header;
}

int region_fd(const struct region *region)
{
    return region->fd;
}

xylem_ref region_ref(const struct region *region, const void *object)
{
    return object ? (xylem_ref)((uint64_t)((const uint8_t *)object - (const uint8_t *)region->header) /
                                XYLEM_REF_UNIT)
                  : 0;
}

void *region_at(const struct region *region, xylem_ref ref)
{
    return (uint8_t *)region->header + (uint64_t)ref * XYLEM_REF_UNIT;
}

static void *take_free(struct region *region, uint32_t class)
{
    xylem_ref ref = region->free_lists[class];
    if (!ref)
        return NULL;
    struct free_block *block = region_at(region, ref);
    region->free_lists[class] = block->next;
    memset(block, 0, class_bytes(class));
    return block;
}

static void *take_new(struct region *region, uint32_t class)
{
    uint64_t size_bytes = class_bytes(class);
    if (commit(region, region->bump + size_bytes) != 0)
        return NULL;
    void *memory = (uint8_t *)region->header + region->bump;
    region->bump += size_bytes;
    return memory; /* fresh memory of a memfd is zero */
}

void *region_allocate(struct region *region, uint32_t kind, size_t size_bytes)
{
    if (size_bytes > UINT32_MAX / 2)
        return NULL;
    uint32_t class =
        class_of(size_bytes < sizeof(struct free_block) ? sizeof(struct free_block) : size_bytes);
    void *memory = take_free(region, class);
    if (!memory)
        memory = take_new(region, class);
    if (!memory)
        return NULL;
    struct xylem_object *object = memory;
    object->kind = kind;
    object->size_bytes = (uint32_t)size_bytes;
    region->live_bytes += class_bytes(class);
    region->allocations++;
    return object;
}

void region_finish(struct region *region, void *memory)
{
    (void)region;
#ifdef XYLEM_PARANOID
    struct xylem_object *object = memory;
    object->checksum = xylem_checksum_(object + 1, object->size_bytes - sizeof *object);
#else
    (void)memory;
#endif
}

static uint32_t object_class(const struct xylem_object *object)
{
    return class_of(object->size_bytes < sizeof(struct free_block) ? sizeof(struct free_block)
                                                                   : object->size_bytes);
}

/* Back to its class; keys are wiped at this moment, and a test build poisons what a late reader would meet. */
static void give_back(struct region *region, xylem_ref ref, uint32_t class)
{
    struct free_block *block = region_at(region, ref);
    uint64_t size_bytes = class_bytes(class);
    if (region->header->kind == XYLEM_REGION_SCOPE)
        explicit_bzero(block, size_bytes);
#ifdef XYLEM_PARANOID
    memset(block, 0xa5, size_bytes);
#endif
    block->object.kind = XYLEM_OBJECT_FREED;
    block->next = region->free_lists[class];
    region->free_lists[class] = ref;
}

void region_free(struct region *region, void *memory)
{
    if (!memory)
        return;
    uint32_t class = object_class(memory);
    region->live_bytes -= class_bytes(class);
    region->allocations--;
    give_back(region, region_ref(region, memory), class);
}

static bool grow_queue(struct region *region)
{
    size_t capacity = region->capacity ? region->capacity * 2 : 64;
    struct retired *grown = malloc(capacity * sizeof *grown);
    if (!grown)
        return false;
    for (size_t i = 0; i < region->count; i++)
        grown[i] = region->retired[(region->first + i) & (region->capacity - 1)];
    free(region->retired);
    region->retired = grown;
    region->first = 0;
    region->capacity = capacity;
    return true;
}

void region_retire(struct region *region, xylem_ref ref)
{
    if (!ref)
        return;
    const struct xylem_object *object = region_at(region, ref);
    uint64_t size_bytes = class_bytes(object_class(object));
    region->live_bytes -= size_bytes;
    region->allocations--;
    if (region->count == region->capacity && !grow_queue(region)) {
        region->leaked_bytes += size_bytes; /* freed too early would be worse */
        return;
    }
    struct retired *entry = &region->retired[(region->first + region->count) & (region->capacity - 1)];
    entry->epoch = grace_epoch(region->grace);
    entry->ref = ref;
    entry->size_bytes = object->size_bytes;
    region->count++;
    region->retired_bytes += size_bytes;
}

void region_hold_nothing(struct region *region)
{
    region->held = UINT64_MAX;
}

void region_hold(struct region *region, uint64_t epoch)
{
    if (epoch < region->held)
        region->held = epoch;
}

/* What was retired in epoch e is free when e has ended, the barrier came after, and every section in progress began
 * later than e. */
void region_reclaim(struct region *region, uint64_t ended_epoch)
{
    while (region->count > 0) {
        const struct retired *entry = &region->retired[region->first];
        if (entry->epoch > ended_epoch || entry->epoch >= region->held)
            return;
        const struct xylem_object *object = region_at(region, entry->ref);
        uint32_t class = object_class(object);
        region->retired_bytes -= class_bytes(class);
        give_back(region, entry->ref, class);
        region->first = (region->first + 1) & (region->capacity - 1);
        region->count--;
    }
}

bool region_has_retired(const struct region *region)
{
    return region->count > 0;
}

bool region_has_room(const struct region *region, uint64_t size_bytes)
{
    return region->header->region_bytes - region->bump >= size_bytes;
}

void region_statistics(const struct region *region, struct region_statistics *out)
{
    out->region_bytes = region->header->region_bytes;
    out->committed_bytes = region->committed;
    out->live_bytes = region->live_bytes;
    out->retired_bytes = region->retired_bytes;
    out->leaked_bytes = region->leaked_bytes;
    out->allocations = region->allocations;
    out->locked = region->locked;
}

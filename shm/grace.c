/* SPDX-License-Identifier: MIT */
#include "shm/grace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "shm/region.h"

struct grace_reader {
    struct grace *grace;
    struct grace_reader *next;
    struct grace_page mapped;
    uint32_t use_count;
    uint32_t use_capacity;
    struct region **uses;
    uint64_t oldest; /* epoch of a section in progress, as of the last scan; UINT64_MAX: none */
    uint64_t born;   /* the epoch when it was created: nothing of it has been scanned before */
};

struct grace {
    uint64_t epoch;
    uint64_t scanned; /* the last scan speaks for everything up to this epoch */
    bool membarrier;
    struct grace_reader *readers;
    struct region **regions;
    uint32_t region_count;
    uint32_t region_capacity;
};

static int membarrier(int command)
{
    return (int)syscall(SYS_membarrier, command, 0, 0);
}

uint64_t grace_first_epoch(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 1;
}

int grace_create(struct grace **out, uint64_t first_epoch)
{
    struct grace *grace = calloc(1, sizeof *grace);
    if (!grace)
        return -ENOMEM;
    grace->epoch = first_epoch;
    /* The agent registers too: its own serving threads are readers. */
    grace->membarrier = membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0 &&
                        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
    *out = grace;
    return 0;
}

void grace_destroy(struct grace *grace)
{
    if (!grace)
        return;
    while (grace->readers)
        grace_reader_destroy(grace->readers);
    free(grace->regions);
    free(grace);
}

uint64_t grace_epoch(const struct grace *grace)
{
    return grace->epoch;
}

bool grace_has_membarrier(const struct grace *grace)
{
    return grace->membarrier;
}

static bool reserve(struct region ***list, uint32_t count, uint32_t *capacity)
{
    if (count < *capacity)
        return true;
    uint32_t wanted = *capacity ? *capacity * 2 : 8;
    struct region **grown = realloc(*list, wanted * sizeof(struct region *));
    if (!grown)
        return false;
    *list = grown;
    *capacity = wanted;
    return true;
}

static void drop(struct region **list, uint32_t *count, const struct region *region)
{
    for (uint32_t i = 0; i < *count; i++)
        if (list[i] == region) {
            memmove(&list[i], &list[i + 1],
                    (--*count - i) * sizeof(struct region *)); /* keeps the order of age */
            return;
        }
}

int grace_attach_region(struct grace *grace, struct region *region)
{
    if (!reserve(&grace->regions, grace->region_count, &grace->region_capacity))
        return -ENOMEM;
    grace->regions[grace->region_count++] = region;
    return 0;
}

void grace_detach_region(struct grace *grace, struct region *region)
{
    drop(grace->regions, &grace->region_count, region);
    for (struct grace_reader *reader = grace->readers; reader; reader = reader->next)
        drop(reader->uses, &reader->use_count, region);
}

uint64_t grace_raise(struct grace *grace)
{
    grace->epoch++;
    /* Newest region first: a client that goes from one to the next must not find the next one behind
     * (xylem_epoch_goes_on_()). */
    for (uint32_t i = grace->region_count; i-- > 0;)
        /* [epoch] Release: whoever loads this epoch sees everything published before it. */
        __atomic_store_n(&region_header(grace->regions[i])->epoch, grace->epoch, __ATOMIC_RELEASE);
    return grace->epoch;
}

/* One word of a slot, read once. An epoch above our own is a lie or damage: it holds everything. */
static void scan_word(struct grace_reader *reader, uint64_t word, uint64_t epoch_now)
{
    uint64_t epoch = word >> 16;
    if ((word & 0xffff) == 0)
        return;
    bool trusted = epoch <= epoch_now;
    if (!trusted)
        epoch = 0;
    if (epoch < reader->oldest)
        reader->oldest = epoch;
    for (uint32_t i = 0; i < reader->use_count; i++)
        /* Every reader of a region holds an epoch at or above the region's first; a smaller one is stuck in an
         * older set, or still entering: then it loads the set again before it reads (xylem_enter_()). */
        if (!trusted || epoch >= region_header(reader->uses[i])->min_epoch)
            region_hold(reader->uses[i], epoch);
}

static void scan_reader(struct grace_reader *reader, uint64_t epoch_now)
{
    const struct xylem_reader_page *page = reader->mapped.page;
    reader->oldest = UINT64_MAX;
    uint32_t used = __atomic_load_n(&page->slots_used, __ATOMIC_ACQUIRE);
    if (used > reader->mapped.slot_capacity)
        used = reader->mapped.slot_capacity;
    for (uint32_t i = 0; i < used; i++)
        for (uint32_t level = 0; level < XYLEM_READER_LEVELS; level++)
            /* [slot] Acquire pairs with the release of xylem_unlock_(): a slot seen empty has finished reading. */
            scan_word(reader, __atomic_load_n(&page->slots[i].words[level], __ATOMIC_ACQUIRE), epoch_now);
}

void grace_advance(struct grace *grace)
{
    uint64_t before = grace->epoch;
    grace_raise(grace);
    /* [slot] The fence that readers do not have. Without the system call they have their own, and this is ours. */
    if (!grace->membarrier || membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < grace->region_count; i++)
        region_hold_nothing(grace->regions[i]);
    for (struct grace_reader *reader = grace->readers; reader; reader = reader->next)
        scan_reader(reader, grace->epoch);
    grace->scanned = before;
    for (uint32_t i = 0; i < grace->region_count; i++)
        region_reclaim(grace->regions[i], before);
}

static bool is_listed_capacity(uint32_t capacity)
{
    return capacity == 16 || capacity == 64 || capacity == 256 || capacity == 1024;
}

int grace_page_map(struct grace_page *out, int page_fd, uint32_t slot_capacity)
{
    struct statfs filesystem;
    struct stat status;
    if (!is_listed_capacity(slot_capacity))
        return -EINVAL;
    /* The seals first: only memfds have them, and asking anything else of a hostile descriptor may block. A memfd of
     * hugetlbfs takes the same seals but not the same faults. */
    int seals = fcntl(page_fd, F_GET_SEALS);
    if (seals == -1 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
        return -EINVAL;
    if (fstatfs(page_fd, &filesystem) == -1 || filesystem.f_type != TMPFS_MAGIC)
        return -EINVAL;
    uint64_t page_bytes = xylem_reader_page_bytes(slot_capacity);
    if (fstat(page_fd, &status) == -1 || (uint64_t)status.st_size != page_bytes)
        return -EINVAL;
    void *memory = mmap(NULL, page_bytes, PROT_READ, MAP_SHARED, page_fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    madvise(memory, page_bytes, MADV_DONTFORK);
    *out = (struct grace_page){memory, page_bytes, status.st_dev, status.st_ino, slot_capacity};
    return 0;
}

void grace_page_unmap(struct grace_page *page)
{
    if (page->page)
        munmap((void *)(uintptr_t)page->page, page->page_bytes);
    page->page = NULL;
}

int grace_reader_adopt(struct grace *grace, const struct grace_page *page, struct grace_reader **out)
{
    struct grace_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return -ENOMEM;
    reader->grace = grace;
    reader->mapped = *page;
    reader->oldest = 0; /* until the first scan has looked */
    reader->born = grace->epoch;
    reader->next = grace->readers;
    grace->readers = reader;
    *out = reader;
    return 0;
}

int grace_reader_create(struct grace *grace, int page_fd, uint32_t slot_capacity, struct grace_reader **out)
{
    struct grace_page page;
    int error = grace_page_map(&page, page_fd, slot_capacity);
    if (error)
        return error;
    error = grace_reader_adopt(grace, &page, out);
    if (error)
        grace_page_unmap(&page);
    return error;
}

void grace_reader_destroy(struct grace_reader *reader)
{
    if (!reader)
        return;
    struct grace_reader **link = &reader->grace->readers;
    while (*link != reader)
        link = &(*link)->next;
    *link = reader->next;
    grace_page_unmap(&reader->mapped);
    free(reader->uses);
    free(reader);
}

int grace_reader_use(struct grace_reader *reader, struct region *region)
{
    for (uint32_t i = 0; i < reader->use_count; i++)
        if (reader->uses[i] == region)
            return 0;
    if (!reserve(&reader->uses, reader->use_count, &reader->use_capacity))
        return -ENOMEM;
    reader->uses[reader->use_count++] = region;
    return 0;
}

void grace_reader_unuse(struct grace_reader *reader, struct region *region)
{
    drop(reader->uses, &reader->use_count, region);
}

bool grace_reader_left(const struct grace_reader *reader, uint64_t epoch)
{
    /* The barrier of the last advance must have come after `epoch` ended, and this reader must have been there. */
    return reader->grace->scanned >= epoch && reader->grace->scanned >= reader->born &&
           reader->oldest > epoch;
}

uint64_t grace_reader_oldest(const struct grace_reader *reader)
{
    return reader->oldest;
}

const struct xylem_reader_page *grace_reader_page(const struct grace_reader *reader, uint32_t *slot_capacity)
{
    *slot_capacity = reader->mapped.slot_capacity;
    return reader->mapped.page;
}

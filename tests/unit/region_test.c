/* SPDX-License-Identifier: MIT */
/* The memory of a region. The module is included, for its size classes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "shm/region.c"
#include "tests/unit/harness.h"

static struct grace *grace;

static int open_grace(void **state)
{
    (void)state;
    return grace_create(&grace, 1000);
}

static int close_grace(void **state)
{
    (void)state;
    grace_destroy(grace);
    return 0;
}

static struct region *make_region(uint32_t kind, uint64_t region_bytes)
{
    struct region *region;
    assert_int_equal(region_create(&region, grace, kind, region_bytes, 7, 8), 0);
    return region;
}

static struct region_statistics look(const struct region *region)
{
    struct region_statistics statistics;
    region_statistics(region, &statistics);
    return statistics;
}

/* --- classes --- */

static void test_classes(void **state)
{
    uint32_t before = 0;
    (void)state;
    for (uint64_t size = 1; size <= 1u << 20; size++) {
        uint32_t class = class_of(size);
        uint64_t bytes = class_bytes(class);
        if (bytes < size || bytes > (size <= 128 ? size + 15 : size + size / 8 + 1) || bytes % 16 != 0)
            fail_msg("%lu bytes are given %lu", size, bytes);
        if (class != before && class != before + 1)
            fail_msg("class %u follows %u at %lu bytes", class, before, size);
        if (class != before && size > 1 && class_bytes(before) != size - 1)
            fail_msg("class %u ends at %lu but holds %lu", before, size - 1, class_bytes(before));
        before = class;
    }
    assert_true(class_of(UINT32_MAX / 2) < CLASS_COUNT);
}

/* --- bookkeeping --- */

static void test_allocate_and_free(void **state)
{
    struct region *region = make_region(XYLEM_REGION_POLICY, 8u << 20);
    void *objects[200];
    (void)state;
    assert_int_equal(look(region).live_bytes, 0);
    for (uint32_t round = 0; round < 3; round++) {
        uint64_t live = 0;
        for (uint32_t i = 0; i < 200; i++) {
            size_t size = sizeof(struct xylem_object) + i * i;
            objects[i] = region_allocate(region, 0x1234u + i, size);
            assert_non_null(objects[i]);
            struct xylem_object *object = objects[i];
            assert_int_equal(object->kind, 0x1234u + i);
            assert_int_equal(object->size_bytes, size);
            assert_int_equal((uintptr_t)object % 16, 0);
            assert_ptr_equal(region_at(region, region_ref(region, object)), object);
            for (size_t at = sizeof *object; at < size; at++)
                if (((uint8_t *)object)[at] != 0)
                    fail_msg("byte %zu of new memory is not zero", at);
            memset(object + 1, 0xff, size - sizeof *object);
            live += class_bytes(class_of(size < 32 ? 32 : size));
        }
        assert_int_equal(look(region).live_bytes, live);
        assert_int_equal(look(region).allocations, 200);
        uint64_t bump = region->bump;
        for (uint32_t i = 0; i < 200; i++)
            region_free(region, objects[(i * 37) % 200]);
        assert_int_equal(look(region).live_bytes, 0);
        assert_int_equal(look(region).allocations, 0);
        if (round)
            assert_int_equal(region->bump, bump); /* the second round is served from what came back */
    }
    assert_int_equal(region_ref(region, NULL), 0);
    region_free(region, NULL);
    region_destroy(region);
}

static void test_retire_and_reclaim(void **state)
{
    struct region *region = make_region(XYLEM_REGION_POLICY, 8u << 20);
    (void)state;
    /* More than the queue holds at first, over several epochs. */
    for (uint32_t i = 0; i < 1000; i++) {
        struct xylem_object *object = region_allocate(region, 1, 100);
        region_retire(region, region_ref(region, object));
        if (i % 100 == 99)
            grace_raise(grace);
    }
    region_retire(region, 0);
    assert_int_equal(look(region).live_bytes, 0);
    assert_int_equal(look(region).retired_bytes, 1000 * 112);
    assert_true(region_has_retired(region));
    uint64_t first = grace_epoch(grace) - 10;
    region_hold_nothing(region);
    region_hold(region, first + 5);
    region_hold(region, first + 7); /* the older one counts */
    region_reclaim(region, grace_epoch(grace));
    assert_int_equal(look(region).retired_bytes, 500 * 112); /* retired in first + 5 or later */
    region_hold_nothing(region);
    region_reclaim(region, first + 5);
    assert_int_equal(look(region).retired_bytes, 400 * 112); /* the epochs behind it have not ended */
    grace_advance(grace);
    assert_int_equal(look(region).retired_bytes, 0);
    assert_false(region_has_retired(region));
    assert_int_equal(look(region).leaked_bytes, 0);
    region_destroy(region);
}

static void test_full(void **state)
{
    struct region *region = make_region(XYLEM_REGION_POLICY, 512u << 10);
    struct xylem_object *last = NULL;
    uint32_t count = 0;
    (void)state;
    assert_null(region_allocate(region, 1, 1u << 20));
    assert_null(region_allocate(region, 1, SIZE_MAX));
    assert_true(region_has_room(region, 500u << 10));
    for (struct xylem_object *object; (object = region_allocate(region, 1, 1000)) != NULL; count++)
        last = object;
    assert_in_range(count, 490, 520);
    assert_false(region_has_room(region, 1024));
    struct region_statistics before = look(region);
    assert_null(region_allocate(region, 1, 1000));
    struct region_statistics after = look(region);
    assert_int_equal(after.live_bytes, before.live_bytes);
    assert_int_equal(after.allocations, before.allocations);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
    region_free(region, last);
    assert_ptr_equal(region_allocate(region, 1, 1000), last);
    region_destroy(region);
}

static void test_refused(void **state)
{
    struct region *region;
    (void)state;
    assert_int_equal(region_create(&region, grace, XYLEM_REGION_POLICY, 4096, 1, 0), -EINVAL);
    assert_int_equal(region_create(&region, grace, XYLEM_REGION_POLICY, 1ull << 36, 1, 0), -EINVAL);
    assert_int_equal(region_create(&region, grace, XYLEM_REGION_POLICY, 1u << 20, 0, 0), -EINVAL);
    region_destroy(NULL);
}

/* --- what clients are given --- */

static int reopen(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, flags | O_CLOEXEC);
    if (again != -1)
        close(again);
    return again;
}

/* In the region's owner, who is not root: then the mode counts. Returns what went wrong. */
static int check_as_owner(void)
{
    struct region *region;
    if (region_create(&region, grace, XYLEM_REGION_POLICY, 1u << 20, 7, 8) != 0)
        return 1;
    int fd = region_fd(region);
    if (reopen(fd, O_RDONLY) == -1)
        return 2;
    if (reopen(fd, O_RDWR) != -1 || errno != EACCES)
        return 3;
    if (reopen(fd, O_WRONLY) != -1 || errno != EACCES)
        return 4;
    region_destroy(region);
    return 0;
}

static void test_descriptor_is_read_only(void **state)
{
    struct region *region = make_region(XYLEM_REGION_POLICY, 1u << 20);
    int fd = region_fd(region);
    struct stat status;
    uint8_t byte = 1;
    int result = 0;
    (void)state;
    int seals = fcntl(fd, F_GET_SEALS);
    int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    assert_int_equal(seals & wanted, wanted);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0400);
    assert_int_equal(status.st_size, 1u << 20);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(pwrite(fd, &byte, 1, 0), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    /* A read-only mapping does not become writable either. */
    void *memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory, 4096, PROT_READ | PROT_WRITE), -1);
    munmap(memory, 4096);
    /* Root may open what it likes; the seal holds all the same. */
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int writable = open(path, O_RDWR | O_CLOEXEC);
    if (writable != -1) {
        assert_int_equal(geteuid(), 0);
        assert_int_equal(pwrite(writable, &byte, 1, 0), -1);
        assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0), MAP_FAILED);
        assert_int_equal(ftruncate(writable, 0), -1);
        close(writable);
    }
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        if (geteuid() == 0 && (setresgid(65534, 65534, 65534) == -1 || setresuid(65534, 65534, 65534) == -1 ||
                               prctl(PR_SET_DUMPABLE, 1) == -1))
            _exit(100);
        _exit(check_as_owner());
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    region_destroy(region);
}

static void test_not_inherited(void **state)
{
    struct region *region = make_region(XYLEM_REGION_SCOPE, 1u << 20);
    int result = 0;
    (void)state;
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        unsigned char resident;
        _exit(mincore(region->header, 4096, &resident) == -1 && errno == ENOMEM ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    region_destroy(region);
}

/* --- secrets --- */

static const char secret[] = "-----BEGIN PRIVATE KEY----- of a test";

static bool holds_secret(const struct region *region)
{
    return memmem(region->header, region->bump, secret, sizeof secret - 1) != NULL;
}

static void test_keys_are_wiped(void **state)
{
    struct region *region = make_region(XYLEM_REGION_SCOPE, 1u << 20);
    (void)state;
    for (int published = 0; published < 2; published++) {
        struct xylem_object *object = region_allocate(region, 1, 4000);
        assert_non_null(object);
        memcpy((uint8_t *)object + 3900, secret, sizeof secret);
        memcpy(object + 1, secret, sizeof secret);
        assert_true(holds_secret(region));
        if (published) {
            region_retire(region, region_ref(region, object));
            assert_true(holds_secret(region)); /* somebody may still read it */
            grace_advance(grace);
        } else {
            region_free(region, object);
        }
        assert_false(holds_secret(region));
    }
    /* A client that keeps its mapping reads zeros when the region is destroyed. */
    struct xylem_object *object = region_allocate(region, 1, 4000);
    memcpy(object + 1, secret, sizeof secret);
    size_t size = region->bump;
    uint8_t *mapped = mmap(NULL, 1u << 20, PROT_READ, MAP_SHARED, region->fd, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    region_destroy(region);
    assert_null(memmem(mapped, size, secret, sizeof secret - 1));
    munmap(mapped, 1u << 20);
}

#ifdef XYLEM_PARANOID
static void test_freed_memory_is_poisoned(void **state)
{
    struct region *region = make_region(XYLEM_REGION_POLICY, 1u << 20);
    struct xylem_object *object = region_allocate(region, XYLEM_OBJECT_LEAF, 200);
    (void)state;
    region_finish(region, object);
    assert_int_not_equal(object->checksum, 0);
    region_free(region, object);
    assert_int_equal(object->kind, XYLEM_OBJECT_FREED);
    assert_int_equal(((uint8_t *)object)[150], 0xa5);
    region_destroy(region);
}
#endif

int main(void)
{
#define WITH_GRACE(test) cmocka_unit_test_setup_teardown(test, open_grace, close_grace)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        WITH_GRACE(test_allocate_and_free),
        WITH_GRACE(test_retire_and_reclaim),
        WITH_GRACE(test_full),
        WITH_GRACE(test_refused),
        WITH_GRACE(test_descriptor_is_read_only),
        WITH_GRACE(test_not_inherited),
        WITH_GRACE(test_keys_are_wiped),
#ifdef XYLEM_PARANOID
        WITH_GRACE(test_freed_memory_is_poisoned),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Grace periods: what a slot holds, what it does not, and which reader pages are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/harness.h"

#ifndef MFD_HUGETLB
#    define MFD_HUGETLB 4u
#endif

static struct grace *grace;
static struct region *region;
static struct grace_reader *reader;
static struct xylem_reader_page *page; /* what a client would write */
static int page_fd;

static int make_page(uint32_t capacity, uint64_t size, int seals, unsigned flags)
{
    int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd == -1)
        return -1;
    MUST(ftruncate(fd, (off_t)size) == 0);
    MUST(fcntl(fd, F_ADD_SEALS, seals) == 0);
    (void)capacity;
    return fd;
}

static int set_up(void **state)
{
    uint64_t size = xylem_reader_page_bytes(16);
    (void)state;
    MUST(grace_create(&grace, 1000) == 0);
    MUST(region_create(&region, grace, XYLEM_REGION_POLICY, 1u << 20, 1, 1) == 0);
    page_fd = make_page(16, size, F_SEAL_SHRINK | F_SEAL_GROW, 0);
    MUST(page_fd != -1);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
    MUST(memory != MAP_FAILED);
    page = memory;
    page->slots_used = 16;
    MUST(grace_reader_create(grace, page_fd, 16, &reader) == 0);
    MUST(grace_reader_use(reader, region) == 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    munmap(page, xylem_reader_page_bytes(16));
    close(page_fd);
    region_destroy(region);
    grace_destroy(grace);
    return 0;
}

static void retire_one(void)
{
    struct xylem_object *object = region_allocate(region, 1, 100);
    assert_non_null(object);
    region_retire(region, region_ref(region, object));
}

static bool is_held(void)
{
    retire_one();
    grace_advance(grace);
    bool held = region_has_retired(region);
    for (int i = 0; i < 3 && held; i++) /* it stays so */
        grace_advance(grace);
    assert_int_equal(held, region_has_retired(region));
    return held;
}

static void enter(uint32_t slot, uint32_t level, uint64_t epoch, uint64_t nesting)
{
    __atomic_store_n(&page->slots[slot].words[level], epoch << 16 | nesting, __ATOMIC_RELEASE);
}

static void test_who_holds(void **state)
{
    uint64_t minimum = region_header(region)->min_epoch;
    uint64_t far = 1ull << 40;
    (void)state;
    const struct {
        const char *what;
        uint32_t slot, level;
        uint64_t epoch, nesting;
        bool holds;
    } cases[] = {
        {"no reader", 0, 0, minimum, 0, false},
        {"a reader in a section", 0, 0, minimum, 1, true},
        {"a nested one", 3, 0, minimum, 200, true},
        {"the last slot", 15, 0, minimum, 1, true},
        {"a handler", 2, 1, minimum, 0x8001, true},
        {"the deepest handler", 15, XYLEM_READER_LEVELS - 1, minimum, 0x8001, true},
        {"a slot left behind", 0, 0, minimum, 0, false},
        {"a reader stuck in an older set", 0, 0, minimum - 1, 1, false},
        {"one that never knew an epoch", 0, 0, 0, 1, false},
        {"an epoch that has not come", 0, 0, far, 1, true},
        {"the greatest epoch", 0, 0, 0xffffffffffffULL, 0xffff, true},
        {"nobody, in an epoch that has not come", 0, 0, far, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enter(cases[i].slot, cases[i].level, cases[i].epoch, cases[i].nesting);
        if (is_held() != cases[i].holds)
            fail_msg("%s: %s", cases[i].what, cases[i].holds ? "must hold" : "must not hold");
        enter(cases[i].slot, cases[i].level, cases[i].epoch, 0);
        grace_advance(grace);
        assert_false(region_has_retired(region));
    }
}

/* A reader holds what was retired in its epoch or later, and nothing that was retired before. */
static void test_younger_and_older(void **state)
{
    struct region_statistics statistics;
    (void)state;
    retire_one();
    uint64_t epoch = grace_raise(grace);
    enter(0, 0, epoch, 1);
    retire_one();
    grace_raise(grace);
    retire_one();
    grace_advance(grace);
    region_statistics(region, &statistics);
    assert_int_equal(statistics.retired_bytes, 2 * 112);
    enter(0, 0, epoch + 1, 1);
    grace_advance(grace);
    region_statistics(region, &statistics);
    assert_int_equal(statistics.retired_bytes, 112);
    enter(0, 0, epoch + 1, 0);
    grace_advance(grace);
    assert_false(region_has_retired(region));
}

/* What is retired in the epoch that a scan begins is not free with that scan. */
static void test_the_running_epoch_is_not_over(void **state)
{
    (void)state;
    retire_one();
    assert_true(region_has_retired(region));
    uint64_t epoch = grace_epoch(grace);
    grace_advance(grace);
    assert_int_equal(grace_epoch(grace), epoch + 1);
    assert_int_equal(region_header(region)->epoch, epoch + 1);
    assert_false(region_has_retired(region));
}

/* Only users of a region hold it; a page is listened to only as far as it says, and as far as it reaches. */
static void test_use(void **state)
{
    uint64_t minimum = region_header(region)->min_epoch;
    (void)state;
    enter(9, 0, minimum, 1);
    assert_int_equal(grace_reader_use(reader, region), 0); /* twice is once */
    assert_true(is_held());
    grace_reader_unuse(reader, region);
    grace_advance(grace);
    assert_false(region_has_retired(region));
    assert_int_equal(grace_reader_use(reader, region), 0);
    assert_true(is_held());
    page->slots_used = 9;
    grace_advance(grace);
    assert_false(region_has_retired(region));
    page->slots_used = UINT32_MAX; /* a lie must not lead out of the page */
    assert_true(is_held());
}

static void test_left(void **state)
{
    (void)state;
    uint64_t epoch = grace_epoch(grace);
    assert_false(grace_reader_left(reader, epoch)); /* nothing has been looked at yet */
    grace_advance(grace);
    assert_true(grace_reader_left(reader, epoch));
    assert_false(grace_reader_left(reader, epoch + 1)); /* this epoch is not over */
    assert_int_equal(grace_reader_oldest(reader), UINT64_MAX);
    enter(1, 0, epoch + 1, 1);
    grace_advance(grace);
    assert_true(grace_reader_left(reader, epoch));
    assert_false(grace_reader_left(reader, epoch + 1));
    assert_int_equal(grace_reader_oldest(reader), epoch + 1);
    /* A reader that is still entering shows a small epoch, and may be holding any set. */
    enter(1, 0, 3, 1);
    grace_advance(grace);
    assert_false(grace_reader_left(reader, epoch));
    enter(1, 0, 0, 0);
    grace_advance(grace);
    assert_true(grace_reader_left(reader, epoch + 1));
    /* One that came later has not been looked at, whatever was scanned before. */
    struct grace_reader *late;
    assert_int_equal(grace_reader_create(grace, page_fd, 16, &late), 0);
    assert_false(grace_reader_left(late, epoch));
    grace_advance(grace);
    assert_true(grace_reader_left(late, epoch));
    grace_reader_destroy(late);
}

static void test_epochs(void **state)
{
    struct grace *other;
    struct region *second;
    (void)state;
    uint64_t first = grace_first_epoch();
    assert_true(grace_first_epoch() >= first);
    assert_true(first >> 48 == 0);
    uint64_t epoch = grace_epoch(grace);
    assert_int_equal(grace_raise(grace), epoch + 1);
    assert_int_equal(region_header(region)->epoch, epoch + 1);
    /* A new region begins above every epoch that was, and the others go along. */
    assert_int_equal(region_create(&second, grace, XYLEM_REGION_SCOPE, 1u << 20, 2, 1), 0);
    assert_int_equal(region_header(second)->min_epoch, epoch + 2);
    assert_int_equal(region_header(second)->epoch, epoch + 2);
    assert_int_equal(region_header(region)->epoch, epoch + 2);
    region_destroy(second);
    assert_int_equal(grace_create(&other, 5), 0);
    assert_int_equal(grace_epoch(other), 5);
    grace_destroy(other);
    grace_destroy(NULL);
    grace_reader_destroy(NULL);
}

static void test_pages_refused(void **state)
{
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    uint64_t size = xylem_reader_page_bytes(64);
    int pipes[2];
    struct grace_reader *none = NULL;
    (void)state;
    const struct {
        const char *what;
        uint32_t capacity;
        uint64_t size;
        int seals;
        int result;
    } cases[] = {
        {"a good one", 64, size, sealed, 0},
        {"one with all seals that a client may set", 64, size, sealed | F_SEAL_SEAL, 0},
        {"not sealed", 64, size, 0, -EINVAL},
        {"may shrink", 64, size, F_SEAL_GROW, -EINVAL},
        {"may grow", 64, size, F_SEAL_SHRINK, -EINVAL},
        {"too small", 64, size - 4096, sealed, -EINVAL},
        {"too large", 64, size + 4096, sealed, -EINVAL},
        {"empty", 64, 0, sealed, -EINVAL},
        {"size of another capacity", 256, size, sealed, -EINVAL},
        {"a capacity that is not listed", 65, size, sealed, -EINVAL},
        {"none", 0, size, sealed, -EINVAL},
        {"the greatest", UINT32_MAX, size, sealed, -EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct grace_reader *made = NULL;
        int fd = make_page(cases[i].capacity, cases[i].size, cases[i].seals, 0);
        assert_int_not_equal(fd, -1);
        int result = grace_reader_create(grace, fd, cases[i].capacity, &made);
        close(fd);
        if (result != cases[i].result)
            fail_msg("%s: %d", cases[i].what, result);
        grace_reader_destroy(made);
    }
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(grace_reader_create(grace, pipes[0], 64, &none), -EINVAL);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(grace_reader_create(grace, -1, 64, &none), -EINVAL);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(grace_reader_create(grace, file, 64, &none), -EINVAL);
    close(file);
    /* Huge pages take the same seals; a fault in one may fail. */
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (huge == -1) {
        print_message("no huge pages here: that case is left out\n");
    } else {
        assert_int_equal(fcntl(huge, F_ADD_SEALS, sealed), 0);
        assert_int_equal(grace_reader_create(grace, huge, 64, &none), -EINVAL);
        close(huge);
    }
    assert_null(none);
}

int main(void)
{
#define WITH_PAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_PAGE(test_who_holds),
        WITH_PAGE(test_younger_and_older),
        WITH_PAGE(test_the_running_epoch_is_not_over),
        WITH_PAGE(test_use),
        WITH_PAGE(test_left),
        WITH_PAGE(test_epochs),
        WITH_PAGE(test_pages_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

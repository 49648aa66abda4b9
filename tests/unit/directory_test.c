/* SPDX-License-Identifier: MIT */
/* Names to anchors against a plain array: nothing is lost, nothing is found that is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "shm/directory.h"
#include "tests/unit/harness.h"

#define NAMES 100000u

static struct grace *grace;
static struct region *region;
static struct directory directory;
static xylem_ref where;

static int set_up(void **state)
{
    (void)state;
    MUST(grace_create(&grace, 1000) == 0);
    MUST(region_create(&region, grace, XYLEM_REGION_POLICY, 256u << 20, 1, HARNESS_SEED) == 0);
    return directory_create(&directory, region, &where);
}

static int tear_down(void **state)
{
    (void)state;
    region_destroy(region);
    grace_destroy(grace);
    return 0;
}

/* Of every length; two of three tenancies have the same name. */
static size_t name_of(uint32_t number, char *name)
{
    size_t size = (size_t)snprintf(name, 300, "n%u", number / 3);
    size_t wanted = number / 3 % 61;
    for (; size < wanted; size++)
        name[size] = (char)('a' + size % 26);
    return size;
}

static struct xylem_anchor *find(uint32_t number)
{
    char name[300];
    size_t size = name_of(number, name);
    return directory_find(&directory, number % 3, (const uint8_t *)name, size);
}

static struct xylem_anchor *add(uint32_t number)
{
    char name[300];
    size_t size = name_of(number, name);
    struct xylem_anchor *anchor = directory_new_anchor(region, number % 3, (const uint8_t *)name, size);
    MUST(anchor);
    anchor->root = number;
    MUST(directory_insert(&directory, anchor) == 0);
    return anchor;
}

static void visit(struct xylem_anchor *anchor, void *context)
{
    uint8_t *visited = context;
    MUST(!visited[anchor->root]);
    visited[anchor->root] = 1;
}

static void check_all(struct xylem_anchor *const *reference)
{
    uint64_t count = 0;
    uint8_t *visited = calloc(NAMES, 1);
    MUST(visited);
    directory_each(&directory, visit, visited);
    for (uint32_t i = 0; i < NAMES; i++) {
        if (find(i) != reference[i])
            fail_msg("name %u: %s", i, reference[i] ? "lost" : "found though it is not there");
        if (visited[i] != (reference[i] != NULL))
            fail_msg("name %u is visited %u times", i, visited[i]);
        count += reference[i] != NULL;
    }
    assert_int_equal(directory.count, count);
    free(visited);
}

static void test_many_names(void **state)
{
    struct xylem_anchor **reference = calloc(NAMES, sizeof *reference);
    struct harness_random random = {harness_seed()};
    (void)state;
    MUST(reference);
    for (uint32_t i = 0; i < NAMES; i++)
        reference[i] = add(i);
    grace_advance(grace);
    check_all(reference);
    for (uint32_t i = 0; i < NAMES; i++) {
        uint32_t number = harness_below(&random, NAMES);
        if (reference[number]) {
            assert_int_equal(directory_remove(&directory, reference[number]), 0);
            region_retire(region, region_ref(region, reference[number]));
            reference[number] = NULL;
        } else {
            reference[number] = add(number);
        }
        if (i % 1000 == 0)
            grace_advance(grace);
    }
    check_all(reference);
    for (uint32_t i = 0; i < NAMES; i++)
        if (reference[i]) {
            assert_int_equal(directory_remove(&directory, reference[i]), 0);
            region_retire(region, region_ref(region, reference[i]));
            reference[i] = NULL;
        }
    grace_advance(grace);
    check_all(reference);
    free(reference);
}

/* All names on one side of the first split, and of the second: splitting goes on until they part. */
static void test_names_on_one_side(void **state)
{
    struct xylem_anchor *added[400];
    uint32_t count = 0;
    (void)state;
    for (uint32_t i = 0; count < 400; i++) {
        char name[300];
        size_t size = name_of(i, name);
        if (xylem_hash(HARNESS_SEED, i % 3, (const uint8_t *)name, size) >> 58 == 0)
            added[count++] = add(i);
    }
    for (uint32_t i = 0; i < count; i++)
        assert_ptr_equal(find(added[i]->root), added[i]);
}

/* A full region refuses, and nothing has changed. */
static void test_full(void **state)
{
    struct region *small;
    struct directory names;
    xylem_ref at;
    uint32_t count = 0;
    char name[300];
    int error = 0;
    (void)state;
    assert_int_equal(region_create(&small, grace, XYLEM_REGION_POLICY, 64u << 10, 2, HARNESS_SEED), 0);
    assert_int_equal(directory_create(&names, small, &at), 0);
    while (!error) {
        struct xylem_anchor *anchor =
            directory_new_anchor(small, 0, (const uint8_t *)name, name_of(count * 3, name));
        error = anchor ? directory_insert(&names, anchor) : -ENOSPC;
        count += error == 0;
        grace_advance(grace);
    }
    assert_int_equal(error, -ENOSPC);
    assert_in_range(count, 100, 2000);
    assert_int_equal(names.count, count);
    for (uint32_t i = 0; i <= count; i++) {
        size_t size = name_of(i * 3, name);
        struct xylem_anchor *anchor = directory_find(&names, 0, (const uint8_t *)name, size);
        assert_int_equal(anchor != NULL, i < count);
    }
    region_destroy(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_on_one_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

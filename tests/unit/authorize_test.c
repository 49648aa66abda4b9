/* SPDX-License-Identifier: MIT */
/* What a region answers against what the slow evaluator answers, through random changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/differential.h"

static void test_small_policies(void **state)
{
    struct differential driver;
    (void)state;
    differential_open(&driver, 64u << 20);
    for (uint32_t i = 0; i < 2000; i++) {
        differential_change(&driver, 30);
        for (uint32_t ask = 0; ask < 12; ask++)
            differential_ask(&driver, 40);
    }
    assert_in_range(driver.allowed, driver.questions / 20, driver.questions - driver.questions / 20);
    differential_close(&driver);
}

static void test_thousands_of_sources(void **state)
{
    struct differential driver;
    (void)state;
    differential_open(&driver, 256u << 20);
    for (uint32_t i = 0; i < 240; i++) {
        if (i % 8 == 0 && driver.evaluator.count < 6000)
            differential_bulk(&driver, 3000);
        differential_change(&driver, 900);
        for (uint32_t ask = 0; ask < 10; ask++)
            differential_ask(&driver, 5000);
    }
    differential_close(&driver);
}

static uint64_t live_bytes_after(struct differential *driver, uint32_t bulk)
{
    for (uint32_t i = 0; i < 60; i++)
        differential_change(driver, bulk);
    differential_clear(driver);
    harness_settle(&driver->harness);
    struct region_statistics statistics = harness_statistics(&driver->harness);
    assert_int_equal(statistics.retired_bytes, 0);
    assert_int_equal(statistics.leaked_bytes, 0);
    return statistics.live_bytes;
}

/* Everything taken back is given back. What stays are the tenancies, the filter of revocations and the shards that the
 * directories once needed: that is bounded by what was there at one time, not by how often it came and went. */
static void test_nothing_is_lost(void **state)
{
    struct differential driver;
    (void)state;
    differential_open(&driver, 256u << 20);
    for (uint32_t round = 0; round < 4; round++)
        assert_in_range(live_bytes_after(&driver, 3000), 0, 64u << 10);
    for (uint32_t ask = 0; ask < 100; ask++)
        differential_ask(&driver, 5000);
    differential_close(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_policies),
        cmocka_unit_test(test_thousands_of_sources),
        cmocka_unit_test(test_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

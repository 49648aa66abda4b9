/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/observed.h"

enum { CAPACITY = 16 };

struct page {
    struct xylem_reader_page *memory;
    uint32_t capacity;
};

static struct page new_page(uint32_t capacity)
{
    struct page page = {aligned_alloc(4096, xylem_reader_page_bytes(capacity)), capacity};
    assert_non_null(page.memory);
    memset(page.memory, 0, xylem_reader_page_bytes(capacity));
    page.memory->magic = XYLEM_READER_MAGIC;
    page.memory->slot_capacity = capacity;
    page.memory->slots_used = 1;
    return page;
}

static struct xylem_counter *counter_at(struct page *page, uint32_t slot, size_t index)
{
    uint8_t *bytes = (uint8_t *)page->memory + xylem_reader_counters_offset(page->capacity, slot);
    return (struct xylem_counter *)(void *)bytes + index;
}

/* As xylem_claim_counter_() does. */
static void claim(struct xylem_counter *counter, const char *source, const char *target)
{
    counter->generation |= 1u;
    counter->allowed = counter->denied = 0;
    counter->source_bytes = (uint8_t)strlen(source);
    counter->target_bytes = (uint8_t)strlen(target);
    memcpy(counter->text, source, strlen(source));
    memcpy(counter->text + strlen(source), target, strlen(target));
    counter->hash = 1 | (uint64_t)strlen(source) << 32 | (uint64_t)(uint8_t)target[0] << 8;
    counter->generation++;
}

static void count(struct page *page, uint32_t slot, size_t index, uint64_t allowed, uint64_t denied)
{
    struct xylem_counter *counter = counter_at(page, slot, index);
    counter->allowed += allowed;
    counter->denied += denied;
    page->memory->slots[slot].allowed += allowed;
    page->memory->slots[slot].denied += denied;
}

static void harvest(struct observed *observed, const struct page *page, uint64_t client_id)
{
    observed_begin(observed);
    if (page)
        observed_page(observed, client_id, page->memory, page->capacity);
    observed_end(observed);
}

static void copy_last(void *context, const struct observed_pair *pair)
{
    *(struct observed_pair *)context = *pair;
}

static struct observed_pair only_pair(const struct observed *observed)
{
    struct observed_pair pair = {.id = 0};
    assert_int_equal(observed_count(observed), 1);
    observed_each(observed, copy_last, &pair);
    return pair;
}

static void check_totals(const struct observed *observed, uint64_t allowed, uint64_t denied)
{
    uint64_t a, d;
    observed_totals(observed, &a, &d);
    assert_int_equal(a, allowed);
    assert_int_equal(d, denied);
}

static void test_sums_grow_by_what_is_new(void **state)
{
    (void)state;
    struct observed *observed = observed_new(8);
    struct page page = new_page(CAPACITY);
    claim(counter_at(&page, 0, 3), "web", "db");
    count(&page, 0, 3, 5, 2);
    harvest(observed, &page, 7);
    harvest(observed, &page, 7); /* nothing new: nothing is counted twice */
    struct observed_pair pair = only_pair(observed);
    assert_string_equal(pair.source, "web");
    assert_string_equal(pair.target, "db");
    assert_false(pair.cut);
    assert_int_equal(pair.allowed, 5);
    assert_int_equal(pair.denied, 2);
    count(&page, 0, 3, 1, 0);
    harvest(observed, &page, 7);
    assert_int_equal(only_pair(observed).allowed, 6);
    check_totals(observed, 6, 2);
    free(page.memory);
    observed_free(observed);
}

static void test_a_client_may_go_and_another_come(void **state)
{
    (void)state;
    struct observed *observed = observed_new(8);
    struct page page = new_page(CAPACITY);
    claim(counter_at(&page, 0, 3), "web", "db");
    count(&page, 0, 3, 5, 0);
    harvest(observed, &page, 7);
    harvest(observed, NULL, 0);
    assert_int_equal(only_pair(observed).allowed, 5);
    harvest(observed, &page, 8); /* the same counts under another id are another client's */
    assert_int_equal(only_pair(observed).allowed, 10);
    free(page.memory);
    observed_free(observed);
}

static void test_a_counter_given_to_another_pair(void **state)
{
    (void)state;
    struct observed *observed = observed_new(8);
    struct page page = new_page(CAPACITY);
    struct xylem_counter *counter = counter_at(&page, 0, 3);
    claim(counter, "web", "db");
    count(&page, 0, 3, 5, 0);
    harvest(observed, &page, 7);
    claim(counter, "web", "db"); /* was another pair's in between, and has fewer counts now */
    count(&page, 0, 3, 2, 0);
    harvest(observed, &page, 7);
    assert_int_equal(only_pair(observed).allowed, 7);
    counter->generation |= 1u; /* under way: not looked at */
    count(&page, 0, 3, 100, 0);
    harvest(observed, &page, 7);
    assert_int_equal(only_pair(observed).allowed, 7);
    check_totals(observed, 107, 0);
    free(page.memory);
    observed_free(observed);
}

static void test_counts_that_go_backwards_add_nothing(void **state)
{
    (void)state;
    struct observed *observed = observed_new(8);
    struct page page = new_page(CAPACITY);
    claim(counter_at(&page, 0, 3), "web", "db");
    count(&page, 0, 3, 50, 50);
    harvest(observed, &page, 7);
    counter_at(&page, 0, 3)->allowed = 10;
    page.memory->slots[0].allowed = 10;
    harvest(observed, &page, 7);
    assert_int_equal(only_pair(observed).allowed, 50);
    counter_at(&page, 0, 3)->allowed = UINT64_MAX;
    page.memory->slots[0].allowed = UINT64_MAX;
    harvest(observed, &page, 7);
    counter_at(&page, 0, 3)->allowed = 0;
    page.memory->slots[0].allowed = 0;
    harvest(observed, &page, 7);
    counter_at(&page, 0, 3)->allowed = UINT64_MAX;
    page.memory->slots[0].allowed = UINT64_MAX;
    harvest(observed, &page, 7);
    assert_true(only_pair(observed).allowed == UINT64_MAX);
    check_totals(observed, UINT64_MAX, 50);
    free(page.memory);
    observed_free(observed);
}

static void test_hostile_texts(void **state)
{
    (void)state;
    struct observed *observed = observed_new(8);
    struct page page = new_page(CAPACITY);
    struct xylem_counter *counter = counter_at(&page, 0, 0);
    claim(counter, "\033[2J\xff\xc3\xa4", "db");
    counter->text[0] = 0x1b;
    count(&page, 0, 0, 1, 0);
    harvest(observed, &page, 7);
    assert_string_equal(only_pair(observed).source, "?[2J?\xc3\xa4");
    observed_free(observed);

    observed = observed_new(8);
    claim(counter, "x", "y");
    memset(counter->text, 'a', sizeof counter->text);
    counter->source_bytes = counter->target_bytes = 255;
    count(&page, 0, 0, 1, 0);
    page.memory->slots_used = UINT32_MAX; /* a watermark that lies */
    harvest(observed, &page, 7);
    struct observed_pair pair = only_pair(observed);
    assert_int_equal(strlen(pair.source), XYLEM_COUNTER_TEXT / 2);
    assert_int_equal(strlen(pair.target), XYLEM_COUNTER_TEXT / 2);
    assert_true(pair.cut);
    free(page.memory);
    observed_free(observed);
}

struct search {
    const char *source;
    struct observed_pair found;
};

static void look_for(void *context, const struct observed_pair *pair)
{
    struct search *search = context;
    if (strcmp(pair->source, search->source) == 0)
        search->found = *pair;
}

static void test_the_pair_that_rests_longest_makes_room(void **state)
{
    (void)state;
    struct observed *observed = observed_new(2);
    struct page page = new_page(CAPACITY);
    static const char *const sources[] = {"a", "bb", "ccc"};
    for (size_t i = 0; i < 3; i++)
        claim(counter_at(&page, 0, i), sources[i], "db");
    count(&page, 0, 0, 1, 0);
    harvest(observed, &page, 7);
    count(&page, 0, 1, 1, 0);
    harvest(observed, &page, 7);
    count(&page, 0, 0, 1, 0); /* "a" again: "bb" rests longest now */
    harvest(observed, &page, 7);
    count(&page, 0, 2, 1, 0);
    harvest(observed, &page, 7);
    assert_int_equal(observed_count(observed), 2);
    struct search search = {.source = "a"};
    observed_each(observed, look_for, &search);
    assert_int_equal(search.found.allowed, 2);
    search = (struct search){.source = "ccc"};
    observed_each(observed, look_for, &search);
    assert_int_equal(search.found.allowed, 1);
    assert_int_equal(search.found.id, 3);
    assert_int_equal(search.found.position, 1);
    search = (struct search){.source = "bb"};
    observed_each(observed, look_for, &search);
    assert_int_equal(search.found.id, 0);
    check_totals(observed, 4, 0);
    free(page.memory);
    observed_free(observed);
}

/* More active slots than one harvest reads: nobody is lost, nobody is counted twice. */
static void test_a_flood_waits_its_turn(void **state)
{
    (void)state;
    enum { PAGES = 20, SLOTS = 1024 };
    struct observed *observed = observed_new(8);
    struct page page = new_page(SLOTS);
    page.memory->slots_used = SLOTS;
    for (uint32_t i = 0; i < SLOTS; i++)
        page.memory->slots[i].allowed = 1;
    bool waited = true;
    unsigned harvests = 0;
    for (; waited && harvests < 10; harvests++) {
        observed_begin(observed);
        for (uint64_t client = 1; client <= PAGES; client++)
            observed_page(observed, client, page.memory, page.capacity);
        waited = observed_end(observed);
    }
    assert_true(harvests > 1);
    check_totals(observed, (uint64_t)PAGES * SLOTS, 0);
    free(page.memory);
    observed_free(observed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_grow_by_what_is_new),
        cmocka_unit_test(test_a_client_may_go_and_another_come),
        cmocka_unit_test(test_a_counter_given_to_another_pair),
        cmocka_unit_test(test_counts_that_go_backwards_add_nothing),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_the_pair_that_rests_longest_makes_room),
        cmocka_unit_test(test_a_flood_waits_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Sections: nesting, signal handlers at every instruction, levels, forks, slots of dead threads. Built without
 * sanitizers and optimized: what is stepped through has to be short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/wait.h>

#include "tests/unit/harness.h"
#include "tests/unit/step.h"

static struct harness harness;

static int open_harness(void **state)
{
    (void)state;
    harness_open(&harness, 1u << 20);
    harness_set(&harness, "web", "db", POLICY_ALLOW);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

/* --- nesting --- */

static void test_nesting(void **state)
{
    struct xylem_reader *reader = harness.reader;
    uint64_t *word = &reader->slot->words[0];
    (void)state;
    for (uint32_t depth = 1; depth <= 100; depth++) {
        xylem_read_lock(reader);
        assert_int_equal(*word & 0xffff, depth);
        assert_ptr_equal(reader->set, harness.client->set);
    }
    uint64_t sections = reader->sections;
    for (uint32_t depth = 99; depth > 0; depth--) {
        xylem_read_unlock(reader);
        assert_int_equal(*word & 0xffff, depth);
        assert_non_null(reader->set);
    }
    assert_int_equal(reader->sections, sections);
    xylem_read_unlock(reader);
    assert_int_equal(*word & 0xffff, 0);
    assert_null(reader->set);
    assert_int_equal(reader->sections, sections + 1);
}

/* An inner section sees the set of the outermost, also when a new one was installed in between. */
static void test_set_stands_still_in_a_section(void **state)
{
    struct xylem_reader *reader = harness.reader;
    (void)state;
    xylem_read_lock(reader);
    const struct xylem_set_ *set = reader->set;
    harness_install(&harness);
    xylem_read_lock(reader);
    assert_ptr_equal(reader->set, set);
    xylem_read_unlock(reader);
    assert_ptr_equal(reader->set, set);
    xylem_read_unlock(reader);
    xylem_read_lock(reader);
    assert_ptr_not_equal(reader->set, set);
    assert_true(reader->slot->words[0] >> 16 >= reader->set->min_epoch);
    xylem_read_unlock(reader);
}

/* The agent goes on raising its epoch between the making of a set and its installation; readers may have stored such an
 * epoch already, and the set is good all the same. */
static void test_readers_ahead_of_a_set(void **state)
{
    struct region *region = policy_region(harness.policy);
    int fd = region_fd(region);
    uint64_t size = region_header(region)->region_bytes;
    (void)state;
    uint64_t min_epoch = grace_raise(harness.grace);
    grace_raise(harness.grace);
    for (int i = 0; i < 2; i++) {
        xylem_read_lock(harness.reader);
        xylem_read_unlock(harness.reader);
    }
    assert_true(harness.reader->slot->words[0] >> 16 > min_epoch);
    assert_int_equal(xylem_install_(harness.client, min_epoch, &fd, &size, 1), XYLEM_OK);
}

/* --- handlers --- */

static void lock_and_unlock(void)
{
    xylem_read_lock(harness.reader);
    xylem_read_unlock(harness.reader);
}

struct levels {
    uint64_t nesting[XYLEM_READER_LEVELS];
    const struct xylem_set_ *set;
    uint32_t level;
    uint32_t refused;
};

static struct levels look(void)
{
    const struct xylem_reader *reader = harness.reader;
    struct levels levels;
    for (uint32_t i = 0; i < XYLEM_READER_LEVELS; i++)
        levels.nesting[i] = __atomic_load_n(&reader->slot->words[i], __ATOMIC_RELAXED) & 0xffff;
    levels.set = __atomic_load_n(&reader->set, __ATOMIC_RELAXED);
    levels.level = __atomic_load_n(&reader->level, __ATOMIC_RELAXED);
    levels.refused = reader->refused;
    return levels;
}

static bool is_same(const struct levels *a, const struct levels *b)
{
    return memcmp(a->nesting, b->nesting, sizeof a->nesting) == 0 && a->set == b->set &&
           a->level == b->level && a->refused == b->refused;
}

static volatile uint32_t depth;
static volatile uint32_t depth_max;
static volatile uint64_t traps;
static volatile uint64_t wrong;
static volatile uint64_t raised;

/* Whatever it interrupts, a handler can use the reader, and leaves everything as it was. */
static void on_step(int number, siginfo_t *info, void *context)
{
    struct levels before = look();
    (void)number, (void)info, (void)context;
    traps++;
    if (depth < depth_max) {
        depth++;
        step_begin();
        xylem_read_lock(harness.reader);
        step_end();
        struct levels inside = look();
        wrong += inside.set == NULL || (inside.nesting[inside.level] & XYLEM_NESTING_) == 0;
        raised += inside.level > 0;
        step_begin();
        xylem_read_unlock(harness.reader);
        step_end();
        depth--;
    } else {
        xylem_read_lock(harness.reader);
        struct levels inside = look();
        wrong += inside.set == NULL || (inside.nesting[inside.level] & XYLEM_NESTING_) == 0;
        raised += inside.level > 0;
        xylem_read_unlock(harness.reader);
    }
    struct levels after = look();
    wrong += !is_same(&before, &after);
}

static void step_with_handlers(uint32_t handlers)
{
    static const struct levels idle;
    if (!STEP_AVAILABLE) {
        print_message("skipped: this machine has no trap flag that a program may set\n");
        skip();
    }
    depth = 0;
    depth_max = handlers - 1;
    traps = wrong = raised = 0;
    step_install(on_step);
    lock_and_unlock(); /* resolves symbols: the loader is not to be stepped through */
    step_begin();
    lock_and_unlock();
    step_end();
    signal(SIGTRAP, SIG_DFL);
    struct levels after = look();
    print_message("%u handlers: %lu traps, %lu of them raised the level\n", handlers, traps, raised);
    assert_int_equal(wrong, 0);
    assert_true(is_same(&after, &idle));
    assert_in_range(traps, 20, UINT32_MAX);
    assert_in_range(raised, 1, traps);
}

static void test_handler_at_every_instruction(void **state)
{
    (void)state;
    step_with_handlers(1);
}

static void test_handler_in_a_handler_at_every_instruction(void **state)
{
    (void)state;
    step_with_handlers(2);
}

static void test_third_handler_at_every_instruction(void **state)
{
    (void)state;
    step_with_handlers(3);
}

/* --- too deep --- */

static volatile uint32_t entries; /* handlers that stand one on the other, each in an entry in flight */
static volatile uint32_t deepest; /* how many there were */
static struct xylem_verdict verdict_at_depth[XYLEM_READER_LEVELS + 1];

static void on_entry_in_flight(int number, siginfo_t *info, void *context)
{
    struct levels levels = look();
    (void)number, (void)info, (void)context;
    /* Once each: when the handler before has raised the level for itself and begun its entry. */
    if (levels.set || (levels.nesting[levels.level] & XYLEM_NESTING_) == 0 || levels.level != entries ||
        deepest > entries)
        return;
    uint32_t here = ++entries;
    deepest = here;
    step_begin();
    xylem_read_lock(harness.reader);
    step_end();
    harness_ask(harness.reader, "web", "db", &verdict_at_depth[here]);
    xylem_read_unlock(harness.reader);
    struct levels after = look();
    wrong += !is_same(&levels, &after);
    entries--;
}

static void test_too_deep(void **state)
{
    static const struct levels idle;
    (void)state;
    if (!STEP_AVAILABLE)
        skip();
    wrong = 0;
    entries = deepest = 0;
    step_install(on_entry_in_flight);
    step_begin();
    xylem_read_lock(harness.reader);
    step_end();
    signal(SIGTRAP, SIG_DFL);
    assert_int_equal(harness_ask(harness.reader, "web", "db", NULL), 1);
    xylem_read_unlock(harness.reader);
    struct levels after = look();
    assert_true(is_same(&after, &idle));
    assert_int_equal(wrong, 0);
    assert_int_equal(deepest, XYLEM_READER_LEVELS);
    for (uint32_t i = 1; i < XYLEM_READER_LEVELS; i++)
        assert_int_equal(verdict_at_depth[i].allow, 1);
    assert_int_equal(verdict_at_depth[XYLEM_READER_LEVELS].allow, 0);
    assert_int_equal(verdict_at_depth[XYLEM_READER_LEVELS].why, XYLEM_WHY_TOO_DEEP);
}

/* --- fork --- */

static int in_child(void)
{
    struct xylem_reader *reader = harness.reader;
    struct xylem_verdict verdict;
    struct xylem_leaf_view leaf;
    struct xylem_roots_view roots;
    struct xylem_freshness_view freshness;
    struct xylem_reader *other;
    char text[64];
    xylem_read_lock(reader);
    if (harness_ask(reader, "web", "db", &verdict) != 0 || verdict.why != XYLEM_WHY_FORKED)
        return 1;
    if (xylem_authorize(reader, "/", "", NULL, &verdict) != 0 || verdict.why != XYLEM_WHY_FORKED)
        return 2;
    if (xylem_leaf(reader, "web", &leaf) != XYLEM_E_FORKED || xylem_roots(reader, &roots) != XYLEM_E_FORKED)
        return 3;
    if (xylem_leaf_version(reader, "web") != 0 || xylem_policy_version(reader) != 0)
        return 4;
    xylem_freshness(reader, &freshness);
    if (freshness.heartbeat_age_ns != UINT64_MAX || freshness.attached)
        return 5;
    xylem_reason(reader, &verdict, text, sizeof text);
    if (strstr(text, "parent") == NULL)
        return 6;
    xylem_read_unlock(reader);
    if (xylem_reader_open(harness.client, &other) != XYLEM_E_FORKED || other)
        return 7;
    if (xylem_dispatch(harness.client) != XYLEM_E_FORKED || xylem_fd(harness.client) != -1 ||
        xylem_want_leaf(harness.client, "web") != XYLEM_E_FORKED)
        return 8;
    xylem_reader_close(reader);
    xylem_close(harness.client);
    return 0;
}

static void test_fork(void **state)
{
    struct xylem_verdict verdict;
    int status = 0;
    (void)state;
    xylem_read_lock(harness.reader); /* the worst moment */
    assert_int_equal(harness_ask(harness.reader, "web", "db", &verdict), 1);
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0)
        _exit(in_child());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(harness_ask(harness.reader, "web", "db", &verdict), 1);
    assert_int_equal(verdict.why, XYLEM_WHY_INTENTION);
    xylem_read_unlock(harness.reader);
    assert_int_equal(harness_ask(harness.reader, "web", "db", NULL), 1);
}

/* --- slots --- */

/* Dies inside of two sections, on a raised level. */
static void *die_in_a_section(void *context)
{
    struct xylem_reader **reader = context;
    MUST(xylem_reader_open(harness.client, reader) == XYLEM_OK);
    xylem_read_lock(*reader);
    xylem_read_lock(*reader);
    return NULL;
}

static void *open_and_ask(void *context)
{
    struct xylem_reader **reader = context;
    MUST(xylem_reader_open(harness.client, reader) == XYLEM_OK);
    MUST(harness_ask(*reader, "web", "db", NULL) == 1);
    return NULL;
}

static void test_slots_of_dead_threads(void **state)
{
    struct xylem_reader *dead, *heir;
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, die_in_a_section, &dead), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    uint64_t epoch = dead->slot->words[0] >> 16;
    harness_settle(&harness);
    assert_int_equal(grace_reader_oldest(harness.slots), epoch); /* it holds until it is reaped */
    assert_int_equal(pthread_create(&thread, NULL, open_and_ask, &heir), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ptr_equal(heir, dead);
    harness_settle(&harness);
    assert_int_equal(grace_reader_oldest(harness.slots), UINT64_MAX);
}

static void test_no_slot(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *readers[16], *more;
    (void)state;
    assert_int_equal(xylem_new_(&client, 16, 0), XYLEM_OK);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(xylem_reader_open(client, &readers[i]), XYLEM_OK);
        assert_int_equal(client->page->slots_used, i + 1);
    }
    assert_int_equal(xylem_reader_open(client, &more), XYLEM_E_NO_SLOT);
    assert_null(more);
    xylem_reader_close(readers[7]);
    xylem_reader_close(readers[7]); /* a second time does nothing */
    assert_int_equal(xylem_reader_open(client, &more), XYLEM_OK);
    assert_ptr_equal(more, readers[7]);
    xylem_close(client);
}

/* Before the first set every answer is a denial that says so. */
static void test_not_ready(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct xylem_verdict verdict;
    struct xylem_leaf_view leaf;
    (void)state;
    assert_int_equal(xylem_new_(&client, 16, 0), XYLEM_OK);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_NOT_READY);
    assert_int_equal(xylem_leaf(reader, "web", &leaf), XYLEM_E_NO_SECTION);
    xylem_read_lock(reader);
    assert_int_equal(xylem_leaf(reader, "web", &leaf), XYLEM_E_NOT_READY);
    xylem_read_unlock(reader);
    xylem_close(client);
}

int main(void)
{
#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, open_harness, close_harness)
    const struct CMUnitTest tests[] = {
        WITH_HARNESS(test_nesting),
        WITH_HARNESS(test_set_stands_still_in_a_section),
        WITH_HARNESS(test_readers_ahead_of_a_set),
        WITH_HARNESS(test_handler_at_every_instruction),
        WITH_HARNESS(test_handler_in_a_handler_at_every_instruction),
        WITH_HARNESS(test_third_handler_at_every_instruction),
        WITH_HARNESS(test_too_deep),
        WITH_HARNESS(test_fork),
        WITH_HARNESS(test_slots_of_dead_threads),
        cmocka_unit_test(test_no_slot),
        cmocka_unit_test(test_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

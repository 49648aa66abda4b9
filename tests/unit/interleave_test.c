/* SPDX-License-Identifier: MIT */
/* One commit and one question, interleaved at every instruction: questions at each step of the writer, and the whole
 * commit at each step of a reader. No answer may be one that is right neither before nor after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/harness.h"
#include "tests/unit/step.h"

struct intention {
    const char *source; /* "name" or "namespace/name" */
    const char *destination;
    enum policy_action action;
};

#define INTENTIONS_MAX 6

/* What stands, what is committed, and what is asked all the while. Lists end at the first without a source. */
struct scenario {
    const char *title;
    struct intention before[INTENTIONS_MAX];
    struct intention commit[INTENTIONS_MAX];
    const char *source;
    const char *target;
    bool default_allow;
    bool padded; /* 600 sources more, so that the destination of the first intention is sharded */
};

static const struct scenario scenarios[] = {
    {"a denial moves from the wildcard to the source",
     {{"web", "db", POLICY_DENY}, {"*", "db", POLICY_DENY}},
     {{"*", "db", POLICY_ALLOW}, {"web", "db", POLICY_DENY}},
     "web",
     "db",
     false,
     false},
    {"the same in shards",
     {{"web", "db", POLICY_DENY}, {"*", "db", POLICY_DENY}},
     {{"*", "db", POLICY_ALLOW}, {"web", "db", POLICY_DENY}},
     "web",
     "db",
     false,
     true},
    {"the source's own denial comes with the wildcard's allow",
     {{"*", "db", POLICY_DENY}},
     {{"*", "db", POLICY_ALLOW}, {"web", "db", POLICY_DENY}},
     "web",
     "db",
     false,
     false},
    {"a destination that did not exist comes with a denial",
     {{"web", "*", POLICY_DENY}},
     {{"web", "*", POLICY_ALLOW}, {"web", "db", POLICY_DENY}},
     "web",
     "db",
     false,
     false},
    {"a destination goes",
     {{"web", "*", POLICY_ALLOW}, {"web", "db", POLICY_DENY}},
     {{"web", "*", POLICY_DENY}, {"web", "db", POLICY_REMOVE}},
     "web",
     "db",
     false,
     false},
    {"a destination goes, and others lose and gain at once",
     {{"web", "db", POLICY_DENY}, {"web", "*", POLICY_ALLOW}},
     {{"web", "db", POLICY_REMOVE}, {"api", "db", POLICY_DENY}, {"web", "*", POLICY_DENY}},
     "web",
     "db",
     false,
     false},
    {"the wildcard loses and gains at once",
     {{"web", "*", POLICY_DENY}},
     {{"web", "*", POLICY_ALLOW}, {"api", "*", POLICY_DENY}, {"web", "db", POLICY_DENY}},
     "web",
     "db",
     false,
     false},
    {"three forms of destination turn round",
     {{"web", "db", POLICY_DENY}, {"web", "*", POLICY_ALLOW}, {"*/*", "*/*", POLICY_ALLOW}},
     {{"web", "db", POLICY_REMOVE}, {"web", "*", POLICY_REMOVE}, {"*/*", "*/*", POLICY_DENY}},
     "web",
     "db",
     true,
     false},
    {"a namespace is named for the first time, to be denied",
     {{"api", "db", POLICY_ALLOW}},
     {{"team/web", "db", POLICY_DENY}, {"*/*", "db", POLICY_ALLOW}},
     "team/web",
     "db",
     false,
     false},
    {"a target's namespace is named for the first time, to be denied",
     {{"web", "*/*", POLICY_DENY}},
     {{"web", "team/db", POLICY_DENY}, {"web", "*/*", POLICY_ALLOW}},
     "web",
     "team/db",
     false,
     false},
    {"a denial moves from the wildcard to a destination that is there",
     {{"api", "db", POLICY_ALLOW}, {"web", "*", POLICY_DENY}},
     {{"web", "db", POLICY_DENY}, {"web", "*", POLICY_ALLOW}},
     "web",
     "db",
     false,
     false},
    {"permissions take the place of an allow",
     {{"web", "db", POLICY_ALLOW}, {"*", "db", POLICY_DENY}},
     {{"web", "db", POLICY_PERMISSIONS}, {"*", "db", POLICY_ALLOW}},
     "web",
     "db",
     false,
     false},
};

static struct harness harness;
static const struct scenario *scenario;
static struct xylem_target kept; /* a handle that lives through it all */
static char uri[256];

static struct policy_name name_of(const char *text)
{
    static char namespaces[4][16];
    static unsigned next;
    const char *slash = strchr(text, '/');
    if (!slash)
        return harness_name(text);
    char *space = namespaces[next++ % 4];
    snprintf(space, sizeof namespaces[0], "%.*s", (int)(slash - text), text);
    return (struct policy_name){NULL, space, slash + 1};
}

/* Names are copied here: not while the writer is stepped through. */
static size_t make_changes(const struct intention *list, bool remove, struct policy_change *changes)
{
    static char spaces[2 * INTENTIONS_MAX][16];
    size_t count = 0;
    for (; count < INTENTIONS_MAX && list[count].source; count++) {
        struct policy_name source = name_of(list[count].source);
        struct policy_name destination = name_of(list[count].destination);
        if (source.namespace_name)
            source.namespace_name = strcpy(spaces[2 * count], source.namespace_name);
        if (destination.namespace_name)
            destination.namespace_name = strcpy(spaces[2 * count + 1], destination.namespace_name);
        changes[count] = (struct policy_change){.destination = destination,
                                                .source = source,
                                                .action = remove ? POLICY_REMOVE : list[count].action,
                                                .permissions = list[count].action == POLICY_PERMISSIONS};
    }
    return count;
}

static void apply(const struct intention *list, bool remove)
{
    struct policy_change changes[INTENTIONS_MAX];
    size_t count = make_changes(list, remove, changes);
    MUST(policy_apply(harness.policy, changes, count) == 0);
}

static void pad(const char *destination)
{
    struct policy_change changes[600];
    char names[600][8];
    for (uint32_t i = 0; i < 600; i++) {
        snprintf(names[i], sizeof names[i], "p%u", i);
        changes[i] = harness_change(names[i], destination, POLICY_ALLOW);
    }
    MUST(policy_apply(harness.policy, changes, 600) == 0);
}

static int ask(struct xylem_target *target, struct xylem_verdict *verdict)
{
    struct xylem_peer peer = {{(const uint8_t *)uri, strlen(uri)}, {NULL, 0}, {NULL, 0}};
    return xylem_authorize_peer(harness.reader, target, &peer, verdict);
}

static int ask_anew(void)
{
    return xylem_authorize(harness.reader, scenario->target, uri, NULL, NULL);
}

static void set_up(void)
{
    const char *slash = strchr(scenario->source, '/');
    harness_open(&harness, 4u << 20);
    policy_set_default(harness.policy, scenario->default_allow);
    if (slash)
        snprintf(uri, sizeof uri, "spiffe://%s/ns/%.*s/dc/dc1/svc/%s", HARNESS_TRUST_DOMAIN,
                 (int)(slash - scenario->source), scenario->source, slash + 1);
    else
        snprintf(uri, sizeof uri, "%s%s", HARNESS_PREFIX, scenario->source);
    MUST(xylem_target_init(&kept, scenario->target) == XYLEM_OK);
    if (scenario->padded)
        pad(scenario->before[0].destination);
    apply(scenario->before, false);
}

/* --- questions at each step of the writer --- */

static volatile uint64_t steps;
static volatile uint32_t seen; /* bit 0: denied, bit 1: allowed */
static volatile uint32_t version_moved_early;
static uint64_t version_before;
static int allow_before;
static int allow_after;

static void on_writer_step(int number, siginfo_t *info, void *context)
{
    struct xylem_verdict verdict;
    int allow = ask(&kept, &verdict);
    (void)number, (void)info, (void)context;
    seen |= 1u << allow | 1u << ask_anew();
    /* Who sees the new version sees the new policy. */
    if (verdict.policy_version != version_before && allow != allow_after)
        version_moved_early++;
    steps++;
}

/* What a handle still believes in must be there when the grace period is over. */
static void check_handle_after_grace(int expected)
{
    struct region *region = policy_region(harness.policy);
    for (int i = 0; i < 3; i++) {
        grace_advance(harness.grace);
        bool believes = kept.directory_version_ == region_header(region)->directory_version;
        for (int anchor = 0; anchor < 3 && believes; anchor++) {
            const struct xylem_object *object = region_at(region, kept.anchors_[anchor]);
            if (kept.anchors_[anchor] && object->kind != XYLEM_OBJECT_ANCHOR)
                fail_msg("%s: a handle still names what was freed", scenario->title);
        }
        assert_int_equal(ask(&kept, NULL), expected);
    }
}

static void step_writer(void)
{
    struct policy_change changes[INTENTIONS_MAX];
    set_up();
    allow_before = ask(&kept, NULL);
    apply(scenario->commit, false); /* once to know what comes out, and to resolve symbols */
    allow_after = ask_anew();
    harness_close(&harness);

    set_up();
    assert_int_equal(ask(&kept, NULL), allow_before);
    size_t count = make_changes(scenario->commit, false, changes);
    version_before = policy_version(harness.policy);
    steps = seen = version_moved_early = 0;
    step_install(on_writer_step);
    step_begin();
    int error = policy_apply(harness.policy, changes, count);
    step_end();
    signal(SIGTRAP, SIG_DFL);
    assert_int_equal(error, 0);
    assert_int_equal(ask(&kept, NULL), allow_after);
    assert_true(policy_version(harness.policy) > version_before);
    assert_in_range(steps, 500, UINT64_MAX);
    assert_int_equal(version_moved_early, 0);
    if (!allow_before && !allow_after && seen & 2u)
        fail_msg("%s: allowed while it was written", scenario->title);
    check_handle_after_grace(allow_after);
    harness_close(&harness);
}

static void test_questions_at_each_step_of_the_writer(void **state)
{
    (void)state;
    if (!STEP_AVAILABLE) {
        print_message("skipped: this machine has no trap flag that a program may set\n");
        skip();
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        scenario = &scenarios[i];
        step_writer();
    }
}

/* --- the commit at each step of a reader --- */

static volatile uint64_t step_wanted;

static void on_reader_step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    if (steps++ == step_wanted) {
        apply(scenario->commit, false);
        step_stop(context);
    }
}

/* False: the answer was there before that step. */
static bool step_reader(uint64_t step, bool use_handle)
{
    struct xylem_verdict verdict;
    harness_settle(&harness);
    if (use_handle)
        MUST(ask(&kept, NULL) == allow_before); /* it knows the destination as it was */
    uint64_t version = policy_version(harness.policy);
    steps = 0;
    step_wanted = step;
    step_install(on_reader_step);
    step_begin();
    int allow = use_handle ? ask(&kept, &verdict)
                           : xylem_authorize(harness.reader, scenario->target, uri, NULL, &verdict);
    step_end();
    signal(SIGTRAP, SIG_DFL);
    bool committed = steps > step;
    if (allow && !allow_before && !allow_after)
        fail_msg("%s: allowed when the commit came at step %lu", scenario->title, step);
    if (verdict.policy_version != version && allow != allow_after)
        fail_msg("%s: the new version on the old answer at step %lu", scenario->title, step);
    if (committed) {
        assert_int_equal(ask(&kept, NULL), allow_after);
        apply(scenario->commit, true);
        apply(scenario->before, false);
        assert_int_equal(ask(&kept, NULL), allow_before);
    }
    return committed;
}

/* One destination changes by one store: nothing can come between. */
static bool is_single(const struct scenario *one)
{
    for (size_t i = 1; i < INTENTIONS_MAX && one->commit[i].source; i++)
        if (strcmp(one->commit[i].destination, one->commit[0].destination) != 0)
            return false;
    return !strchr(one->source, '/');
}

static void test_commit_at_each_step_of_a_reader(void **state)
{
    (void)state;
    if (!STEP_AVAILABLE)
        skip();
    for (size_t i = 0; i < 2 * sizeof scenarios / sizeof scenarios[0]; i++) {
        scenario = &scenarios[i / 2];
        set_up();
        allow_before = ask(&kept, NULL);
        apply(scenario->commit, false);
        allow_after = ask_anew();
        harness_close(&harness);
        if (is_single(scenario))
            continue;
        set_up();
        step_reader(UINT64_MAX, i & 1);
        uint64_t all = steps;
        uint64_t stride = all / 80 + 1; /* each step costs all those before it */
        assert_in_range(all, 50, 100000);
        for (uint64_t step = i % stride; step < all; step += stride) {
            if (!step_reader(step, i & 1))
                break;
            if (strchr(scenario->source, '/') || strchr(scenario->target, '/')) {
                harness_close(&harness); /* a namespace, once named, stays */
                set_up();
            }
        }
        harness_close(&harness);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions_at_each_step_of_the_writer),
        cmocka_unit_test(test_commit_at_each_step_of_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

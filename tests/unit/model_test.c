/* SPDX-License-Identifier: MIT */
#include "tests/unit/model_fixture.h"

#include "tests/unit/harness.h"

/* --- a store that fails, a publication that fails --- */

static int fail_next;                     /* submissions that the store will answer with an error */
static int fail_identities;               /* the next change of identities fails */
static void (*submitted)(void *argument); /* watches */
static void *submitted_argument;

struct failure {
    struct mail mail;
    store_done *done;
    void *argument;
};

static struct mailbox *failures; /* where the answers go */

static void answer_failure(struct mail *mail)
{
    struct failure *failure = caa_container_of(mail, struct failure, mail);
    struct error error;
    error_set(&error, ERROR_SYSTEM, "the disk is full");
    failure->done(failure->argument, &error);
    free(failure);
}

void __real_store_submit(struct store *store, struct store_batch *batch, store_done *done, void *argument);
void __wrap_store_submit(struct store *store, struct store_batch *batch, store_done *done, void *argument);
void __wrap_store_submit(struct store *store, struct store_batch *batch, store_done *done, void *argument)
{
    if (submitted)
        submitted(submitted_argument);
    if (fail_next == 0) {
        __real_store_submit(store, batch, done, argument);
        return;
    }
    fail_next--;
    struct failure *failure = calloc(1, sizeof *failure);
    MUST(failure);
    failure->mail.run = answer_failure;
    failure->done = done;
    failure->argument = argument;
    store_batch_free(batch);
    mailbox_post(failures, &failure->mail);
}

int __real_publication_set_identities(struct publication *publication, const char *trust_domain,
                                      const char *datacenter, const char *const *patterns,
                                      size_t pattern_count, struct error *error);
int __wrap_publication_set_identities(struct publication *publication, const char *trust_domain,
                                      const char *datacenter, const char *const *patterns,
                                      size_t pattern_count, struct error *error);
int __wrap_publication_set_identities(struct publication *publication, const char *trust_domain,
                                      const char *datacenter, const char *const *patterns,
                                      size_t pattern_count, struct error *error)
{
    if (fail_identities)
        return error_set(error, ERROR_LIMIT, "no room for identities");
    return __real_publication_set_identities(publication, trust_domain, datacenter, patterns, pattern_count,
                                             error);
}

static ev_timer *minute_timer; /* the model's own: it prunes revocations */

void __real_ev_timer_again(struct ev_loop *loop, ev_timer *timer);
void __wrap_ev_timer_again(struct ev_loop *loop, ev_timer *timer);
void __wrap_ev_timer_again(struct ev_loop *loop, ev_timer *timer)
{
    if (timer->repeat == 60.0)
        minute_timer = timer;
    __real_ev_timer_again(loop, timer);
}

/* --- helpers --- */

struct outcome {
    unsigned answers;
    int code;
    char text[500];
    struct model_world *world; /* may be NULL */
    int allowed;               /* what a reader saw at the time of the answer */
};

static int may(struct model_world *w, const char *source, const char *target);

static void note(void *argument, const struct error *error)
{
    struct outcome *outcome = argument;
    outcome->answers++;
    outcome->code = error ? error->code : 0;
    snprintf(outcome->text, sizeof outcome->text, "%s", error ? error->text : "");
    if (outcome->world)
        outcome->allowed = may(outcome->world, "web", "db");
}

/* "name", "namespace/name" or "partition/namespace/name" */
static struct intention *make(const char *source, const char *destination, const char *action)
{
    struct intention_parsed_name from, to;
    struct intention *intention = NULL;
    struct error error;
    MUST(intention_parse_name(source, false, &from, &error) == 0);
    MUST(intention_parse_name(destination, false, &to, &error) == 0);
    bool permissions = strcmp(action, "permissions") == 0;
    struct intention_fields fields = {
        .destination = intention_name_of(&to),
        .source = intention_name_of(&from),
        .action = permissions ? "" : action,
        .permissions_json = permissions ? "[{\"Action\":\"allow\",\"HTTP\":{\"PathPrefix\":\"/\"}}]" : NULL,
    };
    if (intention_make(&fields, &intention, &error) != 0)
        fail_msg("%s", error.text);
    return intention;
}

static void put_unsettled(struct model_world *w, const char *source, const char *destination,
                          const char *action, struct outcome *outcome)
{
    assert_int_equal(
        model_put_intention(w->model, make(source, destination, action), note, outcome, &w->error), 0);
}

static void put(struct model_world *w, const char *source, const char *destination, const char *action)
{
    struct outcome outcome = {0};
    put_unsettled(w, source, destination, action, &outcome);
    model_settle(w);
    assert_int_equal(outcome.answers, 1);
    assert_int_equal(outcome.code, 0);
}

static int delete_unsettled(struct model_world *w, const char *source, const char *destination,
                            struct outcome *outcome)
{
    struct intention_name from = {.name = source}, to = {.name = destination};
    return model_delete_intention(w->model, &to, &from, note, outcome, &w->error);
}

static struct xylem_reader *reader_of(struct model_world *w)
{
    return publication_reader(model_publication(w->model));
}

static int may(struct model_world *w, const char *source, const char *target)
{
    return harness_ask(reader_of(w), source, target, NULL);
}

static void open_model(struct model_world *w, struct ca_thread *thread)
{
    model_world_init(w, thread);
    failures = &w->answers;
    fail_next = fail_identities = 0;
    model_world_start(w, "");
    assert_int_equal(w->ready, 1);
}

/* --- changes --- */

static void expect_no_intention(void *argument)
{
    struct model_world *w = argument;
    assert_int_equal(intentions_count(model_intentions(w->model)), 0);
    assert_false(may(w, "web", "db"));
}

static void changes_are_durable_then_published_then_answered(void **state)
{
    struct model_world w;
    open_model(&w, *state);
    struct outcome outcome = {.world = &w};
    uint64_t version = publication_policy_version(model_publication(w.model));
    submitted = expect_no_intention;
    submitted_argument = &w;
    put_unsettled(&w, "web", "db", "allow", &outcome);
    submitted = NULL;
    expect_no_intention(&w); /* not before the store has answered */
    assert_int_equal(outcome.answers, 0);
    model_settle(&w);
    assert_int_equal(outcome.answers, 1);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(outcome.allowed, 1); /* whoever is answered finds it published */
    assert_true(publication_policy_version(model_publication(w.model)) > version);
    model_world_restart(&w, "");
    assert_int_equal(intentions_count(model_intentions(w.model)), 1);
    assert_true(may(&w, "web", "db"));
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome), 0);
    assert_true(may(&w, "web", "db"));
    model_settle(&w);
    assert_int_equal(outcome.answers, 2);
    assert_int_equal(outcome.allowed, 0);
    model_world_restart(&w, "");
    assert_int_equal(intentions_count(model_intentions(w.model)), 0);
    model_world_end(&w);
}

struct listener {
    struct model_listener link;
    unsigned heard[32];
    uint64_t index;
};

static void hear(void *argument, const struct model_event *event)
{
    struct listener *listener = argument;
    assert_true(event->index >= listener->index);
    listener->index = event->index;
    listener->heard[event->what]++;
}

static void what_the_store_refuses_has_not_happened(void **state)
{
    static const uint8_t serial[] = {1, 2, 3};
    struct model_world w;
    struct listener listener = {.link = {.changed = hear, .argument = &listener}};
    open_model(&w, *state);
    put(&w, "web", "db", "allow");
    model_listen(w.model, &listener.link);
    uint64_t version = publication_policy_version(model_publication(w.model));
    uint64_t index = model_index(w.model);
    struct outcome outcome[4] = {{0}};
    fail_next = 4;
    put_unsettled(&w, "web", "db", "deny", &outcome[0]);
    put_unsettled(&w, "a", "b", "allow", &outcome[1]);
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome[2]), 0);
    assert_int_equal(model_revoke(w.model, NULL, 0, serial, sizeof serial, 1, 0, note, &outcome[3], &w.error),
                     0);
    model_settle(&w);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(outcome[i].answers, 1);
        assert_int_equal(outcome[i].code, ERROR_SYSTEM);
        assert_string_equal(outcome[i].text, "the disk is full");
    }
    assert_int_equal(intentions_count(model_intentions(w.model)), 1);
    assert_int_equal(revocations_count(model_revocations(w.model)), 0);
    assert_true(may(&w, "web", "db"));
    assert_false(may(&w, "a", "b"));
    assert_int_equal(publication_policy_version(model_publication(w.model)), version);
    for (int i = 0; i < 32; i++)
        assert_int_equal(listener.heard[i], 0);
    put(&w, "web", "db", "deny"); /* and it goes on when the store does */
    assert_false(may(&w, "web", "db"));
    assert_int_equal(listener.heard[MODEL_INTENTIONS], 1);
    assert_true(listener.index > index);
    model_unlisten(w.model, &listener.link);
    model_world_restart(&w, "");
    assert_int_equal(intentions_count(model_intentions(w.model)), 1);
    model_world_end(&w);
}

static void several_changes_may_be_under_way(void **state)
{
    struct model_world w;
    struct outcome outcome[5] = {{0}};
    open_model(&w, *state);
    put_unsettled(&w, "web", "db", "allow", &outcome[0]);
    put_unsettled(&w, "web", "db", "deny", &outcome[1]);
    put_unsettled(&w, "web", "db", "allow", &outcome[2]);
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome[3]), ERROR_NOT_FOUND); /* not yet there */
    model_settle(&w);
    assert_int_equal(outcome[0].answers + outcome[1].answers + outcome[2].answers, 3);
    assert_true(may(&w, "web", "db")); /* the last one counts */
    assert_int_equal(intentions_count(model_intentions(w.model)), 1);
    /* Deleted twice at the same time: only one has done it. */
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome[3]), 0);
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome[4]), 0);
    model_settle(&w);
    assert_int_equal(outcome[3].code, 0);
    assert_int_equal(outcome[4].code, ERROR_NOT_FOUND);
    assert_false(may(&w, "web", "db"));
    /* Deleted and put again. */
    put(&w, "web", "db", "deny");
    assert_int_equal(delete_unsettled(&w, "web", "db", &outcome[3]), 0);
    put_unsettled(&w, "web", "db", "allow", &outcome[0]);
    model_settle(&w);
    assert_true(may(&w, "web", "db"));
    model_world_restart(&w, "");
    assert_true(may(&w, "web", "db"));
    /* Under way when the agent stops: either answered and there, or neither. */
    put_unsettled(&w, "x", "y", "allow", &outcome[1]);
    unsigned answers = outcome[1].answers;
    model_world_restart(&w, "");
    assert_int_equal(outcome[1].answers, answers + 1);
    assert_int_equal(outcome[1].code, 0);
    assert_true(may(&w, "x", "y"));
    model_world_end(&w);
}

static void the_index_never_goes_back(void **state)
{
    static const uint8_t serial[] = {9};
    struct model_world w;
    struct outcome outcome = {0};
    uint64_t highest = 0;
    open_model(&w, *state);
    for (int round = 0; round < 6; round++) {
        assert_true(model_index(w.model) >= highest);
        uint64_t before = model_index(w.model);
        put(&w, "web", "db", "allow");
        const struct intention *found =
            intentions_get(model_intentions(w.model), &(struct intention_name){"default", "default", "db"},
                           &(struct intention_name){"default", "default", "web"}, NULL);
        assert_true(found->modify_index > before);
        if (round % 3 == 0)
            assert_int_equal(delete_unsettled(&w, "web", "db", &outcome),
                             0); /* the last change leaves no row */
        if (round % 3 == 1) {
            assert_int_equal(model_revoke(w.model, NULL, 0, serial, 1, 1, 0, note, &outcome, &w.error), 0);
            model_settle(&w);
            assert_int_equal(model_unrevoke(w.model, NULL, 0, serial, 1, note, &outcome, &w.error), 0);
        }
        model_settle(&w);
        assert_true(model_index(w.model) > before);
        highest = model_index(w.model);
        uint64_t version = publication_policy_version(model_publication(w.model));
        model_world_restart(&w, "");
        assert_true(publication_policy_version(model_publication(w.model)) > version);
    }
    model_world_end(&w);
}

/* --- revocations --- */

static int may_with(struct model_world *w, const uint8_t *issuer, size_t issuer_size, const uint8_t *serial,
                    size_t serial_size)
{
    struct xylem_target target;
    static const char uri[] = HARNESS_PREFIX "web";
    struct xylem_peer peer = {.uri = {(const uint8_t *)uri, sizeof uri - 1},
                              .serial = {serial, serial_size},
                              .issuer_key_id = {issuer, issuer_size}};
    MUST(xylem_target_init(&target, "db") == 0);
    return xylem_authorize_peer(reader_of(w), &target, &peer, NULL);
}

static void revocations_come_and_go(void **state)
{
    static const uint8_t issuer[] = {1, 1, 1, 1}, other[] = {2, 2, 2, 2}, serial[] = {0, 7, 7};
    struct model_world w;
    struct outcome outcome = {0};
    open_model(&w, *state);
    put(&w, "web", "db", "allow");
    assert_int_equal(model_revoke(w.model, issuer, 4, serial, 3, 1, 0, note, &outcome, &w.error), 0);
    assert_true(may_with(&w, issuer, 4, serial + 1, 2)); /* not durable yet */
    model_settle(&w);
    for (int restarted = 0; restarted < 2; restarted++) {
        assert_false(may_with(&w, issuer, 4, serial + 1, 2));
        assert_true(may_with(&w, other, 4, serial + 1, 2));
        model_world_restart(&w, "");
    }
    assert_int_equal(model_unrevoke(w.model, other, 4, serial, 3, note, &outcome, &w.error), ERROR_NOT_FOUND);
    assert_int_equal(model_revoke(w.model, issuer, 4, serial, 0, 1, 0, note, &outcome, &w.error),
                     ERROR_INVALID);
    assert_int_equal(model_revoke(w.model, issuer, 4, serial, 3, 7, 0, note, &outcome, &w.error),
                     ERROR_INVALID);
    assert_int_equal(model_unrevoke(w.model, issuer, 4, serial, 3, note, &outcome, &w.error), 0);
    assert_int_equal(model_unrevoke(w.model, issuer, 4, serial, 3, note, &outcome, &w.error),
                     0); /* both under way */
    model_settle(&w);
    for (int restarted = 0; restarted < 2; restarted++) {
        assert_true(may_with(&w, issuer, 4, serial + 1, 2));
        assert_int_equal(revocations_count(model_revocations(w.model)), 0);
        model_world_restart(&w, "");
    }
    /* Of a certificate that has expired: forgotten, here, in the regions and in the store. */
    assert_int_equal(model_revoke(w.model, NULL, 0, serial, 3, 1, model_now + 100, note, &outcome, &w.error),
                     0);
    model_settle(&w);
    model_world_restart(&w, "");
    assert_false(may_with(&w, other, 4, serial + 1, 2));
    model_now += 101;
    ev_invoke(w.loop, minute_timer, EV_TIMER);
    assert_int_equal(revocations_count(model_revocations(w.model)), 0);
    assert_true(may_with(&w, other, 4, serial + 1, 2));
    model_settle(&w);
    model_world_restart(&w, "");
    assert_int_equal(revocations_count(model_revocations(w.model)), 0);
    model_world_end(&w);
}

/* --- the same verdicts everywhere --- */

static const char *const partitions[] = {"default", "default", "default", "east"};
static const char *const namespaces[] = {"default", "default", "team", "ops"};
static const char *const names[] = {"web", "Web", "db", "api", "cache-1", "a", "payment.v2", "x_y"};
#define PICK(random, list) (list)[harness_below(random, sizeof(list) / sizeof *(list))]

static void random_name(struct harness_random *random, bool wildcards, struct intention_parsed_name *name)
{
    memset(name, 0, sizeof *name);
    snprintf(name->partition, sizeof name->partition, "%s", PICK(random, partitions));
    snprintf(name->namespace_name, sizeof name->namespace_name, "%s", PICK(random, namespaces));
    snprintf(name->name, sizeof name->name, "%s", PICK(random, names));
    if (wildcards && harness_below(random, 4) == 0) {
        strcpy(name->name, "*");
        if (harness_below(random, 3) == 0)
            strcpy(name->namespace_name, "*");
    }
}

static void random_change(struct model_world *w, struct harness_random *random, struct outcome *outcome)
{
    struct intention_parsed_name from, to;
    char source[800], destination[800];
    static const char *const actions[] = {"allow", "allow", "deny", "permissions", "", ""};
    const char *action = PICK(random, actions);
    random_name(random, true, &from);
    random_name(random, true, &to);
    if (harness_below(random, 6))
        strcpy(from.partition, to.partition);
    if (!action[0]) {
        struct intention_name source_name = intention_name_of(&from),
                              destination_name = intention_name_of(&to);
        (void)model_delete_intention(w->model, &destination_name, &source_name, note, outcome, &w->error);
        return;
    }
    if (strcmp(to.name, "*") == 0 && strcmp(action, "permissions") == 0)
        action = "allow"; /* as Consul has it: permissions are for one destination */
    snprintf(source, sizeof source, "%s/%s/%s", from.partition, from.namespace_name, from.name);
    snprintf(destination, sizeof destination, "%s/%s/%s", to.partition, to.namespace_name, to.name);
    put_unsettled(w, source, destination, action, outcome);
}

static void compare_once(struct model_world *w, struct harness_random *random, bool default_allow)
{
    struct intention_parsed_name from, to;
    struct xylem_verdict verdict;
    char uri[900], target[900], reason[600], expected[600] = "Default intention policy";
    random_name(random, false, &from);
    random_name(random, false, &to);
    if (harness_below(random, 6))
        strcpy(from.partition, to.partition);
    struct intention_name source = intention_name_of(&from), destination = intention_name_of(&to);
    const struct intention *decides = intentions_check(model_intentions(w->model), &source, &destination);
    if (decides) {
        intention_reason(decides, expected, sizeof expected);
        /* The region knows destinations in lower case only. */
        for (char *at = strstr(expected, " => "); *at && *at != '('; at++)
            *at = (char)xylem_lower_((uint8_t)*at);
    }
    snprintf(uri, sizeof uri, "spiffe://" FIXTURE_TRUST_DOMAIN "%s%s/ns/%s/dc/dc1/svc/%s",
             strcmp(from.partition, "default") != 0 ? "/ap/" : "",
             strcmp(from.partition, "default") != 0 ? from.partition : "", from.namespace_name, from.name);
    snprintf(target, sizeof target, "%s/%s/%s", to.partition, to.namespace_name, to.name);
    xylem_read_lock(reader_of(w));
    int allow = xylem_authorize(reader_of(w), target, uri, NULL, &verdict);
    xylem_reason(reader_of(w), &verdict, reason, sizeof reason);
    xylem_read_unlock(reader_of(w));
    if (allow != intention_allows(decides, default_allow) || strcmp(reason, expected) != 0 ||
        verdict.precedence != (decides ? decides->precedence : 0) ||
        verdict.permissions != (decides && decides->action == INTENTION_PERMISSIONS))
        fail_msg("%s -> %s: expected %s, found %d %s", uri, target, expected, allow, reason);
}

static void model_and_region_agree(void **state)
{
    struct model_world w;
    struct harness_random random = {harness_seed()};
    struct outcome outcome = {0};
    bool default_allow = false;
    open_model(&w, *state);
    for (int round = 0; round < 60; round++) {
        uint32_t changes = 1 + harness_below(&random, 60);
        for (uint32_t i = 0; i < changes; i++)
            random_change(&w, &random, &outcome);
        model_settle(&w);
        if (harness_below(&random, 4) == 0) {
            default_allow = !default_allow;
            model_world_reload(&w, default_allow ? "default_policy = allow\n" : "default_policy = deny\n");
        }
        if (round % 20 == 19) /* from the store, all at once */
            model_world_restart(&w, default_allow ? "default_policy = allow\n" : "default_policy = deny\n");
        for (int i = 0; i < 300; i++)
            compare_once(&w, &random, default_allow);
    }
    assert_true(intentions_count(model_intentions(w.model)) > 50);
    model_world_end(&w);
}

/* --- trouble --- */

static void what_is_not_published_is_not_called_done(void **state)
{
    struct model_world w;
    struct outcome outcome = {0};
    char source[200];
    open_model(&w, *state);
    struct publication *publication = model_publication(w.model);
    uint64_t limit = publication->options.policy_bytes_max;
    publication->options.policy_bytes_max = publication->policy_bytes;
    for (unsigned i = 0; outcome.code == 0 && i < 20000; i++) {
        snprintf(source, sizeof source, "a-source-with-a-name-that-is-long-enough-to-fill-the-region-%0100u",
                 i);
        put_unsettled(&w, source, "db", "allow", &outcome);
        if (i % 256 == 255)
            model_settle(&w);
    }
    model_settle(&w);
    assert_int_equal(outcome.code, ERROR_LIMIT);
    assert_int_equal(strncmp(outcome.text, "stored, but not published", 25), 0);
    assert_non_null(strstr(outcome.text, "region_bytes_max"));
    publication->options.policy_bytes_max = limit;
    put(&w, "web", "db", "allow"); /* brings everything */
    assert_true(may(&w, source, "db"));
    model_world_end(&w);
}

static void a_failed_reload_leaves_the_old_configuration(void **state)
{
    struct model_world w;
    open_model(&w, *state);
    struct config *fresh = model_config_of(
        &w, "default_policy = allow\nidentity \"own\" { pattern = \"spiffe://{trust_domain}/x/{service}\" }\n"
            "service \"new\" {}\n");
    fail_identities = 1;
    assert_int_equal(model_reconfigure(w.model, fresh, &w.error), ERROR_LIMIT);
    config_free(fresh);
    fail_identities = 0;
    assert_ptr_equal(model_config(w.model), w.config);
    assert_ptr_equal(model_leaves(w.model)->config, w.config);
    assert_false(may(&w, "web", "db")); /* the default is what it was */
    assert_null(leaves_find(model_leaves(w.model), "new"));
    ev_invoke(w.loop, &model_leaves(w.model)->tick, EV_TIMER);
    model_serve(&w);
    put(&w, "web", "db", "allow");
    assert_true(may(&w, "web", "db"));
    model_world_reload(&w, "identity \"own\" { pattern = \"spiffe://{trust_domain}/x/{service}\" }\n");
    assert_true(xylem_authorize(reader_of(&w), "db", "spiffe://" FIXTURE_TRUST_DOMAIN "/x/web", NULL, NULL));
    assert_false(may(&w, "web", "db"));
    model_world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_durable_then_published_then_answered),
        cmocka_unit_test(what_the_store_refuses_has_not_happened),
        cmocka_unit_test(several_changes_may_be_under_way),
        cmocka_unit_test(the_index_never_goes_back),
        cmocka_unit_test(revocations_come_and_go),
        cmocka_unit_test(model_and_region_agree),
        cmocka_unit_test(what_is_not_published_is_not_called_done),
        cmocka_unit_test(a_failed_reload_leaves_the_old_configuration),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}

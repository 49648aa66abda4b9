/* SPDX-License-Identifier: MIT */
#include "tests/unit/model_fixture.h"

#define WEB "service \"web\" { users = {\"1001\"} }\n"
#define DB  "service \"db\" { users = {\"1001\"} }\n"

enum { MANY = 300, CAP = 64, HOUR = 3600 };

static struct leaves *leaves_of(struct model_world *w)
{
    return model_leaves(w->model);
}

/* One look of the leaf manager, as every second. */
static void tick(struct model_world *w)
{
    ev_invoke(w->loop, &leaves_of(w)->tick, EV_TIMER);
}

/* Looks once a second for so long; answers everything. Returns the most that was under way at once. */
static size_t run_sec(struct model_world *w, int64_t seconds)
{
    size_t most = 0;
    for (int64_t i = 0; i < seconds; i++) {
        model_now++;
        tick(w);
        most = w->fake.count > most ? w->fake.count : most;
        model_serve(w);
    }
    return most;
}

static struct leaf *leaf_of(struct model_world *w, const char *service)
{
    for (struct leaf *leaf = leaves_of(w)->list; leaf; leaf = leaf->next)
        if (!leaf->gone && strcmp(leaf->service, service) == 0)
            return leaf;
    fail_msg("there is no leaf %s", service);
    return NULL;
}

/* The version of what readers find; 0: nothing. */
static uint64_t published(struct model_world *w, const char *service)
{
    struct xylem_leaf_view view;
    return publication_read_leaf(model_publication(w->model), service, &view, &w->error) ? 0 : view.version;
}

static uint32_t serial(struct model_world *w, const char *service)
{
    struct xylem_leaf_view view;
    uint32_t number = 0;
    if (publication_read_leaf(model_publication(w->model), service, &view, &w->error) == 0)
        memcpy(&number, view.serial.data, sizeof number);
    return number;
}

static char *many_services(void)
{
    char *text = malloc(MANY * 40);
    size_t used = 0;
    assert_non_null(text);
    for (int i = 0; i < MANY; i++)
        used += (size_t)sprintf(text + used, "service \"s%d\" {}\n", i);
    return text;
}

static void start_many(struct model_world *w)
{
    char *text = many_services();
    size_t size = strlen(text) + 300;
    char *whole = malloc(size);
    assert_non_null(whole);
    int used = snprintf(whole, size, "state_directory = \"%s\"\nrun_directory = \"%s\"\n%s", w->directory,
                        w->base, text);
    model_world_start(w, ""); /* then as by a reload: model_config_of() has room for less */
    struct config *config = NULL;
    assert_int_equal(config_parse("test.conf", whole, (size_t)used, &config, NULL, &w->error), 0);
    assert_int_equal(model_reconfigure(w->model, config, &w->error), 0);
    config_free(w->config);
    w->config = config;
    free(text);
    free(whole);
    for (int i = 0; i <= MANY / CAP; i++) {
        tick(w);
        assert_true(w->fake.count <= CAP);
        model_serve(w);
    }
    assert_int_equal(w->fake.issued, MANY);
}

/* --- starting --- */

static void readiness_waits_for_every_service(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB DB);
    assert_int_equal(w.fake.count, 2);
    assert_null(publication_reader(model_publication(w.model)));
    model_answer(&w, 0);
    model_settle(&w);
    assert_int_equal(w.ready, 0);
    model_answer(&w, ERROR_BUSY);
    model_settle(&w);
    assert_int_equal(w.ready, 0);
    run_sec(&w, 3);
    assert_int_equal(w.ready, 1);
    assert_non_null(publication_reader(model_publication(w.model)));
    assert_true(published(&w, "web") && published(&w, "db"));
    run_sec(&w, 3);
    assert_int_equal(w.ready, 1);
    model_world_end(&w);
}

/* Clients wait until everything is published, and as long as that takes. */
static void readiness_waits_for_publication(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB DB);
    struct publication_options *options = &model_publication(w.model)->options;
    uint64_t limit = options->scope_bytes_max;
    options->scope_bytes_max = 4096;
    model_serve(&w);
    run_sec(&w, 2);
    assert_int_equal(w.ready, 0);
    assert_null(publication_reader(model_publication(w.model)));
    options->scope_bytes_max = limit;
    limit = options->policy_bytes_max;
    options->policy_bytes_max = 4096;
    run_sec(&w, 2);
    assert_int_equal(w.ready, 0);
    options->policy_bytes_max = limit;
    run_sec(&w, 1);
    assert_int_equal(w.ready, 1);
    assert_true(published(&w, "web") && published(&w, "db"));
    assert_non_null(publication_reader(model_publication(w.model)));
    assert_int_equal(w.fake.issued, 2);
    model_world_end(&w);
}

/* Durable before anybody sees it. */
static void a_leaf_is_stored_before_it_is_published(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_serve(&w);
    uint64_t before = published(&w, "web");
    assert_int_equal(leaves_renew(leaves_of(&w), "web", &w.error), 0);
    assert_int_equal(leaves_renew(leaves_of(&w), "web", &w.error), ERROR_BUSY);
    assert_int_equal(leaves_renew(leaves_of(&w), "db", &w.error), ERROR_NOT_FOUND);
    model_answer(&w, 0);
    assert_int_equal(published(&w, "web"), before); /* the store has not answered yet */
    model_settle(&w);
    assert_true(published(&w, "web") > before);
    assert_int_equal(leaves_find(leaves_of(&w), "web")->version, published(&w, "web"));
    model_world_end(&w);
}

/* --- when --- */

static void renewal_is_between_60_and_90_percent(void **state)
{
    struct model_world w;
    int64_t first = INT64_MAX, last = 0;
    model_world_init(&w, *state);
    start_many(&w);
    for (const struct leaf *leaf = leaves_of(&w)->list; leaf; leaf = leaf->next) {
        int64_t after = leaf->info.renew_at - leaf->info.not_before;
        assert_true(after * 100 >= w.fake.ttl_sec * 60 && after * 100 < w.fake.ttl_sec * 90);
        first = after < first ? after : first;
        last = after > last ? after : last;
    }
    assert_true(first * 100 < w.fake.ttl_sec * 63 && last * 100 > w.fake.ttl_sec * 87);
    struct leaf *leaf = leaf_of(&w, "s7");
    for (struct leaf *other = leaves_of(&w)->list; other; other = other->next)
        if (other != leaf)
            other->info.renew_at = INT64_MAX;
    model_now = leaf->info.renew_at - 1;
    for (struct leaf *other = leaves_of(&w)->list; other; other = other->next)
        other->info.not_before = model_now - w.fake.ttl_sec / 2; /* and far from the hard limit */
    for (struct leaf *other = leaves_of(&w)->list; other; other = other->next)
        other->info.not_after = other->info.not_before + w.fake.ttl_sec;
    tick(&w);
    assert_int_equal(w.fake.count, 0);
    model_now++;
    tick(&w);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].service, "s7");
    tick(&w);
    assert_int_equal(w.fake.count, 1); /* once is enough */
    model_serve(&w);
    /* The hard limit, whatever was chosen. */
    struct leaf *late = leaf_of(&w, "s8");
    late->info.renew_at = INT64_MAX;
    late->info.not_before = model_now - 899;
    late->info.not_after = model_now + 101;
    tick(&w);
    assert_int_equal(w.fake.count, 0);
    model_now++;
    tick(&w);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].service, "s8");
    model_serve(&w);
    /* A short life is renewed halfway. */
    w.fake.ttl_sec = 100;
    assert_int_equal(leaves_renew(leaves_of(&w), "s9", &w.error), 0);
    model_serve(&w);
    assert_int_equal(leaf_of(&w, "s9")->info.renew_at, model_now + 50);
    model_world_end(&w);
}

static void failures_back_off_and_keep_the_last_leaf(void **state)
{
    struct model_world w;
    int64_t seen[20];
    model_world_init(&w, *state);
    start_many(&w);
    struct leaf *leaf = leaf_of(&w, "s1");
    uint64_t version = published(&w, "s1");
    leaf->current = false;
    for (unsigned i = 0; i < 12; i++) {
        tick(&w);
        assert_int_equal(w.fake.count, 1);
        model_answer(&w, ERROR_SYSTEM);
        assert_int_equal(leaf->info.failures, i + 1);
        int64_t span = 1 << (i < 6 ? i : 6);
        int64_t wait = leaf->retry_at - model_now;
        assert_true(wait >= 1 && wait <= 1 + (span > 60 ? 60 : span));
        assert_string_equal(leaf->info.last_error, "the upstream is down");
        tick(&w);
        assert_int_equal(w.fake.count, 0);
        model_now = leaf->retry_at - 1;
        tick(&w);
        assert_int_equal(w.fake.count, 0);
        model_now = leaf->retry_at;
    }
    assert_int_equal(published(&w, "s1"), version);
    assert_int_equal(leaf->info.version, version);
    tick(&w);
    model_serve(&w);
    assert_int_equal(leaf->info.failures, 0);
    assert_string_equal(leaf->info.last_error, "");
    assert_true(published(&w, "s1") > version);
    /* Full jitter: those that failed together do not come back together. */
    for (int i = 0; i < 20; i++) {
        char service[8];
        snprintf(service, sizeof service, "s%d", 100 + i);
        struct leaf *other = leaf_of(&w, service);
        other->current = false;
        other->info.failures = 5;
    }
    tick(&w);
    assert_int_equal(w.fake.count, 20);
    for (int i = 0; i < 20; i++) {
        struct leaf *other = w.fake.requests[0].argument;
        model_answer(&w, ERROR_SYSTEM);
        seen[i] = other->retry_at;
    }
    int different = 0;
    for (int i = 1; i < 20; i++)
        different += seen[i] != seen[0];
    assert_true(different > 5);
    /* The source's own limit is no failure. */
    w.fake.refuse = ERROR_BUSY;
    leaf->current = false;
    tick(&w);
    assert_int_equal(leaf->info.failures, 0);
    assert_true(leaf->retry_at > model_now && leaf->retry_at <= model_now + 4);
    w.fake.refuse = ERROR_INVALID;
    leaf->retry_at = 0;
    tick(&w);
    assert_int_equal(leaf->info.failures, 1);
    model_world_end(&w);
}

static void new_roots_renew_everything_spread_out(void **state)
{
    struct model_world w;
    unsigned first_second, total = 0;
    model_world_init(&w, *state);
    start_many(&w);
    unsigned before = w.fake.requested;
    w.fake.roots.index = 1000;
    w.fake.source.roots_changed(w.fake.source.argument); /* but the signer is the same */
    assert_int_equal(run_sec(&w, 2), 0);
    w.fake.signer = 2;
    w.fake.source.roots_changed(w.fake.source.argument);
    tick(&w);
    first_second = (unsigned)w.fake.count;
    assert_true(first_second < 40); /* about a thirtieth */
    size_t most = run_sec(&w, 31);
    total = w.fake.requested - before;
    assert_int_equal(total, MANY); /* each once */
    assert_true(most <= CAP);
    assert_int_equal(run_sec(&w, 60), 0);
    /* All due at once: never more than the cap under way, and as soon as there is room the others. */
    model_now += 365 * 24 * HOUR;
    before = w.fake.requested;
    tick(&w);
    assert_int_equal(w.fake.count, CAP);
    tick(&w);
    assert_int_equal(w.fake.count, CAP);
    model_serve(&w);
    assert_int_equal(run_sec(&w, MANY / CAP), CAP);
    assert_int_equal(w.fake.requested - before, MANY);
    /* Back again: what is not yet valid is made anew, once. */
    model_now -= 300 * 24 * HOUR;
    before = w.fake.requested;
    assert_int_equal(run_sec(&w, MANY / CAP + 2), CAP);
    assert_int_equal(w.fake.requested - before, MANY);
    for (const struct leaf *leaf = leaves_of(&w)->list; leaf; leaf = leaf->next)
        assert_true(leaf->info.not_before <= model_now);
    model_world_end(&w);
}

/* A leaf that was under way when the roots changed hangs off the old ones. */
static void roots_may_change_while_a_leaf_is_under_way(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_answer(&w, 0); /* made by the old signer, not stored yet */
    w.fake.signer = 2;
    w.fake.source.roots_changed(w.fake.source.argument);
    model_settle(&w);
    assert_int_equal(w.ready, 1);
    run_sec(&w, 31);
    assert_int_equal(w.fake.issued, 2);
    assert_int_equal(leaf_of(&w, "web")->issuer_key_id[0], 2);
    model_world_end(&w);
}

/* --- on request --- */

static int want(struct model_world *w, const char *service, uid_t uid)
{
    return leaves_want(leaves_of(w), service, uid, NULL, 0, &w->error);
}

static void ignore_welcome(void *connection, uint64_t client_id, bool fence)
{
    (void)connection, (void)client_id, (void)fence;
}

static void ignore_set(void *connection, uint64_t min_epoch, const int *fds, const uint64_t *sizes,
                       size_t count)
{
    (void)connection, (void)min_epoch, (void)fds, (void)sizes, (void)count;
}

static void ignore_release(void *connection, uint64_t min_epoch)
{
    (void)connection, (void)min_epoch;
}

static void ignore_changed(void *connection, uint32_t what)
{
    (void)connection, (void)what;
}

static void ignore_refuse(void *connection, int code, const char *text)
{
    (void)connection, (void)code, (void)text;
}

static const struct publication_sink deaf = {ignore_welcome, ignore_set, ignore_release, ignore_changed,
                                             ignore_refuse};

static struct publication_client *attach(struct model_world *w, struct xylem_client **client, uid_t uid)
{
    struct publication_client *handle;
    struct publication_peer peer = {.uid = uid, .pidfd = -1};
    assert_int_equal(xylem_new_(client, 16, 0), 0);
    assert_int_equal(grace_page_map(&peer.page, (*client)->page_fd, 16), 0);
    assert_int_equal(publication_attach(model_publication(w->model), &peer, &deaf, w, &handle, &w->error), 0);
    return handle;
}

#define REQUESTS "leaves { on_request_max = 3\n on_request_users = {\"1001\"}\n unused_after = 1h }\n"

static void requests_are_checked_and_limited(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB REQUESTS);
    model_serve(&w);
    assert_int_equal(want(&w, "web", 1001), 0);
    assert_int_equal(w.fake.requested, 1); /* it is there */
    assert_int_equal(want(&w, "web", 1002), ERROR_DENIED);
    assert_int_equal(want(&w, "a", 1002), ERROR_DENIED);
    static const char *const wrong[] = {"", "*", "a b", "a/b/c/d", "x/*", "a\x01"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(want(&w, wrong[i], 1001), ERROR_INVALID);
    assert_int_equal(want(&w, "a", 1001), 0);
    assert_int_equal(want(&w, "default/a", 1001), 0); /* the same */
    assert_int_equal(want(&w, "team/b", 1001), 0);
    assert_int_equal(want(&w, "c", 0), 0); /* root may always, but not beyond the cap */
    assert_int_equal(want(&w, "d", 0), ERROR_LIMIT);
    assert_non_null(strstr(w.error.text, "on_request_max"));
    assert_int_equal(w.fake.count, 3);
    model_serve(&w);
    assert_true(published(&w, "a") && published(&w, "team/b") && published(&w, "c"));
    assert_true(leaves_find(leaves_of(&w), "team/b")->requested);
    model_world_reload(&w, WEB "leaves { on_request = false }\n");
    assert_int_equal(want(&w, "e", 0), ERROR_DENIED);
    model_world_end(&w);
}

static void what_nobody_uses_is_dropped(void **state)
{
    struct model_world w;
    struct xylem_client *client;
    model_world_init(&w, *state);
    model_world_start(&w, WEB REQUESTS);
    model_serve(&w);
    want(&w, "a", 0);
    want(&w, "team/b", 0);
    model_serve(&w);
    struct publication_client *handle = attach(&w, &client, 1001); /* may read all of them */
    for (int i = 0; i < 10; i++) {
        model_now += HOUR / 2;
        tick(&w);
    }
    assert_true(published(&w, "a") && published(&w, "team/b")); /* somebody may be reading */
    /* A restart gives clients the time to come back, however long ago the leaf was stored. */
    publication_detach(handle);
    model_world_restart(&w, WEB REQUESTS);
    model_serve(&w);
    tick(&w);
    assert_true(published(&w, "a") && published(&w, "team/b"));
    model_now += HOUR / 2;
    want(&w, "a", 1001);
    leaves_used(leaves_of(&w), "web");
    model_now += HOUR / 2;
    tick(&w);
    model_serve(&w);
    assert_false(published(&w, "team/b"));
    assert_null(leaves_find(leaves_of(&w), "team/b"));
    assert_true(published(&w, "a") && published(&w, "web")); /* asked for again; configured */
    model_now += HOUR;
    tick(&w);
    model_settle(&w);
    assert_false(published(&w, "a"));
    unsigned before = w.fake.requested;
    model_world_restart(&w, WEB REQUESTS);
    assert_int_equal(w.fake.requested, before);
    assert_null(leaves_find(leaves_of(&w), "a")); /* nor stored */
    assert_true(published(&w, "web"));
    xylem_close(client);
    model_world_end(&w);
}

/* --- restarting --- */

static void a_restart_serves_what_is_stored(void **state)
{
    struct model_world w;
    struct xylem_leaf_view view;
    model_world_init(&w, *state);
    model_world_start(&w, WEB DB);
    model_serve(&w);
    uint64_t version = published(&w, "web");
    uint32_t number = serial(&w, "web");
    int64_t not_after = leaf_of(&w, "web")->info.not_after;
    model_now += HOUR;
    model_world_restart(&w, WEB DB);
    assert_int_equal(w.ready, 1); /* at once */
    assert_int_equal(w.fake.count, 0);
    assert_int_equal(published(&w, "web"), version);
    assert_int_equal(serial(&w, "web"), number);
    assert_int_equal(leaf_of(&w, "web")->info.not_after, not_after);
    assert_int_equal(publication_read_leaf(model_publication(w.model), "web", &view, &w.error), 0);
    assert_memory_equal(view.chain_pem.data, "-----BEGIN CERTIFICATE-----\n", 28);
    assert_memory_equal(view.key_pem.data, "-----BEGIN EC PRIVATE KEY-----\n", 31);
    assert_int_equal(view.leaf_der.size, view.chain_der.size);
    run_sec(&w, 5);
    assert_int_equal(w.fake.issued, 2);
    /* A service more: only that one is made, and readiness waits for it. */
    model_world_restart(&w, WEB DB "service \"cache\" {}\n");
    assert_int_equal(w.ready, 0);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].service, "cache");
    model_serve(&w);
    assert_int_equal(w.ready, 1);
    assert_int_equal(published(&w, "web"), version);
    model_world_end(&w);
}

static void what_has_expired_is_not_served(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_serve(&w);
    model_now += w.fake.ttl_sec;
    model_world_restart(&w, WEB);
    assert_int_equal(w.ready, 0);
    assert_int_equal(published(&w, "web"), 0);
    model_serve(&w);
    assert_int_equal(w.ready, 1);
    assert_int_equal(serial(&w, "web"), 2);
    /* Of a root that is gone: served, and soon replaced. */
    w.fake.signer = 9;
    model_world_restart(&w, WEB);
    assert_int_equal(w.ready, 1);
    assert_int_equal(serial(&w, "web"), 2);
    run_sec(&w, 31);
    assert_int_equal(serial(&w, "web"), 3);
    model_world_end(&w);
}

static int count_sealed(void *argument, const struct store_leaf *row, struct error *error)
{
    (void)error;
    int *counts = argument;
    counts[row->sealed]++;
    if (row->sealed)
        assert_int_equal(row->key.size, counts[2] + KEYWRAP_OVERHEAD_BYTES);
    else
        counts[2] = (int)row->key.size;
    return 0;
}

static void count_stored(struct model_world *w, int counts[3])
{
    store_close(w->store);
    model_destroy(w->model);
    config_free(w->config);
    assert_int_equal(store_open(w->directory, &w->store, &w->error), 0);
    assert_int_equal(store_load_leaves(w->store, count_sealed, counts, &w->error), 0);
    store_close(w->store);
    w->store = NULL;
}

static void keys_are_sealed_at_rest(void **state)
{
    struct model_world w;
    int counts[3] = {0};
    struct keywrap *mine, *other;
    assert_int_equal(keywrap_from_secret("0123456789abcdef0123456789abcdef", 32, &mine, NULL), 0);
    assert_int_equal(keywrap_from_secret("fedcba9876543210fedcba9876543210", 32, &other, NULL), 0);
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_serve(&w);
    count_stored(&w, counts);
    assert_int_equal(counts[0], 1);
    w.keywrap = mine; /* what was stored in the open still opens */
    model_world_start(&w, WEB);
    assert_int_equal(w.ready, 1);
    assert_int_equal(leaves_renew(leaves_of(&w), "web", &w.error), 0);
    model_serve(&w);
    count_stored(&w, counts);
    assert_int_equal(counts[1], 1);
    model_world_start(&w, WEB);
    assert_int_equal(w.ready, 1);
    assert_int_equal(serial(&w, "web"), 2);
    /* Another key file, or none: a new leaf, rather than no agent. */
    for (int i = 0; i < 2; i++) {
        model_world_stop(&w);
        w.keywrap = i ? NULL : other;
        model_world_start(&w, WEB);
        assert_int_equal(w.ready, 0);
        model_serve(&w);
        assert_int_equal(serial(&w, "web"), 3 + i);
        if (i == 0) {
            model_world_restart(&w, WEB);
            assert_int_equal(w.ready, 1);
        }
    }
    keywrap_free(mine);
    keywrap_free(other);
    model_world_end(&w);
}

/* --- configuration --- */

#define WEB_NAMED(name) "service \"web\" { users = {\"1001\"}\n dns = {\"" name "\"} }\n"

static void other_names_make_another_leaf(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_serve(&w);
    model_world_reload(&w, WEB_NAMED("one.example"));
    tick(&w);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].dns, "one.example");
    /* While it is under way they change again. */
    model_world_reload(&w, WEB_NAMED("two.example"));
    model_serve(&w);
    tick(&w);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].dns, "two.example");
    model_serve(&w);
    tick(&w);
    assert_int_equal(w.fake.count, 0);
    model_world_reload(&w, WEB_NAMED("two.example"));
    tick(&w);
    assert_int_equal(w.fake.count, 0);
    /* The same over a restart: known names are no reason, others are, and none are others. */
    unsigned issued = w.fake.issued;
    model_world_restart(&w, WEB_NAMED("two.example"));
    assert_int_equal(w.ready, 1);
    run_sec(&w, 2);
    assert_int_equal(w.fake.issued, issued);
    model_world_restart(&w, WEB_NAMED("three.example"));
    assert_int_equal(w.ready, 1); /* served meanwhile */
    run_sec(&w, 2);
    assert_int_equal(w.fake.issued, issued + 1);
    model_world_restart(&w, WEB);
    run_sec(&w, 2);
    assert_int_equal(w.fake.issued, issued + 2);
    run_sec(&w, 2);
    assert_int_equal(w.fake.issued, issued + 2);
    model_world_end(&w);
}

static void names_of_certificates_are_compared(void **state)
{
    struct model_world w;
    char *one[] = {(char[]){"a.example"}}, *port[] = {(char[]){"a.example:443"}, (char[]){""}};
    char *two[] = {(char[]){"a.example"}, (char[]){"b.example"}}, *address[] = {(char[]){"10.0.0.1"}};
    struct config_texts none = {0};
    struct model_request request = {
        .service = "web", .namespace_name = "default", .dns = "a.example", .dns_count = 1};
    model_world_init(&w, *state);
    model_world_start(&w, "");
    struct source_leaf *leaf = model_make_leaf(&w, &request);
    assert_true(leaf_has_names(leaf, &(struct config_texts){one, 1}, &none));
    assert_true(leaf_has_names(leaf, &(struct config_texts){port, 2}, &none));
    assert_false(leaf_has_names(leaf, &(struct config_texts){two, 2}, &none));
    assert_false(leaf_has_names(leaf, &none, &none));
    assert_false(leaf_has_names(leaf, &(struct config_texts){one, 1}, &(struct config_texts){address, 1}));
    leaf->leaf_der_size--;
    assert_false(leaf_has_names(leaf, &(struct config_texts){one, 1}, &none));
    source_leaf_free(leaf);
    model_world_end(&w);
}

static void changed_access_makes_a_new_key(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB DB);
    model_serve(&w);
    uint64_t version = published(&w, "web");
    model_world_reload(&w, "service \"web\" { users = {\"1002\"} }\n" DB);
    assert_int_equal(published(&w, "web"), version); /* no gap */
    w.fake.roots.index++;
    w.fake.source.roots_changed(w.fake.source.argument); /* does not make it forget */
    tick(&w);
    assert_int_equal(w.fake.count, 1);
    assert_string_equal(w.fake.requests[0].service, "web");
    model_serve(&w);
    assert_true(published(&w, "web") > version);
    run_sec(&w, 3);
    assert_int_equal(w.fake.issued, 3);
    model_world_end(&w);
}

static void a_service_that_is_gone_is_withdrawn(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB DB);
    model_serve(&w);
    model_world_reload(&w, WEB);
    assert_int_equal(published(&w, "db"), 0);
    assert_null(leaves_find(leaves_of(&w), "db"));
    model_settle(&w);
    model_world_restart(&w, WEB DB);
    assert_int_equal(w.fake.count, 1); /* nor was it kept in the store */
    /* Withdrawn while a request is under way, and back: the old answer counts for nothing. */
    model_serve(&w);
    leaves_renew(leaves_of(&w), "db", &w.error);
    model_world_reload(&w, WEB);
    model_world_reload(&w, WEB DB);
    tick(&w);
    assert_int_equal(w.fake.count, 2);
    model_answer(&w, 0);
    model_settle(&w);
    assert_int_equal(published(&w, "db"), 0);
    model_serve(&w);
    assert_int_equal(serial(&w, "db"), w.fake.issued);
    /* The same with the answer on its way into the store. */
    leaves_renew(leaves_of(&w), "db", &w.error);
    model_answer(&w, 0);
    model_world_reload(&w, WEB);
    model_settle(&w);
    assert_int_equal(published(&w, "db"), 0);
    model_world_restart(&w, WEB);
    assert_int_equal(w.ready, 1);
    assert_null(leaves_find(leaves_of(&w), "db"));
    /* Of a request by a client, and then configured. */
    model_world_reload(&w, WEB REQUESTS);
    want(&w, "db", 0);
    model_serve(&w);
    model_world_reload(&w, WEB DB REQUESTS);
    assert_false(leaves_find(leaves_of(&w), "db")->requested);
    model_world_end(&w);
}

static void what_cannot_be_published_is_tried_again(void **state)
{
    struct model_world w;
    model_world_init(&w, *state);
    model_world_start(&w, WEB);
    model_serve(&w);
    struct publication *publication = model_publication(w.model);
    uint64_t limit = publication->options.scope_bytes_max;
    uint64_t version = published(&w, "web");
    /* No room: what is retired stays, as no grace period passes. */
    publication->options.scope_bytes_max = 4096;
    struct leaf *leaf = leaf_of(&w, "web");
    for (int i = 0; leaf->info.failures == 0 && i < 1000; i++) {
        leaves_renew(leaves_of(&w), "web", &w.error);
        model_answer(&w, 0);
        bool done = false;
        store_submit(w.store, store_batch_new(), model_note_flag, &done);
        while (!done) {
            mailbox_wait(&w.answers);
            mailbox_run(&w.answers);
        }
    }
    assert_int_equal(leaf->info.failures, 1);
    assert_non_null(strstr(leaf->info.last_error, "limit"));
    uint64_t stuck = published(&w, "web");
    assert_true(stuck >= version && stuck < leaf->info.version);
    publication->options.scope_bytes_max = limit;
    run_sec(&w, 3);
    assert_true(published(&w, "web") > stuck);
    assert_int_equal(published(&w, "web"), leaf->info.version);
    model_world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readiness_waits_for_every_service),
        cmocka_unit_test(readiness_waits_for_publication),
        cmocka_unit_test(a_leaf_is_stored_before_it_is_published),
        cmocka_unit_test(renewal_is_between_60_and_90_percent),
        cmocka_unit_test(failures_back_off_and_keep_the_last_leaf),
        cmocka_unit_test(new_roots_renew_everything_spread_out),
        cmocka_unit_test(roots_may_change_while_a_leaf_is_under_way),
        cmocka_unit_test(requests_are_checked_and_limited),
        cmocka_unit_test(what_nobody_uses_is_dropped),
        cmocka_unit_test(a_restart_serves_what_is_stored),
        cmocka_unit_test(what_has_expired_is_not_served),
        cmocka_unit_test(keys_are_sealed_at_rest),
        cmocka_unit_test(other_names_make_another_leaf),
        cmocka_unit_test(names_of_certificates_are_compared),
        cmocka_unit_test(changed_access_makes_a_new_key),
        cmocka_unit_test(a_service_that_is_gone_is_withdrawn),
        cmocka_unit_test(what_cannot_be_published_is_tried_again),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}

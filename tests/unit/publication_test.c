/* SPDX-License-Identifier: MIT */
/* Publication with clients in the same process: what they are sent they install with the public header, and what the
 * timers would do is done at once (ev_invoke), so that nothing here waits for a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/harness.h"

#include "agent/core/publication_internal.h"

enum { RULES_MAX = 20000, EVENTS_MAX = 64 };

/* --- time --- */

static int64_t skew_ns; /* how far our monotonic clock is ahead */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = __real_clock_gettime(clock, now);
    if (clock == CLOCK_MONOTONIC) {
        now->tv_sec += skew_ns / 1000000000;
        now->tv_nsec += skew_ns % 1000000000;
        now->tv_sec += now->tv_nsec / 1000000000;
        now->tv_nsec %= 1000000000;
    }
    return result;
}

static void pass_ms(int64_t milliseconds)
{
    skew_ns += milliseconds * 1000000;
}

/* --- the agent's side --- */

struct rule {
    char source[40];
    char destination[40];
    enum policy_action action;
};

struct world {
    struct ev_loop *loop;
    struct publication *publication;
    struct publication_options options;
    struct rule *rules;
    size_t rule_count;
    uint8_t revoked[16];
    size_t revoked_count;
    struct proxy *proxies;
};

static struct policy_change change_of(const struct rule *rule)
{
    return harness_change(rule->source, rule->destination, rule->action);
}

static int fill(void *model, struct policy *policy)
{
    const struct world *world = model;
    struct policy_change *changes = calloc(world->rule_count + 1, sizeof *changes);
    static const struct policy_root root = {
        .der = (const uint8_t *)"root", .der_size = 4, .pem = "ROOT\n", .id = "00"};
    MUST(changes);
    harness_set_consul_identities(policy);
    MUST(policy_set_roots(policy, &root, 1, 0, 7) == 0);
    for (size_t i = 0; i < world->rule_count; i++)
        changes[i] = change_of(&world->rules[i]);
    int code = policy_apply(policy, changes, world->rule_count);
    for (size_t i = 0; i < world->revoked_count && !code; i++)
        code = policy_revoke(policy, NULL, 0, &world->revoked[i], 1, 1);
    free(changes);
    return code;
}

static struct rule *find_rule(struct world *world, const char *source, const char *destination)
{
    for (size_t i = 0; i < world->rule_count; i++)
        if (strcmp(world->rules[i].source, source) == 0 &&
            strcmp(world->rules[i].destination, destination) == 0)
            return &world->rules[i];
    return NULL;
}

/* As the model does it: remembered first, then published. */
static int set_rule(struct world *world, const char *source, const char *destination,
                    enum policy_action action)
{
    struct error error;
    struct rule *rule = find_rule(world, source, destination);
    struct rule wanted = {.action = action};
    snprintf(wanted.source, sizeof wanted.source, "%s", source);
    snprintf(wanted.destination, sizeof wanted.destination, "%s", destination);
    if (action == POLICY_REMOVE) {
        if (rule)
            *rule = world->rules[--world->rule_count];
    } else if (rule) {
        *rule = wanted;
    } else {
        MUST(world->rule_count < RULES_MAX);
        world->rules[world->rule_count++] = wanted;
    }
    struct policy_change change = change_of(&wanted);
    return publication_apply(world->publication, &change, 1, &error);
}

static void flush(struct world *world)
{
    ev_invoke(world->loop, &world->publication->flush, EV_PREPARE);
}

static void grace(struct world *world)
{
    for (int i = 0; i < 3; i++)
        ev_invoke(world->loop, &world->publication->grace_timer, EV_TIMER);
}

static void beat(struct world *world)
{
    ev_invoke(world->loop, &world->publication->beat, EV_TIMER);
}

static struct region_statistics statistics(const struct world *world)
{
    struct region_statistics result;
    region_statistics(policy_region(world->publication->policy), &result);
    return result;
}

static uint64_t region_id(const struct world *world)
{
    return region_header(policy_region(world->publication->policy))->region_id;
}

static size_t old_regions(const struct world *world)
{
    size_t count = 0;
    for (const struct old_region *old = world->publication->old; old; old = old->next)
        count++;
    return count;
}

/* --- the proxies' side --- */

struct event {
    char what; /* Welcome, Set, Release, Changed, refused (X) */
    uint64_t value;
};

struct proxy {
    struct proxy *next;
    struct world *world;
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct publication_client *handle;
    uid_t uid;
    struct event events[EVENTS_MAX];
    size_t event_count;
    unsigned sets, releases;
    /* The set that has come and is not answered. */
    uint64_t min_epoch;
    size_t count;
    int fds[REGIONS_PER_SET];
    uint64_t sizes[REGIONS_PER_SET];
};

static void note(struct proxy *proxy, char what, uint64_t value)
{
    if (proxy->event_count < EVENTS_MAX)
        proxy->events[proxy->event_count++] = (struct event){what, value};
}

static void on_welcome(void *connection, uint64_t client_id, bool fence)
{
    (void)fence;
    note(connection, 'W', client_id);
}

static void on_set(void *connection, uint64_t min_epoch, const int *fds, const uint64_t *sizes, size_t count)
{
    struct proxy *proxy = connection;
    MUST(proxy->count == 0); /* at most one is under way */
    note(proxy, 'S', min_epoch);
    proxy->sets++;
    proxy->min_epoch = min_epoch;
    for (; proxy->count < count; proxy->count++) {
        proxy->fds[proxy->count] = dup(fds[proxy->count]);
        proxy->sizes[proxy->count] = sizes[proxy->count];
        MUST(proxy->fds[proxy->count] != -1);
    }
}

static void on_release(void *connection, uint64_t min_epoch)
{
    struct proxy *proxy = connection;
    note(proxy, 'R', min_epoch);
    proxy->releases++;
    xylem_release_(proxy->client, min_epoch);
}

static void on_changed(void *connection, uint32_t what)
{
    note(connection, 'C', what);
}

static void on_refuse(void *connection, int code, const char *text)
{
    (void)text;
    note(connection, 'X', (uint64_t)-code);
}

static const struct publication_sink sink = {on_welcome, on_set, on_release, on_changed, on_refuse};

static void drop_set(struct proxy *proxy)
{
    while (proxy->count)
        close(proxy->fds[--proxy->count]);
}

/* Takes the set that has come; the agent does not hear of it yet. */
static int install_silently(struct proxy *proxy)
{
    MUST(proxy->count);
    int error =
        xylem_install_(proxy->client, proxy->min_epoch, proxy->fds, proxy->sizes, (uint32_t)proxy->count);
    drop_set(proxy);
    return error;
}

static int install(struct proxy *proxy)
{
    uint64_t min_epoch = proxy->min_epoch;
    int error = install_silently(proxy);
    if (error)
        publication_refused(proxy->handle, min_epoch, error);
    else
        publication_installed(proxy->handle, min_epoch);
    return error;
}

static void refuse(struct proxy *proxy)
{
    drop_set(proxy);
    publication_refused(proxy->handle, proxy->min_epoch, XYLEM_E_BUSY);
}

static int try_attach_as(struct proxy *proxy, int pidfd, const struct config_texts *services,
                         struct error *error)
{
    struct publication_peer peer = {.uid = proxy->uid, .gid = 1, .pid = getpid(), .pidfd = pidfd};
    snprintf(peer.name, sizeof peer.name, "proxy");
    peer.services = services;
    peer.installed = proxy->client->set->min_epoch;
    MUST(grace_page_map(&peer.page, proxy->client->page_fd, proxy->client->slot_capacity) == 0);
    int code = publication_attach(proxy->world->publication, &peer, &sink, proxy, &proxy->handle, error);
    if (code)
        grace_page_unmap(&peer.page);
    return code;
}

static void attach(struct proxy *proxy)
{
    struct error error;
    MUST(try_attach_as(proxy, -1, NULL, &error) == 0);
}

static struct proxy *new_proxy(struct world *world, uid_t uid)
{
    struct proxy *proxy = calloc(1, sizeof *proxy);
    MUST(proxy);
    proxy->world = world;
    proxy->uid = uid;
    MUST(xylem_new_(&proxy->client, 16, XYLEM_OPEN_NO_COUNTERS) == XYLEM_OK);
    MUST(xylem_reader_open(proxy->client, &proxy->reader) == XYLEM_OK);
    proxy->next = world->proxies;
    world->proxies = proxy;
    return proxy;
}

/* Attached, with its first set installed and everything older let go. */
static struct proxy *new_served(struct world *world, uid_t uid)
{
    struct proxy *proxy = new_proxy(world, uid);
    attach(proxy);
    MUST(install(proxy) == 0);
    grace(world);
    return proxy;
}

static void disconnect(struct proxy *proxy)
{
    publication_disconnected(proxy->handle);
    proxy->handle = NULL;
    drop_set(proxy);
}

static int ask(struct proxy *proxy, const char *source, const char *target)
{
    return harness_ask(proxy->reader, source, target, NULL);
}

static uint8_t why(struct proxy *proxy)
{
    struct xylem_verdict verdict;
    harness_ask(proxy->reader, "nobody", "nothing", &verdict);
    return verdict.why;
}

static void serve_all(struct world *world)
{
    flush(world);
    for (struct proxy *proxy = world->proxies; proxy; proxy = proxy->next)
        while (proxy->count)
            MUST(install(proxy) == 0);
    grace(world);
}

/* --- set-up --- */

static void open_world(struct world *world)
{
    struct error error;
    *world = (struct world){.loop = ev_loop_new(EVFLAG_AUTO)};
    world->rules = calloc(RULES_MAX, sizeof *world->rules);
    MUST(world->loop && world->rules);
    world->options = (struct publication_options){.loop = world->loop,
                                                  .generation = 3,
                                                  .fill = fill,
                                                  .model = world,
                                                  .clients_max = 2000,
                                                  .clients_per_uid_max = 2000,
                                                  .regions_per_uid_max = 16,
                                                  .policy_bytes_max = 64u << 20,
                                                  .scope_bytes_max = 8u << 20,
                                                  .supersede_interval_ns = 10 * INT64_C(1000000000)};
    MUST(publication_create(&world->publication, &world->options, &error) == 0);
}

static void publish(struct world *world)
{
    struct error error;
    MUST(publication_open(world->publication, &error) == 0);
    flush(world);
}

static void supersede(struct world *world)
{
    struct error error;
    pass_ms(10001);
    MUST(publication_supersede(world->publication, &error) == 0);
    flush(world);
}

static void close_world(struct world *world)
{
    publication_destroy(world->publication);
    for (struct proxy *proxy = world->proxies, *next; proxy; proxy = next) {
        next = proxy->next;
        drop_set(proxy);
        xylem_close(proxy->client);
        free(proxy);
    }
    ev_loop_destroy(world->loop);
    free(world->rules);
}

/* --- leaves --- */

struct leaf_text {
    char uri[80];
    char chain[2000];
    char key[200];
};

static struct scope_leaf make_leaf(struct leaf_text *text, const char *service, uint64_t version)
{
    snprintf(text->uri, sizeof text->uri, "%s%s", HARNESS_PREFIX, service);
    memset(text->chain, 'c', sizeof text->chain - 1);
    text->chain[sizeof text->chain - 1] = '\0';
    snprintf(text->key, sizeof text->key, "secret of %s, version %llu", service, (unsigned long long)version);
    return (struct scope_leaf){.uri = text->uri,
                               .serial = (const uint8_t *)"\x01\x02",
                               .serial_size = 2,
                               .chain_der = (const uint8_t *)text->chain,
                               .chain_der_size = sizeof text->chain - 1,
                               .leaf_der_size = 10,
                               .chain_pem = text->chain,
                               .key_der = (const uint8_t *)text->key,
                               .key_der_size = strlen(text->key),
                               .key_pem = text->key,
                               .not_before = 1,
                               .not_after = INT64_MAX / 4,
                               .version = version,
                               .roots_version = 7};
}

static int put_leaf(struct world *world, const char *service, uint64_t version)
{
    struct leaf_text text;
    struct error error;
    struct scope_leaf leaf = make_leaf(&text, service, version);
    int code = publication_put_leaf(world->publication, service, &leaf, &error);
    flush(world);
    return code;
}

static int add_service(struct world *world, const char *service, uid_t *users, size_t count)
{
    struct error error;
    struct config_access access = {.users = users, .user_count = count};
    int code = publication_add_service(world->publication, service, &access, UINT64_MAX, &error);
    flush(world);
    return code;
}

/* The version of the key that the proxy sees, 0 if there is none. */
static uint64_t key_version(struct proxy *proxy, const char *service)
{
    struct xylem_leaf_view view;
    char prefix[64], key[200] = "";
    xylem_read_lock(proxy->reader);
    if (xylem_leaf(proxy->reader, service, &view) == XYLEM_OK && view.key_pem.size < sizeof key)
        memcpy(key, view.key_pem.data, view.key_pem.size);
    xylem_read_unlock(proxy->reader);
    size_t size = (size_t)snprintf(prefix, sizeof prefix, "secret of %s, version ", service);
    return strncmp(key, prefix, size) == 0 ? strtoull(key + size, NULL, 10) : 0;
}

/* --- tests --- */

static void a_set_is_offered_installed_released(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    struct proxy *early = new_proxy(&world, 1001);
    attach(early);
    flush(&world);
    assert_int_equal(early->event_count, 1); /* never an empty world */
    assert_int_equal(early->events[0].what, 'W');
    assert_null(publication_reader(world.publication));
    publish(&world);
    assert_int_equal(early->sets, 1);
    uint64_t first = early->min_epoch;
    grace(&world);
    assert_int_equal(early->releases, 0); /* nothing is released before it is known to be installed */
    assert_int_equal(install(early), 0);
    assert_int_equal(early->releases, 0); /* nor before a grace period */
    grace(&world);
    assert_int_equal(early->releases, 1);
    assert_int_equal(early->events[2].value, first);
    assert_int_equal(set_rule(&world, "web", "db", POLICY_ALLOW), 0);
    assert_true(ask(early, "web", "db"));
    assert_true(harness_ask(publication_reader(world.publication), "web", "db", NULL));
    assert_int_equal(early->events[early->event_count - 1].what, 'R');
    flush(&world);
    assert_int_equal(early->events[early->event_count - 1].what, 'C');
    assert_int_equal(early->events[early->event_count - 1].value, XYLEM_CHANGED_POLICY);
    supersede(&world);
    assert_int_equal(early->sets, 2);
    assert_true(early->min_epoch > first);
    assert_int_equal(install(early), 0);
    assert_int_equal(old_regions(&world), 1);
    grace(&world);
    assert_int_equal(early->releases, 2);
    assert_int_equal(old_regions(&world), 0);
    assert_true(ask(early, "web", "db"));
    close_world(&world);
}

static void a_section_delays_release_and_reuse(void **state)
{
    struct world world;
    struct xylem_verdict verdict;
    char reason[200];
    (void)state;
    open_world(&world);
    set_rule(&world, "web", "db", POLICY_ALLOW);
    publish(&world);
    struct proxy *proxy = new_served(&world, 1001);
    xylem_read_lock(proxy->reader);
    assert_true(harness_ask(proxy->reader, "web", "db", &verdict));
    for (int i = 0; i < 50; i++)
        set_rule(&world, "web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY);
    grace(&world);
    assert_true(statistics(&world).retired_bytes > 0);
    xylem_reason(proxy->reader, &verdict, reason,
                 sizeof reason); /* reads what was replaced fifty times since */
    assert_string_equal(reason,
                        "Matched L4 intention: default/web => default/db (Precedence: 9, Action: ALLOW)");
    unsigned releases = proxy->releases;
    supersede(&world);
    assert_int_equal(install(proxy), 0);
    for (int i = 0; i < 10; i++)
        grace(&world);
    assert_int_equal(proxy->releases, releases);
    assert_int_equal(old_regions(&world), 1);
    xylem_reason(proxy->reader, &verdict, reason, sizeof reason); /* and is still mapped */
    assert_int_equal(strncmp(reason, "Matched L4", 10), 0);
    /* Nothing moves while it is held, so looking gets rarer: each look interrupts every CPU. */
    assert_true(world.publication->grace_timer.repeat > 0.05);
    xylem_read_unlock(proxy->reader);
    grace(&world);
    assert_int_equal(proxy->releases, releases + 1);
    assert_int_equal(old_regions(&world), 0);
    grace(&world);
    assert_int_equal(statistics(&world).retired_bytes, 0);
    close_world(&world);
}

static void one_set_is_under_way_at_a_time(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_proxy(&world, 1001);
    attach(proxy);
    assert_int_equal(proxy->sets, 1);
    supersede(&world);
    supersede(&world); /* on_set() would refuse a second one */
    assert_int_equal(proxy->sets, 1);
    assert_int_equal(install(proxy), 0);
    assert_int_equal(proxy->sets, 2);
    assert_int_equal(install(proxy), 0);
    flush(&world);
    assert_int_equal(proxy->sets, 2);
    assert_int_equal(proxy->client->set->policy->region_id, region_id(&world));
    publication_installed(proxy->handle, proxy->min_epoch); /* said twice: no matter */
    publication_installed(proxy->handle, 12345);
    publication_refused(proxy->handle, 12345, XYLEM_E_BUSY);
    grace(&world);
    assert_int_equal(old_regions(&world), 0);
    close_world(&world);
}

static void refused_sets_are_offered_again(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 1001);
    size_t held = proxy->handle->held.count;
    for (unsigned i = 0; i < 5; i++) {
        supersede(&world);
        beat(&world);
        assert_int_equal(proxy->sets, 2 + i);
        refuse(proxy);
        assert_int_equal(proxy->handle->held.count, held); /* what it never had, it does not pin */
        set_rule(&world, "web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY);
        flush(&world);
        beat(&world);
        assert_int_equal(proxy->sets, 2 + i); /* not at once, whatever happens meanwhile */
    }
    assert_int_equal(old_regions(&world), 1);
    pass_ms(1001);
    beat(&world);
    assert_int_equal(proxy->sets, 7);
    assert_int_equal(install(proxy), 0);
    grace(&world);
    assert_int_equal(old_regions(&world), 0);
    assert_false(ask(proxy, "web", "db"));
    close_world(&world);
}

static void a_full_region_is_superseded(void **state)
{
    struct world world;
    char source[40], target[40];
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *quick = new_served(&world, 1001);
    struct proxy *slow = new_served(&world, 1002);
    set_rule(&world, "web", "db", POLICY_ALLOW);
    uint64_t first = region_id(&world);
    uint64_t bytes = statistics(&world).region_bytes;
    uint64_t version = publication_policy_version(world.publication);
    for (unsigned i = 0; region_id(&world) == first; i++) {
        snprintf(source, sizeof source, "source-%u", i);
        snprintf(target, sizeof target, "target-%u", i / 8);
        assert_int_equal(set_rule(&world, source, i ? target : "db", POLICY_ALLOW), 0);
        assert_true(publication_policy_version(world.publication) > version);
        version = publication_policy_version(world.publication);
        grace(&world);
    }
    assert_true(statistics(&world).region_bytes > bytes);
    flush(&world);
    assert_int_equal(install(quick), 0);
    grace(&world);
    assert_int_equal(slow->client->set->policy->region_id, first);
    /* Whoever has not moved yet still hears of denials and revocations, ... */
    assert_true(ask(slow, "web", "db"));
    set_rule(&world, "web", "db", POLICY_DENY);
    assert_false(ask(slow, "web", "db"));
    assert_false(ask(quick, "web", "db"));
    assert_true(ask(slow, "source-0", "db"));
    struct error error;
    struct xylem_slice serial = {(const uint8_t *)"\x05", 1};
    world.revoked[world.revoked_count++] = 5;
    assert_int_equal(publication_revoke(world.publication, NULL, 0, serial.data, 1, 1, &error), 0);
    for (int i = 0; i < 2; i++)
        assert_false(
            xylem_authorize((i ? slow : quick)->reader, "db", HARNESS_PREFIX "source-0", &serial, NULL));
    /* ... until it has taken too long. */
    pass_ms(1000);
    beat(&world);
    assert_int_equal(why(slow), XYLEM_WHY_DEFAULT);
    pass_ms(1001);
    beat(&world);
    assert_int_equal(why(slow), XYLEM_WHY_SUPERSEDED);
    assert_false(ask(slow, "source-0", "db"));
    assert_true(ask(quick, "source-0", "db"));
    assert_int_equal(install(slow), 0);
    assert_true(ask(slow, "source-0", "db"));
    assert_false(xylem_authorize(slow->reader, "db", HARNESS_PREFIX "source-0", &serial, NULL));
    grace(&world);
    assert_int_equal(old_regions(&world), 0);
    close_world(&world);
}

/* Roots and leaves are in different regions: a leaf that comes before the client has moved needs its roots there. */
static void old_regions_get_new_roots(void **state)
{
    struct world world;
    struct xylem_roots_view roots;
    struct error error;
    const struct policy_root root = {
        .der = (const uint8_t *)"new", .der_size = 3, .pem = "NEW\n", .id = "01"};
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *slow = new_served(&world, 1001);
    supersede(&world);
    assert_int_equal(publication_set_roots(world.publication, &root, 1, 0, 9, &error), 0);
    xylem_read_lock(slow->reader);
    assert_int_equal(xylem_roots(slow->reader, &roots), 0);
    assert_int_equal(roots.version, 9);
    xylem_read_unlock(slow->reader);
    close_world(&world);
}

/* Readers that never leave fill a region with what they hold, but not the next one: it need not be larger. */
static void stuck_readers_do_not_make_regions_grow(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    publish(&world);
    uint64_t bytes = statistics(&world).region_bytes;
    uint64_t id = region_id(&world);
    unsigned superseded = 0;
    struct proxy *proxy = new_served(&world, 0);
    xylem_read_lock(proxy->reader);
    for (unsigned i = 0; i < 60000 && superseded < 3; i++) {
        assert_int_equal(set_rule(&world, "web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY), 0);
        if (i % 16 == 0)
            grace(&world);
        if (region_id(&world) == id)
            continue;
        id = region_id(&world);
        superseded++;
        serve_all(&world);
        /* It gets stuck in each new one as well. */
        struct xylem_reader *again;
        assert_int_equal(xylem_reader_open(proxy->client, &again), 0);
        xylem_read_lock(again);
    }
    assert_int_equal(superseded, 3);
    assert_int_equal(statistics(&world).region_bytes, bytes);
    close_world(&world);
}

static void a_limit_is_an_error_that_is_told(void **state)
{
    struct world world;
    struct error error;
    char source[40];
    int code = 0;
    (void)state;
    open_world(&world);
    world.options.policy_bytes_max = 700u << 10; /* no power of two: all of it is used */
    publication_set_limits(world.publication, &world.options);
    publish(&world);
    struct proxy *proxy = new_served(&world, 0);
    for (unsigned i = 0; !code && i < 15000; i++) {
        snprintf(source, sizeof source, "source-%u", i);
        code = set_rule(&world, source, "db", POLICY_ALLOW);
        if (i % 64 == 0)
            serve_all(&world);
    }
    assert_int_equal(code, ERROR_LIMIT);
    assert_int_equal(statistics(&world).region_bytes, 700u << 10);
    serve_all(&world);
    assert_true(ask(proxy, "source-0", "db")); /* verdicts go on */
    world.options.policy_bytes_max = 8u << 20;
    publication_set_limits(world.publication, &world.options);
    struct policy_change change = harness_change("one-more", "db", POLICY_ALLOW);
    assert_int_equal(publication_apply(world.publication, &change, 1, &error), 0);
    serve_all(&world);
    assert_true(ask(proxy, source, "db")); /* what could not be published is there now */
    close_world(&world);
}

static void supersedes_for_stuck_readers_are_rare(void **state)
{
    struct world world;
    struct error error;
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 0);
    xylem_read_lock(proxy->reader);
    uint64_t first = region_id(&world);
    while (statistics(&world).retired_bytes < 300u << 10)
        set_rule(&world, "web", "db", world.rules[0].action == POLICY_ALLOW ? POLICY_DENY : POLICY_ALLOW);
    assert_int_equal(region_id(&world), first);
    beat(&world);
    assert_int_equal(region_id(&world), first); /* the interval has not passed since it was made */
    assert_int_equal(publication_supersede(world.publication, &error), ERROR_BUSY);
    pass_ms(9900);
    beat(&world);
    assert_int_equal(region_id(&world), first);
    pass_ms(200);
    beat(&world);
    assert_int_not_equal(region_id(&world), first);
    uint64_t second = region_id(&world);
    serve_all(&world);
    struct xylem_reader *again;
    assert_int_equal(xylem_reader_open(proxy->client, &again), 0);
    xylem_read_lock(again);
    while (statistics(&world).retired_bytes < 300u << 10)
        set_rule(&world, "web", "db", world.rules[0].action == POLICY_ALLOW ? POLICY_DENY : POLICY_ALLOW);
    pass_ms(9900);
    beat(&world);
    assert_int_equal(region_id(&world), second);
    pass_ms(200);
    beat(&world);
    assert_int_not_equal(region_id(&world), second);
    assert_int_equal(proxy->releases, 1);
    close_world(&world);
}

static void scopes_grow_with_all_their_leaves(void **state)
{
    struct world world;
    struct xylem_leaf_view view;
    struct error error;
    uid_t users[] = {1001};
    char service[40];
    enum { SERVICES = 150 };
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 1001);
    struct proxy *stranger = new_served(&world, 1002);
    for (unsigned i = 0; i < SERVICES; i++) {
        snprintf(service, sizeof service, "service-%u", i);
        assert_int_equal(add_service(&world, service, users, 1), 0);
        assert_int_equal(put_leaf(&world, service, i + 1), 0);
        serve_all(&world);
        assert_int_equal(key_version(proxy, service), i + 1);
        assert_int_equal(key_version(proxy, "service-0"), 1);
    }
    assert_true(world.publication->scopes->region_bytes > 512u << 10);
    for (unsigned i = 0; i < SERVICES; i++) {
        snprintf(service, sizeof service, "service-%u", i);
        assert_int_equal(key_version(proxy, service), i + 1);
        assert_int_equal(key_version(stranger, service), 0);
        assert_int_equal(publication_read_leaf(world.publication, service, &view, &error), 0);
        assert_int_equal(view.version, i + 1);
    }
    assert_true(publication_is_service_held(world.publication, "service-3"));
    assert_int_equal(old_regions(&world), 0);
    /* Renewing for ever does not make it larger. */
    uint64_t bytes = world.publication->scopes->region_bytes;
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(put_leaf(&world, "service-7", 1000 + i), 0);
        grace(&world);
    }
    assert_int_equal(world.publication->scopes->region_bytes, bytes);
    assert_int_equal(key_version(proxy, "service-7"), 2999);
    /* Nor a reader that never leaves. */
    xylem_read_lock(proxy->reader);
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(put_leaf(&world, "service-7", 3000 + i), 0);
        grace(&world);
    }
    assert_true(world.publication->scopes->region_bytes <= 2 * bytes);
    xylem_read_unlock(proxy->reader);
    serve_all(&world);
    assert_int_equal(key_version(proxy, "service-7"), 4999);
    close_world(&world);
}

static void stuck_readers_do_not_make_scopes_grow(void **state)
{
    struct world world;
    uid_t users[] = {1001};
    uint64_t version = 1;
    (void)state;
    open_world(&world);
    publish(&world);
    add_service(&world, "web", users, 1);
    put_leaf(&world, "web", version);
    struct proxy *proxy = new_served(&world, 1001);
    uint64_t bytes = world.publication->scopes->region_bytes;
    for (unsigned i = 0; i < 3; i++) {
        struct xylem_reader *stuck;
        const struct scope *before = world.publication->scopes->scope;
        assert_int_equal(xylem_reader_open(proxy->client, &stuck), 0);
        xylem_read_lock(stuck);
        while (world.publication->scopes->scope == before) {
            assert_int_equal(put_leaf(&world, "web", ++version), 0);
            grace(&world);
        }
        assert_int_equal(install(proxy), 0);
        assert_int_equal(key_version(proxy, "web"), version);
    }
    assert_int_equal(world.publication->scopes->region_bytes, bytes);
    close_world(&world);
}

static bool holds(const uint8_t *memory, size_t size, const char *text)
{
    return memmem(memory, size, text, strlen(text)) != NULL;
}

static void access_moves_without_a_gap_and_the_old_region_is_wiped(void **state)
{
    struct world world;
    uid_t both[] = {1001, 1002};
    uid_t one[] = {1001};
    (void)state;
    open_world(&world);
    publish(&world);
    add_service(&world, "web", both, 2);
    add_service(&world, "db", both, 2);
    put_leaf(&world, "web", 1);
    put_leaf(&world, "db", 2);
    add_service(&world, "mail", both, 2);
    put_leaf(&world, "mail", 9);
    struct proxy *keeps = new_served(&world, 1001);
    struct proxy *loses = new_served(&world, 1002);
    assert_int_equal(key_version(loses, "web"), 1);
    /* A mapping of our own, to see what becomes of the memory. */
    struct region *region = scope_region(world.publication->scopes->scope);
    size_t size = region_header(region)->region_bytes;
    const uint8_t *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, region_fd(region), 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(add_service(&world, "web", one, 1), 1);
    assert_int_equal(key_version(keeps, "web"), 1);
    assert_int_equal(put_leaf(&world, "web", 3), 0);
    assert_int_equal(put_leaf(&world, "db", 4), 0);
    assert_int_equal(key_version(loses, "web"), 1); /* nothing more is published to the old region */
    assert_int_equal(key_version(loses, "db"), 2);
    assert_int_equal(install(loses), 0);
    assert_int_equal(key_version(loses, "web"), 0);
    assert_int_equal(key_version(loses, "db"), 4);
    assert_int_equal(key_version(loses, "mail"), 9); /* which moved with the region, untouched */
    grace(&world);
    assert_int_equal(key_version(keeps, "web"), 1); /* has not moved yet: no gap */
    xylem_read_lock(keeps->reader);
    assert_int_equal(install(keeps), 0);
    grace(&world);
    assert_true(holds(memory, size, "secret of web, version 1")); /* it is being read */
    xylem_read_unlock(keeps->reader);
    assert_int_equal(key_version(keeps, "web"), 3);
    assert_int_equal(key_version(keeps, "db"), 4);
    grace(&world);
    assert_int_equal(old_regions(&world), 0);
    assert_false(holds(memory, size, "secret"));
    munmap((void *)(uintptr_t)memory, size);
    /* The same again changes nothing. */
    assert_int_equal(add_service(&world, "web", one, 1), 0);
    assert_int_equal(keeps->count, 0);
    /* Into a region that the client has already: it is told. */
    add_service(&world, "cache", both, 2);
    put_leaf(&world, "cache", 5);
    size_t events = keeps->event_count;
    assert_int_equal(add_service(&world, "cache", one, 1), 1);
    assert_true(keeps->event_count > events);
    assert_int_equal(key_version(keeps, "cache"), 5);
    bool told = false;
    for (size_t i = events; i < keeps->event_count; i++)
        told = told || (keeps->events[i].what == 'C' && keeps->events[i].value & XYLEM_CHANGED_LEAF);
    assert_true(told);
    close_world(&world);
}

static void what_is_held_too_long_is_wiped_all_the_same(void **state)
{
    struct world world;
    uid_t users[] = {1001};
    (void)state;
    open_world(&world);
    publish(&world);
    add_service(&world, "web", users, 1);
    put_leaf(&world, "web", 1);
    struct proxy *proxy = new_served(&world, 1001);
    struct region *region = scope_region(world.publication->scopes->scope);
    size_t size = region_header(region)->region_bytes;
    const uint8_t *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, region_fd(region), 0);
    publication_remove_service(world.publication, "web");
    publication_remove_service(world.publication, "web"); /* gone already */
    flush(&world);
    xylem_read_lock(proxy->reader); /* for ever */
    pass_ms(71 * 3600 * INT64_C(1000));
    beat(&world);
    assert_int_equal(old_regions(&world), 1);
    pass_ms(2 * 3600 * INT64_C(1000));
    beat(&world);
    assert_int_equal(old_regions(&world), 0);
    assert_false(holds(memory, size, "secret"));
    munmap((void *)(uintptr_t)memory, size);
    xylem_read_unlock(proxy->reader);
    assert_int_equal(install(proxy), 0);
    grace(&world);
    close_world(&world);
}

static void doors_with_lists_hand_out_nothing_else(void **state)
{
    struct world world;
    struct error error;
    uid_t users[] = {1001};
    char *names[] = {(char *)(uintptr_t) "web"};
    const struct config_texts list = {names, 1};
    struct config_access access = {.users = users, .user_count = 1};
    (void)state;
    open_world(&world);
    publish(&world);
    assert_int_equal(publication_add_service(world.publication, "web", &access, 3, &error), 0);
    assert_int_equal(publication_add_service(world.publication, "db", &access, 1, &error), 0);
    put_leaf(&world, "web", 1);
    put_leaf(&world, "db", 2);
    struct proxy *proxy = new_proxy(&world, 1001);
    assert_int_equal(try_attach_as(proxy, -1, &list, &error), 0);
    assert_int_equal(install(proxy), 0);
    assert_int_equal(key_version(proxy, "web"), 1);
    assert_int_equal(key_version(proxy, "db"), 0);
    close_world(&world);
}

/* --- coming and going --- */

static void detach_frees_at_once(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 1001);
    supersede(&world);
    beat(&world);
    assert_int_equal(old_regions(&world), 1);
    publication_detach(proxy->handle);
    beat(&world);
    assert_int_equal(old_regions(&world), 0);
    assert_int_equal(world.publication->client_count, 0);
    close_world(&world);
}

static pid_t fork_sleeper(int *pidfd)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    MUST(pid > 0);
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    MUST(*pidfd != -1);
    return pid;
}

static void a_closed_connection_is_not_a_dead_client(void **state)
{
    struct world world;
    struct error error;
    int pidfd;
    (void)state;
    for (int connected = 0; connected < 2; connected++) {
        open_world(&world);
        publish(&world);
        pid_t pid = fork_sleeper(&pidfd);
        struct proxy *proxy = new_proxy(&world, 1001);
        assert_int_equal(try_attach_as(proxy, pidfd, NULL, &error), 0);
        assert_int_equal(install(proxy), 0);
        grace(&world);
        xylem_read_lock(proxy->reader);
        struct publication_client *handle = proxy->handle;
        if (!connected)
            disconnect(proxy);
        supersede(&world);
        drop_set(proxy);
        set_rule(&world, "web", "db", POLICY_ALLOW);
        for (int i = 0; i < 10; i++) {
            grace(&world);
            beat(&world);
        }
        assert_int_equal(old_regions(&world), 1); /* its sections count as long as it may run */
        assert_int_equal(world.publication->client_count, 1);
        kill(pid, SIGKILL);
        while (connected ? handle->reader != NULL : world.publication->clients != NULL)
            ev_run(world.loop, EVRUN_ONCE);
        beat(&world);
        assert_int_equal(old_regions(&world), 0);
        if (connected) {
            assert_int_equal(world.publication->client_count, 1);
            publication_installed(handle, proxy->min_epoch); /* the door may still have mail of it */
            publication_refused(handle, proxy->min_epoch, XYLEM_E_BUSY);
            supersede(&world);
            publication_disconnected(handle);
        }
        assert_int_equal(world.publication->client_count, 0);
        waitpid(pid, NULL, 0);
        xylem_read_unlock(proxy->reader);
        close_world(&world);
    }
}

static void reconnecting_keeps_the_sections(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    set_rule(&world, "web", "db", POLICY_ALLOW);
    publish(&world);
    struct proxy *proxy = new_served(&world, 1001);
    xylem_read_lock(proxy->reader);
    assert_true(ask(proxy, "web", "db"));
    disconnect(proxy);
    attach(proxy);
    assert_int_equal(world.publication->client_count, 1);
    assert_int_equal(proxy->handle->held.count, 1);
    assert_int_equal(install(proxy), 0);
    supersede(&world);
    assert_int_equal(install(proxy), 0);
    unsigned releases = proxy->releases;
    for (int i = 0; i < 5; i++)
        grace(&world);
    assert_int_equal(proxy->releases, releases);
    assert_int_equal(old_regions(&world), 1);
    assert_true(ask(proxy, "web", "db"));
    xylem_read_unlock(proxy->reader);
    grace(&world);
    assert_int_equal(proxy->releases, releases + 1);
    assert_int_equal(old_regions(&world), 0);
    /* The new connection may come before the end of the old one is known. */
    struct publication_client *former = proxy->handle;
    attach(proxy);
    assert_int_equal(world.publication->client_count, 2);
    assert_null(former->reader);
    publication_disconnected(former);
    assert_int_equal(world.publication->client_count, 1);
    assert_int_equal(install(proxy), 0);
    grace(&world);
    close_world(&world);
}

/* The client has installed a set, and the connection broke before it could say so. */
static void an_answer_may_be_lost(void **state)
{
    struct world world;
    struct xylem_verdict verdict;
    char reason[200];
    (void)state;
    for (int overlap = 0; overlap < 2; overlap++) {
        open_world(&world);
        set_rule(&world, "web", "db", POLICY_ALLOW);
        publish(&world);
        struct proxy *proxy = new_served(&world, 1001);
        supersede(&world);
        assert_int_equal(install_silently(proxy), 0);
        struct publication_client *former = proxy->handle;
        if (!overlap)
            publication_disconnected(former);
        xylem_read_lock(proxy->reader);
        assert_true(harness_ask(proxy->reader, "web", "db", &verdict)); /* in the set nobody knows of */
        attach(proxy);
        if (overlap)
            publication_disconnected(former);
        for (int i = 0; i < 50; i++) {
            set_rule(&world, "web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY);
            grace(&world);
        }
        assert_true(statistics(&world).retired_bytes > 0);
        xylem_reason(proxy->reader, &verdict, reason, sizeof reason);
        assert_string_equal(reason,
                            "Matched L4 intention: default/web => default/db (Precedence: 9, Action: ALLOW)");
        xylem_read_unlock(proxy->reader);
        assert_int_equal(install(proxy), 0);
        grace(&world);
        assert_int_equal(old_regions(&world), 0);
        assert_int_equal(statistics(&world).retired_bytes, 0);
        close_world(&world);
    }
}

/* The same, and the regions have been superseded once more: what the client reads is still told of changes. */
static void an_unknown_set_is_still_published_to(void **state)
{
    struct world world;
    (void)state;
    for (int overlap = 0; overlap < 2; overlap++) {
        open_world(&world);
        publish(&world);
        struct proxy *proxy = new_served(&world, 1001);
        supersede(&world);
        assert_int_equal(install_silently(proxy), 0);
        struct publication_client *former = proxy->handle;
        if (!overlap)
            publication_disconnected(former);
        supersede(&world);
        attach(proxy);
        if (overlap)
            publication_disconnected(former);
        for (int i = 0; i < 3; i++) {
            grace(&world);
            beat(&world);
        }
        assert_int_equal(why(proxy), XYLEM_WHY_DEFAULT);
        set_rule(&world, "web", "db", POLICY_ALLOW);
        assert_true(ask(proxy, "web", "db"));
        assert_int_equal(install(proxy), 0);
        grace(&world);
        assert_int_equal(old_regions(&world), 0);
        close_world(&world);
    }
}

/* A set is under way while the one before is released: it may be in use before we hear of it. */
static void an_offer_is_held_from_the_start(void **state)
{
    struct world world;
    struct xylem_verdict verdict;
    char reason[200];
    (void)state;
    open_world(&world);
    set_rule(&world, "web", "db", POLICY_ALLOW);
    publish(&world);
    struct proxy *proxy = new_proxy(&world, 1001);
    attach(proxy);
    assert_int_equal(install(proxy), 0);
    supersede(&world);
    uint64_t min_epoch = proxy->min_epoch;
    assert_int_equal(install_silently(proxy), 0);
    grace(&world);
    assert_int_equal(proxy->releases, 1);
    xylem_read_lock(proxy->reader);
    assert_true(harness_ask(proxy->reader, "web", "db", &verdict));
    for (int i = 0; i < 50; i++) {
        set_rule(&world, "web", "db", i & 1 ? POLICY_ALLOW : POLICY_DENY);
        grace(&world);
    }
    assert_true(statistics(&world).retired_bytes > 0);
    xylem_reason(proxy->reader, &verdict, reason, sizeof reason);
    assert_int_equal(strncmp(reason, "Matched L4", 10), 0);
    xylem_read_unlock(proxy->reader);
    publication_installed(proxy->handle, min_epoch);
    grace(&world);
    assert_int_equal(old_regions(&world), 0);
    close_world(&world);
}

/* A client has room for eight sets. Connections that break while a reader is in a long section use them up; it must
 * find its way back when the section has ended. */
static void lost_releases_are_made_up_for(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 0);
    xylem_read_lock(proxy->reader);
    int error = 0;
    for (unsigned i = 0; i < 2 * XYLEM_SETS_ && !error; i++) {
        disconnect(proxy);
        attach(proxy);
        error = install(proxy);
    }
    assert_int_equal(error, XYLEM_E_BUSY);
    disconnect(proxy);
    xylem_read_unlock(proxy->reader);
    grace(&world); /* nobody is there to be told */
    attach(proxy);
    refuse(proxy);
    grace(&world);
    pass_ms(1001);
    beat(&world);
    assert_int_equal(install(proxy), 0);
    grace(&world);
    unsigned mapped = 0;
    for (unsigned i = 0; i < XYLEM_SETS_; i++)
        mapped += proxy->client->sets[i].region_count != 0;
    assert_int_equal(mapped, 1);
    close_world(&world);
}

/* --- limits --- */

static void clients_are_limited(void **state)
{
    struct world world;
    struct error error;
    (void)state;
    open_world(&world);
    world.options.clients_max = 3;
    world.options.clients_per_uid_max = 2;
    publication_set_limits(world.publication, &world.options);
    publish(&world);
    struct proxy *first = new_served(&world, 1001);
    new_served(&world, 1001);
    struct proxy *third = new_proxy(&world, 1001);
    assert_int_equal(try_attach_as(third, -1, NULL, &error), ERROR_LIMIT);
    assert_non_null(strstr(error.text, "clients_per_uid"));
    new_served(&world, 1002);
    third->uid = 1003;
    assert_int_equal(try_attach_as(third, -1, NULL, &error), ERROR_LIMIT);
    assert_non_null(strstr(error.text, "limits.clients (3)"));
    attach(first); /* the same process again is no further client */
    publication_detach(first->handle);
    close_world(&world);
}

static void too_many_scopes_are_refused(void **state)
{
    struct world world;
    uid_t users[40];
    char service[20];
    (void)state;
    open_world(&world);
    publish(&world);
    users[0] = 1001;
    for (unsigned i = 1; i <= XYLEM_WIRE_REGIONS_MAX; i++) {
        users[i] = 2000 + i;
        snprintf(service, sizeof service, "service-%u", i);
        add_service(&world, service, users, i); /* each with a list of its own */
        put_leaf(&world, service, i);
    }
    struct proxy *proxy = new_proxy(&world, 1001);
    attach(proxy);
    assert_int_equal(proxy->sets, 0);
    assert_int_equal(proxy->events[proxy->event_count - 1].what, 'X');
    assert_int_equal(proxy->events[proxy->event_count - 1].value, (uint64_t)-XYLEM_E_LIMIT);
    publication_remove_service(world.publication, "service-3");
    flush(&world);
    assert_int_equal(install(proxy), 0);
    assert_int_equal(key_version(proxy, "service-4"), 4);
    close_world(&world);
}

static void stuck_readers_pin_a_limited_number_of_regions(void **state)
{
    struct world world;
    (void)state;
    open_world(&world);
    world.options.regions_per_uid_max = 3;
    publication_set_limits(world.publication, &world.options);
    publish(&world);
    struct proxy *stuck = new_served(&world, 1001);
    struct proxy *healthy = new_served(&world, 1001);
    unsigned given = 0;
    for (unsigned i = 0; i < 6; i++) {
        struct xylem_reader *reader;
        assert_int_equal(xylem_reader_open(stuck->client, &reader), 0);
        xylem_read_lock(reader);
        supersede(&world);
        beat(&world);
        given += stuck->count != 0;
        if (stuck->count)
            assert_int_equal(install(stuck), 0);
        assert_int_equal(install(healthy), 0); /* of the same uid, and not hindered */
        grace(&world);
        beat(&world);
        assert_true(old_regions(&world) <= 3);
    }
    assert_int_equal(given, 2); /* and its current one is the third */
    assert_int_equal(why(healthy), XYLEM_WHY_DEFAULT);
    pass_ms(2001);
    beat(&world);
    assert_int_equal(why(stuck), XYLEM_WHY_SUPERSEDED);
    close_world(&world);
}

static void a_thousand_clients(void **state)
{
    enum { CLIENTS = 1000 };
    struct world world;
    struct rlimit files;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    open_world(&world);
    publish(&world);
    set_rule(&world, "web", "db", POLICY_ALLOW);
    set_rule(&world, "web", "db", POLICY_REMOVE);
    uint64_t floor = statistics(&world).live_bytes;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct proxy *proxy = new_served(&world, 1000 + i);
        close(proxy->client->page_fd);
        proxy->client->page_fd = -1;
    }
    set_rule(&world, "web", "db", POLICY_ALLOW);
    supersede(&world);
    serve_all(&world);
    assert_int_equal(old_regions(&world), 0);
    for (struct proxy *proxy = world.proxies; proxy; proxy = proxy->next) {
        assert_true(ask(proxy, "web", "db"));
        assert_int_equal(proxy->sets, 2);
        assert_int_equal(proxy->releases, 2);
    }
    set_rule(&world, "web", "db", POLICY_REMOVE);
    flush(&world);
    for (struct proxy *proxy = world.proxies; proxy; proxy = proxy->next) {
        assert_false(ask(proxy, "web", "db"));
        assert_int_equal(proxy->events[proxy->event_count - 1].what, 'C');
        publication_detach(proxy->handle);
    }
    grace(&world);
    assert_true(statistics(&world).live_bytes <= floor);
    close_world(&world);
}

static void memory_returns_to_the_floor(void **state)
{
    struct world world;
    struct error error;
    char source[40], destination[40];
    (void)state;
    open_world(&world);
    publish(&world);
    struct proxy *proxy = new_served(&world, 0);
    uint64_t floor = 0;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 400; i++) {
            snprintf(source, sizeof source, "source-%u", i % 97);
            snprintf(destination, sizeof destination, "destination-%u", i);
            set_rule(&world, source, destination, POLICY_ALLOW);
            if (i % 32 == 0)
                serve_all(&world);
        }
        for (uint8_t i = 0; i < 200; i++)
            MUST(publication_revoke(world.publication, NULL, 0, &i, 1, 1, &error) == 0);
        for (uint8_t i = 0; i < 200; i++)
            MUST(publication_unrevoke(world.publication, NULL, 0, &i, 1, &error) == 0);
        while (world.rule_count) {
            struct rule last = world.rules[world.rule_count - 1];
            set_rule(&world, last.source, last.destination, POLICY_REMOVE);
            if (world.rule_count % 32 == 0)
                serve_all(&world);
        }
        serve_all(&world);
        grace(&world);
        struct region_statistics now = statistics(&world);
        assert_int_equal(now.retired_bytes, 0);
        assert_int_equal(now.leaked_bytes, 0);
        if (round == 0)
            floor = now.live_bytes;
        assert_int_equal(now.live_bytes, floor);
    }
    assert_true(floor < 8u << 10);
    assert_false(ask(proxy, "source-1", "destination-1"));
    close_world(&world);
}

static void what_is_shown_is_json(void **state)
{
    struct world world;
    uid_t users[] = {1001};
    (void)state;
    open_world(&world);
    publish(&world);
    add_service(&world, "web", users, 1);
    put_leaf(&world, "web", 1);
    new_served(&world, 1001);
    supersede(&world);
    struct json_writer writer;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    json_key(&writer, "clients");
    publication_describe_clients(world.publication, &writer);
    json_key(&writer, "regions");
    publication_describe_regions(world.publication, &writer);
    json_end_object(&writer);
    char *text = json_take(&writer, &(size_t){0});
    assert_non_null(text);
    assert_non_null(strstr(text, "\"set_under_way\":true"));
    assert_non_null(strstr(text, "\"state\":\"superseding\""));
    assert_non_null(strstr(text, "\"services\":[\"web\"]"));
    assert_null(strstr(text, "secret"));
    free(text);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_offered_installed_released),
        cmocka_unit_test(a_section_delays_release_and_reuse),
        cmocka_unit_test(one_set_is_under_way_at_a_time),
        cmocka_unit_test(refused_sets_are_offered_again),
        cmocka_unit_test(a_full_region_is_superseded),
        cmocka_unit_test(old_regions_get_new_roots),
        cmocka_unit_test(stuck_readers_do_not_make_regions_grow),
        cmocka_unit_test(a_limit_is_an_error_that_is_told),
        cmocka_unit_test(supersedes_for_stuck_readers_are_rare),
        cmocka_unit_test(scopes_grow_with_all_their_leaves),
        cmocka_unit_test(stuck_readers_do_not_make_scopes_grow),
        cmocka_unit_test(access_moves_without_a_gap_and_the_old_region_is_wiped),
        cmocka_unit_test(what_is_held_too_long_is_wiped_all_the_same),
        cmocka_unit_test(doors_with_lists_hand_out_nothing_else),
        cmocka_unit_test(detach_frees_at_once),
        cmocka_unit_test(a_closed_connection_is_not_a_dead_client),
        cmocka_unit_test(reconnecting_keeps_the_sections),
        cmocka_unit_test(an_answer_may_be_lost),
        cmocka_unit_test(an_unknown_set_is_still_published_to),
        cmocka_unit_test(an_offer_is_held_from_the_start),
        cmocka_unit_test(lost_releases_are_made_up_for),
        cmocka_unit_test(clients_are_limited),
        cmocka_unit_test(too_many_scopes_are_refused),
        cmocka_unit_test(stuck_readers_pin_a_limited_number_of_regions),
        cmocka_unit_test(a_thousand_clients),
        cmocka_unit_test(memory_returns_to_the_floor),
        cmocka_unit_test(what_is_shown_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

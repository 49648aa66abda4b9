/* SPDX-License-Identifier: MIT */
/* The regions: what is current, what was superseded, and when it goes. */
#include "agent/core/publication_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <xylem/xylem.h>

#include "agent/log.h"

/* A generation is at least a second: room for a million changes in each. */
#define GENERATION_BITS    20u
#define POLICY_BYTES_FIRST (512u * 1024u)
#define SCOPE_BYTES_FIRST  (64u * 1024u)
#define BEAT_SEC           0.1
#define GRACE_SEC          0.005
#define GRACE_SEC_MAX      0.1
#define SILENCE_SEC        2.0           /* how long a superseded region is still told of changes */
#define SCOPE_GRAVE_SEC    (72.0 * 3600) /* then an old scope is wiped, held or not */
#define STUCK_SEC          5.0

static uint64_t boottime_ns(void)
{
    return xylem_now_ns_(CLOCK_BOOTTIME);
}

ev_tstamp publication_now(void)
{
    return (double)xylem_now_ns_(CLOCK_MONOTONIC) / 1e9;
}

static int fail(struct error *error, int code, const char *what)
{
    if (code == -ENOSPC)
        return error_set(
            error, ERROR_LIMIT,
            "%s: the shared-memory region has reached its limit; raise limits.*_region_bytes_max", what);
    if (code == -EINVAL)
        return error_set(error, ERROR_INVALID, "%s: a name or value cannot be published", what);
    errno = -code;
    return error_errno(error, "%s", what);
}

static uint64_t region_bytes(const struct region *region)
{
    return region_header(region)->region_bytes;
}

/* --- who has to know --- */

static void mark(struct publication *publication, uint32_t what, const struct region *region)
{
    for (struct publication_client *client = publication->clients; client; client = client->next)
        if (!region || client_holds(client, region))
            client->dirty |= what;
    publication->dirty = true;
}

static void want_sets(struct publication *publication)
{
    for (struct publication_client *client = publication->clients; client; client = client->next)
        client->wants_set = true;
    publication->dirty = true;
}

/* The main thread's own reader takes a new set at once: it is never inside a section here. */
static void install_locally(struct publication *publication)
{
    struct region *region = policy_region(publication->policy);
    int fd = region_fd(region);
    uint64_t size = region_bytes(region);
    uint64_t min_epoch = grace_raise(publication->grace);
    if (grace_reader_use(publication->local_grace, region) != 0 ||
        xylem_install_(publication->local, min_epoch, &fd, &size, 1) != XYLEM_OK) {
        /* It goes on with the old region, which denies everything once it is silenced. */
        log_error(log_message("the agent itself cannot map its new policy region"));
        return;
    }
    xylem_release_(publication->local, min_epoch);
    for (size_t i = 0; i < publication->local_held.count; i++)
        grace_reader_unuse(publication->local_grace, publication->local_held.regions[i]);
    publication->local_held.count = 0;
    region_list_add(&publication->local_held, region);
}

static int create_local_reader(struct publication *publication)
{
    if (xylem_new_(&publication->local, 16, XYLEM_OPEN_NO_COUNTERS) != XYLEM_OK ||
        xylem_reader_open(publication->local, &publication->local_reader) != XYLEM_OK)
        return -ENOMEM;
    return grace_reader_create(publication->grace, publication->local->page_fd,
                               publication->local->slot_capacity, &publication->local_grace);
}

/* --- superseding --- */

static bool bury(struct publication *publication, struct policy *policy, struct scope *scope)
{
    struct old_region *old = calloc(1, sizeof *old);
    if (!old)
        return false;
    old->policy = policy;
    old->scope = scope;
    old->since = publication_now();
    old->next = publication->old;
    publication->old = old;
    return true;
}

static void silence(struct old_region *old)
{
    if (old->policy && !old->silent)
        policy_supersede(old->policy);
    old->silent = true;
}

/* A policy region that holds the whole model, of `bytes` or as much larger as it has to be. */
static int build_policy(struct publication *publication, uint64_t bytes, struct policy **out)
{
    uint64_t version = publication->policy ? policy_version(publication->policy)
                                           : publication->options.generation << GENERATION_BITS;
    for (;; bytes *= 2) {
        if (bytes > publication->options.policy_bytes_max)
            bytes = publication->options.policy_bytes_max;
        int code = policy_create(out, publication->grace, bytes, publication->next_region_id++,
                                 publication->hash_seed, version);
        if (!code)
            code = publication->options.fill(publication->options.model, *out);
        if (!code) {
            publication->policy_bytes = bytes;
            return 0;
        }
        policy_destroy(*out);
        *out = NULL;
        if (code != -ENOSPC || bytes == publication->options.policy_bytes_max)
            return code;
    }
}

/* For a region that is full. Where little of it is alive, readers that never leave hold the rest: they do not hold the
 * next one, which therefore need not be larger. Else one hostile reader could drive regions to their limit. */
static uint64_t next_policy_bytes(const struct publication *publication)
{
    struct region_statistics statistics;
    region_statistics(policy_region(publication->policy), &statistics);
    return statistics.live_bytes > statistics.region_bytes / 2 ? publication->policy_bytes * 2
                                                               : publication->policy_bytes;
}

static int supersede_policy(struct publication *publication, uint64_t bytes)
{
    struct policy *fresh = NULL;
    int code = build_policy(publication, bytes, &fresh);
    if (code)
        return code;
    if (publication->policy && !bury(publication, publication->policy, NULL)) {
        policy_destroy(fresh);
        return -ENOMEM;
    }
    publication->policy = fresh;
    publication->superseded_at = publication_now();
    policy_heartbeat(fresh, boottime_ns());
    policy_upstream_contact(fresh, publication->contact_ns);
    install_locally(publication);
    want_sets(publication);
    log_info(log_message("policy region built"), log_u64("bytes", publication->policy_bytes),
             log_u64("version", policy_version(fresh)));
    return 0;
}

/* Nearly full and not for want of a grace period: grow now, while the old region has room for denials. */
static void grow_ahead(struct publication *publication)
{
    struct region_statistics statistics;
    struct region *region = policy_region(publication->policy);
    region_statistics(region, &statistics);
    if (region_has_room(region, statistics.region_bytes / 16) ||
        statistics.live_bytes < statistics.region_bytes / 4 * 3 ||
        publication->policy_bytes * 2 > publication->options.policy_bytes_max)
        return;
    supersede_policy(publication, publication->policy_bytes * 2);
}

/* A reader that never leaves its section keeps memory from being used again: move everybody else away from it. */
static void leave_stuck_readers_behind(struct publication *publication)
{
    struct region_statistics statistics;
    region_statistics(policy_region(publication->policy), &statistics);
    ev_tstamp now = publication_now();
    double interval = (double)publication->options.supersede_interval_ns / 1e9;
    if (statistics.retired_bytes < statistics.live_bytes / 2 + 256 * 1024 ||
        now - publication->superseded_at < (interval > STUCK_SEC ? interval : STUCK_SEC))
        return;
    log_warning(log_message("a reader is stuck in a section; superseding the policy region"),
                log_u64("retired_bytes", statistics.retired_bytes));
    publication->superseded_at = now; /* also if it fails: the next try is as far away */
    supersede_policy(publication, publication->policy_bytes);
}

static bool is_held(const struct publication *publication, const struct region *region)
{
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        if (client_holds(client, region))
            return true;
    return region_list_has(&publication->local_held, region);
}

static void forget_region(struct publication *publication, struct region *region)
{
    for (struct publication_client *client = publication->clients; client; client = client->next) {
        struct region_list *lists[] = {&client->held, &client->current, &client->offer, &client->added};
        for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
            for (size_t i = 0; i < lists[l]->count; i++)
                if (lists[l]->regions[i] == region)
                    lists[l]->regions[i--] = lists[l]->regions[--lists[l]->count];
    }
}

/* Frees superseded regions that nobody holds; silences and wipes those whose time is up. */
void publication_collect(struct publication *publication)
{
    ev_tstamp now = publication_now();
    for (struct old_region **link = &publication->old; *link;) {
        struct old_region *old = *link;
        struct region *region = old->policy ? policy_region(old->policy) : scope_region(old->scope);
        if (now - old->since > SILENCE_SEC)
            silence(old);
        bool overdue = old->scope && now - old->since > SCOPE_GRAVE_SEC;
        if (is_held(publication, region) && !overdue) {
            link = &old->next;
            continue;
        }
        silence(old); /* whoever has it mapped for no reason that we know must not take it for current */
        forget_region(publication, region);
        *link = old->next;
        policy_destroy(old->policy);
        scope_destroy(old->scope);
        free(old);
    }
}

/* --- timers --- */

static bool needs_grace(const struct publication *publication)
{
    if (publication->policy && region_has_retired(policy_region(publication->policy)))
        return true;
    for (const struct scope_entry *entry = publication->scopes; entry; entry = entry->next)
        if (entry->scope && region_has_retired(scope_region(entry->scope)))
            return true;
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        if (client->release_after)
            return true;
    return false;
}

/* How much waits for readers to leave. */
static uint64_t count_waiting(const struct publication *publication)
{
    struct region_statistics statistics = {0};
    uint64_t waiting = 0;
    if (publication->policy) {
        region_statistics(policy_region(publication->policy), &statistics);
        waiting += statistics.retired_bytes;
    }
    for (const struct scope_entry *entry = publication->scopes; entry; entry = entry->next)
        if (entry->scope) {
            region_statistics(scope_region(entry->scope), &statistics);
            waiting += statistics.retired_bytes;
        }
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        waiting += client->release_after != 0;
    return waiting;
}

static void on_grace(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct publication *publication = timer->data;
    uint64_t before = count_waiting(publication);
    grace_advance(publication->grace);
    for (struct publication_client *client = publication->clients; client; client = client->next)
        client_try_release(client);
    publication_collect(publication);
    if (!needs_grace(publication)) {
        ev_timer_stop(loop, timer);
        return;
    }
    /* Each round interrupts every CPU that runs a client: not often while somebody holds everything up. */
    bool stuck = count_waiting(publication) >= before;
    timer->repeat =
        stuck ? (timer->repeat * 2 < GRACE_SEC_MAX ? timer->repeat * 2 : GRACE_SEC_MAX) : GRACE_SEC;
    ev_timer_again(loop, timer);
}

static void on_beat(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct publication *publication = timer->data;
    uint64_t now_ns = boottime_ns();
    if (!publication->policy)
        return;
    policy_heartbeat(publication->policy, now_ns);
    for (struct old_region *old = publication->old; old; old = old->next)
        if (old->policy && !old->silent)
            policy_heartbeat(old->policy, now_ns);
    publication_collect(publication);
    leave_stuck_readers_behind(publication);
    for (struct publication_client *client = publication->clients; client; client = client->next)
        if (client->retry_at > 0 && client->retry_at <= publication_now())
            client_offer(client);
}

/* Before the loop sleeps: everything that this turn has changed goes out, each client told once. */
static void on_flush(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)events;
    struct publication *publication = prepare->data;
    if (publication->dirty) {
        publication->dirty = false;
        struct publication_client *next;
        for (struct publication_client *client = publication->clients; client; client = next) {
            next = client->next;
            client_flush(client);
        }
    }
    if (!ev_is_active(&publication->grace_timer) && needs_grace(publication)) {
        publication->grace_timer.repeat = GRACE_SEC;
        ev_timer_again(loop, &publication->grace_timer);
    }
}

/* --- life --- */

int publication_create(struct publication **out, const struct publication_options *options,
                       struct error *error)
{
    struct publication *publication = calloc(1, sizeof *publication);
    if (!publication)
        return error_errno(error, "publication");
    publication->options = *options;
    publication->policy_bytes = POLICY_BYTES_FIRST;
    publication->next_region_id = (options->generation << 32) + 1;
    int code = grace_create(&publication->grace, grace_first_epoch());
    if (!code && getrandom(&publication->hash_seed, sizeof publication->hash_seed, 0) == -1)
        code = -errno;
    if (!code)
        code = create_local_reader(publication);
    if (code) {
        publication_destroy(publication);
        return fail(error, code, "shared memory");
    }
    if (!grace_has_membarrier(publication->grace))
        log_warning(
            log_message("membarrier is not available (old kernel or seccomp): every reader has to fence"));
    ev_timer_init(&publication->beat, on_beat, 0.0, BEAT_SEC);
    ev_timer_init(&publication->grace_timer, on_grace, 0.0, GRACE_SEC);
    ev_prepare_init(&publication->flush, on_flush);
    publication->beat.data = publication->grace_timer.data = publication->flush.data = publication;
    ev_timer_again(options->loop, &publication->beat);
    ev_prepare_start(options->loop, &publication->flush);
    *out = publication;
    return 0;
}

static void free_scope_entry(struct scope_entry *entry)
{
    scope_destroy(entry->scope);
    for (size_t i = 0; i < entry->service_count; i++)
        free(entry->services[i]);
    free(entry->services);
    free(entry->access.users);
    free(entry->access.groups);
    free(entry);
}

void publication_destroy(struct publication *publication)
{
    if (!publication)
        return;
    ev_timer_stop(publication->options.loop, &publication->beat);
    ev_timer_stop(publication->options.loop, &publication->grace_timer);
    ev_prepare_stop(publication->options.loop, &publication->flush);
    while (publication->clients)
        client_free(publication->clients);
    if (publication->local)
        xylem_free_(publication->local);
    while (publication->old) {
        struct old_region *old = publication->old;
        publication->old = old->next;
        policy_destroy(old->policy);
        scope_destroy(old->scope);
        free(old);
    }
    while (publication->scopes) {
        struct scope_entry *entry = publication->scopes;
        publication->scopes = entry->next;
        free_scope_entry(entry);
    }
    policy_destroy(publication->policy);
    grace_destroy(publication->grace);
    free(publication);
}

void publication_set_limits(struct publication *publication, const struct publication_options *options)
{
    publication->options.clients_max = options->clients_max;
    publication->options.clients_per_uid_max = options->clients_per_uid_max;
    publication->options.policy_bytes_max = options->policy_bytes_max;
    publication->options.scope_bytes_max = options->scope_bytes_max;
    publication->options.supersede_interval_ns = options->supersede_interval_ns;
    publication->options.regions_per_uid_max = options->regions_per_uid_max;
}

int publication_open(struct publication *publication, struct error *error)
{
    int code = publication->policy ? 0 : supersede_policy(publication, publication->policy_bytes);
    return code ? fail(error, code, "policy region") : 0;
}

int publication_supersede(struct publication *publication, struct error *error)
{
    ev_tstamp now = publication_now();
    if (!publication->policy ||
        now - publication->superseded_at < (double)publication->options.supersede_interval_ns / 1e9)
        return error_set(error, ERROR_BUSY,
                         "regions were superseded less than limits.supersede_interval ago");
    int code = supersede_policy(publication, publication->policy_bytes);
    return code ? fail(error, code, "policy region") : 0;
}

/* --- policy --- */

/* A change that the current region had no room for is in the model already, so a new region brings it. */
static int finish(struct publication *publication, int code, uint32_t what, struct error *error,
                  const char *subject)
{
    if (code == -ENOSPC)
        code = supersede_policy(publication, next_policy_bytes(publication));
    else if (!code)
        grow_ahead(publication);
    if (code)
        return fail(error, code, subject);
    mark(publication, what, NULL);
    return 0;
}

int publication_apply(struct publication *publication, const struct policy_change *changes, size_t count,
                      struct error *error)
{
    if (!publication->policy)
        return 0;
    /* Old regions first: whoever still reads there must not be the last to hear of a denial. */
    for (struct old_region *old = publication->old; old; old = old->next)
        if (old->policy && !old->silent && policy_apply(old->policy, changes, count) != 0)
            silence(old);
    return finish(publication, policy_apply(publication->policy, changes, count), XYLEM_CHANGED_POLICY, error,
                  "intentions");
}

int publication_revoke(struct publication *publication, const uint8_t *issuer_key_id, size_t issuer_size,
                       const uint8_t *serial, size_t serial_size, uint32_t reason, struct error *error)
{
    if (!publication->policy)
        return 0;
    for (struct old_region *old = publication->old; old; old = old->next)
        if (old->policy && !old->silent &&
            policy_revoke(old->policy, issuer_key_id, issuer_size, serial, serial_size, reason) != 0)
            silence(old);
    return finish(publication,
                  policy_revoke(publication->policy, issuer_key_id, issuer_size, serial, serial_size, reason),
                  XYLEM_CHANGED_POLICY, error, "revocation");
}

int publication_unrevoke(struct publication *publication, const uint8_t *issuer_key_id, size_t issuer_size,
                         const uint8_t *serial, size_t serial_size, struct error *error)
{
    if (!publication->policy)
        return 0; /* an old region that goes on denying does no harm */
    return finish(publication,
                  policy_unrevoke(publication->policy, issuer_key_id, issuer_size, serial, serial_size),
                  XYLEM_CHANGED_POLICY, error, "revocation");
}

int publication_set_roots(struct publication *publication, const struct policy_root *roots, size_t count,
                          size_t active, uint64_t version, struct error *error)
{
    if (!publication->policy)
        return 0;
    /* Leaves are shared with clients that have not moved yet: they need the roots of a new one, too. */
    for (struct old_region *old = publication->old; old; old = old->next)
        if (old->policy && !old->silent && policy_set_roots(old->policy, roots, count, active, version) != 0)
            silence(old);
    return finish(publication, policy_set_roots(publication->policy, roots, count, active, version),
                  XYLEM_CHANGED_ROOTS, error, "roots");
}

int publication_set_default(struct publication *publication, bool allow, struct error *error)
{
    (void)error;
    if (!publication->policy)
        return 0;
    for (struct old_region *old = publication->old; old; old = old->next)
        if (old->policy && !old->silent)
            policy_set_default(old->policy, allow);
    policy_set_default(publication->policy, allow);
    mark(publication, XYLEM_CHANGED_POLICY, NULL);
    return 0;
}

int publication_set_identities(struct publication *publication, const char *trust_domain,
                               const char *datacenter, const char *const *patterns, size_t pattern_count,
                               struct error *error)
{
    if (!publication->policy)
        return 0;
    for (struct old_region *old = publication->old; old; old = old->next)
        silence(old);
    return finish(publication,
                  policy_set_identities(publication->policy, trust_domain, datacenter, patterns,
                                        pattern_count),
                  XYLEM_CHANGED_POLICY, error, "identity patterns");
}

void publication_contact(struct publication *publication)
{
    publication->contact_ns = boottime_ns();
    if (publication->policy)
        policy_upstream_contact(publication->policy, publication->contact_ns);
}

uint64_t publication_policy_version(const struct publication *publication)
{
    return publication->policy ? policy_version(publication->policy) : 0;
}

struct xylem_reader *publication_reader(struct publication *publication)
{
    return publication->policy ? publication->local_reader : NULL;
}

/* --- leaves --- */

static bool same_access(const struct config_access *a, const struct config_access *b)
{
    return a->user_count == b->user_count && a->group_count == b->group_count &&
           (a->user_count == 0 || memcmp(a->users, b->users, a->user_count * sizeof *a->users) == 0) &&
           (a->group_count == 0 || memcmp(a->groups, b->groups, a->group_count * sizeof *a->groups) == 0);
}

static struct scope_entry *find_entry(const struct publication *publication, const char *service,
                                      size_t *index)
{
    for (struct scope_entry *entry = publication->scopes; entry; entry = entry->next)
        for (size_t i = 0; i < entry->service_count; i++)
            if (strcmp(entry->services[i], service) == 0) {
                *index = i;
                return entry;
            }
    return NULL;
}

static bool copy_access(struct config_access *to, const struct config_access *from)
{
    to->users = malloc(from->user_count * sizeof *to->users + 1);
    to->groups = malloc(from->group_count * sizeof *to->groups + 1);
    if (!to->users || !to->groups)
        return false;
    if (from->user_count)
        memcpy(to->users, from->users, from->user_count * sizeof *to->users);
    if (from->group_count)
        memcpy(to->groups, from->groups, from->group_count * sizeof *to->groups);
    to->user_count = from->user_count;
    to->group_count = from->group_count;
    return true;
}

static struct scope_entry *entry_for(struct publication *publication, const struct config_access *access,
                                     uint64_t doors)
{
    for (struct scope_entry *entry = publication->scopes; entry; entry = entry->next)
        if (entry->doors == doors && same_access(&entry->access, access))
            return entry;
    struct scope_entry *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->doors = doors;
    made->region_bytes = SCOPE_BYTES_FIRST;
    if (!copy_access(&made->access, access)) {
        free_scope_entry(made);
        return NULL;
    }
    made->next = publication->scopes;
    publication->scopes = made;
    return made;
}

static bool add_name(struct scope_entry *entry, const char *service)
{
    char **grown = realloc(entry->services, (entry->service_count + 1) * sizeof *grown);
    char *name = strdup(service);
    if (grown)
        entry->services = grown;
    if (!grown || !name) {
        free(name);
        return false;
    }
    entry->services[entry->service_count++] = name;
    return true;
}

/* As next_policy_bytes(). A fresh copy has retired next to nothing, so when that is full, too, it is doubled. */
static uint64_t next_scope_bytes(const struct scope_entry *entry)
{
    struct region_statistics statistics;
    region_statistics(scope_region(entry->scope), &statistics);
    return statistics.retired_bytes > statistics.region_bytes / 2 ? entry->region_bytes
                                                                  : entry->region_bytes * 2;
}

static int grow_scope(struct publication *publication, struct scope_entry *entry)
{
    struct scope *fresh;
    uint64_t bytes = entry->scope ? next_scope_bytes(entry) : entry->region_bytes;
    if (bytes > publication->options.scope_bytes_max)
        return -ENOSPC;
    int code = scope_create(&fresh, publication->grace, bytes, publication->next_region_id++,
                            publication->hash_seed);
    if (code)
        return code;
    for (size_t i = 0; entry->scope && i < entry->service_count && !code; i++)
        code = scope_copy_leaf(fresh, entry->scope, entry->services[i]);
    if (!code && entry->scope && !bury(publication, NULL, entry->scope))
        code = -ENOMEM;
    if (code) {
        scope_destroy(fresh);
        return code;
    }
    struct region_statistics statistics;
    region_statistics(scope_region(fresh), &statistics);
    if (!statistics.locked) {
        static struct log_limit limit = LOG_LIMIT(1, 1);
        uint64_t suppressed;
        if (log_limit_allow(&limit, &suppressed))
            log_warning(log_message("keys are not locked in memory: raise LimitMEMLOCK (ulimit -l)"));
    }
    entry->scope = fresh;
    entry->region_bytes = bytes;
    want_sets(publication);
    return 0;
}

/* Nothing more is published there, and whoever still may have the other services of it moves to a new region. */
static void abandon(struct publication *publication, struct scope_entry *entry)
{
    struct scope *fresh = NULL;
    if (!entry->scope)
        return;
    if (entry->service_count > 0) {
        if (scope_create(&fresh, publication->grace, entry->region_bytes, publication->next_region_id++,
                         publication->hash_seed) != 0)
            fresh = NULL;
        for (size_t i = 0; fresh && i < entry->service_count; i++)
            scope_copy_leaf(fresh, entry->scope, entry->services[i]);
    }
    if (bury(publication, NULL, entry->scope))
        entry->scope = fresh;
    else
        scope_destroy(fresh);
    want_sets(publication);
}

/* Those who keep access go on with the leaf that there is, until the new one replaces it. */
static int carry_leaf(struct publication *publication, struct scope_entry *to, const struct scope_entry *from,
                      const char *service)
{
    if (!from->scope)
        return 0;
    int code = to->scope ? 0 : grow_scope(publication, to);
    while (!code && (code = scope_copy_leaf(to->scope, from->scope, service)) == -ENOSPC)
        code = grow_scope(publication, to);
    if (!code)
        mark(publication, XYLEM_CHANGED_LEAF, scope_region(to->scope));
    return code;
}

int publication_add_service(struct publication *publication, const char *service,
                            const struct config_access *access, uint64_t doors, struct error *error)
{
    size_t index;
    struct scope_entry *old = find_entry(publication, service, &index);
    if (old && old->doors == doors && same_access(&old->access, access))
        return 0;
    struct scope_entry *entry = entry_for(publication, access, doors);
    if (!entry || !add_name(entry, service))
        return error_set(error, ERROR_SYSTEM, "service \"%s\": no memory", service);
    if (!old)
        return 0;
    int code = carry_leaf(publication, entry, old, service);
    if (code)
        log_warning(log_message("leaf could not be carried over; there is none until the new one"),
                    log_text("service", service));
    free(old->services[index]);
    old->services[index] = old->services[--old->service_count];
    abandon(publication, old);
    return 1;
}

void publication_remove_service(struct publication *publication, const char *service)
{
    size_t index;
    struct scope_entry *entry = find_entry(publication, service, &index);
    if (!entry)
        return;
    free(entry->services[index]);
    entry->services[index] = entry->services[--entry->service_count];
    if (entry->scope)
        scope_remove_leaf(entry->scope, service);
    abandon(publication, entry);
}

int publication_put_leaf(struct publication *publication, const char *service, const struct scope_leaf *leaf,
                         struct error *error)
{
    size_t index;
    struct scope_entry *entry = find_entry(publication, service, &index);
    if (!entry)
        return error_set(error, ERROR_NOT_FOUND, "service \"%s\" is not registered for publication", service);
    int code = entry->scope ? 0 : grow_scope(publication, entry);
    while (!code && (code = scope_put_leaf(entry->scope, service, leaf)) == -ENOSPC)
        code = grow_scope(publication, entry);
    if (code)
        return fail(error, code, service);
    mark(publication, XYLEM_CHANGED_LEAF, scope_region(entry->scope));
    return 0;
}

int publication_read_leaf(void *argument, const char *service, struct xylem_leaf_view *leaf,
                          struct error *error)
{
    const struct publication *publication = argument;
    size_t index;
    size_t size = strlen(service);
    const struct scope_entry *entry = find_entry(publication, service, &index);
    if (entry && entry->scope && size <= XYLEM_NAME_MAX) {
        const struct xylem_region_header *header = region_header(scope_region(entry->scope));
        uint64_t hash = xylem_hash(header->hash_seed, 0, (const uint8_t *)service, size);
        const struct xylem_anchor *anchor =
            xylem_find_(header, header->leaves, hash, 0, (const uint8_t *)service, size);
        if (xylem_view_leaf_(header, anchor, leaf) == XYLEM_OK)
            return 0;
    }
    return error_set(error, ERROR_NOT_FOUND, "there is no leaf for service \"%s\" on this node", service);
}

bool publication_is_service_held(const struct publication *publication, const char *service)
{
    size_t index;
    const struct scope_entry *entry = find_entry(publication, service, &index);
    return entry && entry->scope && is_held(publication, scope_region(entry->scope));
}

const struct config_access *publication_service_access(const struct publication *publication,
                                                       const char *service)
{
    size_t index;
    const struct scope_entry *entry = find_entry(publication, service, &index);
    return entry ? &entry->access : NULL;
}

void publication_each_page(struct publication *publication,
                           void (*visit)(void *context, uint64_t client_id,
                                         const struct xylem_reader_page *page, uint32_t slot_capacity),
                           void *context)
{
    for (struct publication_client *client = publication->clients; client; client = client->next) {
        uint32_t capacity;
        if (!client->reader)
            continue;
        const struct xylem_reader_page *page = grace_reader_page(client->reader, &capacity);
        visit(context, client->id, page, capacity);
    }
}

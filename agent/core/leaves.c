/* SPDX-License-Identifier: MIT */
#include "agent/core/leaves_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "agent/audit.h"
#include "agent/core/model.h"
#include "agent/log.h"

#define ROOT_CHANGE_SPREAD_SEC 30
#define SHORT_LIFE_SEC         600 /* shorter lives are renewed halfway: Consul's windows would be seconds */
#define RETRY_MAX_SEC          60
#define UNDER_WAY_MAX          64 /* renewals at once, so that a root change is no storm */

static int64_t now_sec(void)
{
    return (int64_t)time(NULL);
}

/* Uniform enough below 2^32. */
static int64_t random_below(int64_t limit)
{
    uint64_t value = 0;
    if (limit <= 0 || getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        return 0;
    return (int64_t)(value % (uint64_t)limit);
}

/* Consul's soft window: a random instant between 60 % and 90 % of the life. */
static int64_t choose_renewal(int64_t not_before, int64_t not_after)
{
    int64_t life = not_after - not_before;
    if (life < SHORT_LIFE_SEC)
        return not_before + life / 2;
    return not_before + life * 6 / 10 + random_below(life * 3 / 10);
}

/* --- names --- */

static bool is_plain(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f || text[i] == '*')
            return false;
    return size > 0 && size <= XYLEM_NAME_MAX;
}

static char *make_path(const char *partition, const char *namespace_name, const char *name)
{
    char *path = NULL;
    int size;
    if (strcmp(partition, "default") != 0)
        size = asprintf(&path, "%s/%s/%s", partition, namespace_name, name);
    else if (strcmp(namespace_name, "default") != 0)
        size = asprintf(&path, "%s/%s", namespace_name, name);
    else
        size = asprintf(&path, "%s", name);
    return size < 0 ? NULL : path;
}

static struct leaf *find(const struct leaves *leaves, const char *service)
{
    for (struct leaf *leaf = leaves->list; leaf; leaf = leaf->next)
        if (!leaf->gone && strcmp(leaf->service, service) == 0)
            return leaf;
    return NULL;
}

static bool copy_texts(struct config_texts *to, const struct config_texts *from)
{
    to->count = 0;
    to->items = calloc(from->count + 1, sizeof *to->items);
    if (!to->items)
        return false;
    for (; to->count < from->count; to->count++) {
        to->items[to->count] = strdup(from->items[to->count]);
        if (!to->items[to->count])
            return false;
    }
    return true;
}

static bool same_texts(const struct config_texts *a, const struct config_texts *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

static void free_leaf(struct leaf *leaf)
{
    source_leaf_free(leaf->loaded);
    source_leaf_free(leaf->made);
    config_texts_free(&leaf->dns);
    config_texts_free(&leaf->ip);
    free(leaf->service);
    free(leaf->name);
    free(leaf->namespace_name);
    free(leaf->partition);
    free(leaf->uri);
    free(leaf);
}

static struct leaf *make_leaf(struct leaves *leaves, const char *partition, const char *namespace_name,
                              const char *name)
{
    struct leaf *leaf = calloc(1, sizeof *leaf);
    if (!leaf)
        return NULL;
    leaf->owner = leaves;
    leaf->service = make_path(partition, namespace_name, name);
    leaf->name = strdup(name);
    leaf->namespace_name = strdup(namespace_name);
    leaf->partition = strdup(partition);
    if (!leaf->service || !leaf->name || !leaf->namespace_name || !leaf->partition) {
        free_leaf(leaf);
        return NULL;
    }
    leaf->info.service = leaf->service;
    leaf->info.last_error = leaf->last_error;
    leaf->info.uri = "";
    leaf->info.serial = leaf->serial;
    leaf->info.issuer_key_id = leaf->issuer_key_id;
    leaf->last_used = now_sec();
    leaf->next = leaves->list;
    leaves->list = leaf;
    leaves->count++;
    return leaf;
}

static void unlink_leaf(struct leaf *leaf)
{
    struct leaf **link = &leaf->owner->list;
    while (*link != leaf)
        link = &(*link)->next;
    *link = leaf->next;
    leaf->owner->count--;
    free_leaf(leaf);
}

/* --- what a leaf is now --- */

static bool is_of_present_roots(const struct leaf *leaf)
{
    struct identity_source *identity =
        leaf->owner->identity; /* NULL while loading: leaves_start() asks again */
    return !identity ||
           identity->ops->leaf_is_current(identity, leaf->issuer_key_id, leaf->info.issuer_key_id_size);
}

static void set_info(struct leaf *leaf, const struct source_leaf *made, uint64_t index)
{
    char *uri = strdup(made->uri);
    if (uri) {
        free(leaf->uri);
        leaf->uri = uri;
        leaf->info.uri = uri;
    }
    leaf->info.serial_size =
        made->serial_size < sizeof leaf->serial ? made->serial_size : sizeof leaf->serial;
    memcpy(leaf->serial, made->serial, leaf->info.serial_size);
    leaf->info.issuer_key_id_size = made->issuer_key_id_size < sizeof leaf->issuer_key_id
                                        ? made->issuer_key_id_size
                                        : sizeof leaf->issuer_key_id;
    memcpy(leaf->issuer_key_id, made->issuer_key_id, leaf->info.issuer_key_id_size);
    leaf->info.not_before = made->not_before;
    leaf->info.not_after = made->not_after;
    leaf->info.renew_at = choose_renewal(made->not_before, made->not_after);
    leaf->info.version = index;
    leaf->info.index = index;
    leaf->info.failures = 0;
    leaf->last_error[0] = '\0';
    leaf->retry_at = 0;
    /* Roots and names may have changed while it was under way. */
    leaf->current = !leaf->outdated && is_of_present_roots(leaf);
}

static int publish(struct leaf *leaf, const struct source_leaf *made, uint64_t index, struct error *error)
{
    struct scope_leaf scope_leaf = {
        .uri = made->uri,
        .serial = made->serial,
        .serial_size = made->serial_size,
        .chain_der = made->chain_der,
        .chain_der_size = made->chain_der_size,
        .leaf_der_size = made->leaf_der_size,
        .chain_pem = made->chain_pem,
        .key_der = made->key_der,
        .key_der_size = made->key_der_size,
        .key_pem = made->key_pem,
        .not_before = made->not_before,
        .not_after = made->not_after,
        .version = index,
        .roots_version = made->roots_index,
    };
    return publication_put_leaf(leaf->owner->setup.publication, leaf->service, &scope_leaf, error);
}

/* --- issuing --- */

static void note_failure(struct leaf *leaf, const struct error *error)
{
    int64_t span = (int64_t)1 << (leaf->info.failures < 6 ? leaf->info.failures : 6);
    if (span > RETRY_MAX_SEC)
        span = RETRY_MAX_SEC;
    leaf->info.failures++;
    leaf->retry_at = now_sec() + 1 + random_below(span);
    snprintf(leaf->last_error, sizeof leaf->last_error, "%s", error ? error->text : "unknown");
    log_warning(log_message("leaf could not be renewed; the last one stays"),
                log_text("service", leaf->service), log_text("error", leaf->last_error),
                log_i64("retry_sec", leaf->retry_at - now_sec()));
}

static void check_ready(struct leaves *leaves)
{
    if (!leaves->ready)
        return;
    for (const struct leaf *leaf = leaves->list; leaf; leaf = leaf->next)
        if (!leaf->gone && !leaf->info.requested && leaf->info.version == 0)
            return;
    void (*ready)(void *argument) = leaves->ready;
    leaves->ready = NULL;
    ready(leaves->argument);
}

/* Before the publication opens a new leaf waits as if it had been loaded. */
static void put_in_place(struct leaf *leaf, struct source_leaf *made, uint64_t index)
{
    struct leaves *leaves = leaf->owner;
    bool renewed = leaf->info.version != 0;
    set_info(leaf, made, index);
    if (!leaves->open) {
        source_leaf_free(leaf->loaded);
        leaf->loaded = made;
        check_ready(leaves);
        return;
    }
    struct error error;
    if (publish(leaf, made, index, &error) != 0) {
        /* Readers have the one before: this is tried again, not left to the next renewal. */
        leaf->current = false;
        note_failure(leaf, &error);
    } else {
        log_info(log_message(renewed ? "leaf renewed" : "leaf issued"), log_text("service", leaf->service),
                 log_hex("serial", leaf->serial, leaf->info.serial_size),
                 log_i64("valid_sec", made->not_after - now_sec()));
        model_notify(leaves->setup.model, MODEL_LEAF, leaf->service);
    }
    source_leaf_free(made);
}

static void on_stored(void *argument, const struct error *error)
{
    struct leaf *leaf = argument;
    struct source_leaf *made = leaf->made;
    leaf->made = NULL;
    leaf->under_way = false;
    if (!error) /* not before: a serial that is forgotten with a crash is given again */
        audit_emit(leaf->info.version ? "certificate_renewed" : "certificate_issued",
                   log_text("kind", "leaf"), log_text("service", leaf->service), log_text("uri", made->uri),
                   log_hex("serial", made->serial, made->serial_size),
                   log_hex("issuer_key_id", made->issuer_key_id, made->issuer_key_id_size),
                   log_i64("not_after", made->not_after));
    if (leaf->gone || error) {
        source_leaf_free(made);
        if (leaf->gone)
            unlink_leaf(leaf);
        else
            note_failure(leaf, error);
        return;
    }
    put_in_place(leaf, made, leaf->made_index);
}

/* A leaf is durable with its key before anybody sees it: a restart finds what proxies may be using. */
static void on_made(void *argument, struct source_leaf *made, const struct error *error)
{
    struct leaf *leaf = argument;
    struct leaves *leaves = leaf->owner;
    struct error local;
    if (leaf->gone || !made) {
        source_leaf_free(made);
        leaf->under_way = false;
        if (leaf->gone)
            unlink_leaf(leaf);
        else
            note_failure(leaf, error);
        return;
    }
    struct store_batch *batch = store_batch_new();
    leaf->made = made;
    leaf->made_index = model_next_index(leaves->setup.model);
    int code = batch ? leaf_to_store(leaf, made, leaf->made_index, leaves->setup.keywrap,
                                     leaves->setup.thread, batch, &local)
                     : error_set(&local, ERROR_SYSTEM, "no memory");
    if (code) {
        store_batch_free(batch);
        on_stored(leaf, &local);
        return;
    }
    if (leaves->identity->ops->record_leaf)
        leaves->identity->ops->record_leaf(leaves->identity, batch, made, leaf->service);
    store_submit(leaves->setup.store, batch, on_stored, leaf);
}

static void issue(struct leaf *leaf)
{
    struct leaves *leaves = leaf->owner;
    struct error error;
    struct source_leaf_request request = {
        .service = leaf->name,
        .namespace_name = leaf->namespace_name,
        .partition = leaf->partition,
        .dns = (const char *const *)leaf->dns.items,
        .dns_count = leaf->dns.count,
        .ip = (const char *const *)leaf->ip.items,
        .ip_count = leaf->ip.count,
        .unlimited = leaf->info.version == 0 && !leaf->info.requested,
    };
    if (leaf->under_way || leaf->gone)
        return;
    leaf->under_way = true;
    leaf->outdated = false;
    if (leaves->identity->ops->request_leaf(leaves->identity, &request, on_made, leaf, &error) == 0)
        return;
    leaf->under_way = false;
    if (error.code == ERROR_BUSY) /* a limit of the source's: our turn comes, and nothing is wrong */
        leaf->retry_at = now_sec() + 1 + random_below(3);
    else
        note_failure(leaf, &error);
}

/* --- when --- */

static bool is_due(const struct leaf *leaf, int64_t now)
{
    if (leaf->gone || leaf->under_way)
        return false;
    if (leaf->retry_at > now && leaf->retry_at <= now + RETRY_MAX_SEC + ROOT_CHANGE_SPREAD_SEC)
        return false; /* a retry further away than ever planned means that the clock went back */
    if (leaf->info.version == 0 || !leaf->current)
        return true;
    int64_t life = leaf->info.not_after - leaf->info.not_before;
    if (now < leaf->info.not_before || now >= leaf->info.not_before + life * 9 / 10)
        return true; /* the hard limit; or a clock that jumped back before the leaf began */
    return now >= leaf->info.renew_at;
}

/* A requested leaf that no client can be using is forgotten, region and store. */
static void evict_unused(struct leaves *leaves, int64_t now)
{
    struct leaf *next;
    for (struct leaf *leaf = leaves->list; leaf; leaf = next) {
        next = leaf->next;
        if (!leaf->info.requested || leaf->gone || leaf->under_way)
            continue;
        if (publication_is_service_held(leaves->setup.publication, leaf->service) || leaf->last_used > now)
            leaf->last_used = now;
        if (now - leaf->last_used < leaves->config->leaves.unused_after_ns / 1000000000)
            continue;
        struct store_batch *batch = store_batch_new();
        if (!batch)
            return;
        log_info(log_message("leaf is not used any more and dropped"), log_text("service", leaf->service));
        store_delete_leaf(batch, leaf->service);
        store_submit(leaves->setup.store, batch, NULL, NULL);
        publication_remove_service(leaves->setup.publication, leaf->service);
        unlink_leaf(leaf);
    }
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct leaves *leaves = timer->data;
    int64_t now = now_sec();
    size_t under_way = 0;
    for (const struct leaf *leaf = leaves->list; leaf; leaf = leaf->next)
        under_way += leaf->under_way;
    for (struct leaf *leaf = leaves->list; leaf && under_way < UNDER_WAY_MAX; leaf = leaf->next) {
        if (!is_due(leaf, now))
            continue;
        issue(leaf);
        under_way += leaf->under_way;
    }
    evict_unused(leaves, now);
    check_ready(leaves); /* again, if the publication failed */
}

void leaves_roots_changed(struct leaves *leaves)
{
    int64_t now = now_sec();
    for (struct leaf *leaf = leaves->list; leaf; leaf = leaf->next) {
        if (leaf->gone || leaf->info.version == 0)
            continue;
        if (is_of_present_roots(leaf))
            continue; /* what is to be renewed for another reason stays so */
        leaf->current = false;
        if (leaf->retry_at <= now)
            leaf->retry_at = now + random_below(ROOT_CHANGE_SPREAD_SEC);
    }
}

/* --- asking --- */

static uint64_t doors_of(const struct config *config, const char *service)
{
    uint64_t doors = 0;
    for (size_t i = 0; i < config->attach_count && i < 64; i++) {
        const struct config_texts *services = &config->attaches[i].services;
        bool listed = services->count == 0;
        for (size_t s = 0; s < services->count; s++)
            listed = listed || strcmp(services->items[s], service) == 0;
        doors |= (uint64_t)listed << i;
    }
    return doors;
}

static bool may_request(const struct config *config, uid_t uid, const gid_t *groups, size_t group_count)
{
    return uid == 0 || uid == geteuid() ||
           config_access_allows(&config->leaves.on_request_access, uid, groups, group_count);
}

static int split_service(const char *service, struct intention_parsed_name *parsed, struct error *error)
{
    int code = intention_parse_name(service, false, parsed, error);
    if (code)
        return code;
    if (!is_plain(parsed->name, strlen(parsed->name)) ||
        !is_plain(parsed->namespace_name, strlen(parsed->namespace_name)) ||
        !is_plain(parsed->partition, strlen(parsed->partition)))
        return error_set(error, ERROR_INVALID, "\"%.80s\" is not the name of a service", service);
    return 0;
}

static int add_requested(struct leaves *leaves, const struct intention_parsed_name *name, struct leaf **out,
                         struct error *error)
{
    size_t requested = 0;
    for (const struct leaf *leaf = leaves->list; leaf; leaf = leaf->next)
        requested += leaf->info.requested && !leaf->gone;
    if (!leaves->config->leaves.on_request)
        return error_set(error, ERROR_DENIED,
                         "service \"%s\" is not configured, and leaves.on_request is off", name->name);
    if (requested >= leaves->config->leaves.on_request_max)
        return error_set(error, ERROR_LIMIT, "leaves.on_request_max (%u) is reached",
                         leaves->config->leaves.on_request_max);
    struct leaf *leaf = make_leaf(leaves, name->partition, name->namespace_name, name->name);
    if (!leaf)
        return error_set(error, ERROR_SYSTEM, "no memory");
    leaf->info.requested = true;
    int code = publication_add_service(leaves->setup.publication, leaf->service,
                                       &leaves->config->leaves.on_request_access,
                                       doors_of(leaves->config, leaf->service), error);
    if (code < 0) {
        unlink_leaf(leaf);
        return code;
    }
    *out = leaf;
    return 0;
}

int leaves_want(struct leaves *leaves, const char *service, uid_t uid, const gid_t *groups,
                size_t group_count, struct error *error)
{
    struct intention_parsed_name name;
    int code = split_service(service, &name, error);
    if (code)
        return code;
    char *path = make_path(name.partition, name.namespace_name, name.name);
    struct leaf *leaf = path ? find(leaves, path) : NULL;
    free(path);
    if (leaf && !leaf->info.requested) {
        const struct config_access *access =
            publication_service_access(leaves->setup.publication, leaf->service);
        if (uid == 0 || uid == geteuid() ||
            (access && config_access_allows(access, uid, groups, group_count)))
            return 0;
        return error_set(error, ERROR_DENIED, "service \"%s\": uid %u is not on its access list", service,
                         (unsigned)uid);
    }
    if (!may_request(leaves->config, uid, groups, group_count))
        return error_set(error, ERROR_DENIED, "uid %u may not request leaves; see leaves.on_request_users",
                         (unsigned)uid);
    if (leaf) {
        leaf->last_used = now_sec();
        return 0;
    }
    code = add_requested(leaves, &name, &leaf, error);
    if (!code && leaves->identity)
        issue(leaf);
    return code;
}

const struct leaf_info *leaves_find(struct leaves *leaves, const char *service)
{
    struct intention_parsed_name name;
    if (split_service(service, &name, NULL) != 0)
        return NULL;
    char *path = make_path(name.partition, name.namespace_name, name.name);
    const struct leaf *leaf = path ? find(leaves, path) : NULL;
    free(path);
    return leaf ? &leaf->info : NULL;
}

void leaves_each(struct leaves *leaves, void (*visit)(void *context, const struct leaf_info *leaf),
                 void *context)
{
    for (const struct leaf *leaf = leaves->list; leaf; leaf = leaf->next)
        if (!leaf->gone)
            visit(context, &leaf->info);
}

int leaves_renew(struct leaves *leaves, const char *service, struct error *error)
{
    const struct leaf_info *info = leaves_find(leaves, service);
    if (!info)
        return error_set(error, ERROR_NOT_FOUND, "there is no leaf for service \"%s\" on this node", service);
    struct leaf *leaf = find(leaves, info->service);
    if (leaf->under_way)
        return error_set(error, ERROR_BUSY, "service \"%s\": a renewal is under way", service);
    issue(leaf);
    return 0;
}

void leaves_used(struct leaves *leaves, const char *service)
{
    struct leaf *leaf = find(leaves, service);
    if (leaf)
        leaf->last_used = now_sec();
}

/* --- configuration --- */

static void drop(struct leaf *leaf)
{
    struct leaves *leaves = leaf->owner;
    struct store_batch *batch = store_batch_new();
    if (batch) {
        store_delete_leaf(batch, leaf->service);
        store_submit(leaves->setup.store, batch, NULL, NULL);
    }
    publication_remove_service(leaves->setup.publication, leaf->service);
    leaf->gone = true;
    if (!leaf->under_way)
        unlink_leaf(leaf);
}

static const struct config_service *find_configured(const struct config *config, const struct leaf *leaf)
{
    for (size_t i = 0; i < config->service_count; i++) {
        const struct config_service *service = &config->services[i];
        if (strcmp(service->name, leaf->name) == 0 &&
            strcmp(service->namespace_name, leaf->namespace_name) == 0 &&
            strcmp(service->partition, leaf->partition) == 0)
            return service;
    }
    return NULL;
}

static int configure_service(struct leaves *leaves, const struct config *config,
                             const struct config_service *service, struct error *error)
{
    char *path = make_path(service->partition, service->namespace_name, service->name);
    struct leaf *leaf = path ? find(leaves, path) : NULL;
    free(path);
    if (!leaf)
        leaf = make_leaf(leaves, service->partition, service->namespace_name, service->name);
    if (!leaf)
        return error_set(error, ERROR_SYSTEM, "no memory");
    leaf->info.requested = false;
    if (!same_texts(&leaf->dns, &service->dns) || !same_texts(&leaf->ip, &service->ip)) {
        struct config_texts dns, ip;
        if (!copy_texts(&dns, &service->dns) || !copy_texts(&ip, &service->ip))
            return error_set(error, ERROR_SYSTEM, "no memory");
        config_texts_free(&leaf->dns);
        config_texts_free(&leaf->ip);
        leaf->dns = dns;
        leaf->ip = ip;
        leaf->current = leaf->loaded != NULL; /* as far as we know: looked at below */
        leaf->outdated = leaf->under_way;
    }
    /* The configuration may have changed while the agent was down. */
    if (leaf->loaded && !leaf_has_names(leaf->loaded, &leaf->dns, &leaf->ip))
        leaf->current = false;
    int code = publication_add_service(leaves->setup.publication, leaf->service, &service->access,
                                       doors_of(config, leaf->service), error);
    if (code == 1) { /* somebody lost access and still has the key */
        leaf->current = false;
        leaf->retry_at = 0;
        log_info(log_message("access to a leaf changed; a new key follows"),
                 log_text("service", leaf->service));
    }
    return code < 0 ? code : 0;
}

int leaves_configure(struct leaves *leaves, const struct config *config, struct error *error)
{
    for (size_t i = 0; i < config->service_count; i++) {
        int code = configure_service(leaves, config, &config->services[i], error);
        if (code)
            return code;
    }
    struct leaf *next;
    for (struct leaf *leaf = leaves->list; leaf; leaf = next) {
        next = leaf->next;
        if (leaf->gone)
            continue;
        if (!leaf->info.requested && !find_configured(config, leaf)) {
            drop(leaf);
        } else if (leaf->info.requested) {
            int code = publication_add_service(leaves->setup.publication, leaf->service,
                                               &config->leaves.on_request_access,
                                               doors_of(config, leaf->service), error);
            if (code < 0)
                return code;
            leaf->current = leaf->current && code == 0;
        }
    }
    leaves->config = config;
    return 0;
}

/* --- life --- */

int leaves_create(struct leaves **out, const struct leaves_setup *setup, struct error *error)
{
    struct leaves *leaves = calloc(1, sizeof *leaves);
    if (!leaves)
        return error_set(error, ERROR_SYSTEM, "no memory");
    leaves->setup = *setup;
    ev_timer_init(&leaves->tick, on_tick, 1.0, 1.0);
    leaves->tick.data = leaves;
    *out = leaves;
    return 0;
}

void leaves_destroy(struct leaves *leaves)
{
    if (!leaves)
        return;
    ev_timer_stop(leaves->setup.loop, &leaves->tick);
    while (leaves->list)
        unlink_leaf(leaves->list);
    free(leaves);
}

/* A stored leaf that cannot be used is made anew, not a reason to stay down. */
static int load_one(void *argument, const struct store_leaf *row, struct error *error)
{
    struct leaves *leaves = argument;
    struct intention_parsed_name name;
    struct source_leaf *loaded;
    struct error why;
    model_saw_index(leaves->setup.model, row->modify_index);
    if (row->version > row->modify_index)
        model_saw_index(leaves->setup.model, row->version);
    if (split_service(row->service, &name, &why) != 0 ||
        leaf_from_store(row, leaves->setup.keywrap, leaves->setup.thread, &loaded, &why) != 0) {
        log_warning(log_message("stored leaf cannot be used; a new one will be issued"),
                    log_text("service", row->service), log_reason(&why));
        return 0;
    }
    struct leaf *leaf = make_leaf(leaves, name.partition, name.namespace_name, name.name);
    if (!leaf) {
        source_leaf_free(loaded);
        return error_set(error, ERROR_SYSTEM, "no memory");
    }
    leaf->loaded = loaded;
    set_info(leaf, loaded, row->version);
    leaf->info.requested = row->requested;
    /* Whoever was using it has to find its way back to us: the time unused begins anew. */
    leaf->last_used = now_sec();
    return 0;
}

int leaves_load(struct leaves *leaves, struct error *error)
{
    return store_load_leaves(leaves->setup.store, load_one, leaves, error);
}

/* An expired leaf is no leaf: readiness waits for a new one. */
static void forget_expired(struct leaf *leaf, int64_t now)
{
    if (!leaf->loaded || leaf->info.not_after > now)
        return;
    source_leaf_free(leaf->loaded);
    leaf->loaded = NULL;
    leaf->info.version = 0;
}

void leaves_start(struct leaves *leaves, struct identity_source *identity, void (*ready)(void *argument),
                  void *argument)
{
    int64_t now = now_sec();
    leaves->identity = identity;
    leaves->ready = ready;
    leaves->argument = argument;
    leaves_roots_changed(leaves);
    for (struct leaf *leaf = leaves->list; leaf; leaf = leaf->next) {
        forget_expired(leaf, now);
        if (leaf->info.version == 0)
            issue(leaf);
    }
    ev_timer_again(leaves->setup.loop, &leaves->tick);
    check_ready(leaves);
}

int leaves_publish(struct leaves *leaves, struct error *error)
{
    for (struct leaf *leaf = leaves->list; leaf; leaf = leaf->next) {
        if (!leaf->loaded)
            continue;
        int code = publish(leaf, leaf->loaded, leaf->info.version, error);
        if (code)
            return code;
        source_leaf_free(leaf->loaded);
        leaf->loaded = NULL;
    }
    leaves->open = true;
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "agent/core/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "agent/core/leaves_internal.h"
#include "agent/log.h"

#define FILL_CHUNK 4096u /* intentions handed to the policy region at once */
#define PRUNE_SEC  60.0

struct model {
    struct model_setup setup;
    const struct config *config;
    struct publication *publication;
    struct intentions *intentions;
    struct revocations *revocations;
    struct leaves *leaves;
    struct identity_source *identity;
    struct model_listener *listeners;
    uint64_t index;     /* the last one taken */
    unsigned under_way; /* changes not answered yet */
    ev_timer prune;
    void (*ready)(void *argument);
    void *ready_argument;
};

/* A change on its way through the store. */
struct change {
    struct model *model;
    model_done *done;
    void *argument;
    uint64_t index;
    struct intention *put;                            /* or */
    struct intention_parsed_name destination, source; /* what to delete, or */
    struct revocation *revoke;                        /* or */
    struct revocation *unrevoke;                      /* names what to take back */
};

/* --- index and events --- */

uint64_t model_index(const struct model *model)
{
    return model->index;
}

uint64_t model_next_index(struct model *model)
{
    return ++model->index;
}

void model_saw_index(struct model *model, uint64_t index)
{
    if (index > model->index)
        model->index = index;
}

void model_store_index(const struct model *model, struct store_batch *batch)
{
    store_put_meta(batch, &(struct store_meta){.key = "index", .integer = model->index});
}

void model_listen(struct model *model, struct model_listener *listener)
{
    listener->next = model->listeners;
    model->listeners = listener;
}

void model_unlisten(struct model *model, struct model_listener *listener)
{
    for (struct model_listener **link = &model->listeners; *link; link = &(*link)->next)
        if (*link == listener) {
            *link = listener->next;
            return;
        }
}

void model_notify(struct model *model, enum model_what what, const char *service)
{
    struct model_event event = {.what = what, .index = model->index, .service = service};
    struct model_listener *next;
    for (struct model_listener *listener = model->listeners; listener; listener = next) {
        next = listener->next;
        listener->changed(listener->argument, &event);
    }
}

/* --- filling a policy region --- */

struct filling {
    struct policy *policy;
    struct policy_change *changes;
    size_t count;
    int error; /* negative errno */
};

static void flush_filling(struct filling *filling)
{
    if (filling->count)
        filling->error = policy_apply(filling->policy, filling->changes, filling->count);
    filling->count = 0;
}

static int fill_intention(void *argument, const struct intention *intention)
{
    struct filling *filling = argument;
    if (!intention_to_policy_change(intention, &filling->changes[filling->count]))
        return 0;
    if (++filling->count == FILL_CHUNK)
        flush_filling(filling);
    return filling->error;
}

static int fill_intentions(const struct model *model, struct policy *policy)
{
    struct filling filling = {.policy = policy};
    filling.changes = malloc(FILL_CHUNK * sizeof *filling.changes);
    if (!filling.changes)
        return -ENOMEM;
    if (intentions_for_each(model->intentions, fill_intention, &filling) == 0)
        flush_filling(&filling);
    free(filling.changes);
    return filling.error;
}

static int fill_revocation(void *argument, const struct revocation *revocation)
{
    return policy_revoke(argument, revocation_issuer_key_id(revocation), revocation->issuer_key_id_size,
                         revocation_serial(revocation), revocation->serial_size, revocation->reason);
}

/* The part of a pattern behind the trust domain is a path template; Consul's has an admin partition in front, too. */
struct templates {
    const char *items[2 * 32];
    size_t count;
    bool consul;
};

static void list_templates(const struct config *config, struct templates *templates)
{
    static const char prefix[] = "spiffe://{trust_domain}";
    templates->count = 0;
    templates->consul = false;
    for (size_t i = 0; i < config->identity_count && templates->count + 2 <= 64; i++) {
        const char *pattern = config->identities[i].pattern;
        templates->items[templates->count++] = pattern + sizeof prefix - 1;
        if (strcmp(pattern, CONFIG_CONSUL_PATTERN) == 0) {
            templates->items[templates->count++] =
                "/ap/{partition}/ns/{namespace}/dc/{datacenter}/svc/{service}";
            templates->consul = true;
        }
    }
}

static int fill_identities(const struct model *model, struct policy *policy)
{
    struct templates templates;
    list_templates(model->config, &templates);
    const struct source_roots *roots = model->identity->ops->roots(model->identity);
    return policy_set_identities(policy, roots->trust_domain,
                                 templates.consul ? model->config->datacenter : NULL, templates.items,
                                 templates.count);
}

static int with_roots(const struct model *model,
                      int (*use)(void *context, const struct policy_root *roots, size_t count, size_t active,
                                 uint64_t version),
                      void *context)
{
    const struct source_roots *roots = model->identity->ops->roots(model->identity);
    struct policy_root *list = calloc(roots->count + 1, sizeof *list);
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < roots->count; i++)
        list[i] = (struct policy_root){
            .der = roots->roots[i].der,
            .der_size = roots->roots[i].der_size,
            .pem = roots->roots[i].pem,
            .id = roots->roots[i].id,
            .not_before = roots->roots[i].not_before,
            .not_after = roots->roots[i].not_after,
        };
    int error = use(context, list, roots->count, roots->active, roots->index);
    free(list);
    return error;
}

static int fill_roots(void *context, const struct policy_root *roots, size_t count, size_t active,
                      uint64_t version)
{
    return policy_set_roots(context, roots, count, active, version);
}

static int fill(void *argument, struct policy *policy)
{
    const struct model *model = argument;
    policy_set_default(policy, model->config->default_policy == CONFIG_ALLOW);
    int error = fill_identities(model, policy);
    if (!error)
        error = with_roots(model, fill_roots, policy);
    /* Revocations and then intentions: but nobody reads this region before it is full anyway. */
    if (!error)
        error = revocations_for_each(model->revocations, fill_revocation, policy);
    return error ? error : fill_intentions(model, policy);
}

/* --- loading --- */

static int load_meta(void *argument, const struct store_meta *row, struct error *error)
{
    (void)error;
    if (!row->text && strcmp(row->key, "index") == 0)
        model_saw_index(argument, row->integer);
    return 0;
}

static int load_intention(void *argument, const struct store_intention *row, struct error *error)
{
    struct model *model = argument;
    struct intention *intention, *replaced;
    int code = intention_from_store(row, &intention, error);
    if (!code) {
        code = intentions_put(model->intentions, intention, &replaced, error);
        intention_free(code ? intention : replaced);
    }
    if (code)
        return error_at(error, "intention %s -> %s in the store", row->key.source_name,
                        row->key.destination_name);
    model_saw_index(model, row->modify_index);
    return 0;
}

static int load_revocation(void *argument, const struct store_revocation *row, struct error *error)
{
    struct model *model = argument;
    struct revocation *revocation;
    int code = revocation_from_store(row, &revocation, error);
    if (code)
        return error_at(error, "a revocation in the store");
    revocation_free(revocations_put(model->revocations, revocation));
    model_saw_index(model, row->create_index);
    return 0;
}

static int load(struct model *model, struct error *error)
{
    struct store *store = model->setup.store;
    int code = store_load_meta(store, load_meta, model, error);
    if (!code)
        code = store_load_intentions(store, load_intention, model, error);
    if (!code)
        code = store_load_revocations(store, load_revocation, model, error);
    return code ? code : leaves_load(model->leaves, error);
}

static int create_publication(struct model *model, struct error *error)
{
    const struct config *config = model->config;
    struct publication_options options = {
        .loop = model->setup.loop,
        .generation = store_generation(model->setup.store),
        .fill = fill,
        .model = model,
        .clients_max = config->limits.clients,
        .clients_per_uid_max = config->limits.clients_per_uid,
        .policy_bytes_max = config->limits.policy_region_bytes_max,
        .scope_bytes_max = config->limits.scope_region_bytes_max,
        .supersede_interval_ns = config->limits.supersede_interval_ns,
        .regions_per_uid_max = config->limits.regions_per_uid,
    };
    return publication_create(&model->publication, &options, error);
}

static int create_leaves(struct model *model, struct error *error)
{
    struct leaves_setup setup = {
        .loop = model->setup.loop,
        .model = model,
        .store = model->setup.store,
        .publication = model->publication,
        .keywrap = model->setup.keywrap,
        .thread = model->setup.thread,
    };
    return leaves_create(&model->leaves, &setup, error);
}

/* A certificate that has expired needs no revocation any more. The regions forget it at once, the store with it. */
static void on_pruned(void *argument, const struct revocation *revocation)
{
    struct model *model = argument;
    struct error error;
    publication_unrevoke(model->publication, revocation_issuer_key_id(revocation),
                         revocation->issuer_key_id_size, revocation_serial(revocation),
                         revocation->serial_size, &error);
}

static void on_prune(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct model *model = timer->data;
    int64_t now = (int64_t)time(NULL);
    if (revocations_prune(model->revocations, now, on_pruned, model) == 0)
        return;
    struct store_batch *batch = store_batch_new();
    if (!batch)
        return;
    store_prune_revocations(batch, now);
    store_submit(model->setup.store, batch, NULL, NULL);
    model_notify(model, MODEL_REVOCATIONS, NULL);
}

int model_create(struct model **out, const struct model_setup *setup, struct error *error)
{
    uint64_t seeds[2];
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return error_set(error, ERROR_SYSTEM, "no memory");
    model->setup = *setup;
    model->config = setup->config;
    ev_timer_init(&model->prune, on_prune, PRUNE_SEC, PRUNE_SEC);
    model->prune.data = model;
    int code = 0;
    if (getrandom(seeds, sizeof seeds, 0) != (ssize_t)sizeof seeds)
        code = error_errno(error, "getrandom");
    model->intentions = intentions_new(seeds[0]);
    model->revocations = revocations_new(seeds[1]);
    if (!code && (!model->intentions || !model->revocations))
        code = error_set(error, ERROR_SYSTEM, "no memory");
    if (!code)
        code = create_publication(model, error);
    if (!code)
        code = create_leaves(model, error);
    if (!code)
        code = load(model, error);
    if (code) {
        model_destroy(model);
        return code;
    }
    *out = model;
    return 0;
}

void model_destroy(struct model *model)
{
    if (!model)
        return;
    ev_timer_stop(model->setup.loop, &model->prune);
    leaves_destroy(model->leaves);
    publication_destroy(model->publication);
    intentions_free(model->intentions);
    revocations_free(model->revocations);
    free(model);
}

/* --- start --- */

static int publish_roots(void *context, const struct policy_root *roots, size_t count, size_t active,
                         uint64_t version)
{
    struct model *model = context;
    struct error error;
    int code = publication_set_roots(model->publication, roots, count, active, version, &error);
    if (code)
        log_error(log_message("new roots could not be published"), log_reason(&error));
    return code;
}

/* Roots first, then leaves that need them: a reader that sees a new leaf finds its root. */
static void on_roots_changed(void *argument)
{
    struct model *model = argument;
    model_saw_index(model, model->identity->ops->roots(model->identity)->index);
    with_roots(model, publish_roots, model);
    leaves_roots_changed(model->leaves);
    model_notify(model, MODEL_ROOTS, NULL);
}

static void on_contact(void *argument)
{
    struct model *model = argument;
    publication_contact(model->publication);
}

static void on_leaves_ready(void *argument)
{
    struct model *model = argument;
    struct error error;
    /* All or nothing: a set is offered when it is complete. */
    if (leaves_publish(model->leaves, &error) != 0 || publication_open(model->publication, &error) != 0) {
        log_error(log_message("regions could not be published; clients go on waiting"), log_reason(&error));
        model->leaves->ready = on_leaves_ready;
        return;
    }
    publication_contact(model->publication);
    model->ready(model->ready_argument);
}

int model_start(struct model *model, struct identity_source *identity, void (*ready)(void *argument),
                void *argument, struct error *error)
{
    model->identity = identity;
    model->ready = ready;
    model->ready_argument = argument;
    identity->roots_changed = on_roots_changed;
    identity->contact = on_contact;
    identity->argument = model;
    model_saw_index(model, identity->ops->roots(identity)->index);
    int code = leaves_configure(model->leaves, model->config, error);
    if (code)
        return code;
    ev_timer_again(model->setup.loop, &model->prune);
    leaves_start(model->leaves, identity, on_leaves_ready, model);
    return 0;
}

int model_reconfigure(struct model *model, const struct config *config, struct error *error)
{
    const struct config *former = model->config;
    struct templates templates, former_templates;
    list_templates(config, &templates);
    list_templates(former, &former_templates);
    struct publication_options limits = {
        .clients_max = config->limits.clients,
        .clients_per_uid_max = config->limits.clients_per_uid,
        .policy_bytes_max = config->limits.policy_region_bytes_max,
        .scope_bytes_max = config->limits.scope_region_bytes_max,
        .supersede_interval_ns = config->limits.supersede_interval_ns,
        .regions_per_uid_max = config->limits.regions_per_uid,
    };
    int code = leaves_configure(model->leaves, config, error);
    if (code)
        return code;
    model->config = config;
    publication_set_limits(model->publication, &limits);
    bool same = templates.count == former_templates.count;
    for (size_t i = 0; same && i < templates.count; i++)
        same = strcmp(templates.items[i], former_templates.items[i]) == 0;
    if (!same)
        code = publication_set_identities(model->publication,
                                          model->identity->ops->roots(model->identity)->trust_domain,
                                          templates.consul ? config->datacenter : NULL, templates.items,
                                          templates.count, error);
    if (!code && config->default_policy != former->default_policy)
        code = publication_set_default(model->publication, config->default_policy == CONFIG_ALLOW, error);
    if (code) { /* the caller may free `config` now */
        struct error again;
        model->config = former;
        if (leaves_configure(model->leaves, former, &again) != 0)
            model->leaves->config = former;
        return code;
    }
    model_notify(model, MODEL_CONFIGURATION, NULL);
    return 0;
}

/* --- changes --- */

/* A change and the batch that makes it durable; every one takes an index. */
static int begin(struct model *model, model_done *done, void *argument, struct change **out,
                 struct store_batch **batch, struct error *error)
{
    struct change *change = calloc(1, sizeof *change);
    *batch = store_batch_new();
    if (!change || !*batch) {
        free(change);
        store_batch_free(*batch);
        return error_set(error, ERROR_SYSTEM, "no memory");
    }
    change->model = model;
    change->done = done;
    change->argument = argument;
    change->index = model_next_index(model);
    *out = change;
    return 0;
}

static void free_change(struct change *change)
{
    intention_free(change->put);
    revocation_free(change->revoke);
    revocation_free(change->unrevoke);
    free(change);
}

static void answer(struct change *change, const struct error *error)
{
    model_done *done = change->done;
    void *argument = change->argument;
    change->model->under_way--;
    free_change(change);
    if (done)
        done(argument, error);
}

static void submit(struct change *change, struct store_batch *batch, store_done *stored)
{
    change->model->under_way++;
    model_store_index(change->model, batch);
    store_submit(change->model->setup.store, batch, stored, change);
}

/* It is durable and the model has it, so the next region will, too; until then the old verdict stands, and whoever
 * asked for the change must not believe otherwise. */
static int not_published(struct error *error)
{
    error_at(error, "stored, but not published");
    log_error(log_message("a change could not be published"), log_reason(error));
    return error->code;
}

static int publish_intention(struct model *model, const struct policy_change *change, struct error *error)
{
    return publication_apply(model->publication, change, 1, error) == 0 ? 0 : not_published(error);
}

static void on_intention_stored(void *argument, const struct error *error)
{
    struct change *change = argument;
    struct model *model = change->model;
    struct intention *replaced = NULL;
    struct policy_change policy_change;
    struct error conflict;
    if (error) {
        answer(change, error);
        return;
    }
    struct intention *intention = change->put;
    int code = intentions_put(model->intentions, intention, &replaced, &conflict);
    if (code) {
        answer(change, &conflict);
        return;
    }
    change->put = NULL;
    if (intention_to_policy_change(intention, &policy_change))
        code = publish_intention(model, &policy_change, &conflict);
    intention_free(replaced);
    model_notify(model, MODEL_INTENTIONS, NULL);
    answer(change, code ? &conflict : NULL);
}

int model_put_intention(struct model *model, struct intention *intention, model_done *done, void *argument,
                        struct error *error)
{
    struct store_intention row;
    struct change *change;
    struct store_batch *batch;
    int code = begin(model, done, argument, &change, &batch, error);
    if (code)
        return code;
    if (intention->create_index == 0)
        intention->create_index = change->index;
    intention->modify_index = change->index;
    change->put = intention;
    intention_to_store(intention, &row);
    store_put_intention(batch, &row);
    submit(change, batch, on_intention_stored);
    return 0;
}

static void on_intention_deleted(void *argument, const struct error *error)
{
    struct change *change = argument;
    struct model *model = change->model;
    struct policy_change policy_change;
    if (error) {
        answer(change, error);
        return;
    }
    struct intention_name destination = intention_name_of(&change->destination);
    struct intention_name source = intention_name_of(&change->source);
    struct intention *removed = intentions_remove(model->intentions, &destination, &source, "");
    struct error why;
    int code = 0;
    if (!removed) { /* one that was under way before has taken it away */
        code = error_set(&why, ERROR_NOT_FOUND, "Intention not found");
    } else if (intention_to_policy_change(removed, &policy_change)) {
        policy_change.action = POLICY_REMOVE;
        code = publish_intention(model, &policy_change, &why);
    }
    if (removed)
        model_notify(model, MODEL_INTENTIONS, NULL);
    intention_free(removed);
    answer(change, code ? &why : NULL);
}

static void copy_name(struct intention_parsed_name *to, const struct intention_name *from)
{
    const char *partition = from->partition && from->partition[0] ? from->partition : "default";
    const char *namespace_name =
        from->namespace_name && from->namespace_name[0] ? from->namespace_name : "default";
    snprintf(to->partition, sizeof to->partition, "%s", partition);
    snprintf(to->namespace_name, sizeof to->namespace_name, "%s", namespace_name);
    snprintf(to->name, sizeof to->name, "%s", from->name);
    to->peer[0] = '\0';
}

int model_delete_intention(struct model *model, const struct intention_name *destination,
                           const struct intention_name *source, model_done *done, void *argument,
                           struct error *error)
{
    const struct intention *found = intentions_get(model->intentions, destination, source, NULL);
    if (!found)
        return error_set(error, ERROR_NOT_FOUND, "Intention not found");
    struct change *change;
    struct store_batch *batch;
    int code = begin(model, done, argument, &change, &batch, error);
    if (code)
        return code;
    struct store_intention row;
    intention_to_store(found, &row);
    copy_name(&change->destination, &found->destination);
    copy_name(&change->source, &found->source);
    store_delete_intention(batch, &row.key);
    submit(change, batch, on_intention_deleted);
    return 0;
}

static void on_revocation_stored(void *argument, const struct error *error)
{
    struct change *change = argument;
    struct model *model = change->model;
    struct error why;
    if (error) {
        answer(change, error);
        return;
    }
    struct revocation *revocation = change->revoke;
    change->revoke = NULL;
    revocation_free(revocations_put(model->revocations, revocation));
    int code = publication_revoke(model->publication, revocation_issuer_key_id(revocation),
                                  revocation->issuer_key_id_size, revocation_serial(revocation),
                                  revocation->serial_size, revocation->reason, &why);
    if (code)
        not_published(&why);
    model_notify(model, MODEL_REVOCATIONS, NULL);
    answer(change, code ? &why : NULL);
}

int model_revoke(struct model *model, const uint8_t *issuer_key_id, size_t issuer_size, const uint8_t *serial,
                 size_t serial_size, uint32_t reason, int64_t expires_at, model_done *done, void *argument,
                 struct error *error)
{
    struct store_revocation row;
    struct revocation *revocation;
    int code = revocation_make(issuer_key_id, issuer_size, serial, serial_size, reason, (int64_t)time(NULL),
                               expires_at, model->index + 1, &revocation, error);
    if (code)
        return code;
    struct change *change;
    struct store_batch *batch;
    code = begin(model, done, argument, &change, &batch, error);
    if (code) {
        revocation_free(revocation);
        return code;
    }
    change->revoke = revocation;
    revocation_to_store(revocation, &row);
    store_put_revocation(batch, &row);
    submit(change, batch, on_revocation_stored);
    return 0;
}

static void on_revocation_deleted(void *argument, const struct error *error)
{
    struct change *change = argument;
    struct model *model = change->model;
    const struct revocation *gone = change->unrevoke;
    struct error why;
    if (error) {
        answer(change, error);
        return;
    }
    struct revocation *removed =
        revocations_remove(model->revocations, revocation_issuer_key_id(gone), gone->issuer_key_id_size,
                           revocation_serial(gone), gone->serial_size);
    int code = removed ? publication_unrevoke(model->publication, revocation_issuer_key_id(gone),
                                              gone->issuer_key_id_size, revocation_serial(gone),
                                              gone->serial_size, &why)
                       : 0;
    if (code)
        not_published(&why);
    if (removed)
        model_notify(model, MODEL_REVOCATIONS, NULL);
    revocation_free(removed);
    answer(change, code ? &why : NULL);
}

int model_unrevoke(struct model *model, const uint8_t *issuer_key_id, size_t issuer_size,
                   const uint8_t *serial, size_t serial_size, model_done *done, void *argument,
                   struct error *error)
{
    struct store_revocation row;
    struct revocation *gone;
    int code = revocation_make(issuer_key_id, issuer_size, serial, serial_size, 0, 0, 0, 0, &gone, error);
    if (code)
        return code;
    if (!revocations_get(model->revocations, revocation_issuer_key_id(gone), gone->issuer_key_id_size,
                         revocation_serial(gone), gone->serial_size)) {
        revocation_free(gone);
        return error_set(error, ERROR_NOT_FOUND, "this serial of this issuer is not revoked");
    }
    struct change *change;
    struct store_batch *batch;
    code = begin(model, done, argument, &change, &batch, error);
    if (code) {
        revocation_free(gone);
        return code;
    }
    change->unrevoke = gone;
    revocation_to_store(gone, &row);
    store_delete_revocation(batch, row.issuer_key_id, row.serial);
    submit(change, batch, on_revocation_deleted);
    return 0;
}

/* --- looking --- */

struct publication *model_publication(struct model *model)
{
    return model->publication;
}

const struct intentions *model_intentions(const struct model *model)
{
    return model->intentions;
}

const struct revocations *model_revocations(const struct model *model)
{
    return model->revocations;
}

struct leaves *model_leaves(struct model *model)
{
    return model->leaves;
}

struct identity_source *model_identity(struct model *model)
{
    return model->identity;
}

const struct config *model_config(const struct model *model)
{
    return model->config;
}

void model_describe(struct model *model, struct json_writer *json)
{
    json_member_u64(json, "index", model->index);
    json_member_u64(json, "policy_version", publication_policy_version(model->publication));
    json_member_text(json, "default_policy",
                     model->config->default_policy == CONFIG_ALLOW ? "allow" : "deny");
    json_member_u64(json, "intentions", intentions_count(model->intentions));
    json_member_u64(json, "revocations", revocations_count(model->revocations));
    json_member_u64(json, "leaves", model->leaves->count);
    json_member_u64(json, "changes_under_way", model->under_way);
}

/* SPDX-License-Identifier: MIT */
#include "agent/agent.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/audit.h"
#include "agent/ca/authority.h"
#include "agent/core/model.h"
#include "agent/log.h"
#include "agent/mailbox.h"
#include "agent/notify.h"
#include "agent/serve/admin.h"
#include "agent/serve/attach.h"
#include "agent/upstream/builtin.h"
#include "agent/worker.h"

#define SETTLE_TICKS 10u /* seconds */

struct agent {
    struct ev_loop *loop;
    struct config *config;
    char *path;
    struct mailbox mail; /* from the store, the workers and the attach thread */
    bool has_mail;
    ev_io mail_watcher;
    struct store *store;
    struct keywrap *keywrap;
    struct ca_thread *thread;
    struct model *model;
    struct authority *authority;
    struct worker_pool *workers;
    struct identity_source *identity;
    struct attach *attach;
    struct admin *admin;
    ev_timer tick;
    unsigned ticks;
};

static void on_mail(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct agent *agent = watcher->data;
    mailbox_run(&agent->mail);
}

/* Gives back what a burst of work has left behind: the crypto library's tables of this thread (up to 12 MB) and free
 * memory within the heap. */
static void settle(struct agent *agent)
{
    ca_thread_idle(agent->thread);
    malloc_trim(0);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct agent *agent = timer->data;
    builtin_source_tick(agent->identity);
    if (++agent->ticks % SETTLE_TICKS == 0)
        settle(agent);
}

static void on_ready(void *argument)
{
    struct agent *agent = argument;
    log_info(log_message("ready"), log_text("trust_domain", authority_trust_domain(agent->authority)),
             log_u64("policy_version", publication_policy_version(model_publication(agent->model))));
    notify_send("READY=1\nSTATUS=Regions are published");
}

static uint64_t next_index(void *argument)
{
    struct agent *agent = argument;
    return model_next_index(agent->model);
}

static int on_want(void *argument, struct publication_client *client, const char *service, uid_t uid,
                   const gid_t *groups, size_t group_count, struct error *error)
{
    struct agent *agent = argument;
    (void)client;
    return leaves_want(model_leaves(agent->model), service, uid, groups, group_count, error);
}

/* --- starting --- */

/* Other users have to reach the sockets in it; what is made elsewhere keeps its mode. */
static int make_run_directory(const char *path, struct error *error)
{
    if (mkdir(path, 0755) == -1)
        return errno == EEXIST
                   ? 0
                   : error_errno(
                         error,
                         "run_directory %s cannot be made; make it, or let systemd (RuntimeDirectory=)",
                         path);
    if (chmod(path, 0755) == -1) /* the umask took that away */
        return error_errno(error, "run_directory %s", path);
    return 0;
}

/* The store would say so, too, but in SQLite's words. It makes a directory that is not there. */
static int check_state_directory(const char *path, struct error *error)
{
    if (access(path, W_OK) == 0 || errno == ENOENT)
        return 0;
    return error_errno(error, "state_directory %s cannot be written", path);
}

/* What has to be read before the store's thread takes the database. */
static int load(struct agent *agent, struct error *error)
{
    int code = make_run_directory(agent->config->run_directory, error);
    if (!code)
        code = check_state_directory(agent->config->state_directory, error);
    if (!code)
        code = store_open(agent->config->state_directory, &agent->store, error);
    if (!code && agent->config->key_file)
        code = keywrap_load(agent->config->key_file, &agent->keywrap, error);
    if (code)
        return code;
    agent->thread = ca_thread_create(error);
    if (!agent->thread)
        return ERROR_CRYPTO;
    struct model_setup model = {
        .loop = agent->loop,
        .store = agent->store,
        .config = agent->config,
        .keywrap = agent->keywrap,
        .thread = agent->thread,
    };
    code = model_create(&agent->model, &model, error);
    if (code)
        return code;
    struct authority_setup authority = {
        .store = agent->store,
        .thread = agent->thread,
        .keywrap = agent->keywrap,
        .config = &agent->config->ca,
        .next_index = next_index,
        .argument = agent,
    };
    return authority_load(&authority, &agent->authority, error);
}

static int start_ca(struct agent *agent, struct error *error)
{
    int code = store_start(agent->store, &agent->mail, error);
    if (!code)
        code = worker_pool_create(0, &agent->mail, &agent->workers, error);
    if (!code)
        code = authority_start(agent->authority, agent->workers, &agent->mail, error);
    if (!code)
        code = builtin_source_create(agent->authority, agent->config->datacenter, &agent->identity, error);
    return code;
}

static int open_doors(struct agent *agent, struct error *error)
{
    const struct config *config = agent->config;
    struct attach_options attach = {
        .loop = agent->loop,
        .publication = model_publication(agent->model),
        .sockets = config->attaches,
        .socket_count = config->attach_count,
        .limits = {config->limits.clients, config->limits.clients_per_uid},
        .want = on_want,
        .want_argument = agent,
    };
    struct admin_options admin = {
        .loop = agent->loop,
        .model = agent->model,
        .authority = agent->authority,
        .store = agent->store,
        .read_leaf = publication_read_leaf,
        .read_leaf_argument = model_publication(agent->model),
        .sockets = config->admins,
        .socket_count = config->admin_count,
    };
    int code = attach_create(&agent->attach, &attach, error);
    return code ? code : admin_create(&agent->admin, &admin, error);
}

int agent_create(struct agent **out, struct ev_loop *loop, struct config *config, const char *path,
                 struct error *error)
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent) {
        config_free(config);
        return error_set(error, ERROR_SYSTEM, "no memory");
    }
    agent->loop = loop;
    agent->config = config;
    agent->path = path ? strdup(path) : NULL;
    int code = mailbox_init(&agent->mail, error);
    agent->has_mail = code == 0;
    if (!code) {
        ev_io_init(&agent->mail_watcher, on_mail, mailbox_descriptor(&agent->mail), EV_READ);
        agent->mail_watcher.data = agent;
        ev_io_start(loop, &agent->mail_watcher);
        code = load(agent, error);
    }
    if (!code)
        code = start_ca(agent, error);
    if (!code)
        code = open_doors(agent, error);
    if (!code)
        code = model_start(agent->model, agent->identity, on_ready, agent, error);
    if (code) {
        agent_destroy(agent);
        return code;
    }
    ev_timer_init(&agent->tick, on_tick, 1.0, 1.0);
    agent->tick.data = agent;
    ev_timer_start(loop, &agent->tick);
    *out = agent;
    return 0;
}

/* --- reloading --- */

static void log_warnings(const struct config_texts *warnings)
{
    for (size_t i = 0; i < warnings->count; i++)
        log_warning(log_message("configuration"), log_text("warning", warnings->items[i]));
}

/* Keys that count only at a start keep their old values, or a half of the agent would believe the new ones. */
static void swap_start_values(struct config *one, struct config *other)
{
    char **pairs[][2] = {{&one->state_directory, &other->state_directory},
                         {&one->run_directory, &other->run_directory},
                         {&one->key_file, &other->key_file},
                         {&one->datacenter, &other->datacenter}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *swap = *pairs[i][0];
        *pairs[i][0] = *pairs[i][1];
        *pairs[i][1] = swap;
    }
}

static void warn_of_restart_keys(const struct config *former, const struct config *fresh)
{
    const char *keys[CONFIG_RESTART_KEYS_MAX];
    size_t count = config_changed_keys_needing_restart(former, fresh, keys);
    for (size_t i = 0; i < count; i++)
        log_warning(log_message("a changed key takes effect at the next start"), log_text("key", keys[i]));
}

static int apply(struct agent *agent, struct config *fresh, struct error *error)
{
    struct attach_limits limits = {fresh->limits.clients, fresh->limits.clients_per_uid};
    int code = attach_reload(agent->attach, fresh->attaches, fresh->attach_count, &limits, error);
    if (!code)
        code = admin_reload(agent->admin, fresh->admins, fresh->admin_count, error);
    return code ? code : model_reconfigure(agent->model, fresh, error);
}

void agent_reload(struct agent *agent)
{
    struct config *fresh = NULL;
    struct config_texts warnings = {0};
    struct error error = {0};
    if (audit_reopen(&error) != 0)
        log_error(log_message("the audit file could not be reopened; the old one stays in use"),
                  log_reason(&error));
    if (!agent->path)
        return;
    notify_send("RELOADING=1");
    int code = config_load(agent->path, &fresh, &warnings, &error);
    log_warnings(&warnings);
    config_texts_free(&warnings);
    if (!code) {
        warn_of_restart_keys(agent->config, fresh);
        swap_start_values(fresh, agent->config);
        code = apply(agent, fresh, &error);
    }
    if (code) {
        log_error(log_message("the configuration was not taken over; the old one stays"), log_reason(&error));
        if (fresh) { /* whatever part of it was taken over goes back */
            struct error again;
            swap_start_values(agent->config, fresh);
            if (apply(agent, agent->config, &again) != 0)
                log_error(log_message("the old configuration could not be restored"), log_reason(&again));
        }
        config_free(fresh);
    } else {
        log_configure(fresh->log_level, fresh->log_format);
        log_info(log_message("configuration reloaded"), log_text("file", agent->path));
        audit_emit("configuration_reloaded", log_text("file", agent->path));
        config_free(agent->config);
        agent->config = fresh;
    }
    notify_send("READY=1");
}

/* --- stopping --- */

void agent_destroy(struct agent *agent)
{
    if (!agent)
        return;
    ev_timer_stop(agent->loop, &agent->tick);
    admin_close(agent->admin);
    attach_close(agent->attach);
    worker_pool_close(agent->workers); /* answers what is under way, which may go on to the store */
    store_close(agent->store);
    if (agent->has_mail)
        ev_io_stop(agent->loop, &agent->mail_watcher);
    model_destroy(agent->model);
    if (agent->identity)
        agent->identity->ops->close(agent->identity);
    authority_free(agent->authority);
    ca_thread_free(agent->thread);
    keywrap_free(agent->keywrap);
    if (agent->has_mail)
        mailbox_destroy(&agent->mail);
    config_free(agent->config);
    free(agent->path);
    free(agent);
}

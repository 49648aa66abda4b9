/* SPDX-License-Identifier: MIT */
/* The door's sockets, and who may do what. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/log.h"
#include "agent/serve/admin_internal.h"

enum { PAIRS_MAX = 4096 };
#define ACCEPT_AGAIN_SEC 1.0
#define HARVEST_SEC      1.0

const char *admin_level_name(enum config_level level)
{
    static const char *const names[] = {"viewer", "operator", "admin"};
    return names[level];
}

enum config_level admin_level_of(const struct admin *admin, const struct config_admin *config,
                                 const struct peer *peer)
{
    if (peer_is_user(peer, 0) || peer_is_user(peer, admin->own_uid))
        return CONFIG_ADMIN;
    for (int level = CONFIG_ADMIN; level > (int)config->level; level--)
        if (peer_is_allowed(peer, &config->access[level]))
            return (enum config_level)level;
    return config->level;
}

/* --- accepting --- */

static void refuse(int fd, const char *text)
{
    char line[200];
    int size = snprintf(line, sizeof line, "ERROR LIMIT: %s\n\n", text);
    ssize_t ignored = send(fd, line, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    close(fd);
}

static void accept_one(struct admin_listener *listener, int fd)
{
    static struct log_limit limit = LOG_LIMIT(1, 5);
    struct admin *admin = listener->admin;
    struct peer peer;
    struct error error;
    uint64_t suppressed;
    unsigned max = admin->options.connections_max;
    int code = peer_read(&peer, fd, &error);
    if (!code) {
        if (admin_level_of(admin, listener->config, &peer) == CONFIG_ADMIN)
            max += ADMIN_CONNECTIONS_RESERVED;
        if (admin->connection_count >= max) {
            peer_free(&peer);
            refuse(fd, "too many connections to this door; close one");
            return;
        }
        code = admin_connection_open(admin, listener, fd, &peer, &error);
    } else {
        close(fd);
    }
    if (code && log_limit_allow(&limit, &suppressed))
        log_warning(log_message("admin connection refused"), log_reason(&error),
                    log_u64("suppressed", suppressed));
}

static void start_accepting(struct admin *admin)
{
    for (struct admin_listener *listener = admin->listeners; listener; listener = listener->next)
        ev_io_start(admin->options.loop, &listener->watcher);
}

static void on_accept_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    start_accepting(timer->data);
}

/* Without descriptors the socket stays readable for ever: it is left alone for a moment. */
static void pause_accepting(struct admin *admin)
{
    for (struct admin_listener *listener = admin->listeners; listener; listener = listener->next)
        ev_io_stop(admin->options.loop, &listener->watcher);
    ev_timer_set(&admin->accept_again, ACCEPT_AGAIN_SEC, 0.);
    ev_timer_start(admin->options.loop, &admin->accept_again);
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct admin_listener *listener = watcher->data;
    (void)loop, (void)events;
    int fd = accept4(watcher->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd != -1)
        accept_one(listener, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        pause_accepting(listener->admin);
}

/* --- listeners --- */

static int listener_open(struct admin *admin, const struct config_admin *config, struct admin_listener **out,
                         struct error *error)
{
    struct admin_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return error_set(error, ERROR_SYSTEM, "no memory for an admin socket");
    int code = socket_listen(&listener->socket, &config->socket, SOCK_STREAM, error);
    if (code) {
        free(listener);
        return code;
    }
    listener->admin = admin;
    listener->config = config;
    ev_io_init(&listener->watcher, on_acceptable, listener->socket.fd, EV_READ);
    listener->watcher.data = listener;
    *out = listener;
    return 0;
}

static void listener_close(struct admin_listener *listener)
{
    struct admin *admin = listener->admin;
    struct admin_connection *next;
    for (struct admin_connection *connection = admin->connections; connection; connection = next) {
        next = connection->next;
        if (connection->listener == listener)
            admin_connection_close(connection);
    }
    ev_io_stop(admin->options.loop, &listener->watcher);
    socket_close(&listener->socket);
    free(listener);
}

static void close_list(struct admin_listener *list)
{
    while (list) {
        struct admin_listener *next = list->next;
        listener_close(list);
        list = next;
    }
}

static struct admin_listener *find_listener(const struct admin *admin, const char *path)
{
    for (struct admin_listener *listener = admin->listeners; listener; listener = listener->next)
        if (strcmp(listener->socket.path, path) == 0 && socket_is_there(&listener->socket))
            return listener;
    return NULL;
}

static const struct config_admin *find_config(const struct config_admin *sockets, size_t count,
                                              const struct admin_listener *listener)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(sockets[i].socket.path, listener->socket.path) == 0 && socket_is_there(&listener->socket))
            return &sockets[i];
    return NULL;
}

/* Owner and mode of those that stay. The one thing here that may fail half-way; then what was set stays set. */
static int set_access(struct admin *admin, const struct config_admin *sockets, size_t count,
                      struct error *error)
{
    int code = 0;
    for (size_t i = 0; i < count && !code; i++) {
        const struct admin_listener *listener = find_listener(admin, sockets[i].socket.path);
        if (listener)
            code = socket_set_access(&listener->socket, &sockets[i].socket, error);
    }
    return code;
}

int admin_reload(struct admin *admin, const struct config_admin *sockets, size_t socket_count,
                 struct error *error)
{
    struct admin_listener *fresh = NULL, **end = &fresh;
    int code = 0;
    for (size_t i = 0; i < socket_count && !code; i++) {
        if (find_listener(admin, sockets[i].socket.path))
            continue;
        code = listener_open(admin, &sockets[i], end, error);
        if (!code)
            end = &(*end)->next;
    }
    if (!code)
        code = set_access(admin, sockets, socket_count, error);
    if (code) {
        close_list(fresh);
        return code;
    }
    for (struct admin_listener **link = &admin->listeners; *link;) {
        struct admin_listener *listener = *link;
        const struct config_admin *config = find_config(sockets, socket_count, listener);
        if (config) {
            listener->config = config;
            link = &listener->next;
        } else {
            *link = listener->next;
            listener_close(listener);
        }
    }
    *end = admin->listeners;
    admin->listeners = fresh;
    admin->options.sockets = sockets;
    admin->options.socket_count = socket_count;
    start_accepting(admin);
    return 0;
}

/* --- the door --- */

static void on_harvest(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct admin *admin = timer->data;
    (void)loop, (void)events;
    observed_harvest(admin->observed, model_publication(admin->options.model));
    denials_report(admin->denials, admin->observed);
}

static void start_timers(struct admin *admin)
{
    ev_timer_init(&admin->accept_again, on_accept_again, ACCEPT_AGAIN_SEC, 0.);
    admin->accept_again.data = admin;
    ev_timer_init(&admin->harvest, on_harvest, HARVEST_SEC, HARVEST_SEC);
    admin->harvest.data = admin;
    ev_timer_start(admin->options.loop, &admin->harvest);
}

int admin_create(struct admin **out, const struct admin_options *options, struct error *error)
{
    struct admin *admin = calloc(1, sizeof *admin);
    if (!admin)
        return error_set(error, ERROR_SYSTEM, "no memory for the admin door");
    admin->options = *options;
    admin->options.connections_max =
        options->connections_max ? options->connections_max : ADMIN_CONNECTIONS_DEFAULT;
    if (options->idle_timeout_sec <= 0)
        admin->options.idle_timeout_sec = ADMIN_IDLE_DEFAULT_SEC;
    admin->commands = admin_commands;
    admin->own_uid = geteuid();
    admin->started_at = ev_time();
    admin->observed = observed_new(PAIRS_MAX);
    admin->denials = admin->observed ? denials_new(admin->observed) : NULL;
    int code = admin->denials ? admin_reload(admin, options->sockets, options->socket_count, error)
                              : error_set(error, ERROR_SYSTEM, "no memory for the admin door");
    if (code) {
        denials_free(admin->denials);
        observed_free(admin->observed);
        free(admin);
        return code;
    }
    start_timers(admin);
    admin->listener = (struct model_listener){.changed = admin_watch_event, .argument = admin};
    model_listen(options->model, &admin->listener);
    *out = admin;
    return 0;
}

void admin_close(struct admin *admin)
{
    if (!admin)
        return;
    model_unlisten(admin->options.model, &admin->listener);
    close_list(admin->listeners);
    ev_timer_stop(admin->options.loop, &admin->accept_again);
    ev_timer_stop(admin->options.loop, &admin->harvest);
    denials_free(admin->denials);
    observed_free(admin->observed);
    free(admin);
}

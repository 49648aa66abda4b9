/* SPDX-License-Identifier: MIT */
/* The attach door on the main thread: its sockets, and its thread's beginning and end. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/log.h"

#define HELLO_DEADLINE_SEC 2.0
#define STALL_DEADLINE_SEC 30.0

/* --- listeners --- */

struct listener *listener_ref(struct listener *listener)
{
    __atomic_add_fetch(&listener->references, 1, __ATOMIC_RELAXED);
    return listener;
}

void listener_unref(struct listener *listener)
{
    if (__atomic_sub_fetch(&listener->references, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    config_texts_free(&listener->services);
    free(listener->socket.path);
    free(listener);
}

static int copy_texts(struct config_texts *out, const struct config_texts *texts)
{
    *out = (struct config_texts){0};
    if (texts->count == 0)
        return 0;
    out->items = calloc(texts->count, sizeof *out->items);
    if (!out->items)
        return -1;
    for (; out->count < texts->count; out->count++) {
        out->items[out->count] = strdup(texts->items[out->count]);
        if (!out->items[out->count]) {
            config_texts_free(out);
            return -1;
        }
    }
    return 0;
}

static bool same_texts(const struct config_texts *one, const struct config_texts *other)
{
    if (one->count != other->count)
        return false;
    for (size_t i = 0; i < one->count; i++)
        if (strcmp(one->items[i], other->items[i]) != 0)
            return false;
    return true;
}

/* With one reference, the caller's. Listens, unless `former` already does at this path: then it is to have
 * its descriptor. */
static int make_listener(struct listener **out, struct attach *attach, const struct config_attach *config,
                         const struct listener *former, struct error *error)
{
    int code = ERROR_SYSTEM;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener || copy_texts(&listener->services, &config->services) == -1) {
        error_errno(error, "socket \"%s\"", config->socket.path);
        goto free_listener;
    }
    if (former) {
        listener->socket = former->socket;
        listener->socket.path = strdup(former->socket.path);
        code = listener->socket.path ? 0 : error_errno(error, "socket \"%s\"", config->socket.path);
    } else {
        code = socket_listen(&listener->socket, &config->socket, SOCK_SEQPACKET, error);
    }
    if (code)
        goto free_services;
    listener->attach = attach;
    listener->references = 1;
    listener->config = config->socket;
    listener->config.path = listener->socket.path;
    *out = listener;
    return 0;

free_services:
    config_texts_free(&listener->services);
free_listener:
    free(listener);
    return code;
}

static struct listener *find_listener(const struct attach *attach, const char *path)
{
    for (size_t i = 0; i < attach->listener_count; i++)
        if (strcmp(attach->listeners[i]->socket.path, path) == 0 &&
            socket_is_there(&attach->listeners[i]->socket))
            return attach->listeners[i];
    return NULL;
}

/* --- taking over a configuration --- */

/* What a reload makes, until nothing can fail any more. `former[i]` listens at the path of sockets[i], or
 * is NULL. */
struct change {
    struct listener **listeners;
    struct listener **former;
    struct reload *reload;
    size_t count;
};

static void drop_change(struct change *change)
{
    for (size_t i = 0; i < change->count; i++) {
        struct listener *listener = change->listeners[i];
        if (!change->former[i])
            socket_close(&listener->socket);
        listener_unref(listener);
    }
    if (change->reload)
        free(change->reload->accepting);
    free(change->reload);
    free(change->former);
    free(change->listeners);
}

static int make_listeners(struct change *change, struct attach *attach, const struct config_attach *sockets,
                          size_t count, struct error *error)
{
    for (; change->count < count; change->count++) {
        const struct config_attach *config = &sockets[change->count];
        struct listener *former = find_listener(attach, config->socket.path);
        struct listener **out = &change->listeners[change->count];
        int code = 0;
        if (former && same_texts(&former->services, &config->services))
            *out = listener_ref(former);
        else
            code = make_listener(out, attach, config, former, error);
        if (code)
            return code;
        change->former[change->count] = former;
    }
    return 0;
}

/* All or none get their new owners and modes. */
static int set_accesses(const struct change *change, const struct config_attach *sockets, struct error *error)
{
    for (size_t i = 0; i < change->count; i++) {
        if (!change->former[i])
            continue;
        int code = socket_set_access(&change->former[i]->socket, &sockets[i].socket, error);
        if (!code)
            continue;
        for (size_t j = 0; j <= i; j++)
            if (change->former[j])
                socket_set_access(&change->former[j]->socket, &change->former[j]->config, NULL);
        return code;
    }
    return 0;
}

static int prepare_change(struct change *change, struct attach *attach, const struct config_attach *sockets,
                          size_t count, struct error *error)
{
    *change = (struct change){
        .listeners = calloc(count + 1, sizeof(struct listener *)),
        .former = calloc(count + 1, sizeof(struct listener *)),
        .reload = calloc(1, sizeof(struct reload)),
    };
    if (change->reload)
        change->reload->accepting = calloc(count + 1, sizeof(struct listener *));
    int code = 0;
    if (!change->listeners || !change->former || !change->reload || !change->reload->accepting)
        code = error_errno(error, "attach sockets");
    if (!code)
        code = make_listeners(change, attach, sockets, count, error);
    if (!code)
        code = set_accesses(change, sockets, error);
    if (code)
        drop_change(change);
    return code;
}

/* Whether a former listener is not in the new list, and whether another there has its descriptor. */
static void part_from(struct listener *former, const struct change *change)
{
    for (size_t i = 0; i < change->count; i++) {
        if (change->listeners[i] == former)
            return;
        if (change->former[i] == former)
            former->moved = former->cut = true;
    }
    if (!former->moved)
        socket_remove(&former->socket);
}

static void commit_change(struct attach *attach, struct change *change, const struct config_attach *sockets,
                          const struct attach_limits *limits)
{
    struct reload *reload = change->reload;
    for (size_t i = 0; i < attach->listener_count; i++)
        part_from(attach->listeners[i], change);
    for (size_t i = 0; i < change->count; i++) {
        char *path = change->listeners[i]->socket.path;
        change->listeners[i]->config = sockets[i].socket;
        change->listeners[i]->config.path = path;
        reload->accepting[i] = listener_ref(change->listeners[i]);
    }
    for (size_t i = 0; i < attach->listener_count; i++)
        listener_unref(attach->listeners[i]);
    free(attach->listeners);
    attach->listeners = change->listeners;
    attach->listener_count = change->count;
    free(change->former);
    reload->attach = attach;
    reload->accepting_count = change->count;
    reload->limits = *limits;
    reload->mail.run = attach_take_reload;
    mailbox_post(&attach->to_thread, &reload->mail);
}

int attach_reload(struct attach *attach, const struct config_attach *sockets, size_t socket_count,
                  const struct attach_limits *limits, struct error *error)
{
    struct change change;
    int code = prepare_change(&change, attach, sockets, socket_count, error);
    if (!code)
        commit_change(attach, &change, sockets, limits);
    return code;
}

/* --- life --- */

static void on_main_mail(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct attach *attach = watcher->data;
    mailbox_run(&attach->to_main);
}

static void take_stopped(struct mail *mail)
{
    struct attach *attach = caa_container_of(mail, struct attach, stopped);
    attach->thread_stopped = true;
}

static int start_thread(struct attach *attach, struct error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's business */
    int reason = pthread_create(&attach->thread, NULL, attach_thread, attach);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (reason == 0)
        return 0;
    errno = reason;
    return error_errno(error, "cannot start the thread of the attach door");
}

static struct attach *allocate(const struct attach_options *options)
{
    struct attach *attach = calloc(1, sizeof *attach);
    if (!attach)
        return NULL;
    attach->publication = options->publication;
    attach->main_loop = options->loop;
    attach->want = options->want;
    attach->want_argument = options->want_argument;
    attach->hello_deadline_sec =
        options->hello_deadline_sec > 0 ? options->hello_deadline_sec : HELLO_DEADLINE_SEC;
    attach->stall_deadline_sec =
        options->stall_deadline_sec > 0 ? options->stall_deadline_sec : STALL_DEADLINE_SEC;
    attach->stop.run = attach_take_stop;
    attach->stopped.run = take_stopped;
    ev_io_init(&attach->main_mail, on_main_mail, -1, EV_READ);
    attach->main_mail.data = attach;
    return attach;
}

int attach_create(struct attach **out, const struct attach_options *options, struct error *error)
{
    struct change change;
    struct attach *attach = allocate(options);
    if (!attach)
        return error_errno(error, "attach door");
    int code = mailbox_init(&attach->to_main, error);
    if (code)
        goto free_attach;
    code = mailbox_init(&attach->to_thread, error);
    if (code)
        goto destroy_to_main;
    /* Not epoll: a descriptor stays in its set until it is closed, which is a disposer's business here,
     * and libev would take it out at a moment when its number may be somebody else's. A thousand clients
     * are few for poll. */
    attach->loop = ev_loop_new(EVBACKEND_POLL | EVFLAG_NOENV);
    if (!attach->loop) {
        code = error_set(error, ERROR_SYSTEM, "cannot make the event loop of the attach door");
        goto destroy_to_thread;
    }
    code = prepare_change(&change, attach, options->sockets, options->socket_count, error);
    if (code)
        goto destroy_loop;
    code = disposers_start(&attach->disposers, &attach->to_thread, error);
    if (code)
        goto drop_sockets;
    code = start_thread(attach, error);
    if (code)
        goto stop_disposers;
    commit_change(attach, &change, options->sockets, &options->limits);
    ev_io_set(&attach->main_mail, mailbox_descriptor(&attach->to_main), EV_READ);
    ev_io_start(attach->main_loop, &attach->main_mail);
    *out = attach;
    return 0;

stop_disposers:
    disposers_stop(&attach->disposers);
drop_sockets:
    drop_change(&change);
destroy_loop:
    ev_loop_destroy(attach->loop);
destroy_to_thread:
    mailbox_destroy(&attach->to_thread);
destroy_to_main:
    mailbox_destroy(&attach->to_main);
free_attach:
    free(attach);
    return code;
}

void attach_close(struct attach *attach)
{
    if (!attach)
        return;
    ev_io_stop(attach->main_loop, &attach->main_mail);
    for (size_t i = 0; i < attach->listener_count; i++)
        socket_remove(&attach->listeners[i]->socket);
    mailbox_post(&attach->to_thread, &attach->stop);
    while (!attach->thread_stopped) { /* connections say goodbye to the publication */
        mailbox_wait(&attach->to_main);
        mailbox_run(&attach->to_main);
    }
    pthread_join(attach->thread, NULL);
    ev_loop_destroy(attach->loop);
    for (size_t i = 0; i < attach->listener_count; i++)
        listener_unref(attach->listeners[i]);
    free(attach->listeners);
    attach->disposers.loop = NULL;
    if (!disposers_stop(&attach->disposers)) {
        /* The stuck threads hold connections and post to the mailbox, should they ever wake: they keep
         * them. */
        log_warning(log_message("descriptors that clients have sent resist being closed; leaving them"));
        return;
    }
    mailbox_destroy(&attach->to_thread);
    mailbox_destroy(&attach->to_main);
    free(attach);
}

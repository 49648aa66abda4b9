/* SPDX-License-Identifier: MIT */
/* The attach thread: accepting, limits, and the life of a connection (told in attach_internal.h). */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "agent/log.h"

#define ACCEPT_PAUSE_SEC 0.2
#define RETRY_SEC        0.1
#define STOP_SEC         2.0

enum {
    ACCEPT_BATCH = 16,    /* a turn of the loop: connecting must not starve who is connected */
    REFUSED_MAX = 64,     /* beyond a limit and not yet told so; then the oldest is closed untold */
    DISPOSALS_MAX = 1024, /* sockets waiting to be closed; then accepting waits */
};

/* --- the end --- */

static void finish_if_empty(struct attach *attach)
{
    if (attach->stopping && !attach->connections && disposers_idle(&attach->disposers))
        ev_break(attach->loop, EVBREAK_ALL);
}

static void free_if_done(struct connection *connection)
{
    struct attach *attach = connection->attach;
    if (!connection->over || !connection->disposed || !connection->forgotten)
        return;
    if (connection->next)
        connection->next->previous = connection->previous;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        attach->connections = connection->next;
    peer_free(&connection->peer);
    listener_unref(connection->listener);
    free(connection);
    finish_if_empty(attach);
}

static void resume_accepting(struct attach *attach);

static void on_disposed(struct disposal *disposal)
{
    struct connection *connection = caa_container_of(disposal, struct connection, disposal);
    connection->disposed = true;
    if (connection->attach->accept_paused)
        resume_accepting(connection->attach); /* there is a descriptor more now */
    free_if_done(connection);
}

static void post_closed(struct connection *connection)
{
    if (!connection->known) {
        connection->forgotten = true;
        free_if_done(connection);
        return;
    }
    connection->turn.kind = TURN_CLOSED;
    connection_turn(connection);
}

static void log_end(const struct connection *connection, int code, const char *text)
{
    static struct log_limit limit = LOG_LIMIT(1, 10);
    uint64_t suppressed;
    if (!code)
        log_debug(log_message("attach connection ended"), log_u64("uid", connection->peer.uid),
                  log_i64("pid", connection->peer.pid), log_text("reason", text));
    else if (log_limit_allow(&limit, &suppressed))
        log_warning(log_message("attach connection refused"), log_u64("uid", connection->peer.uid),
                    log_i64("pid", connection->peer.pid),
                    log_text("socket", connection->listener->socket.path), log_text("reason", text),
                    log_u64("suppressed", suppressed));
}

void connection_end(struct connection *connection, int code, const char *format, ...)
{
    struct ev_loop *loop = connection->attach->loop;
    char text[ATTACH_TEXT_BYTES];
    va_list arguments;
    if (connection->over)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (code)
        send_error(connection, code, text);
    log_end(connection, code, text);
    ev_io_stop(loop, &connection->readable);
    ev_io_stop(loop, &connection->writable);
    ev_timer_stop(loop, &connection->deadline);
    ev_timer_stop(loop, &connection->retry);
    outbox_clear(&connection->pending);
    connection->over = true;
    connection->disposal.socket_fd = connection->fd;
    connection->disposal.done = on_disposed;
    dispose(&connection->attach->disposers, &connection->disposal);
    if (!connection->turn_away)
        post_closed(connection);
}

/* --- to and from main --- */

void connection_turn(struct connection *connection)
{
    connection->turn_away = true;
    ev_io_stop(connection->attach->loop, &connection->readable);
    connection->turn.over = false;
    connection->turn.mail.run = client_turn;
    mailbox_post(&connection->attach->to_main, &connection->turn.mail);
}

void connection_turn_back(struct mail *mail)
{
    struct connection *connection = caa_container_of(mail, struct connection, turn.mail);
    struct turn *turn = &connection->turn;
    connection->turn_away = false;
    if (turn->kind == TURN_CLOSED) {
        connection->forgotten = true;
        free_if_done(connection);
    } else if (connection->over) {
        post_closed(connection);
    } else if (turn->kind == TURN_HELLO && turn->code) {
        connection_end(connection, turn->code, "%s", turn->error_text);
    } else if (turn->over) {
        connection_end(connection, 0, "detached");
    } else {
        ev_io_start(connection->attach->loop, &connection->readable);
    }
}

void connection_down(struct mail *mail)
{
    struct connection *connection = caa_container_of(mail, struct connection, down.mail);
    struct mailbox *to_main = &connection->attach->to_main;
    if (connection->over)
        outbox_clear(&connection->down.outbox);
    else
        outbox_move(&connection->pending, &connection->down.outbox);
    mail->run = client_down_back;
    mailbox_post(to_main, mail);
    /* Main cannot let go of the connection without a TURN_CLOSED, which only this thread sends. */
    if (!connection->over)
        connection_flush(connection);
}

/* --- accepting --- */

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    static struct log_limit limit = LOG_LIMIT(1, 5);
    struct connection *connection = timer->data;
    uint64_t suppressed;
    if (!connection->known) {
        connection_end(connection, connection->refused ? XYLEM_E_LIMIT : XYLEM_E_PROTOCOL,
                       "no HELLO within %.3g seconds", connection->attach->hello_deadline_sec);
        return;
    }
    if (log_limit_allow(&limit, &suppressed))
        log_warning(log_message("client does not read what it is sent; disconnecting it"),
                    log_u64("uid", connection->peer.uid), log_i64("pid", connection->peer.pid),
                    log_u64("suppressed", suppressed));
    connection_end(connection, 0, "does not read");
}

/* What is over counts as long as it has descriptors whose closing may block for ever; an ordinary end does
 * not, so that a client may connect anew at once. What is refused does not count. */
static bool is_beyond_limits(const struct attach *attach, uid_t uid)
{
    unsigned all = 0, of_uid = 0;
    for (const struct connection *other = attach->connections; other; other = other->next) {
        if (other->refused || other->disposed || (other->over && other->disposal.fd_count == 0))
            continue;
        all++;
        of_uid += other->peer.uid == uid;
    }
    return all >= attach->limits.clients || of_uid >= attach->limits.clients_per_uid;
}

/* A refused connection waits for the client's first packet, so that the ERROR finds a reader; but not many
 * do. */
static void thin_out_refused(struct attach *attach)
{
    struct connection *oldest = NULL;
    unsigned count = 0;
    for (struct connection *connection = attach->connections; connection; connection = connection->next)
        if (connection->refused && !connection->over) {
            oldest = connection;
            count++;
        }
    if (count > REFUSED_MAX)
        connection_end(oldest, XYLEM_E_LIMIT, "too many connections beyond the limits");
}

static void start_connection(struct connection *connection)
{
    struct attach *attach = connection->attach;
    ev_io_init(&connection->readable, on_readable, connection->fd, EV_READ);
    ev_io_init(&connection->writable, on_writable, connection->fd, EV_WRITE);
    ev_timer_init(&connection->deadline, on_deadline, 0.0, attach->hello_deadline_sec);
    ev_timer_init(&connection->retry, on_retry, 0.0, RETRY_SEC);
    connection->readable.data = connection->writable.data = connection;
    connection->deadline.data = connection->retry.data = connection;
    ev_io_start(attach->loop, &connection->readable);
    ev_timer_again(attach->loop, &connection->deadline);
}

static void take_in(struct connection *connection)
{
    struct attach *attach = connection->attach;
    struct error error;
    int code = peer_read(&connection->peer, connection->fd, &error);
    connection->refused = !code && is_beyond_limits(attach, connection->peer.uid);
    connection->next = attach->connections;
    if (connection->next)
        connection->next->previous = connection;
    attach->connections = connection;
    start_connection(connection);
    if (code)
        connection_end(connection, XYLEM_E_LIMIT, "%s", error.text);
    else if (connection->refused)
        thin_out_refused(attach);
}

static void pause_accepting(struct attach *attach)
{
    for (size_t i = 0; i < attach->accepting_count; i++)
        ev_io_stop(attach->loop, &attach->accepting[i]->acceptable);
    attach->accept_paused = true;
    ev_timer_again(attach->loop, &attach->accept_pause);
}

static void resume_accepting(struct attach *attach)
{
    if (attach->disposers.waiting >= DISPOSALS_MAX / 2)
        return; /* the timer goes on */
    attach->accept_paused = false;
    ev_timer_stop(attach->loop, &attach->accept_pause);
    for (size_t i = 0; i < attach->accepting_count; i++)
        ev_io_start(attach->loop, &attach->accepting[i]->acceptable);
}

static void on_accept_pause(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    resume_accepting(timer->data);
}

/* The memory comes first: an accepted socket must have somebody to close it. Returns false when nothing
 * more is to be accepted now. */
static bool accept_one(struct attach *attach, struct listener *listener)
{
    static struct log_limit limit = LOG_LIMIT(1, 5);
    uint64_t suppressed;
    struct connection *connection = calloc(1, sizeof *connection);
    int fd = connection ? accept4(listener->socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd != -1) {
        connection->attach = attach;
        connection->listener = listener_ref(listener);
        connection->fd = fd;
        take_in(connection);
        return true;
    }
    int reason = connection ? errno : ENOMEM;
    free(connection);
    if (reason == EINTR || reason == ECONNABORTED)
        return true;
    if (reason != EAGAIN) {
        pause_accepting(attach);
        if (log_limit_allow(&limit, &suppressed))
            log_warning(log_message("cannot accept on the attach socket; trying again"), log_errno(reason),
                        log_text("socket", listener->socket.path), log_u64("suppressed", suppressed));
    }
    return false;
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct listener *listener = watcher->data;
    struct attach *attach = listener->attach;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (attach->disposers.waiting >= DISPOSALS_MAX) {
            pause_accepting(attach);
            return;
        }
        if (!accept_one(attach, listener))
            return;
    }
}

/* --- listeners --- */

static void on_listener_disposed(struct disposal *disposal)
{
    struct listener *listener = caa_container_of(disposal, struct listener, disposal);
    struct attach *attach = listener->attach;
    listener_unref(listener);
    finish_if_empty(attach);
}

/* Connections that nobody accepted are closed with it, so it takes a disposer too. */
static void retire_listener(struct attach *attach, struct listener *listener)
{
    if (listener->moved) {
        listener_unref(listener);
        return;
    }
    listener->disposal.socket_fd = listener->socket.fd;
    listener->disposal.done = on_listener_disposed;
    dispose(&attach->disposers, &listener->disposal);
}

static bool is_among(const struct listener *listener, struct listener *const *listeners, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (listeners[i] == listener)
            return true;
    return false;
}

static void replace_listeners(struct attach *attach, struct listener **fresh, size_t fresh_count)
{
    for (size_t i = 0; i < attach->accepting_count; i++) {
        struct listener *listener = attach->accepting[i];
        ev_io_stop(attach->loop, &listener->acceptable);
        if (is_among(listener, fresh, fresh_count))
            listener_unref(listener);
        else
            retire_listener(attach, listener);
    }
    free(attach->accepting);
    attach->accepting = fresh;
    attach->accepting_count = fresh_count;
    for (size_t i = 0; i < fresh_count; i++) {
        ev_io_init(&fresh[i]->acceptable, on_acceptable, fresh[i]->socket.fd, EV_READ);
        fresh[i]->acceptable.data = fresh[i];
        if (!attach->accept_paused)
            ev_io_start(attach->loop, &fresh[i]->acceptable);
    }
}

void attach_take_reload(struct mail *mail)
{
    struct reload *reload = caa_container_of(mail, struct reload, mail);
    struct attach *attach = reload->attach;
    replace_listeners(attach, reload->accepting, reload->accepting_count);
    attach->limits = reload->limits;
    free(reload);
    struct connection *next;
    for (struct connection *connection = attach->connections; connection; connection = next) {
        next = connection->next;
        if (connection->listener->cut)
            connection_end(connection, 0, "the services of its socket have changed");
    }
}

/* --- the thread --- */

static void on_stop_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct attach *attach = timer->data;
    for (const struct connection *connection = attach->connections; connection; connection = connection->next)
        if (!connection->forgotten)
            return; /* main is about to; the timer repeats */
    ev_break(loop, EVBREAK_ALL);
}

void attach_take_stop(struct mail *mail)
{
    struct attach *attach = caa_container_of(mail, struct attach, stop);
    attach->stopping = true;
    ev_timer_stop(attach->loop, &attach->accept_pause);
    replace_listeners(attach, NULL, 0);
    struct connection *next;
    for (struct connection *connection = attach->connections; connection; connection = next) {
        next = connection->next;
        connection_end(connection, 0, "the agent stops");
    }
    ev_timer_again(attach->loop, &attach->stop_deadline);
    finish_if_empty(attach);
}

static void on_thread_mail(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct attach *attach = watcher->data;
    mailbox_run(&attach->to_thread);
    /* The last disposer may have come home behind the last connection. */
    finish_if_empty(attach);
}

void *attach_thread(void *argument)
{
    struct attach *attach = argument;
    pthread_setname_np(pthread_self(), "attach");
    ev_io_init(&attach->thread_mail, on_thread_mail, mailbox_descriptor(&attach->to_thread), EV_READ);
    ev_timer_init(&attach->accept_pause, on_accept_pause, 0.0, ACCEPT_PAUSE_SEC);
    ev_timer_init(&attach->stop_deadline, on_stop_deadline, 0.0, STOP_SEC);
    attach->thread_mail.data = attach->accept_pause.data = attach->stop_deadline.data = attach;
    ev_io_start(attach->loop, &attach->thread_mail);
    disposers_enter(&attach->disposers, attach->loop);
    ev_run(attach->loop, 0);
    mailbox_post(&attach->to_main, &attach->stopped);
    return NULL;
}

/* SPDX-License-Identifier: MIT */
/* Closing what came from outside, on threads that have nothing else to do.
 *
 * Dropping the last reference to a descriptor can block: a TCP socket with SO_LINGER and unsent data waits
 * for its peer, a file of somebody's FUSE file system waits for its server, for ever if it likes. It
 * happens in close(), in recvmsg() when the descriptor does not fit, and when a socket is closed with
 * messages in it.
 *
 * One disposer does one disposal at a time. When it has not answered for NUDGE_SEC it gets a signal, which
 * ends a lingering close. When it has not answered for STUCK_SEC, it is left to itself and another thread
 * takes its place; it is joined should it ever come back. Only connections that count against a limit can
 * have sent a descriptor that a signal does not free, so the limit bounds the threads. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/log.h"

#define NUDGE_SEC   0.02
#define STUCK_SEC   0.5
#define NUDGE       SIGURG /* ignored by default: harmless should it go astray */
#define DRAIN_MAX   2048   /* packets; more than a queue can hold */
#define STACK_BYTES (256 * 1024)

struct disposer {
    struct mail mail; /* there with a disposal, home without */
    struct mailbox box;
    struct disposers *disposers;
    struct disposer *next;
    pthread_t thread;
    struct disposal *disposal; /* at home: NULL if idle; there: NULL means leave */
    bool leaving;
    ev_tstamp since; /* the attach thread's */
};

/* --- the disposer's thread --- */

/* A peer that finds unread packets lost gets ECONNRESET in place of the ERROR packet that explains it. */
static void drain(int socket_fd)
{
    char byte;
    shutdown(socket_fd, SHUT_RDWR);
    for (int i = 0; i < DRAIN_MAX; i++)
        if (recv(socket_fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) <= 0)
            return;
}

static void come_home(struct mail *mail);

static void work(struct mail *mail)
{
    struct disposer *disposer = caa_container_of(mail, struct disposer, mail);
    struct disposal *disposal = disposer->disposal;
    if (!disposal) {
        disposer->leaving = true;
        return;
    }
    if (disposal->socket_fd != -1) {
        drain(disposal->socket_fd);
        close(disposal->socket_fd);
    }
    for (size_t i = 0; i < disposal->fd_count; i++)
        close(disposal->fds[i]);
    mail->run = come_home;
    mailbox_post(disposer->disposers->home, mail);
}

static void on_nudge(int number)
{
    (void)number;
}

static void *disposer_thread(void *argument)
{
    struct disposer *disposer = argument;
    sigset_t nudge;
    sigemptyset(&nudge);
    sigaddset(&nudge, NUDGE);
    pthread_sigmask(SIG_UNBLOCK, &nudge, NULL);
    while (!disposer->leaving) {
        mailbox_wait(&disposer->box);
        mailbox_run(&disposer->box);
    }
    return NULL;
}

static int start_thread(struct disposer *disposer)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int reason = pthread_attr_init(&attributes);
    if (reason)
        return reason;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's business */
    reason = pthread_create(&disposer->thread, &attributes, disposer_thread, disposer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return reason;
}

static int make_disposer(struct disposer **out, struct disposers *disposers, struct error *error)
{
    struct disposer *disposer = calloc(1, sizeof *disposer);
    if (!disposer)
        return error_errno(error, "disposer");
    int code = mailbox_init(&disposer->box, error);
    if (code)
        goto free_disposer;
    disposer->disposers = disposers;
    int reason = start_thread(disposer);
    if (reason) {
        errno = reason;
        code = error_errno(error, "cannot start a thread of the attach door");
        goto destroy_mailbox;
    }
    *out = disposer;
    return 0;

destroy_mailbox:
    mailbox_destroy(&disposer->box);
free_disposer:
    free(disposer);
    return code;
}

/* It is idle, so it leaves at once. */
static void end_disposer(struct disposer *disposer)
{
    disposer->mail.run = work;
    mailbox_post(&disposer->box, &disposer->mail);
    pthread_join(disposer->thread, NULL);
    mailbox_destroy(&disposer->box);
    free(disposer);
}

/* --- the attach thread's side --- */

static void give_next(struct disposers *disposers)
{
    struct disposer *disposer = disposers->current;
    struct disposal *disposal = disposers->first;
    if (!disposal || disposer->disposal)
        return;
    disposers->first = disposal->next;
    disposers->waiting--;
    disposer->disposal = disposal;
    disposer->since = ev_now(disposers->loop);
    disposer->mail.run = work;
    mailbox_post(&disposer->box, &disposer->mail);
    if (!ev_is_active(&disposers->watch))
        ev_timer_again(disposers->loop, &disposers->watch);
}

void dispose(struct disposers *disposers, struct disposal *disposal)
{
    disposal->next = NULL;
    if (disposers->first)
        disposers->last->next = disposal;
    else
        disposers->first = disposal;
    disposers->last = disposal;
    disposers->waiting++;
    give_next(disposers);
}

static void come_home(struct mail *mail)
{
    struct disposer *disposer = caa_container_of(mail, struct disposer, mail);
    struct disposers *disposers = disposer->disposers;
    struct disposal *disposal = disposer->disposal;
    disposer->disposal = NULL;
    if (disposer != disposers->current) {
        struct disposer **link = &disposers->stuck;
        while (*link != disposer)
            link = &(*link)->next;
        *link = disposer->next;
        end_disposer(disposer);
    }
    disposal->done(disposal);
    give_next(disposers);
}

/* Without memory or threads for another one, this one stays and the timer tries again. */
static void replace_current(struct disposers *disposers)
{
    static struct log_limit limit = LOG_LIMIT(1, 5);
    struct disposer *fresh;
    struct error error;
    uint64_t suppressed;
    int code = make_disposer(&fresh, disposers, &error);
    if (log_limit_allow(&limit, &suppressed))
        log_warning(log_message(
                        "closing a client's descriptors blocks; leaving them to a thread of their own"),
                    log_text("error", code ? error.text : ""), log_u64("suppressed", suppressed));
    if (code)
        return;
    disposers->current->next = disposers->stuck;
    disposers->stuck = disposers->current;
    disposers->current = fresh;
    give_next(disposers);
}

static bool nudge_if_late(const struct disposer *disposer, ev_tstamp now)
{
    if (disposer->disposal && now - disposer->since >= NUDGE_SEC)
        pthread_kill(disposer->thread, NUDGE);
    return disposer->disposal != NULL;
}

static void on_watch(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct disposers *disposers = timer->data;
    ev_tstamp now = ev_now(loop);
    bool busy = nudge_if_late(disposers->current, now);
    if (busy && now - disposers->current->since >= STUCK_SEC)
        replace_current(disposers);
    /* A close that was freed by the signal may block again at the next of several descriptors. */
    for (const struct disposer *disposer = disposers->stuck; disposer; disposer = disposer->next)
        busy |= nudge_if_late(disposer, now);
    if (!busy && !disposers->first)
        ev_timer_stop(loop, timer);
}

int disposers_start(struct disposers *disposers, struct mailbox *home, struct error *error)
{
    struct sigaction action = {.sa_handler = on_nudge}; /* without SA_RESTART: it is there to interrupt */
    *disposers = (struct disposers){.home = home};
    if (sigaction(NUDGE, &action, NULL) == -1)
        return error_errno(error, "cannot handle signals");
    return make_disposer(&disposers->current, disposers, error);
}

void disposers_enter(struct disposers *disposers, struct ev_loop *loop)
{
    disposers->loop = loop;
    ev_timer_init(&disposers->watch, on_watch, 0.0, NUDGE_SEC);
    disposers->watch.data = disposers;
}

bool disposers_idle(const struct disposers *disposers)
{
    return !disposers->first && !disposers->current->disposal && !disposers->stuck;
}

bool disposers_stop(struct disposers *disposers)
{
    bool all = disposers_idle(disposers);
    if (disposers->loop)
        ev_timer_stop(disposers->loop, &disposers->watch);
    if (!disposers->current->disposal)
        end_disposer(disposers->current);
    return all;
}

/* SPDX-License-Identifier: MIT */
/* What the files of the attach door share.
 *
 *     attach.c             main thread   sockets, start, reload, stop
 *     attach_client.c      main thread   a connection as the publication's client: turns, and what it is told
 *     attach_connection.c  attach thread accepting, limits, the life of a connection
 *     attach_receive.c     attach thread one packet of a client
 *     attach_hello.c       attach thread the first packet and its reader page
 *     attach_send.c        attach thread what a client is sent, and that it reads
 *     attach_dispose.c     disposers     closing what came from outside, which may block
 *
 * The life of a connection. The attach thread makes it when it accepts, and frees it. Main hears of it
 * with a valid hello. Two mails that are part of the connection go back and forth, each owned by the side
 * where it is:
 *
 *   `turn`  carries one packet of the client to main and comes back when main has dealt with it. Until then
 *           nothing more is read from this client, so a flood stays in the client's own socket.
 *   `down`  carries what the publication wants sent and comes back at once. While it is away main gathers in
 *           `waiting`: bits, the newest set, the highest release, but never a queue.
 *
 * When the connection is over (closed, failed, refused) the attach thread hands the socket to a disposer,
 * and as soon as the turn is at home sends it as TURN_CLOSED. Main then lets go of the client, waits until
 * `down` is at home, and returns the turn: from here on it knows nothing of the connection. What the
 * publication has posted for a connection that is over is dropped on arrival. The connection is freed when
 * main has let go and the socket is closed. Until then one that has sent descriptors against the rules
 * counts against its uid, so those that resist being closed use up their owner's limit, nobody else's. */
#ifndef SERVE_ATTACH_INTERNAL_H
#define SERVE_ATTACH_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include <xylem/wire.h>

#include "agent/core/publication.h"
#include "agent/mailbox.h"
#include "agent/serve/attach.h"
#include "agent/serve/peer.h"
#include "agent/serve/socket.h"

enum {
    /* A control buffer for one descriptor has room for two, because of its alignment. */
    ATTACH_FDS_MAX = 2,
    ATTACH_TEXT_BYTES = sizeof(((struct xylem_wire_error *)NULL)->text),
};

/* --- disposing --- */

/* A socket to be drained and closed, and descriptors to be closed. */
struct disposal {
    struct disposal *next;
    void (*done)(struct disposal *disposal); /* attach thread */
    int socket_fd;                           /* -1: none */
    int fds[ATTACH_FDS_MAX];
    size_t fd_count;
};

struct disposer;

struct disposers {
    struct mailbox *home; /* the attach thread's */
    struct ev_loop *loop;
    struct disposer *current; /* gets the next disposal */
    struct disposer *stuck;   /* replaced; each still has one */
    struct disposal *first, *last;
    size_t waiting;
    ev_timer watch;
};

/* Starts the first thread. Any thread; before the attach thread runs. */
int disposers_start(struct disposers *disposers, struct mailbox *home, struct error *error);
/* The attach thread's loop, once it is there. */
void disposers_enter(struct disposers *disposers, struct ev_loop *loop);
/* Attach thread. `disposal` is the disposers' until its `done` is called. */
void dispose(struct disposers *disposers, struct disposal *disposal);
bool disposers_idle(const struct disposers *disposers);
/* Ends and joins what is not stuck. Returns false if a thread is stuck for good: then it still uses
 * `home`. */
bool disposers_stop(struct disposers *disposers);

/* --- what a client is to be sent --- */

enum {
    SEND_WELCOME = 1,
    SEND_RELEASE = 2,
    SEND_SET = 4,
    SEND_CHANGED = 8,
    SEND_ERROR = 16, /* and then the end */
};

struct outbox {
    uint32_t parts; /* SEND_* */
    uint32_t changed;
    uint64_t client_id;
    uint64_t release;
    bool fence;
    int error_code;
    char error_text[ATTACH_TEXT_BYTES];
    struct {
        uint64_t min_epoch;
        size_t count;
        int fds[XYLEM_WIRE_REGIONS_MAX]; /* duplicates, ours */
        uint64_t sizes[XYLEM_WIRE_REGIONS_MAX];
    } set;
};

/* Moves everything of `from` into `into`; a newer set replaces one that was not sent. */
void outbox_move(struct outbox *into, struct outbox *from);
void outbox_clear(struct outbox *outbox);

/* --- connections --- */

struct listener {
    struct attach *attach;
    struct socket_listener socket;
    struct config_socket config; /* its path is the socket's */
    struct config_texts services;
    unsigned references; /* atomic: main's list, the thread's list, every connection */
    bool moved;          /* set by main before a reload: another listener has the descriptor now */
    bool cut;            /* the same: its connections end, since they may have other services now */
    ev_io acceptable;    /* the rest is the attach thread's */
    struct disposal disposal;
};

struct listener *listener_ref(struct listener *listener);
void listener_unref(struct listener *listener);

enum turn_kind { TURN_HELLO, TURN_INSTALLED, TURN_REFUSED, TURN_WANT, TURN_DETACH, TURN_CLOSED };

struct turn {
    struct mail mail;
    enum turn_kind kind;
    uint64_t min_epoch; /* INSTALLED, REFUSED */
    int code;           /* REFUSED; in the answer to HELLO: XYLEM_E_*, 0 if taken in */
    bool over;          /* answer: end the connection */
    union {
        struct {
            struct grace_page page;
            int pidfd;
            uint64_t installed;
            bool fenced;
            char name[33];
        } hello;
        char service[256];
        char error_text[ATTACH_TEXT_BYTES]; /* answer to HELLO */
    };
};

struct connection {
    struct attach *attach;
    struct listener *listener; /* a reference */
    struct peer peer;          /* does not change: both threads may read it */

    /* The attach thread's. */
    struct connection *next, *previous;
    int fd;
    bool refused;   /* beyond a limit: told so with its first packet */
    bool known;     /* main has heard of it */
    bool over;      /* the socket is the disposers' */
    bool muted;     /* the peer takes nothing any more, but may have said something before */
    bool disposed;  /* the socket is closed */
    bool forgotten; /* main has let go, or never knew */
    bool turn_away;
    ev_io readable;
    ev_io writable;
    ev_timer deadline; /* of the hello; later, of reading what was sent */
    ev_timer retry;    /* the kernel was short of something: no event tells when it no longer is */
    struct outbox pending;
    struct disposal disposal;

    struct turn turn;
    struct {
        struct mail mail;
        struct outbox outbox;
    } down;

    /* Main's. */
    struct publication_client *client; /* NULL: none yet, or gone */
    uint64_t client_id;
    bool down_away;
    bool closed; /* TURN_CLOSED is here */
    struct outbox waiting;
};

struct attach {
    struct publication *publication;
    struct ev_loop *main_loop;
    attach_want *want;
    void *want_argument;
    double hello_deadline_sec;
    double stall_deadline_sec;
    struct mailbox to_main;
    struct mailbox to_thread;
    pthread_t thread;

    /* Main's. */
    ev_io main_mail;
    struct listener **listeners;
    size_t listener_count;
    bool thread_stopped;
    struct mail stop;

    /* The attach thread's. */
    struct ev_loop *loop;
    ev_io thread_mail;
    struct listener **accepting;
    size_t accepting_count;
    bool accept_paused;
    ev_timer accept_pause;
    struct attach_limits limits;
    struct connection *connections; /* the newest first */
    struct disposers disposers;
    bool stopping;
    ev_timer stop_deadline;
    struct mail stopped;
};

/* Takes effect on the attach thread; `accepting` holds references and replaces the former list. */
struct reload {
    struct mail mail;
    struct attach *attach;
    struct listener **accepting;
    size_t accepting_count;
    struct attach_limits limits;
};

/* attach_client.c: runs on main, then the turn goes back. */
void client_turn(struct mail *mail);

/* attach_connection.c */
void *attach_thread(void *argument);
void attach_take_reload(struct mail *mail);
void attach_take_stop(struct mail *mail);
void connection_turn(struct connection *connection); /* sends connection->turn to main */
void connection_turn_back(struct mail *mail);
void connection_down(struct mail *mail);
/* Ends it; `code` is XYLEM_E_* and `text` for the ERROR packet, or 0. Harmless if it is over already. */
void connection_end(struct connection *connection, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* attach_client.c: the down mail is at home on main. */
void client_down_back(struct mail *mail);

/* attach_receive.c */
struct packet {
    union {
        struct xylem_wire_header header;
        struct xylem_wire_hello hello;
        struct xylem_wire_epoch epoch;
        struct xylem_wire_want want;
        struct xylem_wire_detach detach;
        uint8_t bytes[XYLEM_WIRE_PACKET_MAX + 1];
    };
    size_t size_bytes;
    int fds[ATTACH_FDS_MAX];
    size_t fd_count;
    bool fds_lost; /* there were more, or no room in our table */
    bool foreign;  /* control messages other than SCM_RIGHTS */
};

void on_readable(struct ev_loop *loop, ev_io *watcher, int events);
/* Takes the packet that was looked at off the queue. */
void packet_consume(const struct connection *connection);
/* Ends the connection for what the packet is; its descriptors go with it. */
void packet_refuse(struct connection *connection, struct packet *packet, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* attach_hello.c */
void hello_receive(struct connection *connection, struct packet *packet);

/* attach_send.c */
void connection_flush(struct connection *connection);
void on_writable(struct ev_loop *loop, ev_io *watcher, int events);
void on_retry(struct ev_loop *loop, ev_timer *timer, int events);
/* One try: for somebody who is thrown out. */
void send_error(const struct connection *connection, int code, const char *text);

#endif

/* SPDX-License-Identifier: MIT */
/* One connection: bytes in, lines, commands one after the other, bytes out. Buffers are wiped before they are freed or
 * used again: configurations come in and private keys go out here. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/serve/admin_internal.h"

enum { IN_CAPACITY = ADMIN_LINE_MAX + 2 }; /* the newline and the parser's zero */

static void process(struct admin_connection *connection);

/* --- out --- */

static size_t unsent(const struct admin_connection *connection)
{
    return connection->out_size - connection->out_sent;
}

static void clear_out(struct admin_connection *connection)
{
    if (connection->out)
        explicit_bzero(connection->out, connection->out_size);
    connection->out_size = connection->out_sent = 0;
}

/* Without realloc(), which could leave a copy behind. */
static bool reserve_out(struct admin_connection *connection, size_t size)
{
    if (connection->out_capacity - connection->out_size >= size)
        return true;
    size_t capacity = (connection->out_size + size) * 2;
    char *grown = malloc(capacity);
    if (!grown)
        return false;
    size_t kept = unsent(connection);
    if (kept)
        memcpy(grown, connection->out + connection->out_sent, kept);
    clear_out(connection);
    free(connection->out);
    connection->out = grown;
    connection->out_capacity = capacity;
    connection->out_size = kept;
    return true;
}

static void append(struct admin_connection *connection, const char *bytes, size_t size)
{
    if (size == 0)
        return;
    memcpy(connection->out + connection->out_size, bytes, size);
    connection->out_size += size;
}

/* Sends what the socket takes. False: the peer has gone. */
static bool send_out(struct admin_connection *connection)
{
    while (unsent(connection) > 0) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_sent, unsent(connection),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        connection->out_sent += (size_t)sent;
        ev_timer_again(connection->admin->options.loop, &connection->idle);
    }
    clear_out(connection);
    return true;
}

/* Blank lines end answers, so an answer's own are left out. */
static void append_body(struct admin_connection *connection, const char *body, size_t size)
{
    char before = '\n';
    for (size_t i = 0; i < size; before = body[i++])
        if (body[i] != '\n' || before != '\n')
            connection->out[connection->out_size++] = body[i];
    if (before != '\n')
        append(connection, "\n", 1);
}

void admin_connection_answer(struct admin_connection *connection, const char *first, size_t first_size,
                             const char *body, size_t body_size)
{
    if (!reserve_out(connection, first_size + body_size + 4)) {
        connection->closing = true; /* an answer is missing: whatever came next would be taken for it */
        return;
    }
    append(connection, first, first_size);
    append(connection, "\n", 1);
    append_body(connection, body, body_size);
    append(connection, "\n", 1);
}

void admin_connection_line(struct admin_connection *connection, const char *line, size_t size)
{
    if (unsent(connection) + size > ADMIN_WATCH_BYTES_MAX || !reserve_out(connection, size)) {
        connection->watch_lost++;
        return;
    }
    append(connection, line, size);
    ev_io_start(connection->admin->options.loop, &connection->writing);
}

/* --- life --- */

void admin_connection_close(struct admin_connection *connection)
{
    struct ev_loop *loop = connection->admin->options.loop;
    ev_io_stop(loop, &connection->reading);
    ev_io_stop(loop, &connection->writing);
    ev_timer_stop(loop, &connection->idle);
    close(connection->fd);
    if (connection->call)
        connection->call->connection = NULL;
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    connection->admin->connection_count--;
    peer_free(&connection->peer);
    clear_out(connection);
    explicit_bzero(connection->in, IN_CAPACITY);
    free(connection->in);
    free(connection->out);
    free(connection->snapshot.pairs);
    free(connection);
}

/* What to wait for next. May close the connection. */
static void settle(struct admin_connection *connection)
{
    struct ev_loop *loop = connection->admin->options.loop;
    bool idle = !connection->call && unsent(connection) == 0 && connection->watched == 0;
    if (idle && (connection->closing || (connection->ended && connection->in_taken == connection->in_size))) {
        admin_connection_close(connection);
        return;
    }
    if (unsent(connection) > 0)
        ev_io_start(loop, &connection->writing);
    else
        ev_io_stop(loop, &connection->writing);
    if (!connection->ended && !connection->closing &&
        connection->in_size - connection->in_taken <= ADMIN_LINE_MAX)
        ev_io_start(loop, &connection->reading);
    else
        ev_io_stop(loop, &connection->reading);
}

/* --- lines --- */

static int check_words(const struct admin_command *command, size_t count, struct error *error)
{
    if (count >= command->words_min && count <= command->words_max)
        return 0;
    return error_set(error, ERROR_INVALID, "usage: %s%s%s", command->name, *command->arguments ? " " : "",
                     command->arguments);
}

static int check_call(struct admin_connection *connection, const struct admin_line *line,
                      const struct admin_command **command, size_t *name_words, enum config_level *level,
                      struct error *error)
{
    if (line->count == 0)
        return error_set(error, ERROR_INVALID, "--json wants a command behind it; try: help");
    *command = admin_find_command(connection->admin->commands, line, name_words);
    if (!*command)
        return error_set(error, ERROR_INVALID, "unknown command \"%.100s\"; try: help", line->words[0]);
    *level = admin_level_of(connection->admin, connection->listener->config, &connection->peer);
    if (*level < (*command)->level)
        return error_set(error, ERROR_DENIED, "%s needs level %s, and this connection has level %s",
                         (*command)->name, admin_level_name((*command)->level), admin_level_name(*level));
    return check_words(*command, line->count - *name_words, error);
}

static void run_line(struct admin_connection *connection, char *bytes, size_t size)
{
    struct admin_line line;
    struct error error;
    const struct admin_command *command = NULL;
    size_t name_words = 0;
    enum config_level level = CONFIG_VIEWER;
    int code = admin_line_parse(bytes, size, &line, &error);
    bool json = connection->json || line.json;
    if (!code && line.count == 0 && !line.json)
        return;
    if (!code)
        code = check_call(connection, &line, &command, &name_words, &level, &error);
    struct admin_call *call = code ? NULL : calloc(1, sizeof *call);
    if (!code && !call)
        error_set(&error, ERROR_SYSTEM, "no memory for the command");
    if (!call) {
        admin_send_error(connection, &error, json);
        return;
    }
    *call = (struct admin_call){.admin = connection->admin,
                                .connection = connection,
                                .command = command,
                                .uid = connection->peer.uid,
                                .pid = connection->peer.pid,
                                .level = level,
                                .json = json,
                                .audited = command->changes};
    json_writer_init(&call->out, 0);
    connection->call = call;
    command->run(call, line.count - name_words, line.words + name_words);
}

/* Takes the next line off the buffer. False: there is none yet. What the peer has left without a newline when it ended
 * counts as a line. */
static bool take_line(struct admin_connection *connection, char **line, size_t *size)
{
    char *start = connection->in + connection->in_taken;
    size_t left = connection->in_size - connection->in_taken;
    char *newline = left ? memchr(start, '\n', left) : NULL;
    if (!newline && !(connection->ended && left > 0))
        return false;
    *line = start;
    *size = newline ? (size_t)(newline - start) : left;
    connection->in_taken += *size + (newline ? 1 : 0);
    return true;
}

static void compact_in(struct admin_connection *connection)
{
    size_t left = connection->in_size - connection->in_taken;
    memmove(connection->in, connection->in + connection->in_taken, left);
    explicit_bzero(connection->in + left, connection->in_size - left);
    connection->in_size = left;
    connection->in_taken = 0;
}

static void check_length(struct admin_connection *connection)
{
    struct error error;
    if (connection->in_size - connection->in_taken <= ADMIN_LINE_MAX || connection->closing)
        return;
    error_set(&error, ERROR_LIMIT, "a line has at most %d bytes; this connection ends here", ADMIN_LINE_MAX);
    admin_send_error(connection, &error, connection->json);
    connection->closing = true;
}

/* Runs what can be run, sends what can be sent. May close the connection. One answer is sent before the next command is
 * begun, so a peer that does not read costs one answer. */
static void process(struct admin_connection *connection)
{
    char *line;
    size_t size;
    connection->processing = true;
    while (!connection->call && !connection->closing && connection->watched == 0 && unsent(connection) == 0 &&
           take_line(connection, &line, &size)) {
        run_line(connection, line, size);
        explicit_bzero(line, size);
        if (!send_out(connection)) {
            connection->processing = false;
            admin_connection_close(connection);
            return;
        }
    }
    connection->processing = false;
    compact_in(connection);
    if (!connection->call && connection->watched == 0 && unsent(connection) == 0) {
        check_length(connection);
        if (!send_out(connection)) {
            admin_connection_close(connection);
            return;
        }
    }
    settle(connection);
}

void admin_connection_resume(struct admin_connection *connection)
{
    ev_timer_again(connection->admin->options.loop, &connection->idle);
    if (connection->processing)
        return;
    if (send_out(connection))
        process(connection);
    else
        admin_connection_close(connection);
}

/* --- events --- */

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct admin_connection *connection = watcher->data;
    char discarded[4096];
    (void)events;
    bool discard = connection->watched != 0; /* a watcher says nothing more; what it says is its end */
    char *to = discard ? discarded : connection->in + connection->in_size;
    size_t room = discard ? sizeof discarded : IN_CAPACITY - 1 - connection->in_size;
    ssize_t size = room ? recv(connection->fd, to, room, MSG_DONTWAIT) : -1;
    if (size == -1 && room && errno != EAGAIN && errno != EINTR && errno != EWOULDBLOCK) {
        admin_connection_close(connection);
        return;
    }
    if (room == 0 || size == 0) {
        connection->ended |= size == 0;
        ev_io_stop(loop, watcher);
    }
    if (size > 0 && !discard) {
        connection->in_size += (size_t)size;
        ev_timer_again(loop, &connection->idle);
    }
    process(connection);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct admin_connection *connection = watcher->data;
    (void)loop, (void)events;
    if (!send_out(connection)) {
        admin_connection_close(connection);
        return;
    }
    if (connection->watched && connection->watch_lost && unsent(connection) == 0)
        admin_watch_drained(connection);
    process(connection);
}

/* A watcher that has closed its sending side can be told from one that has gone only by asking. */
static bool is_gone(const struct admin_connection *connection)
{
    struct pollfd state = {.fd = connection->fd};
    return poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

static void on_idle(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct admin_connection *connection = timer->data;
    (void)events;
    /* A watcher may be quiet, and a command of ours slow. */
    if ((connection->watched || connection->call) && !is_gone(connection))
        ev_timer_again(loop, timer);
    else
        admin_connection_close(connection);
}

int admin_connection_open(struct admin *admin, struct admin_listener *listener, int fd, struct peer *peer,
                          struct error *error)
{
    struct admin_connection *connection = calloc(1, sizeof *connection);
    char *in = malloc(IN_CAPACITY);
    if (!connection || !in) {
        free(connection);
        free(in);
        peer_free(peer);
        close(fd);
        return error_set(error, ERROR_SYSTEM, "no memory for an admin connection");
    }
    connection->admin = admin;
    connection->listener = listener;
    connection->fd = fd;
    connection->peer = *peer;
    connection->in = in;
    connection->next = admin->connections;
    connection->link = &admin->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    admin->connections = connection;
    admin->connection_count++;
    ev_io_init(&connection->reading, on_readable, fd, EV_READ);
    ev_io_init(&connection->writing, on_writable, fd, EV_WRITE);
    ev_init(&connection->idle, on_idle);
    connection->idle.repeat = admin->options.idle_timeout_sec;
    connection->reading.data = connection->writing.data = connection->idle.data = connection;
    ev_timer_again(admin->options.loop, &connection->idle);
    ev_io_start(admin->options.loop, &connection->reading);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* A connection as main sees it: a client of the publication. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "agent/log.h"

/* --- what the publication wants sent --- */

static void push(struct connection *connection)
{
    if (connection->down_away || !connection->waiting.parts)
        return;
    outbox_move(&connection->down.outbox, &connection->waiting);
    connection->down_away = true;
    connection->down.mail.run = connection_down;
    mailbox_post(&connection->attach->to_thread, &connection->down.mail);
}

static void sink_welcome(void *argument, uint64_t client_id, bool fence)
{
    struct connection *connection = argument;
    connection->client_id = client_id;
    connection->waiting.client_id = client_id;
    connection->waiting.fence = fence;
    connection->waiting.parts |= SEND_WELCOME;
    push(connection);
}

static void sink_release(void *argument, uint64_t min_epoch)
{
    struct connection *connection = argument;
    struct outbox release = {.parts = SEND_RELEASE, .release = min_epoch};
    outbox_move(&connection->waiting, &release);
    push(connection);
}

static void sink_changed(void *argument, uint32_t what)
{
    struct connection *connection = argument;
    connection->waiting.changed |= what;
    connection->waiting.parts |= SEND_CHANGED;
    push(connection);
}

static void sink_refuse(void *argument, int code, const char *text)
{
    struct connection *connection = argument;
    connection->waiting.error_code = code;
    snprintf(connection->waiting.error_text, sizeof connection->waiting.error_text, "%s", text);
    connection->waiting.parts |= SEND_ERROR;
    push(connection);
}

/* A set that cannot be sent ends the connection: the client comes again, and is offered one anew. */
static void sink_set(void *argument, uint64_t min_epoch, const int *fds, const uint64_t *sizes, size_t count)
{
    struct connection *connection = argument;
    struct outbox offer = {.parts = SEND_SET, .set.min_epoch = min_epoch};
    if (count > XYLEM_WIRE_REGIONS_MAX) {
        sink_refuse(connection, XYLEM_E_LIMIT, "the set has more regions than a packet has room for");
        return;
    }
    for (; offer.set.count < count; offer.set.count++) {
        int fd = fcntl(fds[offer.set.count], F_DUPFD_CLOEXEC, 0);
        if (fd == -1) {
            outbox_clear(&offer);
            sink_refuse(connection, XYLEM_E_LIMIT, "the agent has no room for another descriptor");
            return;
        }
        offer.set.fds[offer.set.count] = fd;
        offer.set.sizes[offer.set.count] = sizes[offer.set.count];
    }
    outbox_move(&connection->waiting, &offer);
    push(connection);
}

static const struct publication_sink sink = {sink_welcome, sink_set, sink_release, sink_changed, sink_refuse};

/* --- what the client has said --- */

static void take_hello(struct connection *connection)
{
    struct turn *turn = &connection->turn;
    struct error error;
    struct publication_peer peer = {
        .uid = connection->peer.uid,
        .gid = connection->peer.gid,
        .pid = connection->peer.pid,
        .pidfd = turn->hello.pidfd,
        .groups = connection->peer.groups,
        .group_count = connection->peer.group_count,
        .services = &connection->listener->services,
        .page = turn->hello.page,
        .installed = turn->hello.installed,
        .fenced = turn->hello.fenced,
    };
    memcpy(peer.name, turn->hello.name, sizeof peer.name);
    int code = publication_attach(connection->attach->publication, &peer, &sink, connection,
                                  &connection->client, &error);
    if (!code) {
        turn->code = 0;
        log_debug(log_message("client attached"), log_u64("client", connection->client_id),
                  log_u64("uid", peer.uid), log_i64("pid", peer.pid), log_text("name", peer.name),
                  log_text("socket", connection->listener->socket.path));
        return;
    }
    grace_page_unmap(&peer.page);
    if (peer.pidfd != -1)
        close(peer.pidfd);
    turn->code = code == ERROR_DENIED ? XYLEM_E_DENIED : XYLEM_E_LIMIT;
    snprintf(turn->error_text, sizeof turn->error_text, "%.*s", ATTACH_TEXT_BYTES - 1, error.text);
}

static bool passes_door(const struct config_texts *services, const char *service)
{
    if (services->count == 0)
        return true;
    for (size_t i = 0; i < services->count; i++)
        if (strcmp(services->items[i], service) == 0)
            return true;
    return false;
}

static int want(const struct connection *connection, const char *service, struct error *error)
{
    const struct attach *attach = connection->attach;
    const struct peer *peer = &connection->peer;
    if (!passes_door(&connection->listener->services, service))
        return error_set(error, ERROR_DENIED, "socket \"%s\" is not for this service",
                         connection->listener->socket.path);
    if (!attach->want)
        return error_set(error, ERROR_DENIED, "leaves are not issued on request");
    return attach->want(attach->want_argument, connection->client, service, peer->uid, peer->groups,
                        peer->group_count, error);
}

static void take_want(const struct connection *connection)
{
    static struct log_limit limit = LOG_LIMIT(1, 10);
    const char *service = connection->turn.service;
    struct error error;
    uint64_t suppressed;
    if (want(connection, service, &error) != 0 && log_limit_allow(&limit, &suppressed))
        log_warning(log_message("leaf requested in vain"), log_text("service", service),
                    log_u64("client", connection->client_id), log_u64("uid", connection->peer.uid),
                    log_reason(&error), log_u64("suppressed", suppressed));
}

static void log_gone(const struct connection *connection, const char *how)
{
    log_debug(log_message("client gone"), log_u64("client", connection->client_id),
              log_u64("uid", connection->peer.uid), log_i64("pid", connection->peer.pid),
              log_text("how", how));
}

/* From here on the publication calls no sink for it. */
static void take_detach(struct connection *connection)
{
    log_gone(connection, "detached");
    publication_detach(connection->client);
    connection->client = NULL;
    outbox_clear(&connection->waiting);
    connection->turn.over = true;
}

static void take_closed(struct connection *connection)
{
    connection->closed = true;
    if (connection->client) {
        log_gone(connection, "disconnected");
        publication_disconnected(connection->client);
        connection->client = NULL;
    }
    outbox_clear(&connection->waiting);
}

static void give_turn_back(struct connection *connection)
{
    connection->turn.mail.run = connection_turn_back;
    mailbox_post(&connection->attach->to_thread, &connection->turn.mail);
}

void client_turn(struct mail *mail)
{
    struct connection *connection = caa_container_of(mail, struct connection, turn.mail);
    struct turn *turn = &connection->turn;
    switch (turn->kind) {
    case TURN_HELLO:
        take_hello(connection);
        break;
    case TURN_INSTALLED:
        publication_installed(connection->client, turn->min_epoch);
        break;
    case TURN_REFUSED:
        publication_refused(connection->client, turn->min_epoch, turn->code);
        break;
    case TURN_WANT:
        take_want(connection);
        break;
    case TURN_DETACH:
        take_detach(connection);
        break;
    case TURN_CLOSED:
        take_closed(connection);
        if (connection->down_away)
            return; /* client_down_back() gives it back */
        break;
    }
    give_turn_back(connection);
}

void client_down_back(struct mail *mail)
{
    struct connection *connection = caa_container_of(mail, struct connection, down.mail);
    connection->down_away = false;
    if (connection->closed)
        give_turn_back(connection);
    else
        push(connection);
}

/* SPDX-License-Identifier: MIT */
/* One packet of a client.
 *
 * A packet is looked at first (MSG_PEEK) and taken off the queue only when it is known to be harmless.
 * Descriptors that are looked at are duplicates: while the packet is in the queue, none that we or the
 * kernel drop is the last reference, and so none can block. Of a packet that breaks the rules the original
 * stays where it is, for a disposer. The control buffer is sized for one descriptor, which on 64-bit has
 * room for two; the kernel drops the others' duplicates and sets MSG_CTRUNC, but leaves those two
 * installed: all of them are walked. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xylem/xylem.h>

static void gather_fds(struct packet *packet, struct msghdr *message)
{
    packet->fd_count = 0;
    packet->foreign = false;
    packet->fds_lost = (message->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            packet->foreign = true;
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && packet->fd_count < ATTACH_FDS_MAX; i++)
            memcpy(&packet->fds[packet->fd_count++], CMSG_DATA(part) + i * sizeof(int), sizeof(int));
    }
}

/* Returns false with errno if there is no packet. At the end of the stream the packet is empty. */
static bool look(int fd, struct packet *packet)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    _Static_assert(sizeof control <= CMSG_LEN(ATTACH_FDS_MAX * sizeof(int)), "no room for more than we keep");
    memset(packet, 0, sizeof *packet);
    struct iovec part = {packet->bytes, sizeof packet->bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size == -1)
        return false;
    packet->size_bytes = (size_t)size;
    gather_fds(packet, &message);
    return true;
}

void packet_consume(const struct connection *connection)
{
    char byte;
    (void)!recv(connection->fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC);
}

void packet_refuse(struct connection *connection, struct packet *packet, int code, const char *format, ...)
{
    char text[ATTACH_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(connection->disposal.fds, packet->fds, sizeof packet->fds);
    connection->disposal.fd_count = packet->fd_count;
    packet->fd_count = 0;
    connection_end(connection, code, "%s", text);
}

static bool has_size(struct connection *connection, struct packet *packet, size_t size_bytes)
{
    if (packet->size_bytes == size_bytes)
        return true;
    packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a packet of type %u has %zu bytes, not %zu",
                  packet->header.type, size_bytes, packet->size_bytes);
    return false;
}

static void post_epoch(struct connection *connection, struct packet *packet, enum turn_kind kind)
{
    if (!has_size(connection, packet, sizeof packet->epoch))
        return;
    connection->turn.kind = kind;
    connection->turn.min_epoch = packet->epoch.min_epoch;
    connection->turn.code = packet->epoch.code;
    packet_consume(connection);
    connection_turn(connection);
}

static void post_want(struct connection *connection, struct packet *packet)
{
    if (!has_size(connection, packet, sizeof packet->want))
        return;
    if (!memchr(packet->want.service, '\0', sizeof packet->want.service)) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "WANT: the service has no terminating zero");
        return;
    }
    _Static_assert(sizeof connection->turn.service == sizeof packet->want.service, "wire.h has changed");
    connection->turn.kind = TURN_WANT;
    memcpy(connection->turn.service, packet->want.service, sizeof packet->want.service);
    packet_consume(connection);
    connection_turn(connection);
}

static void post_detach(struct connection *connection, struct packet *packet)
{
    if (!has_size(connection, packet, sizeof packet->detach))
        return;
    connection->turn.kind = TURN_DETACH;
    packet_consume(connection);
    connection_turn(connection);
}

static void receive_attached(struct connection *connection, struct packet *packet)
{
    if (packet->header.type == XYLEM_WIRE_HELLO) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a second HELLO on one connection");
        return;
    }
    if (packet->fd_count || packet->fds_lost) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "descriptors belong to HELLO alone");
        return;
    }
    switch (packet->header.type) {
    case XYLEM_WIRE_INSTALLED:
        post_epoch(connection, packet, TURN_INSTALLED);
        return;
    case XYLEM_WIRE_REFUSED:
        post_epoch(connection, packet, TURN_REFUSED);
        return;
    case XYLEM_WIRE_WANT:
        post_want(connection, packet);
        return;
    case XYLEM_WIRE_DETACH:
        post_detach(connection, packet);
        return;
    default:
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a client does not send packets of type %u",
                      packet->header.type);
    }
}

static void receive(struct connection *connection, struct packet *packet)
{
    if (packet->size_bytes == 0 && packet->fd_count == 0 && !packet->fds_lost)
        connection_end(connection, 0, "closed"); /* an empty packet looks the same, and is as good a reason */
    else if (packet->foreign)
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "control messages other than SCM_RIGHTS");
    else if (packet->size_bytes > XYLEM_WIRE_PACKET_MAX)
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a packet of more than %u bytes",
                      XYLEM_WIRE_PACKET_MAX);
    else if (packet->size_bytes < sizeof packet->header || packet->header.magic != XYLEM_WIRE_MAGIC)
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL,
                      "%zu bytes that do not start as a packet of the attach protocol", packet->size_bytes);
    else if (packet->header.size_bytes != packet->size_bytes)
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a packet of %zu bytes says that it has %u",
                      packet->size_bytes, packet->header.size_bytes);
    else if (connection->known)
        receive_attached(connection, packet);
    else
        hello_receive(connection, packet);
}

void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct connection *connection = watcher->data;
    struct packet packet;
    if (connection->refused) {
        const struct attach_limits *limits = &connection->attach->limits;
        connection_end(connection, XYLEM_E_LIMIT,
                       "limits.clients (%u) or limits.clients_per_uid (%u) is reached", limits->clients,
                       limits->clients_per_uid);
    } else if (look(connection->fd, &packet)) {
        receive(connection, &packet);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNRESET) {
        /* ECONNRESET is told once when the peer closed without having read everything; what it had sent
         * before, a DETACH perhaps, comes next. */
        connection_end(connection, 0, "%s", strerror(errno));
    }
}

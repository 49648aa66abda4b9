/* SPDX-License-Identifier: MIT */
/* What a client is sent. It waits here as bits, the newest set and the highest release until the socket
 * takes it; a client that reads nothing for the stall deadline is disconnected. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum sent { SENT, SENT_FULL, SENT_SHORT, SENT_BROKEN };

static void close_set(struct outbox *outbox)
{
    if (outbox->parts & SEND_SET)
        for (size_t i = 0; i < outbox->set.count; i++)
            close(outbox->set.fds[i]); /* our own regions */
    outbox->parts &= ~(uint32_t)SEND_SET;
    outbox->set.count = 0;
}

void outbox_clear(struct outbox *outbox)
{
    close_set(outbox);
    outbox->parts = 0;
    outbox->changed = 0;
}

void outbox_move(struct outbox *into, struct outbox *from)
{
    if (from->parts & SEND_WELCOME) {
        into->client_id = from->client_id;
        into->fence = from->fence;
    }
    if ((from->parts & SEND_RELEASE) && (!(into->parts & SEND_RELEASE) || from->release > into->release))
        into->release = from->release;
    if (from->parts & SEND_SET) {
        close_set(into);
        into->set = from->set;
    }
    if (from->parts & SEND_ERROR) {
        into->error_code = from->error_code;
        memcpy(into->error_text, from->error_text, sizeof into->error_text);
    }
    into->changed |= from->changed;
    into->parts |= from->parts;
    from->parts = 0;
    from->changed = 0;
}

static struct xylem_wire_header header(uint16_t type, size_t size_bytes)
{
    return (struct xylem_wire_header){XYLEM_WIRE_MAGIC, type, (uint16_t)size_bytes};
}

static enum sent send_packet(int fd, const void *packet, size_t size_bytes, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(XYLEM_WIRE_REGIONS_MAX * sizeof(int))];
    } control;
    struct iovec part = {(void *)(uintptr_t)packet, size_bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        control.align = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(fd_count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    if (sent != -1)
        return SENT;
    if (errno == EAGAIN)
        return SENT_FULL;
    /* ETOOMANYREFS: too many descriptors of ours are under way to clients that do not read. */
    return errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM ? SENT_SHORT : SENT_BROKEN;
}

static enum sent send_welcome(int fd, const struct outbox *outbox)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    struct xylem_wire_welcome packet = {
        .header = header(XYLEM_WIRE_WELCOME, sizeof packet),
        .wire_version = XYLEM_WIRE_VERSION,
        .flags = outbox->fence ? XYLEM_WELCOME_FENCE : 0,
        .clock_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .client_id = outbox->client_id,
    };
    return send_packet(fd, &packet, sizeof packet, NULL, 0);
}

static enum sent send_release(int fd, const struct outbox *outbox)
{
    struct xylem_wire_epoch packet = {
        .header = header(XYLEM_WIRE_RELEASE, sizeof packet),
        .min_epoch = outbox->release,
    };
    return send_packet(fd, &packet, sizeof packet, NULL, 0);
}

static enum sent send_set(int fd, const struct outbox *outbox)
{
    struct xylem_wire_set packet = {
        .header = header(XYLEM_WIRE_SET, sizeof packet),
        .min_epoch = outbox->set.min_epoch,
        .region_count = (uint32_t)outbox->set.count,
    };
    memcpy(packet.region_bytes, outbox->set.sizes, outbox->set.count * sizeof packet.region_bytes[0]);
    return send_packet(fd, &packet, sizeof packet, outbox->set.fds, outbox->set.count);
}

static enum sent send_changed(int fd, const struct outbox *outbox)
{
    struct xylem_wire_changed packet = {
        .header = header(XYLEM_WIRE_CHANGED, sizeof packet),
        .what = outbox->changed,
    };
    return send_packet(fd, &packet, sizeof packet, NULL, 0);
}

void send_error(const struct connection *connection, int code, const char *text)
{
    struct xylem_wire_error packet = {
        .header = header(XYLEM_WIRE_ERROR, sizeof packet),
        .code = code,
    };
    snprintf((char *)packet.text, sizeof packet.text, "%s", text);
    send_packet(connection->fd, &packet, sizeof packet, NULL, 0);
}

/* The first part that is there. A release goes before a set, which may need the room that it makes. */
static enum sent send_part(int fd, struct outbox *outbox)
{
    enum sent sent = SENT;
    uint32_t part = outbox->parts & -outbox->parts;
    switch (part) {
    case SEND_WELCOME:
        sent = send_welcome(fd, outbox);
        break;
    case SEND_RELEASE:
        sent = send_release(fd, outbox);
        break;
    case SEND_SET:
        sent = send_set(fd, outbox);
        if (sent == SENT)
            close_set(outbox);
        break;
    case SEND_CHANGED:
        sent = send_changed(fd, outbox);
        if (sent == SENT)
            outbox->changed = 0;
        break;
    default:
        break;
    }
    if (sent == SENT)
        outbox->parts &= ~part;
    return sent;
}

static void arm_deadline(struct connection *connection)
{
    connection->deadline.repeat = connection->attach->stall_deadline_sec;
    ev_timer_again(connection->attach->loop, &connection->deadline);
}

/* Peer's end is closed or shut. What it said before, a DETACH perhaps, is still to be read; the end comes
 * with the end of the stream, or with the deadline. */
static void mute(struct connection *connection)
{
    connection->muted = true;
    outbox_clear(&connection->pending);
    arm_deadline(connection);
}

void connection_flush(struct connection *connection)
{
    struct ev_loop *loop = connection->attach->loop;
    struct outbox *outbox = &connection->pending;
    enum sent sent = SENT;
    bool progress = false;
    if (connection->muted) {
        outbox_clear(outbox);
        return;
    }
    while (sent == SENT && (outbox->parts & ~(uint32_t)SEND_ERROR)) {
        sent = send_part(connection->fd, outbox);
        progress |= sent == SENT;
    }
    ev_io_stop(loop, &connection->writable);
    ev_timer_stop(loop, &connection->retry);
    if (sent == SENT_BROKEN) {
        mute(connection);
        return;
    }
    if (sent == SENT) {
        ev_timer_stop(loop, &connection->deadline);
        if (outbox->parts & SEND_ERROR)
            connection_end(connection, outbox->error_code, "%s", outbox->error_text);
        return;
    }
    if (progress || !ev_is_active(&connection->deadline))
        arm_deadline(connection);
    if (sent == SENT_FULL)
        ev_io_start(loop, &connection->writable);
    else
        ev_timer_again(loop, &connection->retry);
}

void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    connection_flush(watcher->data);
}

void on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    connection_flush(timer->data);
}

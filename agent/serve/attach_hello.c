/* SPDX-License-Identifier: MIT */
/* The first packet: whether we speak one language, and the reader page that comes with it. */
#include "agent/serve/attach_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xylem/xylem.h>

/* Blocks may have been reserved beyond the end of the page's file, and freeing many takes long: whoever
 * drops the last reference would do it. One huge page, of whatever size, is the system's choice and
 * allowed. */
#define PAGE_BLOCKS_BYTES_MAX (64ull << 20)

/* The version stands in front of everything that it may change. */
static bool check_version(struct connection *connection, struct packet *packet)
{
    const struct xylem_wire_hello *hello = &packet->hello;
    if (packet->size_bytes < offsetof(struct xylem_wire_hello, incompat_known)) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "a HELLO of %zu bytes", packet->size_bytes);
        return false;
    }
    if (hello->wire_version != XYLEM_WIRE_VERSION) {
        packet_refuse(connection, packet, XYLEM_E_VERSION, "the client speaks wire version %u, the agent %u",
                      hello->wire_version, XYLEM_WIRE_VERSION);
        return false;
    }
    if (packet->size_bytes != sizeof *hello) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "HELLO has %zu bytes, not %zu", sizeof *hello,
                      packet->size_bytes);
        return false;
    }
    if (hello->abi_major != XYLEM_ABI_MAJOR) {
        packet_refuse(connection, packet, XYLEM_E_VERSION,
                      "the client reads region layout %u, the agent writes %u", hello->abi_major,
                      XYLEM_ABI_MAJOR);
        return false;
    }
    uint64_t unknown = XYLEM_INCOMPAT_KNOWN & ~hello->incompat_known;
    if (unknown) {
        packet_refuse(connection, packet, XYLEM_E_VERSION,
                      "regions use features 0x%llx that the client does not know; rebuild it",
                      (unsigned long long)unknown);
        return false;
    }
    return true;
}

static bool check_descriptors(struct connection *connection, struct packet *packet)
{
    if (packet->fd_count == 1 && !packet->fds_lost)
        return true;
    if (packet->fd_count == 0 && packet->fds_lost)
        packet_refuse(connection, packet, XYLEM_E_LIMIT, "the agent has no room for another descriptor");
    else
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "HELLO comes with one descriptor, not with %s",
                      packet->fd_count == 0 ? "none" : "several");
    return false;
}

/* Seals first: asking for them never leaves the kernel, and only memory has any. From then on the file is
 * known to be neither a socket nor somebody's file system, whose fstat() might block. */
static bool map_page(struct connection *connection, struct packet *packet, struct grace_page *page)
{
    int fd = packet->fds[0];
    if (fcntl(fd, F_GET_SEALS) == -1) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "the reader page is no memfd");
        return false;
    }
    int code = grace_page_map(page, fd, packet->hello.slot_capacity);
    if (code == -EINVAL) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL,
                      "the reader page is no memfd, sealed against shrinking and growing, for %u slots",
                      packet->hello.slot_capacity);
        return false;
    }
    if (code) {
        packet_refuse(connection, packet, XYLEM_E_LIMIT, "the agent cannot map the reader page: %s",
                      strerror(-code));
        return false;
    }
    struct stat status;
    if (fstat(fd, &status) == -1 || (uint64_t)status.st_blocks * 512 > PAGE_BLOCKS_BYTES_MAX) {
        grace_page_unmap(page);
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL,
                      "the reader page holds more memory than it has bytes");
        return false;
    }
    return true;
}

void hello_receive(struct connection *connection, struct packet *packet)
{
    struct turn *turn = &connection->turn;
    struct error error;
    if (packet->header.type != XYLEM_WIRE_HELLO) {
        packet_refuse(connection, packet, XYLEM_E_PROTOCOL, "the first packet is HELLO, not one of type %u",
                      packet->header.type);
        return;
    }
    if (!check_version(connection, packet) || !check_descriptors(connection, packet) ||
        !map_page(connection, packet, &turn->hello.page))
        return;
    if (peer_pidfd(&turn->hello.pidfd, connection->fd, &connection->peer, &error) != 0) {
        grace_page_unmap(&turn->hello.page);
        packet_refuse(connection, packet, XYLEM_E_LIMIT, "%s", error.text);
        return;
    }
    packet_consume(connection); /* while we hold the page: what the queue drops is not the last reference */
    close(packet->fds[0]);      /* sealed memory of a bounded size does not block */
    turn->kind = TURN_HELLO;
    turn->hello.installed = packet->hello.installed;
    turn->hello.fenced = (packet->hello.flags & XYLEM_HELLO_FENCED) != 0;
    memcpy(turn->hello.name, packet->hello.name, sizeof packet->hello.name);
    turn->hello.name[sizeof turn->hello.name - 1] = '\0';
    _Static_assert(sizeof turn->hello.name == sizeof packet->hello.name + 1, "wire.h has changed");
    connection->known = true;
    ev_timer_stop(connection->attach->loop, &connection->deadline);
    connection_turn(connection);
}

/* SPDX-License-Identifier: MIT */
/* What a client and the agent say to each other on attach.sock.
 *
 * The socket is SOCK_SEQPACKET: one struct of this file is one packet, descriptors ride along by SCM_RIGHTS.
 * A packet of another size than its type has, an unknown type, or descriptors where none belong ends the
 * connection.
 *
 *     client                          agent
 *     HELLO + reader page      ──▶
 *                              ◀──    WELCOME            (or ERROR, then the end)
 *                              ◀──    SET + regions      complete or not at all
 *     INSTALLED or REFUSED     ──▶
 *                              ◀──    RELEASE            older sets may be unmapped now
 *                              ◀──    CHANGED            at most one under way; a bit set, not a queue
 *     WANT                     ──▶                       a leaf that no configuration names
 *     DETACH                   ──▶                       no reader of this page is inside any section
 *
 * A set's min_epoch is its name: it never repeats and only grows, also across restarts of the agent. */
#ifndef XYLEM_WIRE_H
#define XYLEM_WIRE_H

#include <xylem/abi.h>

#define XYLEM_WIRE_MAGIC       0x776c7978u /* "xylw" */
#define XYLEM_WIRE_VERSION     1u
#define XYLEM_WIRE_REGIONS_MAX 32u /* the policy region and 31 scope regions */
#define XYLEM_WIRE_PACKET_MAX  512u

#define XYLEM_WIRE_HELLO     1u
#define XYLEM_WIRE_WELCOME   2u
#define XYLEM_WIRE_SET       3u
#define XYLEM_WIRE_INSTALLED 4u
#define XYLEM_WIRE_REFUSED   5u
#define XYLEM_WIRE_RELEASE   6u
#define XYLEM_WIRE_CHANGED   7u
#define XYLEM_WIRE_WANT      8u
#define XYLEM_WIRE_DETACH    9u
#define XYLEM_WIRE_ERROR     10u

struct xylem_wire_header {
    uint32_t magic;
    uint16_t type;
    uint16_t size_bytes; /* of the whole packet */
};

#define XYLEM_HELLO_FENCED 0x1u /* this process could not register for membarrier: it fences by itself */

struct xylem_wire_hello {
    struct xylem_wire_header header;
    uint32_t wire_version;
    uint32_t abi_major;
    uint64_t incompat_known;
    uint64_t highest_epoch; /* that a reader of this client can hold: the installed region's */
    uint64_t installed;     /* min_epoch of the set in use, 0 none */
    uint32_t slot_capacity;
    uint32_t flags;   /* XYLEM_HELLO_* */
    uint8_t name[32]; /* of the program, for people; NUL-padded */
};

#define XYLEM_WELCOME_FENCE 0x1u /* the agent cannot issue membarrier: readers must fence */

struct xylem_wire_welcome {
    struct xylem_wire_header header;
    uint32_t wire_version;
    uint32_t flags;    /* XYLEM_WELCOME_* */
    uint64_t clock_ns; /* the agent's CLOCK_BOOTTIME: time namespaces shift it */
    uint64_t client_id;
};

struct xylem_wire_set {
    struct xylem_wire_header header;
    uint64_t min_epoch;
    uint32_t region_count; /* as many descriptors; the first is the policy region */
    uint32_t flags;
    uint64_t region_bytes[XYLEM_WIRE_REGIONS_MAX];
};

/* INSTALLED, REFUSED (code says why), RELEASE. */
struct xylem_wire_epoch {
    struct xylem_wire_header header;
    uint64_t min_epoch;
    int32_t code; /* XYLEM_E_* */
    uint32_t reserved;
};

#define XYLEM_CHANGED_POLICY 0x1u
#define XYLEM_CHANGED_ROOTS  0x2u
#define XYLEM_CHANGED_LEAF   0x4u

struct xylem_wire_changed {
    struct xylem_wire_header header;
    uint32_t what; /* XYLEM_CHANGED_* */
    uint32_t reserved;
};

struct xylem_wire_want {
    struct xylem_wire_header header;
    uint8_t service[256]; /* NUL-terminated */
};

struct xylem_wire_detach {
    struct xylem_wire_header header;
};

struct xylem_wire_error {
    struct xylem_wire_header header;
    int32_t code; /* XYLEM_E_* */
    uint32_t reserved;
    uint8_t text[240]; /* NUL-terminated, for people */
};

XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_header) == 8, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_hello) == 80, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_welcome) == 32, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_set) == 280, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_epoch) == 24, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_changed) == 16, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_want) == 264, "wire changed: raise XYLEM_WIRE_VERSION");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_wire_error) == 256, "wire changed: raise XYLEM_WIRE_VERSION");

#endif

/* SPDX-License-Identifier: MIT */
/* Xylem's client: authorization and certificates from shared memory, without a system call, a lock or a copy.
 *
 * One #include, no library to link, no static or thread-local state; gnu11 and gnu++17; 64-bit little-endian
 * Linux.
 *
 *     struct xylem_client *client;
 *     struct xylem_reader *reader;                          // one a thread
 *     if (xylem_open(&client, NULL) == 0 && xylem_reader_open(client, &reader) == 0)
 *         if (xylem_authorize_der(reader, "db", certificate, size, NULL))
 *             ... let the peer in ...
 *
 * Before you rely on it:
 *
 * - Agent gone? Everything goes on being answered from the last set of regions, for ever, unless max_stale is
 * set. xylem_freshness() tells how old the answers are. xylem_dispatch() attaches to the next agent when
 * there is one.
 * - xylem_dispatch() must be called when xylem_fd() is readable. A client that never does keeps its first
 * set; once the agent has replaced that (growth, changed access), every verdict of it is the denial
 * "superseded".
 * - After fork() the child has nothing: its calls deny with "forked" and its look-ups fail. Open a client of
 * its own there (plug-ins of forking servers open lazily). Regions and readers are not inherited.
 * - A section that never ends (a thread stopped in a debugger) pins memory; the agent then replaces the
 * regions for everybody else. The stopped thread still sees consistent data when it goes on.
 * - A thread that dies without xylem_reader_close() leaves its slot to the next xylem_reader_open().
 * - Keys: a scope region holds private keys, readable by this process. It is locked in memory by the agent
 * and left out of core dumps. What has been mapped cannot be taken back; the agent withdraws access by new
 * keys.
 * - The agent is trusted: a region is its word. Peers' certificates, URIs and serials are not: hostile input
 * is never an error here, only a denial that says why.
 * - Inline code stays in your binary: rebuild to get fixes. The layout version is checked when regions are
 * mapped.
 *
 * "Section" below means the time between xylem_read_lock() and the xylem_read_unlock() that belongs to it.
 * Unless a function says otherwise it may be called by any thread with a reader of its own, inside or outside
 * a section, and makes no system call, takes no lock and allocates nothing. */
#ifndef XYLEM_XYLEM_H
#define XYLEM_XYLEM_H

#ifndef _GNU_SOURCE
#    error "xylem.h needs _GNU_SOURCE (memfd_create, MSG_CMSG_CLOEXEC): define it before the first #include"
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xylem/abi.h>
#include <xylem/wire.h>
#include <xylem/x509.h>

#ifdef __cplusplus
extern "C" {
#endif

#define XYLEM_MUST_USE             __attribute__((warn_unused_result))
#define XYLEM_COLD_                __attribute__((noinline, cold, unused))
#define XYLEM_HOT_                 __attribute__((always_inline, unused)) inline
#define XYLEM_NOINLINE_            __attribute__((noinline, unused))
#define XYLEM_LIKELY_(condition)   ((int)__builtin_expect(!!(condition), 1))
#define XYLEM_UNLIKELY_(condition) ((int)__builtin_expect(!!(condition), 0))

#define XYLEM_DEFAULT_SOCKET "/run/xylem/attach.sock"

/* --- errors --- */

#define XYLEM_ERRORS(X)                                                                             \
    X(SYSTEM, -1, "SYSTEM: a system call failed; errno says why")                                   \
    X(INVALID, -2, "INVALID: an argument is out of its range")                                      \
    X(NO_AGENT, -3, "NO_AGENT: nobody listens on the attach socket; is xylemd running?")            \
    X(VERSION, -4, "VERSION: agent and client speak no common version; rebuild the older one")      \
    X(DENIED, -5, "DENIED: this user has no access at the agent; see its configuration")            \
    X(LIMIT, -6, "LIMIT: the agent's limit of clients is reached")                                  \
    X(PROTOCOL, -7, "PROTOCOL: the agent sent something that this client does not understand")      \
    X(NOT_FOUND, -8, "NOT_FOUND: no leaf for this service is published to this client")             \
    X(NO_SECTION, -9, "NO_SECTION: call this between xylem_read_lock() and xylem_read_unlock()")    \
    X(FORKED, -10, "FORKED: this client belongs to the parent process; open one here")              \
    X(NOT_READY, -11, "NOT_READY: the agent has not handed out any regions yet")                    \
    X(NO_SLOT, -12, "NO_SLOT: every reader slot is taken; open with a larger reader_capacity")      \
    X(BUSY, -13, "BUSY: too many sets are still in use by stuck readers")                           \
    X(STALE_EPOCH, -14, "STALE_EPOCH: the set offered is not newer than what this client has seen") \
    X(DAMAGED, -15, "DAMAGED: a region does not have the form that its header promises")

#define XYLEM_ENUMERATOR_(name, code, text) XYLEM_E_##name = code,
enum xylem_error { XYLEM_OK = 0, XYLEM_ERRORS(XYLEM_ENUMERATOR_) };
#undef XYLEM_ENUMERATOR_

/* The text of a code of this header. Lifetime: constant. Never NULL. */
static inline const char *xylem_strerror(int code);

/* --- opening --- */

struct xylem_client;
struct xylem_reader;

#define XYLEM_OPEN_LAZY        0x1u /* succeed without an agent; xylem_dispatch() goes on trying */
#define XYLEM_OPEN_FENCED      0x2u /* fence in every section instead of registering for membarrier */
#define XYLEM_OPEN_NO_COUNTERS 0x4u /* do not count verdicts for `xylemctl top` */

/* Zero is the default of every field; zero the struct first. */
struct xylem_options {
    const char *socket_path;    /* default: $XYLEM_SOCKET, else XYLEM_DEFAULT_SOCKET */
    const char *name;           /* shown by `xylemctl clients`; default: the program's name */
    uint32_t reader_capacity;   /* 16, 64 (default), 256 or 1024 threads */
    uint32_t flags;             /* XYLEM_OPEN_* */
    uint32_t attach_timeout_ms; /* how long xylem_open() waits for regions; default 2000 */
    uint32_t max_stale_ms;      /* 0: answers never go stale; else deny with "stale" past this age */
};

/* Attaches to the agent and waits until its regions are mapped. `options` may be NULL.
 * Ownership: *out is the caller's, until xylem_close(). Descriptors are close-on-exec.
 * Threads:   any; makes system calls and may block for attach_timeout_ms.
 * Returns:   0; XYLEM_E_INVALID, _SYSTEM (errno), _NO_AGENT, _VERSION, _DENIED, _LIMIT, _PROTOCOL, or
 * _NOT_READY when the time ran out. On failure *out is NULL and nothing is left behind. */
static inline int XYLEM_MUST_USE xylem_open(struct xylem_client **out, const struct xylem_options *options);

/* Tells the agent, unmaps everything and frees the client. NULL is allowed.
 * No thread may be inside a section, nor use the client or its readers again. In a forked child: does
 * nothing. */
static inline void xylem_close(struct xylem_client *client);

/* A descriptor that polls readable when xylem_dispatch() has work. It stays the same for the client's life.
 */
static inline int xylem_fd(const struct xylem_client *client);

#define XYLEM_EVENT_POLICY   0x01 /* a verdict may have changed: re-authorize live connections */
#define XYLEM_EVENT_ROOTS    0x02
#define XYLEM_EVENT_LEAF     0x04
#define XYLEM_EVENT_SET      0x08 /* new regions are installed; anything above may have changed too */
#define XYLEM_EVENT_ATTACHED 0x10
#define XYLEM_EVENT_DETACHED 0x20 /* the agent is gone; answers go on */
#define XYLEM_EVENT_STALE    0x40 /* max_stale has passed: every verdict is a denial until contact is back */

/* Does what is due and returns at once: new regions, the agent's notices, reconnection with back-off.
 * Threads: one thread at a time; readers go on meanwhile. Makes system calls. Not from a signal handler.
 * Returns: a set of XYLEM_EVENT_*, or XYLEM_E_FORKED. */
static inline int xylem_dispatch(struct xylem_client *client);

/* Asks the agent for a leaf that no configuration names; it appears later, with XYLEM_EVENT_LEAF.
 * Threads: as xylem_dispatch(). Returns: 0; XYLEM_E_INVALID, _NO_AGENT, _SYSTEM, _FORKED. */
static inline int XYLEM_MUST_USE xylem_want_leaf(struct xylem_client *client, const char *service);

/* --- reading --- */

/* Claims a reader slot for the calling thread, taking over those of threads that have died.
 * Ownership: *out belongs to the client and to this thread; nobody else may use it.
 * Returns:   0; XYLEM_E_NO_SLOT, _FORKED. Makes system calls when slots must be reaped. */
static inline int XYLEM_MUST_USE xylem_reader_open(struct xylem_client *client, struct xylem_reader **out);

/* Gives the slot back. Not inside a section. NULL is allowed. */
static inline void xylem_reader_close(struct xylem_reader *reader);

/* Enters and leaves a section. What look-ups return stays valid and unchanged until the section ends.
 * Sections nest; inner ones see the same set as the outermost. A signal handler may use the reader of the
 * thread that it interrupted, at any instruction, if it leaves what it enters. Wait-free: two plain stores,
 * no fence (with XYLEM_OPEN_FENCED, one), no system call. Do not sleep or wait for other threads inside. */
static inline void xylem_read_lock(struct xylem_reader *reader);
static inline void xylem_read_unlock(struct xylem_reader *reader);

/* --- authorization --- */

#define XYLEM_WHYS(X)                                                                    \
    X(INTENTION, 1, "an intention matched")                                              \
    X(DEFAULT, 2, "no intention matched; default intention policy")                      \
    X(REVOKED, 3, "the peer's certificate is revoked")                                   \
    X(FOREIGN_TRUST_DOMAIN, 4, "the peer's trust domain is not ours")                    \
    X(NOT_A_SERVICE, 5, "the peer's SPIFFE ID is not that of a service")                 \
    X(MALFORMED, 6, "the peer's identity, or the target's name, is malformed")           \
    X(STALE, 7, "the agent has not been heard of for longer than max_stale")             \
    X(FORKED, 8, "the client belongs to the parent process")                             \
    X(SUPERSEDED, 9, "these regions were replaced and the new ones have not been taken") \
    X(NOT_READY, 10, "the agent has not handed out any regions yet")                     \
    X(TOO_DEEP, 11, "too many signal handlers interrupted each other at the start of a section")

#define XYLEM_ENUMERATOR_(name, code, text) XYLEM_WHY_##name = code,
enum xylem_why { XYLEM_WHYS(XYLEM_ENUMERATOR_) XYLEM_WHY_COUNT_ };
#undef XYLEM_ENUMERATOR_

struct xylem_verdict {
    uint64_t policy_version; /* sampled before the look-up: if it stands still, so does this verdict */
    uint8_t allow;           /* 1 or 0 */
    uint8_t why;             /* enum xylem_why */
    uint8_t precedence;      /* 9..1 as in Consul for XYLEM_WHY_INTENTION, else 0 */
    uint8_t permissions;     /* 1: the intention has L7 permissions, which deny at this level */
    /* Private: what xylem_reason() needs, good for one section. */
    xylem_ref anchor_;
    uint64_t section_;
    uint64_t slot_;
};

/* May the peer with this SPIFFE ID connect to `target`?
 * target:  "service", "namespace/service" or "partition/namespace/service", compared as Consul compares them:
 * the service without regard to ASCII case. serial:  the certificate's serial as big-endian bytes, or NULL if
 * the caller has none. It matches a revocation by any issuer; prefer xylem_authorize_der(), which knows the
 * issuer. verdict: filled in; may be NULL. xylem_reason() on it needs a section of the caller's around both
 * calls. Returns: 1 allow, 0 deny. Everything that goes wrong is a denial. Signal-safe. */
static inline int xylem_authorize(struct xylem_reader *reader, const char *target, const char *uri,
                                  const struct xylem_slice *serial, struct xylem_verdict *verdict);

/* The same from the peer's leaf certificate: its URI SAN, serial and issuer key id. Verifies no signature:
 * the TLS stack has. `der` is read during the call only. */
static inline int xylem_authorize_der(struct xylem_reader *reader, const char *target, const void *der,
                                      size_t size, struct xylem_verdict *verdict);

/* A target that was taken apart beforehand. It stays right through changes of the policy and of sets.
 * Ownership: the caller's memory, no clean-up. Threads: one at a time (it caches where the target was found).
 */
struct xylem_target {
    uint64_t region_epoch_, directory_version_;
    uint64_t hash_;
    xylem_ref anchors_[3];
    uint32_t name_bytes_, tenancy_bytes_;
    uint8_t name_[XYLEM_NAME_MAX + 1];          /* ASCII lower case */
    uint8_t tenancy_[2 * (XYLEM_NAME_MAX + 1)]; /* "partition/namespace"; tenancy_bytes_ 0: default/default */
};

/* Returns: 0, or XYLEM_E_INVALID (empty, too long, more than two slashes). */
static inline int XYLEM_MUST_USE xylem_target_init(struct xylem_target *target, const char *name);

/* As xylem_authorize() and xylem_authorize_der(), for a peer that was taken apart beforehand (x509.h). */
static inline int xylem_authorize_peer(struct xylem_reader *reader, struct xylem_target *target,
                                       const struct xylem_peer *peer, struct xylem_verdict *verdict);

/* The version of the policy: it moves, after the fact, whenever a verdict may have changed, and never
 * repeats, also across restarts of the agent. A proxy that remembers it with a connection re-authorizes when
 * it differs. */
static inline uint64_t xylem_policy_version(struct xylem_reader *reader);

/* Writes the reason of a verdict as text, in Consul's words, always NUL-terminated. Names are known only in
 * the section in which the verdict was given. Off the hot path: uses snprintf. Returns: the length of the
 * whole text; >= size means that it was cut. */
static inline size_t xylem_reason(struct xylem_reader *reader, const struct xylem_verdict *verdict,
                                  char *text, size_t size);

/* --- certificates --- */

/* Views into shared memory, valid until the section ends. */
struct xylem_leaf_view {
    struct xylem_slice uri;       /* the SPIFFE ID */
    struct xylem_slice serial;    /* big-endian */
    struct xylem_slice chain_der; /* leaf first, then intermediates, one behind the other */
    struct xylem_slice leaf_der;
    struct xylem_slice chain_pem;
    struct xylem_slice key_der; /* PKCS#8 */
    struct xylem_slice key_pem;
    uint64_t version;       /* differs from that of every other leaf of this service */
    uint64_t roots_version; /* roots of this version or a later one verify it */
    int64_t not_before;     /* Unix seconds */
    int64_t not_after;
    int expired; /* 1: not_after has passed */
};

struct xylem_root_view {
    struct xylem_slice der;
    struct xylem_slice pem; /* may hold a chain */
    struct xylem_slice id;  /* colon hex SHA-1, as Consul names roots */
    int64_t not_before;
    int64_t not_after;
    int active; /* 1: the one that signs now */
};

struct xylem_roots_view {
    struct xylem_slice bundle_pem; /* all of them, for a CA file */
    struct xylem_slice trust_domain;
    uint64_t version;
    uint32_t count;
    uint32_t active; /* index */
    const struct xylem_roots_object *object_;
};

/* The leaf of a service: "service", "namespace/service" or "partition/namespace/service", as configured.
 * Returns: 0; XYLEM_E_NOT_FOUND, _NO_SECTION, _FORKED, _NOT_READY. Only inside a section. */
static inline int XYLEM_MUST_USE xylem_leaf(struct xylem_reader *reader, const char *service,
                                            struct xylem_leaf_view *out);

/* The version of a service's leaf, 0 if there is none: has it changed since the one I loaded? Any time. */
static inline uint64_t xylem_leaf_version(struct xylem_reader *reader, const char *service);

/* All roots. Returns: 0; XYLEM_E_NO_SECTION, _FORKED, _NOT_READY. Only inside a section. */
static inline int XYLEM_MUST_USE xylem_roots(struct xylem_reader *reader, struct xylem_roots_view *out);

/* Root `index` of a view, in the same section. Returns: 0 or XYLEM_E_NOT_FOUND. */
static inline int XYLEM_MUST_USE xylem_root_at(const struct xylem_roots_view *roots, uint32_t index,
                                               struct xylem_root_view *out);

/* A leaf and the roots that belong to it, from one section: never a leaf without the roots its peers are
 * verified with. Returns: as xylem_leaf(). Only inside a section. */
static inline int XYLEM_MUST_USE xylem_identity(struct xylem_reader *reader, const char *service,
                                                struct xylem_leaf_view *leaf, struct xylem_roots_view *roots);

/* --- freshness --- */

struct xylem_freshness_view {
    uint64_t heartbeat_age_ns;        /* since the agent last wrote; UINT64_MAX: never */
    uint64_t upstream_contact_age_ns; /* since the agent last had the upstream's word; UINT64_MAX: never */
    uint64_t policy_version;
    int superseded; /* 1: call xylem_dispatch(): the agent has replaced these regions */
    int attached;   /* 1: connected to an agent */
};

/* How old the answers are. Reads a clock (vDSO). Any time; in a forked child all is "never". */
static inline void xylem_freshness(struct xylem_reader *reader, struct xylem_freshness_view *out);

/* ================================================================================================================
 * Implementation. Nothing below is API; names end in an underscore.
 *
 * Memory ordering. Four pairs carry everything, named in brackets where they occur.
 *
 * [publish]: the writer's release-store of a ref or a version; readers load it with acquire. Without it a reader
 * follows a new ref to bytes that have not arrived.
 *
 * [epoch]: the writer's release-store of a raised epoch, behind the publications; readers load it with acquire, so a
 * reader that stores epoch e has seen everything published before e began. Otherwise the writer would take its slot
 * for proof of something that it has not seen.
 *
 * [slot]: a reader's slot store against its later loads: store-then-load, the one order that no plain access gives.
 * The writer's membarrier() stands in for the missing fence. For each reader thread, either its slot store is
 * visible to the scan that follows, or its loads come after the barrier and see what was published before. Only the
 * compiler must be kept from reordering here.
 *
 * [set]: xylem_dispatch() installs a set by a release-store; readers load it with acquire.
 * ========================================================================================================= */

#define XYLEM_CLIENT_MAGIC_ 0x746e65696c636c78ULL
#define XYLEM_SETS_         8u
#define XYLEM_NESTING_      0xffffu

struct xylem_mapping_ {
    const struct xylem_region_header *region;
    uint64_t size_bytes;
};

struct xylem_set_ {
    const struct xylem_region_header *policy; /* regions[0].region */
    uint64_t min_epoch;
    uint32_t region_count; /* 0: this place in the pool is free */
    uint32_t reserved;
    struct xylem_mapping_ regions[XYLEM_WIRE_REGIONS_MAX];
};

struct __attribute__((aligned(128))) xylem_reader {
    struct xylem_reader_slot *slot; /* NULL: not claimed, or this is a forked child */
    const struct xylem_set_ *set;   /* non-NULL exactly while a section is established */
    struct xylem_client *client;
    uint64_t epoch;    /* cached: everything published before it began is visible to this thread */
    uint64_t sections; /* that have ended; names the one a verdict was given in */
    uint32_t level;    /* which word of the slot is in use */
    uint32_t refused;  /* sections not entered: XYLEM_READER_LEVELS signal handlers interrupted each other */
    struct xylem_counter *counters;
};

struct xylem_client {
    /* What sections read. */
    uint64_t magic;
    const struct xylem_set_ *set; /* [set] */
    uint32_t stale;
    uint32_t fenced;
    /* What only xylem_dispatch() and open/close touch. */
    struct xylem_reader_page *page __attribute__((aligned(64)));
    uint64_t page_bytes;
    uint64_t mapping_bytes; /* of this struct and its readers */
    uint32_t slot_capacity;
    uint32_t flags;
    int page_fd;
    int poll_fd;
    int timer_fd;
    int socket_fd;
    int last_error;
    uint32_t attempts; /* to attach, since the last success */
    uint32_t max_stale_ms;
    uint32_t welcomed;
    int64_t clock_offset_ns; /* ours + offset = the agent's */
    uint64_t retry_at_ns;
    char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char name[32];
    struct xylem_set_
        nothing; /* what is installed before the first set: a region whose every answer is "not ready" */
    struct xylem_set_ sets[XYLEM_SETS_];
    struct xylem_region_header empty;
    struct xylem_reader readers[1]; /* slot_capacity of them */
};

static inline const char *xylem_strerror(int code)
{
    switch (code) {
    case XYLEM_OK:
        return "OK";
#define XYLEM_CASE_(name, number, text) \
case number:                            \
    return text;
        XYLEM_ERRORS(XYLEM_CASE_)
#undef XYLEM_CASE_
    default:
        return "UNKNOWN: not a code of xylem.h";
    }
}

/* --- objects --- */

/* A test build meets freed or torn memory here and stops; elsewhere the agent's word is taken. */
static XYLEM_HOT_ const void *xylem_at_(const struct xylem_region_header *region, xylem_ref ref,
                                        uint32_t kind)
{
    const void *object = (const uint8_t *)region + (uint64_t)ref * XYLEM_REF_UNIT;
#ifdef XYLEM_PARANOID
    if (((const struct xylem_object *)object)->kind != kind)
        __builtin_trap();
#else
    (void)kind;
#endif
    return object;
}

/* What an object's checksum is made of; never 0. */
static inline uint32_t xylem_checksum_(const void *bytes, size_t size)
{
    return (uint32_t)xylem_hash(XYLEM_MIX_3_, 0, (const uint8_t *)bytes, size) | 1u;
}

static XYLEM_HOT_ void xylem_check_(const struct xylem_object *object)
{
#ifdef XYLEM_PARANOID
    if (object->checksum &&
        object->checksum != xylem_checksum_(object + 1, object->size_bytes - sizeof *object))
        __builtin_trap();
#else
    (void)object;
#endif
}

/* Names are short: a call to memcmp or a loop over bytes would cost more than the compare, and branches on lengths are
 * mispredicted. So they are handled in blocks of 16 bytes, of which the last may overlap the one before. */
typedef int8_t xylem_block_ __attribute__((vector_size(16)));
typedef uint8_t xylem_octets_ __attribute__((vector_size(16)));
typedef uint64_t xylem_words_ __attribute__((vector_size(16)));

static XYLEM_HOT_ xylem_block_ xylem_block_at_(const uint8_t *bytes)
{
    xylem_block_ block;
    __builtin_memcpy(&block, bytes, sizeof block);
    return block;
}

/* 1 to 16 bytes. */
static XYLEM_HOT_ xylem_block_ xylem_block_cover_(const uint8_t *bytes, size_t size)
{
    uint64_t low, high;
    xylem_cover_words_(bytes, size, &low, &high);
    xylem_words_ words = {low, high};
    return (xylem_block_)words;
}

static XYLEM_HOT_ int xylem_is_zero_(xylem_block_ block)
{
#ifdef __SSE2__
    typedef char bytes __attribute__((vector_size(16)));
    return __builtin_ia32_pmovmskb128((bytes)(block == 0)) == 0xffff;
#else
    xylem_words_ words = (xylem_words_)block;
    return (words[0] | words[1]) == 0;
#endif
}

/* All ones in each byte that is not in [first, last]. Moved down to -128, a range is one signed compare. */
static XYLEM_HOT_ xylem_block_ xylem_outside_(xylem_block_ block, char first, char last)
{
    xylem_octets_ moved = (xylem_octets_)block - (uint8_t)(first + 128);
    return (xylem_block_)moved > (int8_t)(last - first - 128);
}

static XYLEM_HOT_ int xylem_equal_(const uint8_t *a, const uint8_t *b, size_t size)
{
    if (size <= 16)
        return size == 0 || xylem_is_zero_(xylem_block_cover_(a, size) ^ xylem_block_cover_(b, size));
    xylem_block_ differ = xylem_block_at_(a + size - 16) ^ xylem_block_at_(b + size - 16);
    for (size_t at = 0; at + 16 < size; at += 16)
        differ |= xylem_block_at_(a + at) ^ xylem_block_at_(b + at);
    return xylem_is_zero_(differ);
}

/* A name of at least one byte, the ends of it in registers. */
struct xylem_name_ {
    const uint8_t *bytes;
    size_t size;
    xylem_block_ head; /* its first 16 bytes, or all of it as xylem_block_cover_() has it */
    xylem_block_ tail; /* its last 16 bytes, or the same */
};

static XYLEM_HOT_ void xylem_name_load_(struct xylem_name_ *name, const uint8_t *bytes, size_t size)
{
    name->bytes = bytes;
    name->size = size;
    if (size > 16) {
        name->head = xylem_block_at_(bytes);
        name->tail = xylem_block_at_(bytes + size - 16);
    } else {
        name->head = name->tail = xylem_block_cover_(bytes, size);
    }
}

static XYLEM_HOT_ int xylem_name_equal_(const struct xylem_name_ *name, const uint8_t *other)
{
    if (name->size <= 16)
        return xylem_is_zero_(name->head ^ xylem_block_cover_(other, name->size));
    return xylem_is_zero_((name->head ^ xylem_block_at_(other)) |
                          (name->tail ^ xylem_block_at_(other + name->size - 16))) &&
           (XYLEM_LIKELY_(name->size <= 32) || xylem_equal_(name->bytes + 16, other + 16, name->size - 32));
}

/* The same as xylem_hash(). */
static XYLEM_HOT_ uint64_t xylem_name_hash_(const struct xylem_name_ *name, uint64_t seed, uint32_t tenancy)
{
    if (XYLEM_UNLIKELY_(name->size > 32))
        return xylem_hash(seed, tenancy, name->bytes, name->size);
    xylem_words_ head = (xylem_words_)name->head;
    xylem_words_ tail = (xylem_words_)name->tail;
    uint64_t hash = xylem_hash_words_(xylem_hash_begin_(seed, tenancy, name->size), head[0], head[1]);
    if (XYLEM_LIKELY_(name->size > 16))
        hash = xylem_hash_words_(hash, tail[0], tail[1]);
    return xylem_hash_end_(hash);
}

static XYLEM_HOT_ int xylem_is_anchor_(const struct xylem_anchor *anchor, uint32_t tenancy,
                                       const struct xylem_name_ *name)
{
    return ((anchor->tenancy ^ tenancy) | (anchor->name_bytes ^ (uint32_t)name->size)) == 0 &&
           xylem_name_equal_(name, anchor->name);
}

static XYLEM_HOT_ const struct xylem_anchor *xylem_find_name_(const struct xylem_region_header *region,
                                                              xylem_ref directory_ref, uint64_t hash,
                                                              uint32_t tenancy,
                                                              const struct xylem_name_ *name)
{
    if (!directory_ref)
        return NULL;
    const struct xylem_directory *directory =
        (const struct xylem_directory *)xylem_at_(region, directory_ref, XYLEM_OBJECT_DIRECTORY);
    uint64_t index = directory->bits ? hash >> (64 - directory->bits) : 0;
    xylem_ref shard_ref = __atomic_load_n(&directory->shards[index], __ATOMIC_ACQUIRE); /* [publish] */
    if (!shard_ref)
        return NULL;
    const struct xylem_shard *shard =
        (const struct xylem_shard *)xylem_at_(region, shard_ref, XYLEM_OBJECT_SHARD);
    xylem_check_(&shard->object);
    uint32_t slot = xylem_slot_index(hash, shard->seed, shard->capacity);
    for (uint32_t probe = 0; probe <= shard->probe_max; probe++) {
        struct xylem_shard_slot found = shard->slots[slot];
        if (!found.anchor)
            return NULL;
        if (found.tag == (uint32_t)hash) {
            const struct xylem_anchor *anchor =
                (const struct xylem_anchor *)xylem_at_(region, found.anchor, XYLEM_OBJECT_ANCHOR);
            if (XYLEM_LIKELY_(xylem_is_anchor_(anchor, tenancy, name)))
                return anchor;
        }
        if (++slot == shard->capacity)
            slot = 0;
    }
    return NULL;
}

static inline const struct xylem_anchor *xylem_find_(const struct xylem_region_header *region,
                                                     xylem_ref directory_ref, uint64_t hash, uint32_t tenancy,
                                                     const uint8_t *bytes, size_t size)
{
    struct xylem_name_ name;
    if (size == 0)
        return NULL;
    xylem_name_load_(&name, bytes, size);
    return xylem_find_name_(region, directory_ref, hash, tenancy, &name);
}

/* --- sections --- */

static XYLEM_HOT_ void xylem_enter_(struct xylem_reader *reader, struct xylem_reader_slot *slot,
                                    uint32_t level)
{
    struct xylem_client *client = reader->client;
    uint64_t epoch = reader->epoch;
    __atomic_store_n(&slot->words[level], epoch << 16 | 1u, __ATOMIC_RELAXED); /* [slot] */
    if (XYLEM_UNLIKELY_(client->fenced))
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* [slot] the other fence is the scan's own */
    else
        __atomic_signal_fence(__ATOMIC_SEQ_CST); /* [slot] the compiler's share; the rest is membarrier's */
    const struct xylem_set_ *set = __atomic_load_n(&client->set, __ATOMIC_ACQUIRE); /* [set] */
    /* A scan for a region of this set ignores epochs below its min_epoch, as those of readers stuck in an
     * older set. So none of it may be used before a sufficient epoch is in the slot; and as the set may be
     * replaced before that store is seen, it is loaded again behind it. Until then only the region's epoch
     * word is read, and the set cannot be unmapped: for that, every epoch in use counts, small ones too. */
    while (XYLEM_UNLIKELY_(epoch < set->min_epoch)) {
        epoch = __atomic_load_n(&set->policy->epoch, __ATOMIC_ACQUIRE); /* [epoch] */
        __atomic_store_n(&slot->words[level], epoch << 16 | 1u, __ATOMIC_RELAXED);
        if (client->fenced)
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
        else
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
        set = __atomic_load_n(&client->set, __ATOMIC_ACQUIRE);
    }
    /* For the next section: what is visible now was published before this epoch began. */
    reader->epoch = __atomic_load_n(&set->policy->epoch, __ATOMIC_ACQUIRE); /* [epoch] */
    /* From here on a signal handler counts on this section instead of entering one of its own. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&reader->set, set, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* A signal handler has interrupted an entry (or the end of one) on this level: the level's word is not ours.
 */
static XYLEM_COLD_ void xylem_enter_in_handler_(struct xylem_reader *reader, uint32_t level)
{
    if (level + 1 == XYLEM_READER_LEVELS) {
        reader->refused++;
        return;
    }
    __atomic_store_n(&reader->level, level + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    xylem_enter_(reader, reader->slot, level + 1);
}

static XYLEM_HOT_ void xylem_lock_(struct xylem_reader *reader)
{
    struct xylem_reader_slot *slot = reader->slot;
    if (XYLEM_UNLIKELY_(!slot))
        return;
    uint32_t level = __atomic_load_n(&reader->level, __ATOMIC_RELAXED);
    uint64_t word = __atomic_load_n(&slot->words[level], __ATOMIC_RELAXED);
    /* Outside sections the level is 0. One above it with an empty word is that of a handler which was interrupted after
     * raising it: whoever entered there would lower it again on leaving, under that handler's feet. */
    if (XYLEM_LIKELY_(((word & XYLEM_NESTING_) | level) == 0))
        xylem_enter_(reader, slot, level);
    else if (!__atomic_load_n(&reader->set, __ATOMIC_RELAXED))
        xylem_enter_in_handler_(reader, level);
    else if (XYLEM_LIKELY_((word & XYLEM_NESTING_) != XYLEM_NESTING_))
        __atomic_store_n(&slot->words[level], word + 1, __ATOMIC_RELAXED);
    else
        reader
            ->refused++; /* one more would reach into the epoch; the section that there is protects this one, too */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static XYLEM_HOT_ void xylem_unlock_(struct xylem_reader *reader)
{
    struct xylem_reader_slot *slot = reader->slot;
    if (XYLEM_UNLIKELY_(!slot))
        return;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (XYLEM_UNLIKELY_(reader->refused)) {
        reader->refused--;
        return;
    }
    uint32_t level = __atomic_load_n(&reader->level, __ATOMIC_RELAXED);
    uint64_t word = __atomic_load_n(&slot->words[level], __ATOMIC_RELAXED);
    if ((word & XYLEM_NESTING_) == 1) {
        /* First the set, then the slot: a handler in between must not take this section for established. */
        __atomic_store_n(&reader->set, (const struct xylem_set_ *)NULL, __ATOMIC_RELAXED);
        reader->sections++;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }
    /* Release: everything read in the section happens before the slot is seen empty. */
    __atomic_store_n(&slot->words[level], word - 1, __ATOMIC_RELEASE); /* [slot] */
    if (XYLEM_UNLIKELY_(level > 0) && (word & XYLEM_NESTING_) == 1) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        /* From the local copy: handlers that came and went meanwhile have restored it. */
        __atomic_store_n(&reader->level, level - 1, __ATOMIC_RELAXED);
    }
}

static inline void xylem_read_lock(struct xylem_reader *reader)
{
    xylem_lock_(reader);
}

static inline void xylem_read_unlock(struct xylem_reader *reader)
{
    xylem_unlock_(reader);
}

/* --- identities --- */

/* The parts of hot functions are passed by pointer but must stay in registers: nothing out of line may be given their
 * address, only that of a copy. */
struct xylem_source_ {
    struct xylem_name_ name;
    uint32_t tenancy;       /* XYLEM_TENANCY_NONE: no intention names this namespace */
    uint32_t any_namespace; /* likewise its partition */
};

static inline uint8_t xylem_lower_(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 32) : byte;
}

static inline int xylem_equal_lower_(const uint8_t *a, const uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (xylem_lower_(a[i]) != xylem_lower_(b[i]))
            return 0;
    return 1;
}

/* Is every byte one that SPIFFE allows in a path segment (letters, digits, '.', '-', '_')? Everything else
 * takes the slow way: a '/' would be another segment, a '%' an encoded name. */
static XYLEM_HOT_ xylem_block_ xylem_strange_(xylem_block_ block)
{
    xylem_block_ no_letter = xylem_outside_(block | 0x20, 'a', 'z');
    xylem_block_ no_digit = xylem_outside_(block, '-', '9') | (block == '/');
    return no_letter & no_digit & ~(block == '_');
}

static XYLEM_HOT_ int xylem_is_plain_segment_(const struct xylem_name_ *name)
{
    xylem_block_ strange = xylem_strange_(name->head);
    if (XYLEM_LIKELY_(name->size > 16))
        strange |= xylem_strange_(name->tail);
    for (size_t at = 16; XYLEM_UNLIKELY_(at + 16 < name->size); at += 16)
        strange |= xylem_strange_(xylem_block_at_(name->bytes + at));
    return xylem_is_zero_(strange);
}

static inline int xylem_hex_(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = xylem_lower_(digit);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Percent-decodes one segment. Returns its length, or -1: empty, too long, a bad escape, or a NUL. */
static inline int xylem_decode_segment_(const uint8_t *bytes, size_t size, uint8_t *out)
{
    int used = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = bytes[i];
        if (byte == '%') {
            int high = i + 2 < size ? xylem_hex_(bytes[i + 1]) : -1;
            int low = i + 2 < size ? xylem_hex_(bytes[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            byte = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if (byte == 0 || used == (int)XYLEM_NAME_MAX)
            return -1;
        out[used++] = byte;
    }
    return used > 0 ? used : -1;
}

struct xylem_captures_ {
    int sizes[3]; /* partition, namespace, service; 0: not captured */
    uint8_t text[3][XYLEM_NAME_MAX + 1];
};

/* One segment of a template against one of the path. Returns 1 if it fits, 0 if not, -1 malformed. */
static inline int xylem_match_segment_(const char *pattern, size_t pattern_size, const uint8_t *segment,
                                       size_t size, struct xylem_captures_ *captures)
{
    static const char *const names[3] = {"{partition}", "{namespace}", "{service}"};
    if (pattern_size < 2 || pattern[0] != '{')
        return pattern_size == size && memcmp(pattern, segment, size) == 0;
    for (int i = 0; i < 3; i++) {
        if (pattern_size != strlen(names[i]) || memcmp(pattern, names[i], pattern_size) != 0)
            continue;
        captures->sizes[i] = xylem_decode_segment_(segment, size, captures->text[i]);
        /* A peer that is called "*" would be taken for the wildcard itself. */
        return captures->sizes[i] > 0 && !(captures->sizes[i] == 1 && captures->text[i][0] == '*') ? 1 : -1;
    }
    uint8_t ignored[XYLEM_NAME_MAX + 1]; /* {datacenter} and the like: any one segment */
    return xylem_decode_segment_(segment, size, ignored) > 0 ? 1 : -1;
}

static inline int xylem_match_path_(const char *pattern, const uint8_t *path, size_t size,
                                    struct xylem_captures_ *captures)
{
    captures->sizes[0] = captures->sizes[1] = captures->sizes[2] = 0;
    while (*pattern == '/' && size > 0 && *path == '/') {
        pattern++;
        path++;
        size--;
        const char *pattern_end = strchr(pattern, '/');
        const uint8_t *path_end = (const uint8_t *)memchr(path, '/', size);
        size_t pattern_size = pattern_end ? (size_t)(pattern_end - pattern) : strlen(pattern);
        size_t segment_size = path_end ? (size_t)(path_end - path) : size;
        int fits = xylem_match_segment_(pattern, pattern_size, path, segment_size, captures);
        if (fits <= 0)
            return fits;
        pattern += pattern_size;
        path += segment_size;
        size -= segment_size;
    }
    return *pattern == '\0' && size == 0 && captures->sizes[2] > 0;
}

/* The ids of a (partition, namespace), or XYLEM_TENANCY_NONE where no intention has named it. */
static inline uint32_t xylem_find_tenancy_(const struct xylem_region_header *policy, const uint8_t *text,
                                           size_t size)
{
    uint64_t hash = xylem_hash(policy->hash_seed, 0, text, size);
    xylem_ref names = __atomic_load_n(&policy->tenancy_names, __ATOMIC_ACQUIRE); /* [publish] */
    const struct xylem_anchor *anchor = xylem_find_(policy, names, hash, 0, text, size);
    return anchor ? (uint32_t)anchor->root : XYLEM_TENANCY_NONE;
}

static XYLEM_HOT_ const struct xylem_tenancies *xylem_tenancies_(const struct xylem_region_header *policy)
{
    xylem_ref ref = __atomic_load_n(&policy->tenancies, __ATOMIC_ACQUIRE); /* [publish] */
    return (const struct xylem_tenancies *)xylem_at_(policy, ref, XYLEM_OBJECT_TENANCIES);
}

static inline void xylem_set_tenancy_(const struct xylem_region_header *policy,
                                      const struct xylem_captures_ *captures, struct xylem_source_ *source)
{
    uint8_t text[2 * (XYLEM_NAME_MAX + 1)];
    size_t used = 0;
    for (int i = 0; i < 2; i++) {
        const void *part = captures->sizes[i] ? (const void *)captures->text[i] : "default";
        size_t size = captures->sizes[i] ? (size_t)captures->sizes[i] : 7;
        memcpy(text + used, part, size);
        used += size;
        if (i == 0)
            text[used++] = '/';
    }
    size_t partition_bytes = captures->sizes[0] ? (size_t)captures->sizes[0] : 7;
    source->tenancy = xylem_find_tenancy_(policy, text, used);
    text[partition_bytes + 1] = '*';
    source->any_namespace = xylem_find_tenancy_(policy, text, partition_bytes + 2);
}

/* Everything but the usual form. Returns 0 or a XYLEM_WHY_*. */
static XYLEM_COLD_ int xylem_parse_uri_slow_(const struct xylem_region_header *policy,
                                             const struct xylem_identities *identities, const uint8_t *uri,
                                             size_t size, struct xylem_source_ *source,
                                             uint8_t decoded[XYLEM_NAME_MAX + 1])
{
    static const uint8_t scheme[] = {'s', 'p', 'i', 'f', 'f', 'e', ':', '/', '/'};
    if (size < sizeof scheme || size > 2048 || !xylem_equal_lower_(uri, scheme, sizeof scheme))
        return XYLEM_WHY_MALFORMED;
    for (size_t i = 0; i < size; i++)
        if (uri[i] <= ' ' || uri[i] >= 0x7f || uri[i] == '?' || uri[i] == '#' || uri[i] == '@')
            return XYLEM_WHY_MALFORMED; /* SPIFFE-ID 2.1: no query, fragment or userinfo */
    const uint8_t *host = uri + sizeof scheme;
    size_t rest = size - sizeof scheme;
    const uint8_t *path = (const uint8_t *)memchr(host, '/', rest);
    size_t host_size = path ? (size_t)(path - host) : rest;
    if (host_size == 0)
        return XYLEM_WHY_MALFORMED;
    const uint8_t *trust_domain = identities->text + identities->fast_prefix_bytes + 1;
    if (host_size != identities->trust_domain_bytes || !xylem_equal_lower_(host, trust_domain, host_size))
        return XYLEM_WHY_FOREIGN_TRUST_DOMAIN;
    const char *pattern = (const char *)trust_domain + identities->trust_domain_bytes + 1;
    for (uint32_t i = 0; path && i < identities->pattern_count; i++, pattern += strlen(pattern) + 1) {
        struct xylem_captures_ captures;
        int fits = xylem_match_path_(pattern, path, rest - host_size, &captures);
        if (fits < 0)
            return XYLEM_WHY_MALFORMED;
        if (fits == 0)
            continue;
        xylem_set_tenancy_(policy, &captures, source);
        memcpy(decoded, captures.text[2], (size_t)captures.sizes[2]);
        xylem_name_load_(&source->name, decoded, (size_t)captures.sizes[2]);
        return 0;
    }
    return XYLEM_WHY_NOT_A_SERVICE;
}

static XYLEM_HOT_ const struct xylem_identities *xylem_identities_(const struct xylem_region_header *policy)
{
    xylem_ref ref = __atomic_load_n(&policy->identities, __ATOMIC_ACQUIRE); /* [publish] */
    return (const struct xylem_identities *)xylem_at_(policy, ref, XYLEM_OBJECT_IDENTITIES);
}

/* Takes a SPIFFE ID of the usual form apart. Returns 0 if it has another one. */
static XYLEM_HOT_ int xylem_parse_uri_fast_(const struct xylem_region_header *policy,
                                            const struct xylem_identities *identities, const uint8_t *uri,
                                            size_t size, struct xylem_source_ *source)
{
    size_t prefix = identities->fast_prefix_bytes;
    if (XYLEM_UNLIKELY_(prefix == 0 || size - prefix - 1 >= XYLEM_NAME_MAX || size <= prefix ||
                        !xylem_equal_(uri, identities->text, prefix)))
        return 0;
    xylem_name_load_(&source->name, uri + prefix, size - prefix);
    source->tenancy = XYLEM_TENANCY_DEFAULT;
    source->any_namespace = xylem_tenancies_(policy)->entries[0].any_namespace;
    return xylem_is_plain_segment_(&source->name);
}

/* Takes any SPIFFE ID apart; `decoded` is where the name is if it was not plain. Returns 0 or the reason to deny. */
static XYLEM_HOT_ int xylem_parse_uri_(const struct xylem_region_header *policy, const uint8_t *uri,
                                       size_t size, struct xylem_source_ *source,
                                       uint8_t decoded[XYLEM_NAME_MAX + 1])
{
    const struct xylem_identities *identities = xylem_identities_(policy);
    if (xylem_parse_uri_fast_(policy, identities, uri, size, source))
        return 0;
    return xylem_parse_uri_slow_(policy, identities, uri, size, source, decoded);
}

/* --- revocation --- */

static XYLEM_COLD_ int xylem_is_revoked_(const struct xylem_region_header *policy, const uint8_t *serial,
                                         size_t size, struct xylem_slice issuer)
{
    uint64_t hash = xylem_hash(policy->hash_seed, 0, serial, size);
    xylem_ref directory = __atomic_load_n(&policy->revocations, __ATOMIC_ACQUIRE); /* [publish] */
    const struct xylem_anchor *anchor = xylem_find_(policy, directory, hash, 0, serial, size);
    xylem_ref ref = anchor ? __atomic_load_n(&anchor->root, __ATOMIC_ACQUIRE) : 0; /* [publish] */
    if (!ref)
        return 0;
    const struct xylem_revocation *list =
        (const struct xylem_revocation *)xylem_at_(policy, ref, XYLEM_OBJECT_REVOCATION);
    xylem_check_(&list->object);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct xylem_revocation_entry *entry = &list->entries[i];
        /* Who has only the serial matches any issuer, and so does a revocation that names none. */
        if (issuer.size == 0 || entry->issuer_key_id_bytes == 0 ||
            (entry->issuer_key_id_bytes == issuer.size &&
             memcmp(entry->issuer_key_id, issuer.data, issuer.size) == 0))
            return 1;
    }
    return 0;
}

/* May this serial be revoked? Usually not, and that is all there is to do. */
static XYLEM_HOT_ int xylem_maybe_revoked_(const struct xylem_region_header *policy, const uint8_t *serial,
                                           size_t size)
{
    xylem_ref ref = __atomic_load_n(&policy->revocation_filter, __ATOMIC_ACQUIRE); /* [publish] */
    if (!ref || size == 0 || size > XYLEM_NAME_MAX)
        return 0;
    const struct xylem_filter *filter =
        (const struct xylem_filter *)xylem_at_(policy, ref, XYLEM_OBJECT_FILTER);
    uint64_t bit = xylem_filter_hash(serial, size) & filter->mask;
    /* [publish] The bit is set after the revocation it stands for was published. */
    return (__atomic_load_n(&filter->words[bit >> 6], __ATOMIC_ACQUIRE) >> (bit & 63)) & 1;
}

static XYLEM_HOT_ struct xylem_slice xylem_magnitude_(struct xylem_slice serial)
{
    while (serial.size > 1 && *serial.data == 0) {
        serial.data++;
        serial.size--;
    }
    return serial;
}

static XYLEM_HOT_ int xylem_revoked_(const struct xylem_region_header *policy, const struct xylem_peer *peer)
{
    struct xylem_slice serial = xylem_magnitude_(peer->serial);
    return xylem_maybe_revoked_(policy, serial.data, serial.size) &&
           xylem_is_revoked_(policy, serial.data, serial.size, peer->issuer_key_id);
}

/* --- targets --- */

static inline int xylem_target_init(struct xylem_target *target, const char *name)
{
    size_t size = strlen(name);
    const char *service = (const char *)memrchr(name, '/', size);
    service = service ? service + 1 : name;
    size_t service_size = size - (size_t)(service - name);
    size_t tenancy_size = service == name ? 0 : (size_t)(service - name) - 1;
    const char *slash = tenancy_size ? (const char *)memchr(name, '/', tenancy_size) : NULL;
    if (service_size == 0 || service_size > XYLEM_NAME_MAX || (service != name && tenancy_size == 0))
        return XYLEM_E_INVALID;
    if (slash && (slash == name || slash == name + tenancy_size - 1 ||
                  memchr(slash + 1, '/', tenancy_size - 1 - (size_t)(slash - name))))
        return XYLEM_E_INVALID;
    size_t prefix = slash || !tenancy_size ? 0 : 8; /* "namespace/service" means the partition "default" */
    if (tenancy_size > 2 * XYLEM_NAME_MAX - prefix)
        return XYLEM_E_INVALID;
    for (size_t i = 0; i < service_size; i++)
        target->name_[i] = xylem_lower_((uint8_t)service[i]);
    memcpy(target->tenancy_, "default/", prefix);
    memcpy(target->tenancy_ + prefix, name, tenancy_size);
    target->tenancy_bytes_ = (uint32_t)(prefix + tenancy_size);
    if (target->tenancy_bytes_ == 15 && memcmp(target->tenancy_, "default/default", 15) == 0)
        target->tenancy_bytes_ = 0;
    target->name_bytes_ = (uint32_t)service_size;
    target->region_epoch_ = 0;
    target->directory_version_ = 0;
    return XYLEM_OK;
}

static XYLEM_HOT_ xylem_block_ xylem_lower_block_(xylem_block_ block)
{
    return block | (~xylem_outside_(block, 'A', 'Z') & 0x20);
}

/* Reads the usual kind of target, a name of default/default without a slash, into registers and in lower case. Returns
 * 0 if it is of another kind. */
static XYLEM_HOT_ int xylem_target_name_(struct xylem_name_ *name, const char *text)
{
    size_t size = strlen(text);
    if (XYLEM_UNLIKELY_(size - 1 >= 32))
        return 0;
    xylem_name_load_(name, (const uint8_t *)text, size);
    if (XYLEM_UNLIKELY_(!xylem_is_zero_((name->head == '/') | (name->tail == '/'))))
        return 0;
    name->head = xylem_lower_block_(name->head);
    name->tail = xylem_lower_block_(name->tail);
    return 1;
}

/* Where a target was found. */
struct xylem_place_ {
    uint64_t hash;
    uint64_t directory_version; /* sampled before the look-up */
    xylem_ref anchors[3];
    uint32_t name_bytes;
    const uint8_t *name; /* in any case */
};

/* Where the three destinations that may speak for a target hang: itself, any name in its namespace, any
 * namespace. */
static XYLEM_HOT_ void xylem_find_anchors_(const struct xylem_region_header *policy, uint32_t tenancy,
                                           uint32_t any_namespace, const struct xylem_name_ *name,
                                           uint64_t hash, xylem_ref anchors[3])
{
    const struct xylem_tenancies *tenancies = xylem_tenancies_(policy);
    xylem_ref destinations = __atomic_load_n(&policy->destinations, __ATOMIC_ACQUIRE); /* [publish] */
    const struct xylem_anchor *exact = NULL;
    if (tenancy != XYLEM_TENANCY_NONE)
        exact = xylem_find_name_(policy, destinations, hash, tenancy, name);
    anchors[0] =
        exact ? (xylem_ref)((uint64_t)((const uint8_t *)exact - (const uint8_t *)policy) / XYLEM_REF_UNIT)
              : 0;
    anchors[1] =
        tenancy != XYLEM_TENANCY_NONE && tenancy != any_namespace /* the target is in namespace "*" */
            ? tenancies->entries[tenancy].wildcard
            : 0;
    anchors[2] = any_namespace != XYLEM_TENANCY_NONE ? tenancies->entries[any_namespace].wildcard : 0;
}

static XYLEM_COLD_ void xylem_target_tenancy_(const struct xylem_region_header *policy,
                                              const struct xylem_target *target, uint32_t *tenancy,
                                              uint32_t *any_namespace)
{
    uint8_t text[2 * (XYLEM_NAME_MAX + 1)];
    *tenancy = xylem_find_tenancy_(policy, target->tenancy_, target->tenancy_bytes_);
    memcpy(text, target->tenancy_, target->tenancy_bytes_);
    const uint8_t *slash = (const uint8_t *)memchr(text, '/', target->tenancy_bytes_);
    size_t partition = slash ? (size_t)(slash - text) : 0;
    text[partition + 1] = '*';
    *any_namespace = xylem_find_tenancy_(policy, text, partition + 2);
}

/* Looks a target up in default/default. */
static XYLEM_HOT_ void xylem_find_place_(const struct xylem_region_header *policy,
                                         const struct xylem_name_ *name, struct xylem_place_ *place)
{
    /* [publish] directory_version is raised after an anchor has come or gone, so what is found below is at least as new
     * as the version it is remembered under. */
    place->directory_version = __atomic_load_n(&policy->directory_version, __ATOMIC_ACQUIRE);
    place->hash = xylem_name_hash_(name, policy->hash_seed, XYLEM_TENANCY_DEFAULT);
    xylem_find_anchors_(policy, XYLEM_TENANCY_DEFAULT, xylem_tenancies_(policy)->entries[0].any_namespace,
                        name, place->hash, place->anchors);
    place->name = name->bytes;
    place->name_bytes = (uint32_t)name->size;
}

/* What a handle remembers, if it is still good. A region is known by its first epoch: ids begin anew with every agent.
 */
static XYLEM_HOT_ int xylem_recall_place_(const struct xylem_region_header *policy,
                                          const struct xylem_target *target, struct xylem_place_ *place)
{
    place->directory_version = __atomic_load_n(&policy->directory_version, __ATOMIC_ACQUIRE); /* [publish] */
    place->hash = target->hash_;
    place->anchors[0] = target->anchors_[0];
    place->anchors[1] = target->anchors_[1];
    place->anchors[2] = target->anchors_[2];
    place->name = target->name_;
    place->name_bytes = target->name_bytes_;
    return target->directory_version_ == place->directory_version &&
           target->region_epoch_ == policy->min_epoch;
}

static inline void xylem_target_resolve_(const struct xylem_region_header *policy,
                                         struct xylem_target *target)
{
    struct xylem_name_ name;
    uint32_t tenancy = XYLEM_TENANCY_DEFAULT;
    uint32_t any_namespace;
    uint64_t version = __atomic_load_n(&policy->directory_version, __ATOMIC_ACQUIRE); /* [publish] first */
    if (target->tenancy_bytes_ == 0)
        any_namespace = xylem_tenancies_(policy)->entries[0].any_namespace;
    else
        xylem_target_tenancy_(policy, target, &tenancy, &any_namespace);
    xylem_name_load_(&name, target->name_, target->name_bytes_);
    target->hash_ = xylem_name_hash_(&name, policy->hash_seed, tenancy);
    xylem_find_anchors_(policy, tenancy, any_namespace, &name, target->hash_, target->anchors_);
    target->region_epoch_ = policy->min_epoch;
    target->directory_version_ = version;
}

/* --- the decision --- */

struct xylem_keys_ {
    uint64_t hash; /* of the exact source */
    const struct xylem_tenancies *tenancies;
};

/* Does a slot whose tag fits name this source? `key` is 0 for the exact form, which compares names; the wildcard forms
 * have one interned key and compare refs. */
static XYLEM_HOT_ int xylem_is_source_(const struct xylem_region_header *policy, uint64_t slot,
                                       const struct xylem_source_ *source, xylem_ref key)
{
    if (key)
        return (xylem_ref)slot == key;
    return xylem_is_anchor_((const struct xylem_anchor *)xylem_at_(policy, (xylem_ref)slot,
                                                                   XYLEM_OBJECT_ANCHOR),
                            source->tenancy, &source->name);
}

static XYLEM_HOT_ uint64_t xylem_probe_(const struct xylem_region_header *policy, const uint64_t *slots,
                                        uint32_t capacity, uint32_t seed, uint32_t probe_max, uint64_t hash,
                                        const struct xylem_source_ *source, xylem_ref key)
{
    uint32_t slot = xylem_slot_index(hash, seed, capacity);
    uint64_t tag = xylem_slot_tag(hash);
    for (uint32_t probe = 0; probe <= probe_max; probe++) {
        uint64_t found = slots[slot];
        if (!found)
            return 0;
        if (found >> 40 == tag && xylem_is_source_(policy, found, source, key))
            return found;
        if (++slot == capacity)
            slot = 0;
    }
    return 0;
}

/* One form of source in one destination. Returns the slot, 0 if there is none. */
static XYLEM_NOINLINE_ uint64_t xylem_look_up_(const struct xylem_region_header *policy,
                                               const struct xylem_destination *destination, uint64_t hash,
                                               const struct xylem_source_ *source, xylem_ref key)
{
    if (XYLEM_LIKELY_(!destination->sharded))
        return xylem_probe_(policy, destination->slots, destination->capacity, destination->seed,
                            destination->probe_max, hash, source, key);
    const xylem_ref *shards = (const xylem_ref *)destination->slots;
    xylem_ref ref = shards[destination->shard_bits ? hash >> (64 - destination->shard_bits) : 0];
    if (!ref)
        return 0;
    const struct xylem_sources *shard =
        (const struct xylem_sources *)xylem_at_(policy, ref, XYLEM_OBJECT_SOURCES);
    xylem_check_(&shard->object);
    return xylem_probe_(policy, shard->slots, shard->capacity, shard->seed, shard->probe_max, hash, source,
                        key);
}

#define XYLEM_GLANCE_ 4u                 /* slots */
#define XYLEM_UNSEEN_ 0xffffffffffffffff /* not at a glance: look everywhere */

/* The slots where an exact source most likely is, all at once and without a branch between them: which of them it is
 * in cannot be predicted. Returns the slot, 0 if the source is not in the table, or XYLEM_UNSEEN_. */
static XYLEM_HOT_ uint64_t xylem_glance_(const struct xylem_region_header *policy,
                                         const struct xylem_destination *destination, uint32_t shape,
                                         uint64_t hash, const struct xylem_source_ *source)
{
    uint32_t capacity = shape & XYLEM_SHAPE_CAPACITY;
    uint32_t home = xylem_slot_index(hash, shape >> XYLEM_SHAPE_SEED_SHIFT & XYLEM_SHAPE_SEED, capacity);
    /* Near the end of the table the window begins before the home; a match there is a match as well. */
    uint32_t first = home < capacity - XYLEM_GLANCE_ ? home : capacity - XYLEM_GLANCE_;
    const uint64_t *slots = destination->slots + first;
    const uint64_t tag = (uint64_t)xylem_slot_tag(hash) << 40;
    const uint64_t fits = 1ull << 40; /* what differs is below the tag */
    uint64_t found = (slots[3] ^ tag) < fits ? slots[3] : 0;
    found = (slots[2] ^ tag) < fits ? slots[2] : found;
    found = (slots[1] ^ tag) < fits ? slots[1] : found;
    found = (slots[0] ^ tag) < fits ? slots[0] : found;
    if (XYLEM_LIKELY_(found))
        return XYLEM_LIKELY_(xylem_is_source_(policy, found, source, 0)) ? found : XYLEM_UNSEEN_;
    /* A hole at the home or behind it ends every probe. */
    for (uint32_t i = home - first; i < XYLEM_GLANCE_; i++)
        if (slots[i] == 0)
            return 0;
    return XYLEM_UNSEEN_;
}

/* The source's own namespace, then any. */
static XYLEM_NOINLINE_ uint64_t xylem_match_wildcards_(const struct xylem_region_header *policy,
                                                       const struct xylem_destination *destination,
                                                       uint32_t tenancy, uint32_t any_namespace)
{
    const struct xylem_tenancy *entries = xylem_tenancies_(policy)->entries;
    uint64_t slot = 0;
    if ((destination->forms & XYLEM_FORM_ANY_NAME) && tenancy != XYLEM_TENANCY_NONE)
        slot = xylem_look_up_(policy, destination, entries[tenancy].wildcard_hash, NULL,
                              entries[tenancy].wildcard_key);
    if (!slot && (destination->forms & XYLEM_FORM_ANY_NAMESPACE) && any_namespace != XYLEM_TENANCY_NONE)
        slot = xylem_look_up_(policy, destination, entries[any_namespace].wildcard_hash, NULL,
                              entries[any_namespace].wildcard_key);
    return slot;
}

/* Consul's order within one destination: exact source, any name of its namespace, any namespace. The slot's flags say
 * which matched. */
static XYLEM_HOT_ uint64_t xylem_match_destination_(const struct xylem_region_header *policy,
                                                    uint64_t root_and_shape,
                                                    const struct xylem_source_ *source, uint64_t hash)
{
    uint32_t shape = (uint32_t)(root_and_shape >> 32);
    const struct xylem_destination *destination =
        (const struct xylem_destination *)xylem_at_(policy, (xylem_ref)root_and_shape,
                                                    XYLEM_OBJECT_DESTINATION);
    xylem_check_(&destination->object);
    uint64_t slot = XYLEM_UNSEEN_;
    if (XYLEM_LIKELY_(shape & XYLEM_SHAPE_INLINE)) {
        slot = 0;
        if (XYLEM_LIKELY_((shape & XYLEM_SHAPE_EXACT) && source->tenancy != XYLEM_TENANCY_NONE))
            slot = xylem_glance_(policy, destination, shape, hash, source);
    } else if (!(destination->forms & XYLEM_FORM_EXACT) || source->tenancy == XYLEM_TENANCY_NONE) {
        slot = 0;
    }
    if (XYLEM_UNLIKELY_(slot == XYLEM_UNSEEN_)) {
        struct xylem_source_ copy = *source;
        slot = xylem_look_up_(policy, destination, hash, &copy, 0);
    }
    if (XYLEM_LIKELY_(slot) || (shape & (XYLEM_SHAPE_INLINE | XYLEM_SHAPE_WILDCARDS)) == XYLEM_SHAPE_INLINE)
        return slot;
    return xylem_match_wildcards_(policy, destination, source->tenancy, source->any_namespace);
}

/* Gives a counter to another pair. The agent reads while this happens: an odd generation tells it to look
 * away. */
static XYLEM_COLD_ void xylem_claim_counter_(struct xylem_counter *counter, uint64_t hash,
                                             const uint8_t *source, size_t source_bytes,
                                             const uint8_t *target, size_t target_bytes)
{
    const size_t half = XYLEM_COUNTER_TEXT / 2;
    size_t source_size = source_bytes < half ? source_bytes : half;
    size_t target_size = target_bytes < half ? target_bytes : half;
    uint32_t generation = counter->generation | 1u;
    __atomic_store_n(&counter->generation, generation, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* pairs with the acquire fence of the agent's harvest */
    __atomic_store_n(&counter->allowed, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&counter->denied, 0, __ATOMIC_RELAXED);
    memcpy(counter->text, source, source_size);
    for (size_t i = 0; i < target_size; i++)
        counter->text[source_size + i] = xylem_lower_(target[i]);
    counter->source_bytes = (uint8_t)source_size;
    counter->target_bytes = (uint8_t)target_size;
    counter->hash = hash;
    __atomic_store_n(&counter->generation, generation + 1, __ATOMIC_RELEASE);
}

/* Statistics of one writer: a signal handler in between may lose one count. */
static XYLEM_HOT_ void xylem_count_(struct xylem_reader *reader, const struct xylem_source_ *source,
                                    const struct xylem_place_ *place, uint64_t source_hash, int allow)
{
    struct xylem_counter *counters = reader->counters;
    if (!counters)
        return;
    uint64_t hash = (source_hash ^ (place->hash << 1 | place->hash >> 63)) | 1u;
    struct xylem_counter *counter = &counters[(hash >> 32) & (XYLEM_COUNTERS - 1)];
    struct xylem_reader_slot *slot = reader->slot;
    uint64_t verdicts = slot->allowed + slot->denied;
    uint64_t *count = allow ? &slot->allowed : &slot->denied;
    __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
    if (counter->hash != hash) {
        /* One stranger in 32 takes the counter over: frequent pairs have theirs most of the time, and the others cost no
         * more than this compare. */
        if (XYLEM_LIKELY_(counter->hash != 0 && (verdicts & 31) != 0))
            return;
        xylem_claim_counter_(counter, hash, source->name.bytes, source->name.size, place->name,
                             place->name_bytes);
    }
    count = allow ? &counter->allowed : &counter->denied;
    __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
}

/* A denial without an intention; the version is the caller's to fill in. */
static XYLEM_HOT_ int xylem_deny_(struct xylem_verdict *verdict, int why)
{
    verdict->allow = 0;
    verdict->why = (uint8_t)why;
    verdict->precedence = 0;
    verdict->permissions = 0;
    verdict->anchor_ = 0;
    verdict->section_ = 0;
    verdict->slot_ = 0;
    return 0;
}

static XYLEM_COLD_ int xylem_deny_unready_(const struct xylem_reader *reader, struct xylem_verdict *verdict)
{
    const struct xylem_set_ *set = reader->set;
    if (!reader->slot)
        return xylem_deny_(verdict, XYLEM_WHY_FORKED);
    if (!set)
        return xylem_deny_(verdict, XYLEM_WHY_TOO_DEEP);
    if (set->policy->region_id == 0)
        return xylem_deny_(verdict, XYLEM_WHY_NOT_READY);
    return xylem_deny_(verdict, __atomic_load_n(&set->policy->superseded, __ATOMIC_ACQUIRE)
                                    ? XYLEM_WHY_SUPERSEDED
                                    : XYLEM_WHY_STALE);
}

/* Can this section answer? Call behind the sampling of the version: superseding raises it, too. */
static XYLEM_HOT_ int xylem_is_ready_(const struct xylem_reader *reader,
                                      const struct xylem_region_header *policy)
{
    /* [publish] superseded is stored behind the last denial that this region will ever get. */
    return XYLEM_LIKELY_(!(__atomic_load_n(&policy->superseded, __ATOMIC_ACQUIRE) |
                           __atomic_load_n(&reader->client->stale, __ATOMIC_RELAXED)));
}

/* Walks the destinations that may speak for the target, most exact first and from *decider on, up to the one that
 * decides: *decider, 3 if none does. */
static XYLEM_HOT_ uint64_t xylem_walk_(const struct xylem_region_header *policy,
                                       const struct xylem_place_ *place, const struct xylem_source_ *source,
                                       uint64_t hash, uint64_t roots[3], uint32_t *decider)
{
    for (uint32_t i = *decider; i < 3; i++) {
        roots[i] = 0;
        if (place->anchors[i]) {
            const struct xylem_anchor *anchor =
                (const struct xylem_anchor *)xylem_at_(policy, place->anchors[i], XYLEM_OBJECT_ANCHOR);
            roots[i] = __atomic_load_n(&anchor->root_and_shape, __ATOMIC_ACQUIRE); /* [publish] */
        }
        uint64_t slot = roots[i] ? xylem_match_destination_(policy, roots[i], source, hash) : 0;
        if (slot) {
            *decider = i;
            return slot;
        }
    }
    *decider = 3;
    return 0;
}

/* Did the destinations that were walked stand like this all at once? They change one by one: of a commit that denies in
 * one and allows in another, a reader that came between them would see the second half only. Refs do not come back
 * within a section, so what is the same now was the same all the time. */
static XYLEM_HOT_ int xylem_is_snapshot_(const struct xylem_region_header *policy,
                                         const struct xylem_place_ *place, const uint64_t roots[3],
                                         uint32_t decider)
{
    /* [publish] Raised before the root of a new destination is stored, and after one has gone. */
    if (__atomic_load_n(&policy->directory_version, __ATOMIC_ACQUIRE) != place->directory_version)
        return 0;
    for (uint32_t i = 0; i < 3 && i <= decider; i++) {
        if (!place->anchors[i])
            continue;
        const struct xylem_anchor *anchor =
            (const struct xylem_anchor *)xylem_at_(policy, place->anchors[i], XYLEM_OBJECT_ANCHOR);
        if (__atomic_load_n(&anchor->root_and_shape, __ATOMIC_ACQUIRE) != roots[i]) /* [publish] */
            return 0;
    }
    return 1;
}

/* The verdict of an intention, `slot` of the destination number `decider`. */
static XYLEM_HOT_ int xylem_intend_(const struct xylem_reader *reader, uint64_t slot, uint32_t decider,
                                    xylem_ref anchor, struct xylem_verdict *verdict)
{
    uint32_t flags = (uint32_t)(slot >> 32);
    int allow = (flags & (XYLEM_SLOT_ALLOW | XYLEM_SLOT_PERMISSIONS)) == XYLEM_SLOT_ALLOW;
    verdict->allow = (uint8_t)allow;
    verdict->why = XYLEM_WHY_INTENTION;
    verdict->permissions = (flags & XYLEM_SLOT_PERMISSIONS) != 0;
    /* 9, 6 or 3 for the destination, less 1 or 2 for a wildcard source: XYLEM_SLOT_ANY_NAME, _ANY_NAMESPACE. */
    verdict->precedence = (uint8_t)(9 - 3 * decider - (flags >> 3 & 3u));
    verdict->anchor_ = anchor;
    verdict->slot_ = slot;
    verdict->section_ = reader->sections + 1;
    return allow;
}

/* Returns the verdict, or XYLEM_AGAIN_: the policy changed meanwhile in such a way that source and target must be looked
 * up again. */
#define XYLEM_AGAIN_ (-1)

/* From destination number `decider` on; those before it, of which roots[] tells, do not decide. */
static XYLEM_HOT_ int xylem_decide_from_(struct xylem_reader *reader,
                                         const struct xylem_region_header *policy,
                                         const struct xylem_place_ *place, const struct xylem_source_ *source,
                                         uint64_t hash, uint32_t decider, uint64_t roots[3],
                                         struct xylem_verdict *verdict)
{
    uint64_t slot = xylem_walk_(policy, place, source, hash, roots, &decider);
    /* One destination is always seen whole, by a source whose namespace was known already. */
    if ((decider > 0 || source->tenancy == XYLEM_TENANCY_NONE) &&
        XYLEM_UNLIKELY_(!xylem_is_snapshot_(policy, place, roots, decider)))
        return XYLEM_AGAIN_;
    if (slot)
        return xylem_intend_(reader, slot, decider, place->anchors[decider], verdict);
    xylem_deny_(verdict, XYLEM_WHY_DEFAULT);
    int allow = __atomic_load_n(&policy->default_allow, __ATOMIC_RELAXED) != 0;
    verdict->allow = (uint8_t)allow;
    return allow;
}

static inline int xylem_decide_(struct xylem_reader *reader, const struct xylem_region_header *policy,
                                const struct xylem_place_ *place, const struct xylem_source_ *source,
                                uint64_t hash, struct xylem_verdict *verdict)
{
    uint64_t roots[3];
    return xylem_decide_from_(reader, policy, place, source, hash, 0, roots, verdict);
}

static XYLEM_NOINLINE_ int xylem_decide_rest_(struct xylem_reader *reader,
                                              const struct xylem_region_header *policy,
                                              const struct xylem_place_ *place,
                                              const struct xylem_source_ *source, uint64_t hash,
                                              uint64_t root, struct xylem_verdict *verdict)
{
    uint64_t roots[3] = {root, 0, 0};
    return xylem_decide_from_(reader, policy, place, source, hash, 1, roots, verdict);
}

/* Where a source is in a destination, if it is there: the caller has something else to do before it looks. */
static XYLEM_HOT_ void xylem_prefetch_(const struct xylem_region_header *policy, uint64_t root_and_shape,
                                       uint64_t hash)
{
    uint32_t shape = (uint32_t)(root_and_shape >> 32);
    const struct xylem_destination *destination =
        (const struct xylem_destination *)((const uint8_t *)policy +
                                           (root_and_shape & 0xffffffffu) * XYLEM_REF_UNIT);
    uint32_t home = xylem_slot_index(hash, shape >> XYLEM_SHAPE_SEED_SHIFT & XYLEM_SHAPE_SEED,
                                     shape & XYLEM_SHAPE_CAPACITY);
    __builtin_prefetch(&destination->slots[home]);
}

/* The same, quickest where the target's own destination, with this root, decides. */
static XYLEM_HOT_ int xylem_decide_fast_(struct xylem_reader *reader,
                                         const struct xylem_region_header *policy,
                                         const struct xylem_place_ *place, uint64_t root,
                                         const struct xylem_source_ *source, uint64_t hash,
                                         struct xylem_verdict *verdict)
{
    uint64_t slot = XYLEM_LIKELY_(root) ? xylem_match_destination_(policy, root, source, hash) : 0;
    if (XYLEM_LIKELY_(slot))
        return xylem_intend_(reader, slot, 0, place->anchors[0], verdict);
    const struct xylem_place_ place_copy = *place;
    const struct xylem_source_ source_copy = *source;
    return xylem_decide_rest_(reader, policy, &place_copy, &source_copy, hash, root, verdict);
}

/* In a section that can answer: the whole of it. */
static XYLEM_NOINLINE_ int xylem_authorize_slow_(struct xylem_reader *reader,
                                                 const struct xylem_region_header *policy,
                                                 struct xylem_target *target, const struct xylem_peer *peer,
                                                 struct xylem_verdict *verdict)
{
    uint8_t decoded[XYLEM_NAME_MAX + 1];
    struct xylem_source_ source;
    struct xylem_place_ place;
    for (;;) {
        /* The target first: the version that it is found under is older than all that is read below. */
        if (!xylem_recall_place_(policy, target, &place)) {
            xylem_target_resolve_(policy, target);
            (void)xylem_recall_place_(policy, target, &place);
            place.directory_version = target->directory_version_;
        }
        int why = xylem_parse_uri_(policy, peer->uri.data, peer->uri.size, &source, decoded);
        if (why)
            return xylem_deny_(verdict, why);
        uint64_t hash = xylem_name_hash_(&source.name, policy->hash_seed, source.tenancy);
        int allow = xylem_revoked_(policy, peer)
                        ? xylem_deny_(verdict, XYLEM_WHY_REVOKED)
                        : xylem_decide_(reader, policy, &place, &source, hash, verdict);
        if (allow == XYLEM_AGAIN_)
            continue;
        xylem_count_(reader, &source, &place, hash, allow);
        return allow;
    }
}

/* The usual case: the target has been found, the URI has the usual form, the serial is not revoked, and nothing changed
 * meanwhile. Returns the verdict, or XYLEM_AGAIN_: it is not the usual case after all. */
static XYLEM_HOT_ int xylem_authorize_fast_(struct xylem_reader *reader,
                                            const struct xylem_region_header *policy,
                                            const struct xylem_place_ *place, const struct xylem_peer *peer,
                                            struct xylem_verdict *verdict)
{
    struct xylem_source_ source;
    uint64_t root = 0;
    if (XYLEM_LIKELY_(place->anchors[0])) {
        const struct xylem_anchor *anchor =
            (const struct xylem_anchor *)xylem_at_(policy, place->anchors[0], XYLEM_OBJECT_ANCHOR);
        root = __atomic_load_n(&anchor->root_and_shape, __ATOMIC_ACQUIRE); /* [publish] */
    }
    if (XYLEM_UNLIKELY_(!xylem_parse_uri_fast_(policy, xylem_identities_(policy), peer->uri.data,
                                               peer->uri.size, &source)))
        return XYLEM_AGAIN_;
    uint64_t hash = xylem_name_hash_(&source.name, policy->hash_seed, XYLEM_TENANCY_DEFAULT);
    xylem_prefetch_(policy, root, hash);
    if (XYLEM_UNLIKELY_(xylem_revoked_(policy, peer)))
        return XYLEM_AGAIN_;
    int allow = xylem_decide_fast_(reader, policy, place, root, &source, hash, verdict);
    if (XYLEM_LIKELY_(allow != XYLEM_AGAIN_))
        xylem_count_(reader, &source, place, hash, allow);
    return allow;
}

/* The policy region of the reader's section, or NULL: denied already. */
static XYLEM_HOT_ const struct xylem_region_header *xylem_policy_(struct xylem_reader *reader,
                                                                  struct xylem_verdict *verdict)
{
    const struct xylem_set_ *set = reader->set;
    verdict->policy_version = 0;
    if (XYLEM_LIKELY_(set)) {
        /* [publish] Before the look-up; the writer raises it behind the publication: an old verdict never carries the
         * new version. */
        verdict->policy_version = __atomic_load_n(&set->policy->policy_version, __ATOMIC_ACQUIRE);
        if (XYLEM_LIKELY_(xylem_is_ready_(reader, set->policy)))
            return set->policy;
    }
    xylem_deny_unready_(reader, verdict);
    return NULL;
}

static inline int xylem_authorize_peer(struct xylem_reader *reader, struct xylem_target *target,
                                       const struct xylem_peer *peer, struct xylem_verdict *verdict)
{
    struct xylem_verdict unwanted;
    struct xylem_place_ place;
    int allow = 0;
    if (!verdict)
        verdict = &unwanted;
    xylem_lock_(reader);
    const struct xylem_region_header *policy = xylem_policy_(reader, verdict);
    if (XYLEM_LIKELY_(policy)) {
        allow = XYLEM_AGAIN_;
        if (XYLEM_LIKELY_(xylem_recall_place_(policy, target, &place)))
            allow = xylem_authorize_fast_(reader, policy, &place, peer, verdict);
        if (XYLEM_UNLIKELY_(allow == XYLEM_AGAIN_))
            allow = xylem_authorize_slow_(reader, policy, target, peer, verdict);
    }
    xylem_unlock_(reader);
    return allow;
}

static XYLEM_COLD_ int xylem_deny_malformed_(struct xylem_reader *reader, struct xylem_verdict *verdict)
{
    struct xylem_verdict unwanted;
    if (!verdict)
        verdict = &unwanted;
    verdict->policy_version = xylem_policy_version(reader);
    return xylem_deny_(verdict, reader->slot ? XYLEM_WHY_MALFORMED : XYLEM_WHY_FORKED);
}

static XYLEM_NOINLINE_ int xylem_authorize_text_slow_(struct xylem_reader *reader, const char *text,
                                                      const struct xylem_peer *peer,
                                                      struct xylem_verdict *verdict)
{
    struct xylem_target target;
    if (xylem_target_init(&target, text) != XYLEM_OK)
        return xylem_deny_malformed_(reader, verdict);
    return xylem_authorize_peer(reader, &target, peer, verdict);
}

/* A target as text, a peer taken apart. */
static XYLEM_HOT_ int xylem_authorize_text_(struct xylem_reader *reader, const char *text,
                                            const struct xylem_peer *peer, struct xylem_verdict *verdict)
{
    struct xylem_verdict unwanted;
    struct xylem_name_ name;
    struct xylem_place_ place;
    int allow = XYLEM_AGAIN_;
    if (!verdict)
        verdict = &unwanted;
    if (XYLEM_LIKELY_(xylem_target_name_(&name, text))) {
        xylem_lock_(reader);
        const struct xylem_region_header *policy = xylem_policy_(reader, verdict);
        if (XYLEM_LIKELY_(policy)) {
            /* Its look-up is a chain of dependent loads, behind which the CPU works on the URI. */
            xylem_find_place_(policy, &name, &place);
            allow = xylem_authorize_fast_(reader, policy, &place, peer, verdict);
        } else {
            allow = 0;
        }
        xylem_unlock_(reader);
    }
    if (XYLEM_LIKELY_(allow != XYLEM_AGAIN_))
        return allow;
    struct xylem_peer copy = *peer;
    return xylem_authorize_text_slow_(reader, text, &copy, verdict);
}

static inline int xylem_authorize(struct xylem_reader *reader, const char *target, const char *uri,
                                  const struct xylem_slice *serial, struct xylem_verdict *verdict)
{
    struct xylem_peer peer;
    peer.uri.data = (const uint8_t *)uri;
    peer.uri.size = strlen(uri);
    /* Emits nothing. With a literal that is shorter than a block gcc warns of reads that its length rules out. */
    __asm__("" : "+r"(peer.uri.data), "+r"(target));
    peer.serial.data = serial ? serial->data : NULL;
    peer.serial.size = serial ? serial->size : 0;
    peer.issuer_key_id.data = NULL;
    peer.issuer_key_id.size = 0;
    return xylem_authorize_text_(reader, target, &peer, verdict);
}

static inline int xylem_authorize_der(struct xylem_reader *reader, const char *target, const void *der,
                                      size_t size, struct xylem_verdict *verdict)
{
    struct xylem_peer peer;
    if (XYLEM_UNLIKELY_(xylem_x509_peer(der, size, &peer) != 0))
        return xylem_deny_malformed_(reader, verdict);
    return xylem_authorize_text_(reader, target, &peer, verdict);
}

static inline uint64_t xylem_policy_version(struct xylem_reader *reader)
{
    xylem_lock_(reader);
    const struct xylem_set_ *set = reader->set;
    uint64_t version =
        set ? __atomic_load_n(&set->policy->policy_version, __ATOMIC_ACQUIRE) : 0; /* [publish] */
    xylem_unlock_(reader);
    return version;
}

/* --- reasons --- */

static inline void xylem_append_(char *text, size_t size, size_t *used, const void *bytes, size_t bytes_size)
{
    if (*used < size) {
        size_t room = size - *used - 1;
        size_t copied = bytes_size < room ? bytes_size : room;
        memcpy(text + *used, bytes, copied);
        text[*used + copied] = '\0';
    }
    *used += bytes_size;
}

static inline void xylem_append_text_(char *text, size_t size, size_t *used, const char *string)
{
    xylem_append_(text, size, used, string, strlen(string));
}

/* "namespace/name"; a partition is named where it is not "default". */
static inline void xylem_append_name_(char *text, size_t size, size_t *used,
                                      const struct xylem_region_header *policy,
                                      const struct xylem_anchor *anchor)
{
    const struct xylem_tenancy *tenancy = &xylem_tenancies_(policy)->entries[anchor->tenancy];
    const struct xylem_anchor *place =
        (const struct xylem_anchor *)xylem_at_(policy, tenancy->name, XYLEM_OBJECT_ANCHOR);
    size_t skip = place->name_bytes > 8 && memcmp(place->name, "default/", 8) == 0 ? 8 : 0;
    xylem_append_(text, size, used, place->name + skip, place->name_bytes - skip);
    xylem_append_text_(text, size, used, "/");
    xylem_append_(text, size, used, anchor->name, anchor->name_bytes);
}

static inline const struct xylem_detail *xylem_find_detail_(const struct xylem_region_header *policy,
                                                            const struct xylem_anchor *anchor, xylem_ref key)
{
    xylem_ref root = __atomic_load_n(&anchor->root, __ATOMIC_ACQUIRE); /* [publish] */
    if (!root)
        return NULL;
    const struct xylem_destination *destination =
        (const struct xylem_destination *)xylem_at_(policy, root, XYLEM_OBJECT_DESTINATION);
    if (!destination->details)
        return NULL;
    const struct xylem_details *details =
        (const struct xylem_details *)xylem_at_(policy, destination->details, XYLEM_OBJECT_DETAILS);
    for (uint32_t i = 0; i < details->count; i++)
        if (details->entries[i].key == key)
            return &details->entries[i];
    return NULL;
}

static inline void xylem_append_intention_(char *text, size_t size, size_t *used,
                                           const struct xylem_region_header *policy,
                                           const struct xylem_verdict *verdict)
{
    const struct xylem_anchor *target =
        (const struct xylem_anchor *)xylem_at_(policy, verdict->anchor_, XYLEM_OBJECT_ANCHOR);
    xylem_ref key = (xylem_ref)verdict->slot_;
    const struct xylem_anchor *source =
        (const struct xylem_anchor *)xylem_at_(policy, key, XYLEM_OBJECT_ANCHOR);
    const struct xylem_detail *detail =
        verdict->slot_ >> 32 & XYLEM_SLOT_DETAIL ? xylem_find_detail_(policy, target, key) : NULL;
    char number[96];
    xylem_append_text_(text, size, used, ": ");
    xylem_append_name_(text, size, used, policy, source);
    xylem_append_text_(text, size, used, " => ");
    xylem_append_name_(text, size, used, policy, target);
    xylem_append_text_(text, size, used, " (");
    if (detail && detail->id[0]) {
        xylem_append_text_(text, size, used, "ID: ");
        xylem_append_(text, size, used, detail->id, strnlen((const char *)detail->id, sizeof detail->id));
        xylem_append_text_(text, size, used, ", ");
    }
    if (verdict->permissions)
        snprintf(number, sizeof number, "Precedence: %u, Permissions: %u)", verdict->precedence,
                 detail ? detail->permissions : 1u);
    else
        snprintf(number, sizeof number, "Precedence: %u, Action: %s)", verdict->precedence,
                 verdict->slot_ >> 32 & XYLEM_SLOT_ALLOW ? "ALLOW" : "DENY");
    xylem_append_text_(text, size, used, number);
}

static inline const char *xylem_why_text(int why)
{
    switch (why) {
#define XYLEM_CASE_(name, number, words) \
case number:                             \
    return words;
        XYLEM_WHYS(XYLEM_CASE_)
#undef XYLEM_CASE_
    default:
        return "unknown reason";
    }
}

static inline size_t xylem_reason(struct xylem_reader *reader, const struct xylem_verdict *verdict,
                                  char *text, size_t size)
{
    size_t used = 0;
    if (size)
        text[0] = '\0';
    if (verdict->why == XYLEM_WHY_INTENTION) {
        xylem_append_text_(text, size, &used,
                           verdict->permissions ? "Matched L7 intention" : "Matched L4 intention");
        xylem_lock_(reader);
        const struct xylem_set_ *set = reader->set;
        if (set && verdict->slot_ && verdict->section_ == reader->sections + 1)
            xylem_append_intention_(text, size, &used, set->policy, verdict);
        xylem_unlock_(reader);
    } else if (verdict->why == XYLEM_WHY_DEFAULT) {
        xylem_append_text_(text, size, &used, "Default intention policy");
    } else {
        xylem_append_text_(text, size, &used, xylem_why_text(verdict->why));
    }
    return used;
}

/* --- certificates --- */

static XYLEM_HOT_ struct xylem_slice xylem_run_(const void *object, struct xylem_run run)
{
    struct xylem_slice slice;
    slice.data = (const uint8_t *)object + run.offset;
    slice.size = run.size_bytes;
    return slice;
}

/* Inside an established section, or the reason why not. */
static inline int xylem_in_section_(const struct xylem_reader *reader)
{
    if (!reader->slot)
        return XYLEM_E_FORKED;
    if (!reader->set)
        return XYLEM_E_NO_SECTION;
    return reader->set->policy->region_id == 0 ? XYLEM_E_NOT_READY : XYLEM_OK;
}

/* A leaf's name in its directory is what the configuration calls the service, byte for byte; the tenancy is
 * in it. */
static inline const struct xylem_anchor *xylem_find_leaf_(const struct xylem_set_ *set, const char *service,
                                                          const struct xylem_region_header **region)
{
    size_t size = strlen(service);
    if (size > XYLEM_NAME_MAX)
        return NULL;
    for (uint32_t i = 1; i < set->region_count; i++) {
        const struct xylem_region_header *scope = set->regions[i].region;
        xylem_ref directory = __atomic_load_n(&scope->leaves, __ATOMIC_ACQUIRE); /* [publish] */
        uint64_t hash = xylem_hash(scope->hash_seed, 0, (const uint8_t *)service, size);
        const struct xylem_anchor *anchor =
            xylem_find_(scope, directory, hash, 0, (const uint8_t *)service, size);
        *region = scope;
        if (anchor)
            return anchor;
    }
    return NULL;
}

/* The view of what an anchor of a scope region names. */
static inline int xylem_view_leaf_(const struct xylem_region_header *scope, const struct xylem_anchor *anchor,
                                   struct xylem_leaf_view *out)
{
    xylem_ref ref = anchor ? __atomic_load_n(&anchor->root, __ATOMIC_ACQUIRE) : 0; /* [publish] */
    if (!ref)
        return XYLEM_E_NOT_FOUND;
    const struct xylem_leaf_object *leaf =
        (const struct xylem_leaf_object *)xylem_at_(scope, ref, XYLEM_OBJECT_LEAF);
    xylem_check_(&leaf->object);
    out->uri = xylem_run_(leaf, leaf->uri);
    out->serial = xylem_run_(leaf, leaf->serial);
    out->chain_der = xylem_run_(leaf, leaf->chain_der);
    out->leaf_der = xylem_run_(leaf, leaf->leaf_der);
    out->chain_pem = xylem_run_(leaf, leaf->chain_pem);
    out->key_der = xylem_run_(leaf, leaf->key_der);
    out->key_pem = xylem_run_(leaf, leaf->key_pem);
    out->version = leaf->version;
    out->roots_version = leaf->roots_version;
    out->not_before = leaf->not_before;
    out->not_after = leaf->not_after;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* the coarse clock never leaves the vDSO */
    out->expired = now.tv_sec > leaf->not_after;
    return XYLEM_OK;
}

static inline int xylem_leaf(struct xylem_reader *reader, const char *service, struct xylem_leaf_view *out)
{
    int error = xylem_in_section_(reader);
    if (error)
        return error;
    const struct xylem_region_header *scope = NULL;
    const struct xylem_anchor *anchor = xylem_find_leaf_(reader->set, service, &scope);
    return xylem_view_leaf_(scope, anchor, out);
}

static inline uint64_t xylem_leaf_version(struct xylem_reader *reader, const char *service)
{
    uint64_t version = 0;
    xylem_lock_(reader);
    if (xylem_in_section_(reader) == XYLEM_OK) {
        const struct xylem_region_header *scope = NULL;
        const struct xylem_anchor *anchor = xylem_find_leaf_(reader->set, service, &scope);
        if (anchor)
            version = __atomic_load_n(&anchor->version, __ATOMIC_ACQUIRE); /* [publish] */
    }
    xylem_unlock_(reader);
    return version;
}

static inline int xylem_roots(struct xylem_reader *reader, struct xylem_roots_view *out)
{
    int error = xylem_in_section_(reader);
    if (error)
        return error;
    const struct xylem_region_header *policy = reader->set->policy;
    xylem_ref ref = __atomic_load_n(&policy->roots, __ATOMIC_ACQUIRE); /* [publish] */
    if (!ref)
        return XYLEM_E_NOT_READY;
    const struct xylem_roots_object *roots =
        (const struct xylem_roots_object *)xylem_at_(policy, ref, XYLEM_OBJECT_ROOTS);
    xylem_check_(&roots->object);
    ref = __atomic_load_n(&policy->identities, __ATOMIC_ACQUIRE); /* [publish] */
    const struct xylem_identities *identities =
        (const struct xylem_identities *)xylem_at_(policy, ref, XYLEM_OBJECT_IDENTITIES);
    out->bundle_pem = xylem_run_(roots, roots->bundle_pem);
    out->trust_domain.data = identities->text + identities->fast_prefix_bytes + 1;
    out->trust_domain.size = identities->trust_domain_bytes;
    out->version = roots->version;
    out->count = roots->count;
    out->active = roots->active;
    out->object_ = roots;
    return XYLEM_OK;
}

static inline int xylem_root_at(const struct xylem_roots_view *roots, uint32_t index,
                                struct xylem_root_view *out)
{
    if (index >= roots->count)
        return XYLEM_E_NOT_FOUND;
    const struct xylem_root *root = &roots->object_->entries[index];
    out->der = xylem_run_(roots->object_, root->der);
    out->pem = xylem_run_(roots->object_, root->pem);
    out->id = xylem_run_(roots->object_, root->id);
    out->not_before = root->not_before;
    out->not_after = root->not_after;
    out->active = root->active != 0;
    return XYLEM_OK;
}

static inline int xylem_identity(struct xylem_reader *reader, const char *service,
                                 struct xylem_leaf_view *leaf, struct xylem_roots_view *roots)
{
    /* In this order: the roots that a leaf needs are published before the leaf, so loading the leaf with
     * acquire and the roots behind it yields roots of leaf->roots_version or later. */
    int error = xylem_leaf(reader, service, leaf);
    return error ? error : xylem_roots(reader, roots);
}

/* --- freshness --- */

static inline uint64_t xylem_now_ns_(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t xylem_age_ns_(const struct xylem_client *client, uint64_t then_ns)
{
    if (then_ns == 0)
        return UINT64_MAX;
    uint64_t now_ns = xylem_now_ns_(CLOCK_BOOTTIME) + (uint64_t)client->clock_offset_ns;
    return now_ns > then_ns ? now_ns - then_ns : 0; /* the two clocks were not read at one instant */
}

static inline void xylem_freshness(struct xylem_reader *reader, struct xylem_freshness_view *out)
{
    out->heartbeat_age_ns = out->upstream_contact_age_ns = UINT64_MAX;
    out->policy_version = 0;
    out->superseded = out->attached = 0;
    xylem_lock_(reader);
    const struct xylem_set_ *set = reader->set;
    if (reader->slot && set) {
        const struct xylem_region_header *policy = set->policy;
        const struct xylem_client *client = reader->client;
        out->heartbeat_age_ns =
            xylem_age_ns_(client, __atomic_load_n(&policy->heartbeat_ns, __ATOMIC_RELAXED));
        out->upstream_contact_age_ns =
            xylem_age_ns_(client, __atomic_load_n(&policy->upstream_contact_ns, __ATOMIC_RELAXED));
        out->policy_version = __atomic_load_n(&policy->policy_version, __ATOMIC_ACQUIRE);
        out->superseded =
            policy->region_id != 0 && __atomic_load_n(&policy->superseded, __ATOMIC_ACQUIRE) != 0;
        out->attached = __atomic_load_n(&client->welcomed, __ATOMIC_RELAXED) != 0;
    }
    xylem_unlock_(reader);
}

/* --- readers --- */

static inline int xylem_claim_slot_(struct xylem_reader_slot *slot, uint64_t self)
{
    uint64_t owner = __atomic_load_n(&slot->thread, __ATOMIC_ACQUIRE);
    if (owner != 0 &&
        (owner == self || syscall(SYS_tgkill, getpid(), (pid_t)owner, 0) == 0 || errno != ESRCH))
        return 0;
    /* Acquire and release: whoever had the slot before has left it, and its stores are behind us. */
    if (!__atomic_compare_exchange_n(&slot->thread, &owner, self, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return 0;
    for (uint32_t level = 0; level < XYLEM_READER_LEVELS; level++) /* a dead thread reads nothing any more */
        __atomic_store_n(&slot->words[level], 0, __ATOMIC_RELEASE);
    return 1;
}

static inline int xylem_reader_open(struct xylem_client *client, struct xylem_reader **out)
{
    *out = NULL;
    if (client->magic != XYLEM_CLIENT_MAGIC_)
        return XYLEM_E_FORKED;
    struct xylem_reader_page *page = client->page;
    uint64_t self = (uint64_t)syscall(SYS_gettid);
    for (uint32_t i = 0; i < client->slot_capacity; i++) {
        if (!xylem_claim_slot_(&page->slots[i], self))
            continue;
        uint32_t used = __atomic_load_n(&page->slots_used, __ATOMIC_RELAXED);
        /* Before any section of this slot: a scan that does not look here must not miss one. */
        while (used < i + 1 && !__atomic_compare_exchange_n(&page->slots_used, &used, i + 1, 0,
                                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            ;
        struct xylem_reader *reader = &client->readers[i];
        reader->set = NULL;
        reader->client = client;
        reader->epoch = 0;
        reader->level = reader->refused = 0;
        reader->counters =
            client->flags & XYLEM_OPEN_NO_COUNTERS
                ? NULL
                : (struct xylem_counter *)((uint8_t *)page +
                                           xylem_reader_counters_offset(client->slot_capacity, i));
        reader->slot = &page->slots[i];
        *out = reader;
        return XYLEM_OK;
    }
    return XYLEM_E_NO_SLOT;
}

static inline void xylem_reader_close(struct xylem_reader *reader)
{
    if (!reader || !reader->slot)
        return;
    struct xylem_reader_slot *slot = reader->slot;
    reader->slot = NULL;
    __atomic_store_n(&slot->thread, 0, __ATOMIC_RELEASE); /* pairs with the acquire in xylem_claim_slot_() */
}

/* --- sets --- */

static inline int xylem_check_region_(const struct xylem_region_header *region, uint64_t size_bytes,
                                      uint32_t kind)
{
    if (region->magic != XYLEM_REGION_MAGIC)
        return XYLEM_E_DAMAGED;
    if (region->abi_major != XYLEM_ABI_MAJOR || (region->incompat_features & ~XYLEM_INCOMPAT_KNOWN) != 0)
        return XYLEM_E_VERSION;
    if (region->kind != kind || region->region_bytes != size_bytes || region->header_bytes < sizeof *region)
        return XYLEM_E_DAMAGED;
    return XYLEM_OK;
}

/* Maps a region so that the kernel may back it by huge pages where it has them: a large one begins at a multiple of their
 * size. Returns MAP_FAILED, and errno, if that fails. */
#define XYLEM_HUGE_PAGE_    ((uintptr_t)2 << 20)
#define XYLEM_LARGE_REGION_ (8 * XYLEM_HUGE_PAGE_)

static inline void *xylem_map_shared_(int fd, uint64_t size_bytes, int protection)
{
    if (size_bytes < XYLEM_LARGE_REGION_)
        return mmap(NULL, size_bytes, protection, MAP_SHARED, fd, 0);
    uint8_t *room = (uint8_t *)mmap(NULL, size_bytes + XYLEM_HUGE_PAGE_, PROT_NONE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    size_t before = (size_t)(-(uintptr_t)room & (XYLEM_HUGE_PAGE_ - 1));
    void *memory = mmap(room + before, size_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
    if (memory == MAP_FAILED) {
        int saved = errno;
        munmap(room, size_bytes + XYLEM_HUGE_PAGE_);
        errno = saved;
        return MAP_FAILED;
    }
    size_t end = before + ((size_bytes + 4095u) & ~(size_t)4095u);
    if (before)
        munmap(room, before);
    if (end < size_bytes + XYLEM_HUGE_PAGE_)
        munmap(room + end, size_bytes + XYLEM_HUGE_PAGE_ - end);
    return memory;
}

static inline int xylem_map_region_(int fd, uint64_t size_bytes, uint32_t kind, struct xylem_mapping_ *out)
{
    struct stat status;
    if (fstat(fd, &status) == -1)
        return XYLEM_E_SYSTEM;
    /* Sealed against shrinking, or a read could meet SIGBUS. */
    int seals = fcntl(fd, F_GET_SEALS);
    if (size_bytes < sizeof(struct xylem_region_header) || (uint64_t)status.st_size != size_bytes ||
        seals == -1 || (seals & F_SEAL_SHRINK) == 0)
        return XYLEM_E_DAMAGED;
    void *memory = xylem_map_shared_(fd, size_bytes, PROT_READ);
    if (memory == MAP_FAILED)
        return XYLEM_E_SYSTEM;
    int error = xylem_check_region_((const struct xylem_region_header *)memory, size_bytes, kind);
    if (!error && madvise(memory, size_bytes, MADV_DONTFORK) == -1)
        error = XYLEM_E_SYSTEM;
    if (!error && kind == XYLEM_REGION_SCOPE && madvise(memory, size_bytes, MADV_DONTDUMP) == -1)
        error = XYLEM_E_SYSTEM;
    if (error) {
        munmap(memory, size_bytes);
        return error;
    }
    out->region = (const struct xylem_region_header *)memory;
    out->size_bytes = size_bytes;
    return XYLEM_OK;
}

static inline void xylem_unmap_set_(struct xylem_set_ *set)
{
    for (uint32_t i = 0; i < set->region_count; i++)
        munmap((void *)(uintptr_t)set->regions[i].region, set->regions[i].size_bytes);
    set->region_count = 0;
}

/* An epoch that no reader of this client has passed: all that they store they have from these regions. A new agent is
 * told when it is greeted, and must begin above it. */
/* May readers go on to this set with the epochs that they have? They hold what they loaded from the region that is
 * installed, so the new one's must not be behind it: the agent would take their slots for younger than they are. The
 * old word is loaded first, and the agent raises the newest region first, so a set of the same agent always passes;
 * one of an agent whose clock began anew does not. */
static inline int xylem_epoch_goes_on_(const struct xylem_client *client,
                                       const struct xylem_region_header *policy)
{
    uint64_t before = __atomic_load_n(&client->set->policy->epoch, __ATOMIC_ACQUIRE); /* [epoch] */
    uint64_t after = __atomic_load_n(&policy->epoch, __ATOMIC_ACQUIRE);               /* [epoch] */
    return after >= before;
}

/* Maps and installs a set: complete or not at all. The descriptors stay the caller's. */
static inline int xylem_install_(struct xylem_client *client, uint64_t min_epoch, const int *fds,
                                 const uint64_t *sizes, uint32_t count)
{
    struct xylem_set_ *set = NULL;
    for (uint32_t i = 0; i < XYLEM_SETS_ && !set; i++)
        if (client->sets[i].region_count == 0)
            set = &client->sets[i];
    if (!set)
        return XYLEM_E_BUSY;
    if (count == 0 || count > XYLEM_WIRE_REGIONS_MAX)
        return XYLEM_E_PROTOCOL;
    int error = XYLEM_OK;
    uint32_t mapped = 0;
    for (; mapped < count && !error; mapped++)
        error =
            xylem_map_region_(fds[mapped], sizes[mapped],
                              mapped == 0 ? XYLEM_REGION_POLICY : XYLEM_REGION_SCOPE, &set->regions[mapped]);
    if (!error && (min_epoch >> 48 != 0 || !xylem_epoch_goes_on_(client, set->regions[0].region))) {
        error = XYLEM_E_STALE_EPOCH;
        mapped++; /* all of them are */
    }
    if (error) {
        set->region_count = mapped - 1;
        xylem_unmap_set_(set);
        return error;
    }
    set->policy = set->regions[0].region;
    set->min_epoch = min_epoch;
    set->region_count = count;
    __atomic_store_n(&client->set, (const struct xylem_set_ *)set, __ATOMIC_RELEASE); /* [set] */
    return XYLEM_OK;
}

/* The agent has seen every reader of this client outside older sets since this one was installed. */
static inline void xylem_release_(struct xylem_client *client, uint64_t min_epoch)
{
    for (uint32_t i = 0; i < XYLEM_SETS_; i++) {
        struct xylem_set_ *set = &client->sets[i];
        if (set->region_count && set->min_epoch < min_epoch && set != client->set)
            xylem_unmap_set_(set);
    }
}

/* --- attaching --- */

static inline void xylem_arm_timer_(struct xylem_client *client)
{
    struct itimerspec when;
    uint64_t delay_ns = 0;
    memset(&when, 0, sizeof when);
    if (client->retry_at_ns) {
        uint64_t now_ns = xylem_now_ns_(CLOCK_MONOTONIC);
        delay_ns = client->retry_at_ns > now_ns ? client->retry_at_ns - now_ns : 1;
    }
    if (client->max_stale_ms) {
        uint64_t check_ns = (uint64_t)client->max_stale_ms * 250000u; /* a quarter of it */
        if (check_ns < 10000000u)
            check_ns = 10000000u;
        if (delay_ns == 0 || check_ns < delay_ns)
            delay_ns = check_ns;
    }
    when.it_value.tv_sec = (time_t)(delay_ns / 1000000000u);
    when.it_value.tv_nsec = (long)(delay_ns % 1000000000u);
    timerfd_settime(client->timer_fd, 0, &when, NULL);
}

/* Exponential back-off with full jitter, 50 ms to 5 s. */
static inline void xylem_retry_later_(struct xylem_client *client)
{
    uint64_t now_ns = xylem_now_ns_(CLOCK_MONOTONIC);
    uint64_t span_ms = 50u << (client->attempts < 7 ? client->attempts : 7);
    uint64_t random = xylem_fold_(now_ns ^ (uint64_t)getpid(), XYLEM_MIX_1_);
    if (span_ms > 5000)
        span_ms = 5000;
    client->attempts++;
    client->retry_at_ns = now_ns + (10 + random % span_ms) * 1000000u;
}

static inline void xylem_disconnect_(struct xylem_client *client)
{
    if (client->socket_fd != -1)
        close(client->socket_fd);
    client->socket_fd = -1;
    __atomic_store_n(&client->welcomed, 0, __ATOMIC_RELAXED);
    xylem_retry_later_(client);
}

static inline void xylem_fill_header_(struct xylem_wire_header *header, uint16_t type, size_t size)
{
    header->magic = XYLEM_WIRE_MAGIC;
    header->type = type;
    header->size_bytes = (uint16_t)size;
}

/* One packet, with one descriptor unless fd is -1. The queue being full counts as a failure: nothing that a
 * client says is big or frequent enough for that to happen with an agent that reads. */
static inline int xylem_send_(int socket_fd, const void *packet, size_t size, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    part.iov_base = (void *)(uintptr_t)packet;
    part.iov_len = size;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd != -1) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent == -1 && errno == EINTR);
    return sent == (ssize_t)size ? XYLEM_OK : XYLEM_E_SYSTEM;
}

static inline int xylem_send_epoch_(struct xylem_client *client, uint16_t type, uint64_t min_epoch, int code)
{
    struct xylem_wire_epoch packet;
    memset(&packet, 0, sizeof packet);
    xylem_fill_header_(&packet.header, type, sizeof packet);
    packet.min_epoch = min_epoch;
    packet.code = code;
    return xylem_send_(client->socket_fd, &packet, sizeof packet, -1);
}

static inline int xylem_send_hello_(struct xylem_client *client)
{
    struct xylem_wire_hello hello;
    memset(&hello, 0, sizeof hello);
    xylem_fill_header_(&hello.header, XYLEM_WIRE_HELLO, sizeof hello);
    hello.wire_version = XYLEM_WIRE_VERSION;
    hello.abi_major = XYLEM_ABI_MAJOR;
    hello.incompat_known = XYLEM_INCOMPAT_KNOWN;
    hello.highest_epoch = client->set->policy->epoch;
    hello.installed = client->set->min_epoch;
    hello.slot_capacity = client->slot_capacity;
    hello.flags = client->flags & XYLEM_OPEN_FENCED ? XYLEM_HELLO_FENCED : 0;
    memcpy(hello.name, client->name, sizeof hello.name);
    return xylem_send_(client->socket_fd, &hello, sizeof hello, client->page_fd);
}

static inline int xylem_attach_(struct xylem_client *client)
{
    struct sockaddr_un address;
    struct epoll_event interest;
    client->retry_at_ns = 0;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1)
        return XYLEM_E_SYSTEM;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, client->socket_path, sizeof address.sun_path);
    memset(&interest, 0, sizeof interest);
    interest.events = EPOLLIN;
    interest.data.fd = fd;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == -1) {
        int denied = errno == EACCES || errno == EPERM;
        close(fd);
        return denied ? XYLEM_E_DENIED : XYLEM_E_NO_AGENT;
    }
    client->socket_fd = fd;
    if (epoll_ctl(client->poll_fd, EPOLL_CTL_ADD, fd, &interest) == 0 &&
        xylem_send_hello_(client) == XYLEM_OK)
        return XYLEM_OK;
    close(fd); /* leaves the epoll set by itself */
    client->socket_fd = -1;
    return XYLEM_E_NO_AGENT;
}

static inline int xylem_on_set_(struct xylem_client *client, const struct xylem_wire_set *packet,
                                const int *fds, uint32_t fd_count)
{
    if (packet->region_count != fd_count || fd_count > XYLEM_WIRE_REGIONS_MAX)
        return XYLEM_E_PROTOCOL;
    int error = xylem_install_(client, packet->min_epoch, fds, packet->region_bytes, fd_count);
    int sent = xylem_send_epoch_(client, error ? XYLEM_WIRE_REFUSED : XYLEM_WIRE_INSTALLED, packet->min_epoch,
                                 error);
    client->last_error = error;
    if (sent != XYLEM_OK)
        return sent;
    return error ? 0 : (int)XYLEM_EVENT_SET;
}

/* One packet of the agent. Returns events, or a negative code: the connection is of no use any more. */
static inline int xylem_on_packet_(struct xylem_client *client, const void *bytes, size_t size,
                                   const int *fds, uint32_t fd_count)
{
    union {
        struct xylem_wire_header header;
        struct xylem_wire_welcome welcome;
        struct xylem_wire_set set;
        struct xylem_wire_epoch epoch;
        struct xylem_wire_changed changed;
        struct xylem_wire_error error;
    } packet;
    if (size < sizeof packet.header || size > sizeof packet)
        return XYLEM_E_PROTOCOL;
    memcpy(&packet, bytes, size);
    if (packet.header.magic != XYLEM_WIRE_MAGIC || packet.header.size_bytes != size ||
        (fd_count != 0 && packet.header.type != XYLEM_WIRE_SET))
        return XYLEM_E_PROTOCOL;
    switch (packet.header.type) {
    case XYLEM_WIRE_WELCOME:
        if (size != sizeof packet.welcome || packet.welcome.wire_version != XYLEM_WIRE_VERSION)
            return XYLEM_E_VERSION;
        client->clock_offset_ns = (int64_t)(packet.welcome.clock_ns - xylem_now_ns_(CLOCK_BOOTTIME));
        if (packet.welcome.flags & XYLEM_WELCOME_FENCE)
            __atomic_store_n(&client->fenced, 1, __ATOMIC_SEQ_CST);
        client->attempts = 0;
        __atomic_store_n(&client->welcomed, 1, __ATOMIC_RELAXED);
        return XYLEM_EVENT_ATTACHED;
    case XYLEM_WIRE_SET:
        return size == sizeof packet.set ? xylem_on_set_(client, &packet.set, fds, fd_count)
                                         : XYLEM_E_PROTOCOL;
    case XYLEM_WIRE_RELEASE:
        if (size != sizeof packet.epoch)
            return XYLEM_E_PROTOCOL;
        xylem_release_(client, packet.epoch.min_epoch);
        return 0;
    case XYLEM_WIRE_CHANGED:
        if (size != sizeof packet.changed)
            return XYLEM_E_PROTOCOL;
        return (int)(packet.changed.what & (XYLEM_CHANGED_POLICY | XYLEM_CHANGED_ROOTS | XYLEM_CHANGED_LEAF));
    case XYLEM_WIRE_ERROR:
        return size == sizeof packet.error && packet.error.code < 0 ? packet.error.code : XYLEM_E_PROTOCOL;
    default:
        return XYLEM_E_PROTOCOL;
    }
}

/* Receives one packet; every descriptor of it is closed again, whatever happens. Returns events, 0 with *more
 * = 0 when nothing is left, or a negative code. */
static inline int xylem_receive_(struct xylem_client *client, int *more)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (XYLEM_WIRE_REGIONS_MAX + 1))];
    } control;
    uint64_t packet[XYLEM_WIRE_PACKET_MAX / 8 + 1];
    struct iovec part;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    part.iov_base = packet;
    part.iov_len = sizeof packet;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t size = recvmsg(client->socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *more = size > 0 || (size == -1 && errno == EINTR);
    if (size == -1)
        return errno == EAGAIN || errno == EINTR ? 0 : XYLEM_E_NO_AGENT;
    int fds[XYLEM_WIRE_REGIONS_MAX + 2];
    uint32_t fd_count = 0;
    for (struct cmsghdr *part_of = CMSG_FIRSTHDR(&message); part_of;
         part_of = CMSG_NXTHDR(&message, part_of)) {
        if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part_of) + i * sizeof fd, sizeof fd);
            if (fd_count < XYLEM_WIRE_REGIONS_MAX + 1)
                fds[fd_count++] = fd;
            else
                close(fd);
        }
    }
    int result = size == 0 ? XYLEM_E_NO_AGENT
                 : message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)
                     ? XYLEM_E_PROTOCOL
                     : xylem_on_packet_(client, packet, (size_t)size, fds, fd_count);
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
    return result;
}

static inline int xylem_check_stale_(struct xylem_client *client)
{
    if (!client->max_stale_ms || client->set == &client->nothing)
        return 0;
    uint64_t beat_ns = __atomic_load_n(&client->set->policy->heartbeat_ns, __ATOMIC_RELAXED);
    uint32_t stale = xylem_age_ns_(client, beat_ns) > (uint64_t)client->max_stale_ms * 1000000u;
    uint32_t before = __atomic_load_n(&client->stale, __ATOMIC_RELAXED);
    __atomic_store_n(&client->stale, stale, __ATOMIC_RELAXED);
    return stale && !before ? (int)XYLEM_EVENT_STALE : before && !stale ? (int)XYLEM_EVENT_POLICY : 0;
}

static inline int xylem_dispatch(struct xylem_client *client)
{
    if (client->magic != XYLEM_CLIENT_MAGIC_)
        return XYLEM_E_FORKED;
    uint64_t expirations;
    ssize_t ignored = read(client->timer_fd, &expirations, sizeof expirations); /* EAGAIN is as good */
    (void)ignored;
    int events = 0;
    if (client->socket_fd == -1 && xylem_now_ns_(CLOCK_MONOTONIC) >= client->retry_at_ns) {
        int error = xylem_attach_(client);
        if (error) {
            client->last_error = error;
            xylem_retry_later_(client);
        }
    }
    for (int more = client->socket_fd != -1; more;) {
        int result = xylem_receive_(client, &more);
        if (result < 0) {
            client->last_error = result;
            events |= client->welcomed ? (int)XYLEM_EVENT_DETACHED : 0;
            xylem_disconnect_(client);
            break;
        }
        events |= result;
    }
    events |= xylem_check_stale_(client);
    xylem_arm_timer_(client);
    return events;
}

static inline int xylem_want_leaf(struct xylem_client *client, const char *service)
{
    struct xylem_wire_want packet;
    size_t size = strlen(service);
    if (client->magic != XYLEM_CLIENT_MAGIC_)
        return XYLEM_E_FORKED;
    if (size == 0 || size >= sizeof packet.service)
        return XYLEM_E_INVALID;
    if (client->socket_fd == -1)
        return XYLEM_E_NO_AGENT;
    memset(&packet, 0, sizeof packet);
    xylem_fill_header_(&packet.header, XYLEM_WIRE_WANT, sizeof packet);
    memcpy(packet.service, service, size);
    return xylem_send_(client->socket_fd, &packet, sizeof packet, -1);
}

static inline int xylem_fd(const struct xylem_client *client)
{
    return client->magic == XYLEM_CLIENT_MAGIC_ ? client->poll_fd : -1;
}

/* --- open and close --- */

static inline int xylem_make_page_(struct xylem_client *client)
{
    client->page_bytes = xylem_reader_page_bytes(client->slot_capacity);
    client->page_fd = memfd_create("xylem-readers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (client->page_fd == -1)
        return XYLEM_E_SYSTEM;
    if (ftruncate(client->page_fd, (off_t)client->page_bytes) == -1 ||
        fcntl(client->page_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1)
        return XYLEM_E_SYSTEM;
    void *memory = mmap(NULL, client->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, client->page_fd, 0);
    if (memory == MAP_FAILED)
        return XYLEM_E_SYSTEM;
    client->page = (struct xylem_reader_page *)memory;
    client->page->magic = XYLEM_READER_MAGIC;
    client->page->slot_capacity = client->slot_capacity;
    return madvise(memory, client->page_bytes, MADV_DONTFORK) == -1 ? XYLEM_E_SYSTEM : XYLEM_OK;
}

static inline void xylem_free_(struct xylem_client *client)
{
    for (uint32_t i = 0; i < XYLEM_SETS_; i++)
        xylem_unmap_set_(&client->sets[i]);
    if (client->page)
        munmap(client->page, client->page_bytes);
    if (client->socket_fd != -1)
        close(client->socket_fd);
    if (client->page_fd != -1)
        close(client->page_fd);
    if (client->poll_fd != -1)
        close(client->poll_fd);
    if (client->timer_fd != -1)
        close(client->timer_fd);
    munmap(client, client->mapping_bytes);
}

#ifndef MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
#    define XYLEM_MEMBARRIER_REGISTER_ \
        (1 << 2) /* MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED of linux/membarrier.h */
#else
#    define XYLEM_MEMBARRIER_REGISTER_ MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
#endif

/* A client without a connection: what xylem_open() starts from, and what the agent's own readers use. */
static inline int xylem_new_(struct xylem_client **out, uint32_t slot_capacity, uint32_t flags)
{
    *out = NULL;
    if (slot_capacity != 16 && slot_capacity != 64 && slot_capacity != 256 && slot_capacity != 1024)
        return XYLEM_E_INVALID;
    uint64_t bytes = sizeof(struct xylem_client) + (slot_capacity - 1) * sizeof(struct xylem_reader);
    bytes = (bytes + 4095u) & ~(uint64_t)4095u;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return XYLEM_E_SYSTEM;
    struct xylem_client *client = (struct xylem_client *)memory;
    client->mapping_bytes = bytes;
    client->slot_capacity = slot_capacity;
    client->flags = flags;
    client->page_fd = client->poll_fd = client->timer_fd = client->socket_fd = -1;
    client->empty.superseded = 1; /* every verdict of it is a denial */
    client->nothing.policy = &client->empty;
    client->set = &client->nothing;
    int error = madvise(memory, bytes, MADV_WIPEONFORK) == -1 ? XYLEM_E_SYSTEM : xylem_make_page_(client);
    if (error) {
        int saved = errno;
        xylem_free_(client);
        errno = saved;
        return error;
    }
    if (!(flags & XYLEM_OPEN_FENCED) && syscall(SYS_membarrier, XYLEM_MEMBARRIER_REGISTER_, 0, 0) != 0)
        client->flags |= XYLEM_OPEN_FENCED; /* an old kernel, or seccomp: fence instead */
    client->fenced = (client->flags & XYLEM_OPEN_FENCED) != 0;
    client->magic = XYLEM_CLIENT_MAGIC_;
    *out = client;
    return XYLEM_OK;
}

static inline int xylem_set_options_(struct xylem_client *client, const struct xylem_options *options)
{
    const char *path = options->socket_path ? options->socket_path : secure_getenv("XYLEM_SOCKET");
    const char *name = options->name ? options->name : program_invocation_short_name;
    struct epoll_event interest;
    if (!path)
        path = XYLEM_DEFAULT_SOCKET;
    if (strlen(path) >= sizeof client->socket_path)
        return XYLEM_E_INVALID;
    memcpy(client->socket_path, path, strlen(path) + 1);
    memcpy(client->name, name, strnlen(name, sizeof client->name - 1));
    client->max_stale_ms = options->max_stale_ms;
    client->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (client->poll_fd == -1 || client->timer_fd == -1)
        return XYLEM_E_SYSTEM;
    memset(&interest, 0, sizeof interest);
    interest.events = EPOLLIN;
    interest.data.fd = client->timer_fd;
    return epoll_ctl(client->poll_fd, EPOLL_CTL_ADD, client->timer_fd, &interest) == -1 ? XYLEM_E_SYSTEM
                                                                                        : XYLEM_OK;
}

/* Dispatches until a set is there, the agent has refused, or the time is up. */
static inline int xylem_wait_for_set_(struct xylem_client *client, uint32_t timeout_ms)
{
    uint64_t end_ns = xylem_now_ns_(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
    while (client->set == &client->nothing) {
        uint64_t now_ns = xylem_now_ns_(CLOCK_MONOTONIC);
        if (client->last_error)
            return client->last_error;
        if (now_ns >= end_ns)
            return XYLEM_E_NOT_READY;
        struct pollfd ready;
        ready.fd = client->poll_fd;
        ready.events = POLLIN;
        ready.revents = 0;
        if (poll(&ready, 1, (int)((end_ns - now_ns) / 1000000u) + 1) == -1 && errno != EINTR)
            return XYLEM_E_SYSTEM;
        xylem_dispatch(client);
    }
    return XYLEM_OK;
}

static inline int xylem_open(struct xylem_client **out, const struct xylem_options *options)
{
    struct xylem_options defaults;
    memset(&defaults, 0, sizeof defaults);
    if (!options)
        options = &defaults;
    struct xylem_client *client;
    int error = xylem_new_(&client, options->reader_capacity ? options->reader_capacity : 64, options->flags);
    *out = NULL;
    if (error)
        return error;
    error = xylem_set_options_(client, options);
    if (!error) {
        xylem_dispatch(client);
        if (!(options->flags & XYLEM_OPEN_LAZY))
            error =
                xylem_wait_for_set_(client, options->attach_timeout_ms ? options->attach_timeout_ms : 2000);
    }
    if (error) {
        int saved = errno;
        xylem_free_(client);
        errno = saved;
        return error;
    }
    *out = client;
    return XYLEM_OK;
}

static inline void xylem_close(struct xylem_client *client)
{
    if (!client || client->magic != XYLEM_CLIENT_MAGIC_)
        return;
    if (client->socket_fd != -1) {
        struct xylem_wire_detach packet;
        memset(&packet, 0, sizeof packet);
        xylem_fill_header_(&packet.header, XYLEM_WIRE_DETACH, sizeof packet);
        (void)xylem_send_(client->socket_fd, &packet, sizeof packet,
                          -1); /* else the agent waits for our exit */
    }
    xylem_free_(client);
}

#ifdef __cplusplus
} /* extern "C" */

namespace xylem
{
/* A section as long as the object lives. Not to be copied or moved: a section belongs to a scope of one
 * thread. */
class read_section
{
  public:
    explicit read_section(xylem_reader *reader) noexcept : reader_(reader)
    {
        xylem_read_lock(reader_);
    }
    ~read_section()
    {
        xylem_read_unlock(reader_);
    }
    read_section(const read_section &) = delete;
    read_section &operator=(const read_section &) = delete;

  private:
    xylem_reader *reader_;
};

/* Owns a client: closed when the object goes. */
class client
{
  public:
    client() noexcept = default;
    ~client()
    {
        xylem_close(client_);
    }
    client(const client &) = delete;
    client &operator=(const client &) = delete;
    /* Returns: as xylem_open(). */
    int open(const xylem_options *options = nullptr) noexcept
    {
        xylem_close(client_);
        return xylem_open(&client_, options);
    }
    xylem_client *get() const noexcept
    {
        return client_;
    }

  private:
    xylem_client *client_ = nullptr;
};

/* Owns a reader of the thread that opened it. */
class reader
{
  public:
    reader() noexcept = default;
    ~reader()
    {
        xylem_reader_close(reader_);
    }
    reader(const reader &) = delete;
    reader &operator=(const reader &) = delete;
    /* Returns: as xylem_reader_open(). */
    int open(xylem_client *owner) noexcept
    {
        xylem_reader_close(reader_);
        return xylem_reader_open(owner, &reader_);
    }
    xylem_reader *get() const noexcept
    {
        return reader_;
    }

  private:
    xylem_reader *reader_ = nullptr;
};
} // namespace xylem
#endif

#endif

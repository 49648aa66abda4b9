/* SPDX-License-Identifier: MIT */
/* The layout of a region: what the agent writes and every client maps read-only.
 *
 * A region is one sealed memfd. It starts with `struct xylem_region_header`, one page; everything behind it
 * is objects. An object is immutable once published, starts with `struct xylem_object`, and is named by a
 * `xylem_ref`: its distance from the start of the region in units of 8 bytes, 0 for none. There are no
 * pointers, no enums and no types whose width a compiler may choose.
 *
 * The few words that change are marked MUTABLE. They are plain integers, read and written only by the
 * __atomic builtins (C11's _Atomic does not compile as C++), each by one store of its natural width. The
 * agent's main thread is the only writer. What may be done with an object, and for how long, is said in
 * xylem.h.
 *
 * Promise: a minor version only appends to what a reader may ignore. Whatever changes the meaning of
 * something that is there sets an incompat bit or raises the major version, and a reader refuses both when it
 * does not know them: a reader that guesses could turn a denial into an allow. */
#ifndef XYLEM_ABI_H
#define XYLEM_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#    define XYLEM_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#    define XYLEM_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "xylem: regions hold little-endian words; this machine is not little-endian"
#endif
XYLEM_STATIC_ASSERT(sizeof(void *) == 8, "xylem: 64-bit programs only");
XYLEM_STATIC_ASSERT(__GCC_ATOMIC_LLONG_LOCK_FREE == 2, "xylem: 64-bit accesses must not take a lock");

/* Flexible array members are C99; g++ takes them behind __extension__, clang++ wants to be told once. */
#if defined(__cplusplus) && defined(__clang__)
#    pragma clang diagnostic push
#    pragma clang diagnostic ignored "-Wc99-extensions"
#endif

#define XYLEM_REGION_MAGIC 0x31676e6d656c7978ULL /* "xylemng1" */
#define XYLEM_ABI_MAJOR    1u
#define XYLEM_ABI_MINOR    0u

/* Semantics that a reader must know to answer at all; none yet. */
#define XYLEM_INCOMPAT_KNOWN 0ULL

#define XYLEM_CACHE_LINE 64u
#define XYLEM_NAME_MAX   255u /* bytes of a service, namespace or partition name */

typedef uint32_t xylem_ref; /* distance from the start of the region in 8-byte units; 0: none */
#define XYLEM_REF_UNIT 8u

#define XYLEM_REGION_POLICY 1u
#define XYLEM_REGION_SCOPE  2u

/* --- the header --- */

/* The first cache line never changes after the descriptor has left the agent. Each further line has one
 * reason to be written, so that a heartbeat does not take the line away under a reader of the policy. */
struct xylem_region_header {
    uint64_t magic;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint64_t incompat_features;
    uint64_t compat_features;
    uint32_t kind;         /* XYLEM_REGION_* */
    uint32_t header_bytes; /* objects start here at the earliest */
    uint64_t region_bytes;
    uint64_t region_id; /* unique while the agent lives */
    uint64_t min_epoch; /* every reader of this region has an epoch at or above it */

    /* Line 1. MUTABLE [epoch]. Policy region only. */
    uint64_t epoch;
    uint8_t reserved_1[56];

    /* Line 2. MUTABLE [policy]: what one authorization reads. */
    uint64_t policy_version;    /* raised after every publication that may change a verdict */
    uint64_t directory_version; /* raised after a destination's anchor has come or gone */
    xylem_ref destinations;     /* xylem_directory of anchors whose roots are xylem_destination */
    xylem_ref tenancies;        /* xylem_tenancies */
    xylem_ref identities;       /* xylem_identities */
    xylem_ref revocations;      /* xylem_directory keyed by serial; roots are xylem_revocation */
    xylem_ref revocation_filter;
    uint32_t default_allow; /* 1: no intention matched means allow */
    uint32_t superseded;    /* 1: nothing is published here any more; every verdict is a denial */
    xylem_ref
        tenancy_names;  /* xylem_directory keyed by "partition/namespace"; the anchor's tenancy is the id */
    uint64_t hash_seed; /* constant */
    uint8_t reserved_2[8];

    /* Line 3. MUTABLE [freshness]. Nanoseconds of the agent's CLOCK_BOOTTIME; 0: never. */
    uint64_t heartbeat_ns;
    uint64_t upstream_contact_ns;
    uint8_t reserved_3[48];

    /* Line 4. MUTABLE [certificates]. `leaves` in a scope region, the others in the policy region. */
    xylem_ref roots;  /* xylem_roots */
    xylem_ref leaves; /* xylem_directory of anchors whose roots are xylem_leaf_object */
    uint64_t roots_version;
    uint64_t leaves_version; /* raised after every leaf published or withdrawn in this region */
    uint8_t reserved_4[40];

    uint8_t reserved[4096 - 5 * 64];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_region_header) == 4096, "layout changed: raise XYLEM_ABI_MAJOR");
XYLEM_STATIC_ASSERT(offsetof(struct xylem_region_header, epoch) == 64, "the epoch owns line 1");
XYLEM_STATIC_ASSERT(offsetof(struct xylem_region_header, policy_version) == 128, "the policy owns line 2");
XYLEM_STATIC_ASSERT(offsetof(struct xylem_region_header, heartbeat_ns) == 192, "freshness owns line 3");
XYLEM_STATIC_ASSERT(offsetof(struct xylem_region_header, roots) == 256, "certificates own line 4");

/* --- objects --- */

/* Every object starts with this. `checksum` covers the immutable bytes behind it, is computed in test builds
 * only (0 otherwise), and is what tells a test that it has met memory that was freed. */
struct xylem_object {
    uint32_t kind;       /* XYLEM_OBJECT_* */
    uint32_t size_bytes; /* this header included */
    uint32_t checksum;
    uint32_t reserved;
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_object) == 16, "layout changed: raise XYLEM_ABI_MAJOR");

#define XYLEM_OBJECT_DIRECTORY   0x52494458u /* "XDIR" */
#define XYLEM_OBJECT_SHARD       0x52485358u /* "XSHR" */
#define XYLEM_OBJECT_ANCHOR      0x434e4158u /* "XANC" */
#define XYLEM_OBJECT_DESTINATION 0x54534458u /* "XDST" */
#define XYLEM_OBJECT_SOURCES     0x43525358u /* "XSRC" */
#define XYLEM_OBJECT_DETAILS     0x4c544458u /* "XDTL" */
#define XYLEM_OBJECT_TENANCIES   0x4e455458u /* "XTEN" */
#define XYLEM_OBJECT_IDENTITIES  0x4e444958u /* "XIDN" */
#define XYLEM_OBJECT_FILTER      0x544c4658u /* "XFLT" */
#define XYLEM_OBJECT_REVOCATION  0x564b5258u /* "XRKV" */
#define XYLEM_OBJECT_ROOTS       0x53545258u /* "XRTS" */
#define XYLEM_OBJECT_LEAF        0x46454c58u /* "XLEF" */
#define XYLEM_OBJECT_FREED       0xdeadfeedu /* test builds write this over the kind of freed memory */

/* --- directory: name -> anchor --- */

/* Extendible hashing. The top `bits` bits of a name's hash choose a shard; a shard is immutable and rebuilt
 * when a name comes or goes; neighbouring entries may name the same shard. Only `shards` is MUTABLE, entry by
 * entry. */
struct xylem_directory {
    struct xylem_object object;
    uint32_t bits;
    uint32_t reserved;
    __extension__ xylem_ref shards[]; /* 1 << bits */
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_directory) == 24, "layout changed: raise XYLEM_ABI_MAJOR");

struct xylem_shard_slot {
    uint32_t tag; /* low half of the name's hash: a filter, never a proof */
    xylem_ref anchor;
};

/* Linear probing from ((hash * multiplier) >> 32) scaled to capacity; at most `probe_max` slots are looked
 * at. */
struct xylem_shard {
    struct xylem_object object;
    uint32_t capacity;
    uint32_t seed;
    uint32_t probe_max;
    uint32_t bits; /* local depth: how many top bits all names here share */
    __extension__ struct xylem_shard_slot slots[];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_shard) == 32, "layout changed: raise XYLEM_ABI_MAJOR");
XYLEM_STATIC_ASSERT(sizeof(struct xylem_shard_slot) == 8, "layout changed: raise XYLEM_ABI_MAJOR");

/* The one place that a name's value hangs off. It stays where it is as long as the name is in its directory,
 * so a reader may keep its ref while directory_version stands still. The names of sources are anchors too:
 * every table that names a source holds the same ref. `root`, `shape`, `users` and `version` change; the rest
 * is immutable. */
struct xylem_anchor {
    struct xylem_object object;
    uint64_t hash;
    uint64_t version; /* MUTABLE [leaf-version]: raised after `root` was stored; leaves only */
    /* MUTABLE [root]: the value, 0: none. Of a destination, root and shape are one aligned 64-bit word, stored
     * at once and loaded at once. */
    __extension__ union {
        __extension__ struct {
            xylem_ref root;
            __extension__ union {
                uint32_t shape; /* of a destination: XYLEM_SHAPE_* */
                uint32_t users; /* of a source: how many tables name it; only the writer reads this */
            };
        };
        uint64_t root_and_shape;
    };
    uint32_t tenancy;
    uint32_t name_bytes;
    __extension__ uint8_t name[]; /* destinations: ASCII lower case */
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_anchor) == 48, "layout changed: raise XYLEM_ABI_MAJOR");

/* --- policy --- */

/* A tenancy is a (partition, namespace) pair, interned. 0 is default/default. The pair (partition, "*")
 * exists for every partition that has a tenancy. Tenancies are only ever added while a region lives. */
#define XYLEM_TENANCY_DEFAULT 0u
#define XYLEM_TENANCY_NONE    0xffffffffu

struct xylem_tenancy {
    uint32_t any_namespace; /* the tenancy (partition, "*"); itself if this is one */
    xylem_ref name;         /* xylem_anchor "partition/namespace" */
    xylem_ref wildcard_key; /* xylem_anchor of (this tenancy, "*") as a source */
    xylem_ref wildcard;     /* xylem_anchor of (this tenancy, "*") as a destination; in no directory */
    uint64_t wildcard_hash; /* the hash of wildcard_key */
};

struct xylem_tenancies {
    struct xylem_object object;
    uint32_t count;
    uint32_t reserved;
    __extension__ struct xylem_tenancy entries[];
};

/* A slot of a table of sources: [63:40] tag, [39:32] flags, [31:0] ref of the source's xylem_anchor;
 * 0: empty. */
#define XYLEM_SLOT_ALLOW         0x01u
#define XYLEM_SLOT_PERMISSIONS   0x02u /* has L7 permissions; denies at L4 whatever they say */
#define XYLEM_SLOT_DETAIL        0x04u /* xylem_destination.details knows more about this one */
#define XYLEM_SLOT_ANY_NAME      0x08u /* the source is (namespace, "*") */
#define XYLEM_SLOT_ANY_NAMESPACE 0x10u /* the source is ("*", "*") */

/* Which forms of source a destination has, so that a form that it has not costs nothing. */
#define XYLEM_FORM_EXACT         0x1u
#define XYLEM_FORM_ANY_NAME      0x2u /* namespace/ * */
#define XYLEM_FORM_ANY_NAMESPACE 0x4u /* * / * */

/* What only the text of a reason needs, of those sources that have more than an action. */
struct xylem_detail {
    xylem_ref key;
    uint32_t permissions; /* how many */
    uint8_t id[40];       /* legacy ID, 36 characters, or zeros */
};

struct xylem_details {
    struct xylem_object object;
    uint32_t count;
    uint32_t reserved;
    __extension__ struct xylem_detail entries[];
};

/* All that is said about one destination hangs off one root and changes by one store. Up to
 * XYLEM_SOURCES_INLINE sources stand in `slots` here; beyond, `slots` is a list of 1 << shard_bits refs of
 * xylem_sources (two refs a word), chosen by the top bits of the source's hash; neighbours may be the same. */
#define XYLEM_SOURCES_INLINE 512u

/* What an exact look-up needs to know of a destination whose sources are inline, beside its root: it goes straight to
 * the slots then, and the fixed part of the destination stays out of the cache. */
#define XYLEM_SHAPE_CAPACITY   0x3ffu /* bits 0 to 9: capacity, at least 4 */
#define XYLEM_SHAPE_SEED_SHIFT 10u    /* bits 10 to 17: seed */
#define XYLEM_SHAPE_SEED       0xffu
#define XYLEM_SHAPE_INLINE     0x40000u  /* the sources are inline; 0: the other bits mean nothing */
#define XYLEM_SHAPE_EXACT      0x80000u  /* XYLEM_FORM_EXACT is among the forms */
#define XYLEM_SHAPE_WILDCARDS  0x100000u /* so is another one */

struct xylem_destination {
    struct xylem_object object;
    uint32_t forms; /* XYLEM_FORM_* */
    uint32_t count; /* sources, in all shards */
    uint32_t shard_bits;
    uint32_t sharded; /* 0: slots are here */
    uint32_t capacity;
    uint32_t seed;
    uint32_t probe_max;
    xylem_ref details; /* xylem_details; 0: none */
    uint32_t any_name_count;
    uint32_t any_namespace_count;
    __extension__ uint64_t slots[];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_destination) == 56, "layout changed: raise XYLEM_ABI_MAJOR");

struct xylem_sources {
    struct xylem_object object;
    uint32_t capacity;
    uint32_t seed;
    uint32_t probe_max;
    uint32_t count;
    uint32_t bits; /* local depth: how many top bits all hashes here share */
    uint32_t reserved;
    __extension__ uint64_t slots[];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_sources) == 40, "layout changed: raise XYLEM_ABI_MAJOR");

/* How a SPIFFE ID becomes (partition, namespace, service). `fast_prefix` is the whole beginning of an ID of
 * default/default in this datacenter, up to the service name: one compare decides the usual case. Patterns
 * are path templates such as "/ns/{namespace}/dc/{datacenter}/svc/{service}", tried in order; each is one
 * NUL-terminated string in `text`, as are the trust domain and the prefix. */
struct xylem_identities {
    struct xylem_object object;
    uint32_t trust_domain_bytes;
    uint32_t fast_prefix_bytes; /* 0: no fast path */
    uint32_t pattern_count;
    uint32_t reserved;
    __extension__ uint8_t text[]; /* fast prefix, NUL, trust domain, NUL, pattern, NUL, ... */
};

/* Bit number xylem_filter_hash() & mask; a clear bit means "not revoked". Bits are MUTABLE: set, after the
 * revocation was published, never cleared. */
struct xylem_filter {
    struct xylem_object object;
    uint64_t mask; /* bits - 1 */
    __extension__ uint64_t words[];
};

struct xylem_revocation_entry {
    uint32_t issuer_key_id_bytes; /* 0: any issuer */
    uint32_t reason;              /* RFC 5280 5.3.1 */
    uint8_t issuer_key_id[32];
};

/* All issuers for whom one serial is revoked. An issuer key id longer than 32 bytes is stored as "any". */
struct xylem_revocation {
    struct xylem_object object;
    uint32_t count;
    uint32_t reserved;
    __extension__ struct xylem_revocation_entry entries[];
};

/* --- certificates --- */

/* A run of bytes inside the object that holds it: distance from the object's start. */
struct xylem_run {
    uint32_t offset;
    uint32_t size_bytes;
};

struct xylem_root {
    struct xylem_run der; /* the root certificate */
    struct xylem_run pem; /* as its upstream gave it: may hold a chain, issuing CA first */
    struct xylem_run id;  /* colon hex SHA-1 of the DER, as Consul names roots */
    int64_t not_before;   /* Unix seconds */
    int64_t not_after;
    uint32_t active;
    uint32_t reserved;
};

struct xylem_roots_object {
    struct xylem_object object;
    uint64_t version;
    struct xylem_run bundle_pem; /* all roots, one behind the other: what a proxy loads as its CA file */
    uint32_t count;
    uint32_t active; /* index */
    __extension__ struct xylem_root entries[];
};

struct xylem_leaf_object {
    struct xylem_object object;
    uint64_t version;       /* never repeats for a service, also across restarts */
    uint64_t roots_version; /* the roots that a verifier of this leaf needs are there from this version on */
    int64_t not_before;     /* Unix seconds */
    int64_t not_after;
    struct xylem_run uri;       /* SPIFFE ID */
    struct xylem_run serial;    /* big-endian magnitude */
    struct xylem_run chain_der; /* leaf first, then intermediates, one behind the other */
    struct xylem_run leaf_der;  /* the first of them */
    struct xylem_run chain_pem;
    struct xylem_run key_der; /* PKCS#8 */
    struct xylem_run key_pem;
};

/* --- the reader page --- */

/* A memfd that the *client* makes and writes and the agent maps read-only: slots, then counters. The agent
 * trusts nothing in it; a client that lies harms its own answers, or is superseded. */
#define XYLEM_READER_MAGIC  0x72646165726c7978ULL /* "xylreadr" */
#define XYLEM_READER_LEVELS 6u

/* Each word is epoch << 16 | nesting, one word a level: level 0 is the thread, a further one is used only by a signal
 * handler that interrupted an entry in flight on the level below. Written by single stores of the thread that claimed
 * the slot. 128 bytes: the neighbour's line is not dragged along by the adjacent-line prefetcher. */
struct xylem_reader_slot {
    uint64_t words[XYLEM_READER_LEVELS]; /* MUTABLE [slot] */
    uint64_t thread;                     /* MUTABLE: tid of the owner, 0 free */
    uint64_t reserved;
    uint64_t allowed; /* all verdicts of this slot, whoever held it */
    uint64_t denied;
    uint64_t reserved_2[6];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_reader_slot) == 128, "layout changed: raise XYLEM_ABI_MAJOR");

/* Verdicts of one (source, target) pair seen by one reader. `generation` is odd while the entry is being
 * given to another pair. Counts that were not harvested by then are in the slot's total only. */
#define XYLEM_COUNTERS     64u
#define XYLEM_COUNTER_TEXT 96u

struct xylem_counter {
    uint64_t hash; /* of the pair; 0: free */
    uint32_t generation;
    uint8_t source_bytes;
    uint8_t target_bytes;
    uint16_t reserved;
    uint64_t allowed;
    uint64_t denied;
    uint8_t text[XYLEM_COUNTER_TEXT]; /* source, then target, each cut to half */
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_counter) == 128, "layout changed: raise XYLEM_ABI_MAJOR");

struct xylem_reader_page {
    uint64_t magic;
    uint32_t slot_capacity; /* 16, 64, 256 or 1024 */
    uint32_t slots_used;    /* MUTABLE: high watermark */
    uint8_t reserved[112];
    __extension__ struct xylem_reader_slot slots[];
};
XYLEM_STATIC_ASSERT(sizeof(struct xylem_reader_page) == 128, "layout changed: raise XYLEM_ABI_MAJOR");

/* The size of the memfd for a capacity: slots, then XYLEM_COUNTERS counters a slot, rounded up to pages. */
static inline uint64_t xylem_reader_page_bytes(uint32_t slot_capacity)
{
    uint64_t bytes = sizeof(struct xylem_reader_page) +
                     (uint64_t)slot_capacity *
                         (sizeof(struct xylem_reader_slot) + XYLEM_COUNTERS * sizeof(struct xylem_counter));
    return (bytes + 4095u) & ~(uint64_t)4095u;
}

/* Where slot `index`'s counters start, in bytes from the start of the page. */
static inline uint64_t xylem_reader_counters_offset(uint32_t slot_capacity, uint32_t index)
{
    return sizeof(struct xylem_reader_page) + (uint64_t)slot_capacity * sizeof(struct xylem_reader_slot) +
           (uint64_t)index * XYLEM_COUNTERS * sizeof(struct xylem_counter);
}

/* --- hashing --- */

/* One hash for names, used by the writer to build and by readers to look up; part of the ABI. 64 x 64 -> 128
 * bit multiply-and-fold over 8-byte words. Keyed by hash_seed: a peer who does not know the seed cannot make
 * long probes, and probe_max bounds them anyway. It proves nothing: a match is always followed by a full
 * compare. */
__extension__ typedef unsigned __int128 xylem_u128_;

static inline uint64_t xylem_fold_(uint64_t a, uint64_t b)
{
    xylem_u128_ product = (xylem_u128_)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t xylem_word_(const uint8_t *bytes)
{
    uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    return word;
}

static inline uint32_t xylem_half_(const uint8_t *bytes)
{
    uint32_t half;
    __builtin_memcpy(&half, bytes, sizeof half);
    return half;
}

#define XYLEM_MIX_1_ 0x9e3779b97f4a7c15ULL
#define XYLEM_MIX_2_ 0xd6e8feb86659fd93ULL
#define XYLEM_MIX_3_ 0xa0761d6478bd642fULL

/* Where a hash begins and how it ends, around whole words of 16 bytes. */
static inline uint64_t xylem_hash_begin_(uint64_t seed, uint32_t tenancy, size_t size)
{
    return seed ^ ((uint64_t)tenancy * XYLEM_MIX_3_) ^ ((uint64_t)size * XYLEM_MIX_1_);
}

static inline uint64_t xylem_hash_words_(uint64_t hash, uint64_t low, uint64_t high)
{
    return xylem_fold_(hash ^ low, XYLEM_MIX_2_ ^ high);
}

static inline uint64_t xylem_hash_end_(uint64_t hash)
{
    return xylem_fold_(hash ^ XYLEM_MIX_1_, XYLEM_MIX_3_);
}

/* 1 to 16 bytes as two words: each byte is in them at least once, and nothing else is. */
static inline void xylem_cover_words_(const uint8_t *bytes, size_t size, uint64_t *low, uint64_t *high)
{
    if (size >= 8) {
        *low = xylem_word_(bytes);
        *high = xylem_word_(bytes + size - 8);
    } else if (size >= 4) {
        *low = *high = xylem_half_(bytes) | (uint64_t)xylem_half_(bytes + size - 4) << 32;
    } else {
        uint64_t three =
            (uint64_t)bytes[0] << 16 | (uint64_t)bytes[size >> 1] << 8 | (uint64_t)bytes[size - 1];
        *low = *high = three << 40 | three << 16 | three >> 8;
    }
}

/* Blocks of 16 bytes; the last one may overlap the one before, so that no branch depends on what is left. */
static inline uint64_t xylem_hash(uint64_t seed, uint32_t tenancy, const uint8_t *name, size_t size)
{
    uint64_t hash = xylem_hash_begin_(seed, tenancy, size);
    uint64_t low = 0, high = 0;
    if (size > 16) {
        for (; size > 16; name += 16, size -= 16)
            hash = xylem_hash_words_(hash, xylem_word_(name), xylem_word_(name + 8));
        low = xylem_word_(name + size - 16);
        high = xylem_word_(name + size - 8);
    } else if (size > 0) {
        xylem_cover_words_(name, size, &low, &high);
    }
    return xylem_hash_end_(xylem_hash_words_(hash, low, high));
}

/* Of a serial without leading zeros, for the filter of revocations: its last bytes. Serials are chosen by CAs, and the
 * filter only saves time, so this need not be as good as xylem_hash(). */
static inline uint64_t xylem_filter_hash(const uint8_t *serial, size_t size)
{
    uint64_t low, high;
    if (size >= 8)
        high = xylem_word_(serial + size - 8);
    else
        xylem_cover_words_(serial, size, &low, &high);
    return xylem_fold_(high, XYLEM_MIX_1_);
}

/* Where a hash starts in a table of `capacity` slots whose builder chose `seed`. */
static inline uint32_t xylem_slot_index(uint64_t hash, uint32_t seed, uint32_t capacity)
{
    uint32_t mixed = (uint32_t)(((hash ^ seed) * XYLEM_MIX_2_) >> 32);
    return (uint32_t)(((uint64_t)mixed * capacity) >> 32);
}

/* Bits that xylem_slot_index() and the choice of a shard (top bits) use least. */
static inline uint32_t xylem_slot_tag(uint64_t hash)
{
    return (uint32_t)hash & 0xffffffu;
}

#if defined(__cplusplus) && defined(__clang__)
#    pragma clang diagnostic pop
#endif

#endif

/* SPDX-License-Identifier: MIT */
/* Strict reader of DER (X.690): a cursor that steps over elements whose tag is one byte and whose length is
 * definite, minimal and within bounds. Nothing recurses and nothing is copied: a nested element is read with
 * a cursor of its own, so depth is what the caller's code spells out, and every slice points into the
 * caller's bytes, which must outlive it.
 *
 * All functions are pure and may be called from any thread. They return 0 or ERROR_INVALID (agent/error.h)
 * and leave cursor and results untouched on failure; the caller names the field in its error text. Because
 * failure is the only non-zero value, calls chain with ||. */
#ifndef AGENT_DER_H
#define AGENT_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
};

/* Context-specific tags: [n] primitive and [n] constructed. */
#define DER_CONTEXT(n)             (0x80 | (n))
#define DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n))

/* Borrowed bytes; data is NULL when the thing is absent. */
struct der_slice {
    const uint8_t *data;
    size_t length;
};

struct der_cursor {
    const uint8_t *next, *end;
};

struct der_element {
    uint8_t tag;
    struct der_slice content; /* the value */
    struct der_slice whole;   /* tag, length and value */
};

/* The bytes as a slice or cursor. */
struct der_slice der_slice(const void *data, size_t length);
struct der_cursor der_cursor(struct der_slice slice);

bool der_at_end(const struct der_cursor *cursor);
/* 0 when everything was read, ERROR_INVALID when bytes are left. */
int der_end(const struct der_cursor *cursor);
/* Whether another element follows and has this tag. */
bool der_next_is(const struct der_cursor *cursor, uint8_t tag);

/* Steps over one element of any tag, or of the given one; `content` and `element` may be NULL to skip. */
int der_any(struct der_cursor *cursor, struct der_element *element);
int der_expect(struct der_cursor *cursor, uint8_t tag, struct der_slice *content);
/* As der_expect(), but yields tag, length and value. */
int der_expect_whole(struct der_cursor *cursor, uint8_t tag, struct der_slice *whole);
/* Steps over a constructed element and yields a cursor over what is in it. */
int der_enter(struct der_cursor *cursor, uint8_t tag, struct der_cursor *inner);
/* The whole input is exactly one element of this tag, with nothing after it: yields a cursor over its
 * content. */
int der_enter_only(struct der_slice input, uint8_t tag, struct der_cursor *inner);

/* Values. INTEGER content must be minimal; der_unsigned() also wants it non-negative and at most 64 bits. */
int der_integer(struct der_cursor *cursor, struct der_slice *content);
int der_unsigned(struct der_cursor *cursor, uint64_t *value);
/* The magnitude of a non-negative INTEGER's content: without the leading zero byte; zero is one zero byte. */
struct der_slice der_magnitude(struct der_slice integer_content);
/* BOOLEAN is 0x00 or 0xff. */
int der_boolean(struct der_cursor *cursor, bool *value);
/* An optional BOOLEAN DEFAULT FALSE: false when no BOOLEAN follows; an encoded FALSE is refused. */
int der_boolean_default_false(struct der_cursor *cursor, bool *value);
/* BIT STRING of whole bytes (no unused bits), as keys and signatures are. */
int der_bit_string(struct der_cursor *cursor, struct der_slice *bytes);
/* BIT STRING as named bits: bit n of the list is bit n of *bits; over 32 bits or set unused bits fail. */
int der_named_bits(struct der_cursor *cursor, uint32_t *bits);
/* UTCTime or GeneralizedTime in the only forms RFC 5280 (4.1.2.5) knows: seconds present, Z, no fraction.
 * Seconds since 1970-01-01T00:00:00Z. */
int der_time(struct der_cursor *cursor, int64_t *unix_sec);

bool der_equal(struct der_slice a, struct der_slice b);
/* Compares OBJECT IDENTIFIER content with an encoded constant: der_is(oid, OID_X, sizeof OID_X). */
bool der_is(struct der_slice oid, const uint8_t *bytes, size_t length);
/* Dotted text of OBJECT IDENTIFIER content for messages; always terminated, "?" when malformed. */
void der_oid_text(struct der_slice oid, char *text, size_t size_bytes);

#endif

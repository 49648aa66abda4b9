/* SPDX-License-Identifier: MIT */
/* Writer of DER that grows from back to front: values are written last to first, so that each length is known
 * when its header is written. A nested value is written as
 *
 *     size_t mark = der_writer_mark(&writer);
 *     ... the content, last field first ...
 *     der_write_header(&writer, DER_SEQUENCE, mark);
 *
 * Failure (memory, a value that DER cannot say) is sticky: write everything, then ask once, in
 * der_writer_take(). A writer belongs to one thread. Its memory is wiped before it is freed. */
#ifndef AGENT_CA_DER_WRITER_H
#define AGENT_CA_DER_WRITER_H

#include "agent/der.h"
#include "agent/error.h"

struct der_writer {
    uint8_t *buffer;
    size_t capacity, used; /* the bytes are the last `used` of the buffer */
    int failure;           /* 0 or a code of error.h */
};

void der_writer_init(struct der_writer *writer);
void der_writer_free(struct der_writer *writer);
/* How much is written; the content written after this is what der_write_header() wraps. */
size_t der_writer_mark(const struct der_writer *writer);

void der_write_raw(struct der_writer *writer, const void *bytes, size_t length);
void der_write_slice(struct der_writer *writer, struct der_slice slice);
void der_write_header(struct der_writer *writer, uint8_t tag, size_t mark);
void der_write_tlv(struct der_writer *writer, uint8_t tag, const void *content, size_t length);
void der_write_text(struct der_writer *writer, uint8_t tag, const char *text);
void der_write_oid(struct der_writer *writer, const uint8_t *oid, size_t length);
void der_write_boolean(struct der_writer *writer, bool value);
void der_write_null(struct der_writer *writer);
void der_write_unsigned(struct der_writer *writer, uint64_t value);
/* INTEGER from a big-endian magnitude; leading zeros are dropped, no bytes at all mean zero. */
void der_write_magnitude(struct der_writer *writer, const uint8_t *bytes, size_t length);
/* BIT STRING of whole bytes. */
void der_write_bit_string(struct der_writer *writer, const void *bytes, size_t length);
/* BIT STRING of named bits without trailing zero bits; bit n of `bits` is bit n of the list. */
void der_write_named_bits(struct der_writer *writer, uint32_t bits);
/* UTCTime up to 2049, GeneralizedTime outside 1950..2049 (RFC 5280, 4.1.2.5). Years outside 0..9999 fail. */
void der_write_time(struct der_writer *writer, int64_t unix_sec);

/* Hands over what was written in memory of its own (the caller frees it) and empties the writer.
 * On failure names `what` in the error text. */
int der_writer_take(struct der_writer *writer, uint8_t **der, size_t *size, const char *what,
                    struct error *error);

#endif

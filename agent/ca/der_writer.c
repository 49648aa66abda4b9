/* SPDX-License-Identifier: MIT */
#include "agent/ca/der_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIRST_CAPACITY_BYTES = 1024, CAPACITY_MAX_BYTES = 256 << 20 };

void der_writer_init(struct der_writer *writer)
{
    *writer = (struct der_writer){0};
}

void der_writer_free(struct der_writer *writer)
{
    if (writer->buffer)
        explicit_bzero(writer->buffer, writer->capacity);
    free(writer->buffer);
    der_writer_init(writer);
}

size_t der_writer_mark(const struct der_writer *writer)
{
    return writer->used;
}

/* Room for `length` more bytes in front. The old buffer is wiped: it may hold a private key. */
static bool reserve(struct der_writer *writer, size_t length)
{
    if (writer->failure)
        return false;
    if (length <= writer->capacity - writer->used)
        return true;
    if (length > CAPACITY_MAX_BYTES - writer->used) {
        writer->failure = ERROR_LIMIT;
        return false;
    }
    size_t capacity = writer->capacity ? writer->capacity : FIRST_CAPACITY_BYTES;
    while (capacity - writer->used < length)
        capacity *= 2;
    uint8_t *buffer = malloc(capacity);
    if (!buffer) {
        writer->failure = ERROR_SYSTEM;
        return false;
    }
    size_t used = writer->used;
    if (used)
        memcpy(buffer + capacity - used, writer->buffer + writer->capacity - used, used);
    der_writer_free(writer);
    *writer = (struct der_writer){.buffer = buffer, .capacity = capacity, .used = used};
    return true;
}

void der_write_raw(struct der_writer *writer, const void *bytes, size_t length)
{
    if (length == 0 || !reserve(writer, length))
        return;
    writer->used += length;
    memcpy(writer->buffer + writer->capacity - writer->used, bytes, length);
}

void der_write_slice(struct der_writer *writer, struct der_slice slice)
{
    der_write_raw(writer, slice.data, slice.length);
}

void der_write_header(struct der_writer *writer, uint8_t tag, size_t mark)
{
    uint8_t header[2 + sizeof(size_t)];
    size_t length = writer->used - mark, at = sizeof header;
    if (length < 0x80) {
        header[--at] = (uint8_t)length;
    } else {
        uint8_t count = 0;
        for (size_t rest = length; rest; rest >>= 8, count++)
            header[--at] = (uint8_t)rest;
        header[--at] = (uint8_t)(0x80 | count);
    }
    header[--at] = tag;
    der_write_raw(writer, header + at, sizeof header - at);
}

void der_write_tlv(struct der_writer *writer, uint8_t tag, const void *content, size_t length)
{
    size_t mark = der_writer_mark(writer);
    der_write_raw(writer, content, length);
    der_write_header(writer, tag, mark);
}

void der_write_text(struct der_writer *writer, uint8_t tag, const char *text)
{
    der_write_tlv(writer, tag, text, strlen(text));
}

void der_write_oid(struct der_writer *writer, const uint8_t *oid, size_t length)
{
    der_write_tlv(writer, DER_OID, oid, length);
}

void der_write_boolean(struct der_writer *writer, bool value)
{
    der_write_tlv(writer, DER_BOOLEAN, value ? "\xff" : "\x00", 1);
}

void der_write_null(struct der_writer *writer)
{
    der_write_tlv(writer, DER_NULL, NULL, 0);
}

void der_write_unsigned(struct der_writer *writer, uint64_t value)
{
    uint8_t bytes[sizeof value];
    for (size_t i = 0; i < sizeof value; i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    der_write_magnitude(writer, bytes, sizeof bytes);
}

void der_write_magnitude(struct der_writer *writer, const uint8_t *bytes, size_t length)
{
    size_t mark = der_writer_mark(writer);
    while (length && bytes[0] == 0) {
        bytes++;
        length--;
    }
    der_write_raw(writer, bytes, length);
    if (length == 0 || bytes[0] & 0x80) /* a set top bit would read as a negative number */
        der_write_raw(writer, "\x00", 1);
    der_write_header(writer, DER_INTEGER, mark);
}

void der_write_bit_string(struct der_writer *writer, const void *bytes, size_t length)
{
    size_t mark = der_writer_mark(writer);
    der_write_raw(writer, bytes, length);
    der_write_raw(writer, "\x00", 1);
    der_write_header(writer, DER_BIT_STRING, mark);
}

void der_write_named_bits(struct der_writer *writer, uint32_t bits)
{
    uint8_t content[1 + 4] = {0};
    size_t length = 1;
    for (unsigned i = 0; i < 32; i++) {
        if (!(bits >> i & 1))
            continue;
        content[1 + i / 8] |= (uint8_t)(0x80u >> i % 8);
        content[0] = (uint8_t)(7 - i % 8);
        length = 2 + i / 8;
    }
    der_write_tlv(writer, DER_BIT_STRING, content, length);
}

void der_write_time(struct der_writer *writer, int64_t unix_sec)
{
    struct tm tm;
    char text[64];
    time_t seconds = unix_sec;
    if (!gmtime_r(&seconds, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900) {
        writer->failure = writer->failure ? writer->failure : ERROR_INVALID;
        return;
    }
    int year = tm.tm_year + 1900;
    bool utc = year >= 1950 && year < 2050;
    snprintf(text, sizeof text, "%0*d%02d%02d%02d%02d%02dZ", utc ? 2 : 4, utc ? year % 100 : year,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    der_write_text(writer, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, text);
}

int der_writer_take(struct der_writer *writer, uint8_t **der, size_t *size, const char *what,
                    struct error *error)
{
    uint8_t *copy = NULL;
    if (!writer->failure && !(copy = malloc(writer->used ? writer->used : 1)))
        writer->failure = ERROR_SYSTEM;
    int failure = writer->failure;
    if (!failure) {
        if (writer->used)
            memcpy(copy, writer->buffer + writer->capacity - writer->used, writer->used);
        *der = copy;
        *size = writer->used;
    }
    der_writer_free(writer);
    if (failure == ERROR_SYSTEM)
        return error_set(error, failure, "%s: out of memory while encoding it", what);
    if (failure == ERROR_LIMIT)
        return error_set(error, failure, "%s: more than %d bytes long when encoded", what,
                         CAPACITY_MAX_BYTES);
    if (failure)
        return error_set(error, failure, "%s: holds a time outside the years 0 to 9999", what);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "agent/der.h"

#include <stdio.h>
#include <string.h>

#include "agent/error.h"

struct der_slice der_slice(const void *data, size_t length)
{
    return (struct der_slice){data, length};
}

struct der_cursor der_cursor(struct der_slice slice)
{
    /* An absent slice gives an empty cursor, without arithmetic on NULL. */
    return (struct der_cursor){slice.data, slice.length ? slice.data + slice.length : slice.data};
}

bool der_at_end(const struct der_cursor *cursor)
{
    return cursor->next == cursor->end;
}

int der_end(const struct der_cursor *cursor)
{
    return der_at_end(cursor) ? 0 : ERROR_INVALID;
}

bool der_next_is(const struct der_cursor *cursor, uint8_t tag)
{
    return !der_at_end(cursor) && *cursor->next == tag;
}

/* Reads the length at *at; moves *at behind it. Indefinite and non-minimal lengths (X.690, 10.1) fail. */
static int read_length(const uint8_t **at, const uint8_t *end, size_t *length)
{
    const uint8_t *next = *at;
    if (next == end)
        return ERROR_INVALID;
    size_t value = *next++;
    if (value >= 0x80) {
        size_t count = value & 0x7f;
        if (count == 0 || count > 4 || (size_t)(end - next) < count || *next == 0)
            return ERROR_INVALID;
        value = 0;
        while (count--)
            value = value << 8 | *next++;
        if (value < 0x80)
            return ERROR_INVALID;
    }
    *at = next;
    *length = value;
    return 0;
}

int der_any(struct der_cursor *cursor, struct der_element *element)
{
    const uint8_t *next = cursor->next;
    size_t length;
    if (der_at_end(cursor) || (*next & 0x1f) == 0x1f) /* tags of several bytes are not in use */
        return ERROR_INVALID;
    uint8_t tag = *next++;
    if (read_length(&next, cursor->end, &length) || length > (size_t)(cursor->end - next))
        return ERROR_INVALID;
    if (element) {
        element->tag = tag;
        element->content = der_slice(next, length);
        element->whole = der_slice(cursor->next, (size_t)(next - cursor->next) + length);
    }
    cursor->next = next + length;
    return 0;
}

static int expect(struct der_cursor *cursor, uint8_t tag, struct der_element *element)
{
    return der_next_is(cursor, tag) ? der_any(cursor, element) : ERROR_INVALID;
}

int der_expect(struct der_cursor *cursor, uint8_t tag, struct der_slice *content)
{
    struct der_element element;
    if (expect(cursor, tag, &element))
        return ERROR_INVALID;
    if (content)
        *content = element.content;
    return 0;
}

int der_expect_whole(struct der_cursor *cursor, uint8_t tag, struct der_slice *whole)
{
    struct der_element element;
    if (expect(cursor, tag, &element))
        return ERROR_INVALID;
    *whole = element.whole;
    return 0;
}

int der_enter(struct der_cursor *cursor, uint8_t tag, struct der_cursor *inner)
{
    struct der_slice content;
    if (der_expect(cursor, tag, &content))
        return ERROR_INVALID;
    *inner = der_cursor(content);
    return 0;
}

int der_enter_only(struct der_slice input, uint8_t tag, struct der_cursor *inner)
{
    struct der_cursor cursor = der_cursor(input), content;
    if (der_enter(&cursor, tag, &content) || der_end(&cursor))
        return ERROR_INVALID;
    *inner = content;
    return 0;
}

/* Content that is not the shortest form (X.690, 8.3.2) fails. */
static bool integer_is_minimal(struct der_slice content)
{
    if (content.length == 0)
        return false;
    if (content.length == 1)
        return true;
    bool second_is_negative = content.data[1] & 0x80;
    return !(content.data[0] == 0x00 && !second_is_negative) &&
           !(content.data[0] == 0xff && second_is_negative);
}

int der_integer(struct der_cursor *cursor, struct der_slice *content)
{
    struct der_cursor trial = *cursor;
    struct der_slice value;
    if (der_expect(&trial, DER_INTEGER, &value) || !integer_is_minimal(value))
        return ERROR_INVALID;
    *cursor = trial;
    *content = value;
    return 0;
}

int der_unsigned(struct der_cursor *cursor, uint64_t *value)
{
    struct der_cursor trial = *cursor;
    struct der_slice content;
    if (der_integer(&trial, &content) || content.data[0] & 0x80)
        return ERROR_INVALID;
    content = der_magnitude(content);
    if (content.length > sizeof *value)
        return ERROR_INVALID;
    uint64_t sum = 0;
    for (size_t i = 0; i < content.length; i++)
        sum = sum << 8 | content.data[i];
    *cursor = trial;
    *value = sum;
    return 0;
}

struct der_slice der_magnitude(struct der_slice integer_content)
{
    if (integer_content.length > 1 && integer_content.data[0] == 0)
        return der_slice(integer_content.data + 1, integer_content.length - 1);
    return integer_content;
}

int der_boolean(struct der_cursor *cursor, bool *value)
{
    struct der_cursor trial = *cursor;
    struct der_slice content;
    if (der_expect(&trial, DER_BOOLEAN, &content) || content.length != 1 ||
        (content.data[0] != 0x00 && content.data[0] != 0xff))
        return ERROR_INVALID;
    *cursor = trial;
    *value = content.data[0] != 0;
    return 0;
}

int der_boolean_default_false(struct der_cursor *cursor, bool *value)
{
    struct der_cursor trial = *cursor;
    bool read = false;
    if (der_next_is(cursor, DER_BOOLEAN) && (der_boolean(&trial, &read) || !read))
        return ERROR_INVALID;
    *cursor = trial;
    *value = read;
    return 0;
}

int der_bit_string(struct der_cursor *cursor, struct der_slice *bytes)
{
    struct der_cursor trial = *cursor;
    struct der_slice content;
    if (der_expect(&trial, DER_BIT_STRING, &content) || content.length < 1 || content.data[0] != 0)
        return ERROR_INVALID;
    *cursor = trial;
    *bytes = der_slice(content.data + 1, content.length - 1);
    return 0;
}

int der_named_bits(struct der_cursor *cursor, uint32_t *bits)
{
    struct der_cursor trial = *cursor;
    struct der_slice content;
    if (der_expect(&trial, DER_BIT_STRING, &content) || content.length < 1 || content.length > 5)
        return ERROR_INVALID;
    unsigned unused = content.data[0];
    if (unused > 7 || (content.length == 1 && unused))
        return ERROR_INVALID;
    if (unused && content.data[content.length - 1] & ((1u << unused) - 1))
        return ERROR_INVALID;
    uint32_t sum = 0;
    for (unsigned i = 0; i < 8 * (content.length - 1); i++)
        if (content.data[1 + i / 8] & (0x80u >> i % 8))
            sum |= UINT32_C(1) << i;
    *cursor = trial;
    *bits = sum;
    return 0;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar, counted in years that begin in March. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t shifted = year - (month <= 2);
    int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
    int64_t year_of_era = shifted - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* The digits of a time as pairs; -1 in the first pair when a character is no digit. */
static void read_pairs(const uint8_t *digits, size_t count, int *pairs)
{
    for (size_t i = 0; i < count; i++) {
        unsigned tens = digits[2 * i] - (unsigned)'0', ones = digits[2 * i + 1] - (unsigned)'0';
        if (tens > 9 || ones > 9) {
            pairs[0] = -1;
            return;
        }
        pairs[i] = (int)(10 * tens + ones);
    }
}

int der_time(struct der_cursor *cursor, int64_t *unix_sec)
{
    struct der_element element;
    struct der_cursor trial = *cursor;
    int pairs[7];
    if (der_any(&trial, &element))
        return ERROR_INVALID;
    bool utc = element.tag == DER_UTC_TIME;
    size_t length = utc ? 13 : 15;
    if ((!utc && element.tag != DER_GENERALIZED_TIME) || element.content.length != length ||
        element.content.data[length - 1] != 'Z')
        return ERROR_INVALID;
    /* UTCTime's years 50 to 99 are of the twentieth century (RFC 5280, 4.1.2.5.1). */
    int *rest = pairs + 1;
    pairs[0] = 0;
    if (utc) {
        read_pairs(element.content.data, 6, rest);
        pairs[0] = rest[0] < 0 ? -1 : rest[0] >= 50 ? 19 : 20;
    } else {
        read_pairs(element.content.data, 7, pairs);
    }
    if (pairs[0] < 0)
        return ERROR_INVALID;
    int year = pairs[0] * 100 + pairs[1], month = pairs[2], day = pairs[3];
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || pairs[4] > 23 ||
        pairs[5] > 59 || pairs[6] > 59)
        return ERROR_INVALID;
    *unix_sec = days_from_civil(year, month, day) * 86400 + pairs[4] * 3600 + pairs[5] * 60 + pairs[6];
    *cursor = trial;
    return 0;
}

bool der_equal(struct der_slice a, struct der_slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool der_is(struct der_slice oid, const uint8_t *bytes, size_t length)
{
    return der_equal(oid, der_slice(bytes, length));
}

void der_oid_text(struct der_slice oid, char *text, size_t size_bytes)
{
    size_t used = 0;
    uint64_t arc = 0;
    bool inside = false, first = true;
    if (oid.length == 0 || oid.data[oid.length - 1] & 0x80)
        goto malformed;
    for (size_t i = 0; i < oid.length; i++) {
        if ((!inside && oid.data[i] == 0x80) || arc >> 56)
            goto malformed;
        arc = arc << 7 | (oid.data[i] & 0x7f);
        inside = oid.data[i] & 0x80;
        if (inside)
            continue;
        unsigned top = first ? (arc < 40 ? 0 : arc < 80 ? 1 : 2) : 0;
        int length = first ? snprintf(text + used, size_bytes - used, "%u.%llu", top,
                                      (unsigned long long)(arc - 40 * top))
                           : snprintf(text + used, size_bytes - used, ".%llu", (unsigned long long)arc);
        if (length < 0 || (size_t)length >= size_bytes - used)
            goto malformed;
        used += (size_t)length;
        first = false;
        arc = 0;
    }
    return;
malformed:
    snprintf(text, size_bytes, "?");
}

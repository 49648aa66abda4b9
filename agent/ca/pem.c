/* SPDX-License-Identifier: MIT */
#include "agent/ca/pem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_COLUMNS = 64 };

/* All ones when a < b, else zero; both below 256. Secret digits choose bits here, never an address or a
 * branch. */
static unsigned below(unsigned a, unsigned b)
{
    return (unsigned)-(int)(((a - b) >> 16) & 1);
}

static char base64_digit(unsigned value)
{
    unsigned result = value + 'A';                                 /* 0..25 */
    result += ~below(value, 26) & (unsigned)('a' - 26 - 'A');      /* 26..51 */
    result += ~below(value, 52) & (unsigned)('0' - 52 - 'a' + 26); /* 52..61 */
    result += ~below(value, 62) & (unsigned)('+' - 62 - '0' + 52);
    result += ~below(value, 63) & (unsigned)('/' - 63 - '+' + 62);
    return (char)(result & 0xff);
}

/* 0..63, or 64 for what is no digit. */
static unsigned base64_value(unsigned char digit)
{
    unsigned value = 64, c = digit, in;
    in = ~below(c, 'A') & below(c, 'Z' + 1);
    value = (value & ~in) | ((c - 'A') & in);
    in = ~below(c, 'a') & below(c, 'z' + 1);
    value = (value & ~in) | ((c - 'a' + 26) & in);
    in = ~below(c, '0') & below(c, '9' + 1);
    value = (value & ~in) | ((c - '0' + 52) & in);
    in = ~below(c, '+') & below(c, '+' + 1);
    value = (value & ~in) | (62 & in);
    in = ~below(c, '/') & below(c, '/' + 1);
    value = (value & ~in) | (63 & in);
    return value;
}

static char *encode_body(char *at, const uint8_t *der, size_t size)
{
    unsigned column = 0;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        unsigned group = (unsigned)der[i] << 16 | (left > 1 ? (unsigned)der[i + 1] << 8 : 0) |
                         (left > 2 ? der[i + 2] : 0u);
        *at++ = base64_digit(group >> 18);
        *at++ = base64_digit(group >> 12 & 63);
        *at++ = left > 1 ? base64_digit(group >> 6 & 63) : '=';
        *at++ = left > 2 ? base64_digit(group & 63) : '=';
        column += 4;
        if (column == LINE_COLUMNS || left <= 3) {
            *at++ = '\n';
            column = 0;
        }
    }
    return at;
}

int pem_encode(const char *label, const uint8_t *der, size_t der_size, char **text, size_t *size,
               struct error *error)
{
    if (der_size > PEM_TEXT_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "PEM %s: %zu bytes are more than %d", label, der_size,
                         PEM_TEXT_MAX_BYTES);
    size_t digits = (der_size + 2) / 3 * 4;
    size_t capacity = digits + digits / LINE_COLUMNS + 2 * strlen(label) + 64;
    char *out = malloc(capacity);
    if (!out)
        return error_errno(error, "PEM %s", label);
    char *at = out + snprintf(out, capacity, "-----BEGIN %s-----\n", label);
    at = encode_body(at, der, der_size);
    at += snprintf(at, capacity - (size_t)(at - out), "-----END %s-----\n", label);
    *text = out;
    if (size)
        *size = (size_t)(at - out);
    return 0;
}

int pem_reader_init(struct pem_reader *reader, const char *text, size_t size, struct error *error)
{
    if (size > PEM_TEXT_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "PEM: the text has %zu bytes, more than %d", size,
                         PEM_TEXT_MAX_BYTES);
    *reader = (struct pem_reader){text, text, size ? text + size : text};
    return 0;
}

/* The next line without its end and trailing blanks; false at the end of the text. */
static bool next_line(struct pem_reader *reader, const char **line, size_t *length)
{
    if (reader->next == reader->end)
        return false;
    const char *newline = memchr(reader->next, '\n', (size_t)(reader->end - reader->next));
    const char *stop = newline ? newline : reader->end;
    *line = reader->next;
    reader->next = newline ? newline + 1 : reader->end;
    while (stop > *line && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    *length = (size_t)(stop - *line);
    return true;
}

static size_t line_number(const struct pem_reader *reader, const char *line)
{
    size_t number = 1;
    for (const char *c = reader->start; c < line; c++)
        number += *c == '\n';
    return number;
}

/* 1 when the line is "-----PREFIX LABEL-----" (copies the label), 0 when it does not begin so, -1 if
 * malformed. */
static int boundary(const char *line, size_t length, const char *prefix, char label[PEM_LABEL_MAX_BYTES + 1])
{
    size_t front = strlen(prefix);
    if (length < front || memcmp(line, prefix, front) != 0)
        return 0;
    if (length <= front + 5 || memcmp(line + length - 5, "-----", 5) != 0)
        return -1;
    size_t label_length = length - front - 5;
    if (label_length > PEM_LABEL_MAX_BYTES)
        return -1;
    for (size_t i = 0; i < label_length; i++)
        if (line[front + i] < 0x20 || line[front + i] > 0x7e || line[front + i] == '-')
            return -1;
    memcpy(label, line + front, label_length);
    label[label_length] = '\0';
    return 1;
}

/* The digits of a body in groups of four; `ended` once padding was seen. */
struct decoder {
    uint8_t *out;
    size_t size;
    unsigned group, count, padding;
    bool ended;
};

/* Adds one character; false when it cannot stand there. */
static bool decode_character(struct decoder *decoder, unsigned char c)
{
    if (decoder->ended)
        return false;
    unsigned value = 0;
    if (c == '=') {
        if (decoder->count < 2)
            return false;
        decoder->padding++;
    } else {
        value = base64_value(c);
        if (value > 63 || decoder->padding)
            return false;
    }
    decoder->group = decoder->group << 6 | value;
    if (++decoder->count < 4)
        return true;
    /* Bits that padding leaves over must be zero, so that every value has one spelling. */
    if (decoder->padding && decoder->group & ((1u << 8 * decoder->padding) - 1))
        return false;
    for (unsigned i = 0; i < 3 - decoder->padding; i++)
        decoder->out[decoder->size++] = (uint8_t)(decoder->group >> (16 - 8 * i));
    decoder->ended = decoder->padding;
    decoder->group = decoder->count = 0;
    return true;
}

/* Reads the lines up to the END line of `block->label` into block->der. */
static int read_body(struct pem_reader *reader, struct pem_block *block, struct error *error)
{
    struct decoder decoder = {.out = block->der};
    const char *line;
    size_t length;
    char label[PEM_LABEL_MAX_BYTES + 1];
    while (next_line(reader, &line, &length)) {
        int end = boundary(line, length, "-----END ", label);
        if (end) {
            if (end < 0 || strcmp(label, block->label) != 0)
                return error_set(error, ERROR_INVALID, "PEM line %zu: this does not end the %s block",
                                 line_number(reader, line), block->label);
            if (decoder.count || decoder.size == 0)
                return error_set(error, ERROR_INVALID, "PEM line %zu: the %s block is empty or cut short",
                                 line_number(reader, line), block->label);
            block->size = decoder.size;
            return 0;
        }
        for (size_t i = 0; i < length; i++)
            if (!decode_character(&decoder, (unsigned char)line[i]))
                return error_set(error, ERROR_INVALID,
                                 "PEM line %zu: not base64 in the %s block (headers and encryption in the "
                                 "style of Proc-Type are not supported)",
                                 line_number(reader, line), block->label);
    }
    return error_set(error, ERROR_INVALID, "PEM: the %s block has no END line", block->label);
}

int pem_next(struct pem_reader *reader, struct pem_block *block, struct error *error)
{
    const char *line;
    size_t length;
    struct pem_block found = {0};
    int begin = 0;
    while (!begin) {
        if (!next_line(reader, &line, &length))
            return 0;
        begin = boundary(line, length, "-----BEGIN ", found.label);
        if (begin < 0 || boundary(line, length, "-----END ", found.label))
            return error_set(error, ERROR_INVALID, "PEM line %zu: malformed or stray block boundary",
                             line_number(reader, line));
    }
    found.size = (size_t)(reader->end - reader->next) / 4 * 3 + 3; /* an upper bound, for wiping too */
    const char *end_line = memmem(reader->next, (size_t)(reader->end - reader->next), "-----END ", 9);
    if (end_line)
        found.size = (size_t)(end_line - reader->next) / 4 * 3 + 3;
    size_t capacity = found.size;
    found.der = malloc(capacity);
    if (!found.der)
        return error_errno(error, "PEM %s", found.label);
    int result = read_body(reader, &found, error);
    if (result) {
        found.size = capacity;
        pem_block_free(&found);
        return result;
    }
    *block = found;
    return 1;
}

void pem_block_free(struct pem_block *block)
{
    pem_free_secret(block->der, block->size);
    *block = (struct pem_block){0};
}

int pem_decode_only(const char *text, size_t size, const char *label, uint8_t **der, size_t *der_size,
                    struct error *error)
{
    struct pem_reader reader;
    struct pem_block first = {0}, second = {0};
    int result = pem_reader_init(&reader, text, size, error);
    if (result)
        return result;
    result = pem_next(&reader, &first, error);
    if (result < 0)
        return result;
    if (result == 0)
        return error_set(error, ERROR_INVALID, "PEM: no %s block in the text", label);
    result = pem_next(&reader, &second, error);
    if (result == 0 && strcmp(first.label, label) == 0) {
        *der = first.der;
        *der_size = first.size;
        return 0;
    }
    if (result == 0)
        result = error_set(error, ERROR_INVALID, "PEM: a %s block where %s is wanted", first.label, label);
    else if (result > 0)
        result = error_set(error, ERROR_INVALID, "PEM: more than one block where one %s is wanted", label);
    pem_block_free(&second);
    pem_block_free(&first);
    return result;
}

void pem_free_secret(void *memory, size_t size)
{
    if (memory)
        explicit_bzero(memory, size);
    free(memory);
}

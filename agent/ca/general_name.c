/* SPDX-License-Identifier: MIT */
#include "agent/ca/general_name.h"

#include <string.h>

struct general_name general_name_text(enum general_name_type type, const char *text)
{
    return (struct general_name){type, der_slice(text, strlen(text))};
}

static bool is_printable_ascii(struct der_slice text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    return true;
}

/* Whether the content fits the kind; unwraps the EXPLICIT tag of a directory name. */
static bool value_is_good(struct general_name *name, bool constraint)
{
    size_t length = name->value.length;
    struct der_cursor inner;
    switch (name->type) {
    case GENERAL_NAME_EMAIL:
    case GENERAL_NAME_DNS:
    case GENERAL_NAME_URI:
        return (length > 0 || constraint) && is_printable_ascii(name->value);
    case GENERAL_NAME_IP:
        return constraint ? length == 8 || length == 32 : length == 4 || length == 16;
    case GENERAL_NAME_DIRECTORY:
        return der_enter_only(name->value, DER_SEQUENCE, &inner) == 0;
    case GENERAL_NAME_OTHER:
    case GENERAL_NAME_X400:
    case GENERAL_NAME_EDI:
    case GENERAL_NAME_REGISTERED_ID:
        return length > 0;
    }
    return false;
}

static bool is_constructed(enum general_name_type type)
{
    return type == GENERAL_NAME_OTHER || type == GENERAL_NAME_X400 || type == GENERAL_NAME_DIRECTORY ||
           type == GENERAL_NAME_EDI;
}

int general_name_read(struct der_cursor *cursor, struct general_name *name, bool constraint)
{
    struct der_cursor trial = *cursor;
    struct der_element element;
    if (der_any(&trial, &element))
        return ERROR_INVALID;
    struct general_name read = {(enum general_name_type)(element.tag & 0x1f), element.content};
    bool constructed = is_constructed(read.type);
    if (read.type > GENERAL_NAME_REGISTERED_ID ||
        element.tag != (constructed ? DER_CONTEXT_CONSTRUCTED(read.type) : DER_CONTEXT(read.type)) ||
        !value_is_good(&read, constraint))
        return ERROR_INVALID;
    *cursor = trial;
    *name = read;
    return 0;
}

int general_names_open(struct der_slice sequence, struct der_cursor *names)
{
    struct der_cursor inner, walk;
    struct general_name name;
    if (der_enter_only(sequence, DER_SEQUENCE, &inner) || der_at_end(&inner))
        return ERROR_INVALID;
    walk = inner;
    while (!der_at_end(&walk))
        if (general_name_read(&walk, &name, false))
            return ERROR_INVALID;
    *names = inner;
    return 0;
}

static void write_one(struct der_writer *writer, const struct general_name *name)
{
    uint8_t tag =
        (uint8_t)(is_constructed(name->type) ? DER_CONTEXT_CONSTRUCTED(name->type) : DER_CONTEXT(name->type));
    der_write_tlv(writer, tag, name->value.data, name->value.length);
}

void general_names_write(struct der_writer *writer, const struct general_name *names, size_t count)
{
    size_t mark = der_writer_mark(writer);
    while (count--)
        write_one(writer, &names[count]);
    der_write_header(writer, DER_SEQUENCE, mark);
}

void general_names_write_sorted(struct der_writer *writer, const struct general_name *names, size_t count)
{
    static const enum general_name_type order[] = {
        GENERAL_NAME_DNS,       GENERAL_NAME_EMAIL, GENERAL_NAME_IP,
        GENERAL_NAME_URI,       GENERAL_NAME_OTHER, GENERAL_NAME_X400,
        GENERAL_NAME_DIRECTORY, GENERAL_NAME_EDI,   GENERAL_NAME_REGISTERED_ID,
    };
    size_t mark = der_writer_mark(writer);
    for (size_t kind = sizeof order / sizeof order[0]; kind--;)
        for (size_t i = count; i--;)
            if (names[i].type == order[kind])
                write_one(writer, &names[i]);
    der_write_header(writer, DER_SEQUENCE, mark);
}

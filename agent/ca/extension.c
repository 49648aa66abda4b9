/* SPDX-License-Identifier: MIT */
#include "agent/ca/extension.h"

int extension_read(struct der_cursor *list, struct extension *extension)
{
    struct der_cursor trial = *list, one;
    struct extension read;
    if (der_enter(&trial, DER_SEQUENCE, &one) || der_expect(&one, DER_OID, &read.oid) ||
        der_boolean_default_false(&one, &read.critical) || der_expect(&one, DER_OCTET_STRING, &read.value) ||
        der_end(&one))
        return ERROR_INVALID;
    *list = trial;
    *extension = read;
    return 0;
}

void extension_end(struct der_writer *writer, const uint8_t *oid, size_t oid_length, bool critical,
                   size_t mark)
{
    der_write_header(writer, DER_OCTET_STRING, mark);
    if (critical)
        der_write_boolean(writer, true);
    der_write_oid(writer, oid, oid_length);
    der_write_header(writer, DER_SEQUENCE, mark);
}

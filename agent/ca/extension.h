/* SPDX-License-Identifier: MIT */
/* Extension ::= SEQUENCE { extnID, critical DEFAULT FALSE, extnValue OCTET STRING } (RFC 5280, 4.1). */
#ifndef AGENT_CA_EXTENSION_H
#define AGENT_CA_EXTENSION_H

#include "agent/ca/der_writer.h"

struct extension {
    struct der_slice oid, value; /* value: the content of the OCTET STRING */
    bool critical;
};

/* Reads one; 0 or ERROR_INVALID. */
int extension_read(struct der_cursor *list, struct extension *extension);

/* Wraps the value written since `mark` as an extension: extension_end(&writer, OID(OID_X), true, mark). */
void extension_end(struct der_writer *writer, const uint8_t *oid, size_t oid_length, bool critical,
                   size_t mark);

#endif

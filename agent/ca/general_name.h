/* SPDX-License-Identifier: MIT */
/* GeneralName (RFC 5280, 4.2.1.6): the names of a certificate, always by length, never as C strings. */
#ifndef AGENT_CA_GENERAL_NAME_H
#define AGENT_CA_GENERAL_NAME_H

#include "agent/ca/der_writer.h"

enum general_name_type { /* the context tags */
                         GENERAL_NAME_OTHER = 0,
                         GENERAL_NAME_EMAIL = 1,
                         GENERAL_NAME_DNS = 2,
                         GENERAL_NAME_X400 = 3,
                         GENERAL_NAME_DIRECTORY = 4,
                         GENERAL_NAME_EDI = 5,
                         GENERAL_NAME_URI = 6,
                         GENERAL_NAME_IP = 7,
                         GENERAL_NAME_REGISTERED_ID = 8,
};

struct general_name {
    enum general_name_type type;
    struct der_slice value; /* text, address bytes, or (directory) the complete Name */
};

/* Convenience for makers: a name of C text (which must outlive it). */
struct general_name general_name_text(enum general_name_type type, const char *text);

/* Reads one GeneralName. Text must be non-empty printable ASCII without NUL (internationalized names are
 * A-labels and percent-escapes); addresses must have 4 or 16 bytes, or 8 or 32 when `constraint`. A
 * constraint's text may be empty. */
int general_name_read(struct der_cursor *cursor, struct general_name *name, bool constraint);

/* Checks a GeneralNames SEQUENCE (at least one name, nothing after it) and yields a cursor over its names,
 * which general_name_read() then reads without failing. */
int general_names_open(struct der_slice sequence, struct der_cursor *names);

/* A GeneralNames SEQUENCE in the order given. Makers put DNS, e-mail, IP, URI in this order: see
 * general_names_write_sorted(). */
void general_names_write(struct der_writer *writer, const struct general_name *names, size_t count);
/* The same, in the order DNS, e-mail, IP, URI (stable within a kind), then others. */
void general_names_write_sorted(struct der_writer *writer, const struct general_name *names, size_t count);

#endif

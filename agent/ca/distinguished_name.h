/* SPDX-License-Identifier: MIT */
/* Name (RFC 5280, 4.1.2.4): walking its attributes and comparing it with a constraint. Pure functions. */
#ifndef AGENT_CA_DISTINGUISHED_NAME_H
#define AGENT_CA_DISTINGUISHED_NAME_H

#include "agent/der.h"

struct distinguished_name_walk {
    struct der_cursor rdns, set;
};

struct distinguished_name_attribute {
    struct der_slice type;    /* OID content */
    struct der_element value; /* usually a string type */
};

/* 0 when `name` is one well-formed Name and nothing else, or ERROR_INVALID. `is_empty` may be NULL. */
int distinguished_name_check(struct der_slice name, bool *is_empty);
/* Begins a walk over a complete Name. */
int distinguished_name_walk(struct distinguished_name_walk *walk, struct der_slice name);
/* 1: the next attribute; 0: no more; ERROR_INVALID: malformed. */
int distinguished_name_next(struct distinguished_name_walk *walk,
                            struct distinguished_name_attribute *attribute);

/* Whether `name` lies in the subtree `base`: begins with its RDNs (RFC 5280, 7.1: strings compare without
 * case and with runs of spaces as one). */
bool distinguished_name_is_within(struct der_slice name, struct der_slice base);

#endif

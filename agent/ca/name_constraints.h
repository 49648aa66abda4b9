/* SPDX-License-Identifier: MIT */
/* Name constraints (RFC 5280, 4.2.1.10), applied to each kind of name separately: a constraint on DNS names
 * says nothing about URIs. */
#ifndef AGENT_CA_NAME_CONSTRAINTS_H
#define AGENT_CA_NAME_CONSTRAINTS_H

#include "agent/ca/x509.h"

/* Checks the form of the extension's value: x509_parse() calls it. */
int name_constraints_check_form(struct der_slice value);

/* Whether every name of the certificate (SANs and, if not empty, the subject; e-mail addresses in the subject
 * too) is allowed by the constraints. A name of a kind that a constraint covers but that this program cannot
 * match is refused. ERROR_DENIED names the offending name. */
int name_constraints_allow(struct der_slice constraints, const struct x509 *certificate, struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
/* Making certificates: the four profiles of Consul's built-in CA. Extensions come in the order KeyUsage,
 * ExtKeyUsage, BasicConstraints, SKI, AKI, SAN, NameConstraints; key identifiers are SHA-256 of the SPKI.
 * Results are DER that the caller frees. Policy (who may have which name, for how long) is the caller's. */
#ifndef AGENT_CA_CERTIFICATE_H
#define AGENT_CA_CERTIFICATE_H

#include "agent/ca/csr.h"
#include "agent/ca/key.h"
#include "agent/ca/x509.h"

enum {
    CERTIFICATE_BACKDATE_SEC = 60,            /* leaves and intermediates begin this long ago; roots do not */
    CERTIFICATE_CROSS_SIGNED_SEC = 7 * 86400, /* how long a cross-signed root lives */
    CERTIFICATE_COMMON_NAME_MAX_BYTES = 64,   /* ub-common-name */
};

/* What the caller decides about every certificate. */
struct certificate_terms {
    uint64_t serial;               /* at least 1 */
    struct der_slice serial_bytes; /* if set, used in place of `serial`: big-endian, at most 20 bytes */
    int64_t not_before, not_after; /* unix seconds */
};

/* Who signs: a CA certificate and its private key, which must belong together. */
struct certificate_issuer {
    const struct x509 *certificate;
    const struct key *key;
};

/* A self-signed root: CN as PrintableString, one URI SAN (the trust domain). */
int certificate_make_root(struct ca_thread *thread, const struct key *key, const char *common_name,
                          const char *uri, const struct certificate_terms *terms, uint8_t **der, size_t *size,
                          struct error *error);

/* A CA of path length 0 for a secondary: subject, SAN and key of the (checked) request. */
int certificate_make_intermediate(struct ca_thread *thread, const struct certificate_issuer *issuer,
                                  const struct csr *csr, const struct certificate_terms *terms, uint8_t **der,
                                  size_t *size, struct error *error);

/* The new root's subject, key and extensions, signed by the old root with the algorithm of the old root's own
 * signature. */
int certificate_cross_sign(struct ca_thread *thread, const struct certificate_issuer *old_root,
                           const struct x509 *new_root, const struct certificate_terms *terms, uint8_t **der,
                           size_t *size, struct error *error);

/* A leaf for client and server authentication. `common_name` NULL makes an empty subject and a critical SAN.
 * The names are written in the order DNS, e-mail, IP, URI. The SPKI must have been checked (csr_check()). */
struct certificate_leaf {
    const char *common_name;
    struct der_slice spki;
    const struct general_name *names;
    size_t name_count;
};

int certificate_make_leaf(struct ca_thread *thread, const struct certificate_issuer *issuer,
                          const struct certificate_leaf *leaf, const struct certificate_terms *terms,
                          uint8_t **der, size_t *size, struct error *error);

/* A complete Name holding one CN as PrintableString (UTF8String if it does not fit that alphabet), or the
 * empty Name for NULL. Consul's names only use PrintableString characters. */
void certificate_write_name(struct der_writer *writer, const char *common_name);

/* "ROLE-<uid>.<provider>.ca.<first 8 of cluster id>.consul" with a fresh uid: the CN of a CA ("pri" or "sec"
 * role). Needs CERTIFICATE_COMMON_NAME_MAX_BYTES + 1 bytes. */
int certificate_ca_common_name(struct ca_thread *thread, const char *role, const char *provider,
                               const char *cluster_id, char *text, struct error *error);

#endif

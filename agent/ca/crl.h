/* SPDX-License-Identifier: MIT */
/* Certificate revocation lists, version 2 (RFC 5280, section 5): complete lists of one issuer only. */
#ifndef AGENT_CA_CRL_H
#define AGENT_CA_CRL_H

#include "agent/ca/certificate.h"

enum { CRL_DER_MAX_BYTES = 64 << 20 };

enum crl_reason {
    CRL_UNSPECIFIED = 0, /* never written: RFC 5280, 5.3.1 */
    CRL_KEY_COMPROMISE = 1,
    CRL_CA_COMPROMISE = 2,
    CRL_AFFILIATION_CHANGED = 3,
    CRL_SUPERSEDED = 4,
    CRL_CESSATION_OF_OPERATION = 5,
    CRL_CERTIFICATE_HOLD = 6,
    CRL_REMOVE_FROM_CRL = 8, /* only in delta CRLs, which are refused */
    CRL_PRIVILEGE_WITHDRAWN = 9,
    CRL_AA_COMPROMISE = 10,
};

struct crl_entry {
    struct der_slice serial; /* magnitude, big-endian */
    int64_t revoked_at;      /* unix seconds */
    enum crl_reason reason;
};

/* What to list, in this order. */
struct crl_terms {
    uint64_t number; /* grows with every list of the issuer */
    int64_t this_update, next_update;
    const struct crl_entry *entries;
    size_t entry_count;
};

/* DER that the caller frees. The issuer's name and SKI come from its certificate. */
int crl_make(struct ca_thread *thread, const struct certificate_issuer *issuer, const struct crl_terms *terms,
             uint8_t **der, size_t *size, struct error *error);

/* The parsed view; borrows from the caller's DER. */
struct crl {
    struct signed_object object;
    enum signature_algorithm algorithm;
    struct der_slice issuer;           /* complete Name */
    struct der_slice authority_key_id; /* data NULL when absent */
    struct der_slice number;           /* magnitude; data NULL when absent */
    int64_t this_update, next_update;
    struct der_slice entries; /* content of revokedCertificates */
    size_t entry_count;
};

/* Parses the whole list, every entry included. Refuses delta CRLs, critical extensions that are not
 * understood (IssuingDistributionPoint among them, since it narrows the scope) on the list and on entries,
 * and lists without nextUpdate. The signature is judged by crl_verify(). */
int crl_parse(struct crl *crl, const void *der, size_t size, struct error *error);
/* Whether this CA may sign CRLs (cRLSign, name, key id) and did sign this one. Validity in time is not
 * judged. */
int crl_verify(const struct crl *crl, const struct x509 *issuer, struct error *error);
/* Whether `crl` may replace `current` of the same issuer: a number not below it (missing numbers compare by
 * thisUpdate). ERROR_CONFLICT when older. */
int crl_check_newer(const struct crl *crl, const struct crl *current, struct error *error);

/* Walks the entries of a parsed list: crl_entries() first, then crl_next() until it is false. */
struct der_cursor crl_entries(const struct crl *crl);
bool crl_next(struct der_cursor *cursor, struct crl_entry *entry);

#endif

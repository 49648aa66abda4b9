/* SPDX-License-Identifier: MIT */
/* Certificate requests (PKCS#10, RFC 2986). */
#ifndef AGENT_CA_CSR_H
#define AGENT_CA_CSR_H

#include "agent/ca/general_name.h"
#include "agent/ca/key.h"
#include "agent/ca/signature.h"

enum { CSR_DER_MAX_BYTES = 64 << 10 };

/* A checked request; borrows from the caller's DER. */
struct csr {
    struct signed_object object;
    enum signature_algorithm algorithm;
    struct der_slice subject; /* complete Name */
    bool subject_is_empty;
    struct public_key public_key;
    struct der_slice san; /* GeneralNames, data NULL when absent */
    bool san_critical;
    unsigned uri_count, dns_count, email_count, ip_count, other_name_count;
    bool wants_ca;                       /* requested BasicConstraints with CA TRUE */
    struct der_slice challenge_password; /* text, data NULL when absent */
};

/* What to ask for. */
struct csr_request {
    const char *common_name; /* NULL: empty subject and critical SAN */
    const struct general_name *names;
    size_t name_count;
    bool ca; /* ask for critical BasicConstraints CA TRUE, as CA requests do */
};

/* DER that the caller frees. */
int csr_make(struct ca_thread *thread, const struct key *key, const struct csr_request *request,
             uint8_t **der, size_t *size, struct error *error);

/* Parses and judges a stranger's request: strict form, a sound key (public_key_check()), and the proof of
 * possession (its own signature). Attributes and extensions that we do not use are tolerated. */
int csr_check(struct csr *csr, const void *der, size_t size, struct error *error);

/* A cursor over the SANs for general_name_read(..., false); empty when there are none. */
struct der_cursor csr_names(const struct csr *csr);
/* The value of the only URI SAN; absent unless there is exactly one. */
struct der_slice csr_only_uri(const struct csr *csr);

#endif

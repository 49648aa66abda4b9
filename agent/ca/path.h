/* SPDX-License-Identifier: MIT */
/* Building and verifying certification paths (RFC 5280, section 6, without policies): the one place that
 * decides whether a certificate is to be trusted. Knows several roots, cross-signed roots, equal names with
 * different keys, and intermediates with empty names; ignores supplied certificates that do not help. */
#ifndef AGENT_CA_PATH_H
#define AGENT_CA_PATH_H

#include "agent/ca/x509.h"

enum {
    PATH_MAX_CERTIFICATES = 8,   /* of a path, leaf and anchor included */
    PATH_MAX_INTERMEDIATES = 32, /* supplied by the peer */
    PATH_MAX_SIGNATURES = 64,    /* verified for one answer: bounds what a hostile chain can cost */
};

enum path_purpose {
    PATH_PURPOSE_ANY,    /* EKU is not looked at */
    PATH_PURPOSE_CLIENT, /* the leaf authenticates a TLS client */
    PATH_PURPOSE_SERVER,
};

/* Which check failed. */
enum path_check {
    PATH_OK,
    PATH_NO_ISSUER, /* no anchor or supplied certificate issued it */
    PATH_BAD_SIGNATURE,
    PATH_NOT_YET_VALID,
    PATH_EXPIRED,
    PATH_NOT_A_CA,       /* an issuer without BasicConstraints CA TRUE */
    PATH_NO_CERT_SIGN,   /* an issuer whose KeyUsage lacks keyCertSign */
    PATH_TOO_LONG,       /* an issuer's path length, or PATH_MAX_CERTIFICATES */
    PATH_NAME_FORBIDDEN, /* name constraints */
    PATH_WRONG_PURPOSE,  /* extended key usage */
    PATH_UNKNOWN_CRITICAL,
    PATH_WEAK_KEY, /* a kind of key that is not supported, or RSA below 2048 bits */
    PATH_LIMIT,    /* PATH_MAX_INTERMEDIATES or PATH_MAX_SIGNATURES */
};

struct path_request {
    const struct x509 *leaf;
    const struct x509 *const *intermediates; /* as supplied, in any order */
    size_t intermediate_count;
    const struct x509 *const *anchors; /* trusted roots; judged for validity and CA bits like any issuer */
    size_t anchor_count;
    int64_t now; /* unix seconds */
    enum path_purpose purpose;
};

struct path_result {
    const struct x509 *path[PATH_MAX_CERTIFICATES]; /* leaf first, anchor last */
    size_t length;
    enum path_check check; /* on failure: what failed, and ... */
    size_t depth;          /* ... at which certificate of the path, 0 being the leaf */
};

/* 0 when a path from the leaf to an anchor holds. Otherwise ERROR_DENIED (a code of error.h), with the most
 * telling failure, the one of the attempt that came furthest, in `result` and in words in `error`. `result`
 * may be NULL. A leaf that itself is an anchor (the whole DER) is accepted as a path of one certificate.
 * Thread-safe; the thread should hold a ca_thread. */
int path_verify(const struct path_request *request, struct path_result *result, struct error *error);

/* "expired", "wrong purpose" and so on. */
const char *path_check_name(enum path_check check);

#endif

/* SPDX-License-Identifier: MIT */
/* Signature algorithms, signing, verifying, and the frame SEQUENCE { signed, algorithm, signature } that
 * certificates, requests and CRLs share. SHA-1, MD5 and RSA-PSS are not known here. */
#ifndef AGENT_CA_SIGNATURE_H
#define AGENT_CA_SIGNATURE_H

#include "agent/ca/der_writer.h"
#include "agent/ca/public_key.h"
#include "agent/ca/thread.h"

struct key;

enum signature_algorithm {
    SIGNATURE_UNKNOWN,
    SIGNATURE_ECDSA_SHA256,
    SIGNATURE_ECDSA_SHA384,
    SIGNATURE_ECDSA_SHA512,
    SIGNATURE_RSA_SHA256,
    SIGNATURE_RSA_SHA384,
    SIGNATURE_RSA_SHA512,
    SIGNATURE_ED25519,
};

/* "ECDSA-SHA256" and so on, or "unknown". */
const char *signature_name(enum signature_algorithm algorithm);
/* The kind of key that makes such signatures. */
enum key_type signature_key_type(enum signature_algorithm algorithm);
/* What a key signs certificates, requests and CRLs with: ECDSA-SHA256 whatever the curve, RSA-SHA256,
 * Ed25519. */
enum signature_algorithm signature_default(enum key_type type);
/* What a root's key signs that root with: as above, but P-384 with SHA-384 and P-521 with SHA-512. */
enum signature_algorithm signature_of_root(enum key_type type, unsigned bits);

/* The complete AlgorithmIdentifier. */
void signature_write_algorithm(struct der_writer *writer, enum signature_algorithm algorithm);
/* Classifies a complete AlgorithmIdentifier; SIGNATURE_UNKNOWN also when its parameters are not the right
 * ones. */
enum signature_algorithm signature_read_algorithm(struct der_slice algorithm);

enum { SIGNATURE_MAX_BYTES = 512 };

/* Signs the message. `signature` has room for SIGNATURE_MAX_BYTES; ECDSA signatures are DER. P-256 with
 * SHA-256 is deterministic (RFC 6979). */
int signature_make(struct ca_thread *thread, const struct key *key, enum signature_algorithm algorithm,
                   struct der_slice message, uint8_t *signature, size_t *size, struct error *error);
/* 0 when the key made this signature over the message; ERROR_CRYPTO when not, or when algorithm and key do
 * not belong together. Any thread that has a ca_thread alive may call it. */
int signature_verify(const struct public_key *key, enum signature_algorithm algorithm,
                     struct der_slice message, struct der_slice signature, struct error *error);

/* Wraps a complete TBS element (which already names the algorithm) into a signed object that the caller
 * frees. */
int signature_frame(struct ca_thread *thread, const struct key *key, enum signature_algorithm algorithm,
                    struct der_slice tbs, uint8_t **der, size_t *size, struct error *error);

/* The parts of a signed object; `tbs` and `algorithm` are complete elements. */
struct signed_object {
    struct der_slice whole, tbs, algorithm, signature;
};

/* Takes a signed object apart; nothing may follow it. `what` names it in the error text. */
int signature_unframe(struct signed_object *object, struct der_slice der, const char *what,
                      struct error *error);

#endif

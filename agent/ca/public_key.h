/* SPDX-License-Identifier: MIT */
/* Public keys as SubjectPublicKeyInfo: what kind they are, whether they are sound, and their key id. */
#ifndef AGENT_CA_PUBLIC_KEY_H
#define AGENT_CA_PUBLIC_KEY_H

#include "agent/der.h"
#include "agent/error.h"

enum key_type {
    KEY_TYPE_UNKNOWN, /* a kind that this program does not use */
    KEY_TYPE_EC,
    KEY_TYPE_RSA,
    KEY_TYPE_ED25519,
};

enum {
    KEY_ID_BYTES = 32,
    KEY_RSA_MIN_BITS = 2048,
    KEY_RSA_MAX_BITS = 4096,
};

struct public_key {
    enum key_type type;
    unsigned bits;          /* 224, 256, 384, 521; RSA modulus length; 256 for Ed25519; 0 if unknown */
    struct der_slice spki;  /* the complete SubjectPublicKeyInfo */
    struct der_slice point; /* the BIT STRING's bytes: EC point, RSAPublicKey, or Ed25519 key */
};

/* Reads the SPKI and classifies it. A well-formed key of another kind or size succeeds as KEY_TYPE_UNKNOWN.
 * Slices point into the input. */
int public_key_parse(struct public_key *key, struct der_slice spki, struct error *error);

/* Whether a stranger's key may be certified or trusted: a kind we know, EC point uncompressed and on its
 * curve, RSA of 2048 to 4096 bits with an odd exponent of at least 3. Costs about one verification. */
int public_key_check(const struct public_key *key, struct error *error);

/* SHA-256 of the SPKI: the key identifier of every certificate that we make. */
int public_key_id(struct der_slice spki, uint8_t id[KEY_ID_BYTES]);

/* "ec", "rsa", "ed25519", or "unknown". */
const char *key_type_name(enum key_type type);

#endif

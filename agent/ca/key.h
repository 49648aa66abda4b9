/* SPDX-License-Identifier: MIT */
/* Private keys. A struct key is immutable once made and holds the encoded key; each operation decodes a copy
 * of its own, because the library's key objects are not even safe for concurrent reading. So any thread may
 * use a key, with its own ca_thread. The bytes are wiped when the key is freed. */
#ifndef AGENT_CA_KEY_H
#define AGENT_CA_KEY_H

#include "agent/ca/public_key.h"
#include "agent/ca/thread.h"

struct key;

enum key_format {
    KEY_FORMAT_TRADITIONAL, /* as Consul writes: SEC 1 "EC PRIVATE KEY", PKCS#1 "RSA PRIVATE KEY";
                             * Ed25519 has no such form and gets PKCS#8 */
    KEY_FORMAT_PKCS8,       /* "PRIVATE KEY" */
};

/* Makes a key: EC 224, 256, 384, 521; RSA 2048, 3072, 4096 (takes up to seconds: use a worker thread);
 * Ed25519 (bits 0 or 256). */
int key_generate(struct ca_thread *thread, enum key_type type, unsigned bits, struct key **key,
                 struct error *error);

/* Reads a private key: SEC 1, PKCS#1 or PKCS#8. The public point is computed anew, and a file whose public
 * half does not belong to the private one is refused, as are off-curve points and RSA below 2048 bits. */
int key_import_der(struct ca_thread *thread, const uint8_t *der, size_t size, struct key **key,
                   struct error *error);
/* From PEM; an "EC PARAMETERS" block in front is skipped, certificates in the same text are too. Exactly one
 * unencrypted private key must be there. */
int key_import_pem(struct ca_thread *thread, const char *text, size_t size, struct key **key,
                   struct error *error);

/* Wipes and frees. NULL is harmless. */
void key_free(struct key *key);

/* Secret bytes that the caller frees with pem_free_secret(). Sizes do not count PEM's NUL. */
int key_export_der(const struct key *key, enum key_format format, uint8_t **der, size_t *size,
                   struct error *error);
int key_export_pem(const struct key *key, enum key_format format, char **text, size_t *size,
                   struct error *error);

/* Views that live as long as the key. */
const struct public_key *key_public(const struct key *key);
enum key_type key_type(const struct key *key);
unsigned key_bits(const struct key *key);
/* SHA-256 of the SPKI, KEY_ID_BYTES. */
const uint8_t *key_id(const struct key *key);
/* The encoded private key (SEC 1, PKCS#1, or the 32-byte seed of Ed25519); for agent/ca/ alone. */
struct der_slice key_secret(const struct key *key);

#endif

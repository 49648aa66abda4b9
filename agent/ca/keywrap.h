/* SPDX-License-Identifier: MIT */
/* Sealing of secrets at rest: XChaCha20-Poly1305 with random nonces under a key derived (HKDF-SHA256) from
 * the content of a key file. A keywrap is immutable once made; any thread may use it. */
#ifndef AGENT_CA_KEYWRAP_H
#define AGENT_CA_KEYWRAP_H

#include <stddef.h>
#include <stdint.h>

#include "agent/ca/thread.h"

enum {
    KEYWRAP_SECRET_MIN_BYTES = 32,
    KEYWRAP_SECRET_MAX_BYTES = 64 << 10,
    KEYWRAP_OVERHEAD_BYTES = 56, /* magic 8, key check 8, nonce 24, tag 16 */
    KEYWRAP_PLAIN_MAX_BYTES = 16 << 20,
};

struct keywrap;

/* Reads the key file: a regular file of at least 32 bytes that nobody but its owner can read or write. */
int keywrap_load(const char *path, struct keywrap **keywrap, struct error *error);
/* From a secret in memory. */
int keywrap_from_secret(const void *secret, size_t size, struct keywrap **keywrap, struct error *error);
/* Wipes and frees. NULL is harmless. */
void keywrap_free(struct keywrap *keywrap);

/* Seals `plain` in memory that the caller frees. `context` names what it is and for whom (for example
 * "ca-key/3"): the blob opens only with the same context, so that blobs cannot be exchanged. */
int keywrap_seal(const struct keywrap *keywrap, struct ca_thread *thread, const char *context,
                 const void *plain, size_t plain_size, uint8_t **sealed, size_t *sealed_size,
                 struct error *error);

/* Opens a sealed blob into memory that the caller wipes and frees (pem_free_secret()). ERROR_DENIED: sealed
 * under another key. ERROR_CORRUPT: not a sealed blob, damaged, or of another context. */
int keywrap_open(const struct keywrap *keywrap, const char *context, const void *sealed, size_t sealed_size,
                 uint8_t **plain, size_t *plain_size, struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
/* PEM (RFC 7468): written with lines of 64 columns and a trailing newline, read strictly.
 *
 * Reading: text outside blocks is explanation and skipped; inside a block only base64 lines and white space
 * are allowed (no Proc-Type headers), with correct padding, no stray bits, and matching labels. */
#ifndef AGENT_CA_PEM_H
#define AGENT_CA_PEM_H

#include <stddef.h>
#include <stdint.h>

#include "agent/error.h"

enum {
    PEM_TEXT_MAX_BYTES = 8 << 20, /* of one text: a large CRL or a bundle of roots */
    PEM_LABEL_MAX_BYTES = 63,
};

#define PEM_CERTIFICATE         "CERTIFICATE"
#define PEM_CERTIFICATE_REQUEST "CERTIFICATE REQUEST"
#define PEM_CRL                 "X509 CRL"
#define PEM_PRIVATE_KEY         "PRIVATE KEY"
#define PEM_EC_PRIVATE_KEY      "EC PRIVATE KEY"
#define PEM_RSA_PRIVATE_KEY     "RSA PRIVATE KEY"

/* The text of one block, NUL-terminated; the caller frees it (pem_free_secret() if it holds a private key).
 * `size` does not count the NUL and may be NULL. Base64 is computed without tables indexed by secret data. */
int pem_encode(const char *label, const uint8_t *der, size_t der_size, char **text, size_t *size,
               struct error *error);

struct pem_block {
    char label[PEM_LABEL_MAX_BYTES + 1];
    uint8_t *der; /* owned by the block */
    size_t size;
};

/* Walks the blocks of a text. `begin` is the place of the last block in bytes, for messages. */
struct pem_reader {
    const char *start, *next, *end;
};

int pem_reader_init(struct pem_reader *reader, const char *text, size_t size, struct error *error);
/* 1: `block` holds the next block, free it with pem_block_free(); 0: no more; else a code of error.h. */
int pem_next(struct pem_reader *reader, struct pem_block *block, struct error *error);
/* Wipes and frees. Harmless on a zeroed block. */
void pem_block_free(struct pem_block *block);

/* The text holds exactly one block, with this label: yields its DER, which the caller frees. */
int pem_decode_only(const char *text, size_t size, const char *label, uint8_t **der, size_t *der_size,
                    struct error *error);

/* Wipes and frees a text or DER that held a secret. NULL is harmless. */
void pem_free_secret(void *memory, size_t size);

#endif

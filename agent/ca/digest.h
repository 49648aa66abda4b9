/* SPDX-License-Identifier: MIT */
/* Hashes and the comparison of secrets. Thread-safe. */
#ifndef AGENT_CA_DIGEST_H
#define AGENT_CA_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_SHA1_BYTES = 20, DIGEST_SHA256_BYTES = 32, DIGEST_MAX_BYTES = 64 };

/* 0 or ERROR_CRYPTO. SHA-1 serves names that Consul defines by it (root ids), never signatures. */
int digest_sha1(const void *data, size_t size, uint8_t digest[DIGEST_SHA1_BYTES]);
int digest_sha256(const void *data, size_t size, uint8_t digest[DIGEST_SHA256_BYTES]);

/* Compares in a time that depends on `size` alone. */
bool digest_equal(const void *a, const void *b, size_t size);

#endif

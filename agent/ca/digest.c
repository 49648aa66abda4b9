/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/hash.h>

#include "agent/ca/digest.h"

#include "agent/error.h"

static int digest(enum wc_HashType type, const void *data, size_t size, uint8_t *out, word32 out_size)
{
    if (size > UINT32_MAX || wc_Hash(type, data, (word32)size, out, out_size))
        return ERROR_CRYPTO;
    return 0;
}

int digest_sha1(const void *data, size_t size, uint8_t out[DIGEST_SHA1_BYTES])
{
    return digest(WC_HASH_TYPE_SHA, data, size, out, DIGEST_SHA1_BYTES);
}

int digest_sha256(const void *data, size_t size, uint8_t out[DIGEST_SHA256_BYTES])
{
    return digest(WC_HASH_TYPE_SHA256, data, size, out, DIGEST_SHA256_BYTES);
}

bool digest_equal(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *left = a, *right = b; /* volatile: the compiler may not stop early */
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= left[i] ^ right[i];
    return difference == 0;
}

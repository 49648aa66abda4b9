/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include "agent/ca/keywrap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/ca/digest.h"
#include "agent/ca/pem.h"

enum { MAGIC_BYTES = 8, CHECK_BYTES = 8, NONCE_BYTES = 24, TAG_BYTES = 16, CONTEXT_MAX_BYTES = 200 };
enum {
    HEADER_BYTES = MAGIC_BYTES + CHECK_BYTES + NONCE_BYTES,
    AAD_MAX_BYTES = MAGIC_BYTES + CONTEXT_MAX_BYTES
};

static_assert(HEADER_BYTES + TAG_BYTES == KEYWRAP_OVERHEAD_BYTES, "the header documents the overhead");

static const char magic[MAGIC_BYTES + 1] = "XYLSEAL1"; /* the last digit is the version */

struct keywrap {
    uint8_t key[CHACHA20_POLY1305_AEAD_KEYSIZE];
    uint8_t check[CHECK_BYTES]; /* tells "another key" from "damaged"; derived, so it gives nothing away */
};

int keywrap_from_secret(const void *secret, size_t size, struct keywrap **keywrap, struct error *error)
{
    static const char salt[] = "xylem keywrap 1", key_info[] = "seal", check_info[] = "check";
    uint8_t extracted[DIGEST_SHA256_BYTES];
    if (size < KEYWRAP_SECRET_MIN_BYTES || size > KEYWRAP_SECRET_MAX_BYTES)
        return error_set(error, ERROR_INVALID, "the secret has %zu bytes; %d to %d are accepted", size,
                         KEYWRAP_SECRET_MIN_BYTES, KEYWRAP_SECRET_MAX_BYTES);
    struct keywrap *made = malloc(sizeof *made);
    if (!made)
        return error_errno(error, "sealing key");
    int code =
        wc_HKDF_Extract(WC_SHA256, (const byte *)salt, sizeof salt - 1, secret, (word32)size, extracted);
    if (code == 0)
        code = wc_HKDF_Expand(WC_SHA256, extracted, sizeof extracted, (const byte *)key_info,
                              sizeof key_info - 1, made->key, sizeof made->key);
    if (code == 0)
        code = wc_HKDF_Expand(WC_SHA256, extracted, sizeof extracted, (const byte *)check_info,
                              sizeof check_info - 1, made->check, sizeof made->check);
    explicit_bzero(extracted, sizeof extracted);
    if (code) {
        keywrap_free(made);
        return error_set(error, ERROR_CRYPTO, "sealing key: derivation failed (%d)", code);
    }
    *keywrap = made;
    return 0;
}

void keywrap_free(struct keywrap *keywrap)
{
    pem_free_secret(keywrap, sizeof *keywrap);
}

/* Judges the open file, not the name, so that nothing can be exchanged in between. */
static int check_file(int fd, const char *path, struct error *error)
{
    struct stat status;
    if (fstat(fd, &status))
        return error_errno(error, "key file %s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_INVALID, "key file %s: not a regular file", path);
    if (status.st_mode & (S_IRWXG | S_IRWXO))
        return error_set(error, ERROR_DENIED,
                         "key file %s: group or others may use it (mode %04o); chmod 0600 it", path,
                         (unsigned)status.st_mode & 07777);
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return error_set(error, ERROR_DENIED, "key file %s: belongs to uid %u, who could replace it", path,
                         (unsigned)status.st_uid);
    return 0;
}

/* Reads the whole file; one byte more than the limit shows that it is too long. */
static int read_secret(int fd, const char *path, uint8_t *secret, size_t capacity, size_t *size,
                       struct error *error)
{
    size_t used = 0;
    while (used < capacity) {
        ssize_t got = read(fd, secret + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(error, "key file %s", path);
        if (got == 0)
            break;
        used += (size_t)got;
    }
    *size = used;
    return 0;
}

int keywrap_load(const char *path, struct keywrap **keywrap, struct error *error)
{
    size_t capacity = KEYWRAP_SECRET_MAX_BYTES + 1, size = 0;
    uint8_t *secret = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not stall the start */
    if (fd < 0)
        return error_errno(error, "key file %s", path);
    int result = check_file(fd, path, error);
    if (result)
        goto close;
    secret = malloc(capacity);
    result = secret ? read_secret(fd, path, secret, capacity, &size, error)
                    : error_errno(error, "key file %s", path);
    if (result == 0) {
        result = keywrap_from_secret(secret, size, keywrap, error);
        if (result)
            error_at(error, "key file %s", path);
    }
    pem_free_secret(secret, capacity);
close:
    close(fd);
    return result;
}

/* Bound to the blob without being in it: version and context. */
static size_t make_aad(const char *context, uint8_t aad[AAD_MAX_BYTES])
{
    size_t length = strnlen(context, CONTEXT_MAX_BYTES);
    memcpy(aad, magic, MAGIC_BYTES);
    memcpy(aad + MAGIC_BYTES, context, length);
    return MAGIC_BYTES + length;
}

static int check_context(const char *context, struct error *error)
{
    if (strlen(context) > CONTEXT_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "sealed secret: the context has more than %d bytes",
                         CONTEXT_MAX_BYTES);
    return 0;
}

int keywrap_seal(const struct keywrap *keywrap, struct ca_thread *thread, const char *context,
                 const void *plain, size_t plain_size, uint8_t **sealed, size_t *sealed_size,
                 struct error *error)
{
    uint8_t aad[AAD_MAX_BYTES];
    int result = check_context(context, error);
    if (result)
        return result;
    if (plain_size == 0 || plain_size > KEYWRAP_PLAIN_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "sealing %s: %zu bytes; 1 to %d can be sealed", context,
                         plain_size, KEYWRAP_PLAIN_MAX_BYTES);
    size_t size = plain_size + KEYWRAP_OVERHEAD_BYTES;
    uint8_t *out = malloc(size);
    if (!out)
        return error_errno(error, "sealing %s", context);
    uint8_t *nonce = out + MAGIC_BYTES + CHECK_BYTES;
    memcpy(out, magic, MAGIC_BYTES);
    memcpy(out + MAGIC_BYTES, keywrap->check, CHECK_BYTES);
    result = ca_thread_random(thread, nonce, NONCE_BYTES, error);
    if (result)
        goto fail;
    int code = wc_XChaCha20Poly1305_Encrypt(out + HEADER_BYTES, size - HEADER_BYTES, plain, plain_size, aad,
                                            make_aad(context, aad), nonce, NONCE_BYTES, keywrap->key,
                                            sizeof keywrap->key);
    if (code) {
        result = error_set(error, ERROR_CRYPTO, "sealing %s: encryption failed (%d)", context, code);
        goto fail;
    }
    *sealed = out;
    *sealed_size = size;
    return 0;
fail:
    free(out);
    return result;
}

int keywrap_open(const struct keywrap *keywrap, const char *context, const void *sealed, size_t sealed_size,
                 uint8_t **plain, size_t *plain_size, struct error *error)
{
    uint8_t aad[AAD_MAX_BYTES];
    const uint8_t *in = sealed;
    int result = check_context(context, error);
    if (result)
        return result;
    if (sealed_size <= KEYWRAP_OVERHEAD_BYTES ||
        sealed_size > KEYWRAP_PLAIN_MAX_BYTES + KEYWRAP_OVERHEAD_BYTES || memcmp(in, magic, MAGIC_BYTES) != 0)
        return error_set(error, ERROR_CORRUPT, "sealed secret %s: not sealed by this version of the program",
                         context);
    if (!digest_equal(in + MAGIC_BYTES, keywrap->check, CHECK_BYTES))
        return error_set(error, ERROR_DENIED,
                         "sealed secret %s: sealed under another key; give the key file that "
                         "it was sealed with",
                         context);
    size_t size = sealed_size - KEYWRAP_OVERHEAD_BYTES;
    uint8_t *out = malloc(size);
    if (!out)
        return error_errno(error, "sealed secret %s", context);
    int code = wc_XChaCha20Poly1305_Decrypt(out, size, in + HEADER_BYTES, sealed_size - HEADER_BYTES, aad,
                                            make_aad(context, aad), in + MAGIC_BYTES + CHECK_BYTES,
                                            NONCE_BYTES, keywrap->key, sizeof keywrap->key);
    if (code) {
        pem_free_secret(out, size);
        return error_set(error, ERROR_CORRUPT, "sealed secret %s: damaged, or sealed for something else",
                         context);
    }
    *plain = out;
    *plain_size = size;
    return 0;
}

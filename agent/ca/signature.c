/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include "agent/ca/signature.h"

#include <string.h>

#include "agent/ca/curve.h"
#include "agent/ca/digest.h"
#include "agent/ca/key.h"
#include "agent/ca/oid.h"

struct scheme {
    const char *name;
    enum key_type key_type;
    struct der_slice oid;
    enum wc_HashType hash;
    int hash_oid; /* the library's id inside a DigestInfo */
};

#define SCHEME_OID(name) \
    {                    \
        OID(name)        \
    }

static const struct scheme schemes[] = {
    [SIGNATURE_UNKNOWN] = {"unknown", KEY_TYPE_UNKNOWN, {NULL, 0}, WC_HASH_TYPE_NONE, 0},
    [SIGNATURE_ECDSA_SHA256] = {"ECDSA-SHA256", KEY_TYPE_EC, SCHEME_OID(OID_ECDSA_SHA256),
                                WC_HASH_TYPE_SHA256, 0},
    [SIGNATURE_ECDSA_SHA384] = {"ECDSA-SHA384", KEY_TYPE_EC, SCHEME_OID(OID_ECDSA_SHA384),
                                WC_HASH_TYPE_SHA384, 0},
    [SIGNATURE_ECDSA_SHA512] = {"ECDSA-SHA512", KEY_TYPE_EC, SCHEME_OID(OID_ECDSA_SHA512),
                                WC_HASH_TYPE_SHA512, 0},
    [SIGNATURE_RSA_SHA256] = {"RSA-SHA256", KEY_TYPE_RSA, SCHEME_OID(OID_RSA_SHA256), WC_HASH_TYPE_SHA256,
                              SHA256h},
    [SIGNATURE_RSA_SHA384] = {"RSA-SHA384", KEY_TYPE_RSA, SCHEME_OID(OID_RSA_SHA384), WC_HASH_TYPE_SHA384,
                              SHA384h},
    [SIGNATURE_RSA_SHA512] = {"RSA-SHA512", KEY_TYPE_RSA, SCHEME_OID(OID_RSA_SHA512), WC_HASH_TYPE_SHA512,
                              SHA512h},
    [SIGNATURE_ED25519] = {"Ed25519", KEY_TYPE_ED25519, SCHEME_OID(OID_ED25519), WC_HASH_TYPE_NONE, 0},
};

const char *signature_name(enum signature_algorithm algorithm)
{
    return schemes[algorithm].name;
}

enum key_type signature_key_type(enum signature_algorithm algorithm)
{
    return schemes[algorithm].key_type;
}

enum signature_algorithm signature_default(enum key_type type)
{
    switch (type) {
    case KEY_TYPE_EC:
        return SIGNATURE_ECDSA_SHA256;
    case KEY_TYPE_RSA:
        return SIGNATURE_RSA_SHA256;
    case KEY_TYPE_ED25519:
        return SIGNATURE_ED25519;
    case KEY_TYPE_UNKNOWN:
        break;
    }
    return SIGNATURE_UNKNOWN;
}

enum signature_algorithm signature_of_root(enum key_type type, unsigned bits)
{
    if (type == KEY_TYPE_EC && bits == 384)
        return SIGNATURE_ECDSA_SHA384;
    if (type == KEY_TYPE_EC && bits == 521)
        return SIGNATURE_ECDSA_SHA512;
    return signature_default(type);
}

void signature_write_algorithm(struct der_writer *writer, enum signature_algorithm algorithm)
{
    const struct scheme *scheme = &schemes[algorithm];
    size_t mark = der_writer_mark(writer);
    if (scheme->key_type == KEY_TYPE_RSA)
        der_write_null(writer);
    der_write_oid(writer, scheme->oid.data, scheme->oid.length);
    der_write_header(writer, DER_SEQUENCE, mark);
}

enum signature_algorithm signature_read_algorithm(struct der_slice algorithm)
{
    struct der_cursor inner;
    struct der_slice oid;
    if (der_enter_only(algorithm, DER_SEQUENCE, &inner) || der_expect(&inner, DER_OID, &oid))
        return SIGNATURE_UNKNOWN;
    for (unsigned i = SIGNATURE_UNKNOWN + 1; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (!der_equal(schemes[i].oid, oid))
            continue;
        /* NULL for RSA (RFC 4055), nothing for the others (RFC 5758, RFC 8410). */
        if (schemes[i].key_type == KEY_TYPE_RSA && der_expect(&inner, DER_NULL, NULL))
            return SIGNATURE_UNKNOWN;
        return der_end(&inner) ? SIGNATURE_UNKNOWN : (enum signature_algorithm)i;
    }
    return SIGNATURE_UNKNOWN;
}

static int hash_message(const struct scheme *scheme, struct der_slice message, uint8_t *digest, word32 *size)
{
    int digest_size = wc_HashGetDigestSize(scheme->hash);
    if (digest_size <= 0 || message.length > UINT32_MAX)
        return BAD_FUNC_ARG;
    *size = (word32)digest_size;
    return wc_Hash(scheme->hash, message.data, (word32)message.length, digest, *size);
}

static int sign_ec(WC_RNG *rng, const struct key *key, const struct scheme *scheme, struct der_slice message,
                   uint8_t *signature, word32 *size)
{
    ecc_key ecc;
    uint8_t digest[DIGEST_MAX_BYTES];
    word32 digest_size;
    struct der_slice secret = key_secret(key), point = key_public(key)->point;
    int code = hash_message(scheme, message, digest, &digest_size);
    if (code)
        return code;
    code = wc_ecc_init(&ecc);
    if (code)
        return code;
    code = wc_ecc_import_private_key_ex(secret.data, (word32)secret.length, point.data, (word32)point.length,
                                        &ecc, curve_by_bits(key_bits(key))->library_id);
    /* The nonce of RFC 6979 avoids the library's biased random one; it needs hash and curve to match. */
    if (code == 0 && key_bits(key) == 256 && scheme->hash == WC_HASH_TYPE_SHA256)
        code = wc_ecc_set_deterministic(&ecc, 1);
    if (code == 0)
        code = wc_ecc_sign_hash(digest, digest_size, signature, size, rng, &ecc);
    wc_ecc_free(&ecc);
    return code;
}

/* DigestInfo of the message: what PKCS#1 v1.5 pads. */
static int digest_info(const struct scheme *scheme, struct der_slice message, uint8_t *info, word32 *size)
{
    uint8_t digest[DIGEST_MAX_BYTES];
    word32 digest_size;
    int code = hash_message(scheme, message, digest, &digest_size);
    if (code)
        return code;
    *size = wc_EncodeSignature(info, digest, digest_size, scheme->hash_oid);
    return *size ? 0 : BAD_FUNC_ARG;
}

static int sign_rsa(WC_RNG *rng, const struct key *key, const struct scheme *scheme, struct der_slice message,
                    uint8_t *signature, word32 *size)
{
    RsaKey rsa;
    uint8_t info[MAX_DER_DIGEST_SZ];
    word32 info_size, index = 0;
    struct der_slice secret = key_secret(key);
    int code = digest_info(scheme, message, info, &info_size);
    if (code)
        return code;
    code = wc_InitRsaKey(&rsa, NULL);
    if (code)
        return code;
    code = wc_RsaPrivateKeyDecode(secret.data, &index, &rsa, (word32)secret.length);
    if (code == 0)
        code = wc_RsaSetRNG(&rsa, rng); /* for blinding */
    if (code == 0)
        code = wc_RsaSSL_Sign(info, info_size, signature, *size, &rsa, rng);
    if (code > 0) {
        *size = (word32)code;
        code = 0;
    }
    wc_FreeRsaKey(&rsa);
    return code;
}

static int sign_ed25519(const struct key *key, struct der_slice message, uint8_t *signature, word32 *size)
{
    ed25519_key ed;
    struct der_slice seed = key_secret(key), point = key_public(key)->point;
    if (message.length > UINT32_MAX)
        return BAD_FUNC_ARG;
    int code = wc_ed25519_init(&ed);
    if (code)
        return code;
    code =
        wc_ed25519_import_private_key(seed.data, (word32)seed.length, point.data, (word32)point.length, &ed);
    if (code == 0)
        code = wc_ed25519_sign_msg(message.data, (word32)message.length, signature, size, &ed);
    wc_ed25519_free(&ed);
    return code;
}

int signature_make(struct ca_thread *thread, const struct key *key, enum signature_algorithm algorithm,
                   struct der_slice message, uint8_t *signature, size_t *size, struct error *error)
{
    const struct scheme *scheme = &schemes[algorithm];
    word32 length = SIGNATURE_MAX_BYTES;
    int code = BAD_FUNC_ARG;
    if (scheme->key_type != key_type(key) || algorithm == SIGNATURE_UNKNOWN)
        return error_set(error, ERROR_INVALID, "signing: a key of type %s cannot make a signature %s",
                         key_type_name(key_type(key)), scheme->name);
    WC_RNG *rng = ca_thread_rng(thread, error);
    if (!rng)
        return ERROR_CRYPTO;
    if (scheme->key_type == KEY_TYPE_EC)
        code = sign_ec(rng, key, scheme, message, signature, &length);
    else if (scheme->key_type == KEY_TYPE_RSA)
        code = sign_rsa(rng, key, scheme, message, signature, &length);
    else
        code = sign_ed25519(key, message, signature, &length);
    if (code)
        return error_set(error, ERROR_CRYPTO, "signing with %s: %s", scheme->name, wc_GetErrorString(code));
    *size = length;
    return 0;
}

/* Strict Ecdsa-Sig-Value, so that a signature has one encoding only; the library would take several. */
static bool ecdsa_form_is_strict(struct der_slice signature)
{
    struct der_cursor inner;
    struct der_slice r, s;
    return !der_enter_only(signature, DER_SEQUENCE, &inner) && !der_integer(&inner, &r) &&
           !der_integer(&inner, &s) && !der_end(&inner) && !((r.data[0] | s.data[0]) & 0x80);
}

/* 0 and *good, or the library's code. */
static int verify_ec(const struct public_key *key, const struct scheme *scheme, struct der_slice message,
                     struct der_slice signature, bool *good)
{
    ecc_key ecc;
    uint8_t digest[DIGEST_MAX_BYTES];
    word32 digest_size;
    int verdict = 0;
    if (!ecdsa_form_is_strict(signature))
        return 0;
    int code = hash_message(scheme, message, digest, &digest_size);
    if (code)
        return code;
    code = wc_ecc_init(&ecc);
    if (code)
        return code;
    code = wc_ecc_import_x963_ex(key->point.data, (word32)key->point.length, &ecc,
                                 curve_by_bits(key->bits)->library_id);
    if (code == 0)
        code =
            wc_ecc_verify_hash(signature.data, (word32)signature.length, digest, digest_size, &verdict, &ecc);
    wc_ecc_free(&ecc);
    *good = code == 0 && verdict == 1;
    return code;
}

static int verify_rsa(const struct public_key *key, const struct scheme *scheme, struct der_slice message,
                      struct der_slice signature, bool *good)
{
    RsaKey rsa;
    uint8_t expected[MAX_DER_DIGEST_SZ], found[KEY_RSA_MAX_BITS / 8];
    word32 expected_size, index = 0;
    if (key->bits < KEY_RSA_MIN_BITS || key->bits > KEY_RSA_MAX_BITS ||
        signature.length != (key->bits + 7) / 8)
        return 0;
    int code = digest_info(scheme, message, expected, &expected_size);
    if (code)
        return code;
    code = wc_InitRsaKey(&rsa, NULL);
    if (code)
        return code;
    code = wc_RsaPublicKeyDecode(key->spki.data, &index, &rsa, (word32)key->spki.length);
    if (code == 0)
        code = wc_RsaSSL_Verify(signature.data, (word32)signature.length, found, sizeof found, &rsa);
    wc_FreeRsaKey(&rsa);
    if (code < 0)
        return code;
    *good = (word32)code == expected_size && memcmp(found, expected, expected_size) == 0;
    return 0;
}

static int verify_ed25519(const struct public_key *key, struct der_slice message, struct der_slice signature,
                          bool *good)
{
    ed25519_key ed;
    int verdict = 0;
    if (signature.length != ED25519_SIG_SIZE || message.length > UINT32_MAX)
        return 0;
    int code = wc_ed25519_init(&ed);
    if (code)
        return code;
    code = wc_ed25519_import_public(key->point.data, (word32)key->point.length, &ed);
    if (code == 0)
        code = wc_ed25519_verify_msg(signature.data, (word32)signature.length, message.data,
                                     (word32)message.length, &verdict, &ed);
    wc_ed25519_free(&ed);
    *good = code == 0 && verdict == 1;
    return code;
}

int signature_verify(const struct public_key *key, enum signature_algorithm algorithm,
                     struct der_slice message, struct der_slice signature, struct error *error)
{
    const struct scheme *scheme = &schemes[algorithm];
    bool good = false;
    int code = 0;
    if (algorithm == SIGNATURE_UNKNOWN)
        return error_set(error, ERROR_CRYPTO, "signature: its algorithm is not supported");
    if (scheme->key_type != key->type)
        return error_set(error, ERROR_CRYPTO, "signature: algorithm %s does not fit a key of type %s",
                         scheme->name, key_type_name(key->type));
    if (key->type == KEY_TYPE_EC)
        code = verify_ec(key, scheme, message, signature, &good);
    else if (key->type == KEY_TYPE_RSA)
        code = verify_rsa(key, scheme, message, signature, &good);
    else
        code = verify_ed25519(key, message, signature, &good);
    if (code == MEMORY_E)
        return error_set(error, ERROR_SYSTEM, "signature: out of memory while verifying");
    if (!good)
        return error_set(error, ERROR_CRYPTO, "signature: not made by this key over these bytes");
    return 0;
}

int signature_frame(struct ca_thread *thread, const struct key *key, enum signature_algorithm algorithm,
                    struct der_slice tbs, uint8_t **der, size_t *size, struct error *error)
{
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t signature_size;
    struct der_writer writer;
    int result = signature_make(thread, key, algorithm, tbs, signature, &signature_size, error);
    if (result)
        return result;
    der_writer_init(&writer);
    der_write_bit_string(&writer, signature, signature_size);
    signature_write_algorithm(&writer, algorithm);
    der_write_slice(&writer, tbs);
    der_write_header(&writer, DER_SEQUENCE, 0);
    return der_writer_take(&writer, der, size, "signed object", error);
}

int signature_unframe(struct signed_object *object, struct der_slice der, const char *what,
                      struct error *error)
{
    struct der_cursor inner;
    struct signed_object parsed = {.whole = der};
    if (der_enter_only(der, DER_SEQUENCE, &inner))
        return error_set(error, ERROR_INVALID, "%s: not DER, cut short, or followed by other bytes", what);
    if (der_expect_whole(&inner, DER_SEQUENCE, &parsed.tbs) ||
        der_expect_whole(&inner, DER_SEQUENCE, &parsed.algorithm) ||
        der_bit_string(&inner, &parsed.signature) || der_end(&inner))
        return error_set(error, ERROR_INVALID, "%s: not a SEQUENCE of content, algorithm and signature",
                         what);
    *object = parsed;
    return 0;
}

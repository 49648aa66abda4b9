/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include "agent/ca/key.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ca/curve.h"
#include "agent/ca/der_writer.h"
#include "agent/ca/digest.h"
#include "agent/ca/oid.h"
#include "agent/ca/pem.h"
#include "agent/ca/signature.h"

enum { PRIVATE_KEY_DER_MAX_BYTES = 8 << 10 };

struct key {
    struct public_key public_key; /* points into spki */
    uint8_t id[KEY_ID_BYTES];
    uint8_t *secret; /* EC: the scalar, as long as a coordinate; RSA: RSAPrivateKey; Ed25519: the seed */
    size_t secret_size;
    uint8_t *spki;
};

void key_free(struct key *key)
{
    if (!key)
        return;
    pem_free_secret(key->secret, key->secret_size);
    free(key->spki);
    free(key);
}

const struct public_key *key_public(const struct key *key)
{
    return &key->public_key;
}

enum key_type key_type(const struct key *key)
{
    return key->public_key.type;
}

unsigned key_bits(const struct key *key)
{
    return key->public_key.bits;
}

const uint8_t *key_id(const struct key *key)
{
    return key->id;
}

struct der_slice key_secret(const struct key *key)
{
    return der_slice(key->secret, key->secret_size);
}

/* AlgorithmIdentifier of a key; `curve` for EC alone. */
static void write_algorithm(struct der_writer *writer, enum key_type type, const struct curve *curve)
{
    size_t mark = der_writer_mark(writer);
    if (type == KEY_TYPE_EC) {
        der_write_oid(writer, curve->oid.data, curve->oid.length);
        der_write_oid(writer, OID(OID_EC_PUBLIC_KEY));
    } else if (type == KEY_TYPE_RSA) {
        der_write_null(writer);
        der_write_oid(writer, OID(OID_RSA));
    } else {
        der_write_oid(writer, OID(OID_ED25519));
    }
    der_write_header(writer, DER_SEQUENCE, mark);
}

/* Builds the key from its secret (copied) and its public bytes: an EC point, RSAPublicKey, or Ed25519 key. */
static int assemble(enum key_type type, const struct curve *curve, struct der_slice secret,
                    struct der_slice point, struct key **out, struct error *error)
{
    struct der_writer writer;
    size_t spki_size;
    struct key *key = calloc(1, sizeof *key);
    if (!key)
        return error_errno(error, "private key");
    der_writer_init(&writer);
    der_write_bit_string(&writer, point.data, point.length);
    write_algorithm(&writer, type, curve);
    der_write_header(&writer, DER_SEQUENCE, 0);
    int result = der_writer_take(&writer, &key->spki, &spki_size, "public key", error);
    if (result)
        goto fail;
    key->secret = malloc(secret.length);
    if (!key->secret) {
        result = error_errno(error, "private key");
        goto fail;
    }
    memcpy(key->secret, secret.data, secret.length);
    key->secret_size = secret.length;
    result = public_key_parse(&key->public_key, der_slice(key->spki, spki_size), error);
    if (result)
        goto fail;
    result = public_key_id(key->public_key.spki, key->id);
    if (result) {
        error_set(error, result, "public key: SHA-256 failed");
        goto fail;
    }
    *out = key;
    return 0;
fail:
    key_free(key);
    return result;
}

/* Takes scalar and point out of a library key that has both. */
static int from_ecc(ecc_key *ecc, const struct curve *curve, struct key **key, struct error *error)
{
    uint8_t scalar[CURVE_MAX_BYTES] = {0}, point[CURVE_POINT_MAX_BYTES];
    word32 scalar_size = (word32)curve->size_bytes, point_size = sizeof point;
    int code = wc_ecc_export_private_only(ecc, scalar, &scalar_size);
    if (code == 0)
        code = wc_ecc_export_x963(ecc, point, &point_size);
    int result;
    if (code || scalar_size != curve->size_bytes)
        result = error_set(error, ERROR_CRYPTO, "EC private key: %s", wc_GetErrorString(code));
    else
        result = assemble(KEY_TYPE_EC, curve, der_slice(scalar, scalar_size), der_slice(point, point_size),
                          key, error);
    explicit_bzero(scalar, sizeof scalar);
    return result;
}

static int generate_ec(WC_RNG *rng, const struct curve *curve, struct key **key, struct error *error)
{
    ecc_key ecc;
    int code = wc_ecc_init(&ecc);
    if (code)
        return error_set(error, ERROR_CRYPTO, "EC key: %s", wc_GetErrorString(code));
    code = wc_ecc_make_key_ex(rng, (int)curve->size_bytes, &ecc, curve->library_id);
    int result =
        code ? error_set(error, ERROR_CRYPTO, "EC key: generation failed: %s", wc_GetErrorString(code))
             : from_ecc(&ecc, curve, key, error);
    wc_ecc_free(&ecc);
    return result;
}

/* Encodes a library key; the public half is taken from the encoding, whose second and third INTEGER it is. */
static int from_rsa(RsaKey *rsa, struct key **key, struct error *error)
{
    uint8_t der[PRIVATE_KEY_DER_MAX_BYTES];
    int size = wc_RsaKeyToDer(rsa, der, sizeof der);
    if (size <= 0)
        return error_set(error, ERROR_CRYPTO, "RSA key: %s", wc_GetErrorString(size));
    struct der_cursor fields;
    struct der_slice version, modulus, exponent;
    struct der_writer writer;
    uint8_t *point = NULL;
    size_t point_size = 0;
    int result = ERROR_CRYPTO;
    if (der_enter_only(der_slice(der, (size_t)size), DER_SEQUENCE, &fields) ||
        der_integer(&fields, &version) || der_integer(&fields, &modulus) || der_integer(&fields, &exponent)) {
        error_set(error, result, "RSA key: the library encoded it badly");
        goto done;
    }
    der_writer_init(&writer);
    der_write_tlv(&writer, DER_INTEGER, exponent.data, exponent.length);
    der_write_tlv(&writer, DER_INTEGER, modulus.data, modulus.length);
    der_write_header(&writer, DER_SEQUENCE, 0);
    result = der_writer_take(&writer, &point, &point_size, "RSA public key", error);
    if (result == 0)
        result = assemble(KEY_TYPE_RSA, NULL, der_slice(der, (size_t)size), der_slice(point, point_size), key,
                          error);
    free(point);
done:
    explicit_bzero(der, sizeof der);
    return result;
}

static int generate_rsa(WC_RNG *rng, unsigned bits, struct key **key, struct error *error)
{
    RsaKey rsa;
    int code = wc_InitRsaKey(&rsa, NULL);
    if (code)
        return error_set(error, ERROR_CRYPTO, "RSA key: %s", wc_GetErrorString(code));
    code = wc_MakeRsaKey(&rsa, (int)bits, WC_RSA_EXPONENT, rng);
    int result =
        code ? error_set(error, ERROR_CRYPTO, "RSA key: generation failed: %s", wc_GetErrorString(code))
             : from_rsa(&rsa, key, error);
    wc_FreeRsaKey(&rsa);
    return result;
}

/* The public key is computed from the seed. */
static int from_ed25519_seed(struct der_slice seed, struct key **key, struct error *error)
{
    ed25519_key ed;
    uint8_t point[ED25519_PUB_KEY_SIZE];
    int code = wc_ed25519_init(&ed);
    if (code)
        return error_set(error, ERROR_CRYPTO, "Ed25519 key: %s", wc_GetErrorString(code));
    code = wc_ed25519_import_private_only(seed.data, (word32)seed.length, &ed);
    if (code == 0)
        code = wc_ed25519_make_public(&ed, point, sizeof point);
    wc_ed25519_free(&ed);
    if (code)
        return error_set(error, ERROR_CRYPTO, "Ed25519 key: %s", wc_GetErrorString(code));
    return assemble(KEY_TYPE_ED25519, NULL, seed, der_slice(point, sizeof point), key, error);
}

static int generate_ed25519(struct ca_thread *thread, struct key **key, struct error *error)
{
    uint8_t seed[ED25519_KEY_SIZE];
    int result = ca_thread_random(thread, seed, sizeof seed, error);
    if (result == 0)
        result = from_ed25519_seed(der_slice(seed, sizeof seed), key, error);
    explicit_bzero(seed, sizeof seed);
    return result;
}

int key_generate(struct ca_thread *thread, enum key_type type, unsigned bits, struct key **key,
                 struct error *error)
{
    WC_RNG *rng = ca_thread_rng(thread, error);
    if (!rng)
        return ERROR_CRYPTO;
    const struct curve *curve = curve_by_bits(bits);
    if (type == KEY_TYPE_EC && curve)
        return generate_ec(rng, curve, key, error);
    if (type == KEY_TYPE_RSA && (bits == 2048 || bits == 3072 || bits == 4096))
        return generate_rsa(rng, bits, key, error);
    if (type == KEY_TYPE_ED25519 && (bits == 0 || bits == 256))
        return generate_ed25519(thread, key, error);
    return error_set(error, ERROR_INVALID, "cannot generate a key of type %s with %u bits",
                     key_type_name(type), bits);
}

/* Whether the point found in a file is the computed one; compressed ones compare by x and parity of y. */
static bool same_point(struct der_slice found, struct der_slice computed, size_t size_bytes)
{
    if (found.length == 1 + size_bytes && (found.data[0] == 0x02 || found.data[0] == 0x03))
        return (found.data[0] & 1) == (computed.data[2 * size_bytes] & 1) &&
               memcmp(found.data + 1, computed.data + 1, size_bytes) == 0;
    return der_equal(found, computed);
}

/* Makes the key of a scalar; `point` (absent or not) is what the file says the public point is. */
static int import_scalar(struct ca_thread *thread, const struct curve *curve, struct der_slice scalar,
                         struct der_slice point, struct key **key, struct error *error)
{
    uint8_t padded[CURVE_MAX_BYTES] = {0};
    struct key *imported = NULL;
    ecc_key ecc;
    WC_RNG *rng = ca_thread_rng(thread, error);
    if (!rng)
        return ERROR_CRYPTO;
    int code = wc_ecc_init(&ecc), result = 0;
    if (code)
        return error_set(error, ERROR_CRYPTO, "EC private key: %s", wc_GetErrorString(code));
    memcpy(padded + curve->size_bytes - scalar.length, scalar.data, scalar.length);
    code = wc_ecc_import_private_key_ex(padded, (word32)curve->size_bytes, NULL, 0, &ecc, curve->library_id);
    if (code == 0)
        code = wc_ecc_make_pub_ex(&ecc, NULL, rng);
    if (code == 0)
        code = wc_ecc_check_key(&ecc);
    if (code)
        result = error_set(error, ERROR_CRYPTO, "EC private key: not a key of P-%u: %s", curve->bits,
                           wc_GetErrorString(code));
    else
        result = from_ecc(&ecc, curve, &imported, error);
    if (result == 0 && point.data && !same_point(point, imported->public_key.point, curve->size_bytes))
        result = error_set(error, ERROR_INVALID, "EC private key: its public point belongs to another key");
    wc_ecc_free(&ecc);
    explicit_bzero(padded, sizeof padded);
    if (result)
        key_free(imported);
    else
        *key = imported;
    return result;
}

/* ECPrivateKey (RFC 5915). `curve` is what an enclosing PKCS#8 says, or NULL. */
static int import_sec1(struct ca_thread *thread, struct der_slice der, const struct curve *curve,
                       struct key **key, struct error *error)
{
    struct der_cursor fields, part;
    struct der_slice scalar, oid, point = {0};
    uint64_t version;
    if (der_enter_only(der, DER_SEQUENCE, &fields) || der_unsigned(&fields, &version) || version != 1 ||
        der_expect(&fields, DER_OCTET_STRING, &scalar))
        goto malformed;
    if (der_next_is(&fields, DER_CONTEXT_CONSTRUCTED(0))) {
        if (der_enter(&fields, DER_CONTEXT_CONSTRUCTED(0), &part))
            goto malformed;
        if (der_expect(&part, DER_OID, &oid) || der_end(&part))
            return error_set(error, ERROR_INVALID,
                             "EC private key: explicit curve parameters are not supported");
        const struct curve *named = curve_by_oid(oid);
        if (curve && named != curve)
            return error_set(error, ERROR_INVALID, "EC private key: two different curves are named");
        curve = named;
    }
    if (der_next_is(&fields, DER_CONTEXT_CONSTRUCTED(1)) &&
        (der_enter(&fields, DER_CONTEXT_CONSTRUCTED(1), &part) || der_bit_string(&part, &point) ||
         der_end(&part)))
        goto malformed;
    if (der_end(&fields))
        goto malformed;
    if (!curve)
        return error_set(error, ERROR_INVALID,
                         "EC private key: no curve, or none of P-224, P-256, P-384 and P-521");
    if (scalar.length == 0 || scalar.length > curve->size_bytes)
        goto malformed;
    return import_scalar(thread, curve, scalar, point, key, error);
malformed:
    return error_set(error, ERROR_INVALID, "EC private key: malformed ECPrivateKey");
}

/* Whether the key signs what its public half verifies: a fault in the CRT values would give the key away. */
static int try_key(struct ca_thread *thread, const struct key *key, struct error *error)
{
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size;
    enum signature_algorithm algorithm = signature_default(key_type(key));
    struct der_slice message = der_slice(key->id, sizeof key->id);
    int result = signature_make(thread, key, algorithm, message, signature, &size, error);
    if (result == 0)
        result = signature_verify(&key->public_key, algorithm, message, der_slice(signature, size), error);
    if (result)
        error_at(error, "private key: its halves do not belong together");
    return result;
}

static int import_pkcs1(struct ca_thread *thread, struct der_slice der, struct key **key, struct error *error)
{
    RsaKey rsa;
    word32 index = 0;
    struct key *imported = NULL;
    int code = wc_InitRsaKey(&rsa, NULL);
    if (code)
        return error_set(error, ERROR_CRYPTO, "RSA private key: %s", wc_GetErrorString(code));
    code = wc_RsaPrivateKeyDecode(der.data, &index, &rsa, (word32)der.length);
    int result;
    if (code || index != der.length)
        result = error_set(error, ERROR_INVALID, "RSA private key: malformed RSAPrivateKey");
    else
        result = from_rsa(&rsa, &imported, error);
    wc_FreeRsaKey(&rsa);
    if (result == 0)
        result = public_key_check(&imported->public_key, error);
    if (result == 0)
        result = try_key(thread, imported, error);
    if (result)
        key_free(imported);
    else
        *key = imported;
    return result;
}

static int import_ed25519(struct der_slice wrapped, struct der_slice point, struct key **key,
                          struct error *error)
{
    struct der_cursor cursor = der_cursor(wrapped);
    struct der_slice seed;
    struct key *imported;
    if (der_expect(&cursor, DER_OCTET_STRING, &seed) || der_end(&cursor) || seed.length != ED25519_KEY_SIZE)
        return error_set(error, ERROR_INVALID, "Ed25519 private key: malformed");
    int result = from_ed25519_seed(seed, &imported, error);
    if (result)
        return result;
    if (point.data && !der_equal(point, imported->public_key.point)) {
        key_free(imported);
        return error_set(error, ERROR_INVALID, "Ed25519 private key: its public half belongs to another key");
    }
    *key = imported;
    return 0;
}

/* [1] publicKey of RFC 5958: an implicit BIT STRING. */
static int read_pkcs8_tail(struct der_cursor *fields, struct der_slice *point)
{
    if (der_next_is(fields, DER_CONTEXT_CONSTRUCTED(0)) && der_any(fields, NULL)) /* attributes */
        return ERROR_INVALID;
    if (der_next_is(fields, DER_CONTEXT(1))) {
        struct der_slice bits;
        if (der_expect(fields, DER_CONTEXT(1), &bits) || bits.length < 2 || bits.data[0] != 0)
            return ERROR_INVALID;
        *point = der_slice(bits.data + 1, bits.length - 1);
    }
    return der_end(fields);
}

/* The fields after the version of a PrivateKeyInfo or OneAsymmetricKey (RFC 5958). */
static int import_pkcs8(struct ca_thread *thread, struct der_cursor fields, struct key **key,
                        struct error *error)
{
    struct der_cursor algorithm;
    struct der_slice oid, wrapped, curve_oid, point = {0};
    if (der_enter(&fields, DER_SEQUENCE, &algorithm) || der_expect(&algorithm, DER_OID, &oid) ||
        der_expect(&fields, DER_OCTET_STRING, &wrapped) || read_pkcs8_tail(&fields, &point))
        return error_set(error, ERROR_INVALID, "private key: malformed PKCS#8");
    if (der_is(oid, OID(OID_RSA)))
        return import_pkcs1(thread, wrapped, key, error);
    if (der_is(oid, OID(OID_ED25519)))
        return import_ed25519(wrapped, point, key, error);
    if (!der_is(oid, OID(OID_EC_PUBLIC_KEY)))
        return error_set(error, ERROR_INVALID, "private key: neither EC, RSA nor Ed25519");
    if (der_expect(&algorithm, DER_OID, &curve_oid) || der_end(&algorithm) || !curve_by_oid(curve_oid))
        return error_set(error, ERROR_INVALID,
                         "EC private key: the curve is none of P-224, P-256, P-384, P-521");
    return import_sec1(thread, wrapped, curve_by_oid(curve_oid), key, error);
}

int key_import_der(struct ca_thread *thread, const uint8_t *der, size_t size, struct key **key,
                   struct error *error)
{
    struct der_slice input = der_slice(der, size);
    struct der_cursor fields;
    uint64_t version;
    if (size > PRIVATE_KEY_DER_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "private key: %zu bytes are more than %d", size,
                         PRIVATE_KEY_DER_MAX_BYTES);
    if (der_enter_only(input, DER_SEQUENCE, &fields) || der_unsigned(&fields, &version))
        return error_set(error, ERROR_INVALID, "private key: neither SEC 1, PKCS#1 nor unencrypted PKCS#8");
    /* The second field tells the three forms apart. */
    if (der_next_is(&fields, DER_SEQUENCE) && version <= 1)
        return import_pkcs8(thread, fields, key, error);
    if (der_next_is(&fields, DER_OCTET_STRING))
        return import_sec1(thread, input, NULL, key, error);
    if (der_next_is(&fields, DER_INTEGER) && version == 0)
        return import_pkcs1(thread, input, key, error);
    return error_set(error, ERROR_INVALID, "private key: neither SEC 1, PKCS#1 nor unencrypted PKCS#8");
}

static bool is_private_key_label(const char *label)
{
    return strcmp(label, PEM_PRIVATE_KEY) == 0 || strcmp(label, PEM_EC_PRIVATE_KEY) == 0 ||
           strcmp(label, PEM_RSA_PRIVATE_KEY) == 0;
}

int key_import_pem(struct ca_thread *thread, const char *text, size_t size, struct key **key,
                   struct error *error)
{
    struct pem_reader reader;
    struct pem_block block;
    struct key *found = NULL;
    int result = pem_reader_init(&reader, text, size, error);
    while (result == 0) {
        int more = pem_next(&reader, &block, error);
        if (more <= 0) {
            result = more;
            break;
        }
        if (is_private_key_label(block.label))
            result = found ? error_set(error, ERROR_INVALID, "PEM: more than one private key in the text")
                           : key_import_der(thread, block.der, block.size, &found, error);
        else if (strcmp(block.label, "ENCRYPTED PRIVATE KEY") == 0)
            result = error_set(error, ERROR_INVALID,
                               "PEM: the private key is encrypted; decrypt it first, for "
                               "example with openssl pkcs8");
        pem_block_free(&block);
    }
    if (result == 0 && !found)
        result = error_set(error, ERROR_INVALID, "PEM: no private key in the text");
    if (result)
        key_free(found);
    else
        *key = found;
    return result;
}

/* ECPrivateKey; the curve is left out inside PKCS#8, which names it already. */
static void write_sec1(struct der_writer *writer, const struct key *key, const struct curve *named)
{
    size_t mark = der_writer_mark(writer);
    size_t part = mark;
    der_write_bit_string(writer, key->public_key.point.data, key->public_key.point.length);
    der_write_header(writer, DER_CONTEXT_CONSTRUCTED(1), part);
    if (named) {
        part = der_writer_mark(writer);
        der_write_oid(writer, named->oid.data, named->oid.length);
        der_write_header(writer, DER_CONTEXT_CONSTRUCTED(0), part);
    }
    der_write_tlv(writer, DER_OCTET_STRING, key->secret, key->secret_size);
    der_write_unsigned(writer, 1);
    der_write_header(writer, DER_SEQUENCE, mark);
}

int key_export_der(const struct key *key, enum key_format format, uint8_t **der, size_t *size,
                   struct error *error)
{
    struct der_writer writer;
    enum key_type type = key_type(key);
    const struct curve *curve = type == KEY_TYPE_EC ? curve_by_bits(key_bits(key)) : NULL;
    bool pkcs8 = format == KEY_FORMAT_PKCS8 || type == KEY_TYPE_ED25519;
    der_writer_init(&writer);
    if (type == KEY_TYPE_EC)
        write_sec1(&writer, key, pkcs8 ? NULL : curve);
    else if (type == KEY_TYPE_RSA)
        der_write_slice(&writer, key_secret(key));
    else
        der_write_tlv(&writer, DER_OCTET_STRING, key->secret, key->secret_size);
    if (pkcs8) {
        der_write_header(&writer, DER_OCTET_STRING, 0);
        write_algorithm(&writer, type, curve);
        der_write_unsigned(&writer, 0);
        der_write_header(&writer, DER_SEQUENCE, 0);
    }
    return der_writer_take(&writer, der, size, "private key", error);
}

int key_export_pem(const struct key *key, enum key_format format, char **text, size_t *size,
                   struct error *error)
{
    uint8_t *der;
    size_t der_size;
    int result = key_export_der(key, format, &der, &der_size, error);
    if (result)
        return result;
    const char *label = PEM_PRIVATE_KEY;
    if (format == KEY_FORMAT_TRADITIONAL && key_type(key) == KEY_TYPE_EC)
        label = PEM_EC_PRIVATE_KEY;
    else if (format == KEY_FORMAT_TRADITIONAL && key_type(key) == KEY_TYPE_RSA)
        label = PEM_RSA_PRIVATE_KEY;
    result = pem_encode(label, der, der_size, text, size, error);
    pem_free_secret(der, der_size);
    return result;
}

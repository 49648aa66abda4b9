/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "agent/ca/public_key.h"

#include "agent/ca/curve.h"
#include "agent/ca/digest.h"
#include "agent/ca/oid.h"

enum { ED25519_POINT_BYTES = 32 };

static unsigned bit_length(struct der_slice magnitude)
{
    unsigned bits = (unsigned)(8 * magnitude.length);
    for (unsigned mask = 0x80; magnitude.length && mask && !(magnitude.data[0] & mask); mask >>= 1)
        bits--;
    return bits;
}

/* The modulus and exponent of an RSAPublicKey, as magnitudes. */
static int read_rsa(struct der_slice bytes, struct der_slice *modulus, struct der_slice *exponent)
{
    struct der_cursor inner;
    if (der_enter_only(bytes, DER_SEQUENCE, &inner) || der_integer(&inner, modulus) ||
        der_integer(&inner, exponent) || der_end(&inner) || (modulus->data[0] | exponent->data[0]) & 0x80)
        return ERROR_INVALID;
    *modulus = der_magnitude(*modulus);
    *exponent = der_magnitude(*exponent);
    return 0;
}

/* Sets type and bits from the algorithm; leaves KEY_TYPE_UNKNOWN for what is not in use. */
static int classify(struct public_key *key, struct der_slice oid, struct der_cursor parameters)
{
    if (der_is(oid, OID(OID_EC_PUBLIC_KEY))) {
        struct der_slice curve_oid;
        if (!der_next_is(&parameters, DER_OID)) /* explicit parameters */
            return 0;
        if (der_expect(&parameters, DER_OID, &curve_oid) || der_end(&parameters) || key->point.length < 2)
            return ERROR_INVALID;
        const struct curve *curve = curve_by_oid(curve_oid);
        if (!curve || key->point.data[0] == 0x02 || key->point.data[0] == 0x03) /* compressed */
            return 0;
        if (key->point.data[0] != 0x04 || key->point.length != 1 + 2 * curve->size_bytes)
            return ERROR_INVALID;
        key->type = KEY_TYPE_EC;
        key->bits = curve->bits;
    } else if (der_is(oid, OID(OID_RSA))) {
        struct der_slice modulus, exponent;
        if (der_expect(&parameters, DER_NULL, NULL) || der_end(&parameters) ||
            read_rsa(key->point, &modulus, &exponent))
            return ERROR_INVALID;
        key->type = KEY_TYPE_RSA;
        key->bits = bit_length(modulus);
    } else if (der_is(oid, OID(OID_ED25519))) {
        if (der_end(&parameters) || key->point.length != ED25519_POINT_BYTES)
            return ERROR_INVALID;
        key->type = KEY_TYPE_ED25519;
        key->bits = 256;
    }
    return 0;
}

int public_key_parse(struct public_key *key, struct der_slice spki, struct error *error)
{
    struct der_cursor outer, algorithm;
    struct der_slice oid;
    struct public_key parsed = {.spki = spki};
    if (der_enter_only(spki, DER_SEQUENCE, &outer) || der_enter(&outer, DER_SEQUENCE, &algorithm) ||
        der_bit_string(&outer, &parsed.point) || der_end(&outer) || der_expect(&algorithm, DER_OID, &oid) ||
        classify(&parsed, oid, algorithm))
        return error_set(error, ERROR_INVALID, "public key: malformed SubjectPublicKeyInfo");
    *key = parsed;
    return 0;
}

static int check_ec(const struct public_key *key, struct error *error)
{
    ecc_key ecc;
    int code = wc_ecc_init(&ecc);
    if (code == 0) {
        code = wc_ecc_import_x963_ex(key->point.data, (word32)key->point.length, &ecc,
                                     curve_by_bits(key->bits)->library_id);
        if (code == 0) /* the import takes any coordinates; only this looks at the curve */
            code = wc_ecc_check_key(&ecc);
        wc_ecc_free(&ecc);
    }
    if (code)
        return error_set(error, ERROR_CRYPTO, "public key: not a point of curve P-%u (%s)", key->bits,
                         wc_GetErrorString(code));
    return 0;
}

static int check_rsa(const struct public_key *key, struct error *error)
{
    struct der_slice modulus, exponent;
    if (key->bits < KEY_RSA_MIN_BITS || key->bits > KEY_RSA_MAX_BITS)
        return error_set(error, ERROR_INVALID, "public key: RSA of %u bits; %d to %d are accepted", key->bits,
                         KEY_RSA_MIN_BITS, KEY_RSA_MAX_BITS);
    if (read_rsa(key->point, &modulus, &exponent) || !(modulus.data[modulus.length - 1] & 1))
        return error_set(error, ERROR_INVALID, "public key: the RSA modulus is even");
    bool odd = exponent.data[exponent.length - 1] & 1;
    if (!odd || exponent.length > 4 || (exponent.length == 1 && exponent.data[0] < 3))
        return error_set(error, ERROR_INVALID,
                         "public key: the RSA exponent must be odd, at least 3 and of at "
                         "most 32 bits");
    return 0;
}

int public_key_check(const struct public_key *key, struct error *error)
{
    switch (key->type) {
    case KEY_TYPE_EC:
        return check_ec(key, error);
    case KEY_TYPE_RSA:
        return check_rsa(key, error);
    case KEY_TYPE_ED25519:
        return 0; /* any 32 bytes are a key; one without a point verifies nothing */
    case KEY_TYPE_UNKNOWN:
        break;
    }
    return error_set(
        error, ERROR_INVALID,
        "public key: not a supported kind (EC P-224, P-256, P-384, P-521 with an uncompressed point, "
        "RSA, Ed25519)");
}

int public_key_id(struct der_slice spki, uint8_t id[KEY_ID_BYTES])
{
    return digest_sha256(spki.data, spki.length, id);
}

const char *key_type_name(enum key_type type)
{
    switch (type) {
    case KEY_TYPE_EC:
        return "ec";
    case KEY_TYPE_RSA:
        return "rsa";
    case KEY_TYPE_ED25519:
        return "ed25519";
    case KEY_TYPE_UNKNOWN:
        break;
    }
    return "unknown";
}

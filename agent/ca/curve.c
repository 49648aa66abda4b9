/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include "agent/ca/curve.h"

#include "agent/ca/oid.h"

#define CURVE_OID(name) \
    {                   \
        OID(name)       \
    }

static const struct curve curves[] = {
    {224, 28, CURVE_OID(OID_P224), ECC_SECP224R1},
    {256, 32, CURVE_OID(OID_P256), ECC_SECP256R1},
    {384, 48, CURVE_OID(OID_P384), ECC_SECP384R1},
    {521, 66, CURVE_OID(OID_P521), ECC_SECP521R1},
};

const struct curve *curve_by_bits(unsigned bits)
{
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (curves[i].bits == bits)
            return &curves[i];
    return NULL;
}

const struct curve *curve_by_oid(struct der_slice oid)
{
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (der_equal(curves[i].oid, oid))
            return &curves[i];
    return NULL;
}

/* SPDX-License-Identifier: MIT */
/* The elliptic curves in use. The library is always told a curve by its id: a size alone may pick another. */
#ifndef AGENT_CA_CURVE_H
#define AGENT_CA_CURVE_H

#include "agent/der.h"

enum { CURVE_MAX_BYTES = 66, CURVE_POINT_MAX_BYTES = 1 + 2 * CURVE_MAX_BYTES };

struct curve {
    unsigned bits;
    size_t size_bytes; /* of a coordinate and of a private scalar */
    struct der_slice oid;
    int library_id; /* the library's ecc_curve_id */
};

/* NULL when there is no such curve. The result is constant. */
const struct curve *curve_by_bits(unsigned bits);
const struct curve *curve_by_oid(struct der_slice oid);

#endif

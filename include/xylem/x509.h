/* SPDX-License-Identifier: MIT */
/*
 * xylem/x509.h: finds in a peer's certificate what authorization needs.
 *
 * Before you use it:
 * - It verifies nothing. The signature, the chain, validity, name constraints, extended key usage and unknown
 *   critical extensions are the TLS stack's business: call this after the handshake has accepted the
 * certificate.
 * - It checks the frame that it walks (X.509 v3, strict DER) and what RFC 5280 and the X.509-SVID rules ask
 * of the fields that it reads. Names, validity, the public key and extensions other than subjectAltName,
 *   authorityKeyIdentifier, basicConstraints and keyUsage are stepped over by their length, not opened.
 * - A URI here is a non-empty run of printable ASCII. Whether it is a SPIFFE ID, and whose, is for the
 * caller.
 * - Results are views into the caller's buffer and live exactly as long as it does; nothing is
 * NUL-terminated.
 * - No allocation, no recursion, no system call, no state: any thread, and a signal handler too.
 *
 * C (gnu11) and C++ (gnu++17), nothing but libc.
 */
#ifndef XYLEM_X509_H
#define XYLEM_X509_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A longer certificate is refused unread. Two length octets suffice for every element of a shorter one. */
#define XYLEM_X509_SIZE_MAX 65536

/* RFC 5280 section 4.1.2.2: serial numbers have at most 20 octets; the zero octet that keeps one positive is
 * extra. */
#define XYLEM_X509_SERIAL_SIZE_MAX 20

/* X(NAME, code, text): every way to refuse a certificate. Codes are part of the API and never reused. */
#define XYLEM_X509_ERRORS(X)                                                                      \
    X(TRUNCATED, -1, "TRUNCATED: an element runs past the end of what holds it")                  \
    X(LENGTH, -2, "LENGTH: a length is indefinite, not minimal, or wrong for its type")           \
    X(TAG, -3, "TAG: an element is not of the type that belongs there")                           \
    X(TRAILING, -4, "TRAILING: bytes follow where an element should end")                         \
    X(TOO_LARGE, -5, "TOO_LARGE: the certificate is larger than 64 KiB")                          \
    X(VERSION, -6, "VERSION: the certificate is not X.509 version 3")                             \
    X(SERIAL, -7, "SERIAL: the serial number is empty, zero, negative or not minimal")            \
    X(SERIAL_LONG, -8, "SERIAL_LONG: the serial number is longer than 20 bytes")                  \
    X(BOOLEAN, -9, "BOOLEAN: a boolean is not a DER TRUE (FALSE, the default, must be left out)") \
    X(DUPLICATE, -10, "DUPLICATE: an extension occurs twice")                                     \
    X(NO_URI, -11, "NO_URI: there is no URI in the subject alternative names")                    \
    X(MANY_URIS, -12, "MANY_URIS: there is more than one URI in the subject alternative names")   \
    X(EMPTY_URI, -13, "EMPTY_URI: the URI in the subject alternative names is empty")             \
    X(URI_BYTES, -14, "URI_BYTES: the URI holds a byte that is not printable ASCII")              \
    X(CA, -15, "CA: this is the certificate of a certificate authority, not a leaf")              \
    X(SIGNER, -16, "SIGNER: the key usage lets this leaf sign certificates or revocation lists")

#define XYLEM_X509_ENUMERATOR(name, code, text) XYLEM_X509_##name = code,
enum xylem_x509_error { XYLEM_X509_OK = 0, XYLEM_X509_ERRORS(XYLEM_X509_ENUMERATOR) };
#undef XYLEM_X509_ENUMERATOR

/* A view into the caller's buffer. */
struct xylem_slice {
    const uint8_t *data;
    size_t size;
};

struct xylem_peer {
    struct xylem_slice uri;           /* the only URI among the subject alternative names; 1 byte or more */
    struct xylem_slice serial;        /* magnitude, big-endian, without leading zeros; 1 to 20 bytes */
    struct xylem_slice issuer_key_id; /* keyIdentifier of the AuthorityKeyIdentifier; size 0 if absent */
};

/* Says what a code of this header means.
 * Lifetime: a constant string.
 * Threads:  any.
 * Returns:  the text, never NULL; unknown codes have one of their own. */
static inline const char *xylem_x509_strerror(int code)
{
    switch (code) {
    case XYLEM_X509_OK:
        return "OK: the certificate can be used";
#define XYLEM_X509_CASE(name, number, text) \
case number:                                \
    return text;
        XYLEM_X509_ERRORS(XYLEM_X509_CASE)
#undef XYLEM_X509_CASE
    default:
        return "unknown code";
    }
}

/*
 * From here to xylem_x509_peer(): the walker's parts. They are not API and may change.
 *
 * A cursor is the slice of what has not been read yet. Each step compares a length with what is left before
 * it moves, so nothing is ever added that could wrap; each loop takes at least two bytes from its cursor per
 * round.
 */

enum {
    XYLEM_DER_BOOLEAN = 0x01,
    XYLEM_DER_INTEGER = 0x02,
    XYLEM_DER_BIT_STRING = 0x03,
    XYLEM_DER_OCTET_STRING = 0x04,
    XYLEM_DER_OID = 0x06,
    XYLEM_DER_SEQUENCE = 0x30,
    XYLEM_DER_CONTEXT = 0x80,            /* [n] with an IMPLICIT primitive type is CONTEXT | n */
    XYLEM_DER_CONTEXT_CONSTRUCTED = 0xa0 /* [n] with an EXPLICIT or a constructed type is this | n */
};

/* Takes one element, whatever it is, off the cursor. */
static inline int xylem_der_any(struct xylem_slice *cursor, unsigned *tag, struct xylem_slice *value)
{
    const uint8_t *at = cursor->data;
    size_t left = cursor->size;
    if (left < 2)
        return XYLEM_X509_TRUNCATED;
    if ((at[0] & 0x1f) == 0x1f)
        return XYLEM_X509_TAG; /* The form for tag numbers from 31 up: X.509 has none. */

    size_t header = 2;
    size_t length = at[1];
    if (length >= 0x80) {
        size_t octets = length - 0x80;
        if (octets < 1 || octets > 2)
            return XYLEM_X509_LENGTH; /* 0 is the indefinite form; 3 or more cannot be minimal within the
                                         limit. */
        if (octets > left - header)
            return XYLEM_X509_TRUNCATED;
        length = octets == 1 ? at[2] : (size_t)at[2] << 8 | at[3];
        if (length < (octets == 1 ? 0x80u : 0x100u))
            return XYLEM_X509_LENGTH;
        header += octets;
    }
    if (length > left - header)
        return XYLEM_X509_TRUNCATED;

    *tag = at[0];
    value->data = at + header;
    value->size = length;
    cursor->data = value->data + length;
    cursor->size = left - header - length;
    return XYLEM_X509_OK;
}

/* Takes one element of the given type off the cursor. */
static inline int xylem_der_take(struct xylem_slice *cursor, unsigned tag, struct xylem_slice *value)
{
    unsigned found;
    int rc = xylem_der_any(cursor, &found, value);
    if (rc == XYLEM_X509_OK && found != tag)
        rc = XYLEM_X509_TAG;
    return rc;
}

/* Steps over an OPTIONAL element of the given type if it comes next. */
static inline int xylem_der_skip_optional(struct xylem_slice *cursor, unsigned tag)
{
    struct xylem_slice ignored;
    if (cursor->size == 0 || cursor->data[0] != tag)
        return XYLEM_X509_OK;
    return xylem_der_take(cursor, tag, &ignored);
}

/* Opens what must be exactly one element of the given type from end to end. */
static inline int xylem_der_whole(struct xylem_slice input, unsigned tag, struct xylem_slice *value)
{
    int rc = xylem_der_take(&input, tag, value);
    if (rc == XYLEM_X509_OK && input.size != 0)
        rc = XYLEM_X509_TRAILING;
    return rc;
}

/* Takes a BOOLEAN DEFAULT FALSE off the cursor: DER writes it only when it is TRUE (X.690 section 11.5). */
static inline int xylem_der_default_false(struct xylem_slice *cursor, int *present)
{
    struct xylem_slice value;
    *present = cursor->size != 0 && cursor->data[0] == XYLEM_DER_BOOLEAN;
    if (!*present)
        return XYLEM_X509_OK;
    int rc = xylem_der_take(cursor, XYLEM_DER_BOOLEAN, &value);
    if (rc == XYLEM_X509_OK && (value.size != 1 || value.data[0] != 0xff))
        rc = XYLEM_X509_BOOLEAN;
    return rc;
}

/* Version ::= [0] EXPLICIT INTEGER DEFAULT v1, and v3 is 2. */
static inline int xylem_x509_read_version(struct xylem_slice *tbs)
{
    struct xylem_slice wrapper, value;
    if (tbs->size != 0 && tbs->data[0] == XYLEM_DER_INTEGER)
        return XYLEM_X509_VERSION; /* Left out: the serial number comes first, so this is version 1. */
    int rc = xylem_der_take(tbs, XYLEM_DER_CONTEXT_CONSTRUCTED | 0, &wrapper);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_whole(wrapper, XYLEM_DER_INTEGER, &value);
    if (rc == XYLEM_X509_OK && (value.size != 1 || value.data[0] != 2))
        rc = XYLEM_X509_VERSION;
    return rc;
}

/* The value of a minimal, positive INTEGER has no zero in front once the one for the sign is gone. Zero
 * itself is refused with the rest: RFC 5280 forbids it, and an empty magnitude must not reach a revocation
 * table. */
static inline int xylem_x509_read_serial(struct xylem_slice *tbs, struct xylem_slice *serial)
{
    struct xylem_slice value;
    int rc = xylem_der_take(tbs, XYLEM_DER_INTEGER, &value);
    if (rc != XYLEM_X509_OK)
        return rc;
    if (value.size == 0 || value.data[0] >= 0x80)
        return XYLEM_X509_SERIAL;
    if (value.data[0] == 0) {
        if (value.size == 1 || value.data[1] < 0x80)
            return XYLEM_X509_SERIAL;
        value.data++;
        value.size--;
    }
    if (value.size > XYLEM_X509_SERIAL_SIZE_MAX)
        return XYLEM_X509_SERIAL_LONG;
    *serial = value;
    return XYLEM_X509_OK;
}

/* Printable is 0x21 to 0x7e. NUL, controls and non-ASCII bytes have hidden one name in another before; a
 * space has no place in a URI either (RFC 3986 section 2). */
static inline int xylem_x509_check_uri(struct xylem_slice uri)
{
    unsigned bad = 0;
    if (uri.size == 0)
        return XYLEM_X509_EMPTY_URI;
    for (size_t i = 0; i < uri.size; i++)
        bad |= (unsigned)(uri.data[i] < 0x21) | (unsigned)(uri.data[i] > 0x7e);
    return bad ? XYLEM_X509_URI_BYTES : XYLEM_X509_OK;
}

/* GeneralName is a CHOICE of [0] to [8] (RFC 5280 section 4.2.1.6), each in one form only: a URI in the
 * constructed form, say, could be one to the TLS stack and none to us. */
static inline int xylem_x509_is_general_name(unsigned tag)
{
    switch (tag) {
    case XYLEM_DER_CONTEXT_CONSTRUCTED | 0: /* otherName */
    case XYLEM_DER_CONTEXT | 1:             /* rfc822Name */
    case XYLEM_DER_CONTEXT | 2:             /* dNSName */
    case XYLEM_DER_CONTEXT_CONSTRUCTED | 3: /* x400Address */
    case XYLEM_DER_CONTEXT_CONSTRUCTED | 4: /* directoryName */
    case XYLEM_DER_CONTEXT_CONSTRUCTED | 5: /* ediPartyName */
    case XYLEM_DER_CONTEXT | 6:             /* uniformResourceIdentifier */
    case XYLEM_DER_CONTEXT | 7:             /* iPAddress */
    case XYLEM_DER_CONTEXT | 8:             /* registeredID */
        return 1;
    default:
        return 0;
    }
}

/* SubjectAltName: any number of names, exactly one of them a URI (X.509-SVID). None at all is noticed at the
 * end, because the extension itself may be missing. */
static inline int xylem_x509_read_names(struct xylem_slice extension, struct xylem_slice *uri)
{
    struct xylem_slice names;
    int rc = xylem_der_whole(extension, XYLEM_DER_SEQUENCE, &names);
    while (rc == XYLEM_X509_OK && names.size != 0) {
        struct xylem_slice name;
        unsigned tag;
        rc = xylem_der_any(&names, &tag, &name);
        if (rc != XYLEM_X509_OK)
            return rc;
        if (!xylem_x509_is_general_name(tag))
            return XYLEM_X509_TAG;
        if (tag != (XYLEM_DER_CONTEXT | 6))
            continue;
        if (uri->size != 0)
            return XYLEM_X509_MANY_URIS;
        rc = xylem_x509_check_uri(name);
        *uri = name;
    }
    return rc;
}

/* AuthorityKeyIdentifier: [0] keyIdentifier, [1] authorityCertIssuer, [2] authorityCertSerialNumber, all
 * optional. */
static inline int xylem_x509_read_issuer_key_id(struct xylem_slice extension, struct xylem_slice *key_id)
{
    struct xylem_slice fields;
    int rc = xylem_der_whole(extension, XYLEM_DER_SEQUENCE, &fields);
    if (rc == XYLEM_X509_OK && fields.size != 0 && fields.data[0] == (XYLEM_DER_CONTEXT | 0))
        rc = xylem_der_take(&fields, XYLEM_DER_CONTEXT | 0, key_id);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_skip_optional(&fields, XYLEM_DER_CONTEXT_CONSTRUCTED | 1);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_skip_optional(&fields, XYLEM_DER_CONTEXT | 2);
    if (rc == XYLEM_X509_OK && fields.size != 0)
        rc = XYLEM_X509_TAG;
    return rc;
}

/* BasicConstraints: cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL. */
static inline int xylem_x509_refuse_ca(struct xylem_slice extension)
{
    struct xylem_slice fields;
    int ca = 0;
    int rc = xylem_der_whole(extension, XYLEM_DER_SEQUENCE, &fields);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_default_false(&fields, &ca);
    if (rc == XYLEM_X509_OK && ca)
        rc = XYLEM_X509_CA;
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_skip_optional(&fields, XYLEM_DER_INTEGER);
    if (rc == XYLEM_X509_OK && fields.size != 0)
        rc = XYLEM_X509_TAG;
    return rc;
}

/* KeyUsage: a count of unused bits, then bits from the top; at least one is set (RFC 5280 section 4.2.1.3),
 * and there are nine. An X.509-SVID leaf has neither keyCertSign (5) nor cRLSign (6). */
static inline int xylem_x509_refuse_signer(struct xylem_slice extension)
{
    struct xylem_slice bits;
    int rc = xylem_der_whole(extension, XYLEM_DER_BIT_STRING, &bits);
    if (rc != XYLEM_X509_OK)
        return rc;
    if (bits.size < 2 || bits.size > 3)
        return XYLEM_X509_LENGTH;
    return bits.data[1] & (0x80 >> 5 | 0x80 >> 6) ? XYLEM_X509_SIGNER : XYLEM_X509_OK;
}

/* Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING
 * }. *seen has one bit per extension that is read here, by the last arc of its id-ce identifier. */
static inline int xylem_x509_read_extension(struct xylem_slice fields, uint64_t *seen,
                                            struct xylem_peer *peer)
{
    enum { KEY_USAGE = 15, SUBJECT_ALT_NAME = 17, BASIC_CONSTRAINTS = 19, AUTHORITY_KEY_ID = 35 };
    struct xylem_slice oid, value;
    int critical;
    int rc = xylem_der_take(&fields, XYLEM_DER_OID, &oid);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_default_false(&fields, &critical);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_whole(fields, XYLEM_DER_OCTET_STRING, &value);
    if (rc != XYLEM_X509_OK)
        return rc;

    if (oid.size != 3 || oid.data[0] != 0x55 || oid.data[1] != 0x1d || oid.data[2] > 63)
        return XYLEM_X509_OK; /* Not id-ce (2.5.29), or none that matters here. */
    uint64_t bit = UINT64_C(1) << oid.data[2];
    if (*seen & bit)
        return XYLEM_X509_DUPLICATE;
    *seen |= bit;
    switch (oid.data[2]) {
    case KEY_USAGE:
        return xylem_x509_refuse_signer(value);
    case SUBJECT_ALT_NAME:
        return xylem_x509_read_names(value, &peer->uri);
    case BASIC_CONSTRAINTS:
        return xylem_x509_refuse_ca(value);
    case AUTHORITY_KEY_ID:
        return xylem_x509_read_issuer_key_id(value, &peer->issuer_key_id);
    default:
        return XYLEM_X509_OK;
    }
}

/* [3] EXPLICIT SEQUENCE OF Extension, the last field of TBSCertificate. */
static inline int xylem_x509_read_extensions(struct xylem_slice tbs, struct xylem_peer *peer)
{
    struct xylem_slice wrapper, list;
    uint64_t seen = 0;
    if (tbs.size == 0)
        return XYLEM_X509_NO_URI;
    int rc = xylem_der_whole(tbs, XYLEM_DER_CONTEXT_CONSTRUCTED | 3, &wrapper);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_whole(wrapper, XYLEM_DER_SEQUENCE, &list);
    while (rc == XYLEM_X509_OK && list.size != 0) {
        struct xylem_slice extension;
        rc = xylem_der_take(&list, XYLEM_DER_SEQUENCE, &extension);
        if (rc == XYLEM_X509_OK)
            rc = xylem_x509_read_extension(extension, &seen, peer);
    }
    if (rc == XYLEM_X509_OK && peer->uri.size == 0)
        rc = XYLEM_X509_NO_URI;
    return rc;
}

/* TBSCertificate (RFC 5280 section 4.1). */
static inline int xylem_x509_read_tbs(struct xylem_slice tbs, struct xylem_peer *peer)
{
    struct xylem_slice ignored;
    int rc = xylem_x509_read_version(&tbs);
    if (rc == XYLEM_X509_OK)
        rc = xylem_x509_read_serial(&tbs, &peer->serial);
    /* signature, issuer, validity, subject, subjectPublicKeyInfo */
    for (int i = 0; rc == XYLEM_X509_OK && i < 5; i++)
        rc = xylem_der_take(&tbs, XYLEM_DER_SEQUENCE, &ignored);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_skip_optional(&tbs, XYLEM_DER_CONTEXT | 1); /* issuerUniqueID */
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_skip_optional(&tbs, XYLEM_DER_CONTEXT | 2); /* subjectUniqueID */
    if (rc == XYLEM_X509_OK)
        rc = xylem_x509_read_extensions(tbs, peer);
    return rc;
}

/* Finds the URI, the serial number and the issuer's key identifier in a leaf certificate.
 * Units:    size in bytes; der may be NULL if size is 0. The certificate fills the buffer to its end.
 * Lifetime: *out holds views into der, good as long as der is; on failure *out is untouched.
 * Threads:  any, also a signal handler; nothing is written but *out.
 * Returns:  0 or a negative XYLEM_X509_* code. It verifies no signature: see the top. */
__attribute__((warn_unused_result)) static inline int xylem_x509_peer(const void *der, size_t size,
                                                                      struct xylem_peer *out)
{
    struct xylem_slice input = {(const uint8_t *)der, size};
    struct xylem_slice certificate, tbs, ignored;
    struct xylem_peer peer;
    if (size > XYLEM_X509_SIZE_MAX)
        return XYLEM_X509_TOO_LARGE;
    memset(&peer, 0, sizeof(peer));

    int rc = xylem_der_whole(input, XYLEM_DER_SEQUENCE, &certificate);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_take(&certificate, XYLEM_DER_SEQUENCE, &tbs);
    if (rc == XYLEM_X509_OK)
        rc = xylem_x509_read_tbs(tbs, &peer);
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_take(&certificate, XYLEM_DER_SEQUENCE, &ignored); /* signatureAlgorithm */
    if (rc == XYLEM_X509_OK)
        rc = xylem_der_whole(certificate, XYLEM_DER_BIT_STRING, &ignored); /* signatureValue */
    if (rc == XYLEM_X509_OK)
        *out = peer;
    return rc;
}

#endif

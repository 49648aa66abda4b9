/* SPDX-License-Identifier: MIT */
/* Encoded OBJECT IDENTIFIER contents; pass as OID(NAME) where a function takes bytes and length. */
#ifndef AGENT_CA_OID_H
#define AGENT_CA_OID_H

#define OID(name) (const uint8_t *)(name), sizeof(name) - 1

/* X.509 extensions (RFC 5280, 4.2 and 5.2). */
#define OID_SUBJECT_KEY_ID     "\x55\x1d\x0e"
#define OID_KEY_USAGE          "\x55\x1d\x0f"
#define OID_SUBJECT_ALT_NAME   "\x55\x1d\x11"
#define OID_BASIC_CONSTRAINTS  "\x55\x1d\x13"
#define OID_CRL_NUMBER         "\x55\x1d\x14"
#define OID_CRL_REASON         "\x55\x1d\x15"
#define OID_DELTA_CRL          "\x55\x1d\x1b"
#define OID_ISSUING_DIST_POINT "\x55\x1d\x1c"
#define OID_CERTIFICATE_ISSUER "\x55\x1d\x1d"
#define OID_NAME_CONSTRAINTS   "\x55\x1d\x1e"
#define OID_AUTHORITY_KEY_ID   "\x55\x1d\x23"
#define OID_EXT_KEY_USAGE      "\x55\x1d\x25"
#define OID_ANY_EXT_KEY_USAGE  "\x55\x1d\x25\x00"
#define OID_SERVER_AUTH        "\x2b\x06\x01\x05\x05\x07\x03\x01"
#define OID_CLIENT_AUTH        "\x2b\x06\x01\x05\x05\x07\x03\x02"

/* Names and PKCS#9 attributes. */
#define OID_COMMON_NAME        "\x55\x04\x03"
#define OID_EMAIL_ADDRESS      "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"
#define OID_CHALLENGE_PASSWORD "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"
#define OID_EXTENSION_REQUEST  "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"

/* Keys and curves. */
#define OID_EC_PUBLIC_KEY "\x2a\x86\x48\xce\x3d\x02\x01"
#define OID_P256          "\x2a\x86\x48\xce\x3d\x03\x01\x07"
#define OID_P224          "\x2b\x81\x04\x00\x21"
#define OID_P384          "\x2b\x81\x04\x00\x22"
#define OID_P521          "\x2b\x81\x04\x00\x23"
#define OID_RSA           "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define OID_ED25519       "\x2b\x65\x70"

/* Signatures. */
#define OID_ECDSA_SHA256 "\x2a\x86\x48\xce\x3d\x04\x03\x02"
#define OID_ECDSA_SHA384 "\x2a\x86\x48\xce\x3d\x04\x03\x03"
#define OID_ECDSA_SHA512 "\x2a\x86\x48\xce\x3d\x04\x03\x04"
#define OID_RSA_SHA256   "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
#define OID_RSA_SHA384   "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
#define OID_RSA_SHA512   "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"

#endif

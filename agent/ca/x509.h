/* SPDX-License-Identifier: MIT */
/* The parsed view of a certificate (RFC 5280). It borrows from the caller's DER, which must outlive it; it
 * allocates nothing. Parsing judges form only: trust is path.h's business. */
#ifndef AGENT_CA_X509_H
#define AGENT_CA_X509_H

#include "agent/ca/general_name.h"
#include "agent/ca/public_key.h"
#include "agent/ca/signature.h"

enum {
    X509_DER_MAX_BYTES = 64 << 10,
    X509_SERIAL_MAX_BYTES = 20, /* of the magnitude */
    X509_ID_TEXT_BYTES = 96, /* colon hex of 32 bytes with its NUL; enough for SKIs, serials and root ids */
};

/* KeyUsage: bit n is bit n of the ASN.1 list. */
enum {
    X509_DIGITAL_SIGNATURE = 1 << 0,
    X509_CONTENT_COMMITMENT = 1 << 1,
    X509_KEY_ENCIPHERMENT = 1 << 2,
    X509_DATA_ENCIPHERMENT = 1 << 3,
    X509_KEY_AGREEMENT = 1 << 4,
    X509_KEY_CERT_SIGN = 1 << 5,
    X509_CRL_SIGN = 1 << 6,
};

/* Extended key usages that matter here. */
enum {
    X509_EKU_SERVER_AUTH = 1 << 0,
    X509_EKU_CLIENT_AUTH = 1 << 1,
    X509_EKU_ANY = 1 << 2,
    X509_EKU_OTHER = 1 << 3,
};

/* An extension that is present has value.data set: the content of its OCTET STRING. */
struct x509_extension {
    struct der_slice value;
    bool critical;
};

struct x509 {
    struct signed_object object; /* whole certificate, TBS, algorithm, signature */
    enum signature_algorithm algorithm;
    struct der_slice serial;          /* magnitude, big-endian, at least one byte */
    struct der_slice issuer, subject; /* complete Names */
    bool subject_is_empty;
    int64_t not_before, not_after; /* unix seconds, both inclusive */
    struct public_key public_key;
    struct der_slice subject_key_id, authority_key_id; /* raw bytes; data NULL when absent */

    struct x509_extension key_usage_extension;
    uint32_t key_usage; /* meaningful only when the extension is present */
    struct x509_extension eku_extension;
    unsigned eku;
    struct x509_extension basic_constraints_extension;
    bool is_ca;
    int path_length; /* -1: no limit */
    struct x509_extension san_extension;
    unsigned uri_count, dns_count, email_count, ip_count, other_name_count;
    struct x509_extension name_constraints_extension;
    /* The first critical extension that is none of the above (its OID), and how many there are. A certificate
     * with one must not be relied on. */
    struct der_slice unknown_critical;
    unsigned unknown_critical_count;
};

/* Parses exactly one certificate, v3 (v1 without extensions is read too). Refuses bytes after it, repeated
 * extensions, an empty SAN or EKU, malformed addresses, names with NUL or non-ASCII text, negative or
 * over-long serials, and an inner algorithm that differs from the outer. */
int x509_parse(struct x509 *certificate, const void *der, size_t size, struct error *error);

/* A cursor over the SANs for general_name_read(..., false); empty when there are none. */
struct der_cursor x509_names(const struct x509 *certificate);
/* The value of the only URI SAN; absent (data NULL) unless there is exactly one. */
struct der_slice x509_only_uri(const struct x509 *certificate);
/* The first common name of the subject as text; false when there is none or it does not fit or is not
 * printable ASCII. For messages and compatibility, never for decisions. */
bool x509_common_name(const struct x509 *certificate, char *text, size_t size);
/* A short description of the subject for messages: its URI, common name, or serial. */
void x509_describe(const struct x509 *certificate, char *text, size_t size);

/* Whether `unix_sec` is within the validity, ends included. */
bool x509_is_valid_at(const struct x509 *certificate, int64_t unix_sec);
/* Whether `issuer`'s key made the certificate's signature. */
int x509_verify_signature(const struct x509 *certificate, const struct public_key *issuer,
                          struct error *error);

/* Texts of Consul's API. Pairs of lower-case hex digits joined by ':'; `text` has room for 3 * size bytes
 * (at least 1). */
void x509_colon_hex(const uint8_t *bytes, size_t size, char *text);
/* Root id: SHA-1 of the DER. */
int x509_root_id(const struct x509 *certificate, char text[X509_ID_TEXT_BYTES]);
/* Low 64 bits of the serial: what Consul shows as SerialNumber of a root. */
uint64_t x509_serial_low64(const struct x509 *certificate);

#endif

/* SPDX-License-Identifier: MIT */
#include "agent/ca/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ca/extension.h"
#include "agent/ca/oid.h"

enum { UID_MAX_CHARACTERS = 8, CLUSTER_ID_PREFIX = 8 };

enum {
    KEY_USAGE_CA = X509_DIGITAL_SIGNATURE | X509_KEY_CERT_SIGN | X509_CRL_SIGN,
    KEY_USAGE_LEAF =
        X509_DIGITAL_SIGNATURE | X509_KEY_ENCIPHERMENT | X509_DATA_ENCIPHERMENT | X509_KEY_AGREEMENT,
};

/* Everything that differs between the profiles; absent slices leave the extension out. */
struct profile {
    enum signature_algorithm algorithm;
    struct der_slice issuer, subject; /* complete Names */
    struct der_slice spki, subject_key_id, authority_key_id;
    uint32_t key_usage; /* 0: no extension */
    bool is_ca;
    int path_length;                             /* -1: none */
    struct der_slice eku, san, name_constraints; /* extension values */
    bool san_critical, name_constraints_critical;
};

static void write_raw_extension(struct der_writer *writer, const uint8_t *oid, size_t oid_length,
                                bool critical, struct der_slice value)
{
    size_t mark = der_writer_mark(writer);
    if (!value.data)
        return;
    der_write_slice(writer, value);
    extension_end(writer, oid, oid_length, critical, mark);
}

static void write_basic_constraints(struct der_writer *writer, bool is_ca, int path_length)
{
    size_t mark = der_writer_mark(writer);
    if (is_ca && path_length >= 0)
        der_write_unsigned(writer, (uint64_t)path_length);
    if (is_ca)
        der_write_boolean(writer, true);
    der_write_header(writer, DER_SEQUENCE, mark);
    extension_end(writer, OID(OID_BASIC_CONSTRAINTS), true, mark);
}

static void write_key_ids(struct der_writer *writer, const struct profile *profile)
{
    size_t mark = der_writer_mark(writer);
    der_write_tlv(writer, DER_CONTEXT(0), profile->authority_key_id.data, profile->authority_key_id.length);
    der_write_header(writer, DER_SEQUENCE, mark);
    extension_end(writer, OID(OID_AUTHORITY_KEY_ID), false, mark);
    mark = der_writer_mark(writer);
    der_write_tlv(writer, DER_OCTET_STRING, profile->subject_key_id.data, profile->subject_key_id.length);
    extension_end(writer, OID(OID_SUBJECT_KEY_ID), false, mark);
}

static void write_extensions(struct der_writer *writer, const struct profile *profile)
{
    size_t mark = der_writer_mark(writer);
    write_raw_extension(writer, OID(OID_NAME_CONSTRAINTS), profile->name_constraints_critical,
                        profile->name_constraints);
    write_raw_extension(writer, OID(OID_SUBJECT_ALT_NAME), profile->san_critical, profile->san);
    write_key_ids(writer, profile);
    write_basic_constraints(writer, profile->is_ca, profile->path_length);
    write_raw_extension(writer, OID(OID_EXT_KEY_USAGE), false, profile->eku);
    if (profile->key_usage) {
        size_t usage = der_writer_mark(writer);
        der_write_named_bits(writer, profile->key_usage);
        extension_end(writer, OID(OID_KEY_USAGE), true, usage);
    }
    der_write_header(writer, DER_SEQUENCE, mark);
    der_write_header(writer, DER_CONTEXT_CONSTRUCTED(3), mark);
}

static void write_tbs(struct der_writer *writer, const struct profile *profile,
                      const struct certificate_terms *terms)
{
    write_extensions(writer, profile);
    der_write_slice(writer, profile->spki);
    der_write_slice(writer, profile->subject);
    size_t mark = der_writer_mark(writer);
    der_write_time(writer, terms->not_after);
    der_write_time(writer, terms->not_before);
    der_write_header(writer, DER_SEQUENCE, mark);
    der_write_slice(writer, profile->issuer);
    signature_write_algorithm(writer, profile->algorithm);
    if (terms->serial_bytes.data)
        der_write_magnitude(writer, terms->serial_bytes.data, terms->serial_bytes.length);
    else
        der_write_unsigned(writer, terms->serial);
    mark = der_writer_mark(writer);
    der_write_unsigned(writer, 2); /* v3 */
    der_write_header(writer, DER_CONTEXT_CONSTRUCTED(0), mark);
    der_write_header(writer, DER_SEQUENCE, 0);
}

static int check_terms(const struct certificate_terms *terms, struct error *error)
{
    struct der_slice serial = terms->serial_bytes;
    bool positive = terms->serial > 0;
    if (serial.data) {
        positive = false;
        for (size_t i = 0; i < serial.length; i++)
            positive = positive || serial.data[i];
    }
    /* Twenty bytes are the limit of the encoded INTEGER, so the first may not have its top bit set. */
    bool too_long = serial.length > X509_SERIAL_MAX_BYTES ||
                    (serial.length == X509_SERIAL_MAX_BYTES && serial.data[0] & 0x80);
    if (!positive || too_long)
        return error_set(error, ERROR_INVALID,
                         "certificate: the serial number must be positive and of at most %d "
                         "bytes",
                         X509_SERIAL_MAX_BYTES);
    if (terms->not_after < terms->not_before)
        return error_set(error, ERROR_INVALID, "certificate: it would end before it begins");
    return 0;
}

static int make(struct ca_thread *thread, const struct key *key, const struct profile *profile,
                const struct certificate_terms *terms, uint8_t **der, size_t *size, struct error *error)
{
    struct der_writer writer;
    uint8_t *tbs;
    size_t tbs_size;
    int result = check_terms(terms, error);
    if (result)
        return result;
    der_writer_init(&writer);
    write_tbs(&writer, profile, terms);
    result = der_writer_take(&writer, &tbs, &tbs_size, "certificate", error);
    if (result)
        return result;
    result = signature_frame(thread, key, profile->algorithm, der_slice(tbs, tbs_size), der, size, error);
    free(tbs);
    return result;
}

/* The issuer's name and key id; its key must be the one that its certificate certifies. */
static int use_issuer(struct profile *profile, const struct certificate_issuer *issuer, struct error *error)
{
    const struct x509 *certificate = issuer->certificate;
    if (!der_equal(certificate->public_key.spki, key_public(issuer->key)->spki))
        return error_set(error, ERROR_CONFLICT,
                         "the CA certificate and the CA's private key do not belong "
                         "together");
    if (!certificate->is_ca)
        return error_set(error, ERROR_INVALID, "the issuer's certificate is not a CA certificate");
    profile->issuer = certificate->subject;
    profile->authority_key_id = certificate->subject_key_id.data
                                    ? certificate->subject_key_id
                                    : der_slice(key_id(issuer->key), KEY_ID_BYTES);
    profile->algorithm = signature_default(key_type(issuer->key));
    return 0;
}

static bool is_printable_string(const char *text)
{
    for (; *text; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        if (!letter && !(*text >= '0' && *text <= '9') && !strchr(" '()+,-./:=?", *text))
            return false;
    }
    return true;
}

void certificate_write_name(struct der_writer *writer, const char *common_name)
{
    size_t mark = der_writer_mark(writer);
    if (common_name) {
        der_write_text(writer, is_printable_string(common_name) ? DER_PRINTABLE_STRING : DER_UTF8_STRING,
                       common_name);
        der_write_oid(writer, OID(OID_COMMON_NAME));
        der_write_header(writer, DER_SEQUENCE, mark);
        der_write_header(writer, DER_SET, mark);
    }
    der_write_header(writer, DER_SEQUENCE, mark);
}

/* A Name and a GeneralNames, encoded for a profile; freed by parts_free(). */
struct parts {
    uint8_t *name, *san;
    size_t name_size, san_size;
};

static void parts_free(struct parts *parts)
{
    free(parts->name);
    free(parts->san);
}

/* No names make no SAN. */
static int parts_make(struct parts *parts, const char *common_name, const struct general_name *names,
                      size_t count, struct error *error)
{
    struct der_writer writer;
    *parts = (struct parts){0};
    if (common_name && (!*common_name || strlen(common_name) > CERTIFICATE_COMMON_NAME_MAX_BYTES))
        return error_set(error, ERROR_INVALID, "certificate: the common name must have 1 to %d bytes",
                         CERTIFICATE_COMMON_NAME_MAX_BYTES);
    der_writer_init(&writer);
    certificate_write_name(&writer, common_name);
    int result = der_writer_take(&writer, &parts->name, &parts->name_size, "subject", error);
    if (result || count == 0)
        return result;
    general_names_write_sorted(&writer, names, count);
    result = der_writer_take(&writer, &parts->san, &parts->san_size, "subject alternative names", error);
    struct der_cursor check;
    if (result == 0 && general_names_open(der_slice(parts->san, parts->san_size), &check))
        result = error_set(error, ERROR_INVALID,
                           "certificate: a name is empty, not printable ASCII, or an address "
                           "of neither 4 nor 16 bytes");
    if (result) {
        parts_free(parts);
        *parts = (struct parts){0};
    }
    return result;
}

int certificate_make_root(struct ca_thread *thread, const struct key *key, const char *common_name,
                          const char *uri, const struct certificate_terms *terms, uint8_t **der, size_t *size,
                          struct error *error)
{
    struct parts parts;
    struct general_name name = general_name_text(GENERAL_NAME_URI, uri);
    int result = parts_make(&parts, common_name, &name, 1, error);
    if (result)
        return result;
    struct profile profile = {
        .algorithm = signature_of_root(key_type(key), key_bits(key)),
        .issuer = der_slice(parts.name, parts.name_size),
        .subject = der_slice(parts.name, parts.name_size),
        .spki = key_public(key)->spki,
        .subject_key_id = der_slice(key_id(key), KEY_ID_BYTES),
        .authority_key_id = der_slice(key_id(key), KEY_ID_BYTES),
        .key_usage = KEY_USAGE_CA,
        .is_ca = true,
        .path_length = -1,
        .san = der_slice(parts.san, parts.san_size),
    };
    result = make(thread, key, &profile, terms, der, size, error);
    parts_free(&parts);
    return result;
}

/* The URIs of a request: what an intermediate takes over from it. */
static size_t collect_uris(const struct csr *csr, struct general_name *uris, size_t capacity)
{
    struct der_cursor names = csr_names(csr);
    struct general_name name;
    size_t count = 0;
    while (count < capacity && !general_name_read(&names, &name, false))
        if (name.type == GENERAL_NAME_URI)
            uris[count++] = name;
    return count;
}

int certificate_make_intermediate(struct ca_thread *thread, const struct certificate_issuer *issuer,
                                  const struct csr *csr, const struct certificate_terms *terms, uint8_t **der,
                                  size_t *size, struct error *error)
{
    struct parts parts;
    struct general_name uris[8];
    uint8_t id[KEY_ID_BYTES] = {0};
    struct profile profile = {
        .subject = csr->subject,
        .spki = csr->public_key.spki,
        .subject_key_id = der_slice(id, sizeof id),
        .key_usage = KEY_USAGE_CA,
        .is_ca = true,
        .path_length = 0,
    };
    int result = use_issuer(&profile, issuer, error);
    if (result)
        return result;
    if (public_key_id(profile.spki, id))
        return error_set(error, ERROR_CRYPTO, "certificate: SHA-256 of the key failed");
    result = parts_make(&parts, NULL, uris, collect_uris(csr, uris, sizeof uris / sizeof uris[0]), error);
    if (result)
        return result;
    profile.san = der_slice(parts.san, parts.san_size);
    profile.san_critical = csr->subject_is_empty; /* RFC 5280, 4.2.1.6 */
    result = make(thread, issuer->key, &profile, terms, der, size, error);
    parts_free(&parts);
    return result;
}

int certificate_cross_sign(struct ca_thread *thread, const struct certificate_issuer *old_root,
                           const struct x509 *new_root, const struct certificate_terms *terms, uint8_t **der,
                           size_t *size, struct error *error)
{
    uint8_t id[KEY_ID_BYTES] = {0};
    struct profile profile = {
        .subject = new_root->subject,
        .spki = new_root->public_key.spki,
        .subject_key_id = new_root->subject_key_id,
        .key_usage = new_root->key_usage_extension.value.data ? new_root->key_usage : 0,
        .is_ca = new_root->is_ca,
        .path_length = new_root->path_length,
        .eku = new_root->eku_extension.value,
        .san = new_root->san_extension.value,
        .san_critical = new_root->subject_is_empty,
        .name_constraints = new_root->name_constraints_extension.value,
        .name_constraints_critical = new_root->name_constraints_extension.critical,
    };
    int result = use_issuer(&profile, old_root, error);
    if (result)
        return result;
    if (!new_root->is_ca)
        return error_set(error, ERROR_INVALID, "cross-signing: the new certificate is not a CA");
    /* An old root that another CA signed may carry an algorithm that its own key cannot make. */
    if (signature_key_type(old_root->certificate->algorithm) == key_type(old_root->key))
        profile.algorithm = old_root->certificate->algorithm;
    if (public_key_id(profile.spki, id))
        return error_set(error, ERROR_CRYPTO, "certificate: SHA-256 of the key failed");
    if (!profile.subject_key_id.data)
        profile.subject_key_id = der_slice(id, sizeof id);
    return make(thread, old_root->key, &profile, terms, der, size, error);
}

int certificate_make_leaf(struct ca_thread *thread, const struct certificate_issuer *issuer,
                          const struct certificate_leaf *leaf, const struct certificate_terms *terms,
                          uint8_t **der, size_t *size, struct error *error)
{
    /* SEQUENCE { clientAuth, serverAuth }: Consul's order. */
    static const char eku[] = "\x30\x14\x06\x08" OID_CLIENT_AUTH "\x06\x08" OID_SERVER_AUTH;
    struct parts parts;
    uint8_t id[KEY_ID_BYTES] = {0};
    struct profile profile = {
        .spki = leaf->spki,
        .subject_key_id = der_slice(id, sizeof id),
        .key_usage = KEY_USAGE_LEAF,
        .path_length = -1,
        .eku = der_slice(eku, sizeof eku - 1),
        .san_critical = !leaf->common_name,
    };
    int result = use_issuer(&profile, issuer, error);
    if (result)
        return result;
    if (leaf->name_count == 0)
        return error_set(error, ERROR_INVALID, "leaf certificate: it would have no name");
    if (public_key_id(profile.spki, id))
        return error_set(error, ERROR_CRYPTO, "certificate: SHA-256 of the key failed");
    result = parts_make(&parts, leaf->common_name, leaf->names, leaf->name_count, error);
    if (result)
        return result;
    profile.subject = der_slice(parts.name, parts.name_size);
    profile.san = der_slice(parts.san, parts.san_size);
    result = make(thread, issuer->key, &profile, terms, der, size, error);
    parts_free(&parts);
    return result;
}

/* The uid of a CA's name: 64 random bits as a signed number of base 36, its first eight characters, letters
 * and digits of them (a minus is dropped). */
static int make_uid(struct ca_thread *thread, char uid[UID_MAX_CHARACTERS + 1], struct error *error)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint64_t bits;
    char text[16]; /* 13 digits of base 36 hold 63 bits */
    size_t at = sizeof text;
    int result = ca_thread_random(thread, &bits, sizeof bits, error);
    if (result)
        return result;
    bool negative = bits >> 63;
    uint64_t magnitude = negative ? 0 - bits : bits;
    do
        text[--at] = digits[magnitude % 36];
    while (magnitude /= 36);
    size_t length = sizeof text - at, limit = UID_MAX_CHARACTERS - negative;
    snprintf(uid, UID_MAX_CHARACTERS + 1, "%.*s", (int)(length < limit ? length : limit), text + at);
    return 0;
}

int certificate_ca_common_name(struct ca_thread *thread, const char *role, const char *provider,
                               const char *cluster_id, char *text, struct error *error)
{
    char uid[UID_MAX_CHARACTERS + 1];
    int result = make_uid(thread, uid, error);
    if (result)
        return result;
    int length = snprintf(text, CERTIFICATE_COMMON_NAME_MAX_BYTES + 1, "%s-%s.%s.ca.%.*s.consul", role, uid,
                          provider, CLUSTER_ID_PREFIX, cluster_id);
    if (length > CERTIFICATE_COMMON_NAME_MAX_BYTES)
        return error_set(error, ERROR_INVALID, "CA name: provider \"%s\" is too long", provider);
    return 0;
}

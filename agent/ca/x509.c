/* SPDX-License-Identifier: MIT */
#include "agent/ca/x509.h"

#include <stdio.h>
#include <string.h>

#include "agent/ca/digest.h"
#include "agent/ca/distinguished_name.h"
#include "agent/ca/extension.h"
#include "agent/ca/name_constraints.h"
#include "agent/ca/oid.h"

enum { EXTENSIONS_MAX = 64, KEY_ID_MAX_BYTES = 128 };

/* Readers of extension values: 0 or ERROR_INVALID. */
static int read_key_usage(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor cursor = der_cursor(value);
    return der_named_bits(&cursor, &certificate->key_usage) || der_end(&cursor) ? ERROR_INVALID : 0;
}

static int read_eku(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor purposes;
    struct der_slice oid;
    if (der_enter_only(value, DER_SEQUENCE, &purposes) || der_at_end(&purposes))
        return ERROR_INVALID;
    while (!der_at_end(&purposes)) {
        if (der_expect(&purposes, DER_OID, &oid))
            return ERROR_INVALID;
        if (der_is(oid, OID(OID_SERVER_AUTH)))
            certificate->eku |= X509_EKU_SERVER_AUTH;
        else if (der_is(oid, OID(OID_CLIENT_AUTH)))
            certificate->eku |= X509_EKU_CLIENT_AUTH;
        else if (der_is(oid, OID(OID_ANY_EXT_KEY_USAGE)))
            certificate->eku |= X509_EKU_ANY;
        else
            certificate->eku |= X509_EKU_OTHER;
    }
    return 0;
}

static int read_basic_constraints(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor inner;
    uint64_t length;
    if (der_enter_only(value, DER_SEQUENCE, &inner) || der_boolean_default_false(&inner, &certificate->is_ca))
        return ERROR_INVALID;
    if (der_next_is(&inner, DER_INTEGER)) {
        if (!certificate->is_ca || der_unsigned(&inner, &length))
            return ERROR_INVALID;
        certificate->path_length = length > 1000 ? 1000 : (int)length;
    }
    return der_end(&inner);
}

static int read_subject_key_id(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor cursor = der_cursor(value);
    struct der_slice id;
    if (der_expect(&cursor, DER_OCTET_STRING, &id) || der_end(&cursor) || id.length == 0 ||
        id.length > KEY_ID_MAX_BYTES)
        return ERROR_INVALID;
    certificate->subject_key_id = id;
    return 0;
}

/* AuthorityKeyIdentifier: the key id, if any; issuer and serial are allowed but not used. */
static int read_authority_key_id(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor inner;
    struct der_slice id;
    if (der_enter_only(value, DER_SEQUENCE, &inner))
        return ERROR_INVALID;
    if (der_next_is(&inner, DER_CONTEXT(0))) {
        if (der_expect(&inner, DER_CONTEXT(0), &id) || id.length == 0 || id.length > KEY_ID_MAX_BYTES)
            return ERROR_INVALID;
        certificate->authority_key_id = id;
    }
    while (!der_at_end(&inner))
        if (der_any(&inner, NULL))
            return ERROR_INVALID;
    return 0;
}

static int read_san(struct x509 *certificate, struct der_slice value)
{
    struct der_cursor names;
    struct general_name name;
    if (general_names_open(value, &names))
        return ERROR_INVALID;
    while (!der_at_end(&names)) {
        if (general_name_read(&names, &name, false))
            return ERROR_INVALID;
        switch (name.type) {
        case GENERAL_NAME_URI:
            certificate->uri_count++;
            break;
        case GENERAL_NAME_DNS:
            certificate->dns_count++;
            break;
        case GENERAL_NAME_EMAIL:
            certificate->email_count++;
            break;
        case GENERAL_NAME_IP:
            certificate->ip_count++;
            break;
        default:
            certificate->other_name_count++;
        }
    }
    return 0;
}

static int read_name_constraints(struct x509 *certificate, struct der_slice value)
{
    (void)certificate;
    return name_constraints_check_form(value);
}

/* The extensions that are understood; `place` is the offset of their struct x509_extension, 0 for key ids. */
static const struct known_extension {
    const char *name;
    struct der_slice oid;
    int (*read)(struct x509 *certificate, struct der_slice value);
    size_t place;
} known_extensions[] = {
    {"KeyUsage", {OID(OID_KEY_USAGE)}, read_key_usage, offsetof(struct x509, key_usage_extension)},
    {"ExtendedKeyUsage", {OID(OID_EXT_KEY_USAGE)}, read_eku, offsetof(struct x509, eku_extension)},
    {"BasicConstraints",
     {OID(OID_BASIC_CONSTRAINTS)},
     read_basic_constraints,
     offsetof(struct x509, basic_constraints_extension)},
    {"SubjectKeyIdentifier", {OID(OID_SUBJECT_KEY_ID)}, read_subject_key_id, 0},
    {"AuthorityKeyIdentifier", {OID(OID_AUTHORITY_KEY_ID)}, read_authority_key_id, 0},
    {"SubjectAltName", {OID(OID_SUBJECT_ALT_NAME)}, read_san, offsetof(struct x509, san_extension)},
    {"NameConstraints",
     {OID(OID_NAME_CONSTRAINTS)},
     read_name_constraints,
     offsetof(struct x509, name_constraints_extension)},
};

static int read_extension(struct x509 *certificate, const struct extension *extension, struct error *error)
{
    for (size_t i = 0; i < sizeof known_extensions / sizeof known_extensions[0]; i++) {
        const struct known_extension *known = &known_extensions[i];
        if (!der_equal(known->oid, extension->oid))
            continue;
        if (known->read(certificate, extension->value))
            return error_set(error, ERROR_INVALID, "certificate: malformed or empty %s extension",
                             known->name);
        if (known->place) {
            struct x509_extension *place = (void *)((char *)certificate + known->place);
            *place = (struct x509_extension){extension->value, extension->critical};
        }
        return 0;
    }
    if (extension->critical && certificate->unknown_critical_count++ == 0)
        certificate->unknown_critical = extension->oid;
    return 0;
}

static int read_extensions(struct x509 *certificate, struct der_cursor list, struct error *error)
{
    struct extension seen[EXTENSIONS_MAX];
    size_t count = 0;
    if (der_at_end(&list))
        return error_set(error, ERROR_INVALID, "certificate: empty list of extensions");
    while (!der_at_end(&list)) {
        if (count == EXTENSIONS_MAX)
            return error_set(error, ERROR_LIMIT, "certificate: more than %d extensions", EXTENSIONS_MAX);
        if (extension_read(&list, &seen[count]))
            return error_set(error, ERROR_INVALID, "certificate: malformed extension");
        for (size_t i = 0; i < count; i++)
            if (der_equal(seen[i].oid, seen[count].oid)) {
                char oid[64];
                der_oid_text(seen[count].oid, oid, sizeof oid);
                return error_set(error, ERROR_INVALID, "certificate: extension %s occurs twice", oid);
            }
        int result = read_extension(certificate, &seen[count++], error);
        if (result)
            return result;
    }
    return 0;
}

static int read_validity(struct x509 *certificate, struct der_cursor *tbs)
{
    struct der_cursor validity;
    if (der_enter(tbs, DER_SEQUENCE, &validity) || der_time(&validity, &certificate->not_before) ||
        der_time(&validity, &certificate->not_after) || der_end(&validity))
        return ERROR_INVALID;
    return 0;
}

/* Version: absent means v1, else it must be v3. */
static int read_version(struct der_cursor *tbs, bool *is_v3)
{
    struct der_cursor explicit;
    uint64_t version;
    *is_v3 = der_next_is(tbs, DER_CONTEXT_CONSTRUCTED(0));
    if (!*is_v3)
        return 0;
    if (der_enter(tbs, DER_CONTEXT_CONSTRUCTED(0), &explicit) || der_unsigned(&explicit, &version) ||
        der_end(&explicit) || version != 2)
        return ERROR_INVALID;
    return 0;
}

static int read_serial(struct x509 *certificate, struct der_cursor *tbs)
{
    struct der_slice serial;
    if (der_integer(tbs, &serial) || serial.data[0] & 0x80)
        return ERROR_INVALID;
    certificate->serial = der_magnitude(serial);
    return certificate->serial.length > X509_SERIAL_MAX_BYTES ? ERROR_INVALID : 0;
}

static int parse_tbs(struct x509 *certificate, struct error *error)
{
    struct der_cursor tbs, wrapped, extensions;
    struct der_slice inner_algorithm, spki;
    bool is_v3;
    const char *field = NULL;
    if (der_enter_only(certificate->object.tbs, DER_SEQUENCE, &tbs) || read_version(&tbs, &is_v3))
        field = "version (v1 and v3 are read)";
    else if (read_serial(certificate, &tbs))
        field = "serial number (0 or more, at most 20 bytes)";
    else if (der_expect_whole(&tbs, DER_SEQUENCE, &inner_algorithm) ||
             !der_equal(inner_algorithm, certificate->object.algorithm))
        field = "signature algorithm (it must be the same inside and outside)";
    else if (der_expect_whole(&tbs, DER_SEQUENCE, &certificate->issuer) ||
             distinguished_name_check(certificate->issuer, NULL))
        field = "issuer";
    else if (read_validity(certificate, &tbs))
        field = "validity";
    else if (der_expect_whole(&tbs, DER_SEQUENCE, &certificate->subject) ||
             distinguished_name_check(certificate->subject, &certificate->subject_is_empty))
        field = "subject";
    else if (der_expect_whole(&tbs, DER_SEQUENCE, &spki))
        field = "public key";
    if (field)
        return error_set(error, ERROR_INVALID, "certificate: malformed %s", field);
    int result = public_key_parse(&certificate->public_key, spki, error);
    if (result) {
        error_at(error, "certificate");
        return result;
    }
    if (der_at_end(&tbs))
        return 0;
    if (!is_v3 || der_enter(&tbs, DER_CONTEXT_CONSTRUCTED(3), &wrapped) || der_end(&tbs) ||
        der_enter(&wrapped, DER_SEQUENCE, &extensions) || der_end(&wrapped))
        return error_set(error, ERROR_INVALID,
                         "certificate: malformed extensions (unique ids are not supported)");
    return read_extensions(certificate, extensions, error);
}

int x509_parse(struct x509 *certificate, const void *der, size_t size, struct error *error)
{
    struct x509 parsed = {.path_length = -1};
    if (size > X509_DER_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "certificate: %zu bytes are more than %d", size,
                         X509_DER_MAX_BYTES);
    int result = signature_unframe(&parsed.object, der_slice(der, size), "certificate", error);
    if (result)
        return result;
    result = parse_tbs(&parsed, error);
    if (result)
        return result;
    parsed.algorithm = signature_read_algorithm(parsed.object.algorithm);
    *certificate = parsed;
    return 0;
}

struct der_cursor x509_names(const struct x509 *certificate)
{
    struct der_cursor names = {0};
    if (certificate->san_extension.value.data)
        (void)der_enter_only(certificate->san_extension.value, DER_SEQUENCE, &names);
    return names;
}

struct der_slice x509_only_uri(const struct x509 *certificate)
{
    struct der_cursor names = x509_names(certificate);
    struct general_name name;
    if (certificate->uri_count == 1)
        while (!general_name_read(&names, &name, false))
            if (name.type == GENERAL_NAME_URI)
                return name.value;
    return (struct der_slice){0};
}

/* Copies printable ASCII that fits; false otherwise. */
static bool copy_text(struct der_slice value, char *text, size_t size)
{
    if (value.length == 0 || value.length >= size)
        return false;
    for (size_t i = 0; i < value.length; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e)
            return false;
    memcpy(text, value.data, value.length);
    text[value.length] = '\0';
    return true;
}

bool x509_common_name(const struct x509 *certificate, char *text, size_t size)
{
    struct distinguished_name_walk walk;
    struct distinguished_name_attribute attribute;
    if (distinguished_name_walk(&walk, certificate->subject))
        return false;
    while (distinguished_name_next(&walk, &attribute) > 0)
        if (der_is(attribute.type, OID(OID_COMMON_NAME)))
            return (attribute.value.tag == DER_PRINTABLE_STRING || attribute.value.tag == DER_UTF8_STRING ||
                    attribute.value.tag == DER_IA5_STRING) &&
                   copy_text(attribute.value.content, text, size);
    return false;
}

void x509_describe(const struct x509 *certificate, char *text, size_t size)
{
    char serial[3 * X509_SERIAL_MAX_BYTES];
    if (!certificate->is_ca && copy_text(x509_only_uri(certificate), text, size))
        return;
    if (x509_common_name(certificate, text, size))
        return;
    x509_colon_hex(certificate->serial.data, certificate->serial.length, serial);
    snprintf(text, size, "serial %s", serial);
}

bool x509_is_valid_at(const struct x509 *certificate, int64_t unix_sec)
{
    return unix_sec >= certificate->not_before && unix_sec <= certificate->not_after;
}

int x509_verify_signature(const struct x509 *certificate, const struct public_key *issuer,
                          struct error *error)
{
    return signature_verify(issuer, certificate->algorithm, certificate->object.tbs,
                            certificate->object.signature, error);
}

void x509_colon_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
        *text++ = ':';
    }
    text[size ? -1 : 0] = '\0';
}

int x509_root_id(const struct x509 *certificate, char text[X509_ID_TEXT_BYTES])
{
    uint8_t digest[DIGEST_SHA1_BYTES];
    int result = digest_sha1(certificate->object.whole.data, certificate->object.whole.length, digest);
    if (result == 0)
        x509_colon_hex(digest, sizeof digest, text);
    return result;
}

uint64_t x509_serial_low64(const struct x509 *certificate)
{
    uint64_t low = 0;
    for (size_t i = 0; i < certificate->serial.length; i++)
        low = low << 8 | certificate->serial.data[i];
    return low;
}

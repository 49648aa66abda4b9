/* SPDX-License-Identifier: MIT */
#include "agent/ca/crl.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ca/distinguished_name.h"
#include "agent/ca/extension.h"
#include "agent/ca/oid.h"

enum { CRL_EXTENSIONS_MAX = 16 };

static void write_entry(struct der_writer *writer, const struct crl_entry *entry)
{
    size_t mark = der_writer_mark(writer);
    if (entry->reason != CRL_UNSPECIFIED) {
        uint8_t reason = (uint8_t)entry->reason;
        der_write_tlv(writer, DER_ENUMERATED, &reason, 1);
        extension_end(writer, OID(OID_CRL_REASON), false, mark);
        der_write_header(writer, DER_SEQUENCE, mark);
    }
    der_write_time(writer, entry->revoked_at);
    der_write_magnitude(writer, entry->serial.data, entry->serial.length);
    der_write_header(writer, DER_SEQUENCE, mark);
}

static void write_extensions(struct der_writer *writer, uint64_t number, struct der_slice authority_key_id)
{
    size_t start = der_writer_mark(writer);
    der_write_unsigned(writer, number);
    extension_end(writer, OID(OID_CRL_NUMBER), false, start);
    size_t mark = der_writer_mark(writer);
    der_write_tlv(writer, DER_CONTEXT(0), authority_key_id.data, authority_key_id.length);
    der_write_header(writer, DER_SEQUENCE, mark);
    extension_end(writer, OID(OID_AUTHORITY_KEY_ID), false, mark);
    der_write_header(writer, DER_SEQUENCE, start);
    der_write_header(writer, DER_CONTEXT_CONSTRUCTED(0), start);
}

int crl_make(struct ca_thread *thread, const struct certificate_issuer *issuer, const struct crl_terms *terms,
             uint8_t **der, size_t *size, struct error *error)
{
    const struct x509 *certificate = issuer->certificate;
    enum signature_algorithm algorithm = signature_default(key_type(issuer->key));
    struct der_writer writer;
    uint8_t *tbs;
    size_t tbs_size;
    if (!der_equal(certificate->public_key.spki, key_public(issuer->key)->spki))
        return error_set(error, ERROR_CONFLICT,
                         "CRL: the CA certificate and the CA's private key do not belong "
                         "together");
    for (size_t i = 0; i < terms->entry_count; i++)
        if (terms->entries[i].serial.length == 0 || terms->entries[i].serial.length > X509_SERIAL_MAX_BYTES)
            return error_set(error, ERROR_INVALID,
                             "CRL: entry %zu has a serial number of %zu bytes; 1 to %d are "
                             "allowed",
                             i, terms->entries[i].serial.length, X509_SERIAL_MAX_BYTES);
    der_writer_init(&writer);
    write_extensions(&writer, terms->number,
                     certificate->subject_key_id.data ? certificate->subject_key_id
                                                      : der_slice(key_id(issuer->key), KEY_ID_BYTES));
    if (terms->entry_count) { /* the list must be absent, not empty: RFC 5280, 5.1.2.6 */
        size_t mark = der_writer_mark(&writer);
        for (size_t i = terms->entry_count; i--;)
            write_entry(&writer, &terms->entries[i]);
        der_write_header(&writer, DER_SEQUENCE, mark);
    }
    der_write_time(&writer, terms->next_update);
    der_write_time(&writer, terms->this_update);
    der_write_slice(&writer, certificate->subject);
    signature_write_algorithm(&writer, algorithm);
    der_write_unsigned(&writer, 1); /* v2 */
    der_write_header(&writer, DER_SEQUENCE, 0);
    int result = der_writer_take(&writer, &tbs, &tbs_size, "CRL", error);
    if (result)
        return result;
    result = signature_frame(thread, issuer->key, algorithm, der_slice(tbs, tbs_size), der, size, error);
    free(tbs);
    return result;
}

/* Entry extensions: the reason is read, anything critical that is not known is refused. */
static int read_entry_extensions(struct der_cursor list, struct crl_entry *entry)
{
    bool have_reason = false;
    if (der_at_end(&list))
        return ERROR_INVALID;
    while (!der_at_end(&list)) {
        struct extension extension;
        struct der_slice reason;
        if (extension_read(&list, &extension))
            return ERROR_INVALID;
        if (!der_is(extension.oid, OID(OID_CRL_REASON))) {
            if (extension.critical)
                return ERROR_INVALID;
            continue;
        }
        struct der_cursor value = der_cursor(extension.value);
        if (have_reason || der_expect(&value, DER_ENUMERATED, &reason) || der_end(&value) ||
            reason.length != 1 || reason.data[0] > CRL_AA_COMPROMISE || reason.data[0] == 7 ||
            reason.data[0] == CRL_REMOVE_FROM_CRL)
            return ERROR_INVALID;
        entry->reason = (enum crl_reason)reason.data[0];
        have_reason = true;
    }
    return 0;
}

static int read_entry(struct der_cursor *list, struct crl_entry *entry)
{
    struct der_cursor one, extensions;
    struct der_slice serial;
    *entry = (struct crl_entry){0};
    if (der_enter(list, DER_SEQUENCE, &one) || der_integer(&one, &serial) || serial.data[0] & 0x80 ||
        der_time(&one, &entry->revoked_at))
        return ERROR_INVALID;
    entry->serial = der_magnitude(serial);
    if (entry->serial.length > X509_SERIAL_MAX_BYTES)
        return ERROR_INVALID;
    if (der_at_end(&one))
        return 0;
    if (der_enter(&one, DER_SEQUENCE, &extensions) || der_end(&one))
        return ERROR_INVALID;
    return read_entry_extensions(extensions, entry);
}

static int read_number(struct crl *crl, struct der_slice value)
{
    struct der_cursor cursor = der_cursor(value);
    struct der_slice number;
    if (der_integer(&cursor, &number) || der_end(&cursor) || number.data[0] & 0x80 || number.length > 21)
        return ERROR_INVALID;
    crl->number = der_magnitude(number);
    return 0;
}

static int read_authority_key_id(struct crl *crl, struct der_slice value)
{
    struct der_cursor inner;
    if (der_enter_only(value, DER_SEQUENCE, &inner))
        return ERROR_INVALID;
    if (der_next_is(&inner, DER_CONTEXT(0)))
        return der_expect(&inner, DER_CONTEXT(0), &crl->authority_key_id);
    return 0;
}

static int read_extension(struct crl *crl, const struct extension *extension, struct error *error)
{
    char oid[64];
    if (der_is(extension->oid, OID(OID_DELTA_CRL)))
        return error_set(error, ERROR_INVALID, "CRL: a delta CRL; only complete lists are supported");
    if (der_is(extension->oid, OID(OID_CRL_NUMBER)))
        return read_number(crl, extension->value) ? error_set(error, ERROR_INVALID, "CRL: malformed number")
                                                  : 0;
    if (der_is(extension->oid, OID(OID_AUTHORITY_KEY_ID)))
        return read_authority_key_id(crl, extension->value)
                   ? error_set(error, ERROR_INVALID, "CRL: malformed AuthorityKeyIdentifier")
                   : 0;
    if (!extension->critical)
        return 0;
    /* IssuingDistributionPoint lands here too: a list for a part of the certificates is not one for all. */
    der_oid_text(extension->oid, oid, sizeof oid);
    return error_set(error, ERROR_INVALID, "CRL: critical extension %s is not supported", oid);
}

static int read_extensions(struct crl *crl, struct der_cursor list, struct error *error)
{
    struct extension seen[CRL_EXTENSIONS_MAX];
    size_t count = 0;
    while (!der_at_end(&list)) {
        if (count == CRL_EXTENSIONS_MAX || extension_read(&list, &seen[count]))
            return error_set(error, ERROR_INVALID, "CRL: malformed extension, or more than %d",
                             CRL_EXTENSIONS_MAX);
        for (size_t i = 0; i < count; i++)
            if (der_equal(seen[i].oid, seen[count].oid))
                return error_set(error, ERROR_INVALID, "CRL: an extension occurs twice");
        int result = read_extension(crl, &seen[count++], error);
        if (result)
            return result;
    }
    return 0;
}

static int read_entries(struct crl *crl, struct der_cursor *tbs, struct error *error)
{
    struct crl_entry entry;
    if (!der_next_is(tbs, DER_SEQUENCE))
        return 0;
    if (der_expect(tbs, DER_SEQUENCE, &crl->entries))
        return error_set(error, ERROR_INVALID, "CRL: malformed list of revoked certificates");
    struct der_cursor list = der_cursor(crl->entries);
    for (; !der_at_end(&list); crl->entry_count++)
        if (read_entry(&list, &entry))
            return error_set(error, ERROR_INVALID,
                             "CRL: entry %zu is malformed or has an unsupported critical extension",
                             crl->entry_count);
    return 0;
}

static int parse_tbs(struct crl *crl, struct error *error)
{
    struct der_cursor tbs, wrapped, extensions;
    struct der_slice algorithm;
    uint64_t version;
    if (der_enter_only(crl->object.tbs, DER_SEQUENCE, &tbs) || der_unsigned(&tbs, &version) || version != 1)
        return error_set(error, ERROR_INVALID, "CRL: its version is not v2");
    if (der_expect_whole(&tbs, DER_SEQUENCE, &algorithm) || !der_equal(algorithm, crl->object.algorithm) ||
        der_expect_whole(&tbs, DER_SEQUENCE, &crl->issuer) || distinguished_name_check(crl->issuer, NULL))
        return error_set(error, ERROR_INVALID, "CRL: malformed algorithm or issuer");
    if (der_time(&tbs, &crl->this_update) || der_time(&tbs, &crl->next_update))
        return error_set(error, ERROR_INVALID,
                         "CRL: malformed thisUpdate, or malformed or missing nextUpdate");
    int result = read_entries(crl, &tbs, error);
    if (result || der_at_end(&tbs))
        return result;
    if (der_enter(&tbs, DER_CONTEXT_CONSTRUCTED(0), &wrapped) || der_end(&tbs) ||
        der_enter(&wrapped, DER_SEQUENCE, &extensions) || der_end(&wrapped))
        return error_set(error, ERROR_INVALID, "CRL: malformed extensions");
    return read_extensions(crl, extensions, error);
}

int crl_parse(struct crl *crl, const void *der, size_t size, struct error *error)
{
    struct crl parsed = {0};
    if (size > CRL_DER_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "CRL: %zu bytes are more than %d", size, CRL_DER_MAX_BYTES);
    int result = signature_unframe(&parsed.object, der_slice(der, size), "CRL", error);
    if (result)
        return result;
    result = parse_tbs(&parsed, error);
    if (result)
        return result;
    parsed.algorithm = signature_read_algorithm(parsed.object.algorithm);
    *crl = parsed;
    return 0;
}

int crl_verify(const struct crl *crl, const struct x509 *issuer, struct error *error)
{
    bool ids_differ = crl->authority_key_id.data && issuer->subject_key_id.data &&
                      !der_equal(crl->authority_key_id, issuer->subject_key_id);
    if (!der_equal(crl->issuer, issuer->subject) || ids_differ)
        return error_set(error, ERROR_DENIED, "CRL: issued by another CA");
    if (!issuer->is_ca || (issuer->key_usage_extension.value.data && !(issuer->key_usage & X509_CRL_SIGN)))
        return error_set(error, ERROR_DENIED, "CRL: its issuer may not sign CRLs");
    int result =
        signature_verify(&issuer->public_key, crl->algorithm, crl->object.tbs, crl->object.signature, error);
    if (result)
        error_at(error, "CRL");
    return result;
}

/* Magnitudes without leading zeros order by length first. */
static int compare_magnitudes(struct der_slice a, struct der_slice b)
{
    if (a.length != b.length)
        return a.length < b.length ? -1 : 1;
    return memcmp(a.data, b.data, a.length);
}

int crl_check_newer(const struct crl *crl, const struct crl *current, struct error *error)
{
    if (!der_equal(crl->issuer, current->issuer))
        return error_set(error, ERROR_INVALID, "CRL: the current list is of another CA");
    bool numbered = crl->number.data && current->number.data;
    if (numbered ? compare_magnitudes(crl->number, current->number) < 0
                 : crl->this_update < current->this_update)
        return error_set(error, ERROR_CONFLICT, "CRL: older than the one in use");
    return 0;
}

struct der_cursor crl_entries(const struct crl *crl)
{
    return der_cursor(crl->entries);
}

bool crl_next(struct der_cursor *cursor, struct crl_entry *entry)
{
    return read_entry(cursor, entry) == 0;
}

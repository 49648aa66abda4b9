/* SPDX-License-Identifier: MIT */
#include "agent/ca/csr.h"

#include <stdlib.h>

#include "agent/ca/certificate.h"
#include "agent/ca/distinguished_name.h"
#include "agent/ca/extension.h"
#include "agent/ca/oid.h"

/* [0] attributes with one extensionRequest: SAN, then BasicConstraints for a CA. */
static void write_attributes(struct der_writer *writer, const struct csr_request *request)
{
    size_t start = der_writer_mark(writer);
    if (request->ca) {
        size_t mark = der_writer_mark(writer);
        der_write_boolean(writer, true);
        der_write_header(writer, DER_SEQUENCE, mark);
        extension_end(writer, OID(OID_BASIC_CONSTRAINTS), true, mark);
    }
    if (request->name_count) {
        size_t mark = der_writer_mark(writer);
        general_names_write_sorted(writer, request->names, request->name_count);
        extension_end(writer, OID(OID_SUBJECT_ALT_NAME), !request->common_name, mark);
    }
    if (der_writer_mark(writer) != start) {
        der_write_header(writer, DER_SEQUENCE, start);
        der_write_header(writer, DER_SET, start);
        der_write_oid(writer, OID(OID_EXTENSION_REQUEST));
        der_write_header(writer, DER_SEQUENCE, start);
    }
    der_write_header(writer, DER_CONTEXT_CONSTRUCTED(0), start);
}

int csr_make(struct ca_thread *thread, const struct key *key, const struct csr_request *request,
             uint8_t **der, size_t *size, struct error *error)
{
    struct der_writer writer;
    uint8_t *info;
    size_t info_size;
    der_writer_init(&writer);
    write_attributes(&writer, request);
    der_write_slice(&writer, key_public(key)->spki);
    certificate_write_name(&writer, request->common_name);
    der_write_unsigned(&writer, 0);
    der_write_header(&writer, DER_SEQUENCE, 0);
    int result = der_writer_take(&writer, &info, &info_size, "certificate request", error);
    if (result)
        return result;
    result = signature_frame(thread, key, signature_default(key_type(key)), der_slice(info, info_size), der,
                             size, error);
    free(info);
    return result;
}

static int read_san(struct csr *csr, struct der_slice value)
{
    struct der_cursor names;
    struct general_name name;
    if (general_names_open(value, &names))
        return ERROR_INVALID;
    while (!general_name_read(&names, &name, false)) {
        if (name.type == GENERAL_NAME_URI)
            csr->uri_count++;
        else if (name.type == GENERAL_NAME_DNS)
            csr->dns_count++;
        else if (name.type == GENERAL_NAME_EMAIL)
            csr->email_count++;
        else if (name.type == GENERAL_NAME_IP)
            csr->ip_count++;
        else
            csr->other_name_count++;
    }
    csr->san = value;
    return 0;
}

/* What requesters ask for beyond names and CA is theirs to ask and ours to ignore. */
static int read_extensions(struct csr *csr, struct der_cursor list)
{
    bool have_constraints = false;
    while (!der_at_end(&list)) {
        struct der_cursor inner;
        struct extension extension;
        if (extension_read(&list, &extension))
            return ERROR_INVALID;
        if (der_is(extension.oid, OID(OID_SUBJECT_ALT_NAME))) {
            if (csr->san.data || read_san(csr, extension.value))
                return ERROR_INVALID;
            csr->san_critical = extension.critical;
        } else if (der_is(extension.oid, OID(OID_BASIC_CONSTRAINTS))) {
            if (have_constraints || der_enter_only(extension.value, DER_SEQUENCE, &inner) ||
                der_boolean_default_false(&inner, &csr->wants_ca))
                return ERROR_INVALID;
            have_constraints = true;
        }
    }
    return 0;
}

static int read_attributes(struct csr *csr, struct der_cursor attributes)
{
    bool have_extensions = false;
    while (!der_at_end(&attributes)) {
        struct der_cursor one, values, extensions;
        struct der_slice oid;
        if (der_enter(&attributes, DER_SEQUENCE, &one) || der_expect(&one, DER_OID, &oid) ||
            der_enter(&one, DER_SET, &values) || der_end(&one))
            return ERROR_INVALID;
        if (der_is(oid, OID(OID_EXTENSION_REQUEST))) {
            if (have_extensions || der_enter(&values, DER_SEQUENCE, &extensions) || der_end(&values) ||
                read_extensions(csr, extensions))
                return ERROR_INVALID;
            have_extensions = true;
        } else if (der_is(oid, OID(OID_CHALLENGE_PASSWORD))) {
            struct der_element password;
            if (csr->challenge_password.data || der_any(&values, &password) || der_end(&values))
                return ERROR_INVALID;
            csr->challenge_password = password.content;
        }
    }
    return 0;
}

static int parse(struct csr *csr, struct der_slice der, struct error *error)
{
    struct der_cursor info, attributes = {0};
    struct der_slice spki;
    uint64_t version;
    int result = signature_unframe(&csr->object, der, "certificate request", error);
    if (result)
        return result;
    if (der_enter_only(csr->object.tbs, DER_SEQUENCE, &info) || der_unsigned(&info, &version) || version != 0)
        return error_set(error, ERROR_INVALID, "certificate request: its version is not v1");
    if (der_expect_whole(&info, DER_SEQUENCE, &csr->subject) ||
        distinguished_name_check(csr->subject, &csr->subject_is_empty) ||
        der_expect_whole(&info, DER_SEQUENCE, &spki))
        return error_set(error, ERROR_INVALID, "certificate request: malformed subject or public key");
    /* Some tools leave out the empty attributes, against RFC 2986. */
    if (!der_at_end(&info) && der_enter(&info, DER_CONTEXT_CONSTRUCTED(0), &attributes))
        return error_set(error, ERROR_INVALID, "certificate request: malformed attributes");
    if (der_end(&info) || read_attributes(csr, attributes))
        return error_set(error, ERROR_INVALID,
                         "certificate request: malformed, repeated or empty attribute, "
                         "extension or name");
    csr->algorithm = signature_read_algorithm(csr->object.algorithm);
    result = public_key_parse(&csr->public_key, spki, error);
    if (result)
        error_at(error, "certificate request");
    return result;
}

int csr_check(struct csr *csr, const void *der, size_t size, struct error *error)
{
    struct csr parsed = {0};
    if (size > CSR_DER_MAX_BYTES)
        return error_set(error, ERROR_LIMIT, "certificate request: %zu bytes are more than %d", size,
                         CSR_DER_MAX_BYTES);
    int result = parse(&parsed, der_slice(der, size), error);
    if (result)
        return result;
    result = public_key_check(&parsed.public_key, error);
    if (result) {
        error_at(error, "certificate request");
        return result;
    }
    result = signature_verify(&parsed.public_key, parsed.algorithm, parsed.object.tbs,
                              parsed.object.signature, error);
    if (result) {
        error_at(error, "certificate request: no proof that the requester holds the key");
        return result;
    }
    *csr = parsed;
    return 0;
}

struct der_cursor csr_names(const struct csr *csr)
{
    struct der_cursor names = {0};
    if (csr->san.data)
        (void)der_enter_only(csr->san, DER_SEQUENCE, &names);
    return names;
}

struct der_slice csr_only_uri(const struct csr *csr)
{
    struct der_cursor names = csr_names(csr);
    struct general_name name;
    if (csr->uri_count == 1)
        while (!general_name_read(&names, &name, false))
            if (name.type == GENERAL_NAME_URI)
                return name.value;
    return (struct der_slice){0};
}

/* SPDX-License-Identifier: MIT */
/* What the tests of agent/ca/ share: certificates of any shape, made with the writer under test. */
#ifndef TESTS_UNIT_CA_FIXTURE_H
#define TESTS_UNIT_CA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ca/certificate.h"
#include "agent/ca/extension.h"
#include "agent/ca/oid.h"

enum { FIXTURE_NOW = 1750000000, FIXTURE_DAY = 86400 };

#define FIXTURE_TRUST_DOMAIN "11111111-2222-3333-4444-555555555555.consul"
#define FIXTURE_LEAF_URI     "spiffe://" FIXTURE_TRUST_DOMAIN "/ns/default/dc/dc1/svc/web"

/* A certificate with what it borrows from. */
struct fixture_certificate {
    uint8_t *der;
    size_t size;
    struct x509 x509;
    struct key *key; /* NULL when somebody else owns it */
};

static inline int fixture_setup(void **state)
{
    *state = ca_thread_create(NULL);
    return *state ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
    ca_thread_free(*state);
    return 0;
}

static inline struct key *fixture_key(struct ca_thread *thread, enum key_type type, unsigned bits)
{
    struct key *key = NULL;
    struct error error = {0};
    if (key_generate(thread, type, bits, &key, &error))
        fail_msg("%s", error.text);
    return key;
}

static inline void fixture_free(struct fixture_certificate *certificate)
{
    free(certificate->der);
    key_free(certificate->key);
    *certificate = (struct fixture_certificate){0};
}

static inline void fixture_parse(struct fixture_certificate *certificate)
{
    struct error error = {0};
    if (x509_parse(&certificate->x509, certificate->der, certificate->size, &error))
        fail_msg("%s", error.text);
}

/* A raw extension for fixture_raw(). */
struct fixture_extension {
    const char *oid;
    size_t oid_length;
    bool critical;
    const char *value;
    size_t value_length;
};

#define FIXTURE_EXTENSION(oid, critical, value)                  \
    {                                                            \
        oid, sizeof(oid) - 1, critical, value, sizeof(value) - 1 \
    }

/* Extension values. */
#define FIXTURE_CA_TRUE       "\x30\x03\x01\x01\xff"
#define FIXTURE_CA_PATHLEN0   "\x30\x06\x01\x01\xff\x02\x01\x00"
#define FIXTURE_CA_FALSE      "\x30\x00"
#define FIXTURE_KU_CERT_SIGN  "\x03\x02\x01\x06"
#define FIXTURE_KU_DIGITAL    "\x03\x02\x07\x80"
#define FIXTURE_EKU_SERVER    "\x30\x0a\x06\x08" OID_SERVER_AUTH
#define FIXTURE_EXT_CA        FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true, FIXTURE_CA_TRUE)
#define FIXTURE_EXT_CERT_SIGN FIXTURE_EXTENSION(OID_KEY_USAGE, true, FIXTURE_KU_CERT_SIGN)

/* What fixture_raw() makes. Names are common names; NULL is the empty name. */
struct fixture_raw {
    const char *subject, *issuer;
    int64_t not_before, not_after; /* 0: a day around FIXTURE_NOW */
    const struct fixture_extension *extensions;
    size_t extension_count;
};

/* Makes the DER of a certificate of any shape without judging it; the caller frees it. */
static inline uint8_t *fixture_raw(struct ca_thread *thread, const struct fixture_raw *raw,
                                   const struct key *subject_key, const struct key *issuer_key, size_t *size)
{
    struct der_writer writer;
    uint8_t *tbs, *der;
    size_t tbs_size;
    enum signature_algorithm algorithm = signature_default(key_type(issuer_key));
    der_writer_init(&writer);
    if (raw->extension_count) {
        for (size_t i = raw->extension_count; i--;) {
            const struct fixture_extension *extension = &raw->extensions[i];
            size_t mark = der_writer_mark(&writer);
            der_write_raw(&writer, extension->value, extension->value_length);
            extension_end(&writer, (const uint8_t *)extension->oid, extension->oid_length,
                          extension->critical, mark);
        }
        der_write_header(&writer, DER_SEQUENCE, 0);
        der_write_header(&writer, DER_CONTEXT_CONSTRUCTED(3), 0);
    }
    der_write_slice(&writer, key_public(subject_key)->spki);
    certificate_write_name(&writer, raw->subject);
    size_t mark = der_writer_mark(&writer);
    der_write_time(&writer, raw->not_after ? raw->not_after : FIXTURE_NOW + FIXTURE_DAY);
    der_write_time(&writer, raw->not_before ? raw->not_before : FIXTURE_NOW - FIXTURE_DAY);
    der_write_header(&writer, DER_SEQUENCE, mark);
    certificate_write_name(&writer, raw->issuer);
    signature_write_algorithm(&writer, algorithm);
    der_write_unsigned(&writer, 77);
    mark = der_writer_mark(&writer);
    der_write_unsigned(&writer, 2);
    der_write_header(&writer, DER_CONTEXT_CONSTRUCTED(0), mark);
    der_write_header(&writer, DER_SEQUENCE, 0);
    assert_int_equal(der_writer_take(&writer, &tbs, &tbs_size, "test", NULL), 0);
    assert_int_equal(
        signature_frame(thread, issuer_key, algorithm, der_slice(tbs, tbs_size), &der, size, NULL), 0);
    free(tbs);
    return der;
}

/* As fixture_raw(), parsed; it must parse. */
static inline struct fixture_certificate fixture_make(struct ca_thread *thread, const struct fixture_raw *raw,
                                                      const struct key *subject_key,
                                                      const struct key *issuer_key)
{
    struct fixture_certificate made = {0};
    made.der = fixture_raw(thread, raw, subject_key, issuer_key, &made.size);
    fixture_parse(&made);
    return made;
}

static inline struct certificate_terms fixture_terms(uint64_t serial)
{
    return (struct certificate_terms){
        .serial = serial, .not_before = FIXTURE_NOW - 60, .not_after = FIXTURE_NOW + FIXTURE_DAY};
}

/* A root of Consul's profile with a key of its own. */
static inline struct fixture_certificate fixture_root(struct ca_thread *thread, enum key_type type,
                                                      unsigned bits, const char *common_name)
{
    struct fixture_certificate root = {.key = fixture_key(thread, type, bits)};
    struct certificate_terms terms = fixture_terms(7);
    struct error error = {0};
    if (certificate_make_root(thread, root.key, common_name, "spiffe://" FIXTURE_TRUST_DOMAIN, &terms,
                              &root.der, &root.size, &error))
        fail_msg("%s", error.text);
    fixture_parse(&root);
    return root;
}

static inline struct certificate_issuer fixture_issuer(const struct fixture_certificate *ca)
{
    return (struct certificate_issuer){&ca->x509, ca->key};
}

/* A leaf of Consul's profile for FIXTURE_LEAF_URI, with a key of its own. */
static inline struct fixture_certificate fixture_leaf(struct ca_thread *thread,
                                                      const struct fixture_certificate *ca)
{
    struct fixture_certificate leaf = {.key = fixture_key(thread, KEY_TYPE_EC, 256)};
    struct certificate_terms terms = fixture_terms(8);
    struct certificate_issuer issuer = fixture_issuer(ca);
    struct general_name name = general_name_text(GENERAL_NAME_URI, FIXTURE_LEAF_URI);
    struct certificate_leaf wanted = {.spki = key_public(leaf.key)->spki, .names = &name, .name_count = 1};
    struct error error = {0};
    if (certificate_make_leaf(thread, &issuer, &wanted, &terms, &leaf.der, &leaf.size, &error))
        fail_msg("%s", error.text);
    fixture_parse(&leaf);
    return leaf;
}

/* An intermediate of Consul's profile (empty subject, path length 0), with a key of its own. */
static inline struct fixture_certificate fixture_intermediate(struct ca_thread *thread,
                                                              const struct fixture_certificate *ca)
{
    struct fixture_certificate made = {.key = fixture_key(thread, KEY_TYPE_EC, 256)};
    struct certificate_terms terms = fixture_terms(9);
    struct certificate_issuer issuer = fixture_issuer(ca);
    struct general_name name = general_name_text(GENERAL_NAME_URI, "spiffe://" FIXTURE_TRUST_DOMAIN);
    struct csr_request request = {.names = &name, .name_count = 1, .ca = true};
    struct csr csr;
    uint8_t *der = NULL;
    size_t size = 0;
    struct error error = {0};
    if (csr_make(thread, made.key, &request, &der, &size, &error) || csr_check(&csr, der, size, &error) ||
        certificate_make_intermediate(thread, &issuer, &csr, &terms, &made.der, &made.size, &error))
        fail_msg("%s", error.text);
    free(der);
    fixture_parse(&made);
    return made;
}

/* The new root, cross-signed by the old one; the key stays with the new root. */
static inline struct fixture_certificate fixture_cross(struct ca_thread *thread,
                                                       const struct fixture_certificate *old_root,
                                                       const struct fixture_certificate *new_root)
{
    struct fixture_certificate made = {0};
    struct certificate_terms terms = fixture_terms(10);
    struct certificate_issuer issuer = fixture_issuer(old_root);
    struct error error = {0};
    if (certificate_cross_sign(thread, &issuer, &new_root->x509, &terms, &made.der, &made.size, &error))
        fail_msg("%s", error.text);
    fixture_parse(&made);
    return made;
}

#define FIXTURE_RUN(tests) cmocka_run_group_tests(tests, fixture_setup, fixture_teardown)

#endif

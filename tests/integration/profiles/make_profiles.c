/* SPDX-License-Identifier: MIT */
/* make_profiles DIRECTORY UNIX_SECONDS: writes one certificate of each profile and a CRL for every kind of CA
 * key, to be judged by other implementations (test_profiles.py). One folder a kind.
 * make_profiles --key-id FILE: reads another program's private key and prints its type, bits and key id. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/ca/certificate.h"
#include "agent/ca/crl.h"
#include "agent/ca/pem.h"

#define CLUSTER_ID   "11111111-2222-3333-4444-555555555555"
#define TRUST_DOMAIN "spiffe://" CLUSTER_ID ".consul"

enum { HOUR = 3600, YEAR = 365 * 24 * HOUR };

struct output {
    const char *directory;
    char kind[16];
    int64_t now;
    struct ca_thread *thread;
};

struct ca {
    struct key *key;
    uint8_t *der;
    size_t size;
    struct x509 x509;
};

static void die_if(int failed, const char *what, const struct error *error)
{
    if (!failed)
        return;
    fprintf(stderr, "make_profiles: %s: %s\n", what, error->text);
    exit(1);
}

static void write_text(const struct output *output, const char *name, const char *text, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", output->directory, output->kind, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size || close(fd)) {
        perror(path);
        exit(1);
    }
}

static void write_pem(const struct output *output, const char *name, const char *label, const uint8_t *der,
                      size_t size)
{
    struct error error = {0};
    char *text;
    size_t text_size;
    die_if(pem_encode(label, der, size, &text, &text_size, &error), name, &error);
    write_text(output, name, text, text_size);
    free(text);
}

static void write_keys(const struct output *output, const char *stem, const struct key *key)
{
    static const char *const suffixes[] = {".key.pem", ".pkcs8.pem"};
    static const enum key_format formats[] = {KEY_FORMAT_TRADITIONAL, KEY_FORMAT_PKCS8};
    struct error error = {0};
    for (size_t i = 0; i < 2; i++) {
        char name[64], *text;
        size_t size;
        snprintf(name, sizeof name, "%s%s", stem, suffixes[i]);
        die_if(key_export_pem(key, formats[i], &text, &size, &error), name, &error);
        write_text(output, name, text, size);
        pem_free_secret(text, size);
    }
}

static void ca_free(struct ca *ca)
{
    key_free(ca->key);
    free(ca->der);
}

static struct ca make_root(const struct output *output, enum key_type type, unsigned bits, uint64_t serial)
{
    struct error error = {0};
    struct ca root = {0};
    char common_name[CERTIFICATE_COMMON_NAME_MAX_BYTES + 1];
    struct certificate_terms terms = {
        .serial = serial, .not_before = output->now, .not_after = output->now + 10 * (int64_t)YEAR};
    die_if(key_generate(output->thread, type, bits, &root.key, &error) ||
               certificate_ca_common_name(output->thread, "pri", "consul", CLUSTER_ID, common_name, &error) ||
               certificate_make_root(output->thread, root.key, common_name, TRUST_DOMAIN, &terms, &root.der,
                                     &root.size, &error) ||
               x509_parse(&root.x509, root.der, root.size, &error),
           "root", &error);
    return root;
}

/* A leaf by way of a request, as the agent makes them; `common_name` NULL for the current profile. */
static void make_leaf(const struct output *output, const struct ca *ca, const char *stem,
                      const char *common_name)
{
    struct general_name names[] = {
        general_name_text(GENERAL_NAME_URI, TRUST_DOMAIN "/ns/default/dc/dc1/svc/web"),
        {GENERAL_NAME_IP, der_slice("\x7f\x00\x00\x01", 4)},
        {GENERAL_NAME_IP, der_slice("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16)},
        general_name_text(GENERAL_NAME_DNS, "localhost"),
    };
    struct csr_request request = {.common_name = common_name, .names = names, .name_count = 4};
    struct certificate_issuer issuer = {&ca->x509, ca->key};
    struct certificate_terms terms = {.serial = 300,
                                      .not_before = output->now - CERTIFICATE_BACKDATE_SEC,
                                      .not_after = output->now - CERTIFICATE_BACKDATE_SEC + 72 * HOUR};
    struct error error = {0};
    struct key *key;
    struct csr csr;
    uint8_t *request_der = NULL, *der = NULL;
    size_t request_size = 0, size = 0;
    char name[64];
    die_if(key_generate(output->thread, KEY_TYPE_EC, 256, &key, &error) ||
               csr_make(output->thread, key, &request, &request_der, &request_size, &error) ||
               csr_check(&csr, request_der, request_size, &error),
           "request", &error);
    struct certificate_leaf leaf = {common_name, csr.public_key.spki, names, 4};
    die_if(certificate_make_leaf(output->thread, &issuer, &leaf, &terms, &der, &size, &error), "leaf",
           &error);
    snprintf(name, sizeof name, "%s.pem", stem);
    write_pem(output, name, PEM_CERTIFICATE, der, size);
    snprintf(name, sizeof name, "%s.csr.pem", stem);
    write_pem(output, name, PEM_CERTIFICATE_REQUEST, request_der, request_size);
    write_keys(output, stem, key);
    key_free(key);
    free(request_der);
    free(der);
}

/* An intermediate by way of a request: STEM.csr.pem and STEM.pem. NULL `common_name`: the current profile. */
static struct ca make_intermediate(const struct output *output, const struct ca *root, enum key_type type,
                                   unsigned bits, const char *stem, const char *common_name)
{
    struct general_name name = general_name_text(GENERAL_NAME_URI, TRUST_DOMAIN);
    struct csr_request request = {.common_name = common_name, .names = &name, .name_count = 1, .ca = true};
    struct certificate_issuer issuer = {&root->x509, root->key};
    struct certificate_terms terms = {.serial = 9,
                                      .not_before = output->now - CERTIFICATE_BACKDATE_SEC,
                                      .not_after = output->now - CERTIFICATE_BACKDATE_SEC + YEAR};
    struct error error = {0};
    struct ca made = {0};
    struct csr csr;
    uint8_t *der = NULL;
    size_t size = 0;
    die_if(key_generate(output->thread, type, bits, &made.key, &error) ||
               csr_make(output->thread, made.key, &request, &der, &size, &error) ||
               csr_check(&csr, der, size, &error) ||
               certificate_make_intermediate(output->thread, &issuer, &csr, &terms, &made.der, &made.size,
                                             &error) ||
               x509_parse(&made.x509, made.der, made.size, &error),
           "intermediate", &error);
    char file[64];
    snprintf(file, sizeof file, "%s.csr.pem", stem);
    write_pem(output, file, PEM_CERTIFICATE_REQUEST, der, size);
    snprintf(file, sizeof file, "%s.pem", stem);
    write_pem(output, file, PEM_CERTIFICATE, made.der, made.size);
    free(der);
    return made;
}

static void cross_sign(const struct output *output, const struct ca *old_root, const struct ca *new_root,
                       const char *name)
{
    struct certificate_issuer issuer = {&old_root->x509, old_root->key};
    struct certificate_terms terms = {.serial = 10,
                                      .not_before = output->now - CERTIFICATE_BACKDATE_SEC,
                                      .not_after = output->now - CERTIFICATE_BACKDATE_SEC +
                                                   CERTIFICATE_CROSS_SIGNED_SEC};
    struct error error = {0};
    uint8_t *der;
    size_t size;
    die_if(certificate_cross_sign(output->thread, &issuer, &new_root->x509, &terms, &der, &size, &error),
           name, &error);
    write_pem(output, name, PEM_CERTIFICATE, der, size);
    free(der);
}

static void make_crl(const struct output *output, const struct ca *ca)
{
    const struct crl_entry entries[] = {
        {der_slice("\x01\x2c", 2), output->now - 30, CRL_KEY_COMPROMISE},
        {der_slice("\xff", 1), output->now - 20, CRL_UNSPECIFIED},
    };
    struct crl_terms terms = {.number = 258,
                              .this_update = output->now,
                              .next_update = output->now + 24 * HOUR,
                              .entries = entries,
                              .entry_count = 2};
    struct certificate_issuer issuer = {&ca->x509, ca->key};
    struct error error = {0};
    uint8_t *der;
    size_t size;
    for (int i = 0; i < 2; i++) {
        die_if(crl_make(output->thread, &issuer, &terms, &der, &size, &error), "CRL", &error);
        write_pem(output, i ? "empty.crl.pem" : "crl.pem", PEM_CRL, der, size);
        free(der);
        terms.entry_count = 0;
    }
}

static void make_kind(struct output *output, const struct ca *other_root, enum key_type type, unsigned bits)
{
    char path[4096];
    snprintf(output->kind, sizeof output->kind, "%s%u", key_type_name(type), bits);
    snprintf(path, sizeof path, "%s/%s", output->directory, output->kind);
    if (mkdir(path, 0700) && errno != EEXIST) {
        perror(path);
        exit(1);
    }
    struct ca root = make_root(output, type, bits, 7);
    write_pem(output, "root.pem", PEM_CERTIFICATE, root.der, root.size);
    write_keys(output, "root", root.key);
    make_leaf(output, &root, "leaf", NULL);
    make_leaf(output, &root, "named", "web.svc.default.11111111.consul");
    /* RSA keys are slow to make: one a kind is enough. */
    enum key_type below_type = type == KEY_TYPE_RSA ? KEY_TYPE_EC : type;
    unsigned below_bits = type == KEY_TYPE_RSA ? 256 : bits;
    struct ca intermediate = make_intermediate(output, &root, below_type, below_bits, "intermediate", NULL);
    struct ca secondary = make_intermediate(output, &root, below_type, below_bits, "secondary",
                                            "sec-abcdefgh.consul.ca.11111111.consul");
    make_leaf(output, &intermediate, "below", NULL);
    make_leaf(output, &secondary, "under", NULL);
    write_pem(output, "other.pem", PEM_CERTIFICATE, other_root->der, other_root->size);
    cross_sign(output, other_root, &root, "cross.pem");
    cross_sign(output, &root, other_root, "cross-back.pem");
    make_crl(output, &root);
    ca_free(&secondary);
    ca_free(&intermediate);
    ca_free(&root);
}

static int print_key_id(struct ca_thread *thread, const char *path)
{
    struct error error = {0};
    struct key *key;
    char text[16384], id[3 * KEY_ID_BYTES];
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    die_if(key_import_pem(thread, text, size, &key, &error), path, &error);
    x509_colon_hex(key_id(key), KEY_ID_BYTES, id);
    printf("%s %u %s\n", key_type_name(key_type(key)), key_bits(key), id);
    key_free(key);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        enum key_type type;
        unsigned bits;
    } kinds[] = {{KEY_TYPE_EC, 224},   {KEY_TYPE_EC, 256},   {KEY_TYPE_EC, 384},   {KEY_TYPE_EC, 521},
                 {KEY_TYPE_RSA, 2048}, {KEY_TYPE_RSA, 3072}, {KEY_TYPE_RSA, 4096}, {KEY_TYPE_ED25519, 256}};
    struct error error = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: make_profiles DIRECTORY UNIX_SECONDS\n");
        return 2;
    }
    struct output output = {.directory = argv[1], .now = strtoll(argv[2], NULL, 10)};
    output.thread = ca_thread_create(&error);
    die_if(!output.thread, "random generator", &error);
    if (strcmp(argv[1], "--key-id") == 0) {
        int result = print_key_id(output.thread, argv[2]);
        ca_thread_free(output.thread);
        return result;
    }
    struct ca other_root = make_root(&output, KEY_TYPE_EC, 384, 8);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        make_kind(&output, &other_root, kinds[i].type, kinds[i].bits);
    ca_free(&other_root);
    ca_thread_free(output.thread);
    return 0;
}

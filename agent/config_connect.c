/* SPDX-License-Identifier: MIT */
/* The section `connect`, with the names, defaults, checks and words of Consul's own configuration. */
#include "agent/config_internal.h"

#include "agent/duration.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 65536 };

static void read_cluster_id(struct config_reader *reader, cfg_t *section, struct config_ca *ca)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const struct config_value *value = config_value_of(section, "cluster_id");
    if (!value)
        return;
    bool fine = strlen(value->text) == strlen(shape);
    for (size_t i = 0; fine && shape[i]; i++)
        fine = shape[i] == '-' ? value->text[i] == '-' : isxdigit((unsigned char)value->text[i]) != 0;
    if (!fine) {
        config_refuse(reader, value->line,
                      "cluster_id \"%.64s\" is not a UUID; write it as %s, in hexadecimal", value->text,
                      shape);
        return;
    }
    config_read_text(reader, section, "cluster_id", &ca->cluster_id);
    for (char *c = ca->cluster_id; c && *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

static void take_pem(struct config_reader *reader, unsigned line, const char *key, const char *text,
                     char **pem)
{
    const char *begin = text + strspn(text, " \t\r\n");
    if (strncmp(begin, "-----BEGIN ", 11) != 0)
        config_refuse(reader, line, "%s is not PEM; it must begin with -----BEGIN", key);
    else if (strlen(text) > PEM_BYTES_MAX)
        config_refuse(reader, line, "%s is longer than %d bytes", key, PEM_BYTES_MAX);
    else if (!reader->failed && !config_set_text(pem, text))
        config_refuse(reader, line, "out of memory");
}

/* Reads a regular file of less than PEM_BYTES_MAX bytes. Returns what is wrong with it, or NULL. */
static const char *read_pem_file(const char *path, bool secret, char text[PEM_BYTES_MAX + 1])
{
    struct stat status;
    const char *wrong = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return strerrordesc_np(errno);
    ssize_t size = 0, got = 0;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        wrong = "is not a regular file";
    else if (secret && (status.st_mode & 07))
        wrong = "holds a private key that everybody may read; chmod o= it";
    while (!wrong && size < PEM_BYTES_MAX &&
           (got = read(fd, text + size, (size_t)(PEM_BYTES_MAX - size))) > 0)
        size += got;
    if (!wrong && got < 0)
        wrong = strerrordesc_np(errno);
    else if (!wrong && size == PEM_BYTES_MAX)
        wrong = "is longer than 64 KiB";
    close(fd);
    text[size] = '\0';
    return wrong;
}

/* `key` holds PEM text, `file_key` names a file that does. */
static void read_pem(struct config_reader *reader, cfg_t *section, const char *key, const char *file_key,
                     bool secret, char **pem)
{
    const struct config_value *value = config_value_of(section, key);
    const struct config_value *file = config_value_of(section, file_key);
    char *path = NULL;
    if (value && file) {
        config_refuse(reader, file->line, "%s and %s are both given; remove one", key, file_key);
    } else if (value && value->text[0]) { /* Consul writes "" for "generate one" */
        take_pem(reader, value->line, key, value->text, pem);
        if (secret)
            config_warn(reader, value->line,
                        "%s in the configuration file passes through buffers that are not "
                        "wiped; %s is safer",
                        key, file_key);
    } else if (file) {
        config_read_path(reader, section, file_key, &path);
        char text[PEM_BYTES_MAX + 1];
        const char *wrong = path ? read_pem_file(path, secret, text) : NULL;
        if (wrong)
            config_refuse(reader, file->line, "%s %.200s: %s", file_key, path, wrong);
        else if (path)
            take_pem(reader, file->line, file_key, text, pem);
        explicit_bzero(text, sizeof text);
        free(path);
    }
}

static void read_csr_rate(struct config_reader *reader, cfg_t *section, struct config_ca *ca)
{
    const struct config_value *value = config_value_of(section, "csr_max_per_second");
    if (!value)
        return;
    /* Only plain decimals: strtod() alone would take "inf", "nan" and hexadecimal too. */
    char *end;
    double rate = strtod(value->text, &end);
    if (!value->text[0] || value->text[strspn(value->text, "0123456789.")] || *end || !isfinite(rate) ||
        rate > 1e6)
        config_refuse(reader, value->line, "csr_max_per_second \"%.40s\" is not a number from 0 to 1000000",
                      value->text);
    else
        ca->csr_max_per_second = rate;
}

/* Consul's checks in Consul's order and words. */
static void check_ttls(struct config_reader *reader, cfg_t *section, const struct config_ca *ca)
{
    const int64_t leaf = ca->leaf_cert_ttl_ns, intermediate = ca->intermediate_cert_ttl_ns;
    char root_text[DURATION_TEXT_SIZE], intermediate_text[DURATION_TEXT_SIZE],
        triple_text[DURATION_TEXT_SIZE];
    duration_print(ca->root_cert_ttl_ns, root_text);
    duration_print(intermediate, intermediate_text);
    if (ca->root_cert_ttl_ns < intermediate)
        config_refuse(
            reader, config_line_of(section, "root_cert_ttl"),
            "root cert TTL is set and is not greater than intermediate cert ttl. root cert ttl: %s, "
            "intermediate cert ttl: %s; raise root_cert_ttl",
            root_text, intermediate_text);
    if (leaf < DURATION_HOUR)
        config_refuse(reader, config_line_of(section, "leaf_cert_ttl"),
                      "leaf cert TTL must be greater or equal than 1h0m0s; raise leaf_cert_ttl");
    if (leaf > 8760 * DURATION_HOUR)
        config_refuse(reader, config_line_of(section, "leaf_cert_ttl"),
                      "leaf cert TTL must be less than 8760h0m0s; lower leaf_cert_ttl");
    if (intermediate < 3 * DURATION_HOUR)
        config_refuse(reader, config_line_of(section, "intermediate_cert_ttl"),
                      "Intermediate Cert TTL must be greater or equal than 3h; raise intermediate_cert_ttl");
    if (!reader->failed && intermediate < 3 * leaf) { /* leaf is at most 8760h here: no overflow */
        duration_print(3 * leaf, triple_text);
        config_refuse(reader, config_line_of(section, "intermediate_cert_ttl"),
                      "Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=%s).; raise "
                      "intermediate_cert_ttl",
                      triple_text);
    }
}

static void check_key(struct config_reader *reader, cfg_t *section, const struct config_ca *ca)
{
    unsigned bits = ca->private_key_bits;
    if (ca->private_key_type == CONFIG_KEY_EC && bits != 224 && bits != 256 && bits != 384 && bits != 521)
        config_refuse(reader, config_line_of(section, "private_key_bits"),
                      "EC key length must be one of (224, 256, 384, 521) bits; set private_key_bits");
    if (ca->private_key_type == CONFIG_KEY_RSA && bits != 2048 && bits != 4096)
        config_refuse(reader, config_line_of(section, "private_key_bits"),
                      "RSA key length must be 2048 or 4096 bits; set private_key_bits");
}

static void read_key_type(struct config_reader *reader, cfg_t *section, struct config_ca *ca)
{
    const struct config_value *value = config_value_of(section, "private_key_type");
    if (!value)
        return;
    if (strcmp(value->text, "ec") == 0)
        ca->private_key_type = CONFIG_KEY_EC;
    else if (strcmp(value->text, "rsa") == 0)
        ca->private_key_type = CONFIG_KEY_RSA;
    else
        config_refuse(reader, value->line, "private key type must be either 'ec' or 'rsa'");
}

static void read_ca_config(struct config_reader *reader, cfg_t *section, struct config_ca *ca)
{
    config_read_bool(reader, section, "skip_validate", &ca->skip_validate);
    read_cluster_id(reader, section, ca);
    config_read_duration(reader, section, "leaf_cert_ttl", 1, &ca->leaf_cert_ttl_ns);
    config_read_duration(reader, section, "intermediate_cert_ttl", 1, &ca->intermediate_cert_ttl_ns);
    config_read_duration(reader, section, "root_cert_ttl", 1, &ca->root_cert_ttl_ns);
    read_key_type(reader, section, ca);
    config_read_unsigned(reader, section, "private_key_bits", 0, 65536, &ca->private_key_bits);
    read_csr_rate(reader, section, ca);
    config_read_unsigned(reader, section, "csr_max_concurrent", 0, 65536, &ca->csr_max_concurrent);
    read_pem(reader, section, "private_key", "private_key_file", true, &ca->private_key);
    read_pem(reader, section, "root_cert", "root_cert_file", false, &ca->root_cert);
    const struct config_value *rotation = config_value_of(section, "rotation_period");
    if (rotation)
        config_warn(reader, rotation->line,
                    "rotation_period never had an effect, in Consul neither; remove it");
    if (!ca->skip_validate && !reader->failed) {
        check_ttls(reader, section, ca);
        check_key(reader, section, ca);
    }
    if (ca->root_cert && !ca->private_key)
        config_refuse(reader,
                      config_line_of(section,
                                     config_value_of(section, "root_cert") ? "root_cert" : "root_cert_file"),
                      "must provide a private key when providing a root cert; add private_key_file");
}

static void check_provider(struct config_reader *reader, cfg_t *connect, cfg_t *ca)
{
    static const char *const foreign[] = {"address", "token", "root_pki_path", "intermediate_pki_path",
                                          "existing_arn"};
    const struct config_value *provider = config_value_of(connect, "ca_provider");
    if (provider && strcmp(provider->text, "consul") != 0)
        config_refuse(
            reader, provider->line,
            "ca_provider \"%.40s\": this version has the built-in CA only; write \"consul\" or leave it out",
            provider->text);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        const struct config_value *value = config_value_of(ca, foreign[i]);
        if (value)
            config_refuse(reader, value->line, "%s belongs to another ca_provider than consul; remove it",
                          foreign[i]);
    }
}

void config_read_connect(struct config_reader *reader, cfg_t *connect)
{
    cfg_t *ca = cfg_getsec(connect, "ca_config");
    const struct config_value *enabled = config_value_of(connect, "enabled");
    config_read_bool(reader, connect, "enabled", &reader->config->connect_enabled);
    if (enabled && !reader->config->connect_enabled)
        config_warn(reader, enabled->line,
                    "enabled = false has no effect: what this agent is for needs its CA");
    check_provider(reader, connect, ca);
    read_ca_config(reader, ca, &reader->config->ca);
}

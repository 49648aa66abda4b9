/* SPDX-License-Identifier: MIT */
/* The CA configuration as Consul's API and file have it: a map, kept as it was written. */
#include "agent/ca/authority_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ca/digest.h"
#include "agent/ca/pem.h"
#include "agent/duration.h"

enum { SETTINGS_MAX = 128 };

static void wipe_key(struct authority_settings *settings)
{
    if (settings->private_key)
        explicit_bzero(settings->private_key, strlen(settings->private_key));
    free(settings->private_key);
    settings->private_key = NULL;
}

void authority_settings_forget_key(struct authority_settings *settings)
{
    settings->key_is_kept = authority_settings_have_key(settings);
    wipe_key(settings);
}

void authority_settings_free(struct authority_settings *settings)
{
    if (!settings)
        return;
    wipe_key(settings);
    free(settings->root_cert);
    free(settings->json);
    free(settings);
}

bool authority_settings_have_key(const struct authority_settings *settings)
{
    return settings->private_key || settings->key_is_kept;
}

/* Consul decodes its map weakly: numbers may be texts, durations may be nanoseconds, and null is as good as
 * absent. */

static int wrong(const char *key, const char *wanted, struct error *error)
{
    return error_set(error, ERROR_INVALID, "%s: %s expected", key, wanted);
}

static int read_duration(struct json_value config, const char *key, int64_t *nanoseconds, struct error *error)
{
    struct json_value value = json_find(config, key);
    const char *text;
    enum json_type type = json_type(value);
    int code = 0;
    if (type == JSON_TEXT)
        code = json_read_text(value, &text, error) ? ERROR_INVALID : duration_parse(text, nanoseconds, error);
    else if (type == JSON_NUMBER)
        code = json_read_i64(value, nanoseconds, error);
    else if (type != JSON_MISSING && type != JSON_NULL)
        code = wrong(key, "a duration", error);
    return code;
}

static int read_number(struct json_value config, const char *key, double *number, struct error *error)
{
    struct json_value value = json_find(config, key);
    const char *text;
    char *end;
    enum json_type type = json_type(value);
    if (type == JSON_MISSING || type == JSON_NULL)
        return 0;
    if (type == JSON_NUMBER)
        return json_read_double(value, number, error);
    if (type != JSON_TEXT || json_read_text(value, &text, NULL) || !*text ||
        text[strspn(text, "-0123456789.")])
        return wrong(key, "a number", error);
    double parsed = strtod(text, &end);
    if (*end)
        return wrong(key, "a number", error);
    *number = parsed;
    return 0;
}

static int read_integer(struct json_value config, const char *key, int64_t *integer, struct error *error)
{
    double number = (double)*integer;
    int code = read_number(config, key, &number, error);
    if (code)
        return code;
    if (number < -1e9 || number > 1e9 || number != (double)(int64_t)number)
        return wrong(key, "a whole number", error);
    *integer = (int64_t)number;
    return 0;
}

static int read_flag(struct json_value config, const char *key, bool *flag, struct error *error)
{
    struct json_value value = json_find(config, key);
    const char *text;
    if (json_type(value) != JSON_TEXT)
        return json_get_bool(config, key, flag, error);
    if (json_read_text(value, &text, error))
        return ERROR_INVALID;
    bool on = strcmp(text, "1") == 0 || strcasecmp(text, "t") == 0 || strcasecmp(text, "true") == 0;
    bool off =
        !*text || strcmp(text, "0") == 0 || strcasecmp(text, "f") == 0 || strcasecmp(text, "false") == 0;
    if (!on && !off)
        return wrong(key, "true or false", error);
    *flag = on;
    return 0;
}

static int read_type(struct json_value config, struct ca_config *ca, struct error *error)
{
    const char *text = ca->private_key_type;
    int code = json_get_text(config, "PrivateKeyType", &text, error);
    if (code)
        return code;
    if (text != ca->private_key_type) /* too long a word is cut and refused as unknown later */
        snprintf(ca->private_key_type, sizeof ca->private_key_type, "%s", text);
    return 0;
}

/* An empty text counts as absent, as Consul has it. */
static int read_pem(struct json_value config, const char *key, char **pem, struct error *error)
{
    const char *text = "";
    int code = json_get_text(config, key, &text, error);
    if (code || !*text)
        return code;
    *pem = strdup(text);
    return *pem ? 0 : error_errno(error, "%s", key);
}

static int read_keys(struct json_value config, struct authority_settings *settings, struct error *error)
{
    int code = read_pem(config, "PrivateKey", &settings->private_key, error);
    if (!code)
        code = read_pem(config, "RootCert", &settings->root_cert, error);
    if (code)
        return code;
    if (settings->private_key && strcmp(settings->private_key, AUTHORITY_KEPT_SECRET) == 0) {
        settings->key_is_kept = true;
        free(settings->private_key);
        settings->private_key = NULL;
    }
    settings->ca.key_is_provided = authority_settings_have_key(settings);
    if (settings->root_cert && !settings->ca.key_is_provided)
        return error_set(error, ERROR_INVALID, "must provide a private key when providing a root cert");
    return 0;
}

static int read_settings(struct json_value config, struct authority_settings *settings, struct error *error)
{
    struct ca_config *ca = &settings->ca;
    ca_config_default(ca);
    int code = 0;
    if ((code = read_duration(config, "LeafCertTTL", &ca->leaf_ttl_ns, error)) ||
        (code = read_duration(config, "IntermediateCertTTL", &ca->intermediate_ttl_ns, error)) ||
        (code = read_duration(config, "RootCertTTL", &ca->root_ttl_ns, error)) ||
        (code = read_type(config, ca, error)) ||
        (code = read_integer(config, "PrivateKeyBits", &ca->private_key_bits, error)) ||
        (code = read_number(config, "CSRMaxPerSecond", &ca->csr_max_per_second, error)) ||
        (code = read_integer(config, "CSRMaxConcurrent", &ca->csr_max_concurrent, error)) ||
        (code = read_flag(config, "SkipValidate", &ca->skip_validate, error)) ||
        (code = read_keys(config, settings, error)))
        return code;
    return ca_config_validate(ca, error);
}

/* Depth is bounded by the parser. Numbers become what Go makes of them, float64. */
static void copy_value(struct json_writer *writer, struct json_value value)
{
    const char *text = "";
    double number = 0;
    bool flag = false;
    switch (json_type(value)) {
    case JSON_TEXT:
        if (json_read_text(value, &text, NULL))
            writer->failed = true;
        json_text(writer, text);
        return;
    case JSON_NUMBER:
        if (json_read_double(value, &number, NULL))
            writer->failed = true;
        json_double(writer, number);
        return;
    case JSON_BOOL:
        json_read_bool(value, &flag, NULL);
        json_bool(writer, flag);
        return;
    case JSON_ARRAY:
        json_begin_array(writer);
        for (struct json_value item = json_first(value); item.document; item = json_next(item))
            copy_value(writer, item);
        json_end_array(writer);
        return;
    case JSON_OBJECT:
        json_begin_object(writer);
        for (struct json_value item = json_first(value); item.document; item = json_next(item)) {
            json_key(writer, json_key_of(item));
            copy_value(writer, item);
        }
        json_end_object(writer);
        return;
    case JSON_NULL:
    case JSON_MISSING:
        json_null(writer);
        return;
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp(json_key_of(*(const struct json_value *)a), json_key_of(*(const struct json_value *)b));
}

static void write_member(struct json_writer *writer, struct json_value member)
{
    const char *text = "";
    json_key(writer, json_key_of(member));
    bool secret =
        strcasecmp(json_key_of(member), "PrivateKey") == 0 && !json_read_text(member, &text, NULL) && *text;
    if (secret)
        json_text(writer, AUTHORITY_KEPT_SECRET);
    else
        copy_value(writer, member);
}

/* The members sorted by key, without the secret, and with the one default that Consul writes down itself. */
static int normalise(struct json_value config, char **json, struct error *error)
{
    static const char key[] = "IntermediateCertTTL";
    struct json_value members[SETTINGS_MAX];
    struct json_writer writer;
    size_t count = 0, size;
    if (json_count(config) > SETTINGS_MAX)
        return error_set(error, ERROR_LIMIT, "the CA configuration has more than %d keys", SETTINGS_MAX);
    for (struct json_value member = json_first(config); member.document; member = json_next(member))
        members[count++] = member;
    qsort(members, count, sizeof *members, by_key);
    bool absent = json_type(json_find(config, key)) == JSON_MISSING;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    for (size_t i = 0; i <= count; i++) {
        if (absent && (i == count || strcmp(json_key_of(members[i]), key) > 0)) {
            json_member_text(&writer, key, "8760h0m0s");
            absent = false;
        }
        if (i < count)
            write_member(&writer, members[i]);
    }
    json_end_object(&writer);
    *json = json_take(&writer, &size);
    json_writer_free(&writer);
    return *json ? 0 : error_set(error, ERROR_SYSTEM, "the CA configuration cannot be written as JSON");
}

int authority_settings_parse(const char *json, size_t size, struct authority_settings **settings,
                             struct error *error)
{
    struct json_document *document;
    int code = json_parse(json, size, NULL, &document, error);
    if (code)
        return error_at(error, "CA configuration");
    struct json_value config = json_root(document);
    struct authority_settings *made = calloc(1, sizeof *made);
    if (!made)
        code = error_errno(error, "CA configuration");
    else if (json_type(config) != JSON_OBJECT)
        code = error_set(error, ERROR_INVALID, "CA configuration: an object expected");
    else if (json_duplicate_key(document))
        code = error_set(error, ERROR_INVALID, "CA configuration: %s is given twice",
                         json_duplicate_key(document));
    else if (!(code = read_settings(config, made, error)))
        code = normalise(config, &made->json, error);
    json_free(document);
    if (code)
        authority_settings_free(made);
    else
        *settings = made;
    return code;
}

/* As people write it, and Consul by default: 72h for 72h0m0s. */
static void member_duration(struct json_writer *writer, const char *key, int64_t nanoseconds)
{
    char text[DURATION_TEXT_SIZE];
    duration_print(nanoseconds, text);
    size_t length = strlen(text);
    if (length > 2 && strcmp(text + length - 2, "0s") == 0 && text[length - 3] == 'm')
        text[length -= 2] = '\0';
    if (length > 2 && strcmp(text + length - 2, "0m") == 0 && text[length - 3] == 'h')
        text[length - 2] = '\0';
    json_member_text(writer, key, text);
}

static void write_file_settings(struct json_writer *writer, const struct config_ca *config)
{
    struct ca_config standard;
    ca_config_default(&standard);
    const char *type = config->private_key_type == CONFIG_KEY_RSA ? "rsa" : "ec";
    json_begin_object(writer);
    member_duration(writer, "IntermediateCertTTL", config->intermediate_cert_ttl_ns);
    member_duration(writer, "LeafCertTTL", config->leaf_cert_ttl_ns);
    member_duration(writer, "RootCertTTL", config->root_cert_ttl_ns);
    if (strcmp(type, standard.private_key_type) != 0)
        json_member_text(writer, "PrivateKeyType", type);
    if (config->private_key_bits != standard.private_key_bits)
        json_member_u64(writer, "PrivateKeyBits", config->private_key_bits);
    if (config->private_key)
        json_member_text(writer, "PrivateKey", config->private_key);
    if (config->root_cert)
        json_member_text(writer, "RootCert", config->root_cert);
    if (config->csr_max_per_second < standard.csr_max_per_second ||
        config->csr_max_per_second > standard.csr_max_per_second) {
        json_key(writer, "CSRMaxPerSecond");
        json_double(writer, config->csr_max_per_second);
    }
    if (config->csr_max_concurrent)
        json_member_u64(writer, "CSRMaxConcurrent", config->csr_max_concurrent);
    if (config->skip_validate)
        json_member_bool(writer, "SkipValidate", true);
    json_end_object(writer);
}

static char *file_settings_json(const struct config_ca *config, size_t *size)
{
    struct json_writer writer;
    json_writer_init(&writer, 0);
    write_file_settings(&writer, config);
    char *json = json_take(&writer, size);
    json_writer_free(&writer);
    return json;
}

int authority_settings_from_file(const struct config_ca *config, struct authority_settings **settings,
                                 struct error *error)
{
    size_t size;
    char *json = file_settings_json(config, &size);
    if (!json)
        return error_set(error, ERROR_SYSTEM, "CA configuration: out of memory");
    int code = authority_settings_parse(json, size, settings, error);
    pem_free_secret(json, size);
    return code;
}

int authority_settings_fingerprint(const struct config_ca *config, char text[AUTHORITY_FINGERPRINT_SIZE],
                                   struct error *error)
{
    uint8_t digest[DIGEST_SHA256_BYTES] = {0};
    size_t size;
    char *json = file_settings_json(config, &size);
    if (!json)
        return error_set(error, ERROR_SYSTEM, "CA configuration: out of memory");
    int code = digest_sha256(json, size, digest);
    pem_free_secret(json, size);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return code ? error_set(error, code, "CA configuration: SHA-256 failed") : 0;
}

void authority_settings_write(const struct authority_settings *settings, struct json_writer *writer)
{
    struct json_document *document;
    if (json_parse(settings->json, strlen(settings->json), NULL, &document, NULL)) {
        writer->failed = true;
        return;
    }
    copy_value(writer, json_root(document));
    json_free(document);
}

/* SPDX-License-Identifier: MIT */
/* The file through libconfuse: which keys there are, and each value with its line.
 *
 * Every value is taken as text and read by config_value.c, because libconfuse's own numbers accept octal and
 * signs where nobody expects them, and its errors do not say what to write instead. */
#include "agent/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* libconfuse's callbacks have no argument of ours, and its scanner is global as well. */
static struct config_reader *current;

static int take_value(cfg_t *section, cfg_opt_t *option, const char *text, void *result)
{
    if (current->overwritten) {
        config_refuse(current, (unsigned)section->line, "%s is given twice; remove one", option->name);
        return -1;
    }
    size_t size = strlen(text) + 1;
    struct config_value *value = malloc(sizeof *value + size);
    if (!value) {
        config_refuse(current, (unsigned)section->line, "out of memory");
        return -1;
    }
    value->line = (unsigned)section->line;
    memcpy(value->text, text, size);
    *(void **)result = value;
    return 0;
}

/* While the file is being parsed, a value is dropped only because the same key comes again. */
static void drop_value(void *pointer)
{
    struct config_value *value = pointer;
    if (current->parsing)
        current->overwritten = true;
    explicit_bzero(value->text, strlen(value->text)); /* it may be a private key */
    free(value);
}

static void __attribute__((format(printf, 2, 0)))
take_error(cfg_t *section, const char *format, va_list arguments)
{
    char text[300];
    vsnprintf(text, sizeof text, format, arguments);
    if (strncmp(text, "no such option", 14) == 0 || strncmp(text, "no sub-section", 14) == 0)
        config_refuse(current, (unsigned)section->line, "%s; see xylemd.conf(5) for the keys of %s%s", text,
                      strcmp(section->name, "root") == 0 ? "the file" : "section ",
                      strcmp(section->name, "root") == 0 ? "" : section->name);
    else if (strncmp(text, "found duplicate title", 21) == 0)
        config_refuse(current, (unsigned)section->line, "%s: two sections of one kind and name; merge them",
                      text);
    else
        config_refuse(current, (unsigned)section->line,
                      "%s; write KEY = \"VALUE\", or SECTION \"NAME\" { ... }", text);
}

#define VALUE(name)           CFG_PTR_CB(name, NULL, CFGF_NODEFAULT, take_value, drop_value)
#define LIST(name)            CFG_PTR_LIST_CB(name, NULL, CFGF_NODEFAULT, take_value, drop_value)
#define NAMED(name, options)  CFG_SEC(name, options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES)
#define SINGLE(name, options) CFG_SEC(name, options, CFGF_NONE)

static cfg_opt_t log_options[] = {VALUE("format"), VALUE("level"), CFG_END()};
static cfg_opt_t audit_options[] = {VALUE("file"), CFG_END()};
static cfg_opt_t identity_options[] = {VALUE("pattern"), CFG_END()};
static cfg_opt_t ca_options[] = {VALUE("cluster_id"), VALUE("leaf_cert_ttl"), VALUE("intermediate_cert_ttl"),
                                 VALUE("root_cert_ttl"), VALUE("private_key_type"), VALUE("private_key_bits"),
                                 VALUE("private_key"), VALUE("private_key_file"), VALUE("root_cert"),
                                 VALUE("root_cert_file"), VALUE("csr_max_per_second"),
                                 VALUE("csr_max_concurrent"), VALUE("skip_validate"),
                                 VALUE("rotation_period"),
                                 /* Of other providers, known so that the answer can name what is missing. */
                                 VALUE("address"), VALUE("token"), VALUE("root_pki_path"),
                                 VALUE("intermediate_pki_path"), VALUE("existing_arn"), CFG_END()};
static cfg_opt_t connect_options[] = {VALUE("enabled"), VALUE("ca_provider"), SINGLE("ca_config", ca_options),
                                      CFG_END()};
static cfg_opt_t service_options[] = {VALUE("namespace"), VALUE("partition"), LIST("users"), LIST("groups"),
                                      LIST("dns"),        LIST("ip"),         CFG_END()};
static cfg_opt_t leaves_options[] = {VALUE("on_request"),      VALUE("on_request_max"),
                                     LIST("on_request_users"), LIST("on_request_groups"),
                                     VALUE("unused_after"),    CFG_END()};
static cfg_opt_t attach_options[] = {VALUE("path"),  VALUE("mode"),    VALUE("user"),
                                     VALUE("group"), LIST("services"), CFG_END()};
static cfg_opt_t admin_options[] = {VALUE("path"),     VALUE("mode"),  VALUE("user"),
                                    VALUE("group"),    VALUE("level"), LIST("viewers"),
                                    LIST("operators"), LIST("admins"), CFG_END()};
static cfg_opt_t limits_options[] = {VALUE("clients"),
                                     VALUE("clients_per_uid"),
                                     VALUE("regions_per_uid"),
                                     VALUE("policy_region_bytes_max"),
                                     VALUE("scope_region_bytes_max"),
                                     VALUE("supersede_interval"),
                                     CFG_END()};
static cfg_opt_t root_options[] = {VALUE("config_version"),
                                   VALUE("state_directory"),
                                   VALUE("run_directory"),
                                   VALUE("key_file"),
                                   VALUE("key_credential"),
                                   VALUE("datacenter"),
                                   VALUE("default_policy"),
                                   VALUE("strict_trust_domain"),
                                   SINGLE("log", log_options),
                                   SINGLE("audit", audit_options),
                                   NAMED("identity", identity_options),
                                   SINGLE("connect", connect_options),
                                   NAMED("service", service_options),
                                   SINGLE("leaves", leaves_options),
                                   NAMED("attach", attach_options),
                                   NAMED("admin", admin_options),
                                   SINGLE("limits", limits_options),
                                   CFG_END()};

static void parse_clean(struct config_reader *reader, char *clean, size_t size)
{
    FILE *stream = fmemopen(clean, size, "r");
    cfg_t *root = cfg_init(root_options, CFGF_NONE);
    current = reader;
    if (!stream || !root || !(root->filename = strdup(reader->name))) {
        config_refuse(reader, 0, "out of memory");
        goto done;
    }
    cfg_set_error_function(root, take_error);
    reader->parsing = true;
    int status = cfg_parse_fp(root, stream);
    reader->parsing = false;
    if (status != CFG_SUCCESS || reader->overwritten)
        /* Takes effect only if no callback has said more. An empty list has no value to complain at. */
        config_refuse(reader, (unsigned)root->line,
                      reader->overwritten ? "a list is given twice; remove one" : "not understood");
    config_read_all(reader, root);
done:
    if (root)
        cfg_free(root);
    if (stream)
        fclose(stream);
    current = NULL;
}

int config_parse(const char *name, const char *text, size_t size, struct config **config,
                 struct config_texts *warnings, struct error *error)
{
    struct config_texts found = {0};
    struct config_reader reader = {.name = name, .error = error, .warnings = warnings ? &found : NULL};
    if (size > CONFIG_FILE_BYTES_MAX)
        return error_set(error, ERROR_LIMIT, "%s:1: larger than %d bytes; that cannot be a configuration",
                         name, CONFIG_FILE_BYTES_MAX);
    char *clean = malloc(size + 1);
    reader.config = config_new();
    int status;
    if (!clean || !reader.config) {
        status = error_errno(error, "%s:1", name);
        goto fail;
    }
    status = config_guard(name, text, size, clean, error);
    if (status != 0)
        goto fail;
    clean[size] = '\n'; /* fmemopen() refuses an empty buffer */
    parse_clean(&reader, clean, size + 1);
    if (!reader.failed && !config_fill(reader.config))
        config_refuse(&reader, 0, "out of memory");
    if (reader.failed) {
        status = ERROR_INVALID;
        goto fail;
    }
    explicit_bzero(clean, size);
    free(clean);
    if (warnings)
        *warnings = found;
    *config = reader.config;
    return 0;
fail:
    if (clean)
        explicit_bzero(clean, size);
    free(clean);
    config_free(reader.config);
    config_texts_free(&found);
    return status;
}

/* The whole file. A file that grows while it is read is cut at the limit, and refused for its size. */
static int read_file(int fd, const char *path, char *text, size_t *size, struct error *error)
{
    *size = 0;
    while (*size <= CONFIG_FILE_BYTES_MAX) {
        ssize_t got = read(fd, text + *size, CONFIG_FILE_BYTES_MAX + 1 - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(error, "%s:1: cannot be read", path);
        if (got == 0)
            break;
        *size += (size_t)got;
    }
    return 0;
}

int config_load(const char *path, struct config **config, struct config_texts *warnings, struct error *error)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_errno(error, "%s:1: cannot be opened", path);
    struct stat status;
    size_t size = 0;
    int result;
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    if (!text || fstat(fd, &status) != 0)
        result = error_errno(error, "%s:1", path);
    else if (!S_ISREG(status.st_mode))
        result =
            error_set(error, ERROR_INVALID, "%s:1: not a regular file; name the configuration file", path);
    else
        result = read_file(fd, path, text, &size, error);
    close(fd);
    if (result == 0)
        result = config_parse(path, text, size, config, warnings, error);
    if (text)
        explicit_bzero(text, size);
    free(text);
    return result;
}

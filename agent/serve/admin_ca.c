/* SPDX-License-Identifier: MIT */
/* Commands about the built-in CA. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/ca/authority.h"
#include "agent/ca/pem.h"
#include "agent/serve/admin_internal.h"

enum { CRL_LIFETIME_SEC = 86400, CRL_LIFETIME_MAX_SEC = 366 * 86400 };

/* NULL, and the call has ended, where the CA is not ours. */
static struct authority *authority_of(struct admin_call *call)
{
    if (!call->admin->options.authority)
        admin_fail_with(call, ERROR_NOT_FOUND, "this agent has no CA of its own; ask its upstream");
    return call->admin->options.authority;
}

void admin_ca_rotate(struct admin_call *call, size_t count, char **words)
{
    struct authority *authority = authority_of(call);
    struct error error;
    if (!authority)
        return;
    if (count == 1 && strcmp(words[0], "force") != 0) {
        admin_fail_with(call, ERROR_INVALID, "usage: rotate [force]");
        return;
    }
    admin_subject(call, count ? "without cross-signing" : "cross-signed");
    if (authority_rotate(authority, count == 1, admin_done, call, &error) != 0)
        admin_fail(call, &error);
}

void admin_ca_show(struct admin_call *call, size_t count, char **words)
{
    struct authority *authority = authority_of(call);
    (void)count, (void)words;
    if (!authority)
        return;
    authority_show(authority, &call->out);
    admin_answer(call, NULL);
}

/* --- ca set --- */

/* What the change points into. */
struct change {
    struct authority_change terms;
    struct json_document *given, *present; /* may hold a private key: json_free() wipes */
    struct json_writer config;
};

static void copy_value(struct json_writer *out, struct json_value value)
{
    const char *text = "";
    bool boolean = false;
    int64_t integer = 0;
    double number = 0;
    switch (json_type(value)) {
    case JSON_TEXT:
        json_read_text(value, &text, NULL);
        json_text(out, text);
        return;
    case JSON_BOOL:
        json_read_bool(value, &boolean, NULL);
        json_bool(out, boolean);
        return;
    case JSON_NUMBER:
        if (json_read_i64(value, &integer, NULL) == 0)
            json_i64(out, integer);
        else if (json_read_double(value, &number, NULL) == 0)
            json_double(out, number);
        return;
    case JSON_ARRAY:
        json_begin_array(out);
        for (struct json_value v = json_first(value); v.document; v = json_next(v))
            copy_value(out, v);
        json_end_array(out);
        return;
    case JSON_OBJECT:
        json_begin_object(out);
        for (struct json_value v = json_first(value); v.document; v = json_next(v)) {
            json_key(out, json_key_of(v));
            copy_value(out, v);
        }
        json_end_object(out);
        return;
    default:
        json_null(out);
    }
}

/* The configuration itself, or the whole body of Consul's PUT /v1/connect/ca/configuration. */
static int read_object(const char *text, struct change *change, struct error *error)
{
    static const char *const known[] = {"Provider",    "Config",      "State", "ForceWithoutCrossSigning",
                                        "CreateIndex", "ModifyIndex", NULL};
    int code = json_parse(text, strlen(text), NULL, &change->given, error);
    if (code)
        return code;
    struct json_value root = json_root(change->given), config = root;
    if (json_type(root) != JSON_OBJECT)
        return error_set(error, ERROR_INVALID, "the configuration must be a JSON object");
    if (json_find(root, "Config").document) {
        code = json_refuse_unknown(root, known, error);
        if (!code)
            code = json_get_text(root, "Provider", &change->terms.provider, error);
        if (!code)
            code = json_get_bool(root, "ForceWithoutCrossSigning", &change->terms.force_without_cross_signing,
                                 error);
        if (!code)
            code = json_get_u64(root, "ModifyIndex", &change->terms.modify_index, error);
        if (!code)
            code = json_get_object(root, "Config", &config, error);
    }
    if (!code)
        copy_value(&change->config, config);
    return code;
}

static int parse_present(const struct authority *authority, struct change *change, struct error *error)
{
    struct json_writer shown;
    json_writer_init(&shown, 0);
    authority_show(authority, &shown);
    int code = shown.failed ? error_set(error, ERROR_SYSTEM, "no memory")
                            : json_parse(shown.data, shown.size, NULL, &change->present, error);
    json_writer_free(&shown);
    return code;
}

static bool is_key(const char *word, const char *key)
{
    size_t size = strlen(key);
    return strncasecmp(word, key, size) == 0 && word[size] == '=';
}

/* Numbers and booleans as such, everything else as text. */
static void write_setting(struct json_writer *out, const char *value)
{
    char *end = NULL;
    errno = 0;
    double number = strtod(value, &end);
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        json_bool(out, *value == 't');
    else if (errno == 0 && end != value && *end == '\0' && *value >= '0' && *value <= '9')
        json_double(out, number);
    else
        json_text(out, value);
}

static const char *const force_key = "ForceWithoutCrossSigning";

static int check_settings(size_t count, char **words, struct change *change, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(words[i], '=');
        if (!equals || equals == words[i])
            return error_set(error, ERROR_INVALID,
                             "argument %zu is no KEY=VALUE; try: ca set LeafCertTTL=48h", i + 1);
        if (is_key(words[i], force_key))
            change->terms.force_without_cross_signing = strcmp(equals + 1, "true") == 0;
    }
    return 0;
}

/* The present configuration with some keys replaced. */
static int merge_settings(const struct authority *authority, size_t count, char **words,
                          struct change *change, struct error *error)
{
    int code = check_settings(count, words, change, error);
    if (!code)
        code = parse_present(authority, change, error);
    if (code)
        return code;
    struct json_writer *out = &change->config;
    json_begin_object(out);
    struct json_value config = json_find(json_root(change->present), "Config");
    for (struct json_value v = json_first(config); v.document; v = json_next(v)) {
        bool replaced = false;
        for (size_t i = 0; i < count; i++)
            replaced |= is_key(words[i], json_key_of(v));
        if (!replaced) {
            json_key(out, json_key_of(v));
            copy_value(out, v);
        }
    }
    for (size_t i = 0; i < count; i++) {
        char *equals = strchr(words[i], '=');
        if (is_key(words[i], force_key))
            continue;
        *equals = '\0';
        json_key(out, words[i]);
        write_setting(out, equals + 1);
    }
    json_end_object(out);
    return 0;
}

void admin_ca_set(struct admin_call *call, size_t count, char **words)
{
    struct authority *authority = authority_of(call);
    struct change change = {0};
    struct error error;
    if (!authority)
        return;
    json_writer_init(&change.config, 0);
    int code = words[0][0] == '{' && count == 1 ? read_object(words[0], &change, &error)
                                                : merge_settings(authority, count, words, &change, &error);
    size_t size = 0;
    char *config = code ? NULL : json_take(&change.config, &size);
    if (!code && !config)
        code = error_set(&error, ERROR_SYSTEM, "no memory for the configuration");
    change.terms.config_json = config;
    change.terms.config_json_size = size;
    if (!code)
        code = authority_set_config(authority, &change.terms, admin_done, call, &error);
    if (config)
        explicit_bzero(config, size);
    free(config);
    json_writer_free(&change.config);
    json_free(change.given);
    json_free(change.present);
    if (code)
        admin_fail(call, &error);
}

/* --- ca crl --- */

struct crl_list {
    const struct revocations *set;
    uint8_t issuer[REVOCATION_ISSUER_MAX]; /* the active root's key */
    size_t issuer_size;
    struct crl_entry *entries;
    size_t count;
};

/* Those of the active root: by name, or for whatever issuer unless the root's own entry says more. */
static int collect(void *context, const struct revocation *revocation)
{
    struct crl_list *list = context;
    const uint8_t *issuer = revocation_issuer_key_id(revocation), *serial = revocation_serial(revocation);
    size_t size = revocation->issuer_key_id_size;
    bool is_own = size == list->issuer_size && memcmp(issuer, list->issuer, size) == 0;
    bool is_any = size == 0 && !revocations_get(list->set, list->issuer, list->issuer_size, serial,
                                                revocation->serial_size);
    if (is_own || is_any)
        list->entries[list->count++] = (struct crl_entry){.serial = {serial, revocation->serial_size},
                                                          .revoked_at = revocation->revoked_at,
                                                          .reason = (enum crl_reason)revocation->reason};
    return 0;
}

static int collect_all(const struct authority *authority, struct crl_list *list, struct error *error)
{
    const struct source_roots *roots = authority_roots(authority);
    if (!roots || roots->count == 0)
        return error_set(error, ERROR_BUSY, "there is no root yet; the agent is starting");
    list->entries = calloc(revocations_count(list->set) + 1, sizeof *list->entries);
    if (!list->entries)
        return error_set(error, ERROR_SYSTEM, "no memory for the CRL");
    int code = revocation_parse_issuer_key_id(roots->roots[roots->active].signing_key_id, list->issuer,
                                              &list->issuer_size, error);
    if (!code)
        revocations_for_each(list->set, collect, list);
    return code;
}

static void on_crl(void *argument, uint8_t *der, size_t size, const struct error *error)
{
    struct admin_call *call = argument;
    struct error own;
    char *pem = NULL;
    size_t pem_size = 0;
    if (error)
        admin_fail(call, error);
    else if (pem_encode(PEM_CRL, der, size, &pem, &pem_size, &own) != 0)
        admin_fail(call, &own);
    else
        admin_answer_text(call, "pem", pem, pem_size);
    free(pem);
    free(der);
}

static int read_lifetime(size_t count, char **words, int64_t *lifetime_sec, struct error *error)
{
    char *end = NULL;
    *lifetime_sec = CRL_LIFETIME_SEC;
    if (count == 0)
        return 0;
    errno = 0;
    long long seconds = strtoll(words[0], &end, 10);
    if (errno || end == words[0] || *end || seconds < 1 || seconds > CRL_LIFETIME_MAX_SEC)
        return error_set(error, ERROR_INVALID, "\"%.40s\": say for how many seconds, 1 to %d", words[0],
                         CRL_LIFETIME_MAX_SEC);
    *lifetime_sec = seconds;
    return 0;
}

void admin_ca_crl(struct admin_call *call, size_t count, char **words)
{
    struct authority *authority = authority_of(call);
    int64_t lifetime_sec;
    struct error error;
    if (!authority)
        return;
    struct crl_list list = {.set = model_revocations(call->admin->options.model)};
    int code = read_lifetime(count, words, &lifetime_sec, &error);
    if (!code)
        code = collect_all(authority, &list, &error);
    if (!code)
        code = authority_crl(authority, list.entries, list.count, lifetime_sec, on_crl, call, &error);
    free(list.entries);
    if (code)
        admin_fail(call, &error);
}

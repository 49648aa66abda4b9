/* SPDX-License-Identifier: MIT */
/* L7 permissions: checked in Consul's order and words while they are rewritten in its order of keys. */
#include "agent/core/intention_internal.h"

#include <ctype.h>
#include <stdio.h>

struct place {
    char text[96]; /* Sources[0].Permissions[1].HTTP */
};

static int get_text(struct json_value object, const char *key, const char **text, struct error *error)
{
    *text = "";
    return json_get_text(object, key, text, error);
}

static int get_bool(struct json_value object, const char *key, bool *boolean, struct error *error)
{
    *boolean = false;
    return json_get_bool(object, key, boolean, error);
}

static int get_array(struct json_value object, const char *key, struct json_value *array, struct error *error)
{
    *array = (struct json_value){0};
    return json_get_array(object, key, array, error);
}

static int get_object(struct json_value object, const char *key, struct json_value *value,
                      struct error *error)
{
    *value = (struct json_value){0};
    return json_get_object(object, key, value, error);
}

static int need_object(struct json_value item, const char *const *known, struct error *error)
{
    char path[128];
    if (json_type(item) == JSON_OBJECT)
        return json_refuse_unknown(item, known, error);
    json_path(item, path, sizeof path);
    return error_set(error, ERROR_INVALID, "%s: must be an object", path);
}

static void write_text_unless_empty(struct json_writer *out, const char *key, const char *text)
{
    if (text[0])
        json_member_text(out, key, text);
}

/* ---- Headers ---- */

enum { HEADER_TEXTS = 5 };
static const char *const header_texts[HEADER_TEXTS] = {"Exact", "Prefix", "Suffix", "Contains", "Regex"};
enum { HEADER_REGEX = 4 };

static int write_header(struct json_writer *out, struct json_value header, const struct place *http, size_t k,
                        struct error *error)
{
    static const char *const known[] = {"Name",     "Present", "Exact",  "Prefix",     "Suffix",
                                        "Contains", "Regex",   "Invert", "IgnoreCase", NULL};
    const char *name, *texts[HEADER_TEXTS];
    bool present, invert, ignore_case;
    int code = need_object(header, known, error);
    if (!code)
        code = get_text(header, "Name", &name, error);
    if (!code)
        code = get_bool(header, "Present", &present, error);
    if (!code)
        code = get_bool(header, "Invert", &invert, error);
    if (!code)
        code = get_bool(header, "IgnoreCase", &ignore_case, error);
    for (size_t i = 0; i < HEADER_TEXTS && !code; i++)
        code = get_text(header, header_texts[i], &texts[i], error);
    if (code)
        return code;
    if (!name[0])
        return error_set(error, ERROR_INVALID, "%s.Header[%zu] missing required Name field", http->text, k);
    unsigned conditions = present;
    for (size_t i = 0; i < HEADER_TEXTS; i++)
        conditions += texts[i][0] != '\0';
    if (conditions != 1)
        return error_set(
            error, ERROR_INVALID,
            "%s.Header[%zu] should only contain one of Present, Exact, Prefix, Suffix, Contains, or "
            "Regex",
            http->text, k);
    if (ignore_case && (present || texts[HEADER_REGEX][0]))
        return error_set(
            error, ERROR_INVALID,
            "%s.Header[%zu] should set one of Exact, Prefix, Suffix, or Contains when using IgnoreCase",
            http->text, k);
    json_begin_object(out);
    json_member_text(out, "Name", name);
    if (present)
        json_member_bool(out, "Present", true);
    for (size_t i = 0; i < HEADER_TEXTS; i++)
        write_text_unless_empty(out, header_texts[i], texts[i]);
    if (invert)
        json_member_bool(out, "Invert", true);
    if (ignore_case)
        json_member_bool(out, "IgnoreCase", true);
    json_end_object(out);
    return 0;
}

static int write_headers(struct json_writer *out, struct json_value headers, const struct place *http,
                         struct error *error)
{
    size_t k = 0;
    int code = 0;
    if (json_count(headers) == 0)
        return 0;
    json_key(out, "Header");
    json_begin_array(out);
    for (struct json_value item = json_first(headers); item.document && !code; item = json_next(item))
        code = write_header(out, item, http, k++, error);
    json_end_array(out);
    return code;
}

/* ---- Methods ---- */

static const char *const http_methods[] = {"GET",    "HEAD",    "POST",    "PUT",  "PATCH",
                                           "DELETE", "CONNECT", "OPTIONS", "TRACE"};
enum { HTTP_METHODS = sizeof http_methods / sizeof http_methods[0] };

static int find_method(const char *upper)
{
    for (int i = 0; i < HTTP_METHODS; i++)
        if (strcmp(upper, http_methods[i]) == 0)
            return i;
    return -1;
}

static int write_methods(struct json_writer *out, struct json_value methods, const struct place *http,
                         struct error *error)
{
    unsigned seen = 0;
    if (json_count(methods) == 0)
        return 0;
    json_key(out, "Methods");
    json_begin_array(out);
    for (struct json_value item = json_first(methods); item.document; item = json_next(item)) {
        const char *text;
        char upper[100], quoted[120];
        int code = json_read_text(item, &text, error);
        if (code)
            return code;
        size_t size = 0;
        for (; text[size] && size + 1 < sizeof upper; size++)
            upper[size] = (char)toupper((unsigned char)text[size]);
        upper[size] = '\0';
        int method = find_method(upper);
        intention_quote(upper, quoted, sizeof quoted);
        if (method < 0)
            return error_set(error, ERROR_INVALID, "%s.Methods contains an invalid method %s", http->text,
                             quoted);
        if (seen & 1u << method)
            return error_set(error, ERROR_INVALID, "%s.Methods contains %s more than once", http->text,
                             quoted);
        seen |= 1u << method;
        json_text(out, http_methods[method]);
    }
    json_end_array(out);
    return 0;
}

/* ---- HTTP ---- */

struct paths {
    const char *exact, *prefix, *regex;
};

static int check_paths(const struct paths *paths, const struct place *http, struct error *error)
{
    char quoted[250];
    if (paths->exact[0] && paths->exact[0] != '/')
        return error_set(error, ERROR_INVALID, "%s.PathExact doesn't start with '/': %s", http->text,
                         intention_quote(paths->exact, quoted, sizeof quoted));
    if (paths->prefix[0] && paths->prefix[0] != '/')
        return error_set(error, ERROR_INVALID, "%s.PathPrefix doesn't start with '/': %s", http->text,
                         intention_quote(paths->prefix, quoted, sizeof quoted));
    if (!!paths->exact[0] + !!paths->prefix[0] + !!paths->regex[0] > 1)
        return error_set(error, ERROR_INVALID,
                         "%s should only contain at most one of PathExact, PathPrefix, or PathRegex",
                         http->text);
    return 0;
}

static int write_http(struct json_writer *out, struct json_value value, const struct place *http,
                      struct error *error)
{
    static const char *const known[] = {"PathExact", "PathPrefix", "PathRegex", "Header", "Methods", NULL};
    struct paths paths;
    struct json_value headers, methods;
    if (!value.document)
        return error_set(error, ERROR_INVALID, "%s is required", http->text);
    int code = json_refuse_unknown(value, known, error);
    if (!code)
        code = get_text(value, "PathExact", &paths.exact, error);
    if (!code)
        code = get_text(value, "PathPrefix", &paths.prefix, error);
    if (!code)
        code = get_text(value, "PathRegex", &paths.regex, error);
    if (!code)
        code = get_array(value, "Header", &headers, error);
    if (!code)
        code = get_array(value, "Methods", &methods, error);
    if (!code)
        code = check_paths(&paths, http, error);
    if (code)
        return code;
    json_key(out, "HTTP");
    json_begin_object(out);
    write_text_unless_empty(out, "PathExact", paths.exact);
    write_text_unless_empty(out, "PathPrefix", paths.prefix);
    write_text_unless_empty(out, "PathRegex", paths.regex);
    code = write_headers(out, headers, http, error);
    if (!code)
        code = write_methods(out, methods, http, error);
    json_end_object(out);
    if (!code && !paths.exact[0] && !paths.prefix[0] && !paths.regex[0] && json_count(headers) == 0 &&
        json_count(methods) == 0)
        return error_set(error, ERROR_INVALID, "%s should not be empty", http->text);
    return code;
}

/* ---- JWT ---- */

static int write_claim(struct json_writer *out, struct json_value claim, struct error *error)
{
    static const char *const known[] = {"Path", "Value", NULL};
    struct json_value path;
    const char *value, *step;
    int code = need_object(claim, known, error);
    if (!code)
        code = get_array(claim, "Path", &path, error);
    if (!code)
        code = get_text(claim, "Value", &value, error);
    if (code)
        return code;
    json_begin_object(out);
    if (json_count(path) > 0) {
        json_key(out, "Path");
        json_begin_array(out);
        for (struct json_value item = json_first(path); item.document && !code; item = json_next(item)) {
            code = json_read_text(item, &step, error);
            json_text(out, code ? "" : step);
        }
        json_end_array(out);
    }
    write_text_unless_empty(out, "Value", value);
    json_end_object(out);
    return code;
}

static int write_provider(struct json_writer *out, struct json_value provider, struct error *error)
{
    static const char *const known[] = {"Name", "VerifyClaims", NULL};
    struct json_value claims;
    const char *name;
    int code = need_object(provider, known, error);
    if (!code)
        code = get_text(provider, "Name", &name, error);
    if (!code)
        code = get_array(provider, "VerifyClaims", &claims, error);
    if (code)
        return code;
    if (!name[0])
        return error_set(error, ERROR_INVALID, "JWT provider name is required");
    json_begin_object(out);
    json_member_text(out, "Name", name);
    if (json_count(claims) > 0) {
        json_key(out, "VerifyClaims");
        json_begin_array(out);
        for (struct json_value item = json_first(claims); item.document && !code; item = json_next(item))
            code = write_claim(out, item, error);
        json_end_array(out);
    }
    json_end_object(out);
    return code;
}

static int write_jwt(struct json_writer *out, struct json_value jwt, struct error *error)
{
    static const char *const known[] = {"Providers", NULL};
    struct json_value providers;
    if (!jwt.document)
        return 0;
    int code = json_refuse_unknown(jwt, known, error);
    if (!code)
        code = get_array(jwt, "Providers", &providers, error);
    if (code)
        return code;
    json_key(out, "JWT");
    json_begin_object(out);
    if (json_count(providers) > 0) {
        json_key(out, "Providers");
        json_begin_array(out);
        for (struct json_value item = json_first(providers); item.document && !code; item = json_next(item))
            code = write_provider(out, item, error);
        json_end_array(out);
    }
    json_end_object(out);
    return code;
}

int intention_check_jwt_providers(struct json_value permissions, struct error *error)
{
    for (struct json_value item = json_first(permissions); item.document; item = json_next(item)) {
        struct json_value providers = json_find(json_find(item, "JWT"), "Providers");
        for (struct json_value one = json_first(providers); one.document; one = json_next(one)) {
            const char *name;
            int code = get_text(one, "Name", &name, error);
            if (code)
                return code;
            if (!name[0])
                return error_set(error, ERROR_INVALID, "JWT provider name is required");
        }
    }
    return 0;
}

/* ---- Permissions ---- */

static int write_permission(struct json_writer *out, struct json_value permission, size_t i, size_t j,
                            struct error *error)
{
    static const char *const known[] = {"Action", "HTTP", "JWT", NULL};
    struct json_value http, jwt;
    struct place place;
    const char *action;
    int code = need_object(permission, known, error);
    if (!code)
        code = get_text(permission, "Action", &action, error);
    if (!code)
        code = get_object(permission, "HTTP", &http, error);
    if (!code)
        code = get_object(permission, "JWT", &jwt, error);
    if (code)
        return code;
    if (strcmp(action, "allow") != 0 && strcmp(action, "deny") != 0)
        return error_set(error, ERROR_INVALID,
                         "Sources[%zu].Permissions[%zu].Action must be set to 'allow' or 'deny'", i, j);
    snprintf(place.text, sizeof place.text, "Sources[%zu].Permissions[%zu].HTTP", i, j);
    json_begin_object(out);
    json_member_text(out, "Action", action);
    code = write_http(out, http, &place, error);
    if (!code)
        code = write_jwt(out, jwt, error);
    json_end_object(out);
    return code;
}

int intention_write_permissions(struct json_writer *out, struct json_value permissions, size_t position,
                                uint32_t *count, struct error *error)
{
    enum json_type type = json_type(permissions);
    int code = 0;
    *count = 0;
    if (type == JSON_MISSING || type == JSON_NULL || (type == JSON_ARRAY && json_count(permissions) == 0))
        return 0;
    if (type != JSON_ARRAY)
        return error_set(error, ERROR_INVALID, "Sources[%zu].Permissions: must be an array", position);
    json_begin_array(out);
    for (struct json_value item = json_first(permissions); item.document && !code; item = json_next(item))
        code = write_permission(out, item, position, (*count)++, error);
    json_end_array(out);
    return code;
}

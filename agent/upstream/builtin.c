/* SPDX-License-Identifier: MIT */
#include "agent/upstream/builtin.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    URI_MAX_BYTES = 2048,
    HOUSEKEEPING_SEC = 60,
};

struct builtin_source {
    struct identity_source source;
    struct authority *authority;
    char *datacenter;
    time_t next_housekeeping; /* CLOCK_MONOTONIC */
};

static struct builtin_source *self(struct identity_source *source)
{
    return (struct builtin_source *)source; /* `source` is the first member */
}

static const struct source_roots *roots(struct identity_source *source)
{
    return authority_roots(self(source)->authority);
}

/* ---- SPIFFE IDs ---- */

struct uri {
    char text[URI_MAX_BYTES + 1];
    size_t length;
    bool too_long;
};

static void append(struct uri *uri, const char *text, size_t length)
{
    if (length > URI_MAX_BYTES - uri->length) {
        uri->too_long = true;
        return;
    }
    memcpy(uri->text + uri->length, text, length);
    uri->length += length;
    uri->text[uri->length] = '\0';
}

/* A path segment as Go's url.URL writes it, and so Consul. */
static void append_segment(struct uri *uri, const char *name)
{
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-_.~$&+,:;=@", c) != NULL;
        char escaped[4];
        snprintf(escaped, sizeof escaped, "%%%02X", c);
        append(uri, plain ? name : escaped, plain ? 1 : 3);
    }
}

/* A name with a slash, or one that means a directory, would become another identity. */
static int check_segment(const char *what, const char *name, struct error *error)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(error, ERROR_INVALID, "%s \"%.100s\" cannot be part of a SPIFFE ID", what, name);
    return 0;
}

static int make_uri(const struct builtin_source *builtin, const struct source_leaf_request *request,
                    struct uri *uri, struct error *error)
{
    const char *partition = request->partition && *request->partition ? request->partition : "default";
    const char *namespace_name =
        request->namespace_name && *request->namespace_name ? request->namespace_name : "default";
    if (!request->service || !*request->service)
        return error_set(error, ERROR_INVALID, "URI must be either service, agent, server, or kind");
    if (check_segment("partition", partition, error) || check_segment("namespace", namespace_name, error) ||
        check_segment("service", request->service, error))
        return ERROR_INVALID;
    const char *trust_domain = authority_trust_domain(builtin->authority);
    uri->length = 0;
    uri->too_long = false;
    append(uri, "spiffe://", 9);
    append(uri, trust_domain, strlen(trust_domain));
    if (strcmp(partition, "default") != 0) {
        append(uri, "/ap/", 4);
        append_segment(uri, partition);
    }
    append(uri, "/ns/", 4);
    append_segment(uri, namespace_name);
    append(uri, "/dc/", 4);
    append_segment(uri, builtin->datacenter);
    append(uri, "/svc/", 5);
    append_segment(uri, request->service);
    return uri->too_long ? error_set(error, ERROR_LIMIT, "a SPIFFE ID has at most %d bytes", URI_MAX_BYTES)
                         : 0;
}

static int request_leaf(struct identity_source *source, const struct source_leaf_request *request,
                        source_leaf_done *done, void *argument, struct error *error)
{
    struct uri uri;
    int code = make_uri(self(source), request, &uri, error);
    if (code)
        return code;
    struct authority_leaf_request leaf = {
        .uri = uri.text,
        .dns = request->dns,
        .dns_count = request->dns_count,
        .ip = request->ip,
        .ip_count = request->ip_count,
        .unlimited = request->unlimited,
    };
    return authority_sign_leaf(self(source)->authority, &leaf, done, argument, error);
}

static void record_leaf(struct identity_source *source, struct store_batch *batch,
                        const struct source_leaf *leaf, const char *service)
{
    authority_record_leaf(self(source)->authority, batch, leaf, service);
}

static bool leaf_is_current(struct identity_source *source, const uint8_t *issuer_key_id, size_t size)
{
    return authority_is_signing_key(self(source)->authority, issuer_key_id, size);
}

static int64_t leaf_ttl_sec(struct identity_source *source)
{
    return authority_leaf_ttl_sec(self(source)->authority);
}

static void describe(struct identity_source *source, struct json_writer *json)
{
    authority_describe(self(source)->authority, json);
}

static void close_source(struct identity_source *source)
{
    if (!source)
        return;
    authority_on_change(self(source)->authority, NULL, NULL);
    free(self(source)->datacenter);
    free(source);
}

static void changed(void *argument)
{
    struct identity_source *source = argument;
    if (source->roots_changed)
        source->roots_changed(source->argument);
}

int builtin_source_create(struct authority *authority, const char *datacenter,
                          struct identity_source **source, struct error *error)
{
    static const struct identity_source_ops ops = {
        .name = "consul",
        .roots = roots,
        .request_leaf = request_leaf,
        .record_leaf = record_leaf,
        .leaf_is_current = leaf_is_current,
        .leaf_ttl_sec = leaf_ttl_sec,
        .describe = describe,
        .close = close_source,
    };
    int code = check_segment("datacenter", datacenter, error);
    if (code)
        return code;
    struct builtin_source *made = calloc(1, sizeof *made);
    if (made)
        made->datacenter = strdup(datacenter);
    if (!made || !made->datacenter) {
        free(made);
        return error_errno(error, "built-in CA");
    }
    made->source.ops = &ops;
    made->authority = authority;
    authority_on_change(authority, changed, &made->source);
    *source = &made->source;
    return 0;
}

void builtin_source_tick(struct identity_source *source)
{
    struct builtin_source *builtin = self(source);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= builtin->next_housekeeping) {
        builtin->next_housekeeping = now.tv_sec + HOUSEKEEPING_SEC;
        authority_tick(builtin->authority);
    }
    if (source->contact)
        source->contact(source->argument);
}

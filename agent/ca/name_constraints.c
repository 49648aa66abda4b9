/* SPDX-License-Identifier: MIT */
#include "agent/ca/name_constraints.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/ca/distinguished_name.h"
#include "agent/ca/oid.h"

/* A subtree without minimum (0 by default) and maximum: RFC 5280 allows no others. */
static int read_subtree(struct der_cursor *list, struct general_name *base)
{
    struct der_cursor subtree;
    if (der_enter(list, DER_SEQUENCE, &subtree) || general_name_read(&subtree, base, true) ||
        der_end(&subtree))
        return ERROR_INVALID;
    return 0;
}

/* The two lists of the extension's value; a missing one is an empty cursor. */
static int open_lists(struct der_slice value, struct der_cursor *permitted, struct der_cursor *excluded)
{
    struct der_cursor inner;
    *permitted = *excluded = (struct der_cursor){0};
    if (der_enter_only(value, DER_SEQUENCE, &inner) || der_at_end(&inner))
        return ERROR_INVALID;
    if (der_next_is(&inner, DER_CONTEXT_CONSTRUCTED(0)) &&
        (der_enter(&inner, DER_CONTEXT_CONSTRUCTED(0), permitted) || der_at_end(permitted)))
        return ERROR_INVALID;
    if (der_next_is(&inner, DER_CONTEXT_CONSTRUCTED(1)) &&
        (der_enter(&inner, DER_CONTEXT_CONSTRUCTED(1), excluded) || der_at_end(excluded)))
        return ERROR_INVALID;
    return der_end(&inner);
}

static bool mask_is_contiguous(struct der_slice mask)
{
    bool ended = false;
    for (size_t i = 0; i < 8 * mask.length; i++) {
        bool bit = mask.data[i / 8] & (0x80u >> i % 8);
        if (bit && ended)
            return false;
        ended = !bit;
    }
    return true;
}

static int check_list(struct der_cursor list)
{
    struct general_name base;
    while (!der_at_end(&list)) {
        if (read_subtree(&list, &base))
            return ERROR_INVALID;
        size_t half = base.value.length / 2;
        if (base.type == GENERAL_NAME_IP && !mask_is_contiguous(der_slice(base.value.data + half, half)))
            return ERROR_INVALID;
        if (base.type == GENERAL_NAME_DIRECTORY && distinguished_name_check(base.value, NULL))
            return ERROR_INVALID;
    }
    return 0;
}

int name_constraints_check_form(struct der_slice value)
{
    struct der_cursor permitted, excluded;
    if (open_lists(value, &permitted, &excluded) || check_list(permitted) || check_list(excluded))
        return ERROR_INVALID;
    return 0;
}

static bool same_text(struct der_slice a, struct der_slice b)
{
    return a.length == b.length &&
           (a.length == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.length) == 0);
}

static struct der_slice tail(struct der_slice text, size_t from)
{
    return der_slice(text.data + from, text.length - from);
}

/* A final dot says nothing about which host is meant, and must not slip past an exclusion. */
static struct der_slice without_final_dot(struct der_slice host)
{
    bool dot = host.length > 1 && host.data[host.length - 1] == '.';
    return der_slice(host.data, host.length - dot);
}

/* A host equal to the base or below it; a base with a leading dot means below only, an empty one all. */
static bool dns_is_within(struct der_slice host, struct der_slice base)
{
    if (base.length == 0)
        return true;
    host = without_final_dot(host);
    bool dotted = base.data[0] == '.';
    if (!dotted && same_text(host, base))
        return true;
    if (host.length <= base.length || !same_text(tail(host, host.length - base.length), base))
        return false;
    return dotted || host.data[host.length - base.length - 1] == '.';
}

/* For e-mail and URI hosts a base without leading dot is that very host (RFC 5280, 4.2.1.10). */
static bool host_is_within(struct der_slice host, struct der_slice base)
{
    return base.length && base.data[0] == '.' ? dns_is_within(host, base)
                                              : same_text(without_final_dot(host), base);
}

/* Whether a wildcard name can stand for a name in the excluded base: *.example.com for a.example.com. */
static bool wildcard_reaches(struct der_slice name, struct der_slice base)
{
    if (name.length < 3 || memcmp(name.data, "*.", 2) != 0 || base.length == 0)
        return false;
    const uint8_t *dot = memchr(base.data, '.', base.length);
    return dot && same_text(tail(name, 1), tail(base, (size_t)(dot - base.data)));
}

static bool email_is_within(struct der_slice address, struct der_slice base)
{
    const uint8_t *at = memrchr(address.data, '@', address.length);
    const uint8_t *base_at = base.length ? memrchr(base.data, '@', base.length) : NULL;
    if (!at)
        return false;
    struct der_slice host = tail(address, (size_t)(at + 1 - address.data));
    if (!base_at)
        return base.length == 0 || host_is_within(host, base);
    struct der_slice base_host = tail(base, (size_t)(base_at + 1 - base.data));
    return same_text(host, base_host) && der_equal(der_slice(address.data, (size_t)(at - address.data)),
                                                   der_slice(base.data, (size_t)(base_at - base.data)));
}

/* The host of scheme://[user@]host[:port][/...]; false when there is none or it is an address. */
static bool uri_host(struct der_slice uri, struct der_slice *host)
{
    const uint8_t *start = memmem(uri.data, uri.length, "://", 3), *end = uri.data + uri.length;
    if (!start)
        return false;
    start += 3;
    for (const uint8_t *c = start; c < end; c++)
        if (*c == '/' || *c == '?' || *c == '#')
            end = c;
    const uint8_t *user = start < end ? memrchr(start, '@', (size_t)(end - start)) : NULL;
    if (user)
        start = user + 1;
    const uint8_t *port = start < end ? memchr(start, ':', (size_t)(end - start)) : NULL;
    if (start == end || *start == '[')
        return false;
    *host = der_slice(start, (size_t)((port ? port : end) - start));
    /* A last label of digits makes it an IPv4 address. */
    bool digits_only = true;
    for (size_t i = host->length; i-- && host->data[i] != '.';)
        digits_only = digits_only && host->data[i] >= '0' && host->data[i] <= '9';
    return host->length > 0 && !digits_only;
}

static bool ip_is_within(struct der_slice address, struct der_slice base)
{
    if (base.length != 2 * address.length)
        return false;
    for (size_t i = 0; i < address.length; i++)
        if ((address.data[i] ^ base.data[i]) & base.data[address.length + i])
            return false;
    return true;
}

static bool is_within(const struct general_name *name, struct der_slice base)
{
    struct der_slice host;
    switch (name->type) {
    case GENERAL_NAME_DNS:
        return dns_is_within(name->value, base);
    case GENERAL_NAME_EMAIL:
        return email_is_within(name->value, base);
    case GENERAL_NAME_URI:
        return uri_host(name->value, &host) && (base.length == 0 || host_is_within(host, base));
    case GENERAL_NAME_IP:
        return ip_is_within(name->value, base);
    case GENERAL_NAME_DIRECTORY:
        return distinguished_name_is_within(name->value, base);
    default:
        return false;
    }
}

/* Whether an exclusion can be judged at all: what cannot be matched counts as excluded. */
static bool can_be_matched(const struct general_name *name)
{
    struct der_slice host;
    switch (name->type) {
    case GENERAL_NAME_DNS:
    case GENERAL_NAME_IP:
    case GENERAL_NAME_DIRECTORY:
        return true;
    case GENERAL_NAME_EMAIL:
        return memchr(name->value.data, '@', name->value.length);
    case GENERAL_NAME_URI:
        return uri_host(name->value, &host);
    default:
        return false;
    }
}

static bool is_permitted(const struct general_name *name, struct der_cursor permitted)
{
    struct general_name base;
    bool constrained = false;
    while (!read_subtree(&permitted, &base)) {
        if (base.type != name->type)
            continue;
        if (is_within(name, base.value))
            return true;
        constrained = true;
    }
    return !constrained;
}

static bool is_excluded(const struct general_name *name, struct der_cursor excluded)
{
    struct general_name base;
    while (!read_subtree(&excluded, &base))
        if (base.type == name->type &&
            (!can_be_matched(name) || is_within(name, base.value) ||
             (name->type == GENERAL_NAME_DNS && wildcard_reaches(name->value, base.value))))
            return true;
    return false;
}

static int allow_name(struct der_slice constraints, const struct general_name *name, struct error *error)
{
    static const char *const kinds[] = {"other name", "e-mail", "DNS", "X.400", "directory",
                                        "EDI",        "URI",    "IP",  "id"};
    struct der_cursor permitted, excluded;
    if (open_lists(constraints, &permitted, &excluded))
        return error_set(error, ERROR_INVALID, "name constraints: malformed");
    if (is_permitted(name, permitted) && !is_excluded(name, excluded))
        return 0;
    bool text =
        name->type == GENERAL_NAME_DNS || name->type == GENERAL_NAME_EMAIL || name->type == GENERAL_NAME_URI;
    return error_set(error, ERROR_DENIED, "a CA's name constraints forbid the %s name %.*s",
                     kinds[name->type], text ? (int)name->value.length : 0,
                     text ? (const char *)name->value.data : "");
}

/* The subject itself and the e-mail addresses in it. */
static int allow_subject(struct der_slice constraints, const struct x509 *certificate, struct error *error)
{
    struct distinguished_name_walk walk;
    struct distinguished_name_attribute attribute;
    struct general_name name = {GENERAL_NAME_DIRECTORY, certificate->subject};
    if (certificate->subject_is_empty)
        return 0;
    int result = allow_name(constraints, &name, error);
    if (result || distinguished_name_walk(&walk, certificate->subject))
        return result;
    while (distinguished_name_next(&walk, &attribute) > 0) {
        if (!der_is(attribute.type, OID(OID_EMAIL_ADDRESS)) || attribute.value.content.length == 0)
            continue;
        name = (struct general_name){GENERAL_NAME_EMAIL, attribute.value.content};
        result = allow_name(constraints, &name, error);
        if (result)
            return result;
    }
    return 0;
}

int name_constraints_allow(struct der_slice constraints, const struct x509 *certificate, struct error *error)
{
    struct der_cursor names = x509_names(certificate);
    struct general_name name;
    int result = allow_subject(constraints, certificate, error);
    while (result == 0 && !general_name_read(&names, &name, false))
        result = allow_name(constraints, &name, error);
    return result;
}

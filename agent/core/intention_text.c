/* SPDX-License-Identifier: MIT */
/* Intentions as people write and read them. */
#include "agent/core/intention_internal.h"

#include <stdio.h>

/* ---- Reading ---- */

static const char peer_prefix[] = "peer:";
enum { PEER_PREFIX = sizeof peer_prefix - 1 };

static int copy_part(char out[INTENTION_NAME_MAX + 1], const char *text, size_t size, struct error *error)
{
    if (size > INTENTION_NAME_MAX)
        return error_set(error, ERROR_INVALID, "a part of %zu bytes exceeds the maximum length %d", size,
                         (int)INTENTION_NAME_MAX);
    memcpy(out, text, size);
    out[size] = '\0';
    return 0;
}

static void default_part(char out[INTENTION_NAME_MAX + 1])
{
    if (!out[0])
        strcpy(out, "default");
}

/* Cuts the text at its slashes, at most twice. Returns how many parts there are, or 0. */
static size_t split(const char *text, const char *parts[3], size_t sizes[3])
{
    size_t count = 0;
    while (count < 3) {
        size_t size = strcspn(text, "/");
        parts[count] = text;
        sizes[count++] = size;
        if (!text[size])
            return count;
        text += size + 1;
    }
    return 0;
}

int intention_parse_name(const char *text, bool peer_allowed, struct intention_parsed_name *parsed,
                         struct error *error)
{
    struct intention_parsed_name out = {0};
    const char *parts[3];
    size_t sizes[3];
    bool peered = strncmp(text, peer_prefix, PEER_PREFIX) == 0;
    int code = 0;
    if (peered && !peer_allowed)
        return error_set(error, ERROR_INVALID, "cannot specify a peer here");
    size_t count = split(text, parts, sizes);
    if (count == 0)
        return error_set(error, ERROR_INVALID, "input can contain at most two '/'");
    if (count == 1 && peered)
        return error_set(error, ERROR_INVALID, "need to specify the service name as well");
    size_t first = peered;
    if (peered)
        code = copy_part(out.peer, parts[0] + PEER_PREFIX, sizes[0] - PEER_PREFIX, error);
    if (!code && count - first == 3)
        code = copy_part(out.partition, parts[0], sizes[0], error);
    if (!code && count - first >= 2)
        code = copy_part(out.namespace_name, parts[count - 2], sizes[count - 2], error);
    if (!code)
        code = copy_part(out.name, parts[count - 1], sizes[count - 1], error);
    if (code)
        return code;
    if (peered && !out.peer[0])
        return error_set(error, ERROR_INVALID, "need to specify the name of the peer behind \"peer:\"");
    default_part(out.partition);
    default_part(out.namespace_name);
    *parsed = out;
    return 0;
}

struct intention_name intention_name_of(const struct intention_parsed_name *parsed)
{
    struct intention_name name = {parsed->partition, parsed->namespace_name, parsed->name};
    return name;
}

/* ---- Writing ---- */

static void describe_place(const char *partition, const char *peer, char *out, size_t size)
{
    if (peer[0])
        snprintf(out, size, "peer(%s)/", peer);
    else if (strcmp(partition, "default") != 0)
        snprintf(out, size, "%s/", partition);
    else
        out[0] = '\0';
}

static size_t describe(const char *prefix, const struct intention *intention, char *text, size_t size)
{
    const struct intention_name *from = &intention->source, *to = &intention->destination;
    const char *id = intention->details->legacy_id;
    char source[INTENTION_NAME_MAX + 8], destination[INTENTION_NAME_MAX + 8], detail[40];
    describe_place(from->partition, intention->source_peer, source, sizeof source);
    describe_place(to->partition, "", destination, sizeof destination);
    if (intention->details->permission_count)
        snprintf(detail, sizeof detail, "Permissions: %u", (unsigned)intention->details->permission_count);
    else
        snprintf(detail, sizeof detail, "Action: %s",
                 intention->action == INTENTION_ALLOW ? "ALLOW" : "DENY");
    int length =
        snprintf(text, size, "%s%s%s/%s => %s%s/%s (%s%s%sPrecedence: %u, %s)", prefix, source,
                 from->namespace_name, from->name, destination, to->namespace_name, to->name,
                 id[0] ? "ID: " : "", id, id[0] ? ", " : "", (unsigned)intention->precedence, detail);
    return (size_t)length;
}

size_t intention_describe(const struct intention *intention, char *text, size_t size)
{
    return describe("", intention, text, size);
}

size_t intention_reason(const struct intention *intention, char *text, size_t size)
{
    bool l7 = intention->details->permission_count > 0;
    return describe(l7 ? "Matched L7 intention: " : "Matched L4 intention: ", intention, text, size);
}

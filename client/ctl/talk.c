/* SPDX-License-Identifier: MIT */
#include "client/ctl/talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/json.h"

#define DEFAULT_SOCKET "/run/xylem/admin.sock"

int talk_connect(const char *socket_path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = socket_path ? socket_path : getenv("XYLEM_ADMIN");
    if (!path || !*path)
        path = DEFAULT_SOCKET;
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(error, ERROR_INVALID, "socket \"%.200s\": the path is longer than %zu bytes", path,
                         sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return error_errno(error, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    const char *remedy = errno == EACCES ? "; you may not use this socket: see `admin` in xylemd.conf(5)"
                                         : "; is xylemd running? say where with --socket or $XYLEM_ADMIN";
    error_set(error, ERROR_SYSTEM, "cannot reach the agent at \"%s\": %s%s", path, strerror(errno), remedy);
    close(fd);
    return ERROR_SYSTEM;
}

static int send_all(int fd, const char *bytes, size_t size, struct error *error)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            return error_errno(error, "cannot send to the agent");
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static bool reserve(struct talk_answer *answer, size_t used)
{
    if (answer->capacity - used > 1)
        return true;
    size_t capacity = answer->capacity ? answer->capacity * 2 : 8192;
    char *grown = malloc(capacity); /* not realloc(): a private key may be in it */
    if (!grown)
        return false;
    if (answer->text) {
        memcpy(grown, answer->text, used);
        explicit_bzero(answer->text, used);
    }
    free(answer->text);
    answer->text = grown;
    answer->capacity = capacity;
    return true;
}

int talk_ask(int fd, const char *line, size_t size, struct talk_answer *answer, struct error *error)
{
    size_t used = 0;
    talk_answer_free(answer);
    /* A failure to send is not looked at: the agent may have said why, and hung up. */
    int unsent = send_all(fd, line, size, error);
    for (;;) {
        if (!reserve(answer, used))
            return error_set(error, ERROR_SYSTEM, "no memory for the answer");
        ssize_t got = recv(fd, answer->text + used, answer->capacity - used - 1, 0);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            return unsent ? unsent : error_errno(error, "cannot read from the agent");
        if (got == 0)
            return unsent
                       ? unsent
                       : error_set(error, ERROR_SYSTEM, "the agent closed the connection without an answer");
        size_t from = used ? used - 1 : 0;
        used += (size_t)got;
        char *end = memmem(answer->text + from, used - from, "\n\n", 2);
        if (!end)
            continue;
        answer->size = (size_t)(end - answer->text) + 1;
        answer->rest = end + 2;
        answer->rest_size = used - answer->size - 1;
        end[1] = '\0';
        return 0;
    }
}

void talk_answer_free(struct talk_answer *answer)
{
    if (answer->text)
        explicit_bzero(answer->text, answer->capacity);
    free(answer->text);
    memset(answer, 0, sizeof *answer);
}

/* The agent's names of failures, so that scripts and people read the same. */
static enum ctl_status failure(const char *code, size_t size, const char *text, struct error *error)
{
    bool missing = size == 9 && memcmp(code, "NOT_FOUND", 9) == 0;
    error_set(error, missing ? ERROR_NOT_FOUND : ERROR_DENIED, "%.*s: %s", (int)size, code, text);
    return missing ? CTL_NO : CTL_REFUSED;
}

static enum ctl_status judge_json(const struct talk_answer *answer, struct error *error)
{
    struct json_limits limits = {.size_max = SIZE_MAX, .depth_max = 60, .tokens_max = 64u << 20};
    struct json_document *document = NULL;
    if (json_parse(answer->text, answer->size, &limits, &document, error) != 0)
        return CTL_NO_AGENT;
    const char *code = "", *text = "";
    bool allowed = true;
    struct json_value root = json_root(document), failed = {0};
    enum ctl_status status = CTL_OK;
    if (json_type(root) == JSON_OBJECT && json_get_object(root, "error", &failed, NULL) == 0 &&
        failed.document) {
        json_get_text(failed, "code", &code, NULL);
        json_get_text(failed, "text", &text, NULL);
        status = failure(code, strlen(code), text, error);
    } else if (json_type(root) == JSON_OBJECT && json_get_bool(root, "allowed", &allowed, NULL) == 0) {
        status = allowed ? CTL_OK : CTL_NO;
    }
    json_free(document);
    return status;
}

enum ctl_status talk_judge(const struct talk_answer *answer, bool json, const char **body,
                           struct error *error)
{
    *body = answer->text;
    error->code = 0;
    if (json)
        return judge_json(answer, error);
    const char *end = memchr(answer->text, '\n', answer->size);
    size_t first = end ? (size_t)(end - answer->text) : answer->size;
    if (first >= 2 && memcmp(answer->text, "OK", 2) == 0) {
        *body = answer->text + first + (end ? 1 : 0);
        return first == 9 && memcmp(answer->text, "OK denied", 9) == 0 ? CTL_NO : CTL_OK;
    }
    static const char mark[] = "ERROR ";
    const char *colon = memchr(answer->text, ':', first);
    if (first < sizeof mark || memcmp(answer->text, mark, sizeof mark - 1) != 0 || !colon) {
        error_set(error, ERROR_INVALID, "this is not the agent's admin socket: the answer has another form");
        return CTL_NO_AGENT;
    }
    const char *code = answer->text + sizeof mark - 1;
    char text[sizeof error->text];
    snprintf(text, sizeof text, "%.*s", (int)(first - (size_t)(colon - answer->text) - 1), colon + 1);
    return failure(code, (size_t)(colon - code), text + strspn(text, " "), error);
}

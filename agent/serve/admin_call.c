/* SPDX-License-Identifier: MIT */
/* One command under way: from the line to the answer, which may come long after the peer has gone. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/audit.h"
#include "agent/serve/admin_internal.h"
#include "agent/serve/admin_text.h"

const char *admin_error_name(int code)
{
    static const char *const names[] = {"INVALID", "NOT_FOUND", "DENIED", "CONFLICT", "LIMIT",
                                        "BUSY",    "SYSTEM",    "CRYPTO", "CORRUPT"};
    return code <= -1 && code >= -9 ? names[-1 - code] : "SYSTEM";
}

static size_t render_error(const struct error *error, char *line, size_t size)
{
    size_t used = (size_t)snprintf(line, size, "ERROR %s: ", admin_error_name(error->code));
    size_t left = strnlen(error->text, sizeof error->text);
    for (const char *at = error->text; left > 0 && used + JSON_ESCAPED_MAX < size;) {
        size_t wrote = 1;
        line[used] = *at;
        size_t took = 1;
        if (*at != '"' && *at != '\\')
            took = json_escape_one(at, left, JSON_ESCAPE_LOG, line + used, &wrote);
        used += wrote;
        at += took;
        left -= took;
    }
    return used;
}

void admin_send_error(struct admin_connection *connection, const struct error *error, bool json)
{
    char line[sizeof error->text * JSON_ESCAPED_MAX + 64];
    if (!json) {
        admin_connection_answer(connection, line, render_error(error, line, sizeof line), NULL, 0);
        return;
    }
    struct json_writer writer;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    json_key(&writer, "error");
    json_begin_object(&writer);
    json_member_text(&writer, "code", admin_error_name(error->code));
    json_member_text(&writer, "text", error->text);
    json_end_object(&writer);
    json_end_object(&writer);
    static const char lost[] = "{\"error\":{\"code\":\"SYSTEM\",\"text\":\"no memory\"}}";
    bool failed = writer.failed;
    admin_connection_answer(connection, failed ? lost : writer.data, failed ? sizeof lost - 1 : writer.size,
                            NULL, 0);
    json_writer_free(&writer);
}

void admin_subject(struct admin_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call->subject, sizeof call->subject, format, arguments);
    va_end(arguments);
}

static void audit(const struct admin_call *call, const struct error *error)
{
    if (call->audited)
        audit_emit("admin_command", log_text("command", call->command->name),
                   log_text("subject", call->subject), log_u64("uid", call->uid), log_i64("pid", call->pid),
                   log_text("level", admin_level_name(call->level)),
                   log_text("result", error ? admin_error_name(error->code) : "OK"),
                   log_text("error", error ? error->text : ""));
}

/* The call ends here, whatever the answer was. */
static void end(struct admin_call *call)
{
    struct admin_connection *connection = call->connection;
    json_writer_free(&call->out);
    explicit_bzero(call, sizeof *call);
    free(call);
    if (connection) {
        connection->call = NULL;
        admin_connection_resume(connection);
    }
}

static void send_failure(struct admin_call *call, const struct error *error)
{
    if (call->connection)
        admin_send_error(call->connection, error, call->json);
}

void admin_fail(struct admin_call *call, const struct error *error)
{
    audit(call, error);
    send_failure(call, error);
    end(call);
}

void admin_fail_with(struct admin_call *call, int code, const char *format, ...)
{
    struct error error = {.code = code};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error.text, sizeof error.text, format, arguments);
    va_end(arguments);
    admin_fail(call, &error);
}

static void send_text(struct admin_call *call, const char *word, const char *body, size_t body_size)
{
    char first[64];
    int size = snprintf(first, sizeof first, word ? "OK %s" : "OK", word);
    if (call->connection)
        admin_connection_answer(call->connection, first, (size_t)size, body, body_size);
}

/* The JSON of call->out as the peer wants it. */
static int send_value(struct admin_call *call, const char *word, const char *json, size_t size,
                      struct error *error)
{
    char *text = NULL;
    size_t text_size = 0;
    if (size > ADMIN_ANSWER_MAX)
        return error_set(error, ERROR_LIMIT, "the answer is larger than %d MiB; ask for less at a time",
                         ADMIN_ANSWER_MAX >> 20);
    if (call->json) {
        if (call->connection)
            admin_connection_answer(call->connection, json, size, NULL, 0);
        return 0;
    }
    int code = admin_text_render(json, size, &text, &text_size, error);
    if (!code)
        send_text(call, word, text, text_size);
    free(text);
    return code;
}

void admin_answer(struct admin_call *call, const char *word)
{
    struct error error;
    size_t size = 0;
    audit(call, NULL);
    char *json = json_take(&call->out, &size);
    if (!json)
        error_set(&error, ERROR_SYSTEM, "no memory for the answer");
    if (!json || send_value(call, word, json, size, &error) != 0)
        send_failure(call, &error);
    free(json);
    end(call);
}

void admin_answer_ok(struct admin_call *call)
{
    if (call->json) {
        json_begin_object(&call->out);
        json_member_bool(&call->out, "ok", true);
        json_end_object(&call->out);
        admin_answer(call, NULL);
        return;
    }
    audit(call, NULL);
    send_text(call, NULL, NULL, 0);
    end(call);
}

void admin_answer_text(struct admin_call *call, const char *key, const char *text, size_t size)
{
    audit(call, NULL); /* first: a private key must not leave without its line */
    if (call->json) {
        json_begin_object(&call->out);
        json_key(&call->out, key);
        json_text_of_size(&call->out, text, size);
        json_end_object(&call->out);
        size_t json_size = 0;
        char *json = json_take(&call->out, &json_size);
        if (json && call->connection)
            admin_connection_answer(call->connection, json, json_size, NULL, 0);
        if (json)
            explicit_bzero(json, json_size);
        else
            send_failure(call, &(struct error){ERROR_SYSTEM, "no memory for the answer"});
        free(json);
    } else {
        send_text(call, NULL, text, size);
    }
    end(call);
}

void admin_done(void *argument, const struct error *error)
{
    if (error)
        admin_fail(argument, error);
    else
        admin_answer_ok(argument);
}

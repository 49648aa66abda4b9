/* SPDX-License-Identifier: MIT */
/* The command `watch`: a line for each change, to whoever stays. */
#include <stdio.h>
#include <string.h>

#include "agent/serve/admin_internal.h"

/* How often a watcher is asked whether it is still there. */
#define WATCH_CHECK_SEC 5.0

static const struct {
    const char *name;
    enum model_what what;
} kinds[] = {
    {"roots", MODEL_ROOTS},
    {"leaf", MODEL_LEAF},
    {"intentions", MODEL_INTENTIONS},
    {"revocations", MODEL_REVOCATIONS},
    {"configuration", MODEL_CONFIGURATION},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static uint32_t find_kind(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].what;
    return 0;
}

void admin_watch(struct admin_call *call, size_t count, char **words)
{
    struct admin_connection *connection = call->connection;
    uint32_t wanted = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t what = find_kind(words[i]);
        if (!what) {
            admin_fail_with(call, ERROR_INVALID, "\"%.40s\" cannot be watched; try: help watch", words[i]);
            return;
        }
        wanted |= what;
    }
    for (size_t i = 0; i < KINDS && count == 0; i++)
        wanted |= kinds[i].what;
    connection->watched = wanted;
    connection->watch_json = call->json;
    connection->idle.repeat = WATCH_CHECK_SEC;
    json_begin_object(&call->out);
    json_key(&call->out, "watching");
    json_begin_array(&call->out);
    for (size_t i = 0; i < KINDS; i++)
        if (wanted & kinds[i].what)
            json_text(&call->out, kinds[i].name);
    json_end_array(&call->out);
    json_end_object(&call->out);
    admin_answer(call, NULL);
}

/* "TIME leaf service=web index=12", or the same as an object. */
static void send_event(struct admin_connection *connection, const char *name, const char *service,
                       const char *key, uint64_t number)
{
    char time[LOG_TIME_SIZE], line[2 * LOG_LINE_MAX];
    size_t size;
    log_time_now(time);
    const struct log_field event = log_text("event", name), when = log_text("time", time);
    if (connection->watch_json && service)
        size = log_render(line, LOG_LINE_MAX, LOG_JSON, NULL,
                          log_fields(when, event, log_text("service", service), log_u64(key, number)));
    else if (connection->watch_json)
        size = log_render(line, LOG_LINE_MAX, LOG_JSON, NULL, log_fields(when, event, log_u64(key, number)));
    else {
        size = (size_t)snprintf(line, sizeof line, "%s %s ", time, name);
        size += service ? log_render(line + size, LOG_LINE_MAX, LOG_LOGFMT, NULL,
                                     log_fields(log_text("service", service), log_u64(key, number)))
                        : log_render(line + size, LOG_LINE_MAX, LOG_LOGFMT, NULL,
                                     log_fields(log_u64(key, number)));
    }
    admin_connection_line(connection, line, size);
}

void admin_watch_event(void *argument, const struct model_event *event)
{
    struct admin *admin = argument;
    const char *name = "";
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].what == event->what)
            name = kinds[i].name;
    struct admin_connection *next;
    for (struct admin_connection *connection = admin->connections; connection; connection = next) {
        next = connection->next;
        if (connection->watched & (uint32_t)event->what)
            send_event(connection, name, event->service, "index", event->index);
    }
}

void admin_watch_drained(struct admin_connection *connection)
{
    uint64_t lost = connection->watch_lost;
    connection->watch_lost = 0;
    send_event(connection, "lost", NULL, "count", lost);
}

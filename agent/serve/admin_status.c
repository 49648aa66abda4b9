/* SPDX-License-Identifier: MIT */
/* Commands about the agent itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xylem/abi.h>
#include <xylem/wire.h>

#include "agent/audit.h"
#include "agent/ca/authority.h"
#include "agent/log.h"
#include "agent/serve/admin_internal.h"

void admin_status(struct admin_call *call, size_t count, char **words)
{
    const struct admin *admin = call->admin;
    struct json_writer *json = &call->out;
    uint64_t allowed, denied;
    (void)count, (void)words;
    observed_totals(admin->observed, &allowed, &denied);
    json_begin_object(json);
    json_member_text(json, "version", XYLEM_VERSION);
    json_member_i64(json, "pid", getpid());
    json_member_i64(json, "uptime_sec", (int64_t)(ev_time() - admin->started_at));
    model_describe(admin->options.model, json);
    if (admin->options.authority) {
        json_key(json, "ca");
        json_begin_object(json);
        authority_describe(admin->options.authority, json);
        json_end_object(json);
    }
    json_key(json, "verdicts");
    json_begin_object(json);
    json_member_u64(json, "allowed", allowed);
    json_member_u64(json, "denied", denied);
    json_member_u64(json, "pairs", observed_count(admin->observed));
    json_end_object(json);
    json_member_u64(json, "store_commits", store_commit_count(admin->options.store));
    json_member_u64(json, "admin_connections", admin->connection_count);
    json_member_u64(json, "audit_lines_lost", audit_lost());
    json_member_u64(json, "log_lines_lost", log_lost());
    json_end_object(json);
    admin_answer(call, NULL);
}

void admin_version(struct admin_call *call, size_t count, char **words)
{
    char abi[32];
    (void)count, (void)words;
    snprintf(abi, sizeof abi, "%u.%u", XYLEM_ABI_MAJOR, XYLEM_ABI_MINOR);
    json_begin_object(&call->out);
    json_member_text(&call->out, "version", XYLEM_VERSION);
    json_member_text(&call->out, "region_layout", abi);
    json_member_u64(&call->out, "attach_protocol", XYLEM_WIRE_VERSION);
    json_end_object(&call->out);
    admin_answer(call, NULL);
}

void admin_clients(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    publication_describe_clients(model_publication(call->admin->options.model), &call->out);
    admin_answer(call, NULL);
}

void admin_regions(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    publication_describe_regions(model_publication(call->admin->options.model), &call->out);
    admin_answer(call, NULL);
}

void admin_regions_supersede(struct admin_call *call, size_t count, char **words)
{
    struct error error;
    (void)count, (void)words;
    if (publication_supersede(model_publication(call->admin->options.model), &error) != 0)
        admin_fail(call, &error);
    else
        admin_answer_ok(call);
}

void admin_log_level(struct admin_call *call, size_t count, char **words)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    enum log_level level = LOG_DEBUG;
    if (count == 0) {
        call->audited = false;
        while (level > LOG_ERROR && !log_enabled(level))
            level--;
        json_begin_object(&call->out);
        json_member_text(&call->out, "level", names[level]);
        json_end_object(&call->out);
        admin_answer(call, NULL);
        return;
    }
    admin_subject(call, "%.20s", words[0]);
    if (!log_level_parse(words[0], &level)) {
        admin_fail_with(call, ERROR_INVALID, "\"%.40s\" is no level; say error, warning, info or debug",
                        words[0]);
        return;
    }
    log_configure(level, model_config(call->admin->options.model)->log_format);
    admin_answer_ok(call);
}

void admin_backup(struct admin_call *call, size_t count, char **words)
{
    struct error error;
    (void)count;
    admin_subject(call, "%.390s", words[0]);
    if (store_backup(call->admin->options.store, words[0], admin_done, call, &error) != 0)
        admin_fail(call, &error);
}

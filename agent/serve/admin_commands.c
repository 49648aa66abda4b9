/* SPDX-License-Identifier: MIT */
/* The commands of the door: what `help` prints and what lines are matched against. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/serve/admin_internal.h"

/* Prints a group ("ca") or one command ("ca set") for a word or two, everything for none. */
static bool is_wanted(const struct admin_command *command, size_t count, char **words)
{
    if (count == 0)
        return true;
    size_t size = strlen(words[0]);
    if (strncmp(command->name, words[0], size) != 0)
        return false;
    if (count == 1)
        return command->name[size] == '\0' || command->name[size] == ' ';
    return command->name[size] == ' ' && strcmp(command->name + size + 1, words[1]) == 0;
}

static void help_json(struct admin_call *call, size_t count, char **words)
{
    json_begin_array(&call->out);
    for (const struct admin_command *command = call->admin->commands; command->name; command++) {
        if (!is_wanted(command, count, words))
            continue;
        json_begin_object(&call->out);
        json_member_text(&call->out, "command", command->name);
        json_member_text(&call->out, "arguments", command->arguments);
        json_member_text(&call->out, "level", admin_level_name(command->level));
        json_member_text(&call->out, "help", command->help);
        json_end_object(&call->out);
    }
    json_end_array(&call->out);
    admin_answer(call, NULL);
}

static void help(struct admin_call *call, size_t count, char **words)
{
    char text[16 * 1024];
    size_t used = 0;
    if (call->json) {
        help_json(call, count, words);
        return;
    }
    for (const struct admin_command *command = call->admin->commands; command->name; command++) {
        if (!is_wanted(command, count, words) || used >= sizeof text)
            continue;
        int wrote =
            snprintf(text + used, sizeof text - used, "%s%s%s\n    %s%s%s%s\n", command->name,
                     *command->arguments ? " " : "", command->arguments, command->help,
                     command->level ? " (" : "", command->level ? admin_level_name(command->level) : "",
                     command->level ? ")" : "");
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (used == 0)
        admin_fail_with(call, ERROR_NOT_FOUND, "no command begins with \"%.100s\"; try: help", words[0]);
    else
        admin_answer_text(call, "help", text, used < sizeof text ? used : sizeof text - 1);
}

static void quit(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    if (call->connection)
        call->connection->closing = true;
    admin_answer_ok(call);
}

static void json_mode(struct admin_call *call, size_t count, char **words)
{
    (void)count;
    bool on = strcmp(words[0], "on") == 0;
    if (!on && strcmp(words[0], "off") != 0) {
        admin_fail_with(call, ERROR_INVALID, "usage: json on|off");
        return;
    }
    if (call->connection)
        call->connection->json = on;
    call->json = on;
    admin_answer_ok(call);
}

#define ANY ADMIN_WORDS_MAX

/* One row a command: name, level, arguments, help, how few and how many words, whether it changes anything. */
const struct admin_command admin_commands[] = {
    {"status", CONFIG_VIEWER, "", "The agent's state at a glance", 0, 0, false, admin_status},
    {"roots", CONFIG_VIEWER, "[pem]", "The CA roots that peers are verified with", 0, 1, false, admin_roots},
    {"leaf", CONFIG_VIEWER, "SERVICE [pem|der|key]",
     "A leaf certificate; its chain as PEM, the leaf as base64 DER, or its private key (key needs level "
     "admin)",
     1, 2, false, admin_leaf},
    {"leaves", CONFIG_VIEWER, "", "All leaf certificates and when they are renewed", 0, 0, false,
     admin_leaves},
    {"renew", CONFIG_OPERATOR, "SERVICE", "Begin the renewal of a leaf now", 1, 1, true, admin_renew},
    {"authorize", CONFIG_VIEWER, "TARGET URI [SERIAL]",
     "The verdict that proxies give about a peer with this SPIFFE ID", 2, 3, false, admin_authorize},
    {"intention list", CONFIG_VIEWER, "", "All intentions in the order of evaluation", 0, 0, false,
     admin_intention_list},
    {"intention add", CONFIG_OPERATOR, "SRC DST allow|deny|permissions JSON [--description TEXT] [--dry-run]",
     "Set an intention; --dry-run lists the pairs seen whose verdict would change", 3, 8, true,
     admin_intention_add},
    {"intention delete", CONFIG_OPERATOR, "SRC DST [--dry-run]", "Delete an intention", 2, 3, true,
     admin_intention_delete},
    {"intention check", CONFIG_VIEWER, "SRC DST", "What the intentions say about a pair of services", 2, 2,
     false, admin_intention_check},
    {"intention match", CONFIG_VIEWER, "source|destination NAME",
     "The intentions that may decide about a service, in the order of evaluation", 2, 2, false,
     admin_intention_match},
    {"revoke", CONFIG_OPERATOR, "SERIAL [ISSUER] [reason REASON] [expires SECONDS]",
     "Revoke a certificate, of any issuer unless its key id is given; SECONDS from now it may be forgotten",
     1, 6, true, admin_revoke},
    {"unrevoke", CONFIG_OPERATOR, "SERIAL [ISSUER]", "Take a revocation back", 1, 2, true, admin_unrevoke},
    {"revocations", CONFIG_VIEWER, "", "All revocations, oldest first", 0, 0, false, admin_revocations},
    {"rotate", CONFIG_ADMIN, "[force]",
     "Make a new root with a new key, cross-signed by the old one unless forced not to", 0, 1, true,
     admin_ca_rotate},
    {"ca show", CONFIG_OPERATOR, "", "The CA configuration, without its private key", 0, 0, false,
     admin_ca_show},
    {"ca set", CONFIG_ADMIN, "JSON|KEY=VALUE...",
     "Replace the CA configuration (JSON), or change some keys of it (KEY=VALUE)", 1, ANY, true,
     admin_ca_set},
    {"ca crl", CONFIG_OPERATOR, "[SECONDS]", "A new CRL of the active root as PEM, valid for SECONDS (86400)",
     0, 1, true, admin_ca_crl},
    {"clients", CONFIG_VIEWER, "", "The processes that are attached", 0, 0, false, admin_clients},
    {"regions", CONFIG_VIEWER, "", "The shared memory regions and who holds them", 0, 0, false,
     admin_regions},
    {"regions supersede", CONFIG_OPERATOR, "", "Replace the policy region by a fresh one now", 0, 0, true,
     admin_regions_supersede},
    {"watch", CONFIG_VIEWER, "[roots|leaf|intentions|revocations|configuration]...",
     "One line for each change, until you close the connection", 0, 5, false, admin_watch},
    {"top", CONFIG_VIEWER, "[COUNT]",
     "Verdicts by pair with rates since the last top of this connection, and what else moves", 0, 1, false,
     admin_top},
    {"backup", CONFIG_ADMIN, "PATH", "Write a consistent copy of the store to a file of the agent's machine",
     1, 1, true, admin_backup},
    {"log level", CONFIG_OPERATOR, "[error|warning|info|debug]",
     "Show or set what is logged until the next reload", 0, 1, true, admin_log_level},
    {"json", CONFIG_VIEWER, "on|off", "Answer this connection in JSON from now on", 1, 1, false, json_mode},
    {"version", CONFIG_VIEWER, "", "Versions of the agent and of what it speaks", 0, 0, false, admin_version},
    {"help", CONFIG_VIEWER, "[COMMAND]", "This list, or a part of it", 0, 2, false, help},
    {"quit", CONFIG_VIEWER, "", "Close the connection", 0, 0, false, quit},
    {0},
};

const struct admin_command *admin_find_command(const struct admin_command *table,
                                               const struct admin_line *line, size_t *name_words)
{
    const struct admin_command *found = NULL;
    for (const struct admin_command *command = table; command->name; command++) {
        size_t size = strlen(line->words[0]);
        if (strncmp(command->name, line->words[0], size) != 0)
            continue;
        if (command->name[size] == '\0' && !found) {
            found = command;
            *name_words = 1;
        } else if (command->name[size] == ' ' && line->count > 1 &&
                   strcmp(command->name + size + 1, line->words[1]) == 0) {
            *name_words = 2;
            return command;
        }
    }
    return found;
}

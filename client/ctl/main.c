/* SPDX-License-Identifier: MIT */
/* xylemctl: the agent's admin door on the command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/ctl/completion.h"
#include "client/ctl/line.h"
#include "client/ctl/live.h"
#include "client/ctl/pretty.h"
#include "client/ctl/restore.h"
#include "client/ctl/talk.h"

static void print_help(FILE *out, const struct ctl_command *only)
{
    if (!only)
        fputs("usage: xylemctl [--socket PATH] [--json] COMMAND [ARGUMENTS]\n"
              "       xylemctl --help | --version\n"
              "\n"
              "Asks the agent on this machine. The socket is --socket, else $XYLEM_ADMIN, else\n"
              "/run/xylem/admin.sock. See xylemctl(1).\n"
              "\n",
              out);
    for (const struct ctl_command *command = ctl_commands; command->name; command++)
        if (!only || only == command)
            fprintf(out, "  %s%s%s\n      %s\n", command->name, *command->arguments ? " " : "",
                    command->arguments, command->help);
    if (!only)
        fputs("\nExit status: 0 done or allowed, 1 denied or no such thing, 2 wrong usage, 3 no agent, 4 "
              "refused.\n",
              out);
}

static enum ctl_status complain(enum ctl_status status, const struct error *error)
{
    fprintf(stderr, "xylemctl: %s\n", error->text);
    return status;
}

/* --- printing --- */

static void print_json(const struct talk_answer *answer)
{
    char *pretty = NULL;
    if (isatty(STDOUT_FILENO) && pretty_json(answer->text, answer->size, 2, &pretty, NULL, NULL) == 0)
        puts(pretty);
    else
        fputs(answer->text, stdout);
    free(pretty);
}

static int value_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* The bytes themselves, for openssl and the like. */
static void print_base64_decoded(const char *text)
{
    unsigned bits = 0, held = 0;
    for (; value_of(*text) >= 0; text++) {
        held = held << 6 | (unsigned)value_of(*text);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            putchar((int)(held >> bits & 0xff));
        }
    }
}

static void print(const struct ctl_request *request, const struct talk_answer *answer, const char *body)
{
    bool der = request->word_count > 0 && strcmp(request->command->name, "leaf") == 0 &&
               strcmp(request->words[request->word_count - 1], "der") == 0 && request->word_count == 2;
    if (request->json)
        print_json(answer);
    else if (der)
        print_base64_decoded(body);
    else
        fputs(body, stdout);
}

/* --- commands --- */

/* Copies what comes until the agent closes the connection. */
static enum ctl_status follow(int fd, const struct talk_answer *answer, struct error *error)
{
    char buffer[16 * 1024];
    fwrite(answer->rest, 1, answer->rest_size, stdout);
    for (;;) {
        fflush(stdout);
        if (ferror(stdout))
            return CTL_OK; /* nobody reads us any more */
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got == -1 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        fwrite(buffer, 1, (size_t)got, stdout);
    }
    error_set(error, ERROR_SYSTEM, "the agent has closed the connection");
    return CTL_NO_AGENT;
}

static enum ctl_status converse(int fd, const struct ctl_request *request, const char *line, size_t size,
                                struct error *error)
{
    struct talk_answer answer = {0};
    const char *body = NULL;
    if (request->command->how == CTL_LIVE)
        return live_run(fd, request, line, size, error);
    if (talk_ask(fd, line, size, &answer, error) != 0)
        return CTL_NO_AGENT;
    enum ctl_status status = talk_judge(&answer, request->json, &body, error);
    if (error->code == 0 || request->json)
        print(request, &answer, body);
    if (status == CTL_OK && request->command->how == CTL_FOLLOW)
        status = follow(fd, &answer, error);
    talk_answer_free(&answer);
    return status;
}

static enum ctl_status ask(const struct ctl_request *request)
{
    struct error error = {0};
    char *line = NULL;
    size_t size = 0;
    if (ctl_make_line(request, request->json, &line, &size, &error) != 0)
        return complain(CTL_USAGE, &error);
    enum ctl_status status = CTL_NO_AGENT;
    int fd = talk_connect(request->socket_path, &error);
    if (fd >= 0) {
        status = converse(fd, request, line, size, &error);
        close(fd);
    }
    explicit_bzero(line, size);
    free(line);
    if (error.code)
        complain(status, &error);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "xylemctl: cannot write: %s\n", strerror(errno));
        return CTL_REFUSED;
    }
    return status;
}

static enum ctl_status restore(const struct ctl_request *request)
{
    struct error error = {0};
    int code = restore_store(request->words[0], request->words[1], &error);
    if (code)
        return complain(code == ERROR_NOT_FOUND ? CTL_NO : CTL_REFUSED, &error);
    printf("restored; start the agent now\n");
    return CTL_OK;
}

static enum ctl_status run(const struct ctl_request *request)
{
    if (request->version) {
        puts("xylemctl " XYLEM_VERSION);
        return CTL_OK;
    }
    if (request->help || !request->command) {
        print_help(request->help ? stdout : stderr, request->command);
        return request->help ? CTL_OK : CTL_USAGE;
    }
    switch (request->command->how) {
    case CTL_RESTORE:
        return restore(request);
    case CTL_COMPLETION:
        completion_write(stdout);
        return CTL_OK;
    default:
        return ask(request);
    }
}

int main(int count, char **arguments)
{
    struct ctl_request request;
    struct error error = {0};
    enum ctl_status status;
    if (ctl_read_arguments(count - 1, arguments + 1, &request, &error) != 0)
        status = complain(CTL_USAGE, &error);
    else
        status = run(&request);
    free(request.words);
    return (int)status;
}

/* SPDX-License-Identifier: MIT */
#include "client/ctl/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: a wait ends */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* As many lines as the terminal has, each cut by it. */
static void draw(const char *body)
{
    struct winsize window = {.ws_row = 0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == -1 || window.ws_row == 0)
        window.ws_row = 24;                   /* a terminal that does not know, such as a serial line */
    fputs("\033[?25l\033[?7l\033[H", stdout); /* no cursor, no wrapping, to the corner */
    for (int row = 1; *body && row < window.ws_row; row++) {
        size_t size = strcspn(body, "\n");
        printf("%.*s\033[K\n", (int)size, body);
        body += size + (body[size] == '\n');
    }
    fputs("\033[J", stdout);
    fflush(stdout);
}

static void leave(void)
{
    fputs("\033[?7h\033[?25h", stdout);
    fflush(stdout);
}

/* Until the next snapshot is due; true: somebody has interrupted. */
static bool wait_for(double interval_sec)
{
    struct timespec interval = {.tv_sec = (time_t)interval_sec};
    interval.tv_nsec = (long)((interval_sec - (double)interval.tv_sec) * 1e9);
    return nanosleep(&interval, NULL) == -1 || interrupted;
}

enum ctl_status live_run(int fd, const struct ctl_request *request, const char *line, size_t size,
                         struct error *error)
{
    bool screen = isatty(STDOUT_FILENO) && !request->json && request->count == 0;
    double interval_sec = request->interval_sec > 0 ? request->interval_sec : 1;
    unsigned long left = request->count ? request->count : 1;
    struct talk_answer answer = {0};
    enum ctl_status status = CTL_OK;
    const char *body;
    if (screen)
        catch_signals();
    for (;;) {
        if (talk_ask(fd, line, size, &answer, error) != 0)
            status = CTL_NO_AGENT;
        else
            status = talk_judge(&answer, request->json, &body, error);
        if (status != CTL_OK)
            break;
        if (screen)
            draw(body);
        else
            fputs(body, stdout);
        fflush(stdout);
        if ((!screen && --left == 0) || wait_for(interval_sec))
            break;
        if (!screen && !request->json)
            putchar('\n');
    }
    if (screen)
        leave();
    if (interrupted)
        status = CTL_OK;
    talk_answer_free(&answer);
    return status;
}

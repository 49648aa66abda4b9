/* SPDX-License-Identifier: MIT */
/* How much memory an idle agent holds (VmRSS of a real one) with 100 leaves and 10 000 intentions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/agent.h"
#include "bench/bench.h"

#define LEAVES     100u
#define INTENTIONS 10000u
#define BATCH      100u /* commands written before their answers are read: the socket's buffers hold them */
#define SETTLE_S   25u /* workers fall idle, then the agent gives memory back: each about every ten seconds */

static int connect_admin(const struct bench_agent *agent)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", agent->admin);
    if (fd == -1 || connect(fd, (const struct sockaddr *)&address, sizeof address) == -1)
        bench_fail("%s: %s", agent->admin, strerror(errno));
    return fd;
}

static void add_batch(int fd, unsigned first)
{
    char text[BATCH * 64], answers[4096];
    size_t used = 0;
    unsigned answered = 0;
    for (unsigned i = first; i < first + BATCH; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "intention add source-%u target-%u allow\n",
                                 i % 200, i / 200);
    if (write(fd, text, used) != (ssize_t)used)
        bench_fail("admin socket: %s", strerror(errno));
    while (answered < BATCH) {
        ssize_t size = read(fd, answers, sizeof answers);
        if (size <= 0 || memchr(answers, 'E', (size_t)size)) /* "ERROR ..." */
            bench_fail("the agent refused an intention");
        for (ssize_t i = 0; i < size; i++)
            answered += answers[i] == 'K'; /* "OK" */
    }
}

static double resident_bytes(pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            break;
    if (file)
        fclose(file);
    if (!kib)
        bench_fail("%s cannot be read", path);
    return (double)kib * 1024;
}

void footprint_measure(struct report *report)
{
    struct bench_agent agent;
    agent_start(&agent, LEAVES);
    agent_wait_for_leaf(&agent);
    int fd = connect_admin(&agent);
    for (unsigned i = 0; i < INTENTIONS; i += BATCH)
        add_batch(fd, i);
    close(fd);
    sleep(SETTLE_S);
    report_number(report, "rss_bytes", resident_bytes(agent.pid));
    agent_stop(&agent);
}

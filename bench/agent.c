/* SPDX-License-Identifier: MIT */
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "bench/agent.h"
#include "bench/bench.h"

#define PAUSE_US   200 /* between two tries to attach: more often than a proxy would */
#define PATIENCE_S 20u

static void find_program(char *program, size_t size)
{
    char self[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        bench_fail("/proc/self/exe cannot be read");
    self[length] = '\0';
    snprintf(program, size, "%s/xylemd", dirname(self));
}

static void write_configuration(const struct bench_agent *agent, unsigned services, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        bench_fail("%s cannot be written", path);
    fprintf(file,
            "state_directory = \"%s/state\"\nrun_directory = \"%s/run\"\nlog { level = \"error\" }\n"
            "audit { file = \"%s/audit\" }\n",
            agent->directory, agent->directory, agent->directory);
    for (unsigned i = 0; i < services; i++)
        fprintf(file, "service \"svc-%u\" { users = {\"root\"} }\n", i);
    if (fclose(file) != 0)
        bench_fail("%s cannot be written", path);
}

void agent_start(struct bench_agent *agent, unsigned services)
{
    char program[600], configuration[64];
    find_program(program, sizeof program);
    strcpy(agent->directory, "/tmp/xylem-bench-XXXXXX");
    if (!mkdtemp(agent->directory))
        bench_fail("no directory in /tmp");
    snprintf(configuration, sizeof configuration, "%s/xylemd.conf", agent->directory);
    snprintf(agent->attach, sizeof agent->attach, "%s/run/attach.sock", agent->directory);
    snprintf(agent->admin, sizeof agent->admin, "%s/run/admin.sock", agent->directory);
    write_configuration(agent, services, configuration);
    agent->pid = fork();
    if (agent->pid == -1)
        bench_fail("fork: %s", strerror(errno));
    if (agent->pid == 0) {
        execl(program, program, "--config", configuration, (char *)NULL);
        _exit(127);
    }
}

static int try_to_read(const struct bench_agent *agent, uint64_t *when_ns)
{
    struct xylem_options options = {.socket_path = agent->attach, .reader_capacity = 16};
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct xylem_leaf_view leaf;
    if (xylem_open(&client, &options) != XYLEM_OK)
        return -1;
    if (xylem_reader_open(client, &reader) != XYLEM_OK)
        bench_fail("no reader slot");
    xylem_read_lock(reader);
    int error = xylem_leaf(reader, "svc-0", &leaf);
    *when_ns = bench_now_ns();
    xylem_read_unlock(reader);
    xylem_reader_close(reader);
    xylem_close(client);
    return error;
}

uint64_t agent_wait_for_leaf(const struct bench_agent *agent)
{
    uint64_t start_ns = bench_now_ns();
    uint64_t when_ns;
    while (try_to_read(agent, &when_ns) != 0) {
        if (bench_now_ns() - start_ns > PATIENCE_S * 1000000000ull)
            bench_fail("no leaf within %u s of starting xylemd", PATIENCE_S);
        usleep(PAUSE_US);
    }
    return when_ns;
}

void agent_stop(struct bench_agent *agent)
{
    char command[64];
    kill(agent->pid, SIGTERM);
    waitpid(agent->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", agent->directory);
    if (system(command) != 0)
        bench_fail("%s stays behind", agent->directory);
}

/* SPDX-License-Identifier: MIT */
/* xylem-bench start: from exec of the xylemd beside this program, with an empty state directory and one configured
 * service, until a client has read the first leaf: the root, the key and the certificate are made meanwhile. */
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "bench/bench.h"

#define RUNS       20
#define PAUSE_US   200
#define PATIENCE_S 20

static void write_configuration(const char *directory, char *path, size_t size)
{
    snprintf(path, size, "%s/xylemd.conf", directory);
    FILE *file = fopen(path, "w");
    if (!file)
        bench_fail("%s cannot be written", path);
    fprintf(file,
            "state_directory = \"%s/state\"\nrun_directory = \"%s/run\"\nlog { level = \"error\" }\n"
            "audit { file = \"%s/audit\" }\nservice \"web\" { users = {\"root\"} }\n",
            directory, directory, directory);
    fclose(file);
}

static pid_t spawn(const char *program, const char *configuration)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, "--config", configuration, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Tries as a proxy would, only more often. */
static double first_leaf_ms(const char *program, const char *configuration, const char *socket, pid_t *pid)
{
    struct xylem_options options = {.socket_path = socket, .reader_capacity = 16};
    uint64_t start_ns = bench_now_ns();
    *pid = spawn(program, configuration);
    while (bench_now_ns() - start_ns < PATIENCE_S * 1000000000ull) {
        struct xylem_client *client;
        struct xylem_reader *reader;
        struct xylem_leaf_view leaf;
        if (xylem_open(&client, &options) != XYLEM_OK) {
            usleep(PAUSE_US);
            continue;
        }
        if (xylem_reader_open(client, &reader) != XYLEM_OK)
            bench_fail("no reader slot");
        xylem_read_lock(reader);
        int error = xylem_leaf(reader, "web", &leaf);
        uint64_t end_ns = bench_now_ns();
        xylem_read_unlock(reader);
        xylem_reader_close(reader);
        xylem_close(client);
        if (!error)
            return (double)(end_ns - start_ns) / 1e6;
        usleep(PAUSE_US);
    }
    bench_fail("no leaf within %d s of starting %s", PATIENCE_S, program);
}

static double run_once(const char *program)
{
    char directory[] = "/tmp/xylem-bench-XXXXXX";
    char configuration[64], socket[64], command[64];
    pid_t pid;
    if (!mkdtemp(directory))
        bench_fail("no directory in /tmp");
    write_configuration(directory, configuration, sizeof configuration);
    snprintf(socket, sizeof socket, "%s/run/attach.sock", directory);
    double ms = first_leaf_ms(program, configuration, socket, &pid);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        bench_fail("%s stays behind", directory);
    return ms;
}

void start_run(const struct options *options, struct report *report)
{
    struct samples samples = {0};
    char self[512], program[600];
    (void)options;
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size <= 0)
        bench_fail("/proc/self/exe cannot be read");
    self[size] = '\0';
    snprintf(program, sizeof program, "%s/xylemd", dirname(self));
    for (int i = 0; i < RUNS; i++)
        samples_add(&samples, run_once(program));
    report_number(report, "runs", RUNS);
    report_distribution(report, "first_leaf_ms", &samples);
    samples_free(&samples);
}

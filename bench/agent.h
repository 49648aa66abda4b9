/* SPDX-License-Identifier: MIT */
/* A real xylemd, the one beside this program, in a directory of its own. */
#ifndef BENCH_AGENT_H
#define BENCH_AGENT_H

#include <stdint.h>
#include <sys/types.h>

struct bench_agent {
    char directory[32];
    char attach[64]; /* paths of its sockets */
    char admin[64];
    pid_t pid;
};

/* Writes a configuration with `services` services "svc-0", ..., readable by root, and execs the agent. */
void agent_start(struct bench_agent *agent, unsigned services);

/* Waits until a client has read the leaf of "svc-0"; returns when that was (bench_now_ns()). */
uint64_t agent_wait_for_leaf(const struct bench_agent *agent);

/* Ends it and removes the directory. */
void agent_stop(struct bench_agent *agent);

#endif

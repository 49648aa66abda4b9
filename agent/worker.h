/* SPDX-License-Identifier: MIT */
/* Threads for what takes too long on an event loop: generating keys, signing. A small fixed pool, each thread
 * with a ca_thread of its own, because the crypto library's state must not wander between threads.
 *
 *     struct signing { struct worker_job job; ... };
 *     signing->job.run = sign;                      // on a worker: touches nothing but the job and what is
 * immutable signing->job.done = signed;                   // on the thread that submitted code =
 * worker_submit(pool, &signing->job, error);
 *
 * One thread (the main thread) creates the pool, submits, runs the answers and closes. */
#ifndef AGENT_WORKER_H
#define AGENT_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/ca/thread.h"
#include "agent/error.h"
#include "agent/mailbox.h"

enum {
    WORKER_THREADS_MAX = 4,
    WORKER_JOBS_MAX = 1024, /* submitted and not yet answered, over the whole pool */
};

struct worker_pool;

/* A job; lives inside the submitter's structure, which stays in place until `done`. The submitter sets run
 * and done. */
struct worker_job {
    struct mail mail; /* the pool's */
    struct worker *worker;
    void (*run)(struct worker_job *job, struct ca_thread *thread);
    void (*done)(struct worker_job *job); /* owns the job again; may free it or submit it anew */
    bool cancelled;                       /* set before `done`: the pool was closed before the job began */
};

/* Starts `threads` threads (0: one for each CPU, at most WORKER_THREADS_MAX), which have all signals blocked.
 * Done functions run where `answers` is run; it outlives the pool. ERROR_SYSTEM, ERROR_CRYPTO. */
int worker_pool_create(unsigned threads, struct mailbox *answers, struct worker_pool **pool,
                       struct error *error);

/* Hands the job to the thread with the least to do. ERROR_BUSY when WORKER_JOBS_MAX are under way or the pool
 * is being closed; the job is untouched then. */
int worker_submit(struct worker_pool *pool, struct worker_job *job, struct error *error);

/* How many jobs are under way. */
size_t worker_pool_load(const struct worker_pool *pool);

/* Lets the jobs that have begun finish, cancels the others, runs the done function of every one (on this
 * thread; other mail of `answers` runs too), ends the threads and frees the pool. Not from a done function.
 * NULL is harmless. */
void worker_pool_close(struct worker_pool *pool);

#endif

/* SPDX-License-Identifier: MIT */
#include "agent/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

/* After so long without a job a thread gives back the curve tables. */
enum { IDLE_AFTER_MS = 10000 };

struct worker {
    struct worker_pool *pool;
    struct mailbox inbox;
    struct mail stop_mail;
    pthread_t thread;
    struct ca_thread *crypto; /* made, used and freed by the thread alone */
    bool stop;                /* the thread's own */
    size_t load;              /* the submitter's own: jobs under way here */
    sem_t ready;
    struct error failure;
};

struct worker_pool {
    struct mailbox *answers;
    size_t load;
    bool closing; /* the submitter's own */
    bool cancel;  /* read by the workers before each job */
    unsigned count;
    struct worker workers[WORKER_THREADS_MAX];
};

static void answer(struct mail *mail)
{
    struct worker_job *job = caa_container_of(mail, struct worker_job, mail);
    job->worker->load--;
    job->worker->pool->load--;
    job->done(job);
}

static void run_job(struct mail *mail)
{
    struct worker_job *job = caa_container_of(mail, struct worker_job, mail);
    struct worker_pool *pool = job->worker->pool;
    if (__atomic_load_n(&pool->cancel, __ATOMIC_RELAXED))
        job->cancelled = true;
    else
        job->run(job, job->worker->crypto);
    job->mail.run = answer;
    mailbox_post(pool->answers, &job->mail);
}

static void stop(struct mail *mail)
{
    caa_container_of(mail, struct worker, stop_mail)->stop = true;
}

static void serve(struct worker *worker)
{
    bool warm = false; /* curve tables may be there */
    while (!worker->stop) {
        struct pollfd inbox = {.fd = mailbox_descriptor(&worker->inbox), .events = POLLIN};
        if (poll(&inbox, 1, warm ? IDLE_AFTER_MS : -1) == 0) {
            ca_thread_idle(worker->crypto);
            warm = false;
        } else if (mailbox_run(&worker->inbox)) {
            warm = true;
        }
    }
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    worker->crypto = ca_thread_create(&worker->failure);
    bool usable = worker->crypto;
    sem_post(&worker->ready);
    if (usable)
        serve(worker);
    ca_thread_free(worker->crypto);
    return NULL;
}

static void join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->ready);
    mailbox_destroy(&worker->inbox);
}

static int start(struct worker *worker, struct worker_pool *pool, struct error *error)
{
    sigset_t all, before;
    worker->pool = pool;
    int code = mailbox_init(&worker->inbox, error);
    if (code)
        return code;
    sem_init(&worker->ready, 0, 0);
    /* The new thread inherits the mask: no signal handler of the agent ever runs on it. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&worker->thread, NULL, thread_main, worker);
    bool created = errno == 0;
    if (!created)
        code = error_errno(error, "cannot start a worker thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!created) {
        sem_destroy(&worker->ready);
        mailbox_destroy(&worker->inbox);
        return code;
    }
    pthread_setname_np(worker->thread, "worker");
    while (sem_wait(&worker->ready) && errno == EINTR)
        ;
    if (worker->crypto)
        return 0;
    join(worker);
    return error_set(error, worker->failure.code, "worker thread: %s", worker->failure.text);
}

static unsigned default_threads(void)
{
    cpu_set_t cpus;
    int count = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
    return count < 1 ? 1 : count > WORKER_THREADS_MAX ? WORKER_THREADS_MAX : (unsigned)count;
}

int worker_pool_create(unsigned threads, struct mailbox *answers, struct worker_pool **pool,
                       struct error *error)
{
    struct worker_pool *made = calloc(1, sizeof *made);
    if (!made)
        return error_errno(error, "worker pool");
    made->answers = answers;
    if (threads == 0)
        threads = default_threads();
    while (made->count < threads && made->count < WORKER_THREADS_MAX) {
        int code = start(&made->workers[made->count], made, error);
        if (code) {
            worker_pool_close(made);
            return code;
        }
        made->count++;
    }
    *pool = made;
    return 0;
}

int worker_submit(struct worker_pool *pool, struct worker_job *job, struct error *error)
{
    if (pool->closing)
        return error_set(error, ERROR_BUSY, "the agent is stopping");
    if (pool->load >= WORKER_JOBS_MAX)
        return error_set(error, ERROR_BUSY, "%d signing jobs are waiting already; try again later",
                         WORKER_JOBS_MAX);
    struct worker *least = &pool->workers[0];
    for (unsigned i = 1; i < pool->count; i++)
        if (pool->workers[i].load < least->load)
            least = &pool->workers[i];
    least->load++;
    pool->load++;
    job->worker = least;
    job->cancelled = false;
    job->mail.run = run_job;
    mailbox_post(&least->inbox, &job->mail);
    return 0;
}

size_t worker_pool_load(const struct worker_pool *pool)
{
    return pool->load;
}

void worker_pool_close(struct worker_pool *pool)
{
    if (!pool)
        return;
    pool->closing = true;
    __atomic_store_n(&pool->cancel, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < pool->count; i++) {
        pool->workers[i].stop_mail.run = stop;
        mailbox_post(&pool->workers[i].inbox, &pool->workers[i].stop_mail);
    }
    for (unsigned i = 0; i < pool->count; i++)
        join(&pool->workers[i]);
    while (pool->load) {
        mailbox_wait(pool->answers);
        mailbox_run(pool->answers);
    }
    free(pool);
}

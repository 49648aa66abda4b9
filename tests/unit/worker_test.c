/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>

#include "agent/worker.h"

struct box {
    struct mailbox answers;
    struct worker_pool *pool;
};

static void open_box(struct box *box, unsigned threads)
{
    assert_int_equal(mailbox_init(&box->answers, NULL), 0);
    assert_int_equal(worker_pool_create(threads, &box->answers, &box->pool, NULL), 0);
}

static void close_box(struct box *box)
{
    worker_pool_close(box->pool);
    mailbox_destroy(&box->answers);
}

struct task {
    struct worker_job job;
    pthread_t ran_on;
    pthread_t *main_thread;
    uint8_t random[16];
    bool ran, done;
    sem_t *started, *gate; /* NULL: none */
    bool blocked;          /* whether SIGUSR1 is, on the worker */
};

static void run(struct worker_job *job, struct ca_thread *thread)
{
    struct task *task = caa_container_of(job, struct task, job);
    sigset_t mask;
    task->ran = true;
    task->ran_on = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    task->blocked = sigismember(&mask, SIGUSR1) == 1;
    if (ca_thread_random(thread, task->random, sizeof task->random, NULL))
        memset(task->random, 0, sizeof task->random);
    if (task->started)
        sem_post(task->started);
    if (task->gate)
        while (sem_wait(task->gate) && errno == EINTR)
            ;
}

static void done(struct worker_job *job)
{
    struct task *task = caa_container_of(job, struct task, job);
    assert_true(pthread_equal(pthread_self(), *task->main_thread));
    assert_false(task->done);
    assert_true(job->cancelled != task->ran);
    task->done = true;
}

static void await(struct mailbox *answers, const struct worker_pool *pool)
{
    while (worker_pool_load(pool)) {
        mailbox_wait(answers);
        mailbox_run(answers);
    }
}

static void jobs_run_on_workers_and_end_here(void **state)
{
    (void)state;
    struct box box;
    open_box(&box, 0);
    pthread_t self = pthread_self();
    struct task tasks[64] = {0};
    for (size_t i = 0; i < 64; i++) {
        tasks[i] = (struct task){.job = {.run = run, .done = done}, .main_thread = &self};
        assert_int_equal(worker_submit(box.pool, &tasks[i].job, NULL), 0);
    }
    await(&box.answers, box.pool);
    for (size_t i = 0; i < 64; i++) {
        assert_true(tasks[i].ran && tasks[i].done && tasks[i].blocked);
        assert_false(pthread_equal(tasks[i].ran_on, self));
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(tasks[i].random, tasks[j].random, sizeof tasks[i].random);
    }
    close_box(&box);
}

static void the_least_loaded_is_chosen(void **state)
{
    (void)state;
    struct box box;
    open_box(&box, 2);
    pthread_t self = pthread_self();
    sem_t started, gate;
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 0);
    struct task held = {
        .job = {.run = run, .done = done}, .main_thread = &self, .started = &started, .gate = &gate};
    struct task other = {.job = {.run = run, .done = done}, .main_thread = &self};
    assert_int_equal(worker_submit(box.pool, &held.job, NULL), 0);
    sem_wait(&started);
    /* With one thread held, all others go to the free one and end. */
    for (int i = 0; i < 5; i++) {
        other.done = other.ran = false;
        assert_int_equal(worker_submit(box.pool, &other.job, NULL), 0);
        while (!other.done) {
            mailbox_wait(&box.answers);
            mailbox_run(&box.answers);
        }
    }
    assert_false(held.done);
    sem_post(&gate);
    await(&box.answers, box.pool);
    assert_true(held.done);
    assert_false(pthread_equal(held.ran_on, other.ran_on));
    close_box(&box);
    sem_destroy(&gate);
    sem_destroy(&started);
}

/* Called when the pool is being closed and the workers know it. */
static sem_t *opened_on_join;
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (opened_on_join)
        sem_post(opened_on_join);
    return __real_pthread_join(thread, result);
}

static void the_queue_is_bounded_and_closing_cancels(void **state)
{
    (void)state;
    struct box box;
    open_box(&box, 1);
    pthread_t self = pthread_self();
    sem_t started, gate;
    struct error error = {0};
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 0);
    struct task *tasks = calloc(WORKER_JOBS_MAX + 1, sizeof *tasks);
    for (size_t i = 0; i <= WORKER_JOBS_MAX; i++)
        tasks[i] = (struct task){.job = {.run = run, .done = done}, .main_thread = &self};
    tasks[0].started = &started;
    tasks[0].gate = &gate;
    for (size_t i = 0; i < WORKER_JOBS_MAX; i++)
        assert_int_equal(worker_submit(box.pool, &tasks[i].job, NULL), 0);
    assert_int_equal(worker_submit(box.pool, &tasks[WORKER_JOBS_MAX].job, &error), ERROR_BUSY);
    sem_wait(&started);
    opened_on_join = &gate;
    worker_pool_close(box.pool);
    opened_on_join = NULL;
    for (size_t i = 0; i < WORKER_JOBS_MAX; i++) {
        assert_true(tasks[i].done);
        assert_int_equal(tasks[i].ran, i == 0);
    }
    assert_false(tasks[WORKER_JOBS_MAX].done);
    free(tasks);
    mailbox_destroy(&box.answers);
    sem_destroy(&gate);
    sem_destroy(&started);
}

/* A done function that submits its job again, as long as the pool takes it. */
struct repeated {
    struct worker_job job;
    struct worker_pool *pool;
    unsigned rounds;
    int code;
};

static void nothing(struct worker_job *job, struct ca_thread *thread)
{
    (void)job;
    (void)thread;
}

static void again(struct worker_job *job)
{
    struct repeated *repeated = caa_container_of(job, struct repeated, job);
    repeated->rounds++;
    repeated->code = worker_submit(repeated->pool, job, NULL);
}

static void closing_takes_no_more(void **state)
{
    (void)state;
    struct box box;
    open_box(&box, 1);
    struct repeated repeated = {.job = {.run = nothing, .done = again}};
    repeated.pool = box.pool;
    assert_int_equal(worker_submit(box.pool, &repeated.job, NULL), 0);
    while (repeated.rounds < 3) {
        mailbox_wait(&box.answers);
        mailbox_run(&box.answers);
    }
    worker_pool_close(box.pool);
    assert_int_equal(repeated.code, ERROR_BUSY);
    worker_pool_close(NULL);
    mailbox_destroy(&box.answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_on_workers_and_end_here),
        cmocka_unit_test(the_least_loaded_is_chosen),
        cmocka_unit_test(the_queue_is_bounded_and_closing_cancels),
        cmocka_unit_test(closing_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

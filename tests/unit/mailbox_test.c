/* SPDX-License-Identifier: MIT */
#include "agent/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct note {
    struct mail mail;
    unsigned producer;
    unsigned number;
};

static unsigned received[8];

/* Fails the test unless the notes of each producer come in order. */
static void receive(struct mail *mail)
{
    struct note *note = caa_container_of(mail, struct note, mail);
    assert_int_equal(note->number, received[note->producer]);
    received[note->producer]++;
    free(note);
}

static void post(struct mailbox *box, unsigned producer, unsigned number)
{
    struct note *note = calloc(1, sizeof *note);
    if (!note)
        abort();
    *note = (struct note){.mail = {.run = receive}, .producer = producer, .number = number};
    mailbox_post(box, &note->mail);
}

static bool readable(const struct mailbox *box)
{
    struct pollfd entry = {.fd = mailbox_descriptor(box), .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

static int set_up(void **state)
{
    static struct mailbox box;
    struct error error;
    memset(received, 0, sizeof received);
    *state = &box;
    return mailbox_init(&box, &error);
}

static int tear_down(void **state)
{
    mailbox_destroy(*state);
    return 0;
}

static void runs_in_order_with_one_wakeup(void **state)
{
    struct mailbox *box = *state;
    assert_false(readable(box));
    assert_int_equal(mailbox_run(box), 0);
    for (unsigned i = 0; i < 100; i++)
        post(box, 0, i);
    uint64_t wakeups = 0;
    assert_int_equal(read(mailbox_descriptor(box), &wakeups, sizeof wakeups), sizeof wakeups);
    assert_int_equal(wakeups, 1);
    assert_int_equal(mailbox_run(box), 100);
    assert_int_equal(received[0], 100);
    assert_false(readable(box));
    post(box, 0, 100);
    assert_true(readable(box));
    mailbox_wait(box);
    assert_int_equal(mailbox_run(box), 1);
}

static void a_flood_does_not_hold_the_consumer(void **state)
{
    struct mailbox *box = *state;
    for (unsigned i = 0; i < MAILBOX_RUN_LIMIT + 5; i++)
        post(box, 0, i);
    assert_int_equal(mailbox_run(box), MAILBOX_RUN_LIMIT);
    assert_true(readable(box));
    assert_int_equal(mailbox_run(box), 5);
    assert_false(readable(box));
}

static struct mailbox *repeat_box;
static unsigned repeats;

static void post_again(struct mail *mail)
{
    if (++repeats < 3 * MAILBOX_RUN_LIMIT)
        mailbox_post(repeat_box, mail);
}

static void a_mail_may_be_posted_again_while_it_runs(void **state)
{
    repeat_box = *state;
    repeats = 0;
    struct mail mail = {.run = post_again};
    mailbox_post(repeat_box, &mail);
    while (repeats < 3 * MAILBOX_RUN_LIMIT) {
        assert_true(readable(repeat_box));
        mailbox_run(repeat_box);
    }
    mailbox_run(repeat_box);
    assert_false(readable(repeat_box));
}

enum { PRODUCERS = 4, NOTES = 100000 };

struct producer {
    pthread_t thread;
    struct mailbox *box;
    unsigned number;
};

static void *produce(void *argument)
{
    struct producer *producer = argument;
    for (unsigned i = 0; i < NOTES; i++)
        post(producer->box, producer->number, i);
    return NULL;
}

/* A lost wakeup would leave the consumer blocked for good: the alarm ends the test then. */
static void no_wakeup_is_lost_among_producers(void **state)
{
    struct mailbox *box = *state;
    struct producer producers[PRODUCERS];
    alarm(60);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.box = box, .number = i};
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    for (unsigned total = 0; total < PRODUCERS * NOTES;) {
        mailbox_wait(box);
        total += mailbox_run(box);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i].thread, NULL);
        assert_int_equal(received[i], NOTES);
    }
    alarm(0);
    assert_int_equal(mailbox_run(box), 0);
}

/* One mail at a time between two threads: every single handover needs its own wakeup. */
static struct mailbox ping_box;
static unsigned pings;

static void count_ping(struct mail *mail)
{
    (void)mail;
    pings++;
}

struct game {
    struct mailbox *back;
    struct mail mail;
};

static void *return_pings(void *argument)
{
    struct game *game = argument;
    for (unsigned i = 0; i < NOTES / 5; i++) {
        unsigned ran = 0;
        while (!ran) {
            mailbox_wait(&ping_box);
            ran = mailbox_run(&ping_box);
        }
        mailbox_post(game->back, &game->mail);
    }
    return NULL;
}

static void ping_pong(void **state)
{
    struct error error;
    assert_int_equal(mailbox_init(&ping_box, &error), 0);
    pings = 0;
    struct game game = {.back = *state, .mail = {.run = count_ping}};
    struct mail ping = {.run = count_ping};
    pthread_t thread;
    alarm(60);
    assert_int_equal(pthread_create(&thread, NULL, return_pings, &game), 0);
    for (unsigned i = 0; i < NOTES / 5; i++) {
        mailbox_post(&ping_box, &ping);
        while (!mailbox_run(*state))
            mailbox_wait(*state);
    }
    pthread_join(thread, NULL);
    alarm(0);
    assert_int_equal(pings, 2 * (NOTES / 5));
    mailbox_destroy(&ping_box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_in_order_with_one_wakeup, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_does_not_hold_the_consumer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mail_may_be_posted_again_while_it_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_wakeup_is_lost_among_producers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ping_pong, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

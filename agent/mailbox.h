/* SPDX-License-Identifier: MIT */
/* How threads hand work to each other: a wait-free queue with many producers and one consumer, and a wakeup.
 *
 * A message is a `struct mail` inside the sender's own structure: posting allocates nothing and cannot fail.
 * The consumer is one thread. If it has an event loop, the loop watches mailbox_descriptor() for reading and
 * calls mailbox_run(); if it has none, it calls mailbox_wait() and mailbox_run() in turn.
 *
 *     struct job {
 *         struct mail mail;
 *         ...
 *     };
 *     job->mail.run = job_run;                    // recovers the job from &job->mail; owns it from then on
 *     mailbox_post(&worker->mailbox, &job->mail);
 *
 * Ordering. The exchange of the queue's tail in mailbox_post() is a full barrier and publishes everything
 * that the poster wrote before; it pairs with the dequeue in mailbox_run(). Mails of one poster run in the
 * order of their posting; mails of different posters run in the order of their exchanges.
 *
 * Wakeups. After its enqueue a poster exchanges `signalled` to 1 and writes the eventfd only if it was 0, so
 * there is one system call for a whole batch. The consumer drains the eventfd, *then* exchanges `signalled`
 * to 0, *then* dequeues. Either the poster's exchange comes before the consumer's, and the dequeue sees the
 * mail; or it comes after, reads 0, and the poster wakes the consumer anew. Clearing before draining could
 * swallow the wakeup of a poster in between and leave `signalled` at 1 for ever. */
#ifndef AGENT_MAILBOX_H
#define AGENT_MAILBOX_H

#include <stdint.h>

#include <urcu/wfcqueue.h>

#include "agent/error.h"

/* One message. The poster sets `run`; from mailbox_post() on the mail belongs to the mailbox, and from the
 * call of `run` on to the consumer, who may free, reuse or post it again at once. */
struct mail {
    struct cds_wfcq_node node;
    void (*run)(struct mail *mail);
};

/* Only mailbox.c touches the members. The padding keeps the posters' cache line away from the consumer's. */
struct mailbox {
    struct __cds_wfcq_head head;
    char padding[64];
    struct cds_wfcq_tail tail;
    uint32_t signalled;
    int descriptor;
};

/* Makes an empty mailbox, which must not move in memory afterwards. Fails with ERROR_SYSTEM when there are no
 * descriptors left. */
int mailbox_init(struct mailbox *box, struct error *error);

/* Frees the descriptor. No mailbox_post() may be under way or still to come; mails that were not run are
 * their owners' business. */
void mailbox_destroy(struct mailbox *box);

/* Hands `mail` over. Any thread; wait-free (one exchange each on the queue and on the flag, and for the first
 * mail after the consumer looked one write to an eventfd). */
void mailbox_post(struct mailbox *box, struct mail *mail);

/* The descriptor that is readable while there may be mail: for poll or a level-triggered loop watcher.
 * Reading it is left to mailbox_run(). */
int mailbox_descriptor(const struct mailbox *box);

/* Blocks the consumer until there may be mail. Wakes without any now and then. */
void mailbox_wait(const struct mailbox *box);

/* Runs the mails that are there, oldest first, and returns how many. Consumer only; never blocks. A flood
 * cannot hold a loop: after MAILBOX_RUN_LIMIT mails it returns and leaves the descriptor readable. */
enum { MAILBOX_RUN_LIMIT = 1024 };
unsigned mailbox_run(struct mailbox *box);

#endif

/* SPDX-License-Identifier: MIT */
#include "agent/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The queue lives in liburcu, which ThreadSanitizer does not see into: tell it of the edge from post to run.
 */
#if defined(__has_feature)
#    if __has_feature(thread_sanitizer)
#        define MAILBOX_TSAN 1
#    endif
#elif defined(__SANITIZE_THREAD__)
#    define MAILBOX_TSAN 1
#endif
#ifdef MAILBOX_TSAN
#    include <sanitizer/tsan_interface.h>
#    define PUBLISH(mail) __tsan_release(mail)
#    define RECEIVE(mail) __tsan_acquire(mail)
#else
#    define PUBLISH(mail) ((void)(mail))
#    define RECEIVE(mail) ((void)(mail))
#endif

int mailbox_init(struct mailbox *box, struct error *error)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0)
        return error_errno(error, "cannot make a mailbox's event descriptor");
    __cds_wfcq_init(&box->head, &box->tail);
    box->signalled = 0;
    box->descriptor = descriptor;
    return 0;
}

void mailbox_destroy(struct mailbox *box)
{
    close(box->descriptor);
    box->descriptor = -1;
}

static void signal_consumer(struct mailbox *box)
{
    /* Full barrier: the enqueue before and the exchange of the flag must not change places. */
    if (__atomic_exchange_n(&box->signalled, 1, __ATOMIC_SEQ_CST))
        return;
    /* The only possible failure, a counter at its limit, would mean that the descriptor is readable anyhow.
     */
    uint64_t one = 1;
    ssize_t written = write(box->descriptor, &one, sizeof one);
    (void)written;
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    cds_wfcq_node_init(&mail->node);
    PUBLISH(mail);
    cds_wfcq_enqueue(&box->head, &box->tail, &mail->node);
    signal_consumer(box);
}

int mailbox_descriptor(const struct mailbox *box)
{
    return box->descriptor;
}

void mailbox_wait(const struct mailbox *box)
{
    struct pollfd readable = {.fd = box->descriptor, .events = POLLIN};
    poll(&readable, 1, -1);
}

unsigned mailbox_run(struct mailbox *box)
{
    uint64_t count;
    ssize_t drained = read(box->descriptor, &count, sizeof count);
    (void)drained; /* EAGAIN: called without a wakeup, which is harmless */
    __atomic_exchange_n(&box->signalled, 0, __ATOMIC_SEQ_CST);

    for (unsigned ran = 0; ran < MAILBOX_RUN_LIMIT; ran++) {
        struct cds_wfcq_node *node = __cds_wfcq_dequeue_nonblocking(&box->head, &box->tail);
        /* CDS_WFCQ_WOULDBLOCK: a poster is between its exchange and its link. It will exchange the flag,
         * which was cleared above, after the link, and so wake us again. */
        if (!node || node == CDS_WFCQ_WOULDBLOCK)
            return ran;
        struct mail *mail = caa_container_of(node, struct mail, node);
        RECEIVE(mail);
        mail->run(mail);
    }
    signal_consumer(box);
    return MAILBOX_RUN_LIMIT;
}

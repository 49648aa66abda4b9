/* SPDX-License-Identifier: MIT */
/* What a service tells systemd (sd_notify(3)): one datagram to $NOTIFY_SOCKET. Without it all of this does nothing. */
#ifndef AGENT_NOTIFY_H
#define AGENT_NOTIFY_H

#include <ev.h>

/* Sends lines such as "READY=1\nSTATUS=...". Failure is ignored: nobody can be told. */
void notify_send(const char *lines);

/* Answers the watchdog from the loop, twice an interval, if $WATCHDOG_USEC asks for it. */
void notify_start_watchdog(struct ev_loop *loop);

#endif

/* SPDX-License-Identifier: MIT */
/* What a thread needs to use the crypto library: a random generator of its own.
 *
 * The library's generator has no lock and repeats its bytes in a forked child, and its curve tables are kept
 * per thread and never freed by themselves. So every thread that generates, signs or verifies makes one
 * ca_thread, passes it explicitly, and frees it in the same thread before it ends. */
#ifndef AGENT_CA_THREAD_H
#define AGENT_CA_THREAD_H

#include <stddef.h>

#include "agent/error.h"

struct ca_thread;
struct WC_RNG;

/* NULL on failure. Reads /dev/urandom. The handle belongs to the calling thread. */
struct ca_thread *ca_thread_create(struct error *error);
/* Wipes the generator and frees the thread's curve tables. NULL is harmless. */
void ca_thread_free(struct ca_thread *thread);
/* Frees the curve tables alone (up to 12 MB); they are built again when needed. For idle threads. */
void ca_thread_idle(struct ca_thread *thread);

/* Fills `bytes` with random bytes. */
int ca_thread_random(struct ca_thread *thread, void *bytes, size_t size, struct error *error);

/* The library's generator, for the files of agent/ca/ and agent/net/ that call it; seeded anew when the
 * process has forked since. NULL on failure. */
struct WC_RNG *ca_thread_rng(struct ca_thread *thread, struct error *error);

#endif

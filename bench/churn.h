/* SPDX-License-Identifier: MIT */
/* A thread that changes the policy while others read it. */
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/workload.h"
#include "bench/world.h"

struct churn;

/* Starts the thread, idle. The policy is its own until churn_stop(): it must
 * have been loaded before. */
struct churn *churn_start(const struct workload *workload, struct world *world, uint32_t changes_per_second);

/* Lets it change the policy, or lets it rest; returns when it rests. Changes
 * are single policy_apply() calls: half flip a pair, a quarter add a source to
 * a destination and a quarter take one out again, spread over milliseconds and
 * with a grace period every four of them. */
void churn_set(struct churn *churn, bool busy);

/* Ends the thread. Returns the changes it made, a second while it was busy, in
 * *per_second. */
uint64_t churn_stop(struct churn *churn, double *per_second);

#endif

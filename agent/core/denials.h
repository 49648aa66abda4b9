/* SPDX-License-Identifier: MIT */
/* Audit lines about connections that proxies have denied: "connections_denied", with the pair and how often since the
 * line before, at most one a pair and harvest, rate-limited. Main thread only. */
#ifndef CORE_DENIALS_H
#define CORE_DENIALS_H

#include "agent/core/observed.h"

struct denials;

/* NULL without memory. */
struct denials *denials_new(const struct observed *observed);
void denials_free(struct denials *denials);

/* After a harvest of the same `observed`. */
void denials_report(struct denials *denials, const struct observed *observed);

#endif

/* SPDX-License-Identifier: MIT */
/* Durations in Go's syntax, as Consul's configuration and API write them: "72h", "1m30s", "1.5h", "-10ms". */
#ifndef AGENT_DURATION_H
#define AGENT_DURATION_H

#include <stddef.h>
#include <stdint.h>

#include "agent/error.h"

#define DURATION_MICROSECOND INT64_C(1000)
#define DURATION_MILLISECOND INT64_C(1000000)
#define DURATION_SECOND      INT64_C(1000000000)
#define DURATION_MINUTE      (60 * DURATION_SECOND)
#define DURATION_HOUR        (60 * DURATION_MINUTE)

/* Parses what Go's time.ParseDuration accepts: an optional sign, then numbers each with a unit of ns, us, µs,
 * ms, s, m, h; or "0". Refuses anything else and whatever does not fit in int64 nanoseconds; `*nanoseconds`
 * is then untouched. */
int duration_parse(const char *text, int64_t *nanoseconds, struct error *error);

/* Writes it as Go's Duration.String(): 8760h0m0s, 1m30s, 1.5ms, 0s. */
enum { DURATION_TEXT_SIZE = 32 };
void duration_print(int64_t nanoseconds, char text[DURATION_TEXT_SIZE]);

#endif

/* SPDX-License-Identifier: MIT */
/* The audit log: one JSON line for every certificate issued, renewed and revoked, every change of CA,
 * intentions and access, and, rate-limited, every denial.
 *
 *     audit_emit("certificate_issued", log_text("service", name), log_hex("serial", serial, size));
 *
 * Each line has "time", "event", "sequence" and the event's fields. The sequence starts at 1 with the line
 * "audit_started" and rises by one a line, so a missing line shows; lines of several threads may be written a
 * little out of order, the sequence tells which came first. The fields are those of log.h: there is none for
 * a secret. Any thread; no lock, no allocation, one write(2) a line. */
#ifndef AGENT_AUDIT_H
#define AGENT_AUDIT_H

#include <stdint.h>

#include "agent/error.h"
#include "agent/log.h"

/* Opens the audit log and writes "audit_started". `path` is absolute; the file is created with mode 0600 and
 * appended to, must be a regular file and not a symbolic link. NULL or "": standard error. Once per process;
 * without it lines go to standard error. On failure nothing changes. Main thread. */
int audit_open(const char *path, struct error *error);

/* Opens the same path anew (log rotation) and goes on there; the switch is atomic for writers in other
 * threads. On failure the old file stays in use. Nothing to do on standard error. Main thread. */
int audit_reopen(struct error *error);

/* Closes the file; later lines go to standard error. Main thread, when no other thread writes any more. */
void audit_close(void);

/* Writes one line. Returns 0, or ERROR_SYSTEM if it could not be written, which is also logged (rate-limited)
 * and counted. `event` is a literal: words with underscores. */
int audit_write(const char *event, const struct log_field *fields);
#define audit_emit(event, ...) audit_write(event, log_fields(__VA_ARGS__))

/* As audit_write() for what a peer can cause at will: at most 20 lines a second after a burst of 100. The
 * next line that gets through says how many were suppressed, in field "suppressed". Returns 0 when
 * suppressed. */
int audit_write_limited(const char *event, const struct log_field *fields);
#define audit_emit_limited(event, ...) audit_write_limited(event, log_fields(__VA_ARGS__))

/* Lines that could not be written since the start. */
uint64_t audit_lost(void);

#endif

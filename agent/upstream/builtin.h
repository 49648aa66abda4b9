/* SPDX-License-Identifier: MIT */
/* The built-in CA as a source of identity (agent/core/source.h). Main thread only. */
#ifndef UPSTREAM_BUILTIN_H
#define UPSTREAM_BUILTIN_H

#include "agent/ca/authority.h"
#include "agent/core/source.h"

/* Makes the source over an authority that has been started and outlives it. The source takes the authority's
 * change listener and is freed by its `close`. ERROR_SYSTEM. */
int builtin_source_create(struct authority *authority, const char *datacenter,
                          struct identity_source **source, struct error *error);

/* Call it from a timer, about every second: does the authority's housekeeping and reports contact, which the
 * built-in CA always has. */
void builtin_source_tick(struct identity_source *source);

#endif

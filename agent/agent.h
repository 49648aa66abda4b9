/* SPDX-License-Identifier: MIT */
/* The agent put together: store, CA, model, doors, in the order in which they need each other. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <ev.h>

#include "agent/config.h"
#include "agent/error.h"

struct agent;

/* Opens and starts everything; sockets accept from here on, clients wait until regions are there. `config` becomes the
 * agent's. `path` is where it was read (NULL: built in, nothing to reload). */
int agent_create(struct agent **out, struct ev_loop *loop, struct config *config, const char *path,
                 struct error *error);

/* Reads the configuration file anew and takes over what can change; on failure the old one stays. Reopens the audit
 * file. */
void agent_reload(struct agent *agent);

/* Stops in the opposite order: doors first, then workers, then the store with everything that was acknowledged. */
void agent_destroy(struct agent *agent);

#endif

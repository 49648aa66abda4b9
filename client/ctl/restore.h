/* SPDX-License-Identifier: MIT */
#ifndef CTL_RESTORE_H
#define CTL_RESTORE_H

#include "agent/error.h"

/* Puts a copy of the backup `file` in the place of the store in `directory`, which is made (0700) if only its last
 * component is missing. No agent may hold the directory, and none can take it meanwhile. The copy is verified before
 * anything changes, belongs to the owner of the directory, has mode 0600, and takes its place by one rename. Codes:
 * ERROR_NOT_FOUND, ERROR_BUSY (an agent runs there), ERROR_DENIED, ERROR_CONFLICT, ERROR_CORRUPT, ERROR_SYSTEM. */
int restore_store(const char *file, const char *directory, struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef CTL_PRETTY_H
#define CTL_PRETTY_H

#include <stddef.h>

#include "agent/error.h"

/* The same JSON value with other white space: `indent` spaces a level, or one line if 0. `*out` is terminated, for
 * free(); `out_size` may be NULL. ERROR_INVALID with line and column if it is not JSON. */
int pretty_json(const char *text, size_t size, unsigned indent, char **out, size_t *out_size,
                struct error *error);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef CTL_LIVE_H
#define CTL_LIVE_H

#include "client/ctl/line.h"
#include "client/ctl/talk.h"

/* `top`: asks again and again and redraws the terminal; one snapshot where there is none, or as many as --count says.
 * Ends by the count, an interrupt or a failure. */
enum ctl_status live_run(int fd, const struct ctl_request *request, const char *line, size_t size,
                         struct error *error);

#endif

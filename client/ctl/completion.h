/* SPDX-License-Identifier: MIT */
#ifndef CTL_COMPLETION_H
#define CTL_COMPLETION_H

#include <stdio.h>

/* Writes the completion script for bash, made from the table of commands: xylemctl.bash is its copy. */
void completion_write(FILE *out);

#endif

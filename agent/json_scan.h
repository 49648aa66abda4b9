/* SPDX-License-Identifier: MIT */
/* The grammar of RFC 8259, for json_read.c: jsmn takes what has passed here apart. */
#ifndef AGENT_JSON_SCAN_H
#define AGENT_JSON_SCAN_H

#include "agent/json.h"

struct json_scan {
    const unsigned char *text;
    size_t size, at;
    const struct json_limits *limits;
    unsigned depth, tokens;
    bool object[JSON_READ_DEPTH_MAX + 1]; /* by depth: whether it is an object */
    const char *problem;                  /* after a refusal, what is wrong at `at` */
};

/* Passes one value of at most the limits; `at` is then behind it and `tokens` its number of values and
 * keys. */
bool json_scan_value(struct json_scan *scan);
void json_skip_white(struct json_scan *scan);

#endif

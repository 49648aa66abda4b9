/* SPDX-License-Identifier: MIT */
/* Answers for people: a JSON value as aligned text. Commands make JSON only; this is the one place that knows how a
 * person wants to see it. Any thread; no state. */
#ifndef SERVE_ADMIN_TEXT_H
#define SERVE_ADMIN_TEXT_H

#include <stddef.h>

#include "agent/error.h"

/* An object becomes one "name: value" line a member (containers indented below), an array of objects a table with a
 * head, an array of anything else one line an item. Numbers whose key ends in _sec are written as durations and those
 * that end in _bytes with a unit, without that ending in the name; a number whose key ends in _at is a Unix time. The
 * text has no empty line and no character that could steer a terminal; it is "" for an empty object, "(none)\n" for an
 * empty array. `*text` is terminated and the caller's. ERROR_INVALID: not JSON. ERROR_SYSTEM: no memory. */
int admin_text_render(const char *json, size_t size, char **text, size_t *text_size, struct error *error);

/* Columns that the text takes on a terminal: East Asian wide characters take two, combining ones none. */
size_t admin_text_width(const char *text);

#endif

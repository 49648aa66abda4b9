/* SPDX-License-Identifier: MIT */
#include "agent/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

int error_errno(struct error *error, const char *format, ...)
{
    int saved = errno;
    if (!error)
        return ERROR_SYSTEM;
    va_list arguments;
    va_start(arguments, format);
    error->code = ERROR_SYSTEM;
    int used = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof error->text) {
        char words[128];
        snprintf(error->text + used, sizeof error->text - (size_t)used, ": %s",
                 strerror_r(saved, words, sizeof words));
    }
    return ERROR_SYSTEM;
}

int error_at(struct error *error, const char *format, ...)
{
    if (!error)
        return ERROR_INVALID;
    char where[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(where, sizeof where, format, arguments);
    va_end(arguments);
    if (used < 0 || (size_t)used >= sizeof where - 3)
        return error->code;
    snprintf(where + used, sizeof where - (size_t)used, ": %.*s", (int)(sizeof where - (size_t)used - 3),
             error->text);
    memcpy(error->text, where, sizeof where);
    return error->code;
}

/* SPDX-License-Identifier: MIT */
#include "agent/duration.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint64_t nanoseconds;
} units[] = {
    {"ns", 1},
    {"us", (uint64_t)DURATION_MICROSECOND},
    {"\u00b5s", (uint64_t)DURATION_MICROSECOND}, /* micro sign */
    {"\u03bcs", (uint64_t)DURATION_MICROSECOND}, /* Greek mu */
    {"ms", (uint64_t)DURATION_MILLISECOND},
    {"s", (uint64_t)DURATION_SECOND},
    {"m", (uint64_t)DURATION_MINUTE},
    {"h", (uint64_t)DURATION_HOUR},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The unit ends where the next number begins. */
static uint64_t unit_at(const char **at)
{
    size_t length = 0;
    while ((*at)[length] && !is_digit((*at)[length]) && (*at)[length] != '.')
        length++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strlen(units[i].name) == length && memcmp(units[i].name, *at, length) == 0) {
            *at += length;
            return units[i].nanoseconds;
        }
    }
    return 0;
}

/* Digits after the point. Beyond 18 they cannot matter and are only skipped, as Go does. */
static void fraction_at(const char **at, bool *any, uint64_t *digits, double *scale)
{
    *digits = 0;
    *scale = 1;
    for (; is_digit(**at); (*at)++) {
        *any = true;
        if (*digits > (INT64_MAX - 9) / 10)
            continue;
        *digits = *digits * 10 + (uint64_t)(**at - '0');
        *scale *= 10;
    }
}

enum outcome { TERM_FINE, TERM_NO_NUMBER, TERM_NO_UNIT, TERM_TOO_LARGE };

/* One number with its unit, added to `*total`, which may reach 2^63: the magnitude of INT64_MIN. */
static enum outcome add_term(const char **at, uint64_t *total)
{
    const uint64_t most = (uint64_t)1 << 63;
    uint64_t whole = 0;
    bool any = false;
    for (; is_digit(**at); (*at)++) {
        any = true;
        uint64_t digit = (uint64_t)(**at - '0');
        if (whole > (most - digit) / 10)
            return TERM_TOO_LARGE;
        whole = whole * 10 + digit;
    }
    uint64_t fraction = 0;
    double scale = 1;
    if (**at == '.') {
        (*at)++;
        fraction_at(at, &any, &fraction, &scale);
    }
    if (!any)
        return TERM_NO_NUMBER;
    uint64_t unit = unit_at(at);
    if (unit == 0)
        return TERM_NO_UNIT;
    if (whole > most / unit)
        return TERM_TOO_LARGE;
    /* The unit is divided first, as in Go: the other order rounds to another nanosecond now and then. */
    uint64_t term = whole * unit + (uint64_t)((double)fraction * ((double)unit / scale));
    if (term > most - *total)
        return TERM_TOO_LARGE;
    *total += term;
    return TERM_FINE;
}

int duration_parse(const char *text, int64_t *nanoseconds, struct error *error)
{
    const char *at = text;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    uint64_t total = 0;
    enum outcome outcome = *at ? TERM_FINE : TERM_NO_NUMBER;
    if (strcmp(at, "0") != 0) {
        while (*at && outcome == TERM_FINE)
            outcome = add_term(&at, &total);
    }
    if (outcome == TERM_FINE && !negative && total > INT64_MAX)
        outcome = TERM_TOO_LARGE;
    if (outcome == TERM_TOO_LARGE)
        return error_set(error, ERROR_INVALID, "duration \"%.40s\" is too large; the most is 2562047h", text);
    if (outcome == TERM_NO_UNIT)
        return error_set(
            error, ERROR_INVALID,
            "duration \"%.40s\" lacks a known unit; write ns, us, ms, s, m or h after each number", text);
    if (outcome == TERM_NO_NUMBER)
        return error_set(error, ERROR_INVALID, "duration \"%.40s\" is not of the form 72h or 1m30s", text);
    *nanoseconds = (int64_t)(negative ? 0 - total : total);
    return 0;
}

/* "WHOLE.FRACTION" of value / 10^places, without trailing zeros. */
static int print_fraction(char *text, size_t size, uint64_t value, unsigned places)
{
    uint64_t scale = 1;
    for (unsigned i = 0; i < places; i++)
        scale *= 10;
    uint64_t fraction = value % scale;
    while (places > 0 && fraction % 10 == 0) {
        fraction /= 10;
        places--;
    }
    if (places == 0)
        return snprintf(text, size, "%" PRIu64, value / scale);
    return snprintf(text, size, "%" PRIu64 ".%0*" PRIu64, value / scale, (int)places, fraction);
}

void duration_print(int64_t nanoseconds, char text[DURATION_TEXT_SIZE])
{
    uint64_t value = nanoseconds < 0 ? 0 - (uint64_t)nanoseconds : (uint64_t)nanoseconds;
    const uint64_t minute = (uint64_t)DURATION_MINUTE;
    char seconds[DURATION_TEXT_SIZE];
    const char *sign = nanoseconds < 0 ? "-" : "";
    if (value == 0) {
        snprintf(text, DURATION_TEXT_SIZE, "0s");
    } else if (value < (uint64_t)DURATION_SECOND) {
        unsigned places = value < (uint64_t)DURATION_MICROSECOND   ? 0
                          : value < (uint64_t)DURATION_MILLISECOND ? 3
                                                                   : 6;
        print_fraction(seconds, sizeof seconds, value, places);
        snprintf(text, DURATION_TEXT_SIZE, "%s%.20s%s", sign, seconds,
                 places == 0   ? "ns"
                 : places == 3 ? "\u00b5s"
                               : "ms");
    } else {
        print_fraction(seconds, sizeof seconds, value % minute, 9);
        uint64_t hours = value / minute / 60, minutes = value / minute % 60;
        if (hours)
            snprintf(text, DURATION_TEXT_SIZE, "%s%" PRIu64 "h%" PRIu64 "m%.12ss", sign, hours, minutes,
                     seconds);
        else if (minutes)
            snprintf(text, DURATION_TEXT_SIZE, "%s%" PRIu64 "m%.12ss", sign, minutes, seconds);
        else
            snprintf(text, DURATION_TEXT_SIZE, "%s%.12ss", sign, seconds);
    }
}

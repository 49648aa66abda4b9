/* SPDX-License-Identifier: MIT */
/* Serial numbers, key identifiers and reasons as people and other programs write them. */
#include "agent/core/revocations.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const reasons[] = {
    [0] = "unspecified",        [1] = "keyCompromise", [2] = "cACompromise",
    [3] = "affiliationChanged", [4] = "superseded",    [5] = "cessationOfOperation",
    [6] = "certificateHold",    [8] = "removeFromCRL", [9] = "privilegeWithdrawn",
    [10] = "aACompromise",
};
enum { REASONS = sizeof reasons / sizeof reasons[0] };

const char *revocation_reason_name(uint32_t reason)
{
    return reason < REASONS ? reasons[reason] : NULL;
}

int revocation_parse_reason(const char *text, uint32_t *reason, struct error *error)
{
    for (uint32_t i = 0; i < REASONS; i++) {
        const char number[] = {(char)('0' + i), '\0'};
        if (reasons[i] && (strcasecmp(text, reasons[i]) == 0 || strcmp(text, i == 10 ? "10" : number) == 0)) {
            *reason = i;
            return 0;
        }
    }
    return error_set(error, ERROR_INVALID,
                     "revocation reason \"%.64s\" is unknown; use unspecified, keyCompromise, cACompromise, "
                     "affiliationChanged, superseded, cessationOfOperation, certificateHold, removeFromCRL, "
                     "privilegeWithdrawn or aACompromise",
                     text);
}

/* ---- Hexadecimal ---- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Octets of two digits between separators, or one run of digits (an odd number of them has a zero in front).
 * Returns 0 or -1. */
static int parse_octets(const char *text, uint8_t *octets, size_t room, size_t *size)
{
    char separator = strchr(text, ':') ? ':' : strchr(text, '-') ? '-' : '\0';
    size_t used = 0, length = strlen(text);
    bool half = !separator && length % 2 == 1;
    while (*text) {
        int high = half ? 0 : digit_of(*text++);
        int low = high < 0 ? -1 : digit_of(*text);
        half = false;
        if (low < 0 || used == room)
            return -1;
        text++;
        octets[used++] = (uint8_t)(high << 4 | low);
        if (separator && *text && (*text++ != separator || !*text))
            return -1;
    }
    *size = used;
    return used > 0 ? 0 : -1;
}

/* ---- Decimal ---- */

/* 20 octets are less than 10^49. Returns 0 or -1. */
static int parse_decimal(const char *text, uint8_t octets[REVOCATION_SERIAL_MAX], size_t *size)
{
    uint8_t number[REVOCATION_SERIAL_MAX] = {0};
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        unsigned carry = (unsigned)(*text - '0');
        for (size_t i = REVOCATION_SERIAL_MAX; i-- > 0;) {
            carry += number[i] * 10u;
            number[i] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry)
            return -1;
    }
    memcpy(octets, number, sizeof number);
    *size = sizeof number;
    return 0;
}

/* ---- Serial numbers ---- */

static void strip_zeros(uint8_t *octets, size_t *size)
{
    size_t zeros = 0;
    while (zeros + 1 < *size && octets[zeros] == 0)
        zeros++;
    *size -= zeros;
    memmove(octets, octets + zeros, *size);
}

/* Does the text itself say that it is hexadecimal? */
static bool is_plainly_hex(const char *text)
{
    return text[strspn(text, "0123456789")] != '\0';
}

int revocation_parse_serial(const char *text, enum revocation_serial_form form,
                            uint8_t serial[REVOCATION_SERIAL_MAX], size_t *size, struct error *error)
{
    static const char decimal_prefix[] = "decimal:";
    /* One octet more: a serial number of 20 octets may be written with a zero before its highest bit. */
    uint8_t octets[REVOCATION_SERIAL_MAX + 1];
    const char *digits = text;
    size_t used;
    bool hex = form != REVOCATION_SERIAL_DECIMAL;
    if (strncmp(text, decimal_prefix, sizeof decimal_prefix - 1) == 0) {
        digits += sizeof decimal_prefix - 1;
        hex = false;
    } else if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        digits += 2;
        hex = true;
    } else if (is_plainly_hex(text)) {
        hex = true;
    } else if (form == REVOCATION_SERIAL_EITHER && text[strspn(text, "0")] && text[strspn(text, "0") + 1]) {
        return error_set(error, ERROR_INVALID,
                         "serial number \"%.80s\" may be hexadecimal or decimal; write \"0x%.80s\" or "
                         "\"decimal:%.80s\"",
                         text, text, text);
    }
    int code =
        hex ? parse_octets(digits, octets, sizeof octets, &used) : parse_decimal(digits, octets, &used);
    if (code == 0)
        strip_zeros(octets, &used);
    if (code != 0 || used > REVOCATION_SERIAL_MAX)
        return error_set(
            error, ERROR_INVALID,
            "serial number \"%.80s\" is not valid; write up to %d octets in hexadecimal, such as "
            "\"0a:1b\" or \"0x0a1b\", or a decimal number, such as \"decimal:2587\"",
            text, (int)REVOCATION_SERIAL_MAX);
    memcpy(serial, octets, used);
    *size = used;
    return 0;
}

int revocation_parse_issuer_key_id(const char *text, uint8_t issuer_key_id[REVOCATION_ISSUER_MAX],
                                   size_t *size, struct error *error)
{
    uint8_t octets[REVOCATION_ISSUER_MAX];
    if (!text || !*text) {
        *size = 0;
        return 0;
    }
    if ((!strpbrk(text, ":-") && strlen(text) % 2 == 1) ||
        parse_octets(text, octets, sizeof octets, size) != 0)
        return error_set(
            error, ERROR_INVALID,
            "issuer key identifier \"%.100s\" is not valid; write up to %d octets in hexadecimal, such "
            "as \"5d:1e:0f\"",
            text, (int)REVOCATION_ISSUER_MAX);
    memcpy(issuer_key_id, octets, *size);
    return 0;
}

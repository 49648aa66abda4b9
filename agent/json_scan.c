/* SPDX-License-Identifier: MIT */
#include "agent/json_scan.h"

#include "agent/utf8.h"

#include <string.h>

static bool fail(struct json_scan *scan, const char *problem)
{
    scan->problem = problem;
    return false;
}

static int peek(struct json_scan *scan)
{
    return scan->at < scan->size ? scan->text[scan->at] : -1;
}

void json_skip_white(struct json_scan *scan)
{
    for (int c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

static bool take(struct json_scan *scan, int wanted)
{
    if (peek(scan) != wanted)
        return false;
    scan->at++;
    return true;
}

static bool count_token(struct json_scan *scan)
{
    if (scan->tokens >= scan->limits->tokens_max)
        return fail(scan, "too many values");
    scan->tokens++;
    return true;
}

/* Behind a backslash. */
static bool scan_escape(struct json_scan *scan)
{
    int c = peek(scan);
    if (c < 0 || !strchr("\"\\/bfnrtu", c) || c == 0)
        return fail(scan, "unknown escape in string");
    scan->at++;
    for (unsigned i = 0; c == 'u' && i < 4; i++) {
        int digit = peek(scan);
        if (digit <= 0 || !strchr("0123456789abcdefABCDEF", digit))
            return fail(scan, "\\u needs four hexadecimal digits");
        scan->at++;
    }
    return true;
}

static bool scan_string(struct json_scan *scan)
{
    if (!take(scan, '"'))
        return fail(scan, "expected a string");
    while (scan->at < scan->size) {
        unsigned char c = scan->text[scan->at];
        uint32_t character;
        if (c == '"') {
            scan->at++;
            return count_token(scan);
        }
        if (c < 0x20)
            return fail(scan, "control character in string; escape it");
        if (c == '\\') {
            scan->at++;
            if (!scan_escape(scan))
                return false;
            continue;
        }
        size_t length = utf8_decode(scan->text + scan->at, scan->size - scan->at, &character);
        if (length == 0)
            return fail(scan, "string is not valid UTF-8");
        scan->at += length;
    }
    return fail(scan, "unterminated string");
}

static bool scan_digits(struct json_scan *scan)
{
    size_t start = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at > start || fail(scan, "malformed number");
}

static bool scan_number(struct json_scan *scan)
{
    take(scan, '-');
    if (!take(scan, '0') && !scan_digits(scan))
        return false;
    if (take(scan, '.') && !scan_digits(scan))
        return false;
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+'))
            take(scan, '-');
        if (!scan_digits(scan))
            return false;
    }
    return count_token(scan);
}

static bool scan_word(struct json_scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (unsigned i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (scan->size - scan->at >= length && memcmp(scan->text + scan->at, words[i], length) == 0) {
            scan->at += length;
            return count_token(scan);
        }
    }
    return fail(scan, scan->at < scan->size ? "expected a value" : "unexpected end");
}

enum state { STATE_VALUE, STATE_KEY, STATE_AFTER };

static bool open_container(struct json_scan *scan, enum state *state)
{
    bool object = scan->text[scan->at++] == '{';
    if (scan->depth >= scan->limits->depth_max || scan->depth >= JSON_READ_DEPTH_MAX)
        return fail(scan, "nested too deeply");
    scan->object[++scan->depth] = object;
    json_skip_white(scan);
    if (take(scan, object ? '}' : ']')) {
        scan->depth--;
        *state = STATE_AFTER;
    } else {
        *state = object ? STATE_KEY : STATE_VALUE;
    }
    return count_token(scan);
}

static bool scan_value(struct json_scan *scan, enum state *state)
{
    int c = peek(scan);
    if (c == '{' || c == '[')
        return open_container(scan, state);
    *state = STATE_AFTER;
    if (c == '"')
        return scan_string(scan);
    if (c == '-' || (c >= '0' && c <= '9'))
        return scan_number(scan);
    return scan_word(scan);
}

static bool scan_key(struct json_scan *scan, enum state *state)
{
    if (!scan_string(scan))
        return false;
    json_skip_white(scan);
    *state = STATE_VALUE;
    return take(scan, ':') || fail(scan, "expected a colon after the key");
}

static bool scan_after(struct json_scan *scan, enum state *state)
{
    bool object = scan->object[scan->depth];
    if (take(scan, ','))
        *state = object ? STATE_KEY : STATE_VALUE;
    else if (take(scan, object ? '}' : ']'))
        scan->depth--;
    else
        return fail(scan, object ? "expected a comma or }" : "expected a comma or ]");
    return true;
}

bool json_scan_value(struct json_scan *scan)
{
    enum state state = STATE_VALUE;
    bool fine = true;
    do {
        json_skip_white(scan);
        fine = state == STATE_VALUE ? scan_value(scan, &state)
               : state == STATE_KEY ? scan_key(scan, &state)
                                    : scan_after(scan, &state);
    } while (fine && (scan->depth > 0 || state != STATE_AFTER));
    return fine;
}

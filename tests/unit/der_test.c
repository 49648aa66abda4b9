/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/der.h"
#include "agent/error.h"

#define CURSOR(bytes) der_cursor(der_slice(bytes, sizeof(bytes) - 1))

static void refuses_bad_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {"", 0},
        {"\x30", 1},
        {"\x30\x80\x00\x00", 4},                 /* indefinite */
        {"\x30\x81\x05\x01\x02\x03\x04\x05", 8}, /* long form of a short length */
        {"\x04\x82\x00\x80", 4},                 /* leading zero */
        {"\x04\x85\x01\x00\x00\x00\x00", 7},     /* five bytes of length */
        {"\x04\xff", 2},
        {"\x04\x82\x01", 3},
        {"\x04\x03\x01\x02", 4}, /* runs over the end */
        {"\x1f\x81\x01\x00", 4}, /* tag of several bytes */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct der_cursor cursor = der_cursor(der_slice(bad[i].bytes, bad[i].length));
        const uint8_t *before = cursor.next;
        assert_int_equal(der_any(&cursor, NULL), ERROR_INVALID);
        assert_ptr_equal(cursor.next, before);
    }
}

static void steps_and_nests(void **state)
{
    (void)state;
    static const char bytes[] = "\x30\x06\x02\x01\x05\x30\x01\x00\x05\x00";
    struct der_cursor cursor = CURSOR(bytes), inner, innermost;
    struct der_slice whole;
    uint64_t value;
    assert_int_equal(der_enter(&cursor, DER_SEQUENCE, &inner), 0);
    assert_int_equal(der_unsigned(&inner, &value), 0);
    assert_int_equal(value, 5);
    assert_int_equal(der_expect(&inner, DER_SET, NULL), ERROR_INVALID);
    assert_int_equal(der_enter(&inner, DER_SEQUENCE, &innermost), 0);
    assert_int_equal(der_end(&inner), 0);
    assert_int_equal(der_any(&innermost, NULL), ERROR_INVALID); /* a lone tag */
    assert_int_equal(der_end(&cursor), ERROR_INVALID);
    assert_int_equal(der_expect_whole(&cursor, DER_NULL, &whole), 0);
    assert_int_equal(whole.length, 2);
    assert_int_equal(der_end(&cursor), 0);
    assert_int_equal(der_enter_only(der_slice(bytes, sizeof bytes - 1), DER_SEQUENCE, &inner), ERROR_INVALID);
    assert_int_equal(der_enter_only(der_slice(bytes, 8), DER_SEQUENCE, &inner), 0);
}

static void integers_are_minimal(void **state)
{
    (void)state;
    uint64_t value = 9;
    struct der_slice content;
    struct der_cursor good = CURSOR("\x02\x09\x00\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_int_equal(der_unsigned(&good, &value), 0);
    assert_true(value == UINT64_MAX);
    static const char *const bad[] = {"\x02\x02\x00\x7f", "\x02\x02\xff\x80"};
    for (size_t i = 0; i < 2; i++) {
        struct der_cursor cursor = der_cursor(der_slice(bad[i], 4));
        assert_int_equal(der_integer(&cursor, &content), ERROR_INVALID);
    }
    struct der_cursor empty = CURSOR("\x02\x00"), negative = CURSOR("\x02\x01\x80"),
                      large = CURSOR("\x02\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00");
    assert_int_equal(der_integer(&empty, &content), ERROR_INVALID);
    assert_int_equal(der_unsigned(&negative, &value), ERROR_INVALID);
    assert_int_equal(der_integer(&negative, &content), 0);
    assert_int_equal(der_unsigned(&large, &value), ERROR_INVALID);
}

static void booleans_and_bits(void **state)
{
    (void)state;
    bool value;
    uint32_t bits;
    struct der_slice bytes;
    struct der_cursor odd = CURSOR("\x01\x01\x01"), encoded_default = CURSOR("\x01\x01\x00"),
                      absent = CURSOR("\x05\x00"), present = CURSOR("\x01\x01\xff");
    assert_int_equal(der_boolean(&odd, &value), ERROR_INVALID);
    assert_int_equal(der_boolean_default_false(&encoded_default, &value), ERROR_INVALID);
    assert_int_equal(der_boolean_default_false(&absent, &value), 0);
    assert_false(value);
    assert_int_equal(der_boolean_default_false(&present, &value), 0);
    assert_true(value);

    struct der_cursor usage = CURSOR("\x03\x02\x01\x86"), dirty = CURSOR("\x03\x02\x02\x86"),
                      eight = CURSOR("\x03\x02\x08\x00"), none = CURSOR("\x03\x01\x00"),
                      unused_of_none = CURSOR("\x03\x01\x03"), whole = CURSOR("\x03\x03\x00\x01\x02");
    assert_int_equal(der_named_bits(&usage, &bits), 0);
    assert_int_equal(bits, 1 << 0 | 1 << 5 | 1 << 6);
    assert_int_equal(der_named_bits(&dirty, &bits), ERROR_INVALID);
    assert_int_equal(der_named_bits(&eight, &bits), ERROR_INVALID);
    assert_int_equal(der_named_bits(&none, &bits), 0);
    assert_int_equal(bits, 0);
    assert_int_equal(der_named_bits(&unused_of_none, &bits), ERROR_INVALID);
    assert_int_equal(der_bit_string(&whole, &bytes), 0);
    assert_int_equal(bytes.length, 2);
    struct der_cursor partial = CURSOR("\x03\x02\x01\x86");
    assert_int_equal(der_bit_string(&partial, &bytes), ERROR_INVALID);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool utc;
        int64_t expected;
    } good[] = {
        {"700101000000Z", true, 0},
        {"500101000000Z", true, -631152000},
        {"491231235959Z", true, 2524607999},
        {"20500101000000Z", false, 2524608000},
        {"20240229120000Z", false, 1709208000},
        {"99991231235959Z", false, 253402300799},
        {"00000101000000Z", false, -62167219200},
    };
    static const struct {
        const char *text;
        bool utc;
    } bad[] = {
        {"7001010000Z", true},        {"700101000000", true},     {"700101000000+0100", true},
        {"701301000000Z", true},      {"700132000000Z", true},    {"230229000000Z", true},
        {"700101240000Z", true},      {"700101006000Z", true},    {"700101000060Z", true},
        {"20240101000000.5Z", false}, {"2024010100000aZ", false}, {"21000229000000Z", false},
        {"70010100000\0Z", true},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint8_t bytes[32] = {good[i].utc ? DER_UTC_TIME : DER_GENERALIZED_TIME,
                             (uint8_t)strlen(good[i].text)};
        memcpy(bytes + 2, good[i].text, bytes[1]);
        struct der_cursor cursor = der_cursor(der_slice(bytes, 2u + bytes[1]));
        int64_t value;
        assert_int_equal(der_time(&cursor, &value), 0);
        assert_true(value == good[i].expected);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[32] = {bad[i].utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, (uint8_t)strlen(bad[i].text)};
        memcpy(bytes + 2, bad[i].text, bytes[1]);
        struct der_cursor cursor = der_cursor(der_slice(bytes, 2u + bytes[1]));
        int64_t value;
        assert_int_equal(der_time(&cursor, &value), ERROR_INVALID);
    }
}

static void oid_text(void **state)
{
    (void)state;
    char text[32];
    der_oid_text(der_slice("\x55\x1d\x0f", 3), text, sizeof text);
    assert_string_equal(text, "2.5.29.15");
    der_oid_text(der_slice("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", 9), text, sizeof text);
    assert_string_equal(text, "1.2.840.113549.1.1.11");
    der_oid_text(der_slice("\x88\x37\x01", 3), text, sizeof text);
    assert_string_equal(text, "2.999.1");
    der_oid_text(der_slice("\x55\x80\x01", 3), text, sizeof text);
    assert_string_equal(text, "?");
    der_oid_text(der_slice("\x55\x86", 2), text, sizeof text);
    assert_string_equal(text, "?");
    der_oid_text(der_slice("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", 9), text, 6);
    assert_string_equal(text, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(steps_and_nests),
        cmocka_unit_test(integers_are_minimal),
        cmocka_unit_test(booleans_and_bits),
        cmocka_unit_test(times),
        cmocka_unit_test(oid_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The expected texts and numbers are those of Go's time.ParseDuration and Duration.String. */
#include "agent/duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static const struct {
    const char *text;
    int64_t nanoseconds;
    const char *printed;
} good[] = {
    {"0", 0, "0s"},
    {"0s", 0, "0s"},
    {"+0", 0, "0s"},
    {"72h", 72 * DURATION_HOUR, "72h0m0s"},
    {"8760h", 8760 * DURATION_HOUR, "8760h0m0s"},
    {"1m30s", 90 * DURATION_SECOND, "1m30s"},
    {"90s", 90 * DURATION_SECOND, "1m30s"},
    {"1.5h", 90 * DURATION_MINUTE, "1h30m0s"},
    {"-10ms", -10 * DURATION_MILLISECOND, "-10ms"},
    {"1500us", 1500 * DURATION_MICROSECOND, "1.5ms"},
    {"1500\u00b5s", 1500 * DURATION_MICROSECOND, "1.5ms"},
    {"1500\u03bcs", 1500 * DURATION_MICROSECOND, "1.5ms"},
    {"999ns", 999, "999ns"},
    {"1001ns", 1001, "1.001\u00b5s"},
    {".5s", DURATION_SECOND / 2, "500ms"},
    {"1.s", DURATION_SECOND, "1s"},
    {"1.000000001s", DURATION_SECOND + 1, "1.000000001s"},
    {"0.3333333333333333333h", 20 * DURATION_MINUTE, "20m0s"},
    {"0.9223372036854775808h", 3320413933267, "55m20.413933267s"},
    {"9223372036854775807ns", INT64_MAX, "2562047h47m16.854775807s"},
    {"-9223372036854775808ns", INT64_MIN, "-2562047h47m16.854775808s"},
    {"3.132401423s", 3132401423, "3.132401423s"},
    {"5.065395ms", 5065395, "5.065395ms"},
    {"1h1h1s", 2 * DURATION_HOUR + DURATION_SECOND, "2h0m1s"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct error error;
        int64_t nanoseconds = -1;
        char printed[DURATION_TEXT_SIZE];
        if (duration_parse(good[i].text, &nanoseconds, &error) != 0)
            fail_msg("%s: %s", good[i].text, error.text);
        if (nanoseconds != good[i].nanoseconds)
            fail_msg("%s: %ld", good[i].text, (long)nanoseconds);
        duration_print(nanoseconds, printed);
        assert_string_equal(printed, good[i].printed);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "72",
                                      "h",
                                      ".",
                                      ".h",
                                      "-.s",
                                      "1.5",
                                      "1 h",
                                      " 1h",
                                      "1h ",
                                      "1d",
                                      "1H",
                                      "1hh",
                                      "1h-1s",
                                      "--1h",
                                      "1e3s",
                                      "0x1h",
                                      "3000000h",
                                      "9223372036854775808ns",
                                      "-9223372036854775809ns",
                                      "99999999999999999999h",
                                      "2562047h47m17s",
                                      "9223372036854775807ns1ns",
                                      "\xc2s",
                                      "1\xb5s",
                                      "00",
                                      "1.1.1h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error error = {0};
        int64_t nanoseconds = 42;
        if (duration_parse(bad[i], &nanoseconds, &error) != ERROR_INVALID)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_int_equal(nanoseconds, 42);
        assert_non_null(strstr(error.text, "duration"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

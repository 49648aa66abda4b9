/* SPDX-License-Identifier: MIT */
#include "agent/log.h"

#include "agent/duration.h"
#include "agent/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *render(enum log_format format, size_t size, const struct log_field *fields)
{
    static char line[LOG_LINE_MAX + 1];
    memset(line, '#', sizeof line);
    size_t used = log_render(line, size, format, NULL, fields);
    assert_true(used <= size);
    assert_int_equal(line[size], '#');
    assert_int_equal(line[used - 1], '\n');
    line[used - 1] = '\0';
    return line;
}

#define logfmt(...) render(LOG_LOGFMT, LOG_LINE_MAX, log_fields(__VA_ARGS__))
#define json(...)   render(LOG_JSON, LOG_LINE_MAX, log_fields(__VA_ARGS__))

static void test_types(void **state)
{
    (void)state;
    struct error error;
    error_set(&error, ERROR_INVALID, "no %s", "way");
#define FIELDS                                                                            \
    log_message("leaf renewed"), log_text("service", "web"), log_u64("n", UINT64_MAX),    \
        log_i64("i", INT64_MIN), log_bool("yes", true), log_hex("serial", "\x01\xab", 2), \
        log_duration("in", 90 * DURATION_SECOND), log_reason(&error)
    assert_string_equal(logfmt(FIELDS),
                        "msg=\"leaf renewed\" service=web n=18446744073709551615 "
                        "i=-9223372036854775808 yes=true serial=01:ab in=1m30s error=\"no way\"");
    assert_string_equal(json(FIELDS),
                        "{\"msg\":\"leaf renewed\",\"service\":\"web\",\"n\":18446744073709551615,"
                        "\"i\":-9223372036854775808,\"yes\":true,\"serial\":\"01:ab\",\"in\":\"1m30s\","
                        "\"error\":\"no way\"}");
    assert_string_equal(logfmt(log_errno(ENOENT)), "error=\"No such file or directory\"");
    assert_string_equal(logfmt(log_text("a", NULL), log_text("b", "")), "a=\"\" b=\"\"");
}

static void test_escapes(void **state)
{
    (void)state;
    assert_string_equal(logfmt(log_text("k", "a\nb")), "k=\"a\\nb\"");
    assert_string_equal(logfmt(log_text("k", "a=\"b\\")), "k=\"a=\\\"b\\\\\"");
    assert_string_equal(logfmt(log_text("k", "\x1b[2J")), "k=\"\\u001b[2J\"");
    assert_string_equal(logfmt(log_text("k", "\x7f\xc2\x85\xe2\x80\xae")), "k=\"\\u007f\\u0085\\u202e\"");
    assert_string_equal(logfmt(log_text("k", "\xff\xc0\x80h\xc3\xa9")),
                        "k=\"\\ufffd\\ufffd\\ufffdh\xc3\xa9\"");
    assert_string_equal(json(log_text_of_size("k", "a\0b", 3)), "{\"k\":\"a\\u0000b\"}");
    assert_string_equal(json(log_text("k", "<&>")), "{\"k\":\"<&>\"}");
}

static void test_truncation(void **state)
{
    (void)state;
    char *large = malloc(10001);
    assert_non_null(large);
    memset(large, '\n', 10000);
    large[10000] = '\0';
    const char *line = logfmt(log_message("m"), log_text("v", large), log_u64("after", 1));
    assert_true(strlen(line) > LOG_LINE_MAX - 40);
    assert_non_null(strstr(line, "\\n\\n\" truncated=true"));
    assert_null(strstr(line, "after"));
    line = json(log_message("m"), log_text("v", large));
    assert_non_null(strstr(line, "\\n\\n\",\"truncated\":true}"));
    free(large);
    /* Whatever the size, the line fits and the cut falls between escapes and fields. */
    for (size_t size = 128; size < 300; size++) {
        for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
            line = render((enum log_format)format, size,
                          log_fields(log_message("\xe2\x82\xac\xe2\x82\xac \x01\x01\x01\x01\x01\x01\x01\x01"),
                                     log_u64("number", UINT64_MAX),
                                     log_hex("serial", "0123456789abcdef0123456789abcdef", 32),
                                     log_text("v", "\x02\x02\x02\x02\x02\x02\x02\x02\x02"),
                                     log_bool("last", true)));
            bool cut = strstr(line, "truncated") != NULL;
            assert_int_equal(cut, strstr(line, "last") == NULL);
            const char *number = strstr(line, "number");
            if (number)
                assert_non_null(strstr(number, "18446744073709551615"));
        }
    }
}

static int captured[2];

static void capture(void)
{
    assert_int_equal(pipe2(captured, O_NONBLOCK), 0);
    int saved = dup(STDERR_FILENO);
    dup2(captured[1], STDERR_FILENO);
    close(captured[1]);
    captured[1] = saved;
}

static const char *release(void)
{
    static char text[65536];
    dup2(captured[1], STDERR_FILENO);
    close(captured[1]);
    ssize_t size = read(captured[0], text, sizeof text - 1);
    text[size > 0 ? size : 0] = '\0';
    close(captured[0]);
    return text;
}

static void test_levels(void **state)
{
    (void)state;
    int evaluated = 0;
    capture();
    log_configure(LOG_WARNING, LOG_LOGFMT);
    errno = EXDEV;
    log_info(log_message("hidden"));
    log_debug(log_u64("n", (uint64_t)++evaluated));
    log_warning(log_message("shown"));
    log_configure(LOG_DEBUG, LOG_JSON);
    log_debug(log_message("fine"), log_u64("n", (uint64_t)++evaluated));
    int kept = errno;
    const char *text = release();
    log_configure(LOG_INFO, LOG_LOGFMT);
    assert_int_equal(kept, EXDEV);
    assert_int_equal(evaluated, 1);
    assert_null(strstr(text, "hidden"));
    assert_memory_equal(text, "time=2", 6);
    assert_memory_equal(text + 5 + 23, "Z level=warning msg=shown\n{\"time\":\"", 35);
    assert_non_null(strstr(text, "Z\",\"level\":\"debug\",\"msg\":\"fine\",\"n\":1}\n"));
}

static void test_time(void **state)
{
    (void)state;
    char text[LOG_TIME_SIZE], before[32], after[32];
    time_t now = time(NULL);
    strftime(before, sizeof before, "%Y-%m-%dT%H:%M:%S", gmtime(&now));
    log_time_now(text);
    now = time(NULL) + 1;
    strftime(after, sizeof after, "%Y-%m-%dT%H:%M:%S", gmtime(&now));
    assert_int_equal(strlen(text), 24);
    assert_int_equal(text[19], '.');
    assert_int_equal(text[23], 'Z');
    text[19] = '\0';
    assert_true(strcmp(before, text) <= 0 && strcmp(text, after) <= 0);
}

static void test_lost(void **state)
{
    (void)state;
    uint64_t before = log_lost();
    capture();
    int full = open("/dev/full", O_WRONLY);
    dup2(full, STDERR_FILENO);
    close(full);
    log_error(log_message("nobody hears"));
    release();
    assert_int_equal(log_lost(), before + 1);
}

static void test_words(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    enum log_format format = LOG_LOGFMT;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_parse("Debug", &level));
    assert_true(log_format_parse("json", &format));
    assert_int_equal(format, LOG_JSON);
    assert_false(log_format_parse("", &format));
    assert_int_equal(format, LOG_JSON);
}

static void test_limit(void **state)
{
    (void)state;
    struct log_limit limit = LOG_LIMIT(10, 3);
    uint64_t suppressed = 99, now = 5000000000u;
    for (int i = 0; i < 3; i++) {
        assert_true(log_limit_allow_at(&limit, now, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    assert_false(log_limit_allow_at(&limit, now, &suppressed));
    assert_false(log_limit_allow_at(&limit, now + 99999999, &suppressed));
    assert_true(log_limit_allow_at(&limit, now + 100000000, &suppressed));
    assert_int_equal(suppressed, 2);
    assert_false(log_limit_allow_at(&limit, now + 100000000, &suppressed));
    for (int i = 0; i < 3; i++)
        assert_true(log_limit_allow_at(&limit, now + 60000000000u, &suppressed));
    assert_false(log_limit_allow_at(&limit, now + 60000000000u, &suppressed));
}

static struct log_limit shared_limit = LOG_LIMIT(1, 500);

static void *spend(void *argument)
{
    uint64_t *allowed = argument, suppressed;
    for (int i = 0; i < 1000; i++)
        *allowed += log_limit_allow_at(&shared_limit, 1000000000u, &suppressed);
    return NULL;
}

static void test_limit_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint64_t allowed[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend, &allowed[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(allowed[0] + allowed[1] + allowed[2] + allowed[3], 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),  cmocka_unit_test(test_escapes), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_time),    cmocka_unit_test(test_lost),
        cmocka_unit_test(test_words),  cmocka_unit_test(test_limit),   cmocka_unit_test(test_limit_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

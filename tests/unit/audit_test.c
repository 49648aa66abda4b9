/* SPDX-License-Identifier: MIT */
#include "agent/audit.h"

#include "agent/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

static char directory[] = "/tmp/xylem-audit-XXXXXX";
static char path[64], old_path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/audit.log", directory);
    snprintf(old_path, sizeof old_path, "%s/audit.log.1", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(old_path);
    return rmdir(directory);
}

static int start_clean(void **state)
{
    (void)state;
    unlink(path);
    unlink(old_path);
    return 0;
}

static int close_audit(void **state)
{
    (void)state;
    audit_close();
    return 0;
}

static size_t read_all(const char *from, char *text, size_t size)
{
    int fd = open(from, O_RDONLY);
    assert_true(fd >= 0);
    size_t used = 0;
    for (ssize_t got; (got = read(fd, text + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(fd);
    return used;
}

/* Parses each line, notes its sequence in `seen` (from `first`), returns how many lines. */
static unsigned check_lines(char *text, uint64_t first, unsigned char *seen, size_t seen_size)
{
    unsigned count = 0;
    for (char *line = text; *line; count++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        struct json_document *document;
        struct error error;
        assert_int_equal(json_parse(line, (size_t)(end - line), NULL, &document, &error), 0);
        uint64_t sequence = 0;
        assert_int_equal(json_get_u64(json_root(document), "sequence", &sequence, &error), 0);
        assert_true(sequence >= first && sequence - first < seen_size);
        assert_int_equal(seen[sequence - first]++, 0);
        json_free(document);
        line = end + 1;
    }
    return count;
}

static void test_file(void **state)
{
    (void)state;
    static char text[8192];
    struct error error;
    struct stat status;
    assert_int_equal(audit_open(path, &error), 0);
    assert_int_equal(
        audit_emit("certificate_issued", log_text("service", "web\n"), log_hex("serial", "\x0a\xff", 2)), 0);
    read_all(path, text, sizeof text);
    assert_non_null(strstr(text, "\"event\":\"audit_started\",\"sequence\":1,\"pid\":"));
    assert_non_null(strstr(text, "\"event\":\"certificate_issued\",\"sequence\":2,\"service\":\"web\\n\","
                                 "\"serial\":\"0a:ff\"}\n"));
    assert_memory_equal(text, "{\"time\":\"2", 10);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

static void test_rotation(void **state)
{
    (void)state;
    static char text[8192];
    struct error error;
    assert_int_equal(audit_open(path, &error), 0);
    audit_emit("before", log_bool("x", true));
    assert_int_equal(rename(path, old_path), 0);
    audit_emit("between", log_bool("x", true));
    assert_int_equal(audit_reopen(&error), 0);
    audit_emit("after", log_bool("x", true));
    read_all(old_path, text, sizeof text);
    assert_non_null(strstr(text, "\"before\""));
    assert_non_null(strstr(text, "\"between\""));
    assert_null(strstr(text, "\"after\""));
    read_all(path, text, sizeof text);
    assert_non_null(strstr(text, "\"after\""));
    assert_null(strstr(text, "\"between\""));
    /* A rotation that fails leaves the open file in use. */
    unlink(path);
    assert_int_equal(symlink(old_path, path), 0);
    assert_int_equal(audit_reopen(&error), ERROR_INVALID);
    assert_int_equal(audit_emit("still", log_bool("x", true)), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(audit_open("audit.log", &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "absolute"));
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(audit_open(path, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "symbolic link"));
    assert_int_equal(audit_open("/dev/null", &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "not a regular file"));
    assert_int_equal(audit_open("/nonexistent/audit.log", &error), ERROR_SYSTEM);
    assert_non_null(strstr(error.text, "No such file"));
}

enum { THREADS = 4, LINES = 200 };

static void *write_lines(void *argument)
{
    for (int i = 0; i < LINES; i++)
        audit_emit("load", log_text("who", argument), log_i64("i", i));
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static char text[1 << 20];
    static unsigned char seen[THREADS * LINES + 16];
    struct error error;
    pthread_t threads[THREADS];
    assert_int_equal(audit_open(path, &error), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, "somebody"), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(audit_reopen(&error), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    read_all(path, text, sizeof text);
    const char *first = strstr(text, "\"sequence\":");
    assert_non_null(first);
    assert_int_equal(check_lines(text, strtoull(first + 11, NULL, 10), seen, sizeof seen),
                     THREADS * LINES + 1);
}

static void test_limited(void **state)
{
    (void)state;
    static char text[1 << 20];
    struct error error;
    assert_int_equal(audit_open(path, &error), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(audit_emit_limited("connection_denied", log_i64("i", i)), 0);
    read_all(path, text, sizeof text);
    unsigned lines = 0;
    for (const char *at = text; (at = strstr(at, "connection_denied")); at++)
        lines++;
    assert_in_range(lines, 100, 200);
    /* The next that gets through accounts for what was held back. Time alone lets it through. */
    unsigned sent = 1000, after = lines;
    uint64_t held_back = 0;
    while (after == lines) {
        audit_emit_limited("connection_denied", log_i64("i", -1));
        sent++;
        read_all(path, text, sizeof text);
        after = 0;
        for (const char *at = text; (at = strstr(at, "connection_denied")); at++)
            after++;
    }
    for (const char *at = text; (at = strstr(at, "\"suppressed\":")); at++)
        held_back += strtoull(at + 13, NULL, 10);
    assert_int_equal(after + held_back, sent);
}

/* A write that stops in the middle (full disk; here, the file size limit) leaves one torn line and no
 * more. */
static void test_torn(void **state)
{
    (void)state;
    static char text[65536];
    struct error error;
    struct rlimit before, tight;
    assert_int_equal(audit_open(path, &error), 0);
    size_t size = read_all(path, text, sizeof text);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = size + 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    uint64_t lost = audit_lost();
    int torn = audit_emit("torn", log_bool("x", true));
    int refused = audit_emit("refused", log_bool("x", true));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    int whole = audit_emit("whole", log_bool("x", true));
    assert_int_equal(torn, ERROR_SYSTEM);
    assert_int_equal(refused, ERROR_SYSTEM);
    assert_int_equal(whole, 0);
    assert_int_equal(audit_lost(), lost + 2);
    read_all(path, text, sizeof text);
    char *line = text + size + 20;
    assert_int_equal(*line, '\n');
    unsigned char seen[16] = {0};
    assert_int_equal(check_lines(line + 1, strtoull(strstr(line, "\"sequence\":") + 11, NULL, 10), seen, 16),
                     1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, start_clean, close_audit),
        cmocka_unit_test_setup_teardown(test_rotation, start_clean, close_audit),
        cmocka_unit_test_setup_teardown(test_refusals, start_clean, close_audit),
        cmocka_unit_test_setup_teardown(test_threads, start_clean, close_audit),
        cmocka_unit_test_setup_teardown(test_limited, start_clean, close_audit),
        cmocka_unit_test_setup_teardown(test_torn, start_clean, close_audit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

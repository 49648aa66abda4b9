/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/store/store.h"
#include "client/ctl/commands.h"
#include "client/ctl/completion.h"
#include "client/ctl/line.h"
#include "client/ctl/restore.h"
#include "client/ctl/talk.h"

enum { WORDS_MAX = 12 };

/* The line that a command line becomes, or "usage: ..." or whatever the error was. */
static void line_of(const char *const *words, char *out, size_t size)
{
    struct ctl_request request;
    struct error error = {0};
    char *line = NULL, *arguments[WORDS_MAX];
    size_t length = 0;
    int count = 0;
    for (; words[count]; count++)
        arguments[count] = (char *)(uintptr_t)words[count];
    int code = ctl_read_arguments(count, arguments, &request, &error);
    if (!code)
        code = ctl_make_line(&request, request.json, &line, &length, &error);
    snprintf(out, size, "%s", code ? error.text : line);
    if (!code)
        assert_int_equal(length, strlen(line));
    free(line);
    free(request.words);
}

static void test_lines(void **state)
{
    (void)state;
    static const struct {
        const char *words[WORDS_MAX], *line;
    } rows[] = {
        {{"status"}, "status\n"},
        {{"--json", "status"}, "--json status\n"},
        {{"status", "--json"}, "--json status\n"},
        {{"--socket", "/x", "leaf", "web", "--pem"}, "leaf web pem\n"},
        {{"leaf", "--key", "web"}, "leaf web key\n"},
        {{"intention", "add", "a b", "db", "allow", "--description", "say \"hi\" \\"},
         "intention add \"a b\" db allow --description \"say \\\"hi\\\" \\\\\"\n"},
        {{"intention", "add", "a", "b", "deny", "--dry-run"}, "intention add a b deny --dry-run\n"},
        {{"intention", "add", "a", "b", "permissions", "[ {\"Action\":\n\"allow\"} ]"},
         "intention add a b permissions [{\"Action\":\"allow\"}]\n"},
        {{"revoke", "0a", "--reason", "keyCompromise", "--expires", "5"},
         "revoke 0a reason keyCompromise expires 5\n"},
        {{"ca", "set", "A=1", "B=x y"}, "ca set A=1 \"B=x y\"\n"},
        {{"regions"}, "regions\n"},
        {{"regions", "supersede"}, "regions supersede\n"},
        {{"leaf", "--", "--pem"}, "leaf --pem\n"},
        {{"leaf", ""}, "leaf \"\"\n"},
        {{"leaf", "a\nb"}, "argument 1 has a line break"},
        {{"leaf"}, "usage: xylemctl leaf SERVICE [--pem|--der|--key]"},
        {{"status", "x"}, "usage: xylemctl status"},
        {{"regions", "x"}, "usage: xylemctl regions"},
        {{"bogus"}, "unknown command \"bogus\"; try: xylemctl --help"},
        {{"--bogus", "status"}, "unknown option --bogus"},
        {{"status", "--bogus"}, "option --bogus is not known here; usage: xylemctl status "},
        {{"revoke", "1", "--reason"}, "option --reason wants a value"},
        {{"status", "--socket"}, "option --socket wants a path"},
        {{"top", "--interval", "x"}, "--interval \"x\": say a number of at least 0.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[1024];
        line_of(rows[i].words, line, sizeof line);
        assert_string_equal(line, rows[i].line);
    }
}

static void test_files(void **state)
{
    char path[] = "/tmp/xylem-ctl-XXXXXX", word[64], line[1024];
    (void)state;
    int fd = mkstemp(path);
    static const char json[] = "{\n  \"LeafCertTTL\": \"48h\"\n}\n";
    assert_int_equal(write(fd, json, sizeof json - 1), sizeof json - 1);
    close(fd);
    snprintf(word, sizeof word, "@%s", path);
    line_of((const char *const[]){"ca", "set", word, NULL}, line, sizeof line);
    assert_string_equal(line, "ca set {\"LeafCertTTL\":\"48h\"}\n");
    line_of((const char *const[]){"intention", "check", word, "x", NULL}, line,
            sizeof line); /* a name there */
    assert_non_null(strstr(line, path));
    unlink(path);
    line_of((const char *const[]){"ca", "set", word, NULL}, line, sizeof line);
    assert_non_null(strstr(line, "cannot read"));
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool json;
        enum ctl_status status;
        const char *error;
    } rows[] = {
        {"OK\n", false, CTL_OK, ""},
        {"OK\nbody\n", false, CTL_OK, ""},
        {"OK allowed\nx\n", false, CTL_OK, ""},
        {"OK denied\nx\n", false, CTL_NO, ""},
        {"ERROR NOT_FOUND: no such leaf\n", false, CTL_NO, "NOT_FOUND: no such leaf"},
        {"ERROR DENIED: you: may not\n", false, CTL_REFUSED, "DENIED: you: may not"},
        {"HTTP/1.1 400 Bad Request\n", false, CTL_NO_AGENT,
         "this is not the agent's admin socket: the answer has another form"},
        {"{\"allowed\":true}\n", true, CTL_OK, ""},
        {"{\"allowed\":false}\n", true, CTL_NO, ""},
        {"[]\n", true, CTL_OK, ""},
        {"{\"error\":{\"code\":\"BUSY\",\"text\":\"later\"}}\n", true, CTL_REFUSED, "BUSY: later"},
        {"{\"error\":{\"code\":\"NOT_FOUND\",\"text\":\"x\"}}\n", true, CTL_NO, "NOT_FOUND: x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        struct error error = {0};
        const char *body;
        snprintf(text, sizeof text, "%s", rows[i].text);
        struct talk_answer answer = {.text = text, .size = strlen(text)};
        assert_int_equal(talk_judge(&answer, rows[i].json, &body, &error), rows[i].status);
        assert_string_equal(error.code ? error.text : "", rows[i].error);
    }
}

static char *read_source(const char *name)
{
    char path[1024];
    static char text[256 * 1024];
    snprintf(path, sizeof path, "%s/%s", XYLEMCTL_SOURCE, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    return text;
}

static void test_completion_is_that_of_the_table(void **state)
{
    char *script = NULL;
    size_t size = 0;
    (void)state;
    FILE *out = open_memstream(&script, &size);
    completion_write(out);
    fclose(out);
    assert_string_equal(script, read_source("xylemctl.bash"));
    free(script);
}

/* Every command has its entry, every option of it is mentioned there, and there are no others. */
static void test_manual_page_has_every_command(void **state)
{
    size_t commands = 0, entries = 0;
    (void)state;
    char *page = read_source("xylemctl.1");
    for (const struct ctl_command *command = ctl_commands; command->name; command++, commands++) {
        char entry[80];
        size_t size = (size_t)snprintf(entry, sizeof entry, "\n.It Ic %s", command->name), known = 0;
        for (char *at = page; (at = strstr(at, entry)); at++) {
            if (at[size] != '\n' && strncmp(at + size, " Op", 3) && strncmp(at + size, " Oo", 3) &&
                strncmp(at + size, " Ar", 3) && strncmp(at + size, " Cm", 3))
                continue;
            known++;
            for (const struct ctl_option *option = command->options; option->name; option++) {
                char flag[40];
                snprintf(flag, sizeof flag, "Fl -%s", option->name + 2);
                char *found = strstr(at, flag), *end = strchr(at + 1, '\n');
                if (!found || found > end)
                    fail_msg("%s: the manual page does not have %s", command->name, option->name);
            }
        }
        if (known != 1)
            fail_msg("%s: %zu entries in the manual page", command->name, known);
    }
    for (char *at = page; (at = strstr(at, "\n.It Ic ")); at++)
        entries++;
    assert_int_equal(entries, commands);
}

/* --- restore --- */

struct places {
    char base[64], state[96], file[128], backup[96];
};

static void ignore(void *argument, const struct error *error)
{
    (void)argument;
    assert_null(error);
}

/* Opens the store, writes one value, makes a backup if wanted. */
static void use_store(const struct places *places, const char *value, const char *backup)
{
    struct mailbox answers;
    struct store *store = NULL;
    struct error error = {0};
    assert_int_equal(mailbox_init(&answers, &error), 0);
    if (store_open(places->state, &store, &error))
        fail_msg("%s", error.text);
    assert_int_equal(store_start(store, &answers, &error), 0);
    struct store_batch *batch = store_batch_new();
    store_put_meta(batch, &(struct store_meta){.key = "value", .text = value});
    store_submit(store, batch, ignore, NULL);
    if (backup)
        assert_int_equal(store_backup(store, backup, ignore, NULL, &error), 0);
    store_close(store);
    mailbox_destroy(&answers);
}

static int note_value(void *argument, const struct store_meta *row, struct error *error)
{
    (void)error;
    if (strcmp(row->key, "value") == 0)
        snprintf(argument, 32, "%s", row->text);
    return 0;
}

static void check_value(const struct places *places, const char *wanted)
{
    struct store *store = NULL;
    struct error error = {0};
    char value[32] = "";
    if (store_open(places->state, &store, &error))
        fail_msg("%s", error.text);
    assert_int_equal(store_load_meta(store, note_value, value, &error), 0);
    store_close(store);
    assert_string_equal(value, wanted);
}

static void make_places(struct places *places)
{
    strcpy(places->base, "/tmp/xylem-restore-XXXXXX");
    assert_non_null(mkdtemp(places->base));
    snprintf(places->state, sizeof places->state, "%s/state", places->base);
    snprintf(places->file, sizeof places->file, "%s/state.db", places->state);
    snprintf(places->backup, sizeof places->backup, "%s/backup", places->base);
}

static void remove_places(const struct places *places)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", places->base);
    assert_int_equal(system(command), 0);
}

static void test_restore(void **state)
{
    struct places places;
    struct stat status;
    struct error error = {0};
    char wal[160];
    (void)state;
    make_places(&places);
    use_store(&places, "old", places.backup);
    use_store(&places, "new", NULL);
    snprintf(wal, sizeof wal, "%s-wal", places.file);
    int fd = open(wal, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "stale", 5), 5);
    close(fd);
    if (restore_store(places.backup, places.state, &error))
        fail_msg("%s", error.text);
    assert_int_equal(access(wal, F_OK), -1);
    assert_int_equal(stat(places.file, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    check_value(&places, "old");
    remove_places(&places);
}

static void test_restore_refuses(void **state)
{
    struct places places;
    struct error error = {0};
    char command[400], nothing[160];
    (void)state;
    make_places(&places);
    use_store(&places, "old", places.backup);
    use_store(&places, "new", NULL);
    snprintf(nothing, sizeof nothing, "%s/nothing", places.base);
    assert_int_equal(restore_store(nothing, places.state, &error), ERROR_NOT_FOUND);
    int lock = open(places.state, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(restore_store(places.backup, places.state, &error), ERROR_BUSY);
    close(lock);
    snprintf(command, sizeof command, "head -c 20000 %s > %s", places.backup, nothing);
    assert_int_equal(system(command), 0);
    assert_int_equal(restore_store(nothing, places.state, &error), ERROR_CORRUPT);
    assert_int_equal(restore_store("/etc/passwd", places.state, &error), ERROR_CORRUPT);
    assert_int_equal(chmod(places.state, 0755), 0);
    assert_int_equal(restore_store(places.backup, places.state, &error), ERROR_DENIED);
    assert_int_equal(chmod(places.state, 0700), 0);
    snprintf(command, sizeof command, "test \"$(ls -A %s)\" = state.db",
             places.state); /* nothing is left behind */
    assert_int_equal(system(command), 0);
    check_value(&places, "new");
    remove_places(&places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_completion_is_that_of_the_table),
        cmocka_unit_test(test_manual_page_has_every_command),
        cmocka_unit_test(test_restore),
        cmocka_unit_test(test_restore_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The admin door without a model: lines, texts, levels, and the conversation over a socket pair with commands of the
 * test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/serve/admin_internal.h"
#include "agent/serve/admin_text.h"

/* --- lines --- */

static void parse(const char *text, size_t size, struct admin_line *line, char *buffer, struct error *error)
{
    memcpy(buffer, text, size);
    error->code = 0;
    error->code = admin_line_parse(buffer, size, line, error);
}

static void test_lines(void **state)
{
    static const struct {
        const char *text;
        bool json;
        const char *words; /* joined by | */
    } rows[] = {
        {"", false, ""},
        {" \t ", false, ""},
        {"status", false, "status"},
        {"status\r", false, "status"},
        {"  a  b\tc ", false, "a|b|c"},
        {"--json status", true, "status"},
        {"--json --json", true, "--json"},
        {"a --json", false, "a|--json"},
        {"\"--json\" a", false, "--json|a"},
        {"--json", true, ""},
        {"a \"b c\" d", false, "a|b c|d"},
        {"a \"\"", false, "a|"},
        {"\"\\\"\\\\\"", false, "\"\\"},
        {"{\"a\":\"b\"}", false, "{\"a\":\"b\"}"},
        {"a\\b", false, "a\\b"},
        {"gr\xc3\xbc\xc3\x9f", false, "gr\xc3\xbc\xc3\x9f"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buffer[128], joined[128] = "";
        struct admin_line line;
        struct error error;
        parse(rows[i].text, strlen(rows[i].text), &line, buffer, &error);
        assert_int_equal(error.code, 0);
        for (size_t w = 0; w < line.count; w++)
            snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s", w ? "|" : "",
                     line.words[w]);
        assert_string_equal(joined, rows[i].words);
        assert_int_equal(line.json, rows[i].json);
        assert_null(line.words[line.count]);
    }
}

static void test_bad_lines(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *error;
    } rows[] = {
        {"a \"b", 4, "the quote at byte 3 of the line is never closed"},
        {"a \"b\\\"", 6, "the quote at byte 3 of the line is never closed"},
        {"\"a\"b", 4, "byte 4 of the line: put a space behind a closing quote"},
        {"\"a\\n\"", 5, "byte 3 of the line: only \\\" and \\\\ are escapes inside quotes"},
        {"\"a\\", 3, "byte 3 of the line: only \\\" and \\\\ are escapes inside quotes"},
        {"a\0b", 3, "byte 2 of the line is a control character; write it as an escape in JSON"},
        {"a\033", 2, "byte 2 of the line is a control character; write it as an escape in JSON"},
        {"a\r\r", 3, "byte 2 of the line is a control character; write it as an escape in JSON"},
        {"\xc2\x85", 2, "byte 1 of the line is a control character; write it as an escape in JSON"},
        {"ab\xff", 3, "byte 3 of the line is not UTF-8"},
        {"\xc3", 1, "byte 1 of the line is not UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buffer[128];
        struct admin_line line;
        struct error error;
        parse(rows[i].text, rows[i].size, &line, buffer, &error);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_string_equal(error.text, rows[i].error);
    }
}

static void test_too_many_words(void **state)
{
    char text[2 * ADMIN_WORDS_MAX + 3], buffer[sizeof text];
    struct admin_line line;
    struct error error;
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? ' ' : 'x';
    parse(text, 2 * ADMIN_WORDS_MAX, &line, buffer, &error);
    assert_int_equal(error.code, 0);
    assert_int_equal(line.count, ADMIN_WORDS_MAX);
    parse(text, 2 * ADMIN_WORDS_MAX + 1, &line, buffer, &error);
    assert_int_equal(error.code, ERROR_LIMIT);
}

static void test_quoting_is_read_back(void **state)
{
    static const char *const words[] = {"",     "a",        "a b",   "\"",     "\\",
                                        "a\"b", "a \"\\ b", "\"a\\", "--json", "\t"};
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char text[64], buffer[64];
        struct admin_line line;
        struct error error;
        size_t size = admin_line_quote(words[i], text, sizeof text);
        assert_int_equal(size, strlen(text));
        parse(text, size, &line, buffer, &error);
        assert_int_equal(error.code, 0);
        assert_int_equal(line.count, 1);
        assert_string_equal(line.words[0], words[i]);
    }
    char small[4];
    assert_int_equal(admin_line_quote("a b c", small, sizeof small), 7);
    assert_string_equal(small, "\"a ");
}

/* --- texts --- */

static void check_text(const char *json, const char *wanted)
{
    char *text = NULL;
    size_t size = 0;
    struct error error = {0};
    if (admin_text_render(json, strlen(json), &text, &size, &error))
        fail_msg("%s", error.text);
    assert_string_equal(text, wanted);
    assert_int_equal(size, strlen(wanted));
    free(text);
}

static void test_texts(void **state)
{
    (void)state;
    check_text("{}", "");
    check_text("[]", "(none)\n");
    check_text("{\"a\":1,\"long_name\":\"x\",\"t\":null,\"e\":\"\"}",
               "a:         1\nlong name: x\nt:         -\ne:         -\n");
    check_text("{\"left_sec\":90,\"old_sec\":-7200,\"far_sec\":259200,\"x_bytes\":2048,\"on_at\":0}",
               "left:  1m30s\nold:   -2h0m\nfar:   3d0h\nx:     2.0 KiB\non at: -\n");
    check_text("{\"born_at\":1000000000}", "born at: 2001-09-09T01:46:40Z\n");
    check_text("{\"a\":{\"b\":true,\"c\":[1,2]},\"d\":[]}", "a:\n  b: yes\n  c: 1,2\nd: -\n");
    check_text("[{\"n\":5,\"s\":\"x\"},{\"n\":10,\"s\":\"yyy\",\"z\":false}]",
               " N  S    Z\n 5  x    -\n10  yyy  no\n");
    check_text("{\"rows\":[{\"a\":1}]}", "rows:\n  A\n  1\n");
    check_text("[\"a\",\"b\"]", "a\nb\n");
    check_text("\"x\"", "x\n");
    check_text("[{\"a\":[{\"deep\":1},{\"deep\":2}]}]", "A\n2\n");
}

static void test_texts_are_harmless(void **state)
{
    (void)state;
    check_text("{\"a\":\"x\\ny\\u001b[2J\"}", "a: x\\ny\\u001b[2J\n");
    check_text("{\"a\\n\\n\":\"\\u202e\"}", "a\\n\\n: \\u202e\n");
    check_text("{\"a\":\"say \\\"hi\\\" \\\\\"}", "a: say \"hi\" \\\n");
    /* Wide characters take two columns, combining ones none. */
    check_text("[{\"a\":\"\xe6\xbc\xa2\xe5\xad\x97\",\"b\":\"x\"},{\"a\":\"e\xcc\x81\",\"b\":\"y\"}]",
               "A     B\n\xe6\xbc\xa2\xe5\xad\x97  x\ne\xcc\x81     y\n");
    assert_int_equal(admin_text_width("\xe6\xbc\xa2"
                                      "a"
                                      "\xcc\x81"),
                     3);
    char *text;
    size_t size;
    struct error error;
    assert_int_equal(admin_text_render("{", 1, &text, &size, &error), ERROR_INVALID);
}

/* --- the table --- */

static void test_table(void **state)
{
    (void)state;
    for (const struct admin_command *a = admin_commands; a->name; a++) {
        char name[64];
        snprintf(name, sizeof name, "%s", a->name);
        struct admin_line line = {.count = 1, .words = {name}};
        char *space = strchr(name, ' ');
        if (space) {
            *space = '\0';
            line.words[line.count++] = space + 1;
        }
        size_t words = 0;
        assert_ptr_equal(admin_find_command(admin_commands, &line, &words), a);
        assert_int_equal(words, line.count);
        assert_true(a->words_min <= a->words_max && a->run && *a->help);
    }
    size_t words;
    struct admin_line line = {.count = 1, .words = {(char[]){"intention"}}};
    assert_null(admin_find_command(admin_commands, &line, &words));
    line = (struct admin_line){.count = 2, .words = {(char[]){"regions"}, (char[]){"x"}}};
    assert_string_equal(admin_find_command(admin_commands, &line, &words)->name, "regions");
    assert_int_equal(words, 1);
    line = (struct admin_line){.count = 1, .words = {(char[]){"stat"}}};
    assert_null(admin_find_command(admin_commands, &line, &words));
}

static void test_levels(void **state)
{
    enum { OPERATOR_GROUP = 500, SOMEBODY = 1234, ADMIN_UID = 77, VIEWER_UID = 78, OWN_UID = 90 };
    uid_t admins[] = {ADMIN_UID, 65534}, viewers[] = {VIEWER_UID};
    gid_t operators[] = {OPERATOR_GROUP}, groups[] = {100, OPERATOR_GROUP}, primary[] = {100};
    struct config_admin config = {.level = CONFIG_VIEWER,
                                  .access = {{.users = viewers, .user_count = 1},
                                             {.groups = operators, .group_count = 1},
                                             {.users = admins, .user_count = 2}}};
    struct admin admin = {.own_uid = OWN_UID};
    const struct {
        uid_t uid;
        gid_t *groups;
        size_t group_count;
        enum config_level base, level;
    } rows[] = {
        {0, primary, 1, CONFIG_VIEWER, CONFIG_ADMIN},
        {OWN_UID, primary, 1, CONFIG_VIEWER, CONFIG_ADMIN},
        {ADMIN_UID, primary, 1, CONFIG_VIEWER, CONFIG_ADMIN},
        {ADMIN_UID, groups, 2, CONFIG_VIEWER, CONFIG_ADMIN},
        {SOMEBODY, groups, 2, CONFIG_VIEWER, CONFIG_OPERATOR},
        {SOMEBODY, primary, 1, CONFIG_VIEWER, CONFIG_VIEWER},
        {VIEWER_UID, primary, 1, CONFIG_OPERATOR, CONFIG_OPERATOR}, /* a list never lowers */
        {SOMEBODY, primary, 1, CONFIG_ADMIN, CONFIG_ADMIN},
        {65534, primary, 1, CONFIG_VIEWER,
         CONFIG_VIEWER}, /* the overflow uid is nobody, whatever the list says */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer peer = {.uid = rows[i].uid, .groups = rows[i].groups, .group_count = rows[i].group_count};
        config.level = rows[i].base;
        assert_int_equal(admin_level_of(&admin, &config, &peer), rows[i].level);
    }
}

/* --- conversations --- */

static struct admin_call *held;
static unsigned begun;

static void run_echo(struct admin_call *call, size_t count, char **words)
{
    (void)count;
    begun++;
    json_begin_object(&call->out);
    json_member_text(&call->out, "said", words[0]);
    json_end_object(&call->out);
    admin_answer(call, NULL);
}

static void run_hold(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    begun++;
    held = call;
}

static void run_blank(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    admin_answer_text(call, "text", "\n\na\n\n\nb", 7);
}

static void run_watch(struct admin_call *call, size_t count, char **words)
{
    (void)count, (void)words;
    call->connection->watched = MODEL_ROOTS | MODEL_LEAF;
    call->connection->watch_json = call->json;
    admin_answer_ok(call);
}

static const struct admin_command test_commands[] = {
    {"echo", CONFIG_VIEWER, "WORD", "", 1, 1, false, run_echo},
    {"hold", CONFIG_OPERATOR, "", "", 0, 0, false, run_hold},
    {"blank", CONFIG_VIEWER, "", "", 0, 0, false, run_blank},
    {"watch", CONFIG_VIEWER, "", "", 0, 0, false, run_watch},
    {"secret", CONFIG_ADMIN, "", "", 0, 0, false, run_hold},
    {0},
};

struct door {
    struct ev_loop *loop;
    struct admin admin;
    struct admin_listener listener;
    struct config_admin config;
    int fd;
    char got[512 * 1024];
    size_t got_size;
    bool ended;
};

static int set_up(void **state)
{
    struct door *door = calloc(1, sizeof *door);
    struct error error;
    int fds[2];
    door->loop = ev_loop_new(0);
    door->config.level = CONFIG_OPERATOR;
    door->admin = (struct admin){
        .options = {.loop = door->loop, .idle_timeout_sec = 60}, .commands = test_commands, .own_uid = 4242};
    door->listener = (struct admin_listener){.admin = &door->admin, .config = &door->config};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    door->fd = fds[0];
    struct peer peer = {.uid = 4711, .pid = 1};
    assert_int_equal(admin_connection_open(&door->admin, &door->listener, fds[1], &peer, &error), 0);
    held = NULL;
    begun = 0;
    *state = door;
    return 0;
}

static int tear_down(void **state)
{
    struct door *door = *state;
    while (door->admin.connections)
        admin_connection_close(door->admin.connections);
    if (held)
        admin_answer_ok(held);
    close(door->fd);
    ev_loop_destroy(door->loop);
    free(door);
    return 0;
}

static void say_bytes(struct door *door, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(door->fd, bytes, size, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        }
        ev_run(door->loop, EVRUN_NOWAIT);
    }
}

/* Runs the loop until it has nothing more to do at once, and takes what was answered. */
static const char *hear(struct door *door)
{
    for (int quiet = 0; quiet < 3;) {
        ev_run(door->loop, EVRUN_NOWAIT);
        ssize_t size = recv(door->fd, door->got + door->got_size, sizeof door->got - door->got_size - 1, 0);
        door->ended |= size == 0;
        quiet = size > 0 ? 0 : quiet + 1;
        door->got_size += size > 0 ? (size_t)size : 0;
    }
    door->got[door->got_size] = '\0';
    door->got_size = 0;
    return door->got;
}

static void check_talk(struct door *door, const char *said, const char *heard)
{
    say_bytes(door, said, strlen(said));
    assert_string_equal(hear(door), heard);
}

static void test_answers(void **state)
{
    struct door *door = *state;
    check_talk(door, "echo a\n", "OK\nsaid: a\n\n");
    check_talk(door, "\n \n", "");
    check_talk(door, "ec", "");
    check_talk(door, "ho b\necho c\r\n--json echo d\n", "OK\nsaid: b\n\nOK\nsaid: c\n\n{\"said\":\"d\"}\n\n");
    check_talk(door, "blank\n", "OK\na\nb\n\n");
    check_talk(door, "--json blank\n", "{\"text\":\"\\n\\na\\n\\n\\nb\"}\n\n");
    check_talk(door, "nonsense\n", "ERROR INVALID: unknown command \"nonsense\"; try: help\n\n");
    check_talk(
        door, "--json nonsense\n",
        "{\"error\":{\"code\":\"INVALID\",\"text\":\"unknown command \\\"nonsense\\\"; try: help\"}}\n\n");
    check_talk(door, "echo\n", "ERROR INVALID: usage: echo WORD\n\n");
    check_talk(
        door, "--json\n",
        "{\"error\":{\"code\":\"INVALID\",\"text\":\"--json wants a command behind it; try: help\"}}\n\n");
    check_talk(door, "secret\n",
               "ERROR DENIED: secret needs level admin, and this connection has level operator\n\n");
    assert_int_equal(begun, 4);
    door->config.level = CONFIG_VIEWER; /* a reload takes hold at once */
    check_talk(door, "hold\n",
               "ERROR DENIED: hold needs level operator, and this connection has level viewer\n\n");
}

static void test_later_commands_wait(void **state)
{
    struct door *door = *state;
    check_talk(door, "hold\necho a\necho b\n", "");
    assert_int_equal(begun, 1);
    struct admin_call *call = held;
    held = NULL;
    admin_done(call, NULL);
    assert_string_equal(hear(door), "OK\n\nOK\nsaid: a\n\nOK\nsaid: b\n\n");
    check_talk(door, "--json hold\n", "");
    call = held;
    held = NULL;
    admin_done(call, &(struct error){ERROR_CONFLICT, "no \"way\"\033"});
    assert_string_equal(hear(door),
                        "{\"error\":{\"code\":\"CONFLICT\",\"text\":\"no \\\"way\\\"\\u001b\"}}\n\n");
    check_talk(door, "hold\n", "");
    call = held;
    held = NULL;
    admin_done(call, &(struct error){ERROR_CONFLICT, "no \"way\"\033"});
    assert_string_equal(hear(door), "ERROR CONFLICT: no \"way\"\\u001b\n\n");
}

static void test_a_peer_that_goes_while_a_command_is_under_way(void **state)
{
    struct door *door = *state;
    check_talk(door, "hold\n", "");
    close(door->fd);
    door->fd = -1;
    ev_run(door->loop, EVRUN_NOWAIT); /* sees the end, and still waits for the command */
    struct admin_call *call = held;
    held = NULL;
    admin_answer_ok(call);
    assert_int_equal(door->admin.connection_count, 0);
}

static void test_a_connection_that_is_closed_while_a_command_is_under_way(void **state)
{
    struct door *door = *state;
    check_talk(door, "hold\n", "");
    admin_connection_close(door->admin.connections);
    assert_null(held->connection);
    struct admin_call *call = held;
    held = NULL;
    admin_answer_ok(call);
    assert_int_equal(door->admin.connection_count, 0);
}

static void test_the_last_line_needs_no_newline(void **state)
{
    struct door *door = *state;
    say_bytes(door, "echo a\necho b", 13);
    shutdown(door->fd, SHUT_WR);
    assert_string_equal(hear(door), "OK\nsaid: a\n\nOK\nsaid: b\n\n");
    assert_true(door->ended);
    assert_int_equal(door->admin.connection_count, 0);
}

static void test_long_lines(void **state)
{
    struct door *door = *state;
    static char line[ADMIN_LINE_MAX + 2];
    memset(line, 'x', sizeof line);
    memcpy(line, "echo ", 5);
    line[ADMIN_LINE_MAX] = '\n';
    say_bytes(door, line, ADMIN_LINE_MAX + 1);
    assert_int_equal(strlen(hear(door)), strlen("OK\nsaid: ") + ADMIN_LINE_MAX - 5 + 2);
    line[ADMIN_LINE_MAX] = 'x';
    say_bytes(door, line, ADMIN_LINE_MAX + 1);
    assert_string_equal(hear(door),
                        "ERROR LIMIT: a line has at most 65536 bytes; this connection ends here\n\n");
    assert_true(door->ended);
}

static void test_many_pipelined(void **state)
{
    struct door *door = *state;
    static char text[200000];
    size_t size = 0, answers = 0;
    for (int i = 0; i < 10000; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "echo %d\n", i % 10);
    for (size_t at = 0; at < size; at += 4096) {
        say_bytes(door, text + at, size - at < 4096 ? size - at : 4096);
        for (const char *heard = hear(door); (heard = strstr(heard, "OK\n")); heard += 3)
            answers++;
    }
    assert_int_equal(answers, 10000);
}

static void test_a_slow_watcher_is_told_what_it_lost(void **state)
{
    struct door *door = *state;
    enum { EVENTS = 20000 };
    check_talk(door, "--json watch\nechoed into the void\n", "{\"ok\":true}\n\n");
    struct model_event event = {.what = MODEL_LEAF, .index = 1, .service = "web"};
    struct model_event other = {.what = MODEL_INTENTIONS, .index = 1};
    admin_watch_event(&door->admin, &other); /* not asked for */
    for (; event.index <= EVENTS; event.index++)
        admin_watch_event(&door->admin, &event);
    uint64_t lines = 0, lost = 0;
    for (int round = 0; round < 50; round++) {
        for (const char *at = hear(door); *at; at = strchr(at, '\n') + 1) {
            const char *count = strstr(at, "\"count\":"), *end = strchr(at, '\n');
            assert_non_null(end);
            if (count && count < end)
                lost += strtoull(count + strlen("\"count\":"), NULL, 10);
            else
                lines += memmem(at, (size_t)(end - at), "\"event\":\"leaf\",\"service\":\"web\"", 30) != NULL;
        }
    }
    assert_true(lost > 0);
    assert_int_equal(lines + lost, EVENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_too_many_words),
        cmocka_unit_test(test_quoting_is_read_back),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_texts_are_harmless),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_levels),
        cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_later_commands_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_peer_that_goes_while_a_command_is_under_way, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_connection_that_is_closed_while_a_command_is_under_way, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_last_line_needs_no_newline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_pipelined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_slow_watcher_is_told_what_it_lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* What is expected of the writer is what Go's encoding/json writes. */
#include "agent/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes what was written, compares, frees. */
static void expect(struct json_writer *writer, const char *expected)
{
    size_t size = 0;
    char *text = json_take(writer, &size);
    assert_non_null(text);
    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
    free(text);
}

static void expect_failure(struct json_writer *writer)
{
    assert_null(json_take(writer, NULL));
}

static void write_sample(struct json_writer *w)
{
    json_begin_object(w);
    json_member_text(w, "Reason", "web => db <&>");
    json_member_u64(w, "U", UINT64_MAX);
    json_member_i64(w, "I", INT64_MIN);
    json_member_bool(w, "Ok", false);
    json_member_null(w, "Nil");
    json_key(w, "Empty");
    json_begin_array(w);
    json_end_array(w);
    json_key(w, "Map");
    json_begin_object(w);
    json_end_object(w);
    json_key(w, "List");
    json_begin_array(w);
    json_base64(w, "hello", 5);
    json_base64(w, "", 0);
    json_base64(w, NULL, 0);
    json_time(w, (struct timespec){1717243200, 120000000});
    json_begin_array(w);
    json_bool(w, true);
    json_end_array(w);
    json_end_array(w);
    json_end_object(w);
}

static void test_layout(void **state)
{
    (void)state;
    struct json_writer w;
    json_writer_init(&w, 0);
    write_sample(&w);
    expect(&w, "{\"Reason\":\"web =\\u003e db \\u003c\\u0026\\u003e\",\"U\":18446744073709551615,"
               "\"I\":-9223372036854775808,\"Ok\":false,\"Nil\":null,\"Empty\":[],\"Map\":{},"
               "\"List\":[\"aGVsbG8=\",\"\",null,\"2024-06-01T12:00:00.12Z\",[true]]}");
    json_writer_init(&w, 4);
    write_sample(&w);
    expect(&w,
           "{\n    \"Reason\": \"web =\\u003e db \\u003c\\u0026\\u003e\",\n    \"U\": 18446744073709551615,\n"
           "    \"I\": -9223372036854775808,\n    \"Ok\": false,\n    \"Nil\": null,\n    \"Empty\": [],\n"
           "    \"Map\": {},\n    \"List\": [\n        \"aGVsbG8=\",\n        \"\",\n        null,\n"
           "        \"2024-06-01T12:00:00.12Z\",\n        [\n            true\n        ]\n    ]\n}");
}

static void test_text(void **state)
{
    (void)state;
    struct json_writer w;
    json_writer_init(&w, 0);
    json_begin_array(&w);
    json_text(&w, "\"\\/\b\f\n\r\t\x01\x7f");
    json_text(&w, "\u2028\u2029\u00e9\U0001f512");
    json_text(&w, "a\xff\xed\xa0\x80z\xc3");
    json_text(&w, NULL);
    json_text_of_size(&w, "a\0b", 3);
    json_end_array(&w);
    expect(&w, "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\",\"\\u2028\\u2029\u00e9\U0001f512\","
               "\"a\\ufffd\\ufffd\\ufffd\\ufffdz\\ufffd\",\"\",\"a\\u0000b\"]");
}

static void test_double(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {50, "50"},
        {0.5, "0.5"},
        {-1.25, "-1.25"},
        {0.1, "0.1"},
        {1e20, "100000000000000000000"},
        {1e21, "1e+21"},
        {1.5e300, "1.5e+300"},
        {0.000001, "0.000001"},
        {1e-7, "1e-7"},
        {1.0 / 3, "0.3333333333333333"},
        {100.125, "100.125"},
        {0.01, "0.01"},
        {1.2345678901234568e20, "123456789012345680000"},
        {5e-324, "5e-324"},
        {0.00012, "0.00012"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {12, "12"},
        {120, "120"},
    };
    struct json_writer w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_writer_init(&w, 0);
        json_double(&w, cases[i].value);
        expect(&w, cases[i].text);
    }
    json_writer_init(&w, 0);
    json_double(&w, INFINITY);
    expect_failure(&w);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct json_writer w;
    json_writer_init(&w, 0);
    expect_failure(&w); /* nothing written */
    json_begin_object(&w);
    expect_failure(&w); /* not closed */
    json_begin_object(&w);
    json_u64(&w, 1); /* no key */
    json_end_object(&w);
    expect_failure(&w);
    json_begin_array(&w);
    json_key(&w, "k"); /* a key in an array */
    json_end_array(&w);
    expect_failure(&w);
    json_begin_object(&w);
    json_key(&w, "k");
    json_end_object(&w); /* no value */
    expect_failure(&w);
    json_begin_array(&w);
    json_end_object(&w);
    expect_failure(&w);
    json_u64(&w, 1);
    json_u64(&w, 2);
    expect_failure(&w);
    for (int i = 0; i < 1000; i++)
        json_begin_array(&w);
    expect_failure(&w);
    json_u64(&w, 7); /* and usable again after each */
    expect(&w, "7");
}

static struct json_document *parse(const char *text)
{
    struct json_document *document = NULL;
    struct error error;
    if (json_parse(text, strlen(text), NULL, &document, &error) != 0)
        fail_msg("%s: %s", text, error.text);
    return document;
}

static void test_read(void **state)
{
    (void)state;
    struct json_document *d = parse(
        " {\"Target\":\"db\",\"clientcerturi\":\"a\\u00e9\\ud83d\\udd12\\n\\/\",\"N\":18446744073709551615,"
        "\"I\":-5,\"F\":2.5e1,\"B\":true,\"Null\":null,\"Config\":{\"Roots\":[{\"Name\":\"x\"},{\"Name\":7}]}"
        ","
        "\"E\":{},\"A\":[]} \n");
    struct json_value root = json_root(d), config = {0}, roots = {0};
    struct error error;
    const char *text = NULL;
    uint64_t u = 0;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    assert_int_equal(json_get_text(root, "Target", &text, &error), 0);
    assert_string_equal(text, "db");
    assert_int_equal(json_get_text(root, "ClientCertURI", &text, &error), 0);
    assert_string_equal(text, "a\u00e9\U0001f512\n/");
    assert_int_equal(json_get_text(root, "Null", &text, &error), 0);
    assert_int_equal(json_get_text(root, "Absent", &text, &error), 0);
    assert_string_equal(text, "a\u00e9\U0001f512\n/");
    assert_int_equal(json_get_u64(root, "N", &u, &error), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(json_get_i64(root, "I", &i, &error), 0);
    assert_int_equal(i, -5);
    assert_int_equal(json_get_double(root, "F", &f, &error), 0);
    assert_true(f == 25);
    assert_int_equal(json_get_bool(root, "B", &b, &error), 0);
    assert_true(b);
    assert_int_equal(json_count(root), 10);
    assert_int_equal(json_get_object(root, "Config", &config, &error), 0);
    assert_int_equal(json_get_array(config, "Roots", &roots, &error), 0);
    assert_int_equal(json_count(roots), 2);
    struct json_value second = json_next(json_first(roots));
    assert_int_equal(json_get_text(second, "Name", &text, &error), ERROR_INVALID);
    assert_string_equal(error.text, "Config.Roots[1].Name: expected a string, found a number");
    assert_null(json_next(second).document);
    assert_null(json_first(json_find(root, "E")).document);
    assert_null(json_first(json_find(root, "A")).document);
    assert_int_equal(json_get_u64(root, "I", &u, &error), ERROR_INVALID);
    assert_int_equal(json_get_i64(root, "N", &i, &error), ERROR_INVALID);
    assert_int_equal(json_get_i64(root, "F", &i, &error), ERROR_INVALID);
    assert_int_equal(json_get_array(root, "Target", &roots, &error), ERROR_INVALID);
    assert_string_equal(error.text, "Target: expected an array, found a string");
    assert_null(json_duplicate_key(d));
    json_free(d);
}

static void test_iterate(void **state)
{
    (void)state;
    struct json_document *d = parse("{\"a\":{\"x\":[1,{\"y\":2}]},\"b\":3,\"c\":[[],[4]],\"d\":{}}");
    char keys[16] = "";
    for (struct json_value v = json_first(json_root(d)); v.document; v = json_next(v))
        strcat(keys, json_key_of(v));
    assert_string_equal(keys, "abcd");
    struct json_value c = json_find(json_root(d), "c");
    unsigned counts[2], n = 0;
    for (struct json_value v = json_first(c); v.document; v = json_next(v)) {
        assert_null(json_key_of(v));
        counts[n++] = (unsigned)json_count(v);
    }
    assert_int_equal(n, 2);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 1);
    json_free(d);
    d = parse("5");
    assert_int_equal(json_type(json_root(d)), JSON_NUMBER);
    assert_null(json_next(json_root(d)).document);
    assert_null(json_find(json_root(d), "k").document);
    json_free(d);
}

static void test_keys(void **state)
{
    (void)state;
    static const char *const known[] = {"Target", "ClientCertURI", NULL};
    struct error error;
    const char *text = NULL;
    struct json_document *d = parse("{\"target\":\"a\",\"TARGET\":\"b\"}");
    assert_string_equal(json_duplicate_key(d), "TARGET");
    assert_int_equal(json_get_text(json_root(d), "Target", &text, &error), 0);
    assert_string_equal(text, "b"); /* the last wins, as in Go */
    assert_int_equal(json_refuse_unknown(json_root(d), known, &error), 0);
    json_free(d);
    d = parse("{\"x\":[{\"k\":1,\"\\u006b\":2}],\"y\":{\"k\":1}}");
    assert_string_equal(json_duplicate_key(d), "x[0].k");
    assert_int_equal(json_refuse_unknown(json_root(d), known, &error), ERROR_INVALID);
    assert_string_equal(error.text, "json: unknown field \"x\"");
    json_free(d);
    /* A key with an embedded NUL is not the key that it begins with. */
    d = parse("{\"Target\\u0000x\":\"a\",\"T\":\"b\\u0000c\"}");
    assert_null(json_find(json_root(d), "Target").document);
    assert_int_equal(json_refuse_unknown(json_root(d), known, &error), ERROR_INVALID);
    assert_int_equal(json_get_text(json_root(d), "T", &text, &error), ERROR_INVALID);
    json_free(d);
}

static void test_surrogates(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"\"\\ud83d\\udd12\"", "\U0001f512"},   {"\"\\ud83d\"", "\ufffd"},
        {"\"\\udd12\\ud83d\"", "\ufffd\ufffd"}, {"\"\\ud83dx\"", "\ufffdx"},
        {"\"\\ud83d\\u0041\"", "\ufffdA"},      {"\"\\ud83d\\n\"", "\ufffd\n"},
        {"\"\\uD83D\\uDD12\"", "\U0001f512"},   {"\"\\ud83d\\ud83d\\udd12\"", "\ufffd\U0001f512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_document *d = parse(cases[i].json);
        const char *text;
        assert_int_equal(json_read_text(json_root(d), &text, NULL), 0);
        assert_string_equal(text, cases[i].text);
        json_free(d);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[",
                                      "\"",
                                      "}",
                                      "{]",
                                      "[}",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\" 1}",
                                      "{\"a\":1,}",
                                      "{,}",
                                      "[1,]",
                                      "[,1]",
                                      "[1 2]",
                                      "{\"a\":1 \"b\":2}",
                                      "{1:2}",
                                      "{a:1}",
                                      "{'a':1}",
                                      "[1]]",
                                      "{} {}",
                                      "1 2",
                                      "nul",
                                      "True",
                                      "01",
                                      "-",
                                      "+1",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "1e+",
                                      "0x10",
                                      "NaN",
                                      "\"\\x41\"",
                                      "\"\\u12g4\"",
                                      "\"\\u123",
                                      "\"\n\"",
                                      "\"\xff\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\\",
                                      "// c\n1",
                                      "[1,/**/2]",
                                      "\xef\xbb\xbf{}",
                                      "{\"a\":1:2}",
                                      "tru",
                                      "truex",
                                      "1x",
                                      "[\"a\":1]",
                                      "\"a\"\"b\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct json_document *document = NULL;
        struct error error = {0};
        if (json_parse(bad[i], strlen(bad[i]), NULL, &document, &error) != ERROR_INVALID)
            fail_msg("%s was accepted", bad[i]);
        assert_null(document);
        assert_memory_equal(error.text, "JSON line ", 10);
    }
    struct json_document *document;
    struct error error;
    assert_int_equal(json_parse("{\n  \"a\": 1,\n  b: 2\n}", 20, NULL, &document, &error), ERROR_INVALID);
    assert_string_equal(error.text, "JSON line 3 column 3: expected a string");
    assert_int_equal(json_parse("1\0", 2, NULL, &document, &error), ERROR_INVALID);
}

static void test_limits(void **state)
{
    (void)state;
    struct json_limits limits = {.size_max = 16, .depth_max = 2, .tokens_max = 4};
    struct json_document *document;
    struct error error;
    assert_int_equal(json_parse("[[1]]", 5, &limits, &document, &error), 0);
    json_free(document);
    assert_int_equal(json_parse("[[[]]]", 6, &limits, &document, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "nested too deeply"));
    assert_int_equal(json_parse("[1,2,3,4]", 9, &limits, &document, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "too many values"));
    assert_int_equal(json_parse("[1,2,3]", 7, &limits, &document, &error), 0);
    json_free(document);
    assert_int_equal(json_parse("                 1", 18, &limits, &document, &error), ERROR_LIMIT);
    limits = (struct json_limits){.size_max = SIZE_MAX, .depth_max = 100000, .tokens_max = 1u << 20};
    char *deep = malloc(200000);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    assert_int_equal(json_parse(deep, 200000, &limits, &document, &error), ERROR_INVALID);
    free(deep);
    limits.ignore_trailing = true;
    assert_int_equal(json_parse("{\"a\":1} garbage", 15, &limits, &document, &error), 0);
    assert_int_equal(json_count(json_root(document)), 1);
    json_free(document);
}

/* Many keys must not take time that grows with their square. */
static void test_many(void **state)
{
    (void)state;
    size_t used = 1;
    char *text = malloc(1 << 20);
    assert_non_null(text);
    text[0] = '{';
    for (unsigned i = 0; i < 30000; i++)
        used += (size_t)sprintf(text + used, "%s\"k%u\":[]", i ? "," : "", i);
    text[used++] = '}';
    struct json_document *document;
    struct error error;
    assert_int_equal(json_parse(text, used, NULL, &document, &error), 0);
    assert_int_equal(json_count(json_root(document)), 30000);
    assert_null(json_duplicate_key(document));
    json_free(document);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),   cmocka_unit_test(test_text),       cmocka_unit_test(test_double),
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_read),       cmocka_unit_test(test_iterate),
        cmocka_unit_test(test_keys),     cmocka_unit_test(test_surrogates), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

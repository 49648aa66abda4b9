/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "agent/core/intentions.h"

/* ---- Memory that runs out: the linker sends the model's allocations here ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static long allocations_left = -1; /* negative: no limit */

static bool refuse(void)
{
    if (allocations_left < 0)
        return false;
    return allocations_left == 0 || allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return refuse() ? NULL : __real_realloc(block, size);
}

/* ---- Short forms ---- */

static const char uuid[] = "0f2f8f0a-1111-2222-3333-444455556666";
static const char get_only[] = "[{\"Action\":\"allow\",\"HTTP\":{\"Methods\":[\"get\"]}}]";

/* "partition/namespace/name", the first two optional. Borrows from one of a few buffers in turn. */
static struct intention_name named(const char *text)
{
    static struct intention_parsed_name buffers[32];
    static size_t turn;
    struct intention_parsed_name *parsed = &buffers[turn++ % 32];
    struct error error;
    assert_int_equal(intention_parse_name(text, false, parsed, &error), 0);
    return intention_name_of(parsed);
}

static struct intention_fields fields_of(const char *source, const char *destination, const char *action)
{
    struct intention_fields fields = {
        .source = named(source), .destination = named(destination), .action = action};
    if (strcmp(action, "l7") == 0) {
        fields.action = "";
        fields.permissions_json = get_only;
    }
    return fields;
}

static struct intention *make(const struct intention_fields *fields)
{
    struct intention *intention = NULL;
    struct error error = {0};
    if (intention_make(fields, &intention, &error) != 0)
        fail_msg("%s", error.text);
    return intention;
}

static struct intention *make_simple(const char *source, const char *destination, const char *action)
{
    struct intention_fields fields = fields_of(source, destination, action);
    return make(&fields);
}

static void put(struct intentions *set, struct intention *intention)
{
    struct intention *replaced;
    struct error error;
    assert_int_equal(intentions_put(set, intention, &replaced, &error), 0);
    intention_free(replaced);
}

static void add(struct intentions *set, const char *source, const char *destination, const char *action)
{
    put(set, make_simple(source, destination, action));
}

static void add_peered(struct intentions *set, const char *peer, const char *source, const char *destination,
                       const char *action)
{
    struct intention_fields fields = fields_of(source, destination, action);
    fields.source.partition = NULL;
    fields.source_peer = peer;
    put(set, make(&fields));
}

static void refused(const struct intention_fields *fields, const char *text)
{
    struct intention *intention = NULL;
    struct error error = {0};
    assert_int_equal(intention_make(fields, &intention, &error), ERROR_INVALID);
    assert_string_equal(error.text, text);
    assert_null(intention);
}

/* "source>destination" of each, with commas. */
static const char *list_text(const struct intention_list *list)
{
    static char text[4096];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < list->count; i++) {
        const struct intention *one = list->items[i];
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s%s%s>%s", i ? "," : "", one->source_peer,
                             one->source_peer[0] ? ":" : "", one->source.name, one->destination.name);
    }
    return text;
}

static void matches_destination(const struct intentions *set, const char *name, const char *expected)
{
    struct intention_list list;
    struct intention_name destination = named(name);
    assert_int_equal(intentions_match_destination(set, &destination, &list, NULL), 0);
    assert_string_equal(list_text(&list), expected);
    intention_list_free(&list);
}

static void matches_source(const struct intentions *set, const char *name, const char *expected)
{
    struct intention_list list;
    struct intention_name source = named(name);
    assert_int_equal(intentions_match_source(set, &source, &list, NULL), 0);
    assert_string_equal(list_text(&list), expected);
    intention_list_free(&list);
}

static const struct intention *check(const struct intentions *set, const char *source,
                                     const char *destination)
{
    struct intention_name from = named(source), to = named(destination);
    return intentions_check(set, &from, &to);
}

/* ---- Names ---- */

static void parses(const char *text, bool peer_allowed, const char *expected)
{
    struct intention_parsed_name parsed;
    struct error error = {0};
    char found[2000];
    assert_int_equal(intention_parse_name(text, peer_allowed, &parsed, &error), 0);
    snprintf(found, sizeof found, "%s|%s|%s|%s", parsed.peer, parsed.partition, parsed.namespace_name,
             parsed.name);
    assert_string_equal(found, expected);
}

static void does_not_parse(const char *text, bool peer_allowed, const char *expected)
{
    struct intention_parsed_name parsed = {.name = "untouched"};
    struct error error = {0};
    assert_int_equal(intention_parse_name(text, peer_allowed, &parsed, &error), ERROR_INVALID);
    assert_string_equal(error.text, expected);
    assert_string_equal(parsed.name, "untouched");
}

static void names_are_parsed(void **state)
{
    (void)state;
    parses("web", false, "|default|default|web");
    parses("ops/web", false, "|default|ops|web");
    parses("east/ops/web", false, "|east|ops|web");
    parses("/web", false, "|default|default|web");
    parses("//web", false, "|default|default|web");
    parses("*/*", false, "|default|*|*");
    parses("", false, "|default|default|");
    parses("peer:there/web", true, "there|default|default|web");
    parses("peer:there/ops/web", true, "there|default|ops|web");
    does_not_parse("a/b/c/d", false, "input can contain at most two '/'");
    does_not_parse("peer:a/b/c/d", true, "input can contain at most two '/'");
    does_not_parse("peer:there/web", false, "cannot specify a peer here");
    does_not_parse("peer:there", true, "need to specify the service name as well");
    does_not_parse("peer:/web", true, "need to specify the name of the peer behind \"peer:\"");
    char longest[INTENTION_NAME_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[INTENTION_NAME_MAX + 1] = '\0';
    does_not_parse(longest, false, "a part of 256 bytes exceeds the maximum length 255");
}

/* ---- Order ---- */

static void precedence_is_consuls(void **state)
{
    static const char *const forms[] = {"*/*", "*", "name"};
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int s = 0; s < 3; s++) {
            struct intention_name destination = named(forms[d]), source = named(forms[s]);
            assert_int_equal(intention_precedence(&destination, &source), 3 * d + s + 1);
        }
}

static void order_is_exhaustive_and_stable(void **state)
{
    /* In order of evaluation: for each precedence the local source, then two peers, then by names. */
    static const char *const destinations[] = {"exact", "*", "*/*"};
    static const char *const sources[] = {"exact", "*", "*/*"};
    static const char *const peers[] = {"", "peer-a", "peer-b"};
    struct intention *ordered[27 + 3], *shuffled[27 + 3];
    size_t count = 0;
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int s = 0; s < 3; s++)
            for (int p = 0; p < 3; p++) {
                struct intention_fields fields = fields_of(sources[s], destinations[d], "allow");
                fields.source_peer = peers[p];
                ordered[count++] = make(&fields);
            }
    /* Last of all, at the lowest precedence: other partitions, by bytes, of the source first. */
    intention_free(ordered[26]);
    intention_free(ordered[25]);
    count = 25;
    ordered[count++] = make_simple("*/*", "east/*/*", "allow");
    ordered[count++] = make_simple("a/*/*", "*/*", "allow");
    /* "a" is before "default". */
    struct intention *first = ordered[26];
    ordered[26] = ordered[25];
    ordered[25] = ordered[24];
    ordered[24] = first;
    for (int round = 0; round < 50; round++) {
        memcpy(shuffled, ordered, sizeof shuffled);
        for (size_t i = count - 1; i > 0; i--) {
            size_t other = (size_t)rand() % (i + 1);
            struct intention *kept = shuffled[i];
            shuffled[i] = shuffled[other];
            shuffled[other] = kept;
        }
        qsort(shuffled, count, sizeof shuffled[0], intention_compare);
        for (size_t i = 0; i < count; i++)
            assert_ptr_equal(shuffled[i], ordered[i]);
    }
    for (size_t i = 0; i < count; i++)
        intention_free(ordered[i]);
}

static void list_is_in_consuls_order(void **state)
{
    struct intentions *set = intentions_new(1);
    struct intention_list list;
    (void)state;
    assert_int_equal(intentions_sorted(set, &list, NULL), 0);
    assert_int_equal(list.count, 0);
    add(set, "*", "db", "deny");
    add_peered(set, "east", "bar", "billing", "allow");
    add(set, "zim", "gir", "allow");
    add(set, "foo", "db", "allow");
    add(set, "bar", "db", "allow");
    assert_int_equal(intentions_sorted(set, &list, NULL), 0);
    assert_string_equal(list_text(&list), "bar>db,foo>db,zim>gir,east:bar>billing,*>db");
    intention_list_free(&list);
    intentions_free(set);
}

/* ---- Validation ---- */

static void entry_faults_have_consuls_texts(void **state)
{
    struct intention_fields f;
    (void)state;
    f = fields_of("web", "db", "allow");
    f.destination.name = "";
    refused(&f, "Name is required");
    f.destination.name = NULL;
    refused(&f, "Name is required");
    f = fields_of("web", "d*", "allow");
    refused(&f, "Name: wildcard character '*' cannot be used with partial values");
    f = fields_of("web", "o*s/db", "allow");
    refused(&f, "Namespace: wildcard character '*' cannot be used with partial values");
    f = fields_of("web", "*/db", "allow");
    refused(&f, "Name: exact value cannot follow wildcard namespace");
    f = fields_of("web", "*/ops/db", "allow");
    refused(&f, "Partition: cannot use wildcard '*' in partition");
}

static void source_name_faults_have_consuls_texts(void **state)
{
    struct intention_fields f = fields_of("", "db", "allow");
    (void)state;
    refused(&f, "Sources[0].Name is required");
    f.position = 3;
    refused(&f, "Sources[3].Name is required");
    f = fields_of("w*b", "db", "allow");
    refused(&f, "Sources[0].Name: wildcard character '*' cannot be used with partial values");
    f = fields_of("*s/*", "db", "allow");
    refused(&f, "Sources[0].Namespace: wildcard character '*' cannot be used with partial values");
    f = fields_of("*/web", "db", "allow");
    refused(&f, "Sources[0].Name: exact value cannot follow wildcard namespace");
    f = fields_of("p*/ops/web", "db", "allow");
    refused(&f, "Sources[0].Partition: cannot use wildcard '*' in partition");
    f = fields_of("web", "db", "allow");
    f.source_peer = "x*";
    refused(&f, "Sources[0].Peer: cannot use wildcard '*' in peer");
    f = fields_of("east/ops/web", "db", "allow");
    f.source_peer = "there";
    refused(&f, "Sources[0].Peer: cannot set Peer and Partition at the same time.");
    f = fields_of("web", "db", "allow");
    f.source_sameness_group = "group";
    refused(&f, "Sources[0].SamenessGroup: Sameness groups are a Consul Enterprise feature. ");
}

static void other_source_faults_have_consuls_texts(void **state)
{
    char long_text[600];
    struct intention_fields f = fields_of("web", "db", "allow");
    (void)state;
    memset(long_text, 'a', sizeof long_text);
    long_text[513] = '\0';
    f.description = long_text;
    refused(&f, "Sources[0].Description exceeds maximum length 512");
    f = fields_of("web", "db", "");
    refused(&f, "Sources[0].Action must be set to 'allow' or 'deny'");
    f.action = "blah";
    refused(&f, "Sources[0].Action must be set to 'allow' or 'deny'");
    f = fields_of("web", "db", "l7");
    f.action = "allow";
    refused(&f, "Sources[0].Action must be omitted if Permissions are specified");
    f = fields_of("web", "*", "l7");
    refused(&f, "Sources[0].Permissions cannot be specified on intentions with wildcarded destinations");
    f = fields_of("web", "db", "allow");
    f.source_type = "vm";
    refused(&f, "Sources[0].Type must be set to 'consul'");
    f = fields_of("web", "db", "allow");
    f.legacy_id = "hello";
    refused(&f, "Sources[0].LegacyID must be a UUID of 36 characters");
    f = fields_of("web", "db", "allow");
    long_text[256] = '\0';
    f.source.name = long_text;
    refused(&f, "Sources[0].Name: 256 bytes exceed the maximum length 255");
    f.source.name = "w\xff";
    refused(&f, "Sources[0].Name: must be valid UTF-8");
    f.source.name = "web";
    f.source.namespace_name = "a/b";
    refused(&f, "Sources[0].Namespace: must not contain '/'");
    /* A place may be asked for without an error to fill. */
    f = fields_of("w*b", "db", "allow");
    struct intention *none = NULL;
    assert_int_equal(intention_make(&f, &none, NULL), ERROR_INVALID);
}

static void meta_is_checked_and_canonical(void **state)
{
    char json[8000], value[600], key[200];
    struct intention_fields f = fields_of("web", "db", "allow");
    (void)state;
    f.meta_json = json;
    memset(value, 'v', sizeof value);
    value[512] = '\0';
    snprintf(json, sizeof json, "{\"k\":\"%s\"}", value);
    intention_free(make(&f));
    value[512] = 'v';
    value[513] = '\0';
    snprintf(json, sizeof json, "{\"k\":\"%s\"}", value);
    refused(&f, "Meta value for key \"k\" exceeds maximum length 512");
    memset(key, 'k', sizeof key);
    key[129] = '\0';
    snprintf(json, sizeof json, "{\"%s\":\"\"}", key);
    char expected[400];
    snprintf(expected, sizeof expected, "Meta key \"%s\" exceeds maximum length 128", key);
    refused(&f, expected);
    size_t used = (size_t)snprintf(json, sizeof json, "{");
    for (int i = 0; i < 65; i++)
        used += (size_t)snprintf(json + used, sizeof json - used, "%s\"k%d\":\"\"", i ? "," : "", i);
    snprintf(json + used, sizeof json - used, "}");
    refused(&f, "Meta exceeds maximum element count 64");
    snprintf(json, sizeof json, "[]");
    refused(&f, "Meta: must be an object of texts");
    /* Sorted by bytes; of equal keys, the last; an empty object is none. */
    snprintf(json, sizeof json, "{ \"b\":\"1\", \"a\":\"2\", \"B\":\"3\", \"a\":\"4\" }");
    struct intention *made = make(&f);
    assert_string_equal(made->details->meta_json, "{\"B\":\"3\",\"a\":\"4\",\"b\":\"1\"}");
    intention_free(made);
    snprintf(json, sizeof json, "{}");
    made = make(&f);
    assert_string_equal(made->details->meta_json, "");
    intention_free(made);
}

static void permissions_faults_have_consuls_texts(void **state)
{
#define PLACE         "Sources[0].Permissions[0]"
#define HTTP(members) "[{\"Action\":\"allow\",\"HTTP\":{" members "}}]"
#define HEADER_COUNT \
    PLACE ".HTTP.Header[0] should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex"
#define IGNORE_CASE \
    PLACE ".HTTP.Header[0] should set one of Exact, Prefix, Suffix, or Contains when using IgnoreCase"
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"[{\"HTTP\":{\"PathExact\":\"/\"}}]", PLACE ".Action must be set to 'allow' or 'deny'"},
        {"[{\"Action\":\"ALLOW\",\"HTTP\":{\"PathExact\":\"/\"}}]",
         PLACE ".Action must be set to 'allow' or 'deny'"},
        {"[{\"Action\":\"deny\"}]", PLACE ".HTTP is required"},
        {"[{\"Action\":\"deny\",\"HTTP\":null}]", PLACE ".HTTP is required"},
        {HTTP(""), PLACE ".HTTP should not be empty"},
        {HTTP("\"Header\":[],\"Methods\":[]"), PLACE ".HTTP should not be empty"},
        {HTTP("\"PathExact\":\"x\""), PLACE ".HTTP.PathExact doesn't start with '/': \"x\""},
        {HTTP("\"PathPrefix\":\"a\\\"b\""), PLACE ".HTTP.PathPrefix doesn't start with '/': \"a\\\"b\""},
        {HTTP("\"PathPrefix\":\"/x\",\"PathRegex\":\"y\""),
         PLACE ".HTTP should only contain at most one of PathExact, PathPrefix, or PathRegex"},
        {HTTP("\"Header\":[{\"Exact\":\"x\"}]"), PLACE ".HTTP.Header[0] missing required Name field"},
        {HTTP("\"Header\":[{\"Name\":\"x\"}]"), HEADER_COUNT},
        {HTTP("\"Header\":[{\"Name\":\"x\",\"Present\":true,\"Exact\":\"y\"}]"), HEADER_COUNT},
        {HTTP("\"Header\":[{\"Name\":\"x\",\"Suffix\":\"y\",\"Contains\":\"y\"}]"), HEADER_COUNT},
        {HTTP("\"Header\":[{\"Name\":\"x\",\"Present\":true,\"IgnoreCase\":true}]"), IGNORE_CASE},
        {HTTP("\"Header\":[{\"Name\":\"x\",\"Regex\":\"y\",\"IgnoreCase\":true}]"), IGNORE_CASE},
        {HTTP("\"Methods\":[\"get\",\"smash\"]"), PLACE ".HTTP.Methods contains an invalid method \"SMASH\""},
        {HTTP("\"Methods\":[\"get\",\"PUT\",\"GET\"]"),
         PLACE ".HTTP.Methods contains \"GET\" more than once"},
        {"[{\"Action\":\"allow\",\"HTTP\":{\"PathExact\":\"/\"},\"JWT\":{\"Providers\":[{}]}}]",
         "JWT provider name is required"},
        {"[{\"Action\":\"allow\",\"HTTP\":{\"PathExact\":\"/\"}},{\"Action\":\"allow\"}]",
         "Sources[0].Permissions[1].HTTP is required"},
        {"{\"Action\":\"allow\"}", "Sources[0].Permissions: must be an array"},
        {"[{\"Nope\":1}]", "json: unknown field \"Nope\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct intention_fields f = fields_of("web", "db", "");
        f.permissions_json = cases[i].json;
        refused(&f, cases[i].text);
    }
}

static void permissions_become_canonical(void **state)
{
    struct intention_fields f = fields_of("web", "db", "");
    (void)state;
    f.permissions_json =
        "[ {\"http\":{\"methods\":[\"get\",\"Post\"],\"PathPrefix\":\"/v1\",\"Header\":[{\"IgnoreCase\":true,"
        "\"invert\":true,\"Contains\":\"c\",\"Name\":\"n\"},{\"Present\":true,\"Name\":\"p\",\"Invert\":"
        "false}]},"
        "\"Action\":\"deny\"}, "
        "{\"JWT\":{\"Providers\":[{\"VerifyClaims\":[{\"Value\":\"v\",\"Path\":[\"a\",\"b\"]}],"
        "\"Name\":\"okta\"}]},\"Action\":\"allow\",\"HTTP\":{\"PathRegex\":\"<.*>\"}} ]";
    struct intention *made = make(&f);
    static const char canonical[] = "[{\"Action\":\"deny\",\"HTTP\":{\"PathPrefix\":\"/"
                                    "v1\",\"Header\":[{\"Name\":\"n\",\"Contains\":\"c\","
                                    "\"Invert\":true,\"IgnoreCase\":true},{\"Name\":\"p\",\"Present\":true}],"
                                    "\"Methods\":[\"GET\",\"POST\"]}},"
                                    "{\"Action\":\"allow\",\"HTTP\":{\"PathRegex\":\"\\u003c.*\\u003e\"},"
                                    "\"JWT\":{\"Providers\":[{\"Name\":\"okta\","
                                    "\"VerifyClaims\":[{\"Path\":[\"a\",\"b\"],\"Value\":\"v\"}]}]}}]";
    assert_string_equal(made->details->permissions_json, canonical);
    assert_int_equal(made->details->permission_count, 2);
    assert_int_equal(made->action, INTENTION_PERMISSIONS);
    /* Canonical text stays as it is. */
    f.permissions_json = canonical;
    struct intention *again = make(&f);
    assert_string_equal(again->details->permissions_json, canonical);
    intention_free(again);
    intention_free(made);
}

/* ---- Forms ---- */

static void described(const struct intention_fields *fields, const char *expected)
{
    char text[2000];
    struct intention *made = make(fields);
    size_t size = intention_describe(made, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
    char cut[10];
    assert_int_equal(intention_describe(made, cut, sizeof cut), size);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    intention_free(made);
}

static void text_form_is_consuls(void **state)
{
    struct intention_fields f = fields_of("web", "db", "allow");
    (void)state;
    described(&f, "default/web => default/db (Precedence: 9, Action: ALLOW)");
    f.legacy_id = uuid;
    described(
        &f,
        "default/web => default/db (ID: 0f2f8f0a-1111-2222-3333-444455556666, Precedence: 9, Action: ALLOW)");
    f = fields_of("*", "ops/db", "deny");
    described(&f, "default/* => ops/db (Precedence: 8, Action: DENY)");
    f = fields_of("web", "db", "l7");
    described(&f, "default/web => default/db (Precedence: 9, Permissions: 1)");
    f.permissions_json = "[{\"Action\":\"allow\",\"HTTP\":{\"PathExact\":\"/\"}},"
                         "{\"Action\":\"deny\",\"HTTP\":{\"PathPrefix\":\"/\"}}]";
    described(&f, "default/web => default/db (Precedence: 9, Permissions: 2)");
    f = fields_of("web", "db", "allow");
    f.source_peer = "billing";
    described(&f, "peer(billing)/default/web => default/db (Precedence: 9, Action: ALLOW)");
    f = fields_of("east/ops/web", "west/default/db", "allow");
    described(&f, "east/ops/web => west/default/db (Precedence: 9, Action: ALLOW)");
    char text[200];
    struct intention *made = make_simple("web", "db", "l7");
    intention_reason(made, text, sizeof text);
    assert_string_equal(text,
                        "Matched L7 intention: default/web => default/db (Precedence: 9, Permissions: 1)");
    intention_free(made);
    made = make_simple("web", "db", "deny");
    intention_reason(made, text, sizeof text);
    assert_string_equal(text,
                        "Matched L4 intention: default/web => default/db (Precedence: 9, Action: DENY)");
    intention_free(made);
}

static char *json_of(const struct intention *intention, unsigned indent)
{
    struct json_writer writer;
    size_t size;
    json_writer_init(&writer, indent);
    intention_write_json(&writer, intention);
    char *text = json_take(&writer, &size);
    assert_non_null(text);
    return text;
}

static void wrote(const struct intention_fields *fields, const char *expected)
{
    struct intention *made = make(fields);
    char *text = json_of(made, 0);
    assert_string_equal(text, expected);
    free(text);
    intention_free(made);
}

static void json_form_is_consuls(void **state)
{
    struct intention_fields f = fields_of("web", "db", "allow");
    (void)state;
    f.create_index = 11;
    f.modify_index = 12;
    f.created_at = f.updated_at = 1500000000;
    wrote(
        &f,
        "{\"SourceNS\":\"default\",\"SourceName\":\"web\",\"DestinationNS\":\"default\",\"DestinationName\":"
        "\"db\",\"SourceType\":\"consul\",\"Action\":\"allow\",\"Precedence\":9,\"CreateIndex\":11,"
        "\"ModifyIndex\":12}");
    f.legacy_id = uuid;
    /* The hashes are those of Python's hashlib. */
    wrote(&f, "{\"CreatedAt\":\"2017-07-14T02:40:00Z\",\"UpdatedAt\":\"2017-07-14T02:40:00Z\",\"ID\":"
              "\"0f2f8f0a-1111-2222-3333-444455556666\",\"SourceNS\":\"default\",\"SourceName\":\"web\","
              "\"DestinationNS\":\"default\",\"DestinationName\":\"db\",\"SourceType\":\"consul\",\"Action\":"
              "\"allow\","
              "\"Precedence\":9,\"Hash\":\"Id2JrvyT7dJSFwrEwiVaIXek7SdTpS7H646MMMKthgo=\",\"CreateIndex\":11,"
              "\"ModifyIndex\":12}");
    f = fields_of("east/ops/web", "west/default/db", "l7");
    f.description = "a <b>";
    f.meta_json = "{\"b\":\"2\",\"a\":\"1\"}";
    wrote(
        &f,
        "{\"Description\":\"a "
        "\\u003cb\\u003e\",\"SourceNS\":\"ops\",\"SourceName\":\"web\",\"DestinationNS\":"
        "\"default\",\"DestinationName\":\"db\",\"SourcePartition\":\"east\",\"DestinationPartition\":"
        "\"west\","
        "\"SourceType\":\"consul\",\"Permissions\":[{\"Action\":\"allow\",\"HTTP\":{\"Methods\":[\"GET\"]}}],"
        "\"Meta\":{\"a\":\"1\",\"b\":\"2\"},\"Precedence\":9,\"CreateIndex\":0,\"ModifyIndex\":0}");
    f = fields_of("web", "db", "deny");
    f.source_peer = "there";
    wrote(
        &f,
        "{\"SourceNS\":\"default\",\"SourceName\":\"web\",\"DestinationNS\":\"default\",\"DestinationName\":"
        "\"db\",\"SourcePeer\":\"there\",\"SourceType\":\"consul\",\"Action\":\"deny\",\"Precedence\":9,"
        "\"CreateIndex\":0,\"ModifyIndex\":0}");
}

static void has_hash(const struct intention_fields *fields, const char *hash)
{
    struct intention *made = make(fields);
    char *text = json_of(made, 0);
    assert_non_null(strstr(text, hash));
    free(text);
    intention_free(made);
}

static void hash_spans_blocks(void **state)
{
    char description[400];
    struct intention_fields f = fields_of("web", "db", "allow");
    (void)state;
    f.legacy_id = uuid;
    f.description = description;
    memset(description, 'd', sizeof description);
    description[300] = '\0';
    f.meta_json = "{\"b\":\"2\",\"a\":\"1\"}";
    has_hash(&f, "\"Hash\":\"xIsCmIKDX7p33dcIjl3l9XJw/V1XKTqJSM4ahkNJEWg=\"");
    /* The message ends where a block does. */
    description[182] = '\0';
    f.meta_json = NULL;
    has_hash(&f, "\"Hash\":\"fK+IGnOTDzTnfvrbvoDpEGdNFWNe6QQngurrVctISEQ=\"");
}

static void json_reads_back(void **state)
{
    struct intention_fields f = fields_of("east/ops/web", "west/default/DB", "l7");
    struct intention_fields read;
    struct json_document *document;
    struct error error;
    (void)state;
    f.description = "words";
    f.meta_json = "{\"a\":\"1\"}";
    f.legacy_id = uuid;
    f.modify_index = 7;
    struct intention *made = make(&f);
    char *text = json_of(made, 4);
    assert_int_equal(json_parse(text, strlen(text), NULL, &document, &error), 0);
    assert_int_equal(intention_read_json(json_root(document), &read, &error), 0);
    struct intention *again = make(&read);
    char *second = json_of(again, 4);
    assert_string_equal(text, second);
    json_free(document);
    static const char unknown[] = "{\"SourceName\":\"web\",\"Colour\":\"red\"}";
    assert_int_equal(json_parse(unknown, strlen(unknown), NULL, &document, &error), 0);
    assert_int_equal(intention_read_json(json_root(document), &read, &error), ERROR_INVALID);
    assert_string_equal(error.text, "json: unknown field \"Colour\"");
    json_free(document);
    free(second);
    free(text);
    intention_free(again);
    intention_free(made);
}

static void rows_carry_everything(void **state)
{
    struct intention_fields f = fields_of("ops/web", "db", "l7");
    struct store_intention row;
    struct intention *again;
    struct error error;
    (void)state;
    f.description = "words";
    f.meta_json = "{\"a\":\"1\"}";
    f.legacy_id = uuid;
    f.source_peer = "there";
    f.create_index = UINT64_MAX;
    f.modify_index = 7;
    f.created_at = 8;
    f.updated_at = 9;
    struct intention *made = make(&f);
    intention_to_store(made, &row);
    assert_string_equal(row.key.destination_partition, "default");
    assert_string_equal(row.action, "");
    assert_int_equal(row.permission_count, 1);
    assert_int_equal(row.precedence, 9);
    assert_int_equal(intention_from_store(&row, &again, &error), 0);
    assert_int_equal(intention_compare(&made, &again), 0);
    assert_string_equal(again->details->permissions_json, made->details->permissions_json);
    assert_string_equal(again->details->meta_json, "{\"a\":\"1\"}");
    assert_string_equal(again->details->description, "words");
    assert_string_equal(again->details->legacy_id, uuid);
    assert_string_equal(again->source_peer, "there");
    assert_true(again->create_index == UINT64_MAX && again->modify_index == 7);
    assert_true(again->created_at == 8 && again->updated_at == 9);
    row.permissions_json = "[";
    assert_int_equal(intention_from_store(&row, &again, &error), ERROR_INVALID);
    assert_memory_equal(error.text, "Permissions: ", 13);
    intention_free(again);
    intention_free(made);
}

static void policy_changes_leave_peers_out(void **state)
{
    struct policy_change change;
    struct intention_fields f = fields_of("*", "ops/db", "deny");
    (void)state;
    struct intention *made = make(&f);
    assert_true(intention_to_policy_change(made, &change));
    assert_int_equal(change.action, POLICY_DENY);
    assert_string_equal(change.destination.namespace_name, "ops");
    assert_string_equal(change.source.name, "*");
    assert_null(change.legacy_id);
    intention_free(made);
    f = fields_of("web", "db", "l7");
    f.legacy_id = uuid;
    made = make(&f);
    assert_true(intention_to_policy_change(made, &change));
    assert_int_equal(change.action, POLICY_PERMISSIONS);
    assert_int_equal(change.permissions, 1);
    assert_string_equal(change.legacy_id, uuid);
    intention_free(made);
    f = fields_of("web", "db", "allow");
    f.source_peer = "there";
    made = make(&f);
    assert_false(intention_to_policy_change(made, &change));
    intention_free(made);
}

/* ---- The set ---- */

static void local_and_peered_sources_coexist(void **state)
{
    struct intentions *set = intentions_new(1);
    struct intention_name web = named("web"), db = named("DB");
    (void)state;
    add(set, "web", "db", "deny");
    add_peered(set, "a", "web", "db", "allow");
    add_peered(set, "b", "web", "db", "allow");
    add_peered(set, "b", "web", "db", "deny");
    assert_int_equal(intentions_count(set), 3);
    assert_int_equal(intentions_get(set, &db, &web, "b")->action, INTENTION_DENY);
    assert_int_equal(intentions_get(set, &db, &web, "a")->action, INTENTION_ALLOW);
    assert_null(intentions_get(set, &db, &web, "c"));
    matches_destination(set, "db", "web>db,a:web>db,b:web>db");
    matches_source(set, "web", "web>db");
    assert_int_equal(check(set, "web", "db")->action, INTENTION_DENY);
    intention_free(intentions_remove(set, &db, &web, NULL));
    assert_null(check(set, "web", "db"));
    assert_null(intentions_remove(set, &db, &web, NULL));
    matches_source(set, "web", "");
    intentions_free(set);
}

static void destinations_fold_case_and_sources_do_not(void **state)
{
    struct intentions *set = intentions_new(1);
    (void)state;
    add(set, "web", "DB", "allow");
    assert_non_null(check(set, "web", "db"));
    assert_non_null(check(set, "web", "Db"));
    assert_null(check(set, "Web", "db"));
    matches_destination(set, "dB", "web>DB");
    matches_source(set, "WEB", "");
    add(set, "web", "db", "deny");
    assert_int_equal(intentions_count(set), 1);
    intentions_free(set);
}

static void matching_follows_consuls_table(void **state)
{
    struct intentions *set = intentions_new(1);
    (void)state;
    add(set, "*", "*", "deny");
    add(set, "bar", "foo", "allow");
    add(set, "*", "foo", "allow");
    add(set, "bar", "*", "allow");
    add(set, "baz", "bar", "allow");
    add(set, "*/*", "*/*", "deny");
    add(set, "ops/bar", "ops/foo", "allow");
    matches_destination(set, "foo", "bar>foo,*>foo,bar>*,*>*,*>*");
    matches_destination(set, "*", "bar>*,*>*,*>*");
    matches_destination(set, "*/*", "*>*");
    matches_destination(set, "ops/foo", "bar>foo,*>*");
    matches_destination(set, "east/ops/foo", "");
    matches_source(set, "bar", "bar>foo,*>foo,bar>*,*>*,*>*");
    matches_source(set, "*", "*>foo,*>*,*>*");
    matches_source(set, "nobody", "*>foo,*>*,*>*");
    struct intention_list list;
    struct intention_name foo = named("FOO");
    assert_int_equal(intentions_of_destination(set, &foo, &list, NULL), 0);
    assert_string_equal(list_text(&list), "bar>foo,*>foo");
    intention_list_free(&list);
    intentions_free(set);
}

static void decisions_follow_precedence(void **state)
{
    struct intentions *set = intentions_new(1);
    (void)state;
    assert_true(intention_allows(check(set, "web", "db"), true));
    assert_false(intention_allows(check(set, "web", "db"), false));
    add(set, "*", "db", "deny");
    assert_false(intention_allows(check(set, "web", "db"), true));
    add(set, "web", "db", "allow");
    assert_true(intention_allows(check(set, "web", "db"), false));
    assert_false(intention_allows(check(set, "api", "db"), true));
    assert_true(intention_allows(check(set, "api", "cache"), true));
    /* Permissions deny whatever they say. */
    add(set, "web", "db", "l7");
    assert_false(intention_allows(check(set, "web", "db"), true));
    /* An exact destination goes before an exact source. */
    add(set, "web", "*", "allow");
    add(set, "*/*", "cache", "deny");
    assert_int_equal(check(set, "web", "cache")->precedence, 7);
    assert_int_equal(check(set, "web", "other")->precedence, 6);
    intentions_free(set);
}

static void legacy_ids_are_unique(void **state)
{
    struct intentions *set = intentions_new(1);
    struct intention_fields f = fields_of("web", "db", "allow");
    struct intention *replaced;
    struct error error;
    (void)state;
    f.legacy_id = uuid;
    put(set, make(&f));
    assert_non_null(intentions_find_legacy_id(set, "0F2F8F0A-1111-2222-3333-444455556666"));
    f.action = "deny";
    put(set, make(&f));
    assert_int_equal(intentions_find_legacy_id(set, uuid)->action, INTENTION_DENY);
    f.source = named("api");
    struct intention *other = make(&f);
    assert_int_equal(intentions_put(set, other, &replaced, &error), ERROR_CONFLICT);
    assert_int_equal(intentions_count(set), 1);
    intention_free(other);
    struct intention_name web = named("web"), db = named("db");
    intention_free(intentions_remove(set, &db, &web, NULL));
    assert_null(intentions_find_legacy_id(set, uuid));
    intentions_free(set);
}

static void put_exact_follows_consuls_rules(void **state)
{
    struct intentions *set = intentions_new(1);
    struct intention_fields f = fields_of("web", "Db", "allow");
    struct error error = {0};
    (void)state;
    f.meta_json = "{\"a\":\"1\"}";
    assert_int_equal(intentions_prepare_exact(set, &f, &error), ERROR_INVALID);
    assert_string_equal(error.text, "Meta must not be specified");
    f.created_at = 5;
    f.create_index = 6;
    put(set, make(&f)); /* as a configuration entry may */
    f = fields_of("api", "DB", "deny");
    f.meta_json = "{ \"a\": \"2\" }";
    assert_int_equal(intentions_prepare_exact(set, &f, &error), ERROR_INVALID);
    assert_string_equal(error.text, "Meta must not be specified, or should be unchanged during an update.");
    assert_string_equal(f.destination.name, "DB");
    f.meta_json = "{ \"a\": \"1\" }";
    f.create_index = 9;
    assert_int_equal(intentions_prepare_exact(set, &f, &error), 0);
    assert_string_equal(f.destination.name, "Db");
    assert_int_equal(f.create_index, 9);
    put(set, make(&f));
    f = fields_of("web", "db", "deny");
    assert_int_equal(intentions_prepare_exact(set, &f, &error), 0);
    assert_true(f.created_at == 5 && f.create_index == 6);
    struct intention *made = make(&f);
    assert_string_equal(made->details->meta_json, "{\"a\":\"1\"}");
    assert_string_equal(made->destination.name, "Db");
    put(set, made);
    assert_int_equal(intentions_count(set), 2);
    f = fields_of("web", "db", "deny");
    f.source_peer = "there";
    assert_int_equal(intentions_prepare_exact(set, &f, &error), ERROR_INVALID);
    assert_string_equal(error.text,
                        "SourcePeer field is not supported on this endpoint. Use config entries instead");
    intentions_free(set);
}

static void dry_run_tells_what_flips(void **state)
{
    struct intentions *set = intentions_new(1);
    struct intention_pair pairs[3];
    enum intention_flip flips[3];
    (void)state;
    add(set, "*", "db", "deny");
    add(set, "web", "db", "allow");
    pairs[0] = (struct intention_pair){.source = {.name = "web"}, .destination = {.name = "DB"}};
    pairs[1] = (struct intention_pair){.source = {.name = "api"}, .destination = {.name = "db"}};
    pairs[2] = (struct intention_pair){.source = {.name = "api"}, .destination = {.name = "cache"}};
    const struct intention *web = check(set, "web", "db"), *any = check(set, "api", "db");
    assert_int_equal(intentions_would_flip(set, NULL, web, true, pairs, 3, flips), 1);
    assert_true(flips[0] == INTENTION_TURNS_DENIED && flips[1] == INTENTION_SAME &&
                flips[2] == INTENTION_SAME);
    assert_int_equal(intentions_would_flip(set, NULL, any, true, pairs, 3, flips), 1);
    assert_true(flips[1] == INTENTION_TURNS_ALLOWED);
    assert_int_equal(intentions_would_flip(set, NULL, any, false, pairs, 3, flips), 0);
    struct intention *deny = make_simple("*/*", "*/*", "deny"), *l7 = make_simple("web", "db", "l7");
    assert_int_equal(intentions_would_flip(set, deny, NULL, true, pairs, 3, flips), 1);
    assert_true(flips[2] == INTENTION_TURNS_DENIED);
    assert_int_equal(intentions_would_flip(set, l7, NULL, true, pairs, 3, flips), 1);
    assert_true(flips[0] == INTENTION_TURNS_DENIED);
    assert_int_equal(intentions_would_flip(set, l7, any, true, pairs, 3, flips), 2);
    assert_int_equal(intentions_count(set), 2);
    intention_free(l7);
    intention_free(deny);
    intentions_free(set);
}

/* ---- Against a naive evaluator ---- */

enum { MODELS = 400 };

static uint64_t random_state = 88172645463325252u;

static unsigned pick(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % below;
}

static void pick_name(char *text, size_t size, bool wild)
{
    static const char *const partitions[] = {"default", "east"};
    static const char *const namespaces[] = {"default", "ops", "*"};
    static const char *const names[] = {"a", "b", "c", "A", "*"};
    const char *namespace_name = namespaces[pick(wild ? 3 : 2)];
    const char *name = namespace_name[0] == '*' ? "*" : names[pick(wild ? 5 : 4)];
    snprintf(text, size, "%s/%s/%s", partitions[pick(4) == 0], namespace_name, name);
}

static bool covers(const struct intention_name *rule, const struct intention_name *name, bool fold_case)
{
    if (strcmp(rule->partition, name->partition) != 0)
        return false;
    if (strcmp(rule->namespace_name, "*") != 0 && strcmp(rule->namespace_name, name->namespace_name) != 0)
        return false;
    if (strcmp(rule->name, "*") == 0)
        return true;
    return fold_case ? strcasecmp(rule->name, name->name) == 0 : strcmp(rule->name, name->name) == 0;
}

struct naive {
    const struct intention *items[MODELS];
    size_t count;
};

static int collect(void *argument, const struct intention *intention)
{
    struct naive *naive = argument;
    assert_true(naive->count < MODELS);
    naive->items[naive->count++] = intention;
    return 0;
}

static void compare_with_naive(const struct intentions *set, const struct naive *all)
{
    char source_text[64], destination_text[64];
    pick_name(source_text, sizeof source_text, pick(4) == 0);
    pick_name(destination_text, sizeof destination_text, pick(4) == 0);
    struct intention_name source = named(source_text), destination = named(destination_text);
    struct naive to = {.count = 0}, from = {.count = 0};
    const struct intention *decision = NULL;
    for (size_t i = 0; i < all->count; i++) {
        const struct intention *one = all->items[i];
        if (covers(&one->destination, &destination, true))
            to.items[to.count++] = one;
        if (!one->source_peer[0] && covers(&one->source, &source, false))
            from.items[from.count++] = one;
    }
    qsort(to.items, to.count, sizeof to.items[0], intention_compare);
    qsort(from.items, from.count, sizeof from.items[0], intention_compare);
    for (size_t i = 0; i < from.count && !decision; i++)
        if (covers(&from.items[i]->destination, &destination, true))
            decision = from.items[i];
    assert_ptr_equal(intentions_check(set, &source, &destination), decision);
    struct intention_list list;
    assert_int_equal(intentions_match_destination(set, &destination, &list, NULL), 0);
    assert_int_equal(list.count, to.count);
    for (size_t i = 0; i < to.count; i++)
        assert_ptr_equal(list.items[i], to.items[i]);
    intention_list_free(&list);
    assert_int_equal(intentions_match_source(set, &source, &list, NULL), 0);
    assert_int_equal(list.count, from.count);
    for (size_t i = 0; i < from.count; i++)
        assert_ptr_equal(list.items[i], from.items[i]);
    intention_list_free(&list);
}

static void agrees_with_a_naive_evaluator(void **state)
{
    static const char *const actions[] = {"allow", "deny", "l7"};
    struct intentions *set = intentions_new(3);
    (void)state;
    for (int round = 0; round < 4000; round++) {
        char source[64], destination[64];
        pick_name(source, sizeof source, true);
        pick_name(destination, sizeof destination, true);
        struct intention_name from = named(source), to = named(destination);
        bool peered = pick(8) == 0;
        struct intention_fields f = fields_of(source, destination, actions[pick(to.name[0] == '*' ? 2 : 3)]);
        f.source_peer = peered ? "peer" : "";
        if (peered)
            f.source.partition = "";
        /* Shrinks and grows, so that rings of every size come and go. */
        if (pick(100) < (round / 500 % 2 ? 70u : 30u))
            intention_free(intentions_remove(set, &to, peered ? &f.source : &from, f.source_peer));
        else
            put(set, make(&f));
        struct naive all = {.count = 0};
        intentions_for_each(set, collect, &all);
        assert_int_equal(all.count, intentions_count(set));
        for (int i = 0; i < 5; i++)
            compare_with_naive(set, &all);
    }
    intentions_free(set);
}

static int count_one(void *argument, const struct intention *intention)
{
    (void)intention;
    ++*(size_t *)argument;
    return 0;
}

static int stop(void *argument, const struct intention *intention)
{
    count_one(argument, intention);
    return 7;
}

static void hundred_thousand_come_and_go(void **state)
{
    enum { COUNT = 100000, DESTINATIONS = 1000 };
    struct intentions *set = intentions_new(5);
    char source[32], destination[32];
    size_t seen = 0;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(source, sizeof source, "source-%d", i / 10);
        snprintf(destination, sizeof destination, "destination-%d",
                 i % 10 + i / 10 % (DESTINATIONS / 10) * 10);
        add(set, source, destination, "allow");
    }
    assert_int_equal(intentions_count(set), COUNT);
    intentions_for_each_destination(set, count_one, &seen);
    assert_int_equal(seen, DESTINATIONS);
    seen = 0;
    assert_int_equal(intentions_for_each(set, stop, &seen), 7);
    assert_int_equal(seen, 1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(source, sizeof source, "source-%d", i / 10);
        snprintf(destination, sizeof destination, "Destination-%d",
                 i % 10 + i / 10 % (DESTINATIONS / 10) * 10);
        assert_non_null(check(set, source, destination));
        struct intention_name from = named(source), to = named(destination);
        intention_free(intentions_remove(set, &to, &from, NULL));
        assert_null(check(set, source, destination));
    }
    assert_int_equal(intentions_count(set), 0);
    seen = 0;
    intentions_for_each_destination(set, count_one, &seen);
    assert_int_equal(seen, 0);
    intentions_free(set);
}

/* ---- Without memory ---- */

static void making_survives_a_lack_of_memory(void **state)
{
    struct intention_fields f = fields_of("web", "db", "l7");
    struct error error = {0};
    (void)state;
    f.meta_json = "{\"a\":\"1\"}";
    f.description = "words";
    int code = -1;
    for (long left = 0; code != 0; left++) {
        struct intention *made = NULL;
        assert_true(left < 100);
        allocations_left = left;
        code = intention_make(&f, &made, &error);
        allocations_left = -1;
        if (code) {
            assert_int_equal(code, ERROR_SYSTEM);
            assert_null(made);
        }
        intention_free(made);
    }
}

static void maps_survive_a_lack_of_memory(void **state)
{
    struct intentions *set = NULL;
    struct intention_list list;
    struct error error;
    int code;
    (void)state;
    for (long left = 0; !set; left++) {
        assert_true(left < 10);
        allocations_left = left;
        set = intentions_new(1);
        allocations_left = -1;
    }
    /* Nothing is lost when the maps cannot grow. */
    for (int i = 0; i < 200; i++) {
        char source[16];
        snprintf(source, sizeof source, "s%d", i);
        struct intention *one = make_simple(source, "db", "allow"), *replaced;
        allocations_left = 0;
        code = intentions_put(set, one, &replaced, &error);
        allocations_left = -1;
        assert_int_equal(code, 0);
    }
    for (int i = 0; i < 200; i++) {
        char source[16];
        snprintf(source, sizeof source, "s%d", i);
        assert_non_null(check(set, source, "db"));
    }
    allocations_left = 0;
    code = intentions_sorted(set, &list, &error);
    allocations_left = -1;
    assert_int_equal(code, ERROR_SYSTEM);
    intentions_free(set);
}

static void json_survives_a_lack_of_memory(void **state)
{
    struct intention_fields f = fields_of("web", "db", "l7");
    int code = -1;
    (void)state;
    f.meta_json = "{\"a\":\"1\"}";
    struct intention *made = make(&f);
    for (long left = 0; code != 0; left++) {
        struct json_writer writer;
        size_t size;
        json_writer_init(&writer, 0);
        allocations_left = left;
        intention_write_json(&writer, made);
        char *text = json_take(&writer, &size);
        allocations_left = -1;
        code = text ? 0 : -1;
        if (text)
            assert_non_null(strstr(text, "\"Meta\":{\"a\":\"1\"}"));
        free(text);
        json_writer_free(&writer);
        assert_true(left < 100);
    }
    intention_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_parsed),
        cmocka_unit_test(precedence_is_consuls),
        cmocka_unit_test(order_is_exhaustive_and_stable),
        cmocka_unit_test(list_is_in_consuls_order),
        cmocka_unit_test(entry_faults_have_consuls_texts),
        cmocka_unit_test(source_name_faults_have_consuls_texts),
        cmocka_unit_test(other_source_faults_have_consuls_texts),
        cmocka_unit_test(meta_is_checked_and_canonical),
        cmocka_unit_test(permissions_faults_have_consuls_texts),
        cmocka_unit_test(permissions_become_canonical),
        cmocka_unit_test(text_form_is_consuls),
        cmocka_unit_test(json_form_is_consuls),
        cmocka_unit_test(hash_spans_blocks),
        cmocka_unit_test(json_reads_back),
        cmocka_unit_test(rows_carry_everything),
        cmocka_unit_test(policy_changes_leave_peers_out),
        cmocka_unit_test(local_and_peered_sources_coexist),
        cmocka_unit_test(destinations_fold_case_and_sources_do_not),
        cmocka_unit_test(matching_follows_consuls_table),
        cmocka_unit_test(decisions_follow_precedence),
        cmocka_unit_test(legacy_ids_are_unique),
        cmocka_unit_test(put_exact_follows_consuls_rules),
        cmocka_unit_test(dry_run_tells_what_flips),
        cmocka_unit_test(agrees_with_a_naive_evaluator),
        cmocka_unit_test(hundred_thousand_come_and_go),
        cmocka_unit_test(making_survives_a_lack_of_memory),
        cmocka_unit_test(maps_survive_a_lack_of_memory),
        cmocka_unit_test(json_survives_a_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* How SPIFFE IDs are read: Consul's grammar, other patterns, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/unit/harness.h"

static struct harness harness;

static int open_harness(void **state)
{
    (void)state;
    harness_open(&harness, 4u << 20);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

static void allow(const char *partition, const char *namespace_name, const char *name)
{
    struct policy_change change = {.destination = {partition, NULL, "db"},
                                   .source = {partition, namespace_name, name},
                                   .action = POLICY_ALLOW};
    assert_int_equal(policy_apply(harness.policy, &change, 1), 0);
}

struct identity_case {
    const char *uri;
    int why;
    int allowed;
};

static void check(const struct identity_case *cases, size_t count, const char *target)
{
    for (size_t i = 0; i < count; i++) {
        struct xylem_verdict verdict;
        /* At the end of a block of its own: a byte too many is seen. */
        size_t size = strlen(cases[i].uri);
        char *uri = malloc(size + 1);
        MUST(uri);
        memcpy(uri, cases[i].uri, size + 1);
        int allowed = xylem_authorize(harness.reader, target, uri, NULL, &verdict);
        free(uri);
        if (verdict.why != cases[i].why || allowed != cases[i].allowed)
            fail_msg("%s: why %d, allowed %d", cases[i].uri, verdict.why, allowed);
    }
}
#define CHECK(cases, target) check(cases, sizeof(cases) / sizeof(cases)[0], target)

#define TD    HARNESS_TRUST_DOMAIN
#define INT   XYLEM_WHY_INTENTION
#define DEF   XYLEM_WHY_DEFAULT
#define BAD   XYLEM_WHY_MALFORMED
#define NOSVC XYLEM_WHY_NOT_A_SERVICE
#define ALIEN XYLEM_WHY_FOREIGN_TRUST_DOMAIN
#define N50   "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"
#define N250  N50 N50 N50 N50 N50

static void test_consul(void **state)
{
    static const struct identity_case cases[] = {
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/Web", DEF, 0}, /* sources are told apart by case */
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web2", DEF, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/we", DEF, 0},
        {"spiffe://" TD "/ns/default/dc/dc2/svc/web", INT, 1}, /* any datacenter */
        {"SPIFFE://" TD "/ns/default/dc/dc1/svc/web", INT, 1},
        {"sPiFfE://11111111-2222-3333-4444-555555555555.CONSUL/ns/default/dc/dc1/svc/web", INT, 1},
        {"spiffe://" TD "/ap/default/ns/default/dc/dc1/svc/web", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/w%65b", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/%77%65%62", INT, 1},
        {"spiffe://" TD "/ns/def%61ult/dc/dc1/svc/web", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/a%2Fb", INT, 1}, /* a slash may sit in a name */
        {"spiffe://" TD "/ns/default/dc/dc1/svc/a%2fb", INT, 1},
        {"spiffe://" TD "/ns/team/dc/dc1/svc/api", INT, 1},
        {"spiffe://" TD "/ns/team/dc/dc1/svc/web", DEF, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/api", DEF, 0},
        {"spiffe://" TD "/ns/unknown/dc/dc1/svc/web", DEF, 0},
        {"spiffe://" TD "/ns/team%2Fmore/dc/dc1/svc/api", DEF, 0},
        {"spiffe://" TD "/ap/east/ns/default/dc/dc1/svc/web", DEF, 0}, /* another partition's web */
        {"spiffe://" TD "/ap/nowhere/ns/default/dc/dc1/svc/web", DEF, 0},
        {"spiffe://" TD "/ap/default%2Fdefault/ns/x/dc/dc1/svc/web", DEF, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/" N250 "abcde", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/" N250 "abcd", DEF, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/" N250 "abcdef", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/" N250 "abcd%65", INT, 1},
        /* Other kinds of identities. */
        {"spiffe://" TD "/agent/client/dc/dc1/id/node", NOSVC, 0},
        {"spiffe://" TD "/gateway/mesh/dc/dc1", NOSVC, 0},
        {"spiffe://" TD "/agent/server/dc/dc1", NOSVC, 0},
        {"spiffe://" TD, NOSVC, 0},
        {"spiffe://" TD "/", NOSVC, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc", NOSVC, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web/more", NOSVC, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web/", NOSVC, 0},
        {"spiffe://" TD "/NS/default/dc/dc1/svc/web", NOSVC, 0},
        {"spiffe://" TD "//ns/default/dc/dc1/svc/web", NOSVC, 0},
        /* Foreign. */
        {"spiffe://other.consul/ns/default/dc/dc1/svc/web", ALIEN, 0},
        {"spiffe://" TD "x/ns/default/dc/dc1/svc/web", ALIEN, 0},
        {"spiffe://x" TD "/ns/default/dc/dc1/svc/web", ALIEN, 0},
        {"spiffe://" TD ":80/ns/default/dc/dc1/svc/web", ALIEN, 0},
        {"spiffe://" TD ".", ALIEN, 0},
        /* Malformed. */
        {"", BAD, 0},
        {"s", BAD, 0},
        {"spiffe", BAD, 0},
        {"spiffe:/" TD "/ns/default/dc/dc1/svc/web", BAD, 0},
        {"spiffe://", BAD, 0},
        {"spiffe:///ns/default/dc/dc1/svc/web", BAD, 0},
        {"https://" TD "/ns/default/dc/dc1/svc/web", BAD, 0},
        {"spiffe://user@" TD "/ns/default/dc/dc1/svc/web", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web?x", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web#x", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/we b", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/we\tb", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web\x7f", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web\xc3\xa4", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/", BAD, 0},
        {"spiffe://" TD "/ns//dc/dc1/svc/web", BAD, 0},
        {"spiffe://" TD "/ns/default/dc//svc/web", BAD, 0},
        {"spiffe://" TD "/ap//ns/default/dc/dc1/svc/web", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web%", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web%6", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web%6g", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web%00", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/%", BAD, 0},
        /* No peer is the wildcard. */
        {"spiffe://" TD "/ns/default/dc/dc1/svc/*", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/%2A", BAD, 0},
        {"spiffe://" TD "/ns/*/dc/dc1/svc/web", BAD, 0},
        {"spiffe://" TD "/ap/*/ns/default/dc/dc1/svc/web", BAD, 0},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/**", DEF, 0},
    };
    (void)state;
    allow(NULL, NULL, "web");
    allow(NULL, NULL, "a/b");
    allow(NULL, NULL, N250 "abcde");
    allow(NULL, "team", "api");
    allow("east", NULL, "web");
    CHECK(cases, "db");
    static const struct identity_case east[] = {
        {"spiffe://" TD "/ap/east/ns/default/dc/dc1/svc/web", INT, 1},
        {"spiffe://" TD "/ns/default/dc/dc1/svc/web", DEF, 0},
    };
    CHECK(east, "east/default/db");
}

/* Each byte that is not plain, at each place of a short and of a long name: the fast way must hand it on. */
static void test_every_byte_at_every_place(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 64};
    (void)state;
    policy_set_default(harness.policy, true);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t at = 0; at < sizes[s]; at++)
            for (unsigned byte = 1; byte < 256; byte++) {
                char uri[256] = HARNESS_PREFIX;
                size_t start = strlen(uri);
                struct xylem_verdict verdict;
                memset(uri + start, 'a', sizes[s]);
                uri[start + at] = (char)byte;
                bool bad = byte <= ' ' || byte >= 0x7f || strchr("?#@", (int)byte) || byte == '%' ||
                           (byte == '*' && sizes[s] == 1) || (byte == '/' && sizes[s] == 1);
                int why = bad ? BAD : byte == '/' ? NOSVC : DEF;
                xylem_authorize(harness.reader, "db", uri, NULL, &verdict);
                /* An escape may be whole, "%aa", and an empty name is malformed or one segment too many. */
                bool escape = byte == '%' && at + 2 < sizes[s];
                bool empty = byte == '/' && (at == 0 || at + 1 == sizes[s]);
                if (escape ? verdict.why != DEF : empty ? verdict.allow != 0 : verdict.why != why)
                    fail_msg("byte %02x at %zu of %zu: %d", byte, at, sizes[s], verdict.why);
            }
}

static void test_patterns(void **state)
{
    static const char *const spire[] = {"/{service}"};
    static const char *const istio[] = {"/ns/{namespace}/sa/{service}"};
    static const char *const mixed[] = {"/vm/{datacenter}/{service}", "/{namespace}/{service}", "/{service}"};
    static const struct identity_case of_spire[] = {
        {"spiffe://example.org/web", INT, 1},     {"spiffe://example.org/api", DEF, 0},
        {"spiffe://example.org/web/x", NOSVC, 0}, {"spiffe://" TD "/web", ALIEN, 0},
        {"spiffe://example.org", NOSVC, 0},
    };
    static const struct identity_case of_istio[] = {
        {"spiffe://cluster.local/ns/team/sa/api", INT, 1},
        {"spiffe://cluster.local/ns/default/sa/web", INT, 1},
        {"spiffe://cluster.local/ns/team/sa/web", DEF, 0},
        {"spiffe://cluster.local/ns/team/svc/api", NOSVC, 0},
    };
    static const struct identity_case of_mixed[] = {
        {"spiffe://example.org/vm/dc7/web", INT, 1},
        {"spiffe://example.org/team/api", INT, 1},
        {"spiffe://example.org/web", INT, 1},
        {"spiffe://example.org/vm/web", DEF, 0}, /* the second: web of the namespace vm */
        {"spiffe://example.org/a/b/web", NOSVC, 0},
    };
    static const char *const bad[] = {"{service}", "/ns/{namespace}", "", "/x{service}"};
    (void)state;
    allow(NULL, NULL, "web");
    allow(NULL, "team", "api");
    assert_int_equal(policy_set_identities(harness.policy, "example.org", NULL, spire, 1), 0);
    CHECK(of_spire, "db");
    assert_int_equal(policy_set_identities(harness.policy, "cluster.local", NULL, istio, 1), 0);
    CHECK(of_istio, "db");
    assert_int_equal(policy_set_identities(harness.policy, "Example.ORG", NULL, mixed, 3), 0);
    CHECK(of_mixed, "db");
    uint64_t version = policy_version(harness.policy);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(policy_set_identities(harness.policy, "example.org", NULL, bad + i, 1), -EINVAL);
    char domain[XYLEM_NAME_MAX + 2];
    memset(domain, 'a', sizeof domain);
    domain[XYLEM_NAME_MAX + 1] = '\0';
    assert_int_equal(policy_set_identities(harness.policy, domain, NULL, spire, 1), -EINVAL);
    assert_int_equal(policy_version(harness.policy), version);
    CHECK(of_mixed, "db");
    /* The longest that is taken, with a fast prefix. */
    domain[XYLEM_NAME_MAX] = '\0';
    static const char *const consul[] = {"/ns/{namespace}/dc/{datacenter}/svc/{service}"};
    assert_int_equal(policy_set_identities(harness.policy, domain,
                                           "0123456789012345678901234567890123456789012345678901234567890123",
                                           consul, 1),
                     0);
    char uri[600];
    snprintf(
        uri, sizeof uri,
        "spiffe://%s/ns/default/dc/0123456789012345678901234567890123456789012345678901234567890123/svc/web",
        domain);
    assert_int_equal(xylem_authorize(harness.reader, "db", uri, NULL, NULL), 1);
}

/* Before it is told a trust domain a region takes every peer for a stranger. */
static void test_no_trust_domain(void **state)
{
    static const struct identity_case cases[] = {{"spiffe://" TD "/ns/default/dc/dc1/svc/web", ALIEN, 0},
                                                 {"spiffe:///ns/default/dc/dc1/svc/web", BAD, 0}};
    (void)state;
    assert_int_equal(policy_set_identities(harness.policy, "", NULL, NULL, 0), 0);
    policy_set_default(harness.policy, true);
    CHECK(cases, "db");
}

static void test_too_long(void **state)
{
    char uri[4096];
    struct xylem_verdict verdict;
    (void)state;
    memset(uri, 'a', sizeof uri);
    memcpy(uri, "spiffe://" TD "/ns/", strlen("spiffe://" TD "/ns/"));
    for (size_t size = 2040; size < 2060; size++) {
        uri[size] = '\0';
        assert_int_equal(xylem_authorize(harness.reader, "db", uri, NULL, &verdict), 0);
        assert_int_equal(verdict.why, size > 2048 ? BAD : verdict.why);
        uri[size] = 'a';
    }
}

int main(void)
{
#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, open_harness, close_harness)
    const struct CMUnitTest tests[] = {
        WITH_HARNESS(test_consul),   WITH_HARNESS(test_every_byte_at_every_place),
        WITH_HARNESS(test_patterns), WITH_HARNESS(test_no_trust_domain),
        WITH_HARNESS(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

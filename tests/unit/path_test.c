/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

#include "agent/ca/name_constraints.h"
#include "agent/ca/path.h"

/* Verifies the leaf with NULL-terminated lists at FIXTURE_NOW for a client. */
static enum path_check verify_at(const struct x509 *leaf, const struct x509 *const *intermediates,
                                 const struct x509 *const *anchors, int64_t now, enum path_purpose purpose,
                                 struct path_result *result)
{
    struct path_request request = {
        .leaf = leaf, .intermediates = intermediates, .anchors = anchors, .now = now, .purpose = purpose};
    struct error error = {0};
    while (intermediates[request.intermediate_count])
        request.intermediate_count++;
    while (anchors[request.anchor_count])
        request.anchor_count++;
    int code = path_verify(&request, result, &error);
    assert_int_equal(code, result->check == PATH_OK ? 0 : ERROR_DENIED);
    if (code)
        assert_non_null(strstr(error.text, path_check_name(result->check)));
    else
        assert_string_equal(error.text, "");
    return result->check;
}

#define LIST(...)                \
    (const struct x509 *const[]) \
    {                            \
        __VA_ARGS__, NULL        \
    }
#define NONE                     \
    (const struct x509 *const[]) \
    {                            \
        NULL                     \
    }

static enum path_check verify(const struct x509 *leaf, const struct x509 *const *intermediates,
                              const struct x509 *const *anchors, struct path_result *result)
{
    return verify_at(leaf, intermediates, anchors, FIXTURE_NOW, PATH_PURPOSE_CLIENT, result);
}

static void leaf_under_root(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "root"),
                               other = fixture_root(*state, KEY_TYPE_EC, 256, "root"),
                               leaf = fixture_leaf(*state, &root);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&root.x509), &result), PATH_OK);
    assert_int_equal(result.length, 2);
    assert_ptr_equal(result.path[0], &leaf.x509);
    assert_ptr_equal(result.path[1], &root.x509);
    /* Equal names with different keys: found among them, refused without. */
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&other.x509, &root.x509), &result), PATH_OK);
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&other.x509), &result), PATH_NO_ISSUER);
    assert_int_equal(result.depth, 0);
    assert_int_equal(verify(&leaf.x509, NONE, NONE, &result), PATH_NO_ISSUER);
    assert_int_equal(verify(&root.x509, NONE, LIST(&root.x509), &result), PATH_OK); /* the anchor itself */
    assert_int_equal(result.length, 1);
    /* A rogue root that the peer supplies is no anchor. */
    struct fixture_certificate rogue_leaf = fixture_leaf(*state, &other);
    assert_int_equal(verify(&rogue_leaf.x509, LIST(&other.x509), LIST(&root.x509), &result), PATH_NO_ISSUER);
    fixture_free(&rogue_leaf);
    fixture_free(&leaf);
    fixture_free(&other);
    fixture_free(&root);
}

static void equal_names_without_key_ids(void **state)
{
    static const struct fixture_extension ca[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    struct fixture_raw raw = {.subject = "ca", .issuer = "ca", .extensions = ca, .extension_count = 2};
    struct key *one = fixture_key(*state, KEY_TYPE_EC, 256), *two = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_certificate first = fixture_make(*state, &raw, one, one),
                               second = fixture_make(*state, &raw, two, two);
    raw.subject = "leaf";
    raw.extension_count = 0;
    struct fixture_certificate leaf = fixture_make(*state, &raw, one, two);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&first.x509, &second.x509), &result), PATH_OK);
    assert_ptr_equal(result.path[1], &second.x509);
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&first.x509), &result), PATH_BAD_SIGNATURE);
    fixture_free(&leaf);
    fixture_free(&second);
    fixture_free(&first);
    key_free(one);
    key_free(two);
}

static void empty_subject_intermediate(void **state)
{
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 384, "root"),
                               middle = fixture_intermediate(*state, &root),
                               leaf = fixture_leaf(*state, &middle);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, LIST(&middle.x509), LIST(&root.x509), &result), PATH_OK);
    assert_int_equal(result.length, 3);
    /* Unrelated and repeated certificates do no harm. */
    struct fixture_certificate stray = fixture_root(*state, KEY_TYPE_EC, 256, "stray");
    assert_int_equal(verify(&leaf.x509, LIST(&stray.x509, &leaf.x509, &middle.x509, &middle.x509),
                            LIST(&stray.x509, &root.x509), &result),
                     PATH_OK);
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&root.x509), &result), PATH_NO_ISSUER);
    assert_int_equal(verify(&leaf.x509, LIST(&middle.x509), LIST(&stray.x509), &result), PATH_NO_ISSUER);
    assert_int_equal(result.depth, 1);
    /* An intermediate that is configured as an anchor is one. */
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&middle.x509), &result), PATH_OK);
    fixture_free(&stray);
    fixture_free(&leaf);
    fixture_free(&middle);
    fixture_free(&root);
}

static void cross_signed_root(void **state)
{
    struct fixture_certificate old_root = fixture_root(*state, KEY_TYPE_EC, 256, "old"),
                               new_root = fixture_root(*state, KEY_TYPE_EC, 256, "new"),
                               cross = fixture_cross(*state, &old_root, &new_root),
                               back = fixture_cross(*state, &new_root, &old_root),
                               leaf = fixture_leaf(*state, &new_root);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, LIST(&cross.x509), LIST(&old_root.x509), &result), PATH_OK);
    assert_int_equal(result.length, 3);
    assert_int_equal(verify(&leaf.x509, LIST(&cross.x509), LIST(&new_root.x509), &result), PATH_OK);
    assert_int_equal(result.length, 2);
    assert_int_equal(verify(&leaf.x509, LIST(&cross.x509), LIST(&old_root.x509, &new_root.x509), &result),
                     PATH_OK);
    assert_int_equal(result.length, 2);
    /* Both ways cross-signed, no anchor: the loop ends. */
    struct fixture_certificate stray = fixture_root(*state, KEY_TYPE_EC, 256, "stray");
    assert_true(verify(&leaf.x509, LIST(&cross.x509, &back.x509), LIST(&stray.x509), &result) != PATH_OK);
    fixture_free(&stray);
    fixture_free(&leaf);
    fixture_free(&back);
    fixture_free(&cross);
    fixture_free(&new_root);
    fixture_free(&old_root);
}

static void validity(void **state)
{
    static const struct fixture_extension ca[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {.subject = "ca", .issuer = "ca", .extensions = ca, .extension_count = 2};
    struct fixture_certificate root = fixture_make(*state, &raw, key, key);
    raw.not_after = FIXTURE_NOW - 1;
    struct fixture_certificate expired_root = fixture_make(*state, &raw, key, key);
    struct fixture_raw leaf_raw = {.subject = "leaf", .issuer = "ca"};
    struct fixture_certificate leaf = fixture_make(*state, &leaf_raw, key, key);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&expired_root.x509), &result), PATH_EXPIRED);
    assert_int_equal(result.depth, 1);
    /* The good root of the same name and key is found behind the expired one. */
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&expired_root.x509, &root.x509), &result), PATH_OK);
    int64_t start = leaf.x509.not_before, end = leaf.x509.not_after;
    const struct {
        int64_t now;
        enum path_check check;
    } cases[] = {{start - 1, PATH_NOT_YET_VALID}, {start, PATH_OK}, {end, PATH_OK}, {end + 1, PATH_EXPIRED}};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(verify_at(&leaf.x509, NONE, LIST(&root.x509), cases[i].now, PATH_PURPOSE_ANY,
                                   &result),
                         cases[i].check);
    fixture_free(&leaf);
    fixture_free(&expired_root);
    fixture_free(&root);
    key_free(key);
}

static void issuers_must_be_cas(void **state)
{
    static const struct fixture_extension not_ca[] = {FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true,
                                                                        FIXTURE_CA_FALSE),
                                                      FIXTURE_EXT_CERT_SIGN},
                                          no_sign[] = {FIXTURE_EXT_CA, FIXTURE_EXTENSION(OID_KEY_USAGE, true,
                                                                                         FIXTURE_KU_DIGITAL)};
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "root"),
                               leaf = fixture_leaf(*state, &root);
    struct path_result result;
    struct fixture_raw raw = {.subject = "ca", .issuer = "root", .extension_count = 2};
    struct fixture_raw end_raw = {.subject = "end", .issuer = "ca"};
    struct fixture_certificate end = fixture_make(*state, &end_raw, leaf.key, leaf.key);
    raw.extensions = not_ca;
    struct fixture_certificate false_ca = fixture_make(*state, &raw, leaf.key, root.key);
    raw.extensions = no_sign;
    struct fixture_certificate signless = fixture_make(*state, &raw, leaf.key, root.key);
    assert_int_equal(verify(&end.x509, LIST(&false_ca.x509), LIST(&root.x509), &result), PATH_NOT_A_CA);
    assert_int_equal(result.depth, 1);
    assert_int_equal(verify(&end.x509, LIST(&signless.x509), LIST(&root.x509), &result), PATH_NO_CERT_SIGN);
    /* A leaf of ours (empty name) used as a CA. */
    struct fixture_raw under_raw = {.subject = "end", .issuer = NULL};
    struct fixture_certificate under = fixture_make(*state, &under_raw, root.key, leaf.key);
    assert_int_equal(verify(&under.x509, LIST(&leaf.x509), LIST(&root.x509), &result), PATH_NOT_A_CA);
    fixture_free(&under);
    fixture_free(&signless);
    fixture_free(&false_ca);
    fixture_free(&end);
    fixture_free(&leaf);
    fixture_free(&root);
}

static void path_lengths(void **state)
{
    static const struct fixture_extension zero[] = {FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true,
                                                                      FIXTURE_CA_PATHLEN0),
                                                    FIXTURE_EXT_CERT_SIGN},
                                          plain[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256), *key2 = fixture_key(*state, KEY_TYPE_EC, 256),
               *key3 = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {.subject = "a", .issuer = "a", .extensions = zero, .extension_count = 2};
    struct fixture_certificate root = fixture_make(*state, &raw, key, key);
    raw.subject = "b";
    raw.extensions = plain;
    struct fixture_certificate middle = fixture_make(*state, &raw, key2, key);
    raw.subject = "a"; /* self-issued: a new key of the same CA does not count */
    struct fixture_certificate renewed = fixture_make(*state, &raw, key3, key);
    struct fixture_raw leaf_raw = {.subject = "leaf", .issuer = "b"};
    struct fixture_certificate leaf = fixture_make(*state, &leaf_raw, key3, key2);
    leaf_raw.issuer = "a";
    struct fixture_certificate direct = fixture_make(*state, &leaf_raw, key2, key),
                               under_renewed = fixture_make(*state, &leaf_raw, key2, key3);
    struct path_result result;
    assert_int_equal(verify(&leaf.x509, LIST(&middle.x509), LIST(&root.x509), &result), PATH_TOO_LONG);
    assert_int_equal(result.depth, 2);
    assert_int_equal(verify(&direct.x509, NONE, LIST(&root.x509), &result), PATH_OK);
    assert_int_equal(verify(&under_renewed.x509, LIST(&renewed.x509), LIST(&root.x509), &result), PATH_OK);
    assert_int_equal(result.length, 3);
    struct fixture_certificate *all[] = {&root, &middle, &renewed, &leaf, &direct, &under_renewed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        fixture_free(all[i]);
    key_free(key);
    key_free(key2);
    key_free(key3);
}

static void chains_are_bounded(void **state)
{
    enum { COUNT = PATH_MAX_CERTIFICATES };
    static const struct fixture_extension ca[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8"};
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_certificate chain[COUNT + 1];
    const struct x509 *list[COUNT + 1] = {0};
    struct path_result result;
    for (size_t i = 0; i <= COUNT; i++) {
        struct fixture_raw raw = {.subject = names[i],
                                  .issuer = names[i < COUNT ? i + 1 : i],
                                  .extensions = ca,
                                  .extension_count = 2};
        chain[i] = fixture_make(*state, &raw, key, key);
        if (i > 0 && i < COUNT)
            list[i - 1] = &chain[i].x509;
    }
    assert_int_equal(verify(&chain[1].x509, list, LIST(&chain[COUNT].x509), &result), PATH_OK);
    assert_int_equal(result.length, PATH_MAX_CERTIFICATES);
    assert_int_equal(verify(&chain[0].x509, list, LIST(&chain[COUNT].x509), &result), PATH_TOO_LONG);

    /* Too many supplied certificates, and too many candidates with one name. */
    const struct x509 *many[PATH_MAX_INTERMEDIATES + 2] = {0};
    for (size_t i = 0; i <= PATH_MAX_INTERMEDIATES; i++)
        many[i] = &chain[1].x509;
    assert_int_equal(verify(&chain[0].x509, many, LIST(&chain[COUNT].x509), &result), PATH_LIMIT);
    for (size_t i = 0; i <= COUNT; i++)
        fixture_free(&chain[i]);
    key_free(key);
}

/* Five CAs with one name, all certified by all: exponentially many paths, none to an anchor. */
static void hostile_webs_end(void **state)
{
    enum { KEYS = 5, CERTIFICATES = KEYS * (KEYS - 1) };
    static const struct fixture_extension ca[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    struct fixture_raw raw = {.subject = "w", .issuer = "w", .extensions = ca, .extension_count = 2};
    struct key *keys[KEYS];
    struct fixture_certificate web[CERTIFICATES];
    const struct x509 *list[CERTIFICATES + 1] = {0};
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "w");
    struct path_result result;
    size_t count = 0;
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = fixture_key(*state, KEY_TYPE_EC, 256);
    for (size_t i = 0; i < KEYS; i++)
        for (size_t j = 0; j < KEYS; j++)
            if (i != j) {
                web[count] = fixture_make(*state, &raw, keys[i], keys[j]);
                list[count] = &web[count].x509;
                count++;
            }
    raw.subject = "leaf";
    struct fixture_certificate leaf = fixture_make(*state, &raw, keys[1], keys[0]);
    assert_int_equal(verify(&leaf.x509, list, LIST(&root.x509), &result), PATH_LIMIT);
    fixture_free(&leaf);
    fixture_free(&root);
    for (size_t i = 0; i < CERTIFICATES; i++)
        fixture_free(&web[i]);
    for (size_t i = 0; i < KEYS; i++)
        key_free(keys[i]);
}

static void purposes_and_unknown_extensions(void **state)
{
    static const struct fixture_extension
        server[] = {FIXTURE_EXTENSION(OID_EXT_KEY_USAGE, false, FIXTURE_EKU_SERVER)},
        any[] = {FIXTURE_EXTENSION(OID_EXT_KEY_USAGE, false, "\x30\x06\x06\x04" OID_ANY_EXT_KEY_USAGE)},
        critical[] = {FIXTURE_EXTENSION("\x2a\x03\x04", true, "x")},
        server_ca[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN,
                       FIXTURE_EXTENSION(OID_EXT_KEY_USAGE, false, FIXTURE_EKU_SERVER)};
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "root");
    struct fixture_raw raw = {
        .subject = "leaf", .issuer = "root", .extensions = server, .extension_count = 1};
    struct path_result result;
    struct fixture_certificate leaf = fixture_make(*state, &raw, root.key, root.key);
    assert_int_equal(verify_at(&leaf.x509, NONE, LIST(&root.x509), FIXTURE_NOW, PATH_PURPOSE_CLIENT, &result),
                     PATH_WRONG_PURPOSE);
    assert_int_equal(verify_at(&leaf.x509, NONE, LIST(&root.x509), FIXTURE_NOW, PATH_PURPOSE_SERVER, &result),
                     PATH_OK);
    fixture_free(&leaf);
    raw.extensions = any;
    leaf = fixture_make(*state, &raw, root.key, root.key);
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&root.x509), &result), PATH_OK);
    fixture_free(&leaf);
    raw.extensions = critical;
    leaf = fixture_make(*state, &raw, root.key, root.key);
    assert_int_equal(verify(&leaf.x509, NONE, LIST(&root.x509), &result), PATH_UNKNOWN_CRITICAL);
    fixture_free(&leaf);
    /* An intermediate for servers only makes no clients. */
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    raw = (struct fixture_raw){
        .subject = "ca", .issuer = "root", .extensions = server_ca, .extension_count = 3};
    struct fixture_certificate middle = fixture_make(*state, &raw, key, root.key);
    raw = (struct fixture_raw){.subject = "leaf", .issuer = "ca"};
    leaf = fixture_make(*state, &raw, root.key, key);
    assert_int_equal(verify(&leaf.x509, LIST(&middle.x509), LIST(&root.x509), &result), PATH_WRONG_PURPOSE);
    assert_int_equal(result.depth, 1);
    fixture_free(&leaf);
    fixture_free(&middle);
    fixture_free(&root);
    key_free(key);
}

/* Name constraints: `permitted` and `excluded` are subtrees, `san` the names below a SEQUENCE header. */
static int constrain(void **state, const char *constraints, size_t constraints_length, const char *san,
                     size_t san_length, const char *subject)
{
    const struct fixture_extension ca[] = {FIXTURE_EXT_CA,
                                           FIXTURE_EXT_CERT_SIGN,
                                           {OID_NAME_CONSTRAINTS, 3, true, constraints, constraints_length}},
                                   names = {OID_SUBJECT_ALT_NAME, 3, true, san, san_length};
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {.subject = "ca", .issuer = "ca", .extensions = ca, .extension_count = 3};
    struct fixture_certificate root = fixture_make(*state, &raw, key, key);
    struct fixture_raw leaf_raw = {
        .subject = subject, .issuer = "ca", .extensions = &names, .extension_count = 1};
    struct fixture_certificate leaf = fixture_make(*state, &leaf_raw, key, key);
    struct path_result result;
    enum path_check check = verify(&leaf.x509, NONE, LIST(&root.x509), &result);
    assert_true(check == PATH_OK || check == PATH_NAME_FORBIDDEN);
    fixture_free(&leaf);
    fixture_free(&root);
    key_free(key);
    return check == PATH_OK;
}

static void name_constraints(void **state)
{
    /* One subtree of kind and text: SEQUENCE { [0 or 1] { SEQUENCE { [kind] text } } }. */
    static const struct {
        char list; /* 'p'ermitted or 'e'xcluded */
        enum general_name_type kind;
        const char *base;
        size_t base_length;
        enum general_name_type name_kind;
        const char *name;
        size_t name_length;
        bool allowed;
    } cases[] = {
#define CASE(list, kind, base, name_kind, name, allowed)                            \
    {list, GENERAL_NAME_##kind, base,   sizeof(base) - 1, GENERAL_NAME_##name_kind, \
     name, sizeof(name) - 1,    allowed}
        /* The old Consul root: a DNS constraint says nothing about URIs. */
        CASE('p', DNS, "td.consul", URI, "spiffe://td.consul/ns/default/dc/dc1/svc/web", true),
        CASE('p', DNS, "td.consul", URI, "spiffe://evil.example/x", true),
        CASE('p', DNS, "td.consul", DNS, "td.consul", true),
        CASE('p', DNS, "td.consul", DNS, "web.TD.consul", true),
        CASE('p', DNS, "td.consul", DNS, "xtd.consul", false),
        CASE('p', DNS, "td.consul", DNS, "consul", false),
        CASE('p', DNS, ".td.consul", DNS, "td.consul", false),
        CASE('p', DNS, ".td.consul", DNS, "a.td.consul", true),
        CASE('p', DNS, "", DNS, "anything", true),
        CASE('p', DNS, "a.example", DNS, "*.example", false),
        CASE('e', DNS, "a.example", DNS, "*.example", false),
        CASE('e', DNS, "a.example", DNS, "*.other", true),
        CASE('e', DNS, "example", DNS, "a.example", false),
        CASE('e', DNS, "example", DNS, "a.example.", false),
        CASE('e', DNS, "example", DNS, "example.org", true),
        CASE('p', URI, "td.consul", URI, "spiffe://td.consul/svc/web", true),
        CASE('p', URI, "td.consul", URI, "spiffe://TD.consul", true),
        CASE('p', URI, "td.consul", URI, "spiffe://a.td.consul/svc/web", false),
        CASE('p', URI, ".consul", URI, "spiffe://td.consul/svc/web", true),
        CASE('p', URI, "td.consul", URI, "spiffe://evil.example/td.consul", false),
        CASE('p', URI, "td.consul", URI, "spiffe://td.consul@evil.example/x", false),
        CASE('p', URI, "td.consul", URI, "spiffe://u@td.consul:8080/x", true),
        CASE('p', URI, "td.consul", URI, "spiffe:td.consul", false),
        CASE('e', URI, "evil.example", URI, "spiffe://evil.example/x", false),
        CASE('e', URI, "evil.example", URI, "spiffe://10.0.0.1/x", false),
        CASE('e', URI, "evil.example", URI, "urn:uuid:1", false),
        CASE('e', URI, "evil.example", URI, "spiffe://td.consul/x", true),
        CASE('p', EMAIL, "example.com", EMAIL, "a@example.com", true),
        CASE('p', EMAIL, "example.com", EMAIL, "a@b.example.com", false),
        CASE('p', EMAIL, ".example.com", EMAIL, "a@b.example.com", true),
        CASE('p', EMAIL, "a@example.com", EMAIL, "a@EXAMPLE.com", true),
        CASE('p', EMAIL, "a@example.com", EMAIL, "A@example.com", false),
        CASE('e', EMAIL, "example.com", EMAIL, "not-an-address", false),
        CASE('p', IP, "\x0a\x00\x00\x00\xff\x00\x00\x00", IP, "\x0a\x01\x02\x03", true),
        CASE('p', IP, "\x0a\x00\x00\x00\xff\x00\x00\x00", IP, "\x0b\x01\x02\x03", false),
        CASE('p', IP, "\x0a\x00\x00\x00\xff\x00\x00\x00", IP, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", false),
        CASE('e', IP, "\x0a\x00\x00\x00\xff\x00\x00\x00", IP, "\x0a\x01\x02\x03", false),
        CASE('e', IP, "\x0a\x00\x00\x00\xff\x00\x00\x00", DNS, "a.example", true),
        CASE('e', OTHER, "\x06\x01\x2a", OTHER, "\x06\x01\x2b", false),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct der_writer writer;
        uint8_t *constraints, *san;
        size_t constraints_size, san_size;
        bool constructed = cases[i].kind == GENERAL_NAME_OTHER;
        struct general_name name = {cases[i].name_kind, der_slice(cases[i].name, cases[i].name_length)};
        der_writer_init(&writer);
        der_write_tlv(&writer,
                      (uint8_t)(constructed ? DER_CONTEXT_CONSTRUCTED(cases[i].kind)
                                            : DER_CONTEXT(cases[i].kind)),
                      cases[i].base, cases[i].base_length);
        der_write_header(&writer, DER_SEQUENCE, 0);
        der_write_header(&writer,
                         cases[i].list == 'p' ? DER_CONTEXT_CONSTRUCTED(0) : DER_CONTEXT_CONSTRUCTED(1), 0);
        der_write_header(&writer, DER_SEQUENCE, 0);
        assert_int_equal(der_writer_take(&writer, &constraints, &constraints_size, "test", NULL), 0);
        general_names_write(&writer, &name, 1);
        assert_int_equal(der_writer_take(&writer, &san, &san_size, "test", NULL), 0);
        int allowed = constrain(state, (char *)constraints, constraints_size, (char *)san, san_size, NULL);
        if (allowed != cases[i].allowed)
            fail_msg("case %zu (%s, %s): %d", i, cases[i].base, cases[i].name, allowed);
        free(constraints);
        free(san);
    }
}

static void directory_name_constraints(void **state)
{
    /* permitted: directoryName CN=Web One, as PrintableString */
    static const char constraints[] =
        "\x30\x1a\xa0\x18\x30\x16\xa4\x14\x30\x12\x31\x10\x30\x0e\x06\x03\x55\x04\x03"
        "\x13\x07Web One",
                      san[] = "\x30\x03\x82\x01x";
    assert_true(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, "Web One"));
    assert_true(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, " web   ONE "));
    assert_true(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, NULL));
    assert_false(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, "Web Two"));
    assert_false(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, "WebOne"));
    assert_false(constrain(state, constraints, sizeof constraints - 1, san, sizeof san - 1, "Web One2"));
}

static void malformed_constraints(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        int expected;
    } cases[] = {
        {"\x30\x09\xa0\x07\x30\x05\x82\x03"
         "a.b",
         11, 0},
        {"\x30\x00", 2, ERROR_INVALID},
        {"\x30\x02\xa0\x00", 4, ERROR_INVALID},
        /* minimum 0 written out, minimum 1 */
        {"\x30\x0c\xa0\x0a\x30\x08\x82\x03"
         "a.b\x80\x01\x01",
         14, ERROR_INVALID},
        /* a mask with a hole */
        {"\x30\x0e\xa0\x0c\x30\x0a\x87\x08\x0a\x00\x00\x00\xff\x00\xff\x00", 16, ERROR_INVALID},
        {"\x30\x0a\xa0\x08\x30\x06\x87\x04\x0a\x00\x00\x00", 12, ERROR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(name_constraints_check_form(der_slice(cases[i].bytes, cases[i].length)),
                         cases[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaf_under_root),
        cmocka_unit_test(equal_names_without_key_ids),
        cmocka_unit_test(empty_subject_intermediate),
        cmocka_unit_test(cross_signed_root),
        cmocka_unit_test(validity),
        cmocka_unit_test(issuers_must_be_cas),
        cmocka_unit_test(path_lengths),
        cmocka_unit_test(chains_are_bounded),
        cmocka_unit_test(hostile_webs_end),
        cmocka_unit_test(purposes_and_unknown_extensions),
        cmocka_unit_test(name_constraints),
        cmocka_unit_test(directory_name_constraints),
        cmocka_unit_test(malformed_constraints),
    };
    return FIXTURE_RUN(tests);
}

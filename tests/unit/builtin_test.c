/* SPDX-License-Identifier: MIT */
#include "tests/unit/authority_fixture.h"

#include "agent/upstream/builtin.h"

struct heard {
    unsigned changes, contacts;
};

static void changed(void *argument)
{
    ((struct heard *)argument)->changes++;
}

static void contact(void *argument)
{
    ((struct heard *)argument)->contacts++;
}

static struct identity_source *open_source(struct world *w, struct ca_thread *thread, struct heard *heard)
{
    struct identity_source *source;
    world_init(w, thread);
    w->config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    world_start(w);
    assert_int_equal(builtin_source_create(w->authority, "dc1", &source, NULL), 0);
    source->roots_changed = changed;
    source->contact = contact;
    source->argument = heard;
    return source;
}

static struct source_leaf *request(struct world *w, struct identity_source *source, const char *partition,
                                   const char *namespace_name, const char *service)
{
    struct world_outcome outcome = {0};
    struct source_leaf_request wanted = {
        .service = service, .namespace_name = namespace_name, .partition = partition};
    if (source->ops->request_leaf(source, &wanted, world_note_leaf, &outcome, &w->error))
        return NULL;
    world_await(w, &outcome);
    return outcome.leaf;
}

static void names_are_written_as_spiffe_ids(void **state)
{
    static const struct {
        const char *partition, *namespace_name, *service, *path;
    } cases[] = {
        {"default", "default", "web", "/ns/default/dc/dc1/svc/web"},
        {NULL, NULL, "web", "/ns/default/dc/dc1/svc/web"},
        {"", "", "web", "/ns/default/dc/dc1/svc/web"},
        {"p", "n", "web", "/ap/p/ns/n/dc/dc1/svc/web"},
        {"default", "default", "A b*%\xc3\xa9:@", "/ns/default/dc/dc1/svc/A%20b%2A%25%C3%A9:@"},
    };
    static const char *const refused[] = {"a/b", "..", "."};
    struct world w;
    struct heard heard = {0};
    struct identity_source *source = open_source(&w, *state, &heard);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source_leaf *leaf =
            request(&w, source, cases[i].partition, cases[i].namespace_name, cases[i].service);
        assert_non_null(leaf);
        assert_int_equal(strncmp(leaf->uri, "spiffe://" FIXTURE_TRUST_DOMAIN, 52), 0);
        assert_string_equal(leaf->uri + 52, cases[i].path);
        source_leaf_free(leaf);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_null(request(&w, source, NULL, NULL, refused[i]));
    assert_null(request(&w, source, "a/b", NULL, "web"));
    assert_null(request(&w, source, NULL, "a/b", "web"));
    assert_null(request(&w, source, NULL, NULL, ""));
    assert_string_equal(w.error.text, "URI must be either service, agent, server, or kind");
    char *endless = calloc(1, 5000);
    memset(endless, 'x', 4999);
    assert_null(request(&w, source, NULL, NULL, endless));
    assert_int_equal(w.error.code, ERROR_LIMIT);
    free(endless);
    source->ops->close(source);
    world_end(&w);
}

static void leaves_turn_stale_with_the_root(void **state)
{
    struct world w;
    struct heard heard = {0};
    struct identity_source *source = open_source(&w, *state, &heard);
    assert_string_equal(source->ops->name, "consul");
    assert_int_equal(source->ops->leaf_ttl_sec(source), 72 * 3600);
    struct source_leaf *leaf = request(&w, source, NULL, NULL, "web");
    assert_true(source->ops->leaf_is_current(source, leaf->issuer_key_id, leaf->issuer_key_id_size));
    const struct source_roots *roots = source->ops->roots(source);
    assert_int_equal(leaf->roots_index, roots->index);
    assert_string_equal(roots->trust_domain, FIXTURE_TRUST_DOMAIN);
    world_change(&w, "{\"PrivateKeyBits\":384}");
    assert_int_equal(heard.changes, 1);
    assert_int_equal(source->ops->roots(source)->count, 2);
    assert_false(source->ops->leaf_is_current(source, leaf->issuer_key_id, leaf->issuer_key_id_size));
    source_leaf_free(leaf);
    builtin_source_tick(source);
    assert_int_equal(heard.contacts, 1);
    source->ops->close(source);
    world_end(&w);
}

static void describes_without_secrets(void **state)
{
    struct world w;
    struct heard heard = {0};
    struct identity_source *source = open_source(&w, *state, &heard);
    struct json_writer writer;
    json_writer_init(&writer, 0);
    json_begin_object(&writer);
    source->ops->describe(source, &writer);
    json_end_object(&writer);
    char *text = json_take(&writer, &(size_t){0});
    assert_non_null(text);
    assert_non_null(strstr(text, "\"TrustDomain\":\"" FIXTURE_TRUST_DOMAIN "\""));
    assert_null(strstr(text, "PRIVATE"));
    free(text);
    struct identity_source *bad;
    assert_int_equal(builtin_source_create(w.authority, "a/b", &bad, NULL), ERROR_INVALID);
    source->ops->close(source);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_written_as_spiffe_ids),
        cmocka_unit_test(leaves_turn_stale_with_the_root),
        cmocka_unit_test(describes_without_secrets),
    };
    return FIXTURE_RUN(tests);
}

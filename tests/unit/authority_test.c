/* SPDX-License-Identifier: MIT */
#include "tests/unit/authority_fixture.h"

#include <sys/wait.h>

enum { DAY = 86400, HOUR = 3600 };

/* A leaf's parts, parsed. */
struct parsed {
    struct x509 leaf, intermediates[4];
    size_t count;
};

static void parse_chain(struct parsed *parsed, const struct source_leaf *leaf)
{
    struct der_cursor chain = der_cursor(der_slice(leaf->chain_der, leaf->chain_der_size));
    struct der_slice one;
    assert_int_equal(der_expect_whole(&chain, DER_SEQUENCE, &one), 0);
    assert_int_equal(one.length, leaf->leaf_der_size);
    assert_int_equal(x509_parse(&parsed->leaf, one.data, one.length, NULL), 0);
    for (parsed->count = 0; !der_at_end(&chain); parsed->count++) {
        assert_int_equal(der_expect_whole(&chain, DER_SEQUENCE, &one), 0);
        assert_int_equal(x509_parse(&parsed->intermediates[parsed->count], one.data, one.length, NULL), 0);
    }
}

/* Our own path builder and openssl must agree. */
static bool verifies(const struct world *w, const struct source_leaf *leaf, const char *root_pem)
{
    struct parsed parsed;
    struct x509 root;
    const struct x509 *anchor = &root, *intermediates[4];
    uint8_t *der;
    size_t size;
    parse_chain(&parsed, leaf);
    for (size_t i = 0; i < parsed.count; i++)
        intermediates[i] = &parsed.intermediates[i];
    assert_int_equal(pem_decode_only(root_pem, strlen(root_pem), PEM_CERTIFICATE, &der, &size, NULL), 0);
    assert_int_equal(x509_parse(&root, der, size, NULL), 0);
    struct path_request request = {.leaf = &parsed.leaf,
                                   .intermediates = intermediates,
                                   .intermediate_count = parsed.count,
                                   .anchors = &anchor,
                                   .anchor_count = 1,
                                   .now = w->now,
                                   .purpose = PATH_PURPOSE_SERVER};
    bool fine = path_verify(&request, NULL, NULL) == 0;
    free(der);
    assert_int_equal(world_openssl_verifies(w, leaf->chain_pem, root_pem), fine);
    return fine;
}

static void assert_sorted(const struct world *w)
{
    const struct source_roots *roots = authority_roots(w->authority);
    size_t active = 0;
    for (size_t i = 0; i < roots->count; i++) {
        active += roots->roots[i].active;
        assert_true(i == 0 || strcmp(roots->roots[i - 1].id, roots->roots[i].id) < 0);
    }
    assert_int_equal(active, 1);
}

static void bootstraps_and_reloads(void **state)
{
    struct world w;
    char id[64], cluster[64];
    world_init(&w, *state);
    world_start(&w);
    const struct source_root *root = world_root(&w);
    assert_int_equal(authority_roots(w.authority)->count, 1);
    assert_string_equal(root->name, "Consul CA Primary Cert");
    assert_string_equal(root->external_trust_domain, authority_cluster_id(w.authority));
    assert_string_equal(root->key_type, "ec");
    assert_int_equal(root->key_bits, 256);
    assert_int_equal(root->not_before, w.now);
    assert_int_equal(root->not_after, w.now + 87600LL * HOUR);
    assert_int_equal(root->serial_number, 1);
    assert_int_equal(root->intermediate_count, 0);
    assert_int_equal(root->create_index, authority_roots(w.authority)->index);
    assert_int_equal(strlen(root->id), 59);
    snprintf(id, sizeof id, "%s", root->id);
    snprintf(cluster, sizeof cluster, "%s", authority_cluster_id(w.authority));
    assert_int_equal(strlen(cluster), 36);
    assert_int_equal(cluster[14], '4');
    struct source_leaf *leaf = world_leaf(&w);
    assert_true(verifies(&w, leaf, root->pem));
    w.now += HOUR;
    world_restart(&w);
    assert_string_equal(world_root(&w)->id, id);
    assert_string_equal(authority_cluster_id(w.authority), cluster);
    assert_int_equal(authority_roots(w.authority)->index, world_root(&w)->create_index);
    assert_true(authority_is_signing_key(w.authority, leaf->issuer_key_id, leaf->issuer_key_id_size));
    assert_true(verifies(&w, leaf, world_root(&w)->pem));
    source_leaf_free(leaf);
    world_end(&w);
}

static void leaf_has_consuls_profile(void **state)
{
    struct world w;
    struct world_outcome outcome = {0};
    struct parsed parsed;
    const char *dns[] = {"web.example:8080", "", "web.example", "other.example"},
               *ip[] = {"127.0.0.1", "::1"};
    world_init(&w, *state);
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    world_start(&w);
    struct authority_leaf_request request = {
        .uri = FIXTURE_LEAF_URI, .dns = dns, .dns_count = 4, .ip = ip, .ip_count = 2};
    assert_string_equal(authority_trust_domain(w.authority), FIXTURE_TRUST_DOMAIN);
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcome, NULL), 0);
    world_await(&w, &outcome);
    struct source_leaf *leaf = outcome.leaf;
    parse_chain(&parsed, leaf);
    assert_true(parsed.leaf.subject_is_empty && parsed.leaf.san_extension.critical);
    assert_int_equal(parsed.leaf.dns_count, 2);
    assert_int_equal(parsed.leaf.ip_count, 2);
    assert_int_equal(parsed.leaf.uri_count, 1);
    assert_int_equal(parsed.leaf.not_before, w.now - 60);
    assert_int_equal(parsed.leaf.not_after, w.now - 60 + 72 * HOUR);
    assert_int_equal(leaf->not_after, parsed.leaf.not_after);
    assert_string_equal(leaf->uri, FIXTURE_LEAF_URI);
    assert_int_equal(leaf->roots_index, authority_roots(w.authority)->index);
    assert_non_null(strstr(leaf->key_pem, "-----BEGIN EC PRIVATE KEY-----"));
    struct key *sec1, *pkcs8;
    assert_int_equal(key_import_pem(*state, leaf->key_pem, strlen(leaf->key_pem), &sec1, NULL), 0);
    assert_int_equal(key_import_der(*state, leaf->key_der, leaf->key_der_size, &pkcs8, NULL), 0);
    assert_true(der_equal(key_public(sec1)->spki, parsed.leaf.public_key.spki));
    assert_true(der_equal(key_public(pkcs8)->spki, parsed.leaf.public_key.spki));
    key_free(sec1);
    key_free(pkcs8);
    source_leaf_free(leaf);

    ip[1] = "nonsense";
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcome, &w.error),
                     ERROR_INVALID);
    request.ip_count = 1;
    request.uri = "spiffe://" FIXTURE_TRUST_DOMAIN ".evil/ns/default/dc/dc1/svc/web";
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcome, &w.error),
                     ERROR_INVALID);
    world_end(&w);
}

static void serials_rise_over_restarts(void **state)
{
    struct world w;
    uint64_t last = 1; /* the root's */
    world_init(&w, *state);
    world_start(&w);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            struct source_leaf *leaf = world_leaf(&w);
            assert_int_equal(world_serial(leaf), last + 1);
            last++;
            source_leaf_free(leaf);
        }
        world_restart(&w);
    }
    assert_int_equal(authority_rotate(w.authority, false, world_note, &(struct world_outcome){0}, NULL), 0);
    world_restart(&w); /* whatever became of it */
    struct source_leaf *leaf = world_leaf(&w);
    assert_true(world_serial(leaf) > last);
    source_leaf_free(leaf);
    world_end(&w);
}

static void settings_change_without_rotation(void **state)
{
    struct world w;
    char id[64];
    world_init(&w, *state);
    world_start(&w);
    char *shown = world_shown(&w);
    assert_string_equal(
        shown, "{\"Provider\":\"consul\",\"Config\":{\"IntermediateCertTTL\":\"8760h\",\"LeafCertTTL\":"
               "\"72h\",\"RootCertTTL\":\"87600h\"},\"State\":null,\"ForceWithoutCrossSigning\":false,"
               "\"CreateIndex\":101,\"ModifyIndex\":101}");
    free(shown);
    snprintf(id, sizeof id, "%s", world_root(&w)->id);
    world_change(&w,
                 "{\"leafcertttl\":\"1h30m\",\"Unknown\":{\"a\":[1,true,null]},\"CSRMaxPerSecond\":\"10\"}");
    assert_string_equal(world_root(&w)->id, id);
    assert_int_equal(w.changes, 2);
    assert_int_equal(authority_leaf_ttl_sec(w.authority), 5400);
    assert_int_equal(authority_roots(w.authority)->index, 102);
    assert_int_equal(world_root(&w)->modify_index, 101);
    struct source_leaf *leaf = world_leaf(&w);
    assert_int_equal(leaf->not_after - leaf->not_before, 5400);
    source_leaf_free(leaf);
    /* The same again is no change, however it is spelled. */
    world_change(
        &w, " {\"CSRMaxPerSecond\" : \"10\", \"leafcertttl\":\"1h30m\",\"Unknown\":{\"a\":[1,true,null]}}");
    assert_int_equal(w.changes, 2);
    world_restart(&w);
    assert_int_equal(authority_leaf_ttl_sec(w.authority), 5400);
    shown = world_shown(&w);
    assert_string_equal(
        shown, "{\"Provider\":\"consul\",\"Config\":{\"CSRMaxPerSecond\":\"10\",\"IntermediateCertTTL\":"
               "\"8760h0m0s\",\"Unknown\":{\"a\":[1,true,null]},\"leafcertttl\":\"1h30m\"},\"State\":"
               "null,\"ForceWithoutCrossSigning\":false,\"CreateIndex\":101,\"ModifyIndex\":102}");
    free(shown);
    world_end(&w);
}

static void refuses_bad_settings(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"{\"LeafCertTTL\":\"1m\"}",
         "error configuring provider: leaf cert TTL must be greater or equal than 1h0m0s"},
        {"{\"PrivateKeyType\":\"rsa\"}",
         "error configuring provider: RSA key length must be 2048 or 4096 bits"},
        {"{\"PrivateKeyType\":\"dsa\"}",
         "error configuring provider: private key type must be either 'ec' or 'rsa'"},
        {"{\"RootCert\":\"x\"}",
         "error configuring provider: must provide a private key when providing a root cert"},
        {"{\"LeafCertTTL\":true}", "error configuring provider: LeafCertTTL: a duration expected"},
        {"{\"LeafCertTTL\":\"72h\",\"leafCertTTL\":\"72h\"}", "given twice"},
        {"[]", "an object expected"},
        {"{", "CA configuration"},
        {"{\"PrivateKey\":\"nonsense\"}", "PrivateKey"},
        {"{\"PrivateKey\":\"(kept by the agent)\"}", "was not given by configuration"},
    };
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(world_set_config(&w, cases[i].json, false), 0);
        if (!strstr(w.error.text, cases[i].text))
            fail_msg("%s", w.error.text);
    }
    struct authority_change change = {.provider = "vault", .config_json = "{}", .config_json_size = 2};
    struct world_outcome outcome = {0};
    assert_int_equal(authority_set_config(w.authority, &change, world_note, &outcome, &w.error),
                     ERROR_INVALID);
    assert_string_equal(w.error.text, "could not initialize provider: unknown CA provider \"vault\"");
    change.provider = "consul";
    change.modify_index = 7;
    assert_int_equal(authority_set_config(w.authority, &change, world_note, &outcome, &w.error), 0);
    /* One at a time. */
    struct world_outcome second = {0};
    assert_int_equal(authority_set_config(w.authority, &change, world_note, &second, &w.error), ERROR_BUSY);
    assert_string_equal(w.error.text, "CA is already in state \"RECONFIGURING\"");
    assert_int_equal(authority_rotate(w.authority, false, world_note, &second, &w.error), ERROR_BUSY);
    world_await(&w, &outcome);
    assert_int_equal(outcome.code, ERROR_CONFLICT);
    assert_string_equal(outcome.text, "ModifyIndex did not match existing");
    assert_false(second.over);
    assert_int_equal(w.changes, 1);
    world_end(&w);
}

/* Rotates through kinds of keys: the old root stays, cross-signs, and everything verifies. */
static void rotates_with_cross_signing(void **state)
{
    static const struct {
        const char *json, *type;
        unsigned bits;
    } kinds[] = {
        {"{\"PrivateKeyType\":\"ec\",\"PrivateKeyBits\":384}", "ec", 384},
        {"{\"PrivateKeyType\":\"rsa\",\"PrivateKeyBits\":2048}", "rsa", 2048},
        {"{\"PrivateKeyType\":\"ec\",\"PrivateKeyBits\":521}", "ec", 521},
        {"{}", "ec", 256},
    };
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *old_pem = strdup(world_root(&w)->pem), *old_id = strdup(world_root(&w)->id);
        struct source_leaf *before = world_leaf(&w);
        w.now += HOUR;
        world_change(&w, kinds[i].json);
        assert_sorted(&w);
        assert_int_equal(authority_roots(w.authority)->count, i + 2);
        const struct source_root *root = world_root(&w);
        assert_string_equal(root->key_type, kinds[i].type);
        assert_int_equal(root->key_bits, kinds[i].bits);
        assert_int_equal(root->intermediate_count, 1);
        assert_int_equal(root->create_index, authority_roots(w.authority)->index);
        for (size_t j = 0; j < i + 2; j++) {
            const struct source_root *other = &authority_roots(w.authority)->roots[j];
            if (strcmp(other->id, old_id) == 0)
                assert_int_equal(other->rotated_out_at, w.now);
        }
        assert_false(
            authority_is_signing_key(w.authority, before->issuer_key_id, before->issuer_key_id_size));
        struct source_leaf *leaf = world_leaf(&w);
        assert_true(verifies(&w, leaf, root->pem));
        assert_true(verifies(&w, leaf, old_pem));
        assert_true(verifies(&w, before, old_pem));
        assert_false(verifies(&w, before, root->pem));
        struct parsed parsed;
        parse_chain(&parsed, leaf);
        assert_int_equal(parsed.count, 1);
        assert_int_equal(parsed.intermediates[0].not_before, w.now - 60);
        assert_int_equal(parsed.intermediates[0].not_after, w.now - 60 + 7 * DAY);
        source_leaf_free(before);
        source_leaf_free(leaf);
        free(old_pem);
        free(old_id);
        world_restart(&w);
        assert_int_equal(world_root(&w)->intermediate_count, 1);
    }
    world_end(&w);
}

static void rotates_without_cross_signing(void **state)
{
    struct world w;
    struct world_outcome outcome = {0};
    world_init(&w, *state);
    world_start(&w);
    char *old_pem = strdup(world_root(&w)->pem);
    assert_int_equal(authority_rotate(w.authority, true, world_note, &outcome, NULL), 0);
    world_await(&w, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(world_root(&w)->intermediate_count, 0);
    struct source_leaf *leaf = world_leaf(&w);
    assert_true(verifies(&w, leaf, world_root(&w)->pem));
    assert_false(verifies(&w, leaf, old_pem));
    source_leaf_free(leaf);
    free(old_pem);
    world_end(&w);
}

/* A change that the store refuses (here: a serial number is taken) leaves everything as it was. */
static void nothing_changes_unless_durable(void **state)
{
    struct world w;
    struct world_outcome stored = {0}, outcome = {0};
    world_init(&w, *state);
    world_start(&w);
    struct source_leaf *leaf = world_leaf(&w);
    char *id = strdup(world_root(&w)->id);
    struct store_batch *batch = store_batch_new();
    uint8_t serial = (uint8_t)(world_serial(leaf) + 2); /* the cross-signed certificate's */
    store_add_certificate(batch, &(struct store_certificate){
                                     .issuer_key_id = {leaf->issuer_key_id, leaf->issuer_key_id_size},
                                     .serial = {&serial, 1},
                                     .kind = "cross",
                                 });
    store_submit(w.store, batch, world_note, &stored);
    world_await(&w, &stored);
    assert_int_equal(stored.code, 0);
    assert_int_equal(world_set_config(&w, "{\"LeafCertTTL\":\"1h\",\"PrivateKeyBits\":384}", false),
                     ERROR_CONFLICT);
    assert_string_equal(world_root(&w)->id, id);
    assert_int_equal(authority_roots(w.authority)->count, 1);
    assert_int_equal(authority_leaf_ttl_sec(w.authority), 72 * HOUR);
    assert_int_equal(w.changes, 1);
    assert_true(authority_is_signing_key(w.authority, leaf->issuer_key_id, leaf->issuer_key_id_size));
    /* The next one has another serial; before it is durable nobody sees it. */
    assert_int_equal(authority_rotate(w.authority, false, world_note, &outcome, NULL), 0);
    while (!outcome.over) {
        assert_int_equal(authority_roots(w.authority)->count, 1);
        assert_int_equal(w.changes, 1);
        mailbox_wait(&w.answers);
        mailbox_run(&w.answers);
    }
    assert_int_equal(outcome.code, 0);
    assert_int_equal(authority_roots(w.authority)->count, 2);
    assert_int_equal(w.changes, 2);
    source_leaf_free(leaf);
    free(id);
    world_end(&w);
}

static bool has_root(const struct world *w, const char *id)
{
    const struct source_roots *roots = authority_roots(w->authority);
    for (size_t i = 0; i < roots->count; i++)
        if (strcmp(roots->roots[i].id, id) == 0)
            return true;
    return false;
}

/* A tick and everything that it submits. */
static void tick(struct world *w)
{
    struct world_outcome outcome = {0};
    authority_tick(w->authority);
    store_submit(w->store, store_batch_new(), world_note, &outcome);
    world_await(w, &outcome);
}

static void prunes_when_nothing_alive_is_left(void **state)
{
    struct world w;
    struct world_outcome outcome = {0};
    world_init(&w, *state);
    world_start(&w);
    char *id = strdup(world_root(&w)->id);
    w.now += 10 * DAY;
    assert_int_equal(authority_rotate(w.authority, false, world_note, &outcome, NULL), 0);
    world_await(&w, &outcome);
    int64_t rotated = w.now;
    w.now = rotated + 6 * DAY;
    tick(&w);
    assert_true(has_root(&w, id)); /* exactly 2 x 72h are not more */
    w.now++;
    tick(&w);
    assert_false(has_root(&w, id));
    assert_int_equal(world_root(&w)->intermediate_count, 1);
    uint64_t index = authority_roots(w.authority)->index;
    w.now = rotated + 7 * DAY; /* the cross-signed one began a minute earlier */
    struct source_leaf *leaf = world_leaf(&w);
    assert_int_equal(leaf->chain_der_size, leaf->leaf_der_size); /* it is left out at once */
    assert_null(strstr(strstr(leaf->chain_pem, "-----END"), "-----BEGIN"));
    source_leaf_free(leaf);
    tick(&w);
    assert_int_equal(world_root(&w)->intermediate_count, 0);
    assert_true(authority_roots(w.authority)->index > index);
    assert_int_equal(world_root(&w)->modify_index, authority_roots(w.authority)->index);
    index = authority_roots(w.authority)->index;
    tick(&w);
    assert_int_equal(authority_roots(w.authority)->index, index);
    world_restart(&w);
    assert_false(has_root(&w, id));
    assert_int_equal(authority_roots(w.authority)->index, index);
    free(id);
    world_end(&w);
}

static void a_living_leaf_keeps_its_root(void **state)
{
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    char *id = strdup(world_root(&w)->id);
    world_change(&w, "{\"LeafCertTTL\":\"240h\"}");
    struct source_leaf *leaf = world_leaf(&w);
    int64_t end = leaf->not_after;
    source_leaf_free(leaf);
    world_change(&w, "{\"LeafCertTTL\":\"1h\",\"PrivateKeyBits\":384}");
    w.now += 3 * HOUR;
    tick(&w);
    assert_true(has_root(&w, id));
    world_restart(&w);
    w.now = end;
    tick(&w);
    assert_true(has_root(&w, id));
    w.now = end + 1;
    tick(&w);
    assert_false(has_root(&w, id));
    free(id);
    world_end(&w);
}

static int start_with(struct world *w, const char *key_pem, const char *root_pem)
{
    w->config.private_key = (char *)key_pem;
    w->config.root_cert = (char *)root_pem;
    return world_try_start(w);
}

static void imports_a_root(void **state)
{
    struct world w;
    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "given");
    char *key_pem = world_key_pem(root.key), *root_pem = world_pem(&root);
    world_init(&w, *state);
    assert_int_equal(start_with(&w, key_pem, root_pem), 0);
    assert_string_equal(authority_trust_domain(w.authority), FIXTURE_TRUST_DOMAIN); /* taken over */
    assert_string_equal(world_root(&w)->pem, root_pem);
    assert_int_equal(world_root(&w)->serial_number, 7);
    struct source_leaf *leaf = world_leaf(&w);
    assert_true(verifies(&w, leaf, root_pem));
    assert_true(world_serial(leaf) > 1000000); /* above whatever the key has signed elsewhere */
    source_leaf_free(leaf);
    char *shown = world_shown(&w), *described = world_described(&w);
    assert_non_null(strstr(shown, "\"PrivateKey\":\"(kept by the agent)\""));
    assert_null(strstr(shown, "PRIVATE KEY"));
    assert_null(strstr(described, "PRIVATE KEY"));
    free(described);
    free(shown);
    assert_int_equal(authority_rotate(w.authority, false, world_note, NULL, &w.error), ERROR_CONFLICT);
    world_restart(&w);
    /* What was shown, put back, changes nothing; neither does the key itself. */
    char *kept = world_key_config(AUTHORITY_KEPT_SECRET, root_pem),
         *given = world_key_config(key_pem, root_pem);
    char *alone = world_key_config(AUTHORITY_KEPT_SECRET, NULL);
    world_change(&w, kept);
    world_change(&w, given);
    world_change(&w, alone);
    assert_int_equal(authority_roots(w.authority)->count, 1);
    /* Without it a key is generated. */
    world_change(&w, "{}");
    assert_int_equal(authority_roots(w.authority)->count, 2);
    assert_string_not_equal(world_root(&w)->pem, root_pem);
    /* And back: the root that was rotated out is the active one again. */
    world_change(&w, given);
    assert_int_equal(authority_roots(w.authority)->count, 2);
    assert_string_equal(world_root(&w)->pem, root_pem);
    assert_int_equal(world_root(&w)->rotated_out_at, 0);
    world_restart(&w);
    assert_string_equal(world_root(&w)->pem, root_pem);
    free(alone);
    free(kept);
    free(given);
    world_end(&w);
    free(key_pem);
    free(root_pem);
    fixture_free(&root);
}

static void imports_a_key_alone(void **state)
{
    struct world w;
    struct key *key = fixture_key(*state, KEY_TYPE_RSA, 2048);
    char *pem = world_key_pem(key);
    uint8_t *id;
    world_init(&w, *state);
    assert_int_equal(start_with(&w, pem, NULL), 0);
    struct source_leaf *leaf = world_leaf(&w);
    id = leaf->issuer_key_id;
    assert_memory_equal(id, key_id(key), KEY_ID_BYTES);
    assert_string_equal(world_root(&w)->key_type, "rsa");
    assert_true(verifies(&w, leaf, world_root(&w)->pem));
    source_leaf_free(leaf);
    world_end(&w);
    free(pem);
    key_free(key);
}

static void refused(struct ca_thread *thread, const char *key_pem, const char *root_pem, const char *why)
{
    struct world w;
    world_init(&w, thread);
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    assert_int_not_equal(start_with(&w, key_pem, root_pem), 0);
    if (!strstr(w.error.text, why))
        fail_msg("%s", w.error.text);
    assert_int_equal(authority_roots(w.authority)->count, 0);
    world_stop(&w);
    /* Nothing was left behind: without the bad root it starts. */
    assert_int_equal(start_with(&w, NULL, NULL), 0);
    /* At run time the same is refused, and the root stays. */
    char *config = world_key_config(key_pem, root_pem), *id = strdup(world_root(&w)->id);
    assert_int_not_equal(world_set_config(&w, config, false), 0);
    if (!strstr(w.error.text, why))
        fail_msg("%s", w.error.text);
    assert_string_equal(world_root(&w)->id, id);
    struct source_leaf *leaf = world_leaf(&w);
    source_leaf_free(leaf);
    free(id);
    free(config);
    world_end(&w);
}

/* GeneralNames with the one URI of the cluster. */
static const char san[] = "\x30\x36\x86\x34spiffe://" FIXTURE_TRUST_DOMAIN;
_Static_assert(sizeof "spiffe://" FIXTURE_TRUST_DOMAIN - 1 == 0x34, "the lengths in `san`");

static void refuse_raw(struct ca_thread *thread, const struct fixture_extension *extensions, size_t count,
                       const char *why)
{
    struct key *key = fixture_key(thread, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {
        .subject = "x", .issuer = "x", .extensions = extensions, .extension_count = count};
    struct fixture_certificate certificate = fixture_make(thread, &raw, key, key);
    char *key_pem = world_key_pem(key), *root_pem = world_pem(&certificate);
    refused(thread, key_pem, root_pem, why);
    free(key_pem);
    free(root_pem);
    fixture_free(&certificate);
    key_free(key);
}

static void refuses_bad_roots(void **state)
{
    const struct fixture_extension name = {OID_SUBJECT_ALT_NAME, sizeof OID_SUBJECT_ALT_NAME - 1, false, san,
                                           sizeof san - 1};
    const struct fixture_extension no_ca[] = {name},
                                   no_sign[] = {FIXTURE_EXT_CA,
                                                FIXTURE_EXTENSION(OID_KEY_USAGE, true, FIXTURE_KU_DIGITAL),
                                                name},
                                   no_name[] = {FIXTURE_EXT_CA, FIXTURE_EXT_CERT_SIGN};
    refuse_raw(*state, no_ca, 1, "not a CA certificate");
    refuse_raw(*state, no_sign, 3, "keyCertSign");
    refuse_raw(*state, no_name, 2, "not exactly one URI name");

    struct fixture_certificate root = fixture_root(*state, KEY_TYPE_EC, 256, "given");
    struct key *other = fixture_key(*state, KEY_TYPE_EC, 256);
    char *key_pem = world_key_pem(root.key), *other_pem = world_key_pem(other), *root_pem = world_pem(&root);
    refused(*state, other_pem, root_pem, "do not belong together");
    refused(*state, NULL, root_pem, "must provide a private key when providing a root cert");
    refused(*state, key_pem, key_pem, "RootCert");

    struct certificate_terms terms = {
        .serial = 3, .not_before = FIXTURE_NOW - 9, .not_after = FIXTURE_NOW - 1};
    struct fixture_certificate old = {0}, foreign = {0};
    assert_int_equal(certificate_make_root(*state, root.key, "old", "spiffe://" FIXTURE_TRUST_DOMAIN, &terms,
                                           &old.der, &old.size, NULL),
                     0);
    char *old_pem = world_pem(&old);
    refused(*state, key_pem, old_pem, "RootCert has expired");
    terms = fixture_terms(4);
    assert_int_equal(certificate_make_root(*state, root.key, "foreign",
                                           "spiffe://22222222-2222-3333-4444-555555555555.consul", &terms,
                                           &foreign.der, &foreign.size, NULL),
                     0);
    char *foreign_pem = world_pem(&foreign);
    refused(*state, key_pem, foreign_pem, "where this cluster needs");
    free(foreign_pem);
    free(old_pem);
    fixture_free(&foreign);
    fixture_free(&old);
    free(key_pem);
    free(other_pem);
    free(root_pem);
    key_free(other);
    fixture_free(&root);
}

static void cannot_cross_sign_beyond_its_path_length(void **state)
{
    const struct fixture_extension extensions[] = {
        FIXTURE_EXTENSION(OID_BASIC_CONSTRAINTS, true, FIXTURE_CA_PATHLEN0),
        FIXTURE_EXT_CERT_SIGN,
        {OID_SUBJECT_ALT_NAME, sizeof OID_SUBJECT_ALT_NAME - 1, false, san, sizeof san - 1},
    };
    struct world w;
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    struct fixture_raw raw = {.subject = "x", .issuer = "x", .extensions = extensions, .extension_count = 3};
    struct fixture_certificate root = fixture_make(*state, &raw, key, key);
    char *key_pem = world_key_pem(key), *root_pem = world_pem(&root);
    world_init(&w, *state);
    assert_int_equal(start_with(&w, key_pem, root_pem), 0);
    /* It has no SKI: the key's id takes its place, in leaves and in what readers see. */
    struct source_leaf *leaf = world_leaf(&w);
    char hex[X509_ID_TEXT_BYTES];
    x509_colon_hex(leaf->issuer_key_id, leaf->issuer_key_id_size, hex);
    assert_string_equal(world_root(&w)->signing_key_id, hex);
    assert_true(authority_is_signing_key(w.authority, leaf->issuer_key_id, leaf->issuer_key_id_size));
    source_leaf_free(leaf);
    assert_int_not_equal(world_set_config(&w, "{}", false), 0);
    assert_non_null(strstr(w.error.text, "ForceWithoutCrossSigning"));
    assert_int_equal(world_set_config(&w, "{}", true), 0);
    assert_int_equal(world_root(&w)->intermediate_count, 0);
    world_end(&w);
    free(key_pem);
    free(root_pem);
    fixture_free(&root);
    key_free(key);
}

static void the_file_decides_once(void **state)
{
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    char *cluster = strdup(authority_cluster_id(w.authority));
    w.config.leaf_cert_ttl_ns /= 2;
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    world_restart(&w);
    assert_int_equal(authority_leaf_ttl_sec(w.authority), 72 * HOUR);
    assert_string_equal(authority_cluster_id(w.authority), cluster);
    free(cluster);
    world_end(&w);
}

static void limits_the_rate(void **state)
{
    struct world w;
    struct world_outcome outcomes[10] = {0};
    unsigned limited = 0;
    world_init(&w, *state);
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    w.config.csr_max_per_second = 0.001;
    world_start(&w);
    struct authority_leaf_request request = {.uri = FIXTURE_LEAF_URI};
    for (size_t i = 0; i < 10; i++) {
        if (authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[i], &w.error) == 0) {
            world_await(&w, &outcomes[i]);
            assert_int_equal(outcomes[i].code, 0);
            source_leaf_free(outcomes[i].leaf);
            continue;
        }
        assert_int_equal(w.error.code, ERROR_BUSY);
        assert_string_equal(w.error.text, "Rate limit reached, try again later");
        limited++;
    }
    assert_int_equal(limited, 9);
    request.unlimited = true;
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[9], NULL), 0);
    world_await(&w, &outcomes[9]);
    source_leaf_free(outcomes[9].leaf);
    /* By number instead. */
    world_change(&w, "{\"CSRMaxPerSecond\":0,\"CSRMaxConcurrent\":1}");
    memset(outcomes, 0, sizeof outcomes);
    request.unlimited = false;
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[0], NULL), 0);
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[1], NULL),
                     ERROR_BUSY);
    world_await(&w, &outcomes[0]);
    assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[1], NULL), 0);
    world_await(&w, &outcomes[1]);
    source_leaf_free(outcomes[0].leaf);
    source_leaf_free(outcomes[1].leaf);
    world_end(&w);
}

static void an_expired_root_signs_nothing(void **state)
{
    struct world w;
    struct world_outcome outcome = {0};
    world_init(&w, *state);
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    world_start(&w);
    struct authority_leaf_request request = {.uri = FIXTURE_LEAF_URI};
    w.now = world_root(&w)->not_after + 1;
    assert_int_not_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcome, &w.error), 0);
    assert_string_equal(w.error.text,
                        "root expired: certificate expired, expiration date: 2035-06-13 15:06:40 +0000 UTC ");
    assert_int_not_equal(authority_crl(w.authority, NULL, 0, DAY, NULL, NULL, &w.error), 0);
    /* The way out is a new root, without a cross-signature that nobody could use. */
    assert_int_equal(authority_rotate(w.authority, false, world_note, &outcome, NULL), 0);
    world_await(&w, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(world_root(&w)->intermediate_count, 0);
    struct source_leaf *leaf = world_leaf(&w);
    assert_true(verifies(&w, leaf, world_root(&w)->pem));
    source_leaf_free(leaf);
    world_end(&w);
}

static void note_crl(void *argument, uint8_t *der, size_t size, const struct error *error)
{
    struct world_outcome *outcome = argument;
    world_note(outcome, error);
    outcome->crl = der;
    outcome->crl_size = size;
}

static void makes_revocation_lists(void **state)
{
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    for (unsigned round = 1; round <= 3; round++) {
        struct source_leaf *leaf = world_leaf(&w);
        struct crl_entry entry = {der_slice(leaf->serial, leaf->serial_size), w.now, CRL_KEY_COMPROMISE}, is;
        struct world_outcome outcome = {0};
        assert_int_equal(authority_crl(w.authority, &entry, 1, DAY, note_crl, &outcome, NULL), 0);
        world_await(&w, &outcome);
        assert_int_equal(outcome.code, 0);
        struct crl crl;
        assert_int_equal(crl_parse(&crl, outcome.crl, outcome.crl_size, NULL), 0);
        assert_int_equal(crl.entry_count, 1);
        assert_true(crl.number.length == 1 && crl.number.data[0] == round);
        struct der_cursor entries = crl_entries(&crl);
        assert_true(crl_next(&entries, &is) && der_equal(is.serial, entry.serial));
        char *pem, list[128], root[128], command[500];
        assert_int_equal(pem_encode(PEM_CRL, outcome.crl, outcome.crl_size, &pem, NULL, NULL), 0);
        world_write(&w, "list.pem", pem, list);
        world_write(&w, "root.pem", world_root(&w)->pem, root);
        snprintf(command, sizeof command, "openssl crl -in %s -CAfile %s -noout 2>&1 | grep -q 'verify OK'",
                 list, root);
        assert_int_equal(system(command), 0);
        free(pem);
        free(outcome.crl);
        source_leaf_free(leaf);
        world_restart(&w);
    }
    world_end(&w);
}

/* ---- Keys at rest ---- */

/* Whether the store's files hold this key's scalar, as bytes or as text. */
static bool key_lies_open(const struct world *w, const struct key *key, const char *pem)
{
    struct der_slice secret = key_secret(key);
    const char *base64 = strchr(pem, '\n') + 1; /* the second half of the first line is the scalar's */
    return world_store_has(w, secret.data, secret.length) || world_store_has(w, base64 + 20, 40);
}

static struct keywrap *wrap(uint8_t seed)
{
    uint8_t secret[32];
    struct keywrap *keywrap = NULL;
    memset(secret, seed, sizeof secret);
    assert_int_equal(keywrap_from_secret(secret, sizeof secret, &keywrap, NULL), 0);
    return keywrap;
}

static void keys_are_sealed_at_rest(void **state)
{
    struct world w;
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    char *pem = world_key_pem(key);
    world_init(&w, *state);
    /* Without a keywrap the key is there to be found: the search can fail. */
    assert_int_equal(start_with(&w, pem, NULL), 0);
    assert_true(key_lies_open(&w, key, pem));
    assert_false(world_store_has(&w, "PRIVATE KEY", 11));
    /* From the next start with one it is sealed, and what was there is gone. */
    world_stop(&w);
    w.keywrap = wrap(1);
    world_start(&w);
    world_stop(&w);
    assert_false(key_lies_open(&w, key, pem));
    struct keywrap *right = w.keywrap;
    w.keywrap = NULL;
    assert_int_equal(world_try_start(&w), ERROR_DENIED);
    assert_non_null(strstr(w.error.text, "key_file"));
    world_stop(&w);
    w.keywrap = wrap(2);
    assert_int_equal(world_try_start(&w), ERROR_DENIED);
    world_stop(&w);
    keywrap_free(w.keywrap);
    w.keywrap = right;
    world_start(&w);
    struct source_leaf *leaf = world_leaf(&w);
    assert_memory_equal(leaf->issuer_key_id, key_id(key), KEY_ID_BYTES);
    source_leaf_free(leaf);
    /* A key that comes by configuration at run time leaves no trace either. */
    struct key *next = fixture_key(*state, KEY_TYPE_EC, 256);
    char *next_pem = world_key_pem(next), *config = world_key_config(next_pem, NULL);
    world_change(&w, config);
    assert_false(key_lies_open(&w, next, next_pem));
    world_stop(&w);
    assert_false(key_lies_open(&w, next, next_pem));
    world_start(&w);
    leaf = world_leaf(&w);
    assert_memory_equal(leaf->issuer_key_id, key_id(next), KEY_ID_BYTES);
    source_leaf_free(leaf);
    free(config);
    free(next_pem);
    key_free(next);
    free(pem);
    key_free(key);
    world_end(&w);
}

static void the_old_key_is_deleted(void **state)
{
    struct world w;
    struct key *key = fixture_key(*state, KEY_TYPE_EC, 256);
    char *pem = world_key_pem(key);
    world_init(&w, *state);
    assert_int_equal(start_with(&w, pem, NULL), 0);
    world_change(&w, "{}");
    world_stop(&w);
    assert_false(key_lies_open(&w, key, pem));
    world_start(&w);
    free(pem);
    key_free(key);
    world_end(&w);
}

/* ---- Dying in between ---- */

enum death { DEATH_AFTER_BEGIN, DEATH_AFTER_SIGNING, DEATH_AFTER_STORING, DEATH_COUNT };

/* Begins a rotation and dies at that point, in a process of its own. */
static void rotate_and_die(struct world *w, enum death death)
{
    struct world_outcome outcome = {0};
    world_start(w);
    if (authority_rotate(w->authority, false, world_note, &outcome, NULL))
        _exit(1);
    while (death == DEATH_AFTER_SIGNING && worker_pool_load(w->workers)) {
        mailbox_wait(&w->answers);
        mailbox_run(&w->answers);
    }
    if (death == DEATH_AFTER_STORING)
        world_await(w, &outcome);
    _exit(0);
}

static void survives_death_in_between(void **state)
{
    struct world w;
    world_init(&w, *state);
    world_start(&w);
    for (int death = 0; death < DEATH_COUNT; death++) {
        int status = -1;
        char *before = strdup(world_root(&w)->id);
        size_t count = authority_roots(w.authority)->count;
        struct source_leaf *first = world_leaf(&w);
        world_stop(&w);
        pid_t child = fork();
        if (child == 0)
            rotate_and_die(&w, (enum death)death);
        assert_true(child > 0 && waitpid(child, &status, 0) == child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        w.index += 10;
        world_start(&w);
        bool rotated = strcmp(world_root(&w)->id, before) != 0;
        if (death != DEATH_AFTER_SIGNING) /* then the store may have been quicker, or not */
            assert_int_equal(rotated, death == DEATH_AFTER_STORING);
        assert_int_equal(authority_roots(w.authority)->count, count + rotated);
        if (rotated)
            assert_int_equal(world_root(&w)->intermediate_count, 1);
        assert_sorted(&w);
        struct source_leaf *leaf = world_leaf(&w);
        assert_true(world_serial(leaf) > world_serial(first));
        assert_true(verifies(&w, leaf, world_root(&w)->pem));
        source_leaf_free(first);
        source_leaf_free(leaf);
        free(before);
    }
    world_end(&w);
}

static void closing_answers_what_is_outstanding(void **state)
{
    struct world w;
    struct world_outcome outcomes[20] = {0};
    world_init(&w, *state);
    w.config.cluster_id = (char[]){WORLD_CLUSTER_ID};
    world_start(&w);
    struct authority_leaf_request request = {.uri = FIXTURE_LEAF_URI, .unlimited = true};
    for (size_t i = 0; i < 19; i++)
        assert_int_equal(authority_sign_leaf(w.authority, &request, world_note_leaf, &outcomes[i], NULL), 0);
    assert_int_equal(authority_rotate(w.authority, false, world_note, &outcomes[19], NULL), 0);
    world_stop(&w);
    for (size_t i = 0; i < 20; i++) {
        assert_true(outcomes[i].over);
        assert_true(outcomes[i].code == 0 || outcomes[i].code == ERROR_BUSY);
        source_leaf_free(outcomes[i].leaf);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstraps_and_reloads),
        cmocka_unit_test(leaf_has_consuls_profile),
        cmocka_unit_test(serials_rise_over_restarts),
        cmocka_unit_test(settings_change_without_rotation),
        cmocka_unit_test(refuses_bad_settings),
        cmocka_unit_test(rotates_with_cross_signing),
        cmocka_unit_test(rotates_without_cross_signing),
        cmocka_unit_test(nothing_changes_unless_durable),
        cmocka_unit_test(prunes_when_nothing_alive_is_left),
        cmocka_unit_test(a_living_leaf_keeps_its_root),
        cmocka_unit_test(imports_a_root),
        cmocka_unit_test(imports_a_key_alone),
        cmocka_unit_test(refuses_bad_roots),
        cmocka_unit_test(cannot_cross_sign_beyond_its_path_length),
        cmocka_unit_test(the_file_decides_once),
        cmocka_unit_test(limits_the_rate),
        cmocka_unit_test(an_expired_root_signs_nothing),
        cmocka_unit_test(makes_revocation_lists),
        cmocka_unit_test(keys_are_sealed_at_rest),
        cmocka_unit_test(the_old_key_is_deleted),
        cmocka_unit_test(survives_death_in_between),
        cmocka_unit_test(closing_answers_what_is_outstanding),
    };
    return FIXTURE_RUN(tests);
}

/* SPDX-License-Identifier: MIT */
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/wait.h>

#define BLOB(...)                                                              \
    (struct store_blob)                                                        \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }
static const uint64_t HUGE_INTEGER = UINT64_MAX - 6;
static const int64_t TIME = 1700000000;

static void assert_blob(struct store_blob is, struct store_blob should)
{
    assert_int_equal(is.size, should.size);
    if (is.size)
        assert_memory_equal(is.data, should.data, is.size);
}

/* Compares structs without padding surprises: every member by name. */
#define ASSERT_TEXT(member)    assert_string_equal(is->member, should->member)
#define ASSERT_INTEGER(member) assert_true(is->member == should->member)
#define ASSERT_BLOB(member)    assert_blob(is->member, should->member)

static struct store_root example_root(void)
{
    static struct store_blob intermediates[3];
    intermediates[0] = (struct store_blob){(const uint8_t *)"zz", 2};
    intermediates[1] = (struct store_blob){(const uint8_t *)"a\0b", 3};
    intermediates[2] = (struct store_blob){(const uint8_t *)"m", 1};
    return (struct store_root){
        .id = "aa:bb",
        .name = "Root \"one\" \xc3\xa9",
        .der = {(const uint8_t *)"\x30\x00\xff", 3},
        .pem_chain = "-----BEGIN\n-----END\n",
        .serial_number = HUGE_INTEGER,
        .signing_key_id = "01:02",
        .external_trust_domain = "td",
        .not_before = -5,
        .not_after = TIME,
        .key_type = "ec",
        .key_bits = 256,
        .active = true,
        .rotated_out_at = TIME + 1,
        .intermediates = intermediates,
        .intermediate_count = 3,
        .create_index = 1ULL << 63,
        .modify_index = HUGE_INTEGER,
    };
}

static struct store_leaf example_leaf(void)
{
    return (struct store_leaf){
        .service = "web",
        .sealed = true,
        .key = {(const uint8_t *)"key", 3},
        .chain = {(const uint8_t *)"chain\0chain", 11},
        .uri = "spiffe://td/web",
        .not_before = 1,
        .not_after = 2,
        .serial = {(const uint8_t *)"\x00\x01", 2},
        .issuer_key_id = {(const uint8_t *)"\xfe", 1},
        .version = HUGE_INTEGER,
        .create_index = 3,
        .modify_index = 4,
        .requested = true,
        .last_used = 5,
    };
}

static struct store_intention example_intention(const char *source)
{
    return (struct store_intention){
        .key = {"p1", "n1", "db", "p2", "n2", source, "peer"},
        .action = "allow",
        .permissions_json = "[{}]",
        .permission_count = 1,
        .description = "why",
        .meta_json = "{\"a\":\"b\"}",
        .legacy_id = "",
        .created_at = 10,
        .updated_at = 11,
        .precedence = 9,
        .create_index = 12,
        .modify_index = 13,
    };
}

static unsigned rows;

static int is_example_root(void *argument, const struct store_root *is, struct error *error)
{
    (void)error;
    const struct store_root *should = argument;
    ASSERT_TEXT(id);
    ASSERT_TEXT(name);
    ASSERT_BLOB(der);
    ASSERT_TEXT(pem_chain);
    ASSERT_INTEGER(serial_number);
    ASSERT_TEXT(signing_key_id);
    ASSERT_TEXT(external_trust_domain);
    ASSERT_INTEGER(not_before);
    ASSERT_INTEGER(not_after);
    ASSERT_TEXT(key_type);
    ASSERT_INTEGER(key_bits);
    ASSERT_INTEGER(active);
    ASSERT_INTEGER(rotated_out_at);
    ASSERT_INTEGER(intermediate_count);
    for (size_t i = 0; i < is->intermediate_count; i++)
        ASSERT_BLOB(intermediates[i]);
    ASSERT_INTEGER(create_index);
    ASSERT_INTEGER(modify_index);
    rows++;
    return 0;
}

static int is_example_leaf(void *argument, const struct store_leaf *is, struct error *error)
{
    (void)error;
    const struct store_leaf *should = argument;
    ASSERT_TEXT(service);
    ASSERT_INTEGER(sealed);
    ASSERT_BLOB(key);
    ASSERT_BLOB(chain);
    ASSERT_TEXT(uri);
    ASSERT_INTEGER(not_before);
    ASSERT_INTEGER(not_after);
    ASSERT_BLOB(serial);
    ASSERT_BLOB(issuer_key_id);
    ASSERT_INTEGER(version);
    ASSERT_INTEGER(create_index);
    ASSERT_INTEGER(modify_index);
    ASSERT_INTEGER(requested);
    ASSERT_INTEGER(last_used);
    rows++;
    return 0;
}

static int is_example_intention(void *argument, const struct store_intention *is, struct error *error)
{
    (void)error;
    const struct store_intention *should = argument;
    ASSERT_TEXT(key.destination_partition);
    ASSERT_TEXT(key.destination_namespace);
    ASSERT_TEXT(key.destination_name);
    ASSERT_TEXT(key.source_partition);
    ASSERT_TEXT(key.source_namespace);
    ASSERT_TEXT(key.source_name);
    ASSERT_TEXT(key.source_peer);
    ASSERT_TEXT(action);
    ASSERT_TEXT(permissions_json);
    ASSERT_INTEGER(permission_count);
    ASSERT_TEXT(description);
    ASSERT_TEXT(meta_json);
    ASSERT_TEXT(legacy_id);
    ASSERT_INTEGER(created_at);
    ASSERT_INTEGER(updated_at);
    ASSERT_INTEGER(precedence);
    ASSERT_INTEGER(create_index);
    ASSERT_INTEGER(modify_index);
    rows++;
    return 0;
}

static int is_example_key(void *argument, const struct store_ca_key *is, struct error *error)
{
    (void)error;
    const struct store_ca_key *should = argument;
    ASSERT_TEXT(key_id);
    ASSERT_INTEGER(sealed);
    ASSERT_BLOB(key);
    rows++;
    return 0;
}

static int is_example_config(void *argument, const struct store_ca_config *is, struct error *error)
{
    (void)error;
    const struct store_ca_config *should = argument;
    ASSERT_TEXT(provider);
    ASSERT_TEXT(config_json);
    ASSERT_TEXT(state_json);
    ASSERT_INTEGER(force_without_cross_signing);
    ASSERT_INTEGER(create_index);
    ASSERT_INTEGER(modify_index);
    rows++;
    return 0;
}

static int is_example_certificate(void *argument, const struct store_certificate *is, struct error *error)
{
    (void)error;
    const struct store_certificate *should = argument;
    ASSERT_BLOB(issuer_key_id);
    ASSERT_BLOB(serial);
    ASSERT_TEXT(kind);
    ASSERT_TEXT(subject_uri);
    ASSERT_TEXT(service);
    ASSERT_INTEGER(not_before);
    ASSERT_INTEGER(not_after);
    ASSERT_INTEGER(issued_at);
    rows++;
    return 0;
}

static int is_example_revocation(void *argument, const struct store_revocation *is, struct error *error)
{
    (void)error;
    const struct store_revocation *should = argument;
    ASSERT_BLOB(issuer_key_id);
    ASSERT_BLOB(serial);
    ASSERT_INTEGER(reason);
    ASSERT_INTEGER(revoked_at);
    ASSERT_INTEGER(expires_at);
    ASSERT_INTEGER(create_index);
    rows++;
    return 0;
}

struct wanted {
    const char *key;
    bool found;
    uint64_t integer;
    char text[32];
};

static int find_meta(void *argument, const struct store_meta *row, struct error *error)
{
    (void)error;
    struct wanted *wanted = argument;
    if (strcmp(row->key, wanted->key) == 0) {
        wanted->found = true;
        wanted->integer = row->integer;
        snprintf(wanted->text, sizeof wanted->text, "%s", row->text ? row->text : "");
    }
    return 0;
}

static struct wanted meta(struct fixture *f, const char *key)
{
    struct wanted wanted = {.key = key};
    assert_int_equal(store_load_meta(f->store, find_meta, &wanted, &f->error), 0);
    return wanted;
}

static void reopen(struct fixture *f)
{
    must_close(f);
    must_open(f);
}

static void every_row_survives(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_root root = example_root();
    struct store_leaf leaf = example_leaf();
    struct store_intention intention = example_intention("web");
    struct store_ca_key key = {"k1", true, BLOB(1, 0, 2)};
    struct store_ca_config config = {"builtin", "{\"a\":1}", "{}", true, 7, HUGE_INTEGER};
    struct store_certificate certificate = {BLOB(9, 9), BLOB(0, 1), "cross", "spiffe://x",
                                            "web",      -1,         TIME,    TIME - 1};
    struct store_revocation revocation = {{NULL, 0}, BLOB(5), 4, TIME, 0, HUGE_INTEGER};
    struct store_batch *batch = store_batch_new();
    store_put_root(batch, &root);
    store_put_leaf(batch, &leaf);
    store_put_intention(batch, &intention);
    store_put_ca_key(batch, &key);
    store_put_ca_config(batch, &config);
    store_add_certificate(batch, &certificate);
    store_put_revocation(batch, &revocation);
    put_number(batch, "next_serial", HUGE_INTEGER);
    store_put_meta(batch, &(struct store_meta){.key = "cluster_id", .text = "1234"});
    assert_int_equal(submit_and_wait(f, batch), 0);
    reopen(f);
    rows = 0;
    assert_int_equal(store_load_roots(f->store, is_example_root, &root, &f->error), 0);
    assert_int_equal(store_load_leaves(f->store, is_example_leaf, &leaf, &f->error), 0);
    assert_int_equal(store_load_intentions(f->store, is_example_intention, &intention, &f->error), 0);
    assert_int_equal(store_load_ca_keys(f->store, is_example_key, &key, &f->error), 0);
    assert_int_equal(store_load_ca_config(f->store, is_example_config, &config, &f->error), 0);
    assert_int_equal(store_load_certificates(f->store, is_example_certificate, &certificate, &f->error), 0);
    assert_int_equal(store_load_revocations(f->store, is_example_revocation, &revocation, &f->error), 0);
    assert_int_equal(rows, 7);
    assert_true(meta(f, "next_serial").integer == HUGE_INTEGER);
    assert_string_equal(meta(f, "cluster_id").text, "1234");
}

static void a_put_replaces_the_row(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_root root = example_root();
    struct store_leaf leaf = example_leaf();
    struct store_intention intention = example_intention("web");
    struct store_ca_config config = {"builtin", "{}", "{}", false, 1, 1};
    for (int round = 0; round < 2; round++) {
        struct store_batch *batch = store_batch_new();
        store_put_root(batch, &root);
        store_put_leaf(batch, &leaf);
        store_put_intention(batch, &intention);
        store_put_ca_config(batch, &config);
        put_number(batch, "n", (uint64_t)round);
        assert_int_equal(submit_and_wait(f, batch), 0);
        root.intermediate_count = 1;
        root.active = false;
        leaf.version = 1;
        intention.action = "deny";
        config.provider = "vault";
    }
    root = example_root();
    root.intermediate_count = 1;
    root.active = false;
    reopen(f);
    rows = 0;
    assert_int_equal(store_load_roots(f->store, is_example_root, &root, &f->error), 0);
    assert_int_equal(store_load_leaves(f->store, is_example_leaf, &leaf, &f->error), 0);
    assert_int_equal(store_load_intentions(f->store, is_example_intention, &intention, &f->error), 0);
    assert_int_equal(store_load_ca_config(f->store, is_example_config, &config, &f->error), 0);
    assert_int_equal(rows, 4);
    assert_int_equal(meta(f, "n").integer, 1);
}

static int count_root(void *argument, const struct store_root *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static int count_leaf(void *argument, const struct store_leaf *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static int count_intention(void *argument, const struct store_intention *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static int count_key(void *argument, const struct store_ca_key *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static int count_certificate(void *argument, const struct store_certificate *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static int count_revocation(void *argument, const struct store_revocation *row, struct error *error)
{
    (void)row, (void)error;
    ++*(unsigned *)argument;
    return 0;
}

static void deleted_and_pruned_rows_are_gone(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_root root = example_root();
    struct store_leaf leaf = example_leaf();
    struct store_intention web = example_intention("web"), api = example_intention("api");
    struct store_ca_key key = {"k1", false, BLOB(1)};
    struct store_batch *batch = store_batch_new();
    store_put_root(batch, &root);
    store_put_leaf(batch, &leaf);
    store_put_intention(batch, &web);
    store_put_intention(batch, &api);
    store_put_ca_key(batch, &key);
    put_number(batch, "n", 1);
    for (uint8_t i = 1; i <= 3; i++) {
        store_add_certificate(batch, &(struct store_certificate){.issuer_key_id = BLOB(1),
                                                                 .serial = {&i, 1},
                                                                 .kind = "leaf",
                                                                 .not_after = i});
        store_put_revocation(batch,
                             &(struct store_revocation){.serial = {&i, 1}, .expires_at = i == 3 ? 0 : i});
    }
    store_put_revocation(batch, &(struct store_revocation){.issuer_key_id = BLOB(7), .serial = BLOB(1)});
    assert_int_equal(submit_and_wait(f, batch), 0);
    batch = store_batch_new();
    store_delete_root(batch, root.id);
    store_delete_leaf(batch, leaf.service);
    store_delete_intention(batch, &web.key);
    store_delete_ca_key(batch, key.key_id);
    store_delete_meta(batch, "n");
    store_prune_certificates(batch, 3);               /* 1 and 2 go */
    store_prune_revocations(batch, 2);                /* 1 goes, 3 never expires */
    store_delete_revocation(batch, BLOB(7), BLOB(1)); /* goes */
    store_delete_revocation(batch, BLOB(7), BLOB(2)); /* another issuer's: stays */
    store_delete_leaf(batch, "never was");
    assert_int_equal(submit_and_wait(f, batch), 0);
    reopen(f);
    unsigned roots = 0, leaves = 0, intentions = 0, keys = 0, certificates = 0, revocations = 0;
    assert_int_equal(store_load_roots(f->store, count_root, &roots, &f->error), 0);
    assert_int_equal(store_load_leaves(f->store, count_leaf, &leaves, &f->error), 0);
    assert_int_equal(store_load_intentions(f->store, count_intention, &intentions, &f->error), 0);
    assert_int_equal(store_load_ca_keys(f->store, count_key, &keys, &f->error), 0);
    assert_int_equal(store_load_certificates(f->store, count_certificate, &certificates, &f->error), 0);
    assert_int_equal(store_load_revocations(f->store, count_revocation, &revocations, &f->error), 0);
    assert_int_equal(roots + leaves + keys, 0);
    assert_int_equal(intentions, 1);
    assert_int_equal(certificates, 1);
    assert_int_equal(revocations, 2);
    assert_false(meta(f, "n").found);
}

static int stop_loading(void *argument, const struct store_meta *row, struct error *error)
{
    (void)row;
    ++*(unsigned *)argument;
    return error_set(error, ERROR_LIMIT, "enough");
}

static void a_load_ends_when_told_to(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_batch *batch = store_batch_new();
    put_number(batch, "a", 1);
    put_number(batch, "b", 2);
    assert_int_equal(submit_and_wait(f, batch), 0);
    unsigned calls = 0;
    assert_int_equal(store_load_meta(f->store, stop_loading, &calls, &f->error), ERROR_INVALID);
    assert_int_equal(calls, 0); /* it is running */
    reopen(f);
    assert_int_equal(store_load_meta(f->store, stop_loading, &calls, &f->error), ERROR_LIMIT);
    assert_int_equal(calls, 1);
    assert_string_equal(f->error.text, "enough");
}

/* Keeps the store's thread inside one mail until the test lets it go: whatever is submitted meanwhile waits.
 */
struct gate {
    struct mail mail;
    sem_t entered, open;
};

static void pass_gate(struct mail *mail)
{
    struct gate *gate = caa_container_of(mail, struct gate, mail);
    sem_post(&gate->entered);
    sem_wait(&gate->open);
}

static void hold(struct fixture *f, struct gate *gate)
{
    gate->mail.run = pass_gate;
    sem_init(&gate->entered, 0, 0);
    sem_init(&gate->open, 0, 0);
    mailbox_post(&f->store->mailbox, &gate->mail);
    sem_wait(&gate->entered);
}

enum { MANY = 200 };
static unsigned answered;

static void in_order(void *argument, const struct error *error)
{
    assert_null(error);
    assert_int_equal(*(unsigned *)argument, answered);
    answered++;
}

static void waiting_batches_share_a_commit_and_keep_their_order(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct gate gate;
    unsigned numbers[MANY];
    hold(f, &gate);
    answered = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct store_batch *batch = store_batch_new();
        put_number(batch, "last", i);
        numbers[i] = i;
        store_submit(f->store, batch, in_order, &numbers[i]);
    }
    assert_int_equal(mailbox_run(&f->answers), 0); /* nothing is acknowledged before it is durable */
    assert_int_equal(store_commit_count(f->store), 0);
    sem_post(&gate.open);
    while (answered < MANY) {
        mailbox_wait(&f->answers);
        mailbox_run(&f->answers);
    }
    assert_int_equal(store_commit_count(f->store), 1);
    reopen(f);
    assert_int_equal(meta(f, "last").integer, MANY - 1);
}

static void submit_certificate(struct fixture *f, uint8_t serial, const char *kind, struct outcome *outcome)
{
    struct store_batch *batch = store_batch_new();
    char key[16];
    snprintf(key, sizeof key, "before%u", serial);
    put_number(batch, key, serial);
    store_add_certificate(
        batch, &(struct store_certificate){.issuer_key_id = BLOB(1), .serial = {&serial, 1}, .kind = kind});
    key[0] = 'B'; /* after the change that may fail */
    put_number(batch, key, serial);
    *outcome = (struct outcome){0};
    store_submit(f->store, batch, note_outcome, outcome);
}

static void a_bad_batch_fails_alone(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct outcome outcomes[5];
    submit_certificate(f, 1, "leaf", &outcomes[0]);
    assert_int_equal(await(f, &outcomes[0]), 0);
    struct gate gate;
    hold(f, &gate);
    submit_certificate(f, 2, "leaf", &outcomes[0]);
    submit_certificate(f, 1, "leaf", &outcomes[1]);
    submit_certificate(f, 3, "leaf", &outcomes[2]);
    submit_certificate(f, 4, "poem", &outcomes[3]);
    submit_certificate(f, 5, "leaf", &outcomes[4]);
    struct store_batch *spoilt = store_batch_new();
    put_number(spoilt, "spoilt", 1);
    put_number(spoilt, "generation", 1);
    struct outcome spoilt_outcome = {0};
    store_submit(f->store, spoilt, note_outcome, &spoilt_outcome);
    sem_post(&gate.open);
    assert_int_equal(await(f, &spoilt_outcome), ERROR_INVALID);
    static const int expected[] = {0, ERROR_CONFLICT, 0, ERROR_INVALID, 0};
    for (int i = 0; i < 5; i++)
        assert_int_equal(await(f, &outcomes[i]), expected[i]);
    assert_non_null(strstr(outcomes[1].text, "certificate.serial"));
    assert_non_null(strstr(outcomes[1].text, f->file));
    assert_int_equal(store_commit_count(f->store), 2);
    reopen(f);
    assert_true(meta(f, "before2").found && meta(f, "before3").found && meta(f, "before5").found);
    assert_true(meta(f, "Before2").found);
    assert_false(meta(f, "before4").found || meta(f, "Before4").found); /* nothing of a bad batch remains */
    assert_false(meta(f, "spoilt").found);
}

/* SQLite undoes the transaction by itself when the disk fails, but not for every error. */
static void a_failure_of_the_group_is_undone_and_the_next_one_works(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    sqlite3_finalize(f->store->statements[STATEMENT_META_DELETE]);
    assert_int_equal(sqlite3_prepare_v2(f->store->database, "SELECT abs(-9223372036854775807 - length(?))",
                                        -1, &f->store->statements[STATEMENT_META_DELETE], NULL),
                     SQLITE_OK);
    must_start(f);
    struct gate gate;
    hold(f, &gate);
    struct outcome outcomes[2] = {0};
    struct store_batch *batch = store_batch_new();
    put_number(batch, "innocent", 1);
    store_submit(f->store, batch, note_outcome, &outcomes[0]);
    batch = store_batch_new();
    store_delete_meta(batch, "x"); /* an integer overflow in the statement above */
    store_submit(f->store, batch, note_outcome, &outcomes[1]);
    sem_post(&gate.open);
    assert_int_equal(await(f, &outcomes[0]), ERROR_SYSTEM);
    assert_int_equal(await(f, &outcomes[1]), ERROR_SYSTEM);
    assert_non_null(strstr(outcomes[0].text, "overflow"));
    batch = store_batch_new();
    put_number(batch, "next", 1);
    assert_int_equal(submit_and_wait(f, batch), 0);
    reopen(f);
    assert_true(meta(f, "next").found);
    assert_false(meta(f, "innocent").found);
}

static void a_legacy_id_is_unique(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_intention web = example_intention("web"), api = example_intention("api");
    web.legacy_id = api.legacy_id = "11111111-2222";
    struct store_batch *batch = store_batch_new();
    store_put_intention(batch, &web);
    assert_int_equal(submit_and_wait(f, batch), 0);
    batch = store_batch_new();
    store_put_intention(batch, &api);
    assert_int_equal(submit_and_wait(f, batch), ERROR_CONFLICT);
    batch = store_batch_new();
    store_delete_intention(batch, &web.key);
    store_put_intention(batch, &api);
    assert_int_equal(submit_and_wait(f, batch), 0);
    reopen(f);
    rows = 0;
    assert_int_equal(store_load_intentions(f->store, is_example_intention, &api, &f->error), 0);
    assert_int_equal(rows, 1);
}

static void too_large_a_batch_is_reported_at_submission(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    uint8_t *bytes = calloc(1, STORE_BATCH_LIMIT_BYTES);
    assert_non_null(bytes);
    struct store_batch *batch = store_batch_new();
    put_number(batch, "n", 1);
    store_put_ca_key(batch, &(struct store_ca_key){.key_id = "k", .key = {bytes, STORE_BATCH_LIMIT_BYTES}});
    put_number(batch, "m", 1);
    assert_int_equal(submit_and_wait(f, batch), ERROR_LIMIT);
    store_batch_free(store_batch_new());
    free(bytes);
    reopen(f);
    assert_false(meta(f, "n").found || meta(f, "m").found);
}

static void submit_once_more(void *argument, const struct error *error)
{
    struct fixture *f = argument;
    assert_null(error);
    struct store_batch *batch = store_batch_new();
    put_number(batch, "second", 2);
    store_submit(f->store, batch, NULL, NULL);
}

static void closing_drains_what_done_functions_submit_too(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct store_batch *batch = store_batch_new();
    put_number(batch, "first", 1);
    store_submit(f->store, batch, submit_once_more, f);
    reopen(f);
    assert_true(meta(f, "first").found && meta(f, "second").found);
}

static int open_again(struct fixture *f)
{
    struct store *second = NULL;
    int code = store_open(f->directory, &second, &f->error);
    assert_null(second);
    return code;
}

static void a_second_opener_is_refused(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    assert_int_equal(open_again(f), ERROR_BUSY);
    assert_non_null(strstr(f->error.text, "another agent"));
    assert_non_null(strstr(f->error.text, f->directory));
    pid_t child = fork();
    if (child == 0)
        _exit(open_again(f) == ERROR_BUSY ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    reopen(f); /* the refused ones have not disturbed it */
    must_start(f);
    struct store_batch *batch = store_batch_new();
    put_number(batch, "n", 1);
    assert_int_equal(submit_and_wait(f, batch), 0);
}

static void run_sql(const char *file, const char *sql)
{
    sqlite3 *database;
    assert_int_equal(sqlite3_open(file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void the_generation_rises(void **state)
{
    struct fixture *f = *state;
    uint64_t before = (uint64_t)time(NULL) - 1;
    for (int i = 0; i < 4; i++) {
        must_open(f);
        assert_true(store_generation(f->store) > before);
        before = store_generation(f->store);
        assert_int_equal(meta(f, "generation").integer, before);
        must_close(f);
    }
    /* The clock was set back by a year: it rises all the same. */
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE meta SET value = %llu WHERE key = 'generation'",
             (unsigned long long)before + 365 * 86400);
    run_sql(f->file, sql);
    must_open(f);
    assert_int_equal(store_generation(f->store), before + 365 * 86400 + 1);
    must_close(f);
    /* A backup of long ago was put back: what was counted since then does not come again. */
    run_sql(f->file, "UPDATE meta SET value = 7 WHERE key = 'generation'");
    must_open(f);
    assert_true(store_generation(f->store) + 1 >= (uint64_t)time(NULL));
}

static void a_stranger_in_the_file_is_noticed_and_kept_out(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    sqlite3 *stranger;
    assert_int_equal(sqlite3_open(f->file, &stranger), SQLITE_OK);
    assert_int_equal(sqlite3_exec(stranger, "SELECT * FROM meta", NULL, NULL, NULL), SQLITE_BUSY);
    must_close(f);
    assert_int_equal(sqlite3_exec(stranger, "BEGIN; SELECT * FROM meta", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(open_again(f), ERROR_BUSY);
    assert_non_null(strstr(f->error.text, f->directory));
    sqlite3_close(stranger);
    must_open(f);
}

static void a_newer_schema_is_refused_unchanged(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_close(f);
    run_sql(f->file, "PRAGMA user_version = 99");
    assert_int_equal(open_again(f), ERROR_CONFLICT);
    assert_non_null(strstr(f->error.text, "version 99"));
    assert_int_equal(store_restore_check(f->file, &f->error), ERROR_CONFLICT);
    run_sql(f->file, "PRAGMA user_version = 1");
    must_open(f);
}

static void a_stranger_s_database_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->directory, 0700), 0);
    run_sql(f->file, "CREATE TABLE poems (text)");
    assert_int_equal(chmod(f->file, 0600), 0);
    assert_int_equal(open_again(f), ERROR_CONFLICT);
    assert_non_null(strstr(f->error.text, "another program"));
}

static void scribble(const char *file, off_t offset, size_t size)
{
    uint8_t garbage[8192];
    memset(garbage, 0xa5, sizeof garbage);
    int descriptor = open(file, O_WRONLY);
    assert_true(descriptor >= 0);
    assert_int_equal(pwrite(descriptor, garbage, size, offset), (ssize_t)size);
    close(descriptor);
}

static void a_damaged_file_is_refused_with_a_clear_text(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_close(f);
    scribble(f->file, 2 * 4096, 4096);
    assert_int_equal(open_again(f), ERROR_CORRUPT);
    assert_non_null(strstr(f->error.text, f->file));
    assert_non_null(strstr(f->error.text, "damaged"));
    assert_null(strchr(f->error.text, '\n'));
    assert_int_equal(store_restore_check(f->file, &f->error), ERROR_CORRUPT);
    scribble(f->file, 0, 4096);
    assert_int_equal(open_again(f), ERROR_CORRUPT);
    assert_non_null(strstr(f->error.text, "not a database"));
}

static void wrong_modes_are_reported(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    struct stat status;
    assert_int_equal(stat(f->directory, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    char wal[200];
    snprintf(wal, sizeof wal, "%s-wal", f->file);
    assert_int_equal(stat(f->file, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(stat(wal, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    must_close(f);
    assert_int_equal(chmod(f->directory, 0750), 0);
    assert_int_equal(open_again(f), ERROR_DENIED);
    assert_non_null(strstr(f->error.text, f->directory));
    assert_non_null(strstr(f->error.text, "0750"));
    assert_int_equal(chmod(f->directory, 0700), 0);
    assert_int_equal(chmod(f->file, 0640), 0);
    assert_int_equal(open_again(f), ERROR_DENIED);
    assert_non_null(strstr(f->error.text, f->file));
    assert_int_equal(chmod(f->file, 0600), 0);
    must_open(f);
}

static void an_unusable_directory_is_reported(void **state)
{
    struct fixture *f = *state;
    snprintf(f->directory, sizeof f->directory, "%s/no/such", f->base);
    assert_int_equal(open_again(f), ERROR_SYSTEM);
    assert_non_null(strstr(f->error.text, f->directory));
}

static unsigned entries_of(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2;
}

static void a_backup_is_complete_and_can_take_the_place_of_the_store(void **state)
{
    struct fixture *f = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/backup", f->base);
    must_open(f);
    must_start(f);
    struct gate gate;
    hold(f, &gate); /* the batch below is not committed yet when the backup is asked for */
    struct store_batch *batch = store_batch_new();
    put_number(batch, "n", 7);
    struct store_root root = example_root();
    store_put_root(batch, &root);
    store_submit(f->store, batch, NULL, NULL);
    struct outcome outcome = {0};
    assert_int_equal(store_backup(f->store, path, note_outcome, &outcome, &f->error), 0);
    sem_post(&gate.open);
    assert_int_equal(await(f, &outcome), 0);
    batch = store_batch_new();
    put_number(batch, "n", 8);
    assert_int_equal(submit_and_wait(f, batch), 0);
    must_close(f);

    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(entries_of(f->base), 2); /* the backup and the state directory, no remains */
    assert_int_equal(store_restore_check(path, &f->error), 0);
    assert_int_equal(entries_of(f->base), 2); /* the check changes nothing */
    assert_int_equal(rename(path, f->file), 0);
    must_open(f);
    assert_int_equal(meta(f, "n").integer, 7);
    rows = 0;
    assert_int_equal(store_load_roots(f->store, is_example_root, &root, &f->error), 0);
    assert_int_equal(rows, 1);
}

static void a_backup_that_cannot_be_written_says_so(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    must_start(f);
    struct outcome outcome = {0};
    assert_int_equal(store_backup(f->store, "relative", note_outcome, &outcome, &f->error), ERROR_INVALID);
    assert_int_equal(store_backup(f->store, "/no/such/place", note_outcome, &outcome, &f->error), 0);
    assert_int_equal(await(f, &outcome), ERROR_SYSTEM);
    assert_non_null(strstr(outcome.text, "/no/such/place"));
    outcome.done = false;
    assert_int_equal(store_backup(f->store, f->directory, note_outcome, &outcome, &f->error), 0);
    assert_int_equal(await(f, &outcome), ERROR_SYSTEM); /* a directory cannot be replaced */
    assert_int_equal(entries_of(f->base), 1);
}

static void a_file_that_is_no_backup_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/file", f->base);
    assert_int_equal(store_restore_check(path, &f->error), ERROR_NOT_FOUND);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(store_restore_check(path, &f->error), ERROR_CONFLICT); /* empty: not a backup */
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("not a database at all\n", file);
    fclose(file);
    assert_int_equal(store_restore_check(path, &f->error), ERROR_CORRUPT);
    assert_int_equal(store_restore_check(f->base, &f->error), ERROR_SYSTEM);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_row_survives),
        TEST(a_put_replaces_the_row),
        TEST(deleted_and_pruned_rows_are_gone),
        TEST(a_load_ends_when_told_to),
        TEST(waiting_batches_share_a_commit_and_keep_their_order),
        TEST(a_bad_batch_fails_alone),
        TEST(a_failure_of_the_group_is_undone_and_the_next_one_works),
        TEST(a_legacy_id_is_unique),
        TEST(too_large_a_batch_is_reported_at_submission),
        TEST(closing_drains_what_done_functions_submit_too),
        TEST(the_generation_rises),
        TEST(a_second_opener_is_refused),
        TEST(a_stranger_in_the_file_is_noticed_and_kept_out),
        TEST(a_newer_schema_is_refused_unchanged),
        TEST(a_stranger_s_database_is_refused),
        TEST(a_damaged_file_is_refused_with_a_clear_text),
        TEST(wrong_modes_are_reported),
        TEST(an_unusable_directory_is_reported),
        TEST(a_backup_is_complete_and_can_take_the_place_of_the_store),
        TEST(a_backup_that_cannot_be_written_says_so),
        TEST(a_file_that_is_no_backup_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

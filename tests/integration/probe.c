/* SPDX-License-Identifier: MIT */
/* A client for tests: does one thing with <xylem/xylem.h> and prints one line of JSON an answer.
 *
 *     probe [--lazy] [--stale MS] leaf SERVICE            waits for the leaf (asks for it), prints it
 *     probe authorize TARGET URI [SERIAL-HEX]
 *     probe loop TARGET PEER                              reads lines on standard input; each one is answered with what
 *                                                         the hot path sees then; a thread judges all the while
 * Exit status: 0, 1 denied or not found, 3 cannot attach. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <xylem/xylem.h>

enum { EXIT_NOT_FOUND = 1, EXIT_USAGE = 2, EXIT_NO_AGENT = 3 };

static void print_hex(const char *key, const struct xylem_slice *bytes)
{
    printf("\"%s\": \"", key);
    for (size_t i = 0; i < bytes->size; i++)
        printf("%s%02x", i ? ":" : "", bytes->data[i]);
    printf("\", ");
}

/* PEM and URIs hold nothing that JSON would have to escape but line ends. */
static void print_text(const char *key, const struct xylem_slice *text)
{
    printf("\"%s\": \"", key);
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] == '\n')
            printf("\\n");
        else
            putchar(text->data[i]);
    printf("\", ");
}

static int print_leaf(struct xylem_reader *reader, const char *service)
{
    struct xylem_leaf_view leaf;
    struct xylem_roots_view roots;
    xylem_read_lock(reader);
    int error = xylem_identity(reader, service, &leaf, &roots);
    if (!error) {
        printf("{");
        print_text("uri", &leaf.uri);
        print_hex("serial", &leaf.serial);
        print_text("chain_pem", &leaf.chain_pem);
        print_text("key_pem", &leaf.key_pem);
        print_text("roots_pem", &roots.bundle_pem);
        printf("\"version\": %" PRIu64 ", \"roots_version\": %" PRIu64 ", \"roots_now\": %" PRIu64
               ", \"roots\": %" PRIu32 ", \"expired\": %d, \"not_after\": %" PRId64 "}\n",
               leaf.version, leaf.roots_version, roots.version, roots.count, leaf.expired, leaf.not_after);
    }
    xylem_read_unlock(reader);
    fflush(stdout);
    return error;
}

static int wait_for_leaf(struct xylem_client *client, struct xylem_reader *reader, const char *service)
{
    if (xylem_leaf_version(reader, service) == 0 && xylem_want_leaf(client, service) != XYLEM_OK)
        return -1;
    for (int tries = 0; tries < 50 && xylem_leaf_version(reader, service) == 0; tries++) {
        struct pollfd ready = {.fd = xylem_fd(client), .events = POLLIN};
        poll(&ready, 1, 100);
        xylem_dispatch(client);
    }
    return xylem_leaf_version(reader, service) ? 0 : -1;
}

static int command_leaf(struct xylem_client *client, struct xylem_reader *reader, const char *service)
{
    if (wait_for_leaf(client, reader, service) != 0 || print_leaf(reader, service) != 0) {
        printf("{\"error\": \"NOT_FOUND\"}\n");
        return EXIT_NOT_FOUND;
    }
    return EXIT_SUCCESS;
}

static size_t parse_hex(const char *text, uint8_t *bytes, size_t size)
{
    size_t used = 0;
    unsigned value;
    int taken;
    while (used < size && sscanf(text, "%2x%n", &value, &taken) == 1) {
        bytes[used++] = (uint8_t)value;
        text += taken;
        text += *text == ':';
    }
    return used;
}

static int command_authorize(struct xylem_reader *reader, char **arguments)
{
    uint8_t bytes[32];
    struct xylem_slice serial = {bytes, 0};
    struct xylem_verdict verdict;
    char reason[300];
    if (arguments[2])
        serial.size = parse_hex(arguments[2], bytes, sizeof bytes);
    xylem_read_lock(reader);
    int allow = xylem_authorize(reader, arguments[0], arguments[1], serial.size ? &serial : NULL, &verdict);
    xylem_reason(reader, &verdict, reason, sizeof reason);
    xylem_read_unlock(reader);
    printf("{\"allow\": %s, \"why\": %d, \"reason\": \"%s\", \"precedence\": %d, \"version\": %" PRIu64 "}\n",
           allow ? "true" : "false", verdict.why, reason, verdict.precedence, verdict.policy_version);
    return allow ? EXIT_SUCCESS : EXIT_NOT_FOUND;
}

/* --- loop --- */

static struct xylem_client *loop_client;
static const char *loop_target;
static const char *loop_peer;
static atomic_bool loop_stop;
static atomic_uint_fast64_t loop_verdicts, loop_gaps, loop_expired;

static void *judge(void *argument)
{
    struct xylem_reader *reader;
    (void)argument;
    if (xylem_reader_open(loop_client, &reader) != XYLEM_OK)
        return NULL;
    while (!atomic_load(&loop_stop)) {
        struct xylem_leaf_view leaf;
        struct xylem_roots_view roots;
        xylem_read_lock(reader);
        if (xylem_identity(reader, loop_peer, &leaf, &roots) != XYLEM_OK ||
            roots.version < leaf.roots_version)
            atomic_fetch_add(&loop_gaps, 1);
        else if (leaf.expired)
            atomic_fetch_add(&loop_expired, 1);
        else
            xylem_authorize_der(reader, loop_target, leaf.leaf_der.data, leaf.leaf_der.size, NULL);
        xylem_read_unlock(reader);
        atomic_fetch_add(&loop_verdicts, 1);
    }
    xylem_reader_close(reader);
    return NULL;
}

static void answer(struct xylem_reader *reader, int events)
{
    struct xylem_leaf_view leaf;
    struct xylem_verdict verdict;
    struct xylem_freshness_view freshness;
    char reason[300] = "";
    int allow = 0;
    uint64_t version = 0;
    xylem_freshness(reader, &freshness);
    xylem_read_lock(reader);
    if (xylem_leaf(reader, loop_peer, &leaf) == XYLEM_OK) {
        version = leaf.version;
        allow = xylem_authorize_der(reader, loop_target, leaf.leaf_der.data, leaf.leaf_der.size, &verdict);
        xylem_reason(reader, &verdict, reason, sizeof reason);
    }
    xylem_read_unlock(reader);
    printf("{\"allow\": %s, \"reason\": \"%s\", \"leaf_version\": %" PRIu64 ", \"policy_version\": %" PRIu64
           ", \"attached\": %s, \"superseded\": %s, \"verdicts\": %" PRIuFAST64 ", \"gaps\": %" PRIuFAST64
           ", \"expired\": %" PRIuFAST64 ", \"events\": %d}\n",
           allow ? "true" : "false", reason, version, freshness.policy_version,
           freshness.attached ? "true" : "false", freshness.superseded ? "true" : "false",
           atomic_load(&loop_verdicts), atomic_load(&loop_gaps), atomic_load(&loop_expired), events);
    fflush(stdout);
}

static int command_loop(struct xylem_reader *reader)
{
    pthread_t thread;
    char line[64];
    int events = 0;
    if (wait_for_leaf(loop_client, reader, loop_target) != 0 ||
        wait_for_leaf(loop_client, reader, loop_peer) != 0 || pthread_create(&thread, NULL, judge, NULL) != 0)
        return EXIT_NOT_FOUND;
    answer(reader, 0);
    for (;;) {
        struct pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                  {.fd = xylem_fd(loop_client), .events = POLLIN}};
        poll(ready, 2, -1);
        if (ready[1].revents)
            events |= xylem_dispatch(loop_client);
        if (!ready[0].revents)
            continue;
        if (read(STDIN_FILENO, line, sizeof line) <= 0)
            break;
        answer(reader, events);
        events = 0;
    }
    atomic_store(&loop_stop, true);
    pthread_join(thread, NULL);
    return EXIT_SUCCESS;
}

int main(int count, char **arguments)
{
    struct xylem_options options = {.name = "probe"};
    struct xylem_reader *reader;
    int at = 1;
    for (; at < count && arguments[at][0] == '-'; at++) {
        if (strcmp(arguments[at], "--lazy") == 0)
            options.flags |= XYLEM_OPEN_LAZY;
        else if (strcmp(arguments[at], "--stale") == 0 && at + 1 < count)
            options.max_stale_ms = (uint32_t)strtoul(arguments[++at], NULL, 10);
    }
    if (count - at < 2)
        return EXIT_USAGE;
    int error = xylem_open(&loop_client, &options);
    if (!error)
        error = xylem_reader_open(loop_client, &reader);
    if (error) {
        printf("{\"error\": \"%.*s\"}\n", (int)strcspn(xylem_strerror(error), ":"), xylem_strerror(error));
        return EXIT_NO_AGENT;
    }
    int status = EXIT_USAGE;
    if (strcmp(arguments[at], "leaf") == 0)
        status = command_leaf(loop_client, reader, arguments[at + 1]);
    else if (strcmp(arguments[at], "authorize") == 0 && count - at >= 3)
        status = command_authorize(reader, arguments + at + 1);
    else if (strcmp(arguments[at], "loop") == 0 && count - at >= 3) {
        loop_target = arguments[at + 1];
        loop_peer = arguments[at + 2];
        status = command_loop(reader);
    }
    xylem_reader_close(reader);
    xylem_close(loop_client);
    return status;
}

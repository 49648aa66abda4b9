/* SPDX-License-Identifier: MIT */
/* xylem-demo: what a proxy in front of TARGET does, with nothing but <xylem/xylem.h>.
 *
 * One thread stands for the proxy's hot path: for every connection it would ask "may this peer come in?" and "which
 * certificate do I show?". It runs under SECCOMP_MODE_STRICT, where any system call but read, write and exit kills:
 * that it survives is the proof that there is none. It takes PEER's current certificate for that of the one who
 * knocks, since there is no TLS here. The other thread is the proxy's event loop: it dispatches what the agent has to
 * say, and prints what changed. */
#include <inttypes.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include <xylem/xylem.h>

static const char *target;
static const char *peer;

/* What the hot thread saw last. */
static atomic_bool stopping;
static atomic_uint_fast64_t verdicts;
static atomic_uint_fast64_t unanswered;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void *hot_path(void *argument)
{
    struct xylem_reader *reader;
    if (xylem_reader_open(argument, &reader) != XYLEM_OK ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == -1) {
        perror("xylem-demo: hot path");
        exit(EXIT_FAILURE);
    }
    while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
        struct xylem_leaf_view knocking, own;
        xylem_read_lock(reader);
        if (xylem_leaf(reader, peer, &knocking) != XYLEM_OK || xylem_leaf(reader, target, &own) != XYLEM_OK)
            atomic_fetch_add_explicit(&unanswered, 1, memory_order_relaxed);
        else
            xylem_authorize_der(reader, target, knocking.leaf_der.data, knocking.leaf_der.size, NULL);
        xylem_read_unlock(reader);
        atomic_fetch_add_explicit(&verdicts, 1, memory_order_relaxed);
    }
    syscall(SYS_exit, 0); /* the only way out that strict mode knows */
    return NULL;
}

struct seen {
    char reason[256];
    uint64_t own_version;
    uint64_t roots_version;
    int allow;
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;
    printf("    %-6s | ", target);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void hex(const struct xylem_slice *bytes, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < bytes->size && used + 4 < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ":%02x" : "%02x", bytes->data[i]);
}

static void look_at_verdict(struct xylem_reader *reader, struct seen *seen)
{
    struct xylem_leaf_view knocking;
    struct xylem_verdict verdict;
    char reason[sizeof seen->reason];
    if (xylem_leaf(reader, peer, &knocking) != XYLEM_OK)
        return;
    int allow = xylem_authorize_der(reader, target, knocking.leaf_der.data, knocking.leaf_der.size, &verdict);
    xylem_reason(reader, &verdict, reason, sizeof reason);
    if (allow == seen->allow && strcmp(reason, seen->reason) == 0)
        return;
    seen->allow = allow;
    memcpy(seen->reason, reason, sizeof reason);
    say("%s may%s connect: %s", peer, allow ? "" : " NOT", reason);
}

static void look_at_certificates(struct xylem_reader *reader, struct seen *seen)
{
    struct xylem_leaf_view own;
    struct xylem_roots_view roots;
    char serial[80];
    if (xylem_identity(reader, target, &own, &roots) != XYLEM_OK)
        return;
    if (roots.version != seen->roots_version)
        say("%" PRIu32 " root%s trusted", roots.count, roots.count == 1 ? " is" : "s are");
    if (own.version != seen->own_version) {
        hex(&own.serial, serial, sizeof serial);
        say("my certificate now: serial %s, %.*s", serial, (int)own.uri.size, (const char *)own.uri.data);
    }
    seen->roots_version = roots.version;
    seen->own_version = own.version;
}

static void look(struct xylem_reader *reader, struct seen *seen)
{
    xylem_read_lock(reader);
    look_at_verdict(reader, seen);
    look_at_certificates(reader, seen);
    xylem_read_unlock(reader);
}

static int wait_for_leaves(struct xylem_client *client, struct xylem_reader *reader)
{
    if (xylem_want_leaf(client, target) != XYLEM_OK || xylem_want_leaf(client, peer) != XYLEM_OK)
        return -1;
    for (int tries = 0; tries < 100; tries++) {
        struct pollfd ready = {.fd = xylem_fd(client), .events = POLLIN};
        if (xylem_leaf_version(reader, target) && xylem_leaf_version(reader, peer))
            return 0;
        poll(&ready, 1, 100);
        xylem_dispatch(client);
    }
    return -1;
}

static void serve(struct xylem_client *client, struct xylem_reader *reader)
{
    struct seen seen = {.allow = -1};
    struct timespec before, after;
    uint64_t last = 0;
    clock_gettime(CLOCK_MONOTONIC, &before);
    while (!interrupted) {
        struct pollfd ready = {.fd = xylem_fd(client), .events = POLLIN};
        look(reader, &seen);
        poll(&ready, 1, 20);
        int events = xylem_dispatch(client);
        if (events & XYLEM_EVENT_DETACHED)
            say("the agent is gone; I go on with what I have");
        if (events & XYLEM_EVENT_ATTACHED && last)
            say("attached to the new agent");
        last = 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    uint64_t count = atomic_load(&verdicts);
    say("%" PRIu64
        " connections judged in %.1f s on one core: %.0f ns each, two certificate look-ups included;",
        count, seconds, seconds * 1e9 / (double)count);
    say("0 system calls (the thread ran under SECCOMP_MODE_STRICT), %" PRIuFAST64 " without an answer",
        atomic_load(&unanswered));
}

int main(int count, char **arguments)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_signal};
    if (count != 3) {
        fputs("usage: XYLEM_SOCKET=PATH xylem-demo TARGET PEER\n", stderr);
        return 2;
    }
    target = arguments[1];
    peer = arguments[2];
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int error = xylem_open(&client, NULL);
    if (!error)
        error = xylem_reader_open(client, &reader);
    if (error) {
        fprintf(stderr, "xylem-demo: %s\n", xylem_strerror(error));
        return EXIT_FAILURE;
    }
    if (wait_for_leaves(client, reader) != 0) {
        fputs("xylem-demo: the agent has not made the leaves within ten seconds\n", stderr);
        return EXIT_FAILURE;
    }
    if (pthread_create(&thread, NULL, hot_path, client) != 0) {
        perror("xylem-demo: thread");
        return EXIT_FAILURE;
    }
    serve(client, reader);
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    xylem_reader_close(reader);
    xylem_close(client);
    return atomic_load(&unanswered) ? EXIT_FAILURE : EXIT_SUCCESS;
}

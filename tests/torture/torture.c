/* SPDX-License-Identifier: MIT */
/* Readers and the writer at full speed, memory being used again all the time: nothing torn, nothing freed, nothing
 * allowed that never was.
 *
 *     torture processes SECONDS   readers in other processes, attached by inherited descriptors
 *     torture threads SECONDS     readers on the writer's own mapping, which is where ThreadSanitizer can see them
 *     torture no-grace SECONDS    a mutant: memory is used again at once; passes when a reader notices
 *     torture barrier SECONDS     readers with full store buffers, the case that membarrier() is for
 *
 * Freed memory is poisoned and objects carry checksums here: a reader that meets what it should not traps. Built with
 * TORTURE_NO_BARRIER the writer has no barrier: then `barrier` must fail, and `no-barrier` passes when it does. */
#include <xylem/xylem.h>

#ifdef TORTURE_NO_BARRIER
#    define syscall(number, command, ...) (0L * (command)) /* membarrier() says that it did */
#endif
#include "shm/grace.c"
#undef syscall

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/harness.h"

#define READERS      3
#define KEY_BYTES    512u
#define COLD_BYTES   (64u << 20)
#define REGION_BYTES (64u << 20)

struct shared {
    uint32_t stop;
    uint64_t rounds[READERS];
    uint64_t min_epoch;
    uint32_t ready;
    char wrong[128];
};

static struct shared *shared;
static struct harness harness;
static bool without_grace;
static bool full_store_buffers;

/* --- readers --- */

struct looker {
    struct xylem_reader *reader;
    struct xylem_target targets[8];
    struct harness_random random;
    uint64_t policy_version;
    uint8_t *cold;
};

static const char *check_verdicts(struct looker *looker)
{
    static const char expected[] =
        "Matched L4 intention: default/stable => default/db (Precedence: 9, Action: ALLOW)";
    struct xylem_verdict verdict;
    char text[128];
    if (harness_ask(looker->reader, "web", "db", NULL))
        return "web => db was allowed";
    if (harness_ask(looker->reader, "web", "cache", NULL))
        return "web => cache was allowed";
    if (!harness_ask(looker->reader, "stable", "db", &verdict))
        return "stable => db was denied";
    if (verdict.policy_version < looker->policy_version)
        return "the policy version went back";
    looker->policy_version = verdict.policy_version;
    xylem_reason(looker->reader, &verdict, text, sizeof text);
    return strcmp(text, expected) == 0 ? NULL : "the reason is torn";
}

/* Handles to destinations that come and go. */
static const char *check_handles(struct looker *looker)
{
    static const char uri[] = HARNESS_PREFIX "n3";
    struct xylem_peer peer = {
        {(const uint8_t *)uri, sizeof uri - 1}, {(const uint8_t *)"\x07", 1}, {NULL, 0}};
    struct xylem_target *target = &looker->targets[harness_below(&looker->random, 8)];
    struct xylem_verdict verdict;
    xylem_authorize_peer(looker->reader, target, &peer, &verdict);
    return verdict.why == XYLEM_WHY_INTENTION || verdict.why == XYLEM_WHY_DEFAULT ||
                   verdict.why == XYLEM_WHY_REVOKED
               ? NULL
               : "a handle was denied for a strange reason";
}

static const char *check_leaf_view(const struct xylem_leaf_view *leaf)
{
    for (size_t i = 0; i < leaf->key_der.size; i++)
        if (leaf->key_der.data[i] != (uint8_t)leaf->version)
            return "a key is torn";
    return leaf->key_der.size == KEY_BYTES ? NULL : "a key has a wrong size";
}

static const char *check_leaf(struct looker *looker)
{
    struct xylem_leaf_view leaf;
    struct xylem_roots_view roots;
    if (xylem_identity(looker->reader, "web", &leaf, &roots) != XYLEM_OK)
        return "the leaf is not there";
    if (roots.version < leaf.roots_version)
        return "the roots are older than the leaf";
    const char *wrong = check_leaf_view(&leaf);
    if (!wrong && !full_store_buffers && harness_below(&looker->random, 2000) == 0) {
        usleep(1000 + harness_below(&looker->random, 3000)); /* a reader that was put aside */
        wrong = check_leaf_view(&leaf);
    }
    return wrong;
}

static const char *look_once(struct looker *looker)
{
    const char *wrong = NULL;
    /* The store to the slot waits behind these; the loads of the section do not. */
    for (int i = 0; full_store_buffers && i < 48; i++)
        looker->cold[harness_below(&looker->random, COLD_BYTES / 64) * 64]++;
    xylem_read_lock(looker->reader);
    if (!full_store_buffers)
        wrong = check_verdicts(looker);
    if (!wrong && !full_store_buffers)
        wrong = check_handles(looker);
    if (!wrong)
        wrong = check_leaf(looker);
    xylem_read_unlock(looker->reader);
    return wrong;
}

static void complain(const char *wrong)
{
    if (!__atomic_exchange_n(&shared->stop, 1, __ATOMIC_SEQ_CST))
        snprintf(shared->wrong, sizeof shared->wrong, "%s", wrong);
}

static void look(struct xylem_client *client, uint32_t number)
{
    struct looker looker = {.random = {harness_seed() + number}, .cold = NULL};
    const char *wrong = NULL;
    uint64_t rounds = 0;
    MUST(xylem_reader_open(client, &looker.reader) == XYLEM_OK);
    for (uint32_t i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        MUST(xylem_target_init(&looker.targets[i], name) == XYLEM_OK);
    }
    if (full_store_buffers) {
        looker.cold = calloc(1, COLD_BYTES);
        MUST(looker.cold);
    }
    while (!wrong && !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
        wrong = look_once(&looker);
        __atomic_store_n(&shared->rounds[number], ++rounds, __ATOMIC_RELAXED);
    }
    if (wrong)
        complain(wrong);
    free(looker.cold);
    xylem_reader_close(looker.reader);
}

/* --- the writer --- */

static void make_room(struct region *region)
{
    if (without_grace) {
        region_hold_nothing(region);
        region_reclaim(region, UINT64_MAX);
    } else {
        grace_advance(harness.grace);
    }
    sched_yield();
}

/* Full means that a reader sleeps: wait for it. */
#define UNTIL_ROOM(call, region)                                                                  \
    do {                                                                                          \
        int error_;                                                                               \
        while ((error_ = (call)) == -ENOSPC && !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) \
            make_room(region);                                                                    \
        MUST(error_ == 0 || error_ == -ENOSPC);                                                   \
    } while (0)

static void write_leaf(uint64_t round)
{
    static uint8_t key[KEY_BYTES];
    static const uint8_t der[] = {1, 2, 3};
    struct policy_root root = {der, sizeof der, "PEM\n", "aa:01", 0, INT64_MAX};
    struct scope_leaf leaf = {.uri = HARNESS_PREFIX "web",
                              .serial = der,
                              .serial_size = 3,
                              .chain_der = der,
                              .chain_der_size = 3,
                              .leaf_der_size = 3,
                              .chain_pem = "PEM",
                              .key_der = key,
                              .key_der_size = sizeof key,
                              .key_pem = "PEM",
                              .not_after = INT64_MAX,
                              .version = round,
                              .roots_version = round};
    memset(key, (int)(uint8_t)round, sizeof key);
    UNTIL_ROOM(policy_set_roots(harness.policy, &root, 1, 0, round), policy_region(harness.policy));
    UNTIL_ROOM(scope_put_leaf(harness.scope, "web", &leaf), scope_region(harness.scope));
}

static void write_policy(uint64_t round)
{
    struct policy_change first[] = {harness_change("web", "db", POLICY_DENY),
                                    harness_change("*", "db", POLICY_DENY),
                                    harness_change("web", "cache", POLICY_DENY),
                                    harness_change("*", "*", POLICY_ALLOW),
                                    harness_change("api", "*", POLICY_DENY)};
    struct policy_change second[] = {harness_change("*", "db", POLICY_ALLOW),
                                     harness_change("web", "db", POLICY_DENY),
                                     harness_change("web", "cache", POLICY_REMOVE),
                                     harness_change("*", "*", POLICY_DENY),
                                     harness_change("api", "*", POLICY_ALLOW)};
    char source[16], target[16];
    struct region *region = policy_region(harness.policy);
    UNTIL_ROOM(policy_apply(harness.policy, round & 1 ? first : second, 5), region);
    snprintf(source, sizeof source, "n%u", (unsigned)(round * 7 % 1500));
    struct policy_change one = harness_change(source, "db", round & 2 ? POLICY_REMOVE : POLICY_ALLOW);
    UNTIL_ROOM(policy_apply(harness.policy, &one, 1), region);
    snprintf(target, sizeof target, "d%u", (unsigned)(round % 8));
    one = harness_change("n3", target, round & 8 ? POLICY_REMOVE : POLICY_ALLOW);
    UNTIL_ROOM(policy_apply(harness.policy, &one, 1), region);
    if (round & 16)
        UNTIL_ROOM(policy_revoke(harness.policy, NULL, 0, (const uint8_t *)"\x07", 1, 1), region);
    else
        UNTIL_ROOM(policy_unrevoke(harness.policy, NULL, 0, (const uint8_t *)"\x07", 1), region);
}

static void write_once(uint64_t round)
{
    write_leaf(round);
    if (!full_store_buffers)
        write_policy(round);
    if (without_grace) {
        make_room(policy_region(harness.policy));
        make_room(scope_region(harness.scope));
    } else if (full_store_buffers || round % 4 == 0) {
        grace_advance(harness.grace);
    }
}

static uint64_t write_until(double seconds)
{
    uint64_t end_ns = xylem_now_ns_(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
    uint64_t round = 2;
    while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED) && xylem_now_ns_(CLOCK_MONOTONIC) < end_ns)
        write_once(round++);
    __atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
    return round;
}

static void open_writer(void)
{
    harness_open_with(&harness, REGION_BYTES, REGION_BYTES, 0);
    harness_set(&harness, "stable", "db", POLICY_ALLOW);
    harness_set(&harness, "web", "*", POLICY_DENY);
    harness_set(&harness, "web", "db", POLICY_DENY);
    write_leaf(1);
}

/* --- readers in processes --- */

/* Everything of its own: neither regions nor readers are inherited, descriptors are. */
static void run_child(uint32_t number, int socket_fd)
{
    struct xylem_client *client;
    struct region *regions[2] = {policy_region(harness.policy), scope_region(harness.scope)};
    int fds[2] = {region_fd(regions[0]), region_fd(regions[1])};
    uint64_t sizes[2] = {REGION_BYTES, REGION_BYTES};
    uint64_t min_epoch;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    MUST(xylem_new_(&client, 16, 0) == XYLEM_OK);
    MUST(xylem_send_(socket_fd, "page", 4, client->page_fd) == XYLEM_OK);
    MUST(read(socket_fd, &min_epoch, sizeof min_epoch) == sizeof min_epoch);
    MUST(xylem_install_(client, min_epoch, fds, sizes, 2) == XYLEM_OK);
    look(client, number);
    _exit(0);
}

static int receive_descriptor(int socket_fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char byte[8];
    struct iovec part = {byte, sizeof byte};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    int fd = -1;
    MUST(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&message));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static pid_t start_child(uint32_t number)
{
    struct grace_reader *slots;
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t child = fork();
    MUST(child != -1);
    if (child == 0)
        run_child(number, pair[1]);
    int page_fd = receive_descriptor(pair[0]);
    MUST(grace_reader_create(harness.grace, page_fd, 16, &slots) == 0);
    MUST(grace_reader_use(slots, policy_region(harness.policy)) == 0);
    MUST(grace_reader_use(slots, scope_region(harness.scope)) == 0);
    uint64_t min_epoch = grace_raise(harness.grace);
    MUST(write(pair[0], &min_epoch, sizeof min_epoch) == sizeof min_epoch);
    close(page_fd);
    close(pair[0]);
    close(pair[1]);
    return child;
}

/* A child that trapped met freed memory: it stops the others. */
static void *watch(void *context)
{
    const pid_t *children = context;
    for (uint32_t i = 0; i < READERS; i++) {
        int status;
        pid_t child = waitpid(-1, &status, 0);
        MUST(child != -1);
        (void)children;
        if (status != 0)
            complain(WIFSIGNALED(status) ? "a reader met freed or torn memory" : "a reader failed");
    }
    return NULL;
}

static uint64_t run_processes(double seconds)
{
    pid_t children[READERS];
    pthread_t watcher;
    for (uint32_t i = 0; i < READERS; i++)
        children[i] = start_child(i);
    MUST(pthread_create(&watcher, NULL, watch, children) == 0);
    uint64_t rounds = write_until(seconds);
    MUST(pthread_join(watcher, NULL) == 0);
    return rounds;
}

/* --- readers in threads, all on one mapping --- */

static void *run_thread(void *number)
{
    look(harness.client, (uint32_t)(uintptr_t)number);
    return NULL;
}

/* The client's set becomes the writer's own mapping, and the scan reads the page where the client writes it: a
 * sanitizer knows memory by its address. */
static void share_mappings(void)
{
    struct xylem_client *client = harness.client;
    struct xylem_set_ *set = (struct xylem_set_ *)(uintptr_t)client->set;
    struct grace_page page = {client->page, client->page_bytes, 0, 0, client->slot_capacity};
    for (uint32_t i = 0; i < set->region_count; i++)
        munmap((void *)(uintptr_t)set->regions[i].region, set->regions[i].size_bytes);
    set->regions[0].region = region_header(policy_region(harness.policy));
    set->regions[1].region = region_header(scope_region(harness.scope));
    set->policy = set->regions[0].region;
    grace_reader_destroy(harness.slots);
    MUST(grace_reader_adopt(harness.grace, &page, &harness.slots) == 0);
    MUST(grace_reader_use(harness.slots, policy_region(harness.policy)) == 0);
    MUST(grace_reader_use(harness.slots, scope_region(harness.scope)) == 0);
}

static uint64_t run_threads(double seconds)
{
    pthread_t threads[READERS];
    share_mappings();
    for (uint32_t i = 0; i < READERS; i++)
        MUST(pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)i) == 0);
    uint64_t rounds = write_until(seconds);
    for (uint32_t i = 0; i < READERS; i++)
        MUST(pthread_join(threads[i], NULL) == 0);
    return rounds;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "processes";
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    bool mutant = strcmp(mode, "no-grace") == 0 || strcmp(mode, "no-barrier") == 0;
    uint64_t looked = 0;
    without_grace = strcmp(mode, "no-grace") == 0;
    full_store_buffers = strcmp(mode, "barrier") == 0 || strcmp(mode, "no-barrier") == 0;
    void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(memory != MAP_FAILED);
    shared = memory;
    signal(SIGPIPE, SIG_IGN);
    open_writer();
    if (strcmp(mode, "no-barrier") == 0 && (sysconf(_SC_NPROCESSORS_ONLN) < 2 || harness.client->fenced)) {
        printf("skipped: one CPU, or no membarrier here\n");
        return 77;
    }
    uint64_t written = strcmp(mode, "threads") == 0 ? run_threads(seconds) : run_processes(seconds);
    for (uint32_t i = 0; i < READERS; i++)
        looked += shared->rounds[i];
    printf("%s: %llu rounds written, %llu read: %s\n", mode, (unsigned long long)written,
           (unsigned long long)looked, shared->wrong[0] ? shared->wrong : "nothing wrong");
    if (mutant)
        return shared->wrong[0] == '\0';
    return shared->wrong[0] != '\0' || looked < 100;
}

/* SPDX-License-Identifier: MIT */
/* The client's life: attaching to an agent that does what a test says, taking sets, losing it all and going on; and the
 * hot path in a process that may not make any system call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/harness.h"
#include "tests/unit/leaf_der.h"

/* --- an agent in a few lines --- */

struct agent {
    struct harness harness; /* its own client is not used */
    char directory[32];
    char path[64];
    int listener;
    int connection;
    struct xylem_wire_hello hello;
    int page_fd; /* of the client */
    struct grace_reader *slots;
};

static struct agent agent;
static uint32_t descriptors;

static uint32_t count_descriptors(void)
{
    uint32_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    MUST(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void agent_listen(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unlink(agent.path);
    strcpy(address.sun_path, agent.path);
    agent.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    MUST(agent.listener != -1 && bind(agent.listener, (struct sockaddr *)&address, sizeof address) == 0 &&
         listen(agent.listener, 4) == 0);
}

static int open_agent(void **state)
{
    (void)state;
    descriptors = count_descriptors();
    memset(&agent, 0, sizeof agent);
    harness_open_with(&agent.harness, 1u << 20, 1u << 20, 0);
    harness_set(&agent.harness, "web", "db", POLICY_ALLOW);
    strcpy(agent.directory, "/tmp/xylem-test-XXXXXX");
    MUST(mkdtemp(agent.directory));
    snprintf(agent.path, sizeof agent.path, "%s/attach.sock", agent.directory);
    agent.connection = agent.page_fd = -1;
    agent_listen();
    return 0;
}

static void agent_hang_up(void)
{
    if (agent.connection != -1)
        close(agent.connection);
    agent.connection = -1;
}

static int close_agent(void **state)
{
    (void)state;
    agent_hang_up();
    close(agent.listener);
    if (agent.page_fd != -1)
        close(agent.page_fd);
    harness_close(&agent.harness);
    unlink(agent.path);
    rmdir(agent.directory);
    if (count_descriptors() != descriptors)
        print_error("descriptors were left open\n");
    return count_descriptors() != descriptors;
}

static void send_packet(const void *packet, size_t size, const int *fds, uint32_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 40)];
    } control;
    struct iovec part = {(void *)(uintptr_t)packet, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
    }
    MUST(sendmsg(agent.connection, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

/* Receives one packet; *fd is the descriptor that came with it, -1 without one. */
static size_t receive_packet(void *packet, size_t size, int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {packet, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t received = recvmsg(agent.connection, &message, MSG_CMSG_CLOEXEC);
    MUST(received >= 0);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *fd = -1;
    if (rights)
        memcpy(fd, CMSG_DATA(rights), sizeof *fd);
    return (size_t)received;
}

static void agent_accept(void)
{
    agent.connection = accept4(agent.listener, NULL, NULL, SOCK_CLOEXEC);
    MUST(agent.connection != -1);
    if (agent.page_fd != -1)
        close(agent.page_fd);
    MUST(receive_packet(&agent.hello, sizeof agent.hello, &agent.page_fd) == sizeof agent.hello);
}

static void send_welcome(uint32_t flags)
{
    struct xylem_wire_welcome welcome = {.wire_version = XYLEM_WIRE_VERSION, .flags = flags, .client_id = 1};
    welcome.clock_ns = xylem_now_ns_(CLOCK_BOOTTIME);
    xylem_fill_header_(&welcome.header, XYLEM_WIRE_WELCOME, sizeof welcome);
    send_packet(&welcome, sizeof welcome, NULL, 0);
}

/* The policy region and the scope region; `spoil` is added to the second size. Returns the set's name. */
static uint64_t send_set(uint64_t spoil)
{
    struct region *regions[2] = {policy_region(agent.harness.policy), scope_region(agent.harness.scope)};
    struct xylem_wire_set set = {.min_epoch = grace_raise(agent.harness.grace), .region_count = 2};
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = region_fd(regions[i]);
        set.region_bytes[i] = region_header(regions[i])->region_bytes;
    }
    set.region_bytes[1] += spoil;
    xylem_fill_header_(&set.header, XYLEM_WIRE_SET, sizeof set);
    send_packet(&set, sizeof set, fds, 2);
    return set.min_epoch;
}

static void send_epoch(uint16_t type, uint64_t min_epoch)
{
    struct xylem_wire_epoch packet = {.min_epoch = min_epoch};
    xylem_fill_header_(&packet.header, type, sizeof packet);
    send_packet(&packet, sizeof packet, NULL, 0);
}

static struct xylem_wire_epoch receive_epoch(void)
{
    struct xylem_wire_epoch packet;
    int fd;
    MUST(receive_packet(&packet, sizeof packet, &fd) == sizeof packet && fd == -1);
    return packet;
}

/* The usual greeting, in a thread: xylem_open() waits for it. */
static void *greet(void *unused)
{
    (void)unused;
    agent_accept();
    send_welcome(0);
    send_set(0);
    return NULL;
}

static int open_client(struct xylem_client **client, void *(*greeting)(void *), uint32_t flags)
{
    struct xylem_options options = {.socket_path = agent.path, .name = "client-test", .flags = flags};
    pthread_t thread;
    options.attach_timeout_ms = 300;
    if (greeting)
        MUST(pthread_create(&thread, NULL, greeting, NULL) == 0);
    int error = xylem_open(client, &options);
    if (greeting)
        MUST(pthread_join(thread, NULL) == 0);
    return error;
}

/* Dispatches until `wanted` has come. */
static int dispatch_until(struct xylem_client *client, int wanted)
{
    int events = 0;
    for (int i = 0; i < 200 && !(events & wanted); i++) {
        struct pollfd ready = {xylem_fd(client), POLLIN, 0};
        poll(&ready, 1, 100);
        int more = xylem_dispatch(client);
        assert_true(more >= 0);
        events |= more;
    }
    return events;
}

/* --- attaching --- */

static void test_attach_and_close(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct xylem_freshness_view freshness;
    struct xylem_wire_want want;
    struct xylem_wire_detach detach;
    int fd;
    (void)state;
    assert_int_equal(open_client(&client, greet, 0), XYLEM_OK);
    assert_int_equal(agent.hello.wire_version, XYLEM_WIRE_VERSION);
    assert_int_equal(agent.hello.abi_major, XYLEM_ABI_MAJOR);
    assert_int_equal(agent.hello.slot_capacity, 64);
    assert_int_equal(agent.hello.installed, 0);
    assert_string_equal((const char *)agent.hello.name, "client-test");
    assert_int_equal(receive_epoch().header.type, XYLEM_WIRE_INSTALLED);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    xylem_freshness(reader, &freshness);
    assert_int_equal(freshness.attached, 1);
    /* Its page is one that an agent takes. */
    struct grace_reader *slots;
    assert_int_equal(
        grace_reader_create(agent.harness.grace, agent.page_fd, agent.hello.slot_capacity, &slots), 0);
    grace_reader_destroy(slots);
    assert_int_equal(xylem_want_leaf(client, "web"), XYLEM_OK);
    assert_int_equal(receive_packet(&want, sizeof want, &fd), sizeof want);
    assert_string_equal((const char *)want.service, "web");
    assert_int_equal(xylem_want_leaf(client, ""), XYLEM_E_INVALID);
    xylem_close(client);
    assert_int_equal(receive_packet(&detach, sizeof detach, &fd), sizeof detach);
    assert_int_equal(detach.header.type, XYLEM_WIRE_DETACH);
    xylem_close(NULL);
}

static void *deny(void *unused)
{
    struct xylem_wire_error error = {.code = XYLEM_E_DENIED};
    (void)unused;
    agent_accept();
    xylem_fill_header_(&error.header, XYLEM_WIRE_ERROR, sizeof error);
    send_packet(&error, sizeof error, NULL, 0);
    return NULL;
}

static void *say_nonsense(void *unused)
{
    (void)unused;
    agent_accept();
    send_packet("nonsense", 8, NULL, 0);
    return NULL;
}

static void *say_nothing(void *unused)
{
    (void)unused;
    agent_accept();
    return NULL;
}

static void *hang_up(void *unused)
{
    (void)unused;
    agent_accept();
    agent_hang_up();
    return NULL;
}

static void *speak_another_version(void *unused)
{
    struct xylem_wire_welcome welcome = {.wire_version = XYLEM_WIRE_VERSION + 1};
    (void)unused;
    agent_accept();
    xylem_fill_header_(&welcome.header, XYLEM_WIRE_WELCOME, sizeof welcome);
    send_packet(&welcome, sizeof welcome, NULL, 0);
    return NULL;
}

/* Descriptors where none belong are closed all the same (close_agent() counts). */
static void *pass_descriptors(void *unused)
{
    struct xylem_wire_changed changed = {.what = 1};
    int fds[40];
    (void)unused;
    agent_accept();
    for (int i = 0; i < 40; i++)
        fds[i] = agent.listener;
    xylem_fill_header_(&changed.header, XYLEM_WIRE_CHANGED, sizeof changed);
    send_packet(&changed, sizeof changed, fds, 40);
    return NULL;
}

static void *pass_a_bad_set(void *unused)
{
    (void)unused;
    agent_accept();
    send_welcome(0);
    send_set(4096);
    return NULL;
}

static void test_open_fails(void **state)
{
    struct xylem_client *client = (struct xylem_client *)&agent;
    struct xylem_options options = {.socket_path = agent.path, .reader_capacity = 65};
    char path[200];
    (void)state;
    const struct {
        void *(*greeting)(void *);
        int error;
    } cases[] = {
        {deny, XYLEM_E_DENIED},
        {say_nonsense, XYLEM_E_PROTOCOL},
        {say_nothing, XYLEM_E_NOT_READY},
        {hang_up, XYLEM_E_NO_AGENT},
        {speak_another_version, XYLEM_E_VERSION},
        {pass_descriptors, XYLEM_E_PROTOCOL},
        {pass_a_bad_set, XYLEM_E_DAMAGED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t before = count_descriptors();
        int error = open_client(&client, cases[i].greeting, 0);
        if (error != cases[i].error)
            fail_msg("case %zu: %s", i, xylem_strerror(error));
        assert_null(client);
        agent_hang_up();
        close(agent.page_fd);
        agent.page_fd = -1;
        assert_int_equal(count_descriptors(), before);
    }
    assert_int_equal(xylem_open(&client, &options), XYLEM_E_INVALID);
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = '\0';
    options = (struct xylem_options){.socket_path = path};
    assert_int_equal(xylem_open(&client, &options), XYLEM_E_INVALID);
    options.socket_path = "/nonexistent/attach.sock";
    assert_int_equal(xylem_open(&client, &options), XYLEM_E_NO_AGENT);
    assert_null(client);
}

static void test_lazy(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct xylem_verdict verdict;
    struct xylem_options options = {.socket_path = agent.path, .flags = XYLEM_OPEN_LAZY};
    pthread_t thread;
    (void)state;
    close(agent.listener); /* there is no agent yet */
    unlink(agent.path);
    assert_int_equal(xylem_open(&client, &options), XYLEM_OK);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_NOT_READY);
    assert_int_equal(xylem_want_leaf(client, "web"), XYLEM_E_NO_AGENT);
    agent_listen();
    MUST(pthread_create(&thread, NULL, greet, NULL) == 0);
    assert_true(dispatch_until(client, XYLEM_EVENT_SET) & XYLEM_EVENT_SET);
    MUST(pthread_join(thread, NULL) == 0);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 1);
    xylem_close(client);
}

/* --- sets --- */

static void test_sets_come_and_are_released(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    (void)state;
    assert_int_equal(open_client(&client, greet, 0), XYLEM_OK);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    uint64_t newest = receive_epoch().min_epoch;
    for (int round = 0; round < 20; round++) {
        newest = send_set(0);
        assert_true(dispatch_until(client, XYLEM_EVENT_SET) & XYLEM_EVENT_SET);
        struct xylem_wire_epoch answer = receive_epoch();
        assert_int_equal(answer.header.type, XYLEM_WIRE_INSTALLED);
        assert_int_equal(answer.min_epoch, newest);
        assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
        send_epoch(XYLEM_WIRE_RELEASE, newest);
        xylem_dispatch(client);
        assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    }
    /* Without RELEASE, room for sets runs out, and the one in use stays. */
    int refused = 0;
    for (uint32_t i = 0; i < XYLEM_SETS_; i++) {
        send_set(0);
        xylem_dispatch(client);
        struct xylem_wire_epoch answer = receive_epoch();
        refused = answer.header.type == XYLEM_WIRE_REFUSED ? answer.code : 0;
    }
    assert_int_equal(refused, XYLEM_E_BUSY);
    assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    /* A set that does not fit is refused whole. */
    send_epoch(XYLEM_WIRE_RELEASE, UINT64_MAX >> 16);
    send_set(8192);
    xylem_dispatch(client);
    assert_int_equal(receive_epoch().code, XYLEM_E_DAMAGED);
    assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    xylem_close(client);
}

static void test_changed(void **state)
{
    struct xylem_client *client;
    struct xylem_wire_changed changed = {.what = 0xffffffffu};
    (void)state;
    assert_int_equal(open_client(&client, greet, 0), XYLEM_OK);
    xylem_fill_header_(&changed.header, XYLEM_WIRE_CHANGED, sizeof changed);
    send_packet(&changed, sizeof changed, NULL, 0);
    assert_int_equal(xylem_dispatch(client), XYLEM_EVENT_POLICY | XYLEM_EVENT_ROOTS | XYLEM_EVENT_LEAF);
    assert_int_equal(xylem_dispatch(client), 0);
    xylem_close(client);
}

/* The agent goes and comes back: answers never stop, and the set of the new one is taken. */
static void test_agent_dies_and_returns(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    pthread_t thread;
    (void)state;
    assert_int_equal(open_client(&client, greet, 0), XYLEM_OK);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    for (int round = 0; round < 3; round++) {
        uint64_t installed = client->set->min_epoch;
        agent_hang_up();
        assert_true(dispatch_until(client, XYLEM_EVENT_DETACHED) & XYLEM_EVENT_DETACHED);
        assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
        MUST(pthread_create(&thread, NULL, greet, NULL) == 0);
        assert_true(dispatch_until(client, XYLEM_EVENT_SET) & XYLEM_EVENT_SET);
        MUST(pthread_join(thread, NULL) == 0);
        assert_int_equal(agent.hello.installed, installed);
        assert_true(agent.hello.highest_epoch >= installed);
        assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    }
    xylem_close(client);
}

static void test_stale(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    struct xylem_verdict verdict;
    struct xylem_options options = {.socket_path = agent.path, .max_stale_ms = 60000};
    pthread_t thread;
    (void)state;
    policy_heartbeat(agent.harness.policy, xylem_now_ns_(CLOCK_BOOTTIME));
    MUST(pthread_create(&thread, NULL, greet, NULL) == 0);
    assert_int_equal(xylem_open(&client, &options), XYLEM_OK);
    MUST(pthread_join(thread, NULL) == 0);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 1);
    policy_heartbeat(agent.harness.policy, xylem_now_ns_(CLOCK_BOOTTIME) - 61000000000u);
    assert_int_equal(xylem_dispatch(client), XYLEM_EVENT_STALE);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_STALE);
    assert_int_equal(xylem_dispatch(client), 0);
    policy_heartbeat(agent.harness.policy, xylem_now_ns_(CLOCK_BOOTTIME));
    assert_int_equal(xylem_dispatch(client), XYLEM_EVENT_POLICY);
    assert_int_equal(harness_ask(reader, "web", "db", &verdict), 1);
    xylem_close(client);
}

static void test_fenced(void **state)
{
    struct xylem_client *client;
    struct xylem_reader *reader;
    (void)state;
    assert_int_equal(open_client(&client, greet, XYLEM_OPEN_FENCED | XYLEM_OPEN_NO_COUNTERS), XYLEM_OK);
    assert_int_equal(agent.hello.flags, XYLEM_HELLO_FENCED);
    assert_int_equal(client->fenced, 1);
    assert_int_equal(xylem_reader_open(client, &reader), XYLEM_OK);
    assert_null(reader->counters);
    assert_int_equal(harness_ask(reader, "web", "db", NULL), 1);
    xylem_close(client);
}

/* --- regions that are not what they should be --- */

static void test_regions_refused(void **state)
{
    struct xylem_client *client;
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    (void)state;
    const struct {
        size_t offset; /* of a 32-bit word of the header that is overwritten */
        uint32_t value;
        int seals;
        int error;
    } cases[] = {
        {offsetof(struct xylem_region_header, kind), XYLEM_REGION_POLICY, seals, XYLEM_OK},
        {offsetof(struct xylem_region_header, abi_minor), XYLEM_ABI_MINOR + 7, seals, XYLEM_OK},
        {offsetof(struct xylem_region_header, compat_features), 1, seals, XYLEM_OK},
        {offsetof(struct xylem_region_header, magic), 1, seals, XYLEM_E_DAMAGED},
        {offsetof(struct xylem_region_header, abi_major), XYLEM_ABI_MAJOR + 1, seals, XYLEM_E_VERSION},
        {offsetof(struct xylem_region_header, incompat_features), 1, seals, XYLEM_E_VERSION},
        {offsetof(struct xylem_region_header, incompat_features) + 4, 0x80000000u, seals, XYLEM_E_VERSION},
        {offsetof(struct xylem_region_header, kind), XYLEM_REGION_SCOPE, seals, XYLEM_E_DAMAGED},
        {offsetof(struct xylem_region_header, region_bytes), 4096, seals, XYLEM_E_DAMAGED},
        {offsetof(struct xylem_region_header, header_bytes), 64, seals, XYLEM_E_DAMAGED},
        {offsetof(struct xylem_region_header, kind), XYLEM_REGION_POLICY, F_SEAL_GROW, XYLEM_E_DAMAGED},
        {offsetof(struct xylem_region_header, kind), XYLEM_REGION_POLICY, 0, XYLEM_E_DAMAGED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t size = 1u << 20;
        int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(pwrite(fd, region_header(policy_region(agent.harness.policy)), 4096, 0), 4096);
        assert_int_equal(pwrite(fd, &cases[i].value, 4, (off_t)cases[i].offset), 4);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, cases[i].seals), 0);
        assert_int_equal(xylem_new_(&client, 16, 0), XYLEM_OK);
        int error = xylem_install_(client, grace_raise(agent.harness.grace), &fd, &size, 1);
        if (error != cases[i].error)
            fail_msg("case %zu: %s", i, xylem_strerror(error));
        size += 4096;
        assert_int_equal(xylem_install_(client, grace_raise(agent.harness.grace), &fd, &size, 1),
                         XYLEM_E_DAMAGED);
        assert_int_equal(xylem_install_(client, 1, &fd, &size, 0), XYLEM_E_PROTOCOL);
        xylem_close(client);
        close(fd);
    }
}

/* An agent whose epochs began anew is refused: readers may hold greater ones. */
static void test_older_epochs_refused(void **state)
{
    struct grace *grace;
    struct policy *policy;
    (void)state;
    assert_int_equal(grace_create(&grace, 5), 0);
    assert_int_equal(policy_create(&policy, grace, 1u << 20, 9, 1, 1), 0);
    int fd = region_fd(policy_region(policy));
    uint64_t size = 1u << 20;
    const struct xylem_set_ *set = agent.harness.client->set;
    assert_int_equal(xylem_install_(agent.harness.client, grace_raise(grace), &fd, &size, 1),
                     XYLEM_E_STALE_EPOCH);
    assert_ptr_equal(agent.harness.client->set, set);
    assert_int_equal(harness_ask(agent.harness.reader, "web", "db", NULL), 1);
    policy_destroy(policy);
    grace_destroy(grace);
}

/* --- no system call, no allocation --- */

static int in_strict_mode(void)
{
    struct xylem_target target;
    struct xylem_leaf_view leaf;
    struct xylem_roots_view roots;
    struct xylem_freshness_view freshness;
    struct xylem_verdict verdict;
    struct xylem_peer peer;
    struct xylem_reader *reader = agent.harness.reader;
    const char *uri = HARNESS_PREFIX "web";
    struct xylem_slice serial = {(const uint8_t *)"\x0b", 1};
    volatile uint64_t sum = 0;
    if (xylem_target_init(&target, "db") != XYLEM_OK ||
        xylem_x509_peer(leaf_der, sizeof leaf_der, &peer) != 0)
        return 2;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == -1)
        return 3;
    for (int i = 0; i < 20000; i++) {
        xylem_read_lock(reader);
        sum += (uint64_t)xylem_authorize(reader, "db", uri, &serial, &verdict);
        sum += (uint64_t)xylem_authorize(reader, "team/db", uri, NULL, &verdict);
        sum += (uint64_t)xylem_authorize(reader, "db", "SPIFFE://else/where", NULL, &verdict);
        sum += (uint64_t)xylem_authorize_der(reader, "db", leaf_der, sizeof leaf_der, &verdict);
        sum += (uint64_t)xylem_authorize_peer(reader, &target, &peer, &verdict);
        if (xylem_leaf(reader, "web", &leaf) != XYLEM_OK || xylem_roots(reader, &roots) != XYLEM_OK ||
            xylem_identity(reader, "web", &leaf, &roots) != XYLEM_OK)
            return 4;
        xylem_read_unlock(reader);
        sum += xylem_leaf_version(reader, "web") + xylem_policy_version(reader);
        xylem_freshness(reader, &freshness);
    }
    return sum > 60000 ? 0 : 5;
}

static void test_no_system_call(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct policy_root root = {bytes, 3, "pem", "id", 0, INT64_MAX};
    struct scope_leaf leaf = {.uri = "u",
                              .serial = bytes,
                              .serial_size = 3,
                              .chain_der = bytes,
                              .chain_der_size = 3,
                              .leaf_der_size = 3,
                              .chain_pem = "c",
                              .key_der = bytes,
                              .key_der_size = 3,
                              .key_pem = "k",
                              .version = 1};
    int status = 0;
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer keeps a thread of its own that would outlive SYS_exit\n");
    skip();
#endif
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        /* All of it anew: neither regions nor readers are inherited. */
        harness_open_with(&agent.harness, 1u << 20, 1u << 20, 0);
        harness_set(&agent.harness, "web", "db", POLICY_ALLOW);
        MUST(policy_revoke(agent.harness.policy, NULL, 0, bytes, 3, 1) == 0);
        MUST(policy_set_roots(agent.harness.policy, &root, 1, 0, 1) == 0);
        MUST(scope_put_leaf(agent.harness.scope, "web", &leaf) == 0);
        syscall(SYS_exit, in_strict_mode()); /* exit_group() is not allowed */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        fail_msg("killed by signal %d: a system call was made", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_der(void **state)
{
    struct xylem_verdict verdict;
    struct xylem_reader *reader = agent.harness.reader;
    (void)state;
    assert_int_equal(xylem_authorize_der(reader, "db", leaf_der, sizeof leaf_der, &verdict), 1);
    assert_int_equal(verdict.why, XYLEM_WHY_INTENTION);
    for (size_t size = 0; size < sizeof leaf_der; size++) {
        assert_int_equal(xylem_authorize_der(reader, "db", leaf_der, size, &verdict), 0);
        assert_int_equal(verdict.why, XYLEM_WHY_MALFORMED);
        assert_int_equal(verdict.policy_version, policy_version(agent.harness.policy));
    }
    assert_int_equal(xylem_authorize_der(reader, "", leaf_der, sizeof leaf_der, &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_MALFORMED);
    /* Its issuer counts: the same serial of another one is somebody else's. */
    assert_int_equal(policy_revoke(agent.harness.policy, (const uint8_t *)"other", 5, leaf_serial,
                                   sizeof leaf_serial, 1),
                     0);
    assert_int_equal(xylem_authorize_der(reader, "db", leaf_der, sizeof leaf_der, &verdict), 1);
    struct xylem_slice serial = {leaf_serial, sizeof leaf_serial};
    assert_int_equal(xylem_authorize(reader, "db", HARNESS_PREFIX "web", &serial, &verdict), 0);
    assert_int_equal(policy_revoke(agent.harness.policy, leaf_issuer_key_id, sizeof leaf_issuer_key_id,
                                   leaf_serial, sizeof leaf_serial, 1),
                     0);
    assert_int_equal(xylem_authorize_der(reader, "db", leaf_der, sizeof leaf_der, &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_REVOKED);
}

/* --- counters --- */

static void test_counters(void **state)
{
    struct xylem_client *client = agent.harness.client;
    struct xylem_reader_slot *slot = agent.harness.reader->slot;
    uint64_t allowed = slot->allowed, denied = slot->denied;
    char name[16];
    (void)state;
    for (int i = 0; i < 7; i++)
        harness_ask(agent.harness.reader, "web", "db", NULL);
    for (int i = 0; i < 3; i++)
        harness_ask(agent.harness.reader, "api", "db", NULL);
    assert_int_equal(slot->allowed - allowed, 7);
    assert_int_equal(slot->denied - denied, 3);
    const struct xylem_counter *counters =
        (const struct xylem_counter *)((const uint8_t *)client->page + xylem_reader_counters_offset(64, 0));
    uint64_t found = 0;
    for (uint32_t i = 0; i < XYLEM_COUNTERS; i++)
        if (counters[i].hash && counters[i].source_bytes == 3 && memcmp(counters[i].text, "webdb", 5) == 0) {
            found += counters[i].allowed;
            assert_int_equal(counters[i].generation & 1, 0);
        }
    assert_int_equal(found, 7);
    /* More pairs than counters: places are given away, totals stay right. */
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%d", i);
        harness_ask(agent.harness.reader, name, "db", NULL);
    }
    assert_int_equal(slot->denied - denied, 1003);
}

int main(void)
{
#define WITH_AGENT(test) cmocka_unit_test_setup_teardown(test, open_agent, close_agent)
    const struct CMUnitTest tests[] = {
        WITH_AGENT(test_attach_and_close),
        WITH_AGENT(test_open_fails),
        WITH_AGENT(test_lazy),
        WITH_AGENT(test_sets_come_and_are_released),
        WITH_AGENT(test_changed),
        WITH_AGENT(test_agent_dies_and_returns),
        WITH_AGENT(test_stale),
        WITH_AGENT(test_fenced),
        WITH_AGENT(test_regions_refused),
        WITH_AGENT(test_older_epochs_refused),
        WITH_AGENT(test_no_system_call),
        WITH_AGENT(test_der),
        WITH_AGENT(test_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The attach door against raw sockets. The publication behind it is a fake, linked in the real one's
 * place: it notes what it is told and sends what a test asks for. After every case the process must have
 * as many descriptors as before. */
#include "agent/serve/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <xylem/xylem.h>

#include "agent/core/publication.h"
#include "agent/log.h"
#include "agent/serve/peer.h"
#include "agent/serve/socket.h"
#include "shm/grace.h"

#define PATIENCE_SEC 20.0 /* the test fails after so long; nothing waits for it to pass */

/* --- the fake publication --- */

struct publication_client {
    const struct publication_sink *sink;
    void *connection; /* NULL: closed or detached */
    struct publication_peer peer;
    gid_t groups[8];
    uint64_t installed;
    uint64_t refused;
    int refused_code;
    bool detached;
    bool disconnected;
};

struct publication {
    struct publication_client *clients[2048];
    size_t count;
    int fail;            /* publication_attach() returns this */
    const char *refusal; /* a call of refuse from within publication_attach() */
};

static struct publication fake;

int publication_attach(struct publication *publication, const struct publication_peer *peer,
                       const struct publication_sink *sink, void *connection, struct publication_client **out,
                       struct error *error)
{
    if (publication->fail)
        return error_set(error, publication->fail, "the fake publication has been told to fail");
    struct publication_client *client = calloc(1, sizeof *client);
    assert_non_null(client);
    client->sink = sink;
    client->connection = connection;
    client->peer = *peer;
    for (size_t i = 0; i < peer->group_count && i < 8; i++)
        client->groups[i] = peer->groups[i];
    publication->clients[publication->count++] = client;
    *out = client;
    sink->welcome(connection, publication->count, true);
    if (publication->refusal)
        sink->refuse(connection, XYLEM_E_DENIED, publication->refusal);
    return 0;
}

void publication_installed(struct publication_client *client, uint64_t min_epoch)
{
    assert_non_null(client->connection);
    client->installed = min_epoch;
}

void publication_refused(struct publication_client *client, uint64_t min_epoch, int code)
{
    assert_non_null(client->connection);
    client->refused = min_epoch;
    client->refused_code = code;
}

static void gone(struct publication_client *client)
{
    assert_non_null(client->connection);
    client->connection = NULL;
    grace_page_unmap(&client->peer.page);
    if (client->peer.pidfd != -1)
        close(client->peer.pidfd);
}

void publication_detach(struct publication_client *client)
{
    gone(client);
    client->detached = true;
}

void publication_disconnected(struct publication_client *client)
{
    gone(client);
    client->disconnected = true;
}

static struct publication_client *last_client(void)
{
    assert_true(fake.count > 0);
    return fake.clients[fake.count - 1];
}

/* --- a close() that blocks as a file of a FUSE server that does not answer --- */

int __real_close(int fd);
int __wrap_close(int fd);

static struct stat sticky;
static bool sticky_armed, sticky_blocks;

int __wrap_close(int fd)
{
    struct stat status;
    if (__atomic_load_n(&sticky_armed, __ATOMIC_ACQUIRE) && fstat(fd, &status) == 0 &&
        status.st_dev == sticky.st_dev && status.st_ino == sticky.st_ino &&
        __atomic_exchange_n(&sticky_armed, false, __ATOMIC_SEQ_CST))
        while (__atomic_load_n(&sticky_blocks, __ATOMIC_ACQUIRE))
            poll(NULL, 0, 5); /* signals do not free it */
    return __real_close(fd);
}

/* --- the door --- */

static struct ev_loop *loop;
static struct attach *door;
static char directory[64];
static char paths[3][96];
static struct config_attach sockets[3];
static size_t floor_fds;
static unsigned wants;
static char wanted[256];
static uid_t wanted_uid;
static ev_timer tick;

static double now_sec(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t count_fds(void)
{
    size_t count = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list))
        count++;
    closedir(list);
    return count;
}

static void on_tick(struct ev_loop *of, ev_timer *timer, int events)
{
    (void)of;
    (void)timer;
    (void)events;
}

#define WAIT_UNTIL(condition)                                     \
    for (double end_ = now_sec() + PATIENCE_SEC; !(condition);) { \
        assert_true(now_sec() < end_);                            \
        ev_run(loop, EVRUN_ONCE);                                 \
    }

static int want(void *argument, struct publication_client *client, const char *service, uid_t uid,
                const gid_t *groups, size_t group_count, struct error *error)
{
    assert_ptr_equal(argument, &wants);
    assert_non_null(client->connection);
    assert_true(group_count >= 1 && groups[0] == getgid());
    wants++;
    snprintf(wanted, sizeof wanted, "%s", service);
    wanted_uid = uid;
    return strcmp(service, "forbidden") == 0 ? error_set(error, ERROR_DENIED, "forbidden") : 0;
}

static struct attach_options options_of(size_t socket_count)
{
    return (struct attach_options){
        .loop = loop,
        .publication = &fake,
        .sockets = sockets,
        .socket_count = socket_count,
        .limits = {.clients = 1500, .clients_per_uid = 1500},
        .want = want,
        .want_argument = &wants,
        .hello_deadline_sec = 20,
        .stall_deadline_sec = 20,
    };
}

static void open_door(const struct attach_options *options)
{
    struct error error;
    assert_int_equal(attach_create(&door, options, &error), 0);
    floor_fds = count_fds();
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/attach_test.XXXXXX");
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chmod(directory, 0711), 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%zu.sock", directory, i);
        sockets[i] = (struct config_attach){.name = paths[i],
                                            .socket = {paths[i], 0666, CONFIG_UID_UNSET, CONFIG_GID_UNSET}};
    }
    memset(&fake, 0, sizeof fake);
    wants = 0;
    loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(loop);
    ev_timer_init(&tick, on_tick, 0.002, 0.002);
    ev_timer_start(loop, &tick);
    struct attach_options options = options_of(1);
    open_door(&options);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    attach_close(door);
    door = NULL;
    for (size_t i = 0; i < fake.count; i++) {
        assert_null(fake.clients[i]->connection);
        free(fake.clients[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(access(paths[i], F_OK), -1);
    }
    assert_int_equal(rmdir(directory), 0);
    ev_loop_destroy(loop);
    return 0;
}

static void reopen(const struct attach_options *options)
{
    attach_close(door);
    open_door(options);
}

/* --- a client --- */

static int try_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static int connect_to(const char *path)
{
    int fd = -1;
    WAIT_UNTIL((fd = try_connect(path)) != -1 || errno != EAGAIN);
    assert_true(fd >= 0);
    return fd;
}

static ssize_t send_with_fds(int fd, const void *bytes, size_t size, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(253 * sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void send_bytes(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send_with_fds(fd, bytes, size, NULL, 0), size);
}

static struct xylem_wire_header header(uint16_t type, size_t size)
{
    return (struct xylem_wire_header){XYLEM_WIRE_MAGIC, type, (uint16_t)size};
}

static struct xylem_wire_hello good_hello(void)
{
    return (struct xylem_wire_hello){
        .header = header(XYLEM_WIRE_HELLO, sizeof(struct xylem_wire_hello)),
        .wire_version = XYLEM_WIRE_VERSION,
        .abi_major = XYLEM_ABI_MAJOR,
        .incompat_known = XYLEM_INCOMPAT_KNOWN,
        .installed = 77,
        .slot_capacity = 16,
        .flags = XYLEM_HELLO_FENCED,
        .name = "exactly-thirty-two-bytes-of-name",
    };
}

static int make_page(uint32_t capacity, unsigned flags, int seals)
{
    int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd == -1)
        return -1;
    off_t size = flags & MFD_HUGETLB ? 2 << 20 : (off_t)xylem_reader_page_bytes(capacity);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int good_page(void)
{
    return make_page(16, 0, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

static void say_hello(int fd)
{
    struct xylem_wire_hello hello = good_hello();
    int page = good_page();
    assert_int_equal(send_with_fds(fd, &hello, sizeof hello, &page, 1), sizeof hello);
    close(page);
}

union reply {
    struct xylem_wire_header header;
    struct xylem_wire_welcome welcome;
    struct xylem_wire_set set;
    struct xylem_wire_epoch epoch;
    struct xylem_wire_changed changed;
    struct xylem_wire_error error;
    uint8_t bytes[XYLEM_WIRE_PACKET_MAX];
};

struct received {
    union reply packet;
    ssize_t size;
    int fds[40];
    size_t fd_count;
};

static bool try_receive(int fd, struct received *received)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(40 * sizeof(int))];
    } control;
    struct iovec part = {&received->packet, sizeof received->packet};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    received->fd_count = 0;
    received->size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received->size == -1)
        return errno != EAGAIN;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights) {
        received->fd_count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(received->fds, CMSG_DATA(rights), received->fd_count * sizeof(int));
    }
    return true;
}

static struct received receive(int fd)
{
    struct received received;
    WAIT_UNTIL(try_receive(fd, &received));
    return received;
}

static union reply expect(int fd, uint16_t type, size_t size)
{
    struct received received = receive(fd);
    assert_int_equal(received.size, size);
    assert_int_equal(received.packet.header.magic, XYLEM_WIRE_MAGIC);
    assert_int_equal(received.packet.header.type, type);
    assert_int_equal(received.packet.header.size_bytes, size);
    assert_int_equal(received.fd_count, 0);
    return received.packet;
}

static void expect_end(int fd)
{
    struct received received = receive(fd);
    assert_int_equal(received.size, 0);
    close(fd);
}

static void expect_error(int fd, int code, const char *part)
{
    union reply reply = expect(fd, XYLEM_WIRE_ERROR, sizeof reply.error);
    assert_non_null(memchr(reply.error.text, 0, sizeof reply.error.text));
    if (reply.error.code != code || !strstr((char *)reply.error.text, part))
        fail_msg("got ERROR %d \"%s\", not %d \"%s\"", reply.error.code, reply.error.text, code, part);
    expect_end(fd);
}

static int attached(void)
{
    int fd = connect_to(paths[0]);
    say_hello(fd);
    expect(fd, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    return fd;
}

static void expect_floor(void)
{
    WAIT_UNTIL(count_fds() == floor_fds);
}

/* --- cases --- */

static void says_hello_and_goodbye(void **state)
{
    (void)state;
    int fd = connect_to(paths[0]);
    uint64_t before = xylem_now_ns_(CLOCK_BOOTTIME);
    say_hello(fd);
    union reply reply = expect(fd, XYLEM_WIRE_WELCOME, sizeof reply.welcome);
    assert_int_equal(reply.welcome.wire_version, XYLEM_WIRE_VERSION);
    assert_int_equal(reply.welcome.flags, XYLEM_WELCOME_FENCE);
    assert_int_equal(reply.welcome.client_id, 1);
    assert_true(reply.welcome.clock_ns >= before && reply.welcome.clock_ns <= xylem_now_ns_(CLOCK_BOOTTIME));

    const struct publication_peer *peer = &last_client()->peer;
    assert_int_equal(peer->uid, getuid());
    assert_int_equal(peer->gid, getgid());
    assert_int_equal(peer->pid, getpid());
    assert_true(peer->pidfd >= 0);
    assert_string_equal(peer->name, "exactly-thirty-two-bytes-of-name");
    assert_int_equal(peer->installed, 77);
    assert_true(peer->fenced);
    assert_int_equal(peer->page.slot_capacity, 16);
    assert_int_equal(peer->page.page->magic, 0); /* mapped: reading does not fault */

    int regions[2] = {memfd_create("a", 0), memfd_create("b", 0)};
    uint64_t sizes[2] = {4096, 8192};
    last_client()->sink->set(last_client()->connection, 1000, regions, sizes, 2);
    struct received received = receive(fd);
    assert_int_equal(received.packet.header.type, XYLEM_WIRE_SET);
    assert_int_equal(received.size, sizeof received.packet.set);
    assert_int_equal(received.packet.set.min_epoch, 1000);
    assert_int_equal(received.packet.set.region_count, 2);
    assert_int_equal(received.fd_count, 2);
    for (size_t i = 0; i < 2; i++) {
        struct stat one, other;
        assert_int_equal(fstat(regions[i], &one) | fstat(received.fds[i], &other), 0);
        assert_int_equal(one.st_ino, other.st_ino);
        assert_int_equal(received.packet.set.region_bytes[i], sizes[i]);
        close(received.fds[i]);
        close(regions[i]);
    }
    struct xylem_wire_epoch epoch = {header(XYLEM_WIRE_INSTALLED, sizeof epoch), 1000, 0, 0};
    send_bytes(fd, &epoch, sizeof epoch);
    WAIT_UNTIL(last_client()->installed == 1000);
    last_client()->sink->release(last_client()->connection, 999);
    assert_int_equal(expect(fd, XYLEM_WIRE_RELEASE, sizeof epoch).epoch.min_epoch, 999);
    last_client()->sink->changed(last_client()->connection, XYLEM_CHANGED_LEAF);
    assert_int_equal(expect(fd, XYLEM_WIRE_CHANGED, sizeof reply.changed).changed.what, XYLEM_CHANGED_LEAF);
    epoch = (struct xylem_wire_epoch){header(XYLEM_WIRE_REFUSED, sizeof epoch), 1001, XYLEM_E_BUSY, 0};
    send_bytes(fd, &epoch, sizeof epoch);
    WAIT_UNTIL(last_client()->refused == 1001);
    assert_int_equal(last_client()->refused_code, XYLEM_E_BUSY);
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "web"};
    send_bytes(fd, &packet, sizeof packet);
    WAIT_UNTIL(wants == 1);
    assert_string_equal(wanted, "web");
    assert_int_equal(wanted_uid, getuid());
    struct xylem_wire_detach detach = {header(XYLEM_WIRE_DETACH, sizeof detach)};
    send_bytes(fd, &detach, sizeof detach);
    expect_end(fd);
    assert_true(last_client()->detached && !last_client()->disconnected);
    expect_floor();
}

static void refuses_bad_hellos(void **state)
{
    (void)state;
    enum { WIRE, MAGIC, SIZE_SAID, TYPE, ABI, CAPACITY, CAPACITY_ODD, KINDS };
    static const struct {
        int code;
        const char *text;
    } expected[KINDS] = {
        [WIRE] = {XYLEM_E_VERSION, "wire version 9"},     [MAGIC] = {XYLEM_E_PROTOCOL, "attach protocol"},
        [SIZE_SAID] = {XYLEM_E_PROTOCOL, "says that it"}, [TYPE] = {XYLEM_E_PROTOCOL, "first packet"},
        [ABI] = {XYLEM_E_VERSION, "region layout 9"},     [CAPACITY] = {XYLEM_E_PROTOCOL, "64 slots"},
        [CAPACITY_ODD] = {XYLEM_E_PROTOCOL, "17 slots"},
    };
    for (int kind = 0; kind < KINDS; kind++) {
        struct xylem_wire_hello hello = good_hello();
        if (kind == WIRE)
            hello.wire_version = 9;
        if (kind == MAGIC)
            hello.header.magic++;
        if (kind == SIZE_SAID)
            hello.header.size_bytes++;
        if (kind == TYPE)
            hello.header.type = XYLEM_WIRE_WANT;
        if (kind == ABI)
            hello.abi_major = 9;
        if (kind == CAPACITY)
            hello.slot_capacity = 64;
        if (kind == CAPACITY_ODD)
            hello.slot_capacity = 17;
        int page = good_page();
        int fd = connect_to(paths[0]);
        send_with_fds(fd, &hello, sizeof hello, &page, 1);
        close(page);
        expect_error(fd, expected[kind].code, expected[kind].text);
        expect_floor();
    }
    assert_int_equal(fake.count, 0);
}

static void refuses_bad_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 12, 40, 79, 81, 512, 513, 600, 60000};
    static union {
        struct xylem_wire_hello hello;
        char bytes[60000];
    } packet;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        packet.hello = good_hello();
        packet.hello.header.size_bytes = (uint16_t)sizes[i];
        int page = good_page();
        int fd = connect_to(paths[0]);
        assert_int_equal(send_with_fds(fd, &packet, sizes[i], &page, 1), sizes[i]);
        close(page);
        expect_error(fd, XYLEM_E_PROTOCOL, "bytes");
        expect_floor();
    }
    /* Another version may have another size, and must be told of the version. */
    packet.hello.wire_version = 2;
    packet.hello.header.size_bytes = 96;
    int fd = connect_to(paths[0]);
    send_bytes(fd, &packet, 96);
    expect_error(fd, XYLEM_E_VERSION, "wire version 2");
    /* An empty packet is no way to smuggle something past the end. */
    int page = good_page();
    fd = connect_to(paths[0]);
    send_bytes(fd, "", 0);
    send_with_fds(fd, "", 0, &page, 1);
    close(page);
    expect_end(fd);
    expect_floor();
    assert_int_equal(fake.count, 0);
}

static void hello_with(const int *fds, size_t count, const char *text)
{
    struct xylem_wire_hello hello = good_hello();
    int fd = connect_to(paths[0]);
    assert_int_equal(send_with_fds(fd, &hello, sizeof hello, fds, count), sizeof hello);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || fds[i] != fds[0])
            close(fds[i]);
    expect_error(fd, XYLEM_E_PROTOCOL, text);
    expect_floor();
}

static void refuses_bad_descriptors(void **state)
{
    (void)state;
    int fds[253];
    hello_with(NULL, 0, "none");
    for (size_t count = 2; count <= 253; count += count == 4 ? 249 : 1) {
        fds[0] = good_page();
        for (size_t i = 1; i < count; i++)
            fds[i] = fds[0];
        hello_with(fds, count, "several");
    }
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[1]);
    hello_with(fds, 1, "no memfd");
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    hello_with(fds, 1, "no memfd");
    fds[0] = open("/dev/zero", O_RDWR | O_CLOEXEC);
    hello_with(fds, 1, "no memfd");
    fds[0] = open(directory, O_PATH | O_CLOEXEC);
    hello_with(fds, 1, "no memfd");
    fds[0] = make_page(16, 0, F_SEAL_SHRINK);
    hello_with(fds, 1, "sealed");
    fds[0] = make_page(16, 0, F_SEAL_GROW);
    hello_with(fds, 1, "sealed");
    fds[0] = make_page(64, 0, F_SEAL_SHRINK | F_SEAL_GROW);
    hello_with(fds, 1, "16 slots");
    fds[0] = make_page(16, 0, 0);
    assert_int_equal(fallocate(fds[0], FALLOC_FL_KEEP_SIZE, 0, 65 << 20), 0);
    assert_int_equal(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    hello_with(fds, 1, "more memory");
    fds[0] = make_page(16, MFD_HUGETLB, F_SEAL_SHRINK | F_SEAL_GROW);
    if (fds[0] != -1)
        hello_with(fds, 1, "sealed");
    assert_int_equal(fake.count, 0);
}

static void ends_who_breaks_the_rules(void **state)
{
    (void)state;
    enum { HELLO_AGAIN, FD_LATER, UNKNOWN, AGENTS, LONG_DETACH, UNENDED, KINDS };
    static const char *const texts[KINDS] = {"second HELLO", "alone", "type 99", "type 3", "bytes", "zero"};
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = attached();
        struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "web"};
        struct xylem_wire_epoch epoch = {header(XYLEM_WIRE_INSTALLED, sizeof epoch), 1, 0, 0};
        int page = good_page();
        if (kind == HELLO_AGAIN)
            say_hello(fd);
        if (kind == FD_LATER)
            send_with_fds(fd, &epoch, sizeof epoch, &page, 1);
        if (kind == UNKNOWN || kind == AGENTS || kind == LONG_DETACH) {
            epoch.header.type = kind == UNKNOWN ? 99 : kind == AGENTS ? XYLEM_WIRE_SET : XYLEM_WIRE_DETACH;
            send_bytes(fd, &epoch, sizeof epoch);
        }
        if (kind == UNENDED) {
            memset(packet.service, 'a', sizeof packet.service);
            send_bytes(fd, &packet, sizeof packet);
        }
        close(page);
        expect_error(fd, XYLEM_E_PROTOCOL, texts[kind]);
        WAIT_UNTIL(last_client()->disconnected);
        expect_floor();
    }
    assert_int_equal(wants, 0);
}

/* A TCP socket whose close() waits for a peer that does not read. `*peer` is to be closed by the caller. */
static int lingering_socket(int *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    static char bulk[65536];
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    *peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    close(listening);
    while (send(fd, bulk, sizeof bulk, MSG_DONTWAIT) > 0)
        ;
    struct linger linger = {1, 3600};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    return fd;
}

/* Main does not look while these are sent, so the client's WANT is under way and nothing behind it is
 * received: our own copies are not the last references when they are closed. */
static void outlives_lingering_sockets(void **state)
{
    (void)state;
    int peers[6];
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "web"};
    for (size_t i = 0; i < 2; i++) {
        int fds[3];
        int fd = attached();
        int other = connect_to(paths[0]);
        for (size_t j = 0; j < 3; j++)
            fds[j] = lingering_socket(&peers[3 * i + j]);
        send_bytes(fd, &packet, sizeof packet);
        if (i == 1) /* then the descriptors are in a packet that is never received */
            send_bytes(fd, "nonsense", 8);
        send_with_fds(fd, &packet, sizeof packet, fds, 3);
        for (size_t j = 0; j < 3; j++)
            close(fds[j]);
        expect_error(fd, XYLEM_E_PROTOCOL, i == 1 ? "attach protocol" : "HELLO alone");
        say_hello(other); /* nobody else waits */
        expect(other, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
        close(other);
    }
    floor_fds += 6;
    expect_floor();
    for (size_t i = 0; i < 6; i++)
        close(peers[i]);
    floor_fds -= 6;
    expect_floor();
}

static void arm_sticky(int fd)
{
    assert_int_equal(fstat(fd, &sticky), 0);
    __atomic_store_n(&sticky_blocks, true, __ATOMIC_RELEASE);
    __atomic_store_n(&sticky_armed, true, __ATOMIC_RELEASE);
}

static void send_sticky(int *client)
{
    struct xylem_wire_hello hello = good_hello();
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    arm_sticky(fds[1]);
    *client = connect_to(paths[0]);
    send_with_fds(*client, &hello, sizeof hello, fds, 1);
    __real_close(fds[0]);
    __real_close(fds[1]);
}

/* A close() that never returns holds up one thread, and counts against the limit of its owner. */
static void outlives_a_close_that_blocks(void **state)
{
    (void)state;
    struct attach_options options = options_of(1);
    options.limits.clients_per_uid = 2;
    reopen(&options);
    int stuck;
    send_sticky(&stuck);
    expect_error(stuck, XYLEM_E_PROTOCOL, "no memfd");
    for (int i = 0; i < 3; i++) {
        int fd = attached();
        int refused = connect_to(paths[0]);
        say_hello(refused);
        expect_error(refused, XYLEM_E_LIMIT, "clients_per_uid (2)");
        close(fd);
        WAIT_UNTIL(last_client()->disconnected);
        floor_fds += 2; /* the pipe, and a mailbox of the second disposer */
        expect_floor();
        floor_fds -= 2;
    }
    __atomic_store_n(&sticky_blocks, false, __ATOMIC_RELEASE);
    expect_floor();
}

static void closes_although_a_close_blocks(void **state)
{
    (void)state;
    int stuck;
    send_sticky(&stuck);
    expect_error(stuck, XYLEM_E_PROTOCOL, "no memfd");
    double before = now_sec();
    attach_close(door);
    assert_true(now_sec() - before < 10);
    door = NULL;
    __atomic_store_n(&sticky_blocks, false, __ATOMIC_RELEASE);
}

static void keeps_the_hello_deadline(void **state)
{
    (void)state;
    struct attach_options options = options_of(1);
    options.hello_deadline_sec = 0.2;
    reopen(&options);
    int quick = attached();
    int silent = connect_to(paths[0]);
    double before = now_sec();
    expect_error(silent, XYLEM_E_PROTOCOL, "no HELLO within 0.2 seconds");
    assert_true(now_sec() - before > 0.1);
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "later"};
    send_bytes(quick, &packet, sizeof packet); /* the deadline was of the hello only */
    WAIT_UNTIL(wants == 1);
    close(quick);
    expect_floor();
}

static void keeps_limits(void **state)
{
    (void)state;
    struct attach_options options = options_of(1);
    options.limits = (struct attach_limits){.clients = 10, .clients_per_uid = 3};
    reopen(&options);
    int fds[3] = {attached(), connect_to(paths[0]), attached()};
    for (int i = 0; i < 300; i++) { /* beyond the limit costs the others nothing */
        int fd = connect_to(paths[0]);
        say_hello(fd);
        if (i % 3)
            close(fd);
        else
            expect_error(fd, XYLEM_E_LIMIT, "");
    }
    int idle[100];
    for (int i = 0; i < 100; i++)
        idle[i] = connect_to(paths[0]);
    expect_error(idle[0], XYLEM_E_LIMIT, "beyond the limits");
    for (int i = 1; i < 100; i++)
        close(idle[i]);
    say_hello(fds[1]);
    expect(fds[1], XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    close(fds[0]);
    WAIT_UNTIL(fake.clients[0]->disconnected);
    floor_fds += 6; /* of two clients: socket at both ends, pidfd */
    expect_floor();
    fds[0] = attached();
    struct attach_limits total = {.clients = 3, .clients_per_uid = 10};
    struct error error;
    assert_int_equal(attach_reload(door, sockets, 1, &total, &error), 0);
    int fd = connect_to(paths[0]);
    say_hello(fd);
    expect_error(fd, XYLEM_E_LIMIT, "limits.clients (3)");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    floor_fds -= 6;
    expect_floor();
}

static void passes_refusals_on(void **state)
{
    (void)state;
    fake.fail = ERROR_LIMIT;
    int fd = connect_to(paths[0]);
    say_hello(fd);
    expect_error(fd, XYLEM_E_LIMIT, "told to fail");
    expect_floor();
    fake.fail = 0;
    fake.refusal = "not today";
    fd = connect_to(paths[0]);
    say_hello(fd);
    expect(fd, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    expect_error(fd, XYLEM_E_DENIED, "not today");
    WAIT_UNTIL(last_client()->disconnected);
    expect_floor();
}

/* The attach thread has put everything it was given on its socket or in its outbox when a mail went round. */
static void fill_queue(int fd)
{
    struct publication_client *client = last_client();
    for (int i = 0; i < 2000 && client->connection; i++) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        client->sink->changed(client->connection, XYLEM_CHANGED_POLICY);
        ev_run(loop, EVRUN_ONCE);
        assert_int_equal(poll(&ready, 1, 0) >= 0, 1);
    }
}

static void coalesces_what_is_not_read(void **state)
{
    (void)state;
    int fd = attached();
    struct publication_client *client = last_client();
    fill_queue(fd);
    int region = memfd_create("r", MFD_CLOEXEC);
    uint64_t size = 4096;
    client->sink->changed(client->connection, XYLEM_CHANGED_LEAF); /* the rest goes together, behind it */
    client->sink->set(client->connection, 500, &region, &size, 1);
    client->sink->release(client->connection, 400);
    client->sink->release(client->connection, 300);
    for (int i = 0; i < 1000; i++)
        client->sink->changed(client->connection, i % 2 ? XYLEM_CHANGED_ROOTS : XYLEM_CHANGED_LEAF);
    close(region);
    unsigned sets = 0, releases = 0, changes = 0;
    uint32_t what = 0;
    while (sets == 0 || releases == 0 || (what & 7) != 7) {
        struct received received = receive(fd);
        changes += received.packet.header.type == XYLEM_WIRE_CHANGED;
        if (received.packet.header.type == XYLEM_WIRE_CHANGED)
            what |= received.packet.changed.what;
        if (received.packet.header.type == XYLEM_WIRE_RELEASE) {
            assert_int_equal(received.packet.epoch.min_epoch, 400);
            assert_int_equal(sets, 0); /* it makes room for the set */
            releases++;
        }
        if (received.packet.header.type == XYLEM_WIRE_SET) {
            assert_int_equal(received.fd_count, 1);
            close(received.fds[0]);
            sets++;
        }
    }
    assert_int_equal(sets, 1);
    assert_int_equal(releases, 1);
    assert_true(changes < 1500);
    close(fd);
    expect_floor();
}

static void disconnects_who_does_not_read(void **state)
{
    (void)state;
    struct attach_options options = options_of(1);
    options.stall_deadline_sec = 0.3;
    reopen(&options);
    int fd = attached();
    struct publication_client *client = last_client();
    int region = memfd_create("r", MFD_CLOEXEC);
    uint64_t size = 4096;
    fill_queue(fd);
    if (client->connection)
        client->sink->set(client->connection, 500, &region, &size, 1);
    close(region);
    WAIT_UNTIL(client->disconnected);
    floor_fds++;
    expect_floor();
    floor_fds--;
    close(fd);
    expect_floor();
}

static void survives_disconnects_during_sets(void **state)
{
    (void)state;
    int regions[32];
    uint64_t sizes[32] = {0};
    for (int i = 0; i < 32; i++)
        regions[i] = memfd_create("r", MFD_CLOEXEC);
    for (int i = 0; i < 50; i++) {
        int fd = attached();
        struct publication_client *client = last_client();
        if (i % 2)
            close(fd);
        client->sink->set(client->connection, 500, regions, sizes, 32);
        client->sink->changed(client->connection, 1);
        if (i % 2 == 0)
            close(fd);
        WAIT_UNTIL(client->disconnected);
    }
    for (int i = 0; i < 32; i++)
        close(regions[i]);
    expect_floor();
}

/* What was said before the peer closed counts, though it has left packets unread and takes no more. */
static void hears_a_detach_behind_a_broken_pipe(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        int fd = attached();
        struct publication_client *client = last_client();
        client->sink->changed(client->connection, 1);
        struct received received;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (i % 2) { /* there and not read */
            WAIT_UNTIL(poll(&ready, 1, 0) == 1);
        } else {
            try_receive(fd, &received);
        }
        struct xylem_wire_detach detach = {header(XYLEM_WIRE_DETACH, sizeof detach)};
        send_bytes(fd, &detach, sizeof detach);
        close(fd);
        client->sink->changed(client->connection, 2);
        WAIT_UNTIL(!client->connection);
        assert_true(client->detached);
    }
    expect_floor();
}

/* While main is busy nothing of a flood gets further than the socket. */
static void bounds_a_flood_of_wants(void **state)
{
    (void)state;
    int fd = attached();
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "forbidden"};
    unsigned sent = 0;
    while (sent < 100000 && send_with_fds(fd, &packet, sizeof packet, NULL, 0) > 0)
        sent++;
    assert_int_equal(errno, EAGAIN);
    WAIT_UNTIL(wants == sent);
    close(fd);
    expect_floor();
}

static void takes_a_thousand(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static int fds[COUNT];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 5 * COUNT)
        skip();
    for (int i = 0; i < COUNT; i++) {
        fds[i] = connect_to(paths[0]);
        say_hello(fds[i]);
    }
    for (int i = 0; i < COUNT; i++)
        expect(fds[i], XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    assert_int_equal(fake.count, COUNT);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    expect_floor();
}

/* Out of descriptors it neither spins nor fails for good, and goes on when there are some again. */
static void pauses_without_descriptors(void **state)
{
    (void)state;
    struct rlimit before, small;
    int first = connect_to(paths[0]);
    say_hello(first);
    expect(first, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small = before;
    small.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, paths[0], strlen(paths[0]) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "web"};
    for (unsigned i = 1; i <= 20; i++) { /* who is there is served */
        send_bytes(first, &packet, sizeof packet);
        WAIT_UNTIL(wants == i);
    }
    struct rusage start, end;
    getrusage(RUSAGE_SELF, &start);
    for (double until = now_sec() + 0.5; now_sec() < until;)
        ev_run(loop, EVRUN_ONCE);
    getrusage(RUSAGE_SELF, &end);
    double used =
        (double)(end.ru_utime.tv_sec - start.ru_utime.tv_sec + end.ru_stime.tv_sec - start.ru_stime.tv_sec) +
        (double)(end.ru_utime.tv_usec - start.ru_utime.tv_usec + end.ru_stime.tv_usec -
                 start.ru_stime.tv_usec) /
            1e6;
    assert_true(used < 0.3);
    struct received received;
    assert_false(try_receive(fd, &received));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    say_hello(fd);
    expect(fd, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    close(fd);
    close(first);
    expect_floor();
}

static void reloads(void **state)
{
    (void)state;
    struct error error;
    struct attach_limits limits = {.clients = 100, .clients_per_uid = 100};
    char *names[] = {"web", "api"};
    int first = attached();
    struct stat before, after;
    assert_int_equal(stat(paths[0], &before), 0);
    assert_int_equal(before.st_mode & 07777, 0666);

    sockets[0].socket.mode = 0600;
    sockets[1].services = (struct config_texts){names, 2};
    assert_int_equal(attach_reload(door, sockets, 2, &limits, &error), 0);
    assert_int_equal(stat(paths[0], &after), 0);
    assert_int_equal(after.st_mode & 07777, 0600);
    assert_int_equal(after.st_ino, before.st_ino);
    int second = connect_to(paths[1]);
    say_hello(second);
    expect(second, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    assert_int_equal(last_client()->peer.services->count, 2);
    assert_string_equal(last_client()->peer.services->items[1], "api");
    struct xylem_wire_want packet = {header(XYLEM_WIRE_WANT, sizeof packet), "db"};
    send_bytes(second, &packet, sizeof packet); /* not of this door */
    memcpy(packet.service, "api", 4);
    send_bytes(second, &packet, sizeof packet);
    WAIT_UNTIL(wants == 1);
    assert_string_equal(wanted, "api");

    /* A failure changes nothing. */
    struct config_attach broken[2] = {sockets[0], sockets[1]};
    char nowhere[] = "/nonexistent/attach.sock";
    broken[0].socket.mode = 0640;
    broken[1].socket.path = nowhere;
    assert_int_equal(attach_reload(door, broken, 2, &limits, &error), ERROR_SYSTEM);
    assert_int_equal(stat(paths[0], &after), 0);
    assert_int_equal(after.st_mode & 07777, 0600);

    /* Other services at the same path: whoever has the former ones comes again. The rest stays. */
    struct publication_client *of_second = last_client();
    assert_int_equal(stat(paths[1], &before), 0);
    sockets[1].services.count = 1;
    assert_int_equal(attach_reload(door, sockets, 2, &limits, &error), 0);
    expect_end(second);
    WAIT_UNTIL(of_second->disconnected);
    assert_int_equal(stat(paths[1], &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    second = connect_to(paths[1]);
    say_hello(second);
    expect(second, XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    assert_int_equal(last_client()->peer.services->count, 1);

    /* A socket goes; its connections stay. */
    assert_int_equal(attach_reload(door, sockets, 1, &limits, &error), 0);
    assert_int_equal(access(paths[1], F_OK), -1);
    memcpy(packet.service, "web", 4);
    send_bytes(second, &packet, sizeof packet);
    WAIT_UNTIL(wants == 2);
    send_bytes(first, &packet, sizeof packet);
    WAIT_UNTIL(wants == 3);
    close(first);
    close(second);
    expect_floor();
}

static void closes_with_clients(void **state)
{
    (void)state;
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = connect_to(paths[0]);
        if (i % 3)
            say_hello(fds[i]);
        if (i % 3 == 2)
            expect(fds[i], XYLEM_WIRE_WELCOME, sizeof(struct xylem_wire_welcome));
    }
    attach_close(door);
    door = NULL;
    for (size_t i = 0; i < fake.count; i++)
        assert_true(fake.clients[i]->disconnected);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}

static void knows_the_groups_of_others(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    int go[2];
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        gid_t groups[] = {4322, 4323};
        char byte;
        struct xylem_wire_hello hello = good_hello();
        int page = good_page();
        if (setgroups(2, groups) || setgid(4321) || setuid(4320))
            _exit(1);
        int fd = try_connect(paths[0]);
        if (fd == -1 || send_with_fds(fd, &hello, sizeof hello, &page, 1) <= 0)
            _exit(2);
        _exit(read(go[0], &byte, 1) == 1 ? 0 : 3);
    }
    WAIT_UNTIL(fake.count == 1);
    const struct publication_client *client = last_client();
    assert_int_equal(client->peer.uid, 4320);
    assert_int_equal(client->peer.pid, child);
    assert_int_equal(client->peer.group_count, 3);
    assert_int_equal(client->groups[0], 4321);
    assert_int_equal(client->groups[1], 4322);
    assert_int_equal(client->groups[2], 4323);
    struct pollfd exited = {.fd = client->peer.pidfd, .events = POLLIN};
    assert_int_equal(poll(&exited, 1, 0), 0);
    assert_int_equal(write(go[1], "", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    WAIT_UNTIL(client->disconnected);
    close(go[0]);
    close(go[1]);
    expect_floor();

    gid_t group = 65534;
    struct peer nobody = {.uid = 65534, .gid = 65534, .groups = &group, .group_count = 1};
    uid_t users[] = {65534};
    struct config_access access = {users, 1, NULL, 0};
    assert_false(peer_is_user(&nobody, 65534));
    assert_false(peer_is_allowed(&nobody, &access));
    nobody.uid = users[0] = 4320;
    assert_true(peer_is_user(&nobody, 4320));
    assert_true(peer_is_allowed(&nobody, &access));
}

static void takes_over_only_what_is_stale(void **state)
{
    (void)state;
    struct error error;
    struct socket_listener listener, second;
    struct config_socket config = {paths[2], 0640, CONFIG_UID_UNSET, CONFIG_GID_UNSET};
    struct stat status;

    assert_int_equal(socket_listen(&listener, &config, SOCK_STREAM, &error), 0);
    assert_int_equal(stat(paths[2], &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    assert_int_equal(socket_listen(&second, &config, SOCK_STREAM, &error), ERROR_CONFLICT);
    assert_non_null(strstr(error.text, "another agent"));
    assert_int_equal(socket_listen(&second, &config, SOCK_SEQPACKET, &error), ERROR_CONFLICT);
    assert_int_equal(unlink(paths[2]), 0); /* somebody has taken the path away */
    assert_int_equal(socket_listen(&second, &config, SOCK_STREAM, &error), 0);
    assert_false(socket_is_there(&listener));
    socket_close(&listener);
    assert_true(socket_is_there(&second));
    close(second.fd); /* as if its process had died */
    free(second.path);
    assert_int_equal(socket_listen(&second, &config, SOCK_SEQPACKET, &error), 0);
    if (geteuid() == 0) {
        config = (struct config_socket){paths[2], 0606, 4320, 4321};
        assert_int_equal(socket_set_access(&second, &config, &error), 0);
        assert_int_equal(stat(paths[2], &status), 0);
        assert_int_equal(status.st_mode & 07777, 0606);
        assert_int_equal(status.st_uid, 4320);
        assert_int_equal(status.st_gid, 4321);
    }
    socket_close(&second);
    assert_int_equal(access(paths[2], F_OK), -1);

    close(open(paths[2], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(socket_listen(&second, &config, SOCK_SEQPACKET, &error), ERROR_CONFLICT);
    assert_non_null(strstr(error.text, "no socket"));
    unlink(paths[2]);
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    config.path = longest;
    assert_int_equal(socket_listen(&second, &config, SOCK_SEQPACKET, &error), ERROR_INVALID);

    /* A second door at a path in use changes nothing. */
    struct attach *other;
    struct attach_options options = options_of(1);
    assert_int_equal(attach_create(&other, &options, &error), ERROR_CONFLICT);
    int fd = attached();
    close(fd);
    expect_floor();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    log_configure(LOG_ERROR, LOG_LOGFMT);
    const struct CMUnitTest tests[] = {
        CASE(says_hello_and_goodbye),
        CASE(refuses_bad_hellos),
        CASE(refuses_bad_sizes),
        CASE(refuses_bad_descriptors),
        CASE(ends_who_breaks_the_rules),
        CASE(outlives_lingering_sockets),
        CASE(outlives_a_close_that_blocks),
        CASE(keeps_the_hello_deadline),
        CASE(keeps_limits),
        CASE(passes_refusals_on),
        CASE(coalesces_what_is_not_read),
        CASE(disconnects_who_does_not_read),
        CASE(survives_disconnects_during_sets),
        CASE(hears_a_detach_behind_a_broken_pipe),
        CASE(bounds_a_flood_of_wants),
        CASE(takes_a_thousand),
        CASE(pauses_without_descriptors),
        CASE(reloads),
        CASE(closes_with_clients),
        CASE(knows_the_groups_of_others),
        CASE(takes_over_only_what_is_stale),
        CASE(closes_although_a_close_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include "agent/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An audit line must not lose what it is about, so it may be longer than a log line. */
enum { AUDIT_LINE_MAX = 8192 };

static int audit_fd = STDERR_FILENO;
static char audit_path[PATH_MAX]; /* main thread only */
static uint64_t last_sequence;
static uint64_t lost_lines;
static bool torn; /* the last write stopped in the middle of a line */

static int open_file(const char *path, struct error *error)
{
    /* O_NONBLOCK keeps a FIFO in that place from blocking the agent; it means nothing for a regular file. */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0 && errno == ELOOP)
        return error_set(error, ERROR_INVALID,
                         "audit log %s is a symbolic link; name the file itself in audit.file", path);
    if (fd < 0)
        return error_errno(error, "audit log %s cannot be opened; check its directory", path);
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return error_set(error, ERROR_INVALID,
                         "audit log %s is not a regular file; choose another audit.file", path);
    }
    return fd;
}

static void write_started(void)
{
    audit_emit("audit_started", log_u64("pid", (uint64_t)getpid()), log_text("version", XYLEM_VERSION));
}

int audit_open(const char *path, struct error *error)
{
    if (path && path[0]) {
        if (path[0] != '/' || strlen(path) >= sizeof audit_path)
            return error_set(error, ERROR_INVALID, "audit log %.100s: give an absolute path", path);
        int fd = open_file(path, error);
        if (fd < 0)
            return fd;
        audit_close();
        memcpy(audit_path, path, strlen(path) + 1);
        __atomic_store_n(&audit_fd, fd, __ATOMIC_RELEASE);
    }
    write_started();
    return 0;
}

int audit_reopen(struct error *error)
{
    if (!audit_path[0])
        return 0;
    int fd = open_file(audit_path, error);
    if (fd < 0)
        return fd;
    /* dup3 puts the new file under the number that writers already hold, in one step. */
    int status = dup3(fd, audit_fd, O_CLOEXEC) < 0 ? error_errno(error, "audit log %s", audit_path) : 0;
    close(fd);
    if (status == 0)
        __atomic_store_n(&torn, false, __ATOMIC_RELAXED);
    return status;
}

void audit_close(void)
{
    if (!audit_path[0])
        return;
    int fd = __atomic_exchange_n(&audit_fd, STDERR_FILENO, __ATOMIC_ACQ_REL);
    audit_path[0] = '\0';
    close(fd);
}

static int lose_line(const char *event, int number)
{
    static struct log_limit limit = LOG_LIMIT(1, 5);
    uint64_t suppressed;
    uint64_t lost = __atomic_add_fetch(&lost_lines, 1, __ATOMIC_RELAXED);
    if (log_limit_allow(&limit, &suppressed))
        log_error(log_message("audit line lost"), log_text("event", event), log_errno(number),
                  log_u64("lost", lost), log_u64("suppressed", suppressed));
    return ERROR_SYSTEM;
}

static int write_line(const char *event, const struct log_field *fields, const struct log_field *more)
{
    char now[LOG_TIME_SIZE], line[1 + AUDIT_LINE_MAX];
    log_time_now(now);
    uint64_t sequence = __atomic_add_fetch(&last_sequence, 1, __ATOMIC_RELAXED);
    const struct log_field head[] = {
        log_text("time", now),
        log_text("event", event),
        log_u64("sequence", sequence),
        more ? *more : (struct log_field){0},
        {0},
    };
    /* After a torn line, begin on a fresh one: what was cut stays recognisable and this one stays whole. */
    line[0] = '\n';
    size_t skip = __atomic_exchange_n(&torn, false, __ATOMIC_RELAXED) ? 0 : 1;
    size_t size = 1 + log_render(line + 1, AUDIT_LINE_MAX, LOG_JSON, head, fields) - skip;
    ssize_t written;
    do {
        written = write(__atomic_load_n(&audit_fd, __ATOMIC_ACQUIRE), line + skip, size);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)size)
        return 0;
    if (written > 0 || skip == 0)
        __atomic_store_n(&torn, true, __ATOMIC_RELAXED);
    return lose_line(event, written < 0 ? errno : ENOSPC);
}

int audit_write(const char *event, const struct log_field *fields)
{
    int saved = errno;
    int status = write_line(event, fields, NULL);
    errno = saved;
    return status;
}

int audit_write_limited(const char *event, const struct log_field *fields)
{
    static struct log_limit limit = LOG_LIMIT(20, 100);
    uint64_t suppressed;
    if (!log_limit_allow(&limit, &suppressed))
        return 0;
    int saved = errno;
    struct log_field count = log_u64("suppressed", suppressed);
    int status = write_line(event, fields, suppressed ? &count : NULL);
    errno = saved;
    return status;
}

uint64_t audit_lost(void)
{
    return __atomic_load_n(&lost_lines, __ATOMIC_RELAXED);
}

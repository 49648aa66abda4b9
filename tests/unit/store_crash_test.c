/* SPDX-License-Identifier: MIT */
/* The store's promise under kill -9, a full or failing disk, and power cuts: what was acknowledged is there,
 * every batch is there whole or not at all, and the store opens again.
 *
 * Disk and power are a shim around SQLite's default VFS. It counts writes, truncations and syncs and fails the
 * n-th, or all from the n-th on, for every n. For a power cut it remembers what each file has been told since
 * its last sync; at the cut every such write is lost, kept, or torn, each by lot. */
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum fault { FAULT_NONE, FAULT_FULL_ONCE, FAULT_FULL, FAULT_IO_ONCE, FAULT_IO, FAULT_POWER };
enum { FILES = 8, BATCHES = 5 };

/* One write or truncation that is not synced yet. */
struct pending {
    struct pending *next; /* the one before it in time */
    sqlite3_int64 offset;
    sqlite3_int64 size_before; /* of the file */
    size_t length;
    bool truncation;
    uint8_t *before; /* what was there */
    uint8_t *after;
};

struct shadow {
    char path[200];
    struct pending *newest;
};

struct shim_file {
    sqlite3_file base;
    struct shadow *shadow;
    sqlite3_file *real;
};

/* The store's thread does I/O while the test looks on: all of it under one lock. */
static pthread_mutex_t shim_lock = PTHREAD_MUTEX_INITIALIZER;
static enum fault fault;
static unsigned operations, fail_at;
static bool power_is_off;
static struct shadow shadows[FILES];
static sqlite3_vfs shim;
static sqlite3_vfs *real_vfs;

static void forget(struct shadow *shadow)
{
    while (shadow->newest) {
        struct pending *pending = shadow->newest;
        shadow->newest = pending->next;
        free(pending->before);
        free(pending->after);
        free(pending);
    }
}

static struct shadow *shadow_of(const char *path)
{
    for (int i = 0; i < FILES; i++)
        if (strcmp(shadows[i].path, path) == 0)
            return &shadows[i];
    for (int i = 0; i < FILES; i++)
        if (!shadows[i].path[0]) {
            snprintf(shadows[i].path, sizeof shadows[i].path, "%s", path);
            return &shadows[i];
        }
    abort();
}

/* Whether this operation fails, and how. */
static int count_operation(bool needs_room)
{
    if (power_is_off)
        return SQLITE_IOERR;
    operations++;
    bool first = operations == fail_at, later = operations > fail_at;
    switch (fault) {
    case FAULT_FULL_ONCE:
        return first && needs_room ? SQLITE_FULL : SQLITE_OK;
    case FAULT_FULL:
        return (first || later) && needs_room ? SQLITE_FULL : SQLITE_OK;
    case FAULT_IO_ONCE:
        return first ? SQLITE_IOERR_WRITE : SQLITE_OK;
    case FAULT_IO:
        return first || later ? SQLITE_IOERR_WRITE : SQLITE_OK;
    case FAULT_POWER:
        power_is_off = first;
        return first ? SQLITE_IOERR : SQLITE_OK;
    default:
        return SQLITE_OK;
    }
}

static void remember(struct shim_file *file, const void *data, size_t length, sqlite3_int64 offset,
                     bool truncation)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        abort();
    pending->offset = offset;
    pending->length = length;
    pending->truncation = truncation;
    file->real->pMethods->xFileSize(file->real, &pending->size_before);
    pending->before = calloc(1, length + 1);
    pending->after = calloc(1, length + 1);
    if (!pending->before || !pending->after)
        abort();
    file->real->pMethods->xRead(file->real, pending->before, (int)length, offset); /* short: filled with 0 */
    if (!truncation)
        memcpy(pending->after, data, length);
    pending->next = file->shadow->newest;
    file->shadow->newest = pending;
}

static int shim_write(sqlite3_file *base, const void *data, int length, sqlite3_int64 offset)
{
    struct shim_file *file = (struct shim_file *)base;
    pthread_mutex_lock(&shim_lock);
    int rc = count_operation(true);
    if (rc == SQLITE_OK) {
        remember(file, data, (size_t)length, offset, false);
        rc = file->real->pMethods->xWrite(file->real, data, length, offset);
    }
    pthread_mutex_unlock(&shim_lock);
    return rc;
}

static int shim_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct shim_file *file = (struct shim_file *)base;
    pthread_mutex_lock(&shim_lock);
    int rc = count_operation(false);
    if (rc == SQLITE_OK) {
        sqlite3_int64 old = 0;
        file->real->pMethods->xFileSize(file->real, &old);
        remember(file, NULL, old > size ? (size_t)(old - size) : 0, size, true);
        rc = file->real->pMethods->xTruncate(file->real, size);
    }
    pthread_mutex_unlock(&shim_lock);
    return rc;
}

/* Nothing is really synced: the shadow decides what a power cut leaves, and the tests are fast. */
static int shim_sync(sqlite3_file *base, int flags)
{
    (void)flags;
    struct shim_file *file = (struct shim_file *)base;
    pthread_mutex_lock(&shim_lock);
    int rc = count_operation(false);
    if (rc == SQLITE_OK)
        forget(file->shadow);
    pthread_mutex_unlock(&shim_lock);
    return rc;
}

static int shim_close(sqlite3_file *base)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xClose(real);
}

static int shim_read(sqlite3_file *base, void *data, int length, sqlite3_int64 offset)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return power_is_off ? SQLITE_IOERR_READ : real->pMethods->xRead(real, data, length, offset);
}

static int shim_file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xFileSize(real, size);
}

static int shim_lock_file(sqlite3_file *base, int level)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xLock(real, level);
}

static int shim_unlock_file(sqlite3_file *base, int level)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xUnlock(real, level);
}

static int shim_check_reserved_lock(sqlite3_file *base, int *result)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xCheckReservedLock(real, result);
}

static int shim_file_control(sqlite3_file *base, int operation, void *argument)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xFileControl(real, operation, argument);
}

static int shim_sector_size(sqlite3_file *base)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xSectorSize(real);
}

static int shim_device_characteristics(sqlite3_file *base)
{
    sqlite3_file *real = ((struct shim_file *)base)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

/* Version 1 has no shared memory: the store's exclusive mode must do without. */
static const sqlite3_io_methods shim_methods = {
    .iVersion = 1,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_file_size,
    .xLock = shim_lock_file,
    .xUnlock = shim_unlock_file,
    .xCheckReservedLock = shim_check_reserved_lock,
    .xFileControl = shim_file_control,
    .xSectorSize = shim_sector_size,
    .xDeviceCharacteristics = shim_device_characteristics,
};

static int shim_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    (void)vfs;
    struct shim_file *file = (struct shim_file *)base;
    memset(file, 0, sizeof *file);
    if (power_is_off)
        return SQLITE_CANTOPEN;
    file->real = (sqlite3_file *)(file + 1);
    int rc = real_vfs->xOpen(real_vfs, path, file->real, flags, out_flags);
    if (rc != SQLITE_OK)
        return rc;
    pthread_mutex_lock(&shim_lock);
    file->shadow = shadow_of(path ? path : "");
    pthread_mutex_unlock(&shim_lock);
    base->pMethods = &shim_methods;
    return SQLITE_OK;
}

/* Deletions are durable at once, as if the directory were synced. */
static int shim_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    (void)vfs;
    pthread_mutex_lock(&shim_lock);
    int rc = power_is_off ? SQLITE_IOERR_DELETE : SQLITE_OK;
    if (rc == SQLITE_OK)
        forget(shadow_of(path));
    pthread_mutex_unlock(&shim_lock);
    return rc == SQLITE_OK ? real_vfs->xDelete(real_vfs, path, sync_directory) : rc;
}

static void must_write(int descriptor, const uint8_t *data, size_t length, off_t offset)
{
    if (pwrite(descriptor, data, length, offset) != (ssize_t)length)
        abort();
}

/* Applies what survived, oldest first: everything, nothing, or the first half of each write. */
static void reapply(int descriptor, const struct pending *pending)
{
    if (!pending)
        return;
    reapply(descriptor, pending->next);
    int lot = rand() % 3;
    if (lot && !pending->truncation)
        must_write(descriptor, pending->after, lot == 1 ? pending->length : pending->length / 2,
                   pending->offset);
}

static void cut_power(void)
{
    for (int i = 0; i < FILES; i++) {
        int descriptor = shadows[i].newest ? open(shadows[i].path, O_RDWR) : -1;
        if (descriptor >= 0) {
            for (struct pending *p = shadows[i].newest; p; p = p->next) {
                must_write(descriptor, p->before, p->length, p->offset);
                if (ftruncate(descriptor, p->size_before))
                    abort();
            }
            reapply(descriptor, shadows[i].newest);
            close(descriptor);
        }
        forget(&shadows[i]);
    }
}

static void arm(enum fault kind, unsigned n)
{
    fault = kind;
    fail_at = n;
    operations = 0;
    power_is_off = false;
}

static void disarm(void)
{
    arm(FAULT_NONE, 0);
    for (int i = 0; i < FILES; i++) {
        forget(&shadows[i]);
        shadows[i].path[0] = '\0';
    }
}

/* Very many stores are made, and the shim decides what is durable: the directory's own fsyncs need no disk. */
static int set_up_in_memory(void **state)
{
    return fixture_set_up_in("/dev/shm", state);
}

static int install_shim(void **state)
{
    (void)state;
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "fault";
    shim.szOsFile += (int)sizeof(struct shim_file);
    shim.xOpen = shim_open;
    shim.xDelete = shim_delete;
    return sqlite3_vfs_register(&shim, 1);
}

static int remove_shim(void **state)
{
    (void)state;
    return sqlite3_vfs_unregister(&shim);
}

/* Two rows that belong together, and enough ballast to reach checkpoints. */
static struct store_batch *numbered_batch(unsigned number)
{
    static const uint8_t ballast[6000];
    struct store_batch *batch = store_batch_new();
    assert_non_null(batch);
    char key[32];
    snprintf(key, sizeof key, "a%06u", number);
    put_number(batch, key, number);
    char service[32];
    snprintf(service, sizeof service, "s%u", number % 3);
    store_put_leaf(batch, &(struct store_leaf){.service = service, .chain = {ballast, sizeof ballast}});
    key[0] = 'b';
    put_number(batch, key, number);
    return batch;
}

enum { NUMBERS = 4096 };
struct found {
    bool a[NUMBERS], b[NUMBERS];
};

static int find_numbers(void *argument, const struct store_meta *row, struct error *error)
{
    (void)error;
    struct found *found = argument;
    if (row->key[0] == 'a' || row->key[0] == 'b') {
        assert_true(row->integer < NUMBERS);
        (row->key[0] == 'a' ? found->a : found->b)[row->integer] = true;
    }
    return 0;
}

/* Reads back which batches are there; each must be there as a whole. */
static void load_numbers(struct fixture *f, struct found *found)
{
    memset(found, 0, sizeof *found);
    assert_int_equal(store_load_meta(f->store, find_numbers, found, &f->error), 0);
    for (unsigned i = 0; i < NUMBERS; i++)
        assert_int_equal(found->a[i], found->b[i]);
}

/* Opens the store and submits batches 1..BATCHES one by one; notes what was answered. Whether it opened. */
static bool work(struct fixture *f, int codes[BATCHES + 1])
{
    for (unsigned i = 1; i <= BATCHES; i++)
        codes[i] = ERROR_BUSY;
    if (store_open(f->directory, &f->store, &f->error)) {
        assert_non_null(strstr(f->error.text, f->file));
        f->store = NULL;
        return false;
    }
    /* Checkpoints every few commits instead of every thousand pages. */
    assert_int_equal(sqlite3_wal_autocheckpoint(f->store->database, 8), SQLITE_OK);
    must_start(f);
    for (unsigned i = 1; i <= BATCHES; i++) {
        codes[i] = submit_and_wait(f, numbered_batch(i));
        if (codes[i])
            assert_non_null(strstr(f->error.text, f->file));
    }
    return true;
}

/* The n-th operation on a fresh store, or on one that has been closed, fails: what then? Returns whether
 * there was an n-th. */
static bool run_with_fault(struct fixture *f, enum fault kind, unsigned n, bool fresh)
{
    int codes[BATCHES + 1];
    if (!fresh) {
        must_open(f);
        must_start(f);
        assert_int_equal(submit_and_wait(f, numbered_batch(0)), 0);
        must_close(f);
        disarm();
    }
    srand(n);
    arm(kind, n);
    bool opened = work(f, codes);
    bool hit = operations >= n;
    bool recovers = opened && (kind == FAULT_FULL || kind == FAULT_FULL_ONCE || kind == FAULT_IO_ONCE);
    if (recovers && hit) {
        arm(FAULT_NONE, 0); /* there is room again: the same store goes on */
        assert_int_equal(submit_and_wait(f, numbered_batch(BATCHES + 1)), 0);
    }
    must_close(f);
    hit = hit || operations >= n;
    if (kind == FAULT_POWER)
        cut_power();
    disarm();
    must_open(f);
    static struct found found;
    load_numbers(f, &found);
    assert_true(fresh || found.a[0]);
    for (unsigned i = 1; i <= BATCHES; i++) {
        if (!codes[i])
            assert_true(found.a[i]);
        /* A full disk fails before the commit is written; a failed sync leaves its fate open. */
        if (codes[i] && (kind == FAULT_FULL || kind == FAULT_FULL_ONCE))
            assert_false(found.a[i]);
    }
    must_start(f);
    assert_int_equal(submit_and_wait(f, numbered_batch(BATCHES + 2)), 0);
    must_close(f);
    disarm();
    remove_directory(f->directory);
    return hit;
}

static void run_faults(struct fixture *f, enum fault kind, bool fresh)
{
    unsigned n = 1;
    while (run_with_fault(f, kind, n, fresh))
        n++;
    assert_true(n > 50); /* the shim is in the way of all writing */
}

static void a_full_disk_for_a_moment(void **state)
{
    run_faults(*state, FAULT_FULL_ONCE, true);
}

static void a_full_disk(void **state)
{
    run_faults(*state, FAULT_FULL, true);
}

static void an_input_output_error(void **state)
{
    run_faults(*state, FAULT_IO_ONCE, true);
    run_faults(*state, FAULT_IO_ONCE, false);
}

static void a_dead_disk(void **state)
{
    run_faults(*state, FAULT_IO, true);
}

static void a_power_cut(void **state)
{
    run_faults(*state, FAULT_POWER, true);
    run_faults(*state, FAULT_POWER, false);
}

/* Kill -9, without the shim. The child writes each acknowledged number into the pipe; up to IN_FLIGHT batches
 * are under way at any time. */
enum { ROUNDS = 25, IN_FLIGHT = 8 };

static int acknowledgements;
static unsigned in_flight;

static void acknowledge(void *argument, const struct error *error)
{
    uint32_t number = (uint32_t)(uintptr_t)argument;
    if (error || write(acknowledgements, &number, sizeof number) != sizeof number)
        _exit(1);
    in_flight--;
}

static void submit_until_killed(struct fixture *f)
{
    struct store *store;
    if (store_open(f->directory, &store, &f->error))
        _exit(2);
    sqlite3_wal_autocheckpoint(store->database, 16);
    if (store_start(store, &f->answers, &f->error))
        _exit(3);
    for (unsigned number = 0; number < NUMBERS; number++) {
        store_submit(store, numbered_batch(number), acknowledge, (void *)(uintptr_t)number);
        for (in_flight++; in_flight >= IN_FLIGHT;) {
            mailbox_wait(&f->answers);
            mailbox_run(&f->answers);
        }
    }
    _exit(4);
}

/* Kills the child after `target` acknowledgements; the number of those made in all. */
static uint32_t kill_after(struct fixture *f, uint32_t target)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        acknowledgements = ends[1];
        submit_until_killed(f);
    }
    close(ends[1]);
    uint32_t count = 0, number;
    while (read(ends[0], &number, sizeof number) == sizeof number) {
        assert_int_equal(number, count);
        if (++count == target)
            kill(child, SIGKILL);
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return count;
}

static void what_was_acknowledged_survives_kill_9(void **state)
{
    struct fixture *f = *state;
    static struct found found;
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t acknowledged = kill_after(f, 1 + (uint32_t)rand() % 150);
        must_open(f);
        load_numbers(f, &found);
        unsigned present = 0;
        while (present < NUMBERS && found.a[present])
            present++;
        assert_true(present >= acknowledged);
        for (unsigned i = present; i < NUMBERS; i++)
            assert_false(found.a[i]); /* in the order of submission, without holes */
        must_close(f);
        remove_directory(f->directory);
    }
}

int main(void)
{
    const struct CMUnitTest faults[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_for_a_moment, set_up_in_memory, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk, set_up_in_memory, fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_input_output_error, set_up_in_memory, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_dead_disk, set_up_in_memory, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_power_cut, set_up_in_memory, fixture_tear_down),
    };
    const struct CMUnitTest kills[] = {
        cmocka_unit_test_setup_teardown(what_was_acknowledged_survives_kill_9, fixture_set_up,
                                        fixture_tear_down),
    };
    int failed = cmocka_run_group_tests(faults, install_shim, remove_shim);
    return failed + cmocka_run_group_tests(kills, NULL, NULL);
}

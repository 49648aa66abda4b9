/* SPDX-License-Identifier: MIT */
/* What the tests of the store share: a directory of their own, and batches that are waited for. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/store/internal.h"
#include "agent/store/store.h"

struct fixture {
    char base[64];       /* a fresh directory */
    char directory[128]; /* base/state: made by the store */
    char file[160];
    struct mailbox answers;
    struct store *store;
    struct error error;
};

struct outcome {
    bool done;
    int code;
    char text[500];
};

static inline void note_outcome(void *argument, const struct error *error)
{
    struct outcome *outcome = argument;
    outcome->done = true;
    outcome->code = error ? error->code : 0;
    snprintf(outcome->text, sizeof outcome->text, "%s", error ? error->text : "");
}

static inline int await(struct fixture *f, const struct outcome *outcome)
{
    while (!outcome->done) {
        mailbox_wait(&f->answers);
        mailbox_run(&f->answers);
    }
    return outcome->code;
}

static inline int submit_and_wait(struct fixture *f, struct store_batch *batch)
{
    struct outcome outcome = {0};
    store_submit(f->store, batch, note_outcome, &outcome);
    await(f, &outcome);
    snprintf(f->error.text, sizeof f->error.text, "%s", outcome.text);
    return outcome.code;
}

static inline void must_open(struct fixture *f)
{
    f->error.text[0] = '\0';
    if (store_open(f->directory, &f->store, &f->error))
        fail_msg("%s", f->error.text);
}

static inline void must_start(struct fixture *f)
{
    assert_int_equal(store_start(f->store, &f->answers, &f->error), 0);
}

static inline void must_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static inline void put_number(struct store_batch *batch, const char *key, uint64_t integer)
{
    store_put_meta(batch, &(struct store_meta){.key = key, .integer = integer});
}

static inline int fixture_set_up_in(const char *place, void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    snprintf(f->base, sizeof f->base, "%s/xylem-store-XXXXXX", place);
    if (!mkdtemp(f->base))
        return -1;
    snprintf(f->directory, sizeof f->directory, "%s/state", f->base);
    snprintf(f->file, sizeof f->file, "%s/state.db", f->directory);
    *state = f;
    return mailbox_init(&f->answers, &f->error);
}

static inline int fixture_set_up(void **state)
{
    return fixture_set_up_in("/tmp", state);
}

static inline void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(path);
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    mailbox_destroy(&f->answers);
    remove_directory(f->directory);
    remove_directory(f->base);
    free(f);
    return 0;
}

#endif

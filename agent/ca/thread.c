/* SPDX-License-Identifier: MIT */
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/wc_port.h>

#include "agent/ca/thread.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ca_thread {
    WC_RNG rng;
    pid_t pid; /* whom the generator's state belongs to */
};

/* The library counts its users without a lock, so it is started once a process and never stopped. */
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_code;

static void start_library(void)
{
    library_code = wolfCrypt_Init();
}

enum { RANDOM_CHUNK_BYTES = 65536 }; /* the generator refuses more in one call */

struct ca_thread *ca_thread_create(struct error *error)
{
    struct ca_thread *thread = calloc(1, sizeof *thread);
    if (!thread) {
        error_errno(error, "crypto library");
        return NULL;
    }
    pthread_once(&library_once, start_library);
    int code = library_code ? library_code : wc_InitRng(&thread->rng);
    if (code == 0) {
        thread->pid = getpid();
        return thread;
    }
    error_set(error, ERROR_CRYPTO, "random generator: %s (is /dev/urandom there?)", wc_GetErrorString(code));
    free(thread);
    return NULL;
}

void ca_thread_free(struct ca_thread *thread)
{
    if (!thread)
        return;
    wc_FreeRng(&thread->rng);
    wc_ecc_fp_free();
    explicit_bzero(thread, sizeof *thread);
    free(thread);
}

void ca_thread_idle(struct ca_thread *thread)
{
    (void)thread; /* the tables belong to the calling thread; the handle says that there is one */
    wc_ecc_fp_free();
}

struct WC_RNG *ca_thread_rng(struct ca_thread *thread, struct error *error)
{
    pid_t pid = getpid();
    if (thread->pid == pid)
        return &thread->rng;
    /* Forked: the parent draws the same bytes from its copy of the state. */
    wc_FreeRng(&thread->rng);
    thread->pid = 0;
    int code = wc_InitRng(&thread->rng);
    if (code) {
        error_set(error, ERROR_CRYPTO, "random generator after fork: %s", wc_GetErrorString(code));
        return NULL;
    }
    thread->pid = pid;
    return &thread->rng;
}

int ca_thread_random(struct ca_thread *thread, void *bytes, size_t size, struct error *error)
{
    WC_RNG *rng = ca_thread_rng(thread, error);
    if (!rng)
        return ERROR_CRYPTO;
    uint8_t *at = bytes;
    while (size) {
        size_t chunk = size < RANDOM_CHUNK_BYTES ? size : RANDOM_CHUNK_BYTES;
        int code = wc_RNG_GenerateBlock(rng, at, (word32)chunk);
        if (code)
            return error_set(error, ERROR_CRYPTO, "random generator: %s", wc_GetErrorString(code));
        at += chunk;
        size -= chunk;
    }
    return 0;
}

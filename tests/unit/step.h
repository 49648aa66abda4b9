/* SPDX-License-Identifier: MIT */
/* Runs a handler at every instruction of a piece of code, by the trap flag of x86-64: what a scheduler shows once in a
 * million runs is shown in the first. Other machines have no such flag that a program may set; tests are skipped there.
 *
 * The kernel clears the flag while the handler runs and restores it when it returns, so a handler that sets it itself is
 * interrupted at its own instructions, too. */
#ifndef TESTS_UNIT_STEP_H
#define TESTS_UNIT_STEP_H

#include <signal.h>
#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__)
#    define STEP_AVAILABLE 1

/* The red zone below the stack pointer belongs to the compiler. */
static inline __attribute__((always_inline)) void step_begin(void)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
            : "memory", "cc");
}

static inline __attribute__((always_inline)) void step_end(void)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
            : "memory", "cc");
}
#else
#    define STEP_AVAILABLE 0
static inline void step_begin(void)
{
}
static inline void step_end(void)
{
}
#endif

/* For a handler: from here on what it interrupted runs freely. */
static inline void step_stop(void *context)
{
#if STEP_AVAILABLE
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100LL;
#else
    (void)context;
#endif
}

static inline void step_install(void (*handler)(int signal, siginfo_t *info, void *context))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_NODEFER | SA_SIGINFO;
    sigaction(SIGTRAP, &action, NULL);
}

#endif

/* SPDX-License-Identifier: MIT */
/* How the agent's modules report failure: a negative code for the program, a sentence for the person.
 *
 * Every function that can fail for a reason somebody could mend takes a `struct error *` last, fills it, leaves
 * its state untouched and returns the code. The sentence names the thing, the place and the remedy, and never
 * holds a secret. */
#ifndef AGENT_ERROR_H
#define AGENT_ERROR_H

enum error_code {
    ERROR_INVALID = -1,   /* the request or the input is wrong; repeating it cannot help */
    ERROR_NOT_FOUND = -2, /* no such thing */
    ERROR_DENIED = -3,    /* not allowed to the one who asks */
    ERROR_CONFLICT = -4,  /* contradicts what is there */
    ERROR_LIMIT = -5,     /* a configured or built-in limit; the text names it */
    ERROR_BUSY = -6,      /* not now; repeating may help */
    ERROR_SYSTEM = -7,    /* the system refused: memory, disk, descriptors; the text has errno's words */
    ERROR_CRYPTO = -8,    /* the crypto library refused, or a signature or key is bad */
    ERROR_CORRUPT = -9,   /* stored or published data fails its checks */
};

struct error {
    int code;
    char text[500];
};

/* Fills `error` (which may be NULL) and returns `code`, so that a failing function ends in one line:
 * return error_set(error, ERROR_INVALID, "service \"%s\": ...", name); */
int error_set(struct error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As error_set() with ERROR_SYSTEM; appends ": " and errno's text. */
int error_errno(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "WHERE: " in front of the text that is there: callers add the place that they know. Returns the code. */
int error_at(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

/* SPDX-License-Identifier: MIT */
/* Between the files of the configuration reader: config_guard.c refuses what libconfuse must not see,
 * config_file.c drives libconfuse, config_sections.c and config_connect.c read sections with the readers of
 * config_value.c, and config.c holds defaults and what needs no file. */
#ifndef AGENT_CONFIG_INTERNAL_H
#define AGENT_CONFIG_INTERNAL_H

#include "agent/config.h"

#include <confuse.h>

/* A value as it stands in the file. */
struct config_value {
    unsigned line;
    char text[];
};

/* One file being read. The first refusal sets `failed` and `error`; the readers then do nothing, so that it
 * is checked once at the end. */
struct config_reader {
    const char *name; /* of the file */
    struct config *config;
    struct config_texts *warnings; /* may be NULL */
    struct error *error;
    bool failed;
    bool parsing;     /* within libconfuse */
    bool overwritten; /* libconfuse dropped a value for a later one of the same key */
};

/* Copies `text` to `clean` (`size` bytes) with comments blanked, so that lines keep their numbers. Refuses
 * what would make libconfuse's scanner misbehave; config_guard.c says what. */
int config_guard(const char *name, const char *text, size_t size, char *clean, struct error *error);

void config_refuse(struct config_reader *reader, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_warn(struct config_reader *reader, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The value of a key, or NULL where the file does not give it. */
const struct config_value *config_value_of(cfg_t *section, const char *key);
/* The line of the key, or where it is not given the last line of the section. */
unsigned config_line_of(cfg_t *section, const char *key);

/* Readers: the key's value goes to the last argument; nothing happens where the file does not give it. Owned
 * texts that were there are freed. */
void config_read_text(struct config_reader *reader, cfg_t *section, const char *key, char **text);
/* Letters, digits and _ . - only, 1 to 64 of them. */
void config_read_label(struct config_reader *reader, cfg_t *section, const char *key, char **text);
void config_read_path(struct config_reader *reader, cfg_t *section, const char *key, char **path);
void config_read_bool(struct config_reader *reader, cfg_t *section, const char *key, bool *boolean);
void config_read_unsigned(struct config_reader *reader, cfg_t *section, const char *key, unsigned least,
                          unsigned most, unsigned *number);
void config_read_size(struct config_reader *reader, cfg_t *section, const char *key, uint64_t least,
                      uint64_t most, uint64_t *bytes);
void config_read_duration(struct config_reader *reader, cfg_t *section, const char *key, int64_t least_ns,
                          int64_t *nanoseconds);
/* One of `words`, which ends with NULL; the result is its index. */
void config_read_word(struct config_reader *reader, cfg_t *section, const char *key, const char *const *words,
                      unsigned *index);
void config_read_mode(struct config_reader *reader, cfg_t *section, const char *key, mode_t *mode);
/* `check` returns what is wrong with an item, or NULL. */
void config_read_texts(struct config_reader *reader, cfg_t *section, const char *key,
                       const char *(*check)(const char *), struct config_texts *texts);
void config_read_user(struct config_reader *reader, cfg_t *section, const char *key, uid_t *user);
void config_read_group(struct config_reader *reader, cfg_t *section, const char *key, gid_t *group);
void config_read_users(struct config_reader *reader, cfg_t *section, const char *key,
                       struct config_access *access);
void config_read_groups(struct config_reader *reader, cfg_t *section, const char *key,
                        struct config_access *access);
/* Users, and groups written "@NAME". */
void config_read_users_and_groups(struct config_reader *reader, cfg_t *section, const char *key,
                                  struct config_access *access);

/* What is wrong with a text for that use, or NULL. */
const char *config_check_label(const char *text);
const char *config_check_service_name(const char *text);

/* The sections. */
void config_read_all(struct config_reader *reader, cfg_t *root);
void config_read_connect(struct config_reader *reader, cfg_t *connect);

/* Defaults that need no other key; NULL if memory runs out. */
struct config *config_new(void);
/* Defaults that follow from other keys (identities, sockets). `false` if memory runs out. */
bool config_fill(struct config *config);
bool config_set_text(char **field, const char *text);
bool config_texts_add(struct config_texts *texts, const char *text);
/* RUN_DIRECTORY/FILE, where FILE is STANDARD for the socket named "default", else NAME.sock. NULL: out of
 * memory. */
char *config_socket_path(const char *run_directory, const char *name, const char *standard);

/* The kernel's ids for users and groups that have none in this user namespace. */
uid_t config_overflow_uid(void);
gid_t config_overflow_gid(void);

#endif

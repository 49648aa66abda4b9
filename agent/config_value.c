/* SPDX-License-Identifier: MIT */
/* Typed readers of single values. */
#include "agent/config_internal.h"

#include "agent/duration.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_refuse(struct config_reader *reader, unsigned line, const char *format, ...)
{
    if (reader->failed)
        return;
    reader->failed = true;
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_set(reader->error, ERROR_INVALID, "%s:%u: %s", reader->name, line, text);
}

void config_warn(struct config_reader *reader, unsigned line, const char *format, ...)
{
    if (!reader->warnings || reader->failed)
        return;
    char text[400], full[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(full, sizeof full, "%.80s:%u: %s", reader->name, line, text);
    if (!config_texts_add(reader->warnings, full))
        config_refuse(reader, line, "out of memory");
}

const struct config_value *config_value_of(cfg_t *section, const char *key)
{
    return cfg_getnptr(section, key, 0);
}

unsigned config_line_of(cfg_t *section, const char *key)
{
    const struct config_value *value = config_value_of(section, key);
    return value ? value->line : (unsigned)section->line;
}

static void store_text(struct config_reader *reader, const struct config_value *value, char **text)
{
    if (!reader->failed && !config_set_text(text, value->text))
        config_refuse(reader, value->line, "out of memory");
}

void config_read_text(struct config_reader *reader, cfg_t *section, const char *key, char **text)
{
    const struct config_value *value = config_value_of(section, key);
    if (value)
        store_text(reader, value, text);
}

static const char *check_characters(const char *text, const char *allowed_beside_letters, size_t most)
{
    size_t length = strlen(text);
    if (length == 0)
        return "must not be empty";
    if (length > most)
        return "is too long";
    for (const char *c = text; *c; c++) {
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              strchr(allowed_beside_letters, *c)))
            return "has a character that is not allowed; use letters, digits, _ . and -";
    }
    return NULL;
}

const char *config_check_label(const char *text)
{
    return strspn(text, ".") == strlen(text) && *text ? "must not be only dots"
                                                      : check_characters(text, "_.-", 64);
}

const char *config_check_service_name(const char *text)
{
    return strspn(text, ".") == strlen(text) && *text ? "must not be only dots"
                                                      : check_characters(text, "_.:~-", 128);
}

void config_read_label(struct config_reader *reader, cfg_t *section, const char *key, char **text)
{
    const struct config_value *value = config_value_of(section, key);
    if (!value)
        return;
    const char *wrong = config_check_label(value->text);
    if (wrong)
        config_refuse(reader, value->line, "%s \"%.64s\" %s", key, value->text, wrong);
    else
        store_text(reader, value, text);
}

void config_read_path(struct config_reader *reader, cfg_t *section, const char *key, char **path)
{
    const struct config_value *value = config_value_of(section, key);
    if (!value)
        return;
    if (value->text[0] != '/')
        config_refuse(reader, value->line, "%s \"%.100s\" is not an absolute path; begin it with /", key,
                      value->text);
    else if (strlen(value->text) >= PATH_MAX)
        config_refuse(reader, value->line, "%s is longer than the %d bytes that a path may have", key,
                      PATH_MAX - 1);
    else
        store_text(reader, value, path);
}

void config_read_bool(struct config_reader *reader, cfg_t *section, const char *key, bool *boolean)
{
    static const char *const words[] = {"false", "true", NULL};
    unsigned index = *boolean;
    config_read_word(reader, section, key, words, &index);
    *boolean = index == 1;
}

/* Decimal digits only: no sign, no space, no octal surprise. */
static bool parse_decimal(const char *text, uint64_t most, uint64_t *number)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits])
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno || value > most)
        return false;
    *number = value;
    return true;
}

void config_read_unsigned(struct config_reader *reader, cfg_t *section, const char *key, unsigned least,
                          unsigned most, unsigned *number)
{
    const struct config_value *value = config_value_of(section, key);
    uint64_t parsed;
    if (!value)
        return;
    if (!parse_decimal(value->text, most, &parsed) || parsed < least)
        config_refuse(reader, value->line, "%s \"%.40s\" is not a whole number from %u to %u", key,
                      value->text, least, most);
    else
        *number = (unsigned)parsed;
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    size_t digits = strspn(text, "0123456789");
    char number[24];
    if (digits >= sizeof number)
        return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t parsed;
        if (strcmp(text + digits, units[i]) != 0)
            continue;
        if (!parse_decimal(number, UINT64_MAX >> (10 * i), &parsed))
            return false;
        *bytes = parsed << (10 * i);
        return true;
    }
    return false;
}

void config_read_size(struct config_reader *reader, cfg_t *section, const char *key, uint64_t least,
                      uint64_t most, uint64_t *bytes)
{
    const struct config_value *value = config_value_of(section, key);
    uint64_t parsed;
    if (!value)
        return;
    if (!parse_size(value->text, &parsed))
        config_refuse(reader, value->line, "%s \"%.40s\" is not a size; write bytes, or 64KiB, 16MiB, 1GiB",
                      key, value->text);
    else if (parsed < least || parsed > most)
        config_refuse(reader, value->line, "%s \"%.40s\" is not between %" PRIu64 " and %" PRIu64 " bytes",
                      key, value->text, least, most);
    else
        *bytes = parsed;
}

void config_read_duration(struct config_reader *reader, cfg_t *section, const char *key, int64_t least_ns,
                          int64_t *nanoseconds)
{
    const struct config_value *value = config_value_of(section, key);
    struct error error;
    int64_t parsed;
    char least[DURATION_TEXT_SIZE];
    if (!value)
        return;
    if (duration_parse(value->text, &parsed, &error) != 0) {
        config_refuse(reader, value->line, "%s: %.200s", key, error.text);
    } else if (parsed < least_ns) {
        duration_print(least_ns, least);
        config_refuse(reader, value->line, "%s \"%.40s\" is too short; the least is %s", key, value->text,
                      least);
    } else {
        *nanoseconds = parsed;
    }
}

void config_read_word(struct config_reader *reader, cfg_t *section, const char *key, const char *const *words,
                      unsigned *index)
{
    const struct config_value *value = config_value_of(section, key);
    char choices[100] = "";
    size_t used = 0;
    if (!value)
        return;
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(value->text, words[i]) == 0) {
            *index = i;
            return;
        }
        int wrote = snprintf(choices + used, sizeof choices - used, "%s\"%s\"", i ? ", " : "", words[i]);
        used += wrote > 0 && (size_t)wrote < sizeof choices - used ? (size_t)wrote : 0;
    }
    config_refuse(reader, value->line, "%s \"%.40s\" is unknown; write one of %s", key, value->text, choices);
}

void config_read_mode(struct config_reader *reader, cfg_t *section, const char *key, mode_t *mode)
{
    const struct config_value *value = config_value_of(section, key);
    if (!value)
        return;
    size_t length = strlen(value->text);
    if (length < 3 || length > 4 || strspn(value->text, "01234567") != length ||
        strtoul(value->text, NULL, 8) > 0777)
        config_refuse(reader, value->line, "%s \"%.20s\" is not an octal mode such as 0660", key,
                      value->text);
    else
        *mode = (mode_t)strtoul(value->text, NULL, 8);
}

enum { LIST_ITEMS_MAX = 1024 };

static unsigned list_size(struct config_reader *reader, cfg_t *section, const char *key)
{
    unsigned size = cfg_size(section, key);
    if (size > LIST_ITEMS_MAX)
        config_refuse(reader, config_line_of(section, key), "%s has more than %d items", key, LIST_ITEMS_MAX);
    return size;
}

void config_read_texts(struct config_reader *reader, cfg_t *section, const char *key,
                       const char *(*check)(const char *), struct config_texts *texts)
{
    unsigned size = list_size(reader, section, key);
    for (unsigned i = 0; i < size && !reader->failed; i++) {
        const struct config_value *value = cfg_getnptr(section, key, i);
        const char *wrong = check(value->text);
        if (wrong)
            config_refuse(reader, value->line, "%s: \"%.100s\" %s", key, value->text, wrong);
        for (size_t j = 0; j < texts->count; j++) {
            if (strcmp(texts->items[j], value->text) == 0)
                config_refuse(reader, value->line, "%s has \"%.100s\" twice; remove one", key, value->text);
        }
        if (!reader->failed && !config_texts_add(texts, value->text))
            config_refuse(reader, value->line, "out of memory");
    }
}

/* ---- Users and groups ---- */

/* (uid_t)-1 is chown()'s "leave it"; no user has that id. */
enum { LOOKUP_BYTES = 16384 };

static bool find_user(const char *name, uid_t *user)
{
    char buffer[LOOKUP_BYTES];
    struct passwd entry, *found = NULL;
    uint64_t number;
    if (parse_decimal(name, UINT32_MAX - 1, &number)) {
        *user = (uid_t)number;
        return true;
    }
    if (getpwnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || !found)
        return false;
    *user = found->pw_uid;
    return true;
}

static bool find_group(const char *name, gid_t *group)
{
    char buffer[LOOKUP_BYTES];
    struct group entry, *found = NULL;
    uint64_t number;
    if (parse_decimal(name, UINT32_MAX - 1, &number)) {
        *group = (gid_t)number;
        return true;
    }
    if (getgrnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || !found)
        return false;
    *group = found->gr_gid;
    return true;
}

static bool resolve_user(struct config_reader *reader, const char *key, unsigned line, const char *name,
                         uid_t *user)
{
    if (find_user(name, user))
        return true;
    config_refuse(reader, line, "%s: there is no user \"%.64s\"; create it, or write a uid", key, name);
    return false;
}

static bool resolve_group(struct config_reader *reader, const char *key, unsigned line, const char *name,
                          gid_t *group)
{
    if (find_group(name, group))
        return true;
    config_refuse(reader, line, "%s: there is no group \"%.64s\"; create it, or write a gid", key, name);
    return false;
}

void config_read_user(struct config_reader *reader, cfg_t *section, const char *key, uid_t *user)
{
    const struct config_value *value = config_value_of(section, key);
    if (value)
        resolve_user(reader, key, value->line, value->text, user);
}

void config_read_group(struct config_reader *reader, cfg_t *section, const char *key, gid_t *group)
{
    const struct config_value *value = config_value_of(section, key);
    if (value)
        resolve_group(reader, key, value->line, value->text, group);
}

static void add_user(struct config_reader *reader, const char *key, unsigned line, const char *name,
                     struct config_access *access)
{
    uid_t user;
    if (!resolve_user(reader, key, line, name, &user))
        return;
    if (user == config_overflow_uid())
        config_warn(
            reader, line,
            "%s: \"%.64s\" is uid %u, the kernel's overflow uid, which never matches a peer; choose another",
            key, name, (unsigned)user);
    uid_t *users = reallocarray(access->users, access->user_count + 1, sizeof *users);
    if (!users) {
        config_refuse(reader, line, "out of memory");
        return;
    }
    access->users = users;
    access->users[access->user_count++] = user;
}

static void add_group(struct config_reader *reader, const char *key, unsigned line, const char *name,
                      struct config_access *access)
{
    gid_t group;
    if (!resolve_group(reader, key, line, name, &group))
        return;
    if (group == config_overflow_gid())
        config_warn(
            reader, line,
            "%s: \"%.64s\" is gid %u, the kernel's overflow gid, which never matches a peer; choose another",
            key, name, (unsigned)group);
    gid_t *groups = reallocarray(access->groups, access->group_count + 1, sizeof *groups);
    if (!groups) {
        config_refuse(reader, line, "out of memory");
        return;
    }
    access->groups = groups;
    access->groups[access->group_count++] = group;
}

void config_read_users(struct config_reader *reader, cfg_t *section, const char *key,
                       struct config_access *access)
{
    unsigned size = list_size(reader, section, key);
    for (unsigned i = 0; i < size && !reader->failed; i++) {
        const struct config_value *value = cfg_getnptr(section, key, i);
        add_user(reader, key, value->line, value->text, access);
    }
}

void config_read_groups(struct config_reader *reader, cfg_t *section, const char *key,
                        struct config_access *access)
{
    unsigned size = list_size(reader, section, key);
    for (unsigned i = 0; i < size && !reader->failed; i++) {
        const struct config_value *value = cfg_getnptr(section, key, i);
        add_group(reader, key, value->line, value->text, access);
    }
}

void config_read_users_and_groups(struct config_reader *reader, cfg_t *section, const char *key,
                                  struct config_access *access)
{
    unsigned size = list_size(reader, section, key);
    for (unsigned i = 0; i < size && !reader->failed; i++) {
        const struct config_value *value = cfg_getnptr(section, key, i);
        if (value->text[0] == '@')
            add_group(reader, key, value->line, value->text + 1, access);
        else
            add_user(reader, key, value->line, value->text, access);
    }
}

/* SPDX-License-Identifier: MIT */
/* Defaults and what needs no file. */
#include "agent/config_internal.h"

#include "agent/duration.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool config_set_text(char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return false;
    free(*field);
    *field = copy;
    return true;
}

bool config_texts_add(struct config_texts *texts, const char *text)
{
    char **items = reallocarray(texts->items, texts->count + 1, sizeof *items);
    if (!items)
        return false;
    texts->items = items;
    items[texts->count] = strdup(text);
    if (!items[texts->count])
        return false;
    texts->count++;
    return true;
}

char *config_socket_path(const char *run_directory, const char *name, const char *standard)
{
    char *path;
    bool is_default = strcmp(name, "default") == 0;
    int length =
        asprintf(&path, "%s/%s%s", run_directory, is_default ? standard : name, is_default ? "" : ".sock");
    return length < 0 ? NULL : path;
}

struct config *config_new(void)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return NULL;
    config->default_policy = CONFIG_DENY;
    config->log_format = LOG_LOGFMT;
    config->log_level = LOG_INFO;
    config->connect_enabled = true;
    config->ca = (struct config_ca){
        .leaf_cert_ttl_ns = 72 * DURATION_HOUR,
        .intermediate_cert_ttl_ns = 8760 * DURATION_HOUR,
        .root_cert_ttl_ns = 87600 * DURATION_HOUR,
        .private_key_type = CONFIG_KEY_EC,
        .private_key_bits = 256,
        .csr_max_per_second = 50,
    };
    config->leaves.on_request = true;
    config->leaves.on_request_max = 64;
    config->leaves.unused_after_ns = 72 * DURATION_HOUR;
    config->limits.clients = 1024;
    config->limits.clients_per_uid = 64;
    config->limits.regions_per_uid = 16;
    config->limits.policy_region_bytes_max = UINT64_C(1) << 30;
    config->limits.scope_region_bytes_max = UINT64_C(64) << 20;
    config->limits.supersede_interval_ns = 10 * DURATION_SECOND;
    if (!config_set_text(&config->state_directory, "/var/lib/xylem") ||
        !config_set_text(&config->run_directory, "/run/xylem") ||
        !config_set_text(&config->datacenter, "dc1")) {
        config_free(config);
        return NULL;
    }
    return config;
}

static bool fill_socket(const struct config *config, const char *standard, mode_t mode, char **name,
                        struct config_socket *socket)
{
    *socket = (struct config_socket){.path = config_socket_path(config->run_directory, "default", standard),
                                     .mode = mode,
                                     .user = CONFIG_UID_UNSET,
                                     .group = CONFIG_GID_UNSET};
    return socket->path && config_set_text(name, "default");
}

bool config_fill(struct config *config)
{
    if (config->identity_count == 0) {
        config->identities = calloc(1, sizeof *config->identities);
        if (!config->identities)
            return false;
        config->identity_count = 1;
        if (!config_set_text(&config->identities->name, "consul") ||
            !config_set_text(&config->identities->pattern, CONFIG_CONSUL_PATTERN))
            return false;
    }
    if (config->attach_count == 0) {
        config->attaches = calloc(1, sizeof *config->attaches);
        if (!config->attaches)
            return false;
        config->attach_count = 1;
        if (!fill_socket(config, "attach.sock", 0666, &config->attaches->name, &config->attaches->socket))
            return false;
    }
    if (config->admin_count == 0) {
        config->admins = calloc(1, sizeof *config->admins);
        if (!config->admins)
            return false;
        config->admin_count = 1;
        if (!fill_socket(config, "admin.sock", 0660, &config->admins->name, &config->admins->socket))
            return false;
    }
    return true;
}

int config_default_dev(const char *directory, struct config **config, struct error *error)
{
    enum { DIRECTORY_MAX = 90 }; /* leaves room for the name of a socket in sun_path */
    if (directory[0] != '/' || strlen(directory) > DIRECTORY_MAX)
        return error_set(error, ERROR_INVALID,
                         "development directory \"%.100s\": give an absolute path of at most %d bytes",
                         directory, DIRECTORY_MAX);
    struct config *fresh = config_new();
    char *state = NULL;
    if (!fresh || asprintf(&state, "%s/state", directory) < 0 ||
        !config_set_text(&fresh->run_directory, directory) ||
        !config_set_text(&fresh->state_directory, state) || !config_fill(fresh)) {
        free(state);
        config_free(fresh);
        return error_set(error, ERROR_SYSTEM, "development configuration: out of memory");
    }
    free(state);
    *config = fresh;
    return 0;
}

void config_texts_free(struct config_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct config_texts){0};
}

static void free_access(struct config_access *access)
{
    free(access->users);
    free(access->groups);
}

static void free_named(struct config *config)
{
    for (size_t i = 0; i < config->identity_count; i++) {
        free(config->identities[i].name);
        free(config->identities[i].pattern);
    }
    for (size_t i = 0; i < config->service_count; i++) {
        struct config_service *service = &config->services[i];
        free(service->name);
        free(service->namespace_name);
        free(service->partition);
        free_access(&service->access);
        config_texts_free(&service->dns);
        config_texts_free(&service->ip);
    }
    for (size_t i = 0; i < config->attach_count; i++) {
        free(config->attaches[i].name);
        free(config->attaches[i].socket.path);
        config_texts_free(&config->attaches[i].services);
    }
    for (size_t i = 0; i < config->admin_count; i++) {
        free(config->admins[i].name);
        free(config->admins[i].socket.path);
        for (unsigned level = 0; level < 3; level++)
            free_access(&config->admins[i].access[level]);
    }
    free(config->identities);
    free(config->services);
    free(config->attaches);
    free(config->admins);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    free_named(config);
    free_access(&config->leaves.on_request_access);
    if (config->ca.private_key)
        explicit_bzero(config->ca.private_key, strlen(config->ca.private_key));
    free(config->ca.private_key);
    free(config->ca.root_cert);
    free(config->ca.cluster_id);
    free(config->audit_file);
    free(config->datacenter);
    free(config->key_file);
    free(config->run_directory);
    free(config->state_directory);
    free(config);
}

static unsigned read_overflow_id(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    unsigned long id = size > 0 ? strtoul(text, NULL, 10) : 0;
    return id > 0 && id <= UINT32_MAX ? (unsigned)id : 65534; /* the kernel's default */
}

/* Read once: /proc may be out of reach later. Two threads that come first at once store the same number. */
uid_t config_overflow_uid(void)
{
    static unsigned cached;
    unsigned id = __atomic_load_n(&cached, __ATOMIC_RELAXED);
    if (id == 0) {
        id = read_overflow_id("/proc/sys/kernel/overflowuid");
        __atomic_store_n(&cached, id, __ATOMIC_RELAXED);
    }
    return id;
}

gid_t config_overflow_gid(void)
{
    static unsigned cached;
    unsigned id = __atomic_load_n(&cached, __ATOMIC_RELAXED);
    if (id == 0) {
        id = read_overflow_id("/proc/sys/kernel/overflowgid");
        __atomic_store_n(&cached, id, __ATOMIC_RELAXED);
    }
    return id;
}

bool config_access_allows(const struct config_access *access, uid_t uid, const gid_t *groups,
                          size_t group_count)
{
    if (uid == config_overflow_uid())
        return false; /* somebody from another user namespace: the groups say no more than the uid */
    for (size_t i = 0; i < access->user_count; i++) {
        if (access->users[i] == uid)
            return true;
    }
    for (size_t i = 0; i < access->group_count; i++) {
        if (access->groups[i] == config_overflow_gid())
            continue;
        for (size_t j = 0; j < group_count; j++) {
            if (access->groups[i] == groups[j])
                return true;
        }
    }
    return false;
}

static bool differ(const char *old_text, const char *new_text)
{
    return old_text && new_text ? strcmp(old_text, new_text) != 0 : old_text != new_text;
}

size_t config_changed_keys_needing_restart(const struct config *old_config, const struct config *new_config,
                                           const char *keys[CONFIG_RESTART_KEYS_MAX])
{
    size_t count = 0;
    if (differ(old_config->state_directory, new_config->state_directory))
        keys[count++] = "state_directory";
    if (differ(old_config->run_directory, new_config->run_directory))
        keys[count++] = "run_directory";
    if (differ(old_config->key_file, new_config->key_file))
        keys[count++] = "key_file";
    if (differ(old_config->datacenter, new_config->datacenter))
        keys[count++] = "datacenter";
    return count;
}

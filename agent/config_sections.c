/* SPDX-License-Identifier: MIT */
/* All sections but `connect`, and what must hold between them. */
#include "agent/config_internal.h"

#include "agent/duration.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned line_of_section(const cfg_t *section)
{
    return (unsigned)section->line;
}

static void read_key(struct config_reader *reader, cfg_t *root)
{
    struct config *config = reader->config;
    const struct config_value *credential = config_value_of(root, "key_credential");
    config_read_path(reader, root, "key_file", &config->key_file);
    if (!credential || reader->failed)
        return;
    const char *wrong = config_check_label(credential->text);
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    if (config->key_file) {
        config_refuse(reader, credential->line, "key_file and key_credential are both given; remove one");
    } else if (wrong) {
        config_refuse(reader, credential->line, "key_credential \"%.64s\" %s", credential->text, wrong);
    } else if (!directory || directory[0] != '/') {
        config_refuse(
            reader, credential->line,
            "key_credential: $CREDENTIALS_DIRECTORY is not set; add LoadCredential=%s:/PATH to the unit",
            credential->text);
    } else if (asprintf(&config->key_file, "%s/%s", directory, credential->text) < 0) {
        config->key_file = NULL;
        config_refuse(reader, credential->line, "out of memory");
    } else if (access(config->key_file, R_OK) != 0) {
        config_refuse(
            reader, credential->line,
            "key_credential: there is no credential \"%.64s\"; add LoadCredential=%s:/PATH to the unit",
            credential->text, credential->text);
    }
}

static void read_top(struct config_reader *reader, cfg_t *root)
{
    static const char *const policies[] = {"deny", "allow", NULL};
    struct config *config = reader->config;
    unsigned policy = config->default_policy;
    const struct config_value *version = config_value_of(root, "config_version");
    if (version && strcmp(version->text, "1") != 0)
        config_refuse(
            reader, version->line,
            "config_version \"%.20s\" is not known; this version reads %d, update xylemd or the file",
            version->text, CONFIG_VERSION);
    config_read_path(reader, root, "state_directory", &config->state_directory);
    config_read_path(reader, root, "run_directory", &config->run_directory);
    read_key(reader, root);
    config_read_label(reader, root, "datacenter", &config->datacenter);
    for (char *c = config->datacenter; *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a'); /* Consul lower-cases it too */
    }
    config_read_word(reader, root, "default_policy", policies, &policy);
    config->default_policy = (enum config_policy)policy;
    config_read_bool(reader, root, "strict_trust_domain", &config->strict_trust_domain);
}

static void read_log(struct config_reader *reader, cfg_t *section)
{
    static const char *const formats[] = {"logfmt", "json", NULL};
    static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
    unsigned format = reader->config->log_format, level = reader->config->log_level;
    config_read_word(reader, section, "format", formats, &format);
    config_read_word(reader, section, "level", levels, &level);
    reader->config->log_format = (enum log_format)format;
    reader->config->log_level = (enum log_level)level;
}

/* What is wrong with an identity pattern, or NULL. */
static const char *check_pattern(const char *pattern)
{
    static const char *const names[] = {"{trust_domain}", "{partition}", "{namespace}", "{datacenter}",
                                        "{service}"};
    unsigned seen[5] = {0};
    if (strncmp(pattern, "spiffe://", 9) != 0 || pattern[9] == '/' || !strchr(pattern + 9, '/'))
        return "must begin with spiffe://{trust_domain}/";
    for (const char *at = pattern + 9; *at; at++) {
        if (*at == '}')
            return "has a } without its {";
        if (*at <= ' ' || *at > '~' || strchr("%?#\"<>\\^`|", *at))
            return "has a character that a SPIFFE ID cannot have";
        if (*at != '{')
            continue;
        unsigned i = 0;
        while (i < 5 && strncmp(at, names[i], strlen(names[i])) != 0)
            i++;
        if (i == 5)
            return "may hold {trust_domain}, {partition}, {namespace}, {datacenter} and {service}, nothing "
                   "else in "
                   "braces";
        if (seen[i]++)
            return "has the same placeholder twice";
        if (i == 0 && at != pattern + 9)
            return "has {trust_domain} in another place than right after spiffe://";
        at += strlen(names[i]) - 1;
        if (at[1] == '{')
            return "has two placeholders with nothing between them";
    }
    return seen[4] ? NULL : "lacks {service}";
}

static void read_identity(struct config_reader *reader, cfg_t *section, struct config_identity *identity)
{
    const struct config_value *pattern = config_value_of(section, "pattern");
    const char *wrong = config_check_label(cfg_title(section));
    if (wrong)
        config_refuse(reader, line_of_section(section), "identity \"%.64s\": its name %s", cfg_title(section),
                      wrong);
    else if (!pattern)
        config_refuse(reader, line_of_section(section),
                      "identity \"%s\" has no pattern; add pattern = \"%s\"", cfg_title(section),
                      CONFIG_CONSUL_PATTERN);
    else if ((wrong =
                  strlen(pattern->text) > 512 ? "is longer than 512 bytes" : check_pattern(pattern->text)))
        config_refuse(reader, pattern->line, "pattern \"%.100s\" %s", pattern->text, wrong);
    else if (!config_set_text(&identity->name, cfg_title(section)))
        config_refuse(reader, pattern->line, "out of memory");
    else
        config_read_text(reader, section, "pattern", &identity->pattern);
}

static const char *check_dns(const char *name)
{
    const char *label = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    if (strlen(name) > 253)
        return "is longer than the 253 characters of a DNS name";
    do {
        size_t length = strcspn(label, ".");
        if (length == 0 || length > 63 || label[0] == '-' || label[length - 1] == '-' ||
            strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") < length)
            return "is not a DNS name; write host.example.com or *.example.com";
        label += length;
    } while (*label++ == '.');
    return NULL;
}

static const char *check_ip(const char *address)
{
    unsigned char bytes[16];
    if (inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1)
        return NULL;
    return "is not an IPv4 or IPv6 address";
}

static void read_service(struct config_reader *reader, cfg_t *section, struct config_service *service)
{
    const char *wrong = config_check_service_name(cfg_title(section));
    if (wrong) {
        config_refuse(reader, line_of_section(section), "service \"%.64s\": its name %s", cfg_title(section),
                      wrong);
        return;
    }
    if (!config_set_text(&service->name, cfg_title(section)) ||
        !config_set_text(&service->namespace_name, "default") ||
        !config_set_text(&service->partition, "default"))
        config_refuse(reader, line_of_section(section), "out of memory");
    config_read_label(reader, section, "namespace", &service->namespace_name);
    config_read_label(reader, section, "partition", &service->partition);
    config_read_users(reader, section, "users", &service->access);
    config_read_groups(reader, section, "groups", &service->access);
    config_read_texts(reader, section, "dns", check_dns, &service->dns);
    config_read_texts(reader, section, "ip", check_ip, &service->ip);
    if (service->access.user_count + service->access.group_count == 0)
        config_warn(reader, line_of_section(section),
                    "service \"%s\" has neither users nor groups: only root and the agent's own user may "
                    "read its leaf",
                    service->name);
}

static void read_leaves(struct config_reader *reader, cfg_t *section)
{
    struct config *config = reader->config;
    config_read_bool(reader, section, "on_request", &config->leaves.on_request);
    config_read_unsigned(reader, section, "on_request_max", 0, 65536, &config->leaves.on_request_max);
    config_read_users(reader, section, "on_request_users", &config->leaves.on_request_access);
    config_read_groups(reader, section, "on_request_groups", &config->leaves.on_request_access);
    config_read_duration(reader, section, "unused_after", DURATION_MINUTE, &config->leaves.unused_after_ns);
}

static void read_socket(struct config_reader *reader, cfg_t *section, const char *standard, char **name,
                        struct config_socket *socket)
{
    const char *title = cfg_title(section), *wrong = config_check_label(title);
    if (wrong) {
        config_refuse(reader, line_of_section(section), "%s \"%.64s\": its name %s", section->name, title,
                      wrong);
        return;
    }
    if (!config_set_text(name, title) ||
        !(socket->path = config_socket_path(reader->config->run_directory, title, standard))) {
        config_refuse(reader, line_of_section(section), "out of memory");
        return;
    }
    config_read_path(reader, section, "path", &socket->path);
    config_read_mode(reader, section, "mode", &socket->mode);
    config_read_user(reader, section, "user", &socket->user);
    config_read_group(reader, section, "group", &socket->group);
    if (strlen(socket->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        config_refuse(reader, config_line_of(section, "path"),
                      "path %.120s is too long for a socket; use at most %zu bytes", socket->path,
                      sizeof((struct sockaddr_un *)0)->sun_path - 1);
}

static void read_attach(struct config_reader *reader, cfg_t *section, struct config_attach *attach)
{
    attach->socket =
        (struct config_socket){.mode = 0666, .user = CONFIG_UID_UNSET, .group = CONFIG_GID_UNSET};
    read_socket(reader, section, "attach.sock", &attach->name, &attach->socket);
    config_read_texts(reader, section, "services", config_check_service_name, &attach->services);
}

static void read_admin(struct config_reader *reader, cfg_t *section, struct config_admin *admin)
{
    static const char *const levels[] = {"viewer", "operator", "admin", NULL};
    static const char *const lists[] = {"viewers", "operators", "admins"};
    unsigned level = CONFIG_VIEWER;
    admin->socket = (struct config_socket){.mode = 0660, .user = CONFIG_UID_UNSET, .group = CONFIG_GID_UNSET};
    read_socket(reader, section, "admin.sock", &admin->name, &admin->socket);
    config_read_word(reader, section, "level", levels, &level);
    admin->level = (enum config_level)level;
    for (unsigned i = 0; i < 3; i++)
        config_read_users_and_groups(reader, section, lists[i], &admin->access[i]);
    if (level > CONFIG_VIEWER && (admin->socket.mode & 06))
        config_warn(reader, config_line_of(section, "level"),
                    "admin \"%s\": every user of this machine may connect and has level %s; narrow the mode",
                    cfg_title(section), levels[level]);
}

static void read_limits(struct config_reader *reader, cfg_t *section)
{
    struct config *config = reader->config;
    const uint64_t page = 65536, most = UINT64_C(1) << 40;
    config_read_unsigned(reader, section, "clients", 1, 65536, &config->limits.clients);
    config_read_unsigned(reader, section, "clients_per_uid", 1, 65536, &config->limits.clients_per_uid);
    config_read_unsigned(reader, section, "regions_per_uid", 1, 65536, &config->limits.regions_per_uid);
    config_read_size(reader, section, "policy_region_bytes_max", page, most,
                     &config->limits.policy_region_bytes_max);
    config_read_size(reader, section, "scope_region_bytes_max", page, most,
                     &config->limits.scope_region_bytes_max);
    config_read_duration(reader, section, "supersede_interval", 0, &config->limits.supersede_interval_ns);
}

/* Makes room for `count` items of `size` bytes, or refuses. */
static void *new_items(struct config_reader *reader, size_t count, size_t size)
{
    void *items = count && !reader->failed ? calloc(count, size) : NULL;
    if (count && !items)
        config_refuse(reader, 0, "out of memory");
    return items;
}

static void read_named(struct config_reader *reader, cfg_t *root)
{
    struct config *config = reader->config;
    unsigned count = cfg_size(root, "identity");
    config->identities = new_items(reader, count, sizeof *config->identities);
    for (unsigned i = 0; i < count && !reader->failed; i++)
        read_identity(reader, cfg_getnsec(root, "identity", i),
                      &config->identities[config->identity_count++]);
    count = cfg_size(root, "service");
    config->services = new_items(reader, count, sizeof *config->services);
    for (unsigned i = 0; i < count && !reader->failed; i++)
        read_service(reader, cfg_getnsec(root, "service", i), &config->services[config->service_count++]);
    count = cfg_size(root, "attach");
    config->attaches = new_items(reader, count, sizeof *config->attaches);
    for (unsigned i = 0; i < count && !reader->failed; i++)
        read_attach(reader, cfg_getnsec(root, "attach", i), &config->attaches[config->attach_count++]);
    count = cfg_size(root, "admin");
    config->admins = new_items(reader, count, sizeof *config->admins);
    for (unsigned i = 0; i < count && !reader->failed; i++)
        read_admin(reader, cfg_getnsec(root, "admin", i), &config->admins[config->admin_count++]);
}

struct placed_path {
    const char *path;
    unsigned line;
};

static int compare_paths(const void *left, const void *right)
{
    const struct placed_path *a = left, *b = right;
    int order = strcmp(a->path, b->path);
    return order ? order : (a->line > b->line) - (a->line < b->line);
}

static void check_paths_differ(struct config_reader *reader, cfg_t *root)
{
    const struct config *config = reader->config;
    size_t count = 0, total = config->attach_count + config->admin_count;
    struct placed_path *paths = new_items(reader, total, sizeof *paths);
    if (!paths)
        return;
    for (unsigned i = 0; i < config->attach_count; i++)
        paths[count++] = (struct placed_path){config->attaches[i].socket.path,
                                              config_line_of(cfg_getnsec(root, "attach", i), "path")};
    for (unsigned i = 0; i < config->admin_count; i++)
        paths[count++] = (struct placed_path){config->admins[i].socket.path,
                                              config_line_of(cfg_getnsec(root, "admin", i), "path")};
    qsort(paths, count, sizeof *paths, compare_paths);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(paths[i - 1].path, paths[i].path) == 0)
            config_refuse(reader, paths[i].line, "socket %.120s is used twice; give each its own path",
                          paths[i].path);
    }
    free(paths);
}

static bool is_configured(const struct config *config, const char *service)
{
    for (size_t i = 0; i < config->service_count; i++) {
        if (strcmp(config->services[i].name, service) == 0)
            return true;
    }
    return false;
}

static void check_attach_services(struct config_reader *reader, cfg_t *root)
{
    const struct config *config = reader->config;
    for (unsigned i = 0; i < config->attach_count && !config->leaves.on_request; i++) {
        const struct config_texts *services = &config->attaches[i].services;
        for (size_t j = 0; j < services->count; j++) {
            if (!is_configured(config, services->items[j]))
                config_warn(
                    reader, config_line_of(cfg_getnsec(root, "attach", i), "services"),
                    "attach \"%s\" lists service \"%.64s\", which is not configured and cannot be requested",
                    config->attaches[i].name, services->items[j]);
        }
    }
}

void config_read_all(struct config_reader *reader, cfg_t *root)
{
    if (reader->failed)
        return;
    read_top(reader, root);
    read_log(reader, cfg_getsec(root, "log"));
    config_read_path(reader, cfg_getsec(root, "audit"), "file", &reader->config->audit_file);
    config_read_connect(reader, cfg_getsec(root, "connect"));
    read_leaves(reader, cfg_getsec(root, "leaves"));
    read_limits(reader, cfg_getsec(root, "limits"));
    read_named(reader, root);
    if (reader->failed)
        return;
    check_paths_differ(reader, root);
    check_attach_services(reader, root);
}

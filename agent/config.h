/* SPDX-License-Identifier: MIT */
/* The configuration of xylemd: one file in libconfuse syntax, read into one plain structure.
 *
 * The table below is the reference that xylemd.conf(5) is written from. A list is written {"a", "b"}; a
 * duration as Go writes it, "72h" or "1m30s"; a size in bytes with an optional KiB, MiB or GiB. Comments are
 * #, // and C's. Every path is absolute. A key that is unknown, given twice or wrong is refused with file and
 * line.
 *
 *   key                        default               meaning; (restart): takes effect at the next start
 *   config_version             1                     format of this file; a newer one is refused
 *   state_directory            /var/lib/xylem        what must survive: store, keys, leaves (restart)
 *   run_directory              /run/xylem            sockets (restart)
 *   key_file                   none                  file with the key that encrypts keys at rest (restart)
 *   key_credential             none                  the same as a systemd credential (restart)
 *   datacenter                 dc1                   datacenter in identities (restart)
 *   default_policy             deny                  verdict where no intention matches: deny or allow
 *   strict_trust_domain        false                 deny foreign trust domains at the Consul API too
 *   log {
 *     format                   logfmt                logfmt or json
 *     level                    info                  error, warning, info or debug
 *   }
 *   audit {
 *     file                     none                  JSON lines; none: standard error
 *   }
 *   identity "NAME" {                                several; without any: Consul's, named "consul"
 *     pattern                  required              e.g. spiffe://{trust_domain}/ns/{namespace}/sa/{service}
 *   }
 *   connect {                                        written as in Consul's own configuration
 *     enabled                  true
 *     ca_provider              consul                the built-in CA; this version has no other
 *     ca_config {
 *       cluster_id             random, kept          UUID; the trust domain is CLUSTER_ID.consul
 *       leaf_cert_ttl          72h                   1h to 8760h
 *       intermediate_cert_ttl  8760h                 at least 3h and three times leaf_cert_ttl
 *       root_cert_ttl          87600h                at least intermediate_cert_ttl
 *       private_key_type       ec                    ec or rsa
 *       private_key_bits       256                   ec: 224, 256, 384, 521; rsa: 2048, 4096
 *       private_key            generated             PEM of the root's key
 *       private_key_file       none                  file that holds it instead
 *       root_cert              generated             PEM of the root; needs a private key
 *       root_cert_file         none                  file that holds it instead
 *       csr_max_per_second     50                    0: no limit
 *       csr_max_concurrent     0                     used only when the former is 0; 0: no limit
 *       skip_validate          false                 skips the checks of TTLs and key above
 *       rotation_period        none                  accepted with a warning: it never did anything
 *     }
 *   }
 *   service "NAME" {                                 several; a leaf to keep ready, and who may read it
 *     namespace                default
 *     partition                default
 *     users                    {}                    names or uids
 *     groups                   {}                    names or gids
 *     dns                      {}                    further DNS names in the leaf
 *     ip                       {}                    further IP addresses in the leaf
 *   }
 *   leaves {
 *     on_request               true                  issue leaves of services that are not configured above
 *     on_request_max           64                    how many of those at most
 *     on_request_users         {}                    who may request, beside root and the agent's own user
 *     on_request_groups        {}
 *     unused_after             72h                   a requested leaf unread for so long is dropped
 *   }
 *   attach "NAME" {                                  several; without any: "default" as below
 *     path                     in run_directory: attach.sock if NAME is default, else NAME.sock
 *     mode                     0666                  octal; who may connect, access lists say what for
 *     user                     the agent's           owner of the socket
 *     group                    the agent's
 *     services                 {}                    only these; empty: all that the client may have
 *   }
 *   admin "NAME" {                                   several; without any: "default" as below
 *     path                     in run_directory: admin.sock if NAME is default, else NAME.sock
 *     mode                     0660
 *     user                     the agent's
 *     group                    the agent's
 *     level                    viewer                of whoever can connect: viewer, operator or admin
 *     viewers                  {}                    users, or groups as "@NAME", of at least that level;
 *     operators                {}                      root and the agent's own user are always admin
 *     admins                   {}
 *   }
 *   limits {
 *     clients                  1024                  attached at once
 *     clients_per_uid          64
 *     regions_per_uid          16                    superseded regions that clients of one uid may hold
 *     policy_region_bytes_max  1GiB
 *     scope_region_bytes_max   64MiB
 *     supersede_interval       10s                   least time between two supersedes for the same client
 *   }
 *
 * There is no include and no expansion: ${NAME} outside single quotes is refused, because what the file means
 * must not depend on the environment of whoever starts the agent. */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/error.h"
#include "agent/log.h"

enum {
    CONFIG_VERSION = 1,
    CONFIG_FILE_BYTES_MAX = 1 << 20,
};
#define CONFIG_CONSUL_PATTERN "spiffe://{trust_domain}/ns/{namespace}/dc/{datacenter}/svc/{service}"
#define CONFIG_UID_UNSET      ((uid_t)-1) /* leave the owner as it is */
#define CONFIG_GID_UNSET      ((gid_t)-1)

/* Texts that the list owns. */
struct config_texts {
    char **items;
    size_t count;
};

/* Users and groups, resolved to numbers when the file was read. */
struct config_access {
    uid_t *users;
    size_t user_count;
    gid_t *groups;
    size_t group_count;
};

enum config_policy { CONFIG_DENY, CONFIG_ALLOW };
enum config_level { CONFIG_VIEWER, CONFIG_OPERATOR, CONFIG_ADMIN };
enum config_key_type { CONFIG_KEY_EC, CONFIG_KEY_RSA };

struct config_identity {
    char *name;
    char *pattern;
};

/* The built-in CA, with the checks of Consul done unless skip_validate. */
struct config_ca {
    char *cluster_id; /* lower case; NULL: random, kept in the store */
    int64_t leaf_cert_ttl_ns;
    int64_t intermediate_cert_ttl_ns;
    int64_t root_cert_ttl_ns;
    enum config_key_type private_key_type;
    unsigned private_key_bits;
    char *private_key; /* PEM, also of private_key_file; NULL: generated. Secret: wiped when freed */
    char *root_cert;   /* PEM, also of root_cert_file; NULL: generated */
    double csr_max_per_second;
    unsigned csr_max_concurrent;
    bool skip_validate;
};

struct config_service {
    char *name;
    char *namespace_name; /* `namespace` is a C++ keyword */
    char *partition;
    struct config_access access;
    struct config_texts dns;
    struct config_texts ip;
};

struct config_socket {
    char *path;
    mode_t mode;
    uid_t user;  /* or CONFIG_UID_UNSET */
    gid_t group; /* or CONFIG_GID_UNSET */
};

struct config_attach {
    char *name;
    struct config_socket socket;
    struct config_texts services; /* none: all that the client may have */
};

struct config_admin {
    char *name;
    struct config_socket socket;
    enum config_level level;        /* of whoever can connect */
    struct config_access access[3]; /* by enum config_level: who has at least that level */
};

struct config {
    char *state_directory;
    char *run_directory;
    char *key_file; /* absolute; for a credential, the path in $CREDENTIALS_DIRECTORY; NULL: none */
    char *datacenter;
    enum config_policy default_policy;
    bool strict_trust_domain;

    enum log_format log_format;
    enum log_level log_level;
    char *audit_file; /* NULL: standard error */

    struct config_identity *identities; /* at least one */
    size_t identity_count;

    bool connect_enabled;
    struct config_ca ca;

    struct config_service *services;
    size_t service_count;

    struct {
        bool on_request;
        unsigned on_request_max;
        struct config_access on_request_access;
        int64_t unused_after_ns;
    } leaves;

    struct config_attach *attaches; /* at least one */
    size_t attach_count;
    struct config_admin *admins; /* at least one */
    size_t admin_count;

    struct {
        unsigned clients;
        unsigned clients_per_uid;
        unsigned regions_per_uid;
        uint64_t policy_region_bytes_max;
        uint64_t scope_region_bytes_max;
        int64_t supersede_interval_ns;
    } limits;
};

/* Reads the file. On success `*config` is a new structure for config_free(), and `*warnings` (zeroed by the
 * caller, may be NULL) has sentences worth logging, for config_texts_free(). On failure the error starts with
 * "FILE:LINE: " and nothing changed. libconfuse keeps its scanner in global variables: main thread only. */
int config_load(const char *path, struct config **config, struct config_texts *warnings, struct error *error);

/* The same for text in memory; `name` stands for the file in messages. */
int config_parse(const char *name, const char *text, size_t size, struct config **config,
                 struct config_texts *warnings, struct error *error);

/* What `xylemd --dev` uses: the defaults, with state in DIRECTORY/state and sockets in DIRECTORY
 * (absolute). */
int config_default_dev(const char *directory, struct config **config, struct error *error);

/* Wipes the private key and frees; NULL is fine. */
void config_free(struct config *config);
void config_texts_free(struct config_texts *texts);

/* Whether a peer is on the list. The overflow uid and gid never match (a peer from another user namespace
 * looks like them). `groups` are all groups that count for the peer. */
bool config_access_allows(const struct config_access *access, uid_t uid, const gid_t *groups,
                          size_t group_count);

/* For a reload: writes the keys that differ but take effect only at the next start, literals, to `keys`;
 * returns how many. The caller warns and keeps the old values of these. */
enum { CONFIG_RESTART_KEYS_MAX = 4 };
size_t config_changed_keys_needing_restart(const struct config *old_config, const struct config *new_config,
                                           const char *keys[CONFIG_RESTART_KEYS_MAX]);

#endif

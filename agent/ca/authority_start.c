/* SPDX-License-Identifier: MIT */
/* What happens once at each start: the first root, sealing of what was stored open, warnings. Blocks: the
 * loop does not run yet. */
#include "agent/ca/authority_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/ca/pem.h"
#include "agent/log.h"

/* A batch whose end the start waits for. */
struct waiting {
    bool over;
    int code;
    struct error error;
};

static void stop_waiting(struct waiting *waiting, const struct error *error)
{
    waiting->over = true;
    if (error) {
        waiting->error = *error;
        waiting->code = error->code;
    }
}

static int wait_for(struct waiting *waiting, struct mailbox *answers, struct error *error)
{
    while (!waiting->over) {
        mailbox_wait(answers);
        mailbox_run(answers);
    }
    return waiting->code ? error_set(error, waiting->code, "%s", waiting->error.text) : 0;
}

static int random_cluster_id(struct authority *authority, struct error *error)
{
    uint8_t b[16];
    char text[AUTHORITY_CLUSTER_ID_SIZE];
    int code = ca_thread_random(authority->setup.thread, b, sizeof b, error);
    if (code)
        return code;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 ... */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* ... of the usual variant */
    snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    authority_set_cluster(authority, text);
    return 0;
}

/* Takes over the cluster that a given root was made for: spiffe://<UUID>.consul. False when its name is
 * another one, which the import then refuses. */
static bool adopt_cluster_id(struct authority *authority, const char *pem)
{
    static const char shape[] = "spiffe://xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx.consul";
    char text[sizeof shape];
    struct x509 certificate;
    uint8_t *der;
    size_t size;
    if (!pem || pem_decode_only(pem, strlen(pem), PEM_CERTIFICATE, &der, &size, NULL))
        return false;
    bool fine = x509_parse(&certificate, der, size, NULL) == 0;
    struct der_slice uri = fine ? x509_only_uri(&certificate) : (struct der_slice){0};
    fine = uri.data && uri.length == sizeof shape - 1;
    for (size_t i = 0; fine && i < uri.length; i++) {
        char c = (char)(uri.data[i] >= 'A' && uri.data[i] <= 'Z' ? uri.data[i] + 'a' - 'A' : uri.data[i]);
        fine = i >= sizeof "spiffe://" - 1 && shape[i] == 'x' ? c && strchr("0123456789abcdef", c)
                                                              : c == shape[i];
        text[i] = c;
    }
    free(der);
    if (!fine)
        return false;
    text[sizeof "spiffe://" - 1 + AUTHORITY_CLUSTER_ID_SIZE - 1] = '\0';
    authority_set_cluster(authority, text + sizeof "spiffe://" - 1);
    return true;
}

static int choose_cluster_id(struct authority *authority, struct error *error)
{
    const struct config_ca *config = authority->setup.config;
    if (config->cluster_id)
        authority_set_cluster(authority, config->cluster_id);
    else if (!adopt_cluster_id(authority, config->root_cert))
        return random_cluster_id(authority, error);
    return 0;
}

struct bootstrap {
    struct waiting waiting;
    struct authority_rotation *rotation;
};

static void bootstrapped(struct authority_commit *commit, const struct error *error)
{
    struct bootstrap *bootstrap = commit->argument;
    if (!error)
        authority_rotation_audit(bootstrap->rotation);
    stop_waiting(&bootstrap->waiting, error);
}

static int submit_bootstrap(struct bootstrap *bootstrap, struct error *error)
{
    struct authority_rotation *rotation = bootstrap->rotation;
    struct authority *authority = rotation->authority;
    struct authority_commit *commit = authority_commit_new(authority, error);
    if (!commit)
        return ERROR_SYSTEM;
    int code = authority_settings_fingerprint(authority->setup.config, authority->file_settings, error);
    if (!code)
        code = authority_rotation_apply(rotation, commit, error);
    if (!code) {
        commit->settings = rotation->settings;
        rotation->settings = NULL;
        commit->committed = bootstrapped;
        commit->argument = bootstrap;
        store_put_meta(commit->batch,
                       &(struct store_meta){.key = AUTHORITY_META_CLUSTER_ID, .text = authority->cluster_id});
        store_put_meta(commit->batch, &(struct store_meta){.key = AUTHORITY_META_FILE_SETTINGS,
                                                           .text = authority->file_settings});
        code = authority_commit_submit(commit, error);
    }
    if (code)
        authority_commit_free(commit);
    return code;
}

static int bootstrap_root(struct authority *authority, struct mailbox *answers, struct error *error)
{
    struct bootstrap bootstrap = {0};
    struct authority_settings *settings;
    int code = choose_cluster_id(authority, error);
    if (!code)
        code = authority_settings_from_file(authority->setup.config, &settings, error);
    if (code)
        return code;
    bool slow = ca_config_key_type(&settings->ca) == KEY_TYPE_RSA && !settings->private_key;
    bootstrap.rotation = authority_rotation_new(authority, settings, error);
    if (!bootstrap.rotation)
        return ERROR_SYSTEM;
    if (slow)
        log_info(log_message("generating the CA's RSA key, which may take seconds"));
    authority_rotation_run(bootstrap.rotation, authority->setup.thread);
    code = bootstrap.rotation->code;
    if (code)
        error_set(error, code, "%s", bootstrap.rotation->error.text);
    else
        code = submit_bootstrap(&bootstrap, error);
    if (!code)
        code = wait_for(&bootstrap.waiting, answers, error);
    authority_rotation_free(bootstrap.rotation);
    if (!code)
        log_info(log_message("CA bootstrapped"), log_text("trust_domain", authority->trust_domain),
                 log_text("root", authority->roots->items[0].id));
    return code;
}

static void sealed(void *argument, const struct error *error)
{
    stop_waiting(argument, error);
}

static int seal_key(struct authority *authority, struct mailbox *answers, struct error *error)
{
    struct waiting waiting = {0};
    struct store_batch *batch = store_batch_new();
    if (!batch)
        return error_errno(error, "cannot seal the CA's private key");
    int code = authority_key_store(authority, authority->issuer->key, batch, error);
    if (code) {
        store_batch_free(batch);
        return code;
    }
    store_submit(authority->setup.store, batch, sealed, &waiting);
    code = wait_for(&waiting, answers, error);
    if (code)
        return error_at(error, "cannot seal the CA's private key");
    authority->key_is_unsealed = false;
    log_info(log_message("the CA's private key is sealed in the store from now on"));
    return 0;
}

/* The file decides at the first start alone, as in Consul: the store may have been changed at run time since.
 */
static int compare_with_file(const struct authority *authority, struct error *error)
{
    const struct config_ca *config = authority->setup.config;
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    int code = authority_settings_fingerprint(config, fingerprint, error);
    if (code)
        return code;
    if (strcmp(fingerprint, authority->file_settings) != 0)
        log_warning(log_message(
            "ca_config in the file has changed since the CA was made and is ignored; change the CA "
            "at run time"));
    if (config->cluster_id && strcasecmp(config->cluster_id, authority->cluster_id) != 0)
        log_warning(log_message("cluster_id in the file is ignored: a cluster keeps its id"),
                    log_text("cluster_id", authority->cluster_id));
    return 0;
}

int authority_start(struct authority *authority, struct worker_pool *workers, struct mailbox *answers,
                    struct error *error)
{
    authority->workers = workers;
    if (!authority->roots) {
        int code = bootstrap_root(authority, answers, error);
        if (code)
            authority->cluster_id[0] = authority->trust_domain[0] = '\0';
        return code ? error_at(error, "cannot bootstrap the CA") : 0;
    }
    int code = compare_with_file(authority, error);
    if (!code && authority->key_is_unsealed)
        code = seal_key(authority, answers, error);
    return code;
}

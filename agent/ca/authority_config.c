/* SPDX-License-Identifier: MIT */
/* Changing the CA at run time: new settings, a new root, or both. */
#include "agent/ca/authority_internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/audit.h"
#include "agent/log.h"

/* The serials of a key from elsewhere are not ours to know: numbers from the clock are above what a Consul
 * cluster with the same key can have counted to, so that (issuer, serial) stays unique. */
static void skip_foreign_serials(struct authority *authority, const struct authority_settings *settings,
                                 int64_t now)
{
    if (settings->private_key && now > 0 && authority->last_serial < (uint64_t)now)
        authority->last_serial = (uint64_t)now;
}

struct authority_rotation *authority_rotation_new(struct authority *authority,
                                                  struct authority_settings *settings, struct error *error)
{
    struct authority_rotation *rotation = calloc(1, sizeof *rotation);
    if (!rotation) {
        error_errno(error, "cannot change the CA");
        authority_settings_free(settings);
        return NULL;
    }
    rotation->authority = authority;
    rotation->settings = settings;
    rotation->now = authority_now(authority);
    rotation->old = authority_issuer_hold(authority->issuer);
    memcpy(rotation->cluster_id, authority->cluster_id, sizeof rotation->cluster_id);
    memcpy(rotation->trust_domain, authority->trust_domain, sizeof rotation->trust_domain);
    skip_foreign_serials(authority, settings, rotation->now);
    rotation->root_serial = ++authority->last_serial;
    if (rotation->old)
        rotation->cross_serial = ++authority->last_serial;
    return rotation;
}

/* The end of a change, durable or not. */
static void end(struct authority_rotation *rotation, const struct error *error)
{
    authority_done *done = rotation->done;
    void *argument = rotation->argument;
    if (error)
        log_warning(log_message("the CA was not changed"), log_reason(error));
    authority_rotation_free(rotation);
    done(argument, error);
}

static void committed(struct authority_commit *commit, const struct error *error)
{
    struct authority_rotation *rotation = commit->argument;
    if (!error && rotation->root_stays) {
        audit_emit("ca_configured", log_u64("index", commit->index));
        log_info(log_message("CA configuration changed, the root stays"));
    } else if (!error) {
        authority_rotation_audit(rotation);
        const struct source_roots *roots = authority_roots(rotation->authority);
        log_info(log_message("CA rotated"), log_text("root", roots->roots[roots->active].id),
                 log_bool("cross_signed", rotation->cross != NULL));
    }
    end(rotation, error);
}

/* Hands the change to the store; 0 means that committed() ends it. */
static int submit(struct authority_rotation *rotation, struct error *error)
{
    struct authority_commit *commit = authority_commit_new(rotation->authority, error);
    if (!commit)
        return ERROR_SYSTEM;
    int code = rotation->root_stays ? 0 : authority_rotation_apply(rotation, commit, error);
    if (!code) {
        commit->settings = rotation->settings;
        rotation->settings = NULL;
        commit->committed = committed;
        commit->argument = rotation;
        code = authority_commit_submit(commit, error);
    }
    if (code)
        authority_commit_free(commit);
    return code;
}

static bool is_unchanged(const struct authority_rotation *rotation)
{
    return rotation->root_stays && strcmp(rotation->settings->json, rotation->authority->settings->json) == 0;
}

static void made(struct worker_job *job)
{
    struct authority_rotation *rotation = caa_container_of(job, struct authority_rotation, job);
    struct authority *authority = rotation->authority;
    struct error error = {0};
    int code = rotation->code;
    if (job->cancelled)
        code = error_set(&error, ERROR_BUSY, "the agent is stopping");
    else if (code)
        error = rotation->error;
    else if (rotation->root_stays && rotation->modify_index &&
             rotation->modify_index != authority->settings->modify_index)
        code = error_set(&error, ERROR_CONFLICT, "ModifyIndex did not match existing");
    bool over = code || is_unchanged(rotation);
    if (!over) {
        code = submit(rotation, &error);
        over = code;
    }
    if (!over)
        return;
    authority->state = AUTHORITY_INITIALIZED;
    end(rotation, code ? &error : NULL);
}

static void make(struct worker_job *job, struct ca_thread *thread)
{
    authority_rotation_run(caa_container_of(job, struct authority_rotation, job), thread);
}

static int begin(struct authority_rotation *rotation, authority_done *done, void *argument,
                 struct error *error)
{
    rotation->done = done;
    rotation->argument = argument;
    rotation->job.run = make;
    rotation->job.done = made;
    int code = worker_submit(rotation->authority->workers, &rotation->job, error);
    if (code)
        authority_rotation_free(rotation);
    else
        rotation->authority->state = AUTHORITY_RECONFIGURING;
    return code;
}

static int check_state(const struct authority *authority, struct error *error)
{
    if (authority->state == AUTHORITY_RECONFIGURING)
        return error_set(error, ERROR_BUSY, "CA is already in state \"RECONFIGURING\"");
    if (authority->state == AUTHORITY_UNINITIALIZED)
        return error_set(error, ERROR_CONFLICT, "cluster has no CA bootstrapped yet");
    return 0;
}

int authority_set_config(struct authority *authority, const struct authority_change *change,
                         authority_done *done, void *argument, struct error *error)
{
    struct authority_settings *settings;
    const struct authority_settings *old = authority->settings;
    int code = check_state(authority, error);
    if (code)
        return code;
    if (change->provider && strcmp(change->provider, AUTHORITY_PROVIDER) != 0)
        return error_set(error, ERROR_INVALID,
                         "could not initialize provider: unknown CA provider \"%.100s\"", change->provider);
    code = authority_settings_parse(change->config_json, change->config_json_size, &settings, error);
    if (code)
        return error_at(error, "error configuring provider");
    if (settings->key_is_kept && !authority_settings_have_key(old)) {
        authority_settings_free(settings);
        return error_set(
            error, ERROR_INVALID,
            "error configuring provider: PrivateKey is \"%s\", but the key in force was not given by "
            "configuration; leave PrivateKey out",
            AUTHORITY_KEPT_SECRET);
    }
    settings->force_without_cross_signing = change->force_without_cross_signing;
    bool same_kind = strcmp(settings->ca.private_key_type, old->ca.private_key_type) == 0 &&
                     settings->ca.private_key_bits == old->ca.private_key_bits;
    struct authority_rotation *rotation = authority_rotation_new(authority, settings, error);
    if (!rotation)
        return ERROR_SYSTEM;
    rotation->key_may_stay =
        same_kind && !authority_settings_have_key(settings) && !authority_settings_have_key(old);
    rotation->force = change->force_without_cross_signing;
    rotation->modify_index = change->modify_index;
    return begin(rotation, done, argument, error);
}

int authority_rotate(struct authority *authority, bool force_without_cross_signing, authority_done *done,
                     void *argument, struct error *error)
{
    struct authority_settings *settings;
    const struct authority_settings *old = authority->settings;
    int code = check_state(authority, error);
    if (code)
        return code;
    if (authority_settings_have_key(old))
        return error_set(
            error, ERROR_CONFLICT,
            "the CA's private key was given by configuration: set a configuration with another PrivateKey, "
            "or without one to have it generated");
    code = authority_settings_parse(old->json, strlen(old->json), &settings, error);
    if (code)
        return code;
    settings->force_without_cross_signing = old->force_without_cross_signing;
    struct authority_rotation *rotation = authority_rotation_new(authority, settings, error);
    if (!rotation)
        return ERROR_SYSTEM;
    rotation->force = force_without_cross_signing;
    return begin(rotation, done, argument, error);
}

void authority_show(const struct authority *authority, struct json_writer *json)
{
    const struct authority_settings *settings = authority->settings;
    json_begin_object(json);
    json_member_text(json, "Provider", AUTHORITY_PROVIDER);
    json_key(json, "Config");
    if (settings)
        authority_settings_write(settings, json);
    else
        json_null(json);
    json_member_null(json, "State");
    json_member_bool(json, "ForceWithoutCrossSigning", settings && settings->force_without_cross_signing);
    json_member_u64(json, "CreateIndex", settings ? settings->create_index : 0);
    json_member_u64(json, "ModifyIndex", settings ? settings->modify_index : 0);
    json_end_object(json);
}

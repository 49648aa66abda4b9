/* SPDX-License-Identifier: MIT */
#include "agent/ca/ca_config.h"

#include <string.h>

#include "agent/duration.h"

static const int64_t leaf_ttl_min_ns = DURATION_HOUR, leaf_ttl_max_ns = 8760 * DURATION_HOUR,
                     intermediate_ttl_min_ns = 3 * DURATION_HOUR;

void ca_config_default(struct ca_config *config)
{
    *config = (struct ca_config){
        .leaf_ttl_ns = 72 * DURATION_HOUR,
        .intermediate_ttl_ns = 8760 * DURATION_HOUR,
        .root_ttl_ns = 87600 * DURATION_HOUR,
        .private_key_type = "ec",
        .private_key_bits = 256,
        .csr_max_per_second = 50,
    };
}

static int check_key(const struct ca_config *config, struct error *error)
{
    int64_t bits = config->private_key_bits;
    if (strcmp(config->private_key_type, "ec") == 0) {
        if (bits != 224 && bits != 256 && bits != 384 && bits != 521)
            return error_set(error, ERROR_INVALID, "EC key length must be one of (224, 256, 384, 521) bits");
        return 0;
    }
    if (strcmp(config->private_key_type, "rsa") != 0)
        return error_set(error, ERROR_INVALID, "private key type must be either 'ec' or 'rsa'");
    if (bits != 2048 && bits != 4096 && !(bits == 3072 && config->key_is_provided))
        return error_set(error, ERROR_INVALID, "RSA key length must be 2048 or 4096 bits");
    return 0;
}

int ca_config_validate(const struct ca_config *config, struct error *error)
{
    char text[DURATION_TEXT_SIZE], other[DURATION_TEXT_SIZE];
    if (config->skip_validate)
        return 0;
    if (config->root_ttl_ns < config->intermediate_ttl_ns) {
        duration_print(config->root_ttl_ns, text);
        duration_print(config->intermediate_ttl_ns, other);
        return error_set(
            error, ERROR_INVALID,
            "root cert TTL is set and is not greater than intermediate cert ttl. root cert ttl: %s, "
            "intermediate cert ttl: %s",
            text, other);
    }
    if (config->leaf_ttl_ns < leaf_ttl_min_ns) {
        duration_print(leaf_ttl_min_ns, text);
        return error_set(error, ERROR_INVALID, "leaf cert TTL must be greater or equal than %s", text);
    }
    if (config->leaf_ttl_ns > leaf_ttl_max_ns) {
        duration_print(leaf_ttl_max_ns, text);
        return error_set(error, ERROR_INVALID, "leaf cert TTL must be less than %s", text);
    }
    if (config->intermediate_ttl_ns < intermediate_ttl_min_ns)
        return error_set(error, ERROR_INVALID, "Intermediate Cert TTL must be greater or equal than 3h");
    if (config->intermediate_ttl_ns < 3 * config->leaf_ttl_ns) {
        duration_print(3 * config->leaf_ttl_ns, text);
        return error_set(error, ERROR_INVALID,
                         "Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=%s).", text);
    }
    return check_key(config, error);
}

enum key_type ca_config_key_type(const struct ca_config *config)
{
    if (strcmp(config->private_key_type, "ec") == 0)
        return KEY_TYPE_EC;
    if (strcmp(config->private_key_type, "rsa") == 0)
        return KEY_TYPE_RSA;
    return KEY_TYPE_UNKNOWN;
}

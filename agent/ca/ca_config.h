/* SPDX-License-Identifier: MIT */
/* The settings that all CA providers share, their defaults and their limits, with Consul's texts. */
#ifndef AGENT_CA_CA_CONFIG_H
#define AGENT_CA_CA_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/ca/public_key.h"
#include "agent/error.h"

struct ca_config {
    int64_t leaf_ttl_ns, intermediate_ttl_ns, root_ttl_ns;
    char private_key_type[16]; /* "ec" or "rsa", exact */
    int64_t private_key_bits;
    double csr_max_per_second; /* 0: no limit */
    int64_t csr_max_concurrent;
    bool skip_validate;
    bool key_is_provided; /* a PrivateKey comes along: then RSA of 3072 bits is accepted too */
};

/* Leaf 72 h, intermediate 8760 h, root 87600 h, ec 256, 50 CSRs a second. */
void ca_config_default(struct ca_config *config);
/* Checks in Consul's order; the error text is Consul's, word for word. skip_validate skips all. */
int ca_config_validate(const struct ca_config *config, struct error *error);
/* The key that a validated configuration asks for; KEY_TYPE_UNKNOWN if skip_validate let nonsense pass. */
enum key_type ca_config_key_type(const struct ca_config *config);

#endif

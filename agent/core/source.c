/* SPDX-License-Identifier: MIT */
#include "agent/core/source.h"

#include <stdlib.h>
#include <string.h>

void source_leaf_free(struct source_leaf *leaf)
{
    if (!leaf)
        return;
    if (leaf->key_der)
        explicit_bzero(leaf->key_der, leaf->key_der_size);
    if (leaf->key_pem)
        explicit_bzero(leaf->key_pem, strlen(leaf->key_pem));
    free(leaf->key_der);
    free(leaf->key_pem);
    free(leaf->uri);
    free(leaf->serial);
    free(leaf->issuer_key_id);
    free(leaf->chain_der);
    free(leaf->chain_pem);
    free(leaf);
}

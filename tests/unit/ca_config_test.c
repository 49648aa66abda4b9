/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ca/ca_config.h"
#include "agent/duration.h"

static void limits_have_consuls_texts(void **state)
{
    (void)state;
    const int64_t h = DURATION_HOUR;
    static const char root_text[] =
        "root cert TTL is set and is not greater than intermediate cert ttl. root cert "
        "ttl: 1h0m0s, intermediate cert ttl: 8760h0m0s",
                      ec_text[] = "EC key length must be one of (224, 256, 384, 521) bits",
                      rsa_text[] = "RSA key length must be 2048 or 4096 bits",
                      kind_text[] = "private key type must be either 'ec' or 'rsa'";
    const struct {
        int64_t leaf, intermediate, root;
        const char *type;
        int64_t bits;
        bool provided;
        const char *text; /* NULL: accepted */
    } cases[] = {
        {72 * h, 8760 * h, 87600 * h, "ec", 256, false, NULL},
        {72 * h, 8760 * h, 8760 * h, "ec", 521, false, NULL},
        {72 * h, 8760 * h, h, "ec", 256, false, root_text},
        {h - 1, 8760 * h, 87600 * h, "ec", 256, false, "leaf cert TTL must be greater or equal than 1h0m0s"},
        {8760 * h, 3 * 8760 * h, 87600 * h, "ec", 256, false, NULL},
        {8760 * h + 1, 87600 * h, 87600 * h, "ec", 256, false, "leaf cert TTL must be less than 8760h0m0s"},
        {h, 3 * h - 1, 87600 * h, "ec", 256, false, "Intermediate Cert TTL must be greater or equal than 3h"},
        {72 * h, 215 * h, 87600 * h, "ec", 256, false,
         "Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=216h0m0s)."},
        {72 * h, 216 * h, 87600 * h, "ec", 256, false, NULL},
        {72 * h, 8760 * h, 87600 * h, "EC", 256, false, kind_text},
        {72 * h, 8760 * h, 87600 * h, "ed25519", 256, false, kind_text},
        {72 * h, 8760 * h, 87600 * h, "ec", 512, false, ec_text},
        {72 * h, 8760 * h, 87600 * h, "rsa", 256, false, rsa_text},
        {72 * h, 8760 * h, 87600 * h, "rsa", 3072, false, rsa_text},
        {72 * h, 8760 * h, 87600 * h, "rsa", 3072, true, NULL},
        {72 * h, 8760 * h, 87600 * h, "rsa", 4096, false, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ca_config config;
        struct error error = {0};
        ca_config_default(&config);
        config.leaf_ttl_ns = cases[i].leaf;
        config.intermediate_ttl_ns = cases[i].intermediate;
        config.root_ttl_ns = cases[i].root;
        snprintf(config.private_key_type, sizeof config.private_key_type, "%s", cases[i].type);
        config.private_key_bits = cases[i].bits;
        config.key_is_provided = cases[i].provided;
        int result = ca_config_validate(&config, &error);
        if (result != (cases[i].text ? ERROR_INVALID : 0))
            fail_msg("case %zu: %s", i, error.text);
        assert_string_equal(error.text, cases[i].text ? cases[i].text : "");
        config.skip_validate = true;
        assert_int_equal(ca_config_validate(&config, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_have_consuls_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Any bytes as a configuration: refused with a line, or a structure whose invariants hold. Each input is
 * followed by a fixed file, because libconfuse's scanner is global and one file must not change how the next
 * is read. */
#include "agent/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int fact)
{
    if (!fact)
        abort();
}

static void check(const struct config *config)
{
    require(config->state_directory[0] == '/' && config->run_directory[0] == '/');
    require(config->identity_count > 0 && config->attach_count > 0 && config->admin_count > 0);
    for (size_t i = 0; i < config->attach_count; i++)
        require(config->attaches[i].socket.path[0] == '/' && config->attaches[i].socket.mode <= 0777);
    for (size_t i = 0; i < config->service_count; i++)
        require(config->services[i].name[0] && !strchr(config->services[i].name, '/'));
    require(config->ca.skip_validate ||
            config->ca.intermediate_cert_ttl_ns >= 3 * config->ca.leaf_cert_ttl_ns);
    require(config->limits.clients > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char fixed[] = "datacenter = after\n";
    struct config_texts warnings = {0};
    struct config *config = NULL;
    struct error error = {0};
    char *text = malloc(size + 1); /* exactly as long as it says, for AddressSanitizer */
    require(text != NULL);
    memcpy(text, data, size);
    int status = config_parse("f", text, size, &config, &warnings, &error);
    free(text);
    require((status == 0) == (config != NULL));
    if (config)
        check(config);
    else
        require(strncmp(error.text, "f:", 2) == 0 && strstr(error.text, ": ") != NULL && warnings.count == 0);
    config_free(config);
    config_texts_free(&warnings);
    config = NULL;
    require(config_parse("f", fixed, sizeof fixed - 1, &config, NULL, &error) == 0);
    require(strcmp(config->datacenter, "after") == 0);
    config_free(config);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* A peer's SPIFFE ID and serial, of any bytes. The fast way of reading an ID and the slow one must agree: one region has
 * the fast prefix, the other has none. */
#include "tests/unit/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct harness harnesses[2];

static void open_harnesses(void)
{
    static const char *const patterns[] = {"/ap/{partition}/ns/{namespace}/dc/{datacenter}/svc/{service}",
                                           "/ns/{namespace}/dc/{datacenter}/svc/{service}"};
    for (int i = 0; i < 2; i++) {
        struct harness *harness = &harnesses[i];
        harness_open(harness, 1u << 20);
        MUST(policy_set_identities(harness->policy, "a.b", i ? NULL : "d", patterns, 2) == 0);
        harness_set(harness, "w", "db", POLICY_ALLOW);
        harness_set(harness, "web.frontend-of-the-shop_2", "db", POLICY_ALLOW);
        struct policy_change change = harness_change("*", "db", POLICY_ALLOW);
        change.source.namespace_name = "n";
        MUST(policy_apply(harness->policy, &change, 1) == 0);
        MUST(policy_revoke(harness->policy, NULL, 0, (const uint8_t *)"\x01", 1, 1) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xylem_verdict verdicts[2];
    struct xylem_target target;
    if (!harnesses[0].reader)
        open_harnesses();
    /* The first byte says how many of the last ones are the serial. */
    size_t serial_size = size ? data[0] % 24 : 0;
    if (size < 1 + serial_size)
        return 0;
    size_t uri_size = size - 1 - serial_size;
    uint8_t *uri = malloc(uri_size + 1);
    MUST(uri);
    memcpy(uri, data + 1, uri_size);
    uri[uri_size] = 0;
    for (int i = 0; i < 2; i++) {
        struct xylem_peer peer = {{uri, uri_size}, {data + 1 + uri_size, serial_size}, {NULL, 0}};
        MUST(xylem_target_init(&target, "db") == XYLEM_OK);
        int allow = xylem_authorize_peer(harnesses[i].reader, &target, &peer, &verdicts[i]);
        MUST(allow == verdicts[i].allow);
        MUST(!allow || verdicts[i].why == XYLEM_WHY_INTENTION);
        MUST(verdicts[i].why >= XYLEM_WHY_INTENTION && verdicts[i].why <= XYLEM_WHY_MALFORMED);
    }
    MUST(verdicts[0].allow == verdicts[1].allow && verdicts[0].why == verdicts[1].why &&
         verdicts[0].precedence == verdicts[1].precedence);
    free(uri);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "agent/core/denials.h"

#include <stdlib.h>

#include "agent/audit.h"

/* What was reported of the pair at a position; another id there is another pair. */
struct reported {
    uint64_t id;
    uint64_t denied;
};

struct denials {
    size_t count;
    struct reported reported[];
};

struct denials *denials_new(const struct observed *observed)
{
    size_t count = observed_pairs_max(observed);
    struct denials *denials = calloc(1, sizeof *denials + count * sizeof denials->reported[0]);
    if (denials)
        denials->count = count;
    return denials;
}

void denials_free(struct denials *denials)
{
    free(denials);
}

static void report(void *context, const struct observed_pair *pair)
{
    struct denials *denials = context;
    if (pair->position >= denials->count)
        return;
    struct reported *last = &denials->reported[pair->position];
    uint64_t before = last->id == pair->id ? last->denied : 0;
    last->id = pair->id;
    last->denied = pair->denied;
    if (pair->denied > before)
        audit_emit_limited("connections_denied", log_text("source", pair->source),
                           log_text("target", pair->target), log_u64("count", pair->denied - before));
}

void denials_report(struct denials *denials, const struct observed *observed)
{
    observed_each(observed, report, denials);
}

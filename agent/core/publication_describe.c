/* SPDX-License-Identifier: MIT */
/* What `xylemctl clients` and `xylemctl regions` show. */
#include "agent/core/publication_internal.h"

static void describe_client(const struct publication_client *client, struct json_writer *json)
{
    uint64_t oldest = client->reader ? grace_reader_oldest(client->reader) : UINT64_MAX;
    uint64_t now = grace_epoch(client->publication->grace);
    json_begin_object(json);
    json_member_u64(json, "id", client->id);
    json_member_text(json, "name", client->name);
    json_member_i64(json, "pid", client->pid);
    json_member_u64(json, "uid", client->uid);
    json_member_bool(json, "connected", client->connection != NULL);
    json_member_bool(json, "fenced", client->fenced);
    json_member_u64(json, "installed", client->installed);
    json_member_bool(json, "set_under_way", client->offered != 0);
    json_member_u64(json, "regions_held", client->held.count);
    /* How many epochs ago the oldest section in progress began; 0: none, or just now. */
    json_member_u64(json, "section_lag", oldest < now ? now - oldest : 0);
    json_member_i64(json, "attached_at", (int64_t)client->attached_at);
    json_end_object(json);
}

void publication_describe_clients(struct publication *publication, struct json_writer *json)
{
    json_begin_array(json);
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        describe_client(client, json);
    json_end_array(json);
}

static unsigned count_holders(const struct publication *publication, const struct region *region)
{
    unsigned count = 0;
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        count += client_holds(client, region);
    return count;
}

static void describe_region(const struct publication *publication, const struct region *region,
                            const char *state, const struct scope_entry *entry, struct json_writer *json)
{
    struct region_statistics statistics;
    const struct xylem_region_header *header = region_header(region);
    region_statistics(region, &statistics);
    json_begin_object(json);
    json_member_u64(json, "id", header->region_id);
    json_member_text(json, "kind", header->kind == XYLEM_REGION_POLICY ? "policy" : "scope");
    json_member_text(json, "state", state);
    json_member_u64(json, "region_bytes", statistics.region_bytes);
    json_member_u64(json, "committed_bytes", statistics.committed_bytes);
    json_member_u64(json, "live_bytes", statistics.live_bytes);
    json_member_u64(json, "retired_bytes", statistics.retired_bytes);
    json_member_u64(json, "leaked_bytes", statistics.leaked_bytes);
    json_member_u64(json, "objects", statistics.allocations);
    json_member_u64(json, "clients", count_holders(publication, region));
    if (header->kind == XYLEM_REGION_SCOPE)
        json_member_bool(json, "locked", statistics.locked);
    if (entry) {
        json_key(json, "services");
        json_begin_array(json);
        for (size_t i = 0; i < entry->service_count; i++)
            json_text(json, entry->services[i]);
        json_end_array(json);
    }
    json_end_object(json);
}

void publication_describe_regions(struct publication *publication, struct json_writer *json)
{
    json_begin_array(json);
    if (publication->policy)
        describe_region(publication, policy_region(publication->policy), "current", NULL, json);
    for (const struct scope_entry *entry = publication->scopes; entry; entry = entry->next)
        if (entry->scope)
            describe_region(publication, scope_region(entry->scope), "current", entry, json);
    for (const struct old_region *old = publication->old; old; old = old->next)
        describe_region(publication, old->policy ? policy_region(old->policy) : scope_region(old->scope),
                        old->silent || old->scope ? "superseded" : "superseding", NULL, json);
    json_end_array(json);
}

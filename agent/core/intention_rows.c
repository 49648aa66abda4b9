/* SPDX-License-Identifier: MIT */
/* Intentions as the store keeps them and as the policy region is told of them. */
#include "agent/core/intention_internal.h"

void intention_to_store(const struct intention *intention, struct store_intention *row)
{
    const struct intention_details *details = intention->details;
    *row = (struct store_intention){
        .key = {.destination_partition = intention->destination.partition,
                .destination_namespace = intention->destination.namespace_name,
                .destination_name = intention->destination.name,
                .source_partition = intention->source.partition,
                .source_namespace = intention->source.namespace_name,
                .source_name = intention->source.name,
                .source_peer = intention->source_peer},
        .action = intention_action_text(intention),
        .permissions_json = details->permissions_json,
        .permission_count = details->permission_count,
        .description = details->description,
        .meta_json = details->meta_json,
        .legacy_id = details->legacy_id,
        .created_at = intention->created_at,
        .updated_at = intention->updated_at,
        .precedence = intention->precedence,
        .create_index = intention->create_index,
        .modify_index = intention->modify_index,
    };
}

int intention_from_store(const struct store_intention *row, struct intention **intention, struct error *error)
{
    const struct intention_fields fields = {
        .destination = {row->key.destination_partition, row->key.destination_namespace,
                        row->key.destination_name},
        .source = {row->key.source_partition, row->key.source_namespace, row->key.source_name},
        .source_peer = row->key.source_peer,
        .action = row->action,
        .permissions_json = row->permissions_json,
        .description = row->description,
        .meta_json = row->meta_json,
        .legacy_id = row->legacy_id,
        .created_at = row->created_at,
        .updated_at = row->updated_at,
        .create_index = row->create_index,
        .modify_index = row->modify_index,
    };
    return intention_make(&fields, intention, error);
}

static struct policy_name policy_name_of(const struct intention_name *name)
{
    struct policy_name policy = {name->partition, name->namespace_name, name->name};
    return policy;
}

bool intention_to_policy_change(const struct intention *intention, struct policy_change *change)
{
    static const enum policy_action actions[] = {[INTENTION_PERMISSIONS] = POLICY_PERMISSIONS,
                                                 [INTENTION_ALLOW] = POLICY_ALLOW,
                                                 [INTENTION_DENY] = POLICY_DENY};
    const char *legacy_id = intention->details->legacy_id;
    if (intention->source_peer[0])
        return false;
    *change = (struct policy_change){
        .destination = policy_name_of(&intention->destination),
        .source = policy_name_of(&intention->source),
        .action = actions[intention->action],
        .permissions = intention->details->permission_count,
        .legacy_id = legacy_id[0] ? legacy_id : NULL,
    };
    return true;
}

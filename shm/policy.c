/* SPDX-License-Identifier: MIT */
#include "shm/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/xylem.h>

#include "shm/destination.h"
#include "shm/policy_internal.h"

static struct xylem_region_header *header(const struct policy *policy)
{
    return region_header(policy->region);
}

static void publish(xylem_ref *where, xylem_ref ref)
{
    __atomic_store_n(where, ref,
                     __ATOMIC_RELEASE); /* [publish] pairs with the readers' acquire of this word */
}

/* --- tenancies --- */

static const struct xylem_tenancies *tenancies(const struct policy *policy)
{
    return region_at(policy->region, header(policy)->tenancies);
}

/* The anchors that a tenancy consists of, none of them published yet. */
static int fill_tenancy(struct policy *policy, uint32_t id, const uint8_t *text, size_t size,
                        struct xylem_tenancy *tenancy)
{
    static const uint8_t star[] = {'*'};
    struct xylem_anchor *name = directory_new_anchor(policy->region, 0, text, size);
    struct xylem_anchor *key = directory_new_anchor(policy->region, id, star, sizeof star);
    struct xylem_anchor *wildcard = directory_new_anchor(policy->region, id, star, sizeof star);
    if (!name || !key || !wildcard) {
        region_free(policy->region, name);
        region_free(policy->region, key);
        region_free(policy->region, wildcard);
        return -ENOSPC;
    }
    name->root = id; /* what xylem_find_tenancy_() is after */
    tenancy->name = region_ref(policy->region, name);
    tenancy->wildcard_key = region_ref(policy->region, key);
    tenancy->wildcard = region_ref(policy->region, wildcard);
    tenancy->wildcard_hash = key->hash;
    return 0;
}

/* Publishes the list with one tenancy more, then its name: who finds the name finds the entry. */
static int append_tenancy(struct policy *policy, const uint8_t *text, size_t size, uint32_t any_namespace)
{
    xylem_ref old_ref = header(policy)->tenancies;
    const struct xylem_tenancies *old = old_ref ? tenancies(policy) : NULL;
    uint32_t id = old ? old->count : 0;
    struct xylem_tenancies *grown = region_allocate(policy->region, XYLEM_OBJECT_TENANCIES,
                                                    sizeof *grown + (id + 1) * sizeof grown->entries[0]);
    if (!grown)
        return -ENOSPC;
    if (old)
        memcpy(grown->entries, old->entries, id * sizeof grown->entries[0]);
    grown->count = id + 1;
    grown->entries[id].any_namespace = any_namespace == XYLEM_TENANCY_NONE ? id : any_namespace;
    if (fill_tenancy(policy, id, text, size, &grown->entries[id]) != 0) {
        region_free(policy->region, grown);
        return -ENOSPC;
    }
    region_finish(policy->region, grown);
    publish(&header(policy)->tenancies, region_ref(policy->region, grown));
    region_retire(policy->region, old_ref);
    int error = directory_insert(&policy->tenancy_names, region_at(policy->region, grown->entries[id].name));
    /* Handles that found no such namespace look again. */
    __atomic_add_fetch(&header(policy)->directory_version, 1, __ATOMIC_RELEASE);
    return error ? error : (int)id;
}

static int find_tenancy(const struct policy *policy, const uint8_t *text, size_t size)
{
    const struct xylem_anchor *anchor = directory_find(&policy->tenancy_names, 0, text, size);
    return anchor ? (int)anchor->root : -ENOENT;
}

/* The id of (partition, namespace), made if need be, or a negative code. (partition, "*") comes first: every tenancy
 * refers to it; but default/default must be 0, so it refers forward to 1. */
static int intern_tenancy(struct policy *policy, const char *partition, const char *namespace_name)
{
    uint8_t text[2 * (XYLEM_NAME_MAX + 1)];
    size_t partition_size = strlen(partition);
    size_t namespace_size = strlen(namespace_name);
    memcpy(text, partition, partition_size);
    text[partition_size] = '/';
    memcpy(text + partition_size + 1, namespace_name, namespace_size);
    int id = find_tenancy(policy, text, partition_size + 1 + namespace_size);
    if (id >= 0 || strcmp(namespace_name, "*") == 0)
        return id >= 0
                   ? id
                   : append_tenancy(policy, text, partition_size + 1 + namespace_size, XYLEM_TENANCY_NONE);
    uint8_t any[XYLEM_NAME_MAX + 3];
    memcpy(any, partition, partition_size);
    memcpy(any + partition_size, "/*", 2);
    int any_namespace = find_tenancy(policy, any, partition_size + 2);
    if (any_namespace < 0)
        any_namespace = append_tenancy(policy, any, partition_size + 2, XYLEM_TENANCY_NONE);
    if (any_namespace < 0)
        return any_namespace;
    return append_tenancy(policy, text, partition_size + 1 + namespace_size, (uint32_t)any_namespace);
}

static int create_tenancies(struct policy *policy)
{
    static const uint8_t first[] = "default/default", second[] = "default/*";
    int id = append_tenancy(policy, first, sizeof first - 1, 1);
    if (id == 0)
        id = append_tenancy(policy, second, sizeof second - 1, XYLEM_TENANCY_NONE);
    return id < 0 ? id : 0;
}

/* --- life --- */

static int create_directories(struct policy *policy)
{
    struct xylem_region_header *region = header(policy);
    int error = directory_create(&policy->destinations, policy->region, &region->destinations);
    if (!error)
        error = directory_create(&policy->sources, policy->region, &policy->sources_ref);
    if (!error)
        error = directory_create(&policy->tenancy_names, policy->region, &region->tenancy_names);
    if (!error)
        error = directory_create(&policy->revocations, policy->region, &region->revocations);
    return error ? error : create_tenancies(policy);
}

int policy_create(struct policy **out, struct grace *grace, uint64_t region_bytes, uint64_t region_id,
                  uint64_t hash_seed, uint64_t version)
{
    struct policy *policy = calloc(1, sizeof *policy);
    if (!policy)
        return -ENOMEM;
    int error =
        region_create(&policy->region, grace, XYLEM_REGION_POLICY, region_bytes, region_id, hash_seed);
    if (!error) {
        header(policy)->policy_version = version + 1;
        header(policy)->directory_version = 1; /* a target handle starts with 0 */
        error = create_directories(policy);
    }
    /* Until told otherwise: no trust domain, so every peer is foreign. */
    if (!error)
        error = policy_set_identities(policy, "", NULL, NULL, 0);
    if (error) {
        policy_destroy(policy);
        return error;
    }
    *out = policy;
    return 0;
}

void policy_destroy(struct policy *policy)
{
    if (!policy)
        return;
    region_destroy(policy->region);
    free(policy);
}

struct region *policy_region(const struct policy *policy)
{
    return policy->region;
}

uint64_t policy_version(const struct policy *policy)
{
    return header(policy)->policy_version;
}

void policy_publish_version(struct policy *policy)
{
    /* [publish] Behind the publication: who reads the new version reads the new policy. */
    __atomic_store_n(&header(policy)->policy_version, header(policy)->policy_version + 1, __ATOMIC_RELEASE);
}

/* --- identities --- */

static size_t append_text(uint8_t *text, size_t used, const char *string)
{
    size_t size = strlen(string) + 1;
    memcpy(text + used, string, size);
    return used + size;
}

int policy_set_identities(struct policy *policy, const char *trust_domain, const char *datacenter,
                          const char *const *patterns, size_t pattern_count)
{
    char prefix[600] = "";
    size_t size = 0;
    if (strlen(trust_domain) > XYLEM_NAME_MAX || (datacenter && strlen(datacenter) > 64) ||
        pattern_count > 64)
        return -EINVAL;
    if (datacenter)
        snprintf(prefix, sizeof prefix, "spiffe://%s/ns/default/dc/%s/svc/", trust_domain, datacenter);
    size = strlen(prefix) + 1 + strlen(trust_domain) + 1;
    for (size_t i = 0; i < pattern_count; i++) {
        if (patterns[i][0] != '/' || !strstr(patterns[i], "/{service}") || strlen(patterns[i]) > 1024)
            return -EINVAL;
        size += strlen(patterns[i]) + 1;
    }
    struct xylem_identities *identities =
        region_allocate(policy->region, XYLEM_OBJECT_IDENTITIES, sizeof *identities + size);
    if (!identities)
        return -ENOSPC;
    identities->trust_domain_bytes = (uint32_t)strlen(trust_domain);
    identities->fast_prefix_bytes = (uint32_t)strlen(prefix);
    identities->pattern_count = (uint32_t)pattern_count;
    size_t used = append_text(identities->text, 0, prefix);
    used = append_text(identities->text, used, trust_domain);
    for (size_t i = 0; i < pattern_count; i++)
        used = append_text(identities->text, used, patterns[i]);
    region_finish(policy->region, identities);
    xylem_ref old_ref = header(policy)->identities;
    publish(&header(policy)->identities, region_ref(policy->region, identities));
    region_retire(policy->region, old_ref);
    policy_publish_version(policy);
    return 0;
}

void policy_set_default(struct policy *policy, bool allow)
{
    __atomic_store_n(&header(policy)->default_allow, allow, __ATOMIC_RELEASE);
    policy_publish_version(policy);
}

/* --- intentions --- */

/* One change with its names found: which destination's anchor, which source's key. */
struct staged {
    struct destination_change change;
    struct xylem_anchor *destination;
    size_t order;
    int8_t effect;
    bool known; /* false: takes away from what is not there */
};

/* All changes of one destination. One that both loses and gains is published twice if it does not stand alone. */
struct group {
    struct xylem_anchor *anchor;
    struct xylem_destination *reduced; /* with its losses only */
    struct xylem_destination *made;
    bool loses;
    bool gains;
};

static bool is_part(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && size <= XYLEM_NAME_MAX && !memchr(text, '/', size);
}

static bool is_valid(const struct policy_name *name)
{
    const char *partition = name->partition ? name->partition : "default";
    const char *namespace_name = name->namespace_name ? name->namespace_name : "default";
    size_t size = strlen(name->name);
    if (size == 0 || size > XYLEM_NAME_MAX || !is_part(partition) || !is_part(namespace_name) ||
        strcmp(partition, "*") == 0)
        return false;
    /* An exact name cannot follow a wildcard namespace. */
    return strcmp(namespace_name, "*") != 0 || strcmp(name->name, "*") == 0;
}

static int name_tenancy(struct policy *policy, const struct policy_name *name)
{
    return intern_tenancy(policy, name->partition ? name->partition : "default",
                          name->namespace_name ? name->namespace_name : "default");
}

static int find_destination(struct policy *policy, const struct policy_name *name, bool make,
                            struct xylem_anchor **out)
{
    int tenancy = name_tenancy(policy, name);
    uint8_t lower[XYLEM_NAME_MAX];
    size_t size = strlen(name->name);
    *out = NULL;
    if (tenancy < 0)
        return tenancy;
    if (strcmp(name->name, "*") == 0) {
        *out = region_at(policy->region, tenancies(policy)->entries[tenancy].wildcard);
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        lower[i] = xylem_lower_((uint8_t)name->name[i]);
    *out = directory_find(&policy->destinations, (uint32_t)tenancy, lower, size);
    if (*out || !make)
        return 0;
    struct xylem_anchor *anchor = directory_new_anchor(policy->region, (uint32_t)tenancy, lower, size);
    if (!anchor)
        return -ENOSPC;
    int error = directory_insert(&policy->destinations, anchor);
    if (error) {
        region_free(policy->region, anchor);
        return error;
    }
    /* An anchor without a root says nothing yet, so it may stay if the rest fails. Handles look again. */
    __atomic_add_fetch(&header(policy)->directory_version, 1, __ATOMIC_RELEASE);
    *out = anchor;
    return 0;
}

/* The key of a source; a new one is used by nobody yet. */
static int find_source(struct policy *policy, const struct policy_name *name, bool make,
                       struct xylem_anchor **out, uint64_t *form)
{
    int tenancy = name_tenancy(policy, name);
    const uint8_t *bytes = (const uint8_t *)name->name;
    size_t size = strlen(name->name);
    *out = NULL;
    *form = 0;
    if (tenancy < 0)
        return tenancy;
    if (strcmp(name->name, "*") == 0) {
        const struct xylem_tenancy *entry = &tenancies(policy)->entries[tenancy];
        *out = region_at(policy->region, entry->wildcard_key);
        *form = entry->any_namespace == (uint32_t)tenancy ? XYLEM_SLOT_ANY_NAMESPACE : XYLEM_SLOT_ANY_NAME;
        return 0;
    }
    *out = directory_find(&policy->sources, (uint32_t)tenancy, bytes, size);
    if (*out || !make)
        return 0;
    struct xylem_anchor *anchor = directory_new_anchor(policy->region, (uint32_t)tenancy, bytes, size);
    if (!anchor)
        return -ENOSPC;
    int error = directory_insert(&policy->sources, anchor);
    if (error)
        region_free(policy->region, anchor);
    else
        *out = anchor;
    return error;
}

static int stage(struct policy *policy, const struct policy_change *change, struct staged *staged)
{
    bool remove = change->action == POLICY_REMOVE;
    struct xylem_anchor *key;
    uint64_t flags;
    int error = find_destination(policy, &change->destination, !remove, &staged->destination);
    if (error)
        return error;
    error = find_source(policy, &change->source, !remove, &key, &flags);
    if (error)
        return error;
    staged->known = staged->destination && key;
    if (!staged->known)
        return 0;
    if (change->action == POLICY_ALLOW)
        flags |= XYLEM_SLOT_ALLOW;
    if (change->action == POLICY_PERMISSIONS)
        flags |= XYLEM_SLOT_PERMISSIONS;
    if (change->legacy_id || change->permissions)
        flags |= XYLEM_SLOT_DETAIL;
    staged->change.source.slot = flags << 32 | region_ref(policy->region, key);
    staged->change.source.hash = key->hash;
    staged->change.source.remove = remove;
    staged->change.detail.permissions = change->permissions;
    if (change->legacy_id)
        snprintf((char *)staged->change.detail.id, sizeof staged->change.detail.id, "%s", change->legacy_id);
    return 0;
}

static int by_destination(const void *left, const void *right)
{
    const struct staged *a = left;
    const struct staged *b = right;
    xylem_ref a_key = (xylem_ref)a->change.source.slot;
    xylem_ref b_key = (xylem_ref)b->change.source.slot;
    if (a->destination != b->destination)
        return a->destination < b->destination ? -1 : 1;
    if (a_key != b_key)
        return a_key < b_key ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Sorts by destination; of several changes of one source the last one counts. Returns how many are left. */
static size_t sort_staged(struct staged *staged, size_t count)
{
    size_t kept = 0;
    if (count > 1)
        qsort(staged, count, sizeof *staged, by_destination);
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count || staged[i + 1].destination != staged[i].destination ||
                    (xylem_ref)staged[i + 1].change.source.slot != (xylem_ref)staged[i].change.source.slot;
        if (last)
            staged[kept++] = staged[i];
    }
    for (size_t i = 0; i < kept; i++)
        staged[i].change.source.effect = &staged[i].effect;
    return kept;
}

/* Can it turn an allow into a denial? Every denial that is set may, and taking away an allow. */
static bool loses(const struct policy *policy, const struct xylem_destination *old,
                  const struct source_change *source)
{
    if (!source->remove)
        return !(source->slot >> 32 & XYLEM_SLOT_ALLOW);
    return old && destination_find(policy->region, old, source->hash, (xylem_ref)source->slot) >> 32 &
                      XYLEM_SLOT_ALLOW;
}

/* Losses to the front. Returns how many there are. */
static size_t order_changes(const struct policy *policy, const struct xylem_destination *old,
                            const struct staged *staged, size_t count, struct destination_change *changes)
{
    size_t losses = 0;
    size_t gains = 0;
    for (size_t i = 0; i < count; i++)
        if (loses(policy, old, &staged[i].change.source))
            changes[losses++] = staged[i].change;
        else
            changes[count - ++gains] = staged[i].change;
    return losses;
}

static int build_group(struct policy *policy, struct transaction *transaction, const struct staged *staged,
                       size_t count, bool alone, struct group *group)
{
    const struct xylem_destination *old =
        staged[0].destination->root ? region_at(policy->region, staged[0].destination->root) : NULL;
    struct destination_change one;
    struct destination_change *changes = count > 1 ? malloc(count * sizeof *changes) : &one;
    if (!changes)
        return -ENOMEM;
    size_t losses = order_changes(policy, old, staged, count, changes);
    group->anchor = staged[0].destination;
    group->loses = losses > 0;
    group->gains = losses < count;
    size_t first = alone || !group->loses ? count : losses;
    int error = destination_build(transaction, old, changes, first, &group->reduced);
    group->made = group->reduced;
    if (!error && first < count)
        error = destination_build(transaction, group->reduced, changes + first, count - first, &group->made);
    if (changes != &one)
        free(changes);
    return error;
}

/* Builds every destination that changes. Returns how many, or a negative code. */
static ssize_t build_groups(struct policy *policy, struct transaction *transaction,
                            const struct staged *staged, size_t count, struct group *groups)
{
    bool alone = staged[0].destination == staged[count - 1].destination;
    size_t made = 0;
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first + 1; next < count && staged[next].destination == staged[first].destination; next++)
            ;
        int error = build_group(policy, transaction, staged + first, next - first, alone, &groups[made]);
        if (error)
            return error;
        made++;
    }
    return (ssize_t)made;
}

/* A destination's root and its shape (abi.h) by one store. NULL: nothing is said about it any more. */
static void publish_root(const struct policy *policy, struct xylem_anchor *anchor,
                         const struct xylem_destination *made)
{
    uint64_t word = region_ref(policy->region, made) | (uint64_t)destination_shape(made) << 32;
    __atomic_store_n(&anchor->root_and_shape, word,
                     __ATOMIC_RELEASE); /* [publish] pairs with the readers' acquire of this word */
}

/* All losses, then all gains. While something is only lost, no denial becomes an allow, and while something is only
 * gained, no allow becomes a denial: so at no moment is anything allowed that is allowed neither before nor after. */
static void publish_groups(struct policy *policy, const struct group *groups, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (groups[i].loses)
            publish_root(policy, groups[i].anchor, groups[i].reduced);
    for (size_t i = 0; i < count; i++)
        if (groups[i].gains)
            publish_root(policy, groups[i].anchor, groups[i].made);
}

/* An anchor or key that nothing refers to any more. What cannot be taken out for want of room stays, and is found
 * again when its name comes back. */
static void drop_anchor(struct policy *policy, struct directory *directory, struct xylem_anchor *anchor)
{
    if (directory_remove(directory, anchor) != 0)
        return;
    if (directory == &policy->destinations)
        /* Behind the removal, or a handle could find the anchor once more and remember it under the new version. Before
         * the epoch is raised: a section that began later cannot know the old version any more. */
        __atomic_add_fetch(&header(policy)->directory_version, 1, __ATOMIC_RELEASE);
    region_retire(policy->region, region_ref(policy->region, anchor));
}

static bool is_wildcard(const struct xylem_anchor *anchor)
{
    return anchor->name_bytes == 1 && anchor->name[0] == '*';
}

static void count_users(struct policy *policy, const struct staged *staged, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct xylem_anchor *key = region_at(policy->region, (xylem_ref)staged[i].change.source.slot);
        key->users = (uint32_t)((int64_t)key->users + staged[i].effect);
    }
    for (size_t i = 0; i < count; i++) {
        struct xylem_anchor *key = region_at(policy->region, (xylem_ref)staged[i].change.source.slot);
        if (key->users == 0 && !is_wildcard(key) &&
            directory_find(&policy->sources, key->tenancy, key->name, key->name_bytes) == key)
            drop_anchor(policy, &policy->sources, key);
    }
}

static void drop_empty(struct policy *policy, const struct group *groups, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!groups[i].made && !is_wildcard(groups[i].anchor))
            drop_anchor(policy, &policy->destinations, groups[i].anchor);
}

static int apply_staged(struct policy *policy, struct staged *staged, size_t count, struct group *groups)
{
    struct transaction transaction;
    transaction_begin(&transaction, policy->region);
    ssize_t made = build_groups(policy, &transaction, staged, count, groups);
    if (made < 0) {
        transaction_abort(&transaction);
        return (int)made;
    }
    publish_groups(policy, groups, (size_t)made);
    policy_publish_version(policy);
    transaction_commit(&transaction);
    count_users(policy, staged, count);
    drop_empty(policy, groups, (size_t)made);
    return 0;
}

int policy_apply(struct policy *policy, const struct policy_change *changes, size_t count)
{
    struct staged one;
    struct group one_group;
    struct staged *staged = &one;
    struct group *groups = &one_group;
    int error = -ENOMEM;
    size_t known = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_valid(&changes[i].destination) || !is_valid(&changes[i].source))
            return -EINVAL;
    if (count > 1) {
        staged = malloc(count * sizeof *staged);
        groups = malloc(count * sizeof *groups);
        if (!staged || !groups)
            goto out;
    }
    for (size_t i = 0; i < count; i++) {
        memset(&staged[known], 0, sizeof staged[known]);
        error = stage(policy, &changes[i], &staged[known]);
        if (error)
            goto out;
        staged[known].order = i;
        known += staged[known].known;
    }
    known = sort_staged(staged, known);
    error = known ? apply_staged(policy, staged, known, groups) : 0;
out:
    if (staged != &one)
        free(staged);
    if (groups != &one_group)
        free(groups);
    return error;
}

/* --- freshness --- */

void policy_heartbeat(struct policy *policy, uint64_t now_ns)
{
    __atomic_store_n(&header(policy)->heartbeat_ns, now_ns, __ATOMIC_RELAXED); /* orders nothing */
}

void policy_upstream_contact(struct policy *policy, uint64_t then_ns)
{
    __atomic_store_n(&header(policy)->upstream_contact_ns, then_ns, __ATOMIC_RELAXED);
}

void policy_supersede(struct policy *policy)
{
    /* [publish] Behind the last denial published here. */
    __atomic_store_n(&header(policy)->superseded, 1, __ATOMIC_RELEASE);
    policy_publish_version(policy);
}

/* SPDX-License-Identifier: MIT */
#include "shm/certificates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/directory.h"
#include "shm/policy_internal.h"

/* Appends bytes behind the fixed part of an object, 8-aligned, with a NUL that no size counts: whoever passes a PEM
 * text on as a C string is forgiven. */
static struct xylem_run append(void *object, size_t *used, const void *bytes, size_t size)
{
    struct xylem_run run = {(uint32_t)*used, (uint32_t)size};
    if (size)
        memcpy((uint8_t *)object + *used, bytes, size);
    *used = (*used + size + 1 + 7) & ~(size_t)7;
    return run;
}

static size_t padded(size_t size)
{
    return (size + 1 + 7) & ~(size_t)7;
}

/* --- roots --- */

static size_t roots_bytes(const struct policy_root *roots, size_t count)
{
    size_t size = sizeof(struct xylem_roots_object) + count * sizeof(struct xylem_root);
    size_t bundle = 0;
    for (size_t i = 0; i < count; i++) {
        size += padded(roots[i].der_size) + padded(strlen(roots[i].pem)) + padded(strlen(roots[i].id));
        bundle += strlen(roots[i].pem);
    }
    return size + padded(bundle);
}

static void append_bundle(struct xylem_roots_object *object, size_t *used, const struct policy_root *roots,
                          size_t count)
{
    size_t start = *used;
    for (size_t i = 0; i < count; i++) {
        memcpy((uint8_t *)object + *used, roots[i].pem, strlen(roots[i].pem));
        *used += strlen(roots[i].pem);
    }
    object->bundle_pem = (struct xylem_run){(uint32_t)start, (uint32_t)(*used - start)};
}

int policy_set_roots(struct policy *policy, const struct policy_root *roots, size_t count, size_t active,
                     uint64_t version)
{
    struct xylem_region_header *header = region_header(policy->region);
    size_t size = roots_bytes(roots, count);
    if (count == 0 || active >= count || size > UINT32_MAX / 4)
        return -EINVAL;
    struct xylem_roots_object *object = region_allocate(policy->region, XYLEM_OBJECT_ROOTS, size);
    if (!object)
        return -ENOSPC;
    size_t used = sizeof *object + count * sizeof object->entries[0];
    object->version = version;
    object->count = (uint32_t)count;
    object->active = (uint32_t)active;
    for (size_t i = 0; i < count; i++) {
        struct xylem_root *root = &object->entries[i];
        root->der = append(object, &used, roots[i].der, roots[i].der_size);
        root->pem = append(object, &used, roots[i].pem, strlen(roots[i].pem));
        root->id = append(object, &used, roots[i].id, strlen(roots[i].id));
        root->not_before = roots[i].not_before;
        root->not_after = roots[i].not_after;
        root->active = i == active;
    }
    append_bundle(object, &used, roots, count);
    region_finish(policy->region, object);
    xylem_ref old_ref = header->roots;
    __atomic_store_n(&header->roots, region_ref(policy->region, object), __ATOMIC_RELEASE); /* [publish] */
    __atomic_store_n(&header->roots_version, version, __ATOMIC_RELEASE);
    region_retire(policy->region, old_ref);
    return 0;
}

/* --- leaves --- */

struct scope {
    struct region *region;
    struct directory leaves;
};

int scope_create(struct scope **out, struct grace *grace, uint64_t region_bytes, uint64_t region_id,
                 uint64_t hash_seed)
{
    struct scope *scope = calloc(1, sizeof *scope);
    if (!scope)
        return -ENOMEM;
    int error = region_create(&scope->region, grace, XYLEM_REGION_SCOPE, region_bytes, region_id, hash_seed);
    if (!error)
        error = directory_create(&scope->leaves, scope->region, &region_header(scope->region)->leaves);
    if (error) {
        scope_destroy(scope);
        return error;
    }
    *out = scope;
    return 0;
}

void scope_destroy(struct scope *scope)
{
    if (!scope)
        return;
    region_destroy(scope->region);
    free(scope);
}

struct region *scope_region(const struct scope *scope)
{
    return scope->region;
}

static size_t leaf_bytes(const struct scope_leaf *leaf)
{
    return sizeof(struct xylem_leaf_object) + padded(strlen(leaf->uri)) + padded(leaf->serial_size) +
           padded(leaf->chain_der_size) + padded(strlen(leaf->chain_pem)) + padded(leaf->key_der_size) +
           padded(strlen(leaf->key_pem));
}

static struct xylem_leaf_object *make_leaf(struct region *region, const struct scope_leaf *leaf)
{
    struct xylem_leaf_object *object = region_allocate(region, XYLEM_OBJECT_LEAF, leaf_bytes(leaf));
    if (!object)
        return NULL;
    size_t used = sizeof *object;
    object->version = leaf->version;
    object->roots_version = leaf->roots_version;
    object->not_before = leaf->not_before;
    object->not_after = leaf->not_after;
    object->uri = append(object, &used, leaf->uri, strlen(leaf->uri));
    object->serial = append(object, &used, leaf->serial, leaf->serial_size);
    object->chain_der = append(object, &used, leaf->chain_der, leaf->chain_der_size);
    object->leaf_der = (struct xylem_run){object->chain_der.offset, (uint32_t)leaf->leaf_der_size};
    object->chain_pem = append(object, &used, leaf->chain_pem, strlen(leaf->chain_pem));
    object->key_der = append(object, &used, leaf->key_der, leaf->key_der_size);
    object->key_pem = append(object, &used, leaf->key_pem, strlen(leaf->key_pem));
    region_finish(region, object);
    return object;
}

static void publish_leaf(struct scope *scope, struct xylem_anchor *anchor,
                         const struct xylem_leaf_object *leaf)
{
    struct xylem_region_header *header = region_header(scope->region);
    xylem_ref old_ref = anchor->root;
    __atomic_store_n(&anchor->root, region_ref(scope->region, leaf), __ATOMIC_RELEASE); /* [publish] */
    __atomic_store_n(&anchor->version, leaf ? leaf->version : 0, __ATOMIC_RELEASE);
    __atomic_store_n(&header->leaves_version, header->leaves_version + 1, __ATOMIC_RELEASE);
    region_retire(scope->region, old_ref);
}

/* Publishes an object that was made for this service; takes it over, also when it fails. */
static int put_object(struct scope *scope, const char *service, struct xylem_leaf_object *object)
{
    size_t size = strlen(service);
    if (!object)
        return -ENOSPC;
    struct xylem_anchor *anchor = directory_find(&scope->leaves, 0, (const uint8_t *)service, size);
    if (!anchor) {
        anchor = directory_new_anchor(scope->region, 0, (const uint8_t *)service, size);
        int error = anchor ? directory_insert(&scope->leaves, anchor) : -ENOSPC;
        if (error) {
            region_free(scope->region, anchor);
            region_free(scope->region, object);
            return error;
        }
    }
    publish_leaf(scope, anchor, object);
    return 0;
}

int scope_put_leaf(struct scope *scope, const char *service, const struct scope_leaf *leaf)
{
    size_t size = strlen(service);
    if (size == 0 || size > XYLEM_NAME_MAX || leaf->leaf_der_size > leaf->chain_der_size)
        return -EINVAL;
    return put_object(scope, service, make_leaf(scope->region, leaf));
}

int scope_copy_leaf(struct scope *to, const struct scope *from, const char *service)
{
    const struct xylem_anchor *anchor =
        directory_find(&from->leaves, 0, (const uint8_t *)service, strlen(service));
    if (!anchor || !anchor->root)
        return 0;
    const struct xylem_leaf_object *leaf = region_at(from->region, anchor->root);
    struct xylem_leaf_object *copy = region_allocate(to->region, XYLEM_OBJECT_LEAF, leaf->object.size_bytes);
    if (copy) {
        memcpy(&copy->object + 1, &leaf->object + 1, leaf->object.size_bytes - sizeof leaf->object);
        region_finish(to->region, copy);
    }
    return put_object(to, service, copy);
}

int scope_remove_leaf(struct scope *scope, const char *service)
{
    struct xylem_anchor *anchor =
        directory_find(&scope->leaves, 0, (const uint8_t *)service, strlen(service));
    if (!anchor)
        return 0;
    publish_leaf(scope, anchor, NULL);
    int error = directory_remove(&scope->leaves, anchor);
    if (!error)
        region_retire(scope->region, region_ref(scope->region, anchor));
    return error;
}

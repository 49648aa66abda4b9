/* SPDX-License-Identifier: MIT */
/* The clients: what each was offered, has installed, and may still be reading.
 *
 * A set is offered (grace_reader_use() first: from now on its slots count for these regions), installed, and then the
 * older ones are released: when every section that had begun before the installation was known has been left. Only
 * then does the client unmap, and only then do its slots stop counting for the old regions. A closed connection
 * changes none of this; DETACH and the end of the process do. */
#include "agent/core/publication_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xylem/xylem.h>

#include "agent/log.h"

#define RETRY_SEC 1.0

bool region_list_has(const struct region_list *list, const struct region *region)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->regions[i] == region)
            return true;
    return false;
}

bool region_list_add(struct region_list *list, struct region *region)
{
    if (region_list_has(list, region))
        return true;
    if (list->count == REGIONS_HELD_MAX)
        return false;
    list->regions[list->count++] = region;
    return true;
}

bool client_holds(const struct publication_client *client, const struct region *region)
{
    return region_list_has(&client->held, region);
}

uid_t publication_client_uid(const struct publication_client *client)
{
    return client->uid;
}

bool publication_client_allowed(const struct publication_client *client, const struct config_access *access)
{
    /* Root and the agent's own user can read the state directory anyway. */
    return client->uid == 0 || client->uid == geteuid() ||
           config_access_allows(access, client->uid, client->groups, client->group_count);
}

/* --- offering --- */

/* A door with a list of its own hands out only these; services that differ there never share a region, so asking for
 * one is asking for all. */
static bool passes_door(const struct publication_client *client, const struct scope_entry *entry)
{
    if (!client->services || client->services->count == 0)
        return true;
    for (size_t i = 0; i < client->services->count; i++)
        if (entry->service_count > 0 && strcmp(client->services->items[i], entry->services[0]) == 0)
            return true;
    return false;
}

static bool gather_regions(struct publication_client *client)
{
    struct publication *publication = client->publication;
    client->offer.count = 0;
    region_list_add(&client->offer, policy_region(publication->policy));
    for (struct scope_entry *entry = publication->scopes; entry; entry = entry->next) {
        if (!entry->scope || entry->service_count == 0 ||
            !publication_client_allowed(client, &entry->access) || !passes_door(client, entry))
            continue;
        if (client->offer.count == REGIONS_PER_SET)
            return false;
        region_list_add(&client->offer, scope_region(entry->scope));
    }
    return true;
}

static void region_list_remove(struct region_list *list, const struct region *region)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->regions[i] == region) {
            list->regions[i] = list->regions[--list->count];
            return;
        }
}

/* An offer that came to nothing: what the client held before, it goes on holding. */
static void give_back(struct publication_client *client)
{
    for (size_t i = 0; i < client->added.count; i++) {
        grace_reader_unuse(client->reader, client->added.regions[i]);
        region_list_remove(&client->held, client->added.regions[i]);
    }
    client->added.count = 0;
}

static bool use_regions(struct publication_client *client)
{
    client->added.count = 0;
    for (size_t i = 0; i < client->offer.count; i++) {
        struct region *region = client->offer.regions[i];
        if (client_holds(client, region))
            continue;
        if (!region_list_add(&client->held, region)) {
            give_back(client);
            return false;
        }
        region_list_add(&client->added, region);
        if (grace_reader_use(client->reader, region) != 0) {
            give_back(client);
            return false;
        }
    }
    return true;
}

/* A client whose readers do not leave their sections pins what was superseded; beyond the limit of its uid it gets no
 * more. Clients that have let go of everything older are not hindered. */
static bool pins_too_much(const struct publication_client *client)
{
    const struct publication *publication = client->publication;
    unsigned pinned = 0;
    if (!client->release_after || !publication->options.regions_per_uid_max)
        return false;
    for (const struct old_region *old = publication->old; old; old = old->next) {
        const struct region *region = old->policy ? policy_region(old->policy) : scope_region(old->scope);
        bool held = false;
        for (const struct publication_client *other = publication->clients; other && !held;
             other = other->next)
            held = other->uid == client->uid && client_holds(other, region);
        pinned += held;
    }
    return pinned >= publication->options.regions_per_uid_max;
}

static void send_offer(struct publication_client *client)
{
    int fds[REGIONS_PER_SET];
    uint64_t sizes[REGIONS_PER_SET];
    for (size_t i = 0; i < client->offer.count; i++) {
        fds[i] = region_fd(client->offer.regions[i]);
        sizes[i] = region_header(client->offer.regions[i])->region_bytes;
    }
    client->offered = grace_raise(client->publication->grace);
    client->sink->set(client->connection, client->offered, fds, sizes, client->offer.count);
}

static void retry_later(struct publication_client *client)
{
    client->wants_set = true;
    client->retry_at = publication_now() + RETRY_SEC;
}

/* At most one set is under way; what changes meanwhile is offered when it has been answered. */
void client_offer(struct publication_client *client)
{
    client->retry_at = 0;
    if (!client->publication->policy || !client->connection || !client->reader || client->offered)
        return;
    client->wants_set = false;
    if (!gather_regions(client)) {
        client->sink->refuse(client->connection, XYLEM_E_LIMIT,
                             "this user may read more access lists' leaves than one set has room for");
        return;
    }
    if (!pins_too_much(client) && use_regions(client)) {
        send_offer(client);
        return;
    }
    log_warning(log_message("client holds too many old regions; it gets no new ones until it lets go"),
                log_u64("client", client->id), log_i64("pid", client->pid));
    retry_later(client);
}

void client_flush(struct publication_client *client)
{
    if (!client->connection)
        return;
    if (client->wants_set && client->retry_at == 0)
        client_offer(client);
    /* Before the first set there is nothing that could have changed for it. */
    if (client->dirty && client->installed)
        client->sink->changed(client->connection, client->dirty);
    client->dirty = 0;
}

void publication_installed(struct publication_client *client, uint64_t min_epoch)
{
    if (!client->reader || min_epoch == 0 || min_epoch != client->offered)
        return;
    client->offered = 0;
    client->installed = min_epoch;
    client->current = client->offer;
    client->added.count = 0;
    /* Sections that began up to now may have loaded an older set. */
    client->release_after = grace_epoch(client->publication->grace);
    client->publication->dirty = true;
    if (client->wants_set)
        client_offer(client);
}

/* What neither the installed set nor one under way names cannot be read any more. */
static void let_go(struct publication_client *client)
{
    for (size_t i = 0; i < client->held.count; i++) {
        struct region *region = client->held.regions[i];
        if (region_list_has(&client->current, region) ||
            (client->offered && region_list_has(&client->offer, region)))
            continue;
        grace_reader_unuse(client->reader, region);
        client->held.regions[i--] = client->held.regions[--client->held.count];
    }
}

void client_try_release(struct publication_client *client)
{
    if (!client->release_after || !client->reader ||
        !grace_reader_left(client->reader, client->release_after))
        return;
    client->release_after = 0;
    if (client->connection)
        client->sink->release(client->connection, client->installed);
    let_go(client);
}

void publication_refused(struct publication_client *client, uint64_t min_epoch, int code)
{
    if (!client->reader || min_epoch != client->offered)
        return;
    log_warning(log_message("client refused a set of regions"), log_u64("client", client->id),
                log_i64("pid", client->pid), log_text("reason", xylem_strerror(code)));
    client->offered = 0;
    give_back(client);
    retry_later(client);
}

/* --- coming and going --- */

static void on_exit_of_process(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct publication_client *client = watcher->data;
    ev_io_stop(client->publication->options.loop, watcher);
    if (client->connection) { /* the door will tell; until then the slots count for nothing */
        close(client->pidfd);
        client->pidfd = -1;
        grace_reader_destroy(client->reader);
        client->reader = NULL;
        client->held.count = client->current.count = client->added.count = 0;
        client->release_after = 0;
        return;
    }
    client_free(client);
}

/* The same process on a new connection: its sections are those of the old entry, which becomes a husk. */
static struct publication_client *find_same_page(const struct publication *publication,
                                                 const struct grace_page *page)
{
    for (struct publication_client *client = publication->clients; client; client = client->next)
        if (client->reader && client->device == page->device && client->inode == page->inode)
            return client;
    return NULL;
}

static void take_over(struct publication_client *client, struct publication_client *former)
{
    client->reader = former->reader;
    client->held = former->held;
    /* What was under way may have been installed just before the connection broke. */
    client->current = former->offered ? former->held : former->current;
    client->installed = former->installed;
    former->reader = NULL;
    former->held.count = former->current.count = former->added.count = 0;
    former->release_after = 0;
    former->offered = 0;
}

static int check_limits(const struct publication *publication, uid_t uid, struct error *error)
{
    unsigned of_uid = 0;
    for (const struct publication_client *client = publication->clients; client; client = client->next)
        of_uid += client->uid == uid;
    if (publication->client_count >= publication->options.clients_max)
        return error_set(error, ERROR_LIMIT, "limits.clients (%u) is reached",
                         publication->options.clients_max);
    if (of_uid >= publication->options.clients_per_uid_max)
        return error_set(error, ERROR_LIMIT, "uid %u: limits.clients_per_uid (%u) is reached", (unsigned)uid,
                         publication->options.clients_per_uid_max);
    return 0;
}

static struct publication_client *make_client(struct publication *publication,
                                              const struct publication_peer *peer)
{
    struct publication_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->groups = malloc(peer->group_count * sizeof *client->groups + 1);
    if (!client->groups) {
        free(client);
        return NULL;
    }
    if (peer->group_count)
        memcpy(client->groups, peer->groups, peer->group_count * sizeof *client->groups);
    client->group_count = peer->group_count;
    client->publication = publication;
    client->uid = peer->uid;
    client->pid = peer->pid;
    client->pidfd = peer->pidfd;
    client->device = peer->page.device;
    client->inode = peer->page.inode;
    client->services = peer->services;
    client->fenced = peer->fenced;
    client->attached_at = ev_now(publication->options.loop);
    memcpy(client->name, peer->name, sizeof client->name);
    client->name[sizeof client->name - 1] = '\0';
    return client;
}

int publication_attach(struct publication *publication, const struct publication_peer *peer,
                       const struct publication_sink *sink, void *connection, struct publication_client **out,
                       struct error *error)
{
    struct grace_page page = peer->page;
    struct publication_client *former = find_same_page(publication, &page);
    int code = former ? 0 : check_limits(publication, peer->uid, error);
    if (code)
        return code;
    struct publication_client *client = make_client(publication, peer);
    if (!client)
        return error_set(error, ERROR_SYSTEM, "no memory for another client");
    if (former) {
        take_over(client, former);
        grace_page_unmap(&page);
    } else if (grace_reader_adopt(publication->grace, &page, &client->reader) != 0) {
        free(client->groups);
        free(client);
        return error_set(error, ERROR_SYSTEM, "no memory for another reader page");
    }
    if (!former)
        client->installed = peer->installed;
    /* A RELEASE may have been lost with the former connection or agent, and a client has room for a few sets only. */
    if (client->installed)
        client->release_after = grace_epoch(publication->grace);
    client->id = ++publication->next_client_id;
    client->sink = sink;
    client->connection = connection;
    client->wants_set = true;
    client->next = publication->clients;
    publication->clients = client;
    publication->client_count++;
    ev_io_init(&client->exit_watcher, on_exit_of_process, client->pidfd, EV_READ);
    client->exit_watcher.data = client;
    if (client->pidfd != -1)
        ev_io_start(publication->options.loop, &client->exit_watcher);
    if (former && !former->connection)
        client_free(former);
    *out = client;
    sink->welcome(connection, client->id, !grace_has_membarrier(publication->grace));
    client_offer(client);
    return 0;
}

void client_free(struct publication_client *client)
{
    struct publication *publication = client->publication;
    struct publication_client **link = &publication->clients;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    publication->client_count--;
    if (client->pidfd != -1) {
        ev_io_stop(publication->options.loop, &client->exit_watcher);
        close(client->pidfd);
    }
    grace_reader_destroy(client->reader);
    free(client->groups);
    free(client);
    publication->dirty = true;
}

void publication_detach(struct publication_client *client)
{
    client_free(client);
}

void publication_disconnected(struct publication_client *client)
{
    client->connection = NULL;
    client->wants_set = false;
    if (!client->reader) {
        client_free(client);
        return;
    }
    if (client->offered) { /* it may have been installed without our hearing of it */
        client->offered = 0;
        client->current = client->held;
    }
    if (client->pidfd == -1) {
        /* The kernel will not tell us when it ends, so its slots are honoured until its regions are superseded. */
        log_debug(log_message("client without pidfd disconnected"), log_u64("client", client->id),
                  log_i64("pid", client->pid));
    }
}

/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a certificate: no crash and no read past the end (libFuzzer's buffer is exactly sized), views
 * inside the input, *out untouched on failure, and an answer that depends on nothing behind the input.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/x509.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_inside(const uint8_t *data, size_t size, struct xylem_slice part)
{
    uintptr_t start = (uintptr_t)data, at = (uintptr_t)part.data;
    require(at >= start && at - start <= size && part.size <= size - (at - start));
}

static void require_same(const uint8_t *data, struct xylem_slice part, const uint8_t *copy,
                         struct xylem_slice of_copy)
{
    require(part.size == of_copy.size);
    require(part.size == 0 || part.data - data == of_copy.data - copy);
}

static void check_views(const uint8_t *data, size_t size, const struct xylem_peer *peer)
{
    require_inside(data, size, peer->uri);
    require_inside(data, size, peer->serial);
    if (peer->issuer_key_id.size != 0)
        require_inside(data, size, peer->issuer_key_id);
    require(peer->uri.size != 0);
    for (size_t i = 0; i < peer->uri.size; i++)
        require(peer->uri.data[i] > ' ' && peer->uri.data[i] <= '~');
    require(peer->serial.size >= 1 && peer->serial.size <= XYLEM_X509_SERIAL_SIZE_MAX);
    require(peer->serial.data[0] != 0);
}

/* The same certificate with bytes behind it that are no part of it, and then one byte too short and too long.
 */
static void check_end(const uint8_t *data, size_t size, int rc, const struct xylem_peer *peer, int filler)
{
    enum { BEHIND = 64 };
    struct xylem_peer of_copy;
    uint8_t *copy = malloc(size + BEHIND);
    require(copy != NULL);
    if (size != 0)
        memcpy(copy, data, size);
    memset(copy + size, filler, BEHIND);
    require(xylem_x509_peer(copy, size, &of_copy) == rc);
    if (rc == XYLEM_X509_OK) {
        require_same(data, peer->uri, copy, of_copy.uri);
        require_same(data, peer->serial, copy, of_copy.serial);
        require_same(data, peer->issuer_key_id, copy, of_copy.issuer_key_id);
        require(xylem_x509_peer(copy, size - 1, &of_copy) == XYLEM_X509_TRUNCATED);
        require(xylem_x509_peer(copy, size + 1, &of_copy) ==
                (size < XYLEM_X509_SIZE_MAX ? XYLEM_X509_TRAILING : XYLEM_X509_TOO_LARGE));
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xylem_peer before, peer;
    memset(&before, 0xa5, sizeof(before));
    peer = before;
    int rc = xylem_x509_peer(data, size, &peer);
    require(strcmp(xylem_x509_strerror(rc), xylem_x509_strerror(1)) != 0);
    if (rc == XYLEM_X509_OK)
        check_views(data, size, &peer);
    else
        require(memcmp(&peer, &before, sizeof(before)) == 0);
    check_end(data, size, rc, &peer, 0x00);
    check_end(data, size, rc, &peer, 0xff);
    return 0;
}

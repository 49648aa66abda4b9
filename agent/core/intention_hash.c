/* SPDX-License-Identifier: MIT */
/* Consul's Hash of intentions with a legacy ID: BLAKE2b (RFC 7693) with 32 bytes of output and no key. It only
 * tells clients that something has changed, so nothing secret depends on it. */
#include "agent/core/intention_internal.h"

#include <stdlib.h>

enum { BLOCK = 128, ROUNDS = 12 };

/* RFC 7693, section 2.6: the same words as SHA-512 begins with. */
static const uint64_t initial[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

/* Section 2.7; rounds 10 and 11 begin again. */
static const uint8_t schedule[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t rotate_right(uint64_t word, unsigned bits)
{
    return word >> bits | word << (64 - bits);
}

static void mix(uint64_t v[16], unsigned a, unsigned b, unsigned c, unsigned d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 63);
}

/* `total` counts the message's bytes up to and including this block's. */
static void compress(uint64_t state[8], const uint8_t block[BLOCK], uint64_t total, bool last)
{
    uint64_t v[16], words[16];
    memcpy(words, block, sizeof words);
    memcpy(v, state, 8 * sizeof v[0]);
    memcpy(v + 8, initial, sizeof initial);
    v[12] ^= total;
    if (last)
        v[14] = ~v[14];
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint8_t *s = schedule[round % 10];
        for (unsigned i = 0; i < 4; i++)
            mix(v, i, 4 + i, 8 + i, 12 + i, words[s[2 * i]], words[s[2 * i + 1]]);
        for (unsigned i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, words[s[8 + 2 * i]],
                words[s[9 + 2 * i]]);
    }
    for (unsigned i = 0; i < 8; i++)
        state[i] ^= v[i] ^ v[i + 8];
}

struct blake {
    uint64_t state[8], total;
    uint8_t block[BLOCK];
    size_t filled;
};

static void update(struct blake *blake, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        /* A full block waits until it is known not to be the last. */
        if (blake->filled == BLOCK) {
            blake->total += BLOCK;
            compress(blake->state, blake->block, blake->total, false);
            blake->filled = 0;
        }
        size_t part = BLOCK - blake->filled < size ? BLOCK - blake->filled : size;
        memcpy(blake->block + blake->filled, at, part);
        blake->filled += part;
        at += part;
        size -= part;
    }
}

static void update_text(struct blake *blake, const char *text)
{
    update(blake, text, strlen(text));
}

int intention_hash(const struct intention *intention, uint8_t hash[32])
{
    struct blake blake = {.total = 0};
    struct json_document *document;
    struct json_value meta = {0};
    const uint64_t precedence = intention->precedence;
    if (intention_parse_member(&meta, intention->details->meta_json, &document, NULL) != 0)
        return -1;
    memcpy(blake.state, initial, sizeof initial);
    blake.state[0] ^= 0x01010000 ^ 32; /* section 3.3: one leaf, no key, 32 bytes */
    update_text(&blake, intention->details->legacy_id);
    update_text(&blake, intention->details->description);
    update_text(&blake, intention->source.namespace_name);
    update_text(&blake, intention->source.name);
    update_text(&blake, intention->destination.namespace_name);
    update_text(&blake, intention->destination.name);
    update_text(&blake, "consul");
    update_text(&blake, intention_action_text(intention));
    update(&blake, &precedence, sizeof precedence);
    for (struct json_value member = json_first(meta); member.document; member = json_next(member)) {
        const char *value = "";
        json_read_text(member, &value, NULL);
        update_text(&blake, json_key_of(member));
        update_text(&blake, value);
    }
    json_free(document);
    memset(blake.block + blake.filled, 0, BLOCK - blake.filled);
    compress(blake.state, blake.block, blake.total + blake.filled, true);
    memcpy(hash, blake.state, 32);
    return 0;
}

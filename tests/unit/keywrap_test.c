/* SPDX-License-Identifier: MIT */
#include "tests/unit/ca_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/ca/keywrap.h"
#include "agent/ca/pem.h"

static struct keywrap *make(const char *secret)
{
    struct keywrap *keywrap = NULL;
    assert_int_equal(keywrap_from_secret(secret, strlen(secret), &keywrap, NULL), 0);
    return keywrap;
}

#define SECRET       "0123456789abcdef0123456789abcdef"
#define OTHER_SECRET "0123456789abcdef0123456789abcdeg"

static void opens_what_it_sealed(void **state)
{
    struct keywrap *keywrap = make(SECRET);
    uint8_t *sealed, *again, *plain;
    size_t sealed_size, again_size, plain_size;
    assert_int_equal(keywrap_seal(keywrap, *state, "ca-key/3", "secret", 6, &sealed, &sealed_size, NULL), 0);
    assert_int_equal(keywrap_seal(keywrap, *state, "ca-key/3", "secret", 6, &again, &again_size, NULL), 0);
    assert_int_equal(sealed_size, 6 + KEYWRAP_OVERHEAD_BYTES);
    assert_memory_not_equal(sealed, again, sealed_size); /* another nonce */
    assert_null(memmem(sealed, sealed_size, "secret", 6));
    assert_int_equal(keywrap_open(keywrap, "ca-key/3", sealed, sealed_size, &plain, &plain_size, NULL), 0);
    assert_int_equal(plain_size, 6);
    assert_memory_equal(plain, "secret", 6);
    pem_free_secret(plain, plain_size);
    free(sealed);
    free(again);
    keywrap_free(keywrap);
}

static void refuses_other_keys_contexts_and_damage(void **state)
{
    struct keywrap *keywrap = make(SECRET), *other = make(OTHER_SECRET);
    uint8_t *sealed, *plain = NULL;
    size_t size, plain_size;
    struct error error = {0};
    assert_int_equal(keywrap_seal(keywrap, *state, "a", "secret", 6, &sealed, &size, NULL), 0);
    assert_int_equal(keywrap_open(other, "a", sealed, size, &plain, &plain_size, &error), ERROR_DENIED);
    assert_non_null(strstr(error.text, "another key"));
    assert_int_equal(keywrap_open(keywrap, "b", sealed, size, &plain, &plain_size, NULL), ERROR_CORRUPT);
    for (size_t i = 0; i < size; i++) {
        sealed[i] ^= 1;
        int result = keywrap_open(keywrap, "a", sealed, size, &plain, &plain_size, NULL);
        assert_int_equal(result, i >= 8 && i < 16 ? ERROR_DENIED : ERROR_CORRUPT);
        sealed[i] ^= 1;
    }
    for (size_t length = 0; length < size; length++)
        assert_int_equal(keywrap_open(keywrap, "a", sealed, length, &plain, &plain_size, NULL),
                         ERROR_CORRUPT);
    assert_null(plain);
    free(sealed);
    keywrap_free(keywrap);
    keywrap_free(other);
}

static void write_file(const char *path, const char *content, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void key_files_must_be_private_and_long_enough(void **state)
{
    char directory[] = "/tmp/keywrap-XXXXXX", path[64];
    struct keywrap *keywrap = NULL, *same = make(SECRET);
    struct error error = {0};
    uint8_t *sealed, *plain;
    size_t size, plain_size;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/key", directory);
    assert_int_equal(keywrap_load(path, &keywrap, &error), ERROR_SYSTEM);
    write_file(path, SECRET, 0640);
    assert_int_equal(keywrap_load(path, &keywrap, &error), ERROR_DENIED);
    assert_non_null(strstr(error.text, "0640"));
    write_file(path, SECRET, 0604);
    assert_int_equal(keywrap_load(path, &keywrap, NULL), ERROR_DENIED);
    write_file(path, "short", 0600);
    assert_int_equal(keywrap_load(path, &keywrap, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(keywrap_load(directory, &keywrap, NULL), ERROR_INVALID);
    assert_null(keywrap);
    write_file(path, SECRET, 0400);
    assert_int_equal(keywrap_load(path, &keywrap, NULL), 0);
    /* The file's content is the secret, so both open each other's blobs. */
    assert_int_equal(keywrap_seal(same, *state, "a", "x", 1, &sealed, &size, NULL), 0);
    assert_int_equal(keywrap_open(keywrap, "a", sealed, size, &plain, &plain_size, NULL), 0);
    pem_free_secret(plain, plain_size);
    free(sealed);
    keywrap_free(keywrap);
    keywrap_free(same);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_sealed),
        cmocka_unit_test(refuses_other_keys_contexts_and_damage),
        cmocka_unit_test(key_files_must_be_private_and_long_enough),
    };
    return FIXTURE_RUN(tests);
}

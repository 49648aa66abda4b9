/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ca/der_writer.h"

/* Takes what was written and compares it with the bytes of a literal. */
#define EXPECT(writer, bytes) expect(writer, bytes, sizeof(bytes) - 1)

static void expect(struct der_writer *writer, const char *bytes, size_t length)
{
    uint8_t *der;
    size_t size;
    assert_int_equal(der_writer_take(writer, &der, &size, "test", NULL), 0);
    assert_int_equal(size, length);
    assert_memory_equal(der, bytes, length);
    free(der);
}

static void values(void **state)
{
    (void)state;
    struct der_writer writer;
    der_writer_init(&writer);
    der_write_unsigned(&writer, 0);
    EXPECT(&writer, "\x02\x01\x00");
    der_write_unsigned(&writer, 0x80);
    EXPECT(&writer, "\x02\x02\x00\x80");
    der_write_unsigned(&writer, UINT64_MAX);
    EXPECT(&writer, "\x02\x09\x00\xff\xff\xff\xff\xff\xff\xff\xff");
    der_write_magnitude(&writer, (const uint8_t *)"\x00\x00\x12", 3);
    EXPECT(&writer, "\x02\x01\x12");
    der_write_magnitude(&writer, NULL, 0);
    EXPECT(&writer, "\x02\x01\x00");
    der_write_boolean(&writer, true);
    EXPECT(&writer, "\x01\x01\xff");
    der_write_null(&writer);
    EXPECT(&writer, "\x05\x00");
    der_write_named_bits(&writer, 1 << 0 | 1 << 5 | 1 << 6);
    EXPECT(&writer, "\x03\x02\x01\x86");
    der_write_named_bits(&writer, 1 << 8);
    EXPECT(&writer, "\x03\x03\x07\x00\x80");
    der_write_named_bits(&writer, 0);
    EXPECT(&writer, "\x03\x01\x00");
    der_write_time(&writer, 2524607999);
    EXPECT(&writer, "\x17\x0d"
                    "491231235959Z");
    der_write_time(&writer, 2524608000);
    EXPECT(&writer, "\x18\x0f"
                    "20500101000000Z");
    der_write_time(&writer, -631152001);
    EXPECT(&writer, "\x18\x0f"
                    "19491231235959Z");
}

static void nesting_is_back_to_front(void **state)
{
    (void)state;
    struct der_writer writer;
    der_writer_init(&writer);
    der_write_null(&writer);
    size_t mark = der_writer_mark(&writer);
    der_write_unsigned(&writer, 2);
    der_write_unsigned(&writer, 1);
    der_write_header(&writer, DER_SEQUENCE, mark);
    EXPECT(&writer, "\x30\x06\x02\x01\x01\x02\x01\x02\x05\x00");
}

static void lengths_are_minimal_and_the_buffer_grows(void **state)
{
    (void)state;
    static const size_t sizes[] = {127, 128, 255, 256, 65535, 65536, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct der_writer writer;
        uint8_t *content = malloc(sizes[i]), *der;
        size_t size;
        memset(content, 'x', sizes[i]);
        der_writer_init(&writer);
        der_write_tlv(&writer, DER_OCTET_STRING, content, sizes[i]);
        assert_int_equal(der_writer_take(&writer, &der, &size, "test", NULL), 0);
        struct der_cursor cursor = der_cursor(der_slice(der, size));
        struct der_slice read;
        assert_int_equal(der_expect(&cursor, DER_OCTET_STRING, &read), 0);
        assert_int_equal(der_end(&cursor), 0);
        assert_int_equal(read.length, sizes[i]);
        assert_memory_equal(read.data, content, sizes[i]);
        free(content);
        free(der);
    }
}

static void failure_is_sticky(void **state)
{
    (void)state;
    struct der_writer writer;
    struct error error = {0};
    uint8_t *der = NULL;
    size_t size;
    der_writer_init(&writer);
    der_write_time(&writer, INT64_C(253402300800)); /* year 10000 */
    der_write_null(&writer);
    assert_int_equal(der_writer_take(&writer, &der, &size, "certificate", &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "certificate"));
    assert_null(der);
    der_write_null(&writer); /* empty again */
    EXPECT(&writer, "\x05\x00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(nesting_is_back_to_front),
        cmocka_unit_test(lengths_are_minimal_and_the_buffer_grows),
        cmocka_unit_test(failure_is_sticky),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

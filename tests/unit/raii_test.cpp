/* SPDX-License-Identifier: MIT */
/* The guards that the header has for C++: what they open they close, in every way out of a scope. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdexcept>
#include <type_traits>

#include <xylem/xylem.h>

/* In C a function may have the name of a struct; in C++ it hides the constructor, which nobody calls. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
extern "C" {
#include <cmocka.h>

#include "shm/policy.h"
}
#pragma GCC diagnostic pop

static xylem_client *attached;

static int set_up(void **)
{
    static grace *epochs;
    static policy *world;
    static grace_reader *slots;
    if (grace_create(&epochs, grace_first_epoch()) != 0 ||
        policy_create(&world, epochs, 1u << 20, 1, 1, 1) != 0 || xylem_new_(&attached, 16, 0) != XYLEM_OK ||
        grace_reader_create(epochs, attached->page_fd, 16, &slots) != 0)
        return 1;
    int fd = region_fd(policy_region(world));
    uint64_t size = 1u << 20;
    return xylem_install_(attached, grace_raise(epochs), &fd, &size, 1);
}

static uint64_t nesting(const xylem::reader &reader)
{
    return reader.get()->slot->words[0] & XYLEM_NESTING_;
}

static void test_sections(void **)
{
    xylem::reader reader;
    assert_int_equal(reader.open(attached), XYLEM_OK);
    {
        xylem::read_section outer(reader.get());
        assert_int_equal(nesting(reader), 1);
        {
            xylem::read_section inner(reader.get());
            assert_int_equal(nesting(reader), 2);
        }
        assert_int_equal(nesting(reader), 1);
    }
    assert_int_equal(nesting(reader), 0);
    bool caught = false;
    try {
        xylem::read_section section(reader.get());
        throw std::runtime_error("out");
    } catch (const std::runtime_error &) {
        caught = true;
    }
    assert_true(caught);
    assert_int_equal(nesting(reader), 0);
    static_assert(!std::is_copy_constructible<xylem::read_section>::value, "a section belongs to a scope");
    static_assert(!std::is_move_constructible<xylem::read_section>::value, "a section belongs to a scope");
}

static void test_readers(void **)
{
    xylem_reader_slot *slot;
    {
        xylem::reader reader;
        assert_null(reader.get());
        assert_int_equal(reader.open(attached), XYLEM_OK);
        slot = reader.get()->slot;
        assert_true(slot->thread != 0);
        assert_int_equal(reader.open(attached), XYLEM_OK); /* gives the first one back */
        assert_ptr_equal(reader.get()->slot, slot);
    }
    assert_int_equal(slot->thread, 0);
    static_assert(!std::is_copy_constructible<xylem::reader>::value, "a slot has one owner");
}

static void test_clients(void **)
{
    xylem_options options = {};
    options.socket_path = "/nonexistent/attach.sock";
    xylem::client client;
    assert_null(client.get());
    assert_int_equal(client.open(&options), XYLEM_E_NO_AGENT);
    assert_null(client.get());
    options.flags = XYLEM_OPEN_LAZY;
    assert_int_equal(client.open(&options), XYLEM_OK);
    assert_non_null(client.get());
    assert_int_equal(client.open(&options), XYLEM_OK); /* the first one is closed */
    xylem::reader reader;
    assert_int_equal(reader.open(client.get()), XYLEM_OK);
    xylem_verdict verdict;
    assert_int_equal(xylem_authorize(reader.get(), "db", "spiffe://a/b", nullptr, &verdict), 0);
    assert_int_equal(verdict.why, XYLEM_WHY_NOT_READY);
    static_assert(!std::is_copy_constructible<xylem::client>::value, "a client has one owner");
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_clients),
    };
    return cmocka_run_group_tests(tests, set_up, nullptr);
}

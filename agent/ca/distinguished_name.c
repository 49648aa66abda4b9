/* SPDX-License-Identifier: MIT */
#include "agent/ca/distinguished_name.h"

#include "agent/error.h"

int distinguished_name_walk(struct distinguished_name_walk *walk, struct der_slice name)
{
    *walk = (struct distinguished_name_walk){0};
    return der_enter_only(name, DER_SEQUENCE, &walk->rdns);
}

static int read_attribute(struct der_cursor *set, struct distinguished_name_attribute *attribute)
{
    struct der_cursor inner;
    if (der_enter(set, DER_SEQUENCE, &inner) || der_expect(&inner, DER_OID, &attribute->type) ||
        der_any(&inner, &attribute->value) || der_end(&inner))
        return ERROR_INVALID;
    return 0;
}

int distinguished_name_next(struct distinguished_name_walk *walk,
                            struct distinguished_name_attribute *attribute)
{
    if (der_at_end(&walk->set)) {
        if (der_at_end(&walk->rdns))
            return 0;
        if (der_enter(&walk->rdns, DER_SET, &walk->set))
            return ERROR_INVALID;
    }
    return read_attribute(&walk->set, attribute) ? ERROR_INVALID : 1; /* an empty SET fails here */
}

int distinguished_name_check(struct der_slice name, bool *is_empty)
{
    struct distinguished_name_walk walk;
    struct distinguished_name_attribute attribute;
    if (distinguished_name_walk(&walk, name))
        return ERROR_INVALID;
    bool empty = der_at_end(&walk.rdns);
    int more;
    while ((more = distinguished_name_next(&walk, &attribute)) > 0)
        ;
    if (more == 0 && is_empty)
        *is_empty = empty;
    return more;
}

static bool is_string(uint8_t tag)
{
    return tag == DER_UTF8_STRING || tag == DER_PRINTABLE_STRING || tag == DER_IA5_STRING;
}

/* The next character of a string in comparison form: lower case, no space at either end, one for several;
 * -1 at the end. */
static int next_folded(struct der_slice text, size_t *at)
{
    size_t start = *at;
    while (*at < text.length && text.data[*at] == ' ')
        (*at)++;
    if (*at == text.length)
        return -1;
    if (start != 0 && *at != start)
        return ' ';
    int c = text.data[(*at)++];
    return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

/* next_folded() answers ' ' before it has consumed the character behind the spaces, so the walk goes on
 * there: `at` then stands on that character, and `start` equals it. */
static bool same_string(struct der_slice a, struct der_slice b)
{
    size_t at_a = 0, at_b = 0;
    int c;
    do {
        c = next_folded(a, &at_a);
        if (c != next_folded(b, &at_b))
            return false;
    } while (c != -1);
    return true;
}

static bool same_attribute(const struct distinguished_name_attribute *a,
                           const struct distinguished_name_attribute *b)
{
    if (!der_equal(a->type, b->type))
        return false;
    if (is_string(a->value.tag) && is_string(b->value.tag))
        return same_string(a->value.content, b->value.content);
    return der_equal(a->value.whole, b->value.whole);
}

bool distinguished_name_is_within(struct der_slice name, struct der_slice base)
{
    struct distinguished_name_walk walk, base_walk;
    struct distinguished_name_attribute attribute, base_attribute;
    if (distinguished_name_walk(&walk, name) || distinguished_name_walk(&base_walk, base))
        return false;
    for (;;) {
        int more = distinguished_name_next(&base_walk, &base_attribute);
        if (more <= 0) /* all of the base matched, unless the last RDN of the name has more to it */
            return more == 0 && der_at_end(&walk.set);
        /* RDNs must begin together: {A,B} is not {A},{B}. */
        if (distinguished_name_next(&walk, &attribute) <= 0 || !same_attribute(&attribute, &base_attribute) ||
            der_at_end(&walk.set) != der_at_end(&base_walk.set))
            return false;
    }
}

/* SPDX-License-Identifier: MIT */
#include "agent/ca/path.h"

#include "agent/ca/name_constraints.h"

/* The search: depth first from the leaf, anchors before supplied certificates at every step. */
struct search {
    const struct path_request *request;
    const struct x509 *path[PATH_MAX_CERTIFICATES];
    size_t length;
    size_t signatures; /* verified so far */
    struct path_result failure;
    size_t progress; /* rank of `failure`: the one that came furthest is told */
    struct error *error;
};

const char *path_check_name(enum path_check check)
{
    static const char *const names[] = {
        [PATH_OK] = "trusted",
        [PATH_NO_ISSUER] = "issued by an unknown CA",
        [PATH_BAD_SIGNATURE] = "bad signature",
        [PATH_NOT_YET_VALID] = "not yet valid",
        [PATH_EXPIRED] = "expired",
        [PATH_NOT_A_CA] = "issuer is not a CA",
        [PATH_NO_CERT_SIGN] = "issuer may not sign certificates",
        [PATH_TOO_LONG] = "path too long",
        [PATH_NAME_FORBIDDEN] = "name forbidden by name constraints",
        [PATH_WRONG_PURPOSE] = "wrong purpose",
        [PATH_UNKNOWN_CRITICAL] = "unknown critical extension",
        [PATH_WEAK_KEY] = "weak or unsupported key",
        [PATH_LIMIT] = "too many certificates or signatures",
    };
    return names[check];
}

/* How telling a failure is: by the depth that was reached, then by kind. A path that got as far as its names
 * missed nothing else, and a limit hides the outcome. */
static size_t progress_of(enum path_check check, size_t depth)
{
    if (check == PATH_NAME_FORBIDDEN || check == PATH_LIMIT)
        depth = PATH_MAX_CERTIFICATES;
    return 3 * depth + (check == PATH_NO_ISSUER ? 1 : check == PATH_BAD_SIGNATURE ? 2 : 3);
}

/* Notes that `certificate`, at `depth` of the path, failed; `detail` goes into the message. */
static void note(struct search *search, enum path_check check, const struct x509 *certificate, size_t depth,
                 const char *detail)
{
    char subject[200];
    size_t progress = progress_of(check, depth);
    if (progress <= search->progress)
        return;
    search->progress = progress;
    search->failure = (struct path_result){.check = check, .depth = depth};
    x509_describe(certificate, subject, sizeof subject);
    error_set(search->error, ERROR_DENIED, "certificate %zu of the path (%s): %s%s%s", depth, subject,
              path_check_name(check), *detail ? ": " : "", detail);
}

static bool is_weak(const struct public_key *key)
{
    if (key->type == KEY_TYPE_RSA)
        return key->bits < KEY_RSA_MIN_BITS || key->bits > KEY_RSA_MAX_BITS;
    return key->type == KEY_TYPE_UNKNOWN;
}

/* What holds for every certificate of a path. */
static enum path_check check_any(const struct path_request *request, const struct x509 *certificate)
{
    if (request->now < certificate->not_before)
        return PATH_NOT_YET_VALID;
    if (request->now > certificate->not_after)
        return PATH_EXPIRED;
    if (certificate->unknown_critical_count)
        return PATH_UNKNOWN_CRITICAL;
    if (is_weak(&certificate->public_key))
        return PATH_WEAK_KEY;
    /* An issuer with EKU limits the purposes below it too, as all TLS libraries have it. */
    unsigned wanted = request->purpose == PATH_PURPOSE_CLIENT   ? X509_EKU_CLIENT_AUTH
                      : request->purpose == PATH_PURPOSE_SERVER ? X509_EKU_SERVER_AUTH
                                                                : 0;
    if (wanted && certificate->eku_extension.value.data && !(certificate->eku & (wanted | X509_EKU_ANY)))
        return PATH_WRONG_PURPOSE;
    return PATH_OK;
}

static bool is_self_issued(const struct x509 *certificate)
{
    return der_equal(certificate->issuer, certificate->subject);
}

/* Whether one more issuer is within its own path length: intermediates below it count unless self-issued
 * (RFC 5280, 4.2.1.9); the leaf never counts. */
static bool path_length_holds(const struct search *search, const struct x509 *issuer)
{
    int below = 0;
    for (size_t i = 1; i < search->length; i++)
        below += !is_self_issued(search->path[i]);
    return issuer->path_length < 0 || below <= issuer->path_length;
}

/* Every issuer's name constraints on all that is below it, self-issued intermediates excepted (RFC
 * 5280, 6.1.3). Judged once the path has reached an anchor: before that, a stranger would choose both lists
 * of names. */
static bool names_are_allowed(struct search *search)
{
    for (size_t above = 1; above < search->length; above++) {
        struct der_slice constraints = search->path[above]->name_constraints_extension.value;
        for (size_t i = 0; constraints.data && i < above; i++) {
            struct error why = {0};
            if ((i > 0 && is_self_issued(search->path[i])) ||
                !name_constraints_allow(constraints, search->path[i], &why))
                continue;
            note(search, PATH_NAME_FORBIDDEN, search->path[i], i, why.text);
            return false;
        }
    }
    return true;
}

/* Whether `issuer` may be the next certificate of the path, all but its signature. */
static enum path_check check_issuer(const struct search *search, const struct x509 *issuer)
{
    enum path_check check = check_any(search->request, issuer);
    if (check)
        return check;
    if (!issuer->is_ca)
        return PATH_NOT_A_CA;
    if (issuer->key_usage_extension.value.data && !(issuer->key_usage & X509_KEY_CERT_SIGN))
        return PATH_NO_CERT_SIGN;
    return path_length_holds(search, issuer) ? PATH_OK : PATH_TOO_LONG;
}

/* Names and key ids say that this could be the issuer. Ids only tell apart what has equal names. */
static bool could_issue(const struct x509 *issuer, const struct x509 *subject)
{
    if (!der_equal(issuer->subject, subject->issuer))
        return false;
    return !issuer->subject_key_id.data || !subject->authority_key_id.data ||
           der_equal(issuer->subject_key_id, subject->authority_key_id);
}

/* The same name and key twice in a path is a loop, as two cross-signed roots can make one. */
static bool is_in_path(const struct search *search, const struct x509 *certificate)
{
    for (size_t i = 0; i < search->length; i++)
        if (der_equal(search->path[i]->subject, certificate->subject) &&
            der_equal(search->path[i]->public_key.spki, certificate->public_key.spki))
            return true;
    return false;
}

/* Appends the issuer when everything about it and about the signature below holds. */
static bool append(struct search *search, const struct x509 *issuer)
{
    struct error why = {0};
    const struct x509 *last = search->path[search->length - 1];
    if (search->length == PATH_MAX_CERTIFICATES) {
        note(search, PATH_TOO_LONG, issuer, search->length, "");
        return false;
    }
    enum path_check check = check_issuer(search, issuer);
    if (check) {
        note(search, check, issuer, search->length, "");
        return false;
    }
    if (search->signatures++ >= PATH_MAX_SIGNATURES) {
        note(search, PATH_LIMIT, last, search->length - 1, "");
        return false;
    }
    if (x509_verify_signature(last, &issuer->public_key, &why)) {
        note(search, PATH_BAD_SIGNATURE, last, search->length - 1, why.text);
        return false;
    }
    search->path[search->length++] = issuer;
    return true;
}

/* Extends the path until it ends in an anchor. The recursion is as deep as a path is long. */
static bool extend(struct search *search)
{
    const struct path_request *request = search->request;
    const struct x509 *last = search->path[search->length - 1];
    bool found = false;
    for (size_t i = 0; i < request->anchor_count; i++) {
        const struct x509 *anchor = request->anchors[i];
        if (!could_issue(anchor, last) || is_in_path(search, anchor))
            continue;
        found = true;
        if (!append(search, anchor))
            continue;
        if (names_are_allowed(search))
            return true;
        search->length--;
    }
    for (size_t i = 0; i < request->intermediate_count; i++) {
        const struct x509 *intermediate = request->intermediates[i];
        if (!could_issue(intermediate, last) || is_in_path(search, intermediate))
            continue;
        found = true;
        if (!append(search, intermediate))
            continue;
        if (extend(search))
            return true;
        search->length--;
    }
    if (!found)
        note(search, PATH_NO_ISSUER, last, search->length - 1, "");
    return false;
}

static bool is_anchor(const struct path_request *request, const struct x509 *certificate)
{
    for (size_t i = 0; i < request->anchor_count; i++)
        if (der_equal(request->anchors[i]->object.whole, certificate->object.whole))
            return true;
    return false;
}

int path_verify(const struct path_request *request, struct path_result *result, struct error *error)
{
    struct search search = {.request = request, .path = {request->leaf}, .length = 1, .error = error};
    enum path_check check = check_any(request, request->leaf);
    bool trusted = false;
    if (request->intermediate_count > PATH_MAX_INTERMEDIATES)
        note(&search, PATH_LIMIT, request->leaf, 0, "");
    else if (check)
        note(&search, check, request->leaf, 0, "");
    else
        trusted = is_anchor(request, request->leaf) || extend(&search);
    if (!trusted) {
        if (result)
            *result = search.failure;
        return ERROR_DENIED;
    }
    if (error)
        *error = (struct error){0};
    if (result) {
        *result = (struct path_result){.length = search.length};
        for (size_t i = 0; i < search.length; i++)
            result->path[i] = search.path[i];
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* Which certificates are revoked: (issuer, serial number), with reason and times. An issuer is named by its key
 * identifier (AuthorityKeyIdentifier of the revoked certificate, RFC 5280 4.2.1.1); an entry without one revokes the
 * serial number of whatever issuer.
 *
 * Everything belongs to the main thread; nothing here does I/O. */
#ifndef AGENT_CORE_REVOCATIONS_H
#define AGENT_CORE_REVOCATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/hash_map.h"
#include "agent/error.h"
#include "agent/store/store.h"

enum {
    REVOCATION_SERIAL_MAX = 20, /* octets: RFC 5280 4.1.2.2 */
    REVOCATION_ISSUER_MAX = 32, /* octets: what the policy region can tell apart */
};

/* Immutable once made; one allocation. The texts' bytes are behind it. */
struct revocation {
    struct hash_node by_serial; /* for revocations.c */
    uint64_t index;             /* of its creation */
    int64_t revoked_at;         /* Unix seconds */
    int64_t expires_at;         /* of the certificate; 0: never forget it */
    uint32_t reason;            /* CRLReason, RFC 5280 5.3.1 */
    uint8_t issuer_key_id_size; /* 0: any issuer */
    uint8_t serial_size;        /* at least 1 */
    uint8_t bytes[];            /* issuer key id, then serial: big-endian magnitude without leading zeros */
};
const uint8_t *revocation_issuer_key_id(const struct revocation *revocation);
const uint8_t *revocation_serial(const struct revocation *revocation);

/* Leading zeros of the serial are taken off. ERROR_INVALID: no serial, too long, an unused reason (7, or above 10);
 * ERROR_SYSTEM. Free it unless revocations_put() took it. */
int revocation_make(const uint8_t *issuer_key_id, size_t issuer_key_id_size, const uint8_t *serial,
                    size_t serial_size, uint32_t reason, int64_t revoked_at, int64_t expires_at,
                    uint64_t index, struct revocation **revocation, struct error *error);
/* NULL is fine. Not one that is in a set. */
void revocation_free(struct revocation *revocation);

struct revocations;

/* `hash_seed` should be hard to guess. NULL without memory. */
struct revocations *revocations_new(uint64_t hash_seed);
void revocations_free(struct revocations *set);
size_t revocations_count(const struct revocations *set);

/* Puts it in, in the place of the one of the same issuer and serial, which is returned for the caller to free
 * (NULL: there was none). Cannot fail. */
struct revocation *revocations_put(struct revocations *set, struct revocation *revocation);
/* Takes out the entry of exactly this issuer (size 0: the one for any issuer) and hands it over. NULL: none. */
struct revocation *revocations_remove(struct revocations *set, const uint8_t *issuer_key_id,
                                      size_t issuer_key_id_size, const uint8_t *serial, size_t serial_size);
/* The entry of exactly this issuer (size 0: the one for any issuer), or NULL. */
const struct revocation *revocations_get(const struct revocations *set, const uint8_t *issuer_key_id,
                                         size_t issuer_key_id_size, const uint8_t *serial,
                                         size_t serial_size);
/* Is this certificate revoked? An entry for any issuer matches every issuer, and who does not know the issuer (size
 * 0) matches every entry. NULL: no. */
const struct revocation *revocations_find(const struct revocations *set, const uint8_t *issuer_key_id,
                                          size_t issuer_key_id_size, const uint8_t *serial,
                                          size_t serial_size);

/* All, in no order. A value other than 0 from `each` ends it and is returned. `each` must not change the set. */
typedef int revocations_each(void *argument, const struct revocation *revocation);
int revocations_for_each(const struct revocations *set, revocations_each *each, void *argument);

/* Forgets what has expired before `now`: the certificate is of no use any more. `pruned` (may be NULL) sees each
 * after it was taken out and just before it is freed. Returns how many. */
typedef void revocations_pruned(void *argument, const struct revocation *revocation);
size_t revocations_prune(struct revocations *set, int64_t now, revocations_pruned *pruned, void *argument);

/* ---- Texts ---- */

/* How a serial number is written. Whatever the form says, octets with colons or dashes ("0a:1b", Consul and Vault),
 * a prefix "0x" and the letters a to f mean hexadecimal; "decimal:" in front means decimal. The form decides about
 * digits alone: "10" is sixteen in Consul's ClientCertSerial and from openssl, and ten in other places. */
enum revocation_serial_form {
    REVOCATION_SERIAL_HEX,     /* as Consul's ClientCertSerial */
    REVOCATION_SERIAL_DECIMAL, /* as Go's and Java's big integers print */
    REVOCATION_SERIAL_EITHER,  /* from a person: where the two would differ, the text is refused */
};
/* Writes the magnitude without leading zeros (zero itself is one octet 0). ERROR_INVALID. */
int revocation_parse_serial(const char *text, enum revocation_serial_form form,
                            uint8_t serial[REVOCATION_SERIAL_MAX], size_t *size, struct error *error);
/* Hexadecimal with or without colons. "" or NULL: any issuer, size 0. ERROR_INVALID. */
int revocation_parse_issuer_key_id(const char *text, uint8_t issuer_key_id[REVOCATION_ISSUER_MAX],
                                   size_t *size, struct error *error);

/* "keyCompromise" and so on, RFC 5280 5.3.1; NULL for a number that is not used. */
const char *revocation_reason_name(uint32_t reason);
/* From the name (ASCII letters match in either case) or the number. ERROR_INVALID; the text lists the names. */
int revocation_parse_reason(const char *text, uint32_t *reason, struct error *error);

/* Borrows from the revocation. */
void revocation_to_store(const struct revocation *revocation, struct store_revocation *row);
/* As revocation_make(). */
int revocation_from_store(const struct store_revocation *row, struct revocation **revocation,
                          struct error *error);

#endif

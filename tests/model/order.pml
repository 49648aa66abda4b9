/* SPDX-License-Identifier: MIT */
/*
 * The order in which the changes of a commit become visible.
 *
 * Properties:
 *  1. One destination has one root. Policies follow each other in which `web` is denied to destination 0, be
 *     it by an exact intention or by the wildcard; no reader ever finds it allowed.
 *  2. A commit over several destinations publishes its denials first. Exactly one of the destinations 1 and 2
 *     is open to `web`, now this, now that; there is no instant at which both are.
 *  3. While a region is superseded, a denial goes to the old region too, until every client has acknowledged
 *     the new one. A client that misses its deadline is left behind: the old region is marked superseded
 *     before anything is withheld from it. A section that begins when the denial is acknowledged to the
 *     operator therefore finds the denial, or is told that its region is superseded.
 *
 * wb is the writer's store buffer: release stores leave it in order. A commit is acknowledged to the
 * operator, and a region handed over, through system calls and sockets behind which earlier stores are
 * visible. The reader's loads are acquire loads and run in order; its stores do not matter here. The three
 * properties touch nothing of each other's, so each is searched alone.
 */
#define CLIENTS 2

/* 1. What the policies for destination 0 say about an exact intention of web's, and about the wildcard. */
#define ABSENT 0
#define DENY 1
#define ALLOW 2
#define EXACT(policy) ((policy) == 1 -> ABSENT : DENY)
#define WILDCARD(policy) ((policy) == 2 -> ALLOW : DENY)
/* policy 0 = {web deny, * deny}; policy 1 = {* deny}; policy 2 = {* allow, web deny} */

#define OLD 0
#define NEW 1

mtype = { POLICY, EXACT_ROOT, WILDCARD_ROOT, OPEN_1, OPEN_2, DENIED_OLD, DENIED_NEW, SUPERSEDED };

byte policy = 0; /* root of destination 0 */
#ifdef MUTANT_two_roots
byte exact_root = 0;
byte wildcard_root = 0;
#endif
bit open_1 = true; /* destination 1 allows web */
bit open_2 = false;

bit denied[2]; /* destination 3 denies web, in the old region and in the new one */
bit superseded = false; /* in the header of the old region */
byte client_set[CLIENTS];
bit handed_over = false;
bit acknowledged[CLIENTS];
bit told = false; /* the operator has the answer: denied */

chan wb = [3] of { mtype, byte };

active proctype memory()
{
  mtype where;
  byte value;
end:
  do
  :: atomic {
       wb?where, value ->
       if
       :: where == POLICY -> policy = value
#ifdef MUTANT_two_roots
       :: where == EXACT_ROOT -> exact_root = value
       :: where == WILDCARD_ROOT -> wildcard_root = value
#endif
       :: where == OPEN_1 -> open_1 = value
       :: where == OPEN_2 -> open_2 = value
       :: where == DENIED_OLD -> denied[OLD] = value
       :: where == DENIED_NEW -> denied[NEW] = value
       :: where == SUPERSEDED -> superseded = value
       fi;
       assert(!(open_1 && open_2)); /* property 2, an observer at every instant */
       where = 0;
       value = 0
     }
  od
}

/* Property 1 */
proctype policy_writer()
{
  byte next;
  byte commits = 0;
end:
  do
  :: commits < 3 ->
     commits++;
     if
     :: next = 0
     :: next = 1
     :: next = 2
     fi;
#ifdef MUTANT_two_roots
     if
     :: wb!EXACT_ROOT(next); wb!WILDCARD_ROOT(next)
     :: wb!WILDCARD_ROOT(next); wb!EXACT_ROOT(next)
     fi;
#else
     wb!POLICY(next);
#endif
     next = 0
  od
}

proctype policy_reader()
{
  byte exact;
  byte wildcard;
  byte object;
end:
  do
  :: /* The exact match wins over the wildcard; both hang off the object that one load-acquire found. */
#ifdef MUTANT_two_roots
     object = exact_root;
     exact = EXACT(object);
     object = wildcard_root;
     wildcard = WILDCARD(object);
#else
     object = policy;
     exact = EXACT(object);
     wildcard = WILDCARD(object);
#endif
     atomic {
       assert((exact == ABSENT -> wildcard : exact) == DENY);
#ifdef WITNESS_wildcard_allows
       assert(wildcard != ALLOW);
#endif
       exact = 0;
       wildcard = 0;
       object = 0
     }
  od
}

/* Property 2; `memory` holds the observer. */
proctype commit_writer()
{
  byte commits = 0;
end:
  do
  :: commits < 3 ->
     commits++;
#ifdef MUTANT_allows_first
     if
     :: commits % 2 == 1 -> wb!OPEN_2(true); wb!OPEN_1(false)
     :: else -> wb!OPEN_1(true); wb!OPEN_2(false)
     fi
#else
     if
     :: commits % 2 == 1 -> wb!OPEN_1(false); wb!OPEN_2(true)
     :: else -> wb!OPEN_2(false); wb!OPEN_1(true)
     fi
#endif
  od
}

/* Property 3 */
proctype agent()
{
  bit know_denial = false; /* what the agent's model says */
  bit withhold = false;    /* nothing more is published to the old region */
  bit left_behind[CLIENTS];
end:
  do
  :: /* Build the new region from the model and hand it over. */
     !handed_over ->
     empty(wb);
     denied[NEW] = know_denial;
     handed_over = true
  :: /* A client misses its deadline. */
     handed_over ->
     if
     :: left_behind[0] = true
     :: left_behind[1] = true
     fi
  :: /* Every client has acknowledged or is left behind: the old region is superseded. */
     handed_over && !withhold &&
#ifdef MUTANT_old_region_dropped_at_first_ack
     (acknowledged[0] || acknowledged[1]) ->
#else
     (acknowledged[0] || left_behind[0]) && (acknowledged[1] || left_behind[1]) ->
     wb!SUPERSEDED(true);
#endif
     withhold = true
  :: /* The operator denies. */
     !know_denial ->
     know_denial = true;
     if
     :: !handed_over -> wb!DENIED_OLD(true)
#ifdef MUTANT_denials_to_new_region_alone
     :: handed_over -> wb!DENIED_NEW(true)
#else
     :: handed_over && !withhold -> wb!DENIED_OLD(true); wb!DENIED_NEW(true)
     :: withhold -> wb!DENIED_NEW(true)
#endif
     fi;
#ifndef MUTANT_told_before_published
     empty(wb);
#endif
     told = true
  od
}

proctype dispatcher(byte client)
{
  handed_over;
  client_set[client] = NEW; /* store-release */
#ifdef WITNESS_denial_in_both_regions
  assert(!(denied[OLD] && denied[NEW] && told && !acknowledged[1 - client]));
#endif
  acknowledged[client] = true
}

proctype reader(byte client)
{
  bit was_told;
  byte set;
  bit deny;
end:
  do
  :: was_told = told; /* the connection to judge was made after the operator had the answer */
     set = client_set[client];
     deny = denied[set];
     atomic {
       assert(!was_told || deny || (set == OLD && superseded));
#ifdef WITNESS_left_behind
       assert(!(was_told && !deny));
#endif
       was_told = false;
       set = OLD;
       deny = false
     }
  od
}

init
{
  if
  :: atomic { run policy_writer(); run policy_reader() }
  :: atomic { run commit_writer() }
  :: atomic { run agent(); run dispatcher(0); run dispatcher(1); run reader(0); run reader(1) }
  fi
}

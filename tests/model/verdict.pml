/* SPDX-License-Identifier: MIT */
/*
 * The policy version that a verdict carries. A caller keeps a verdict and its version, and asks again when
 * the region's version is another one; so a verdict from old data must never carry the version of newer data.
 *
 * Property: data that a look-up finds are at least as new as the version that the verdict carries. They may
 * be newer: the version that follows then makes the caller ask once more.
 *
 * Two facts of the policy, each with its own root: the number of the commit that wrote it. Commits 1 to 3 go
 * to region OLD. Then region NEW supersedes it. Until every client has switched, the denials of a commit go
 * to both regions and its allows to NEW alone: OLD then holds other facts than NEW, and therefore each of
 * them gets a version of its own.
 *
 * wb is the writer's store buffer: release stores leave it in order. The reader's loads are acquire loads and
 * run in order; it stores nothing that matters here. Reclamation is the subject of grace.pml.
 */
#define OLD 0
#define NEW 1
#define COMMITS 3
#define VERSIONS 7

mtype = { DENIAL, ALLOW, VERSION };

byte denial[2]; /* roots of one fact that commits deny, and of one that they allow */
byte allow[2];
byte version[2];
byte client_set = OLD;

/* What the facts are as of a version. Bookkeeping of the model, seen by nobody. */
byte denial_of[VERSIONS];
byte allow_of[VERSIONS];

chan wb = [4] of { mtype, byte, byte };

active proctype memory()
{
  mtype where;
  byte region;
  byte value;
end:
  do
  :: atomic {
       wb?where, region, value ->
       if
       :: where == DENIAL -> denial[region] = value
       :: where == ALLOW -> allow[region] = value
       :: where == VERSION -> version[region] = value
       fi;
       where = 0;
       region = 0;
       value = 0
     }
#ifdef MUTANT_version_without_release
  :: atomic { wb??VERSION(region, value) -> version[region] = value; region = 0; value = 0 }
#endif
  od
}

active proctype reader()
{
  byte set;
  byte found_denial;
  byte found_allow;
  byte label;
end:
  do
  :: set = client_set;
#ifdef MUTANT_sampled_after
     found_denial = denial[set];
     found_allow = allow[set];
     label = version[set];
#elif defined(MUTANT_sampled_relaxed)
     /* Nothing keeps the look-up's loads behind the version's: they may run first. */
     if
     :: found_denial = denial[set]; label = version[set]; found_allow = allow[set]
     :: label = version[set]; found_denial = denial[set]; found_allow = allow[set]
     fi;
#else
     label = version[set];         /* load-acquire */
     found_denial = denial[set];   /* the look-up, load-acquire of a root */
     found_allow = allow[set];
#endif
     atomic {
       assert(found_denial >= denial_of[label]);
       assert(found_allow >= allow_of[label]);
#ifdef WITNESS_newest
       assert(label != VERSIONS - 1);
#endif
       set = 0;
       found_denial = 0;
       found_allow = 0;
       label = 0
     }
  od
}

inline bump(region)
{
  atomic {
#ifndef MUTANT_one_version_for_both_regions
    number++;
#endif
    denial_of[number] = commit;
    if
    :: region == newest -> allow_of[number] = commit
    :: else
    fi
  };
  wb!VERSION(region, number)
}

active proctype writer()
{
  byte commit = 0;
  byte number = 0; /* the last version given out */
  byte newest = OLD;
  bool switched = false;
end:
  do
  :: commit < COMMITS ->
     commit++;
#ifdef MUTANT_one_version_for_both_regions
     number++;
#endif
#ifdef MUTANT_bumped_before
     bump(newest);
#endif
     /* Publication: store-release of roots, denials first. */
     if
     :: newest == NEW && !switched -> wb!DENIAL(OLD, commit)
     :: else
     fi;
     wb!DENIAL(newest, commit);
     wb!ALLOW(newest, commit);
     /* The versions follow, store-release. */
     if
     :: newest == NEW && !switched -> bump(OLD)
     :: else
     fi;
#ifndef MUTANT_bumped_before
     bump(newest)
#endif
  :: newest == OLD ->
     /* Region NEW is built with what the agent knows, under the same version, and is handed over. */
     empty(wb);
     atomic { denial[NEW] = denial[OLD]; allow[NEW] = allow[OLD]; version[NEW] = version[OLD]; newest = NEW }
  :: newest == NEW && !switched -> atomic { client_set = NEW; switched = true }
  od
}

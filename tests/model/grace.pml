/* SPDX-License-Identifier: MIT */
/*
 * Grace periods inside one region: readers without a fence, a writer with membarrier().
 *
 * Property: no reader ever uses an object that was freed, or freed and built anew, and none ever uses an
 * object that is not completely built.
 *
 * Spin executes statements one at a time, so the weak order of real processors is spelled out:
 *  - sb[i] is reader i's store buffer. A store to its slot word goes in at the program's place and reaches
 *    `word`, which is what the writer sees, whenever process `memory` pleases. Loads do not wait for it.
 *  - wb is the writer's store buffer. Release stores leave it in order; a store that is not a release may
 *    overtake.
 *  - early[i] is a value of `root` that reader i's processor (or compiler) loaded ahead of its place. All
 *    loads of the reader are acquire loads, so in the true protocol there is no place where it may be filled.
 *  - late[i] is an object that is used behind its place. Leaving is a store-release, so again only mutants
 *    fill it.
 *  - membarrier empties sb[i], drops early[i] and completes late[i], one reader after the other, not all at
 *    one instant.
 *
 * The order in which the readers are interrupted is fixed: the readers are alike.
 */
#define READERS 2
#define CELLS 3   /* places for objects; object n lives in cell n % CELLS */
#define CHANGES 3 /* objects 2, 3, 4 follow object 1, and 4 is built in the memory of 1 */
#define NONE 0

mtype = { CONTENT, ROOT, EPOCH };

byte epoch = 1;          /* region header: epoch */
byte root = 1;           /* region header: offset of the current object */
byte content[CELLS];     /* number of the object whose bytes are complete in this cell; NONE when wiped */
byte word[READERS];      /* slots as the writer sees them: the epoch, or NONE when the nesting is 0 */

chan sb[READERS] = [2] of { byte };
chan wb = [4] of { mtype, byte };
byte early[READERS];
bool early_fresh[READERS];
byte late[READERS];

#define use(object) assert(content[(object) % CELLS] == (object))

inline perform(where, value)
{
  if
  :: where == CONTENT -> content[value % CELLS] = value
  :: where == ROOT -> root = value
  :: where == EPOCH -> epoch = value
  fi
}

/* The cache coherence hardware: makes buffered stores visible, whenever it pleases. */
active proctype memory()
{
  mtype where;
  byte value;
end:
  do
  :: atomic { sb[0]?word[0] }
  :: atomic { sb[1]?word[1] }
  :: atomic { wb?where, value -> perform(where, value); where = 0; value = 0 }
#ifdef MUTANT_root_without_release
  :: atomic { wb??ROOT(value) -> root = value; value = 0 } /* overtakes the bytes of the object */
#endif
#ifdef MUTANT_epoch_without_release
  :: atomic { wb??EPOCH(value) -> epoch = value; value = 0 } /* overtakes the publication */
#endif
#ifdef MUTANT_leave_without_release
  :: atomic { late[0] != NONE -> use(late[0]); late[0] = NONE }
  :: atomic { late[1] != NONE -> use(late[1]); late[1] = NONE }
#endif
  od
}

proctype reader(byte id)
{
  byte cached = 1; /* private: the epoch for the next section */
  byte object;
end:
  do
  :: /* ENTER: plain store of the slot, no fence. */
#ifdef MUTANT_no_compiler_barrier
     object = root; /* the compiler moved the load up: membarrier cannot call it back */
#endif
     sb[id]!cached;
     /* Compiler barrier, load-acquire of the set: only one set here, see remap.pml. */

     /* Refresh the cached epoch for the NEXT section, load-acquire. */
#ifdef MUTANT_epoch_relaxed
     /* Nothing orders later loads behind this one: this section's and the next one's loads of root run
      * first. */
     if
     :: atomic { early[id] == NONE -> early[id] = root; early_fresh[id] = true }
     :: true
     fi;
#endif
     cached = epoch;

     /* READ: load-acquire of the root, then the bytes behind it. */
#ifndef MUTANT_no_compiler_barrier
     atomic {
       if
       :: early[id] != NONE -> object = early[id]
       :: else -> object = root
       fi
     };
#endif
#ifdef MUTANT_leave_without_release
     if
     :: atomic { late[id] == NONE -> late[id] = object }
     :: use(object)
     fi;
#else
     use(object);
#endif
     /* LEAVE: store-release of the slot with nesting 0. */
     atomic {
       sb[id]!NONE;
       object = NONE;
       if
       :: early_fresh[id] -> early_fresh[id] = false
       :: else -> early[id] = NONE
       fi
     }
  od
}

inline membarrier_one(i)
{
  atomic {
    do
    :: nempty(sb[i]) -> sb[i]?word[i]
    :: empty(sb[i]) -> break
    od;
    early[i] = NONE;
    early_fresh[i] = false;
    if
    :: late[i] != NONE -> use(late[i]); late[i] = NONE
    :: else
    fi
  }
}

/* membarrier(GLOBAL_EXPEDITED) is a full barrier for its caller too. */
inline membarrier()
{
  empty(wb);
  membarrier_one(0);
  membarrier_one(1);
}

/* Load-acquire of each slot; lowest = the smallest epoch in use. */
inline scan()
{
  lowest = 255;
  i = 0;
  do
  :: i < READERS ->
     atomic {
       if
       :: word[i] != NONE && word[i] < lowest -> lowest = word[i]
       :: else
       fi;
       i++
     }
  :: i == READERS -> break
  od;
  i = 0
}

/* What was retired at epoch e is free when every slot in use is above e, and a grace period was begun since.
 * */
#ifdef MUTANT_free_at_equal
#define ABOVE(lowest, at) ((lowest) >= (at))
#else
#define ABOVE(lowest, at) ((lowest) > (at))
#endif
#ifdef MUTANT_free_without_grace
#define COVERED(at) true
#else
#define COVERED(at) ((at) <= begun)
#endif

inline reclaim()
{
  atomic {
    i = 0;
    do
    :: i < CELLS ->
       if
       :: retired_at[i] != NONE && COVERED(retired_at[i]) && ABOVE(lowest, retired_at[i]) ->
          content[i] = NONE; /* wiped; visible at once is the worst case */
          retired_at[i] = NONE;
          taken[i] = false;
          retired--
       :: else
       fi;
       i++
     :: i == CELLS -> break
    od;
    i = 0;
    lowest = 0
  }
}

/* One grace period: bump the epoch, membarrier; the slots are polled later, and changes go on in between. */
inline begin_grace()
{
  begun = own_epoch;
#ifdef MUTANT_membarrier_before_bump
  membarrier() /* the bump follows at the poll: what was retired in between counts as covered, and is not */
#else
  own_epoch++;
  wb!EPOCH(own_epoch);
#ifdef MUTANT_scan_before_membarrier
  scan();
#endif
#ifndef MUTANT_no_membarrier
  membarrier();
#endif
#endif
  polling = true
}

inline poll()
{
#ifdef MUTANT_membarrier_before_bump
  if
  :: begun == own_epoch -> own_epoch++; wb!EPOCH(own_epoch); empty(wb)
  :: else
  fi;
#endif
#ifndef MUTANT_scan_before_membarrier
  scan();
#endif
  reclaim();
  polling = false;
  i = 0;
  do
  :: i < CELLS -> atomic { polling = polling || (retired_at[i] != NONE && retired_at[i] <= begun); i++ }
  :: i == CELLS -> break
  od;
  i = 0
}

proctype writer()
{
  byte own_epoch = 1;
  byte current = 1;
  byte begun = 0;         /* the last epoch that a grace period covers */
  byte retired_at[CELLS]; /* NONE: not retired */
  bool taken[CELLS];
  byte retired = 0;
  bool polling = false;
  byte lowest;
  byte i;

  taken[1] = true;
  do
  :: current < 1 + CHANGES && !taken[(current + 1) % CELLS] ->
     /* A change: build, store-release of root, retire at the current epoch. */
     taken[(current + 1) % CELLS] = true;
     wb!CONTENT(current + 1);
     wb!ROOT(current + 1);
     atomic {
       retired_at[current % CELLS] = own_epoch;
       retired++;
       current++
     }
  :: retired > 0 && !polling -> begin_grace()
  :: polling -> poll()
  :: current == 1 + CHANGES && retired == 0 -> break
  od;
#ifdef WITNESS_end
  assert(false) /* the writer gets this far: every object was replaced and every old one freed */
#endif
}

init
{
  atomic {
    content[1] = 1;
    run reader(0);
    run reader(1);
    run writer()
  }
}

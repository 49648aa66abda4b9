/* SPDX-License-Identifier: MIT */
/*
 * Grace periods where membarrier() does not reach the readers: a client that cannot register ("fenced"), or
 * an agent that may not issue it and says "fence" in the welcome. Each reader then has a full fence of its
 * own behind every store of its slot that opens a section, and the agent has one between the epoch and the
 * scan.
 *
 * Properties: as in grace.pml. In addition a reader begins with a cached epoch below the set's min_epoch,
 * which the scan ignores, so that it passes the loop of ENTER once: the fence belongs into that loop too.
 *
 * sb[i] and wb are the store buffers of readers and writer, as in grace.pml. A full fence waits until the
 * thread's own buffer is empty. Leaving needs no fence: a slot that seems in use for longer only delays.
 */
#define READERS 2
#define CELLS 2   /* object n lives in cell n % CELLS */
#define CHANGES 2 /* objects 2 and 3 follow object 1; 3 is built in the memory of 1 */
#define NEVER 1   /* cached epoch of a reader that never loaded one */
#define MIN_EPOCH 2
#define NONE 0
#define HIGH 255

mtype = { CONTENT, ROOT, EPOCH };

byte epoch = MIN_EPOCH;
byte root = 1;
byte content[CELLS];
byte word[READERS]; /* epoch of the slot, NONE when the nesting is 0 */

chan sb[READERS] = [2] of { byte };
chan wb = [3] of { mtype, byte };

#define use(object) assert(content[(object) % CELLS] == (object))

inline perform(where, value)
{
  if
  :: where == CONTENT -> content[value % CELLS] = value
  :: where == ROOT -> root = value
  :: where == EPOCH -> epoch = value
  fi
}

active proctype memory()
{
  mtype where;
  byte value;
end:
  do
  :: atomic { sb[0]?word[0] }
  :: atomic { sb[1]?word[1] }
  :: atomic { wb?where, value -> perform(where, value); where = 0; value = 0 }
  od
}

proctype reader(byte id)
{
  byte cached = NEVER;
  byte object;
end:
  do
  :: /* ENTER: store of the slot, full fence. */
     sb[id]!cached;
#ifndef MUTANT_reader_fence_missing
     empty(sb[id]);
#endif
     /* while (cached < set->min_epoch): load-acquire of the epoch, store, full fence. The set never changes
      * here. */
     do
     :: cached < MIN_EPOCH ->
        cached = epoch;
        sb[id]!cached;
#if !defined(MUTANT_reader_fence_missing) && !defined(MUTANT_loop_fence_missing)
        empty(sb[id])
#endif
     :: else -> break
     od;
     /* Refresh the cached epoch for the next section. */
     cached = epoch;
     /* READ */
     object = root;
     use(object);
     /* LEAVE: store-release. */
     atomic { sb[id]!NONE; object = NONE }
  od
}

proctype writer()
{
  byte own_epoch = MIN_EPOCH;
  byte current = 1;
  byte begun = NONE;      /* the last epoch that a grace period covers */
  byte retired_at[CELLS]; /* NONE: not retired */
  bool taken[CELLS];
  byte lowest;
  byte i;

  taken[1] = true;
  do
  :: current < 1 + CHANGES && !taken[(current + 1) % CELLS] ->
     /* A change: build, store-release of root, retire at the current epoch. */
     taken[(current + 1) % CELLS] = true;
     wb!CONTENT(current + 1);
     wb!ROOT(current + 1);
     atomic { retired_at[current % CELLS] = own_epoch; current++ }
  :: retired_at[0] > begun || retired_at[1] > begun ->
     /* Grace: bump the epoch, full fence. */
     atomic { begun = own_epoch; own_epoch++ };
     wb!EPOCH(own_epoch);
#ifndef MUTANT_writer_fence_missing
     empty(wb)
#endif
  :: (retired_at[0] != NONE && retired_at[0] <= begun) || (retired_at[1] != NONE && retired_at[1] <= begun) ->
     /* Poll: load-acquire of each slot; values below min_epoch are ignored. */
     lowest = HIGH;
     i = 0;
     do
     :: i < READERS ->
        atomic { lowest = (word[i] >= MIN_EPOCH && word[i] < lowest -> word[i] : lowest); i++ }
     :: i == READERS -> break
     od;
     atomic {
       i = 0;
       do
       :: i < CELLS ->
          if
          :: retired_at[i] != NONE && retired_at[i] <= begun && lowest > retired_at[i] ->
             content[i] = NONE;
             retired_at[i] = NONE;
             taken[i] = false
          :: else
          fi;
          i++
       :: i == CELLS -> break
       od;
       i = 0;
       lowest = 0
     }
  :: current == 1 + CHANGES && retired_at[0] == NONE && retired_at[1] == NONE -> break
  od;
#ifdef WITNESS_end
  assert(false)
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

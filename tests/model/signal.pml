/* SPDX-License-Identifier: MIT */
/*
 * A signal handler that locks, reads and unlocks on the reader's own thread, at any instruction of ENTER and
 * LEAVE.
 *
 * Properties: the main program and the handlers never touch a set that was unmapped (`touch`), and never use
 * an object that was freed inside a region (`use`). Each is searched alone: the agent either replaces the set
 * or changes an object of it.
 *
 * One thread, three contexts: the main program (0), a handler that interrupts it (1), and a handler of
 * another signal that interrupts the first (2). `cpu` says which one runs; a handler starts when it likes and
 * gives the processor back when it is through. STEP is one instruction. All share the thread's store buffer
 * sb and its private words: the set of the current section, the level, the cached epoch. `own` is what the
 * thread itself reads from its slot words: its own last store, whether visible to others or not.
 */
#define SETS 2
#define LEVELS 3
#define NO_SET 255
#define HIGH 255
#define NEVER 0

/* A slot word: epoch and nesting, at most 4 here: two sections of the main program and one of each handler.
 * Which epoch an idle slot holds is of no interest, so it is 0 altogether. */
#define IN_USE(epoch) ((epoch) * 8 + 1)
#define NESTING(word) ((word) & 7)
#define EPOCH(word) ((word) >> 3)

/* Shared memory. The regions' epoch words are one here: they never differ for long, see remap.pml. */
byte epoch = 1;
byte word[LEVELS];
chan sb = [2] of { byte, byte };

/* Of the client's process */
byte client_set = 0;
byte min_epoch[SETS];
bit unmapped[SETS];
bit root = 0; /* of a region of the first set */
bit freed = false; /* object 0 */

/* Of the thread */
byte cpu = 0;
byte current = NO_SET; /* reader.set */
byte level = 0;
byte cached = NEVER;
byte own[LEVELS];

#define touch(set) assert(!unmapped[set])
#define use(object) assert(!((object) == 0 && freed))

active proctype memory()
{
  byte at;
  byte value;
end:
  do
  :: atomic { sb?at, value -> word[at] = value; at = 0; value = 0 }
  od
}

/* One instruction of the context `me`; WHEN is one that a branch begins with. */
#define STEP(action) atomic { cpu == me -> action }
#define WHEN(condition, action) atomic { cpu == me && (condition) -> action }

/* Plain or release store of the word of a level. */
inline put(at, value)
{
  atomic { cpu == me && nfull(sb) -> own[at] = value; sb!at, own[at] }
}

/* A section inside a section, xylem_lock_() and xylem_unlock_(): word += 1, and later word -= 1. */
inline nested_section()
{
  STEP(mine = level; copy = own[mine]);
  put(mine, copy + 1);
  STEP(touch(current); mine = level; copy = own[mine]);
  put(mine, copy - 1);
  STEP(copy = 0; mine = 0)
}

#ifdef MUTANT_idle_level_reused
/* Takes an idle word above level 0 for its own, although the handler that raised the level is about to store
 * it. */
#define IN_FLIGHT (NESTING(own[mine]) != 0)
#elif defined(MUTANT_handler_without_level)
#define IN_FLIGHT false
#else
/* Outside sections the level is 0: any other is that of a handler that this one interrupted. */
#define IN_FLIGHT (NESTING(own[mine]) != 0 || mine > 0)
#endif

inline outermost_section()
{
  /* xylem_lock_(): an entry or exit in flight was interrupted, so raise the level. */
  STEP(mine = level);
  if
  :: WHEN(IN_FLIGHT, skip);
     STEP(mine++; level = mine)
  :: WHEN(!IN_FLIGHT, skip)
  fi;
  /* xylem_enter_() */
  STEP(now = cached);
  put(mine, IN_USE(now));
  /* Compiler barrier, load-acquire of the set. */
  STEP(set = client_set);
  do
  :: WHEN(now < min_epoch[set], touch(set); now = epoch);
     put(mine, IN_USE(now));
     STEP(set = client_set)
  :: WHEN(now >= min_epoch[set], touch(set)); break
  od;
  /* Refresh the cached epoch for the next section. */
  STEP(touch(set); now = epoch);
  STEP(cached = now; now = 0);
  STEP(current = set; set = 0; mine = 0);
  /* READ */
  STEP(touch(current); object = root);
  STEP(touch(current); use(object); object = 0);
#ifdef WITNESS_third_level
  assert(!(level == 2 && (unmapped[0] || freed)));
#endif
  if
  :: me == 0 -> nested_section()
  :: true
  fi;
  /* xylem_unlock_(): the set goes first. A handler that comes in between must see an exit in flight, not a section to
   * nest in. */
  STEP(mine = level);
#ifdef MUTANT_word_cleared_before_set
  put(mine, 0);
  STEP(current = NO_SET);
#else
  STEP(current = NO_SET);
  put(mine, 0);
#endif
  /* Whoever raised the level lowers it, from the local copy. */
  if
  :: WHEN(mine > 0, level = mine - 1; mine = 0)
  :: WHEN(mine == 0, skip)
  fi
}

inline section()
{
  if
  :: WHEN(current != NO_SET, skip); nested_section()
  :: WHEN(current == NO_SET, skip); outermost_section()
  fi
}

proctype main_program(byte me)
{
  byte mine, copy, now, set;
  bit object;
end:
  do
  :: outermost_section()
  od
}

proctype handler(byte me)
{
  byte mine, copy, now, set;
  bit object;
end:
  do
  :: atomic { cpu == me - 1 -> cpu = me };
     section();
     atomic { cpu == me -> cpu = me - 1 }
  od
}

#ifdef MUTANT_first_level_scanned_alone
#define SCANNED 1
#else
#define SCANNED LEVELS
#endif

/* Bump the epoch, membarrier, scan all levels until no slot in use is at or below `retired_at`. Values below `ignored` belong
 * to readers that did not enter yet. */
inline grace(ignored)
{
  retired_at = own_epoch;
  own_epoch++;
  epoch = own_epoch;
  atomic {
    do
    :: nempty(sb) -> sb?i, lowest; word[i] = lowest
    :: empty(sb) -> break
    od
  };
  do
  :: atomic { lowest = HIGH; i = 0 };
     do
     :: i < SCANNED ->
        atomic {
          if
          :: NESTING(word[i]) != 0 && EPOCH(word[i]) >= ignored && EPOCH(word[i]) < lowest -> lowest = EPOCH(word[i])
          :: else
          fi;
          i++
        }
     :: i == SCANNED -> break
     od;
     if
     :: lowest > retired_at -> break
     :: else
     fi
  od;
  atomic { i = 0; lowest = 0; retired_at = 0 }
}

/* The agent and the client's dispatcher, which remap.pml has in detail. */
proctype agent()
{
  byte own_epoch = 1;
  byte newest = 0;
  byte retired_at;
  byte lowest;
  byte i;

  if
  :: do
     :: newest < SETS - 1 ->
        /* A new set: install, ACK, grace, RELEASE. This scan ignores nothing. */
        own_epoch++;
        min_epoch[newest + 1] = own_epoch;
        epoch = own_epoch;
        client_set = newest + 1;
        grace(0);
        atomic { unmapped[newest] = true; newest++ }
     :: newest == SETS - 1 -> break
     od
  :: /* A new object. */
     root = 1;
     grace(min_epoch[0]);
     freed = true
  fi;
#ifdef WITNESS_end
  assert(false)
#endif
}

init
{
  atomic {
    min_epoch[0] = 1;
    run main_program(0);
    run handler(1);
    run handler(2);
    run agent()
  }
}

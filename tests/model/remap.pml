/* SPDX-License-Identifier: MIT */
/*
 * Replacing the set of regions that a client has mapped: min_epoch, ACK, RELEASE, and an agent that is born
 * again.
 *
 * Properties:
 *  - a reader never touches a set that the client unmapped (`touch`);
 *  - a reader never uses an object that the agent freed inside a region (`use`), although the scan for a
 *    region ignores slots below the region's min_epoch;
 *  - the client never refuses a set of an agent whose epochs go on where the last ones ended.
 *
 * sb is the reader's store buffer, as in grace.pml. One reader is enough: readers share no word, and that
 * membarrier does not reach all of them at one instant is the business of grace.pml. The reader's loads are
 * acquire loads and therefore run in the program's order; that its stores become visible late is the only
 * freedom that they leave. The agent's stores are release stores, which become visible in order, and
 * membarrier completes them before the scan; every step is one statement here, so that anything may happen
 * between two of them. The control socket keeps the order of messages.
 *
 * Each set is one region. Set 0 is installed from the start. A region begins with object 0, may change to
 * object 1, and then object 0 is freed.
 */
#define SETS 3
#define NEVER 1 /* cached epoch of a reader that never loaded one: below every min_epoch */
#define FIRST 3 /* the agent's epoch at the start */
#define NONE 0
#define HIGH 255

mtype = { SET, RELEASE, ACK, REFUSED };

/* Shared memory */
byte epoch[SETS]; /* one word in the header of each region */
bit root[SETS];
bit freed[SETS];       /* object 0 of the region was wiped */
byte word;             /* the reader's slot, as the agent sees it; NONE when the nesting is 0 */
chan sb = [2] of { byte };

/* Of the client's process */
byte client_set = 0; /* the dispatcher writes it, readers read it */
bit mapped[SETS];
byte min_epoch[SETS]; /* a copy in the client's own memory, which goes away together with the mapping */
#ifdef MUTANT_refuse_by_min_epoch
byte highest_stored = NONE;
#endif

/* Control socket */
chan to_client = [4] of { mtype, byte };
chan to_agent = [2] of { mtype, byte };

#define touch(set) assert(mapped[set])
#define use(set, object) assert(!((object) == 0 && freed[set]))

active proctype memory()
{
end:
  do
  :: atomic { sb?word }
  od
}

inline store_slot()
{
  atomic {
    sb!cached;
#ifdef MUTANT_refuse_by_min_epoch
    if
    :: cached > highest_stored -> highest_stored = cached
    :: else
    fi
#endif
  }
}

proctype reader()
{
  byte cached = NEVER;
  byte set = 0;
  bit object;
end:
  do
  :: /* ENTER: plain store of the slot, compiler barrier, load-acquire of the set. */
     store_slot();
     set = client_set;
     /* while (cached < set->min_epoch): load-acquire of this set's epoch, store the slot, load the set
      * again. */
     do
     :: atomic { cached < min_epoch[set] -> touch(set) };
        atomic { touch(set); cached = epoch[set] };
        store_slot();
#ifndef MUTANT_no_reload
        set = client_set;
#endif
#ifdef MUTANT_if_instead_of_while
        break
#endif
     :: else -> touch(set); break
     od;
     /* Refresh the cached epoch for the next section, load-acquire; the slot keeps the older value. */
     atomic { touch(set); cached = epoch[set] };
     /* READ */
     atomic { touch(set); object = root[set] };
     atomic { touch(set); use(set, object) };
     /* LEAVE: store-release. */
     atomic { sb!NONE; set = 0; object = 0 }
  od
}

/*
 * The client's dispatcher. It refuses the set of an agent whose epochs do not go on where the old one's
 * ended: readers carry cached epochs over, and an epoch that the new agent has not reached yet would pass for
 * "entered after the change". The test compares the two live epoch words, the installed region's first: the
 * agent bumps the newest region first, so the epoch of an agent that did not restart can never seem to go
 * back. min_epoch itself would not do: by the time the set arrives, readers may have stored an epoch that is
 * as high, out of the region that they still use.
 */
proctype dispatcher()
{
  byte set;
  byte old_epoch;
  byte installed = 0;
end:
  do
  :: to_client?SET(set) ->
     atomic { touch(installed); old_epoch = epoch[installed] };
     if
#ifdef MUTANT_refuse_by_min_epoch
     :: min_epoch[set] <= highest_stored -> to_agent!REFUSED(set)
#elif !defined(MUTANT_never_refused)
     :: epoch[set] < old_epoch -> to_agent!REFUSED(set)
#endif
     :: else ->
        mapped[set] = true;
#ifdef MUTANT_ack_before_install
        to_agent!ACK(set);
        client_set = set;
#else
        client_set = set; /* store-release */
        to_agent!ACK(set);
#endif
#ifdef MUTANT_unmap_at_ack
        mapped[installed] = false;
#endif
        installed = set
     fi;
     atomic { set = 0; old_epoch = 0 }
  :: atomic { to_client?RELEASE(set) -> mapped[set] = false; set = 0 }
  od
}

inline membarrier()
{
  atomic {
    do
    :: nempty(sb) -> sb?word
    :: empty(sb) -> break
    od
  }
}

/* The epoch words of all regions of the living agent, the newest first. */
inline store_epochs()
{
#ifdef MUTANT_oldest_epoch_first
  i = oldest;
  do
  :: i <= newest -> atomic { epoch[i] = own_epoch; i++ }
  :: i > newest -> break
  od;
#else
  i = newest + 1;
  do
  :: i > oldest -> atomic { i--; epoch[i] = own_epoch }
  :: i == oldest -> break
  od;
#endif
  i = 0
}

/* Reads the slot (acquire). The slot counts as "lowest in use" for the client as a whole, and for a region if it is not
 * below the region's min_epoch; above the agent's own epoch it is some other agent's and counts as held. */
inline scan()
{
    lowest = (word == NONE -> HIGH : (word > own_epoch -> 0 : word));
    i = 0;
    do
    :: i < SETS ->
       lowest_in[i] = (lowest != 0 && lowest < min_epoch[i] -> HIGH : lowest);
#ifdef MUTANT_counted_from_ack
       lowest_in[i] = (i > acknowledged -> HIGH : lowest_in[i]);
#endif
       i++
    :: i == SETS -> break
    od;
#ifdef MUTANT_release_ignores_small
    lowest = lowest_in[newest];
#endif
    i = 0
}

#define COVERED(at) ((at) != NONE && (at) <= begun)
#define UNCOVERED(at) ((at) > begun)
#define ANY(test, of) (test(of[0]) || test(of[1]) || test(of[2]))

proctype agent()
{
  byte own_epoch = FIRST;
  byte oldest = 0; /* the first set of this agent; those before it are its predecessor's */
  byte newest = 0;
  byte acknowledged = 0;
  bit pending = false;     /* a SET was not answered yet */
  bit born_again = false;
  byte predecessor = NONE; /* where the predecessor's epochs ended, if this agent's began below */
  byte begun = NONE;       /* the last epoch that a grace period covers */
  byte retired_at[SETS];   /* object 0 of each region; NONE: not retired */
  byte replaced_at[SETS];  /* the whole set: the epoch when its successor was acknowledged */
  bit released[SETS];
  byte lowest;
  byte lowest_in[SETS];
  byte i;
  byte set;
end:
  do
  :: /* A new set: its min_epoch is a fresh epoch. The client counts as a user of it from here on, not from its ACK. */
     newest < SETS - 1 && !pending ->
     atomic { own_epoch++; newest++; min_epoch[newest] = own_epoch; pending = true };
     store_epochs();
     to_client!SET(newest)

  :: /* ACK: every earlier set is retired as a whole, at the current epoch. */
     atomic {
       to_agent?ACK(set) ->
       if
       :: set >= oldest ->
          pending = false;
          acknowledged = set;
          do
          :: i < set -> replaced_at[i] = (released[i] || replaced_at[i] != NONE -> replaced_at[i] : own_epoch); i++
          :: i == set -> break
          od;
          i = 0
       :: else /* meant for the predecessor */
       fi;
       set = 0
     }

  :: /* REFUSED: go on above what the client has seen. An agent that was not behind is never refused. */
     atomic {
       to_agent?REFUSED(set) ->
#ifdef WITNESS_refused
       assert(false);
#endif
       if
       :: set >= oldest -> assert(predecessor != NONE); pending = false; own_epoch = predecessor; predecessor = NONE
       :: else
       fi;
       set = 0
     }

  :: /* The agent dies and another one starts: above the last epoch as it should, or below it. It cannot write to the
        predecessor's regions, so their epoch words stand still and nothing in them is freed. */
     atomic {
       !born_again ->
       born_again = true;
       if
       :: true
       :: predecessor = own_epoch; own_epoch = NEVER
       fi;
       oldest = newest + 1;
       pending = false;
       begun = NONE;
       do
       :: i < SETS -> retired_at[i] = NONE; replaced_at[i] = NONE; i++
       :: i == SETS -> break
       od;
       i = 0
     }

  :: /* A change in the newest region: release-store of its root, retire the old object. */
     atomic {
       newest >= oldest && newest > 0 && root[newest] == 0 -> root[newest] = 1; retired_at[newest] = own_epoch
     }

  :: /* Grace: bump the epoch, membarrier. */
     ANY(UNCOVERED, retired_at) || ANY(UNCOVERED, replaced_at) ->
     atomic { begun = own_epoch; own_epoch++ };
     store_epochs();
#ifndef MUTANT_no_membarrier
     membarrier()
#endif

  :: /* Poll. Freeing at once is the worst case. */
     ANY(COVERED, retired_at) || ANY(COVERED, replaced_at) ->
     atomic {
       scan();
       do
       :: i < SETS ->
          if
          :: COVERED(retired_at[i]) && lowest_in[i] > retired_at[i] -> freed[i] = true; retired_at[i] = NONE
          :: else
          fi;
          if
          :: COVERED(replaced_at[i]) && lowest > replaced_at[i] ->
             released[i] = true;
             replaced_at[i] = NONE;
             retired_at[i] = NONE;
             to_client!RELEASE(i)
          :: else
          fi;
          lowest_in[i] = 0;
          i++
       :: i == SETS -> break
       od;
       i = 0;
       lowest = 0
#ifdef WITNESS_released
       ;
       assert(!(freed[1] && freed[2] && !mapped[0] && !mapped[1]))
#endif
#ifdef WITNESS_born_again
       ;
       assert(!(oldest == 1 && acknowledged == 1 && freed[1] && !mapped[0]))
#endif
     }
  od
}

init
{
  atomic {
    epoch[0] = FIRST;
    min_epoch[0] = FIRST;
    mapped[0] = true;
    run reader();
    run dispatcher();
    run agent()
  }
}

/* Anchoring events against rotation, kills and two anchoring processes. docs/evidence/models/README.md maps each step.
 *
 * One chain of three events: the first is in a rotated file, two go into the file that is rotated meanwhile. Two processes
 * anchor, one of them twice, and may be killed between any two steps. The listing of the store may be stale: it may
 * miss any checkpoint.
 *
 * Broken variants:
 *   -DONE_LISTING      a rotation in the middle of a listing goes unnoticed
 *   -DNO_PENDING       an anchor is not decided by one conditional create before it is written: a kill then leaves a
 *                      record that no later run can finish
 *   -DOVERWRITE        an anchor's record and checkpoint replace what is there
 *   -DEVERY_EVENT      events that an earlier anchor covers are not left out
 */
#define EVENTS 3
#define ANCHORS 4          /* numbers 1 to 3 */
#define NONE 255

/* Files by inode, with the events in them as bits; the names access-log, .1 and .2 as inodes. */
byte content[3];
byte name[3];              /* 0: the file that is written, 1: .1, 2: .2 */

/* Objects of the store, by the anchor's number: the events of each as bits, 0 where there is none. */
byte pending[ANCHORS];
byte record[ANCHORS];
byte checkpoint[ANCHORS];

bool overwritten = false;

proctype worker() {
    byte event;
    for (event : 1 .. 2) {
        content[name[0]] = content[name[0]] | (1 << event)
    }
}

/* logrotate: .1 becomes .2, the file becomes .1, a new one is made. Each rename is a step of its own. */
proctype rotation() {
    name[2] = name[1];
    name[1] = name[0];
    name[0] = 2
}

/* FileSource.pieces: the names that a folder has now, then the inode behind each, and all of it again. */
inline list_files() {
    do
    :: atomic { listed = (name[1] != NONE -> 2 : 0) + (name[2] != NONE -> 4 : 0) };
       seen[0] = name[0];
       seen[1] = ((listed & 2) -> name[1] : NONE);
       seen[2] = ((listed & 4) -> name[2] : NONE);
#ifdef ONE_LISTING
       break
#else
       if
       :: atomic { seen[0] == name[0] && seen[1] == name[1] && seen[2] == name[2] -> break }
       :: else
       fi
#endif
    od
}

/* AnchoredLog.newest: a stale listing misses checkpoints. */
inline newest() {
    atomic {
        number = 0;
        for (i : 1 .. 3) {
            if
            :: checkpoint[i] != 0 -> number = i
            :: checkpoint[i] == 0
            :: break
            fi
        };
        i = 0
    }
}

/* AnchoredLog.finish: write_once refuses other bytes than those that are there. */
inline finish(n, events) {
    newest();
    if
    :: number >= n -> goto ended
    :: number + 1 != n -> goto ended           /* does not start where the log ends */
    :: else
    fi;
    if
    :: goto ended                              /* killed */
    :: skip
    fi;
    atomic {
#ifdef OVERWRITE
        overwritten = overwritten || (checkpoint[n] != 0 && record[n] != events);
        record[n] = events
#else
        if
        :: record[n] == 0 -> record[n] = events
        :: record[n] == events
        :: else -> goto ended                  /* SealedLogInvalid */
        fi
#endif
    }
    if
    :: goto ended
    :: skip
    fi;
    atomic {
#ifdef OVERWRITE
        checkpoint[n] = events
#else
        if
        :: checkpoint[n] == 0 -> checkpoint[n] = events
        :: checkpoint[n] == events
        :: else -> goto ended
        fi
#endif
    }
    if
    :: goto ended
    :: skip
    fi;
    pending[n] = 0
}

proctype sealer(byte runs) {
    byte round, number, i, n, covered, batch, following, event;
    byte seen[3];
    byte file, listed;
    bool cut;
    for (round : 1 .. runs) {
        newest();
        n = number + 1;
        if
        :: n >= ANCHORS -> goto ended
        :: else
        fi;
        /* begun: finish what another run began */
        if
        :: pending[n] != 0 -> batch = pending[n]; finish(n, batch); goto ended
        :: else
        fi;
        /* what is anchored already */
        atomic {
        covered = 0;
#ifndef EVERY_EVENT
        for (i : 1 .. number) {
            if
            :: record[i] != 0 -> covered = covered | record[i]
            :: else
            fi
        };
#endif
        following = 0;
        do
        :: (covered & (1 << following)) -> following++
        :: else -> break
        od
        };
        /* the lines, oldest first; a chain whose start is older than every file was rotated away */
        list_files();
        atomic {
        batch = 0;
        cut = (covered == 0);
        for (i : 0 .. 2) {
            file = seen[2 - i];
            if
            :: file != NONE && (i == 0 || file != seen[3 - i]) && (i < 2 || file != seen[2]) ->
                for (event : 0 .. 2) {
                    if
                    :: content[file] & (1 << event) ->
                        if
                        :: event == following || cut -> batch = batch | (1 << event); following = event + 1
                        :: else
                        fi;
                        cut = false
                    :: else
                    fi
                }
            :: else
            fi
        };
        file = 0; listed = 0; event = 0; following = 0; covered = 0; cut = false;
        seen[0] = 0; seen[1] = 0; seen[2] = 0; i = 0
        };
        if
        :: batch == 0 -> goto ended
        :: else
        fi;
        /* begin: the conditional create decides what the anchor is */
#ifndef NO_PENDING
        atomic {
            if
            :: pending[n] == 0 -> pending[n] = batch
            :: else -> goto ended              /* SealRaced */
            fi
        }
        newest();
        if
        :: number >= n -> pending[n] = 0; goto ended
        :: else
        fi;
#endif
        finish(n, batch);
ended:
        atomic { batch = 0; number = 0; n = 0 }
    }
}

init {
    atomic {
        content[1] = 1; name[1] = 1; name[2] = NONE;
        run worker(); run rotation(); run sealer(2); run sealer(1)
    }
}

#define ALL (checkpoint[1] | checkpoint[2] | checkpoint[3])
/* No event is in two anchors. */
#define TWICE ((checkpoint[1] & checkpoint[2]) || (checkpoint[1] & checkpoint[3]) || (checkpoint[2] & checkpoint[3]))
/* An anchored event has all events of its chain before it: a later run would leave them out for good. */
#define GAP (((ALL & 4) && !(ALL & 2)) || ((ALL & 2) && !(ALL & 1)))
/* What a checkpoint covers never changes. */
#define CHANGED ((checkpoint[1] != 0 && record[1] != checkpoint[1]) || (checkpoint[2] != 0 && record[2] != checkpoint[2]))

/* What a killed run left can be finished by the next one, whatever was logged meanwhile. */
#define STUCK(i) (record[i] != 0 && checkpoint[i] == 0 && pending[i] != record[i])

ltl once { [] !(TWICE) }
ltl none_lost { [] !(GAP) }
ltl fixed { [] !(CHANGED || overwritten) }
ltl can_be_finished { [] !(STUCK(1) || STUCK(2)) }

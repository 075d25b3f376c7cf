/* Rewrap and the removal of a key, against pushes and pulls. docs/evidence/models/README.md maps each step to the code.
 *
 * OLD and NEW are two keys, or with -DVERSIONS two versions of one key. Two tasks push the same XCom, each with the wraps
 * that the access policy (or the key service) gave it when its try began, which it keeps for key_cache_seconds. An
 * operator moves everything from OLD to NEW and then destroys OLD. The job may be killed and is run again.
 *
 * Broken variants:
 *   -DNO_WAIT          the operator does not wait until pushes that began under the earlier policy have ended
 *   -DNO_COMPARE       a row is overwritten although it changed since it was read
 *   -DIGNORE_REPORT    OLD is destroyed although the job reported rows that it could not change
 *   -DREMOVE_BLINDLY   a wrap is removed although no other key opens the row
 */
#define OLD 1
#define NEW 2

byte row_push = 0;         /* whose payload the row names */
byte row_wraps = OLD;      /* the wraps in the row, which are those of the push `wraps_of` */
byte wraps_of = 0;
byte alive = OLD | NEW;    /* the keys that still exist */
byte wrapping = OLD;       /* what a try that begins now wraps with */
byte under_way[2];         /* what a push that is under way wrapped with; 0 for none */

proctype push(byte p) {
    atomic { under_way[p] = wrapping };
    if
    :: atomic { row_push = p + 1; row_wraps = under_way[p]; wraps_of = p + 1; under_way[p] = 0 }
    :: under_way[p] = 0                /* killed before the row was written */
    fi
}

inline wait_for_pushes(wraps) {
#ifndef NO_WAIT
    (under_way[0] == 0 || under_way[0] == wraps) && (under_way[1] == 0 || under_way[1] == wraps)
#else
    skip
#endif
}

/* One pass of the job over the row. `wanted` is computed from what was read. */
inline pass(adding, left_over) {
    left_over = false;
    atomic { read_push = row_push; read_wraps = row_wraps; read_of = wraps_of };
    wanted = read_wraps;
    if
    :: adding && (read_wraps & alive & OLD) -> wanted = read_wraps | NEW
    :: !adding && (read_wraps & NEW) -> wanted = NEW
    :: !adding && !(read_wraps & NEW) ->
#ifdef REMOVE_BLINDLY
        wanted = read_wraps & NEW
#else
        left_over = true               /* UnsafeRefused: no other key would open it */
#endif
    :: else
    fi;
    if
    :: wanted != read_wraps ->
        atomic {
#ifdef NO_COMPARE
            row_wraps = wanted; wraps_of = read_of
#else
            if
            :: row_push == read_push && row_wraps == read_wraps -> row_wraps = wanted
            :: else -> left_over = true            /* changed meanwhile */
            fi
#endif
        }
    :: else
    fi
}

proctype operator() {
    byte read_push, read_wraps, read_of, wanted;
    bool left_over;
#ifdef VERSIONS
    wrapping = NEW;                            /* rotated: new wraps are of the newest version */
    wait_for_pushes(NEW);
    do
    :: pass(true, left_over);
       if
       :: !left_over -> break
       :: left_over
       fi
    od;
    do
    :: pass(false, left_over);                 /* rewrap replaces a wrap: both passes are one there */
#else
    wrapping = OLD | NEW;                      /* 1. the key is added for every worker */
    do
    :: pass(true, left_over);                  /* 2. --add-key */
       if
       :: !left_over -> break
       :: left_over
       fi
    od;
    wrapping = NEW;                            /* 3. wrap=never */
    wait_for_pushes(NEW);
    do
    :: pass(false, left_over);                 /* 4. --remove-key */
#endif
       if
       :: !left_over -> break
#ifdef IGNORE_REPORT
       :: left_over -> break
#else
       :: left_over -> pass(true, left_over)   /* add again what a late push wrote without it */
#endif
       fi
    od;
    alive = NEW                                /* 5. OLD is destroyed */
}

init { atomic { run push(0); run push(1); run operator() } }

/* Every row opens: with a key that exists, whose wrap is one of this row's own data key. */
ltl every_row_opens { [] ((row_wraps & alive) && wraps_of == row_push) }

/* Exclusive XComs: claim, open, shred. docs/evidence/models/README.md says which line of the code each step is.
 *
 * One coordinate, whose row names push 0 and later push 1. Two task instances pull: reader 0 has two attempts.
 * Every process may be killed, or suspended for any time, between any two steps.
 *
 * Broken variants, each of which the checker must refute:
 *   -DREMOVE_AT_ONCE   maintenance removes a claim together with what it is on
 *   -DNO_CONDITION     a claim overwrites one that is there already
 *   -DOPEN_FIRST       the value is opened before the claim is made
 *   -DANY_CLAIM        maintenance shreds what a claimant has read that has not succeeded
 */
#define PUSHES 2
#define READERS 2
#define NOBODY 9
#define NO_PUSH 9

byte row = 0;              /* the push that the row names, or NO_PUSH */
bool keys[PUSHES];         /* the row of this push still has its wraps */
bool payload[PUSHES];
byte claim[PUSHES] = NOBODY;
bool opened[4];            /* push * READERS + reader */
bool succeeded[READERS];
byte old[PUSHES];          /* bit r: reader r began its pull before the claim on this push was made */
byte pulling = 0;          /* bit r: reader r is in a pull */

#define BIT(r) (1 << (r))
/* 24 hours after a claim was made, no pull is under way that began before it. */
#define CLAIM_IS_OLD(p) (old[p] == 0)

inline begin_pull(r) { pulling = pulling | BIT(r) }
inline end_pull(r) {
    pulling = pulling & (255 - BIT(r));
    old[0] = old[0] & (255 - BIT(r));
    old[1] = old[1] & (255 - BIT(r))
}
inline make_claim(p, r) { claim[p] = r; old[p] = pulling & (255 - BIT(r)) }

proctype reader(byte me; byte attempts) {
    byte push, seen;
    bool has_key;
    byte left = attempts;
again:
    if
    :: left == 0 -> goto done
    :: else -> left--
    fi;
    /* decide: the reference is read once, with its wraps */
    atomic {
        begin_pull(me);
        push = row;
        if
        :: push == NO_PUSH || !keys[push] -> end_pull(me); goto again
        :: else
        fi
    }
    /* claim.read: before a key is asked for */
    seen = claim[push];
    if
    :: seen != NOBODY && seen != me -> atomic { end_pull(me); goto again }
    :: else
    fi;
    /* fetch: the payload and the data key are in memory from here on */
    has_key = payload[push];
    if
    :: !has_key -> atomic { end_pull(me); goto again }
    :: else
    fi;
#ifdef OPEN_FIRST
    opened[push * READERS + me] = true;
#endif
    /* claim.take: a conditional create; its answer may be lost, then the attempt fails */
    if
    :: seen == NOBODY ->
        atomic {
#ifdef NO_CONDITION
            make_claim(push, me);
#else
            if
            :: claim[push] == NOBODY -> make_claim(push, me)
            :: else -> skip
            fi;
#endif
            seen = claim[push]
        }
        if
        :: seen != me -> atomic { end_pull(me); goto again }
        :: seen == me -> skip
        :: seen == me -> atomic { end_pull(me); goto again }      /* the answer was lost, or a kill */
        fi
    :: else
    fi;
    /* open */
    opened[push * READERS + me] = true;
    atomic { end_pull(me) };
    if
    :: succeeded[me] = true
    :: goto again                                                /* the attempt fails after its pull */
    fi;
done:
    skip
}

/* The producer is cleared: another push, which the row names from then on. */
proctype producer() {
    if
    :: payload[1] = true;
       if
       :: atomic { keys[1] = true; row = 1 }
       :: skip                                                   /* killed before the row was written */
       fi
    :: skip
    fi
}

/* The task's own end: no condition on the row, and no right to delete payloads or claims. */
proctype task_end(byte me) {
    byte push;
    succeeded[me];
    push = row;
    if
    :: push != NO_PUSH && claim[push] == me -> keys[push] = false
    :: else
    fi
}

/* `secure-xcom claims shred --apply`, run twice; killed between any two steps. */
proctype maintenance() {
    byte round, push;
    for (round : 0 .. 1) {
        for (push : 0 .. 1) {
            if
            :: claim[push] == NOBODY -> goto next
            :: else
            fi;
            if
            :: (row != push || !keys[push]) && !payload[push] ->
                /* nothing is left of it */
#ifndef REMOVE_AT_ONCE
                if
                :: CLAIM_IS_OLD(push) -> claim[push] = NOBODY
                :: else
                fi;
#else
                claim[push] = NOBODY;
#endif
                goto next
            :: row != push && payload[push] -> goto next        /* left to gc */
            :: else
            fi;
#ifndef ANY_CLAIM
            if
            :: !succeeded[claim[push]] -> goto next
            :: else
            fi;
#endif
            if
            :: goto killed
            :: skip
            fi;
            atomic { if :: row == push -> keys[push] = false :: else fi };
            if
            :: goto killed
            :: skip
            fi;
            payload[push] = false;
#ifdef REMOVE_AT_ONCE
            claim[push] = NOBODY;
#endif
next:
            skip
        }
killed:
        skip
    }
}

/* gc: the payload of a push that no row names. A run of a DAG may be deleted, and its row with it. */
proctype collector() {
    if
    :: row = NO_PUSH
    :: skip
    fi;
    if
    :: row != 0 -> payload[0] = false
    :: else
    fi
}

init {
    atomic {
        claim[0] = NOBODY; claim[1] = NOBODY;
        keys[0] = true; payload[0] = true;
        run reader(0, 2); run reader(1, 1); run producer(); run task_end(0);
        run maintenance(); run collector()
    }
}

/* At most one task instance ever opens a push. */
#define TWO_READERS ((opened[0] && opened[1]) || (opened[2] && opened[3]))
/* A claimant that has not succeeded may pull again: nobody shreds what it claimed. */
#define LOST ((claim[0] == 0 && !succeeded[0] && row == 0 && !keys[0]) || (claim[0] == 1 && !succeeded[1] && row == 0 && !keys[0]))

ltl one_reader { [] !TWO_READERS }
ltl kept_for_the_claimant { [] !LOST }

/* gc against pushes, second pushes, deletes and moved rows. docs/evidence/models/README.md maps each step to the code.
 *
 * One XCom with up to three payloads. A push puts its payload and then writes the row; it may be killed in between, and
 * may be suspended for less than the window. The listing of a store may be stale: it may miss what was put, and
 * may show what was deleted. The rows lie in two tables, which are read one after the other; a row may move from
 * the first to the second (Airflow 3.4 writes a row of 3.3 anew).
 *
 * Broken variants:
 *   -DROWS_FIRST       the rows are read before the store is listed (with NO_SECOND_LOOK)
 *   -DNO_WINDOW        payloads of any age are examined
 *   -DNO_SECOND_LOOK   rows are not read again right before a deletion; alone it is covered by the order
 *   -DSECOND_TABLE_FIRST   the tables are read in the other order (with NO_SECOND_LOOK)
 */
#define PAYLOADS 3
#define NONE 9

bool stored[PAYLOADS];     /* the payload lies in the store */
bool pushing[PAYLOADS];    /* its push is under way: it may still write a row that names it */
byte table1 = NONE;        /* the payload that the row names, in the first table */
byte table2 = NONE;        /* ... in the second table */
bool deleted_by_gc[PAYLOADS];

#define NAMED(p) (table1 == (p) || table2 == (p))
/* Older than the window: its push has ended, so a row that names it exists now or never will. Clocks differ by an
   hour at the most, and the window is at least two. */
#define OLD(p) (!pushing[p])

/* A push of a task instance that runs; a second push of the same key replaces the row. */
proctype push(byte p) {
    atomic { pushing[p] = true; stored[p] = true };
    if
    :: atomic {
           /* in the table in which the row is, or else in the second */
           if
           :: table1 != NONE -> table1 = p
           :: else -> table2 = p
           fi;
           pushing[p] = false
       }
    :: pushing[p] = false           /* killed, or refused: no row will ever name it */
    fi
}

proctype mover() {
    if
    :: atomic { table1 != NONE -> table2 = table1; table1 = NONE }
    :: skip
    fi
}

/* Airflow deletes the row; our hook deletes the payload after it, or is killed before. */
proctype remover() {
    byte named;
    if
    :: atomic {
           named = (table2 != NONE -> table2 : table1);
           table1 = NONE; table2 = NONE
       }
       if
       :: named != NONE -> stored[named] = false
       :: skip
       fi
    :: skip
    fi
}

inline read_rows(into) {
#ifdef SECOND_TABLE_FIRST
    atomic { if :: table2 != NONE -> into = into | (1 << table2) :: else fi };
    atomic { if :: table1 != NONE -> into = into | (1 << table1) :: else fi }
#else
    atomic { if :: table1 != NONE -> into = into | (1 << table1) :: else fi };
    atomic { if :: table2 != NONE -> into = into | (1 << table2) :: else fi }
#endif
}

proctype gc() {
    byte listed = 0, named = 0, again, p;
#ifdef ROWS_FIRST
    read_rows(named);
#endif
    /* list: a stale listing may miss any payload */
    for (p : 0 .. 2) {
        if
#ifdef NO_WINDOW
        :: stored[p] -> listed = listed | (1 << p)
#else
        :: atomic { stored[p] && OLD(p) -> listed = listed | (1 << p) }
#endif
        :: skip
        fi
    };
#ifndef ROWS_FIRST
    read_rows(named);
#endif
    for (p : 0 .. 2) {
        if
        :: (listed & (1 << p)) && !(named & (1 << p)) ->
            again = 0;
#ifndef NO_SECOND_LOOK
            read_rows(again);
#endif
            if
            :: !(again & (1 << p)) -> atomic { stored[p] = false; deleted_by_gc[p] = true }
            :: else
            fi
        :: else
        fi
    }
}

init {
    atomic {
        stored[0] = true; table1 = 0;
        run push(1); run push(2); run mover(); run remover(); run gc()
    }
}

/* A payload that gc deleted is named by no row, then or later. */
ltl named_payloads_stay { [] !((deleted_by_gc[0] && NAMED(0)) || (deleted_by_gc[1] && NAMED(1)) || (deleted_by_gc[2] && NAMED(2))) }

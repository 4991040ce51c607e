"""What a job keeps of its work where nodes fail, and what the rest of its time went into.

Work and saves alternate: an interval of work, then a save that blocks. There is none at the end of
the job. Saves and restarts go at the job's speed, as its work does, so that what is left of a run
is one number (`LEFT`): work and saves together, at full speed.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels.replay_state import CORRUPT, NONE, SAVE, TIME, Desk, Rules

AWAY = -2
"""In the column `HOLDS`: the job was stopped by the fleet and waits to start again."""
SAVES, ALL, CLEAN = 0, 1, 2
"""What a stop leaves: work up to the last save, all of it, or up to the last save that is right."""


@inlined
def stretched(work: int, interval: int, save: int) -> int:
    """Work with the saves between its intervals [ns]."""
    return work + max(work - 1, 0) // interval * save


@inner
def saved_now(desk: Desk, job: int) -> int:
    """Work of this run that saves keep, of a job that is settled [ns]."""
    row, save = desk.jobs[job], desk.now[SAVE]
    done = stretched(row[at.WORK], row[at.INTERVAL], save) - row[at.LEFT]
    saves = min(done // (row[at.INTERVAL] + save), max(row[at.WORK] - 1, 0) // row[at.INTERVAL])
    return int(saves * row[at.INTERVAL])


@inner
def open_run(desk: Desk, job: int) -> None:
    """A job begins to run, with its devices."""
    row, now = desk.jobs[job], desk.now[TIME]
    if row[at.HOLDS] == AWAY:
        row[at.OUT] += now - row[at.BEGUN]
    row[at.HOLDS] = NONE
    row[at.BEGUN] = now
    row[at.CLEAN] = NONE
    if desk.now[CORRUPT] > 0:
        piece = row[at.PIECE]
        while piece != NONE:
            if desk.pool.node[desk.pool.piece[piece, 0], nodes.CORRUPT] == 1:
                row[at.CLEAN] = 0
            piece = desk.pool.piece[piece, 2]


@inner
def close_run(rules: Rules, desk: Desk, job: int, leaves: int) -> None:
    """Book the run of a job that is settled; what is left of it is made ready to run again."""
    row, save, now = desk.jobs[job], desk.now[SAVE], desk.now[TIME]
    interval = row[at.INTERVAL]
    done = stretched(row[at.WORK], interval, save) - row[at.LEFT]
    kept = saved_now(desk, job)
    rest = done - kept // interval * (interval + save)
    worked = kept + min(rest, interval)
    row[at.SAVED] += done - worked
    if leaves == ALL:
        kept = worked
    elif leaves == CLEAN and row[at.CLEAN] != NONE:
        kept = min(kept, row[at.CLEAN])
    row[at.REWORK] += worked - kept
    if row[at.STOPS] + row[at.INTERRUPTED] > 0:
        row[at.RESTARTED] += rules.restart_ns - row[at.IDLE]
    row[at.HELD] += now - row[at.BEGUN]
    row[at.BEGUN] = now
    row[at.WORK] -= kept
    row[at.ASKED] = max(row[at.ASKED] - kept, 0)
    row[at.LEFT] = stretched(row[at.WORK], interval, save)
    row[at.LEFT_PPM] = 0
    row[at.IDLE] = rules.restart_ns
    row[at.LIMIT] = max(rules.restart_ns + stretched(row[at.ASKED], interval, save), 1)


@inner
def end_run(rules: Rules, desk: Desk, job: int) -> None:
    """Book the run of a job that is done."""
    row = desk.jobs[job]
    row[at.SAVED] += max(row[at.WORK] - 1, 0) // row[at.INTERVAL] * desk.now[SAVE]
    if row[at.STOPS] + row[at.INTERRUPTED] > 0:
        row[at.RESTARTED] += rules.restart_ns
    row[at.HELD] += desk.now[TIME] - row[at.BEGUN]
    row[at.WORK] = 0


@inner
def wait_unknown(desk: Desk, job: int) -> None:
    """Book the time of a job that has stopped without anybody knowing."""
    row, now = desk.jobs[job], desk.now[TIME]
    row[at.DETECTED] += row[at.HOLDS] * ((now - row[at.SINCE]) // 1000)
    row[at.SINCE] = now

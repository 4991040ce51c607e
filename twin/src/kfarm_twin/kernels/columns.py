"""Columns of the farm driver's table of jobs, one row per job.

Rows, and few arrays in all, because compiled functions pass each array of a tuple as several
arguments: with a column per array most of the time went into passing them.
"""

from __future__ import annotations

SUBMIT, RUN, RANK, RUNS = 0, 1, 2, 3
"""Given: submission, true run time [ns]; place in the order (SRTF: dense rank of the priority);
0 for a job that can never start."""
VALUE, KIND, WEIGHT, LIMIT = 4, 5, 6, 7
"""What the job asks for in units of its size class, that class, its devices (thousandths where
capacity is counted); time that it may still take as its user says [ns]."""
START, END, STOPS = 8, 9, 10
"""First start and end [ns] or -1, preemptions."""
KEY, DUE, DONE = 11, 12, 13
"""In the waiting queue; while it runs, the end of its limit and its true end [ns]."""
SINCE, LEFT, LEFT_PPM, IDLE, SPEED = 14, 15, 16, 17, 18
"""Work is known up to here; work left at full speed [ns], less so many millionths of one; restart
cost not paid yet, ahead of the work [ns]; speed [ppm]."""
PLANNED = 19
"""Start that conservative backfill promised; FAR_NS before it did."""
PIECE = 20
"""First piece of nodes held, or -1."""
ROLL = 21
"""Scratch: a list of jobs that something happens to."""
COLUMNS = 22

INTERVAL, WORK, ASKED = 22, 23, 24
"""From here on only where nodes fail. Work between two saves; work of this run, that is, not kept
when it began; what is left of it as its user says [ns at full speed]."""
HOLDS, CLEAN, BEGUN = 25, 26, 27
"""Devices that a job still holds which has stopped and nobody knows (else NONE, or `AWAY` while it
waits after such a stop); work kept before the node went wrong, or NONE; when it began to run or
stopped."""
INTERRUPTED, HELD, REWORK, SAVED, RESTARTED, OUT, DETECTED = 28, 29, 30, 31, 32, 33, 34
"""Stops by the fleet; time on devices, of it at full speed work that was lost, saves and restarts,
then time from a stop to the next start [ns]; device time until stops were known [device us]."""
FAILING_COLUMNS = 35

GPU_LOAD, CPU_LOAD, HEATED = 35, 36, 37
"""From here on only where heat is played. Load of its devices and of what stands beside them [ppm];
stops because a node of its became too hot."""
HOT_COLUMNS = 38

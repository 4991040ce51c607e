"""Columns of the table of units, one row per unit.

Rows, and few arrays in all, because compiled functions pass each array of a tuple as several
arguments. Times in nanoseconds, work as time at full speed; classes are rows of the fleet's, or -1.
"""

from __future__ import annotations

PHASE, STAMP, MISSING = 0, 1, 2
"""What it does; stamp of its valid timer; slots without a node."""
SINCE, KEPT, WORK, SAVING_FOR, RATE = 3, 4, 5, 6, 7
"""Progress, or what was lost, is known up to here; work behind the last save; work since; time into
the running save; speed [ppm]."""
DUE, STOPPED_AT, PLANNED, BLAMED = 8, 9, 10, 11
"""End of detection; when it stopped; 1 while it stands to be moved or to grow, not for a failure;
class behind its last stop."""
SLOWED_BY, CLEAN, SPOILT_BY = 12, 13, 14
"""Class of its slowest member; work before it was silently spoilt, FAR_NS where it is sound; class
that spoilt it."""
DOWN, WAITED, END, FELT = 15, 16, 17, 18
"""Time stopped so far; of that, waiting for a node; when its work was done, 0 before; 1 while the
speed of its devices has changed and it does not know yet."""
COLUMNS = 19

RUNNING, DETECTING, WAITING, RESTARTING, DONE, SAVING = 0, 1, 2, 3, 4, 5
"""Phases of a unit; saving is that before a planned move."""

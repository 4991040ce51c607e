"""Which job goes next: orders, backfill and preemption of the farm driver.

Rules at one instant: all ends, then changes of speed, then all arrivals, then one pass.

*Order.* Larger priority first. Then FIFO: by submission; SJF: by the limit that the user gave;
SRTF: by what of that limit is left. Ties go to the job that stands earlier in the trace.

*Pass.* The head of the queue starts while it can. SRTF first makes room for it: it preempts running
jobs that come strictly after the head in the order, the last ones first, until the head fits; on
named nodes only those of them that hold devices in the domain that is made free. Where all of them
would not do, none is touched. A preempted job waits again and keeps its work, in whole nanoseconds;
a restart cost, if any, comes before the rest of its work, and is paid anew when it was cut short.
With no backfill the pass ends at the first head that cannot start.

*End.* The true run time ends a job, also beyond its limit; limits only make reservations.

*EASY* (Lifka, "The ANL/IBM SP scheduling system", 1995). The head that cannot start gets a
reservation: running jobs end by their limits, those past their limit now; the shadow time is the
first at which the head can start; extra is what is free at the shadow time, after *all* releases up
to then, beyond what the head needs. In queue order a later job starts when it can now and either
ends by its limit at or before the shadow time or takes from the extra only.

*Conservative* (Mu'alem and Feitelson, IEEE TPDS 12(6), 2001). Each job gets a reservation when it
arrives, at the earliest time that delays no earlier reservation. When a job ends early, all
reservations are made anew one by one in queue order, each at its old time or earlier: what was
promised is kept. While a job runs past its limit no promise can be kept: all are then made anew
from nothing at every pass.
"""

from __future__ import annotations

from kfarm_twin._jit import inner

FIFO, SJF, SRTF = 0, 1, 2
"""Orders."""
NO_BACKFILL, EASY, CONSERVATIVE = 0, 1, 2
"""Backfill."""


@inner
def srtf_key(rank: int, span_ns: int, left_ns: int) -> int:
    """Place in the queue: by rank of the priority, then by time left; `span_ns` exceeds any."""
    return rank * span_ns + left_ns


@inner
def time_left(due_ns: int, now_ns: int) -> int:
    """What a running job may still take by its limit [ns]; none when it is past it."""
    return max(due_ns - now_ns, 0)


@inner
def gives_way(head_key: int, running_key: int) -> bool:
    """Whether a running job is preempted for the head: only when it comes strictly after it.

    Keys are those of `srtf_key` as of now; a tie leaves the running job where it is.
    """
    return head_key < running_key


@inner
def ends_in_time(now_ns: int, limit_ns: int, shadow_ns: int) -> bool:
    """Whether a job that starts now is gone, by its limit, when the head's reservation begins."""
    return now_ns + limit_ns <= shadow_ns

"""Faults of a fleet from an event log: outages of nodes, and what was left out and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints

HOURS_PER_DAY = 24.0
REASONS = {
    "duplicate": "rows or events that repeat another exactly",
    "endBeforeStart": "faults that end before they start",
    "endWithoutStart": "ends of faults whose start is not in the log",
    "unknownEvent": "events that are neither a start nor an end of a fault",
    "overlapping": "faults of a node that was out of service already: merged into one outage",
    "startedBefore": "faults that started before the time looked at",
    "endedAfter": "faults that ended after the time looked at: not listed then",
    "startedAfter": "faults that started after the time looked at",
}


class Fault(NamedTuple):
    """One fault as it is written: times in hours of the log; `end_h` None where it is open."""

    start_h: float
    end_h: float | None
    node: str
    kind: str
    line: int


@dataclass
class LeftOut:
    """What is not used, by reason, with the first lines."""

    count: Counter[str] = field(default_factory=Counter)
    lines: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, line: int) -> None:
        """Count one."""
        self.count[reason] += 1
        if len(self.lines[reason]) < 5:
            self.lines[reason].append(line)

    def as_data(self) -> list[dict[str, object]]:
        """For JSON."""
        return [
            {"reason": r, "meaning": REASONS[r], "count": self.count[r], "lines": self.lines[r]}
            for r in REASONS
            if self.count[r]
        ]


@dataclass(frozen=True)
class FaultLog:
    """Outages of nodes in order of start.

    Attributes
    ----------
    start_h, end_h
        Times of the log [h]; the end of an open outage is `until_h`.
    node, kind
        Indices into `nodes` and `kinds`.
    is_open
        Not over when the log ends.
    faults
        Faults behind the outages: more where some were merged.
    since_h, until_h
        What the log covers [h].
    lists_open
        Whether the log lists faults that are still open; if not, it is truncated.
    """

    start_h: Floats
    end_h: Floats
    node: Ints
    kind: Ints
    is_open: NDArray[np.bool_]
    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    faults: int
    since_h: float
    until_h: float
    lists_open: bool
    left_out: LeftOut
    notes: tuple[str, ...] = ()

    @property
    def span_h(self) -> float:
        """Length of the log [h]."""
        return self.until_h - self.since_h


def build_log(
    faults: list[Fault],
    left_out: LeftOut,
    *,
    since_h: float | None,
    until_h: float | None,
    notes: tuple[str, ...] = (),
) -> FaultLog:
    """Outages between `since_h` and `until_h`, as a log written at `until_h` would list them.

    Faults that overlap on one node are one outage of the class that came first. A log that lists
    any open fault is taken to list all; otherwise only closed ones are listed.
    """
    lists_open = any(f.end_h is None for f in faults)
    last = max((f.start_h if f.end_h is None else f.end_h) for f in faults)
    first = min(f.start_h for f in faults)
    since = since_h if since_h is not None else _natural_start(first, last)
    until = until_h if until_h is not None else last
    used = [
        f for f in sorted(faults, key=_order) if _is_used(f, since, until, lists_open, left_out)
    ]
    merged, count = _merge(used, until, left_out)
    nodes = tuple(dict.fromkeys(f.node for f in merged))
    kinds = tuple(k for k, _ in Counter(f.kind for f in merged).most_common())
    node_index = {name: i for i, name in enumerate(nodes)}
    kind_index = {name: i for i, name in enumerate(kinds)}
    ends = [until if f.end_h is None else f.end_h for f in merged]
    return FaultLog(
        np.array([f.start_h for f in merged]),
        np.array(ends),
        np.array([node_index[f.node] for f in merged], np.int64),
        np.array([kind_index[f.kind] for f in merged], np.int64),
        np.array([f.end_h is None for f in merged], np.bool_),
        nodes,
        kinds,
        count,
        since,
        until,
        lists_open,
        left_out,
        notes,
    )


def _order(fault: Fault) -> tuple[float, int]:
    return fault.start_h, fault.line


def _natural_start(first: float, last: float) -> float:
    """0 for a log whose times count from its beginning, else its first event."""
    return 0.0 if 0 <= first <= 0.2 * last else first


def _is_used(fault: Fault, since: float, until: float, lists_open: bool, out: LeftOut) -> bool:
    if fault.start_h < since:
        out.add("startedBefore", fault.line)
    elif fault.start_h > until:
        out.add("startedAfter", fault.line)
    elif not lists_open and fault.end_h is not None and fault.end_h > until:
        out.add("endedAfter", fault.line)
    else:
        return True
    return False


def _merge(faults: list[Fault], until: float, out: LeftOut) -> tuple[list[Fault], int]:
    """One outage where faults of a node overlap; ends after `until` become open."""
    latest: dict[str, int] = {}
    merged: list[Fault] = []
    for fault in faults:
        end = None if fault.end_h is None or fault.end_h > until else fault.end_h
        this = fault._replace(end_h=end)
        at = latest.get(fault.node)
        before = merged[at] if at is not None else None
        if (
            at is not None
            and before is not None
            and (before.end_h is None or fault.start_h < before.end_h)
        ):
            out.add("overlapping", fault.line)
            ends = (before.end_h, end)
            merged[at] = before._replace(
                end_h=None if None in ends else max(e for e in ends if e is not None)
            )
            continue
        latest[fault.node] = len(merged)
        merged.append(this)
    return merged, len(faults)


def with_kinds(log: FaultLog, fewest: int, most: int) -> FaultLog:
    """The same with rare classes joined as ``other``, so that at most `most` remain."""
    counts = np.bincount(log.kind, minlength=len(log.kinds))
    kept = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= fewest][: most - 1]
    if len(kept) == len(log.kinds):
        return log
    names = (*(log.kinds[i] for i in kept), "other")
    place = {int(old): new for new, old in enumerate(kept)}
    kind = np.array([place.get(int(k), len(kept)) for k in log.kind], np.int64)
    return replace(log, kind=kind, kinds=names)

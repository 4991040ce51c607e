"""When a fault acts on which nodes: pure arithmetic of spec, status and time.

A fault acts in one wave or several: a drain takes its nodes a few at a time, a link flaps, heat
comes to each node when the twin says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kfarm_api.drill import HEAT, RUNNER_ONLY, TWIN_ONLY, DrillFault, Flapping
from kfarm_api.drill_marks import ANNOTATION_RUNNER
from kfarm_api.drill_status import JournalEntry
from kfarm_api.units import parse_decimal

from kfarm_operator.drills.clock import after, read_moment, seconds
from kfarm_operator.drills.situation import Situation


@dataclass(frozen=True)
class Wave:
    """One time that a fault acts: on these nodes, from `begin` to `end`.

    `shows` is what a node shows: down, a device fault, drained, a link down, throttled.
    """

    fault: DrillFault
    number: int
    nodes: tuple[str, ...]
    begin: datetime
    end: datetime
    shows: str

    @property
    def kind(self) -> str:
        """Kind of the object that is written to."""
        return "Lease" if self.shows == "Down" else "Node"

    def entry_id(self, node: str) -> str:
        """Identity of the journal entry for a node."""
        head = f"{self.fault.name}/{self.kind}/{node}"
        return head if self.number == 0 else f"{head}/{self.number}"

    def active(self, now: datetime) -> bool:
        """Whether the wave is on."""
        return self.begin <= now < self.end


def begins(s: Situation, fault: DrillFault) -> datetime | None:
    """When a fault begins; None while its trigger has not come."""
    if s.started is None:
        return None
    if fault.trigger is None:
        return after(s.started, fault.at)
    known = s.progress.get(fault.name)
    if known is None or known.since is None:
        return None
    seen = read_moment(known.since)
    return after(seen, fault.at) if known.state == "Waiting" else seen


def by_runner(s: Situation, fault: DrillFault) -> bool:
    """Whether the fault is made outside, by the runner."""
    del s
    return fault.action in RUNNER_ONLY


def ran(s: Situation, fault: DrillFault) -> tuple[datetime | None, datetime | None]:
    """What the runner noted: begin and end of what it did."""
    text = s.drill.metadata.annotations.get(ANNOTATION_RUNNER + fault.name, "")
    begin, _, end = text.partition("/")
    return _maybe(begin), _maybe(end)


def _maybe(text: str) -> datetime | None:
    try:
        return read_moment(text) if text else None
    except ValueError:
        return None


def shown_in_cluster(s: Situation, fault: DrillFault) -> bool:
    """Whether the drill controller itself makes the fault."""
    return fault.action not in TWIN_ONLY and not by_runner(s, fault)


def takes_nodes_down(fault: DrillFault) -> bool:
    """Whether its nodes are down from its begin to its end."""
    return fault.action not in (*HEAT, "Drain", "LinkFlap", "DeviceFault")


def waves(s: Situation, fault: DrillFault) -> list[Wave]:
    """All waves of a fault; none before its begin is known."""
    begin = begins(s, fault)
    nodes = tuple(s.targeted.get(fault.name, ()))
    if begin is None or not shown_in_cluster(s, fault):
        return []
    if fault.action in HEAT:
        return _heat(s, fault, begin)
    if fault.action == "Drain":
        return _drains(fault, nodes, begin)
    if fault.action == "LinkFlap":
        return list(_flaps(fault, nodes, begin))
    shows = "Device"
    if takes_nodes_down(fault):
        # a node with a real kubelet is stopped by the runner, which looks at the fault's state
        nodes, shows = _played(s, nodes), "Down"
    return [Wave(fault, 0, nodes, begin, after(begin, fault.duration), shows)]


def _played(s: Situation, nodes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in nodes if name not in s.nodes or s.nodes[name].kwok)


def _drains(fault: DrillFault, nodes: tuple[str, ...], begin: datetime) -> list[Wave]:
    size = fault.at_once or len(nodes) or 1
    lasts = timedelta(seconds=seconds(fault.duration))
    groups = [nodes[first : first + size] for first in range(0, len(nodes), size)]
    return [
        Wave(fault, n, group, begin + n * lasts, begin + (n + 1) * lasts, "Drain")
        for n, group in enumerate(groups)
    ]


def _flaps(fault: DrillFault, nodes: tuple[str, ...], begin: datetime) -> Iterator[Wave]:
    rhythm = fault.flapping or Flapping()
    down, up = seconds(rhythm.down), seconds(rhythm.up)
    whole = seconds(fault.duration)
    for n in range(math.ceil(whole / (down + up))):
        first = n * (down + up)
        last = min(whole, first + down)
        yield Wave(
            fault, n, nodes, begin + timedelta(seconds=first), begin + timedelta(seconds=last),
            "Link",
        )  # fmt: skip


def _heat(s: Situation, fault: DrillFault, begin: datetime) -> list[Wave]:
    """What the twin predicts of each node: throttled, or shut down."""
    found: list[Wave] = []
    numbers: dict[tuple[str, str], int] = {}
    last = after(begin, fault.duration)
    may = frozenset(s.targeted.get(fault.name, ()))
    for effect in s.status.effects:
        if effect.fault != fault.name or effect.node not in may:
            continue
        if effect.effect not in ("Throttling", "HeatShutdown"):
            continue
        shows = "Throttling" if effect.effect == "Throttling" else "Down"
        number = numbers.get((effect.node, shows), 0)
        numbers[effect.node, shows] = number + 1
        start = begin + timedelta(seconds=float(parse_decimal(effect.at)))
        end = last
        if effect.until is not None:
            end = min(last, begin + timedelta(seconds=float(parse_decimal(effect.until))))
        if start < end:
            found.append(Wave(fault, number, (effect.node,), start, end, shows))
    return found


def ends(s: Situation, fault: DrillFault) -> datetime | None:
    """When the last wave of a fault is over; None while its begin is not known."""
    begin = begins(s, fault)
    if begin is None:
        return None
    found = [wave.end for wave in waves(s, fault)]
    return max(found, default=after(begin, fault.duration))


def unwritten(s: Situation, found: Sequence[Wave]) -> list[Wave]:
    """Waves that are on and of which the journal does not have every node."""
    known = {entry.id for entry in s.status.journal}
    return [
        wave
        for wave in found
        if wave.active(s.now) and any(wave.entry_id(node) not in known for node in wave.nodes)
    ]


def over(s: Situation) -> list[JournalEntry]:
    """Open entries whose wave is not on any more."""
    on = {
        wave.entry_id(node)
        for fault in s.drill.spec.faults
        if (p := s.progress.get(fault.name)) is None or p.state != "Skipped"
        for wave in waves(s, fault)
        if wave.active(s.now)
        for node in wave.nodes
    }
    lasting = {
        fault.name
        for fault in s.drill.spec.faults
        if (end := ends(s, fault)) is not None and s.now < end
    }
    return [
        entry
        for entry in s.open
        if entry.id not in on and not (is_remedy(entry) and entry.fault in lasting)
    ]


REMEDY = "remedy"


def is_remedy(entry: JournalEntry) -> bool:
    """Whether an entry was written for a fault's remedy."""
    return entry.id.endswith(f"/{REMEDY}")


def next_change(s: Situation) -> datetime | None:
    """The next moment at which a wave begins or ends."""
    moments = [
        at
        for fault in s.drill.spec.faults
        for wave in waves(s, fault)
        for at in (wave.begin, wave.end)
        if at > s.now
    ]
    return min(moments, default=None)

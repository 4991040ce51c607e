"""A fleet that fails and is mended, in plain Python: what the compiled engine is held against.

Written from the text of ``kfarm_api.reliability`` alone. Shares no code with the kernels and draws
its own random numbers, so that agreement is statistical. Times in hours from the start of a future,
which is midnight of the first day of a week.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Law:
    """A time with this mean: exponential, lognormal or weibull (by `shape`), or fixed."""

    mean: float
    kind: str = "exponential"
    shape: float = 1.0

    def draw(self, rnd: random.Random) -> float:
        if self.kind == "fixed":
            return self.mean
        if self.kind == "exponential":
            return rnd.expovariate(1 / self.mean)
        if self.kind == "lognormal":
            return rnd.lognormvariate(math.log(self.mean) - self.shape**2 / 2, self.shape)
        return rnd.weibullvariate(self.mean / math.gamma(1 + 1 / self.shape), self.shape)


@dataclass(frozen=True)
class Mend:
    """How a class is mended: `retry` is a share and a time, `part` a share and a lead time."""

    hands_on: Law
    retry: tuple[float, float] | None = None
    part: tuple[float, Law] | None = None
    crew: bool = True
    recurrence: float = 0.0
    within: float = 24.0


@dataclass(frozen=True)
class Fleet:
    nodes: int
    rates: tuple[float, ...]
    """Fresh faults of one node by class [1/h], means over quiet and unrest."""
    mends: tuple[Mend, ...]
    frailty: float | None = None
    bursts: tuple[float, float, float] | None = None
    """Share of faults, mean size, window [h]."""
    unrest: tuple[float, float, float] | None = None
    """Share of time, factor, mean length [h]."""
    crews: int | None = None
    shift: tuple[float, float, int] = (0.0, 24.0, 7)
    """Start [h], hours, days of the week."""
    holds: float = 0.0
    """Share of repairs due in unrest for a part (no parts: for a crew) that wait for its end."""


@dataclass
class Played:
    outages: list[tuple[float, float, int, int]] = field(default_factory=list)
    """Start, end, node, class; those still open at the end have an infinite end."""
    waits: list[float] = field(default_factory=list)


def work_end(begin: float, hours: float, shift: tuple[float, float, int]) -> float:
    """When hands-on work of so many hours ends that may begin at `begin`."""
    start, length, days = shift
    if length >= 24 and days == 7:
        return begin + hours
    day = math.floor(begin / 24)
    while True:
        if day % 7 < days:
            opens, closes = day * 24 + start, day * 24 + start + length
            begin = max(begin, opens)
            if begin < closes:
                if hours <= closes - begin:
                    return begin + hours
                hours -= closes - begin
        day += 1
        begin = max(begin, day * 24.0)


def arrivals(
    fleet: Fleet,
    horizon: float,
    rnd: random.Random,
    spells: list[tuple[float, float, float]] | None = None,
) -> list[float]:
    """Times of fresh faults of the whole fleet, if no node were ever down."""
    total = fleet.nodes * sum(fleet.rates)
    share, size, window = fleet.bursts or (0.0, 1.0, 0.0)
    out = []
    for begin, end, factor in spells or _spells(fleet, horizon, rnd):
        t = begin + rnd.expovariate(total * factor * (1 - share + share / size))
        while t < end:
            members = 0
            if rnd.random() < (share / size) / (1 - share + share / size):
                members = 1
                while rnd.random() < 1 - 1 / size:
                    members += 1
            out += [t + window * rnd.random() for _ in range(members)] or [t]
            t += rnd.expovariate(total * factor * (1 - share + share / size))
    return sorted(t for t in out if t < horizon)


def _spells(fleet: Fleet, horizon: float, rnd: random.Random) -> list[tuple[float, float, float]]:
    if fleet.unrest is None:
        return [(0.0, horizon, 1.0)]
    share, factor, spell = fleet.unrest
    quiet = 1 / (1 - share + share * factor)
    restless = rnd.random() < share
    t, out = 0.0, []
    while t < horizon:
        mean = spell if restless else spell * (1 - share) / share
        end = min(t + rnd.expovariate(1 / mean), horizon)
        out.append((t, end, quiet * factor if restless else quiet))
        t, restless = end, not restless
    return out


def play(fleet: Fleet, horizon: float, seed: int) -> Played:  # noqa: PLR0912, PLR0915
    """One future, event by event."""
    rnd = random.Random(seed)  # noqa: S311 - a simulation
    played = Played()
    z = [
        rnd.gammavariate(fleet.frailty, 1 / fleet.frailty) if fleet.frailty else 1.0
        for _ in range(fleet.nodes)
    ]
    cumulative, total = [], 0.0
    for x in z:
        total += x
        cumulative.append(total)
    free = fleet.crews if fleet.crews is not None else 10**9
    order = 0
    events: list[tuple[float, int, str, int, int]] = []
    queue: list[tuple[int, int]] = []
    # the total of the drawn frailties, not its mean, sets how often the fleet fails
    scale = total / fleet.nodes
    thinned = Fleet(**{**fleet.__dict__, "rates": tuple(r * scale for r in fleet.rates)})
    spells = _spells(fleet, horizon, rnd)
    for t in arrivals(thinned, horizon, rnd, spells):
        node = _pick(cumulative, rnd.random() * total)
        kind = rnd.choices(range(len(fleet.rates)), fleet.rates)[0]
        events.append((t, order, "fault", node, kind))
        order += 1
    heapq.heapify(events)
    down: dict[int, tuple[float, int]] = {}
    busy_since: dict[int, float] = {}

    def push(t: float, what: str, node: int, kind: int) -> None:
        nonlocal order
        heapq.heappush(events, (t, order, what, node, kind))
        order += 1

    def serve(t: float) -> None:
        nonlocal free
        while free and queue:
            node, kind = queue.pop(0)
            free -= 1
            played.waits.append(t - busy_since[node])
            hours = fleet.mends[kind].hands_on.draw(rnd)
            push(work_end(t, hours, fleet.shift), "mended", node, kind)

    while events:
        t, _, what, node, kind = heapq.heappop(events)
        if t >= horizon:
            break
        mend = fleet.mends[kind]
        if what == "fault":
            if node in down:
                continue
            down[node] = (t, kind)
            if mend.retry is not None:
                push(t + mend.retry[1], "retried", node, kind)
            else:
                push(t, "part", node, kind)
        elif what == "retried":
            assert mend.retry is not None
            if rnd.random() < mend.retry[0]:
                push(t, "up", node, kind)
            else:
                push(t, "part", node, kind)
        elif what == "part":
            waits = mend.part is not None and rnd.random() < mend.part[0]
            lead = mend.part[1].draw(rnd) if mend.part is not None and waits else 0.0
            due = waits if mend.part is not None else mend.crew
            if due and fleet.holds and rnd.random() < fleet.holds:
                calm = next(end for _, end, _ in spells if t < end)
                if next(factor for _, end, factor in spells if t < end) > 1.0:
                    lead = calm - t
            push(t + lead, "queue", node, kind)
        elif what == "queue":
            busy_since[node] = t
            if mend.crew:
                queue.append((node, kind))
                serve(t)
            else:
                push(t + mend.hands_on.draw(rnd), "up", node, kind)
        elif what in ("mended", "up"):
            if what == "mended":
                free += 1
                serve(t)
            began, _ = down.pop(node)
            played.outages.append((began, t, node, kind))
            if rnd.random() < mend.recurrence:
                push(t + rnd.expovariate(1 / mend.within), "fault", node, kind)
    played.outages += [(began, math.inf, node, kind) for node, (began, kind) in down.items()]
    played.outages.sort()
    return played


def _pick(cumulative: list[float], at: float) -> int:
    low, high = 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] <= at:
            low = middle + 1
        else:
            high = middle
    return low


def down_shares(
    outages: list[tuple[float, float, int, int]], since: float, until: float, *, closed_only: bool
) -> list[float]:
    """Share of the time between `since` and `until` with 0, 1, 2, … nodes down.

    `closed_only` leaves out what is open at `until`, as a log of closed faults does.
    """
    steps = []
    for begin, end, *_ in outages:
        if closed_only and end > until:
            continue
        if end > since and begin < until:
            steps += [(max(begin, since), 1), (min(end, until), -1)]
    steps.sort()
    spent: dict[int, float] = {}
    now, count = since, 0
    for t, change in steps:
        spent[count] = spent.get(count, 0.0) + t - now
        now, count = t, count + change
    spent[count] = spent.get(count, 0.0) + until - now
    return [spent.get(i, 0.0) / (until - since) for i in range(max(spent) + 1)]


def quantile(shares: list[float], q: float) -> int:
    """Least number of nodes that so much of the time suffices."""
    total = 0.0
    for number, share in enumerate(shares):
        total += share
        if total >= q - 1e-12:
            return number
    return len(shares) - 1

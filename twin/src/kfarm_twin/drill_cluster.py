"""A cluster's clock in all futures at once: when nodes are missed and pods leave and come back.

Every time is an array [F] of seconds after the start of the drill; infinite: never. The rules are
those of the node lifecycle, taint eviction, pod garbage collection and Job controllers; figures and
sources are in `drill_delays`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_delays import (
    BIND_S,
    LARGE_CLUSTER,
    LEASE_JITTER,
    SECOND_S,
    SECONDARY_RATE,
    STEP_S,
    TAINT_PERIOD_S,
    UNHEALTHY_SHARE,
    WATCH_S,
    Delays,
    Draws,
)
from kfarm_twin.drill_jobs import retried

WaveKind = Literal["Down", "Marked", "Drained"]
NEVER = np.inf


@dataclass(frozen=True)
class Wave:
    """Nodes that one fault hits at one moment.

    Attributes
    ----------
    kind
        ``Down``: they stop answering; ``Marked``: a condition and a taint keep new pods away;
        ``Drained``: marked, and their pods are evicted at once.
    start, end
        Seconds after the start of the drill.
    drain_after, out_of_service_after
        The remedy: so long after a node was missed [s]; None: none.
    harmless
        Whether pods go on as before: a link that flaps, devices that throttle.
    """

    fault: str
    kind: WaveKind
    nodes: tuple[str, ...]
    start: float
    end: float
    drain_after: float | None = None
    out_of_service_after: float | None = None
    harmless: bool = False

    @property
    def key(self) -> str:
        """Tells its streams of random numbers apart from those of other waves."""
        return f"{self.fault}/{self.start:g}"


@dataclass
class NodeTimes:
    """What comes of one node of a wave, [F] each.

    Attributes
    ----------
    missed
        Ready is no longer True, or the condition is on.
    tainted
        ``unreachable:NoExecute`` is on.
    back, up, ready
        It answers again; it is Ready again; it is free of taints, too.
    """

    wave: Wave
    name: str
    missed: Floats
    tainted: Floats
    back: Floats
    up: Floats
    ready: Floats


@dataclass
class Departure:
    """A pod that leaves a node, [F] each.

    Attributes
    ----------
    slot
        Which pod of which plan, for people and for streams of random numbers.
    waits
        From when on there is room for it, whatever else.
    gang
        The gang that it belongs to, which the gate lets go only as a whole; or empty.
    kueue
        The Workload with which Kueue admits it, or empty: then the gate places it.
    """

    slot: str
    plan: str
    node: NodeTimes
    toleration_s: float | None
    job: str
    per_index: bool
    when_gone: bool
    evicted: Floats
    gone: Floats
    failed: Floats
    waits: Floats
    created: Floats = field(default_factory=lambda: np.zeros(0))
    replaced: Floats = field(default_factory=lambda: np.zeros(0))
    running: Floats = field(default_factory=lambda: np.zeros(0))
    gang: str = ""
    kueue: str = ""


class ClusterClock:
    """Plays the controllers of one cluster.

    Parameters
    ----------
    nodes
        All nodes that the node lifecycle controller counts, whether ready or not.
    unready
        How many of them are not ready before the drill.
    lease_age_s
        See `drill_request.MeasuredDelays`.
    """

    def __init__(
        self,
        delays: Delays,
        draws: Draws,
        nodes: int,
        unready: int = 0,
        lease_age_s: Mapping[str, float] | None = None,
    ) -> None:
        self.delays, self.draws = delays, draws
        self.nodes, self.unready = nodes, unready
        self.ages = lease_age_s or {}
        self.pass_phase = draws.uniform("monitor", 0.0, delays.period)
        self.gc_phase = draws.uniform("pod-gc", 0.0, delays.gc_period)

    def _watch(self, name: str) -> Floats:
        return self.draws.quick(f"watch/{name}", *WATCH_S)

    def _step(self, name: str) -> Floats:
        return self.draws.quick(f"step/{name}", *STEP_S)

    def next_pass(self, at: Floats) -> Floats:
        """The first look at the nodes' health at or after some time."""
        return self._next(at, self.pass_phase, self.delays.period)

    def next_gc(self, at: Floats) -> Floats:
        """The first pass of the pod garbage collector at or after some time."""
        return self._next(at, self.gc_phase, self.delays.gc_period)

    @staticmethod
    def _next(at: Floats, phase: Floats, period: float) -> Floats:
        ok = np.isfinite(at)
        count = np.ceil((np.where(ok, at, 0.0) - phase) / period)
        return np.where(ok, phase + count * period, NEVER)

    def node_times(self, waves: Sequence[Wave]) -> list[NodeTimes]:
        """Times of all nodes of all waves; taints of those that are down come one by one."""
        found = [self._node(wave, name) for wave in waves for name in wave.nodes]
        down = [one for one in found if one.wave.kind == "Down"]
        if down:
            for one, tainted in zip(down, self._taints(down), strict=True):
                one.tainted = np.where(tainted < one.ready, tainted, NEVER)
        return found

    def _node(self, wave: Wave, name: str) -> NodeTimes:
        key = f"{wave.fault}/{name}/{wave.start:g}"
        start = np.full(self.draws.futures, wave.start)
        end = np.full(self.draws.futures, wave.end)
        never = np.full(self.draws.futures, NEVER)
        if wave.kind != "Down":
            seen = start + self._watch(f"mark/{key}")
            over = end + self._watch(f"unmark/{key}")
            return NodeTimes(wave, name, seen, never, start, over, over)
        back = end + self.draws.uniform(f"lease/{key}", 0.0, self.delays.renew * (1 + LEASE_JITTER))
        missed = self._missed(start, name, key)
        missed = np.where(missed < back, missed, NEVER)
        up = np.where(np.isfinite(missed), back + self._watch(f"up/{key}"), back)
        ready = np.where(np.isfinite(missed), self.next_pass(up), back)
        return NodeTimes(wave, name, missed, never, back, up, ready)

    def _missed(self, start: Floats, name: str, key: str) -> Floats:
        """The controller dates a renewal to the pass that saw it, and looks only then.

        A node is missed at the first pass that is later than that by more than the grace period.
        """
        renewed = start - self._age(name, key)
        seen = self.next_pass(renewed)
        passes = np.floor(self.delays.grace / self.delays.period + 1e-9) + (
            0 if self._whole_passes else 1
        )
        due = np.maximum(seen + passes * self.delays.period, start)
        return np.asarray(due + self._watch(f"miss/{key}"))

    @property
    def _whole_passes(self) -> bool:
        """Whether the grace period is a whole number of periods: passes drift past it, see docs."""
        count = self.delays.grace / self.delays.period
        return abs(count - round(count)) < 1e-9

    def _age(self, name: str, key: str) -> Floats:
        """How old the last renewal is when the fault begins."""
        if name not in self.ages:
            return self.draws.uniform(f"age/{key}", 0.0, self.delays.renew)
        common = self.draws.uniform("ages", 0.0, self.delays.renew)
        return np.asarray(np.mod(self.ages[name] + common, self.delays.renew))

    def _taints(self, down: Sequence[NodeTimes]) -> Floats:
        """[n, F] when each node is tainted: a bucket of one token, filled at the eviction rate."""
        missed = np.stack([one.missed for one in down])
        ties = np.stack([self.draws.uniform(f"queue/{one.name}", 0.0, 1e-6) for one in down])
        order = np.argsort(missed + np.where(np.isfinite(missed), ties, 0.0), axis=0, kind="stable")
        inline = np.take_along_axis(missed, order, axis=0)
        tainted = np.full_like(missed, NEVER)
        before = np.full(self.draws.futures, -NEVER)
        for place in range(len(down)):
            at = np.maximum(inline[place], before + 1.0 / self.delays.eviction_rate)
            at = self._disrupted(inline, place, before, at)
            at = at + self.draws.uniform(f"taint/{place}", 0.0, TAINT_PERIOD_S)
            np.put_along_axis(tainted, order[place][None], at[None], axis=0)
            before = np.where(np.isfinite(at), at, before)
        return tainted

    def _disrupted(self, inline: Floats, place: int, before: Floats, at: Floats) -> Floats:
        """Where most of a zone is missed, taints come slowly (large zone) or not at all."""
        count = self.unready + (inline <= at).sum(axis=0)
        slow = (count > 2) & (count >= UNHEALTHY_SHARE * self.nodes) & np.isfinite(at)
        if self.nodes > LARGE_CLUSTER:
            late = np.maximum(inline[place], before + 1.0 / SECONDARY_RATE)
            return np.asarray(np.where(slow, late, at))
        return np.asarray(np.where(slow, NEVER, at))

    def departure(self, node: NodeTimes, pod: Departure) -> None:
        """When a pod on a node of a wave is evicted and gone; writes both, and when it failed."""
        wave, key = node.wave, _leaving(node, pod)
        never = np.full(self.draws.futures, NEVER)
        by_taint = never
        if pod.toleration_s is not None:
            by_taint = node.tainted + pod.toleration_s + self._watch(f"evict/{key}")
        by_taint = np.where(by_taint < node.ready, by_taint, NEVER)
        drained = never
        if wave.kind == "Drained":
            drained = node.missed + self._step(f"drain/{wave.key}")
        elif wave.drain_after is not None:
            drained = node.missed + wave.drain_after + self._step(f"drain/{wave.key}")
            drained = np.where(drained < node.ready, drained, NEVER)
        pod.evicted = np.minimum(np.minimum(by_taint, drained), self._out_of_service(node))
        self.leave(node, pod)

    def _out_of_service(self, node: NodeTimes) -> Floats:
        """When a node that does not answer is said to be out of service."""
        after = node.wave.out_of_service_after
        if after is None or node.wave.kind != "Down":
            return np.full(self.draws.futures, NEVER)
        out = node.missed + after + self._step(f"out/{node.name}")
        return np.where(out < node.back, out, NEVER)

    def leave(self, node: NodeTimes, pod: Departure) -> None:
        """When a pod that is marked for deletion is gone; writes that, and when it failed.

        A Job's back-off begins when the pod's containers ended, where a kubelet said so before the
        failure was counted, else when the pod was no longer Ready (job/backoff_utils.go,
        getFinishedTime).
        """
        wave, key = node.wave, _leaving(node, pod)
        gone = pod.evicted + self._watch(f"gone/{key}")
        ended = gone if pod.when_gone else pod.evicted
        if wave.kind == "Down":
            alive = np.maximum(pod.evicted, node.back) + self._watch(f"gone/{key}")
            collected = self.next_gc(np.maximum(pod.evicted, self._out_of_service(node)))
            swept = collected < node.back
            gone = np.where(swept, collected, alive)
            unready = np.minimum(node.missed, pod.evicted)
            ended = np.where(swept, unready, alive) if pod.when_gone else unready
        pod.gone = np.where(np.isfinite(pod.evicted), gone, NEVER)
        pod.failed = ended

    def successors(self, departures: Sequence[Departure]) -> None:
        """When what took their place was made, bound and Running."""
        jobs: dict[str, list[Departure]] = {}
        for one in departures:
            jobs.setdefault(one.job or f"\0{one.slot}/{id(one)}", []).append(one)
        for members in jobs.values():
            self._created(members)
        verdicts: dict[str, Floats] = {}
        whole = _whole(departures)
        for one in departures:
            if one.plan not in verdicts:
                verdicts[one.plan] = self.draws.sampled(
                    f"verdict/{one.plan}", self.delays.verdict, between=self.delays.verdict_assumed
                )
            start = self.draws.sampled(
                f"start/{one.slot}", self.delays.pod_start, between=self.delays.pod_start_assumed
            )
            released = whole[id(one)] + verdicts[one.plan]
            one.replaced = released + np.minimum(
                start, self.draws.uniform(f"bind/{one.slot}", *BIND_S)
            )
            one.running = released + start

    def _created(self, members: Sequence[Departure]) -> None:
        """The Job controller makes a new pod after the back-off, counted from the last failure."""
        if not members[0].job:
            for one in members:
                one.created = one.evicted + self._watch(f"made/{one.slot}")
            return
        counted = np.stack([one.gone if one.when_gone else one.evicted for one in members])
        failed = self.whole_seconds(np.stack([one.failed for one in members]))
        made = retried(counted, failed, members[0].per_index)
        for one, at in zip(members, made, strict=True):
            one.created = at

    def whole_seconds(self, at: Floats) -> Floats:
        """Times as the API keeps them, which knows nothing below a second."""
        phase = self.draws.uniform("second", 0.0, SECOND_S)
        known = np.isfinite(at)
        cut = np.floor((np.where(known, at, 0.0) + phase) / SECOND_S) * SECOND_S - phase
        return np.where(known, cut, at)


def _whole(departures: Sequence[Departure]) -> dict[int, Floats]:
    """[F] when each successor may be released: a gang's when the last of its missing pods is there.

    A pod that leaves before the others have come back makes all of them wait for its own successor,
    so that a gang which is drained node by node stands still until the last one.
    """
    found: dict[int, Floats] = {}
    gangs: dict[str, list[Departure]] = {}
    for one in departures:
        found[id(one)] = np.maximum(np.maximum(one.created, one.gone), one.waits)
        if one.gang:
            gangs.setdefault(one.gang, []).append(one)
    for members in gangs.values():
        left = np.stack([one.evicted for one in members])
        there = np.stack([found[id(one)] for one in members])
        for one, at in zip(members, _closed(left, there), strict=True):
            found[id(one)] = at
    return found


def _closed(left: Floats, there: Floats) -> Floats:
    """[k, F] the ends of the unions of overlapping spans that each span lies in."""
    order = np.argsort(left, axis=0, kind="stable")
    begin, end = (np.take_along_axis(times, order, axis=0) for times in (left, there))
    reach = np.maximum.accumulate(end, axis=0)
    closed = reach.copy()
    for place in range(len(reach) - 2, -1, -1):
        apart = begin[place + 1] >= reach[place]
        closed[place] = np.where(apart, reach[place], closed[place + 1])
    out = np.empty_like(closed)
    np.put_along_axis(out, order, closed, axis=0)
    return np.where(np.isfinite(left), out, there)


def _leaving(node: NodeTimes, pod: Departure) -> str:
    return f"{pod.slot}/{node.wave.fault}/{node.wave.start:g}"

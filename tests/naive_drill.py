"""The controllers of a drill as an event loop, one future at a time: slow, and written apart.

It knows nothing of `kfarm_twin.drill_cluster` but the names of its streams of random numbers, so
that both see the same luck. Leases are renewed one by one, the monitor looks at them pass by pass,
taints wait in a queue for a token, pods are deleted by timers, and the Job controller syncs.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

WARM_UP_S = 120.0
DRIFT_S = 1e-6
"""A pass of the monitor takes this long, so that passes drift past a whole grace period."""


@dataclass
class Timing:
    """Figures of the cluster [s]."""

    period: float = 5.0
    grace: float = 50.0
    renew: float = 10.0
    rate: float = 0.1
    gc: float = 20.0


@dataclass
class Pod:
    """A pod on a node, and what is seen of it."""

    name: str
    node: str
    toleration: float | None
    job: str = ""
    per_index: bool = False
    when_gone: bool = False
    evicted: float | None = None
    gone: float | None = None
    created: float | None = None
    failed: float | None = None


@dataclass
class Node:
    """A node that stops answering between two moments."""

    name: str
    start: float
    end: float
    age: float
    back_delay: float
    out_after: float | None = None
    probe: float = -WARM_UP_S
    lease: float = -WARM_UP_S
    seen_lease: float = -WARM_UP_S
    ready: bool = True
    queued: bool = False
    tainted: bool = False
    out: bool = False
    up: bool = False
    missed: float | None = None
    taint_at: float | None = None
    ready_at: float | None = None

    @property
    def back(self) -> float:
        """When it answers again."""
        return self.end + self.back_delay


@dataclass
class NaiveCluster:
    """One future.

    Parameters
    ----------
    luck
        Value of a stream of random numbers in this future: name, least, most.
    """

    timing: Timing
    luck: Callable[[str, float, float], float]
    nodes: dict[str, Node]
    pods: list[Pod]
    fault: str
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    count: itertools.count[int] = field(default_factory=itertools.count)
    now: float = 0.0
    queue: list[Node] = field(default_factory=list)
    token_at: float = -1e9
    tainted_so_far: int = 0
    failures: dict[str, list[float]] = field(default_factory=dict)

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self.events, (time, next(self.count), what))

    def watch(self, name: str) -> float:
        """A write, an event, what is done about it."""
        return 0.005 + 0.395 * self.luck(f"watch/{name}", 0.0, 1.0) ** 4

    def run(self, until: float) -> None:
        """Play until some time."""
        for node in self.nodes.values():
            renewal = node.start - node.age
            while renewal > -WARM_UP_S:
                self.at(renewal, lambda n=node: self.renew(n))  # type: ignore[misc]
                renewal -= self.timing.renew
            self.at(node.back, lambda n=node: self.come_back(n))  # type: ignore[misc]
        phase = self.luck("monitor", 0.0, self.timing.period)
        passes = -int(WARM_UP_S // self.timing.period)
        self.at(phase + passes * self.timing.period, self.monitor)
        gc = self.luck("pod-gc", 0.0, self.timing.gc)
        self.at(gc, self.collect)
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()

    def renew(self, node: Node) -> None:
        """The kubelet's part."""
        node.lease = self.now

    def come_back(self, node: Node) -> None:
        """It renews again, and lets go of what was deleted meanwhile."""
        node.lease = self.now
        if node.missed is None:
            node.ready_at = self.now
        else:
            key = f"up/{self.fault}/{node.name}/{node.start:g}"
            self.at(self.now + self.watch(key), lambda: self.say_up(node))
        for pod in self.pods:
            if pod.node == node.name and pod.evicted is not None and pod.gone is None:
                self.let_go(pod)

    def say_up(self, node: Node) -> None:
        """Its kubelet has written Ready."""
        node.up = True

    def answers(self, node: Node) -> bool:
        """Whether its kubelet runs now."""
        return not node.start <= self.now < node.back

    def monitor(self) -> None:
        """One pass of the node lifecycle controller."""
        for node in self.nodes.values():
            if node.lease > node.seen_lease:
                node.seen_lease, node.probe = node.lease, self.now
            if node.ready and self.now - node.probe > self.timing.grace and node.missed is None:
                node.ready = False
                key = f"miss/{self.fault}/{node.name}/{node.start:g}"
                late = self.now + self.watch(key)
                self.at(late, lambda n=node: self.miss(n))  # type: ignore[misc]
            elif not node.ready and node.missed is not None and node.up:
                node.ready, node.tainted, node.ready_at = True, False, self.now
                if node in self.queue:
                    self.queue.remove(node)
        self.at(self.now + self.timing.period + DRIFT_S, self.monitor)

    def miss(self, node: Node) -> None:
        """Ready is Unknown: the node waits for its taint."""
        if self.answers(node):
            node.ready, node.ready_at = True, node.back
            return
        node.missed = self.now
        self.queue.append(node)
        self.serve()
        if node.out_after is not None:
            late = (
                self.now
                + node.out_after
                + 0.02
                + 0.58 * self.luck(f"step/out/{node.name}", 0.0, 1.0) ** 4
            )
            self.at(late, lambda: self.say_out(node))

    def serve(self) -> None:
        """Taint the first of the queue if there is a token, else when there will be one."""
        if not self.queue:
            return
        if self.now < self.token_at - 1e-12:
            self.at(self.token_at, self.serve)
            return
        node = self.queue.pop(0)
        late = self.now + self.luck(f"taint/{self.tainted_so_far}", 0.0, 0.1)
        self.tainted_so_far += 1
        self.token_at = late + 1.0 / self.timing.rate
        self.at(late, lambda: self.taint(node))
        self.at(self.token_at, self.serve)

    def taint(self, node: Node) -> None:
        """Timers of its pods begin."""
        if node.ready:
            return
        node.tainted, node.taint_at = True, self.now
        for pod in self.pods:
            if pod.node == node.name and pod.toleration is not None:
                key = f"evict/{pod.name}/{self.fault}/{node.start:g}"
                due = self.now + pod.toleration + self.watch(key)
                self.at(due, lambda p=pod: self.evict(p, by_taint=True))  # type: ignore[misc]

    def say_out(self, node: Node) -> None:
        """The taint out-of-service: pods are deleted at once."""
        if self.answers(node):
            return
        node.out = True
        for pod in self.pods:
            if pod.node == node.name:
                self.evict(pod, by_taint=False)

    def evict(self, pod: Pod, *, by_taint: bool) -> None:
        """Delete a pod; on a node that is off it stays Terminating."""
        node = self.nodes[pod.node]
        if pod.evicted is not None or (by_taint and not node.tainted):
            return
        pod.evicted, pod.failed = self.now, node.missed
        if self.answers(node):
            self.let_go(pod)
        if not pod.when_gone:
            self.failed(pod)

    def collect(self) -> None:
        """One pass of the pod garbage collector."""
        for pod in self.pods:
            node = self.nodes.get(pod.node)
            terminating = pod.evicted is not None and pod.gone is None
            if node and terminating and node.out and not self.answers(node):
                self.gone(pod)
        self.at(self.now + self.timing.gc, self.collect)

    def let_go(self, pod: Pod) -> None:
        """The kubelet ends it."""
        node = self.nodes[pod.node]
        late = self.now + self.watch(f"gone/{pod.name}/{self.fault}/{node.start:g}")
        self.at(late, lambda: self.end(pod))

    def end(self, pod: Pod) -> None:
        """Its containers end, and with them the pod."""
        if pod.when_gone and pod.gone is None:
            pod.failed = self.now
        self.gone(pod)

    def gone(self, pod: Pod) -> None:
        """It is no longer in the API."""
        if pod.gone is None:
            pod.gone = self.now
            if pod.when_gone:
                self.failed(pod)

    def failed(self, pod: Pod) -> None:
        """Its owner sees that it has failed."""
        if not pod.job:
            self.at(self.now + self.watch(f"made/{pod.name}"), lambda: self.make([pod]))
            return
        self.failures.setdefault(pod.job, [])
        self.failures[pod.job].append(pod.failed if pod.failed is not None else self.now)
        self.at(self.now + 1.0, lambda: self.sync(pod.job))

    def sync(self, job: str) -> None:
        """The Job controller makes what is missing, unless it backs off."""
        missing = [
            pod
            for pod in self.pods
            if pod.job == job
            and (pod.gone if pod.when_gone else pod.evicted) is not None
            and pod.created is None
        ]
        if not missing:
            return
        if missing[0].per_index:
            for pod in missing:
                due = self.cut(pod.failed or 0.0) + 10.0
                if self.now >= due - 1e-9:
                    self.make([pod])
                else:
                    self.at(due, lambda: self.sync(job))
            return
        known = self.failures[job]
        wait = min(10.0 * 2.0 ** (len(known) - 1), 600.0)
        due = max(self.cut(time) for time in known) + wait
        if self.now >= due - 1e-9:
            self.make(missing)
        else:
            self.at(due, lambda: self.sync(job))

    def cut(self, time: float) -> float:
        """A time as the API writes it, in whole seconds of a clock that runs elsewhere."""
        phase = self.luck("second", 0.0, 1.0)
        return math.floor(time + phase) - phase

    def make(self, pods: list[Pod]) -> None:
        """New pods in place of these."""
        for pod in pods:
            pod.created = self.now


@dataclass
class NaiveRollout:
    """A plan that is rolled out while API server or operator are away, one future, step by step.

    Attributes
    ----------
    away
        Faults of the runner: name, action, begin, duration [s].
    event
        How far the plan is at time 0: ``Simulating``, ``Approved``, ``Releasing``, ``Running``.
    """

    luck: Callable[[str, float, float], float]
    plan: str
    slots: list[str]
    event: str
    away: list[tuple[str, str, float, float]]
    operator_start: float

    def quick(self, name: str, low: float, high: float) -> float:
        """Mostly near the lower."""
        return low + (high - low) * self.luck(name, 0.0, 1.0) ** 4

    def back(self, name: str, action: str, begin: float, lasts: float) -> float:
        """When both are at work again."""
        now = begin
        if action == "OperatorKill":
            takes = self.operator_start * self.luck(f"operator/{name}", 0.9, 1.3)
            while now == begin or now < begin + lasts - 1e-9:
                now += takes
        else:
            pause, hung = 0.2, begin + 5.0
            while hung <= begin + lasts:
                pause, hung = min(2.0 * pause, 30.0), hung + 5.0
            now = begin + lasts + self.quick(f"return/{name}", 0.0, pause)
        return now + self.quick(f"back/{name}", 0.005, 0.4)

    def run(self) -> float:
        """When the last pod runs; 0 where none waits."""
        verdict = self.quick(f"first-verdict/{self.plan}", 0.26, 10.6)
        write = self.quick(f"release/{self.plan}", 0.005, 0.4)
        judging = self.event == "Simulating"
        due = (verdict if judging else 0.0) + write
        for name, action, begin, lasts in sorted(self.away, key=lambda one: one[2]):
            back = self.back(name, action, begin, lasts)
            if begin <= due < back:
                again = verdict if judging else 0.0
                if judging and action == "ApiOutage":
                    again *= self.luck(f"left/{name}/{self.plan}", 0.0, 1.0)
                due = back + again + write
        waiting = len(self.slots)
        if self.event == "Releasing":
            waiting = math.floor(self.luck(f"waiting/{self.plan}", 0.0, 1.0) * waiting)
        if self.event == "Running" or not waiting:
            return 0.0
        rate = self.luck(f"rate/{self.plan}", 50.0, 100.0)
        slowest = max(self.quick(f"start/{slot}", 0.02, 0.5) for slot in self.slots)
        for _ in range(waiting):
            due += 1.0 / rate
        return due + slowest

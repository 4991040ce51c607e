"""How long pods of plans took lately, from the moments at which the watches brought them."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from kfarm_operator.drills.views import DrillPod

Plan = tuple[str, str]
SAMPLES = 64
PODS = 10_000
PLANS = 1000


@dataclass(frozen=True)
class _Seen:
    gated: datetime | None = None
    released: datetime | None = None


class DelayMeter:
    """Samples per plan: gated until released, released until Running [s].

    Only successors count: a first roll-out waits for its whole gang and for a longer simulation.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._pods: OrderedDict[str, _Seen] = OrderedDict()
        self._verdicts: OrderedDict[Plan, deque[float]] = OrderedDict()
        self._starts: OrderedDict[Plan, deque[float]] = OrderedDict()
        self._begun: set[Plan] = set()
        self._lock = threading.Lock()

    def pod_changed(self, before: DrillPod | None, after: DrillPod | None) -> None:
        """Take note of a pod of a plan."""
        if after is None or not after.plan:
            if before is not None:
                with self._lock:
                    self._pods.pop(before.uid, None)
            return
        with self._lock:
            self._note(after)

    def _note(self, pod: DrillPod) -> None:
        now, plan = self._clock(), (pod.namespace, pod.plan)
        seen = self._pods.get(pod.uid)
        if pod.running:
            self._begun.add(plan)
        if pod.gated and seen is None and plan in self._begun:
            self._keep(pod.uid, _Seen(gated=now))
        elif seen and seen.gated and not seen.released and not pod.gated:
            _sample(self._verdicts, plan, (now - seen.gated).total_seconds())
            self._keep(pod.uid, replace(seen, released=now))
            seen = self._pods[pod.uid]
        if pod.running and seen and seen.released:
            _sample(self._starts, plan, (now - seen.released).total_seconds())
            del self._pods[pod.uid]

    def _keep(self, uid: str, seen: _Seen) -> None:
        self._pods[uid] = seen
        if len(self._pods) > PODS:
            self._pods.popitem(last=False)

    def samples(self, plans: list[Plan]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Verdicts and starts of these plans, the oldest first."""
        with self._lock:
            verdicts = [v for plan in plans for v in self._verdicts.get(plan, ())]
            starts = [v for plan in plans for v in self._starts.get(plan, ())]
        return tuple(verdicts[-1024:]), tuple(starts[-1024:])


def _sample(where: OrderedDict[Plan, deque[float]], plan: Plan, value: float) -> None:
    where.setdefault(plan, deque(maxlen=SAMPLES)).append(max(0.0, value))
    where.move_to_end(plan)
    if len(where) > PLANS:
        where.popitem(last=False)

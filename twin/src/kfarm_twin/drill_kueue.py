"""Pods that Kueue admits and places: who takes the place of what a drill strikes, and when.

`drill_requeue` says whether a failed node is replaced or its Workload taken back into the queue.
Here is what follows for pods: a replaced node's are made by their Job as ever; on a requeue all
pods of the Workload go and come anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_cluster import ClusterClock, Departure, NodeTimes, Wave
from kfarm_twin.drill_delays import (
    BIND_S,
    CLEAR_S,
    KUEUE_BATCH_S,
    KUEUE_LOOK_S,
    KUEUE_PASS_S,
    RESUME_S,
    RETRY_BATCH_S,
    SECOND_PASS_S,
    SUSPEND_S,
    WATCH_S,
    KueueDelays,
)
from kfarm_twin.drill_floor import Floor, PlanFloor
from kfarm_twin.drill_out import Out, Turn, leaves
from kfarm_twin.drill_requeue import Course, Hit, Lags
from kfarm_twin.drill_resume import Leaver, create, join

NEVER = np.inf


@dataclass
class _Struck:
    """A node of a Workload under a wave, and the pods on it."""

    hit: Hit
    pods: list[Out]


@dataclass
class _Story:
    """A Workload: its nodes that were hit, and its other pods at the time of each wave."""

    name: str
    floor: PlanFloor
    struck: list[_Struck] = field(default_factory=list)
    others: list[tuple[Wave, Out]] = field(default_factory=list)

    @property
    def slots(self) -> list[int]:
        """All places of its pods."""
        every = range(len(self.floor.slot_node))
        return [slot for slot in every if self.floor.admitted_as(slot) == self.name]


class Kueue:
    """Plays Kueue for all Workloads of a drill."""

    def __init__(self, clock: ClusterClock, delays: KueueDelays, floor: Floor) -> None:
        self.clock, self.delays, self.floor = clock, delays, floor
        self.draws = clock.draws
        self.warnings: list[str] = []
        self._stories: dict[str, _Story] = {}
        self._single: list[tuple[Out, Floats]] = []

    def strike(self, wave: Wave, struck: Sequence[Out], out: Sequence[str]) -> None:
        """Take note of the pods on a wave's nodes, and find room with the nodes `out` away."""
        mine: dict[str, list[Out]] = {}
        for one in struck:
            if one.departure.job:
                mine.setdefault(one.departure.kueue, []).append(one)
            else:
                self._single.append((one, self._room_for_one(one, out)))
        for one in struck:
            one.departure.replaced = one.departure.running = np.full(self.draws.futures, NEVER)
        for name, pods in mine.items():
            story = self._stories.setdefault(name, _Story(name, pods[0].floor))
            nodes = {id(one.node): one.node for one in pods}
            found = [self._struck(story, node, pods) for node in nodes.values()]
            failing = [one for one in found if np.isfinite(one.hit.failing).any()]
            story.struck += found if wave.kind == "Down" else failing
            if failing:
                story.others += [(wave, one) for one in self._others(story, wave, pods[0])]
                self._settle(story, wave, failing, out)

    def _struck(self, story: _Story, node: NodeTimes, pods: Sequence[Out]) -> _Struck:
        """A node counts as failed once all its pods are marked and while it is not well.

        Each pod that is marked makes Kueue look.
        """
        mine = [one for one in pods if one.node is node]
        key = f"kueue/{story.name}/{node.wave.fault}/{node.name}/{node.wave.start:g}"
        marked = np.stack([one.departure.evicted for one in mine])
        looks = marked + self._quick(f"look/{key}", WATCH_S) + KUEUE_LOOK_S
        failing = np.where(looks >= marked.max(axis=0), looks, NEVER).min(axis=0)
        lags = Lags(
            look=SECOND_PASS_S + self._quick(f"second/{key}", KUEUE_PASS_S),
            mark=self._quick(f"suspend/{key}", SUSPEND_S),
            clear=self._quick(f"clear/{key}", CLEAR_S),
            again=self._quick(f"pass/{key}", KUEUE_PASS_S) + self._check(key),
            resume=self._quick(f"resume/{key}", RESUME_S),
        )
        failing = np.where(failing < node.ready, failing, NEVER)
        hit = Hit(node, failing, lags, np.full(self.draws.futures, -NEVER))
        return _Struck(hit, mine)

    def _quick(self, name: str, bounds: tuple[float, float]) -> Floats:
        return self.draws.quick(name, *bounds)

    def _check(self, key: str) -> Floats:
        """From an assignment to the twin's answer in Kueue's hands."""
        answer = self.draws.sampled(
            f"check/{key}", self.delays.check, between=self.delays.check_assumed
        )
        return answer + self._quick(f"answered/{key}", WATCH_S)

    def _others(self, story: _Story, wave: Wave, struck: Out) -> list[Out]:
        """The Workload's pods where they go only since all go, successors of the struck as well."""
        floor, never = story.floor, np.full(self.draws.futures, NEVER)
        calm, job = np.full(self.draws.futures, wave.start), struck.departure
        found = []
        for slot in story.slots:
            name = floor.model.names.nodes[int(floor.slot_node[slot])]
            own = Wave(wave.fault, "Drained", (name,), wave.start, wave.end)
            node = NodeTimes(own, name, never, never, calm, calm, calm)
            pod = floor.pods[slot]
            departure = Departure(
                slot=floor.slot_name(slot),
                plan=floor.name,
                node=node,
                toleration_s=None,
                job=f"{floor.name}/{pod.job}" if pod else job.job,
                per_index=job.per_index,
                when_gone=job.when_gone,
                evicted=never,
                gone=never,
                failed=never,
                waits=np.zeros(self.draws.futures),
                kueue=story.name,
            )
            found.append(Out(floor, slot, node, departure, struck=False))
        return found

    def _settle(
        self, story: _Story, wave: Wave, failing: Sequence[_Struck], out: Sequence[str]
    ) -> None:
        """Where pods go: one node after the other is replaced, or all find places anew."""
        floor, before = story.floor, story.floor.slot_node.copy()
        for one in sorted(failing, key=lambda each: float(np.median(each.hit.failing))):
            why = self.floor.move(floor, [pod.slot for pod in one.pods], out)
            one.hit.room = why is None
            if why is not None:
                self.warnings.append(
                    f"Workload {story.name}: nothing can replace node {one.hit.node.name}: {why}"
                )
        requeued = Course([each.hit for each in story.struck]).requeue.evicted
        later = np.isfinite(requeued) & (requeued > wave.start)
        share = float(later.any(axis=0).mean())
        if not share:
            return
        replaced, floor.slot_node = floor.slot_node, before
        why = self.floor.move(floor, story.slots, out)
        if why is not None:
            self.warnings.append(
                f"Workload {story.name}: no room for all of it until nodes are back: {why}"
            )
            back = np.stack([one.hit.node.ready for one in failing]).max(axis=0)
            for one, evicted in zip(story.struck, later, strict=True):
                one.hit.back = np.where(evicted, np.maximum(back, one.hit.back), one.hit.back)
        if share < 0.5:
            floor.slot_node = replaced

    def conclude(self) -> tuple[list[Out], list[Turn]]:
        """Write when pods come back; those that go with others, and what befell Workloads."""
        more: list[Out] = []
        turns: list[Turn] = []
        for story in self._stories.values():
            if not story.struck:
                continue
            course = Course([one.hit for one in story.struck])
            for row, one in enumerate(story.struck):
                again = np.minimum(course.moved[row], course.requeue.admitted[row])
                turns.append(Turn(one.hit.node.wave.fault, course.requeue.evicted[row], again))
            self._come_back(story, course)
            more += [one for _, one in story.others if leaves(one.departure)]
        turns += [self._come_alone(one, waits) for one, waits in self._single]
        return more, turns

    def _come_back(self, story: _Story, course: Course) -> None:
        pods = self._going(story, course)
        create(pods, self.clock)
        key = f"kueue/{story.name}"
        ungate = self._ungate(key)
        for one in pods:
            departure = one.departure
            again = np.isfinite(one.requeue.evicted)
            checked = np.where(np.isfinite(one.moved), one.moved + self._check(key), departure.gone)
            ready = np.where(again, one.requeue.admitted, checked)
            lift = self._quick(f"lift/{departure.slot}", WATCH_S)
            self._start(departure, np.maximum(departure.created + ungate, ready + lift))

    def _ungate(self, key: str) -> Floats:
        return self.draws.sampled(
            f"ungate/{key}", self.delays.ungate, between=self.delays.ungate_assumed
        )

    def _start(self, departure: Departure, released: Floats) -> None:
        """The scheduler binds what was released, a kubelet starts it."""
        delays, slot = self.clock.delays, departure.slot
        start = self.draws.sampled(
            f"start/{slot}", delays.pod_start, between=delays.pod_start_assumed
        )
        bind = self.draws.uniform(f"bind/{slot}", *BIND_S)
        departure.replaced = released + np.minimum(start, bind)
        departure.running = released + start

    def _going(self, story: _Story, course: Course) -> list[Leaver]:
        """All pods that go, each with the requeue that it goes with."""
        pods: list[Leaver] = []
        seated: dict[int, list[Floats]] = {}
        first = course.requeue.evicted
        for row, struck in enumerate(story.struck):
            requeue, moved = course.joined(first > course.start[row]), course.moved[row]
            pods += [Leaver(one.departure, requeue, moved) for one in struck.pods]
        join(pods, self.clock)
        slots = [one.slot for struck in story.struck for one in struck.pods]
        for slot, pod in zip(slots, pods, strict=True):
            seated.setdefault(slot, []).append(pod.requeue.evicted)
        never = np.full(self.draws.futures, NEVER)
        for wave, one in story.others:
            rows = np.array([[struck.hit.node.wave is wave] for struck in story.struck])
            requeue = course.joined(np.broadcast_to(rows, course.moved.shape))
            twice = np.zeros(self.draws.futures, bool)
            for evicted in seated.get(one.slot, ()):
                twice |= np.isfinite(evicted) & (evicted == requeue.evicted)
            requeue = requeue.where(~twice)
            one.departure.evicted = requeue.marked
            self.clock.leave(one.node, one.departure)
            pods.append(Leaver(one.departure, requeue, never))
        return pods

    def _room_for_one(self, one: Out, out: Sequence[str]) -> Floats:
        """From when on there is room for a pod that is a Workload by itself."""
        why = self.floor.move(one.floor, [one.slot], out) if leaves(one.departure) else None
        if why is None:
            return np.zeros(self.draws.futures)
        self.warnings.append(f"plan {one.floor.name}: no room for {one.departure.slot}: {why}")
        return one.node.ready + KUEUE_BATCH_S + RETRY_BATCH_S

    def _come_alone(self, one: Out, waits: Floats) -> Turn:
        """A pod without a Job is a Workload of its own, and so is the one after it."""
        departure = one.departure
        key = f"{departure.slot}/{one.node.wave.fault}/{one.node.wave.start:g}"
        departure.created = departure.evicted + self._quick(f"watch/made/{key}", WATCH_S)
        queued = np.maximum(np.maximum(departure.created, departure.gone), waits)
        admitted = queued + self._quick(f"pass/{key}", KUEUE_PASS_S) + self._check(key)
        self._start(departure, admitted + self._ungate(key))
        never = np.full(self.draws.futures, NEVER)
        return Turn(one.node.wave.fault, never, admitted)

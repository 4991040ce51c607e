"""Kueue beside the controllers of `naive_drill`, one future at a time: slow, and written apart.

It knows nothing of `kfarm_twin.drill_kueue` and `drill_requeue` but the names of their streams of
random numbers. One Workload of one Job: a node controller that looks at nodes when pods are marked,
a scheduler with its second pass, a Job that is suspended and resumed, and pods that wait for a node
and for the twin's answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from naive_drill import NaiveCluster, Pod


@dataclass
class Drained:
    """A node that is tainted and drained between two moments, and never silent."""

    start: float
    end: float
    tainted: bool = False
    spared: float | None = None


@dataclass
class Story:
    """What befell the Workload.

    Attributes
    ----------
    room
        By node: whether another can take its place.
    anew
        Whether there is room for all of it on other nodes.
    assigned
        By pod: the node that it was sent to last; empty for one that nothing has struck.
    """

    name: str
    room: dict[str, bool]
    anew: bool
    assigned: dict[str, str] = field(default_factory=dict)
    waiting: str | None = None
    suspended: bool = False
    requeued: list[float] = field(default_factory=list)
    readmitted: list[float] = field(default_factory=list)


@dataclass
class NaiveKueue(NaiveCluster):
    """One future.

    Parameters
    ----------
    drained
        Nodes that are drained; `nodes` are those that go silent. All others are well.
    check_s, ungate_s, start_s
        Where a figure is stated or measured.
    """

    story: Story = field(default_factory=lambda: Story("", {}, True))
    drained: dict[str, Drained] = field(default_factory=dict)
    ungate_s: float = 1.0
    start_s: float = 1.0
    by_kueue: set[str] = field(default_factory=set)
    allowed: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    def quick(self, name: str, low: float, high: float) -> float:
        """Mostly near the lower bound."""
        return low + (high - low) * self.luck(name, 0.0, 1.0) ** 4

    def run(self, until: float) -> None:
        """Play until some time."""
        for pod in self.pods:
            self.story.assigned[pod.name] = pod.node
        for name, node in self.drained.items():
            key = f"{self.fault}/{name}/{node.start:g}"
            self.at(node.start + self.watch(f"mark/{key}"), lambda n=name: self.drain(n))  # type: ignore[misc]
            self.at(node.end + self.watch(f"unmark/{key}"), lambda n=name: self.spare(n))  # type: ignore[misc]
        super().run(until)

    def drain(self, name: str) -> None:
        """A taint, then evictions."""
        node = self.drained[name]
        node.tainted = True
        step = self.quick(f"step/drain/{self.fault}/{node.start:g}", 0.02, 0.6)
        for pod in self.pods:
            if pod.node == name:
                self.at(self.now + step, lambda p=pod: self.mark(p, by_kueue=False))  # type: ignore[misc]

    def spare(self, name: str) -> None:
        """The drain is over."""
        self.drained[name].tainted, self.drained[name].spared = False, self.now

    def sound(self, name: str) -> bool:
        """Whether pods may stand on a node."""
        if name in self.drained:
            return not self.drained[name].tainted
        node = self.nodes.get(name)
        return node is None or node.missed is None or node.ready_at is not None

    def back(self, name: str) -> float | None:
        """Since when a node that was struck takes pods again."""
        if name in self.drained:
            return self.drained[name].spared
        return self.nodes[name].ready_at

    def unready(self, name: str) -> bool:
        """Whether a node is not Ready, taints or not."""
        node = self.nodes.get(name)
        return node is not None and node.missed is not None and not (node.up or node.ready_at)

    def silent(self, name: str) -> bool:
        """Whether its kubelet is away."""
        return name in self.nodes and not self.answers(self.nodes[name])

    def mark(self, pod: Pod, *, by_kueue: bool) -> None:
        """A pod is deleted: by a drain, or since its Job is suspended."""
        if pod.evicted is not None:
            return
        pod.evicted = self.now
        if by_kueue:
            self.by_kueue.add(pod.name)
        else:
            pod.failed = self.now
            self.look_soon(pod)
        if not self.silent(pod.node):
            self.leave_soon(pod)
        if not pod.when_gone and not by_kueue:
            self.failed(pod)

    def leave_soon(self, pod: Pod) -> None:
        """Its kubelet ends it."""
        known = {**self.nodes, **self.drained}
        start = known[pod.node].start if pod.node in known else 0.0
        late = self.now + self.watch(f"gone/{pod.name}/{self.fault}/{start:g}")
        self.at(late, lambda: self.end(pod))

    def evict(self, pod: Pod, *, by_taint: bool) -> None:
        """Delete a pod of a node that is away; Kueue notices."""
        before = pod.evicted
        super().evict(pod, by_taint=by_taint)
        if before is None and pod.evicted is not None:
            self.look_soon(pod)

    def failed(self, pod: Pod) -> None:
        """Pods of a suspended Job are no failures; it looks again when they are gone."""
        if pod.name not in self.by_kueue:
            super().failed(pod)
        elif pod.when_gone:
            self.at(self.now + 1.0, lambda: self.sync(pod.job))

    def key(self, name: str) -> str:
        """Streams of a node of the Workload."""
        known = {**self.nodes, **self.drained}
        return f"kueue/{self.story.name}/{self.fault}/{name}/{known[name].start:g}"

    def look_soon(self, pod: Pod) -> None:
        """The node controller looks at the pod's node."""
        late = self.now + self.quick(f"look/{self.key(pod.node)}", 0.005, 0.4) + 0.1
        self.at(late, lambda: self.look(pod.node))

    def look(self, name: str) -> None:
        """A node fails for the Workload once no pod of it goes on there."""
        story = self.story
        mine = [pod for pod in self.pods if story.assigned[pod.name] == name]
        if self.sound(name) or not mine or story.suspended or story.waiting == name:
            return
        if any(pod.evicted is None for pod in mine):
            return
        if story.waiting is not None and not self.sound(story.waiting):
            self.take_back(story.waiting)
            return
        story.waiting = name
        pass_s = 1.0 + self.quick(f"second/{self.key(name)}", 0.01, 0.5)
        self.at(self.now + pass_s, lambda: self.second_pass(name))

    def second_pass(self, name: str) -> None:
        """Another node, unless there is none or one more is gone."""
        story = self.story
        if story.suspended or story.waiting != name:
            return
        if self.sound(name):
            story.waiting = None
            return
        others = set(story.assigned.values()) - {name}
        if not story.room[name] or any(self.unready(name) for name in others):
            self.take_back(name)
            return
        story.waiting = None
        story.readmitted.append(self.now)
        answer = self.answer(f"kueue/{story.name}")
        for pod in self.pods:
            if story.assigned[pod.name] == name:
                story.assigned[pod.name] = f"in place of {name}"
                self.allow(pod, self.now + answer)

    def answer(self, key: str) -> float:
        """The twin's."""
        return self.quick(f"check/{key}", 0.1, 2.0) + self.quick(f"answered/{key}", 0.005, 0.4)

    def take_back(self, over: str) -> None:
        """The Workload is evicted, its Job suspended, its pods deleted; then it is queued."""
        story = self.story
        story.suspended, story.waiting = True, None
        story.requeued.append(self.now)
        marked = self.now + self.quick(f"suspend/{self.key(over)}", 0.02, 0.6)
        self.at(marked, self.clear_out)
        cleared = marked + self.quick(f"clear/{self.key(over)}", 0.02, 0.6)
        self.at(cleared, lambda: self.try_admission(over))

    def clear_out(self) -> None:
        """The Job controller deletes what is left, successors that wait for their node as well."""
        for pod in self.pods:
            self.mark(pod, by_kueue=True)
            pod.created = None

    def try_admission(self, over: str) -> None:
        """All pods find places, or nodes have to come back first."""
        key, story = self.key(over), self.story
        if not story.anew and not all(self.sound(name) for name in story.room):
            self.wait(over)
            return
        spent = self.quick(f"pass/{key}", 0.01, 0.5) + self.answer(key)
        self.at(self.now + spent, lambda: self.admit(over))

    def wait(self, over: str) -> None:
        """Look for nodes that are back, and tell the queue in two batches."""
        back = [self.back(name) for name in self.story.room]
        if all(time is not None for time in back):
            last = max(time for time in back if time is not None)
            self.at(last + 2.0, lambda: self.try_admission(over))
        else:
            self.at(self.now + 0.5, lambda: self.wait(over))

    def admit(self, over: str) -> None:
        """On other nodes; the Job is resumed."""
        story = self.story
        story.readmitted.append(self.now)
        for pod in self.pods:
            story.assigned[pod.name] = "anew"
            self.allow(pod, self.now)
        self.at(self.now + self.quick(f"resume/{self.key(over)}", 0.02, 0.6), self.resume)

    def resume(self) -> None:
        """The Job is no longer suspended and makes all that it may."""
        self.story.suspended = False
        for job in {pod.job for pod in self.pods}:
            self.sync(job)

    def sync(self, job: str) -> None:
        """A suspended Job makes nothing; deletions of its own are no failures."""
        if self.story.suspended:
            return
        if not self.by_kueue:
            super().sync(job)
            return
        missing = [
            pod
            for pod in self.pods
            if (pod.gone if pod.when_gone else pod.evicted) is not None and pod.created is None
        ]
        for pod in missing:
            due = self.backed_off(pod, job)
            if self.now >= due - 1e-9:
                self.make([pod])
            else:
                self.at(due, lambda: self.sync(job))

    def backed_off(self, pod: Pod, job: str) -> float:
        """Until when the Job waits before it makes another in place of this one."""
        if pod.per_index:
            own = pod.name not in self.by_kueue and pod.failed is not None
            return self.cut(pod.failed or 0.0) + 10.0 if own else -math.inf
        known = self.failures.get(job, [])
        if not known:
            return -math.inf
        wait = min(10.0 * 2.0 ** (len(known) - 1), 600.0)
        return max(self.cut(time) for time in known) + wait

    def make(self, pods: list[Pod]) -> None:
        """They wait for their node."""
        super().make(pods)
        for pod in pods:
            self.asked[pod.name] = self.now + self.ungate_s
            if self.story.assigned[pod.name] == pod.node and pod.gone is not None:
                self.allow(pod, pod.gone)

    def allow(self, pod: Pod, answered: float) -> None:
        """The assignment is validated: the gate may let it go."""
        self.allowed[pod.name] = answered + self.quick(f"lift/{pod.name}", 0.005, 0.4)

    def started(self, pod: Pod) -> float | None:
        """When its successor runs."""
        if pod.name not in self.asked or pod.name not in self.allowed:
            return None
        return max(self.asked[pod.name], self.allowed[pod.name]) + self.start_s

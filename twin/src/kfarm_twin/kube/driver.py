"""The kube driver: takes pods in queue order, places each in its own state, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.kernels.kube import move_pods, place
from kfarm_twin.kernels.kube_run import run
from kfarm_twin.kube.compile import Compiled, compile_cluster
from kfarm_twin.kube.objects import Cluster, Pod
from kfarm_twin.kube.profile import DEVICES, SCORING, Profile
from kfarm_twin.kube.reasons import NO_CLAIMS, Refusal, conflict_message, fit_message, refusals
from kfarm_twin.policy import kube_columns as k

NONE = k.NONE


class Outcome(StrEnum):
    """What became of a pod."""

    SCHEDULED = "Scheduled"
    UNSCHEDULABLE = "Unschedulable"
    PREEMPTING = "Preempting"
    GATED = "Gated"
    BOUND = "AlreadyBound"
    FINISHED = "Finished"
    LEAVING = "Terminating"
    OTHERS = "OtherScheduler"


@dataclass(frozen=True)
class Scored:
    """Scores of one feasible node."""

    plugins: dict[str, int]
    total: int


@dataclass(slots=True)
class Decision:
    """What the scheduler does with one pod.

    Attributes
    ----------
    node
        The choice: the first of the best nodes in the order of the files; after a preemption empty.
    best
        All nodes of the highest total, of which kube-scheduler takes one at random.
    feasible, scores, refused
        By node, in order; only with details. A single feasible node is not scored.
    nominated, nominated_best
        The node promised by preemption, and all that were equally good.
    victims
        Pods to evict for it, the most important first.
    victims_on
        The same for each of `nominated_best`.
    message
        What kube-scheduler writes in the event FailedScheduling.
    """

    pod: Pod
    outcome: Outcome
    node: str = ""
    feasible_count: int = 0
    best: tuple[str, ...] = ()
    feasible: tuple[str, ...] = ()
    scores: dict[str, Scored] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    nominated: str = ""
    nominated_best: tuple[str, ...] = ()
    victims: tuple[Pod, ...] = ()
    victims_on: dict[str, tuple[Pod, ...]] = field(default_factory=dict)
    message: str = ""


class Scheduler:
    """A cluster with its state.

    Parameters
    ----------
    cluster
        Nodes and what runs there.
    pods
        All pods that will be scheduled; others cannot be later.
    profile
        The profile to follow.
    """

    def __init__(
        self, cluster: Cluster, pods: Sequence[Pod], profile: Profile | None = None
    ) -> None:
        self.cluster = cluster
        self.profile = profile or Profile()
        self.compiled: Compiled = compile_cluster(cluster, pods, self.profile)
        self.version = 0
        self.victims: tuple[int, list[Pod], k.Victims] | None = None
        self._refused: dict[tuple[int, int, bool], tuple[int, str]] = {}
        self.names = tuple(node.name for node in cluster.nodes)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.bound: dict[str, Pod] = {}
        self.place_of: dict[str, int] = {}
        self.nominated: dict[str, Pod] = {pod.key: pod for pod in cluster.nominated}
        self._bind_all([(pod, self.index[pod.node]) for pod in cluster.bound])

    # State

    def class_of(self, pod: Pod) -> int:
        """Class of a pod."""
        return self.compiled.of[pod.key]

    def _move(self, pods: Sequence[tuple[Pod, int]], sign: int) -> None:
        classes = np.array([self.class_of(pod) for pod, _ in pods], np.int64).reshape(-1)
        nodes = np.array([node for _, node in pods], np.int64).reshape(-1)
        compiled = self.compiled
        move_pods(compiled.model, compiled.state, compiled.cache, classes, nodes, sign)
        self.version += 1

    def _bind_all(self, pods: Sequence[tuple[Pod, int]]) -> None:
        self._move(pods, 1)
        for pod, node in pods:
            self.bound[pod.key] = pod
            self.place_of[pod.key] = node

    def bind(self, pod: Pod, node: str) -> None:
        """Put a pod on a node."""
        self._bind_all([(pod, self.index[node])])
        self.nominated.pop(pod.key, None)

    def remove(self, pod: Pod) -> None:
        """Take a bound pod off its node."""
        self._move([(self.bound.pop(pod.key), self.place_of.pop(pod.key))], -1)

    def promises(self, besides: Pod) -> k.Promises:
        """Pods that hold a promise, but one."""
        pods = [
            pod
            for pod in self.nominated.values()
            if pod.key != besides.key and pod.nominated in self.index
        ]
        return k.Promises(
            np.array([self.class_of(pod) for pod in pods], np.int64).reshape(-1),
            np.array([self.index[pod.nominated] for pod in pods], np.int64).reshape(-1),
            np.array([pod.priority for pod in pods], np.int64).reshape(-1),
        )

    # Decisions

    def decide(self, pod: Pod, *, details: bool = True) -> Decision:
        """What kube-scheduler would do with a pod now; the state stays as it is."""
        passed_over = self._passed_over(pod)
        if passed_over is not None:
            return Decision(pod, passed_over[0], node=pod.node, message=passed_over[1])
        if not self.names:
            return Decision(
                pod, Outcome.UNSCHEDULABLE, message="no nodes available to schedule pods"
            )
        c = self.class_of(pod)
        if c in self.compiled.conflicts and "NodeAffinity" in self.profile.filters:
            return self._conflict(pod)
        feasible, best = 0, NONE
        if pod.nominated in self.index:
            feasible, best = self._place(pod, c, self.index[pod.nominated])
        if not feasible:
            feasible, best = self._place(pod, c, NONE)
        if not feasible:
            return self._refuse_known(pod, c, details=details)
        return self._accept(pod, feasible, best, details=details)

    def is_plain(self, pod: Pod) -> bool:
        """Whether a pod goes the usual way: neither passed over nor with a node promised to it."""
        conflict = self.class_of(pod) in self.compiled.conflicts
        return not conflict and not pod.nominated and self._passed_over(pod) is None

    def place_many(self, pods: Sequence[Pod]) -> list[Decision]:
        """Place and bind plain pods one after another, up to the first that finds no node."""
        compiled = self.compiled
        classes = np.array([self.class_of(pod) for pod in pods], np.int64)
        nodes = np.zeros(len(pods), np.int64)
        done = run(compiled.model, compiled.state, compiled.work, compiled.cache, classes, nodes, 0)
        made = []
        for pod, node in zip(pods[:done], nodes[:done].tolist(), strict=True):
            self.bound[pod.key] = pod
            self.place_of[pod.key] = node
            made.append(Decision(pod, Outcome.SCHEDULED, self.names[node]))
        self.version += 1 if done else 0
        return made

    def _passed_over(self, pod: Pod) -> tuple[Outcome, str] | None:
        """Why a pod does not get to the scheduling cycle at all."""
        if pod.finished:
            return Outcome.FINISHED, ""
        if pod.node:
            return Outcome.BOUND, ""
        if pod.scheduler != self.profile.name:
            return Outcome.OTHERS, f"schedulerName {pod.scheduler} is not {self.profile.name}"
        if pod.gates:
            return Outcome.GATED, f"waiting for scheduling gates: {', '.join(pod.gates)}"
        if pod.spec.terminating:
            return Outcome.LEAVING, f"skip schedule deleting pod: {pod.key}"
        return None

    def _place(self, pod: Pod, c: int, only: int) -> tuple[int, int]:
        compiled = self.compiled
        return place(
            compiled.model,
            compiled.state,
            compiled.work,
            self.promises(pod),
            c,
            pod.priority,
            only,
        )

    def _accept(self, pod: Pod, feasible: int, best: int, *, details: bool) -> Decision:
        work = self.compiled.work
        fits = np.flatnonzero(work.why == k.FITS)
        top = fits if feasible == 1 else fits[work.total[fits] == work.total[best]]
        made = Decision(pod, Outcome.SCHEDULED, self.names[best], feasible)
        made.best = self._named(top)
        if details:
            made.feasible = self._named(fits)
            made.refused = refusals(self)
            if feasible > 1:
                made.scores = {self.names[n]: self._scored(n) for n in fits.tolist()}
        return made

    def _scored(self, n: int) -> Scored:
        work = self.compiled.work
        plugins = {
            name: int(work.score[i, n]) for i, name in enumerate(SCORING) if work.used[i] == 1
        }
        if self.profile.scores_devices:
            plugins[DEVICES] = 0
        return Scored(plugins, int(work.total[n]))

    def _named(self, nodes: NDArray[np.integer]) -> tuple[str, ...]:
        return tuple(self.names[n] for n in nodes)

    def _refuse_known(self, pod: Pod, c: int, *, details: bool) -> Decision:
        """A refusal; without details the same again while nothing has changed."""
        key = (c, pod.priority, pod.never_preempts)
        known = self._refused.get(key)
        if not details and known is not None and known[0] == self.version and not pod.nominated:
            return Decision(pod, Outcome.UNSCHEDULABLE, message=known[1])
        made = self._refuse(pod, c, details=details)
        if made.outcome is Outcome.UNSCHEDULABLE and not pod.nominated:
            self._refused[key] = (self.version, made.message)
        return made

    def _refuse(self, pod: Pod, c: int, *, details: bool) -> Decision:
        from kfarm_twin.kube.preemption import preempt  # noqa: PLC0415 - it needs this module

        made = Decision(pod, Outcome.UNSCHEDULABLE)
        why = refusals(self)
        message = fit_message(len(self.names), why.values())
        said = [NO_CLAIMS] if self.profile.looks_at_devices else []
        if self.profile.preempts:
            said.append(preempt(self, pod, c, made))
        if made.outcome is Outcome.UNSCHEDULABLE and said:
            message += " " + ", ".join(said)
        made.refused = why if details else {}
        made.message = message
        return made

    def _conflict(self, pod: Pod) -> Decision:
        message = conflict_message(len(self.names), self.profile)
        return Decision(pod, Outcome.UNSCHEDULABLE, message=message)


def queue_order(pods: Sequence[Pod]) -> list[Pod]:
    """Pods as the scheduling queue hands them out: by priority, then by age, then as they stand.

    Pods without a creation time are taken as created last, in the order of the files.
    """
    last = float("inf")
    return sorted(
        pods, key=lambda pod: (-pod.priority, last if pod.created_s is None else pod.created_s)
    )


def schedule(scheduler: Scheduler, pods: Sequence[Pod], *, details: bool = True) -> list[Decision]:
    """Schedule pods one after another, each bound before the next; decisions in queue order.

    After a preemption the victims leave at once and the pod takes the node promised to it. Without
    details the pods that find a node are placed many in one call, and `best` is left out.
    """
    made: list[Decision] = []
    waiting = queue_order(pods)
    while len(made) < len(waiting):
        if not details:
            made += _run(scheduler, waiting[len(made) :])
        if len(made) < len(waiting):
            decision = scheduler.decide(waiting[len(made)], details=details)
            made.append(decision)
            carry_out(scheduler, decision)
    return made


def _run(scheduler: Scheduler, waiting: Sequence[Pod]) -> list[Decision]:
    """Place the first of the waiting pods in one call, up to one that needs a closer look."""
    plain = 0
    if not scheduler.nominated and scheduler.names:
        while plain < len(waiting) and scheduler.is_plain(waiting[plain]):
            plain += 1
    return scheduler.place_many(waiting[:plain]) if plain else []


def carry_out(scheduler: Scheduler, decision: Decision) -> None:
    """Bring the state to what a decision leads to."""
    if decision.outcome is Outcome.SCHEDULED:
        scheduler.bind(decision.pod, decision.node)
    elif decision.outcome is Outcome.PREEMPTING:
        for victim in decision.victims:
            scheduler.remove(victim)
        for other in list(scheduler.nominated.values()):
            if other.nominated == decision.nominated and other.priority < decision.pod.priority:
                del scheduler.nominated[other.key]
        scheduler.bind(decision.pod, decision.nominated)

"""Pods that name a plan and pods that hold devices, with what they hold counted by node."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kfarm_operator.client import JSON, PODS, KubeClient
from kfarm_operator.mirror import Cadence, Key, Mirror
from kfarm_operator.plans.observe import Usage, hostname
from kfarm_operator.views import FOREIGN_PODS, PLANNED_PODS, NodeView, PodView, pod_view

Place = tuple[bool, str]
"""Whether it is a node's name, and not yet its hostname label; and that name."""
Changed = Callable[[PodView | None, PodView | None], None]


Holder = tuple[Key, str]
"""The plan that a pod names, and the Kueue Workload that it belongs to, if any."""


class Holdings:
    """Accelerators by place and holder, kept by adding and taking away one pod at a time."""

    def __init__(self) -> None:
        self._held: dict[Place, dict[Holder, int]] = {}

    def replace(self, _: Key, before: PodView | None, after: PodView | None) -> None:
        """Count one pod anew."""
        if before is not None:
            self._add(before, -1)
        if after is not None:
            self._add(after, 1)

    def _add(self, pod: PodView, sign: int) -> None:
        place, count = holding(pod)
        if place is None or not count:
            return
        at = self._held.setdefault(place, {})
        holder = ((pod.namespace, pod.plan), pod.admitted_by)
        at[holder] = at.get(holder, 0) + sign * count
        if not at[holder]:
            del at[holder]
        if not at:
            del self._held[place]

    def on(self, node: NodeView) -> Iterable[tuple[Holder, int]]:
        """What each holder's pods hold of a node, those included that are on their way."""
        yield from self._held.get((True, node.name), {}).items()
        yield from self._held.get((False, hostname(node)), {}).items()


def holding(pod: PodView) -> tuple[Place | None, int]:
    """Where a pod holds accelerators, by running or by being released and pinned; and how many."""
    if pod.terminal:
        return None, 0
    place: Place | None = None
    if pod.node is not None:
        place = (True, pod.node)
    elif pod.released and not pod.deleting and pod.pinned:
        place = (False, pod.pinned)
    return place, sum(count for _, count in pod.shape.devices if count > 0)


class PodMirrors:
    """Both mirrors of pods under the gate account.

    Parameters
    ----------
    planned_changed, foreign_changed
        Called for pods that name a plan, and for bound pods that do not.
    """

    def __init__(
        self,
        client: KubeClient,
        planned_changed: Changed,
        foreign_changed: Changed,
        cadence: Cadence | None = None,
    ) -> None:
        self._planned_held, self._foreign_held = Holdings(), Holdings()
        self.planned: Mirror[PodView] = Mirror(
            client, PODS, pod_view, planned_changed,
            groups={"plan": lambda pod: (pod.namespace, pod.plan)},
            tallies=[self._planned_held], cadence=cadence, name="pods-planned", **PLANNED_PODS,
        )  # fmt: skip
        self.foreign: Mirror[PodView] = Mirror(
            client, PODS, pod_view, foreign_changed,
            tallies=[self._foreign_held], cadence=cadence, name="pods-foreign", **FOREIGN_PODS,
        )  # fmt: skip

    def all(self) -> list[Mirror[PodView]]:
        """Both."""
        return [self.planned, self.foreign]

    def of_plan(self, plan: Key) -> list[PodView]:
        """Pods that name this plan."""
        return self.planned.where("plan", plan)

    def put(self, body: JSON) -> None:
        """Take in a pod that a write returned."""
        self.planned.put(body)

    def usages(
        self, nodes: Iterable[NodeView], but: Key, workload: str | None = None
    ) -> list[Usage]:
        """What pods of others hold of these nodes.

        Parameters
        ----------
        but, workload
            The plan whose own pods are left out; with `workload`, only those of that Workload.
        """
        wanted = list(nodes)
        found: list[Usage] = []
        for mirror, held in (
            (self.planned, self._planned_held),
            (self.foreign, self._foreign_held),
        ):
            with mirror.reading:
                found += [
                    Usage(node.name, plan, count, admitted_by)
                    for node in wanted
                    for (plan, admitted_by), count in held.on(node)
                    if plan != but or workload not in (None, admitted_by)
                ]
        return found

"""What has to happen so that Kueue's objects are as the farm says. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kfarm_api.farm import Farm
from kfarm_api.layout import LABEL_FARM, LABEL_FARM_KIND
from kfarm_api.profile import AcceleratorProfile

from kfarm_operator.farms.decide import ANNOTATION_DIGEST, ANNOTATION_OWNER
from kfarm_operator.queues.manifests import objects_of
from kfarm_operator.queues.quota import Flavor, Spread
from kfarm_operator.views import quantity

Body = dict[str, Any]
Key = tuple[str, str]
"""Kind and name."""
TIERS = ("Topology", "ResourceFlavor", "Cohort", "ClusterQueue")
"""Kinds in the order in which they name each other."""


@dataclass(frozen=True)
class KueueView:
    """An object of Kueue, as far as it decides.

    Attributes
    ----------
    farm
        Kind, name and uid of the farm that it was made for; empty for somebody else's.
    active
        Reason and message why it is not active; None when it is, or has no such condition yet.
    settled
        Whether Kueue has said yet if it is active.
    """

    kind: str
    name: str
    uid: str
    resource_version: str
    farm: tuple[str, str, str]
    digest: str
    spec: Mapping[str, Any]
    deleting: bool
    settled: bool
    inactive: tuple[str, str] | None

    @property
    def key(self) -> Key:
        """Kind and name."""
        return self.kind, self.name


@dataclass(frozen=True)
class Apply:
    """A server-side apply; `over` is the object that it changes, None where it makes one."""

    body: Body
    over: KueueView | None

    def with_precondition(self) -> Body:
        """The body that changes only the very object that was looked at."""
        if self.over is None:
            return self.body
        seen = {"uid": self.over.uid, "resourceVersion": self.over.resource_version}
        return {**self.body, "metadata": {**self.body["metadata"], **seen}}


@dataclass
class QueueDecision:
    """Writes to make, and what is wrong.

    Attributes
    ----------
    problems
        (reason, sentence with remedy), the weightiest first.
    draining
        Objects whose deletion waits for workloads.
    summary
        What there is when nothing is wrong; empty when nothing should be there.
    """

    apply: list[Apply] = field(default_factory=list)
    delete: list[KueueView] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    draining: list[KueueView] = field(default_factory=list)
    unsettled: bool = False
    summary: str = ""

    @property
    def writes(self) -> int:
        """Number of writes."""
        return len(self.apply) + len(self.delete)


def kueue_view(kind: str, body: Body) -> KueueView:
    """Keep of an object what decides."""
    meta = body["metadata"]
    labels, marks = meta.get("labels") or {}, meta.get("annotations") or {}
    listed = (body.get("status") or {}).get("conditions") or ()
    active = next((c for c in listed if c["type"] == "Active"), None)
    down = active is not None and active["status"] != "True"
    return KueueView(
        kind=kind,
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        farm=(
            labels.get(LABEL_FARM_KIND, ""),
            labels.get(LABEL_FARM, ""),
            marks.get(ANNOTATION_OWNER, ""),
        ),
        digest=marks.get(ANNOTATION_DIGEST, ""),
        spec=body.get("spec") or {},
        deleting="deletionTimestamp" in meta,
        settled=kind != "ClusterQueue" or active is not None,
        inactive=(active["reason"], active.get("message", "")) if active and down else None,
    )


def owner(farm: Farm) -> tuple[str, str, str]:
    """What the objects of a farm carry."""
    return farm.kind, farm.metadata.name, farm.metadata.uid or ""


def decide(
    farm: Farm,
    profiles: Mapping[str, AcceleratorProfile],
    seen: Mapping[Key, KueueView],
) -> QueueDecision:
    """Compare what the farm asks for with what is there.

    Parameters
    ----------
    seen
        Objects that carry the farm's marks, and whatever stands under a name that it asks for.
    """
    decision = QueueDecision()
    if farm.spec.kueue is not None and not farm.spec.kueue.manage:
        _clear(decision, farm, seen, set())
        return decision
    missing = sorted({c.accelerator for c in farm.spec.clusters} - profiles.keys())
    if missing:
        decision.problems.append(
            (
                "ProfileNotFound",
                f"no AcceleratorProfile named {', '.join(missing)}: queues stay as they are; apply "
                "it, or correct the name in the cluster",
            )
        )
        return decision
    bodies, shared, flavors = objects_of(farm, profiles)
    wanted = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
    if len(wanted) < len(bodies) or _circular(farm, wanted):
        decision.problems.append(_names_collide(farm, len(wanted) < len(bodies)))
        return decision
    for tier in TIERS:
        good = [_bring(decision, farm, body, seen) for body in bodies if body["kind"] == tier]
        if not all(good):
            break
    _clear(decision, farm, seen, set(wanted))
    if shared.missing:
        decision.problems.append(_exceeds(farm, shared.missing))
    decision.summary = _summary(bodies, shared, flavors)
    return decision


def _summary(bodies: Iterable[Body], shared: Spread, flavors: Sequence[Flavor]) -> str:
    queues = sum(body["kind"] == "ClusterQueue" for body in bodies)
    devices, spares = sum(f.devices for f in flavors), sum(f.spares for f in flavors)
    said = f"{queues} ClusterQueues share {devices} devices of {len(flavors)} flavors"
    if spares:
        said += f"; {spares} devices of spare nodes are in no quota"
    if shared.spared:
        listed = ", ".join(f"{count} of {share}'s" for share, count in shared.spared.items())
        said += f", {listed} among them"
    return said


def decide_deletion(farm: Farm, seen: Mapping[Key, KueueView]) -> QueueDecision:
    """Take back all that was made for a farm that is being deleted."""
    decision = QueueDecision()
    _clear(decision, farm, seen, set())
    return decision


def _bring(decision: QueueDecision, farm: Farm, body: Body, seen: Mapping[Key, KueueView]) -> bool:
    """Bring one object to what it should be; whether others may name it."""
    live = seen.get((body["kind"], body["metadata"]["name"]))
    if live is None:
        decision.apply.append(Apply(body, None))
        decision.unsettled = True
        return True
    if live.farm != owner(farm):
        decision.problems.append(_taken(live))
        return bool(body["kind"] == "ClusterQueue")
    if live.deleting:
        decision.draining.append(live)
        return False
    if body["kind"] == "Topology" and live.spec.get("levels") != body["spec"]["levels"]:
        decision.problems.append(_fixed(live))
        return True
    if live.digest != body["metadata"]["annotations"][ANNOTATION_DIGEST] or not covers(
        live.spec, body["spec"]
    ):
        decision.apply.append(Apply(body, live))
    elif not live.settled:
        decision.unsettled = True
    elif live.inactive is not None:
        decision.problems.append(_inactive(live, *live.inactive))
    return True


def covers(live: Any, wanted: Any, *, within_list: bool = False) -> bool:
    """Whether an object says what we want; fields that we do not set may be anything.

    Lists are replaced whole, so in them nothing may be added. Kueue writes quantities its own way
    (``2k`` for ``2000``): amounts are compared as numbers.
    """
    if isinstance(wanted, dict):
        if not isinstance(live, dict) or (within_list and live.keys() != wanted.keys()):
            return False
        return all(
            key in live and covers(live[key], value, within_list=within_list)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list) or len(live) != len(wanted):
            return False
        return all(covers(a, b, within_list=True) for a, b in zip(live, wanted, strict=True))
    return live == wanted or _same_amount(live, wanted)


def _same_amount(one: object, other: object) -> bool:
    left, right = quantity(one), quantity(other)
    return left.is_finite() and right.is_finite() and bool(left == right)


def _clear(
    decision: QueueDecision, farm: Farm, seen: Mapping[Key, KueueView], wanted: Iterable[Key]
) -> None:
    """Delete what was made for the farm and is not wanted, queues first."""
    ours = [view for key, view in seen.items() if view.farm == owner(farm) and key not in wanted]
    for view in sorted(ours, key=lambda view: (-TIERS.index(view.kind), view.name)):
        (decision.draining if view.deleting else decision.delete).append(view)


def _circular(farm: Farm, wanted: Iterable[Key]) -> bool:
    kueue = farm.spec.kueue
    return kueue is not None and ("Cohort", kueue.parent or "") in wanted


def _names_collide(farm: Farm, twice: bool) -> tuple[str, str]:
    if not twice and farm.spec.kueue is not None:
        return (
            "ParentIsOwn",
            f"kueue.parent {farm.spec.kueue.parent!r} is a Cohort of this farm: name one above it, "
            "or leave it out",
        )
    return (
        "NamesCollide",
        "two shares, or a share and the queue of another, lead to one name (share a-b, and queue b "
        "of share a): rename one of them",
    )


def _taken(live: KueueView) -> tuple[str, str]:
    if live.deleting:
        remedy = "it is being deleted: wait until its workloads have ended"
    elif any(live.farm):
        remedy = f"it was made for {live.farm[0]} {live.farm[1]} of another time or kind: delete it"
    else:
        remedy = "delete or rename it, or rename the farm, the cluster or the share"
    return (
        "NameTaken",
        f"{live.kind} {live.name} was not made for this farm and is left alone: {remedy}",
    )


def _fixed(live: KueueView) -> tuple[str, str]:
    return (
        "TopologyFixed",
        f"Topology {live.name} has other levels than racks and scalable units now ask for, and "
        "Kueue does not change levels: set kueue.manage to false, wait until the queues have "
        "drained, and set it to true again",
    )


def _inactive(live: KueueView, reason: str, message: str) -> tuple[str, str]:
    remedies = {
        "AdmissionCheckNotFound": "create the AdmissionCheck, or correct kueue.admissionCheck",
        "AdmissionCheckInactive": "see the conditions of the AdmissionCheck",
        "Stopped": "set spec.stopPolicy of the ClusterQueue to None",
        "TopologyNotFound": "switch on Kueue's feature gate TopologyAwareScheduling",
    }
    remedy = remedies.get(reason, "see the conditions of the ClusterQueue")
    return (
        "QueuesInactive",
        f"ClusterQueue {live.name} is not active ({reason}: {message.rstrip('.')}): {remedy}",
    )


def _exceeds(farm: Farm, missing: Mapping[str, int]) -> tuple[str, str]:
    listed = ", ".join(
        f"{share.name} lacks {missing[share.name]} of {share.guaranteed}"
        for share in farm.spec.shares
        if share.name in missing
    )
    return (
        "SharesExceedFarm",
        "the clusters that name a share, and those that name none, have too few devices, spares "
        f"included: {listed}; lower guaranteed, or add nodes; the rest is served",
    )

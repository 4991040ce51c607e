"""What drills keep of Kueue's Workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfarm_operator.admission.views import workload_view

JSON = dict[str, Any]
_LEVELS = "kfarm.dev/"


@dataclass(frozen=True)
class DrillWorkload:
    """A Kueue Workload as drills see it.

    Attributes
    ----------
    plans
        Plans that its pods name.
    owner
        ``KIND/NAME`` of what Kueue admits.
    within
        Topology level in one domain of which all its pods have to stay: ``rack``,
        ``scalable-unit``, ``cluster``; empty for none.
    evicted
        Why Kueue takes its admission back, while it does; else empty.
    hosts
        Hostnames that its admission names.
    """

    namespace: str
    name: str
    uid: str
    plans: frozenset[str]
    owner: str
    within: str
    evicted: str
    admitted: bool
    hosts: frozenset[str]

    @property
    def key(self) -> str:
        """``NAMESPACE/NAME``, as timelines name it."""
        return f"{self.namespace}/{self.name}"


def drill_workload(body: JSON) -> DrillWorkload:
    """Keep of a Workload what drills look at."""
    seen = workload_view(body)
    owners = [o for o in body["metadata"].get("ownerReferences") or () if o.get("controller")]
    return DrillWorkload(
        namespace=seen.namespace,
        name=seen.name,
        uid=seen.uid,
        plans=frozenset(part.plan for part in seen.pod_sets if part.plan),
        owner=f"{owners[0]['kind']}/{owners[0]['name']}" if owners else "",
        within=_within(body),
        evicted=_why_evicted(body) if seen.evicted else "",
        admitted=seen.admitted,
        hosts=frozenset(host for part in seen.pod_sets for host, _ in part.seats or ()),
    )


def _within(body: JSON) -> str:
    for part in (body.get("spec") or {}).get("podSets") or ():
        level = str((part.get("topologyRequest") or {}).get("required") or "")
        if level.startswith(_LEVELS):
            return level.removeprefix(_LEVELS)
    return ""


def _why_evicted(body: JSON) -> str:
    found = next(c for c in body["status"]["conditions"] if c["type"] == "Evicted")
    return ": ".join(part for part in (found.get("reason"), found.get("message")) if part)

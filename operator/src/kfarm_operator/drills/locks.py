"""One drill per cluster of a farm at a time: Leases in the operator's namespace. Pure.

A lock keeps drills apart; it is no safety by itself: what a drill touches is marked on the object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_DRILL, ANNOTATION_UNTIL, LEASE_HOLDER

from kfarm_operator.drills.clock import read_moment, seconds, whole
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import Lock

JSON = dict[str, Any]
SLACK_S = 120.0
"""Of a lock beyond its drill's time to live: the time to take everything back."""
NAME_LIMIT = 63


def lock_names(s: Situation) -> list[str]:
    """Locks that the drill needs: one per cluster of its targets, or the farm's."""
    farm = s.drill.spec.farm
    told = s.status.domain.split(", ") if s.status.domain else []
    domains = sorted(s.clusters) or told or [f"{farm.kind}-{farm.name}".lower()]
    return [lock_name(domain) for domain in domains]


def lock_name(domain: str) -> str:
    """Name of a lock; a long one ends in a digest."""
    name = f"kfarm-drill-{domain}"
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[:46]}-{hashlib.sha256(domain.encode()).hexdigest()[:16]}"


def lock_body(s: Situation, name: str) -> JSON:
    """The Lease that holds a domain for this drill."""
    lasts = seconds(s.drill.spec.limits.time_to_live) + SLACK_S
    now = s.now.astimezone(UTC)
    stamp = f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "annotations": {
                ANNOTATION_UNTIL: whole(now + timedelta(seconds=lasts)),
                ANNOTATION_DRILL: s.key,
            },
        },
        "spec": {
            "holderIdentity": f"{LEASE_HOLDER}/{s.drill.metadata.uid}",
            "leaseDurationSeconds": int(lasts),
            "acquireTime": stamp,
            "renewTime": stamp,
        },
    }


def read_lock(body: JSON, now: datetime, ended: Callable[[str], bool | None]) -> Lock:
    """A lock as it stands.

    Parameters
    ----------
    ended
        Whether a drill, as ``NAMESPACE/NAME/UID``, has ended; None: there is no such drill, and
        what it left may have to be swept up until the lock's own end.
    """
    meta = body["metadata"]
    marks = meta.get("annotations") or {}
    try:
        until: datetime | None = read_moment(marks.get(ANNOTATION_UNTIL, ""))
    except ValueError:
        until = None
    drill = marks.get(ANNOTATION_DRILL, "")
    over, past = ended(drill), until is None or until <= now
    return Lock(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        drill=drill,
        stale=bool(over) or (over is None and past),
    )

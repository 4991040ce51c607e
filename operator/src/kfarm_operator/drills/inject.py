"""What a wave changes on its nodes, written as journal entries before anything is touched. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kfarm_api.drill_marks import LEASE_HOLDER, TAINT_DRILL, TAINT_OUT_OF_SERVICE
from kfarm_api.drill_signs import Sign, device_sign, link_sign, resource_of, throttling_sign
from kfarm_api.drill_status import JournalEntry
from kfarm_api.drill_targets import beyond, blast
from kfarm_api.layout import LABEL_ACCELERATOR

from kfarm_operator.conditions import timestamp
from kfarm_operator.drills.clock import moment, read_moment
from kfarm_operator.drills.journal import canonical, changes_of, read_field
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillNode
from kfarm_operator.drills.waves import REMEDY, Wave
from kfarm_operator.views import quantity

JSON = dict[str, Any]
LEASE_HOLDER_FIELD = "lease/holderIdentity"
LEASE_SECONDS_FIELD = "lease/leaseDurationSeconds"


def refusal(s: Situation, wave: Wave) -> str | None:
    """Why a wave may not be injected as things stand now; None: it may."""
    for name in wave.nodes:
        node = s.nodes.get(name)
        why = _unfit(s, name, node)
        if why is not None:
            return why
    return over_limits(s) or unhealthy(s, frozenset(wave.nodes))


def _unfit(s: Situation, name: str, node: DrillNode | None) -> str | None:
    if node is None:
        return f"node {name} is gone"
    if not node.consents:
        return f"node {name} has no label kfarm.dev/drill=allowed, or is of the control plane"
    if node.drill and node.drill != s.key:
        return f"node {name} is under drill {node.drill}"
    return None


def over_limits(s: Situation) -> str | None:
    """Which limit of the drill or of the installation its targets break, with the remedy."""
    if s.farm is None:
        return "the farm is gone"
    limits, bounds = s.drill.spec.limits, s.settings
    reach = blast(s.status.targets, s.drill.spec, s.farm, list(s.candidates))
    own = beyond(reach, limits.max_nodes, limits.max_percent, limits.domains)
    if own is not None:
        return f"{own}: raise spec.limits, or select less"
    theirs = beyond(reach, bounds.max_nodes, bounds.max_percent, bounds.domains)
    return None if theirs is None else f"{theirs}: the installation allows no more"


def healthy_share(s: Situation, cluster: str, without: frozenset[str]) -> float:
    """Healthy nodes of a farm cluster in percent, were these taken away."""
    members = [node for node in s.nodes.values() if node.cluster == cluster]
    struck = {entry.name for entry in s.open} | without
    sound = sum(node.healthy and node.name not in struck for node in members)
    return 100.0 * sound / len(members) if members else 0.0


def unhealthy(s: Situation, without: frozenset[str]) -> str | None:
    """Whether fewer nodes than `minHealthy` would be left, as a sentence."""
    least = s.drill.spec.limits.min_healthy
    for cluster in sorted({s.nodes[n].cluster for n in without if n in s.nodes}):
        share = healthy_share(s, cluster, without)
        if share < least:
            return (
                f"{share:.3g} % of cluster {cluster} would be left healthy, less than {least} %"
                " (minHealthy)"
            )
    return None


def entries(
    s: Situation, wave: Wave, bodies: Mapping[str, JSON | None], renewed: datetime
) -> list[JournalEntry]:
    """Entries for all nodes of a wave that the journal does not have yet.

    Parameters
    ----------
    bodies
        Node or Lease of each node, as read just now.
    renewed
        The operator's clock; stands for the renewTime of a Lease that has none.

    Raises
    ------
    LookupError
        When an object is missing.
    """
    known = {entry.id for entry in s.status.journal}
    found = []
    for name in wave.nodes:
        identity, body = wave.entry_id(name), bodies.get(name)
        if identity in known:
            continue
        if body is None:
            raise LookupError(f"{wave.kind} {name} does not exist")
        after = _after(s, wave, body, renewed)
        found.append(_entry(s, wave.fault.name, identity, wave.kind, body, after))
    return found


def _entry(
    s: Situation, fault: str, identity: str, kind: Any, body: JSON, after: Mapping[str, str | None]
) -> JournalEntry:
    meta = body["metadata"]
    taken = [
        change.field
        for entry in s.open
        if (entry.kind, entry.name) == (kind, meta["name"])
        for change in entry.changes
    ]
    return JournalEntry(
        id=identity,
        fault=fault,
        kind=kind,
        name=meta["name"],
        uid=meta["uid"],
        state="Planned",
        changes=changes_of(body, after, taken),
        planned_at=moment(s.now),
    )


def out_of_service(s: Situation, fault: str, body: JSON) -> JournalEntry:
    """The entry of the taint that says that a node is really off."""
    key, effect = TAINT_OUT_OF_SERVICE, "NoExecute"
    taint = {"key": key, "value": "nodeshutdown", "effect": effect}
    identity = f"{fault}/Node/{body['metadata']['name']}/{REMEDY}"
    return _entry(s, fault, identity, "Node", body, {f"taint/{key}:{effect}": canonical(taint)})


def _after(s: Situation, wave: Wave, body: JSON, renewed: datetime) -> dict[str, str | None]:
    name = f"{s.drill.metadata.namespace}/{s.drill.metadata.name}"
    match wave.shows:
        case "Down":
            return _lease(s, wave, body, renewed)
        case "Device" if wave.fault.device is not None:
            sign = device_sign(wave.fault.device, name)
            return _condition(s, sign) | _fewer(s, wave, body) | _taint(wave)
        case "Link":
            return _condition(s, link_sign(name)) | _taint(wave)
        case "Throttling":
            return _condition(s, throttling_sign(name))
    return _taint(wave)


def _taint(wave: Wave) -> dict[str, str | None]:
    taint = {"key": TAINT_DRILL, "value": wave.fault.action, "effect": "NoSchedule"}
    return {f"taint/{TAINT_DRILL}:NoSchedule": canonical(taint)}


def _condition(s: Situation, sign: Sign) -> dict[str, str | None]:
    now = timestamp(s.now)
    value = {
        "type": sign.type, "status": "True", "reason": sign.reason, "message": sign.message,
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }  # fmt: skip
    return {f"condition/{sign.type}": canonical(value)}


def _fewer(s: Situation, wave: Wave, body: JSON) -> dict[str, str | None]:
    """Allocatable devices less those that are faulty."""
    allocatable = (body.get("status") or {}).get("allocatable") or {}
    accelerator = (body["metadata"].get("labels") or {}).get(LABEL_ACCELERATOR, "")
    profile = s.profiles.get(accelerator)
    resource = resource_of(profile, frozenset(allocatable)) if profile else None
    if resource is None or wave.fault.device is None:
        return {}
    left = max(0, int(quantity(allocatable[resource])) - wave.fault.device.count)
    return {f"allocatable/{resource}": canonical(str(left))}


def _lease(s: Situation, wave: Wave, body: JSON, renewed: datetime) -> dict[str, str | None]:
    """A foreign holder until the wave's end: KWOK then leaves node and pods alone."""
    text = (body.get("spec") or {}).get("renewTime")
    since = read_moment(text) if text else renewed
    end = min(wave.end, s.until or wave.end)
    lasts = max(1, math.ceil((end - since).total_seconds()))
    return {
        LEASE_HOLDER_FIELD: canonical(f"{LEASE_HOLDER}/{s.drill.metadata.uid}"),
        LEASE_SECONDS_FIELD: canonical(lasts),
    }


def held(entry: JournalEntry, body: JSON) -> bool:
    """Whether a Lease is still under the drill's holder."""
    ours = next((c.after for c in entry.changes if c.field == LEASE_HOLDER_FIELD), None)
    return ours is not None and read_field(body, LEASE_HOLDER_FIELD) == ours


def outlives(entry: JournalEntry, body: JSON, until: str) -> JournalEntry | None:
    """The entry anew where a Lease was renewed since and would now outlive the drill."""
    text = (body.get("spec") or {}).get("renewTime")
    lasts = next((c for c in entry.changes if c.field == LEASE_SECONDS_FIELD), None)
    if entry.kind != "Lease" or not text or lasts is None or lasts.after is None:
        return None
    left = (read_moment(until) - read_moment(text)).total_seconds()
    if int(lasts.after) <= left + 0.9:
        return None
    shorter = lasts.model_copy(update={"after": canonical(max(1, math.floor(left)))})
    changes = [shorter if change is lasts else change for change in entry.changes]
    return entry.model_copy(update={"changes": changes})

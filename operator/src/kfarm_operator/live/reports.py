"""Devices that somebody else calls bad: kcloud-operator, NVSentinel, exporters. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kfarm_api.farm import Farm
from kfarm_api.telemetry import MAX_UNHEALTHY, Unhealthy

from kfarm_operator.conditions import shorten
from kfarm_operator.live.series import Reading
from kfarm_operator.views import NodeView

_BAD_STATES = ("Unhealthy", "Quarantined", "Recovering")


@dataclass(frozen=True)
class Report:
    """What one source says of one node.

    Attributes
    ----------
    lost
        Devices that are bad; None: all of the node.
    """

    node: str
    lost: int | None
    source: str
    reason: str


def health_reports(bodies: Iterable[Mapping[str, Any]]) -> list[Report]:
    """From `AcceleratorHealth` objects (npu.ai/v1alpha1) of kcloud-operator.

    A node that may not be allocated is lost whole; else the devices that are called bad, or, where
    none is told apart, the whole node if its own state is bad. Nothing is read into `Unknown`.
    """
    found = []
    for body in bodies:
        node, status = _text(body, "spec", "nodeName"), _part(body, "status")
        state = _text(status, "state")
        devices = status.get("devices")
        bad = [
            device
            for device in (devices if isinstance(devices, list) else ())
            if isinstance(device, dict) and device.get("state") in _BAD_STATES
        ]
        if not node or not (bad or state in _BAD_STATES):
            continue
        whole = state in _BAD_STATES and (status.get("allocationAllowed") is not True or not bad)
        why = _text(status, "reason") or (_text(bad[0], "reason") if bad else "") or state
        found.append(Report(node, None if whole else len(bad), "AcceleratorHealth", why))
    return found


def device_reports(bodies: Iterable[Mapping[str, Any]]) -> list[Report]:
    """From `NodeDeviceReport` objects (npu.ai/v1alpha1) of kcloud-operator's node agent.

    Devices whose driver is not loaded, or that are bound for passthrough, cannot be given to pods;
    a node that failed its validation gives none.
    """
    found = []
    for body in bodies:
        node, status = _text(body, "spec", "nodeName"), _part(body, "status")
        checked = status.get("validation")
        if not node:
            continue
        if isinstance(checked, dict) and checked.get("passed") is False:
            found.append(Report(node, None, "NodeDeviceReport", "its validation failed"))
            continue
        devices = status.get("devices")
        unusable = [
            device
            for device in (devices if isinstance(devices, list) else ())
            if isinstance(device, dict)
            and (device.get("driverLoaded") is False or device.get("driverBinding") == "vfio-pci")
        ]
        count = sum(_count(device) for device in unusable)
        if count:
            why = f"{_text(unusable[0], 'model') or 'device'}: driver not loaded or passthrough"
            found.append(Report(node, count, "NodeDeviceReport", why))
    return found


def node_faults(nodes: Iterable[NodeView]) -> list[Report]:
    """From conditions that NVSentinel sets on Nodes; see `views.FAULT_CONDITIONS`."""
    return [
        Report(node.name, None, "NodeCondition", ", ".join(node.faults))
        for node in nodes
        if node.faults
    ]


def metric_reports(reading: Reading) -> list[Report]:
    """From health metrics of exporters."""
    counts: dict[str, tuple[int, str]] = {}
    for (node, _), metric in reading.bad.items():
        before = counts.get(node, (0, metric))
        counts[node] = (before[0] + 1, before[1])
    return [
        Report(node, count, "Prometheus", f"{count} devices show {metric}")
        for node, (count, metric) in counts.items()
    ]


def unhealthy(
    farm: Farm, nodes: Mapping[str, NodeView], reports: Iterable[Report]
) -> list[Unhealthy]:
    """What of a farm counts as lost: of several reports on a node the one that takes most."""
    sizes = {cluster.name: cluster.accelerators_per_node for cluster in farm.spec.clusters}
    worst: dict[str, Unhealthy] = {}
    for report in reports:
        node = nodes.get(report.node)
        size = sizes.get(node.cluster) if node else None
        if node is None or size is None:
            continue
        lost = size if report.lost is None else min(report.lost, size)
        known = worst.get(node.name)
        if lost and (known is None or lost > known.accelerators):
            worst[node.name] = Unhealthy(
                node=node.name,
                cluster=node.cluster,
                accelerators=lost,
                source=report.source,
                reason=shorten(report.reason or "no reason given", 256),
            )
    return [worst[name] for name in sorted(worst)][:MAX_UNHEALTHY]


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _text(body: Mapping[str, Any], *path: str) -> str:
    found: Any = body
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _count(device: Mapping[str, Any]) -> int:
    count = device.get("count")
    return count if isinstance(count, int) and 0 < count <= 128 else 1

"""Means over a period of what devices showed. Pure but for what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_twin.live_request import CompareRequest, NodeObserved, Values

from kfarm_operator.live.series import ROLES, DeviceKey, Reading, device_order
from kfarm_operator.views import NodeView


@dataclass
class Window:
    """One period of a farm.

    Attributes
    ----------
    sums
        By role and device: sum and number of values.
    node_hours, failures
        By cluster: how long nodes were watched, and how often one stopped being Ready.
    """

    opened: datetime
    sums: dict[str, dict[DeviceKey, tuple[float, int]]] = field(
        default_factory=lambda: {role: {} for role in ROLES}
    )
    node_hours: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    seen_at: datetime | None = None

    def add(self, reading: Reading) -> None:
        """Add what one round told."""
        for role, values in reading.values.items():
            sums = self.sums[role]
            for device, value in values.items():
                total, count = sums.get(device, (0.0, 0))
                sums[device] = (total + value, count + 1)

    def watch(self, nodes: Mapping[str, int], now: datetime) -> None:
        """Count the time since the last look, for so many nodes by cluster."""
        hours = (now - (self.seen_at or self.opened)).total_seconds() / 3600.0
        self.seen_at = now
        for cluster, count in nodes.items():
            self.node_hours[cluster] = self.node_hours.get(cluster, 0.0) + count * max(0.0, hours)

    def fail(self, cluster: str) -> None:
        """A node of the cluster stopped being Ready."""
        self.failures[cluster] = self.failures.get(cluster, 0) + 1

    def observed(self, nodes: Mapping[str, NodeView]) -> list[NodeObserved]:
        """Means by node, devices in their order."""
        devices: dict[str, set[str]] = {}
        for sums in self.sums.values():
            for name, device in sums:
                devices.setdefault(name, set()).add(device)
        found = []
        for name in sorted(devices):
            node = nodes.get(name)
            if node is None or node.index is None:
                continue
            order = sorted(devices[name], key=device_order)
            means = {role: self._means(role, name, order) for role in ROLES}
            found.append(NodeObserved(cluster=node.cluster, index=node.index, **means))
        return found

    def _means(self, role: str, node: str, order: list[str]) -> Values:
        sums = self.sums[role]
        pairs = [sums.get((node, device)) for device in order]
        return [pair[0] / pair[1] if pair else None for pair in pairs]


def question(
    farm: Farm,
    profiles: Mapping[str, AcceleratorProfile],
    nodes: Mapping[str, NodeView],
    window: Window,
) -> CompareRequest:
    """What the twin is asked at the end of a period."""
    named = sorted({cluster.accelerator for cluster in farm.spec.clusters})
    return CompareRequest(
        farm=farm.model_copy(update={"status": None}),
        profiles=[profiles[name] for name in named if name in profiles],
        nodes=window.observed(nodes),
    )

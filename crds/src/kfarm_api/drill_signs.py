"""How a fault shows on a Node: conditions, taints and resources under the names others use.

Sources: NVSentinel's node conditions (one per check, True while unhealthy, reason
``<CHECK>IsNotHealthy``, message ``ErrorCode:.. GPU:.. Recommended Action=..;``); the NVIDIA device
plugin and those of Rebellions (``rebellions.ai/ATOM``) and Furiosa (``furiosa.ai/rngd``) report a
device as unhealthy to the kubelet, which lowers `allocatable` of the resource and leaves
`capacity`. Nobody sets conditions for NPUs; the drill's own name stands in.
"""

from __future__ import annotations

from dataclasses import dataclass

from kfarm_api.drill import Action, DrillDevice
from kfarm_api.drill_marks import PREFIX
from kfarm_api.profile import AcceleratorProfile

NPU_UNHEALTHY = PREFIX + "NpuUnhealthy"
THROTTLING = PREFIX + "ThermalThrottling"
LINK_DOWN = PREFIX + "LinkDown"
GPU_FALLEN_OFF = "SysLogsGPUFallenOff"
GPU_XID = "SysLogsXIDError"
SIGNS: tuple[str, ...] = (NPU_UNHEALTHY, THROTTLING, LINK_DOWN)
"""Conditions of a drill's own, where nobody else has a name for it."""
_OFF_THE_BUS = "79"
_ACTION = {
    "48": "COMPONENT_RESET", "63": "NONE", "64": "COMPONENT_RESET", "74": "COMPONENT_RESET",
    "79": "RESTART_VM", "94": "RESTART_APP", "95": "COMPONENT_RESET", "119": "COMPONENT_RESET",
}  # fmt: skip
"""What NVSentinel recommends by XID; CONTACT_SUPPORT for all others."""


@dataclass(frozen=True)
class Sign:
    """A condition, True while the fault lasts."""

    type: str
    reason: str
    message: str


def device_sign(device: DrillDevice, drill: str) -> Sign:
    """The condition of a device fault; its message says that it is a drill."""
    note = f"failure drill {drill}"
    if device.kind == "Health":
        return Sign(
            NPU_UNHEALTHY, device.code[:64], f"{device.count} device(s) {device.code}; {note}"
        )
    kind = GPU_FALLEN_OFF if device.code == _OFF_THE_BUS else GPU_XID
    gpus = " ".join(f"GPU:{number}" for number in range(device.count))
    action = _ACTION.get(device.code, "CONTACT_SUPPORT")
    message = f"ErrorCode:{device.code} {gpus} {note} Recommended Action={action};"
    return Sign(kind, f"{kind}IsNotHealthy", message)


def throttling_sign(drill: str) -> Sign:
    """The condition of a node whose accelerators are predicted to throttle."""
    message = f"the twin predicts that its accelerators are throttled; failure drill {drill}"
    return Sign(THROTTLING, "PredictedTemperature", message)


def link_sign(drill: str) -> Sign:
    """The condition of a node whose link is down."""
    return Sign(LINK_DOWN, "LinkFlap", f"a link of the node is down; failure drill {drill}")


def resource_of(profile: AcceleratorProfile, known: frozenset[str]) -> str | None:
    """The resource of a profile that a node has, by what its allocatable names."""
    return next((name for name in profile.spec.resource_names if name in known), None)


DOWN: frozenset[Action] = frozenset({"NodeDown", "RackPower", "Pdu", "LeafSwitch", "Burst"})
"""Actions that take whole nodes away, as a cluster sees it."""

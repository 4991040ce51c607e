"""What is known of device types by the names that exporters give, where no profile is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfarm_twin.fit.thermal_overhead import Node
from kfarm_twin.fit.thermal_runs import Run

_EIGHT = 8


@dataclass(frozen=True)
class KnownDevice:
    """Figures of the catalogue (examples/catalogue); overhead of a node of eight."""

    pattern: str
    name: str
    vendor: str
    model: str
    use: str
    resource: str
    tdp_w: float
    idle_w: float
    memory: str
    throttle_c: int
    shutdown_c: int
    loaded_w: float


_GPU = ("NVIDIA", "Training", "nvidia.com/gpu")
_REBELLIONS = ("Rebellions", "Inference", "rebellions.ai/npu")


def _known(
    pattern: str, name: str, model: str, maker: tuple[str, str, str], power: tuple[float, float],
    memory: str, limits: tuple[int, int], loaded_w: float,
) -> KnownDevice:  # fmt: skip
    vendor, use, resource = maker
    return KnownDevice(
        pattern, name, vendor, model, use, resource, *power, memory, *limits, loaded_w
    )


KNOWN = (
    _known("b300", "b300", "B300 HGX", _GPU, (1000, 139), "288G", (89, 95), 6000),
    _known("b200", "b200", "B200 HGX", _GPU, (1000, 139), "180G", (89, 95), 6300),
    _known("h200", "h200", "H200 SXM", _GPU, (700, 75), "141G", (89, 95), 4600),
    _known("h100|h800", "h100", "H100 SXM", _GPU, (700, 72), "80G", (89, 95), 4600),
    _known("a100|a800", "a100", "A100 SXM 80GB", _GPU, (400, 60), "80G", (89, 92), 3300),
    _known("rebel", "rebel100", "Rebel100 (RBLN-CR13)", _REBELLIONS, (600, 90), "144G", (75, 115),
           1700),
    _known("ca25|atom.?max", "atom-max", "ATOM-Max (RBLN-CA25)", _REBELLIONS, (87.5, 21.4), "16G",
           (75, 115), 1500),
    _known("ca22|ca12|rbln|atom", "atom-plus", "ATOM+ (RBLN-CA22)", _REBELLIONS, (85, 21.4), "16G",
           (75, 115), 1500),
    _known("rngd|furiosa", "rngd", "RNGD", ("FuriosaAI", "Inference", "furiosa.ai/rngd"),
           (180, 45), "48G", (75, 115), 1560),
)  # fmt: skip
"""The overheads include fans at full speed: data sheets' node power less its devices."""


def known_device(runs: Sequence[Run]) -> KnownDevice | None:
    """The first known type that a file names."""
    for run in runs:
        for one in KNOWN:
            if run.device_name and re.search(one.pattern, run.device_name.lower()):
                return one
    return None


def other_device(runs: Sequence[Run]) -> KnownDevice:
    """What can be said of a type that is not known, from what it drew."""
    top = max(float(np.max(run.power_w)) for run in runs)
    low = min(float(np.percentile(run.power_w, 2)) for run in runs)
    count = len(runs[0].devices)
    loaded = 0.8 * top * _EIGHT if count else 0.0
    return KnownDevice("", "measured", "unknown", "unknown", "Inference", "example.com/device",
                       round(top, 1), round(min(low, top), 1), "1G", 85, 100, loaded)  # fmt: skip


def node_of(device: KnownDevice, devices: int) -> Node:
    """The node of a device type; overhead in proportion to its devices."""
    source = (
        f"catalogue: {device.model}" if device.pattern
        else "assumption: overhead 80 % of the devices' greatest power, as on HGX B200 and H100"
    )  # fmt: skip
    return Node(devices, device.idle_w, device.tdp_w, device.loaded_w * devices / _EIGHT, source)

"""Columns of monitoring files by name: what tools and exporters call a device's temperature."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a column holds."""

    TIME = "time"
    DEVICE = "device"
    NODE = "node"
    NAME = "name"
    TEMPERATURE = "temperature"
    POWER = "power"
    INLET = "inlet"
    FAN = "fan"
    NODE_POWER = "nodePower"
    MEMORY = "memory"
    METRIC = "metric"
    VALUE = "value"
    LABELS = "labels"
    PART = "part"


NAMES: Mapping[Role, tuple[str, ...]] = {
    Role.TIME: (
        "elapsed_seconds", "elapsed_s", "seconds", "time_s", "t", "timestamp", "time", "datetime",
        "date", "ts",
    ),
    Role.DEVICE: (
        "gpu_id", "gpu", "npu_id", "npu", "device_id", "device", "dev", "index", "minor_number",
        "card", "core", "uuid",
    ),
    Role.NODE: ("hostname", "node", "host", "nodename", "server", "instance"),
    Role.NAME: ("gpu_name", "modelname", "model_name", "model", "npu_name", "device_name", "arch"),
    Role.TEMPERATURE: (
        "gpu_temp_c", "temperature_c", "temp_c", "temperature", "temp", "temperature_gpu",
        "dcgm_fi_dev_gpu_temp", "rbln_npu_temperature", "rbln_device_status_temperature",
        "furiosa_npu_hw_temperature",
    ),
    Role.POWER: (
        "gpu_power_w", "power_w", "power", "power_draw", "power_draw_w", "dcgm_fi_dev_power_usage",
        "rbln_npu_power", "rbln_device_status_card_power", "furiosa_npu_hw_power",
    ),
    Role.INLET: ("inlet_temp_c", "inlet_c", "inlet", "inlet_temperature", "inlet_temp"),
    Role.FAN: (
        "fan_sys_avg_rpm", "fan_rpm", "fan_speed_rpm", "fan_avg_rpm", "fan_speed", "fan_percent",
    ),
    Role.NODE_POWER: (
        "dcmi_power_w", "node_power_w", "system_power_w", "node_power", "chassis_power_w",
    ),
    Role.MEMORY: ("dcgm_fi_dev_memory_temp", "memory_temp_c", "hbm_temp_c"),
    Role.METRIC: ("metric", "__name__", "metric_name"),
    Role.VALUE: ("value",),
    Role.LABELS: ("labels", "tags"),
    Role.PART: ("label", "sensor"),
}  # fmt: skip
"""Names by role, most telling first: of gpuburntool, dcgm-exporter, RBLN and FuriosaAI."""

SERIES = (Role.TEMPERATURE, Role.POWER, Role.INLET, Role.FAN, Role.NODE_POWER, Role.MEMORY)
OF_NODE = (Role.INLET, Role.FAN, Role.NODE_POWER)
ASKABLE = tuple(role for role in Role if role not in (Role.LABELS, Role.PART))
_LABELS = re.compile(r"^([^{]*)\{(.*)\}$")
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*"?([^",]*)"?\s*(?:,|$)')


class Series(NamedTuple):
    """One column of values with what its header says of it."""

    column: int
    role: Role
    device: str
    node: str


def plain(name: str) -> str:
    """A name as it is compared."""
    return re.sub(r"[\s\-.:/]+", "_", name.strip().lower())


def split_labels(text: str) -> tuple[str, dict[str, str]]:
    """``metric{gpu="0"}`` as name and labels, keys plain."""
    found = _LABELS.match(text.strip())
    if not found:
        return text.strip(), {}
    return found[1].strip(), {plain(k): v.strip() for k, v in _LABEL.findall(found[2])}


def label(labels: Mapping[str, str], role: Role) -> str:
    """The value of the first label that plays the role."""
    return next((labels[name] for name in NAMES[role] if name in labels), "")


def role_of(name: str) -> Role | None:
    """Role of a metric by its name."""
    word = plain(name)
    return next((role for role in SERIES if word in NAMES[role]), None)


class Layout(NamedTuple):
    """Where things stand in a file."""

    place: dict[Role, int]
    series: tuple[Series, ...]

    @property
    def is_long(self) -> bool:
        """Whether each row is one metric and its value."""
        return Role.METRIC in self.place


def layout(header: Sequence[str], asked: Mapping[Role, str]) -> Layout:
    """Find the columns.

    Parameters
    ----------
    asked
        Column names that the user gave, by role.

    Raises
    ------
    KeyError
        With the words for a name that was given and is not there.
    """
    words = [plain(name) for name in header]
    place: dict[Role, int] = {}
    for role, name in asked.items():
        if plain(name) not in words:
            raise KeyError(f"no column {name!r} (for {role})")
        place[role] = words.index(plain(name))
    taken = set(place.values())
    for role in Role:
        if role not in place:
            at = next((words.index(n) for n in NAMES[role] if n in words), None)
            if at is not None and at not in taken:
                place[role] = at
                taken.add(at)
    if Role.METRIC in place and Role.VALUE not in place:
        del place[Role.METRIC]
    series = [Series(at, role, "", "") for role, at in place.items() if role in SERIES]
    series += _labelled(header, taken)
    return Layout(place, tuple(series))


def _labelled(header: Sequence[str], taken: set[int]) -> list[Series]:
    """Columns such as ``DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="n1"}``, one for each series."""
    found = []
    for at, text in enumerate(header):
        name, labels = split_labels(text)
        role = role_of(name)
        if at not in taken and labels and role is not None:
            found.append(Series(at, role, label(labels, Role.DEVICE), label(labels, Role.NODE)))
    return found

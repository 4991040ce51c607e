"""From a Prometheus answer to readings of devices, with everything checked. Pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfarm_api.profile import AcceleratorProfile, MetricNames
from kfarm_api.units import parse_quantity

MAX_SERIES = 200_000
STALE_S = 300.0
NODE_LABELS = ("Hostname", "hostname", "node", "kubernetes_node", "instance")
DEVICE_LABELS = ("gpu", "name", "device", "npu")
"""Labels of dcgm-exporter, of the RBLN and FuriosaAI exporters, and the usual ones; the first that
a series has counts."""
ROLES = ("temperature", "power", "utilization")
LEAST_C, MOST_C = -50.0, 200.0
MOST_TDPS = 3.0
"""A device that draws more than this many times what it may is not believed."""
_NAME = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?$")
_PAIR = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_STATE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)=(-?[0-9]{1,6})$")
_DIGITS = re.compile(r"([0-9]{1,6})$")
DeviceKey = tuple[str, str]
"""Node and device."""


class BadAnswer(Exception):
    """A server that gives nothing to go by.

    Attributes
    ----------
    reason
        CamelCase word for the condition.
    message
        What is wrong and the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Sample:
    """One series at one time."""

    labels: Mapping[str, str]
    value: float
    at_s: float


@dataclass(frozen=True)
class Query:
    """One question: which role of which profile, and the expression that asks for it."""

    profile: str
    role: str
    metric: str
    expression: str


@dataclass
class Reading:
    """What one round of queries told of the devices of a farm.

    Attributes
    ----------
    values
        By role and device.
    bad
        Devices that a health metric calls bad, and by which.
    refused
        Samples that were not believed; `first_refused` says of one why.
    strangers
        Samples of nodes that are not of the farm.
    """

    values: dict[str, dict[DeviceKey, float]] = field(
        default_factory=lambda: {role: {} for role in ROLES}
    )
    bad: dict[DeviceKey, str] = field(default_factory=dict)
    refused: int = 0
    first_refused: str = ""
    strangers: int = 0

    @property
    def devices(self) -> int:
        """Devices of which a temperature or a power is known."""
        return len(self.values["temperature"].keys() | self.values["power"].keys())

    def refuse(self, why: str) -> None:
        """Count a sample that is not believed."""
        self.refused += 1
        self.first_refused = self.first_refused or why


def read_answer(raw: bytes) -> list[Sample]:
    """Samples of an instant vector.

    Raises
    ------
    BadAnswer
        When the answer is none, or says that the query failed.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _nonsense("it is not JSON") from error
    if not isinstance(body, dict):
        raise _nonsense("it is no object")
    if body.get("status") == "error":
        said = body.get("errorType")
        kind = said if isinstance(said, str) and said.replace("_", "").isalnum() else "unknown"
        raise BadAnswer(
            "QueryFailed",
            f"the Prometheus could not answer a query (error type {kind[:40]}); check "
            "spec.metrics of the profiles and the load of the Prometheus",
        )
    data = body.get("data")
    if body.get("status") != "success" or not isinstance(data, dict):
        raise _nonsense("it has no status or data")
    result = data.get("result")
    if data.get("resultType") != "vector" or not isinstance(result, list):
        raise _nonsense("it is no instant vector")
    if len(result) > MAX_SERIES:
        raise BadAnswer(
            "TooLarge",
            f"an answer has {len(result)} series, more than the {MAX_SERIES} that are read; "
            "narrow it down by telemetry.prometheus.matchers",
        )
    return [_sample(item) for item in result]


def _nonsense(why: str) -> BadAnswer:
    return BadAnswer(
        "BadAnswer",
        f"the answer is not that of a Prometheus: {why}; check telemetry.prometheus.url",
    )


def _sample(item: Any) -> Sample:
    try:
        labels, (at, text) = item["metric"], item["value"]
        if not isinstance(text, str) or isinstance(at, bool):
            raise _nonsense("a sample's value is no text")
        pairs = {str(key): str(value) for key, value in labels.items()}
        return Sample(pairs, _number(text), float(at))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _nonsense("a sample cannot be read") from error


def _number(text: str) -> float:
    """A value as Prometheus writes it; what is none is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def queries(
    profiles: Iterable[AcceleratorProfile], matchers: Mapping[str, str]
) -> tuple[list[Query], list[str]]:
    """What to ask for devices of these profiles, and names that are none."""
    found: list[Query] = []
    wrong: list[str] = []
    for profile in profiles:
        names = profile.spec.metrics
        if names is None:
            continue
        asked: list[tuple[str, str, str | None]] = [
            (role, str(getattr(names, role) or ""), None) for role in ROLES
        ]
        asked += [("bad", name, state) for name, state in bad_states(profile)]
        for role, name, state in asked:
            if not name:
                continue
            text = _expression(names, name, state, matchers)
            if text is None:
                wrong.append(f"{profile.metadata.name}: {name!r}")
            else:
                metric = name if state is None else f"{name}={state}"
                found.append(Query(profile.metadata.name, role, metric, text))
    return found, wrong


def bad_states(profile: AcceleratorProfile) -> list[tuple[str, str]]:
    """Metrics and the value that calls a device bad, from faults such as `rbln_npu_health=1`."""
    codes = [fault.code for fault in profile.spec.faults if fault.kind == "Health"]
    matches = [_STATE.match(code) for code in codes]
    return [(match[1], match[2]) for match in matches if match]


def _expression(
    names: MetricNames, name: str, state: str | None, matchers: Mapping[str, str]
) -> str | None:
    split = _NAME.match(name.strip())
    if split is None:
        return None
    text = split[2] or ""
    own = _PAIR.findall(text)
    if _PAIR.sub("", text).strip():
        return None
    parts = [f'{label}="{value}"' for label, value in own]
    parts += [f'{label}="{_escaped(value)}"' for label, value in sorted(matchers.items())]
    nodes = (names.node_label,) if names.node_label else NODE_LABELS
    devices = (names.device_label,) if names.device_label else DEVICE_LABELS
    compared = "" if state is None else f" == {state}"
    selector = f"{split[1]}{{{','.join(parts)}}}"
    return f"max by ({','.join((*nodes, *devices))}) ({selector}{compared})"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def take(
    reading: Reading,
    query: Query,
    samples: Iterable[Sample],
    profile: AcceleratorProfile,
    nodes: Mapping[str, str],
    now_s: float,
) -> None:
    """Add the samples of one query to a reading.

    Parameters
    ----------
    nodes
        Names of the nodes that carry this profile, by whatever a label may call them.
    """
    names = profile.spec.metrics or MetricNames()
    least, most = _plausible(query.role, profile)
    for sample in samples:
        node = _node(sample.labels, names, nodes)
        if node is None:
            reading.strangers += 1
            continue
        device = _device(sample.labels, names)
        problem = _unbelievable(sample, least, most, now_s)
        if problem:
            reading.refuse(f"{query.metric} of {node}, device {device[:40]!r}: {problem}")
        elif query.role == "bad":
            reading.bad.setdefault((node, device), query.metric)
        else:
            values = reading.values[query.role]
            value = sample.value / (_shared(profile) if query.role == "power" else 1)
            values[node, device] = max(value, values.get((node, device), -math.inf))


def _plausible(role: str, profile: AcceleratorProfile) -> tuple[float, float]:
    if role == "temperature":
        return LEAST_C, MOST_C
    if role == "power":
        return 0.0, MOST_TDPS * parse_quantity(profile.spec.power.tdp) * _shared(profile)
    if role == "utilization":
        return 0.0, 100.0
    return -1e6, 1e6


def _shared(profile: AcceleratorProfile) -> int:
    """Devices whose power one value is."""
    names = profile.spec.metrics
    return profile.spec.devices_per_card if names and names.power_of == "Card" else 1


def _unbelievable(sample: Sample, least: float, most: float, now_s: float) -> str:
    if not math.isfinite(sample.value):
        return f"{sample.value} is no number"
    if not least <= sample.value <= most:
        return f"{sample.value:g} is not between {least:g} and {most:g}"
    if not abs(sample.at_s - now_s) <= STALE_S:
        return f"its time is {sample.at_s - now_s:+.0f} s from now"
    return ""


def _node(labels: Mapping[str, str], names: MetricNames, nodes: Mapping[str, str]) -> str | None:
    wanted = (names.node_label,) if names.node_label else NODE_LABELS
    for label in wanted:
        said = labels.get(label, "")
        for word in (said, said.partition(":")[0], said.partition(".")[0]):
            if word in nodes:
                return nodes[word]
    return None


def _device(labels: Mapping[str, str], names: MetricNames) -> str:
    wanted = (names.device_label,) if names.device_label else DEVICE_LABELS
    return next((labels[label] for label in wanted if labels.get(label)), "")


def device_order(device: str) -> tuple[int, str]:
    """Sorts `npu2` before `npu10`."""
    found = _DIGITS.search(device)
    return (int(found[1]) if found else 0, device)

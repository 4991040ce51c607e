"""A fitted law as an AcceleratorProfile, and a profile as a law."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import DevicePosition, Fans
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.fit.thermal_devices import KnownDevice
from kfarm_twin.fit.thermal_fit import ThermalFit
from kfarm_twin.fit.thermal_law import ThermalLaw
from kfarm_twin.fit.thermal_overhead import Node, OverheadLaw

ANNOTATION = "kfarm.dev/thermal-calibration"
"""What belongs to the measured node and not to its type, and what the API has no field for."""
DEFAULT_SHARE = 0.5
LEVELS = 33
HAS_SHARE = "inlet" in DevicePosition.model_fields
NANOSECONDS = 1e9


@dataclass(frozen=True)
class FanLaw:
    """How fans turn where no file says: fixed, or by the hottest device."""

    is_fixed: bool
    speed: float
    least: float
    target_c: float
    full_speed: float | None
    dwell_s: float = 10.0

    @property
    def levels(self) -> Sequence[float]:
        """Speeds as shares of full, rising."""
        return [self.speed] if self.is_fixed else np.linspace(self.least, 1.0, LEVELS).tolist()


@dataclass(frozen=True)
class Calibrated:
    """A profile as numbers.

    Attributes
    ----------
    law
        Positions as many as the profile has; `for_devices` repeats them.
    inlet_c
        Inlet where the profile was measured, for files without; None where the profile has none.
    overhead_warms
        Whether overhead and fans warm the devices' air, or the devices alone.
    """

    name: str
    law: ThermalLaw
    idle_w: float
    tdp_w: float
    overhead_idle_w: float
    overhead_loaded_w: float
    fan_w: float
    fan_exponent: float
    fans: FanLaw | None
    inlet_c: float | None
    overhead_warms: bool = True

    def for_devices(self, devices: int) -> tuple[ThermalLaw, OverheadLaw]:
        """Law and overhead of a node with so many devices; positions are repeated."""
        at = np.arange(devices) % self.law.die.size
        law = ThermalLaw(
            self.law.die[at], self.law.sink[at], self.law.rise, self.law.share[at],
            self.law.offset[at], self.law.exponent, self.law.die_time, self.law.sink_time[at],
        )  # fmt: skip
        span = max(devices * (self.tdp_w - self.idle_w), 1e-9)
        slope = (self.overhead_loaded_w - self.overhead_idle_w) / span
        overhead = OverheadLaw(
            self.overhead_idle_w, slope, self.fan_w, self.fan_exponent, devices * self.idle_w,
            self.overhead_warms,
        )  # fmt: skip
        return law, overhead


def quantity(value: float, digits: int = 6) -> str:
    """A number as the API writes quantities."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


def to_body(
    fit: ThermalFit, fans: FanLaw | None, device: KnownDevice, base: AcceleratorProfile | None,
    files: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """The profile as a manifest's body; measured fields replace those of `base`."""
    body = _base_body(device) if base is None else base.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True
    )  # fmt: skip
    spec = body["spec"]
    law, overhead = fit.law, fit.overhead.law
    die, sink = _middle(law.die), _middle(law.sink)
    path = {
        "die": quantity(die), "dieTime": _seconds(float(law.die_time)),
        "sinkTime": _seconds(_middle(law.sink_time)),
        "flowExponent": quantity(float(law.exponent), 4),
        "inletRise": _inlet_rise(fit),
        "positions": _positions(law, die, sink),
    }  # fmt: skip
    spec.setdefault("thermalResistance", {})["air"] = quantity(
        float(quantity(die)) + float(quantity(sink))
    )
    spec.setdefault("thermal", {})["air"] = path
    span = fit.node.devices * (fit.node.tdp_w - fit.node.idle_w)
    spec["nodeOverhead"] = {
        "idle": quantity(overhead.idle_w, 1),
        "loaded": quantity(overhead.idle_w + overhead.slope * span, 1),
    }
    if fans is not None:
        spec["nodeOverhead"]["fans"] = _fans(fans, overhead)
    spec["sources"] = _sources(fit, fans, files, spec.get("sources", []))
    metadata = body["metadata"]
    metadata.setdefault("annotations", {})[ANNOTATION] = json.dumps(_extra(fit, overhead))
    return body


def _inlet_rise(fit: ThermalFit) -> str:
    """The air's rise as the API counts it.

    With shares of positions, per watt of the node. Without, per watt of all devices: what it comes
    to, mean of the positions, at their greatest power and full flow.
    """
    law, overhead = fit.law, fit.overhead.law
    if HAS_SHARE:
        return quantity(float(law.rise))
    devices = np.array(fit.node.devices * fit.node.tdp_w)
    fans, other = overhead.air_heat(devices, np.array(1.0))
    return quantity(float(law.rise * (fans + law.share.mean() * other) / devices))


def _base_body(device: KnownDevice) -> dict[str, Any]:
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "AcceleratorProfile",
        "metadata": {"name": device.name},
        "spec": {
            "vendor": device.vendor,
            "model": device.model,
            "uses": [device.use],
            "resourceNames": [device.resource],
            "power": {"tdp": quantity(device.tdp_w), "idle": quantity(device.idle_w)},
            "memory": {"capacity": device.memory},
            "temperature": {
                "throttle": str(device.throttle_c), "shutdown": str(device.shutdown_c)
            },
            "sources": [
                {"field": field, "source": _said(device), "confidence": "Low"}
                for field in ("power", "memory.capacity", "temperature")
            ],
        },
    }  # fmt: skip


def _said(device: KnownDevice) -> str:
    if device.pattern:
        return f"as {device.model} in the catalogue, examples/catalogue"
    return "assumption: greatest and least power seen; memory and limits are placeholders"


def _middle(values: Any) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _seconds(value: float) -> str:
    return f"{max(value, 0.001):.3f}s"


def _positions(law: ThermalLaw, die: float, sink: float) -> list[dict[str, str]]:
    rows, time = [], _middle(law.sink_time)
    for i in range(law.die.size):
        row = {"die": quantity(law.die[i] / die, 4), "sink": quantity(law.sink[i] / sink, 4)}
        if HAS_SHARE:
            row["inlet"] = quantity(float(law.share[i]), 4)
        if "time" in DevicePosition.model_fields:
            row["time"] = quantity(law.sink_time[i] / time, 4)
        rows.append(row)
    return rows


def _fans(fans: FanLaw, overhead: OverheadLaw) -> dict[str, Any]:
    out: dict[str, Any] = {"power": quantity(overhead.fan_w, 1)}
    if fans.is_fixed:
        out |= {"regime": "Fixed", "speed": max(1, min(100, round(100 * fans.speed)))}
    else:
        out |= {
            "regime": "Automatic", "least": max(1, min(100, round(100 * fans.least))),
            "target": quantity(fans.target_c, 1), "levels": LEVELS, "dwell": f"{fans.dwell_s:.1f}s",
        }  # fmt: skip
    if fans.full_speed is not None and fans.full_speed >= 1:
        out["fullSpeed"] = round(fans.full_speed)
    if "exponent" in Fans.model_fields:
        out["exponent"] = quantity(overhead.exponent, 4)
    return out


def _extra(fit: ThermalFit, overhead: OverheadLaw) -> dict[str, Any]:
    law_time = fit.law.sink_time
    return {
        "inletCelsius": round(fit.inlet_c, 2),
        "offsetKelvin": [round(float(v), 3) for v in fit.law.offset],
        "inletRise": _inlet_rise(fit),
        "airRise": round(float(fit.law.rise), 8),
        "inletShare": [round(float(v), 4) for v in fit.law.share],
        "sinkTimeFactor": [round(float(v), 4) for v in law_time / _middle(law_time)],
        "fanExponent": round(overhead.exponent, 4),
    }


def _sources(
    fit: ThermalFit, fans: FanLaw | None, files: Sequence[str], kept: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    what = f"kfarm fit thermal, {len(fit.runs)} runs: {', '.join(files)}"
    what = what if len(what) <= 480 else what[:470] + " ..."
    measured = [("thermalResistance.air", what, "Medium"), ("thermal.air", what, "Medium")]
    if fit.is_fixed or fit.full_speed is None:
        told = "prior, the flow did not change: laminar boundary layer between fins, Nu ~ Re^1/2"
        measured.append(("thermal.air.flowExponent", told, "Low"))
    has_power = fit.overhead.samples > 0
    measured.append(("nodeOverhead", what if has_power else f"prior: {fit.node.source}",
                     "Medium" if has_power else "Low"))  # fmt: skip
    if fans is not None and not has_power:
        measured.append(("nodeOverhead.fans.power", "prior: 15 % of a node's power", "Low"))
    fields = {field for field, _, _ in measured}
    rest = [dict(one) for one in kept if one["field"] not in fields and not _is_stale(one["field"])]
    new = [{"field": f, "source": s, "confidence": c} for f, s, c in measured]
    return (rest + new)[-64:]


def _is_stale(field: str) -> bool:
    """Whether a source speaks of what the fit replaced."""
    return field.startswith(("thermal.air", "thermalResistance.air", "nodeOverhead."))


def from_profile(profile: AcceleratorProfile) -> Calibrated:
    """Read a profile; one without `thermal.air` gets the twin's defaults.

    Raises
    ------
    ValueError
        Where the profile has no air cooling.
    """
    spec = profile.spec
    if spec.thermal_resistance.air is None:
        raise ValueError("thermalResistance.air")
    whole = parse_quantity(spec.thermal_resistance.air)
    air = spec.thermal.air if spec.thermal else None
    extra = _annotation(profile)
    die = parse_quantity(air.die) if air else whole / 3
    positions = air.positions if air else []
    count = max(len(positions), 1)
    rise = parse_quantity(air.inlet_rise) if air else 0.0
    is_ours = air is not None and extra.get("inletRise") == air.inlet_rise
    by_devices = not HAS_SHARE and not is_ours
    if is_ours and not HAS_SHARE:
        rise = extra["airRise"]
    share = _of_positions(
        positions, "inlet", [1.0] if by_devices else extra.get("inletShare", [DEFAULT_SHARE]), count
    )
    factor = _of_positions(positions, "time", extra.get("sinkTimeFactor", [1.0]), count)
    sink_time = parse_duration_ns(air.sink_time) / NANOSECONDS if air else 90.0
    law = ThermalLaw(
        die=die * np.array([parse_quantity(p.die) for p in positions] or [1.0]),
        sink=(whole - die) * np.array([parse_quantity(p.sink) for p in positions] or [1.0]),
        rise=np.array(rise),
        share=share,
        offset=np.resize(np.array(extra.get("offsetKelvin", [0.0]), dtype=float), count),
        exponent=np.array(parse_quantity(air.flow_exponent) if air else 0.8),
        die_time=np.array(parse_duration_ns(air.die_time) / NANOSECONDS if air else 5.0),
        sink_time=sink_time * factor,
    )
    return _with_overhead(profile, law, extra, warms=not by_devices)


def _of_positions(
    positions: Sequence[DevicePosition], field: str, otherwise: Sequence[float], count: int
) -> Any:
    """A field of the positions [count]; where the API lacks it, what the annotation says."""
    if field in DevicePosition.model_fields and positions:
        return np.array([parse_quantity(getattr(p, field)) for p in positions])
    return np.resize(np.array(otherwise, dtype=float), count)


def _with_overhead(
    profile: AcceleratorProfile, law: ThermalLaw, extra: Mapping[str, Any], *, warms: bool
) -> Calibrated:
    spec = profile.spec
    fans = spec.node_overhead.fans
    exponent = getattr(fans, "exponent", None) if fans else None
    return Calibrated(
        name=profile.metadata.name, law=law,
        idle_w=parse_quantity(spec.power.idle), tdp_w=parse_quantity(spec.power.tdp),
        overhead_idle_w=parse_quantity(spec.node_overhead.idle),
        overhead_loaded_w=parse_quantity(spec.node_overhead.loaded),
        fan_w=parse_quantity(fans.power) if fans else 0.0,
        fan_exponent=parse_quantity(exponent) if exponent else extra.get("fanExponent", 3.0),
        fans=_fan_law(fans) if fans else None, inlet_c=extra.get("inletCelsius"),
        overhead_warms=warms,
    )  # fmt: skip


def _fan_law(fans: Fans) -> FanLaw:
    return FanLaw(
        is_fixed=fans.regime == "Fixed",
        speed=(fans.speed or 100) / 100,
        least=fans.least / 100,
        target_c=parse_quantity(fans.target) if fans.target else 60.0,
        full_speed=float(fans.full_speed) if fans.full_speed else None,
        dwell_s=parse_duration_ns(fans.dwell) / NANOSECONDS,
    )


def _annotation(profile: AcceleratorProfile) -> dict[str, Any]:
    """The annotation where it is sound, else nothing."""
    try:
        data = json.loads(profile.metadata.annotations.get(ANNOTATION, "{}"))
    except json.JSONDecodeError:
        return {}
    if not isinstance(data, dict):
        return {}
    out: dict[str, Any] = {}
    for key in ("offsetKelvin", "inletShare", "sinkTimeFactor"):
        rows = data.get(key)
        if isinstance(rows, list) and rows and all(_is_number(v) for v in rows):
            out[key] = rows
    if isinstance(data.get("inletRise"), str) and _is_number(data.get("airRise")):
        out |= {"inletRise": data["inletRise"], "airRise": float(data["airRise"])}
    for key in ("inletCelsius", "fanExponent"):
        if _is_number(data.get(key)):
            out[key] = float(data[key])
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def node_of_profile(profile: AcceleratorProfile, devices: int) -> Node:
    """What a profile knows of its node before the node is measured."""
    spec = profile.spec
    fans = spec.node_overhead.fans
    loaded = parse_quantity(spec.node_overhead.loaded) + (parse_quantity(fans.power) if fans else 0)
    return Node(
        devices, parse_quantity(spec.power.idle), parse_quantity(spec.power.tdp), loaded,
        f"profile {profile.metadata.name}",
    )  # fmt: skip

"""AcceleratorProfile: one device type as data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import (
    BY_NAME,
    Cel,
    Conditions,
    KindInfo,
    Labels,
    ListOf,
    Metadata,
    Name,
    ResourceName,
    Strict,
    Text,
)
from kfarm_api.telemetry import LabelName
from kfarm_api.thermal import Fans, OverheadPart, Thermal
from kfarm_api.units import Bounds, Quantity, parse_quantity

Use = Literal["Training", "Inference"]
Confidence = Literal["High", "Medium", "Derived", "Low"]

Watts = Annotated[Quantity, Bounds("0", "1G", "W")]
Celsius = Annotated[Quantity, Bounds("-50", "200", "degC")]
KelvinPerWatt = Annotated[Quantity, Bounds("0", "10", "K/W", exclusive_least=True)]
OperationsPerSecond = Annotated[
    Quantity, Bounds("0", "1000P", "operations/s", exclusive_least=True)
]


class DevicePower(Strict):
    """Power of one schedulable device [W]."""

    tdp: Watts
    idle: Watts
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "quantity(string(self.idle)).compareTo(quantity(string(self.tdp))) <= 0",
            "power.idle must not exceed power.tdp",
            lambda p: parse_quantity(p.idle) <= parse_quantity(p.tdp),
        ),
    )


class DeviceMemory(Strict):
    """On-device memory: capacity [B] and bandwidth [B/s]."""

    capacity: Annotated[Quantity, Bounds("0", "1P", "B", exclusive_least=True)]
    bandwidth: Annotated[Quantity, Bounds("0", "1P", "B/s", exclusive_least=True)] | None = None


class DeviceRates(Strict):
    """Dense rates by precision [operations/s]; left out where no figure is known."""

    fp16: OperationsPerSecond | None = None
    bf16: OperationsPerSecond | None = None
    fp8: OperationsPerSecond | None = None
    fp4: OperationsPerSecond | None = None
    int8: OperationsPerSecond | None = None
    int4: OperationsPerSecond | None = None


class DeviceTemperature(Strict):
    """Limits of the device temperature [degC]: where it slows and where it switches off."""

    throttle: Celsius
    shutdown: Celsius
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "quantity(string(self.throttle)).compareTo(quantity(string(self.shutdown))) < 0",
            "temperature.throttle must lie below temperature.shutdown",
            lambda t: parse_quantity(t.throttle) < parse_quantity(t.shutdown),
        ),
    )


class ThermalResistance(Strict):
    """Device to coolant [K/W], by kind of cooling; a kind left out is not supported."""

    air: KelvinPerWatt | None = None
    liquid: KelvinPerWatt | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.air) || has(self.liquid)",
            "thermalResistance needs air, liquid or both",
            lambda r: r.air is not None or r.liquid is not None,
        ),
    )


class NodeOverhead(Strict):
    """What a node draws beside its accelerators [W]: CPU, memory, NIC, fans.

    Where `fans` are described, `idle` and `loaded` are without them. `parts` say what else is in
    the two; what they leave is shown as other.
    """

    idle: Watts
    loaded: Watts
    parts: Annotated[list[OverheadPart], Field(max_length=16), BY_NAME] = Field(
        default_factory=list
    )
    fans: Fans | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "quantity(string(self.idle)).compareTo(quantity(string(self.loaded))) <= 0",
            "nodeOverhead.idle must not exceed nodeOverhead.loaded",
            lambda p: parse_quantity(p.idle) <= parse_quantity(p.loaded),
        ),
    )


class MetricNames(Strict):
    """Names under which an exporter publishes the device; data, since they change.

    A name may carry labels that its series must have, such as
    ``furiosa_npu_hw_temperature{label="peak"}``. `node_label` and `device_label` say which label
    names the node and which the device; where they are left out the usual ones are looked for.
    `power_of` ``Card`` says that each device shows what its whole card draws.
    """

    temperature: Text | None = None
    power: Text | None = None
    utilization: Text | None = None
    health: Text | None = None
    node_label: LabelName | None = None
    device_label: LabelName | None = None
    power_of: Literal["Device", "Card"] | None = None


class FaultCode(Strict):
    """A fault as the device or its driver names it, and the failure class that it stands for.

    `kind` is ``XID`` for numbers of NVIDIA's driver, ``Health`` for states of an NPU or its plugin.
    `action` is what the vendor says to do.
    """

    kind: Literal["XID", "Health"]
    code: Annotated[str, Field(min_length=1, max_length=64)]
    failure_class: Name
    action: Literal["None", "RestartApp", "DeviceReset", "Reboot", "Exchange"] = "None"
    summary: Text | None = None


class Source(Strict):
    """Where a figure of this profile comes from."""

    field: Annotated[str, Field(min_length=1, max_length=64)]
    source: Annotated[str, Field(min_length=1, max_length=512)]
    confidence: Confidence


def _die_below_total(kind: Literal["air", "liquid"]) -> Cel:
    """The rule that the die is one part of the whole resistance."""
    total, die = f"self.thermalResistance.{kind}", f"self.thermal.{kind}.die"

    def holds(spec: AcceleratorProfileSpec) -> bool:
        path = getattr(spec.thermal, kind, None)
        whole = getattr(spec.thermal_resistance, kind)
        return path is None or (
            whole is not None and parse_quantity(path.die) < parse_quantity(whole)
        )

    return Cel(
        f"!has(self.thermal) || !has(self.thermal.{kind}) || (has({total}) &&"
        f" quantity(string({die})).compareTo(quantity(string({total}))) < 0)",
        f"thermal.{kind}.die must lie below thermalResistance.{kind}, of which it is a part",
        holds,
    )


class AcceleratorProfileSpec(Strict):
    """One device type: what it is called, draws, computes and tolerates."""

    vendor: Text
    model: Text
    uses: Annotated[list[Use], Field(min_length=1, max_length=2), ListOf()]
    resource_names: Annotated[list[ResourceName], Field(min_length=1, max_length=8)]
    node_labels: Labels = Field(default_factory=dict)
    devices_per_card: Annotated[int, Field(ge=1, le=64)] = 1
    power: DevicePower
    memory: DeviceMemory
    rates: DeviceRates = Field(default_factory=DeviceRates)
    temperature: DeviceTemperature
    thermal_resistance: ThermalResistance
    thermal: Thermal | None = None
    node_overhead: NodeOverhead
    metrics: MetricNames | None = None
    faults: Annotated[list[FaultCode], Field(max_length=64), ListOf(("kind", "code"))] = Field(
        default_factory=list
    )
    sources: Annotated[list[Source], Field(max_length=64)] = Field(default_factory=list)
    rules: ClassVar[tuple[Cel, ...]] = (_die_below_total("air"), _die_below_total("liquid"))


class AcceleratorProfileStatus(Strict):
    """Written by the operator."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    conditions: Conditions = Field(default_factory=list)


class AcceleratorProfile(Strict):
    """A device type of the catalogue."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="acceleratorprofiles",
        short="accprof",
        scope="Cluster",
        columns=(
            ("Vendor", "string", ".spec.vendor", 0),
            ("Model", "string", ".spec.model", 0),
            ("Resource", "string", ".spec.resourceNames[0]", 0),
            ("TDP", "string", ".spec.power.tdp", 0),
            ("Uses", "string", ".spec.uses", 1),
        ),
        summary="one accelerator device type",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["AcceleratorProfile"] = "AcceleratorProfile"
    metadata: Metadata
    spec: AcceleratorProfileSpec
    status: AcceleratorProfileStatus | None = None

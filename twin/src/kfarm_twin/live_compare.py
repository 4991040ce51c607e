"""Predicted beside observed: the farm at rest under the measured powers, against its thermometers.

``python -m kfarm_twin.live_compare`` reads a `CompareRequest` as JSON and writes `Compared`.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass

import numpy as np
from kfarm_api.telemetry import Suggestion
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.compile import ClusterRef, cluster_refs
from kfarm_twin.heat import Change, play
from kfarm_twin.heat_describe import describe_heat
from kfarm_twin.heat_tables import compile_heat
from kfarm_twin.kernels import heat_alone as alone
from kfarm_twin.live_request import ClusterDrift, Compared, CompareRequest

NS_PER_1000_DAYS = 86_400e9 * 1000
LEAST_SPREAD_K = 2.0
"""Of the predicted rises: below it their slope, and so the resistance, cannot be told."""
LEAST_SLOPE = 0.02
"""A resistance that is nearer than this to the one described is not worth a word."""
LEAST_DEVICES = 8
Z95 = 1.959963984540054
LIMIT_MARGIN_K = 0.5
"""A device this near to its throttle limit is pinned there and tells nothing."""
MEMORY_BYTES = 2 << 30


@dataclass(frozen=True)
class _Measured:
    """Of all nodes in the order of the engine [N, D]; NaN where nothing is known."""

    temperature: Floats
    power: Floats
    utilization: Floats


@dataclass(frozen=True)
class _Line:
    """Observed rises as a straight line of predicted ones: offset [K], slope, standard errors."""

    offset: float
    slope: float
    offset_error: float
    slope_error: float
    samples: int


def compare(request: CompareRequest) -> Compared:
    """Predict each device's temperature and power, and set both beside what was measured.

    The temperature is that of the farm at rest under the powers that were measured; where only
    temperatures were measured, under the power that the utilisation stands for.

    Raises
    ------
    InputError
        When the farm cannot be described to the heat engine.
    """
    refs = cluster_refs([request.farm], request.profiles)
    nodes = sum(ref.cluster.nodes for ref in refs)
    most = max(ref.cluster.accelerators_per_node for ref in refs)
    measured = _measured(request, refs, nodes, most)
    said_w = _said_power(refs, measured)
    power = np.where(np.isnan(measured.power), said_w, measured.power)
    die, inlet = _at_rest(refs, power)
    return Compared(clusters=[_drift(ref, measured, said_w, die, inlet) for ref in refs])


def _measured(request: CompareRequest, refs: list[ClusterRef], nodes: int, most: int) -> _Measured:
    first = {ref.cluster.name: ref for ref in refs}
    tables = _Measured(*(np.full((nodes, most), np.nan) for _ in range(3)))
    for node in request.nodes:
        ref = first.get(node.cluster)
        if ref is None or not 0 <= node.index < ref.cluster.nodes:
            continue
        for table, values in (
            (tables.temperature, node.temperature),
            (tables.power, node.power),
            (tables.utilization, node.utilization),
        ):
            row = values[: ref.cluster.accelerators_per_node]
            known = [np.nan if value is None else value for value in row]
            table[ref.first_node + node.index, : len(known)] = known
    return tables


def _rows(ref: ClusterRef) -> slice:
    return slice(ref.first_node, ref.first_node + ref.cluster.nodes)


def _said_power(refs: list[ClusterRef], measured: _Measured) -> Floats:
    """What the twin says that devices draw at the utilisation measured; NaN where none was."""
    said = np.full_like(measured.power, np.nan)
    for ref in refs:
        idle, tdp = ref.facts.idle_device_mw / 1000.0, ref.facts.tdp_device_mw / 1000.0
        cap = ref.facts.cap_device_mw / 1000.0
        drawn = idle + (tdp - idle) * measured.utilization[_rows(ref)] / 100.0
        said[_rows(ref)] = np.minimum(drawn, cap) if cap > 0.0 else drawn
    return said


def _at_rest(refs: list[ClusterRef], power: Floats) -> tuple[Floats, Floats]:
    """Temperatures of devices [N, D] and of what cools them [N] under these powers."""
    schedule: list[Change] = []
    for ref in refs:
        facts = ref.facts
        idle = facts.idle_device_mw / 1000.0
        span = (facts.tdp_device_mw - facts.idle_device_mw) / 1000.0
        more = (facts.loaded_overhead_mw - facts.idle_overhead_mw) / 1000.0
        for node in range(ref.first_node, ref.first_node + ref.cluster.nodes):
            drawn = np.nan_to_num(power[node, : facts.devices], nan=idle)
            load = float(np.clip((drawn - idle) / span, 0.0, 1.0).mean()) if span > 0.0 else 0.0
            beside = facts.idle_overhead_mw / 1000.0 + more * load
            schedule.append(Change(0.0, alone.OVERHEAD, node, beside))
            schedule += [
                Change(0.0, alone.POWER, node, float(watts), device, 1)
                for device, watts in enumerate(drawn)
            ]
    found = play(
        compile_heat(describe_heat(refs).farm), schedule, horizon_s=1.0, samples_s=[0.0], log=1
    )
    return found.die_c[0], found.inlet_c[0]


def _drift(
    ref: ClusterRef, measured: _Measured, said_w: Floats, die: Floats, inlet: Floats
) -> ClusterDrift:
    rows = _rows(ref)
    shown, said = measured.temperature[rows], die[rows]
    watts, meant = measured.power[rows], said_w[rows]
    # a temperature says something only of a device whose power is known as well
    known = ~np.isnan(shown) & ~(np.isnan(watts) & np.isnan(meant))
    errors = (shown - said)[known]
    power_errors = (watts - meant)[~np.isnan(watts) & ~np.isnan(meant)]
    tdp = ref.facts.tdp_device_mw / 1000.0
    rate = sum(mode.node_rate_per_ns(ref.facts.devices) for mode in ref.facts.modes)
    below = known & (said < ref.facts.throttle_c - LIMIT_MARGIN_K)
    air = np.broadcast_to(inlet[rows][:, None], said.shape)
    return ClusterDrift(
        name=ref.cluster.name,
        devices=int(known.sum()),
        observed_c=_mean(shown[known]),
        predicted_c=_mean(said[known]),
        error_k=_mean(errors),
        error_p95_k=float(np.percentile(np.abs(errors), 95)) if len(errors) else None,
        power_w=_mean(watts[~np.isnan(watts)]),
        power_error_percent=_mean(100.0 * power_errors / tdp),
        failures_per_1000_node_days=rate * NS_PER_1000_DAYS,
        suggestions=_suggest(ref, _line((said - air)[below], (shown - air)[below])),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _line(predicted: Floats, observed: Floats) -> _Line | None:
    """Least squares; where the rises hardly differ the slope is held at 1."""
    count = len(predicted)
    if count < LEAST_DEVICES:
        return None
    centre = predicted.mean()
    spread = float(((predicted - centre) ** 2).sum())
    if spread < count * LEAST_SPREAD_K**2:
        miss = observed - predicted
        error = float(miss.std(ddof=1)) / count**0.5
        return _Line(float(miss.mean()), 1.0, error, 0.0, count)
    slope = float(((predicted - centre) * (observed - observed.mean())).sum()) / spread
    offset = float(observed.mean()) - slope * float(centre)
    residual = observed - offset - slope * predicted
    variance = float((residual**2).sum()) / (count - 2)
    return _Line(
        offset,
        slope,
        (variance * (1.0 / count + float(centre) ** 2 / spread)) ** 0.5,
        (variance / spread) ** 0.5,
        count,
    )


def _suggest(ref: ClusterRef, line: _Line | None) -> list[Suggestion]:
    """Parameters whose interval leaves out what is described."""
    if line is None:
        return []
    kind = "liquid" if ref.cluster.cooling.type == "Liquid" else "air"
    supply = parse_quantity(ref.cluster.cooling.supply_temperature)
    found = []
    if abs(line.offset) > Z95 * line.offset_error and abs(line.offset) >= LIMIT_MARGIN_K:
        basis = (
            "mean of observed less predicted; powers differ too little to tell it from the"
            " resistance"
            if line.slope_error == 0.0
            else "intercept of observed rises over predicted ones"
        )
        found.append(
            _suggestion(
                ref, "cooling.supplyTemperature", "degC", basis, line.samples,
                (supply, supply + line.offset, Z95 * line.offset_error), 1,
            )
        )  # fmt: skip
    off = abs(line.slope - 1.0)
    if line.slope_error > 0.0 and off > Z95 * line.slope_error and off >= LEAST_SLOPE:
        present = ref.facts.resistance_k_per_w
        found.append(
            _suggestion(
                ref, f"{ref.cluster.accelerator}: thermalResistance.{kind}", "K/W",
                "slope of observed rises over predicted ones", line.samples,
                (present, present * line.slope, Z95 * present * line.slope_error), 5,
            )
        )  # fmt: skip
    return found


def _suggestion(
    ref: ClusterRef, parameter: str, unit: str, basis: str, samples: int,
    figures: tuple[float, float, float], digits: int,
) -> Suggestion:  # fmt: skip
    present, best, half = figures
    return Suggestion(
        cluster=ref.cluster.name,
        parameter=parameter,
        present=f"{present:.{digits}f}",
        suggested=f"{best:.{digits}f}",
        low=f"{best - half:.{digits}f}",
        high=f"{best + half:.{digits}f}",
        unit=unit,
        samples=samples,
        basis=basis,
    )


def main() -> int:
    """Answer one request; exit code 2 for input at fault, with a sentence on standard error."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        request = CompareRequest.model_validate_json(sys.stdin.buffer.read())
        found = compare(request)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(found.model_dump_json(by_alias=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())

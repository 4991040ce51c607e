"""Results as Arrow tables, with the unit of each column in its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from kfarm_api.metrics import METRICS

from kfarm_twin.arrays import METRIC_ORDER, EventLog, Floats, Ints, Outcome
from kfarm_twin.compile import Model
from kfarm_twin.kernels.changes import DEVICE_BACK, DEVICE_LOST, DRAINED, RAIL_LOST, SLOWED, SPOILT
from kfarm_twin.kernels.gangs import MOVED, SAVES, STARTED, STOPPED, WAITS
from kfarm_twin.kernels.heap import FAILED, FINISHED, REPAIRED
from kfarm_twin.kernels.warmth import COOLED, OVERHEATED, THROTTLED
from kfarm_twin.steady import Steady

NS_PER_S = 1e9
EVENT_NAMES = {
    REPAIRED: "NodeRepaired",
    FAILED: "NodeFailed",
    FINISHED: "UnitFinished",
    STOPPED: "UnitStopped",
    STARTED: "UnitStarted",
    MOVED: "SlotMoved",
    WAITS: "UnitWaits",
    SAVES: "UnitSaves",
    DRAINED: "NodeDrained",
    DEVICE_LOST: "DeviceLost",
    DEVICE_BACK: "DeviceRepaired",
    SLOWED: "NodeSpeedChanged",
    SPOILT: "NodeCorrupts",
    RAIL_LOST: "RailLost",
    OVERHEATED: "NodeOverheated",
    COOLED: "NodeCooled",
    THROTTLED: "NodeThrottled",
}


def field(name: str, kind: Any, unit: str, doc: str) -> Any:
    """An Arrow field that says its unit (``1`` for a ratio, empty for none) and meaning."""
    return pa.field(name, kind, metadata={"unit": unit, "doc": doc})


FUTURES_SCHEMA = pa.schema(
    [field("future", pa.int64(), "", "number of the future")]
    + [
        field(name, pa.float64(), METRICS[name].unit, METRICS[name].summary)
        for name in METRIC_ORDER
    ]
)
EVENTS_SCHEMA = pa.schema(
    [
        field("time_ns", pa.int64(), "ns", "time since the start"),
        field("kind", pa.int64(), "", "code of the event"),
        field("event", pa.string(), "", "what happened"),
        field("entity", pa.int64(), "", "node, unit or slot"),
        field("detail", pa.int64(), "", "failure class, node, or number missing"),
    ]
)
SERIES_SCHEMA = pa.schema(
    [
        field("time_s", pa.float64(), "s", "time since the start; values last until the next row"),
        field("it_power_w", pa.float64(), "W", "power of all nodes"),
        field("nodes_down", pa.int64(), "1", "nodes that are down"),
        field("accelerator_temperature_max_c", pa.float64(), "degC", "hottest accelerator"),
    ]
)
RACKS_SCHEMA = pa.schema(
    [
        field("rack", pa.string(), "", "label of the rack"),
        field("row", pa.int64(), "", "row in its cluster"),
        field("column", pa.int64(), "", "place in its row"),
        field("inlet_c", pa.float64(), "degC", "air at the rack's inlet"),
        field("hottest_c", pa.float64(), "degC", "hottest accelerator, all workloads running"),
        field("power_w", pa.float64(), "W", "power, all workloads running"),
        field("load_share", pa.float64(), "1", "accelerators that work, of all in the rack"),
    ]
)


@dataclass(frozen=True)
class SimulationResult:
    """Futures played: one row of metrics each."""

    model: Model
    seed: int
    horizon_ns: int
    outcome: Outcome

    @property
    def futures(self) -> Any:
        """Metrics by future, as an Arrow table; NaN where a metric has no value."""
        return futures_table(self.outcome.metrics)


def futures_table(metrics: Floats) -> Any:
    """Metrics [futures, METRIC_COUNT] as an Arrow table."""
    columns: list[Any] = [pa.array(np.arange(len(metrics)))]
    columns += [pa.array(np.ascontiguousarray(column)) for column in metrics.T]
    return pa.Table.from_arrays(columns, schema=FUTURES_SCHEMA)


@dataclass(frozen=True)
class Replay:
    """One future in full.

    Attributes
    ----------
    events, series
        Arrow tables of `EVENTS_SCHEMA` and `SERIES_SCHEMA`.
    moment_s
        [M] moments at which the racks were looked at [s].
    rack_power_w, rack_hottest_c, rack_inlet_c, rack_throttled
        [M, R] of each rack: power [W], hottest device and inlet [degC], NaN where unknown, and
        devices that throttle.
    """

    future: int
    horizon_ns: int
    events: Any
    series: Any
    rack_labels: tuple[str, ...]
    moment_s: Floats
    rack_power_w: Floats
    rack_hottest_c: Floats
    rack_inlet_c: Floats
    rack_throttled: Ints
    outcome: Outcome

    @classmethod
    def from_log(
        cls, model: Model, log: EventLog, outcome: Outcome, future: int, horizon_ns: int
    ) -> Replay:
        """Tables of a log; it must not have run out of room."""
        events, samples = int(log.size[0]), int(log.size[1])
        kinds = log.kind[:events]
        event_columns = [
            pa.array(log.time_ns[:events]),
            pa.array(kinds),
            pa.array([EVENT_NAMES[int(kind)] for kind in kinds], pa.string()),
            pa.array(log.entity[:events]),
            pa.array(log.detail[:events]),
        ]
        series_columns = [
            pa.array(log.sample_ns[:samples] / NS_PER_S),
            pa.array(log.sample_mw[:samples] / 1000.0),
            pa.array(log.sample_down[:samples]),
            pa.array(log.sample_c[:samples]),
        ]
        return cls(
            future=future,
            horizon_ns=horizon_ns,
            events=pa.Table.from_arrays(event_columns, schema=EVENTS_SCHEMA),
            series=pa.Table.from_arrays(series_columns, schema=SERIES_SCHEMA),
            rack_labels=model.names.racks,
            moment_s=log.moments.time_ns / NS_PER_S,
            rack_power_w=log.moments.rack_mw / 1000.0,
            rack_hottest_c=log.moments.hottest_c,
            rack_inlet_c=log.moments.inlet_c,
            rack_throttled=log.moments.throttled,
            outcome=outcome,
        )


def rack_table(model: Model, state: Steady) -> Any:
    """Steady state by rack, as an Arrow table of `RACKS_SCHEMA`."""
    rack_mw, hottest_c, busy = state.rack_mw, state.hottest_c, state.busy
    nodes = model.columns.nodes
    racks = len(model.names.racks)
    power = rack_mw / 1000.0
    share = np.bincount(nodes.rack, weights=busy, minlength=racks) / np.bincount(
        nodes.rack, weights=nodes.devices, minlength=racks
    )
    hottest = np.full(racks, -np.inf)
    np.maximum.at(hottest, nodes.rack, hottest_c)
    cluster = np.zeros(racks, np.int64)
    cluster[nodes.rack] = nodes.cluster
    numbers = np.array([int(label.rsplit("-r", 1)[1]) for label in model.names.racks])
    per_row = np.array([ref.cluster.rack.per_row for ref in model.clusters])[cluster]
    columns = [
        pa.array(model.names.racks),
        pa.array(numbers // per_row),
        pa.array(numbers % per_row),
        pa.array(state.inlet_c),
        pa.array(hottest),
        pa.array(power),
        pa.array(share),
    ]
    return pa.Table.from_arrays(columns, schema=RACKS_SCHEMA)

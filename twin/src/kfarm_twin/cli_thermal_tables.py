"""What ``kfarm fit thermal`` and ``kfarm predict thermal`` print for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kfarm_twin.cli_fit_tables import cells, number
from kfarm_twin.cli_trace_tables import right_table
from kfarm_twin.figures import NONE

if TYPE_CHECKING:
    from rich.console import Console

NAMES = {
    "die": "die to sink",
    "sink": "sink to air, full flow",
    "flowExponent": "its fall with flow, exponent",
    "dieTime": "time of the die",
    "sinkTime": "time of the sink, full flow",
    "inletRise": "air's rise per watt of the node",
}


def print_fit(console: Console, data: Mapping[str, Any]) -> None:
    """Parameters, positions, overhead, errors on the runs."""
    good = data["goodness"]
    _say(
        console,
        f"{len(data['runs'])} runs, {data['devices']} devices, {data['regime'].lower()} fans:"
        f" {number(good['rmseKelvin'])} K root mean square",
        "bold",
    )
    table = right_table("Parameter", "Value", "95 % interval", "Unit")
    for name, one in parameter_rows(data):
        _row(table, name, *cells(one), one["unit"])
    console.print(table)
    table = right_table("Device", "Die [K/W]", "Sink [K/W]", "Share of heat before", "Offset [K]")
    for one in data["positions"]:
        keys = ("die", "sink", "inletShare", "offset")
        _row(table, one["device"], *(number(one[key]["value"]) for key in keys))
    console.print(table)
    _print_runs(console, data["runs"])
    for note in data["notes"]:
        _say(console, f"note: {note}", "yellow")
    _say(console, f"intervals: {data['intervals']['method']}", "dim")


def parameter_rows(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and figure of each parameter."""
    rows = [(NAMES[key], one) for key, one in data["parameters"].items()]
    rows.append(("overhead without fans, idle", data["nodeOverhead"]["idle"]))
    rows.append(("overhead per watt of devices", data["nodeOverhead"]["perDeviceWatt"]))
    if data["fans"] is not None:
        rows.append(("fans at full speed", data["fans"]["power"]))
        rows.append(("their power with speed, exponent", data["fans"]["exponent"]))
    return rows


def print_predictions(console: Console, data: Mapping[str, Any]) -> None:
    """Errors of each device, node power, all together."""
    for run in data["runs"]:
        node = f", node {run['node']}" if run["node"] else ""
        _say(
            console,
            f"{run['file']}{node}: inlet {number(run['inlet']['meanCelsius'])} degC from"
            f" {run['inlet']['from']}, fans {number(run['fans']['meanPercent'])} % from"
            f" {run['fans']['from']}",
            "bold",
        )
        table = right_table("Device", "Steady [degC]", "Predicted", "Error [K]", "Rise 90 % [s]",
                            "Predicted", "Error [%]", "RMSE [K]")  # fmt: skip
        for one in (*run["devices"], run["meanOfDevices"]):
            _row(table, one["device"], *(_cell(one[key]) for key in DEVICE_KEYS))
        console.print(table)
        _say(console, f"node power: {_node(run['nodePower'])}")
    _print_summary(console, data["summary"])


DEVICE_KEYS = (
    "steadyMeasuredCelsius", "steadyPredictedCelsius", "steadyErrorKelvin",
    "riseTimeMeasuredSeconds", "riseTimePredictedSeconds", "riseTimeErrorPercent", "rmseKelvin",
)  # fmt: skip
SUMMARY = {
    "steadyErrorKelvin": "steady temperature [K]",
    "riseTimeErrorPercent": "rise time [%]",
    "riseTimeErrorPercentOfMean": "rise time of the mean of devices [%]",
    "rmseKelvin": "root mean square [K]",
    "nodePowerErrorPercent": "node power [%]",
}


def _print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    table = right_table("Error", "Mean", "Median", "Greatest")
    for key, name in SUMMARY.items():
        one = summary[key]
        if one is not None:
            _row(table, name, *(_cell(one[part]) for part in ("mean", "median", "max")))
    console.print(table)


def _print_runs(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    table = right_table("Run", "Steady error, most [K]", "RMSE, mean [K]", "Node power")
    for run in runs:
        steady = [abs(d["steadyErrorKelvin"]) for d in run["devices"]
                  if d["steadyErrorKelvin"] is not None]  # fmt: skip
        rmse = [d["rmseKelvin"] for d in run["devices"] if d["rmseKelvin"] is not None]
        name = f"{run['file']} {run['node'] or ''}".strip()
        _row(table, name, _cell(max(steady, default=None)),
             _cell(sum(rmse) / len(rmse) if rmse else None), _node(run["nodePower"]))  # fmt: skip
    console.print(table)


def _node(one: Mapping[str, Any]) -> str:
    if one["measuredWatts"] is None:
        return f"{number(one['predictedWatts'])} W predicted"
    return (
        f"{number(one['predictedWatts'])} W predicted, {number(one['measuredWatts'])} W measured"
        f" ({one['errorPercent']:+.2f} %)"
    )


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}" if abs(value) < 10 else number(value)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)


def _row(table: Any, *texts: str) -> None:
    """A row of text as it is: names may hold what rich would take for markup."""
    from rich.text import Text  # noqa: PLC0415

    table.add_row(*(Text(text) for text in texts))

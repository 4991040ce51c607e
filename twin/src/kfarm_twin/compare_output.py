"""What ``kfarm compare`` prints: the finding and a table for people, JSON and YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.figures import NONE, brief_span, digits
from kfarm_twin.whatif_result import PolicyResult, WhatIf
from kfarm_twin.whatif_stats import Difference, Value

if TYPE_CHECKING:
    from rich.console import Console

_HEAT = ("Throttled", "Hottest", "Energy")
_STYLES = {"Better": "green", "Worse": "red", "Undecided": "yellow", "Same": ""}


def print_result(console: Console, result: WhatIf, output: Output) -> None:
    """Print to standard output in the format asked for."""
    if output is Output.TABLE:
        _print_table(console, result)
        return
    data = result.as_data()
    text = as_json(data) if output is Output.JSON else as_yaml(data)
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _print_table(console: Console, result: WhatIf) -> None:
    from rich import box  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    for line in result.headline:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    base = result.policies[0].name
    failing = "goodput" in result.policies[0].metrics
    heated = "hottestDeviceC" in result.policies[0].metrics
    more = (*(("Goodput", "Stops") if failing else ()), *(_HEAT if heated else ()))
    for header in (
        "Policy",
        "Mean wait",
        f"Against {base}",
        "99 % wait",
        "Slowdown",
        "Used",
        *more,
    ):
        table.add_column(header, overflow="fold")
    for policy in result.policies:
        change = policy.differences.get("waitMeanS")
        style = _STYLES[change.word] if change else ""
        table.add_row(
            Text(policy.name, style="bold" if policy.name == result.best else ""),
            _band(policy, "waitMeanS"),
            Text(_change(change), style=style),
            _seconds(policy.metrics["waitP99S"].mean),
            _number(policy.metrics["slowdownMean"].mean),
            _share(policy.metrics["utilisation"].mean),
            *(_failed(policy) if failing else ()),
            *(_warmed(policy) if heated else ()),
        )
    console.print(table)
    work = result.workload
    left = sum(work.left_out.values())
    lines = [
        f"{work.jobs:,} jobs of {work.source} on {result.accelerators:,} accelerators, "
        f"{result.replicas} replicas, seed {result.seed}; {work.between_replicas}",
        *(f"left out: {left:,} records" for _ in range(bool(left))),
        *(f"note: {note}" for note in result.notes),
        f"inputs {result.inputs_digest}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True, style="dim")


def _failed(policy: PolicyResult) -> tuple[str, str]:
    return (
        _share(policy.metrics["goodput"].mean),
        _number(policy.metrics["interruptions"].mean),
    )


def _warmed(policy: PolicyResult) -> tuple[str, str, str]:
    metrics = policy.metrics
    hottest = metrics["hottestDeviceC"].mean
    energy = metrics["nodeEnergyKWh"].mean
    return (
        f"{_number(metrics['throttledAcceleratorHours'].mean)} device-h",
        NONE if hottest is None else f"{hottest:.1f} \N{DEGREE SIGN}C",
        NONE if energy is None else f"{energy / 1000:,.1f} MWh",
    )


def _band(policy: PolicyResult, name: str) -> str:
    figure = policy.metrics[name]
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return _seconds(figure.mean)
    return f"{_seconds(figure.mean)} ({_seconds(figure.low)} … {_seconds(figure.high)})"


def _change(change: Difference | None) -> str:
    if change is None or change.mean is None:
        return NONE
    sign = "-" if change.mean < 0 else "+"
    ratio = (
        f" \N{MULTIPLICATION SIGN}{digits(float(f'{change.ratio:.3g}'))}"
        if change.ratio is not None
        else ""
    )
    count = f", better in {change.better}/{change.replicas}"
    return f"{sign}{brief_span(abs(change.mean))}{ratio} {change.word}{count}"


def _seconds(value: Value) -> str:
    return NONE if value is None else brief_span(value)


def _number(value: Value) -> str:
    return NONE if value is None else digits(float(f"{value:.3g}"))


def _share(value: Value) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"

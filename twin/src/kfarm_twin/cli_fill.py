"""``kfarm fill``: fill a cluster with the pods of a list, under one or several policies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.figures import NONE
from kfarm_twin.fill import Experiment, Filling, run_all
from kfarm_twin.sharing import SharePolicy
from kfarm_twin.traces.openb import read_openb_nodes, read_openb_pods

if TYPE_CHECKING:
    from rich.table import Table

ONE_SCHEMA = "kfarm.dev/fill/v1"
MANY_SCHEMA = "kfarm.dev/fill-runs/v1"
DIGITS = 6
CURVES = (
    "allocated_percent",
    "fragmented_gpus",
    "fragmented_percent",
    "fragmented_share_of_idle_percent",
)
SHOWN_PERCENT = (90, 100, 130)
"""Points of the table, as far as the curves go."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    nodes: Path
    pods: Path
    policies: tuple[SharePolicy, ...]
    until: int
    tune: float
    seeds: range


@dataclass(frozen=True)
class Band:
    """Mean and spread of one curve over seeds [points]; NaN beyond the last arrival."""

    mean: Floats
    sd: Floats


def policies_named(names: Sequence[str]) -> tuple[tuple[SharePolicy, ...], str]:
    """Policies of some names, each once, and what is wrong with the names."""
    found = {name: SharePolicy.named(name) for name in names}
    unknown = [name for name, policy in found.items() if policy is None]
    if unknown:
        expected = ", ".join(SharePolicy)
        return (), f"--policy {', '.join(unknown)}; expected one of {expected}"
    return tuple(dict.fromkeys(policy for policy in found.values() if policy)), ""


def fill(asked: Asked, plot: Path | None, output: Output) -> str | Table:
    """Run, write the page where one is wanted, and return the answer."""
    experiment = Experiment(
        read_openb_nodes(asked.nodes), read_openb_pods(asked.pods), asked.tune, asked.until
    )
    wanted = [(policy, seed) for policy in asked.policies for seed in asked.seeds]
    with LateProgress("filling", "experiments") as progress:
        fillings = run_all(experiment, wanted, progress)
    if plot is not None:
        from kfarm_twin.fill_page import write_page  # noqa: PLC0415 - plotly

        write_page(plot, asked, experiment, bands_by_policy(fillings), command(asked))
    if output is Output.TABLE:
        return table(asked, experiment, fillings)
    data = one(experiment, fillings[0]) if len(fillings) == 1 else many(experiment, fillings)
    return as_json(data) if output is Output.JSON else as_yaml(data)


def command(asked: Asked) -> str:
    """The command that gives the same figures."""
    policies = " ".join(f"--policy {policy}" for policy in asked.policies)
    return (
        f"kfarm fill --nodes {asked.nodes} --pods {asked.pods} {policies} --until {asked.until} "
        f"--tune {asked.tune:g} --seed {asked.seeds.start} --seeds {len(asked.seeds)}"
    )


def one(experiment: Experiment, filling: Filling) -> dict[str, Any]:
    """Answer for one policy and seed; keys as in docs/cli.md."""
    return {"schema": ONE_SCHEMA, **_experiment(experiment), **_run(filling)}


def many(experiment: Experiment, fillings: Sequence[Filling]) -> dict[str, Any]:
    """Answer for several policies or seeds; keys as in docs/cli.md."""
    summary = [
        {
            "policy": str(policy),
            "seeds": sum(filling.policy is policy for filling in fillings),
            **{
                name: {"mean": _numbers(band.mean), "sd": _numbers(band.sd)}
                for name, band in bands.items()
            },
        }
        for policy, bands in bands_by_policy(fillings).items()
    ]
    return {
        "schema": MANY_SCHEMA,
        **_experiment(experiment),
        "summary": summary,
        "runs": [_run(filling) for filling in fillings],
    }


def _experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "nodes": int(experiment.nodes.gpus.size),
        "gpus": experiment.total_gpus,
        "pods_listed": len(experiment.needs),
        "tune": experiment.tune,
        "until": experiment.until,
        "arrived_percent": list(range(experiment.until + 1)),
    }


def _run(filling: Filling) -> dict[str, Any]:
    return {
        "policy": str(filling.policy),
        "seed": filling.seed,
        "pods_arrived": int(filling.nodes.size),
        "pods_placed": filling.placed,
        "pods_failed": int(filling.nodes.size) - filling.placed,
        **{name: _numbers(getattr(filling, name)) for name in CURVES},
    }


def _numbers(values: Floats) -> list[float | None]:
    """Numbers of JSON: None where there is no value."""
    return [None if math.isnan(value) else round(value, DIGITS) for value in values.tolist()]


def bands_by_policy(fillings: Sequence[Filling]) -> dict[SharePolicy, dict[str, Band]]:
    """Mean and standard deviation (n - 1; 0 for one seed) over seeds, policy by policy."""
    found: dict[SharePolicy, dict[str, Band]] = {}
    for policy in dict.fromkeys(filling.policy for filling in fillings):
        mine = [filling for filling in fillings if filling.policy is policy]
        found[policy] = {
            name: _band(np.stack([getattr(filling, name) for filling in mine])) for name in CURVES
        }
    return found


def _band(rows: Floats) -> Band:
    spread = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.where(np.isnan(rows[0]), np.nan, 0.0)
    return Band(rows.mean(axis=0), spread)


def table(asked: Asked, experiment: Experiment, fillings: Sequence[Filling]) -> Table:
    """Allocation by demand, and the share of idle GPUs in pieces, policy by policy."""
    from rich import box  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.table import Table  # noqa: PLC0415

    points = [point for point in SHOWN_PERCENT if point <= experiment.until]
    at = min(100, experiment.until)
    seeds = len(asked.seeds)
    title = (
        f"GPUs allocated [%] of {experiment.total_gpus:,} on {experiment.nodes.gpus.size:,} nodes"
    )
    if seeds > 1:
        title += f",\nmean ± sd over {seeds} seeds"
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("Policy", no_wrap=True)
    for point in points:
        made.add_column(f"at {point} %", justify="right", no_wrap=True)
    made.add_column(f"in pieces\nat {at} %", justify="right", no_wrap=True)
    made.add_column("left\nout", justify="right", no_wrap=True)
    for policy, bands in bands_by_policy(fillings).items():
        failed = [f.nodes.size - f.placed for f in fillings if f.policy is policy]
        made.add_row(
            str(policy),
            *(_cell(bands["allocated_percent"], point, seeds) for point in points),
            _cell(bands["fragmented_share_of_idle_percent"], at, seeds),
            f"{sum(failed) / len(failed):,.0f}",
        )
    return made


def _cell(band: Band, point: int, seeds: int) -> str:
    mean, spread = float(band.mean[point]), float(band.sd[point])
    if math.isnan(mean):
        return NONE
    return f"{mean:.2f} ±{spread:.2f}" if seeds > 1 else f"{mean:.2f}"

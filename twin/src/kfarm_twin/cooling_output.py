"""The answer of ``kfarm cooling``: from files to a table of faults, the worst first."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from kfarm_api.farm import Farm
from kfarm_api.policy import Fault

from kfarm_twin.cli_inputs import Inputs, located
from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cooling_faults import COOLING
from kfarm_twin.figures import NONE, brief_span, digits
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kfarm_twin.cooling import CoolingRow, CoolingStudy

SCHEMA = "kfarm.dev/cooling/v1"
_STYLES = {"Holds": "green", "Throttles": "yellow", "ShutsDown": "red"}


@dataclass(frozen=True)
class CoolingQuestion:
    """What is asked: load [percent], kinds of fault, how long they last [s]."""

    load: float
    faults: tuple[Fault, ...]
    lasts_s: float

    def command(self, files: Sequence[Path]) -> str:
        """The command line that asks this."""
        words = ["kfarm", "cooling", *(f"-f {shlex.quote(str(path))}" for path in files)]
        words.append(f"--load {self.load:g}")
        if self.faults != COOLING:
            words += [f"--fault {kind}" for kind in self.faults]
        if math.isfinite(self.lasts_s):
            words.append(f"--lasts {self.lasts_s:g}s")
        return " ".join(words)


@dataclass(frozen=True)
class CoolingAnswer:
    """The table of one farm."""

    farm: Farm
    question: CoolingQuestion
    study: CoolingStudy


def answer(inputs: Inputs, question: CoolingQuestion) -> list[CoolingAnswer]:
    """Play all faults of all farms in the files.

    Raises
    ------
    ManifestError
        When there is no farm, or one refers to what is not there.
    """
    farms = inputs.farms()
    if not farms:
        first = inputs.documents[0].file if inputs.documents else Path("-")
        expected = "a GPUFarm or NPUFarm in the files given with -f"
        raise ManifestError([Problem(first, 0, "kind", "no farm", expected)])
    try:
        return [_study(farm, inputs, question) for farm in farms]
    except InputError as error:
        raise ManifestError([located(inputs, inputs.documents[0], error)]) from error


def _study(farm: Farm, inputs: Inputs, question: CoolingQuestion) -> CoolingAnswer:
    from kfarm_twin.compile import cluster_refs  # noqa: PLC0415
    from kfarm_twin.cooling import CoolingPlayer  # noqa: PLC0415
    from kfarm_twin.cooling_load import uniform_load  # noqa: PLC0415
    from kfarm_twin.heat_describe import describe_heat  # noqa: PLC0415

    refs = cluster_refs([farm], inputs.profiles())
    heat = describe_heat(refs)
    load = uniform_load(heat, question.load)
    player = CoolingPlayer(heat, refs, load, question.lasts_s)
    return CoolingAnswer(farm, question, player.study(question.faults))


def _rounded(value: float | None, digits_kept: int = 6) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits_kept}g}")


def row_data(row: CoolingRow) -> dict[str, Any]:
    """Keys as in docs/cli.md."""
    from kfarm_twin.cooling_text import sentence, state  # noqa: PLC0415

    return {
        "fault": row.fault,
        "state": state(row),
        "instances": list(row.instances),
        "unitsLost": row.lost,
        "unitsLeft": row.left,
        "unitsNeeded": row.needed,
        "backAfter": _rounded(row.back_s),
        "nodes": row.nodes,
        "nodesShutDown": row.down,
        "nodesDark": row.dark,
        "timeToThrottle": _rounded(row.throttle_s),
        "timeToShutdown": _rounded(row.shutdown_s),
        "throttledShare": _rounded(row.throttled),
        "hottest": _rounded(row.hottest_c),
        "throttleAt": _rounded(row.throttle_c),
        "shutdownAt": _rounded(row.shutdown_c),
        "headroom": _rounded(row.headroom_k),
        "supply": _rounded(row.supply_c),
        "rack": row.rack,
        "zone": row.zone,
        "steadyAfter": _rounded(row.steady_s),
        "message": sentence(row),
        "curve": [
            {
                "time": _rounded(time),
                "hottest": _rounded(hot, 5),
                "supply": _rounded(supply, 5),
                "throttledShare": _rounded(slow, 4),
            }
            for time, hot, supply, slow in row.curve
        ],
    }


def answers_data(answers: Sequence[CoolingAnswer]) -> dict[str, Any]:
    """The whole answer as data; times in seconds, temperatures in degC."""
    return {
        "schema": SCHEMA,
        "farms": [
            {
                "kind": one.farm.kind,
                "name": one.farm.metadata.name,
                "load": one.question.load,
                "lasts": _rounded(one.question.lasts_s),
                "timeToThrottleMin": _rounded(one.study.throttle_min_s),
                "timeToShutdownMin": _rounded(one.study.shutdown_min_s),
                "faults": [row_data(row) for row in one.study.rows],
                "assumptions": list(one.study.assumptions),
            }
            for one in answers
        ],
    }


def _span(seconds: float | None) -> str:
    return NONE if seconds is None else brief_span(seconds)


def _print_table(console: Console, one: CoolingAnswer) -> None:
    from rich.table import Table  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.text import Text  # noqa: PLC0415

    from kfarm_twin.cooling_text import instances, left, sentence, state  # noqa: PLC0415

    name = f"{one.farm.kind} {one.farm.metadata.name}"
    console.print(Text(f"{name} at {one.question.load:g} % load", style="bold"))
    if not one.study.rows:
        console.print(Text("it describes nothing of its cooling that these faults could fail"))
    else:
        table = Table(box=None, pad_edge=False)
        for head in ("Fault", "Worst instance", "Alike", "Left"):
            table.add_column(head, justify="right" if head == "Alike" else "left")
        for head in ("Throttles", "Shuts down", "Throttled", "Hottest", "Headroom", "Steady"):
            table.add_column(head, justify="right")
        for row in one.study.rows:
            table.add_row(
                Text(row.fault, style=_STYLES[state(row)]),
                Text(row.instances[0]),
                str(len(row.instances)),
                left(row),
                _span(row.throttle_s),
                "at once" if row.dark else _span(row.shutdown_s),
                f"{digits(100 * row.throttled)} %",
                f"{row.hottest_c:.1f} °C",
                f"{round(row.headroom_k, 1) + 0.0:.1f} K",
                _span(row.steady_s),
            )
        console.print(table)
        for row in one.study.rows:
            line = f"  {row.fault} {instances(row)}: {sentence(row)}"
            console.print(Text(line, style=_STYLES[state(row)]))
    for line in one.study.assumptions:
        console.print(Text(f"assumed: {line}", style="dim"))


def print_answers(answers: Sequence[CoolingAnswer], output: Output) -> None:
    """Print to standard output in the format asked for."""
    if output is not Output.TABLE:
        data = answers_data(answers)
        typer.echo(as_json(data) if output is Output.JSON else as_yaml(data))
        return
    from rich.console import Console  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else 160)
    for index, one in enumerate(answers):
        if index:
            console.print()
        _print_table(console, one)


def chosen(faults: Sequence[str]) -> tuple[Fault, ...]:
    """The faults that are asked for, each once; all when none is named."""
    return tuple(kind for kind in COOLING if not faults or kind in faults)

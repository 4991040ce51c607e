"""``kfarm fit failures``: read, fit, hold against futures, print."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.cli_trace import late_status
from kfarm_twin.fit import Unit
from kfarm_twin.fit.futures import Record, play_fit
from kfarm_twin.fit.model import Fit, fit_log
from kfarm_twin.fit.output import SCHEMA, fit_data, goodness
from kfarm_twin.fit.read import read_log
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.traces.write import replacing

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Asked:
    """Options of the command."""

    file: Path
    nodes: int | None
    unit: Unit | None
    since: str | None
    until: str | None
    futures: int
    seed: int
    confidence: float
    plot: Path | None
    block: Path | None

    @property
    def command(self) -> str:
        """What to type for the same answer."""
        words = ["kfarm", "fit", "failures", str(self.file)]
        for name in ("nodes", "unit", "since", "until", "futures", "seed", "confidence"):
            value = getattr(self, name)
            if value is not None:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def run(asked: Asked, output: Output) -> None:
    """Fit and print."""
    with late_status(f"fitting {asked.file.name}"):
        log = read_log(asked.file, unit=asked.unit, since=asked.since, until=asked.until)
        nodes = _nodes(asked, len(log.nodes))
        fit = fit_log(log, nodes)
    data = {
        "schema": SCHEMA,
        "file": str(asked.file),
        **fit_data(fit, asked.confidence, asked.seed),
    }
    data["futures"], data["seed"] = asked.futures, asked.seed
    records = _played(fit, asked)
    data["goodness"] = goodness(fit, records, asked.confidence) if records else None
    _write_files(asked, fit, records, data)
    _print(data, output)


def _nodes(asked: Asked, seen: int) -> int:
    if asked.nodes is not None and asked.nodes < seen:
        problem = Problem(
            asked.file, 0, "--nodes", str(asked.nodes), f"at least the {seen} nodes of the log"
        )
        raise ManifestError([problem])
    return asked.nodes or seen


def _played(fit: Fit, asked: Asked) -> list[Record]:
    if not asked.futures:
        return []
    with LateProgress(f"playing {asked.file.name}", "futures") as progress:
        span = fit.log.span_h
        return list(play_fit(fit, asked.futures, asked.seed, span, progress=progress))


def _write_files(asked: Asked, fit: Fit, records: list[Record], data: dict[str, Any]) -> None:
    texts: list[tuple[Path, str]] = []
    if asked.block is not None:
        said = f"# Fitted by kfarm fit failures {asked.file.name} --nodes {fit.nodes}\n"
        texts.append((asked.block, said + as_yaml({"reliability": data["reliability"]}) + "\n"))
    if asked.plot is not None:
        from kfarm_twin.fit_page import render  # noqa: PLC0415 - plotly loads slowly

        texts.append((asked.plot, render(fit, records, data, asked.command)))
    for path, text in texts:
        with replacing(path) as file:
            file.write(text.encode())


def _print(data: dict[str, Any], output: Output) -> None:
    if output is not Output.TABLE:
        sys.stdout.write((as_json(data) if output is Output.JSON else as_yaml(data)) + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly

    from kfarm_twin.cli_fit_tables import print_fit  # noqa: PLC0415

    console: Console = Console(highlight=False)
    print_fit(console, data)

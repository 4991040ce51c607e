"""Microsoft's Philly trace in the form that Pollux and ElasticFlow use.

Columns: ``timestamp`` (of submission, no time zone stated), ``duration`` [s], ``num_gpus``,
``gpu_time`` (the product, not used), ``cluster`` (virtual cluster: the queue). Rows are in no order
of time. Jobs have no names: the id is the number of the record. Users gave no limit: it is the run
time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from kfarm_twin.traces.build import Names, Part, Tally, build, number_texts, whole_milli
from kfarm_twin.traces.cells import MAX_TIME_NS, NS_PER_S, count, moment, seconds, text
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Findings
from kfarm_twin.traces.table import CsvTable
from kfarm_twin.traces.text import Cells

REQUIRED = (moment("timestamp"), seconds("duration"), count("num_gpus"))
OPTIONAL = (text("cluster", blank="default"),)
RUN_REASON = "duration is 0"


def read_philly(path: Path, *, gpus_per_node: int) -> Reading:
    """Read a trace in the Philly form; problems and cutting into pods as in `read`."""
    findings, tally, names = Findings(path), Tally(), Names()
    table = CsvTable(path, findings, REQUIRED, OPTIONAL)
    parts = [_part(cells, tally, names, gpus_per_node) for cells in table.cells()]
    parts, start = _since_first(parts, findings)
    return build(
        parts,
        tally,
        findings,
        TraceFormat.PHILLY,
        queues=names.all,
        start=start,
        unused=table.unused,
    )


def _part(cells: Cells, tally: Tally, names: Names, gpus_per_node: int) -> Part:
    number = cells.numbers
    record = np.arange(tally.records + 1, tally.records + 1 + len(cells.line))
    run = number["duration"]
    stays = tally.without(cells.line, {RUN_REASON: run <= 0})
    pods, gpus = tally.pods_of(number["num_gpus"][stays], gpus_per_node)
    queue = cells.texts.get("cluster", np.full(len(run), "default"))
    columns = {
        "submit_ns": number["timestamp"][stays],
        "run_ns": run[stays],
        "limit_ns": run[stays],
        "pods": pods,
        "gpus": gpus,
        "gpu_milli": whole_milli(gpus),
        "queue": names.codes_of(queue[stays]),
    }
    return Part(columns, number_texts(record[stays]), cells.line[stays])


def _since_first(parts: Iterable[Part], findings: Findings) -> tuple[list[Part], datetime | None]:
    """Times since the first submission, and when that was."""
    parts = list(parts)
    stamps = [part.columns["submit_ns"] for part in parts if len(part.line)]
    if not stamps:
        return parts, None
    first = min(int(column.min()) for column in stamps)
    span = max(int(column.max()) for column in stamps) - first
    if span > MAX_TIME_NS:
        years = span / NS_PER_S / 86_400 / 365.25
        findings.add(f"timestamps {years:.0f} years apart", "at most 73 years", column="timestamp")
    moved = [
        replace(part, columns={**part.columns, "submit_ns": part.columns["submit_ns"] - first})
        for part in parts
    ]
    return moved, datetime(1970, 1, 1) + timedelta(seconds=first // NS_PER_S)

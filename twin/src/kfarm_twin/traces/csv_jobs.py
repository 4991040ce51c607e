"""Jobs as CSV: the plain form that anybody can write with a spreadsheet or awk.

Required: ``id``, ``submit_s``, ``run_s`` and the devices, either ``gpus`` (of the whole job, cut
into pods by the node's size) or ``pods`` and ``gpus_per_pod``. Optional: ``limit_s`` (the run time
if absent), ``gpu_milli``, ``cpu_milli`` and ``memory_mib`` (of each pod), ``priority``, ``queue``,
``models`` (``|`` between them), ``gpu_util`` and ``cpu_util`` (from 0 to 1). Times are decimal
seconds, kept to the nanosecond.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kfarm_twin.jobs import WHOLE_MILLI
from kfarm_twin.traces.build import (
    DEFAULT_QUEUE,
    ModelSets,
    Names,
    Part,
    Tally,
    build,
    check_shares,
    whole_milli,
)
from kfarm_twin.traces.cells import MAX_COUNT, count, seconds, share, text
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Findings, blocks
from kfarm_twin.traces.table import CsvTable, header_of
from kfarm_twin.traces.text import Cells

_UNKNOWN = -1
REQUIRED = (text("id"), seconds("submit_s"), seconds("run_s"))
TOTAL = (count("gpus"),)
BY_POD = (count("pods", least=1), count("gpus_per_pod"))
OPTIONAL = (
    seconds("limit_s", blank=_UNKNOWN),
    count("gpu_milli", most=WHOLE_MILLI, blank=_UNKNOWN),
    count("cpu_milli", blank=0),
    count("memory_mib", blank=0),
    count("priority", least=-MAX_COUNT, blank=0),
    text("queue", blank=DEFAULT_QUEUE),
    text("models", blank=""),
    share("gpu_util", blank=_UNKNOWN),
    share("cpu_util", blank=_UNKNOWN),
)
_LOADS = {"gpu_ppm": "gpu_util", "cpu_ppm": "cpu_util"}
_PER_PPM = 1000
"""Billionths, in which shares are read, per millionth."""
RUN_REASON = "run time is 0"


def read_csv(path: Path, *, gpus_per_node: int) -> Reading:
    """Read jobs from CSV; problems and cutting into pods as in `read`."""
    findings, tally, queues, models = Findings(path), Tally(), Names(), ModelSets()
    by_pod = {column.name for column in BY_POD} <= set(columns_of(path))
    devices = BY_POD if by_pod else TOTAL
    remedy = "" if by_pod else " (or pods and gpus_per_pod)"
    table = CsvTable(path, findings, (*REQUIRED, *devices), OPTIONAL, remedy=remedy)
    parts = []
    for cells in table.cells():
        part = _part(cells, tally, queues, models, gpus_per_node)
        check_shares(part.columns["gpus"], part.columns["gpu_milli"], part.line, findings)
        parts.append(part)
    return build(
        parts,
        tally,
        findings,
        TraceFormat.CSV,
        queues=queues.all,
        models=models.all,
        unused=table.unused,
    )


def columns_of(path: Path) -> list[str]:
    """Names in the header of a CSV file."""
    _, names, _ = header_of(path, blocks(path))
    return names


def _part(cells: Cells, tally: Tally, queues: Names, models: ModelSets, gpus_per_node: int) -> Part:
    rows = len(cells.line)
    number = {name: np.zeros(rows, dtype=np.int64) for name in ("cpu_milli", "memory_mib")}
    number |= {"priority": np.zeros(rows, dtype=np.int64)} | cells.numbers
    run = number["run_s"]
    stays = tally.without(cells.line, {RUN_REASON: run <= 0})
    number = {name: column[stays] for name, column in number.items()}
    run, unknown = number["run_s"], np.full(int(stays.sum()), _UNKNOWN)
    limit, share = number.get("limit_s", unknown), number.get("gpu_milli", unknown)
    limit = np.where(limit > 0, limit, run)
    if "pods" in number:
        pods, gpus = number["pods"], number["gpus_per_pod"]
    else:
        pods, gpus = tally.pods_of(number["gpus"], gpus_per_node)
    queue = cells.texts.get("queue", np.full(rows, DEFAULT_QUEUE))
    model = cells.texts.get("models", np.full(rows, ""))
    columns = {
        "submit_ns": number["submit_s"],
        "run_ns": tally.within_limit(run, limit),
        "limit_ns": limit,
        "pods": pods,
        "gpus": gpus,
        "gpu_milli": np.where(share == _UNKNOWN, whole_milli(gpus), share),
        **{name: number[name] for name in ("cpu_milli", "memory_mib", "priority")},
        "queue": queues.codes_of(queue[stays]),
        "models": models.codes_of(model[stays]),
    }
    columns |= {
        name: np.where(number[column] < 0, _UNKNOWN, (number[column] + 500) // _PER_PPM)
        for name, column in _LOADS.items()
        if column in number
    }
    return Part(columns, cells.texts["id"][stays], cells.line[stays])

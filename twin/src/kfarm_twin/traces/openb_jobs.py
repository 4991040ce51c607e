"""Pods of Alibaba's GPU-sharing cluster (cluster-trace-gpu-v2023, "openb") as jobs.

Every pod is a job of one pod, on however many devices: a pod cannot be cut. Times are seconds since
the start of the trace: a job is submitted at ``creation_time`` and runs from ``scheduled_time`` to
``deletion_time``. Pods that were never scheduled have no run time and are left out. ``gpu_milli``
is the share of each device, ``gpu_spec`` the models that will do (``|`` between them), ``qos``
becomes the queue. No limits are recorded: the limit is the run time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import WHOLE_MILLI
from kfarm_twin.traces.build import (
    DEFAULT_QUEUE,
    Bools,
    ModelSets,
    Names,
    Part,
    Tally,
    build,
    check_shares,
)
from kfarm_twin.traces.cells import count, seconds, text
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Findings
from kfarm_twin.traces.table import CsvTable
from kfarm_twin.traces.text import Cells

_NEVER = -1
REQUIRED = (
    text("name"),
    count("cpu_milli"),
    count("memory_mib"),
    count("num_gpu"),
    count("gpu_milli", most=WHOLE_MILLI),
    seconds("creation_time"),
    seconds("deletion_time"),
    seconds("scheduled_time", blank=_NEVER),
)
OPTIONAL = (text("gpu_spec", blank=""), text("qos", blank=DEFAULT_QUEUE))
WITHOUT_TIMES = "; a list of pods without times is for kfarm fill, which needs none"
NEVER_REASON = "never scheduled, so that the run time is not known"
RUN_REASON = "deleted when scheduled or before"
KINDS = ("shares a GPU", "whole GPUs", "no GPU")
"""Pods that were never scheduled are counted apart by these."""


def read_openb(path: Path) -> Reading:
    """Read pods with their times as jobs; problems as in `read`."""
    findings, tally, queues, models = Findings(path), Tally(), Names(), ModelSets()
    table = CsvTable(path, findings, REQUIRED, OPTIONAL, remedy=WITHOUT_TIMES)
    parts = []
    for cells in table.cells():
        check_shares(cells.numbers["num_gpu"], cells.numbers["gpu_milli"], cells.line, findings)
        parts.append(_part(cells, tally, queues, models))
    return build(
        parts,
        tally,
        findings,
        TraceFormat.OPENB,
        queues=queues.all,
        models=models.all,
        unused=table.unused,
        id_column="name",
    )


def _part(cells: Cells, tally: Tally, queues: Names, models: ModelSets) -> Part:
    number = cells.numbers
    run = number["deletion_time"] - number["scheduled_time"]
    is_never = number["scheduled_time"] == _NEVER
    stays = tally.without(
        cells.line, _never_reasons(number, is_never) | {RUN_REASON: ~is_never & (run <= 0)}
    )
    columns = {
        "submit_ns": number["creation_time"],
        "run_ns": run,
        "limit_ns": run,
        "pods": np.ones_like(run),
        "gpus": number["num_gpu"],
        "gpu_milli": number["gpu_milli"],
        "cpu_milli": number["cpu_milli"],
        "memory_mib": number["memory_mib"],
    }
    columns = {name: column[stays] for name, column in columns.items()}
    columns["queue"] = queues.codes_of(_texts(cells, "qos", DEFAULT_QUEUE)[stays])
    columns["models"] = models.codes_of(_texts(cells, "gpu_spec", "")[stays])
    return Part(columns, cells.texts["name"][stays], cells.line[stays])


def _never_reasons(number: dict[str, Ints], is_never: Bools) -> dict[str, Bools]:
    devices, share = number["num_gpu"], number["gpu_milli"]
    kinds = ((devices > 0) & (share < WHOLE_MILLI), (devices > 0) & (share == WHOLE_MILLI))
    holds = (*kinds, devices == 0)
    return {
        f"{NEVER_REASON} ({kind})": is_never & which
        for kind, which in zip(KINDS, holds, strict=True)
    }


def _texts(cells: Cells, name: str, default: str) -> NDArray[np.str_]:
    return cells.texts.get(name, np.full(len(cells.line), default))

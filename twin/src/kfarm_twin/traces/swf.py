"""Standard Workload Format of the Parallel Workloads Archive, version 2.2.

Eighteen numbers a line, ``-1`` for what is not known, header comments after ``;``. Processors are
taken as whole nodes. Rules, as in the published results that the twin is held against:

- left out: partial executions (status 2, 3, 4: the job has a line of its own), processors <= 0,
  run time <= 0;
- processors: allocated; requested where allocated is -1;
- limit: requested time; the run time where that is not known;
- run time: at most the requested time.

Source: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.traces.build import (
    DEFAULT_QUEUE,
    Names,
    Part,
    Tally,
    build,
    number_texts,
    whole_milli,
)
from kfarm_twin.traces.cells import Layout, count, seconds
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Block, Findings, blocks
from kfarm_twin.traces.text import Cells, read_cells

FIELDS = (
    "job",
    "submit",
    "wait",
    "run",
    "allocated processors",
    "average CPU time",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
)
_UNKNOWN = -1
LAYOUT = Layout(
    names=FIELDS,
    used=(
        count("job"),
        seconds("submit"),
        seconds("run", least=_UNKNOWN),
        count("allocated processors", least=_UNKNOWN),
        count("requested processors", least=_UNKNOWN),
        seconds("requested time", least=_UNKNOWN),
        count("status", least=_UNKNOWN),
        count("queue", least=_UNKNOWN),
    ),
    is_spaced=True,
    comment=b";",
)
PARTIAL = (2, 3, 4)
"""Status of a part of a job that was stopped and went on later."""
_HEADER = re.compile(r"^\s*;\s*(\w+)\s*:\s*(.*?)\s*$")
PARTIAL_REASON = "part of a job that has its own line (status 2, 3 or 4)"
PROCESSORS_REASON = "processors not above 0"
RUN_REASON = "run time not above 0"


def read_swf(path: Path, *, gpus_per_node: int) -> Reading:
    """Read a trace in Standard Workload Format.

    Parameters
    ----------
    gpus_per_node
        Devices of each pod; a processor of the trace is a whole node.

    Raises
    ------
    ManifestError
        With the problems of the file, each with its line.
    """
    findings, tally, names = Findings(path), Tally(), Names()
    header: dict[str, str] = {}
    parts = []
    for block in blocks(path):
        body = _without_comments(block, header)
        cells = read_cells(body, LAYOUT, findings)
        parts.append(_part(cells, tally, names, gpus_per_node, header))
    return build(
        parts,
        tally,
        findings,
        TraceFormat.SWF,
        queues=names.all,
        start=_start(header),
        id_column="job",
    )


def _without_comments(block: Block, header: dict[str, str]) -> Block:
    """The block without the comments that it begins with; what they say goes to the header."""
    at = skipped = 0
    data = block.data
    while data[at : at + 1] in (b";", b"\n", b"\r"):
        end = data.find(b"\n", at) + 1 or len(data)
        _note(data[at:end].decode("utf-8", "replace"), header)
        at, skipped = end, skipped + 1
    return Block(data[at:], block.first_line + skipped, block.is_last) if at else block


def _note(comment: str, header: dict[str, str]) -> None:
    """Keep ``; Key: value``, the first of each key, and a queue's name under its number."""
    said = _HEADER.match(comment)
    if not said:
        return
    key, value = said[1], said[2]
    number, _, name = value.partition(" ")
    if key == "Queue" and name:
        key, value = f"Queue {number}", name.strip()
    header.setdefault(key, value)


def _part(
    cells: Cells, tally: Tally, names: Names, gpus_per_node: int, header: dict[str, str]
) -> Part:
    number = cells.numbers
    allocated = number["allocated processors"]
    processors = np.where(allocated == _UNKNOWN, number["requested processors"], allocated)
    run, asked = number["run"], number["requested time"]
    stays = tally.without(
        cells.line,
        {
            PARTIAL_REASON: np.isin(number["status"], PARTIAL),
            PROCESSORS_REASON: processors <= 0,
            RUN_REASON: run <= 0,
        },
    )
    limit = np.where(asked > 0, asked, run)
    queue = number["queue"]
    columns = {
        "submit_ns": number["submit"],
        "run_ns": run,
        "limit_ns": limit,
        "pods": processors,
        "gpus": np.full_like(run, gpus_per_node),
        "gpu_milli": whole_milli(np.full_like(run, gpus_per_node)),
    }
    columns = {name: column[stays] for name, column in columns.items()}
    columns["run_ns"] = tally.within_limit(columns["run_ns"], columns["limit_ns"])
    columns["queue"] = names.codes_of(_queue_names(queue[stays], header))
    ids = number_texts(number["job"][stays])
    return Part(columns, ids, cells.line[stays])


def _queue_names(queue: Ints, header: dict[str, str]) -> NDArray[np.str_]:
    """Names as the header gives them (``; Queue: 1 batch``), else the numbers."""
    numbers, inverse = np.unique(queue, return_inverse=True)
    names = [
        DEFAULT_QUEUE if number == _UNKNOWN else header.get(f"Queue {number}", str(number))
        for number in numbers.tolist()
    ]
    return np.array(names, dtype=np.str_)[inverse]


def _start(header: dict[str, str]) -> datetime | None:
    """Time of second 0, in the time zone of the site where that is known; 0 says nothing."""
    try:
        stamp = int(header.get("UnixStartTime", "0"))
        moment = datetime.fromtimestamp(stamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.astimezone(_zone(header.get("TimeZoneString", ""))) if stamp > 0 else None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC

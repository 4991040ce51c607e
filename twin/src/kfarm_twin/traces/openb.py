"""Nodes and pods of Alibaba's GPU-sharing trace (openb, cluster-trace-gpu-v2023).

Nodes: ``sn,cpu_milli,memory_mib,gpu,model``. Pods: ``name,cpu_milli,memory_mib,num_gpu,gpu_milli``
and, in the long form, ``gpu_spec`` (``|`` between the models that will do), ``creation_time`` and
``deletion_time`` [s] among others. Columns are found by name; those not named here are passed over.
A pod without GPU has no model and no share; without the column ``gpu_milli`` pods take whole GPUs
(as ``pod_csv_to_yaml.py`` of the data set does).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.policy.sharing_columns import MOST_GPUS, WHOLE
from kfarm_twin.traces.csv_rows import Problems, Row, read_rows

MOST_CPU_MILLI = 100_000_000
"""Most CPU of a node or pod: 100,000 cores."""
MOST_MEMORY_MIB = 1 << 30
"""Most memory of a node or pod: 1 PiB."""
MOST_SECONDS = 1 << 33
"""Latest time [s]: 272 years."""
UNSAID = -1
"""A time that the file does not say."""
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu")


@dataclass(frozen=True)
class OpenbNodes:
    """Nodes of a list, in its order [N].

    Attributes
    ----------
    model
        [N] row of `models`; 0 for a node without GPU model.
    models
        Names of GPU models; the first is empty and stands for none.
    """

    file: Path
    names: NDArray[np.str_]
    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    model: Ints
    models: tuple[str, ...]


@dataclass(frozen=True)
class OpenbPods:
    """Pods of a list, in its order [P].

    Attributes
    ----------
    gpu_milli
        [P] share of each GPU [1/1000]; below 1000 only with one GPU, 0 without GPU.
    spec
        [P] row of `specs`.
    specs
        Models that will do, as written; the first is empty and means any.
    creation_s, deletion_s
        [P] times [s], or `UNSAID`.
    line
        [P] line of the file.
    """

    file: Path
    names: NDArray[np.str_]
    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    gpu_milli: Ints
    spec: Ints
    specs: tuple[tuple[str, ...], ...]
    creation_s: Ints
    deletion_s: Ints
    line: Ints


class _Node(NamedTuple):
    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


class _Pod(NamedTuple):
    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    spec: tuple[str, ...]
    creation_s: int
    deletion_s: int
    line: int


def read_openb_nodes(path: Path) -> OpenbNodes:
    """Read a node list, plain or gzip.

    Raises
    ------
    ManifestError
        With file, line and column of each problem.
    """
    problems = Problems(path)
    rows = _named_once(read_rows(path, NODE_COLUMNS, problems), "sn")
    nodes = [_node(row) for row in rows]
    if not nodes:
        problems.add(None, "", "a header and no nodes", "at least one node")
    problems.end()
    models = ("", *sorted({node.model for node in nodes} - {""}))
    return OpenbNodes(
        file=path,
        names=np.array([node.name for node in nodes]),
        cpu_milli=_column(node.cpu_milli for node in nodes),
        memory_mib=_column(node.memory_mib for node in nodes),
        gpus=_column(node.gpus for node in nodes),
        model=_column(models.index(node.model) for node in nodes),
        models=models,
    )


def _node(row: Row) -> _Node:
    gpus, model = row.number("gpu", MOST_GPUS), row.text("model")
    if "|" in model:
        row.wrong("model", model, "one model")
    if model and not gpus:
        row.wrong("gpu", f"0 with the model {model}", "at least 1, or no model")
    return _Node(
        name=row.text("sn"),
        cpu_milli=row.number("cpu_milli", MOST_CPU_MILLI),
        memory_mib=row.number("memory_mib", MOST_MEMORY_MIB),
        gpus=gpus,
        model=model,
    )


def read_openb_pods(path: Path) -> OpenbPods:
    """Read a pod list of the long or the short form, plain or gzip.

    Raises
    ------
    ManifestError
        With file, line and column of each problem.
    """
    problems = Problems(path)
    rows = _named_once(read_rows(path, POD_COLUMNS, problems), "name")
    pods = [_pod(row) for row in rows]
    if not pods:
        problems.add(None, "", "a header and no pods", "at least one pod")
    problems.end()
    specs = dict.fromkeys([(), *(pod.spec for pod in pods)])
    places = {spec: place for place, spec in enumerate(specs)}
    return OpenbPods(
        file=path,
        names=np.array([pod.name for pod in pods]),
        cpu_milli=_column(pod.cpu_milli for pod in pods),
        memory_mib=_column(pod.memory_mib for pod in pods),
        gpus=_column(pod.gpus for pod in pods),
        gpu_milli=_column(pod.gpu_milli for pod in pods),
        spec=_column(places[pod.spec] for pod in pods),
        specs=tuple(specs),
        creation_s=_column(pod.creation_s for pod in pods),
        deletion_s=_column(pod.deletion_s for pod in pods),
        line=_column(pod.line for pod in pods),
    )


def _pod(row: Row) -> _Pod:
    gpus = row.number("num_gpu", MOST_GPUS)
    spec = tuple(model.strip() for model in row.text("gpu_spec").split("|") if model.strip())
    return _Pod(
        name=row.text("name"),
        cpu_milli=row.number("cpu_milli", MOST_CPU_MILLI),
        memory_mib=row.number("memory_mib", MOST_MEMORY_MIB),
        gpus=gpus,
        gpu_milli=_share(row, gpus),
        spec=spec if gpus else (),
        creation_s=_time(row, "creation_time"),
        deletion_s=_time(row, "deletion_time"),
        line=row.line,
    )


def _share(row: Row, gpus: int) -> int:
    """Share of each GPU [1/1000]; whole ones when the file has no such column."""
    if "gpu_milli" not in row.values:
        return WHOLE if gpus else 0
    if not gpus:
        return row.number("gpu_milli", 0)
    milli = row.number("gpu_milli", WHOLE, 1)
    if gpus > 1 and milli < WHOLE:
        row.wrong("gpu_milli", f"{row.text('gpu_milli')} of each of {gpus} GPUs", f"{WHOLE}")
    return milli


def _time(row: Row, column: str) -> int:
    return row.number(column, MOST_SECONDS) if row.text(column) else UNSAID


def _named_once(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """The rows, with a problem noted where a name is missing or comes again."""
    first: dict[str, int] = {}
    for row in rows:
        name = row.text(column)
        if not name:
            row.wrong(column, "nothing", "a name")
        elif first.setdefault(name, row.line) != row.line:
            row.wrong(column, f"{name} again (first in line {first[name]})", "every name once")
        yield row


def _column(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)

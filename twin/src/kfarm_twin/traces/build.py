"""Job columns out of what a reader finds, block by block, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import WHOLE_MILLI, JobLoads, Jobs, JobTrace
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Findings, shown

DEFAULT_QUEUE = "default"
"""Name of the queue where a trace has none."""
UNKNOWN_LOAD = -1
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """Some jobs in the order of the file: columns as in `Jobs`, ids, and line of each [R]."""

    columns: dict[str, Ints]
    ids: NDArray[np.str_]
    line: Ints


class Names:
    """Codes of names in the order in which they come."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes_of(self, words: NDArray[np.str_]) -> Ints:
        """Code of each word [R]."""
        if not len(words):
            return np.empty(0, dtype=np.int64)
        unique, first, inverse = np.unique(words, return_index=True, return_inverse=True)
        for at in np.argsort(first, kind="stable"):
            self._codes.setdefault(str(unique[at]), len(self._codes))
        codes = np.array([self._codes[str(word)] for word in unique], dtype=np.int64)
        return codes[inverse]

    @property
    def all(self) -> tuple[str, ...]:
        """The names by code."""
        return tuple(self._codes)


class ModelSets:
    """Rows of `JobTrace.models`; the empty set comes first and means any."""

    def __init__(self) -> None:
        self._rows: dict[frozenset[str], int] = {frozenset(): 0}

    def codes_of(self, words: NDArray[np.str_]) -> Ints:
        """Row of each set [R], written as names with ``|`` between them."""
        if not len(words):
            return np.empty(0, dtype=np.int64)
        unique, first, inverse = np.unique(words, return_index=True, return_inverse=True)
        sets = [frozenset(str(word).split("|")) - {""} for word in unique]
        for at in np.argsort(first, kind="stable"):
            self._rows.setdefault(sets[at], len(self._rows))
        rows = [self._rows[models] for models in sets]
        return np.array(rows, dtype=np.int64)[inverse]

    @property
    def all(self) -> tuple[frozenset[str], ...]:
        """The sets by row."""
        return tuple(self._rows)


@dataclass
class Tally:
    """Records and why some of them gave no job."""

    records: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    rounded: int = 0
    added: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed in jobs that stayed, as sentences."""
        notes = []
        if self.cut:
            notes.append(f"{self.cut:,} jobs ran longer than their limit: they end at the limit")
        if self.rounded:
            notes.append(
                f"{self.rounded:,} jobs want a number of devices that whole nodes do not give: "
                f"their last pod is rounded up, {self.added:,} devices in all"
            )
        return tuple(notes)

    def within_limit(self, run: Ints, limit: Ints) -> Ints:
        """Run times that end at the limit [R]."""
        self.cut += int((run > limit).sum())
        return np.minimum(run, limit)

    def pods_of(self, devices: Ints, gpus_per_node: int) -> tuple[Ints, Ints]:
        """As `pods_of`; counts the jobs that it rounds up."""
        pods, gpus = pods_of(devices, gpus_per_node)
        more = pods * gpus - devices
        self.rounded += int((more > 0).sum())
        self.added += int(more.sum())
        return pods, gpus

    def without(self, line: Ints, reasons: Mapping[str, Bools]) -> Bools:
        """Which rows stay [R]; each other row counts for the first reason that holds.

        Parameters
        ----------
        line
            Line of each row.
        reasons
            Reason -> rows for which it holds [R].
        """
        stays = np.ones(len(line), dtype=bool)
        self.records += len(line)
        for reason, holds in reasons.items():
            out = stays & holds
            if out.any():
                self.left_out[reason] = self.left_out.get(reason, 0) + int(out.sum())
                self.examples.setdefault(reason, int(line[out][0]))
                stays &= ~holds
        return stays


def pods_of(devices: Ints, gpus_per_node: int) -> tuple[Ints, Ints]:
    """Members of a gang and devices of each, for jobs that only say how many devices they want.

    Up to a node's devices: one pod of so many. More: pods of whole nodes, so that the last one may
    hold devices that the job did not ask for. None: one pod without devices.

    Parameters
    ----------
    devices
        Devices of each job [J].

    Returns
    -------
    pods, gpus
        [J] each.
    """
    is_small = devices <= gpus_per_node
    pods = np.where(is_small, 1, -(-devices // gpus_per_node))
    return pods, np.where(is_small, devices, gpus_per_node)


def whole_milli(gpus: Ints) -> Ints:
    """Share of each device [1/1000] of pods that share none [R]."""
    return np.where(gpus > 0, WHOLE_MILLI, 0)


def number_texts(numbers: Ints) -> NDArray[np.str_]:
    """Whole numbers >= 0 as text, no wider than the largest needs [R]."""
    width = len(str(int(numbers.max()))) if len(numbers) else 1
    return numbers.astype(f"<U{width}")


def check_shares(devices: Ints, share: Ints, line: Ints, findings: Findings) -> None:
    """Note each row [R] with devices but no share of them, or with a share of no device."""
    for row in np.flatnonzero((devices > 0) != (share > 0)):
        expected = "1 to 1,000" if devices[row] else "0"
        findings.add(
            str(share[row]),
            f"{expected} for {devices[row]:,} GPUs",
            line=int(line[row]),
            column="gpu_milli",
        )


def build(
    parts: list[Part],
    tally: Tally,
    findings: Findings,
    format: TraceFormat,
    *,
    queues: tuple[str, ...],
    models: tuple[frozenset[str], ...] = (frozenset(),),
    start: datetime | None = None,
    unused: tuple[str, ...] = (),
    id_column: str = "id",
) -> Reading:
    """Join the parts, in order of submission, then of the file; columns that are missing are 0.

    Parameters
    ----------
    id_column
        Where the file has the ids.
    """
    _check_unique(parts, findings, format, id_column)
    if not tally.records and not findings.count:
        findings.add("no jobs", "at least one record after the header")
    findings.check()
    submit = _joined([part.columns["submit_ns"] for part in parts])
    is_sorted = bool((submit[1:] >= submit[:-1]).all())
    order = slice(None) if is_sorted else np.argsort(submit, kind="stable")
    del submit
    jobs = Jobs(*(sealed(_column(parts, name)[order]) for name in Jobs._fields))
    ids = np.concatenate([part.ids for part in parts]) if parts else np.empty(0, dtype="<U1")
    loads = _loads(parts, order)
    trace = JobTrace(jobs, ids[order], queues, models, dict(tally.left_out), start, loads)
    return Reading(trace, format, tally.records, dict(tally.examples), unused, tally.notes)


def _loads(parts: list[Part], order: slice | Ints) -> JobLoads | None:
    """Loads of the jobs; None where no part has any."""
    if not any(name in part.columns for part in parts for name in JobLoads._fields):
        return None
    for part in parts:
        for name in JobLoads._fields:
            part.columns.setdefault(name, np.full(len(part.line), UNKNOWN_LOAD, np.int64))
    return JobLoads(*(sealed(_column(parts, name)[order]) for name in JobLoads._fields))


def _column(parts: Iterable[Part], name: str) -> Ints:
    """One column of all parts, which give it up."""
    return _joined([part.columns.pop(name, np.zeros_like(part.line)) for part in parts])


def sealed(column: NDArray[np.int64]) -> Ints:
    """A contiguous column that cannot be written."""
    column = np.ascontiguousarray(column, dtype=np.int64)
    column.setflags(write=False)
    return column


def _joined(columns: list[Ints]) -> Ints:
    return np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)


def _check_unique(
    parts: Iterable[Part], findings: Findings, format: TraceFormat, id_column: str
) -> None:
    """Each id once; every later one is named by its line, in Parquet by its row."""
    seen: set[str] = set()
    rows = 0
    for part in parts:
        seen.update(part.ids.tolist())
        rows += len(part.ids)
    if len(seen) == rows:
        return
    first: dict[str, int] = {}
    has_lines = format is not TraceFormat.KFARM
    for part in parts:
        for name, number in zip(part.ids.tolist(), part.line.tolist(), strict=True):
            other = first.setdefault(name, number)
            if other == number:
                continue
            found = f"{shown(name)} again (first in {'line' if has_lines else 'row'} {other})"
            column = id_column if has_lines else f"{id_column}, row {number}"
            line = number if has_lines else None
            findings.add(found, "every id once", line=line, column=column)

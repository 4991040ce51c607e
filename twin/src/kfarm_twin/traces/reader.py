"""Read a trace, in whatever form it is."""

from __future__ import annotations

import zlib
from pathlib import Path

from kfarm_twin.jobs import JobTrace
from kfarm_twin.load import ManifestError
from kfarm_twin.traces.cells import BadCell, split_csv
from kfarm_twin.traces.csv_jobs import read_csv
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import blocks, failure, opened
from kfarm_twin.traces.openb_jobs import read_openb
from kfarm_twin.traces.parquet import MAGIC, read_parquet
from kfarm_twin.traces.philly import read_philly
from kfarm_twin.traces.swf import FIELDS, read_swf

HEADERS = {
    TraceFormat.PHILLY: {"timestamp", "duration", "num_gpus"},
    TraceFormat.OPENB: {"name", "num_gpu", "gpu_milli"},
    TraceFormat.CSV: {"id", "submit_s", "run_s"},
}
"""Columns by which a form of CSV is known."""
CHOICE = "state --format: " + ", ".join(TraceFormat)


def read_trace(path: Path, format: TraceFormat | None = None, *, gpus_per_node: int) -> JobTrace:
    """Read a trace of jobs; see `read`, which also says how it was read."""
    return read(path, format, gpus_per_node=gpus_per_node).trace


def read(path: Path, format: TraceFormat | None = None, *, gpus_per_node: int) -> Reading:
    """Read a trace of jobs.

    Parameters
    ----------
    path
        The file; gzip is unpacked whatever its name.
    format
        Its form; None to tell it from the content.
    gpus_per_node
        Devices of a node, by which jobs are cut into pods. SWF: a processor is a whole node.
        Philly, and CSV with ``gpus``: a job that wants more devices than a node has becomes pods of
        whole nodes. openb and kfarm: pods are as in the file.

    Raises
    ------
    ManifestError
        With the problems of the file, each with its line.
    """
    if gpus_per_node < 1:
        message = f"gpus_per_node is {gpus_per_node}; a node has at least 1 device"
        raise ValueError(message)
    chosen = format or detect(path)
    try:
        return _read(path, chosen, gpus_per_node)
    except ManifestError as error:
        raise _with_hint(path, format, error) from None


def _read(path: Path, format: TraceFormat, gpus_per_node: int) -> Reading:
    match format:
        case TraceFormat.SWF:
            return read_swf(path, gpus_per_node=gpus_per_node)
        case TraceFormat.PHILLY:
            return read_philly(path, gpus_per_node=gpus_per_node)
        case TraceFormat.OPENB:
            return read_openb(path)
        case TraceFormat.CSV:
            return read_csv(path, gpus_per_node=gpus_per_node)
        case TraceFormat.KFARM:
            if guesses(path) == [TraceFormat.CSV]:  # the plain twin of the Parquet form
                return read_csv(path, gpus_per_node=gpus_per_node)
            return read_parquet(path)


def _with_hint(path: Path, format: TraceFormat | None, error: ManifestError) -> ManifestError:
    """Say of which form a file looks, where another was asked for."""
    if format is None:
        return error
    try:
        likely = guesses(path)
    except ManifestError:
        return error
    if likely and format not in likely:
        found = f"what looks like {' or '.join(likely)}"
        return failure(path, found, f"a trace in the form {format}: use --format {likely[0]}")
    return error


def detect(path: Path) -> TraceFormat:
    """The form of a file by its first line that is not blank; an error where it leaves a doubt."""
    likely = guesses(path)
    by_name = [TraceFormat.SWF] if ".swf" in path.suffixes else []
    if len(likely) == 1 and by_name in ([], likely):
        return likely[0]
    if not likely:
        raise failure(path, f"no known form of a trace: {_first_line(path)}", CHOICE, line=1)
    raise failure(path, f"what could be {' or '.join({*likely, *by_name})}", CHOICE)


def guesses(path: Path) -> list[TraceFormat]:
    """The forms of which a file looks."""
    with opened(path) as stream:
        try:
            head = stream.read(len(MAGIC))
        except (EOFError, OSError, zlib.error):
            head = b""  # cut off: the reading of lines says so
    if head == MAGIC:
        return [TraceFormat.KFARM]
    line = _first_line(path)
    words = line.split()
    if line.startswith(";") or (len(words) == len(FIELDS) and "," not in line):
        return [TraceFormat.SWF]
    try:
        names = {name.strip() for name in split_csv(line)}
    except BadCell:
        return []
    return [form for form, needed in HEADERS.items() if needed <= names]


def _first_line(path: Path) -> str:
    for block in blocks(path):
        for raw in block.data.split(b"\n"):
            if raw.strip():
                return raw.decode("utf-8", "replace").strip()
    raise failure(path, "blank lines only", "a trace")

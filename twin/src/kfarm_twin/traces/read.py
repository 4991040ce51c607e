"""Read a trace, in whatever form it is."""

from __future__ import annotations

from pathlib import Path

from kfarm_twin.jobs import JobTrace
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import failure
from kfarm_twin.traces.swf import read_swf


def read_trace(path: Path, format: TraceFormat | None = None, *, gpus_per_node: int) -> JobTrace:
    """Read a trace of jobs; see `read` for what else is known about it."""
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
        Devices of a node, by which jobs are cut into pods: SWF takes a processor for a whole node;
        in the other forms a job that wants more devices than a node has becomes pods of whole
        nodes.

    Raises
    ------
    ManifestError
        With the problems of the file, each with its line.
    """
    if gpus_per_node < 1:
        message = f"gpus_per_node is {gpus_per_node}; a node has at least 1 device"
        raise ValueError(message)
    if format is TraceFormat.SWF:
        return read_swf(path, gpus_per_node=gpus_per_node)
    raise failure(path, f"format {format}", "swf")

"""Write a trace: our own Parquet form, CSV or SWF; what the form cannot hold is said."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import WHOLE_MILLI, JobTrace
from kfarm_twin.traces.build import DEFAULT_QUEUE
from kfarm_twin.traces.cells import NS_PER_S
from kfarm_twin.traces.formats import Target
from kfarm_twin.traces.lines import failure
from kfarm_twin.traces.parquet import MODEL_SEPARATOR, write_parquet

_ROWS = 65_536
CSV_COLUMNS = (
    "id",
    "submit_s",
    "run_s",
    "limit_s",
    "pods",
    "gpus_per_pod",
    "gpu_milli",
    "cpu_milli",
    "memory_mib",
    "priority",
    "queue",
    "models",
)
LOAD_COLUMNS = ("gpu_util", "cpu_util")
"""Only where the trace knows any."""
SUFFIXES = {".parquet": Target.KFARM, ".swf": Target.SWF, ".csv": Target.CSV}


def target_of(path: Path) -> Target:
    """The form that a file's name asks for."""
    name = path.with_suffix("") if path.suffix == ".gz" else path
    target = SUFFIXES.get(name.suffix)
    if target is None:
        expected = f"a name that ends in {', '.join(SUFFIXES)}, or --to {'|'.join(Target)}"
        raise failure(path, f"a name that ends in {name.suffix or 'nothing'}", expected)
    return target


def write_trace(
    trace: JobTrace, path: Path, target: Target, source: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Write a trace, whole or not at all; CSV and SWF are packed where the name ends in ``.gz``.

    Parameters
    ----------
    source
        Where the jobs came from; kept in the metadata of the Parquet form.

    Returns
    -------
    tuple of str
        What this trace has and the form cannot hold, as sentences.

    Raises
    ------
    ManifestError
        Where the file cannot be written.
    """
    writers: Mapping[Target, Callable[[IO[bytes]], tuple[str, ...]]] = {
        Target.KFARM: lambda stream: _parquet(trace, stream, source or {}),
        Target.CSV: lambda stream: _csv(trace, stream),
        Target.SWF: lambda stream: _swf(trace, stream),
    }
    is_packed = path.suffix == ".gz" and target is not Target.KFARM
    with replacing(path) as raw:
        if not is_packed:
            return writers[target](raw)
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            return writers[target](cast("IO[bytes]", packed))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content takes the place of `path` when all went well."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        made.chmod(0o666 & ~mask)
        made.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        made.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> Exception:
    reason = (error.strerror or type(error).__name__).lower()
    return failure(path, reason, "a file in a folder that exists and that you may write to")


def _parquet(trace: JobTrace, stream: IO[bytes], source: Mapping[str, Any]) -> tuple[str, ...]:
    write_parquet(trace, stream, source)
    return ()


def seconds_text(time_ns: int) -> str:
    """A time in seconds with as many decimals as it needs."""
    whole, rest = divmod(time_ns, NS_PER_S)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def _share_text(ppm: int) -> str:
    """A share of 1 with as many decimals as it needs; nothing where it is not known."""
    return "" if ppm < 0 else f"{ppm / 1e6:.6f}".rstrip("0").rstrip(".")


def _csv(trace: JobTrace, stream: IO[bytes]) -> tuple[str, ...]:
    jobs = trace.jobs
    models = [MODEL_SEPARATOR.join(sorted(names)) for names in trace.models]
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    loads = trace.loads
    writer.writerow((*CSV_COLUMNS, *(LOAD_COLUMNS if loads is not None else ())))
    for at in range(0, len(trace.ids), _ROWS):
        part = slice(at, at + _ROWS)
        times = (
            [seconds_text(value) for value in column[part].tolist()]
            for column in (jobs.submit_ns, jobs.run_ns, jobs.limit_ns)
        )
        counts = (jobs.pods, jobs.gpus, jobs.gpu_milli, jobs.cpu_milli, jobs.memory_mib)
        writer.writerows(
            zip(
                trace.ids[part].tolist(),
                *times,
                *(column[part].tolist() for column in (*counts, jobs.priority)),
                [trace.queues[code] for code in jobs.queue[part].tolist()],
                [models[code] for code in jobs.models[part].tolist()],
                *(map(_share_text, column[part].tolist()) for column in loads or ()),
                strict=True,
            )
        )
    text.detach()  # the stream is closed where it was opened
    return tuple(_lost_by_csv(trace))


def _lost_by_csv(trace: JobTrace) -> Iterator[str]:
    if trace.start is not None:
        yield f"the date of second 0, {trace.start.isoformat()}"
    yield from _lost_records(trace)


def _lost_records(trace: JobTrace) -> Iterator[str]:
    count = sum(trace.left_out.values())
    if count:
        yield f"that {count:,} records of the source gave no job"


def _swf(trace: JobTrace, stream: IO[bytes]) -> tuple[str, ...]:
    """Processors are pods, on whole nodes; times go to the nearest second, at least 1 for a run."""
    jobs = trace.jobs
    has_numbers = _are_numbers(trace)
    ids = trace.ids.astype(np.int64) if has_numbers else np.arange(1, len(trace.ids) + 1)
    queues = _queue_numbers(trace.queues)
    run = np.maximum(_seconds(jobs.run_ns), 1)
    columns = {
        0: ids,
        1: _seconds(jobs.submit_ns),
        3: run,
        4: jobs.pods,
        7: jobs.pods,
        8: np.maximum(_seconds(jobs.limit_ns), run),
        10: np.ones_like(run),
        14: np.array([number for number, _ in queues], dtype=np.int64)[jobs.queue],
    }
    stream.write(_swf_header(trace, queues).encode())
    for at in range(0, len(ids), _ROWS):
        part = slice(at, at + _ROWS)
        size = len(ids[part])
        cells = [columns[n][part].tolist() if n in columns else [-1] * size for n in range(18)]
        rows = zip(*cells, strict=True)
        stream.write("".join(" ".join(map(str, row)) + "\n" for row in rows).encode())
    return tuple(_lost_by_swf(trace, has_numbers))


def _seconds(time_ns: Ints) -> Ints:
    return (time_ns + NS_PER_S // 2) // NS_PER_S


def _are_numbers(trace: JobTrace) -> bool:
    """Whether ids are job numbers as SWF writes them."""
    return all(_is_small(name) for name in trace.ids.tolist())


def _queue_numbers(queues: tuple[str, ...]) -> list[tuple[int, str]]:
    """A number for each queue; names that are numbers keep them, the default is not known."""
    if all(name == DEFAULT_QUEUE or _is_small(name) for name in queues):
        return [(-1 if name == DEFAULT_QUEUE else int(name), "") for name in queues]
    return list(enumerate(queues, start=1))


def _is_small(name: str) -> bool:
    """Whether a name is a whole number below a billion as SWF writes it."""
    return name.isascii() and name.isdigit() and len(name) < 10 and str(int(name)) == name


def _swf_header(trace: JobTrace, queues: list[tuple[int, str]]) -> str:
    lines = ["Version: 2.2", f"MaxJobs: {len(trace.ids)}", f"MaxRecords: {len(trace.ids)}"]
    if trace.start is not None:
        start = trace.start if trace.start.tzinfo else trace.start.replace(tzinfo=UTC)
        lines.append(f"UnixStartTime: {int(start.timestamp())}")
        zone = getattr(start.tzinfo, "key", None)
        lines += [f"TimeZoneString: {zone}"] if zone else []
    lines.append("Note: processors are pods, each on a node of its own")
    lines += [f"Queue: {number} {' '.join(name.split())}" for number, name in queues if name]
    return "".join(f"; {line}\n" for line in lines)


def _lost_by_swf(trace: JobTrace, has_numbers: bool) -> Iterator[str]:
    jobs = trace.jobs
    sizes = np.unique(jobs.gpus).tolist()
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "")
        yield f"devices of a pod ({listed}): each pod is read back as a whole node"
    if (jobs.gpu_milli[jobs.gpus > 0] < WHOLE_MILLI).any():
        yield "shares of devices"
    for name, column in (("CPU", jobs.cpu_milli), ("memory", jobs.memory_mib)):
        if column.any():
            yield f"{name} of the pods"
    if trace.loads is not None:
        yield "loads of devices and nodes"
    if jobs.priority.any():
        yield "priorities"
    if jobs.models.any():
        yield "device models"
    if not has_numbers:
        yield "names of jobs: they are numbered from 1"
    times = (jobs.submit_ns, jobs.run_ns, jobs.limit_ns)
    if any((column % NS_PER_S).any() for column in times):
        yield "parts of seconds: times are rounded"
    if trace.start is not None and trace.start.tzinfo is None:
        yield "that the time zone is not known: the start is taken for UTC"
    yield from _lost_records(trace)

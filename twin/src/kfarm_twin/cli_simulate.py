"""``kfarm simulate``: a trace of jobs on a farm, by one scheduling discipline."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kfarm_twin import cli_failures, cli_heat
from kfarm_twin.cli_failures import FailureOptions
from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.disciplines import Backfill, Level, Order, Placement
from kfarm_twin.traces.formats import Reading, TraceFormat

if TYPE_CHECKING:
    from kfarm_twin.jobs import Jobs
    from kfarm_twin.replay import Discipline, Replay, Shape, Spread, Summary

SCHEMA = "kfarm.dev/simulate/v1"
JOBS_SCHEMA = "kfarm.dev/simulate-jobs/v1"
NS_PER_S = 1_000_000_000
JOULES_PER_KWH = 3.6e6
SHOWN = 10
"""Jobs that can never run of which the table names each."""


@dataclass(frozen=True)
class Request:
    """Options of the command."""

    trace: Path
    format: TraceFormat | None
    nodes: int | None
    node_list: Path | None
    gpus_per_node: int
    cpu_milli: int | None
    memory_mib: int | None
    nodes_per_rack: int
    nodes_per_unit: int
    order: Order
    backfill: Backfill
    placement: Placement
    required: Level
    preferred: Level | None
    restart_s: float
    seed: int
    jobs_out: Path | None
    failures: FailureOptions = field(default_factory=FailureOptions)
    heat: tuple[Path, ...] = ()
    load: int = 100


def simulate(request: Request, output: Output) -> None:
    """Read the trace, play it, print and write what came of it.

    Raises
    ------
    ManifestError
        Where the trace cannot be read or the jobs cannot be written.
    ReplayError
        Where farm and discipline do not go together.
    """
    from kfarm_twin.replay import replay, summarize  # noqa: PLC0415 - numpy, then numba
    from kfarm_twin.traces.reader import read  # noqa: PLC0415

    nodes = cli_heat.hot_nodes(request.heat) if request.heat else None
    shape = _shape(request) if nodes is None else cli_heat.shape_of(request, nodes)
    discipline = _discipline(request)
    reading = read(request.trace, request.format, gpus_per_node=request.gpus_per_node)
    jobs = reading.trace.jobs
    failures = cli_failures.failures_of(request.failures, shape, jobs, request.seed)
    with LateProgress(f"playing {request.trace.name}", "jobs") as progress:
        result = replay(
            jobs,
            shape,
            discipline,
            seed=request.seed,
            progress=progress,
            models=reading.trace.models,
            failures=failures,
            heat=cli_heat.job_heat(nodes, reading.trace, request.load),
        )
    summary = summarize(jobs, result, shape)
    if request.jobs_out is not None:
        write_jobs(request.jobs_out, reading, result)
    data = answer(request, shape, reading, result, summary)
    data["heat"] = cli_heat.figures(request, nodes, result)
    if output is Output.TABLE:
        print_answer(data)
        return
    if request.jobs_out is None:
        data["jobs"] = list(job_rows(reading, result, ("id", "submit", "start", "end")))
    sys.stdout.write((as_json(data) if output is Output.JSON else as_yaml(data)) + "\n")


def _shape(request: Request) -> Shape:
    from kfarm_twin.nodes import NodeError, NodeTable  # noqa: PLC0415 - numpy
    from kfarm_twin.replay import ReplayError, Shape  # noqa: PLC0415 - likewise

    nodes, path = request.nodes, request.node_list
    if (nodes is None) == (path is None):
        raise ReplayError("give either --nodes N or --node-list FILE")
    counted = request.cpu_milli is not None or request.memory_mib is not None
    if request.placement is Placement.COUNT and counted:
        raise ReplayError("placement count knows no CPU or memory; choose another placement")
    racks = request.nodes_per_rack, request.nodes_per_unit
    if nodes is not None:
        uniform = nodes, request.gpus_per_node
        limits = request.cpu_milli, request.memory_mib
        return Shape(*uniform, *racks, NodeTable.uniform(*uniform, *limits) if counted else None)
    if path is None or counted or any(racks):
        raise ReplayError("--node-list says what nodes have; leave out CPU, memory, racks, units")
    from kfarm_twin.traces.openb import read_openb_nodes  # noqa: PLC0415

    listed = read_openb_nodes(path)
    try:
        table = NodeTable(
            listed.gpus, listed.cpu_milli, listed.memory_mib, listed.model, listed.models
        )
    except NodeError as error:
        raise ReplayError(f"{path}: {error}") from error
    return Shape.of(table)


def _discipline(request: Request) -> Discipline:
    from kfarm_twin.replay import Discipline  # noqa: PLC0415

    return Discipline(
        order=request.order,
        backfill=request.backfill,
        placement=request.placement,
        required=request.required,
        preferred=request.preferred,
        restart_ns=round(request.restart_s * NS_PER_S),
    )


def answer(
    request: Request, shape: Shape, reading: Reading, result: Replay, summary: Summary
) -> dict[str, Any]:
    """Keys of ``-o json``, as docs/cli.md lists them; without the jobs."""
    from kfarm_twin.replay import uses_sharing  # noqa: PLC0415 - numpy
    from kfarm_twin.traces.summary import left_out  # noqa: PLC0415 - numpy

    ids = reading.trace.ids
    return {
        "schema": SCHEMA,
        "trace": {
            "file": str(request.trace),
            "format": str(reading.format),
            "records": reading.records,
            "leftOut": left_out(reading),
            "notes": list(reading.notes),
        },
        "farm": {
            "nodes": shape.nodes,
            "gpusPerNode": shape.gpus_per_node if request.node_list is None else None,
            "gpus": shape.gpus,
            "nodeList": str(request.node_list) if request.node_list is not None else None,
            "nodesPerRack": request.nodes_per_rack,
            "nodesPerUnit": request.nodes_per_unit,
        },
        "rules": _rules(request, uses_sharing(reading.trace.jobs, shape, _discipline(request))),
        "notes": _notes(request, reading.trace.jobs),
        "summary": figures(summary),
        "failures": cli_failures.figures(request.failures, result),
        "never": [{"id": str(ids[job]), "reason": reason} for job, reason in result.never.items()],
        "jobsFile": str(request.jobs_out) if request.jobs_out is not None else None,
    }


def _notes(request: Request, jobs: Jobs) -> list[str]:
    """What a reader of the figures must know, as sentences."""
    from kfarm_twin.replay import shares_devices  # noqa: PLC0415 - numpy

    shared = int(shares_devices(jobs).sum())
    if shared and request.placement is Placement.COUNT:
        return [
            f"{shared:,} jobs share a device: placement count adds up thousandths as if they could "
            "come from several devices (optimistic); fgd and the other policies place each on one"
        ]
    return []


def _rules(request: Request, sharing: bool) -> dict[str, Any]:
    return {
        "order": str(request.order),
        "backfill": str(request.backfill),
        "placement": str(request.placement),
        "sharedDevices": sharing,
        "required": str(request.required),
        "preferred": str(request.preferred) if request.preferred is not None else None,
        "restartS": request.restart_s,
        "seed": request.seed,
        "instant": "all ends, then all arrivals, then one pass"
        if request.failures.reliability is None
        else "what happens to nodes, then all ends, then all arrivals, then one pass",
        "end": "the true run time ends a job; limits only make reservations",
    }


def figures(summary: Summary) -> dict[str, Any]:
    """Keys of ``summary``."""
    return {
        "jobs": summary.jobs,
        "started": summary.started,
        "ended": summary.ended,
        "never": summary.never,
        "waited": summary.waited,
        "preemptions": summary.preemptions,
        "waitS": _spread(summary.wait),
        "boundedSlowdown": _spread(summary.slowdown),
        "averageBoundedSlowdown": summary.slowdown.mean if summary.slowdown else None,
        "lastEndS": summary.last_end_s,
        "makespanS": summary.makespan_s,
        "utilisation": summary.utilisation,
        "strandedShare": summary.stranded_share,
    }


def _spread(spread: Spread | None) -> dict[str, float] | None:
    return asdict(spread) if spread is not None else None


def seconds(times_ns: Iterable[int]) -> list[int | float | None]:
    """Seconds, whole where they are; None for what never came."""
    return [
        None
        if time_ns < 0
        else (time_ns // NS_PER_S if time_ns % NS_PER_S == 0 else time_ns / NS_PER_S)
        for time_ns in times_ns
    ]


def job_columns(reading: Reading, result: Replay) -> dict[str, list[Any]]:
    """Jobs in the order of the trace; times in its own seconds [s]."""
    jobs: Jobs = reading.trace.jobs
    columns = {
        "id": reading.trace.ids.tolist(),
        "submit": seconds(jobs.submit_ns.tolist()),
        "start": seconds(result.start_ns.tolist()),
        "end": seconds(result.end_ns.tolist()),
        "run": seconds(jobs.run_ns.tolist()),
        "limit": seconds(jobs.limit_ns.tolist()),
        "pods": jobs.pods.tolist(),
        "gpus_per_pod": jobs.gpus.tolist(),
        "preemptions": result.preemptions.tolist(),
    }
    if result.failures is not None:
        columns["interruptions"] = result.failures.interruptions.tolist()
    if result.heat is not None:
        columns["energy_kwh"] = (result.heat.job_j / JOULES_PER_KWH).tolist()
    return columns


def job_rows(
    reading: Reading, result: Replay, names: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    """Jobs one by one, with these keys or all."""
    columns = job_columns(reading, result)
    keys = names or tuple(columns)
    for row in zip(*(columns[key] for key in keys), strict=True):
        yield dict(zip(keys, row, strict=True))


def write_jobs(path: Path, reading: Reading, result: Replay) -> None:
    """Write the jobs, whole or not at all, in the form that the name asks for."""
    from kfarm_twin.traces.write import replacing  # noqa: PLC0415 - numpy

    with replacing(path) as stream:
        match path.suffix:
            case ".csv":
                _write_csv(stream, job_columns(reading, result))
            case ".parquet":
                _write_parquet(stream, reading, result)
            case _:
                data = {"schema": JOBS_SCHEMA, "jobs": list(job_rows(reading, result))}
                stream.write(as_json(data).encode() + b"\n")


def _write_csv(stream: IO[bytes], columns: Mapping[str, list[Any]]) -> None:
    text = io.TextIOWrapper(stream, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    text.flush()
    text.detach()  # the stream is closed by who opened it


def _write_parquet(stream: IO[bytes], reading: Reading, result: Replay) -> None:
    import pyarrow as pa  # noqa: PLC0415 - only for this form
    from pyarrow import parquet  # noqa: PLC0415

    columns = job_columns(reading, result)
    times = ("submit", "start", "end", "run", "limit")
    types = {name: pa.float64() for name in (*times, "energy_kwh")} | {"id": pa.string()}
    table = pa.table(
        {name: pa.array(values, types.get(name, pa.int64())) for name, values in columns.items()}
    )
    table = table.replace_schema_metadata({"schema": JOBS_SCHEMA})
    parquet.write_table(table, stream)


def print_answer(data: Mapping[str, Any]) -> None:
    """The answer for people."""
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly
    from rich.text import Text  # noqa: PLC0415

    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    console, summary, rules = Console(), data["summary"], data["rules"]
    table = right_table("", "mean", "median", "p90", "p99", "max")
    for label, key in (("wait [s]", "waitS"), ("bounded slowdown", "boundedSlowdown")):
        spread = summary[key]
        values = (f"{v:,.2f}" for v in spread.values()) if spread else ("",) * 5
        table.add_row(Text(label), *values)
    farm = data["farm"]
    say = f"{rules['order']}, backfill {rules['backfill']}, placement {rules['placement']}"
    nodes = f"{farm['nodes']:,} nodes" if farm["nodes"] else f"{farm['gpus']:,}"
    if farm["nodes"]:
        nodes += f" of {farm['gpusPerNode']}" if farm["gpusPerNode"] else f", {farm['gpus']:,}"
    console.print(Text(f"{nodes} devices: {say}"))
    console.print(table)
    console.print(
        Text(
            f"{summary['jobs']:,} jobs, {summary['waited']:,} waited, "
            f"{summary['preemptions']:,} preemptions; last end {summary['lastEndS']:,.0f} s, "
            f"utilisation {summary['utilisation']:.1%}"
        )
    )
    for line in cli_failures.sentences(data["failures"]) if data.get("failures") else ():
        console.print(Text(line))
    for line in cli_heat.sentences(data["heat"]) if data.get("heat") else ():
        console.print(Text(line))
    for note in data["notes"]:
        console.print(Text(f"note: {note}"))
    for entry in data["trace"]["leftOut"]:
        console.print(Text(f"left out: {entry['records']:,} records: {entry['reason']}"))
    for entry in data["never"][:SHOWN]:
        console.print(Text(f"never runs: {entry['id']}: {entry['reason']}"))
    if len(data["never"]) > SHOWN:
        console.print(Text(f"never runs: {len(data['never']) - SHOWN:,} more; see -o json"))

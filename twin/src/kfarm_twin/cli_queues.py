"""``kfarm simulate --queues``: a trace of jobs on queues with quotas, as Kueue admits them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_simulate import (
    NS_PER_S,
    SCHEMA,
    Request,
    figures,
    job_rows,
    print_answer,
    seconds,
    write_jobs,
)
from kfarm_twin.disciplines import Backfill, Level, Order, Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kfarm_twin.arrays import Ints
    from kfarm_twin.jobs import Jobs
    from kfarm_twin.quota_tree import Queue, QueueTree
    from kfarm_twin.quotas import QuotaOptions, QuotaReplay
    from kfarm_twin.replay import Replay
    from kfarm_twin.traces.formats import Reading

NS_PER_H = 3600 * NS_PER_S
KUEUE = "0.19.2"
"""Version whose rules are played."""


@dataclass(frozen=True)
class Sharing:
    """Options of the command that concern queues.

    Attributes
    ----------
    eviction_s
        From preemption until a job's quota is free [s].
    """

    fair_sharing: bool
    eviction_s: int


@dataclass(frozen=True)
class _Played:
    """What is told about a run."""

    reading: Reading
    tree: QueueTree
    queue: Ints
    quotas: QuotaReplay
    replay: Replay
    gpus: int


def simulate_queues(
    request: Request, paths: Sequence[Path], sharing: Sharing, output: Output
) -> None:
    """Read trace and queues, play, print and write what came of it.

    Raises
    ------
    ManifestError
        Where trace or queues cannot be read or the jobs cannot be written.
    ReplayError
        Where trace, queues and the other options do not go together.
    """
    from kfarm_twin.queues_manifest import read_queues  # noqa: PLC0415 - pydantic
    from kfarm_twin.replay import Shape, summarize  # noqa: PLC0415 - numpy, then numba
    from kfarm_twin.traces.reader import read  # noqa: PLC0415 - likewise

    _refuse_others(request)
    tree = read_queues(paths)
    reading = read(request.trace, request.format, gpus_per_node=request.gpus_per_node)
    played = _play(reading, tree, sharing)
    gpus = played.gpus if request.nodes is None else request.nodes * request.gpus_per_node
    summary = figures(summarize(reading.trace.jobs, played.replay, Shape(max(gpus, 1), 1)))
    summary["strandedShare"] = 0.0
    if request.jobs_out is not None:
        write_jobs(request.jobs_out, reading, played.replay)
    data = _answer(request, paths, played, gpus, sharing) | {"summary": summary}
    if output is Output.TABLE:
        _print(data)
        return
    if request.jobs_out is None:
        data["jobs"] = list(job_rows(reading, played.replay, ("id", "submit", "start", "end")))
    sys.stdout.write((as_json(data) if output is Output.JSON else as_yaml(data)) + "\n")


def _refuse_others(request: Request) -> None:
    """Refuse options of the farm driver: quota decides, in Kueue's order."""
    from kfarm_twin.replay import ReplayError  # noqa: PLC0415 - numpy

    given = {
        f"--order {request.order}": request.order is not Order.FIFO,
        f"--backfill {request.backfill}": request.backfill is not Backfill.NONE,
        f"--placement {request.placement}": request.placement is not Placement.COUNT,
        "--node-list": request.node_list is not None,
        "--cpu-per-node": request.cpu_milli is not None,
        "--memory-per-node": request.memory_mib is not None,
        "--nodes-per-rack": request.nodes_per_rack != 0,
        "--nodes-per-unit": request.nodes_per_unit != 0,
        f"--required {request.required}": request.required is not Level.CLUSTER,
        "--preferred": request.preferred is not None,
        "--restart": request.restart_s != 0,
        "--reliability": request.failures.reliability is not None,
        ", ".join(request.failures.given): bool(request.failures.given),
    }
    wrong = [name for name, present in given.items() if present]
    if wrong:
        raise ReplayError(
            f"{', '.join(wrong)} cannot go with --queues: the queues order jobs as Kueue does and "
            "count quota, not nodes; leave out one or the other"
        )


def _play(reading: Reading, tree: QueueTree, sharing: Sharing) -> _Played:
    from kfarm_twin.quotas import (  # noqa: PLC0415 - numba
        QuotaError,
        QuotaOptions,
        device_of,
        queue_rows,
        replay_quotas,
    )
    from kfarm_twin.replay import ReplayError  # noqa: PLC0415 - numpy

    trace, options = (
        reading.trace,
        QuotaOptions(fair_sharing=sharing.fair_sharing, eviction_ns=sharing.eviction_s * NS_PER_S),
    )
    try:
        device = device_of(tree, options)
        if device is None and int((trace.jobs.pods * trace.jobs.gpus).sum()):
            raise QuotaError("the jobs ask for devices and no queue has quota for any")
        quotas = replay_quotas(
            trace.jobs, tree, trace.queues, options, models=trace.models, rank=None
        )
        queue = queue_rows(trace.queues, tree)[trace.jobs.queue]
    except ValueError as error:  # QuotaError, and quotas that are too large to be added
        raise ReplayError(str(error)) from error
    gpus = sum(_nominal(node, device) for node in (*tree.queues, *tree.cohorts)) // 1000
    never = _never(reading, tree, queue, quotas, options)
    return _Played(reading, tree, queue, quotas, _as_replay(quotas, never), gpus)


def _nominal(node: Any, device: str | None) -> int:
    """Devices of a node's own nominal quota, all flavors together [1/1000]."""
    return sum(
        quota.nominal
        for group in node.groups
        for (_, resource), quota in group.quotas().items()
        if resource == device
    )


def _never(
    reading: Reading, tree: QueueTree, queue: Ints, quotas: QuotaReplay, options: QuotaOptions
) -> dict[int, str]:
    """Jobs that still wait when nothing can happen any more, with the reason."""
    import numpy as np  # noqa: PLC0415

    from kfarm_twin.quotas import requests  # noqa: PLC0415 - numba

    jobs, made = reading.trace.jobs, {}
    need, names = requests(jobs, tree, options), tree.resources
    rows = quotas.pending
    first: dict[int, int] = {}
    for row in rows[np.lexsort((rows, jobs.submit_ns[rows], -jobs.priority[rows]))].tolist():
        owner = tree.queues[queue[row]]
        covered = {resource for group in owner.groups for resource in group.resources}
        lacking = [
            name for name, amount in zip(names, need[row].tolist(), strict=False)
            if amount and name not in covered and name != "pods"
        ]  # fmt: skip
        head = first.setdefault(int(queue[row]), row)
        if lacking:
            made[row] = f"asks for {', '.join(lacking)}, for which queue {owner.name} has no quota"
        elif owner.strict and head != row:
            made[row] = f"waits in StrictFIFO queue {owner.name} behind {reading.trace.ids[head]}"
        else:
            made[row] = f"no flavor of queue {owner.name} has room for it, even with all quota free"
    return dict(sorted(made.items()))


def _as_replay(quotas: QuotaReplay, never: dict[int, str]) -> Replay:
    """The jobs as the farm driver tells of them; no series."""
    import numpy as np  # noqa: PLC0415

    from kfarm_twin.replay import Replay  # noqa: PLC0415

    none = np.zeros(0, np.int64)
    empty = np.zeros(0)
    return Replay(
        start_ns=quotas.first_ns,
        end_ns=quotas.end_ns,
        preemptions=quotas.preemptions,
        time_ns=none,
        busy_gpus=empty,
        queued=none,
        stranded_gpus=empty,
        every=1,
        never=never,
        decisions=quotas.cycles,
    )


def _answer(
    request: Request, paths: Sequence[Path], played: _Played, gpus: int, sharing: Sharing
) -> dict[str, Any]:
    """Keys of ``-o json``, as docs/cli.md lists them; without summary and jobs."""
    from kfarm_twin.traces.summary import left_out  # noqa: PLC0415 - numpy

    reading, ids = played.reading, played.reading.trace.ids
    notes = list(played.tree.notes)
    if request.nodes is not None:
        notes.append("--nodes bounds nobody beside quota: it is what utilisation is a share of")
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
            "nodes": request.nodes,
            "gpusPerNode": request.gpus_per_node if request.nodes is not None else None,
            "gpus": gpus,
            "nodeList": None,
            "nodesPerRack": 0,
            "nodesPerUnit": 0,
        },
        "rules": _rules(request, paths, sharing),
        "notes": notes,
        "queues": [_queue(row, queue, played) for row, queue in enumerate(played.tree.queues)],
        "preemptions": _preemptions(played),
        "never": [{"id": str(ids[job]), "reason": why} for job, why in played.replay.never.items()],
        "jobsFile": str(request.jobs_out) if request.jobs_out is not None else None,
    }


def _rules(request: Request, paths: Sequence[Path], sharing: Sharing) -> dict[str, Any]:
    return {
        "order": "priority, then submission, as each queue's strategy says",
        "backfill": "none in StrictFIFO queues; else any job whose quota is free",
        "placement": "quota",
        "kueue": KUEUE,
        "queues": [str(path) for path in paths],
        "fairSharing": sharing.fair_sharing,
        "evictionS": sharing.eviction_s,
        "sharedDevices": False,
        "required": None,
        "preferred": None,
        "restartS": 0,
        "seed": request.seed,
        "instant": "all ends, then all arrivals, then cycles until nothing changes",
        "end": "the true run time ends a job; a preempted job starts anew",
    }


def _queue(row: int, queue: Queue, played: _Played) -> dict[str, Any]:
    """Figures of a queue."""
    jobs, first_ns = played.reading.trace.jobs, played.quotas.first_ns
    mine = played.queue == row
    started = mine & (first_ns >= 0)
    wait_s = (first_ns[started] - jobs.submit_ns[started]) / NS_PER_S
    nominal = _nominal(queue, _device(played.tree))
    held, beyond = _device_hours(row, nominal, played)
    return {
        "name": queue.name,
        "cohort": queue.cohort,
        "nominalGpus": nominal / 1000,
        "jobs": int(mine.sum()),
        "started": int(started.sum()),
        "ended": int((mine & (played.quotas.end_ns >= 0)).sum()),
        "waitMeanS": float(wait_s.mean()) if wait_s.size else None,
        "gpuHours": held,
        "borrowedGpuHours": beyond,
        "preempted": int(played.quotas.preemptions[mine].sum()),
    }


def _device(tree: QueueTree) -> str | None:
    from kfarm_twin.quotas import QuotaOptions, device_of  # noqa: PLC0415 - numba

    return device_of(tree, QuotaOptions())


def _devices(jobs: Jobs) -> NDArray[Any]:
    """Devices of each gang [1/1000]."""
    return jobs.pods * jobs.gpus * jobs.gpu_milli


def _device_hours(row: int, nominal: int, played: _Played) -> tuple[float, float]:
    """Device-hours held by a queue's jobs, and of these beyond its nominal quota [h]."""
    import numpy as np  # noqa: PLC0415

    from kfarm_twin.quotas import Event  # noqa: PLC0415 - numba

    quotas = played.quotas
    at = np.flatnonzero(
        (played.queue[quotas.log_job] == row) & (quotas.log_kind != Event.PREEMPTED)
    )
    if not at.size:
        return 0.0, 0.0
    sign = np.where(quotas.log_kind[at] == Event.ADMITTED, 1, -1)
    held = np.cumsum(sign * _devices(played.reading.trace.jobs)[quotas.log_job[at]])[:-1]
    spans_h = np.diff(quotas.log_ns[at]) / NS_PER_H
    return (
        float((held * spans_h).sum() / 1000),
        float((np.maximum(held - nominal, 0) * spans_h).sum() / 1000),
    )


def _preemptions(played: _Played) -> list[dict[str, Any]]:
    """Who was stopped when, and for whom."""
    from kfarm_twin.quotas import Event  # noqa: PLC0415 - numba

    quotas, ids = played.quotas, played.reading.trace.ids
    at = quotas.log_kind == Event.PREEMPTED
    times = seconds(quotas.log_ns[at].tolist())
    pairs = zip(times, quotas.log_job[at].tolist(), quotas.log_other[at].tolist(), strict=True)
    return [{"time": time, "id": str(ids[job]), "for": str(ids[by])} for time, job, by in pairs]


def _print(data: Mapping[str, Any]) -> None:
    """The answer for people."""
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly
    from rich.text import Text  # noqa: PLC0415

    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    shown = dict(data["rules"], order="queues of Kueue", backfill="as each queue's strategy")
    print_answer({**data, "rules": shown})
    table = right_table(
        "queue", "quota", "jobs", "ended", "wait [s]", "GPU-h", "borrowed", "stopped"
    )
    for queue in data["queues"]:
        wait = queue["waitMeanS"]
        table.add_row(
            Text(queue["name"]),
            f"{queue['nominalGpus']:,g}",
            f"{queue['jobs']:,}",
            f"{queue['ended']:,}",
            "" if wait is None else f"{wait:,.2f}",
            f"{queue['gpuHours']:,.1f}",
            f"{queue['borrowedGpuHours']:,.1f}",
            f"{queue['preempted']:,}",
        )
    Console().print(table)

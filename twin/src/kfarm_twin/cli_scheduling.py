"""The commands that schedule: ``kfarm simulate``, ``compare``, ``fill``, ``schedule``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_answers import simulate_failures
from kfarm_twin.cli_app import (
    Format,
    FormatOfTrace,
    GpusPerNode,
    OptionalFiles,
    app,
    problems_reported,
    refuse,
    seconds,
)
from kfarm_twin.cli_output import Output
from kfarm_twin.disciplines import Backfill, Level, Order, Placement


@app.command()
def simulate(
    trace: Annotated[Path | None, typer.Option(help="Trace of jobs; may be gzip.")] = None,
    filename: Annotated[
        list[Path] | None,
        typer.Option(
            "--filename", "-f", help="Instead of a trace: a TwinRun of failures, and its farms."
        ),
    ] = None,
    run: Annotated[str | None, typer.Option(help="With -f: only this TwinRun.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="With -f: futures to play instead of replicas.")
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="With -f: time to play in each, such as 720h.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With -f: write a self-contained HTML page.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=1 << 20, help="Nodes of the farm, all equal.")
    ] = None,
    node_list: Annotated[
        Path | None, typer.Option(help="Nodes one by one, as openb lists them; may be gzip.")
    ] = None,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    cpu_per_node: Annotated[
        int | None, typer.Option(min=0, max=10**8, help="CPU of each node [m]; not counted else.")
    ] = None,
    memory_per_node: Annotated[
        int | None, typer.Option(min=0, max=1 << 30, help="Memory [MiB]; not counted else.")
    ] = None,
    order: Annotated[Order, typer.Option(help="Who goes first.")] = Order.FIFO,
    backfill: Annotated[
        Backfill, typer.Option(help="Who may go before a job that cannot start.")
    ] = Backfill.NONE,
    placement: Annotated[
        Placement, typer.Option(help="Count devices, or place on named nodes.")
    ] = Placement.COUNT,
    nodes_per_rack: Annotated[int, typer.Option(min=0, help="0: a rack is its unit.")] = 0,
    nodes_per_unit: Annotated[int, typer.Option(min=0, help="0: one unit.")] = 0,
    required: Annotated[
        Level, typer.Option(help="Each job stays in one domain of this level.")
    ] = Level.CLUSTER,
    preferred: Annotated[
        Level | None, typer.Option(help="Within it, in few domains of this level.")
    ] = None,
    reliability: Annotated[
        str | None,
        typer.Option(help="Let nodes fail: a reference such as llama3-h100, or a YAML file."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Work between saves: 30m, or young or daly; without, none.")
    ] = None,
    save: Annotated[str | None, typer.Option(help="How long a save blocks: 20s.")] = None,
    until: Annotated[
        str | None, typer.Option(help="With failures: break the run off then: 720h.")
    ] = None,
    restart: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="Of a restart: 300 [s] or 5m.")
    ] = 0,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Of all chance; 0 with a trace.")
    ] = None,
    jobs_out: Annotated[
        Path | None, typer.Option(help="Write the jobs there: .csv, .parquet, else JSON.")
    ] = None,
    heat: Annotated[
        list[Path] | None,
        typer.Option(
            help="Let jobs warm the devices of this farm, instead of --nodes; with the profiles of "
            "its devices. May be repeated."
        ),
    ] = None,
    load: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="With --heat: load of jobs that state none [%]; 100."),
    ] = None,
    queues: Annotated[
        list[Path] | None,
        typer.Option(help="Play on the queues of Kueue in these manifests; may be repeated."),
    ] = None,
    fair_sharing: Annotated[
        bool, typer.Option("--fair-sharing", help="With --queues: as Kueue's fairSharing.")
    ] = False,
    eviction: Annotated[
        int, typer.Option(min=0, max=10**6, help="With --queues: until a stopped job is gone [s].")
    ] = 30,
    output: Format = Output.TABLE,
) -> None:
    """Play a trace of jobs on a farm (--trace), or the failures of a fleet (-f).

    A trace gives waits, slowdown, utilisation, and when each job ran; a TwinRun with one gang or no
    workload gives ETTR, nodes down at once, outages, and what is to blame.
    """
    if filename:
        if trace or nodes or node_list or queues or jobs_out or heat:
            refuse("-f plays a TwinRun; --trace and its options play jobs: give one of the two")
        simulate_failures(filename, run, seeds, seed, horizon, report, output)
        return
    if trace is None:
        refuse("nothing to play: give --trace FILE, or a TwinRun with -f")
    if run or seeds or horizon or report:
        refuse("--run, --seeds, --horizon and --report belong to -f")
    if load is not None and not heat:
        refuse("--load says how hard jobs work; it belongs to --heat")
    if heat and queues:
        refuse("--heat and --queues are not played together; give one of the two")
    from kfarm_twin.cli_failures import FailureOptions  # noqa: PLC0415
    from kfarm_twin.cli_queues import Sharing, simulate_queues  # noqa: PLC0415
    from kfarm_twin.cli_simulate import Request  # noqa: PLC0415
    from kfarm_twin.cli_simulate import simulate as play  # noqa: PLC0415
    from kfarm_twin.replay import ReplayError  # noqa: PLC0415

    request = Request(
        trace=trace,
        format=format,
        nodes=nodes,
        node_list=node_list,
        cpu_milli=cpu_per_node,
        memory_mib=memory_per_node,
        gpus_per_node=gpus_per_node,
        nodes_per_rack=nodes_per_rack,
        nodes_per_unit=nodes_per_unit,
        order=order,
        backfill=backfill,
        placement=placement,
        required=required,
        preferred=preferred,
        restart_s=restart,
        seed=seed or 0,
        jobs_out=jobs_out,
        failures=FailureOptions(reliability, checkpoint, save, restart, until),
        heat=tuple(heat or ()),
        load=100 if load is None else load,
    )
    with problems_reported():
        try:
            if queues:
                simulate_queues(request, queues, Sharing(fair_sharing, eviction), output)
            elif fair_sharing:
                refuse("--fair-sharing says how queues share; name them with --queues")
            else:
                play(request, output)
        except ReplayError as error:
            refuse(str(error))


@app.command()
def compare(
    filename: OptionalFiles = None,
    run: Annotated[str | None, typer.Option(help="Only this TwinRun of the files.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Trace of jobs; gzip is unpacked.")] = None,
    format: Annotated[str | None, typer.Option(help="Form of the trace: swf, openb, …")] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes, where no farm is given.")] = None,
    gpus_per_node: Annotated[int, typer.Option(help="Accelerators of a node.")] = 8,
    nodes_per_rack: Annotated[int, typer.Option(help="Nodes of a rack.")] = 4,
    nodes_per_unit: Annotated[int, typer.Option(help="Nodes of a scalable unit; 0: one.")] = 0,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="order=fifo,backfill=easy,placement=best-fit,required=rack,preferred=node,name=x "
            "or such names alone: fifo, easy, sjf,best-fit. May be repeated; the first is the base."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Replicas to play.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all chance.")] = None,
    horizon: Annotated[str | None, typer.Option(help="Leave out jobs that arrive later.")] = None,
    heat: Annotated[
        bool, typer.Option("--heat", help="Let jobs warm the devices of the farms given with -f.")
    ] = False,
    result: Annotated[
        Path | None, typer.Option(help="Show this result (JSON, gzip too) instead of playing.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page.")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Compare scheduling policies on the same jobs, and say what the difference is worth."""
    from kfarm_twin.cli_compare import CompareOptions, compare_policies  # noqa: PLC0415

    options = CompareOptions(
        files=tuple(filename or ()),
        run=run,
        trace=trace,
        format=format,
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        nodes_per_rack=nodes_per_rack,
        nodes_per_unit=nodes_per_unit,
        policies=tuple(policy or ()),
        seeds=seeds,
        seed=seed,
        horizon=horizon,
        heat=heat,
        result=result,
    )
    with problems_reported():
        compare_policies(options, report, output)


@app.command()
def fill(
    nodes: Annotated[Path, typer.Option(help="Node list of the openb trace, .csv or .csv.gz.")],
    pods: Annotated[Path, typer.Option(help="Pod list of the openb trace, .csv or .csv.gz.")],
    policy: Annotated[list[str], typer.Option(help="Placement policy; may be repeated.")],
    until: Annotated[
        int, typer.Option(min=0, max=1_000, help="Last point of the curves [% of all GPUs].")
    ] = 130,
    tune: Annotated[
        float, typer.Option(help="GPUs that the pods ask for together, in GPUs of the cluster.")
    ] = 1.3,
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Seed of the order in which pods arrive.")
    ] = 42,
    seeds: Annotated[
        int, typer.Option(min=1, max=1_000, help="Play so many seeds, from --seed on.")
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="Write the curves as a self-contained HTML page.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Fill a cluster of shared GPUs until more is asked for than it has.

    Pods arrive in random order and stay. Shows how much of the GPUs each policy can give away and
    how much of the rest is in pieces that pods cannot use.
    """
    from kfarm_twin.cli_fill import Asked, policies_named  # noqa: PLC0415
    from kfarm_twin.cli_fill import fill as fill_cluster  # noqa: PLC0415

    if not 0 < tune <= 10:
        refuse(f"--tune {tune:g}; expected more than 0 and at most 10")
    chosen, unknown = policies_named(policy)
    if unknown:
        refuse(unknown)
    with problems_reported():
        asked = Asked(nodes, pods, chosen, until, tune, range(seed, seed + seeds))
        answer = fill_cluster(asked, plot, output)
    if plot is not None:
        typer.echo(f"curves: {plot}", err=True)
    if isinstance(answer, str):
        typer.echo(answer)
    else:
        from rich.console import Console  # noqa: PLC0415

        Console().print(answer)


@app.command()
def schedule(
    cluster: Annotated[
        list[Path],
        typer.Option(
            help="State of the cluster: what kubectl get nodes,pods,... -A -o yaml prints, or a "
            "FarmSnapshot; may be repeated."
        ),
    ],
    pods: Annotated[list[Path], typer.Option(help="Pods to schedule; may be repeated.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="With scores and reasons node by node.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="KubeSchedulerConfiguration; its first profile is used.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what kube-scheduler would do with pods: feasible nodes, scores, choice, preemption.

    Exit code 0 when an answer was given, also where pods do not fit, 2 when the input is wrong.
    """
    from kfarm_twin.cli_schedule import schedule_pods  # noqa: PLC0415

    with problems_reported():
        schedule_pods(cluster, pods, config, explain=explain, output=output)

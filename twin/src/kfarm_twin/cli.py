"""The command line ``kfarm``. Needs no cluster; heavy modules load only where they are used."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kfarm_twin.cli_output import ExitCode, Output
from kfarm_twin.disciplines import Backfill, Level, Order, Placement
from kfarm_twin.traces.formats import Target, TraceFormat

FILES_HELP = "Manifest file or directory, or - for standard input; may be repeated."

app = typer.Typer(
    name="kfarm",
    help="Digital twin of accelerator farms: validates placements before they are rolled out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Files = Annotated[list[Path], typer.Option("--filename", "-f", help=FILES_HELP)]
OptionalFiles = Annotated[list[Path] | None, typer.Option("--filename", "-f", help=FILES_HELP)]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]

trace_app = typer.Typer(no_args_is_help=True, help="Traces of jobs: look, convert, generate.")
app.add_typer(trace_app, name="trace")
TraceFile = Annotated[Path, typer.Argument(help="Trace; may be gzip.", metavar="FILE")]
OutFile = Annotated[Path, typer.Argument(help="File to write.", metavar="OUT")]
FormatOfTrace = Annotated[
    TraceFormat | None,
    typer.Option("--format", help="Form of the trace; told from its content when left out."),
]
TargetForm = Annotated[
    Target | None, typer.Option("--to", help="Form to write; told from the name when left out.")
]
GpusPerNode = Annotated[
    int, typer.Option("--gpus-per-node", min=1, max=1024, help="Devices of a node.")
]


def print_version(wanted: bool) -> None:
    """Print the version of the installed distribution and leave."""
    from importlib.metadata import version  # noqa: PLC0415 - only where it is asked for

    if wanted:
        typer.echo(f"kfarm {version('kfarm-twin')}")
        raise typer.Exit(ExitCode.APPROVED)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Digital twin of accelerator farms."""


@contextmanager
def problems_reported() -> Iterator[None]:
    """Turn bad input into lines on standard error and exit code 2."""
    from kfarm_twin.load import ManifestError  # noqa: PLC0415 - --version needs no models

    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(ExitCode.BAD_INPUT) from None


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the command line itself and exit with code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(ExitCode.BAD_INPUT)


@app.command()
def validate(
    filename: Files,
    plan: Annotated[
        str | None, typer.Option(help="Only this plan: name or namespace/name.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="State to start from, as kfarm snapshot wrote it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the policy's seed.")] = None,
    futures: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Overrides the most futures to play.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a self-contained HTML page; one for each plan.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Play the futures of placement plans and say whether they hold.

    Exit code 0 when all plans are approved, 1 when one is rejected or inconclusive, 2 when the
    input is wrong.
    """
    from kfarm_twin.cli_inputs import Options, read_inputs, read_snapshot  # noqa: PLC0415
    from kfarm_twin.cli_validate import validate_plans  # noqa: PLC0415

    with problems_reported():
        state = read_snapshot(snapshot) if snapshot else None
        options = Options(state, seed, futures, snapshot)
        inputs = read_inputs(filename)
        code = validate_plans(inputs, plan, options, report, output)
    raise typer.Exit(code)


@app.command()
def snapshot(
    filename: OptionalFiles = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Export from this cluster.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    plan: Annotated[
        str | None, typer.Option(help="With a cluster: see it as this plan would.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    output: Format = Output.YAML,
) -> None:
    """Write the state that a validation starts from.

    With --kubeconfig or --context, what the operator would see there; else that of the farms in the
    given files, all nodes ready and free.
    """
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.cli_output import as_json, as_yaml  # noqa: PLC0415
    from kfarm_twin.cli_snapshot import exported, manifest, synthetic  # noqa: PLC0415

    with problems_reported():
        if kubeconfig is not None or context is not None:
            state = exported(kubeconfig, context, plan)
        elif filename:
            state = synthetic(read_inputs(filename))
        else:
            refuse("kfarm snapshot needs farms: give files with -f, or a cluster with --kubeconfig")
    data = manifest(state)
    text = as_json(data) if output is Output.JSON else as_yaml(data)
    if write is not None:
        write.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"{len(state.nodes)} nodes written to {write}", err=True)
    else:
        typer.echo(text)


@app.command()
def describe(filename: Files, output: Format = Output.TABLE) -> None:
    """Summarise farms: clusters, racks, devices, power, cooling load, expected failures."""
    from kfarm_twin.cli_describe import describe_farms, farm_tree  # noqa: PLC0415
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.cli_output import as_json, as_yaml  # noqa: PLC0415

    with problems_reported():
        facts = describe_farms(read_inputs(filename))
    if not facts:
        refuse("no GPUFarm or NPUFarm in the files given with -f")
    if output is Output.TABLE:
        from rich.console import Console  # noqa: PLC0415

        for farm in facts:
            Console().print(farm_tree(farm))
        return
    data = {"schema": "kfarm.dev/describe/v1", "farms": [farm.as_data() for farm in facts]}
    typer.echo(as_json(data) if output is Output.JSON else as_yaml(data))


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


@app.command()
def crds(
    output: Annotated[
        Path | None, typer.Option("--output", help="Directory to write one file per kind to.")
    ] = None,
) -> None:
    """Print the CRDs of kfarm.dev, or write them to a directory."""
    from kfarm_api.crd import documents  # noqa: PLC0415

    files = documents()
    if output is None:
        typer.echo("---\n".join(files.values()), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")
        typer.echo(str(output / name))


@app.command()
def simulate(
    trace: Annotated[Path, typer.Option(help="Trace of jobs; may be gzip.")],
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
    restart: Annotated[
        int, typer.Option(min=0, max=10**6, help="Cost of a restart after preemption [s].")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of random placement.")] = 0,
    jobs_out: Annotated[
        Path | None, typer.Option(help="Write the jobs there: .csv, .parquet, else JSON.")
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
    """Play a trace of jobs on a farm: waits, slowdown, utilisation, and when each job ran."""
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
        seed=seed,
        jobs_out=jobs_out,
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


@trace_app.command("info")
def trace_info(
    file: TraceFile,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="State the load that this many nodes are offered.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what is in a trace: jobs, sizes, run times, device-hours, and what was left out."""
    from kfarm_twin.cli_trace import trace_info as show  # noqa: PLC0415

    with problems_reported():
        show(file, format, gpus_per_node, nodes, output)


@trace_app.command("convert")
def trace_convert(
    file: TraceFile,
    out: OutFile,
    to: TargetForm = None,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    output: Format = Output.TABLE,
) -> None:
    """Write a trace in another form, and say what that form cannot hold."""
    from kfarm_twin.cli_trace import trace_convert as convert  # noqa: PLC0415

    with problems_reported():
        convert(file, out, format, to, gpus_per_node, output)


@trace_app.command("generate")
def trace_generate(
    out: OutFile,
    source: Annotated[
        Path | None, typer.Option("--from", help="Trace to fit a model to and to compare with.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model, as --save-model wrote it; else a built-in mix.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=20_000_000, help="How many jobs.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same jobs.")] = 0,
    load: Annotated[
        float | None, typer.Option(help="Device-hours asked for over those of --nodes.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes that --load is about.")] = None,
    to: TargetForm = None,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    save_model: Annotated[Path | None, typer.Option(help="Write the model there as well.")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Write jobs that look like those of a trace, or of a model."""
    from kfarm_twin.cli_trace import Wanted  # noqa: PLC0415
    from kfarm_twin.cli_trace import trace_generate as make  # noqa: PLC0415

    if source is not None and model is not None:
        refuse("--from and --model exclude each other")
    if (load is None) != (nodes is None):
        refuse("--load and --nodes go together")
    if load is not None and not 0 < load <= 1000:
        refuse(f"--load is {load}; expected a number above 0, such as 0.8")
    with problems_reported():
        wanted = Wanted(jobs, seed, load, nodes, gpus_per_node, save_model)
        make(out, source, format, model, to, wanted, output)


@app.command()
def warm() -> None:
    """Compile the kernels into the cache, so that the next start is fast."""
    from kfarm_twin.kube.warm import warm as warm_kube  # noqa: PLC0415
    from kfarm_twin.warm import warm as warm_up  # noqa: PLC0415
    from kfarm_twin.warm import warm_replay  # noqa: PLC0415
    from kfarm_twin.whatif_play import warm as warm_whatifs  # noqa: PLC0415

    warm_up()
    warm_replay()
    warm_whatifs()
    warm_kube()
    typer.echo("kernels are compiled", err=True)


def main() -> None:
    """Run the command line; a fault of kfarm itself ends with code 3, never with 1."""
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            typer.echo(
                f"error: {error.filename}: {error.strerror}; name a file in a folder that exists "
                "and that you may write to",
                err=True,
            )
            sys.exit(ExitCode.BAD_INPUT)
        traceback.print_exc()
        typer.echo(
            "error: a fault in kfarm itself; please report it with the lines above", err=True
        )
        sys.exit(ExitCode.INTERNAL)


if __name__ == "__main__":
    main()

"""``kfarm schedule``: what kube-scheduler would do with pods, and why."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import typer

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.kube.describe import load_cluster
from kfarm_twin.kube.driver import Decision, Outcome, Scheduler, carry_out, queue_order
from kfarm_twin.kube.objects import Cluster, Pod
from kfarm_twin.kube.profile import DEVICES, SCORING, Profile, load_profile
from kfarm_twin.kube.reasons import Refusal

SCHEMA = "kfarm.dev/schedule/v1"
KUBERNETES = "1.36"
_SHOWN_NODES = 4


def schedule_pods(
    cluster: Sequence[Path],
    pods: Sequence[Path],
    config: Path | None,
    *,
    explain: bool,
    output: Output,
) -> None:
    """Read, schedule, print.

    Raises
    ------
    ManifestError
        When a file is wrong.
    """
    profile = load_profile(config) if config is not None else Profile()
    described, pending = load_cluster(cluster, pods)
    gc.freeze()  # what was read stays: looking through it again took most of the time
    for warning in (*profile.warnings, *described.warnings):
        typer.echo(f"warning: {warning}", err=True)
    decisions = decide_all(described, pending, profile, explain=explain)
    if output is Output.TABLE:
        _print_tables(list(decisions), explain=explain)
    elif output is Output.YAML:
        typer.echo(as_yaml(answer(described, profile, decisions, explain=explain)))
    else:
        _print_json(described, profile, decisions, explain=explain)


def decide_all(
    cluster: Cluster, pods: Sequence[Pod], profile: Profile, *, explain: bool
) -> Iterator[Decision]:
    """Decisions on all pods in queue order, each bound before the next."""
    scheduler = Scheduler(cluster, pods, profile)
    with LateProgress("pods", counted="pods") as progress:
        for done, pod in enumerate(queue_order(pods), start=1):
            decision = scheduler.decide(pod, details=explain)
            carry_out(scheduler, decision)
            progress(done, len(pods))
            yield decision


def answer(
    cluster: Cluster, profile: Profile, decisions: Iterable[Decision], *, explain: bool
) -> dict[str, Any]:
    """The whole answer as data; keys are documented in docs/cli.md and stable."""
    counts: Counter[str] = Counter()
    pods = []
    for decision in decisions:
        counts[decision.outcome.value] += 1
        pods.append(_pod_data(decision, explain=explain))
    return {**_head(cluster, profile), "pods": pods, **_tail(cluster, profile, counts)}


def _print_json(
    cluster: Cluster, profile: Profile, decisions: Iterable[Decision], *, explain: bool
) -> None:
    """The same as JSON, pod by pod: with details of large clusters it may be hundreds of MB."""
    counts: Counter[str] = Counter()
    typer.echo(as_json(_head(cluster, profile)).removesuffix("\n}") + ',\n  "pods": [', nl=False)
    separator = "\n"
    for decision in decisions:
        counts[decision.outcome.value] += 1
        text = as_json(_pod_data(decision, explain=explain))
        typer.echo(separator + indent(text, "    "), nl=False)
        separator = ",\n"
    tail = as_json(_tail(cluster, profile, counts)).removeprefix("{\n")
    typer.echo("\n  ],\n" + tail)


def _head(cluster: Cluster, profile: Profile) -> dict[str, Any]:
    weights = {n: w for n, w in zip(SCORING, profile.weights, strict=True) if w > 0}
    if profile.scores_devices:
        weights[DEVICES] = 2
    return {
        "schema": SCHEMA,
        "scheduler": {
            "kubernetes": KUBERNETES,
            "profile": profile.name,
            "weights": weights,
            "scoringStrategy": profile.strategy,
        },
        "nodes": len(cluster.nodes),
    }


def _tail(cluster: Cluster, profile: Profile, counts: Mapping[str, int]) -> dict[str, Any]:
    return {"summary": dict(counts), "warnings": [*profile.warnings, *cluster.warnings]}


def _pod_data(decision: Decision, *, explain: bool) -> dict[str, Any]:
    pod = decision.pod
    data: dict[str, Any] = {
        "namespace": pod.namespace,
        "name": pod.name,
        "priority": pod.priority,
        "outcome": decision.outcome.value,
        "choice": decision.node or None,
        "best": list(decision.best),
        "feasibleCount": decision.feasible_count,
        "message": decision.message,
        "nominatedNode": decision.nominated or None,
        "nominatedBest": list(decision.nominated_best),
        "victims": [_victim(victim) for victim in decision.victims],
        "warnings": list(pod.warnings),
    }
    if explain:
        data["feasible"] = list(decision.feasible)
        data["scores"] = {node: scored.plugins for node, scored in decision.scores.items()}
        data["totals"] = {node: scored.total for node, scored in decision.scores.items()}
        data["infeasible"] = {node: _refusal(why) for node, why in decision.refused.items()}
    return data


def _victim(pod: Pod) -> Mapping[str, Any]:
    return {"namespace": pod.namespace, "name": pod.name, "priority": pod.priority}


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "plugin": refusal.plugin,
        "reasons": list(refusal.reasons),
        "preemptionMayHelp": refusal.preemption_may_help,
    }


def _print_tables(decisions: Sequence[Decision], *, explain: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly; JSON does not need it

    console = Console()
    headers = ("Pod", "Priority", "Outcome", "Node", "Feasible", "Equally good")
    console.print(_table(headers, (_cells(decision) for decision in decisions)))
    for decision in decisions:
        for line in _sentences(decision):
            console.print(f"{decision.pod.key}: {line}", markup=False, highlight=False)
    if explain:
        for decision in decisions:
            if decision.scores:
                _print_scores(console, decision)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _cells(decision: Decision) -> tuple[str, ...]:
    others = len(decision.best) or len(decision.nominated_best)
    return (
        decision.pod.key,
        str(decision.pod.priority),
        decision.outcome.value,
        decision.node or decision.nominated,
        str(decision.feasible_count),
        str(others) if others > 1 else "",
    )


def _sentences(decision: Decision) -> list[str]:
    made = [decision.message] if decision.message else []
    if decision.outcome is Outcome.PREEMPTING:
        victims = ", ".join(victim.key for victim in decision.victims)
        made.append(f"evicts {victims} from {decision.nominated}")
    return made + [f"warning: {warning}" for warning in decision.pod.warnings]


def _print_scores(console: Any, decision: Decision) -> None:
    """Scores of the best nodes, the highest first, plugin by plugin."""
    ranked = sorted(decision.scores.items(), key=lambda item: -item[1].total)[:_SHOWN_NODES]
    plugins = list(ranked[0][1].plugins)
    rows = [(name, *(str(scored.plugins[name]) for _, scored in ranked)) for name in plugins]
    rows.append(("Total", *(str(scored.total) for _, scored in ranked)))
    count, key = decision.feasible_count, decision.pod.key
    console.print(f"\n{key}: {count} feasible nodes", markup=False, highlight=False)
    console.print(_table(("Plugin", *(node for node, _ in ranked)), rows))

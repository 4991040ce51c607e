"""The page of ``kfarm simulate -f``."""

from __future__ import annotations

from kfarm_twin.answers_page import Chart, assemble, bar, chart, line, place, section, table
from kfarm_twin.figures import NONE, figure
from kfarm_twin.fleetrun_result import CAUSES, FleetRun
from kfarm_twin.fleetrun_text import number

_DAY_S = 86_400.0
_CAUSE_NAMES = {
    "down": "down",
    "rework": "done twice",
    "detection": "until found",
    "waiting": "waiting for a node",
    "restart": "restarts",
    "saves": "saves",
    "slow": "slow members",
}
_SHOWN = 12


def render(run: FleetRun, command: str) -> str:
    """The whole page.

    Parameters
    ----------
    command
        Command line that gives the same result.
    """
    charts = [_down(run), _often(run), _lost(run)]
    sections = [
        section(
            "Nodes down over time",
            "Mean over the futures, shaded from 5 to 95 % of them; dotted: 99 %.",
            place("down"),
        ),
        section(
            "Nodes down at once",
            "Share of all time with so many nodes down, and with so many or more.",
            place("often"),
        ),
        section(
            "Accelerator-hours lost",
            "Mean of a future, by class of failure and by what they were lost to; planned: drains "
            "and saves.",
            place("lost"),
        ),
        section(
            "Metrics", "Over the futures; docs/metrics.md says what each means.", _metrics(run)
        ),
        section("Failure classes", "Events of one future on average.", _classes(run)),
    ]
    kicker = f"kfarm simulate · {run.name}"
    return assemble(kicker, run.headline, _facts(run), sections, charts, command, run.notes)


def _facts(run: FleetRun) -> list[tuple[str, str]]:
    made = run.inputs
    gang = [("Gang", f"{made.gang.nodes:,} nodes")] if made.gang else []
    return [
        ("Farm", made.farm),
        ("Accelerators", f"{made.accelerators:,}"),
        ("Spares", f"{made.spares:,}"),
        *gang,
        ("Futures", f"{run.futures:,} of {run.horizon}"),
        ("Seed", str(run.seed)),
    ]


def _down(run: FleetRun) -> Chart:
    band = run.over_time["nodes_down"]
    return chart(
        "down",
        [time / _DAY_S for time in band.time_s],
        ("days", "nodes down"),
        [
            line("mean", band.mean, 0, low=band.p05, high=band.p95),
            line("99 % of futures", band.p99, 1, dash="dot", shape="hv"),
        ],
        fromZero=True,
    )


def _often(run: FleetRun) -> Chart:
    found = run.nodes_down_distribution
    return chart(
        "often",
        found.nodes_down,
        ("nodes down at once", "share of time"),
        [
            bar("just so many", found.share, 0),
            line("so many or more", found.at_least, 1, shape="hvh"),
        ],
        tickFormat=".0%",
        format=".3%",
    )


def _lost(run: FleetRun) -> Chart:
    classes = list(run.lost_accelerator_hours.by_class.items())[:_SHOWN]
    causes = [cause for cause in CAUSES if any(lost.get(cause) for _, lost in classes)]
    return chart(
        "lost",
        [name for name, _ in classes],
        ("", "accelerator-hours"),
        [
            bar(_CAUSE_NAMES[cause], [lost.get(cause, 0.0) for _, lost in classes], at)
            for at, cause in enumerate(causes)
        ],
        xType="category",
        stacked=True,
        format=",.4~g",
    )


def _metrics(run: FleetRun) -> str:
    rows = []
    for name, found in run.metrics.items():
        if found.applicable:
            values = (found.mean, found.p05, found.p50, found.p95, found.p99)
            rows.append([name, *(figure(value, found.unit) for value in values)])
    return table(("Metric", "Mean", "5 %", "50 %", "95 %", "99 %"), rows)


def _classes(run: FleetRun) -> str:
    rows = [
        [
            count.name,
            count.takes,
            number(count.events),
            number(count.per_1000_node_days),
            NONE if count.recovered_share is None else f"{100 * count.recovered_share:.0f} %",
        ]
        for count in run.failures
    ]
    return table(("Class", "Takes", "Events", "Per 1,000 node-days", "Helped at once"), rows)

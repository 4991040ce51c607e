"""What ``kfarm fit failures`` prints for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kfarm_twin.cli_output import as_yaml
from kfarm_twin.cli_trace_tables import right_table
from kfarm_twin.figures import NONE

if TYPE_CHECKING:
    from rich.console import Console

ABSENT = "not seen in this log"
GOODNESS = {
    "faults": "faults",
    "nodesHit": "nodes hit",
    "topDecileShare": "share of the worst tenth of nodes",
    "availability": "availability",
    "downP50": "nodes down at once, 50 %",
    "downP95": "nodes down at once, 95 %",
    "downMost": "nodes down at once, most",
    "outageMeanHours": "outage, mean [h]",
    "outageP25Hours": "outage, 25 % [h]",
    "outageP50Hours": "outage, 50 % [h]",
    "outageP75Hours": "outage, 75 % [h]",
    "outageP90Hours": "outage, 90 % [h]",
    "outageP95Hours": "outage, 95 % [h]",
    "gapVariation": "gaps between faults, sd / mean",
    "dispersionDay": "faults a day, variance / mean",
    "dispersion29Days": "faults in 29 days, variance / mean",
    "nearAnotherShare": "faults within 1 h of another node's",
}


def print_fit(console: Console, data: Mapping[str, Any]) -> None:
    """Log, parameters, goodness of fit, block."""
    _print_log(console, data)
    _print_parameters(console, data["parameters"])
    _print_classes(console, data["parameters"])
    if data["goodness"] is not None:
        _print_goodness(console, data)
    for warning in data["warnings"]:
        _say(console, f"warning: {warning}", "yellow")
    _say(console, "\nFor the cluster of a farm's manifest:\n", "bold")
    _say(console, as_yaml({"reliability": data["reliability"]}))


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)


def _row(table: Any, *texts: str) -> None:
    """A row of text as it is: names may hold what rich would take for markup."""
    from rich.text import Text  # noqa: PLC0415

    table.add_row(*(Text(text) for text in texts))


def number(value: float | None) -> str:
    """Four digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def cells(figure: Mapping[str, Any]) -> tuple[str, str]:
    """Value and interval."""
    return number(figure["value"]), f"{number(figure['low'])} … {number(figure['high'])}"


def _print_log(console: Console, data: Mapping[str, Any]) -> None:
    log = data["log"]
    _say(
        console,
        f"{data['file']}: {log['faults']:,} faults on {log['nodesWithFault']:,} of {log['nodes']:,}"
        f" nodes in {number(log['days'])} days, {log['outages']:,} outages",
        "bold",
    )
    for one in log["excluded"]:
        lines = ", ".join(str(line) for line in one["lines"])
        _say(console, f"left out {one['count']:,}: {one['meaning']} (line {lines})", "yellow")
    for note in log["notes"]:
        _say(console, f"note: {note}", "dim")


def rows(p: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Name and figure of each parameter; None where the log does not support it."""
    repair = p["repair"]
    nothing: dict[str, Any] = {}
    recurrence, bursts, unrest = (
        p["recurrence"] or nothing,
        p["bursts"] or nothing,
        p["unrest"] or nothing,
    )
    quick, part = repair["quick"] or nothing, repair["part"] or nothing
    return [
        ("fresh faults per 1,000 node-days", p["rates"]["fresh"]),
        ("all faults per 1,000 node-days", p["rates"]["all"]),
        ("frailty, shape", p["frailtyShape"]),
        ("repairs that do not hold, share", recurrence.get("share")),
        ("  back within [h], mean", recurrence.get("withinHours")),
        ("bursts, share of faults", bursts.get("share")),
        ("  faults in one, mean", bursts.get("size")),
        ("  window [h]", bursts.get("windowHours")),
        ("unrest, share of time", unrest.get("share")),
        ("  as many faults", unrest.get("factor")),
        ("  spell [h], mean", unrest.get("spellHours")),
        ("back without hands [h], mean", quick.get("meanHours")),
        (
            f"hands-on [h], mean ({repair['handsOn']['distribution']})",
            repair["handsOn"]["meanHours"],
        ),
        ("  shape", repair["handsOn"]["shape"]),
        ("part, lead time [h], mean", part.get("leadHours")),
        ("  spread of its logarithm", part.get("spread")),
    ]


def _print_parameters(console: Console, p: Mapping[str, Any]) -> None:
    table = right_table("Parameter", "Value", "Interval")
    for name, figure in rows(p):
        if figure is not None:
            _row(table, name, *cells(figure))
        elif not name.startswith("  "):
            _row(table, name, NONE, ABSENT)
    shift, crews = p["shift"], p["crews"]
    told = f"{shift['hours']} h on {shift['days']} days" if shift else NONE
    _row(table, "shift", told, "" if shift else ABSENT)
    most = "" if crews["high"] is None else str(crews["high"])
    count = NONE if crews["count"] is None else str(crews["count"])
    _row(table, "crews", count, f"{crews['low']} … {most}")
    console.print(table)


def _print_classes(console: Console, p: Mapping[str, Any]) -> None:
    table = right_table("Class", "Faults", "per 1,000 node-days", "Interval", "Quick", "Part")
    shares = {one["name"]: one for one in p["repair"]["classes"]}
    for one in p["rates"]["classes"]:
        mine = shares[one["name"]]
        _row(
            table,
            one["name"],
            f"{one['faults']:,}",
            *cells(one),
            f"{100 * mine['quickShare']['value']:.0f} %",
            f"{100 * mine['partShare']['value']:.0f} %",
        )
    console.print(table)


def _print_goodness(console: Console, data: Mapping[str, Any]) -> None:
    table = right_table("Of the log and of futures", "Log", "Median", "Interval", "Within")
    for key, name in GOODNESS.items():
        if key not in data["goodness"]:
            continue
        one = data["goodness"][key]
        value, span = cells(one["simulated"])
        within = "yes" if one["within"] else "no"
        _row(table, name, number(one["observed"]), value, span, within)
    console.print(table)

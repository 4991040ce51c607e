"""Write the drills' part of docs/validation.md from docs/drills.json, which `make drills` records.

Each row is a metric that the twin predicted before a drill and that was then observed in a cluster.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from kfarm_api.units import parse_quantity
from kfarm_twin.drill_text import metric_name, told
from kfarm_twin.figures import NONE

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs/drills.json"
PAGE = ROOT / "docs/validation.md"
BEGIN, END = "<!-- drills -->", "<!-- end of drills -->"
RECOVERY = "seconds_to_recover"
GOAL_WITHIN = 85.0
GOAL_ERROR = 15.0
"""Goals: percent of metrics within the interval, median error of the time to recover in percent."""
TIMES = "seconds_to_"


def section(record: dict[str, Any]) -> str:
    """The part between the marks: what came of each drill, and how far off the twin was."""
    drills = record["drills"]
    rows = [(drill, metric) for drill in drills for metric in drill["metrics"] if compared(metric)]
    parts = [
        BEGIN,
        "## Failure drills: predicted before, observed after",
        _ground(record),
        _summary(drills, rows),
        "| Drill | Verdict | Nodes touched | Left behind | Within the interval |\n"
        "|---|---|---|---|---|\n" + "".join(_drill(drill) for drill in drills),
        "| Drill | Metric | Predicted, 90 % interval | Observed | Error | Within |\n"
        "|---|---|---|---|---|---|\n" + "".join(_row(drill, one) for drill, one in rows),
        END,
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def compared(metric: dict[str, Any]) -> bool:
    """Whether it was both predicted and observed."""
    return metric.get("within") is not None


def _ground(record: dict[str, Any]) -> str:
    environment = record.get("environment", {})
    where = [
        f"{name} {environment[key]}"
        for key, name in (
            ("kubernetes", "Kubernetes"),
            ("kwok", "KWOK"),
            ("processors", "processors:"),
        )
        if key in environment
    ]
    nodes = max((drill["nodes"] for drill in record["drills"]), default=0)
    return (
        f"`{record['recorded']}`, {record['date']}: {nodes:,} nodes ({', '.join(where)})."
        " The twin's answer was written to each drill's status before anything was touched;"
        " the observed figures come from the operator's watches. Metrics that a cluster cannot show"
        " (heat, repairs) have no row. What the model leaves out is in"
        " [the model of a drill](drill-model.md)."
    )


def _summary(drills: list[dict[str, Any]], rows: list[tuple[Any, dict[str, Any]]]) -> str:
    within = sum(bool(metric["within"]) for _, metric in rows)
    timed = [(d, m) for d, m in rows if m["name"].startswith(TIMES)]
    timed_within = sum(bool(metric["within"]) for _, metric in timed)
    errors = [error_of(m) for _, m in rows if m["name"] == RECOVERY]
    known = [abs(error) for error in errors if not math.isnan(error)]
    passed = sum(drill["verdict"] == "Passed" for drill in drills)
    left = sum(max(drill["residue"], 0) for drill in drills)
    lines = [
        f"- {passed} of {len(drills)} drills passed; {left} objects were left changed.",
        f"- Observed within the predicted 90 % interval: {_share(within, len(rows))} of all metrics"
        f" (goal: at least {GOAL_WITHIN:.0f} %), {_share(timed_within, len(timed))} of the times"
        " alone, since counts are easy.",
    ]
    if known:
        lines.append(
            f"- Time to recover: median error {statistics.median(known):.1f} % over {len(known)}"
            f" drills (goal: at most {GOAL_ERROR:.0f} %), largest {max(known):.1f} %."
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "none"


def error_of(metric: dict[str, Any]) -> float:
    """Observed less median, in percent of the median; NaN where the median is 0."""
    median = parse_quantity(metric["median"])
    return math.nan if median == 0 else 100 * (parse_quantity(metric["observed"]) / median - 1)


def _drill(drill: dict[str, Any]) -> str:
    own = [metric for metric in drill["metrics"] if compared(metric)]
    within = sum(bool(metric["within"]) for metric in own)
    return (
        f"| {_cell(drill['title'])} | {drill['verdict']} | {drill['touched']} "
        f"| {drill['residue'] if drill['residue'] >= 0 else 'not known'} "
        f"| {within} of {len(own)} |\n"
    )


def _row(drill: dict[str, Any], metric: dict[str, Any]) -> str:
    unit = metric["unit"]
    low, high = (told(metric[key], unit) for key in ("low", "high"))
    interval = low if low == high else f"{low} … {high}"
    error = error_of(metric)
    return (
        f"| {_cell(drill['name'])} | {metric_name(metric['name'])} | {interval} "
        f"| {told(metric['observed'], unit)} | {NONE if math.isnan(error) else f'{error:+.1f} %'} "
        f"| {'yes' if metric['within'] else 'no'} |\n"
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def placed(page: str, part: str) -> str:
    """The page with the part between its marks, or at its end where it has none yet."""
    if BEGIN not in page:
        return page.rstrip() + "\n\n" + part
    before, _, rest = page.partition(BEGIN)
    return before + part + rest.partition(END)[2].lstrip("\n")


def main() -> None:
    """Render what was recorded."""
    part = section(json.loads(RECORD.read_text(encoding="utf-8")))
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")
    print(f"==> {RECORD.relative_to(ROOT)} written into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

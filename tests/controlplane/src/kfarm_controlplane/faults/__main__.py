"""``python -m kfarm_controlplane.faults``: run a campaign, or replay plans from a file."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.campaign import Campaign, draw, read_plans
from kfarm_controlplane.faults.plans import FaultPlan
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record

CHART = Path(__file__).resolve().parents[5] / "charts/kfarm"
BAD_ARGUMENTS = 2


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kfarm_controlplane.faults", description=__doc__
    )
    parser.add_argument("--plans", type=int, default=60, help="plans to run")
    parser.add_argument("--seed", type=int, default=7, help="of the sample")
    parser.add_argument("--scenario", action="append", help="only this one; may be repeated")
    parser.add_argument("--drills", action="store_true", help="all stories of drills")
    parser.add_argument("--plan", type=Path, help="replay plans of this file, one a line")
    parser.add_argument("--bug", default="", help="seed a bug in the operator")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so long")
    parser.add_argument("--keep", type=Path, help="folder for logs and bad plans")
    parser.add_argument("--dry", action="store_true", help="learn, print the plans and end")
    parser.add_argument("--chart", type=Path, default=CHART, help="kfarm's chart")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.scenario or ()) - SCENARIOS.keys():
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if not (arguments.chart / "Chart.yaml").exists():
        parser.error(f"no chart in {arguments.chart}: give --chart")
    return arguments


def say(line: str) -> None:
    """Print at once: campaigns are long."""
    print(line, flush=True)  # noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 when a plan was bad, 2 on bad arguments."""
    arguments = parse(argv)
    plans: list[FaultPlan] = []
    if arguments.plan is not None:
        try:
            plans = read_plans(arguments.plan.read_text())
        except (OSError, ValueError) as error:
            say(f"{arguments.plan}: {error}")
            return BAD_ARGUMENTS
    names = (
        list(dict.fromkeys(p.scenario for p in plans))
        or arguments.scenario
        or [n for n, s in SCENARIOS.items() if s.sampled and s.drills == arguments.drills]
    )
    if unknown := [name for name in names if name not in SCENARIOS]:
        say(f"{arguments.plan}: no scenario {', '.join(unknown)}")
        return BAD_ARGUMENTS
    until = time.monotonic() + 60 * arguments.minutes
    kueue = any(SCENARIOS[name].kueue for name in names)
    drills = any(SCENARIOS[name].drills for name in names)
    with Arena(arguments.chart, kueue=kueue, drills=drills, keep=arguments.keep) as arena:
        campaign = Campaign(Runner(arena, SCENARIOS), arguments.seed, say, arguments.keep)
        known = campaign.learn(names)
        if not plans:
            plans = draw(known, arguments.plans, arguments.seed)
        if arguments.bug:
            plans = [FaultPlan(p.scenario, p.faults, arguments.bug) for p in plans]
        if arguments.dry:
            for plan in plans:
                say(plan.to_json())
            return 0
        count = None if arguments.plan else arguments.plans
        try:
            campaign.play(plans, count, until)
        except KeyboardInterrupt:
            say("stopped; what was played until now counts")
        report = campaign.report
    record("drills" if drills else "campaign", report.figures())
    say(json.dumps(report.figures(), indent=1))
    return 1 if report.bad or report.unsteady else 0


if __name__ == "__main__":
    sys.exit(main())

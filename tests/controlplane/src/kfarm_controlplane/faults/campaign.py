"""A campaign: learn the scenarios, draw plans by a seed, play them, and say what came of it."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfarm_controlplane.faults.plans import FaultPlan, Learned, sample
from kfarm_controlplane.faults.runner import Runner, Unsteady
from kfarm_controlplane.faults.stage import Outcome

SPARE = 1.25
"""Plans drawn for each that is wanted, since a few find no place to strike."""
RARE = {"fifty_plans": 8, "kueue_retry": 2}
"""Stories that take long have their turn in every so many rounds only."""
Say = Callable[[str], None]


@dataclass
class Report:
    """What has come of a campaign so far.

    Attributes
    ----------
    missed
        Plans whose faults found no place, twice; they prove nothing and are not counted.
    unsteady
        Scenarios that do not end the same each time without any fault.
    """

    seed: int
    clean: list[Outcome] = field(default_factory=list)
    bad: list[Outcome] = field(default_factory=list)
    missed: list[Outcome] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def run(self) -> int:
        """Plans that struck."""
        return len(self.clean) + len(self.bad)

    def figures(self) -> dict[str, Any]:
        """Plans run and clean, and times to converge by fault."""
        times = defaultdict(list)
        for outcome in self.clean:
            kind = "pair" if len(outcome.plan.faults) > 1 else outcome.plan.kind
            times[kind].append(outcome.converge_s)
        every = [outcome.converge_s for outcome in self.clean]
        return {
            "plans": self.run,
            "clean": len(self.clean),
            "missed": len(self.missed),
            "seed": self.seed,
            "scenarios": len({outcome.plan.scenario for outcome in self.clean}),
            "operator_starts": sum(o.starts for o in [*self.clean, *self.bad]),
            "seconds_per_plan": round(self.wall_s / max(1, self.run), 2),
            "converge_s": {"all": _spread(every)}
            | {k: _spread(v) for k, v in sorted(times.items())},
        }


def _spread(times: Sequence[float]) -> dict[str, float]:
    return {
        "count": len(times),
        "p50": round(quantile(times, 0.5), 2),
        "p99": round(quantile(times, 0.99), 2),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def draw(known: Sequence[Learned], count: int, seed: int) -> list[FaultPlan]:
    """Plans for a campaign of so many, some to spare."""
    return sample(known, math.ceil(SPARE * count), seed, rare=RARE)


class Campaign:
    """Runs plans and keeps the report.

    Parameters
    ----------
    folder
        Where each bad plan is left, with the operator's log; nowhere when None.
    """

    def __init__(self, runner: Runner, seed: int, say: Say, folder: Path | None = None) -> None:
        self._runner = runner
        self._say = say
        self._folder = folder
        self.report = Report(seed)

    def learn(self, names: Iterable[str], runs: int = 2) -> list[Learned]:
        """Play each scenario undisturbed, so many times."""
        found = []
        for name in names:
            began = time.monotonic()
            try:
                known = self._runner.learn(name, runs)
            except Unsteady as error:
                self.report.unsteady.append(name)
                self._say(f"BAD {error}")
                continue
            took = time.monotonic() - began
            counts = f"{len(known.writes)} writes, {len(known.events)} events"
            self._say(f"learned {name}: {counts} ({took:.1f} s)")
            found.append(known)
        return found

    def run(self, known: Sequence[Learned], count: int, until: float = math.inf) -> Report:
        """Play sampled plans until so many struck, or until a time in ``time.monotonic``."""
        return self.play(draw(known, count, self.report.seed), count, until)

    def play(
        self, plans: Iterable[FaultPlan], count: int | None = None, until: float = math.inf
    ) -> Report:
        """Play given plans."""
        began, report = time.monotonic(), self.report
        for plan in plans:
            if time.monotonic() > until or report.run == count:
                break
            outcome = self._runner.play(plan)
            if not outcome.struck and not outcome.violations:
                outcome = self._runner.play(plan)
            self._note(outcome)
            report.wall_s = time.monotonic() - began
        return report

    def _note(self, outcome: Outcome) -> None:
        report = self.report
        if outcome.violations:
            report.bad.append(outcome)
        else:
            (report.clean if outcome.struck else report.missed).append(outcome)
        verdict = "BAD" if outcome.violations else "clean" if outcome.struck else "missed"
        times = f"{outcome.wall_s:5.1f} s, right after {outcome.converge_s:5.2f} s"
        self._say(f"{report.run:4} {verdict:6} {times}  {outcome.plan}")
        for violation in outcome.violations:
            self._say(f"       {violation}")
        if outcome.violations and self._folder is not None:
            self._leave(outcome)

    def _leave(self, outcome: Outcome) -> None:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = self._folder / f"bad-{len(self.report.bad):03d}"
        stem.with_suffix(".json").write_text(outcome.plan.to_json() + "\n")
        found = "\n".join(outcome.violations)
        seen = "\n".join(str(signature) for signature in outcome.seen)
        stem.with_suffix(".log").write_text(f"{found}\n\n{seen}\n\n{outcome.log}")


def read_plans(text: str) -> list[FaultPlan]:
    """Plans of a file, one JSON object a line.

    Raises
    ------
    ValueError
        When a line is none.
    """
    plans = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            plans.append(FaultPlan.from_json(line))
        except (ValueError, json.JSONDecodeError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return plans

"""``python -m kfarm_controlplane.faults.hunt``: are sown bugs found again, and nothing else?

A bug counts as found when a plan that the unchanged operator passes shows a violation with it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kfarm_controlplane.faults.__main__ import CHART, say
from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.bugs import BUGS
from kfarm_controlplane.faults.plans import FaultPlan, Learned
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record

MOST = 12
"""Plays for one bug at the most."""
ROUNDS = 3
"""How often its plans are gone through: a bug that is a race may win it once."""


@dataclass(frozen=True)
class Found:
    """What came of the search for one bug.

    Attributes
    ----------
    plan
        The first that showed it; None where none did.
    shown
        The violations of that plan.
    clean
        Whether the unchanged operator passes the same plan.
    """

    bug: str
    tried: int
    plan: FaultPlan | None = None
    shown: tuple[str, ...] = ()
    clean: bool = False

    @property
    def good(self) -> bool:
        """Whether the bug, and only the bug, was found."""
        return self.plan is not None and self.clean


class Hunt:
    """Looks for bugs one after the other in one arena.

    Parameters
    ----------
    runs
        Undisturbed plays to learn a scenario from.
    """

    def __init__(self, runner: Runner, tell: Callable[[str], None] = say, *, runs: int = 2) -> None:
        self._runs = runs
        self._runner = runner
        self._tell = tell
        self._known: dict[str, Learned] = {}

    def seek(self, name: str) -> Found:
        """Play the plans of a bug until one shows it."""
        bug, began = BUGS[name], time.monotonic()
        if bug.scenario not in self._known:
            self._known[bug.scenario] = self._runner.learn(bug.scenario, self._runs)
        plans = (bug.plans(name, self._known[bug.scenario]) * ROUNDS)[:MOST]
        self._runner.quiet_s = bug.quiet_s
        found, amiss = Found(name, 0), tuple[str, ...]()
        for number, plan in enumerate(plans, 1):
            outcome = self._runner.play(plan)
            found = Found(name, number)
            if outcome.violations:
                healthy = self._runner.play(replace(plan, bug=""))
                shown, amiss = outcome.violations, healthy.violations
                found = Found(name, number, plan, shown, not healthy.violations)
                break
        took = time.monotonic() - began
        self._tell(f"{'found' if found.good else 'NOT FOUND'} {name} ({took:.0f} s)")
        self._tell(f"       {found.plan or f'{found.tried} plans'}")
        for line in found.shown[:3]:
            self._tell(f"       {line[:200]}")
        for line in amiss[:3]:
            self._tell(f"       without the bug: {line[:200]}")
        return found

    def all(self, names: Iterable[str]) -> list[Found]:
        """Look for each."""
        return [self.seek(name) for name in names]


def of_drills(bug: str) -> bool:
    """Whether a bug is sown into drills."""
    return SCENARIOS[BUGS[bug].scenario].drills


def figures(found: Sequence[Found]) -> dict[str, Any]:
    """For docs/reliability.md."""
    good = [item for item in found if item.good]
    return {
        "sown": len(found),
        "found": len(good),
        "by": {item.bug: item.plan.kind for item in good if item.plan},
        "missed": sorted(item.bug for item in found if not item.good),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 when a bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m kfarm_controlplane.faults.hunt")
    parser.add_argument("--bug", action="append", choices=list(BUGS), help="may be repeated")
    parser.add_argument("--drills", action="store_true", help="all that are sown into drills")
    arguments = parser.parse_args(argv)
    names = arguments.bug or [n for n in BUGS if of_drills(n) == arguments.drills]
    kueue = any(SCENARIOS[BUGS[name].scenario].kueue for name in names)
    drills = any(map(of_drills, names))
    with Arena(CHART, kueue=kueue, drills=drills) as arena:
        found = Hunt(Runner(arena, SCENARIOS)).all(names)
    record("drill-bugs" if drills else "bugs", figures(found))
    return 0 if all(item.good for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Bugs can be sown, and their plans are made of what a scenario showed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from kfarm_controlplane.faults.bugs import BUGS, Bug, Hint, apply
from kfarm_controlplane.faults.hunt import Found, figures
from kfarm_controlplane.faults.plans import FaultPlan, Learned
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.faults.signature import Signature

WRITE = Signature("PATCH", "pods", name="a", fields="spec.x")
OTHER = Signature("PATCH", "pods", name="b", fields="spec.x")
EVENT = Signature("ADDED", "pods", name="a", fields="gated", stream="s")
KNOWN = Learned("approved", (WRITE, OTHER), (EVENT,))


def test_every_bug_finds_its_place_in_the_operator() -> None:
    """In a process of its own, which is not fit for use afterwards."""
    sow = "from kfarm_controlplane.faults.bugs import BUGS, apply\nfor name in BUGS: apply(name)"
    subprocess.run([sys.executable, "-c", sow], check=True)


def test_an_unknown_bug_is_named() -> None:
    with pytest.raises(ValueError, match="no bug 'typo'; there are created-only, "):
        apply("typo")


def test_bugs_name_scenarios_and_say_what_is_wrong() -> None:
    assert len(BUGS) >= 14
    for bug in BUGS.values():
        assert bug.scenario in SCENARIOS
        assert bug.what
        for hint in bug.hints:
            event = hint.verb in ("", "ADDED", "MODIFIED", "DELETED")
            assert not hint.kind or event == (hint.kind in ("DropEvent", "SilentStream"))


def _bug(*hints: Hint) -> Bug:
    return Bug("a bug", lambda: None, "approved", hints)


def test_a_bug_that_shows_by_itself_needs_one_plan_without_a_fault() -> None:
    assert _bug(Hint()).plans("x", KNOWN) == [FaultPlan("approved", (), "x")]


def test_each_place_that_a_hint_names_makes_a_plan() -> None:
    plans = _bug(Hint("Reset", "PATCH", "pods")).plans("x", KNOWN)
    assert [p.faults[0].at for p in plans] == [WRITE, OTHER]
    (plan,) = _bug(Hint("DropEvent", "ADDED", "pods", "gated", "a")).plans("x", KNOWN)
    assert plan.faults[0].at == EVENT
    assert plan.bug == "x"


def test_two_hints_make_pairs() -> None:
    plans = _bug(Hint("Reset", "PATCH", "pods"), Hint("DropEvent", "ADDED", "pods")).plans(
        "", KNOWN
    )
    assert [[f.kind for f in p.faults] for p in plans] == [["Reset", "DropEvent"]] * 2


def test_a_hint_that_names_nothing_makes_no_plan() -> None:
    assert _bug(Hint("Reset", "PATCH", "nodes")).plans("x", KNOWN) == []


def test_a_bug_is_found_only_where_the_unchanged_operator_passes() -> None:
    plan = FaultPlan("approved")
    found = [
        Found("a", 1, plan, ("end: …",), True),
        Found("b", 1, plan, ("end: …",)),
        Found("c", 9),
    ]
    assert [item.good for item in found] == [True, False, False]
    assert figures(found) == {"sown": 3, "found": 1, "by": {"a": "none"}, "missed": ["b", "c"]}

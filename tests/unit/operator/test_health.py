"""Deaf watches are found out by lists; nothing is called deaf that merely lags."""

from __future__ import annotations

import pytest
from kfarm_operator.health import Finding, Hearing, fresh, report

PLAN = ("team", "train")


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hearing(clock: Clock) -> Hearing:
    return Hearing(clock)


def test_a_change_that_a_list_showed_and_the_watch_never_brings_is_owed(
    hearing: Hearing, clock: Clock
) -> None:
    hearing.event("plans", PLAN, 5)
    hearing.listed("plans", {PLAN: 7})
    clock.now = 30.0
    hearing.listed("plans", {PLAN: 7})
    assert hearing.behind_s("plans") == 30.0
    assert hearing.missed == {"plans": 1}


def test_a_watch_that_lags_and_then_brings_it_owes_nothing(hearing: Hearing, clock: Clock) -> None:
    hearing.event("plans", PLAN, 5)
    hearing.listed("plans", {PLAN: 7})
    clock.now = 1.0
    hearing.event("plans", PLAN, 7)
    assert hearing.behind_s("plans") == 0.0
    hearing.listed("plans", {PLAN: 7})
    assert hearing.missed == {}


def test_an_older_event_does_not_settle_what_is_owed(hearing: Hearing, clock: Clock) -> None:
    hearing.listed("plans", {PLAN: 7})
    clock.now = 2.0
    hearing.event("plans", PLAN, 6)
    assert hearing.behind_s("plans") == 2.0


def test_the_debt_counts_from_its_first_change(hearing: Hearing, clock: Clock) -> None:
    for moment, version in ((0.0, 7), (10.0, 8), (20.0, 9)):
        clock.now = moment
        hearing.listed("plans", {PLAN: version})
    assert hearing.behind_s("plans") == 20.0


def test_deleted_objects_are_owed_no_more(hearing: Hearing, clock: Clock) -> None:
    hearing.listed("plans", {PLAN: 7, ("team", "other"): 8})
    clock.now = 5.0
    hearing.event("plans", PLAN, 9, deleted=True)
    hearing.listed("plans", {})
    assert hearing.behind_s("plans") == 0.0


def test_kinds_are_told_apart(hearing: Hearing, clock: Clock) -> None:
    hearing.listed("farms", {("", "f"): 1})
    clock.now = 3.0
    assert (hearing.behind_s("farms"), hearing.behind_s("plans")) == (3.0, 0.0)


def test_a_report_has_a_line_for_each_part() -> None:
    findings = [
        fresh("a", "heard", 1.0, 2.0),
        fresh("b", "heard", 3.0, 2.0),
        Finding("c", True, ""),
    ]
    assert report(findings).splitlines() == [
        "[+]a heard 1.0 s ago; at most 2 s",
        "[-]b heard 3.0 s ago; at most 2 s",
        "[+]c ",
    ]

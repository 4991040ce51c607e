"""How long a plan is left alone after a simulation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kfarm_operator.plans.reconcile import MAX_HOLD_S, MIN_HOLD_S, next_hold

START = datetime(2026, 1, 1, tzinfo=UTC)


def holds(quiet_s: list[float]) -> list[float]:
    """Pauses after simulations that come so long after the pause before was over."""
    last, now, found = None, START, []
    for quiet in quiet_s:
        now = (last[0] if last else now) + timedelta(seconds=quiet)
        last = next_hold(last, now)
        found.append(last[1])
    return found


def test_inputs_that_flap_wait_longer_each_time() -> None:
    found = holds([0.0] * 12)
    assert found[:4] == [MIN_HOLD_S * 2**n for n in range(4)]
    assert found[-1] == MAX_HOLD_S


def test_faults_minutes_apart_are_each_answered_at_once() -> None:
    assert holds([60.0] * 12) == [MIN_HOLD_S] * 12


def test_a_plan_that_flapped_is_forgiven_once_it_is_calm() -> None:
    found = holds([0.0] * 12 + [601.0])
    assert found[-2:] == [MAX_HOLD_S, MIN_HOLD_S]


def test_ten_pauses_are_what_calm_means() -> None:
    assert holds([0.0, 10 * MIN_HOLD_S]) == [MIN_HOLD_S, 2 * MIN_HOLD_S]
    assert holds([0.0, 10 * MIN_HOLD_S + 1]) == [MIN_HOLD_S, MIN_HOLD_S]

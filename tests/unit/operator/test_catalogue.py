"""Status of profiles and policies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from kfarm_api.policy import ValidationPolicy
from kfarm_operator.catalogue import describe, least_futures, wanted_status
from kfarm_operator.gate_watch import UNSEEN
from kfarm_twin.verdict import Sequence

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def policy(most: int, checks: int = 1) -> ValidationPolicy:
    check = {"metric": "nodes_down_max", "atMost": "3"}
    simulation = {"futures": {"min": 1, "max": most}}
    body: dict[str, Any] = {
        "metadata": {"name": "p", "generation": 2},
        "spec": {"checks": [check] * checks, "simulation": simulation},
    }
    return ValidationPolicy.model_validate(body)


@pytest.mark.parametrize("checks", [1, 4])
@pytest.mark.parametrize(("quantile", "confidence"), [(95, 95), (99, 99), (50, 50), (60, 90)])
def test_fewer_futures_never_approve(quantile: int, confidence: int, checks: int) -> None:
    """The bound is held against the sequence that the twin decides by."""
    least = least_futures(quantile, confidence, checks)
    error = (1 - confidence / 100) / checks
    sequence = Sequence(quantile / 100, error)
    sequence.add(least - 1, 0)
    assert sequence.decision != "Passed"


def test_ninety_five_of_a_hundred_takes_fifty_nine() -> None:
    assert least_futures(95, 95, 1) == 59


def test_a_policy_that_can_never_approve_is_not_ready() -> None:
    good, reason, message = describe(policy(58))
    assert (good, reason) == (False, "TooFewFutures")
    assert "at least 59 futures" in message
    assert describe(policy(59))[0]
    assert not describe(policy(59, checks=2))[0]


def test_the_status_keeps_its_transition_time() -> None:
    item = policy(64)
    status = wanted_status(item, NOW)
    assert status["observedGeneration"] == 2
    later = ValidationPolicy.model_validate({**item.as_manifest(), "status": status})
    again = wanted_status(later, datetime(2027, 1, 1, tzinfo=UTC))
    assert again["conditions"] == status["conditions"]


@pytest.mark.parametrize(
    ("faults", "status", "reason", "said"),
    [
        ((), "False", "GateShut", "as they should be"),
        (("one is missing", "two"), "True", "GateDegraded", "one is missing; two. helm upgrade"),
        (UNSEEN, "Unknown", "GateUnread", "not been read yet"),
    ],
)
def test_a_policy_says_whether_the_gate_is_degraded(
    faults: tuple[str, ...], status: str, reason: str, said: str
) -> None:
    _, found = wanted_status(policy(64), NOW, faults)["conditions"]
    assert (found["type"], found["status"], found["reason"]) == ("Degraded", status, reason)
    assert said in found["message"]


def test_where_the_gate_is_not_watched_nothing_is_said_of_it() -> None:
    assert [c["type"] for c in wanted_status(policy(64), NOW)["conditions"]] == ["Ready"]

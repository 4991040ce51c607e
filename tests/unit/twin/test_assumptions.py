"""What a verdict is worth where inputs are not known: draws, break-even against closed forms."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import twin_farms as farms
from kfarm_api.plan import AssumedInput, AssumptionResult
from kfarm_twin import assume
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.validate import validate

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"),
    reason="thousands of futures: takes compiled kernels",
)
CLOSE = 0.03
"""Relative: bracket of 1 %, and the noise of 16 futures."""


def request(
    *checks: dict[str, Any],
    workload: dict[str, Any] | None = None,
    sources: list[dict[str, str]] | None = None,
    cluster: dict[str, Any] | None = None,
    **policy: Any,
) -> ValidationRequest:
    built = farms.farm(farms.cluster(**(cluster or {})))
    changes = {} if sources is None else {"sources": sources}
    return ValidationRequest(
        farms=[built],
        profiles=[farms.profile(**changes)],
        policy=farms.policy(*checks, **({"assumptions": {}} | policy)),
        plan=farms.plan(workload or farms.training(4)),
        snapshot=farms.snapshot(built),
    )


def study(asked: ValidationRequest) -> tuple[Verdict, AssumptionResult]:
    verdict = validate(asked)
    assert verdict.assumptions is not None
    return verdict, verdict.assumptions


def row(found: AssumptionResult, name: str) -> AssumedInput:
    [entry] = [entry for entry in found.inputs if entry.input.startswith(name)]
    return entry


def break_even(found: AssumptionResult, name: str) -> float:
    text = row(found, name).break_even
    assert text is not None
    return float(text)


def vouched(word: str = "High") -> list[dict[str, str]]:
    fields = ("power", "nodeOverhead", "thermalResistance", "temperature")
    return [{"field": field, "source": "measured", "confidence": word} for field in fields]


def simulation(hours: int) -> dict[str, Any]:
    return {"horizon": f"{hours}h", "futures": {"min": 64, "max": 256}, "seed": 7}


def test_break_even_of_rate_and_repair_is_that_of_availability() -> None:
    """Availability 1 / (1 + rate x repair) is 0.9 where the product is 1/9."""
    asked = request(
        {"metric": "availability", "atLeast": "0.90", "quantile": 50},
        workload=farms.serving(1),
        cluster={"nodes": 100, "reliability": farms.one_class("40", "20h")},
        simulation=simulation(3000),
        assumptions={"draws": 2},
    )
    verdict, found = study(asked)
    assert verdict.verdict == "Approved"
    rate = 1000.0 * 24.0 / 20.0 / 9.0
    assert break_even(found, "rate/any") == pytest.approx(rate, rel=CLOSE)
    assert break_even(found, "repair/any") == pytest.approx(1000.0 * 24.0 / 40.0 / 9.0, rel=CLOSE)
    assert row(found, "rate/any").message == (
        f"approved up to {row(found, 'rate/any').break_even} failures per 1000 node-days of any "
        "(stated 40)"
    )


def test_break_even_of_a_rejected_plan_is_where_it_would_be_approved() -> None:
    asked = request(
        {"metric": "availability", "atLeast": "0.90", "quantile": 50},
        workload=farms.serving(1),
        cluster={"nodes": 100, "reliability": farms.one_class("200", "20h")},
        simulation=simulation(3000),
        assumptions={"draws": 2},
    )
    verdict, found = study(asked)
    assert (verdict.verdict, verdict.reason) == ("Rejected", "ChecksFailed")
    rate = 1000.0 * 24.0 / 20.0 / 9.0
    assert break_even(found, "rate/any") == pytest.approx(rate, rel=CLOSE)
    assert "would be approved at or below" in row(found, "rate/any").message
    assert row(found, "rate/any").margin_stated == "-1.000"


def test_break_even_of_a_gangs_failure_rate_is_that_of_its_ettr() -> None:
    """The rate L at which d L e^(-L u) / (e^(L (d + w)) - 1) meets the bound."""
    d, w, u, bound = 0.5, 1.0 / 60.0, 5.0 / 60.0, 0.90

    def ettr(rate: float) -> float:
        return d * rate * math.exp(-rate * u) / math.expm1(rate * (d + w))

    low, high = 1e-6, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ettr(middle) > bound else (low, middle)
    saves = {"interval": "30m", "save": "60s", "restart": "5m"}
    asked = request(
        {"metric": "ettr", "atLeast": str(bound), "quantile": 50},
        workload=farms.training(4, checkpoint=saves, duration="3000h"),
        cluster={"nodes": 8, "reliability": farms.one_class("300", "1s")},
        simulation=simulation(4500),
        assumptions={"draws": 2},
    )
    verdict, found = study(asked)
    assert verdict.verdict == "Approved"
    per_1000_days = low / 4.0 * 24.0 * 1000.0
    assert break_even(found, "rate/any") == pytest.approx(per_1000_days, rel=CLOSE)


def test_break_even_of_thermal_resistance_and_power_are_those_of_ohms_law_of_heat() -> None:
    """32 degC + R x P meets the bound of 60 degC; P = 139 W + 85 % of the rest."""
    asked = request({"metric": "accelerator_temperature_max", "atMost": 60}, sources=vouched())
    verdict, found = study(asked)
    power = 139 + 0.85 * (1000 - 139)
    assert verdict.verdict == "Approved"
    assert break_even(found, "thermalResistance.liquid") == pytest.approx(28 / power, rel=0.011)
    full = 139 + (28 / 0.025 - 139) / 0.85
    assert break_even(found, "power.tdp") == pytest.approx(full, rel=0.011)


def test_break_even_of_restart_is_what_detection_leaves_of_the_limit() -> None:
    asked = request(survives=["Node"], faultLimits={"restart": "30m"}, sources=vouched())
    verdict, found = study(asked)
    assert verdict.verdict == "Approved"
    assert 0.99 * 1740 <= break_even(found, "restart/train") <= 1740
    assert row(found, "restart/train").check == "survives"


HOT = {"metric": "accelerator_temperature_max", "atMost": 58}
"""As stated 53.8 degC; at the upper end of a Low thermal resistance 60.3 degC."""


def test_an_unknown_that_flips_the_verdict_is_said_not_approved() -> None:
    verdict, found = study(request(HOT, sources=vouched("Low")))
    assert (verdict.verdict, verdict.reason) == ("Inconclusive", "AssumptionDominated")
    assert [check.result for check in verdict.checks] == ["Passed"]
    assert "thermal resistance of b200 (stated 0.025), but its 90 % range is" in verdict.message
    assert "confidence Low" in verdict.message
    assert row(found, "thermalResistance.liquid").flips


def test_a_figure_without_a_source_is_unknown() -> None:
    verdict, found = study(request(HOT))
    assert verdict.reason == "AssumptionDominated"
    assert "no source" in verdict.message
    assert row(found, "thermalResistance.liquid").confidence is None


@pytest.mark.parametrize("word", ["High", "Medium", "Derived"])
def test_what_somebody_vouches_for_is_reported_and_does_not_decide(word: str) -> None:
    verdict, found = study(request(HOT, sources=vouched(word)))
    assert (verdict.verdict, verdict.reason) == ("Approved", "AllChecksPassed")
    assert row(found, "thermalResistance.liquid").flips is (word != "High")
    assert break_even(found, "thermalResistance.liquid") == pytest.approx(26 / 870.85, rel=0.011)


def test_an_unknown_that_does_not_flip_the_verdict_leaves_it() -> None:
    verdict, found = study(
        request({"metric": "accelerator_temperature_max", "atMost": 80}, sources=vouched("Low"))
    )
    assert verdict.verdict == "Approved"
    assert row(found, "thermalResistance.liquid").unknown
    assert found.unknowns == []


def test_a_rejection_stays_one() -> None:
    verdict, found = study(request({"metric": "accelerator_temperature_max", "atMost": 50}))
    assert (verdict.verdict, verdict.reason) == ("Rejected", "ChecksFailed")
    assert row(found, "thermalResistance.liquid").flips
    assert found.approving < found.draws / 2


def test_nothing_is_asked_of_draws_0() -> None:
    verdict = validate(request(HOT, assumptions={"draws": 0}))
    assert (verdict.verdict, verdict.reason) == ("Approved", "AllChecksPassed")
    assert verdict.assumptions is None


def test_a_fault_that_no_input_changes_is_said_at_once() -> None:
    crowded = farms.training(8)
    verdict, found = study(request(survives=["RackPower"], workload=crowded))
    assert verdict.reason == "FaultsNotSurvived"
    assert (found.draws, found.approving, found.inputs) == (64, 0, [])
    assert "which no uncertain input changes" in found.message


def test_share_of_draws_falls_as_the_bound_gets_tighter() -> None:
    """One lognormal input decides: the share is the probability that R stays below the bound."""
    shares = []
    for bound in (52, 54, 56, 60):
        asked = request(
            {"metric": "accelerator_temperature_max", "atMost": bound},
            sources=[*vouched("High")[:2], *vouched("Medium")[2:]],
        )
        _, found = study(asked)
        shares.append(found.approving / found.draws)
        power = 139 + 0.85 * (1000 - 139)
        z = math.log((bound - 32) / power / 0.025) / math.hypot(0.14, 0.05 * 850 / power)
        expected = 0.5 * math.erfc(-z / math.sqrt(2))
        assert shares[-1] == pytest.approx(expected, abs=0.06)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_more_failures_never_help() -> None:
    """The margin falls with rate, repair, detection, restart and every figure of heat and power."""
    _, found = study(
        request(
            {"metric": "ettr", "atLeast": "0.5"},
            {"metric": "rack_power_load_max", "atMost": "1"},
            {"metric": "accelerator_temperature_max", "atMost": 84},
            survives=["Node"],
        )
    )
    assert {entry.check for entry in found.inputs[:3]} <= {
        "ettr",
        "rack_power_load_max",
        "accelerator_temperature_max",
        "survives",
    }
    for entry in found.inputs:
        assert float(entry.margin_high) <= float(entry.margin_low) + 1e-3, entry.input


def test_same_request_same_study_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request({"metric": "ettr", "atLeast": "0.9"}, cluster={"nodes": 64})
    monkeypatch.setattr(assume, "THREAD_WORTH", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    threaded = validate(asked)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert validate(asked) == threaded
    assert threaded.assumptions is not None


def test_seed_and_number_of_draws_are_inputs_of_the_verdict() -> None:
    asked = request(HOT, sources=vouched())
    few = request(HOT, sources=vouched(), assumptions={"draws": 8})
    assert validate(few).assumptions.draws == 8  # type: ignore[union-attr]
    assert asked.digest() != few.digest()


@pytest.mark.parametrize("bound", ["0.9", "0.905", "0.91", "0.915", "0.92", "0.93"])
def test_the_stated_inputs_are_judged_as_the_verdict_has_it(bound: str) -> None:
    """However close the bound: an input that changes nothing does not flip the verdict."""
    saves = {"interval": "30m", "save": "60s", "restart": "5m"}
    asked = request(
        {"metric": "ettr", "atLeast": bound},
        workload=farms.training(4, checkpoint=saves),
        cluster={"reliability": farms.one_class("600", "1s")},
        sources=vouched(),
    )
    verdict, found = study(asked)
    assert not row(found, "power.idle").flips
    below = (verdict.verdict == "Approved") == (row(found, "rate/any").margin_stated == "1.000")
    assert below or verdict.reason == "Undecided"


def test_large_runs_are_judged_with_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assume, "BUDGET", 1.0)
    _, found = study(request(HOT, sources=vouched()))
    assert found.draws == assume.LEAST_DRAWS
    assert found.futures <= 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.65, "0.65"), (11.234, "11.2"), (9093.4, "9093"), (0.00012345, "0.000123"), (0, "0")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert assume.number(value) == text

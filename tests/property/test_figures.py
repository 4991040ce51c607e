"""Figures survive being written and read: quantities exactly, durations to the nanosecond."""

from decimal import Decimal
from typing import Annotated

from hypothesis import given
from hypothesis import strategies as st
from kfarm_api.parse import InvalidObject, parse
from kfarm_api.units import (
    DURATION_PATTERN,
    QUANTITY_PATTERN,
    Bounds,
    Quantity,
    format_duration,
    format_quantity,
    parse_decimal,
    parse_duration_ns,
)
from pydantic import TypeAdapter, ValidationError

MILLION_HOURS_MS = 10**6 * 3600 * 1000
figures = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18,
                      places=6)  # fmt: skip


@given(figures)
def test_quantity_round_trip(value: Decimal) -> None:
    assert parse_decimal(format_quantity(value)) == value


@given(st.from_regex(QUANTITY_PATTERN, fullmatch=True).filter(str.isascii))
def test_every_text_of_the_pattern_is_a_quantity(text: str) -> None:
    assert parse_decimal(text.strip("\n")).is_finite()


@given(st.integers(0, MILLION_HOURS_MS - 1))
def test_duration_round_trip(milliseconds: int) -> None:
    ns = milliseconds * 10**6
    assert parse_duration_ns(format_duration(ns)) == ns


@given(st.from_regex(DURATION_PATTERN, fullmatch=True).map(str.strip).filter(bool))
def test_every_text_of_the_pattern_is_a_duration(text: str) -> None:
    assert parse_duration_ns(text) >= 0


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_bounds_are_inclusive(low: int, high: int, value: int) -> None:
    adapter = TypeAdapter(Annotated[Quantity, Bounds(str(low), str(high))])
    try:
        adapter.validate_python(value)
    except ValidationError:
        assert not low <= value <= high
    else:
        assert low <= value <= high


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(["GPUFarm", "PlacementPlan", "ValidationPolicy", "NodeLedger"]), json_values)
def test_any_json_is_refused_with_reasons(kind: str, spec: object) -> None:
    body = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": spec,
    }
    try:
        parse(body, strict=True)
    except InvalidObject as error:
        assert error.problems
        assert all("\n" not in p.found for p in error.problems)
    else:
        assert kind == "NodeLedger"

"""Quantities, durations and bounds at their edges."""

from decimal import Decimal
from typing import Annotated

import pytest
from kfarm_api.units import (
    Bounds,
    Duration,
    Quantity,
    format_duration,
    format_quantity,
    parse_decimal,
    parse_duration_ns,
    parse_quantity,
)
from pydantic import TypeAdapter, ValidationError


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", "0"), ("60k", "60000"), ("0.045", "0.045"), ("-5", "-5"), ("87.5", "87.5"),
     ("250m", "0.25"), ("1P", "1e15"), ("0100", "100")],
)  # fmt: skip
def test_quantity(text: str, value: str) -> None:
    assert parse_decimal(text) == Decimal(value)
    assert parse_quantity(text) == float(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "k",
        "1K",
        "1Ki",
        "1e3",
        "nan",
        "inf",
        "+1",
        ".5",
        "1.",
        "\uff11",
        "1_0",
    ],
)
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("0s", 0), ("30m", 1800 * 10**9), ("1h30m", 5400 * 10**9), ("5m30ms", 300_030_000_000),
     ("0.001s", 10**6), ("2160h", 2160 * 3600 * 10**9)],
)  # fmt: skip
def test_duration(text: str, ns: int) -> None:
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1d", "30m1h", "-1s", "1.5h", "1 h", "1h\n", "1H", "\uff11s", "0.0001s"]
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_ns(text)


def test_bounds() -> None:
    power = TypeAdapter(Annotated[Quantity, Bounds("0", "1k", "W", exclusive_least=True)])
    assert power.validate_python(32) == "32"
    assert power.validate_python("1k") == "1k"
    for value in (0, "0", "1001", -1, True, 1.5, None):
        with pytest.raises(ValidationError):
            power.validate_python(value)


def test_duration_is_text() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(30)


@pytest.mark.parametrize(
    ("value", "text"),
    [("60000", "60k"), ("1500", "1.5k"), ("0.045", "0.045"), ("0", "0"), ("999", "999"),
     ("20000000", "20M"), ("-2000", "-2k"), ("1234567891", "1234567891")],
)  # fmt: skip
def test_format_quantity(value: str, text: str) -> None:
    assert format_quantity(Decimal(value)) == text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e-7", "1e40"])
def test_unwritable_quantity(value: str) -> None:
    with pytest.raises(ValueError, match=r"finite|digits"):
        format_quantity(Decimal(value))


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0s"), (10**6, "1ms"), (5400 * 10**9, "1h30m"), (61 * 10**9, "1m1s")]
)
def test_format_duration(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@pytest.mark.parametrize("ns", [-1, 1, 3600 * 10**15])
def test_unwritable_duration(ns: int) -> None:
    with pytest.raises(ValueError, match=r"whole milliseconds|not a duration"):
        format_duration(ns)

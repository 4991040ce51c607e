"""Quantities, durations and names as they stand in a manifest, and what they mean in SI units.

The API carries no floats: a figure is an integer, a Kubernetes quantity (``2M``, ``"0.045"``) or a
duration (``2160h``). Each annotated type below is checked alike by pydantic and by the API server:
the pattern and the CEL rule that go into the CRD stand beside the Python check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import core_schema

NANOSECONDS_PER_SECOND = 1_000_000_000

QUANTITY_PATTERN = r"^-?[0-9]{1,19}([.][0-9]{1,6})?(m|k|M|G|T|P)?$"
DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}([.][0-9]{1,3})?s)?([0-9]{1,6}ms)?$"
_DURATION_PART = re.compile(r"([0-9]+(?:[.][0-9]+)?)(ms|h|m|s)")
_SUFFIX = {
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
}
_NANOSECONDS = {
    "h": 3600 * NANOSECONDS_PER_SECOND,
    "m": 60 * NANOSECONDS_PER_SECOND,
    "s": NANOSECONDS_PER_SECOND,
    "ms": 1_000_000,
}


def parse_decimal(text: str) -> Decimal:
    """Read a quantity exactly.

    Parameters
    ----------
    text
        A Kubernetes quantity with a decimal suffix, for example ``"60k"`` or ``"0.045"``.

    Raises
    ------
    ValueError
        When `text` is not such a quantity (NaN, exponents, full-width digits included).
    """
    if not re.fullmatch(QUANTITY_PATTERN, text):
        raise ValueError(
            f"{text!r} is not a quantity: write digits with an optional decimal part and one of "
            "the suffixes m, k, M, G, T, P, for example 60k or 0.045"
        )
    suffix = text[-1]
    if suffix in _SUFFIX:
        return Decimal(text[:-1]) * _SUFFIX[suffix]
    return Decimal(text)


def parse_quantity(text: str) -> float:
    """Read a quantity as a float in its base unit; see `parse_decimal`."""
    return float(parse_decimal(text))


def parse_duration_ns(text: str) -> int:
    """Read a duration such as ``30m`` or ``1h30m`` as integer nanoseconds.

    Raises
    ------
    ValueError
        When `text` is not a duration in hours, minutes, seconds and milliseconds, in this order.
    """
    if not text or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(
            f"{text!r} is not a duration: write hours, minutes, seconds, milliseconds in this "
            "order, for example 2160h, 30m or 1m30s"
        )
    total = Decimal(0)
    for value, unit in _DURATION_PART.findall(text):
        total += Decimal(value) * _NANOSECONDS[unit]
    return int(total)


def format_quantity(value: Decimal) -> str:
    """Write a figure as quantity text that `parse_decimal` reads back exactly.

    The largest suffix that leaves a number of at least one is taken, so 60000 becomes ``60k``.

    Raises
    ------
    ValueError
        When `value` is not finite or has more digits than a quantity can hold.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not finite: a quantity is a finite decimal number")
    scaled, suffix = value, ""
    for name in ("P", "T", "G", "M", "k"):
        if abs(value) >= _SUFFIX[name]:
            scaled, suffix = value / _SUFFIX[name], name
            break
    for text in (f"{_plain(scaled)}{suffix}", _plain(value)):
        if re.fullmatch(QUANTITY_PATTERN, text) and parse_decimal(text) == value:
            return text
    raise ValueError(
        f"{value} has more digits than a quantity holds (19 before, 6 after the point)"
    )


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def format_duration(nanoseconds: int) -> str:
    """Write a span of whole milliseconds [ns] as text that `parse_duration_ns` reads back.

    Raises
    ------
    ValueError
        When the span is negative, not whole milliseconds, or 1,000,000 hours and more.
    """
    if nanoseconds < 0 or nanoseconds % _NANOSECONDS["ms"]:
        raise ValueError(f"{nanoseconds} ns is not a span of whole milliseconds")
    parts, rest = [], nanoseconds
    for unit in ("h", "m", "s", "ms"):
        count, rest = divmod(rest, _NANOSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    text = "".join(parts) or "0s"
    parse_duration_ns(text)
    return text


@dataclass(frozen=True)
class Bounds:
    """Inclusive bounds of a quantity, for pydantic and as a CEL rule.

    Attributes
    ----------
    least, most
        Bounds as quantity text, in the unit of the field.
    unit
        SI unit, for messages and the reference documentation.
    exclusive_least
        Whether `least` itself is refused (a rate that must not be zero).
    """

    least: str
    most: str
    unit: str = ""
    exclusive_least: bool = False

    def check(self, text: str) -> str:
        """Return `text` when it is within bounds; raise ValueError else."""
        value = parse_decimal(text)
        low, high = parse_decimal(self.least), parse_decimal(self.most)
        too_low = value <= low if self.exclusive_least else value < low
        if too_low or value > high:
            raise ValueError(self.message)
        return text

    @property
    def message(self) -> str:
        """What is allowed, for people."""
        above = "more than" if self.exclusive_least else "at least"
        unit = f" {self.unit}" if self.unit else ""
        return f"must be {above} {self.least}{unit} and at most {self.most}{unit}"

    @property
    def rule(self) -> str:
        """The same as a CEL expression on ``self``."""
        value = "quantity(string(self))"
        low = (
            f"{value}.compareTo(quantity('{self.least}')) {'>' if self.exclusive_least else '>='} 0"
        )
        high = f"{value}.compareTo(quantity('{self.most}')) <= 0"
        return f"{low} && {high}"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler(schema)
        described["x-kubernetes-validations"] = [{"rule": self.rule, "message": self.message}]
        return described


def _quantity_text(value: object) -> object:
    """Accept the integer that YAML makes of ``32``; leave all else to the pattern."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _check_quantity(text: str) -> str:
    parse_decimal(text)
    return text


def _check_duration(text: str) -> str:
    parse_duration_ns(text)
    return text


Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    AfterValidator(_check_quantity),
    Field(
        max_length=32,
        json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN},
    ),
]
"""A figure without floats: an integer or quantity text."""

Duration = Annotated[
    str,
    AfterValidator(_check_duration),
    Field(min_length=2, max_length=40, json_schema_extra={"pattern": DURATION_PATTERN}),
]
"""A span of time such as ``2160h`` or ``30m``."""

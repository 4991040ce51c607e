"""Kubernetes quantities, exactly: any suffix, in billionths (nano) as the API server counts."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

NANO = 1_000_000_000
_NUMBER = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([eE][+-]?[0-9]{1,3}|[a-zA-Z]*)", re.ASCII
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
LARGEST = 90 * 10**15
"""Largest amount taken, in whole units: a hundredfold still fits into 64 bits, as scores need."""


def parse_nano(value: Any) -> int:
    """Read a quantity in billionths, rounded up as `resource.Quantity` does.

    Parameters
    ----------
    value
        Text such as ``1500m``, ``64Gi``, ``1e3``, or a plain number as YAML gives it.

    Raises
    ------
    ValueError
        When it is not a quantity, negative, or above `LARGEST`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a quantity such as 500m, 2 or 64Gi")
    match = _NUMBER.fullmatch(str(value).strip() if not isinstance(value, str) else value)
    if match is None or len(match[0]) > 64:
        raise ValueError("a quantity such as 500m, 2 or 64Gi")
    number, suffix = Decimal(match[1]), match[2]
    if suffix in _BINARY:
        number *= 2 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        number = number.scaleb(_DECIMAL[suffix])
    elif suffix[:1] in ("e", "E"):
        number = number.scaleb(int(suffix[1:]))
    else:
        raise ValueError("one of the suffixes n u m k M G T P E Ki Mi Gi Ti Pi Ei")
    if number < 0:
        raise ValueError("a quantity that is not negative")
    if number > LARGEST:
        raise ValueError("a quantity of at most 90P")
    scaled = number.scaleb(9)
    whole = int(scaled)
    return whole if whole == scaled else whole + 1


def milli(nano: int) -> int:
    """Thousandths, rounded up."""
    return -(-nano // 1_000_000)


def units(nano: int) -> int:
    """Whole units, rounded up."""
    return -(-nano // NANO)

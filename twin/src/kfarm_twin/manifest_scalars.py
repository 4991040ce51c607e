"""Plain scalars by the rules of YAML 1.2, and what is refused since YAML 1.1 reads it otherwise."""

from __future__ import annotations

import math
import re

from kfarm_api.parse import show

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_AMBIGUOUS_WORD = re.compile(r"(?i:yes|no|on|off|y|n)")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"(?i:[-+]?\.inf|\.nan)")
_AMBIGUOUS_NUMBER = re.compile(
    r"[-+]?(0[0-9_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9]*_[0-9_]*)"
)
_MAX_INTEGER = 2**63 - 1


class Unclear(Exception):
    """A scalar that is not taken; reading goes on behind it."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


def resolve(text: str) -> str | int | float | bool | None:
    """Read an unquoted scalar.

    Raises
    ------
    Unclear
        When it is not finite, too large, or means another thing to a YAML 1.1 reader (kubectl).
    """
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return integer(text)
    if _AMBIGUOUS_WORD.fullmatch(text) or _AMBIGUOUS_NUMBER.fullmatch(text):
        raise Unclear(
            f"{show(text)} without quotes, which YAML 1.1 and YAML 1.2 read differently",
            "quotes around text; true or false; a plain decimal number",
        )
    if _NOT_FINITE.fullmatch(text):
        raise Unclear(text, "a finite number")
    if _FLOAT.fullmatch(text):
        return finite(text)
    return text


def integer(text: str) -> int:
    """Read an integer of at most 64 bits."""
    if len(text) > 20 or abs(int(text)) > _MAX_INTEGER:
        raise Unclear(show(text), "an integer of at most 64 bits")
    return int(text)


def finite(text: str) -> float:
    """Read a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise Unclear(show(text), "a finite number")
    return value

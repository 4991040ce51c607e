"""States of all racks at chosen moments: which are kept, and how they are packed into a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTITIES = ("hottest_c", "inlet_c", "power_w", "throttled")
_NONE = -32768
_TOP = 32767


@dataclass(frozen=True)
class Moments:
    """All racks over time; a state lasts until the next.

    Attributes
    ----------
    title, note
        What is shown, in words.
    time_s
        [T] rising, from the start of the future [s].
    values
        By quantity of `QUANTITIES`, [T, R] in the order of the page's racks, NaN where unknown:
        hottest accelerator and rack inlet [degC], power [W], throttled accelerators.
    start
        Moment that is shown first: the worst.
    worst
        Why it is the worst, in words.
    curve
        What is drawn above the slider, seen at more times than the racks: times [s] and the hottest
        accelerator [degC], or the power of all racks [W] where no temperature is known; each value
        lasts until the next.
    """

    title: str
    note: str
    time_s: Sequence[float]
    values: Mapping[str, Floats] = field(default_factory=dict)
    start: int = 0
    worst: str = ""
    curve: tuple[Sequence[float], Sequence[float | None]] | None = None


def worst_moment(hottest_c: Floats | None, power_w: Floats | None) -> tuple[int, str]:
    """The moment with the hottest rack, or where no temperature is known the most power.

    Both are [T, R].
    """
    for values, words in ((hottest_c, "hottest accelerator"), (power_w, "most power")):
        if values is None or not np.isfinite(values).any():
            continue
        known = np.where(np.isfinite(values), values, -np.inf)
        by_time = known.max(axis=1) if values is hottest_c else np.nansum(values, axis=1)
        return int(np.argmax(by_time)), words
    return 0, ""


def packed(shown: Moments) -> dict[str, Any]:
    """What the page's script reads: columns of 16-bit numbers, base64."""
    return {
        "title": shown.title,
        "time_s": [float(t) for t in shown.time_s],
        "start": shown.start,
        "worst": shown.worst,
        "curve": None if shown.curve is None else [list(part) for part in shown.curve],
        "values": {
            name: pack(shown.values[name])
            for name in QUANTITIES
            if name in shown.values and np.isfinite(shown.values[name]).any()
        },
    }


def pack(values: Floats) -> dict[str, Any]:
    """Numbers as little-endian 16-bit steps of `step` above `offset`; the least code is none.

    Whole numbers below 32,768 are kept exactly; others within half a step, which is at most
    1/65,534 of their range (1.5 thousandths of a kelvin in 100 K).
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    whole = known.size > 0 and bool((known == np.rint(known)).all()) and 0 <= low <= high <= _TOP
    offset, step = (0.0, 1.0) if whole else ((low + high) / 2, (high - low) / (2 * _TOP))
    step = step or 1.0
    codes = np.full(values.shape, _NONE, "<i2")
    finite = np.isfinite(values)
    codes[finite] = np.clip(np.rint((values[finite] - offset) / step), -_TOP, _TOP)
    text = base64.b64encode(codes.tobytes()).decode("ascii")
    return {"step": step, "offset": offset, "codes": text}


def unpack(column: Mapping[str, Any], racks: int) -> Floats:
    """What `pack` was given, [T, racks], within half a step."""
    codes = np.frombuffer(base64.b64decode(column["codes"]), "<i2").reshape(-1, racks)
    values: Floats = column["offset"] + column["step"] * codes.astype(float)
    values[codes == _NONE] = np.nan
    return values

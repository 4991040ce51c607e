"""Jobs whose devices rise and fall together: a square wave about their mean power."""

from __future__ import annotations

from fractions import Fraction

from kfarm_api.electric import Phases
from kfarm_api.units import parse_duration_ns


def highest_mean(phases: Phases, window_ns: int) -> Fraction:
    """Highest mean over any window of a length, over the mean of all time.

    The wave is at p for a share s of each period T and at l = (1 - p s) / (1 - s) in the rest. A
    window of n whole periods and a rest r holds at most n s T + min(r, s T) of the time at p,
    namely where it begins with a rise.
    """
    period = parse_duration_ns(phases.period)
    high, share = Fraction(phases.peak, 100), Fraction(phases.share, 100)
    low = (1 - high * share) / (1 - share)
    whole, rest = divmod(window_ns, period)
    at_high = whole * share * period + min(Fraction(rest), share * period)
    return low + (high - low) * at_high / window_ns

"""How often to save: the intervals of Young and Daly, the exact optimum, and what they retain.

All functions take times in any one unit and a mean time between interruptions of the gang in the
same unit. `interval` counts work between saves; a save of length `save` follows each interval, and
nothing is done meanwhile.
"""

from __future__ import annotations

import math
from typing import Literal

Rule = Literal["Young", "Daly"]
_BISECTIONS = 200
"""Halvings of the interval that holds the optimum: past the precision of a float."""


def young_interval(save: float, mean_to_interrupt: float) -> float:
    """Work between saves after Young: sqrt(2 w M).

    First order: good where a save is short beside the time between interruptions.

    Parameters
    ----------
    save
        Time of a blocking save, w.
    mean_to_interrupt
        Mean time between interruptions of the gang, M.

    References
    ----------
    J. W. Young, A first order approximation to the optimum checkpoint interval, Communications of
    the ACM 17 (9), 1974, 530-531.
    """
    _check(save, mean_to_interrupt)
    return math.sqrt(2.0 * save * mean_to_interrupt)


def daly_interval(save: float, mean_to_interrupt: float) -> float:
    """Work between saves after Daly: a higher-order estimate of what minimises the time to finish.

    sqrt(2 w M) [1 + sqrt(w / 2M) / 3 + (w / 2M) / 9] - w where w < 2 M, and M else.

    Parameters
    ----------
    save
        Time of a blocking save, w.
    mean_to_interrupt
        Mean time between interruptions of the gang, M.

    References
    ----------
    J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps,
    Future Generation Computer Systems 22 (3), 2006, 303-312, equation 37.
    """
    _check(save, mean_to_interrupt)
    ratio = save / (2.0 * mean_to_interrupt)
    if ratio >= 1.0:
        return mean_to_interrupt
    series = 1.0 + math.sqrt(ratio) / 3.0 + ratio / 9.0
    return math.sqrt(2.0 * save * mean_to_interrupt) * series - save


def best_interval(save: float, mean_to_interrupt: float) -> float:
    """Work between saves that retains most, exactly: the root of 1 - d/M = exp(-(d + w)/M).

    It follows from setting to zero the derivative of `ettr` by the interval d; the time to restart
    drops out. The root lies between 0 and M.

    Parameters
    ----------
    save
        Time of a blocking save, w.
    mean_to_interrupt
        Mean time between interruptions of the gang, M.
    """
    _check(save, mean_to_interrupt)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        # left of the root another bit of work before the save is still worth it
        if -math.expm1(-middle - save / mean_to_interrupt) > middle:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high) * mean_to_interrupt


def ettr(interval: float, save: float, restart: float, mean_to_interrupt: float) -> float:
    """Share of a long run that is retained work, with exponential interruptions.

    d k exp(-k u) / (exp(k (d + w)) - 1), where k = 1/M: interruptions strike work, saves and
    restarts alike, and each throws back to the last completed save.

    Parameters
    ----------
    interval
        Work between saves, d.
    save
        Time of a blocking save, w.
    restart
        Time from an interruption until work goes on, u.
    mean_to_interrupt
        Mean time between interruptions of the gang, M.

    References
    ----------
    Daly (2006), equation 20, as the ratio of work to time.
    """
    rate = 1.0 / mean_to_interrupt
    try:
        return interval * rate * math.exp(-rate * restart) / math.expm1(rate * (interval + save))
    except OverflowError:
        return 0.0


def interval_ns(rule: Rule, save_ns: int, rate_per_ns: float, most_ns: int) -> int:
    """Work between saves [ns] by `rule`, at least 1 and at most `most_ns`.

    Parameters
    ----------
    rule
        ``Young`` or ``Daly``.
    save_ns
        Time of a blocking save [ns].
    rate_per_ns
        Interruptions of the gang per time [1/ns]; at 0 saving never pays, which gives `most_ns`.
    most_ns
        Upper bound [ns], such as the duration of the work.
    """
    if rate_per_ns <= 0.0:
        return most_ns
    estimate = {"Young": young_interval, "Daly": daly_interval}[rule]
    return max(1, min(round(estimate(float(save_ns), 1.0 / rate_per_ns)), most_ns))


def _check(save: float, mean_to_interrupt: float) -> None:
    if not (save > 0.0 and mean_to_interrupt > 0.0 and math.isfinite(save)):
        raise ValueError(
            f"save {save}, mean time between interruptions {mean_to_interrupt}: both must be more"
            " than 0; where saving is free, or nothing fails, there is no best interval"
        )

"""Hazards follow stress: clocks keep what they have worn, and what is being mended waits.

`set_stress` is only called by other kernels, so that this plays without a compiler, in a process of
its own.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).parents[2]
DAY = 86_400 * 10**9
FIRST, SECOND = 20 * DAY, 31 * DAY
HOT, COOL = 3.0, 0.25


def _due(state: Any, kind: int) -> int:
    """When the one clock of this kind that is not stale fires [ns]."""
    from kfarm_twin.kernels import fleet_columns as c

    stamps = state.node[:, c.STAMP] if kind == c.NODE_CLOCK else state.clock[:, c.C_STAMP]
    queue = state.queue
    found = [
        int(queue.time_ns[at])
        for at in range(int(queue.size[0]))
        if queue.kind[at] == kind and stamps[queue.entity[at]] == queue.stamp[at]
    ]
    assert len(found) == 1
    return found[0]


def _begun(life: dict[str, str] | None, effect: dict[str, Any], seed: int) -> tuple[Any, Any]:
    import fleet_play as f
    from kfarm_twin.fleet import new_state
    from kfarm_twin.kernels.fleet import begin

    more = effect | ({"life": life} if life else {})
    compiled = f.fleet(f.one_class("10", "1h", **more), 1)
    state = new_state(compiled, 100, 100)
    assert begin(compiled.tables, state, np.zeros(1, np.int64), 0, 10**5 * DAY, seed, 0)
    return compiled, state


def _heat(kind: int, life: dict[str, str] | None, seed: int) -> list[int]:
    """When a clock fires: left alone, and hot from FIRST, cool from SECOND on."""
    from kfarm_twin.kernels import fleet_columns as c
    from kfarm_twin.kernels.fleet_clocks import set_stress

    compiled, state = _begun(life, {}, seed)
    alone = _due(state, kind)
    for time, stress in ((FIRST, HOT), (SECOND, COOL)):
        state.now[c.TIME] = time
        set_stress(compiled.tables, state, 0, stress)
    return [alone, _due(state, kind)]


def _under_repair(seed: int) -> list[int]:
    """Faults of a slow node before and after stress changes while it is mended, and after that."""
    from kfarm_twin.kernels import fleet_columns as c
    from kfarm_twin.kernels.fleet import next_time, step
    from kfarm_twin.kernels.fleet_clocks import set_stress

    life = {"distribution": "Weibull", "shape": "2", "age": "0s"}
    compiled, state = _begun(life, {"effect": "Slow", "speed": 50}, seed)
    counts = []
    for stress in (2.0, 3.0, 4.0):
        next_time(state)
        step(compiled.tables, state, seed, 0)
        counts.append(int(state.tally[0, c.EVENTS]))
        set_stress(compiled.tables, state, 0, stress)
    return counts


def play() -> None:
    from kfarm_twin.kernels import fleet_columns as c

    weibull = {"distribution": "Weibull", "shape": "2", "age": "0s"}
    lognormal = {"distribution": "Lognormal", "shape": "0.5", "age": "0s"}
    print(  # noqa: T201
        json.dumps(
            {
                "exponential": [_heat(c.NODE_CLOCK, None, seed) for seed in range(40)],
                "weibull": [_heat(c.CLOCK, weibull, seed) for seed in range(40)],
                "lognormal": [_heat(c.CLOCK, lognormal, seed) for seed in range(40)],
                "repair": [_under_repair(seed) for seed in range(5)],
            }
        )
    )


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    script = f"import sys, runpy; sys.path.insert(0, {str(TESTS)!r}); "
    script += f"runpy.run_path({str(Path(__file__))!r})['play']()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _hazard(law: str, age: float) -> float:
    """Integrated hazard at an age [days], of a mean life of 100 days."""
    if law == "exponential":
        return age / 100.0
    if law == "weibull":
        return (age * math.gamma(1.5) / 100.0) ** 2
    z = (math.log(age / 100.0) + 0.125) / 0.5
    return -math.log(0.5 * math.erfc(z / math.sqrt(2.0)))


@pytest.mark.parametrize("law", ["exponential", "weibull", "lognormal"])
def test_clocks_fire_when_the_hazard_under_stress_has_been_spent(
    law: str, played: dict[str, Any]
) -> None:
    first, second = FIRST / DAY, SECOND / DAY
    checked = 0
    for alone, stressed in played[law]:
        if alone < SECOND:
            continue
        left = _hazard(law, alone / DAY)
        left -= _hazard(law, first) + HOT * (_hazard(law, second) - _hazard(law, first))
        if left <= 0.0:
            assert stressed - SECOND in (0, 1)  # it is due at once
            continue
        reached = _hazard(law, stressed / DAY) - _hazard(law, second)
        assert reached == pytest.approx(left / COOL, rel=1e-9)
        assert reached != pytest.approx(left / COOL * 1.01, rel=1e-9)
        checked += 1
    assert checked > 15


def test_a_component_that_is_being_mended_does_not_fail_again(played: dict[str, Any]) -> None:
    """One fault; its repair; the next fault."""
    assert played["repair"] == [[1, 1, 2]] * 5

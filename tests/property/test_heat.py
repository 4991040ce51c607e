"""The heat engine is the same as DOP853 with located events, whatever farm and faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import heat_scenes as scenes
import numpy as np
import pytest
from kfarm_twin.heat_tables import HeatCluster, HeatFarm
from kfarm_twin.kernels import heat_columns as c

FEW = (*range(10), 31, 43, 45, 50, 62, 158)
"""Scenes that show between them all that can happen, and two where the engine once differed."""
PARTS = 2
SAME = 1e-6
"""Share of the temperature rise within which temperatures agree."""
SAME_TIME = 1e-5
"""[s]"""


def _unlike(number: int) -> list[str]:
    """In what engine and reference differ."""
    farm, schedule = scenes.scene(number)
    engine, naive = scenes.by_engine(farm, schedule), scenes.by_reference(farm, schedule)
    found = []
    ours, theirs = scenes.changes_of(scenes.log_of(engine)), scenes.changes_of(naive.log)
    if [row[1:] for row in ours] != [row[1:] for row in theirs]:
        found.append(f"changes {ours} instead of {theirs}")
    elif any(abs(a[0] - b[0]) > SAME_TIME for a, b in zip(ours, theirs, strict=True)):
        found.append("times of changes")
    rise = naive.die.max() - naive.supply.min()
    pairs = (
        ("dies", scenes.dies_of(engine), naive.die),
        ("supplies", engine.supply_c, naive.supply),
        ("water", engine.water_c, naive.water),
    )
    for name, mine, other in pairs:
        if np.abs(mine - other).max() > SAME * rise:
            found.append(f"{name} by {np.abs(mine - other).max()} K")
    if np.abs(engine.power_w - naive.power).max() > 2e-3:
        found.append("power")
    if abs(engine.hottest_c - naive.hottest) > 1e-2 or engine.hottest_c < naive.hottest - 1e-6:
        found.append(f"hottest {engine.hottest_c} instead of {naive.hottest}")
    return found + _unlike_books(farm, engine.state, naive)


def _unlike_books(farm: HeatFarm, state: c.HeatState, naive: scenes.Played) -> list[str]:
    """Where energy is not what came in less what went out, at each level."""
    sums, found = state.cluster_c, []
    drawn = float(sums[:, c.ENERGY_J].sum())
    stored = float((sums[:, c.STORED_J] - sums[:, c.STORED_START_J]).sum())
    scale = 1e-6 * max(naive.drawn_j, 1.0)
    pairs = [
        ("drawn", drawn, naive.drawn_j),
        ("stored in sinks", stored, naive.sinks_j),
        ("given by sinks", drawn - stored, naive.given_j),
    ]
    for z, zone in enumerate(farm.zones):
        came = float(state.zone_c[z, c.IN_J])
        kept = zone.mass_j_per_k * float(state.zone_c[z, c.SUPPLY] - state.zone_c[z, c.START_C])
        pairs.append((f"into zone {z}", came, float(naive.zone_in_j[z])))
        if zone.u_w_per_k < np.inf:  # otherwise the supply jumps, and heat with it
            pairs.append((f"out of zone {z}", came - kept, float(naive.zone_out_j[z])))
    pairs.append(("into the plant", float(state.plant_c[0, c.P_IN_J]), float(naive.plant_in_j[0])))
    pairs.append(("throttled", float(sums[:, c.THROTTLED_S].sum()) * 1e3, naive.throttled_s * 1e3))
    for name, mine, other in pairs:
        if abs(mine - other) > scale:
            found.append(f"{name} {mine} instead of {other}")
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_equals_an_integration_with_located_events(part: int) -> None:
    for number in FEW[part::PARTS]:
        assert not _unlike(number), number


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_the_engine_equals_an_integration_on_many_more_farms(part: int) -> None:
    for number in range(10 + 20 * part, 10 + 20 * (part + 1)):
        assert not _unlike(number), number


def test_the_farms_show_all_that_can_happen() -> None:
    """Otherwise agreement would mean little."""
    seen: Counter[str] = Counter()
    for number in FEW:
        farm, schedule = scenes.scene(number)
        played = scenes.by_engine(farm, schedule)
        seen.update(row[1] for row in scenes.log_of(played))
        state = played.state
        seen["throttled"] += int((state.cluster[:, c.THROTTLED_MAX] > 0).sum())
        seen["saturated"] += int(
            (state.zone_c[:, c.HIGHEST] > state.zone_c[:, c.START_C] + 1).sum()
        )
        seen["short"] += int(
            (state.plant_c[:, c.P_HIGHEST] > state.plant_c[:, c.P_START_C] + 3).sum()
        )
        seen["alike"] += int((state.node[:, c.ALIKE] == 1).sum())
        seen["apart"] += int((state.node[:, c.ALIKE] == 0).sum())
        seen.update("liquid" if own.liquid else "air" for own in farm.clusters)
    wanted = ("speed", "overheated", "cool", "fans", "throttled", "saturated", "short", "alike")
    assert not [name for name in (*wanted, "apart", "liquid", "air") if seen[name] < 4], seen


@pytest.mark.parametrize("change", ["die_s", "sink_s", "hysteresis_k", "dwell_s", "throttle_c"])
def test_a_wrong_number_is_noticed(change: str) -> None:
    """The comparison can fail: a farm that is slightly another one is not the same."""
    farm, schedule = scenes.scene(5)
    other = [_changed(own, change) for own in farm.clusters]
    engine = scenes.by_engine(HeatFarm(other, farm.racks, farm.zones, farm.plants), schedule)
    naive = scenes.by_reference(farm, schedule)
    ours, theirs = scenes.changes_of(scenes.log_of(engine)), scenes.changes_of(naive.log)
    same = [row[1:] for row in ours] == [row[1:] for row in theirs]
    rise = naive.die.max() - naive.supply.min()
    near = np.abs(scenes.dies_of(engine) - naive.die).max() <= SAME * rise
    assert not (same and near)


def _changed(own: HeatCluster, change: str) -> HeatCluster:
    return replace(own, **{change: getattr(own, change) * (2.0 if change == "dwell_s" else 1.001)})

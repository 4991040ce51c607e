"""The failure engine is the same to the last event as plain Python, whatever can go wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import fleet_scenes as scenes
import pytest
from kfarm_api.reliability import Reliability
from kfarm_twin.fleet_classes import FleetCluster
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.reliability import own_mode

FEW, PARTS = 320, 8


def _differences(numbers: range) -> list[str]:
    found = ((number, scenes.unlike(scenes.scene(number))) for number in numbers)
    return [f"scene {number}: {text}" for number, text in found if text]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_equals_plain_python(part: int) -> None:
    assert not _differences(range(FEW * part // PARTS, FEW * (part + 1) // PARTS))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_the_engine_equals_plain_python_on_many_more_fleets(part: int) -> None:
    assert not _differences(range(FEW + 250 * part, FEW + 250 * (part + 1)))


def test_the_fleets_show_all_that_can_happen() -> None:
    """Otherwise agreement would mean little."""
    seen: Counter[str] = Counter()
    for number in range(FEW):
        scene = scenes.scene(number)
        for row in scenes.by_kernel(scene).log:
            seen[f"change {row[1]}"] += 1
            if row[1] == c.WENT_DOWN:
                seen[f"down by {row[4]}"] += 1
        for cluster in scene.clusters:
            rules = cluster.reliability.model_dump(exclude_none=True)
            seen.update(rules.keys())
            for own in cluster.reliability.classes:
                repair = own.repair
                seen.update([f"per {own.per}", f"takes {own.takes}", f"effect {own.effect}"])
                seen.update([f"life {own.life.distribution}"] if own.life else [])
                seen.update([f"repair {repair.distribution}"] if repair else [])
                seen.update(["part"] if repair and repair.part else [])
                seen.update(["recurrence"] if repair and repair.recurrence else [])
                seen.update(["steps"] if own.recovery else [])
    wanted = [f"change {what}" for what in range(7)] + [f"down by {why}" for why in range(4)]
    wanted += [f"per {per}" for per in scenes.PERS]
    wanted += [f"takes {takes}" for takes in (*scenes.NODES, None)]
    wanted += ["effect Stop", "effect Slow", "effect Corrupt", "part", "recurrence", "steps"]
    wanted += ["life Weibull", "life Lognormal", "frailty", "bursts", "unrest", "crews"]
    wanted += [f"repair {law}" for law in ("Exponential", "Weibull", "Lognormal", "Fixed")]
    wanted += ["quarantine", "lemons", "drains", "false_alarms"]
    assert not [name for name in wanted if seen[name] < 5]


def _amended(scene: scenes.Scene, rules: dict[str, object]) -> scenes.Scene:
    """The scene with the rules of its clusters changed."""
    clusters = []
    for cluster in scene.clusters:
        body = cluster.reliability.model_dump(by_alias=True, exclude_none=True) | rules
        own = Reliability.model_validate(body)
        modes = tuple(own_mode(mode) for mode in own.classes)
        clusters.append(
            FleetCluster(modes, own, cluster.devices, cluster.domains, cluster.start, cluster.rails)
        )
    return replace(scene, clusters=tuple(clusters))


@pytest.mark.parametrize(
    "rules",
    [
        {"frailty": {"shape": "1.1"}},
        {"bursts": {"share": 30, "size": "3", "window": "1h"}},
        {"unrest": {"share": 20, "factor": "3", "spell": "24h"}},
        {"crews": {"count": 1, "shift": {"hours": 8, "start": 9, "days": 5}}},
        {"quarantine": {"faults": 1, "within": "240h", "hold": "9h"}},
        {"lemons": {"faults": 2, "within": "240h", "exchange": "5h"}},
        {"drains": {"every": "99h", "duration": "3h"}},
        {"falseAlarms": {"per1000NodeDays": "77", "check": "2h"}},
    ],
    ids=lambda rules: next(iter(rules)),
)
def test_the_comparison_sees_each_rule(rules: dict[str, object]) -> None:
    """A rule that one engine knows and the other does not makes a difference somewhere."""
    for number in range(40):
        scene = scenes.scene(number)
        if scenes.by_kernel(scene) != scenes.by_reference(_amended(scene, rules)):
            return
    pytest.fail(f"nothing depends on {rules}")


def test_a_future_is_the_same_alone_and_among_others() -> None:
    scene = scenes.scene(3)
    assert scenes.by_kernel(scene) == scenes.by_kernel(scene)
    assert scenes.by_kernel(scene) != scenes.by_kernel(replace(scene, future=scene.future + 1))

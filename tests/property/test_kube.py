"""The kube driver's two ways agree on random scenes: pod by pod with details, and many in one call;
compiled, and as plain Python in a process of its own."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kfarm_twin._jit import COMPILED
from kfarm_twin.kube.describe import Described, make_cluster
from kfarm_twin.kube.driver import Decision, Scheduler, schedule
from kfarm_twin.kube.profile import Profile
from kfarm_twin.manifest_text import TextDocument

ROOT = Path(__file__).parents[1]
SCENES = SimpleNamespace(**runpy.run_path(str(ROOT / "kube_scenes.py")))
SEEDS = range(2000, 2012)


def _described(bodies: list[dict[str, Any]]) -> Described:
    made = Described()
    for body in bodies:
        body.get("spec", {}).pop("schedulerName", None)
        made.add_body(Path("scene"), TextDocument(1), (), body)
    return made


def _play(seed: int, *, details: bool, pods: int = 40) -> tuple[Scheduler, list[Decision]]:
    scene = SCENES.make_scene(seed, most_nodes=30, pods=pods)
    cluster, waiting = make_cluster(
        _described(scene.shared + scene.cluster), _described(scene.pods)
    )
    scheduler = Scheduler(cluster, waiting, Profile())
    return scheduler, schedule(scheduler, waiting, details=details)


def _told(decisions: list[Decision]) -> list[tuple[Any, ...]]:
    return [
        (d.pod.key, d.outcome, d.node, d.nominated, [v.key for v in d.victims], d.message)
        for d in decisions
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_many_in_one_call_is_one_by_one(seed: int) -> None:
    one, slowly = _play(seed, details=True)
    other, quickly = _play(seed, details=False)
    assert _told(quickly) == _told(slowly)
    assert one.place_of == other.place_of
    for column in ("requested", "non_zero", "pods", "ports", "tally", "hits"):
        mine, theirs = getattr(one.compiled.state, column), getattr(other.compiled.state, column)
        assert np.array_equal(mine, theirs), column


@pytest.mark.parametrize("seed", SEEDS)
def test_counters_are_those_of_the_pods_that_are_there(seed: int) -> None:
    """Binding, preempting and evicting leave the state that binding the rest anew makes."""
    scheduler, _ = _play(seed, details=False)
    before = [column.copy() for column in scheduler.compiled.state]
    for pod in list(scheduler.bound.values()):
        scheduler.remove(pod)
    assert not any(column.any() for column in scheduler.compiled.state)
    assert any(column.any() for column in before)


@pytest.mark.parametrize("seed", SEEDS)
def test_choice_is_feasible_and_has_the_highest_total(seed: int) -> None:
    scheduler, decisions = _play(seed, details=True)
    scored = [d for d in decisions if d.scores]
    assert scored
    for d in scored:
        best = max(s.total for s in d.scores.values())
        assert all(s.total == sum(s.plugins.values()) for s in d.scores.values())
        assert d.best == tuple(n for n, s in d.scores.items() if s.total == best)
        assert d.node == d.best[0]
    for d in decisions:
        assert set(d.feasible).isdisjoint(d.refused)
        if d.refused and not d.pod.nominated:
            assert set(d.feasible) | set(d.refused) == set(scheduler.names)


@pytest.mark.skipif(not COMPILED, reason="both would be plain Python")
def test_plain_python_decides_the_same(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "import json, runpy, sys\n"
        f"play = runpy.run_path({str(Path(__file__))!r})\n"
        "played = [play['_play'](seed, details=True, pods=12)[1] for seed in (1, 2, 3)]\n"
        "told = [play['_told'](decisions) for decisions in played]\n"
        "print(json.dumps(told))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    compiled = [_told(_play(seed, details=True, pods=12)[1]) for seed in (1, 2, 3)]
    assert json.loads(done.stdout) == json.loads(json.dumps(compiled))

"""Nodes with a kubelet of their own: what the runner notes counts as the journal of others does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from drill_situation import FIRST, NODES, NOW, active, begun, situation
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_operator.drills.clock import moment
from kfarm_operator.drills.observe import bad_nodes, observe
from kfarm_operator.drills.outside import away
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import Sighting

BEGIN = NOW - timedelta(seconds=20)


def _noted(text: str, *, ready: str = "True", kwok: bool = False, **more: Any) -> Situation:
    """The runner's note on a drill of one node."""
    nodes = {**NODES, FIRST: replace(NODES[FIRST], kwok=kwok, ready=ready)}
    s = situation(begun(30, faults=active()), nodes=nodes, **more)
    marks = {"drill.kfarm.dev/runner.lost": text} if text else {}
    meta = s.drill.metadata.model_copy(update={"annotations": marks})
    return replace(s, drill=s.drill.model_copy(update={"metadata": meta}))


def _told(status: FailureDrillStatus) -> list[tuple[str, str | None, str | None]]:
    return [(line.event, line.fault, line.object) for line in status.timeline]


def test_what_the_runner_begins_is_told_once_with_its_moment() -> None:
    s = _noted(f"{moment(BEGIN)}/")
    status = observe(s)
    assert _told(status) == [("Injected", "lost", FIRST)]
    assert status.timeline[0].at == moment(BEGIN)
    again = observe(replace(s, drill=s.drill.model_copy(update={"status": status})))
    assert _told(again) == _told(status)


def test_a_node_that_the_runner_took_down_is_detected_for_its_fault() -> None:
    sight = Sighting(1, NOW, "NodeDown", FIRST, FIRST)
    status = observe(_noted(f"{moment(BEGIN)}/", ready="Unknown", seen=[sight]))
    assert ("Detected", "lost", FIRST) in _told(status)


def test_it_is_detected_also_where_nobody_watched() -> None:
    status = observe(_noted(f"{moment(BEGIN)}/", ready="Unknown"))
    assert ("Detected", "lost", FIRST) in _told(status)


def test_a_node_stands_as_struck_from_the_runners_begin_to_its_end() -> None:
    on = _noted(f"{moment(BEGIN)}/")
    assert away(on) == {FIRST: "lost"}
    assert FIRST in bad_nodes(on)
    over = _noted(f"{moment(BEGIN)}/{moment(NOW)}")
    assert away(over) == {}
    assert FIRST not in bad_nodes(over)


def test_nobody_is_struck_without_a_note_nor_where_kwok_plays_the_node() -> None:
    for s in (_noted(""), _noted("nonsense/"), _noted(f"{moment(BEGIN)}/", kwok=True)):
        assert _told(observe(s)) == []
        assert away(s) == {}

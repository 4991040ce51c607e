"""Faults against failure drills: whatever dies when, no drill leaves anything behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.bugs import BUGS
from kfarm_controlplane.faults.campaign import Campaign
from kfarm_controlplane.faults.hunt import Hunt, figures, of_drills
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record

CHART = Path(__file__).resolve().parents[2] / "charts/kfarm"
SEED = 7
ALL = tuple(name for name, story in SCENARIOS.items() if story.drills and story.sampled)
QUICK = ("drill_node_down", "drill_aborted", "drill_deleted", "drill_edited_node")
"""One of each kind of touch and of end; the long campaign has all stories."""
SOWN = ("touch-before-journal", "undo-blindly")
ALL_SOWN = tuple(filter(of_drills, BUGS))


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Drills on a control plane of their own: Leases of its nodes are short."""
    with Arena(CHART, drills=True, keep=tmp_path_factory.mktemp("drills")) as made:
        yield made


def told(campaign: Campaign) -> str:
    """What was bad, with plans that can be replayed."""
    bad = campaign.report.bad
    return "\n".join(f"{o.plan.to_json()}\n  {'; '.join(o.violations)}" for o in bad)


@pytest.mark.timeout(900)
def test_drills_leave_nothing_behind_whatever_dies_when(arena: Arena) -> None:
    campaign = Campaign(Runner(arena, SCENARIOS), SEED, print)
    known = campaign.learn(QUICK, runs=1)
    assert campaign.report.unsteady == []
    report = campaign.run(known, 16)
    assert not report.bad, told(campaign)
    assert report.run == 16
    assert len(report.missed) <= 3


@pytest.mark.parametrize("bug", SOWN)
@pytest.mark.timeout(300)
def test_a_bug_sown_into_drills_is_found(arena: Arena, bug: str) -> None:
    found = Hunt(Runner(arena, SCENARIOS), runs=1).seek(bug)
    assert found.plan is not None, f"{found.tried} plans of faults did not show it"
    assert found.shown
    assert found.clean, "the unchanged operator fails the same plan"


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_five_hundred_faults_leave_nothing_of_drills(tmp_path: Path) -> None:
    with Arena(CHART, drills=True, keep=tmp_path) as arena:
        campaign = Campaign(Runner(arena, SCENARIOS), SEED, print, tmp_path)
        known = campaign.learn(ALL)
        assert campaign.report.unsteady == []
        report = campaign.run(known, 500)
        record("drills", report.figures())
    assert not report.bad, told(campaign)
    assert report.run == 500


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_all_bugs_sown_into_drills_are_found(arena: Arena) -> None:
    found = Hunt(Runner(arena, SCENARIOS)).all(ALL_SOWN)
    record("drill-bugs", figures(found))
    assert [item.bug for item in found if not item.good] == []
    assert len(found) >= 8

"""Faults against a running operator: sampled plans, none of which may end badly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.campaign import Campaign
from kfarm_controlplane.faults.plans import KINDS, Fault, FaultPlan
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record
from kfarm_twin.warm import warm

ROOT = Path(__file__).resolve().parents[2]
SEED = 7
QUICK = (
    "approved",
    "rejected",
    "edited_mid_simulation",
    "deleted_mid_simulation",
    "recreated_same_name",
    "pod_recreated",
    "farm_scaled",
    "farm_deleted",
)
"""Stories of a few seconds that need no Kueue; the long campaign has them all."""


@pytest.fixture(scope="module")
def arena(clean_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """An operator behind the proxy, on the session's control plane."""
    if not isinstance(clean_cluster, ControlPlane):
        pytest.skip("kills an API server: needs a control plane of our own")
    warm()
    folder = tmp_path_factory.mktemp("faults")
    with Arena(ROOT / "charts/kfarm", plane=clean_cluster, keep=folder) as made:
        yield made


def told(campaign: Campaign) -> str:
    """What was bad, with plans that can be replayed."""
    bad = campaign.report.bad
    return "\n".join(f"{o.plan.to_json()}\n  {'; '.join(o.violations)}" for o in bad)


@pytest.mark.timeout(900)
def test_sixty_faults_change_nothing_in_the_end(arena: Arena) -> None:
    campaign = Campaign(Runner(arena, SCENARIOS), SEED, print)
    known = campaign.learn(QUICK, runs=1)
    assert campaign.report.unsteady == []
    report = campaign.run(known, 60)
    assert not report.bad, told(campaign)
    assert report.run == 60
    assert len(report.missed) <= 12
    kinds = {fault.kind for outcome in report.clean for fault in outcome.plan.faults}
    assert len(kinds) >= len(KINDS) - 6


@pytest.mark.timeout(300)
def test_a_plan_is_replayed_from_its_json(arena: Arena) -> None:
    """And a kill really is one: another operator had to be started."""
    runner = Runner(arena, SCENARIOS)
    known = runner.learn("approved", runs=1)
    lift = next(place for place in known.writes if place.resource == "pods")
    plan = FaultPlan("approved", (Fault("KillAfter", lift), Fault("KillBefore", known.writes[-1])))
    outcome = runner.play(FaultPlan.from_json(json.dumps(json.loads(plan.to_json()))))
    assert outcome.clean, outcome.violations
    assert outcome.starts == 2


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_five_hundred_faults_change_nothing_in_the_end(tmp_path: Path) -> None:
    """All scenarios, Kueue's as well, on a control plane of their own."""
    warm()
    with Arena(ROOT / "charts/kfarm", kueue=True, keep=tmp_path) as arena:
        campaign = Campaign(Runner(arena, SCENARIOS), SEED, print, tmp_path)
        known = campaign.learn(
            name for name, story in SCENARIOS.items() if story.sampled and not story.drills
        )
        assert campaign.report.unsteady == []
        report = campaign.run(known, 500)
        record("campaign", report.figures())
    assert not report.bad, told(campaign)
    assert report.run == 500
    assert len(known) >= 12

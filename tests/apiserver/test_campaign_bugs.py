"""Bugs sown into the operator are found again by the campaign's own oracle, under plans of faults
that the unchanged operator passes. A harness that fails here proves nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.bugs import BUGS
from kfarm_controlplane.faults.hunt import Hunt, figures, of_drills
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record
from kfarm_twin.warm import warm

CHART = Path(__file__).resolve().parents[2] / "charts/kfarm"
QUICK = ("apply-then-record", "blind-status", "epoch-from-memory")
"""One that shows without a fault, one by a lost event, one by a kill."""


@pytest.fixture(scope="module")
def arena(clean_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """An operator behind the proxy, on the session's control plane."""
    if not isinstance(clean_cluster, ControlPlane):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    warm()
    with Arena(CHART, plane=clean_cluster, keep=tmp_path_factory.mktemp("bugs")) as made:
        yield made


@pytest.fixture(scope="module")
def hunt(arena: Arena) -> Hunt:
    """Learns each scenario from one play, so that it is quick."""
    return Hunt(Runner(arena, SCENARIOS), runs=1)


@pytest.mark.parametrize("bug", QUICK)
def test_a_sown_bug_is_found_and_the_unchanged_operator_passes(hunt: Hunt, bug: str) -> None:
    found = hunt.seek(bug)
    assert found.plan is not None, f"{found.tried} plans of faults did not show it"
    assert found.shown
    assert found.clean, "the unchanged operator fails the same plan"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_all_sown_bugs_are_found(arena: Arena) -> None:
    found = Hunt(Runner(arena, SCENARIOS)).all(n for n in BUGS if not of_drills(n))
    record("bugs", figures(found))
    assert [item.bug for item in found if not item.good] == []
    assert len(found) >= 14

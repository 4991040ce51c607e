"""Bugs sown into the operator are found again by the campaign's own oracle, under plans of faults
that the unchanged operator passes. A harness that fails here proves nothing elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfarm_controlplane.faults.arena import Arena
from kfarm_controlplane.faults.bugs import BUGS
from kfarm_controlplane.faults.hunt import Hunt, figures
from kfarm_controlplane.faults.runner import Runner
from kfarm_controlplane.faults.scenarios import SCENARIOS
from kfarm_controlplane.figures import record

CHART = Path(__file__).resolve().parents[2] / "charts/kfarm"
QUICK = ("apply-then-record", "blind-status", "epoch-from-memory")
"""One that shows without a fault, one by a lost event, one by a kill."""


@pytest.fixture(scope="module")
def hunt() -> Iterator[Hunt]:
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    with Arena(CHART) as arena:
        yield Hunt(Runner(arena, SCENARIOS))


@pytest.mark.parametrize("bug", QUICK)
def test_a_sown_bug_is_found_and_the_unchanged_operator_passes(hunt: Hunt, bug: str) -> None:
    found = hunt.seek(bug)
    assert found.plan is not None, f"{found.tried} plans of faults did not show it"
    assert found.shown
    assert found.clean, "the unchanged operator fails the same plan"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_all_sown_bugs_are_found(hunt: Hunt) -> None:
    found = hunt.all(BUGS)
    record("bugs", figures(found))
    assert [item.bug for item in found if not item.good] == []
    assert len(found) >= 14

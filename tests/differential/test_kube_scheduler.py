"""The twin's kube driver against the real kube-scheduler, pod by pod on random clusters.

Compared for each pod: the defaults of the API server, the feasible set, every plugin's score on
every feasible node, totals, that the choice is among the best of the twin; where nothing fits, the
whole message with its reasons; for preemption the node and the victims.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfarm_controlplane.scheduling import SchedulingLab

SHORT_SEEDS = range(20)
LONG_SEEDS = range(1000, 1250)
SHORT_PREEMPTING = range(12)
LONG_PREEMPTING = range(3000, 3080)
PODS = 10


def _campaign(
    lab: SchedulingLab,
    kube: SimpleNamespace,
    folder: Path,
    seeds: range,
    most_nodes: int,
    *,
    preempting: bool = False,
) -> Any:
    report = kube.Report()
    for seed in seeds:
        scene = kube.SCENES["make_scene"](
            seed, most_nodes=most_nodes, pods=PODS, preempting=preempting
        )
        kube.play(lab, scene, folder, report, retry=not preempting)
    print(  # noqa: T201 - the figures of the campaign, shown with -s
        f"\n{report.clusters} clusters, {report.pods} pods, {report.scores} scores, "
        f"{len(report.disagreements)} disagreements; {dict(report.outcomes)}; "
        f"plugins with unequal scores {dict(report.scored)}; reasons {dict(report.reasons)}"
    )
    return report


def test_agrees_on_200_pods(lab: SchedulingLab, kube: SimpleNamespace, tmp_path: Path) -> None:
    report = _campaign(lab, kube, tmp_path, SHORT_SEEDS, most_nodes=40)
    assert report.disagreements == []
    assert report.pods == len(SHORT_SEEDS) * PODS
    assert report.outcomes.keys() == {"Scheduled", "Unschedulable", "Preempting"}


def test_agrees_on_victims(lab: SchedulingLab, kube: SimpleNamespace, tmp_path: Path) -> None:
    report = _campaign(lab, kube, tmp_path, SHORT_PREEMPTING, most_nodes=15, preempting=True)
    assert report.disagreements == []
    assert report.outcomes["Preempting"] >= 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_agrees_on_many_victims(lab: SchedulingLab, kube: SimpleNamespace, tmp_path: Path) -> None:
    report = _campaign(lab, kube, tmp_path, LONG_PREEMPTING, most_nodes=60, preempting=True)
    assert report.disagreements == []
    assert report.outcomes["Preempting"] >= 200


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_agrees_on_2500_pods(lab: SchedulingLab, kube: SimpleNamespace, tmp_path: Path) -> None:
    report = _campaign(lab, kube, tmp_path, LONG_SEEDS, most_nodes=200)
    assert report.disagreements == []
    assert report.pods == len(LONG_SEEDS) * PODS
    assert report.scored.keys() == {
        "TaintToleration",
        "NodeAffinity",
        "NodeResourcesFit",
        "PodTopologySpread",
        "InterPodAffinity",
        "NodeResourcesBalancedAllocation",
        "ImageLocality",
    }
    assert len(report.reasons) >= 12


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_command_reads_what_kubectl_prints(
    lab: SchedulingLab, kube: SimpleNamespace, tmp_path: Path, form: str
) -> None:
    scene = kube.SCENES["make_scene"](7, most_nodes=20, pods=1)
    profile = scene.profile["schedulerName"]
    lab.populate(scene.cluster)
    kinds = "nodes,pods,namespaces,priorityclasses,services,replicasets,statefulsets,pdb"
    dump = tmp_path / f"cluster.{form}"
    dump.write_text(lab.plane.kubectl("get", kinds, "-A", "-o", form), encoding="utf-8")
    pod = tmp_path / "pods.yaml"
    pod.write_text(json.dumps(scene.pods[0]), encoding="utf-8")
    kube.profile_of(scene.profile, tmp_path)
    _, seen = lab.observe(scene.pods[0])
    command = [sys.executable, "-m", "kfarm_twin.cli", "schedule", "--explain", "-o", "json"]
    files = ["--cluster", dump, "--pods", pod, "--config", tmp_path / f"{profile}.json"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    lab.clear()
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["pods"][0]
    assert seen.feasible > 1
    assert answer["scores"] == seen.scores
    assert answer["totals"] == seen.totals
    assert set(answer["feasible"]) == set(seen.scores)
    assert seen.node in answer["best"]

"""Queues from manifests of Kueue: what is read, and what is refused at which line."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfarm_twin.load import ManifestError
from kfarm_twin.queues_manifest import read_queues
from kfarm_twin.quota_tree import Preempt, Preference, QueueTree, Quota, compile_tree

FLAVOR = """apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: h100}
spec: {nodeLabels: {gpu: H100-SXM}}
---
"""
QUEUE = """apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata:
  name: team-a
spec:
  cohortName: training
  resourceGroups:
  - coveredResources: [cpu, memory, nvidia.com/gpu]
    flavors:
    - name: h100
      resources:
      - {name: cpu, nominalQuota: 1500m}
      - {name: memory, nominalQuota: 2Gi}
      - name: nvidia.com/gpu
        nominalQuota: 64
        borrowingLimit: 32
        lendingLimit: 16
  preemption:
    withinClusterQueue: LowerOrNewerEqualPriority
    reclaimWithinCohort: LowerPriority
    borrowWithinCohort: {policy: LowerPriority, maxPriorityThreshold: 5}
  flavorFungibility: {whenCanBorrow: TryNextFlavor, preference: PreemptionOverBorrowing}
  queueingStrategy: StrictFIFO
  fairSharing: {weight: "0.5"}
"""
COHORT = """---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: training}
spec:
  parentName: all
  resourceGroups:
  - coveredResources: [nvidia.com/gpu]
    flavors:
    - name: h100
      resources:
      - {name: nvidia.com/gpu, nominalQuota: 8, lendingLimit: 100}
"""
LOCAL = """---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: main, namespace: NAMESPACE}
spec: {clusterQueue: team-a}
"""
GOOD = FLAVOR + QUEUE + COHORT + LOCAL.replace("NAMESPACE", "research")


def read(folder: Path, text: str | bytes) -> QueueTree:
    path = folder / "대기열.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_queues([path])


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(folder, text)
    return [str(problem) for problem in caught.value.problems]


def test_all_fields(tmp_path: Path) -> None:
    tree = read(tmp_path, GOOD)
    (queue,) = tree.queues
    quotas = queue.groups[0].quotas()
    assert quotas["h100", "cpu"] == Quota(1500)
    assert quotas["h100", "memory"] == Quota(2 << 30)
    assert quotas["h100", "nvidia.com/gpu"] == Quota(64_000, 32_000, 16_000)
    assert (queue.cohort, queue.weight, queue.strict) == ("training", 0.5, True)
    assert queue.within is Preempt.LOWER_OR_NEWER_EQUAL_PRIORITY
    assert queue.reclaim is Preempt.LOWER_PRIORITY
    assert (queue.borrow_within, queue.threshold) == (True, 5)
    assert (queue.next_when_borrow, queue.next_when_preempt) == (True, True)
    assert queue.preference is Preference.PREEMPTION_OVER_BORROWING
    assert tree.cohorts[0].parent == "all"
    assert tree.cohorts[0].groups[0].quotas()["h100", "nvidia.com/gpu"] == Quota(
        8000, None, 100_000
    )
    assert tree.flavors[0].words == {"H100-SXM"}
    assert dict(tree.local_queues) == {"research/main": "team-a", "main": "team-a"}
    assert tree.notes == ()
    assert compile_tree(tree).node_names == ("team-a", "training", "all")


def test_the_older_version_says_the_same(tmp_path: Path) -> None:
    older = GOOD.replace("v1beta2", "v1beta1").replace("cohortName", "cohort")
    older = older.replace("whenCanBorrow: TryNextFlavor, preference: PreemptionOverBorrowing",
                          "whenCanBorrow: Borrow, whenCanPreempt: Preempt")  # fmt: skip
    (queue,) = read(tmp_path, older).queues
    assert queue.cohort == "training"
    assert (queue.next_when_borrow, queue.next_when_preempt) == (False, False)


@pytest.mark.parametrize("change", ["crlf", "bom"])
def test_other_ends_of_lines_and_a_mark_change_nothing(tmp_path: Path, change: str) -> None:
    raw = (
        GOOD.replace("\n", "\r\n").encode() if change == "crlf" else b"\xef\xbb\xbf" + GOOD.encode()
    )
    assert read(tmp_path, raw) == read(tmp_path, GOOD)


def test_a_list_and_objects_of_others(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: research}\n---\n" + GOOD
    assert read(tmp_path, text) == read(tmp_path, GOOD)


def test_what_is_not_played_is_said(tmp_path: Path) -> None:
    more = "  admissionScope: {admissionMode: UsageBasedAdmissionFairSharing}\n"
    more += "  admissionChecksStrategy: {admissionChecks: [{name: c}]}\n  cohortName"
    text = GOOD.replace("  cohortName", more)
    text = text.replace("spec: {nodeLabels", "spec: {topologyName: racks, nodeLabels")
    text += "---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: Workload\nmetadata: {name: w}\n"
    said = "\n".join(read(tmp_path, text).notes)
    for word in ("admissionScope", "admissionChecksStrategy", "topologyName", "Workload"):
        assert word in said


def test_a_name_in_two_namespaces_says_nothing_by_itself(tmp_path: Path) -> None:
    other = QUEUE.replace("team-a", "team-b")
    there = LOCAL.replace("NAMESPACE", "serving").replace("team-a", "team-b")
    tree = read(tmp_path, GOOD + "---\n" + other + there)
    assert dict(tree.local_queues) == {"research/main": "team-a", "serving/main": "team-b"}


def test_taints_close_a_flavor_unless_it_tolerates_them(tmp_path: Path) -> None:
    taint = "spec: {nodeTaints: [{key: spot, value: 'true', effect: NoSchedule}], "
    closed = GOOD.replace("spec: {nodeLabels", taint + "nodeLabels")
    assert read(tmp_path, closed).flavors[0].closed
    taint += "tolerations: [{key: spot, operator: Exists}], "
    assert (
        not read(tmp_path, GOOD.replace("spec: {nodeLabels", taint + "nodeLabels"))
        .flavors[0]
        .closed
    )


CIRCLE = """---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: all}
spec:
  parentName: training
"""
BAD = {
    "unknown flavor": ("    - name: h100\n", "    - name: a100\n", 15, "ResourceFlavor"),
    "limit without a cohort": ("  cohortName: training\n", "", 20, "without a cohort"),
    "lends more than it has": ("lendingLimit: 16", "lendingLimit: 65", 22, "at most nominalQuota"),
    "negative quota": ("nominalQuota: 64", "nominalQuota: -1", 20, "not negative"),
    "no quantity": ("nominalQuota: 64", "nominalQuota: 육십사", 20, "a quantity"),
    "not a number": ("nominalQuota: 64", "nominalQuota: NaN", 20, "a quantity"),
    "no quota": ("        nominalQuota: 64\n", "", 19, "a quantity"),
    "negative weight": ('weight: "0.5"', 'weight: "-1"', 29, "not negative"),
    "Korean name": ("  name: team-a", "  name: 학습팀", 9, "lower-case"),
    "Korean flavor": ("    - name: h100\n", "    - name: 가속기\n", 15, "lower-case"),
    "unknown field": ("  queueingStrategy", "  queuingStrategy", 28, "'queuingStrategy'"),
    "field of the other version": ("cohortName", "cohort", 11, "'cohort'"),
    "unknown word": ("StrictFIFO", "Lifo", 28, "BestEffortFIFO"),
    "stopped": ("  cohortName", "  stopPolicy: Hold\n  cohortName", 11, "admits nobody"),
    "preference alone": ("whenCanBorrow: TryNextFlavor, ", "", 27, "TryNextFlavor"),
    "preempts while it may not reclaim": (
        "reclaimWithinCohort: LowerPriority", "reclaimWithinCohort: Never", 26, "Never",
    ),
    "other order": ("[cpu, memory, ", "[memory, cpu, ", 16, "in their order"),
    "resource twice": ("[cpu, memory, ", "[cpu, cpu, ", 13, "every name once"),
    "large threshold": ("Threshold: 5", "Threshold: 3000000000", 26, "32 bits"),
    "old version": ("v1beta2\nkind: ClusterQueue", "v1alpha1\nkind: ClusterQueue", 6, "v1beta1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_manifests(tmp_path: Path, case: str) -> None:
    old, new, line, word = BAD[case]
    assert GOOD.count(old) >= 1
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert any(f"line {line}," in text and word in text for text in found), found


def test_a_circle_of_cohorts(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD + CIRCLE)
    assert "line 52," in found
    assert "training -> all -> training" in found


def test_duplicates_and_unknown_queues(tmp_path: Path) -> None:
    first = problems(tmp_path, GOOD + "---\n" + QUEUE)
    assert len(first) == 1
    assert "ClusterQueue team-a again" in first[0]
    (second,) = problems(tmp_path, GOOD.replace("clusterQueue: team-a", "clusterQueue: team-z"))
    assert "a ClusterQueue in these files" in second


@pytest.mark.parametrize("text", ["", FLAVOR, "- 1\n", GOOD[:400] + "\n  x: ["])
def test_files_without_queues(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_queues([tmp_path / "없음.yaml"])

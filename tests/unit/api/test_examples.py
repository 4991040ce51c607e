"""The shipped manifests hang together and say what their sources say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_api.farm import Cluster
from kfarm_api.layout import LABEL_ENFORCE, LABEL_PLAN, LABEL_WORKLOAD
from kfarm_api.units import parse_quantity
from kfarm_api.v1alpha1 import (
    AcceleratorProfile,
    GPUFarm,
    NPUFarm,
    PlacementPlan,
    TwinRun,
    ValidationPolicy,
)
from kfarm_twin.load import load_files
from kfarm_twin.reliability import references

EXAMPLES = Path(__file__).parents[3] / "examples"
FOLDERS = [EXAMPLES / name for name in ("catalogue", "farms", "policies", "plans", "whatif")]
OBJECTS = [document.object for document in load_files(FOLDERS)]
PROFILES = {o.metadata.name: o for o in OBJECTS if isinstance(o, AcceleratorProfile)}
FARMS = {o.metadata.name: o for o in OBJECTS if isinstance(o, GPUFarm | NPUFarm)}
POLICIES = {o.metadata.name: o for o in OBJECTS if isinstance(o, ValidationPolicy)}
PLANS = {o.metadata.name: o for o in OBJECTS if isinstance(o, PlacementPlan)}
RUNS = {o.metadata.name: o for o in OBJECTS if isinstance(o, TwinRun)}
PODS = [
    body
    for path in sorted((EXAMPLES / "workloads").glob("*.yaml"))
    for body in yaml.safe_load_all(path.read_text("utf-8"))
]

INLET, SUPPLY = 25.0, 30.0


def figures(body: Any, path: str = "") -> list[str]:
    """Paths of all quantities and integers of a profile's spec."""
    if isinstance(body, dict):
        return [p for k, v in body.items() for p in figures(v, f"{path}.{k}" if path else k)]
    is_number = isinstance(body, int) or re.fullmatch(r"-?[0-9.]+[mkMGTP]?", str(body))
    return [path] if is_number else []


def test_catalogue_is_complete() -> None:
    assert set(PROFILES) == {
        "a100", "h100", "h200", "b200", "b300", "atom-plus", "atom-max", "rebel100",
        "warboy", "rngd", "x220", "x330", "x330-prime",
    }  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_every_figure_has_a_source(name: str) -> None:
    spec = PROFILES[name].spec
    body = spec.as_manifest()
    fields = [source.field for source in spec.sources]
    body.pop("sources")
    assert len(set(fields)) == len(fields)
    assert set(figures(body)) <= set(fields)
    assert {"uses", "resourceNames", "devicesPerCard"} <= set(fields)
    for source in spec.sources:
        assert not source.source.startswith("assumption:") or source.confidence == "Low"


@pytest.mark.parametrize("name", PROFILES)
def test_fault_codes_name_classes_of_a_study(name: str) -> None:
    known = {mode.name for study in references().values() for mode in study.modes}
    spec = PROFILES[name].spec
    assert spec.faults
    assert {fault.failure_class for fault in spec.faults} <= known
    assert {fault.kind for fault in spec.faults} == {"XID" if spec.vendor == "NVIDIA" else "Health"}
    fields = {source.field for source in spec.sources}
    assert {"faults.code", "faults.action", "faults.failureClass"} <= fields


@pytest.mark.parametrize("name", PROFILES)
def test_devices_keep_cool_at_full_power(name: str) -> None:
    spec = PROFILES[name].spec
    tdp, throttle = parse_quantity(spec.power.tdp), parse_quantity(spec.temperature.throttle)
    for resistance, coolant in (
        (spec.thermal_resistance.air, INLET),
        (spec.thermal_resistance.liquid, SUPPLY),
    ):
        if resistance is not None:
            assert coolant + parse_quantity(resistance) * tdp < throttle


def test_h100_lands_in_the_published_bands() -> None:
    """Air 54 to 72 degC, liquid 41 to 50 degC at 700 W (arXiv 2507.16781, abstract).

    Inlet 25 degC and supply 30 degC are assumptions of `facts/accelerators.yaml`.
    """
    resistance = PROFILES["h100"].spec.thermal_resistance
    assert resistance.air is not None
    assert resistance.liquid is not None
    assert 54 <= INLET + 700 * parse_quantity(resistance.air) <= 72
    assert 41 <= SUPPLY + 700 * parse_quantity(resistance.liquid) <= 50


@pytest.mark.parametrize(
    ("farm", "nodes", "devices"),
    [("nhn-cloud", 957, 7656), ("naver-cloud", 382, 3056), ("kakao", 303, 2424),
     ("sk-telecom", 128, 1024), ("elice", 64, 512), ("national-ai-computing-center", 3750, 30000)],
)  # fmt: skip
def test_sizes(farm: str, nodes: int, devices: int) -> None:
    clusters = FARMS[farm].spec.clusters
    assert sum(c.nodes for c in clusters) == nodes
    assert sum(c.nodes * c.accelerators_per_node for c in clusters) == devices


def test_the_demo_has_1642_gpu_nodes() -> None:
    farms = (FARMS[name] for name in ("nhn-cloud", "naver-cloud", "kakao"))
    assert sum(c.nodes for farm in farms for c in farm.spec.clusters) == 1642


@pytest.mark.parametrize("name", FARMS)
def test_shares_sum_up(name: str) -> None:
    spec = FARMS[name].spec
    for share in spec.shares:
        held = [c.nodes * c.accelerators_per_node for c in spec.clusters if c.share == share.name]
        assert sum(held) == share.guaranteed, share.name
    assert not spec.shares or all(c.share for c in spec.clusters)


def node_w(cluster: Cluster) -> float:
    """Power of a node with all devices at TDP [W]."""
    profile = PROFILES[cluster.accelerator].spec
    devices = cluster.accelerators_per_node * parse_quantity(profile.power.tdp)
    return devices + parse_quantity(profile.node_overhead.loaded)


@pytest.mark.parametrize("name", FARMS)
def test_power_and_cooling_suffice(name: str) -> None:
    spec = FARMS[name].spec
    total = 0.0
    for cluster in spec.clusters:
        power, cooling = node_w(cluster), cluster.cooling
        total += power * cluster.nodes
        assert cluster.rack.power_limit is not None
        assert power * cluster.rack.nodes <= parse_quantity(cluster.rack.power_limit)
        if cooling.cdu_capacity is not None and cooling.nodes_per_cdu is not None:
            heat = power * cooling.nodes_per_cdu * cooling.liquid_share / 100
            assert heat <= parse_quantity(cooling.cdu_capacity)
        resistance = PROFILES[cluster.accelerator].spec.thermal_resistance
        assert (resistance.liquid if cooling.type == "Liquid" else resistance.air) is not None
    assert spec.power is not None
    assert spec.power.capacity is not None
    assert spec.plant is not None
    assert total <= parse_quantity(spec.power.capacity)
    working = spec.plant.chillers - spec.plant.redundancy
    assert total <= working * parse_quantity(spec.plant.chiller_capacity)


RATE = {"x330": "fp8", "x220": "int8", "atom-plus": "fp16", "atom-max": "fp16", "rngd": "fp8",
        "warboy": "int8"}  # fmt: skip
VENDOR_PF = {
    "gwangju-npu": {"Sapeon": 11.0, "Rebellions": 4.45, "FuriosaAI": 4.58},
    "private-npu": {"Sapeon": 11.0, "Rebellions": 4.45, "FuriosaAI": 4.50},
}


@pytest.mark.parametrize("name", VENDOR_PF)
def test_npu_farms_reach_their_petaflops(name: str) -> None:
    """The split of `facts/facility.yaml` (npu_farm), reached by whole servers within 4 %."""
    reached: dict[str, float] = {}
    for cluster in FARMS[name].spec.clusters:
        profile = PROFILES[cluster.accelerator].spec
        rate = getattr(profile.rates, RATE[cluster.accelerator])
        devices = cluster.nodes * cluster.accelerators_per_node
        reached.setdefault(profile.vendor, 0.0)
        reached[profile.vendor] += devices * parse_quantity(rate) / 1e15
    assert set(reached) == set(VENDOR_PF[name])
    for vendor, wanted in VENDOR_PF[name].items():
        assert wanted <= reached[vendor] <= 1.04 * wanted, vendor


@pytest.mark.parametrize("name", FARMS)
def test_assumptions_are_marked(name: str) -> None:
    text = (EXAMPLES / "farms" / f"{name}.yaml").read_text("utf-8")
    assert "# assumption:" in text
    spec = FARMS[name].spec
    made = spec.telemetry is None  # what is measured is real
    assert all((c.source.simulated is not None) is made for c in spec.clusters)


@pytest.mark.parametrize("name", PLANS)
def test_plans_refer_to_what_is_there(name: str) -> None:
    spec = PLANS[name].spec
    assert spec.policy in POLICIES
    for reference in spec.farms:
        assert FARMS[reference.name].kind == reference.kind
    used = {c.accelerator for r in spec.farms for c in FARMS[r.name].spec.clusters}
    for workload in spec.workloads:
        assert set(workload.accelerators) <= used
        uses = {use for a in workload.accelerators for use in PROFILES[a].spec.uses}
        assert workload.class_ in uses


@pytest.mark.parametrize("name", PLANS)
def test_pods_match_their_plan(name: str) -> None:
    plan = PLANS[name]
    bodies = [b for b in PODS if b["kind"] != "Namespace" and b["metadata"]["name"] == name]
    assert len(bodies) == len(plan.spec.workloads) == 1
    body, workload = bodies[0], plan.spec.workloads[0]
    assert body["metadata"]["namespace"] == plan.metadata.namespace
    labels = body["spec"]["template"]["metadata"]["labels"]
    assert labels[LABEL_PLAN] == name
    assert labels[LABEL_WORKLOAD] == workload.name
    pod = body["spec"]["template"]["spec"]
    assert "schedulingGates" not in pod
    assert "nodeName" not in pod
    resource = PROFILES[workload.accelerators[0]].spec.resource_names[0]
    requests = pod["containers"][0]["resources"]["requests"]
    assert requests == {
        "cpu": workload.cpu,
        "memory": workload.memory,
        resource: workload.accelerators_per_pod,
    }
    assert pod["containers"][0]["resources"]["limits"] == {resource: workload.accelerators_per_pod}
    assert body["spec"].get("completions", body["spec"].get("replicas")) == workload.pods


@pytest.mark.parametrize("name", ["pretrain", "pretrain-kakao"])
def test_jobs_survive_disruption(name: str) -> None:
    spec = next(b for b in PODS if b["kind"] == "Job" and b["metadata"]["name"] == name)["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"


def test_namespaces_are_enforced() -> None:
    enforced = {
        body["metadata"]["name"]
        for body in PODS
        if body["kind"] == "Namespace" and body["metadata"]["labels"][LABEL_ENFORCE] == "true"
    }
    assert {plan.metadata.namespace for plan in PLANS.values()} <= enforced


def test_whatifs_are_there() -> None:
    assert set(RUNS) == {"backfill", "placement", "failing-week", "fleet-alone", "gang-255"}


@pytest.mark.parametrize("name", RUNS)
def test_whatifs_name_farms_that_are_there(name: str) -> None:
    for reference in RUNS[name].spec.farms:
        assert FARMS[reference.name].kind == reference.kind
    workload = RUNS[name].spec.workload
    plays_jobs = workload is not None and workload.gang is None
    assert (len(RUNS[name].spec.policies) > 1) == plays_jobs


def test_the_gang_leaves_its_spare() -> None:
    spec = RUNS["gang-255"].spec
    assert spec.shape is not None
    assert spec.workload is not None
    assert spec.workload.gang is not None
    assert (spec.shape.nodes, spec.shape.spares, spec.workload.gang.nodes) == (256, 1, 255)


def test_a_farm_shows_failures_of_what_nodes_share() -> None:
    clusters = [cluster for farm in FARMS.values() for cluster in farm.spec.clusters]
    classes = [one for cluster in clusters for one in cluster.reliability.classes]
    assert {"Leaf", "Cdu", "Plant"} <= {one.per for one in classes}
    assert all(one.confidence == "Low" for one in classes if one.per in ("Cdu", "Plant"))

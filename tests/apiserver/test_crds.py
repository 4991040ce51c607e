"""The generated CRDs on a real API server: accepted, and of one mind with the models."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_api.crd import documents
from kfarm_api.parse import BY_KIND, InvalidObject, parse
from kfarm_api.v1alpha1 import AcceleratorProfile
from kfarm_controlplane.client import Cluster, KubectlError
from kubernetes import client, config

ROOT = Path(__file__).parents[2]
Bases = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(clean_cluster: Cluster) -> Cluster:
    """A cluster on which ``kubectl apply -f crds/`` has been run as it stands in the README."""
    clean_cluster.kubectl("apply", "-f", str(ROOT / "crds"))
    names = [f"crd/{kind.info.plural}.kfarm.dev" for kind in BY_KIND.values()]
    clean_cluster.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
    return clean_cluster


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[client.CustomObjectsApi]:
    with config.new_client_from_config(  # type: ignore[no-untyped-call]
        str(cluster.kubeconfig)
    ) as api:
        yield client.CustomObjectsApi(api)


def create(
    server: client.CustomObjectsApi, body: dict[str, Any], kind: str, *, dry_run: bool = True
) -> dict[str, Any]:
    """POST to the resource of `kind`, whatever the body says about itself."""
    info = BY_KIND[kind].info
    made: Any
    options: dict[str, Any] = {"dry_run": "All"} if dry_run else {}
    if info.scope == "Namespaced":
        made = server.create_namespaced_custom_object(
            "kfarm.dev", "v1alpha1", "default", info.plural, body, **options
        )
    else:
        made = server.create_cluster_custom_object(
            "kfarm.dev", "v1alpha1", info.plural, body, **options
        )
    return dict(made)


def test_equal_verdicts(server: client.CustomObjectsApi, object_case: Any) -> None:
    body = object_case.body
    try:
        stored = create(server, body, body["kind"])
    except client.ApiException as error:
        assert error.status in {400, 422}, error.body
        assert not object_case.good, error.body
        with pytest.raises(InvalidObject):
            parse(body, strict=True)
    else:
        assert object_case.good, "the API server accepted it"
        local = parse(body, strict=True)
        assert parse(stored, strict=True).spec == local.spec, "defaults differ"


def test_models_and_files_agree(cluster: Cluster) -> None:
    for name, text in documents().items():
        assert (ROOT / "crds" / name).read_text("utf-8") == text, f"crds/{name} is stale"
        assert cluster.get("crd", yaml.safe_load(text)["metadata"]["name"])


def test_structural_and_accepted(cluster: Cluster) -> None:
    for kind in BY_KIND.values():
        found = cluster.get("crd", f"{kind.info.plural}.kfarm.dev")
        conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"
        assert conditions.get("KubernetesAPIApprovalPolicyConformant", "True") == "True"


def test_shipped_manifests_are_accepted(cluster: Cluster) -> None:
    for namespace in ("foundation-model", "npu-serving", "fine-tuning", "drills"):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for folder in sorted((ROOT / "examples").iterdir()):
        if folder.name == "sweeps":
            continue  # grids for `kfarm sweep`, no objects; test_sweep plays them
        # Without Kueue its kinds are unknown; test_admission applies all of that folder.
        told = folder / "plan.yaml" if folder.name == "kueue" else folder
        if any(folder.glob("*.yaml")):
            cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(told))


def test_the_rules_of_the_largest_farm_are_affordable(
    server: client.CustomObjectsApi, object_bases: Bases
) -> None:
    """All clusters, each with all classes in all their steps: the server limits what rules cost."""
    step = {"action": "Reboot", "success": 50, "time": "999999h59m59.999s999ms", "attempts": 3}
    repair = {
        "distribution": "Lognormal",
        "shape": "1.234567",
        "part": {"leadTime": "336h", "spread": "0.5"},
        "recursWithin": "24h",
    }
    entry = {
        "per": "Device",
        "failuresPer1000Days": "999.999999",
        "meanTimeToRepair": "999999h",
        "life": {"distribution": "Weibull", "shape": "1.234567", "age": "8760h"},
        "detection": "10s",
        "recovery": [step] * 4,
        "repair": repair,
    }
    classes = [{"name": f"a{index:062d}", **entry} for index in range(32)]
    body = object_bases["GPUFarm"]
    first = {
        **body["spec"]["clusters"][0],
        "reliability": {"classes": classes, "drains": {"every": "8760h", "duration": "4h"}},
    }
    body["spec"]["clusters"] = [{**first, "name": f"c{index}"} for index in range(32)]
    stored = create(server, body, "GPUFarm")
    assert parse(stored, strict=True).spec == parse(body, strict=True).spec


def test_unknown_fields_are_pruned_by_the_server(
    server: client.CustomObjectsApi, object_bases: Bases
) -> None:
    body = object_bases["ValidationPolicy"]
    body["spec"]["futureField"] = {"a": 1}
    stored = create(server, body, "ValidationPolicy")
    assert "futureField" not in stored["spec"]
    with pytest.raises(InvalidObject, match="futureField"):
        parse(body, strict=True)
    assert parse(body, strict=False).spec == parse(stored, strict=False).spec


def test_kubectl_sends_whole_floats_as_integers(cluster: Cluster, object_bases: Bases) -> None:
    body = object_bases["AcceleratorProfile"]
    body["spec"]["power"]["tdp"] = 99.0
    path = cluster.directory / "whole.yaml"
    path.write_text(yaml.safe_dump(body))
    cluster.kubectl("create", "--dry-run=server", "-f", str(path))
    parsed = parse(body, strict=True)
    assert isinstance(parsed, AcceleratorProfile)
    assert parsed.spec.power.tdp == "99"


def test_refusals_say_what_to_do(server: client.CustomObjectsApi, object_bases: Bases) -> None:
    body = object_bases["GPUFarm"]
    body["spec"]["clusters"][0]["cooling"].pop("cduCapacity")
    body["spec"]["clusters"][0]["rack"]["powerLimit"] = "20G"
    with pytest.raises(client.ApiException) as error:
        create(server, body, "GPUFarm")
    message = json.loads(error.value.body or "")["message"]
    assert "liquid cooling needs nodesPerCdu, cduCapacity and a liquidShare above 0" in message
    assert "must be more than 0 W and at most 10G W" in message


def test_columns_and_short_names(
    cluster: Cluster, server: client.CustomObjectsApi, object_bases: Bases
) -> None:
    for kind, base in object_bases.items():
        made = create(server, copy.deepcopy(base), kind, dry_run=False)
        made["status"] = {"conditions": [_condition("Ready", "True", "Simulated")]}
        info = BY_KIND[kind].info
        _replace_status(server, made, kind)
        table = cluster.kubectl("get", info.short).splitlines()
        header, row = table[0].split(), table[1].split()
        shown = [name.upper() for name, _, _, priority in info.columns if priority == 0]
        assert header == ["NAME", *shown, "READY", "REASON", "AGE"]
        assert row[0] == base["metadata"]["name"]
        assert row[-3:-1] == ["True", "Simulated"]
    both = cluster.kubectl("get", "kfarm")
    for kind, base in object_bases.items():
        assert f"{kind.lower()}.kfarm.dev/{base['metadata']['name']}" in both


def _condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def _replace_status(server: client.CustomObjectsApi, body: dict[str, Any], kind: str) -> None:
    info, name = BY_KIND[kind].info, body["metadata"]["name"]
    if info.scope == "Namespaced":
        server.replace_namespaced_custom_object_status(
            "kfarm.dev", "v1alpha1", "default", info.plural, name, body
        )
    else:
        server.replace_cluster_custom_object_status(
            "kfarm.dev", "v1alpha1", info.plural, name, body
        )


def test_apply_merges_clusters_by_name(cluster: Cluster, object_bases: Bases) -> None:
    farm = object_bases["GPUFarm"]
    farm["metadata"]["name"] = "merge"
    cluster.apply(farm)
    share = {**farm, "spec": {"shares": [{"name": "lent", "guaranteed": 8}]}}
    text = json.dumps(share)
    path = cluster.directory / "share.json"
    path.write_text(text)
    cluster.kubectl("apply", "--server-side", "--field-manager=second", "-f", str(path))
    merged = cluster.get("gpufarm", "merge")
    assert [s["name"] for s in merged["spec"]["shares"]] == ["own", "lent"]
    assert len(merged["spec"]["clusters"]) == 1


def test_conditions_merge_by_type(cluster: Cluster, object_bases: Bases) -> None:
    policy = object_bases["ValidationPolicy"]
    policy["metadata"]["name"] = "conditions"
    cluster.apply(policy)
    for manager, kind in (("a", "Ready"), ("b", "Drifting")):
        body = {
            **{key: policy[key] for key in ("apiVersion", "kind", "metadata")},
            "status": {"conditions": [_condition(kind, "True", "Test")]},
        }
        path = cluster.directory / f"{manager}.json"
        path.write_text(json.dumps(body))
        cluster.kubectl(
            "apply", "--server-side", "--subresource=status", f"--field-manager={manager}",
            "-f", str(path),
        )  # fmt: skip
    found = cluster.get("validationpolicy", "conditions")
    assert {c["type"] for c in found["status"]["conditions"]} == {"Ready", "Drifting"}


def test_status_is_a_subresource(
    cluster: Cluster, server: client.CustomObjectsApi, object_bases: Bases
) -> None:
    body = object_bases["PlacementPlan"]
    body["metadata"]["name"] = "statusless"
    body["status"] = {"verdict": "Approved"}
    assert "status" not in create(server, body, "PlacementPlan", dry_run=False)
    with pytest.raises(KubectlError, match="verdict"):
        cluster.kubectl(
            "patch", "pplan", "statusless", "--subresource=status", "--type=merge",
            "-p", '{"status": {"verdict": "Maybe"}}',
        )  # fmt: skip
    assert cluster.get("pplan", "statusless")["metadata"]["generation"] == 1

"""What the chart renders: lint, schema, and every combination that matters by a server dry run."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_scene import CHART, SYSTEM
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.helm import Helm, HelmError, settings
from kfarm_controlplane.prometheus import prometheus_binary
from kfarm_operator.drills.settings import drill_settings
from kfarm_operator.gate_ready import VALIDATING_POLICIES
from kfarm_operator.gate_wanted import KINDS, parse_wanted
from kfarm_operator.instruments import CATALOGUE
from kfarm_operator.live.gauges import FAMILIES
from kfarm_operator.main import parse_arguments as operator_arguments
from kfarm_operator.sweeper import parse_arguments as sweeper_arguments

Body = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
MONITORING = CHART / "files/monitoring"
DIGEST = "sha256:" + "ab" * 32
EVERYTHING = (
    "drills.enabled=true", "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true", "monitoring.dashboard.enabled=true",
    "monitoring.labels.release=stack", "kueue.admissionChecks[0].name=twin",
    "kueue.admissionChecks[0].policy=standard", "operator.replicas=2",
    "operator.scheduler=tcp://dask-scheduler.dask:8786",
    "operator.priorityClassName=system-cluster-critical", f"operator.image.digest={DIGEST}",
    "operator.imagePullSecrets[0].name=pull", "operator.nodeSelector.pool=system",
    "operator.tolerations[0].key=system", "operator.tolerations[0].operator=Exists",
    "networkPolicy.egress[0].ports[0].port=8786",
)  # fmt: skip
COMBINATIONS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "everything": EVERYTHING,
    "no operator": ("operator.enabled=false", "monitoring.serviceMonitor.enabled=true"),
    "no CRDs": ("crds.enabled=false",),
    "no catalogue": ("catalogue.enabled=false",),
    "no fences around the pods": (
        "networkPolicy.enabled=false", "podDisruptionBudget.enabled=false",
    ),
    "other names": (
        "gate.schedulers={system:kube-scheduler,my-scheduler}", "gate.breakGlassGroups={ops}",
        "gate.exemptNamespaces={kube-system,calico-system}",
    ),
    "drills": ("drills.enabled=true", "drills.clusterName=kind-lab", "drills.limits.maxNodes=256"),
    "drills from outside": ("drills.enabled=true", "operator.enabled=false"),
    "an address range": ("networkPolicy.apiServer.cidrs={10.0.0.1/32,fd00::1/128}",),
}  # fmt: skip
FOREIGN = {"ServiceMonitor", "PrometheusRule", "AdmissionCheck"}
BAD: dict[str, tuple[str, str]] = {
    "a misspelt value": ("operatr.enabled=false", "operatr"),
    "a text for a number": ("operator.replicas=two", "replicas"),
    "no replica": ("operator.replicas=0", "replicas"),
    "a scheduler without scheme": ("operator.scheduler=dask:8786", "scheduler"),
    "a digest cut short": ("operator.image.digest=sha256:ab", "digest"),
    "kube-system not exempt": ("gate.exemptNamespaces={other}", "exemptNamespaces"),
    "a namespace with a capital": ("gate.exemptNamespaces={kube-system,Team}", "exemptNamespaces"),
    "an account that closes a CEL string": ("gate.schedulers={a' || true || '}", "schedulers"),
    "nobody may bind": ("gate.schedulers=null", "schedulers"),
    "a range without length": ("networkPolicy.apiServer.cidrs={10.0.0.1}", "cidrs"),
    "a port beyond": ("networkPolicy.apiServer.ports={70000}", "ports"),
    "scraping from everywhere": ("networkPolicy.metricsFrom.matchLabels=null", "metricsFrom"),
    "a check without policy": ("kueue.admissionChecks[0].name=twin", "policy"),
    "a cluster that closes a CEL string": ("drills.clusterName=a' || true || '", "clusterName"),
    "no node to drill": ("drills.limits.maxNodes=0", "maxNodes"),
    "more than all nodes": ("drills.limits.maxPercent=101", "maxPercent"),
    "a drill without end": ("drills.limits.maxDuration=", "maxDuration"),
    "a drill of days": ("drills.limits.maxDuration=2d", "maxDuration"),
    "a limit of drills misspelt": ("drills.limits.maxNode=2", "maxNode"),
    "a Korean name": ("kueue.admissionChecks[0].name=광주", "name"),
}


@pytest.fixture(scope="module")
def helm(clean_cluster: Cluster) -> Helm:
    return Helm(clean_cluster)


@pytest.fixture(scope="module")
def ready(clean_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster that knows our kinds and, in short, those of Prometheus' operator and Kueue."""
    cluster = clean_cluster
    crds = ("-f", str(ROOT / "crds"))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    foreign = [_crd("monitoring.coreos.com", "v1", kind) for kind in
               ("ServiceMonitor", "PrometheusRule")]  # fmt: skip
    foreign.append(_crd("kueue.x-k8s.io", "v1beta2", "AdmissionCheck", scope="Cluster"))
    cluster.apply(*foreign)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    names = [item["metadata"]["name"] for item in foreign]
    waited = (*(f"crd/{name}" for name in names), *crds)
    cluster.kubectl("wait", "--for=condition=Established", *waited[:3], "--timeout=30s")
    cluster.kubectl("wait", "--for=condition=Established", *crds, "--timeout=30s")
    yield cluster
    cluster.kubectl("delete", "crd", *names)


def _crd(group: str, version: str, kind: str, scope: str = "Namespaced") -> Body:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # as Kubernetes asks of everybody who makes kinds in groups of its own
        "metadata": {"name": f"{plural}.{group}",
                     "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {"group": group, "scope": scope, "names": names,
                 "versions": [{**served, "schema": {"openAPIV3Schema": schema}}]},
    }  # fmt: skip


def test_helm_finds_nothing_to_say(helm: Helm) -> None:
    for values in COMBINATIONS.values():
        said = helm("lint", str(CHART), "--strict", *settings(*values))
        assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_api_server_takes_what_is_rendered(ready: Cluster, helm: Helm, name: str) -> None:
    """Each object by a server dry run, with unknown fields an error."""
    rendered = helm.template(CHART, *settings(*COMBINATIONS[name]))
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered]
    assert len(keys) == len(set(keys))
    text = "\n---\n".join(json.dumps(item) for item in rendered)
    arguments = ("apply", "--server-side", "--force-conflicts", "--dry-run=server",
                 "--validate=strict", "-f", "-")  # fmt: skip
    said = ready.kubectl(*arguments, input=text)
    assert len(said.splitlines()) == len(rendered)


def test_each_value_shows_where_it_should(helm: Helm) -> None:
    kinds = {name: [o["kind"] for o in helm.template(CHART, *settings(*values))]
             for name, values in COMBINATIONS.items()}  # fmt: skip
    assert set(kinds["everything"]) >= FOREIGN
    assert not FOREIGN & set(kinds["as it is"])
    assert "Deployment" not in kinds["no operator"]
    assert "ServiceMonitor" not in kinds["no operator"]
    assert "CustomResourceDefinition" not in kinds["no CRDs"]
    assert "AcceleratorProfile" not in kinds["no catalogue"]
    assert not {"NetworkPolicy", "PodDisruptionBudget"} & set(kinds["no fences around the pods"])
    assert kinds["as it is"].count("ServiceAccount") == 3
    assert kinds["drills"].count("ServiceAccount") == 5
    assert kinds["drills"].count("Deployment") == kinds["as it is"].count("Deployment") + 1
    assert kinds["drills"].count("CronJob") == 1
    assert not {"Deployment", "CronJob"} & set(kinds["drills from outside"])
    assert "CronJob" not in kinds["as it is"]
    deployments = [o for o in helm.template(CHART, *settings(*EVERYTHING))
                   if o["kind"] == "Deployment"]  # fmt: skip
    for item in deployments:
        spec = item["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["image"] == f"kfarm-operator@{DIGEST}"
        assert "--scheduler=tcp://dask-scheduler.dask:8786" in container["args"]
        assert spec["nodeSelector"] == {"pool": "system"}
        assert item["spec"]["replicas"] == 2


@pytest.mark.parametrize("name", ["as it is", "everything"])
def test_the_operator_is_told_of_every_policy(helm: Helm, name: str) -> None:
    """A policy in a new template has to be named in policies.yaml as well, and in gate_ready."""
    rendered = helm.template(CHART, *settings(*COMBINATIONS[name]))
    (told,) = (o for o in rendered if o["metadata"]["name"] == "kfarm-policies")
    wanted = {(o["kind"], o["metadata"]["name"]): o["spec"] for o in rendered if o["kind"] in KINDS}
    assert parse_wanted(told["data"]["policies.json"]) == wanted
    names = {name for kind, name in wanted if kind == "ValidatingAdmissionPolicy"}
    extra = {name for name in names if name.startswith("kfarm-drill-")} | {"kfarm-farm-queues"}
    assert names - extra == set(VALIDATING_POLICIES)


def test_no_policy_is_evaluated_once_for_each_of_many_objects(helm: Helm) -> None:
    """Parameters are collected before conditions are looked at: of Nodes, at every heartbeat."""
    rendered = helm.template(CHART, *settings(*EVERYTHING))
    kinds = [o["spec"]["paramKind"]["kind"] for o in rendered if "paramKind" in o.get("spec", {})]
    assert set(kinds) == {"AcceleratorProfile"}


@pytest.mark.parametrize("what", BAD)
def test_bad_values_are_refused_by_name(helm: Helm, what: str) -> None:
    value, named = BAD[what]
    with pytest.raises(HelmError) as error:
        helm.template(CHART, *settings(value))
    assert named in error.value.said


def _pods(helm: Helm) -> list[Body]:
    """The chart's pods, those of drills and of their sweeper among them."""
    rendered = helm.template(CHART, *settings("drills.enabled=true"))
    jobs = [o for o in rendered if o["kind"] == "CronJob"]
    found = [o for o in rendered if o["kind"] == "Deployment"]
    found += [job | job["spec"]["jobTemplate"] for job in jobs]
    assert len(found) == 5
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": item["metadata"].get("name", "kfarm-sweeper"),
                         "namespace": SYSTEM},
            "spec": item["spec"]["template"]["spec"] | {"serviceAccountName": "default"},
        }
        for item in found
    ]  # fmt: skip


def test_pods_are_restricted_and_each_restriction_counts(ready: Cluster, helm: Helm) -> None:
    """Pod Security at level restricted takes them as they are, and not with less."""
    level = "pod-security.kubernetes.io/enforce"
    ready.kubectl("label", "namespace", SYSTEM, f"{level}=restricted", f"{level}-version=v1.36")
    try:
        for pod in _pods(helm):
            _dry_run(ready, pod)
            # in a user namespace of its own a pod may be root, so take that away first
            shared = _without(pod, ["hostUsers"])
            _dry_run(ready, shared)
            for name in ("seccompProfile", "runAsNonRoot"):
                with pytest.raises(KubectlError, match="violates PodSecurity"):
                    _dry_run(ready, _without(shared, ["securityContext", name]))
            inner = ["containers", 0, "securityContext"]
            for name in ("allowPrivilegeEscalation", "capabilities"):
                with pytest.raises(KubectlError, match="violates PodSecurity"):
                    _dry_run(ready, _without(pod, [*inner, name]))
    finally:
        ready.kubectl("label", "namespace", SYSTEM, f"{level}-", f"{level}-version-")


def _dry_run(cluster: Cluster, body: Body) -> None:
    cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body))


def _without(pod: Body, path: list[Any]) -> Body:
    changed = copy.deepcopy(pod)
    holder = changed["spec"]
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return changed


def test_pods_are_more_than_restricted(helm: Helm) -> None:
    for pod in _pods(helm):
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["hostUsers"] is False
        assert spec["enableServiceLinks"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {k for v in spec["volumes"] for k in v} <= {
            "name", "projected", "configMap", "emptyDir",
        }  # fmt: skip
        sizes = container["resources"]
        assert sizes["requests"]["memory"] == sizes["limits"]["memory"]
        assert "ephemeral-storage" in sizes["limits"]
        assert spec.get("topologySpreadConstraints") or spec["restartPolicy"] == "Never"


def test_programs_take_the_arguments_that_the_chart_gives_them(helm: Helm) -> None:
    """And the limits on drills are the same for the operator and for the policies."""
    limits = ("drills.limits.maxNodes=7", "drills.limits.maxDuration=1h5m")
    rendered = helm.template(
        CHART, *settings("drills.enabled=true", "drills.clusterName=a", *limits)
    )
    by_name = {o["metadata"]["name"]: o for o in rendered if o["kind"] in ("Deployment", "CronJob")}
    (container,) = by_name["kfarm-drill"]["spec"]["template"]["spec"]["containers"]
    drills = drill_settings(operator_arguments(container["args"]))
    assert (drills.cluster_name, drills.namespace) == ("a", SYSTEM)
    assert (drills.max_nodes, drills.max_percent, drills.domains) == (7, 10, 1)
    assert drills.max_duration_s == 3900
    job = by_name["kfarm-sweeper"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = job["containers"]
    sweeper = sweeper_arguments(container["args"])
    assert sweeper.namespace == SYSTEM
    assert sweeper.lasts < 60
    assert container["command"] == ["kfarm-sweeper"]
    project = tomllib.loads((ROOT / "operator/pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"]["kfarm-sweeper"] == "kfarm_operator.sweeper:main"
    texts = [json.dumps(o["spec"]) for o in rendered if o["kind"] == "ValidatingAdmissionPolicy"]
    assert sum("< 7 ?" in text for text in texts) == 1
    assert sum("duration('1h5m')" in text for text in texts) == 2


def test_disruption_budgets_and_network_policy_select_the_pods(helm: Helm) -> None:
    rendered = helm.template(CHART, *settings("drills.enabled=true"))
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in rendered
              if o["kind"] == "Deployment"]  # fmt: skip
    budgets = [o["spec"]["selector"]["matchLabels"] for o in rendered
               if o["kind"] == "PodDisruptionBudget"]  # fmt: skip
    for found in labels:
        assert sum(selector.items() <= found.items() for selector in budgets) == 1
    (policy,) = (o["spec"] for o in rendered if o["kind"] == "NetworkPolicy")
    assert all(policy["podSelector"]["matchLabels"].items() <= found.items() for found in labels)
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert sorted(ports) == [53, 53, 443, 6443]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == ["health"]


def test_the_rules_are_what_promtool_takes_and_fire_when_they_should() -> None:
    """The real promtool checks them, and plays the series of tests/data/alerts.yaml to them."""
    tool = prometheus_binary().parent / "promtool"
    for command in (
        ["check", "rules", str(MONITORING / "rules.yaml")],
        ["test", "rules", str(ROOT / "tests/data/alerts.yaml")],
    ):
        done = subprocess.run([tool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = yaml.safe_load((ROOT / "tests/data/alerts.yaml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tested for case in test["alert_rule_test"]
             if case.get("exp_alerts")}  # fmt: skip
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text("utf-8"))["groups"][0]["rules"]
    assert fired == {rule["alert"] for rule in rules}


def _named(text: str) -> set[str]:
    """Metrics in an expression, as the catalogue names them."""
    found = re.findall(r"\bkfarm_[a-z0-9_]+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    known = {*CATALOGUE, *(name for name, _, _ in FAMILIES.values())}
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text("utf-8"))["groups"][0]["rules"]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in asked:
        assert _named(expression), expression
        assert _named(expression) <= known, expression
    labels = {label for item in CATALOGUE.values() for label in item.labels}
    labels |= {label for _, _, names in FAMILIES.values() for label in names}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_panels_do_not_overlap() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]
    cells: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"])
               for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("operator.enabled=true", "kubectl label namespace TEAM kfarm.dev/enforce=true"),
        ("operator.enabled=true", "networkPolicy.egress"),
        ("operator.enabled=false", "or nothing is released"),
        ("drills.enabled=true", "create configmap kfarm-drills-off"),
    ],
)
def test_the_notes_say_what_to_do_next(helm: Helm, ready: Cluster, value: str, wanted: str) -> None:
    """Helm prints them; a dry run against the server shows them without installing."""
    del ready
    where = ("--namespace", SYSTEM, "--dry-run=server", "--take-ownership")
    said = helm("install", "kfarm-notes", str(CHART), *where, *settings(value))
    assert wanted in said.partition("\nNOTES:\n")[2]

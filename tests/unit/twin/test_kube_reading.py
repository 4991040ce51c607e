"""What the kube driver reads: quantities, selectors, requests, objects, and how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_twin.kube.describe import Described, load_cluster, make_cluster
from kfarm_twin.kube.objects import Pod
from kfarm_twin.kube.quantity import NANO, milli, parse_nano, units
from kfarm_twin.kube.selectors import Requirement, requirement_holds
from kfarm_twin.load import ManifestError
from kfarm_twin.manifest_text import TextDocument

ANYWHERE = "0.0.0.0"  # noqa: S104 - an address of a pod, nothing is bound here
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n"},
    "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
}


def pod_body(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "a", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def read(*bodies: dict[str, Any], cluster: tuple[dict[str, Any], ...] = ()) -> list[Pod]:
    here, wanted = Described(), Described()
    for described, objects in ((here, (NODE, *cluster)), (wanted, bodies)):
        for body in objects:
            described.add_body(Path("f"), TextDocument(1), (), body)
    _, pods = make_cluster(here, wanted)
    assert not here.problems + wanted.problems, here.problems + wanted.problems
    return pods


def problems(*bodies: dict[str, Any]) -> list[str]:
    described = Described()
    for body in bodies:
        described.add_body(Path("f"), TextDocument(1), (), body)
    make_cluster(Described(), described)
    return [str(problem) for problem in described.problems]


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("1", NANO),
        (2, 2 * NANO),
        (0.5, NANO // 2),
        ("100m", NANO // 10),
        ("1n", 1),
        ("0.1n", 1),
        ("3u", 3000),
        ("1Ki", 1024 * NANO),
        ("1.5Gi", 3 * 2**29 * NANO),
        ("1e3", 1000 * NANO),
        ("2E", None),
        ("12E-1", 1_200_000_000),
        (".5k", 500 * NANO),
        ("5.", 5 * NANO),
        ("+7", 7 * NANO),
        ("9P", 9 * 10**15 * NANO),
        ("-1", None),
        ("NaN", None),
        ("", None),
        ("1KB", None),
        ("1 Gi", None),
        ("٣", None),
        (True, None),
        (None, None),
        ("1e99", None),
        ("9" * 80, None),
    ],
)
def test_quantities(text: Any, nano: int | None) -> None:
    if nano is None:
        with pytest.raises(ValueError, match=r"quantity|suffixes"):
            parse_nano(text)
    else:
        assert parse_nano(text) == nano


def test_amounts_are_rounded_up() -> None:
    assert milli(parse_nano("1u")) == 1
    assert units(parse_nano("1500m")) == 2


@pytest.mark.parametrize(
    ("requirement", "labels", "holds"),
    [
        (Requirement("a", "In", ("x",)), {"a": "x"}, True),
        (Requirement("a", "In", ("x",)), {}, False),
        (Requirement("a", "NotIn", ("x",)), {}, True),
        (Requirement("a", "NotIn", ("x",)), {"a": "x"}, False),
        (Requirement("a", "Exists", ()), {"a": ""}, True),
        (Requirement("a", "DoesNotExist", ()), {"a": ""}, False),
        (Requirement("a", "Gt", ("5",)), {"a": "6"}, True),
        (Requirement("a", "Gt", ("5",)), {"a": "5"}, False),
        (Requirement("a", "Lt", ("5",)), {"a": "x"}, False),
        (Requirement("a", "Lt", ("5",)), {"a": "9" * 30}, False),
        (Requirement("a", "Lt", ("5",)), {}, False),
    ],
)
def test_requirements(requirement: Requirement, labels: dict[str, str], holds: bool) -> None:
    assert requirement_holds(requirement, labels) is holds


def container(cpu: str | None = None, **more: Any) -> dict[str, Any]:
    requests = {} if cpu is None else {"cpu": cpu}
    return {"name": "c", "image": "i", "resources": {"requests": requests}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, 1500),
        ({"containers": [container("1")], "initContainers": [container("3")]}, 3000),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("1", restartPolicy="Always"), container("2")],
            },
            3000,
        ),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("2"), container("1", restartPolicy="Always")],
            },
            2000,
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}, 4000),
        ({"containers": [{**container(), "resources": {"limits": {"cpu": "2"}}}]}, 2000),
        (
            {"containers": [container("1")], "resources": {"limits": {"cpu": "4"}}},
            1000,
        ),
        ({"containers": [container()], "resources": {"limits": {"cpu": "4"}}}, 4000),
    ],
)
def test_requests_of_a_pod(spec: dict[str, Any], cpu: int) -> None:
    (pod,) = read(pod_body(**spec))
    assert dict(pod.spec.asked.requests)["cpu"] == cpu


def test_containers_without_requests_count_in_scores() -> None:
    (pod,) = read(pod_body(containers=[container(), container("0"), container("1")]))
    assert pod.spec.asked.non_zero == (1100, 3 * 200 * 2**20)
    assert dict(pod.spec.asked.counted)["cpu"] == 1100


def test_a_resized_pod_counts_what_it_holds() -> None:
    body = pod_body(containers=[container("1")])
    body["status"] = {
        "containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}],
    }
    (pod,) = read(body)
    assert dict(pod.spec.asked.requests)["cpu"] == 3000


def test_host_network_makes_every_port_a_host_port() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 81, "hostPort": 82, "protocol": "UDP"}]
    (pod,) = read(pod_body(hostNetwork=True, containers=[container("1", ports=ports)]))
    assert [(p.ip, p.protocol, p.port) for p in pod.spec.ports] == [
        (ANYWHERE, "TCP", 80),
        (ANYWHERE, "UDP", 82),
    ]


def test_priority_comes_from_classes() -> None:
    def priority(name: str, value: int, **more: Any) -> dict[str, Any]:
        head = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        return {**head, "metadata": {"name": name}, "value": value, **more}

    classes = (
        priority("high", 7, preemptionPolicy="Never"),
        priority("usual", 3, globalDefault=True),
    )
    first, second, third = (
        read(body, cluster=classes)[0]
        for body in (
            pod_body(priorityClassName="high"),
            pod_body(),
            pod_body(priorityClassName="system-node-critical"),
        )
    )
    assert (first.priority, first.never_preempts) == (7, True)
    assert (second.priority, third.priority) == (3, 2_000_001_000)


def test_runtime_class_adds_overhead_selector_and_tolerations() -> None:
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "sandbox"},
        "overhead": {"podFixed": {"cpu": "1"}},
        "scheduling": {"nodeSelector": {"kind": "vm"}, "tolerations": [{"operator": "Exists"}]},
    }
    (pod,) = read(pod_body(runtimeClassName="sandbox"), cluster=(runtime,))
    assert dict(pod.spec.asked.requests) == {"cpu": 1000}
    assert [r.key for r in pod.spec.node_selector] == ["kind"]
    assert pod.spec.tolerations[0].operator == "Exists"


def test_what_is_left_out_is_named() -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]
    (pod,) = read(pod_body(volumes=volumes, resourceClaims=[{"name": "gpu"}]))
    assert len(pod.warnings) == 2
    assert "data" in pod.warnings[0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (pod_body(containers=[]), "spec.containers: found no containers"),
        (pod_body(containers=[container("abc")]), "requests.cpu: found 'abc'; expected a quantity"),
        (pod_body(containers=[container("-1")]), "not negative"),
        (pod_body(containers=[container("200P")]), "at most 90P"),
        (pod_body(priority=2**40), "spec.priority: found 1099511627776"),
        (pod_body(priorityClassName="없음"), "found '없음'; expected a PriorityClass"),
        (pod_body(nodeSelector={"a": 1}), "spec.nodeSelector.a: found 1; expected text"),
        (pod_body(tolerations=[{"operator": "Like"}]), "operator: found 'Like'"),
        (pod_body(tolerations="x"), "spec.tolerations: found 'x'; expected a list"),
        (
            pod_body(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z"}]),
            "maxSkew: found 0; expected an integer from 1",
        ),
        (
            pod_body(
                affinity={
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "a", "operator": "In"}]}
                            ]
                        }
                    }
                }
            ),
            "expected at least one value for In",
        ),
        (
            pod_body(
                affinity={
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"labelSelector": {"matchLabels": {"a": None}}}
                        ]
                    }
                }
            ),
            "expected the key of a node label",
        ),
        ({**NODE, "status": {"allocatable": {"cpu": "-4"}}}, "status.allocatable.cpu"),
        ({**NODE, "spec": {"taints": [{"key": "a", "effect": "Maybe"}]}}, "found 'Maybe'"),
        ({**NODE, "metadata": {}}, "metadata.name: found nothing"),
        ({**NODE, "apiVersion": "v2"}, "apiVersion: found 'v2'; expected v1"),
    ],
)
def test_bad_objects_are_refused_with_place_and_remedy(body: dict[str, Any], told: str) -> None:
    assert told in "\n".join(problems(body))


def test_an_object_that_stands_twice_is_refused() -> None:
    assert "again (first in f document 1)" in "\n".join(problems(NODE, NODE))


LISTED = """\ufeffapiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: 노드}
  status: {allocatable: {cpu: 4, memory: 8Gi, pods: 110}}
---
apiVersion: example.com/v1
kind: Unknown
metadata: {name: passed-over}
"""


def test_lists_documents_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    cluster, pods = tmp_path / "c.yaml", tmp_path / "p.json"
    cluster.write_bytes(LISTED.replace("\n", "\r\n").encode())
    pods.write_text('{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"p"},'
                    '"spec":{"containers":[{"name":"c"}]}}]}')  # fmt: skip
    made, pending = load_cluster([cluster], [pods])
    assert [node.name for node in made.nodes] == ["노드"]
    assert [pod.key for pod in pending] == ["default/p"]


def test_aliases_are_taken_as_kubectl_takes_them(tmp_path: Path) -> None:
    nodes = [{**NODE, "metadata": {"name": name}} for name in ("a", "b")]
    listed = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": nodes})
    assert "*id" in listed
    (tmp_path / "c.yaml").write_text(listed)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(pod_body()))
    made, _ = load_cluster([tmp_path / "c.yaml"], [tmp_path / "p.yaml"])
    assert [node.allocatable["cpu"] for node in made.nodes] == [4000, 4000]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *y", "alias of a value that stands above"),
        ("a: &x [*x]", "alias of a value that stands above"),
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)),
            "too many values",
        ),
    ],
)
def test_aliases_that_cannot_be_written_out_are_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ManifestError) as error:
        load_cluster([tmp_path / "c.yaml"], [])
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("cluster", "pods", "told"),
    [
        ("", "", "an empty file"),
        ("kind: List\nitems:\n- {kind: Node, apiVersion: v1, meta", "", "cut off"),
        (LISTED, "[1, 2]", "expected an object with apiVersion and kind"),
        (LISTED, "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", "no Pod"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", LISTED, "no Pod"),
        (
            LISTED,
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
            "  - {name: c, resources: {requests: {cpu: 1x}}}",
            "line 6, document 1: spec.containers[0].resources.requests.cpu: found '1x'",
        ),
    ],
)
def test_bad_files(tmp_path: Path, cluster: str, pods: str, told: str) -> None:
    (tmp_path / "c.yaml").write_text(cluster)
    (tmp_path / "p.yaml").write_text(pods)
    with pytest.raises(ManifestError) as error:
        load_cluster([tmp_path / "c.yaml"], [tmp_path / "p.yaml"])
    assert told in str(error.value)

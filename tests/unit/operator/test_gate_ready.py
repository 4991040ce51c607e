"""Whether the gate is shut, from answers as the API server gives them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from kfarm_operator.gate_ready import (
    MUTATING_POLICIES,
    VALIDATING_POLICIES,
    Answer,
    GateOpen,
    gate_faults,
    is_gated,
    policy_faults,
    refused_by,
    wait_for_gate,
)

GATE = {"name": "kfarm.dev/twin-validated"}


def refusal(policy: str) -> Answer:
    message = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request"
    return Answer(403, {"message": message})


class Server:
    """Answers dry runs as a shut gate does, but for one `leak`."""

    def __init__(self, leak: str = "") -> None:
        self.leak = leak
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, pod: Mapping[str, Any]) -> Answer:
        self.asked.append(pod)
        body = copy.deepcopy(dict(pod))
        spec = body["spec"]
        bare = any("key" not in toleration for toleration in spec.get("tolerations", ()))
        checks = {
            "nodeName": ("nodeName" in spec, "kfarm-gate-pods"),
            "label": ("labels" in body["metadata"], "kfarm-gate-pods"),
            "toleration": (bare, "kfarm-farm-entry"),
        }
        for name, (refused, policy) in checks.items():
            if refused:
                return Answer(201, body) if self.leak == name else refusal(policy)
        if self.leak == "refused":
            return Answer(500, {"message": "no etcd"})
        if self.leak != "gate":
            spec["schedulingGates"] = [GATE]
        if self.leak != "tolerated":
            spec["tolerations"] = [{"key": "kfarm.dev/farm", "operator": "Exists"}]
        return Answer(201, body)


def test_a_shut_gate_has_no_faults() -> None:
    server = Server()
    assert gate_faults(server, "ns", ["nvidia.com/gpu", "example.com/npu"]) == ()
    asked = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in server.asked]
    assert asked[:2] == [{"nvidia.com/gpu": "1"}, {"example.com/npu": "1"}]
    assert {pod["metadata"]["namespace"] for pod in server.asked} == {"ns"}


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("gate", "admitted without the gate"),
        ("tolerated", "admitted without a toleration"),
        ("refused", "was refused: no etcd"),
        ("nodeName", "kfarm-gate-pods did not refuse spec.nodeName (HTTP 201)"),
        ("label", "on a pod without accelerator"),
        ("toleration", "kfarm-farm-entry did not refuse a bare Exists"),
    ],
)
def test_every_leak_is_named(leak: str, said: str) -> None:
    (fault,) = gate_faults(Server(leak), "ns", ["nvidia.com/gpu"])
    assert said in fault


def test_a_policy_is_told_by_its_name() -> None:
    assert refused_by(refusal("kfarm-gate-pods"), "other", "kfarm-gate-pods")
    assert not refused_by(refusal("kfarm-gate-pods"), "kfarm-gate")
    assert not refused_by(Answer(404, {"message": "'kfarm-gate-pods'"}), "kfarm-gate-pods")
    assert not refused_by(Answer(403, {}), "kfarm-gate-pods")


def test_only_our_gate_counts() -> None:
    assert is_gated({"spec": {"schedulingGates": [{"name": "other"}, GATE]}})
    assert not is_gated({"spec": {"schedulingGates": [{"name": "other"}]}})
    assert not is_gated({"spec": {}})


def test_waiting_ends_as_soon_as_the_gate_is_shut() -> None:
    server, pauses = Server("gate"), []

    def pause() -> None:
        pauses.append(len(server.asked))
        if len(pauses) == 3:
            server.leak = ""

    wait_for_gate(server, "ns", ["nvidia.com/gpu"], pause=pause)
    assert len(pauses) == 3


def test_waiting_is_bounded_and_says_what_is_open() -> None:
    pauses = []
    with pytest.raises(GateOpen, match=r"namespace ns is open.*Remedy"):
        wait_for_gate(
            Server("gate"), "ns", ["nvidia.com/gpu"], pause=lambda: pauses.append(0), attempts=4
        )
    assert len(pauses) == 3


Lists = tuple[list[Any], list[Any], list[Any], list[Any]]


def installed() -> Lists:
    """All policies and bindings, as the chart has them."""

    def policy(name: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"failurePolicy": "Fail"}}

    def binding(name: str) -> dict[str, Any]:
        reference = {"selector": {}, "parameterNotFoundAction": "Deny"}
        spec = {"policyName": name, "paramRef": reference, "validationActions": ["Deny"]}
        return {"metadata": {"name": name}, "spec": spec}

    return (
        [policy(name) for name in MUTATING_POLICIES],
        [binding(name) for name in MUTATING_POLICIES],
        [policy(name) for name in VALIDATING_POLICIES],
        [binding(name) for name in VALIDATING_POLICIES],
    )


def test_policies_as_installed_have_no_faults() -> None:
    assert policy_faults(*installed()) == ()


@pytest.mark.parametrize(
    ("which", "weaken", "said"),
    [
        (0, lambda items: items.clear(), "is missing"),
        (1, lambda items: items.clear(), "has no binding"),
        (2, lambda items: items.pop(), "is missing"),
        (3, lambda items: items.pop(), "has no binding"),
        (0, lambda items: items[0]["spec"].update(failurePolicy="Ignore"), "fails open"),
        (2, lambda items: items[0]["spec"].update(failurePolicy="Ignore"), "fails open"),
        (3, lambda items: items[0]["spec"].update(matchResources={}), "was narrowed"),
        (3, lambda items: items[0]["spec"].update(policyName="x"), "was narrowed"),
        (3, lambda items: items[0]["spec"].update(validationActions=["Warn"]), "does not deny"),
        (1, lambda i: i[0]["spec"]["paramRef"].update(selector={"matchLabels": {"a": "b"}}), "out"),
        (3, lambda i: i[0]["spec"]["paramRef"].update(parameterNotFoundAction="Allow"), "leaves"),
    ],
)
def test_every_weakening_is_named(which: int, weaken: Any, said: str) -> None:
    lists = installed()
    weaken(lists[which])
    (fault,) = policy_faults(*lists)
    assert said in fault

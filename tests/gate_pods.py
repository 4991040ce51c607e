"""Pods and answers, as the suites of the gate need them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from kfarm_api.layout import LABEL_PLAN, LABEL_WORKLOAD, TAINT
from kfarm_operator.gate_ready import Answer, refused_by

GPU, NPU = "example.com/gpu", "example.com/npu"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
OPEN = {"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}
PLAN = {LABEL_PLAN: "pretrain", LABEL_WORKLOAD: "pretrain"}
Json = dict[str, Any]
Api = Callable[..., Answer]
_names = (f"pod-{n}" for n in itertools.count())


def container(name: str = "main", **resources: object) -> Json:
    return {"name": name, "image": "example", "resources": resources}


def pod(labels: Json | None = None, **spec: object) -> Json:
    """A pod without devices, unless `spec` says so."""
    metadata = {"name": next(_names), "labels": labels or {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container()], **spec},
    }


def device_pod(labels: Json | None = None, **spec: object) -> Json:
    return pod(labels, **({"containers": [container(limits={GPU: "8"})]} | spec))


def pods(namespace: str, name: str = "", query: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods{'/' if name else ''}{name}{query}"


def path_of(item: Json, query: str = "") -> str:
    return pods(item["metadata"]["namespace"], item["metadata"]["name"], query)


def refused(answer: Answer, policy: str) -> None:
    """Require a refusal by this policy, or by one of several divided by ``|``."""
    assert refused_by(answer, *policy.split("|")), (answer.status, answer.body.get("message"))


def allowed(answer: Answer) -> Json:
    assert answer.status < 300, answer.body.get("message")
    return dict(answer.body)


def gates(item: Json) -> list[str]:
    return [gate["name"] for gate in item["spec"].get("schedulingGates", ())]

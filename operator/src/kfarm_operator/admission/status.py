"""What kfarm writes to Kueue's objects: just our own fields. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfarm_operator.admission.decide import Answer
from kfarm_operator.admission.views import CheckView, Entry, WorkloadView
from kfarm_operator.conditions import shorten, timestamp

JSON = dict[str, Any]
POLICY = ("kfarm.dev", "ValidationPolicy")


def answer_body(
    workload: WorkloadView, entries: tuple[Entry, ...], answer: Answer, now: datetime
) -> JSON:
    """Our entries alone, with the Workload's uid and resourceVersion as preconditions."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "uid": workload.uid,
            "resourceVersion": workload.resource_version,
        },
        "status": {"admissionChecks": [_entry(entry, answer, now) for entry in entries]},
    }


def _entry(entry: Entry, answer: Answer, now: datetime) -> JSON:
    same = entry.state == answer.state and entry.since
    body: JSON = {
        "name": entry.name,
        "state": answer.state,
        "message": answer.message,
        "lastTransitionTime": entry.since if same else timestamp(now),
    }
    if answer.requeue_s is not None:
        body["requeueAfterSeconds"] = answer.requeue_s
    return body


def active_wanted(check: CheckView, policies: set[str]) -> tuple[str, str, str]:
    """Status, reason and message that the condition Active of a check of ours should have."""
    example = "spec.parameters: {apiGroup: kfarm.dev, kind: ValidationPolicy, name: …}"
    if check.parameters is None:
        return "False", "ParametersMissing", f"kfarm needs a policy to judge by; set {example}"
    group, kind, name = check.parameters
    if (group, kind) != POLICY:
        return (
            "False",
            "ParametersNotSupported",
            f"parameters name {kind} of {group}; kfarm takes {example}",
        )
    if name not in policies:
        return (
            "False",
            "PolicyNotFound",
            f"no ValidationPolicy named {name}; apply it or correct spec.parameters.name",
        )
    return "True", "Active", f"placements are judged by ValidationPolicy {name}"


def active_body(check: CheckView, wanted: tuple[str, str, str], now: datetime) -> JSON | None:
    """Our condition, for server-side apply; None where it stands as it should."""
    status, reason, message = wanted
    message = shorten(message)
    before = check.active
    if before is not None and before[:3] == (status, reason, message):
        return None
    since = before[3] if before is not None and before[0] == status else timestamp(now)
    condition = {
        "type": "Active",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": check.generation,
        "lastTransitionTime": since,
    }
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "AdmissionCheck",
        "metadata": {
            "name": check.name,
            "uid": check.uid,
            "resourceVersion": check.resource_version,
        },
        "status": {"conditions": [condition]},
    }

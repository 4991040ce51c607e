"""Whether the gate in the API server is shut, found out by dry runs and by reading its policies.

The API server needs a moment to load new policies and their parameters; until then it admits.
Nothing here talks to the network: callers hand in what does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfarm_api.layout import GATE, LABEL_PLAN, TAINT

MUTATING_POLICIES = ("kfarm-gate",)
VALIDATING_POLICIES = (
    "kfarm-farm-bindings",
    "kfarm-farm-entry",
    "kfarm-farm-entry-exempt",
    "kfarm-farm-nodes",
    "kfarm-farm-objects",
    "kfarm-farm-taint",
    "kfarm-gate-evictions",
    "kfarm-gate-namespaces",
    "kfarm-gate-pods",
    "kfarm-gate-release",
    "kfarm-gate-required",
    "kfarm-gate-verdicts",
    "kfarm-whatif-artifacts",
)
FORBIDDEN = 403


@dataclass(frozen=True)
class Answer:
    """What the API server said: HTTP status and decoded body (the object, or a Status)."""

    status: int
    body: Mapping[str, Any]


Create = Callable[[Mapping[str, Any]], Answer]
"""Creates the given Pod with ``dryRun=All`` and returns the answer, errors included."""


class GateOpen(RuntimeError):
    """The gate lets through what it has to hold."""


def refused_by(answer: Answer, *policies: str) -> bool:
    """Whether one of these policies refused; the API server names one of all that did."""
    message = str(answer.body.get("message", ""))
    return answer.status == FORBIDDEN and any(f"'{policy}'" in message for policy in policies)


def is_gated(pod: Mapping[str, Any]) -> bool:
    """Whether a pod carries our gate."""
    return any(gate["name"] == GATE for gate in pod["spec"].get("schedulingGates", ()))


def _probe(namespace: str, resource: str | None, **spec: object) -> dict[str, Any]:
    limits = {resource: "1"} if resource else {}
    container = {"name": "probe", "image": "probe", "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "kfarm-gate-probe-", "namespace": namespace},
        "spec": {"containers": [container], **spec},
    }


def _mutation_fault(answer: Answer, resource: str) -> str | None:
    if answer.status >= 300:
        return f"a dry-run pod with {resource} was refused: {answer.body.get('message')}"
    if not is_gated(answer.body):
        return f"a pod with {resource} was admitted without the gate {GATE}"
    if not any(t.get("key") == TAINT for t in answer.body["spec"].get("tolerations", ())):
        return f"a pod with {resource} was admitted without a toleration of {TAINT}"
    return None


def gate_faults(create: Create, namespace: str, resources: Sequence[str]) -> tuple[str, ...]:
    """What the gate lets through that it has to hold; empty when it is shut.

    Parameters
    ----------
    create
        Creates a Pod by dry run.
    namespace
        A namespace labelled ``kfarm.dev/enforce=true``.
    resources
        Resource names that must be gated, at least one of each profile that matters.
    """
    faults = [_mutation_fault(create(_probe(namespace, name)), name) for name in resources]
    labelled = _probe(namespace, None)
    labelled["metadata"]["labels"] = {LABEL_PLAN: "probe"}
    bare = _probe(namespace, None, tolerations=[{"operator": "Exists"}])
    probes = (
        (_probe(namespace, None, nodeName="probe"), "kfarm-gate-pods", "spec.nodeName"),
        (labelled, "kfarm-gate-pods", f"the label {LABEL_PLAN} on a pod without accelerator"),
        (bare, "kfarm-farm-entry", f"a bare Exists, which tolerates {TAINT}"),
    )
    for pod, policy, what in probes:
        answer = create(pod)
        if answer.status != FORBIDDEN:
            faults.append(f"{policy} did not refuse {what} (HTTP {answer.status})")
    return tuple(fault for fault in faults if fault)


def wait_for_gate(
    create: Create,
    namespace: str,
    resources: Sequence[str],
    *,
    pause: Callable[[], None],
    attempts: int = 300,
) -> None:
    """Return once the gate is shut.

    Parameters
    ----------
    create, namespace, resources
        As for `gate_faults`.
    pause
        Called between attempts, for example ``lambda: time.sleep(0.1)``.
    attempts
        How often to ask before giving up.

    Raises
    ------
    GateOpen
        If the gate is not shut after the last attempt.
    """
    faults: tuple[str, ...] = ()
    for attempt in range(attempts):
        if attempt:
            pause()
        faults = gate_faults(create, namespace, resources)
        if not faults:
            return
    raise GateOpen(
        f"the gate in namespace {namespace} is open: {'; '.join(faults)}. Remedy: install the "
        "chart's policies (helm upgrade --install) and see that the catalogue is not empty"
    )


def policy_faults(
    mutating: Sequence[Mapping[str, Any]],
    mutating_bindings: Sequence[Mapping[str, Any]],
    validating: Sequence[Mapping[str, Any]],
    validating_bindings: Sequence[Mapping[str, Any]],
) -> tuple[str, ...]:
    """What is missing or was weakened among the gate's policies; empty when all is well.

    Parameters
    ----------
    mutating, mutating_bindings, validating, validating_bindings
        The items of the four lists, as the API server gave them.
    """
    faults: list[str] = []
    for kind, names, policies, bindings in (
        ("MutatingAdmissionPolicy", MUTATING_POLICIES, mutating, mutating_bindings),
        ("ValidatingAdmissionPolicy", VALIDATING_POLICIES, validating, validating_bindings),
    ):
        found = {policy["metadata"]["name"]: policy["spec"] for policy in policies}
        bound = {binding["metadata"]["name"]: binding["spec"] for binding in bindings}
        for name in names:
            faults += _one_policy_faults(f"{kind} {name}", name, found.get(name), bound.get(name))
    return tuple(faults)


def _one_policy_faults(
    title: str, name: str, policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None
) -> list[str]:
    if policy is None or binding is None:
        part = "is missing" if policy is None else "has no binding"
        return [f"{title} {part}"]
    faults = []
    if policy.get("failurePolicy", "Fail") != "Fail":
        faults.append(f"{title} fails open")
    if binding.get("policyName") != name or "matchResources" in binding:
        faults.append(f"the binding of {title} was narrowed")
    if title.startswith("Validating") and "Deny" not in binding.get("validationActions", ()):
        faults.append(f"the binding of {title} does not deny")
    parameters = binding.get("paramRef", {})
    if parameters.get("selector", {}) or parameters.get("parameterNotFoundAction") == "Allow":
        faults.append(f"the binding of {title} leaves out profiles")
    return faults

"""The next step for a Workload, from what was found. Pure functions.

::

    no admission to keep ─▶ Withdraw its claims, or Leave
    an entry Pending ─▶ something wrong ─▶ Answer (Pending with a reason, Retry, Rejected)
                     ─▶ claimed under this digest ─▶ Answer Ready
                     ─▶ Simulate
    all Ready ─▶ claimed under this digest ─▶ Release pods that Kueue has placed
              ─▶ other nodes, or pods that wait ─▶ Simulate, or Answer Retry by policy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from kfarm_twin.request import Verdict

from kfarm_operator.admission.observe import Found
from kfarm_operator.admission.problems import Problem
from kfarm_operator.admission.views import Added, State
from kfarm_operator.plans.match import shape_mismatch
from kfarm_operator.views import PodView, Shape

TOPOLOGY_GATE = "kueue.x-k8s.io/topology"
LIMIT = 1024
"""Characters of a message; Kueue would take more, people not."""


@dataclass(frozen=True)
class Answer:
    """What our entries should say. Without `said` (a CamelCase reason) no Event is posted."""

    state: State
    reason: str
    message: str
    requeue_s: int | None = None


@dataclass(frozen=True)
class Outcome:
    """An answer that was found for a digest; kept until it is written."""

    digest: str
    answer: Answer
    found_at: datetime


@dataclass(frozen=True)
class Leave:
    """Nothing to do, until something changes or the time is up."""

    again_s: float | None = None


@dataclass(frozen=True)
class Withdraw:
    """The Workload holds nothing any more."""


@dataclass(frozen=True)
class Simulate:
    """Ask the twin about this placement."""

    why: str


@dataclass(frozen=True)
class Release:
    """Lift our gate from pods that Kueue has pinned; say of others what is amiss."""

    pods: tuple[PodView, ...]
    amiss: tuple[tuple[PodView, str, str], ...] = ()


Decision = Answer | Leave | Withdraw | Simulate | Release


def decide(found: Found, known: Outcome | None = None) -> Decision:
    """The next step; `known` is what was found out before and could not be written."""
    workload = found.workload
    if not workload.holds or not found.entries:
        return Withdraw() if found.claims else Leave()
    states = {entry.state for entry in found.entries}
    if states & {"Retry", "Rejected"}:
        return Leave()
    if "Pending" in states:
        return _unanswered(found, known)
    return _admitted(found, known)


def _unanswered(found: Found, known: Outcome | None) -> Decision:
    if any(policy is None for policy in found.policies):
        return _once(found, Answer("Pending", "PolicyNotFound", "the AdmissionCheck names no "
                     "ValidationPolicy that exists; see its condition Active"))  # fmt: skip
    if found.problem is not None:
        return _once(found, refusal(found, found.problem))
    if not found.pod_sets:
        return Answer("Ready", "NothingToValidate", "no pod requests an accelerator of a profile")
    if known is not None and known.digest == found.digest:
        if found.claimed or known.answer.state != "Ready":
            return known.answer
    elif found.claimed:
        return Answer("Ready", "Approved", "approved before; the nodes are claimed")
    return Simulate("quota is reserved")


def _once(found: Found, answer: Answer) -> Decision:
    """An answer that is written unless it stands there."""
    if answer.state == "Pending" and all(e.message == answer.message for e in found.entries):
        return Leave()
    return answer


def _admitted(found: Found, known: Outcome | None) -> Decision:
    """All our entries are Ready; watch what Kueue does behind them."""
    if found.problem is not None or not found.pod_sets:
        return Leave()
    if found.claimed:
        return _release(found)
    waiting = any(pod.gated and pod.live for pod in found.pods)
    if found.same_nodes and not waiting:
        return Leave()
    if not found.same_nodes and found.settings.on_replacement == "Retry":
        return Answer(
            "Retry",
            "Replaced",
            "Kueue replaced a node of this Workload; the policy asks for a new start "
            "(admission.onReplacement: Retry)",
            found.settings.retry_after_s,
        )
    if known is not None and known.digest == found.digest:
        return _after_replacement(found, known)
    return Simulate("the nodes changed" if not found.same_nodes else "specs or nodes changed")


def _after_replacement(found: Found, known: Outcome) -> Decision:
    """A replacement that was not approved: back to the queue, or ask again where undecided."""
    if known.answer.state == "Ready" or known.answer.reason not in UNDECIDED:
        return known.answer
    age = (found.now - known.found_at).total_seconds()
    left = found.settings.retry_after_s - age
    return Leave(left) if left > 0 else Simulate("the twin could not decide")


UNDECIDED = ("Inconclusive", "TwinFailed")


def refusal(found: Found, problem: Problem) -> Answer:
    """The answer to a placement that cannot be put to the twin."""
    if problem.cause == "Waiting":
        return Answer("Pending", problem.reason, problem.message[:LIMIT])
    after = found.settings.retry_after_s
    if problem.cause == "Place":
        return _retry(problem.reason, problem.message, after)
    return bounded(found, problem.reason, problem.message)


def _retry(reason: str, message: str, after: int) -> Answer:
    tail = f". Tried again in {after} s"
    return Answer("Retry", reason, f"{_cut(message, tail)}{tail}", after)


def bounded(found: Found, reason: str, message: str) -> Answer:
    """Retry as often as the policy allows, then Rejected."""
    tried = max(entry.retries for entry in found.entries)
    if tried < found.settings.retries:
        return _retry(reason, message, found.settings.retry_after_s)
    tail = f". Given up after {tried} retries; put it right and submit the job again"
    return Answer("Rejected", reason, f"{_cut(message, tail)}{tail}")


def _cut(message: str, tail: str) -> str:
    text = message.rstrip(". ")
    room = LIMIT - len(tail)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def judged(found: Found, verdict: Verdict, policy: str, empty: Verdict | None) -> Answer:
    """The answer to a verdict; `empty` is that on the empty farm, asked for where refused."""
    if verdict.verdict == "Approved":
        return Answer("Ready", "Approved", f"{verdict.message} (policy {policy})"[:LIMIT])
    why = f"policy {policy}: {verdict.message}"
    if verdict.verdict == "Inconclusive":
        return bounded(found, "Inconclusive", f"the twin cannot decide ({verdict.reason}). {why}")
    if empty is not None and empty.verdict == "Approved":
        return _retry(
            "NotNow",
            f"this placement does not hold beside what runs now, though an empty farm would hold "
            f"it. {why}",
            found.settings.retry_after_s,
        )
    if empty is not None and empty.verdict == "Rejected" and empty.reason != "Unplaceable":
        tail = ". Change the plan, the policy or the farm, then submit the job again"
        text = f"not even the empty farm would hold it. {why}"
        return Answer("Rejected", "NeverFits", f"{_cut(text, tail)}{tail}")
    return bounded(found, "Rejected", why)


def _release(found: Found) -> Decision:
    """Pods whose node Kueue has set, each within the number that was validated for its node."""
    if not found.workload.admitted or found.observed is None:
        return Leave()
    taken: dict[tuple[str, str], int] = {}
    for pod in found.pods:
        if pod.live and pod.released:
            seat = (pod.pod_set, pod.pinned or "")
            taken[seat] = taken.get(seat, 0) + 1
    good: list[PodView] = []
    amiss: list[tuple[PodView, str, str]] = []
    for pod in found.pods:
        if not pod.live or pod.deleting or not pod.gated or TOPOLOGY_GATE in pod.other_gates:
            continue
        fault = _amiss(found, pod, taken)
        if fault is None:
            seat = (pod.pod_set, pod.pinned or "")
            taken[seat] = taken.get(seat, 0) + 1
            good.append(pod)
        else:
            amiss.append((pod, *fault))
    return Release(tuple(good), tuple(amiss)) if good or amiss else Leave()


def _amiss(
    found: Found, pod: PodView, taken: Mapping[tuple[str, str], int]
) -> tuple[str, str] | None:
    """Why a pod stays gated: a reason and a sentence; None where it may go."""
    if pod.pinned is None:
        return "NotPlaced", "has no node selector kubernetes.io/hostname from Kueue"
    seat = (pod.pod_set, pod.pinned)
    if seat not in found.seats:
        return "NotValidated", f"is sent to node {pod.pinned}, which was not validated for it"
    if taken.get(seat, 0) >= found.seats[seat][1]:
        return "SurplusPod", f"is one more than the pods validated for node {pod.pinned}"
    workload = found.observed.workloads.get(pod.workload) if found.observed else None
    if workload is None or found.observed is None:
        return "PodDiffers", f"names workload {pod.workload!r}, which was not validated"
    declared = Added(
        frozenset(workload.node_selector.items()),
        frozenset((t.key, t.operator, t.value or "", t.effect or "") for t in workload.tolerations),
    )
    shape = without(pod.shape, found.added.get(pod.pod_set, Added()), declared)
    difference = shape_mismatch(shape, workload, found.observed.profiles)
    return None if difference is None else ("PodDiffers", difference)


def without(shape: Shape, added: Added, declared: Added) -> Shape:
    """A pod's shape less what Kueue adds, unless the plan declares it too."""
    return replace(
        shape,
        node_selector=tuple(
            pair
            for pair in shape.node_selector
            if pair in declared.node_labels or pair not in added.node_labels
        ),
        tolerations=tuple(
            sorted(
                {
                    toleration
                    for toleration in shape.tolerations
                    if toleration in declared.tolerations or toleration not in added.tolerations
                }
            )
        ),
    )

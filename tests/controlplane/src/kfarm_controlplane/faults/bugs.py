"""Bugs that operators of this kind really have, to be sown into ours: a harness that does not find
them again is worth nothing.

Each is applied to the operator's process before it starts, by name, and is found only by what it
does to the cluster: by the same oracle and under the same plans that the unchanged operator passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kfarm_controlplane.faults import bugs_drills, bugs_reading, bugs_writing
from kfarm_controlplane.faults.plans import Fault, FaultPlan, Learned
from kfarm_controlplane.faults.signature import Signature


@dataclass(frozen=True)
class Hint:
    """Which fault brings a bug to light; all places that it names are tried.

    Attributes
    ----------
    kind
        Of the fault; empty where the scenario alone shows the bug.
    verb, resource, says, name
        Of the write or event, empty for any; `says` is part of its fields.
    """

    kind: str = ""
    verb: str = ""
    resource: str = ""
    says: str = ""
    name: str = ""

    def places(self, known: Iterable[Signature]) -> list[Signature]:
        """Where it may strike."""
        return [
            s
            for s in known
            if self.verb in ("", s.verb)
            and s.resource == self.resource
            and self.says in s.fields
            and self.name in s.name
        ]


@dataclass(frozen=True)
class Bug:
    """A bug to sow: what is wrong, how it is sown, and the plans that should find it.

    Attributes
    ----------
    quiet_s
        For how long the end must be quiet, where that is what shows the bug.
    """

    what: str
    sow: Callable[[], None]
    scenario: str
    hints: tuple[Hint, ...] = (Hint(),)
    quiet_s: float = 1.0

    def plans(self, name: str, known: Learned) -> list[FaultPlan]:
        """Plans that should find it; with more than one hint each combines one place of each."""
        faults: list[tuple[Fault, ...]] = [()]
        for hint in self.hints:
            if hint.kind:
                places = hint.places(known.places(hint.kind))
                faults = [(*given, Fault(hint.kind, s)) for given in faults for s in places]
        return [FaultPlan(self.scenario, given, name) for given in faults]


def apply(name: str) -> None:
    """Sow a bug into this process.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    if name not in BUGS:
        raise ValueError(f"no bug {name!r}; there are {', '.join(BUGS)}")
    BUGS[name].sow()


_VERDICT = ("PATCH", "placementplans", "verdict=Approved")
_LIFT = ("PATCH", "pods", "spec.")
BUGS: dict[str, Bug] = {
    "created-only": Bug(
        "a plan counts as handled before its verdict is written, as with kopf.on.create",
        bugs_writing.created_only, "approved", (Hint("KillBefore", *_VERDICT),),
    ),
    "blind-status": Bug(
        "verdicts are written without uid and resourceVersion",
        bugs_writing.blind_status, "edited_mid_simulation",
        (Hint("DropEvent", "MODIFIED", "placementplans"),),
    ),
    "blind-release": Bug(
        "gates are lifted without uid and resourceVersion",
        bugs_writing.blind_release, "pod_recreated",
        (Hint("SilentStream", "", "pods", "gated,Pending,deleting", "b"),),
    ),
    "release-before-verdict": Bug(
        "pods are released, then the verdict is written",
        bugs_writing.release_before_verdict, "pod_recreated",
    ),
    "apply-then-record": Bug(
        "pods are released, then their slots are written down",
        bugs_writing.apply_then_record, "approved",
    ),
    "nan-passes": Bug(
        "an estimate that is no number counts as within its bound",
        bugs_reading.nan_passes, "rejected",
    ),
    "no-relist": Bug(
        "nothing is listed again, so that a lost event stays lost",
        bugs_reading.no_relist, "approved", (Hint("DropEvent", "ADDED", "pods"),),
    ),
    "conflict-is-done": Bug(
        "a conflict ends the work on a plan",
        bugs_writing.conflict_is_done, "approved", (Hint("Answer409", *_VERDICT),),
    ),
    "claim-by-belief": Bug(
        "nodes are claimed without compare-and-swap, by what was seen before the simulation",
        bugs_writing.claim_by_belief, "two_plans_race",
    ),
    "edit-unseen": Bug(
        "a verdict counts whatever generation it is about",
        bugs_reading.edit_unseen, "edited_after_approval",
    ),
    "pod-by-name": Bug(
        "slots know their pods by name instead of uid",
        bugs_reading.pod_by_name, "pod_recreated",
    ),
    "epoch-from-memory": Bug(
        "epochs are counted in memory, from 0 after a restart",
        bugs_reading.epoch_from_memory, "pod_recreated", (Hint("KillAfter", *_VERDICT),),
    ),
    "trusts-its-cache": Bug(
        "plans are read from the cache, and their status is written without preconditions",
        bugs_reading.trusts_its_cache, "edited_after_approval",
        (Hint("DropEvent", "MODIFIED", "placementplans"),),
    ),
    "evict-by-delete": Bug(
        "pods are deleted, past their disruption budgets, instead of evicted",
        bugs_writing.evict_by_delete, "node_lost_half_released",
    ),
    "claims-kept": Bug(
        "claims of plans that are gone are never collected",
        bugs_reading.claims_kept, "two_plans_race",
    ),
    "restless": Bug(
        "conditions get a new time whenever they are looked at",
        bugs_reading.restless, "approved", quiet_s=8.0,
    ),
    "gate-ignored": Bug(
        "pods are released while a policy of the gate is missing",
        bugs_reading.gate_ignored, "gate_opened",
    ),
    "finalizer-first": Bug(
        "a farm lets go of its finalizer before its nodes are deleted",
        bugs_writing.finalizer_first, "farm_deleted",
        (Hint("KillAfter", "PATCH", "gpufarms", "metadata.finalizers"),),
    ),
    "error-is-verdict": Bug(
        "an error of the API server becomes the verdict",
        bugs_writing.error_is_verdict, "approved", (Hint("Answer500", *_VERDICT),),
    ),
    "believes-it-lifted": Bug(
        "a pod counts as released before the API server said so",
        bugs_writing.believes_it_lifted, "approved", (Hint("Answer503", *_LIFT),),
    ),
    "touch-before-journal": Bug(
        "nodes are touched, then written down",
        bugs_drills.touch_before_journal, "drill_device_fault",
    ),
    "undo-blindly": Bug(
        "what was there before is set back, whatever is there now",
        bugs_drills.undo_blindly, "drill_edited_node",
    ),
    "undo-by-name": Bug(
        "a node of the same name is taken for the one that was touched",
        bugs_drills.undo_by_name, "drill_node_recreated",
    ),
    "end-too-late": Bug(
        "touched objects say an end long after the drill's",
        bugs_drills.end_too_late, "drill_aborted",
    ),
    "status-left": Bug(
        "conditions and allocatable are not taken back",
        bugs_drills.status_left, "drill_aborted",
    ),
    "lock-kept": Bug(
        "the lock of a cluster is never given back", bugs_drills.lock_kept, "drill_aborted",
    ),
    "lock-ignored": Bug(
        "drills begin whoever holds the lock",
        bugs_drills.lock_ignored, "drill_two_on_one_domain",
    ),
    "targets-redrawn": Bug(
        "targets are drawn again after a restart",
        bugs_drills.redrawn, "drill_aborted",
        (Hint("KillAfter", "PATCH", "failuredrills", "Applied=1"),),
    ),
    "health-ignored": Bug(
        "nobody looks at minHealthy", bugs_drills.health_ignored, "drill_refused",
    ),
    "done-before-it-is": Bug(
        "entries count as taken back before they are",
        bugs_drills.done_before_it_is, "drill_aborted",
        (Hint("KillAfter", "PATCH", "failuredrills", "Restored=1"),),
    ),
    "no-finalizer": Bug(
        "a drill is let go whatever it has touched",
        bugs_drills.no_finalizer, "drill_deleted",
    ),
    "stale-entry": Bug(
        "after a conflict the node is read again, but not the drill",
        bugs_drills.stale_entry, "drill_device_fault",
        (Hint("LeaderPaused", "PATCH", "nodes", "mark"),),
    ),
    "blind-touch": Bug(
        "nodes are written to without uid and resourceVersion",
        bugs_drills.blind_touch, "drill_device_fault",
        (Hint("LeaderPaused", "PATCH", "nodes", "mark"),),
    ),
    "sweeper-asks": Bug(
        "the sweeper waits until the drill says that it has ended",
        bugs_drills.sweeper_asks, "drill_ttl",
    ),
}  # fmt: skip

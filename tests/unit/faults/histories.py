"""Histories written by hand: a plan, its pods, its ledger, each version with its number."""

from __future__ import annotations

from typing import Any

from kfarm_controlplane.faults.history import Change, History, Version

Body = dict[str, Any]
SPACE, FARM = "p1", "f1"
GATE = [{"name": "kfarm.dev/twin-validated"}]
CHECK = {"metric": "nodes_down_max", "result": "Passed", "estimate": "0"}


class Story:
    """Collects versions; each gets the next number."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.add("Node", "f1-c-0000", {"status": {"allocatable": {"nvidia.com/gpu": "8"}}})
        self.add("Node", "f1-c-0001", {"status": {"allocatable": {"nvidia.com/gpu": "8"}}})

    def add(
        self, kind: str, name: str, body: Body, change: Change = "ADDED", *,
        uid: str = "", space: str = "", seen: float = 0.0, **meta: Any,
    ) -> Version:  # fmt: skip
        """One more version of an object."""
        number = len(self.versions) + 1
        found = {**body, "metadata": {"name": name, "uid": uid or f"{kind}-{name}", **meta}}
        made = Version(kind, space, name, uid or f"{kind}-{name}", number, change, found, seen)
        self.versions.append(made)
        return made

    def plan(
        self, status: Body | None = None, *, generation: int = 1, uid: str = "uid-1",
        name: str = "train", change: Change = "MODIFIED",
    ) -> Version:  # fmt: skip
        """A version of the plan."""
        body = {"status": status} if status else {}
        return self.add(
            "PlacementPlan", name, body, change, uid=uid, space=SPACE, generation=generation
        )

    def pod(
        self, name: str = "a", *, gated: bool = True, host: str = "", uid: str = "",
        change: Change = "MODIFIED", phase: str = "", workload: str = "", **status: Any,
    ) -> Version:  # fmt: skip
        """A version of a pod."""
        limits = {"limits": {"nvidia.com/gpu": "8"}}
        spec: Body = {"containers": [{"resources": limits}]}
        if gated:
            spec["schedulingGates"] = GATE
        if host:
            spec["nodeSelector"] = {"kubernetes.io/hostname": host}
        labels = {"kfarm.dev/placement-plan": "train"}
        notes = {"kueue.x-k8s.io/workload": workload} if workload else {}
        body = {"spec": spec, "status": {"phase": phase, **status}}
        return self.add(
            "Pod", name, body, change, uid=uid or f"pod-{name}", space=SPACE,
            labels=labels, annotations=notes,
        )  # fmt: skip

    def ledger(self, *claims: Body) -> Version:
        """A version of the ledger."""
        return self.add("NodeLedger", f"gpufarm.{FARM}", {"spec": {"claims": list(claims)}})

    @property
    def history(self) -> History:
        """All of it."""
        return History.of(self.versions)


def verdict(word: str = "Approved", *, epoch: int = 0, generation: int = 1, **more: Any) -> Body:
    """A status with a verdict."""
    checks = [CHECK] if word == "Approved" else []
    return {
        "verdict": word,
        "reason": "said",
        "epoch": epoch,
        "observedGeneration": generation,
        "checks": checks,
        "decidedAt": f"T{epoch}",
        "inputsDigest": f"D{epoch}",
        **more,
    }


def slots(*seats: tuple[str, str]) -> Body:
    """Placements of one workload: node and uid of the pod, empty for none."""
    given = [{"node": node, **({"podUid": uid} if uid else {})} for node, uid in seats]
    return {"placements": [{"workload": "w", "slots": given}]}


def claim(
    uid: str = "uid-1", *nodes: str, epoch: int = 0, generation: int = 1, plan: str = "train",
    accelerators: int = 8,
) -> Body:  # fmt: skip
    """A claim on whole nodes."""
    return {
        "namespace": SPACE,
        "plan": plan,
        "uid": uid,
        "epoch": epoch,
        "generation": generation,
        "nodes": [{"node": node, "accelerators": accelerators} for node in nodes],
    }


def told() -> Story:
    """Everything in order: a claim, a verdict, a slot written down, the release."""
    story = Story()
    story.plan(change="ADDED")
    story.pod(change="ADDED")
    story.ledger(claim("uid-1", "f1-c-0000"))
    story.plan(verdict(**slots(("f1-c-0000", ""))))
    story.plan(verdict(**slots(("f1-c-0000", "pod-a"))))
    story.pod(gated=False, host="f1-c-0000")
    return story

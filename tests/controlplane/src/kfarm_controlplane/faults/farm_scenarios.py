"""Stories of farms, devices and the gate itself, which change what all plans rest on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kfarm_controlplane.faults import bodies
from kfarm_controlplane.faults.acts import FARMS, PROFILES, Acts, Body
from kfarm_controlplane.faults.history import GATE_KINDS, RECORDED
from kfarm_controlplane.faults.invariants import OPEN_GATE_S
from kfarm_controlplane.faults.plan_scenarios import RACED, Base

if TYPE_CHECKING:
    from kfarm_controlplane.faults.stage import Stage


class FarmScaled(Base):
    """A farm grows, and then shrinks below what it was."""

    name = "farm_scaled"
    nodes = 3
    keeps_farm = False

    def play(self, stage: Stage) -> None:
        """Up to five, down to two."""
        acts = Acts(stage)
        acts.apply(bodies.farm(stage.farm, 5))
        stage.until(lambda: acts.farm_ready(5), "five nodes")
        acts.apply(bodies.farm(stage.farm, 2))

    def settled(self, stage: Stage) -> bool:
        """Two nodes are left."""
        acts = Acts(stage)
        return acts.farm_ready(2) and len(acts.farm_nodes()) == 2


class FarmDeleted(Base):
    """A farm is deleted with a plan on it that holds a claim."""

    name = "farm_deleted"
    nodes = 3
    keeps_farm = False

    def play(self, stage: Stage) -> None:
        """Delete the farm under an approved plan."""
        acts = Acts(stage)
        acts.plan(pods=2)
        stage.until(lambda: acts.verdict() == "Approved", "a verdict")
        acts.delete_shared(FARMS, stage.farm)

    def settled(self, stage: Stage) -> bool:
        """Neither farm nor nodes are left, and the plan says what it lacks."""
        acts = Acts(stage)
        gone = stage.client.get(FARMS, stage.farm) is None and not acts.farm_nodes()
        return gone and acts.condition("train", "Ready")[1] == "FarmNotFound"


class ProfileChanged(Base):
    """The device's data sheet is corrected between verdict and pods: validated again."""

    name = "profile_changed"
    masks = RACED
    keeps_farm = False

    def prepare(self, stage: Stage) -> None:
        """A profile of its own, as the catalogue has it."""
        profile = stage.client.get(PROFILES, "b200") or {"spec": {}}
        spec = profile["spec"]
        made = bodies.made("kfarm.dev/v1alpha1", "AcceleratorProfile", stage.farm, spec)
        Acts(stage).apply(made)
        super().prepare(stage)

    def farm(self, stage: Stage) -> Body:
        """A farm of the profile."""
        return bodies.farm(stage.farm, self.nodes, stage.farm)

    def play(self, stage: Stage) -> None:
        """Correct the profile, then create the pods."""
        acts = Acts(stage)
        acts.plan(pods=2, accelerators=[stage.farm])
        stage.until(lambda: acts.verdict() == "Approved", "a verdict")
        acts.patch(PROFILES, stage.farm, {"spec": {"power": {"idle": "151"}}})
        stage.until(lambda: acts.status().get("epoch", 0) >= 1, "another verdict")
        acts.pods("a", "b")

    def settled(self, stage: Stage) -> bool:
        """The gang is bound under a later verdict."""
        acts = Acts(stage)
        return acts.whole() and acts.status()["epoch"] >= 1

    def restore(self, stage: Stage) -> None:
        """Take the profile away."""
        Acts(stage).delete_shared(PROFILES, stage.farm)


class GateOpened(Base):
    """A binding of the gate is deleted: nothing is released until it is back.

    For all plays at once, so that no campaign draws it.
    """

    name = "gate_opened"
    sampled = False

    def play(self, stage: Stage) -> None:
        """Delete it in the middle of a simulation; put it back once the plan says what is amiss."""
        acts = Acts(stage)
        stage.door.shut()
        acts.plan(pods=2)
        acts.pods("a", "b")
        stage.until(stage.door.waiting, "a simulation")
        kind, body = _bindings(stage)[0]
        acts.delete_shared(RECORDED[kind], body["metadata"]["name"])
        gone = time.monotonic()
        try:
            stage.until(lambda: time.monotonic() > gone + OPEN_GATE_S + 0.5, "all looks to be old")
            stage.door.open()
            stage.until(lambda: _shut(acts) or acts.bound() == 2, "the operator to notice")
        finally:
            _put_back(acts, kind, body)

    def settled(self, stage: Stage) -> bool:
        """The gang is bound."""
        return Acts(stage).whole()


def _shut(acts: Acts) -> bool:
    return acts.condition("train", "Ready")[1] == "GateDegraded"


def _bindings(stage: Stage) -> list[tuple[str, Body]]:
    """The gate's validating bindings."""
    kind = GATE_KINDS[1]
    found = stage.client.items(RECORDED[kind])
    return [(kind, body) for body in found if "gate" in body["metadata"]["name"]]


def _there(stage: Stage, kind: str, body: Body) -> bool:
    return stage.client.get(RECORDED[kind], body["metadata"]["name"]) is not None


def _put_back(acts: Acts, kind: str, body: Body) -> None:
    meta = body["metadata"]
    kept = {name: meta[name] for name in ("name", "labels", "annotations") if name in meta}
    made = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": kept,
        "spec": body["spec"],
    }
    acts.create(RECORDED[kind], made)

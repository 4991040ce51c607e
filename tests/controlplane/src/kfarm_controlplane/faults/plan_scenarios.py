"""The users' stories that a campaign plays again and again, each with a fault.

Each ends in one state only, whatever was late or lost on the way; what is free in it, its masks
say. The acts wait for what the cluster shows, never for time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from kfarm_operator.client import PODS, Resource

from kfarm_controlplane.faults import bodies
from kfarm_controlplane.faults.acts import PLANS, POLICIES, Acts, Body
from kfarm_controlplane.faults.history import History
from kfarm_controlplane.faults.oracle import Masks

if TYPE_CHECKING:
    from kfarm_controlplane.faults.stage import Stage

_ACCOUNTS = Resource("", "v1", "serviceaccounts")


RACED = Masks(drop=frozenset({"epoch", "attempts", "worstFuture"}), uncounted=("verdicts ",))
"""Where a plan may be validated once more than undisturbed: it was refused because of a claim that
was about to be collected, or a pod was seen too late and its slot given to one that had gone."""


class Base:
    """A farm of a few nodes and an enforced namespace.

    Attributes
    ----------
    drills
        Whether an installation must allow drills.
    nodes
        Of the farm.
    keeps_farm
        Whether the farm is as it was when the play is over and its namespace gone.
    sampled
        Whether a campaign may draw it; else it is played where it is named.
    """

    name: ClassVar[str]
    roles: ClassVar[str] = "all"
    kueue: ClassVar[bool] = False
    drills: ClassVar[bool] = False
    nodes: ClassVar[int] = 4
    keeps_farm: ClassVar[bool] = True
    sampled: ClassVar[bool] = True
    masks: ClassVar[Masks] = Masks()

    def prepare(self, stage: Stage) -> None:
        """Make namespace, farm and policy, and wait for the nodes; once more changes nothing."""
        acts = Acts(stage)
        acts.apply(bodies.namespace(stage.namespace), bodies.policy(stage.farm))
        acts.apply(self.farm(stage))
        stage.until(lambda: acts.farm_ready(self.nodes), "the farm's nodes")
        stage.until(
            lambda: stage.client.get(_ACCOUNTS, "default", stage.namespace) is not None,
            "the namespace's account",
        )

    def farm(self, stage: Stage) -> Body:
        """The farm as it is before the play."""
        return bodies.farm(stage.farm, self.nodes)

    def restore(self, stage: Stage) -> None:
        """Put back what the play changed beside its namespace."""


class Approved(Base):
    """A plan is approved and its gang goes to the validated nodes."""

    name = "approved"

    def play(self, stage: Stage) -> None:
        """Apply plan and pods."""
        acts = Acts(stage)
        acts.plan(pods=2)
        acts.pods("a", "b")

    def settled(self, stage: Stage) -> bool:
        """All pods are bound and the plan says so."""
        return Acts(stage).whole()


class Rejected(Base):
    """A policy that the plan cannot keep; the pods stay gated."""

    name = "rejected"

    def prepare(self, stage: Stage) -> None:
        """With a strict policy of its own."""
        super().prepare(stage)
        Acts(stage).apply(bodies.policy(f"{stage.namespace}-strict", "it_power_peak", "1"))

    def play(self, stage: Stage) -> None:
        """Apply plan and pods."""
        acts = Acts(stage)
        acts.plan(pods=2, policy_name=f"{stage.namespace}-strict")
        acts.pods("a", "b")

    def settled(self, stage: Stage) -> bool:
        """The verdict stands."""
        acts = Acts(stage)
        return acts.verdict() == "Rejected" and len(acts.all_pods()) == 2

    def restore(self, stage: Stage) -> None:
        """Take the policy away."""
        Acts(stage).delete_shared(POLICIES, f"{stage.namespace}-strict")


class EditedMidSimulation(Base):
    """While two pods are simulated the plan comes to ask for more than the farm has."""

    name = "edited_mid_simulation"

    def play(self, stage: Stage) -> None:
        """Edit behind the door."""
        acts = Acts(stage)
        stage.door.shut()
        acts.plan(pods=2)
        acts.pods("a", "b")
        stage.until(stage.door.waiting, "a simulation")
        acts.plan(pods=9)
        stage.door.open()

    def settled(self, stage: Stage) -> bool:
        """The edited plan is rejected."""
        return Acts(stage).verdict() == "Rejected"


class EditedAfterApproval(Base):
    """An approved plan is edited before its pods are there; they are released under the edit."""

    name = "edited_after_approval"
    masks = RACED

    def play(self, stage: Stage) -> None:
        """Approve two whole nodes; ask for three; create the pods."""
        acts = Acts(stage)
        acts.plan(pods=2)
        stage.until(lambda: acts.verdict() == "Approved", "a verdict")
        stage.door.shut()
        acts.plan(pods=3)
        acts.pods("a", "b", "c")
        stage.until(lambda: stage.door.waiting() or acts.bound(), "another simulation")
        stage.door.open()

    def settled(self, stage: Stage) -> bool:
        """Three are bound under the second verdict."""
        acts = Acts(stage)
        return acts.whole() and acts.bound() == 3


class DeletedMidSimulation(Base):
    """A plan is deleted while it is simulated; another one gets the whole farm."""

    name = "deleted_mid_simulation"
    masks = RACED

    def play(self, stage: Stage) -> None:
        """Delete behind the door."""
        acts = Acts(stage)
        stage.door.shut()
        acts.plan(pods=2)
        acts.pods("a", "b")
        stage.until(stage.door.waiting, "a simulation")
        acts.delete(PLANS, "train")
        acts.plan("other", pods=4)
        stage.door.open()

    def settled(self, stage: Stage) -> bool:
        """The other plan is approved and holds the farm alone."""
        acts = Acts(stage)
        return acts.verdict("other") == "Approved" and acts.claimants() == ["other"]


class RecreatedSameName(Base):
    """While a plan is simulated it is deleted, and one of its name asks for too much."""

    name = "recreated_same_name"
    masks = RACED

    def play(self, stage: Stage) -> None:
        """Delete and create behind the door."""
        acts = Acts(stage)
        stage.door.shut()
        acts.plan(pods=2)
        acts.pods("a", "b")
        stage.until(stage.door.waiting, "a simulation")
        acts.delete(PLANS, "train")
        acts.plan(pods=9)
        stage.door.open()

    def settled(self, stage: Stage) -> bool:
        """The new plan is rejected, and the old one holds nothing."""
        acts = Acts(stage)
        return acts.verdict() == "Rejected" and not acts.claims()


class PodRecreated(Base):
    """A pod is deleted and one of its name created: first behind the gate, then when it runs."""

    name = "pod_recreated"
    masks = RACED

    def play(self, stage: Stage) -> None:
        """Replace a gated pod in the middle of a simulation, and a bound one afterwards."""
        acts = Acts(stage)
        stage.door.shut()
        acts.plan(pods=2)
        acts.pods("a", "b")
        stage.until(stage.door.waiting, "a simulation")
        self._replace(stage, acts)
        stage.door.open()
        stage.until(lambda: acts.bound() == 2, "the gang")
        self._replace(stage, acts)

    @staticmethod
    def _replace(stage: Stage, acts: Acts) -> None:
        acts.delete(PODS, "b")
        stage.until(lambda: acts.pod("b") is None, "the end of the pod")
        acts.pods("b")

    def settled(self, stage: Stage) -> bool:
        """Both are bound in a later epoch."""
        acts = Acts(stage)
        return acts.whole() and acts.bound() == 2 and acts.status()["epoch"] >= 1


class NodeLostHalfReleased(Base):
    """Two pods run and one is released but unbound when its node is lost: it is evicted."""

    name = "node_lost_half_released"
    masks = RACED

    def play(self, stage: Stage) -> None:
        """Fail the node of the pod that somebody else holds, and create it anew."""
        acts = Acts(stage)
        acts.plan(pods=3)
        acts.pods("a", "b")
        acts.pods("c", hold=True)
        stage.until(lambda: acts.bound() == 2 and acts.pinned("c"), "half a gang")
        lost = acts.pinned("c")
        acts.fail(lost)
        stage.until(lambda: acts.pod("c") is None, "the eviction")
        acts.pods("c")
        stage.until(lambda: acts.is_bound("c"), "the replacement")

    def settled(self, stage: Stage) -> bool:
        """The gang is whole in a later epoch."""
        acts = Acts(stage)
        return acts.whole() and acts.bound() == 3 and acts.status()["epoch"] >= 1

    def restore(self, stage: Stage) -> None:
        """Heal the node."""
        acts = Acts(stage)
        for node in acts.farm_nodes():
            acts.fail(node["metadata"]["name"], failed=False)
        names = [node["metadata"]["name"] for node in acts.farm_nodes()]
        stage.until(lambda: all(acts.node_ready(name) for name in names), "the nodes to be well")


def _winner(history: History) -> dict[str, str]:
    """Who was approved first."""
    approved = (
        v for v in history.of_kind("PlacementPlan") if v.status.get("verdict") == "Approved"
    )
    first = next(approved, None)
    if first is None:
        return {}
    other = {"first": "second", "second": "first"}[first.name]
    return {first.name: "winner", other: "loser"}


class TwoPlansRace(Base):
    """Two plans are simulated on the same free nodes; the loser's turn comes when the winner goes.

    How often the loser is asked about while it waits is left open.
    """

    name = "two_plans_race"
    masks = replace(RACED, nodes=True, roles=_winner)

    def play(self, stage: Stage) -> None:
        """Both behind the door; then the winner is deleted."""
        acts = Acts(stage)
        stage.door.shut()
        for name in ("first", "second"):
            acts.plan(name, pods=3)
            acts.pods(*(f"{name}-{n}" for n in range(3)), plan=name)
        stage.until(lambda: stage.door.waiting() >= 2, "two simulations")
        stage.door.open()
        told = {"Approved", "Rejected"}
        stage.until(lambda: {acts.verdict(n) for n in ("first", "second")} == told, "a winner")
        winner = next(n for n in ("first", "second") if acts.verdict(n) == "Approved")
        stage.until(lambda: acts.whole(winner), "the winner's gang")
        for number in range(3):
            acts.delete(PODS, f"{winner}-{number}")
        acts.delete(PLANS, winner)

    def settled(self, stage: Stage) -> bool:
        """Whoever is left is bound, and alone in the ledger."""
        acts = Acts(stage)
        return len(acts.claimants()) == 1 and acts.whole(acts.claimants()[0])


class FiftyPlans(Base):
    """Fifty small plans at once, on nodes that they have to share."""

    name = "fifty_plans"
    nodes = 8
    masks = replace(RACED, nodes=True)
    count: ClassVar[int] = 50

    def play(self, stage: Stage) -> None:
        """Apply them all."""
        acts = Acts(stage)
        for number in range(self.count):
            name = f"p{number:02}"
            acts.plan(name, pods=1, devices=1)
            acts.pods(name, plan=name, devices=1)

    def settled(self, stage: Stage) -> bool:
        """All are bound, and say so."""
        acts = Acts(stage)
        return acts.bound() == self.count and all(
            acts.whole(f"p{number:02}") for number in range(self.count)
        )

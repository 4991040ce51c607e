"""Stories of failure drills: whatever dies when, nothing of a drill is left in the end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from kfarm_api.drill_marks import CONSENT, LABEL_CONSENT, TAINT_DRILL
from kfarm_operator.client import NODES, ApiError, Resource, kfarm_resource

from kfarm_controlplane.faults import drill_bodies as bodies
from kfarm_controlplane.faults.acts import Acts, Body
from kfarm_controlplane.faults.drill_marks import BY_HAND, NODE_LEASES, holds_lease, marked
from kfarm_controlplane.faults.drill_residue import (
    Dumps,
    forget_recreated,
    keep_what_people_wrote,
    untouched,
)
from kfarm_controlplane.faults.history import History
from kfarm_controlplane.faults.oracle import Masks
from kfarm_controlplane.faults.plan_scenarios import Base

if TYPE_CHECKING:
    from kfarm_controlplane.faults.stage import Stage

DRILLS = kfarm_resource("failuredrills")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
_TWO_RACKS = 6
UNTIMED = Masks(nodes=True, edit=untouched)
TIMED = Masks(
    drop=frozenset({"journal", "touched", "faults", "verdict", "reason", "conditions", "targets"}),
    nodes=True, edit=untouched,
)  # fmt: skip
"""Where a fault lasts a second: an operator that was dead meanwhile may have missed it."""


class DrillActs(Acts):
    """Who drills, and who minds the nodes."""

    def drill(self, *faults: Body, name: str = "d", **more: object) -> None:
        """Apply an armed drill."""
        self.apply(bodies.drill(self.space, self.farm, name, *faults, **more))  # type: ignore[arg-type]

    def phase(self, name: str = "d") -> str:
        """Phase of a drill."""
        return str(self.drill_status(name).get("phase") or "")

    def drill_status(self, name: str = "d") -> Body:
        """Status of a drill; nothing of one that is gone."""
        body = self.client.get(DRILLS, name, self.space) or {}
        return dict(body.get("status") or {})

    def over(self, name: str = "d") -> bool:
        """Whether a drill says that it is over."""
        return self.phase(name) == "Completed"

    def touched(self) -> list[str]:
        """Nodes of the farm that a drill has its hand on, by node or Lease."""
        nodes = [n["metadata"]["name"] for n in self.farm_nodes() if marked(n)]
        leases = [b["metadata"]["name"] for b in self.node_leases() if holds_lease(b) or marked(b)]
        return sorted({*nodes, *leases})

    def applied(self, count: int = 1, name: str = "d") -> bool:
        """Whether so many entries of a drill's journal are done, or the drill is over."""
        states = [e["state"] for e in self.drill_status(name).get("journal") or ()]
        return self.over(name) or (len(states) >= count and "Planned" not in states)

    def node_leases(self) -> list[Body]:
        """Leases of the farm's nodes."""
        found = self.client.items(LEASES, fieldSelector=f"metadata.namespace={NODE_LEASES}")
        return [lease for lease in found if lease["metadata"]["name"].startswith(f"{self.farm}-")]

    def consent(self) -> None:
        """Allow drills on all nodes of the farm."""
        label = {"metadata": {"labels": {LABEL_CONSENT: CONSENT}}}
        for node in self.farm_nodes():
            if node["metadata"].get("labels", {}).get(LABEL_CONSENT) != CONSENT:
                self.patch(NODES, node["metadata"]["name"], label)

    def at_rest(self) -> bool:
        """Whether all nodes allow drills, are Ready, have a Lease and no taint of Kubernetes."""
        nodes = self.farm_nodes()
        held = {b["metadata"]["name"] for b in self.node_leases() if b["spec"].get("renewTime")}
        return held >= {n["metadata"]["name"] for n in nodes} and all(_rests(n) for n in nodes)

    def abort(self, name: str = "d") -> None:
        """Ask for the end of a drill."""
        self.patch(DRILLS, name, {"spec": {"abort": True}}, self.space)

    def rewrite_taints(self, node: str, value: str | None) -> bool:
        """Give the drill's taint another value, None to take it off; False on a conflict."""
        body = self.client.get(NODES, node) or {"metadata": {}, "spec": {}}
        taints = [dict(taint) for taint in body["spec"].get("taints") or ()]
        mine = [taint for taint in taints if taint["key"] == TAINT_DRILL]
        kept = [taint for taint in taints if taint["key"] != TAINT_DRILL]
        if not mine:
            return value is None
        version = {"resourceVersion": body["metadata"]["resourceVersion"]}
        news = [{**taint, "value": value} for taint in mine] if value is not None else []
        try:
            change = {"metadata": version, "spec": {"taints": [*kept, *news]}}
            self.client.patch(NODES, node, change)
        except ApiError as error:
            if not error.conflict:
                raise
            return False
        return True


def _rests(node: Body) -> bool:
    labels = node["metadata"].get("labels") or {}
    taints = [t["key"] for t in node["spec"].get("taints") or ()]
    kubernetes = [key for key in taints if key.startswith("node.kubernetes.io/")]
    # missed by the node controller though not tainted yet, as on a machine that is starved
    ready = {"type": "Ready", "status": "True"}
    conditions = (node.get("status") or {}).get("conditions") or ()
    sound = any(ready.items() <= one.items() for one in conditions)
    return labels.get(LABEL_CONSENT) == CONSENT and sound and not kubernetes and not marked(node)


class Drilled(Base):
    """Two racks that consent to drills, and a namespace that may hold them."""

    nodes = _TWO_RACKS
    drills = True
    masks = UNTIMED
    names: ClassVar[tuple[str, ...]] = ("d",)

    def prepare(self, stage: Stage) -> None:
        """Consent is given by people, here as there."""
        super().prepare(stage)
        acts = DrillActs(stage)
        acts.apply(bodies.consenting_namespace(stage.namespace))
        acts.consent()
        stage.until(acts.at_rest, "the nodes to rest")

    def settled(self, stage: Stage) -> bool:
        """The drills are over, and no node is touched."""
        acts = DrillActs(stage)
        return all(acts.over(name) for name in self.names) and not acts.touched()


class DrillNodeDown(Drilled):
    """A node plays dead for a second."""

    name = "drill_node_down"
    masks = TIMED

    def play(self, stage: Stage) -> None:
        """Apply the drill."""
        DrillActs(stage).drill(bodies.fault("NodeDown"))


class DrillDeviceFault(Drilled):
    """A device falls off the bus: condition, taint and allocatable."""

    name = "drill_device_fault"
    masks = TIMED

    def play(self, stage: Stage) -> None:
        """Apply the drill."""
        DrillActs(stage).drill(bodies.fault("DeviceFault"))


class DrillRack(Drilled):
    """A rack loses power."""

    name = "drill_rack"
    masks = TIMED

    def play(self, stage: Stage) -> None:
        """Apply the drill."""
        DrillActs(stage).drill(bodies.fault("RackPower"), nodes=4)


class DrillTwoFaults(Drilled):
    """A device fails while another node is down."""

    name = "drill_two_faults"
    masks = TIMED

    def play(self, stage: Stage) -> None:
        """Apply the drill; both faults last until the end."""
        down = bodies.fault("NodeDown", "down", duration="2s")
        device = bodies.fault("DeviceFault", "device", at="500ms", duration="1s")
        DrillActs(stage).drill(down, device, nodes=2, domains=2)


class DrillAborted(Drilled):
    """A long drill is aborted once it has done what it planned."""

    name = "drill_aborted"

    def play(self, stage: Stage) -> None:
        """Abort."""
        acts = DrillActs(stage)
        acts.drill(bodies.fault("DeviceFault", duration="4m"))
        stage.until(acts.applied, "the fault")
        acts.abort()


class DrillDeleted(Drilled):
    """A long drill is deleted; its finalizer stays until everything is taken back."""

    name = "drill_deleted"

    def play(self, stage: Stage) -> None:
        """Delete."""
        acts = DrillActs(stage)
        down = bodies.fault("NodeDown", "down", duration="4m")
        acts.drill(down, bodies.fault("DeviceFault", "device", duration="4m"), nodes=2, domains=2)
        stage.until(lambda: acts.applied(2), "the faults")
        acts.delete(DRILLS, "d")

    def settled(self, stage: Stage) -> bool:
        """The drill is gone, and no node is touched."""
        acts = DrillActs(stage)
        return stage.client.get(DRILLS, "d", stage.namespace) is None and not acts.touched()


class DrillEditedNode(Drilled):
    """Somebody changes a taint of the drill's meanwhile; what they wrote stays."""

    name = "drill_edited_node"
    masks = Masks(drop=frozenset({"taints"}), nodes=True, edit=keep_what_people_wrote)

    def play(self, stage: Stage) -> None:
        """Rewrite the taint, then abort."""
        acts = DrillActs(stage)
        acts.drill(bodies.fault("DeviceFault", duration="4m"))
        stage.until(acts.applied, "the fault")
        for node in acts.touched():
            stage.until(partial(acts.rewrite_taints, node, BY_HAND), "the edit")
        acts.abort()

    def restore(self, stage: Stage) -> None:
        """Take off what was written by hand."""
        acts = DrillActs(stage)
        for node in acts.farm_nodes():
            name = node["metadata"]["name"]
            stage.until(partial(acts.rewrite_taints, name, None), "the taint's end")


def _without_consent(history: History, before: Dumps) -> Dumps:
    return forget_recreated(history, before, (LABEL_CONSENT,))


class DrillNodeRecreated(Drilled):
    """A touched node is deleted and created anew; the new one is left alone."""

    name = "drill_node_recreated"
    masks = Masks(
        drop=frozenset({"labels"}), nodes=True, uncounted=("create Node", "delete Node"),
        edit=_without_consent,
    )  # fmt: skip

    def play(self, stage: Stage) -> None:
        """Delete the nodes that are touched, wait for new ones, abort."""
        acts = DrillActs(stage)
        acts.drill(bodies.fault("DeviceFault", duration="4m"))
        stage.until(acts.applied, "the fault")
        uids = {n["metadata"]["name"]: n["metadata"]["uid"] for n in acts.farm_nodes()}
        for node in acts.touched():
            acts.delete_shared(NODES, node)
            stage.until(partial(_is_new, acts, node, uids[node]), "the new node")
        acts.abort()


def _is_new(acts: Acts, name: str, uid: str) -> bool:
    node = acts.client.get(NODES, name)
    return node is not None and node["metadata"]["uid"] != uid and acts.node_ready(name)


class DrillsOnOneDomain(Drilled):
    """Two drills on different nodes of one cluster: one after the other."""

    name = "drill_two_on_one_domain"
    masks = TIMED
    names = ("d", "e")

    def play(self, stage: Stage) -> None:
        """Apply both at once."""
        acts = DrillActs(stage)
        for number, name in enumerate(self.names):
            selector = {"nodes": [f"{stage.farm}-c-{number:04}"]}
            acts.drill(bodies.fault("DeviceFault", duration="2s", selector=selector), name=name)


class DrillRefused(Drilled):
    """Too few nodes are healthy: nothing is touched."""

    name = "drill_refused"

    def prepare(self, stage: Stage) -> None:
        """Two nodes of six are not Ready."""
        super().prepare(stage)
        acts = DrillActs(stage)
        names = [node["metadata"]["name"] for node in acts.farm_nodes()[:2]]
        for name in names:
            acts.fail(name)
        stage.until(lambda: not any(map(acts.node_ready, names)), "two nodes to fail")
        stage.until(lambda: all(map(self._told, map(acts.node, names))), "their taints")

    @staticmethod
    def _told(node: Body) -> bool:
        taints = {f"{t['key']}:{t['effect']}" for t in node["spec"].get("taints") or ()}
        bad = "node.kubernetes.io/not-ready"
        return {f"{bad}:NoSchedule", f"{bad}:NoExecute"} <= taints

    def play(self, stage: Stage) -> None:
        """Ask for four of six; one more would leave three."""
        DrillActs(stage).drill(bodies.fault("DeviceFault"), healthy=60)

    def settled(self, stage: Stage) -> bool:
        """It waits, and says for what."""
        status = DrillActs(stage).drill_status()
        return (status.get("phase"), status.get("reason")) == ("Pending", "MinHealthy")

    def restore(self, stage: Stage) -> None:
        """Heal the nodes."""
        acts = DrillActs(stage)
        for node in acts.farm_nodes():
            acts.fail(node["metadata"]["name"], failed=False)
        names = [node["metadata"]["name"] for node in acts.farm_nodes()]
        stage.until(lambda: all(map(acts.node_ready, names)), "the nodes to be well")


class DrillTimeToLive(Drilled):
    """The operator is dead when the drill's time is up: the sweeper takes everything back alone."""

    name = "drill_ttl"
    masks = TIMED

    def play(self, stage: Stage) -> None:
        """Let the operator die and the sweeper work; then the operator comes back."""
        acts = DrillActs(stage)
        down = bodies.fault("NodeDown", "down", duration="8s")
        device = bodies.fault("DeviceFault", "device", duration="8s")
        acts.drill(down, device, nodes=2, domains=2, life="10s")
        stage.until(lambda: acts.applied(2), "the faults")
        stage.shift("sweeper")
        stage.until(lambda: not acts.touched(), "the sweeper", 60)
        stage.shift("all")

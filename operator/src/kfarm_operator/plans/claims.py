"""The ledger: nodes are claimed by compare-and-swap before a verdict is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from kfarm_api.ledger import Claim, NodeClaim, NodeLedger, ledger_name
from kfarm_api.plan import WorkloadPlacement

from kfarm_operator.client import JSON, ApiError, KubeClient, kfarm_resource
from kfarm_operator.index import Index, parse
from kfarm_operator.plans.observe import Observed, expired
from kfarm_operator.plans.request import find_survivors, offered, used_by_others

LEDGERS = kfarm_resource("nodeledgers")
MAX_RACES = 8
Seats = Mapping[tuple[str, str], Mapping[str, int]]
"""Accelerators by farm and node."""


class LostRace(Exception):
    """Another plan claimed a node meanwhile; simulate again."""


def seats_of(observed: Observed, placements: list[WorkloadPlacement]) -> Seats:
    """Accelerators that placements take, by farm and node; every farm of the plan has an entry."""
    seats: dict[tuple[str, str], dict[str, int]] = {farm: {} for farm in observed.farms}
    for placement in placements:
        size = observed.workloads[placement.workload].accelerators_per_pod
        for slot in placement.slots:
            node = observed.nodes.get(slot.node)
            if node is None:
                raise LostRace(f"node {slot.node} is gone")
            on_farm = seats[node.farm]
            on_farm[node.name] = on_farm.get(node.name, 0) + size
    return seats


def merged(
    claims: list[Claim], mine: Claim, room: Callable[[str], int], now: datetime
) -> list[Claim]:
    """All claims with `mine` in place of the plan's earlier one; expired ones fall away.

    Parameters
    ----------
    room
        Accelerators of a node that pods of other plans and other claims leave.

    Raises
    ------
    LostRace
        When a node no longer has room for what `mine` asks.
    """
    kept = [c for c in claims if c.uid != mine.uid and not expired(c.expires_at, now)]
    for wanted in mine.nodes:
        if room(wanted.node) < wanted.accelerators:
            raise LostRace(f"node {wanted.node} was claimed by another plan")
    return [*kept, mine] if mine.nodes else kept


class Ledgers:
    """Reads and writes the ledgers of farms."""

    def __init__(self, client: KubeClient, index: Index) -> None:
        self._client = client
        self._index = index

    def claim(
        self,
        observe_again: Callable[[], Observed],
        seats: Seats,
        *,
        epoch: int,
        digest: str,
        expires_at: str,
    ) -> None:
        """Claim seats on every farm, each by compare-and-swap.

        `observe_again` is asked after each fresh read of a ledger, so that room is counted with
        the claims that stand there now.

        Raises
        ------
        LostRace
            When another plan was first.
        """
        for farm, nodes in seats.items():
            self._swap(observe_again, farm, nodes, epoch, digest, expires_at)

    def withdraw(self, uid: str, farms: list[tuple[str, str]]) -> None:
        """Drop the claims of a plan, where there are any."""
        for farm in farms:
            for _ in range(MAX_RACES):
                body, ledger = self._read(farm)
                if ledger is None or all(claim.uid != uid for claim in ledger.spec.claims):
                    break
                kept = [claim for claim in ledger.spec.claims if claim.uid != uid]
                if self._write(farm, body, kept):
                    break

    def _swap(
        self,
        observe_again: Callable[[], Observed],
        farm: tuple[str, str],
        nodes: Mapping[str, int],
        epoch: int,
        digest: str,
        expires_at: str,
    ) -> None:
        for _ in range(MAX_RACES):
            body, ledger = self._read(farm)
            observed = observe_again()
            claims = ledger.spec.claims if ledger else []
            plan = observed.plan.metadata
            mine = Claim(
                namespace=plan.namespace or "",
                plan=plan.name,
                uid=plan.uid or "",
                generation=plan.generation,
                epoch=epoch,
                digest=digest,
                expires_at=expires_at,
                workload=observed.workload,
                nodes=[NodeClaim(node=n, accelerators=a) for n, a in sorted(nodes.items())],
            )
            if not mine.nodes and all(claim.uid != mine.uid for claim in claims):
                return
            if self._write(farm, body, merged(claims, mine, _room(observed), observed.now)):
                return
        raise LostRace(f"the ledger of {farm[0]} {farm[1]} is contended")

    def _read(self, farm: tuple[str, str]) -> tuple[JSON | None, NodeLedger | None]:
        body = self._client.get(LEDGERS, ledger_name(*farm))
        if body is None:
            return None, None
        self._index.put(body)
        ledger = parse(body)
        if not isinstance(ledger, NodeLedger):
            raise TypeError(f"{ledger_name(*farm)} is not a NodeLedger")
        return body, ledger

    def _write(self, farm: tuple[str, str], body: JSON | None, claims: list[Claim]) -> bool:
        spec = {"claims": [claim.as_manifest() for claim in claims]}
        name = ledger_name(*farm)
        try:
            if body is None:
                new: JSON = {"apiVersion": "kfarm.dev/v1alpha1", "kind": "NodeLedger"}
                answer = self._client.create(
                    LEDGERS, {**new, "metadata": {"name": name}, "spec": spec}
                )
            else:
                meta = body["metadata"]
                precondition = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
                answer = self._client.patch(LEDGERS, name, {"metadata": precondition, "spec": spec})
        except ApiError as error:
            if error.conflict or error.not_found:
                return False
            raise
        self._index.put(answer)
        return True


def _room(observed: Observed) -> Callable[[str], int]:
    used = used_by_others(observed, find_survivors(observed))

    def room(name: str) -> int:
        node = observed.nodes.get(name)
        if node is None:
            return 0
        return offered(observed, node) - used.get(name, 0)

    return room

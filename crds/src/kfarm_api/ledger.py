"""NodeLedger: who has claimed which nodes of a farm. Written by compare-and-swap only."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import Conditions, KindInfo, Metadata, Name, ObjectName, Strict


class NodeClaim(Strict):
    """Accelerators claimed on one node."""

    node: Annotated[str, Field(max_length=253)]
    accelerators: Annotated[int, Field(ge=1, le=128)]


class Claim(Strict):
    """What one plan holds of one farm.

    With `workload` it is what a Kueue Workload of that name holds, whose uid it carries; such a
    claim stands as long as the Workload keeps its admission.
    """

    namespace: ObjectName
    plan: ObjectName
    uid: Annotated[str, Field(max_length=64)]
    generation: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(max_length=80)]
    expires_at: Annotated[str, Field(max_length=40)]
    workload: Annotated[str, Field(max_length=253)] | None = None
    nodes: Annotated[list[NodeClaim], Field(max_length=16384)]


class NodeLedgerSpec(Strict):
    """All claims on one farm."""

    claims: Annotated[list[Claim], Field(max_length=4096)] = Field(default_factory=list)


class NodeLedgerStatus(Strict):
    """Nothing beside conditions; the ledger is its spec."""

    conditions: Conditions = Field(default_factory=list)


class NodeLedger(Strict):
    """The claims on one farm; named ``<kind in lower case>.<farm name>``."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="nodeledgers",
        short="nledger",
        scope="Cluster",
        columns=(),
        summary="the claims on a farm's nodes",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["NodeLedger"] = "NodeLedger"
    metadata: Metadata
    spec: NodeLedgerSpec
    status: NodeLedgerStatus | None = None


def ledger_name(farm_kind: str, farm: Name) -> str:
    """Name of the ledger of a farm."""
    return f"{farm_kind.lower()}.{farm}"

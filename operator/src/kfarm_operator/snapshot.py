"""``kfarm snapshot`` on a cluster: what the operator would put to the twin, read once.

Registered under the entry point group ``kfarm.snapshot`` of `kfarm_twin.cli_snapshot`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfarm_api.base import Metadata, Reference
from kfarm_api.plan import PlacementPlan, PlacementPlanSpec
from kfarm_api.snapshot import FarmSnapshot

from kfarm_operator.client import NODES, PODS, ApiError, KubeClient, kfarm_resource
from kfarm_operator.index import GATE_KINDS, Index
from kfarm_operator.plans.decide import next_epoch
from kfarm_operator.plans.observe import Observed, observe
from kfarm_operator.plans.remaining import foresee
from kfarm_operator.plans.request import build_snapshot, find_survivors
from kfarm_operator.views import (
    FOREIGN_PODS,
    OUR_NODES,
    PLANNED_PODS,
    PodView,
    node_view,
    pod_view,
)


def export(kubeconfig: str | Path | None, context: str | None, plan: str | None) -> dict[str, Any]:
    """The FarmSnapshot of a cluster, as a manifest.

    Parameters
    ----------
    kubeconfig
        None for the usual places: ``$KUBECONFIG``, ``~/.kube/config``, the pod's own account.
    plan
        ``namespace/name``: the farms of this plan as it would see them. Its own claim does not
        count as used; its pods that hold a place and match it are survivors; the epoch is that of
        its verdict, or the next one where the plan was edited since. So the inputs digest equals
        ``status.inputsDigest`` as long as nothing changed since the verdict. Once pods of the plan
        were released *after* the verdict, they are survivors here and were none then: what comes
        out is the question of the next epoch, under the number of the present one. None for all
        farms as a plan without pods and claims would see them.

    Raises
    ------
    LookupError
        When the plan or one of its farms does not exist.
    OSError
        When the kubeconfig is wrong or the cluster cannot be asked.
    ValueError
        When `plan` is not ``namespace/name``.
    """
    try:
        client = KubeClient.connect(_kubeconfig(kubeconfig), context)
        try:
            state = _snapshot(client, plan)
        finally:
            client.close()
    except ApiError as error:
        raise OSError(
            f"{error.message}; check --kubeconfig and --context; reading takes get and list on "
            "kfarm.dev objects, nodes and pods"
        ) from error
    return state.as_manifest()


def _kubeconfig(given: str | Path | None) -> Path | None:
    """The file to read; None when there is none, that is inside a pod."""
    if given is not None:
        return Path(given)
    usual = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    there = any(Path(part).exists() for part in usual.split(os.pathsep) if part)
    return Path(usual) if there else None


def _snapshot(client: KubeClient, plan: str | None) -> FarmSnapshot:
    index = _read_kinds(client)
    if plan is None:
        return build_snapshot(_observe(client, index, _onlooker(index)), {}, 0)
    wanted = _find(index, plan)
    observed = _observe(client, index, wanted)
    for (kind, name), farm in observed.farms.items():
        if farm is None:
            raise LookupError(f"no {kind} named {name!r}; apply it or correct spec.farms of {plan}")
    return build_snapshot(observed, find_survivors(observed), _epoch(wanted))


def _read_kinds(client: KubeClient) -> Index:
    index = Index()
    for kind in GATE_KINDS:
        for body in client.items(kfarm_resource(kind.info.plural)):
            index.put({**body, "kind": kind.__name__, "apiVersion": "kfarm.dev/v1alpha1"})
    return index


def _observe(client: KubeClient, index: Index, plan: PlacementPlan) -> Observed:
    pods: dict[str, PodView] = {}
    for query in (PLANNED_PODS, FOREIGN_PODS):
        for body in client.items(PODS, **query):
            pods[body["metadata"]["uid"]] = pod_view(body)
    nodes = [node_view(body) for body in client.items(NODES, **OUR_NODES)]
    seen = observe(plan, index, nodes, pods.values(), datetime.now(UTC))
    return foresee(seen, index, pods.values())


def _find(index: Index, plan: str) -> PlacementPlan:
    namespace, slash, name = plan.partition("/")
    if not (namespace and slash and name):
        raise ValueError(f"plan {plan!r}: give it as namespace/name")
    found = index.plan(namespace, name)
    if found is None:
        plans = (f"{p.metadata.namespace}/{p.metadata.name}" for p in index.all(PlacementPlan))
        known = ", ".join(sorted(plans)) or "none"
        raise LookupError(f"no PlacementPlan {plan!r} in the cluster; there: {known}")
    return found


def _epoch(plan: PlacementPlan) -> int:
    """That of the verdict on the plan as it is; else the one in which it will be given."""
    status = plan.status
    current = status is not None and status.observed_generation == plan.metadata.generation
    if status is None or status.epoch is None or not current:
        return next_epoch(status)
    return status.epoch


def _onlooker(index: Index) -> PlacementPlan:
    """A plan on all farms that owns nothing; no pod names it, since pods have a namespace."""
    farms = [Reference(kind=farm.kind, name=farm.metadata.name) for farm in index.farms()]
    spec = PlacementPlanSpec.model_construct(policy="", farms=farms, workloads=[])
    return PlacementPlan.model_construct(metadata=Metadata(name="onlooker"), spec=spec, status=None)

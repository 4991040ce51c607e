"""Whether a pod may still go to the node that was validated for it. Pure functions."""

from __future__ import annotations

from kfarm_operator.plans.observe import Observed, SlotView


def footing(observed: Observed, name: str | None, fingerprint: str | None) -> str | None:
    """What is wrong with a node that a pod should go to, or None."""
    node = observed.nodes.get(name or "")
    if node is None:
        return f"node {name} is gone"
    if not node.ready:
        return f"node {name} is not Ready"
    if not node.schedulable:
        return f"node {name} does not take pods"
    if fingerprint is not None and node.fingerprint != fingerprint:
        return f"node {name} changed (identity, labels, taints or allocatable)"
    return None


def unselected(observed: Observed, view: SlotView) -> str | None:
    """Whether the node lost a label that the workload selects; the fingerprint has only ours."""
    workload = observed.workloads.get(view.workload)
    labels = observed.nodes[view.slot.node].labels
    for key, value in workload.node_selector.items() if workload else ():
        if labels.get(key) != value:
            return f"node {view.slot.node} no longer carries the label {key}={value}"
    return None

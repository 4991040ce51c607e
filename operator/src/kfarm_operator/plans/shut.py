"""No release while the gate itself is open. Pure."""

from __future__ import annotations

from kfarm_operator.plans.decide import Assign, Decision, Release, Report
from kfarm_operator.plans.observe import Observed

REASON = "GateDegraded"


def while_shut(observed: Observed, step: Decision) -> Decision:
    """Let no pod in while others may enter unvalidated: that would void what was validated.

    Verdicts are still given, and pods that lost their place are still evicted.
    """
    if not observed.gate_faults or not isinstance(step, Assign | Release):
        return step
    faults = "; ".join(observed.gate_faults)
    return Report(
        REASON,
        f"nothing is released while the gate is open: {faults}; remedy: helm upgrade --install "
        "restores the chart's policies",
    )

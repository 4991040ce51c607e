"""No release while the gate itself is open. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kfarm_operator.plans.decide import Assign, Decision, Release, Report

REASON = "GateDegraded"


def while_shut(step: Decision, faults: Sequence[str]) -> Decision:
    """Let no pod in while others may enter unvalidated: that would void what was validated.

    Verdicts are still given, and pods that lost their place are still evicted.

    Parameters
    ----------
    faults
        What is amiss with the gate's own policies.
    """
    if not faults or not isinstance(step, Assign | Release):
        return step
    return Report(
        REASON,
        f"nothing is released while the gate is open: {'; '.join(faults)}; remedy: helm upgrade "
        "--install restores the chart's policies",
    )

"""How kfarm answers Kueue: part of a ValidationPolicy that an AdmissionCheck names."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import Cel, Strict
from kfarm_api.units import Duration, parse_duration_ns

MAX_RETRY_NS = 24 * 3600 * 10**9


class Admission(Strict):
    """What happens to a Kueue Workload whose placement is not approved.

    It goes back to its queue for `retryAfter`. Where the reason lies with the plan, or the twin
    cannot decide, it is tried `retries` times more and then deactivated. `onReplacement` says what
    follows when Kueue replaces a failed node of an admitted Workload: the new placement is
    simulated and the replacement released if it holds, or the whole Workload goes back to its
    queue.
    """

    retry_after: Duration = "60s"
    retries: Annotated[int, Field(ge=0, le=1000)] = 5
    on_replacement: Literal["Simulate", "Retry"] = "Simulate"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.retryAfter) || (duration(self.retryAfter) >= duration('1s')"
            " && duration(self.retryAfter) <= duration('24h'))",
            "admission.retryAfter must lie between 1s and 24h",
            lambda a: 10**9 <= parse_duration_ns(a.retry_after) <= MAX_RETRY_NS,
        ),
    )

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, as Kueue takes them; rounded up."""
        return -(-parse_duration_ns(self.retry_after) // 10**9)

"""Whether the operator still hears and answers, part by part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Name = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """How one part does.

    Attributes
    ----------
    part
        Short name, as in the metric ``kfarm_healthy``.
    good
        Whether the part works.
    detail
        A sentence with figures.
    """

    part: str
    good: bool
    detail: str


def fresh(part: str, what: str, age_s: float, bound_s: float) -> Finding:
    """Good while the last sign of life is no older than its bound."""
    detail = f"{what} {age_s:.1f} s ago; at most {bound_s:g} s"
    return Finding(part, age_s <= bound_s, detail)


def report(findings: Iterable[Finding]) -> str:
    """All parts, a line each, in the form of Kubernetes' own verbose probes."""
    return "".join(
        f"[{'+' if finding.good else '-'}]{finding.part} {finding.detail}\n" for finding in findings
    )


class Hearing:
    """Finds out that a watch has gone deaf, by lists that show what it did not bring.

    kopf gives no sign of life of its watches; but a change that one of our lists showed must come
    through the watch as well. As long as nothing changes, a deaf watch does no harm.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, dict[Name, int]] = {}
        self._behind: dict[str, dict[Name, tuple[int, float]]] = {}
        self.events: dict[str, int] = {}
        self.missed: dict[str, int] = {}

    def event(self, kind: str, name: Name, version: int, *, deleted: bool = False) -> None:
        """Take note that the watch brought an object in a version."""
        with self._lock:
            self.events[kind] = self.events.get(kind, 0) + 1
            heard = self._heard.setdefault(kind, {})
            heard[name] = max(version, heard.get(name, 0))
            behind = self._behind.setdefault(kind, {})
            if behind.get(name, (0, 0.0))[0] <= version:
                behind.pop(name, None)
            if deleted:
                heard.pop(name, None)
                behind.pop(name, None)

    def listed(self, kind: str, versions: Mapping[Name, int]) -> None:
        """Compare a complete list with what the watch has brought."""
        now = self._clock()
        with self._lock:
            heard = self._heard.setdefault(kind, {})
            behind = self._behind.setdefault(kind, {})
            for name, version in versions.items():
                if heard.get(name, -1) >= version:
                    behind.pop(name, None)
                    continue
                known = behind.get(name)
                if known is not None and known[0] > heard.get(name, -1):
                    self.missed[kind] = self.missed.get(kind, 0) + 1
                behind[name] = (version, known[1] if known else now)
            for gone in [name for name in heard if name not in versions]:
                del heard[gone]
            for gone in [name for name in behind if name not in versions]:
                del behind[gone]

    def behind_s(self, kind: str) -> float:
        """For how long the watch has owed a change [s]; 0 when it owes none."""
        with self._lock:
            since = [moment for _, moment in self._behind.get(kind, {}).values()]
        return max(0.0, self._clock() - min(since)) if since else 0.0

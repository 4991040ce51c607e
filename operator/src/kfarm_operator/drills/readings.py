"""What the metrics read off the drills when they are scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.views import DrillView
from kfarm_operator.instruments import Sample


def drill_samples(drills: Sequence[DrillView], now: datetime) -> Iterable[Sample]:
    """Drills by phase and verdict, what they have not taken back, and how long that is overdue."""
    phases = Counter(drill.phase or "Pending" for drill in drills)
    for phase, count in sorted(phases.items()):
        yield "kfarm_drills", (phase,), float(count)
    verdicts = Counter(drill.verdict for drill in drills if drill.verdict)
    for verdict, count in sorted(verdicts.items()):
        yield "kfarm_drill_verdicts", (verdict,), float(count)
    yield "kfarm_drill_injected", (), float(sum(drill.open_entries for drill in drills))
    left = [d.open_entries for d in drills if d.phase == "Completed"]
    yield "kfarm_drill_residue", (), float(sum(left))
    yield "kfarm_drill_overdue_seconds", (), max((_overdue(d, now) for d in drills), default=0.0)


def _overdue(drill: DrillView, now: datetime) -> float:
    """How long after its time to live a drill has something that is not taken back [s]."""
    if not drill.open_entries or not drill.until:
        return 0.0
    try:
        until = read_moment(drill.until)
    except ValueError:
        return 0.0
    return max(0.0, (now - until).total_seconds())

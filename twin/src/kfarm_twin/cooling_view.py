"""From a row of the N-1 study to a row of the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kfarm_api.policy import Fault

from kfarm_twin.cooling_text import SHUTS_DOWN, THROTTLES, count, instances, left, state
from kfarm_twin.figures import brief_span, digits
from kfarm_twin.pictures.faults import FaultRow, State

if TYPE_CHECKING:
    from kfarm_twin.cooling import CoolingRow

FAULT_NAMES: dict[Fault, str] = {
    "CduPump": "CDU pump",
    "Cdu": "CDU, all its pumps",
    "Crah": "Air handler",
    "Chiller": "Chiller",
    "Plant": "Plant, all chillers",
    "Feed": "Power feed",
}


def fault_state(row: CoolingRow) -> State:
    """The state of a row, as the picture colours it."""
    word = state(row)
    return "ShutsDown" if word == SHUTS_DOWN else "Throttles" if word == THROTTLES else "Holds"


def fault_row(row: CoolingRow, farm: str = "") -> FaultRow:
    """What the table says of equal faults; `farm` is left out before names of its parts."""
    prefix = f"{farm}-" if farm else ""
    back = "" if row.back_s is None else f", back after {brief_span(row.back_s)}"
    dark = f"{count(row.dark, 'node loses its feed', 'nodes lose their feed')}"
    return FaultRow(
        fault=FAULT_NAMES.get(row.fault, row.fault),
        where=instances(row).removeprefix(prefix),
        redundancy=f"{left(row)}{back}",
        state=fault_state(row),
        throttle_s=row.throttle_s,
        shutdown_s=0.0 if row.dark else row.shutdown_s,
        hottest_c=row.hottest_c,
        headroom_k=row.headroom_k,
        throttle_c=row.throttle_c,
        shutdown_c=row.shutdown_c,
        binds=row.rack.removeprefix(prefix),
        at=f"{'loop' if row.liquid else 'air of'} {row.zone.removeprefix(prefix)}",
        slowed=f"{digits(float(f'{100 * row.throttled:.3g}'))} % of accelerators"
        if row.throttled > 0.0
        else "",
        off=dark if row.dark else count(row.down, "node", "nodes") if row.down else "",
        curve=tuple((time, hot) for time, hot, _, _ in row.curve),
    )


def together(rows: Iterable[CoolingRow]) -> list[CoolingRow]:
    """Rows that come to the same as one, with the instances of all; the worst tells the figures."""
    groups: dict[Any, list[CoolingRow]] = {}
    for row in rows:
        groups.setdefault(row.outcome, []).append(row)
    found = []
    for group in groups.values():
        labels = tuple(label for row in group for label in row.instances)
        worst = min(group, key=lambda row: row.severity)
        found.append(replace(worst, instances=labels))
    return found

"""Energy and heat by the hour, for what the facility draws beside its nodes."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import NOW, Floats, State
from kfarm_twin.kernels.heat_columns import HEAT_MW
from kfarm_twin.kernels.power import KILO

HOUR_NS = 3_600_000_000_000
NS = 1e-9


@inner
def book_hours(state: State, hours: Floats, row: int, until: int) -> None:
    """Book what nodes draw and what flows into zones, from now `until` [ns], to row `row`."""
    if hours.shape[1] == 0:
        return
    at, clusters = state.tally.counts[NOW], state.nodes.cluster_mw.shape[0]
    zones = hours.shape[2] - clusters
    while at < until:
        hour = at // HOUR_NS
        end = min((hour + 1) * HOUR_NS, until)
        span = float(end - at) * NS * KILO
        for cluster in range(clusters):
            hours[row, hour, cluster] += float(state.nodes.cluster_mw[cluster]) * span
        for zone in range(zones):
            hours[row, hour, clusters + zone] += float(state.heat.zone[zone, HEAT_MW]) * span
        at = end

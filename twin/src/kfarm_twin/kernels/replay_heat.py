"""The event loop of the farm driver where jobs warm their devices.

As `kernels.replay` with failures, and the heat engine beside it. At one instant first comes what
heat does (devices slow down or speed up, nodes go off or may come back), then what happens to
nodes, ends, arrivals and one pass; then devices whose job changed ask for other power. A job is
slowed by its own devices; what it asks for stays the same, so that a gang that waits for one slow
device draws as if it worked. A device whose job has stopped, which nobody knows yet, idles.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import fleet_columns as fleet
from kfarm_twin.kernels import heat_columns as hc
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import seats, shelf
from kfarm_twin.kernels.heat import (
    end,
    hottest_c,
    prepare,
    set_overhead,
    set_power,
    set_up,
    start_steady,
    step,
    supply_c,
)
from kfarm_twin.kernels.heat import next_time as next_heat
from kfarm_twin.kernels.heat_columns import Heat, HeatState
from kfarm_twin.kernels.heat_nodes import touch
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay import (
    BROKEN_OFF,
    MORE,
    PLAYED,
    arrive,
    is_over,
    next_time,
    one_pass,
)
from kfarm_twin.kernels.replay_faults import BY_HEAT, break_off, come_up, fleet_changes, go_down
from kfarm_twin.kernels.replay_jobs import apply_speeds, come_back, finish
from kfarm_twin.kernels.replay_state import (
    CAME,
    HEAD,
    HELD,
    NONE,
    SKIP,
    TIME,
    UNTIL,
    Desk,
    Rules,
    clear,
    sample,
)

PPM = 1_000_000
NS = 1e-9
KILO = 1e-3
BUSY_MW, OTHER_MW = 0, 1
"""Columns of `Hot.power`: a device between idle and full; a node's overhead likewise."""
SINCE, NEXT, EVERY, SAMPLES, OVERHEAD_NOW, OFF, OVERHEATS, STOPPED, INSTANTS = range(9)
"""Places of `Hot.numbers`: energies are booked up to here, next sample and time between two [ns],
samples taken, overhead of all nodes [mW], nodes that are off by heat, how often one went off, jobs
that it stopped; instants at which heat did something."""
COUNTS = 9
ALL_J, FANS_J, OTHERS_J, INLET_C = 0, 1, 2, 3
"""Places of `Hot.sums`: energy of nodes, of it fans and overhead [J]; highest inlet seen [degC]."""
SUMS = 4
AT, POWER_W, FANS_W, HOT_C, HOT_NODE, RACK_C, HOT_RACK, SLOW, AWAY = range(9)
"""Columns of `Hot.series`: time [s]; power of all nodes, of it fans [W]; hottest device [degC] and
its node; warmest inlet of a rack's devices [degC] and that rack; devices slowed; nodes off by
heat."""
SERIES = 9


class Hot(NamedTuple):
    """The farm's heat beside its jobs: N nodes of the driver, D devices, J jobs, M nodes in all."""

    heat: Heat
    hs: HeatState
    node: Ints  # [N] of the heat's tables
    back: Ints  # [M] of the driver's, or NONE (spares)
    power: Ints  # [C, 2] by cluster
    owner: Ints  # [N, D + 1] job whose energy a device's is; then the node's overhead [mW]
    begun: Floats  # [N, D] energy of a device when that job came [J]
    job: Floats  # [J] energy of each job's devices [J]
    series: Floats  # [S, SERIES]
    sums: Floats  # [SUMS]
    numbers: Ints  # [COUNTS]


@inner
def _fans_mw(hot: Hot) -> int:
    """Power of all fans."""
    rest = hot.hs.now[hc.TOTAL_MW] - hot.numbers[OVERHEAD_NOW]
    for cluster in range(hot.hs.cluster.shape[0]):
        rest -= hot.hs.cluster[cluster, hc.ALL_MW]
    return int(rest)


@inner
def _book(hot: Hot, now: int) -> None:
    """Book energies up to `now`, before which powers do not change."""
    span = float(now - hot.numbers[SINCE]) * NS * KILO
    hot.numbers[SINCE] = now
    hot.sums[ALL_J] += float(hot.hs.now[hc.TOTAL_MW]) * span
    hot.sums[FANS_J] += float(_fans_mw(hot)) * span
    hot.sums[OTHERS_J] += float(hot.numbers[OVERHEAD_NOW]) * span


@inner
def _halve(hot: Hot) -> None:
    """Keep every other sample, from the first on; the series has an even number of rows."""
    half = hot.series.shape[0] // 2
    for i in range(half):
        for k in range(SERIES):
            hot.series[i, k] = hot.series[2 * i, k]
    hot.numbers[SAMPLES] = half
    hot.numbers[EVERY] *= 2


@inner
def _look(hot: Hot, now: int) -> None:
    """Note temperatures and powers at `now` [ns]."""
    if hot.numbers[SAMPLES] == hot.series.shape[0]:
        _halve(hot)
    heat, hs, row = hot.heat, hot.hs, hot.series[hot.numbers[SAMPLES]]
    row[AT] = float(now) * NS
    row[POWER_W] = float(hs.now[hc.TOTAL_MW]) * KILO
    row[FANS_W] = float(_fans_mw(hot)) * KILO
    row[HOT_C], row[RACK_C], row[SLOW] = -1e9, -1e9, 0.0
    for node in range(hs.node.shape[0]):
        celsius = hottest_c(heat, hs, now, node)
        if celsius > row[HOT_C]:
            row[HOT_C], row[HOT_NODE] = celsius, float(node)
        inlet = supply_c(heat, hs, now, heat.nodes[node, hc.INLET_ZONE])
        if heat.rules[heat.nodes[node, hc.CLUSTER], hc.LIQUID] == 0:
            inlet += hs.rack[heat.nodes[node, hc.RACK], hc.RACK_RISE]
        if inlet > row[RACK_C]:
            row[RACK_C], row[HOT_RACK] = inlet, float(heat.nodes[node, hc.RACK])
    for cluster in range(hs.cluster.shape[0]):
        row[SLOW] += float(hs.cluster[cluster, hc.THROTTLED])
    row[AWAY] = float(hot.numbers[OFF])
    hot.sums[INLET_C] = max(hot.sums[INLET_C], row[RACK_C])
    hot.numbers[SAMPLES] += 1
    hot.numbers[NEXT] = now + hot.numbers[EVERY]


@inner
def _give_energy(hot: Hot, node: int, device: int, job: int) -> None:
    """From now on a device, whose node was just touched, works for another job."""
    own = hot.hs.own[hot.node[node], device]
    before = hot.owner[node, device]
    if before >= 0:
        hot.job[before] += own[hc.JOULES] - hot.begun[node, device]
    hot.owner[node, device] = job
    hot.begun[node, device] = own[hc.JOULES]


@inner
def _ask(desk: Desk, hot: Hot, node: int) -> None:
    """Let the devices of a node ask for what their jobs want."""
    heat, hs, there, table = hot.heat, hot.hs, hot.node[node], desk.pool.node
    cluster, now = heat.nodes[there, hc.CLUSTER], desk.now[TIME]
    rules, count = heat.rules[cluster], seats.devices(table)
    up = 1 if table[node, nodes.DOWN] == 0 else 0
    load = 0
    for device in range(count):
        job = table[node, seats.SEATS + device]
        if job >= 0 and desk.jobs[job, at.HOLDS] == NONE:
            load += desk.jobs[job, at.CPU_LOAD]
    overhead = rules[hc.OVERHEAD_MW] + hot.power[cluster, OTHER_MW] * load // (PPM * count)
    set_overhead(heat, hs, now, there, overhead)
    touch(heat, hs, there)
    if hs.node[there, hc.UP] != up:
        set_up(heat, hs, now, there, up)
    hot.numbers[OVERHEAD_NOW] += up * overhead - hot.owner[node, count]
    hot.owner[node, count] = up * overhead
    for device in range(count):
        job = max(table[node, seats.SEATS + device], NONE)
        if job != hot.owner[node, device]:
            _give_energy(hot, node, device, job)
    first, asked = 0, _asked_mw(desk, hot, node, 0)
    for device in range(1, count + 1):  # alike devices side by side at once: see `set_power`
        other = _asked_mw(desk, hot, node, device) if device < count else -1
        if other != asked:
            if device - first == count or _differs(hs, there, first, device, asked):
                set_power(heat, hs, now, there, first, device - first, asked)
            first, asked = device, other


@inner
def _asked_mw(desk: Desk, hot: Hot, node: int, device: int) -> int:
    """What the job on a device wants of it."""
    cluster = hot.heat.nodes[hot.node[node], hc.CLUSTER]
    asked, job = hot.heat.rules[cluster, hc.IDLE_MW], desk.pool.node[node, seats.SEATS + device]
    if job >= 0 and desk.jobs[job, at.HOLDS] == NONE:
        asked += hot.power[cluster, BUSY_MW] * desk.jobs[job, at.GPU_LOAD] // PPM
    return int(asked)


@inner
def _differs(hs: HeatState, there: int, first: int, end: int, asked: int) -> bool:
    """Whether devices first..end - 1 of a node ask for something else now."""
    for device in range(first, end):  # noqa: SIM110 - compiled
        if hs.mw[there, device, hc.ASKED] != asked:
            return True
    return False


@inner
def _ask_all(desk: Desk, hot: Hot) -> None:
    """The same for all nodes that changed."""
    table, meta = desk.pool.node, desk.pool.meta
    for i in range(meta[seats.CHANGED]):
        node = table[i, seats.LIST]
        table[node, seats.MARK] = 0
        _ask(desk, hot, node)
    meta[seats.CHANGED] = 0


@inner
def _slow(rules: Rules, desk: Desk, hot: Hot, node: int) -> None:
    """Devices of a node have another speed."""
    there, table, moved = hot.node[node], desk.pool.node, False
    count = seats.devices(table)
    for device in range(count):
        level = hot.hs.mw[there, device, hc.LEVEL]
        speed = PPM if level == hc.FREE else level * PPM // hc.LEVELS
        if table[node, seats.SEATS + count + device] != speed:
            table[node, seats.SEATS + count + device] = speed
            moved = True
    if moved:
        apply_speeds(rules, desk, node)


@inner
def _go_off(rules: Rules, plan: Plan, desk: Desk, hot: Hot, node: int) -> None:
    """A node went off by heat: what runs there stops."""
    hot.numbers[OVERHEATS] += 1
    hot.numbers[OFF] += 1
    for i in range(_count_seated(desk, node)):
        desk.jobs[desk.jobs[i, at.ROLL], at.HEATED] += 1
    stopped = go_down(rules, plan, desk, node, fleet.FAULT, 0, BY_HEAT)
    hot.numbers[STOPPED] += stopped
    _slow(rules, desk, hot, node)


@inner
def _count_seated(desk: Desk, node: int) -> int:
    """Jobs that run on a node, once each, in the list ROLL: how many."""
    count = 0
    for device in range(seats.devices(desk.pool.node)):
        job = desk.pool.node[node, seats.SEATS + device]
        known = job < 0 or desk.jobs[job, at.HOLDS] != NONE
        for i in range(count):
            known = known or desk.jobs[i, at.ROLL] == job
        if not known:
            desk.jobs[count, at.ROLL] = job
            count += 1
    return count


@inner
def _react(rules: Rules, plan: Plan, desk: Desk, hot: Hot, rows: int) -> bool:
    """Let the driver know what heat did; whether nodes went off or came back."""
    acted = False
    for i in range(rows):
        row = hot.hs.changes[i]
        node = hot.back[row[1]]
        if node == NONE:
            if row[0] == hc.COOL:
                set_up(hot.heat, hot.hs, desk.now[TIME], row[1], 1)
        elif row[0] == hc.SPEED:
            _slow(rules, desk, hot, node)
        elif row[0] == hc.OVERHEATED:
            _go_off(rules, plan, desk, hot, node)
            acted = True
        elif row[0] == hc.COOL:
            hot.numbers[OFF] -= 1
            come_up(rules, plan, desk, node, BY_HEAT)
            acted = True
    if acted:
        desk.now[HELD] = NONE
        desk.now[HEAD] = NONE
    return acted


@inner
def _warm(rules: Rules, plan: Plan, desk: Desk, hot: Hot) -> bool:
    """All that heat does at this instant; whether nodes went off or came back."""
    now, acted = desk.now[TIME], False
    while next_heat(hot.heat, hot.hs) <= now:
        rows = step(hot.heat, hot.hs, rules.seed, rules.future)
        acted = _react(rules, plan, desk, hot, rows) or acted
        _ask_all(desk, hot)
        hot.numbers[INSTANTS] += 1
    return acted


@inner
def _finish_heat(desk: Desk, hot: Hot, now: int) -> None:
    """Close all books."""
    _ask_all(desk, hot)
    next_heat(hot.heat, hot.hs)
    _book(hot, now)
    end(hot.heat, hot.hs, now)
    for node in range(hot.owner.shape[0]):
        for device in range(hot.owner.shape[1] - 1):
            _give_energy(hot, node, device, NONE)


@inner
def _instant(rules: Rules, plan: Plan, desk: Desk) -> None:
    """All that jobs and the fleet do at this time."""
    now, ended = desk.now, fleet_changes(rules, plan, desk)
    while shelf.first_key(desk.ends) == now[TIME]:
        job = shelf.first_job(desk.ends)
        ended = True
        if desk.jobs[job, at.HOLDS] != NONE:
            come_back(rules, plan, desk, job)
        else:
            finish(rules, plan, desk, job)
    alone = arrive(rules, desk.jobs, desk.waiting, now) == 1 and not ended
    if desk.waiting.lists[shelf.META, shelf.ENTRIES] > 0:
        one_pass(rules, plan, desk, now[CAME] if alone else NONE)
    if now[SKIP] > 0:
        now[SKIP] -= 1
    else:
        sample(rules, desk)


@kernel
def run_hot(rules: Rules, plan: Plan, desk: Desk, hot: Hot, first: bool, most: int) -> int:
    """Play up to `most` instants on from where the last call ended; a status as of `run_replay`."""
    now = desk.now
    if first:
        clear(rules, plan, desk)
        prepare(hot.heat, hot.hs, rules.seed, rules.future, now[UNTIL] + 1)
        _ask_all(desk, hot)
        start_steady(hot.heat, hot.hs)
    for _ in range(most):
        if is_over(desk):
            _finish_heat(desk, hot, now[TIME])
            return PLAYED
        wake = desk.profile.meta[steps.WAKE]
        job_due = next_time(desk.jobs, desk.changes, desk.ends, now, wake)
        time_ns = min(job_due, next_heat(hot.heat, hot.hs))
        until = min(time_ns, now[UNTIL])
        while hot.numbers[NEXT] < until:
            _look(hot, hot.numbers[NEXT])
        if time_ns > now[UNTIL]:
            break_off(rules, desk)
            _finish_heat(desk, hot, now[UNTIL])
            return BROKEN_OFF
        _book(hot, time_ns)
        now[TIME] = time_ns
        acted = _warm(rules, plan, desk, hot)
        if acted or job_due <= time_ns or shelf.first_key(desk.ends) == time_ns:
            _instant(rules, plan, desk)
            _ask_all(desk, hot)
    return MORE

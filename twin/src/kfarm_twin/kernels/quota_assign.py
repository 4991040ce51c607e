"""Which flavors a job would get, and by whose preemption.

For each group of resources the flavors are tried in order, from the one behind the last that was
tried; `flavorFungibility` says when to look further. Source: Kueue 0.19.2, concepts page "Cluster
Queue" (flavor fungibility) and proposal 582.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.kernels.quota_fair import fair_targets
from kfarm_twin.kernels.quota_state import (
    BORROW_WITHIN,
    FAIR,
    GROUPS_FROM,
    GROUPS_TO,
    NEXT_WHEN_BORROW,
    NEXT_WHEN_PREEMPT,
    POOL,
    PREFERENCE,
    RECLAIM_POLICY,
    QuotaModel,
    QuotaState,
    drop_job,
    take_job,
)
from kfarm_twin.kernels.quota_targets import classic_targets
from kfarm_twin.policy.quota import NEVER, NONE, available, borrowing_height, potential
from kfarm_twin.policy.quota_flavor import (
    FARTHEST,
    FIT,
    NO_CANDIDATES,
    NO_FIT,
    PREEMPT,
    RECLAIM,
    is_better,
    tries_next,
)


@inner
def _targets(model: QuotaModel, state: QuotaState, job: int) -> int:
    if model.options[FAIR]:
        return fair_targets(model, state, job)
    return classic_targets(model, state, job)


@spliced
def _foresee(
    model: QuotaModel, state: QuotaState, job: int, column: int, amount: int
) -> tuple[int, int]:
    """Mode and borrowing height after preemption for one column alone."""
    tree, usage, queue = model.tree, state.book.usage, model.jobs.queue[job]
    ask, resource = state.scratch.ask, tree.resource[column]
    ask[0, :] = NONE
    ask[2, :] = 0
    ask[0, resource] = column
    ask[1, resource] = amount
    ask[2, resource] = 1
    found = _targets(model, state, job)
    if found == 0:
        return NO_CANDIDATES, borrowing_height(tree, usage, queue, column, amount)[0]
    mode, targets = RECLAIM, state.lists.targets
    for at in range(found):
        drop_job(model, state, usage, targets[at])
        if model.jobs.queue[targets[at]] == queue:
            mode = PREEMPT
    height, _ = borrowing_height(tree, usage, queue, column, amount)
    for at in range(found):
        take_job(model, state, usage, targets[at])
    return mode, height


@spliced
def _column_mode(
    model: QuotaModel, state: QuotaState, job: int, column: int, amount: int
) -> tuple[int, int]:
    """Mode and borrowing height of a job in one column."""
    tree, usage, queue = model.tree, state.book.usage, model.jobs.queue[job]
    if amount > potential(tree, queue, column):
        return NO_FIT, 0
    height, inside = borrowing_height(tree, usage, queue, column, amount)
    if amount <= available(tree, usage, queue, column):
        return FIT, height
    rules = model.rules
    while_borrowing = rules[queue, BORROW_WITHIN] != 0
    while_borrowing |= model.options[FAIR] != 0 and rules[queue, RECLAIM_POLICY] != NEVER
    if tree.quota.nominal[queue, column] >= amount or inside or while_borrowing:
        return _foresee(model, state, job, column, amount)
    return NO_FIT, height


@spliced
def _try_group(
    model: QuotaModel, state: QuotaState, job: int, entry: int, group: int, slot: int
) -> tuple[int, int]:
    """Choose a flavor for a group of resources: its mode, and the farthest it borrows from."""
    modes = state.scratch.mode
    queue, need = model.jobs.queue[job], model.need
    first = model.choice_first[group]
    flavors = model.choice_first[group + 1] - first
    best, best_height, best_farthest, last = NO_FIT, FARTHEST, 0, NONE
    for flavor in range(state.tried[job, slot] + 1, flavors):
        last, choice = flavor, first + flavor
        if not model.allowed[model.jobs.models[job], model.choice_flavor[choice]]:
            continue
        mode, height, farthest = FIT, 0, 0
        for resource in range(need.shape[1]):
            column, amount = model.choice_column[choice, resource], need[job, resource]
            if column == NONE or amount == 0:
                continue
            modes[resource], far = _column_mode(model, state, job, column, amount)
            farthest = max(farthest, far)
            if is_better(mode, height, modes[resource], far, model.rules[queue, PREFERENCE]):
                mode, height = modes[resource], far
            if mode == NO_FIT:
                break
        on = tries_next(
            mode,
            height,
            model.rules[queue, NEXT_WHEN_BORROW],
            model.rules[queue, NEXT_WHEN_PREEMPT],
        )
        if on and not is_better(mode, height, best, best_height, model.rules[queue, PREFERENCE]):
            continue
        best, best_height, best_farthest = mode, height, farthest
        _keep_choice(model, state, job, entry, choice)
        if not on:
            break
    state.entry_tried[entry, slot] = NONE if last == flavors - 1 else last
    return best, best_farthest


@spliced
def _keep_choice(model: QuotaModel, state: QuotaState, job: int, entry: int, choice: int) -> None:
    """Note the flavor of a group as the best so far."""
    modes = state.scratch.mode
    for resource in range(model.need.shape[1]):
        column = model.choice_column[choice, resource]
        if column != NONE and model.need[job, resource] > 0:
            state.uses.column[entry, resource] = column
            state.uses.preempts[entry, resource] = modes[resource] < FIT


@spliced
def _covered(model: QuotaModel, job: int) -> bool:
    """Whether the queue counts all that the job asks for."""
    queue = model.jobs.queue[job]
    for resource in range(model.need.shape[1]):
        if model.need[job, resource] > 0 and not model.optional[resource]:
            found = False
            for group in range(model.rules[queue, GROUPS_FROM], model.rules[queue, GROUPS_TO]):
                choice = model.choice_first[group]
                found |= model.choice_column[choice, resource] != NONE
            if not found:
                return False
    return True


@spliced
def _asks_of(model: QuotaModel, job: int, group: int) -> bool:
    choice = model.choice_first[group]
    for resource in range(model.need.shape[1]):
        column = model.choice_column[choice, resource]
        if column != NONE and model.need[job, resource] > 0:
            return True
    return False


@spliced
def _pool_targets(model: QuotaModel, state: QuotaState, job: int, entry: int) -> bool:
    """Find the targets for the whole assignment; False when there is no room for them."""
    entries, scratch, counts = state.entries, state.scratch, state.book.counts
    for resource in range(model.need.shape[1]):
        scratch.ask[0, resource] = state.uses.column[entry, resource]
        scratch.ask[1, resource] = model.need[job, resource]
        scratch.ask[2, resource] = state.uses.preempts[entry, resource]
    found = _targets(model, state, job)
    entries.first_target[entry] = counts[POOL]
    entries.targets[entry] = found
    if counts[POOL] + found > scratch.pool.shape[0]:
        return False
    for at in range(found):
        scratch.pool[counts[POOL] + at] = state.lists.targets[at]
    counts[POOL] += found
    return True


@spliced
def assign(model: QuotaModel, state: QuotaState, job: int, entry: int) -> bool:
    """Fill an entry with flavors, mode and targets; False when there is no room for targets."""
    entries, queue = state.entries, model.jobs.queue[job]
    entries.job[entry] = job
    entries.targets[entry] = 0
    entries.height[entry] = 0
    state.uses.column[entry, :] = NONE
    state.uses.preempts[entry, :] = 0
    state.entry_tried[entry, :] = NONE
    state.uses.added[entry, :] = 0
    mode = FIT if _covered(model, job) else NO_FIT
    if mode != NO_FIT:
        for group in range(model.rules[queue, GROUPS_FROM], model.rules[queue, GROUPS_TO]):
            if not _asks_of(model, job, group):
                continue
            slot = group - model.rules[queue, GROUPS_FROM]
            group_mode, farthest = _try_group(model, state, job, entry, group, slot)
            mode = min(mode, group_mode)
            if mode == NO_FIT:
                break
            entries.height[entry] = max(entries.height[entry], farthest)
    entries.mode[entry] = mode
    if mode == NO_FIT:
        entries.height[entry] = 0
        state.uses.column[entry, :] = NONE
        state.entry_tried[entry, :] = NONE
        return True
    return mode == FIT or _pool_targets(model, state, job, entry)

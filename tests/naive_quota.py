"""Queues with quotas in plain Python: slow, recursive, nothing kept that can be worked out anew.

Shares no code with the kernels. Usage is summed from the jobs that hold quota each time it is
asked for; pending jobs are one sorted list. `Play` plays the jobs of one tree (queues that share no
cohort do not know of each other); `play` plays them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

FIT, RECLAIM, PREEMPT, NOBODY, NONE = 4, 3, 2, 1, 0
INFINITE = math.inf
Column = tuple[str, str]


@dataclass(eq=False)
class Node:
    name: str
    parent: Node | None
    weight: float
    quota: dict[Column, Any]
    described: Any
    children: list[Node] = field(default_factory=list)
    holds: dict[int, dict[Column, int]] = field(default_factory=dict)
    extra: list[dict[Column, int]] = field(default_factory=list)

    @property
    def is_queue(self) -> bool:
        return hasattr(self.described, "strict")

    def path(self) -> list[Node]:
        """The node and all above."""
        return [self, *(self.parent.path() if self.parent else [])]

    def below(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.below()

    def height(self) -> int:
        return max((child.height() + 1 for child in self.children), default=0)

    def limit(self, column: Column, kind: str) -> float:
        given = self.quota.get(column)
        value = None if given is None else getattr(given, kind)
        return INFINITE if value is None else value

    def subtree(self, column: Column) -> int:
        own = self.quota[column].nominal if column in self.quota else 0
        return own + sum(c.subtree(column) - c.local(column) for c in self.children)

    def local(self, column: Column) -> int:
        lending = self.limit(column, "lending")
        return 0 if lending == INFINITE else max(0, self.subtree(column) - int(lending))

    def usage(self, column: Column) -> int:
        if self.is_queue:
            return sum(use.get(column, 0) for use in (*self.holds.values(), *self.extra))
        return sum(max(0, c.usage(column) - c.local(column)) for c in self.children)

    def unused(self, column: Column) -> int:
        return max(0, self.local(column) - self.usage(column))

    def available(self, column: Column) -> float:
        if self.parent is None:
            return self.subtree(column) - self.usage(column)
        above = self.parent.available(column)
        lent = self.subtree(column) - self.local(column)
        used = max(0, self.usage(column) - self.local(column))
        return self.unused(column) + min(lent - used + self.limit(column, "borrowing"), above)

    def could(self, column: Column) -> float:
        if self.parent is None:
            return self.subtree(column)
        whole = self.subtree(column) + self.limit(column, "borrowing")
        return min(whole, self.local(column) + self.parent.could(column))

    def over(self, column: Column, amount: int = 0) -> bool:
        return self.usage(column) + amount > self.subtree(column)

    def share(self) -> tuple[int, float]:
        """(1, ratio) for an infinite share, else (0, share); larger tuples are larger shares."""
        if self.parent is None:
            return (0, 0.0)
        ratio = 0.0
        columns = {c for node in self.path()[-1].below() for c in node.quota}
        for resource in {r for _, r in columns}:
            mine = [c for c in columns if c[1] == resource]
            borrowed = sum(max(0, self.usage(c) - self.subtree(c)) for c in mine)
            lendable = sum(self.parent.could(c) for c in mine)
            if borrowed and lendable:
                ratio = max(ratio, borrowed * 1000.0 / lendable)
        if not ratio:
            return (0, 0.0)
        return (1, ratio) if self.weight == 0 else (0, ratio / self.weight)

    def borrows(self) -> bool:
        columns = {c for node in self.path()[-1].below() for c in node.quota}
        return self.parent is not None and any(self.over(c) for c in columns)


@dataclass
class Entry:
    job: int
    queue: Node
    mode: int = FIT
    height: int = 0
    use: dict[Column, int] = field(default_factory=dict)
    scarce: set[Column] = field(default_factory=set)
    targets: list[int] = field(default_factory=list)
    tried: dict[int, int] = field(default_factory=dict)
    outcome: str = ""


class Play:
    """One tree of queues and its jobs.

    Parameters
    ----------
    jobs
        Number -> object with submit_ns, run_ns, queue (name), priority, rank, need (resource ->
        amount) and shape.
    """

    def __init__(self, nodes: list[Node], jobs: dict[int, Any], options: Any) -> None:
        self.nodes = nodes
        self.queues = {n.name: n for n in nodes if n.is_queue}
        self.jobs, self.options = jobs, options
        self.waiting: set[int] = set()
        self.evicting: set[int] = set()
        self.parked: set[Any] = set()
        self.due: dict[int, int] = {}
        self.retry_ns: int | None = None
        self.start: dict[int, int] = {}
        self.left = {job: jobs[job].run_ns for job in jobs}
        self.sticky: dict[str, int] = {}
        self.tried: dict[int, tuple[dict[int, int], int, int]] = {}
        self.generation = dict.fromkeys(self.queues, 0)
        self.cycle = 0
        self.now = 0
        self.log: list[tuple[int, str, int, int]] = []

    # ---- time ----------------------------------------------------------------------------------

    def run(self, until_ns: int) -> list[tuple[int, str, int, int]]:
        coming = sorted(self.jobs, key=lambda j: (self.jobs[j].submit_ns, j))
        while True:
            times = [self.jobs[j].submit_ns for j in coming[:1]] + list(self.due.values())
            times += [self.retry_ns] if self.retry_ns is not None else []
            if not times or min(times) >= until_ns:
                return self.log
            self.now = min(times)
            for job in sorted(j for j, at in self.due.items() if at == self.now):
                self.leave(job)
            if self.retry_ns == self.now:
                self.retry_ns = None
                self.parked.clear()
            while coming and self.jobs[coming[0]].submit_ns == self.now:
                self.waiting.add(coming.pop(0))
            self.settle()

    def leave(self, job: int) -> None:
        queue = self.queues[self.jobs[job].queue]
        del self.due[job], queue.holds[job]
        self.generation[queue.name] += 1
        if job in self.evicting:
            self.evicting.discard(job)
            self.waiting.add(job)
            self.note("RELEASED", job)
        else:
            self.note("ENDED", job)
        if self.options.requeue_ns == 0:
            self.parked.clear()
        elif self.retry_ns is None:
            self.retry_ns = self.now + self.options.requeue_ns

    def note(self, kind: str, job: int, other: int = -1) -> None:
        self.log.append((self.now, kind, job, other))

    def settle(self) -> None:
        idle, flavors = (
            0,
            max(len(g.flavors) for q in self.queues.values() for g in q.described.groups),
        )
        while True:
            entries, changed, progress = self.run_cycle()
            idle = 0 if progress else idle + 1
            if not entries or not changed or idle > flavors + 1:
                return

    # ---- a cycle -------------------------------------------------------------------------------

    def order(self, job: int) -> tuple[int, int, int]:
        it = self.jobs[job]
        return (-it.priority, it.submit_ns, it.rank)

    def head(self, queue: Node) -> int | None:
        able = [j for j in self.waiting if self.jobs[j].queue == queue.name]
        able = [j for j in able if (queue.name, self.jobs[j].shape) not in self.parked]
        if not queue.described.strict and self.sticky.get(queue.name) in able:
            return self.sticky[queue.name]
        return min(able, key=self.order, default=None)

    def run_cycle(self) -> tuple[int, bool, bool]:
        self.cycle += 1
        heads = [(self.head(q), q) for q in self.queues.values()]
        entries = [self.nominate(job, queue) for job, queue in heads if job is not None]
        doomed: set[int] = set()
        for entry in self.in_order(entries):
            self.process(entry, doomed)
        for queue in self.queues.values():
            queue.extra.clear()
        changed = progress = False
        for entry in self.processed:
            one, other = self.conclude(entry)
            changed, progress = changed or one, progress or other
        return len(entries), changed, progress

    def in_order(self, entries: list[Entry]) -> Iterator[Entry]:
        self.processed: list[Entry] = []
        left = list(entries)
        while left:
            if self.options.fair_sharing and any(e.queue.parent for e in left):
                root = left[0].queue.path()[-1]
                best = self.winner(root, left)
            else:
                best = min(left, key=lambda e: (e.height, self.order(e.job)))
            left.remove(best)
            self.processed.append(best)
            yield best

    def winner(self, node: Node, left: list[Entry]) -> Entry:
        """Tournament below a cohort."""
        rated = []
        for child in node.children:
            mine = [e for e in left if child in e.queue.path()]
            if not mine:
                continue
            entry = mine[0] if child.is_queue else self.winner(child, left)
            entry.queue.extra.append(entry.use)
            borrows = any(child.over(c) for c, amount in entry.use.items() if amount)
            rated.append((borrows, child.share(), self.order(entry.job), entry))
            entry.queue.extra.pop()
        return min(rated, key=lambda row: row[:3])[3]

    def process(self, entry: Entry, doomed: set[int]) -> None:
        queue, rules = entry.queue, entry.queue.described
        if entry.mode == NONE:
            entry.outcome = "parks"
        elif entry.mode != FIT and not entry.targets:
            entry.outcome = "parks"
            if rules.reclaim.name != "ANY":
                queue.extra.append(self.reserved(entry))
        elif doomed & set(entry.targets):
            entry.outcome = "skipped"
        else:
            with_out = self.without(doomed | set(entry.targets))
            fits = all(queue.available(c) >= amount for c, amount in entry.use.items())
            with_out()
            if not fits:
                entry.outcome = "skipped"
                return
            doomed |= set(entry.targets)
            queue.extra.append(entry.use)
            entry.outcome = "starts" if entry.mode == FIT else "preempts"

    def reserved(self, entry: Entry) -> dict[Column, int]:
        made = {}
        for column, amount in entry.use.items():
            room = entry.queue.quota[column].nominal - entry.queue.usage(column)
            if entry.height:
                room += entry.queue.limit(column, "borrowing")
            made[column] = max(0, min(amount, room))
        return made

    def conclude(self, entry: Entry) -> tuple[bool, bool]:
        job, name, rules = entry.job, entry.queue.name, entry.queue.described
        if entry.outcome == "starts":
            self.waiting.discard(job)
            if self.sticky.get(name) == job:
                del self.sticky[name]
            entry.queue.holds[job] = entry.use
            self.start[job] = self.now
            self.due[job] = self.now + self.left[job]
            self.tried.pop(job, None)
            self.generation[name] += 1
            self.note("ADMITTED", job)
            return True, True
        tried = {} if entry.outcome == "preempts" else entry.tried
        before = self.tried.get(job, ({}, 0, 0))[0]
        changed, progress = before != tried, False
        if entry.outcome == "preempts":
            changed |= self.sticky.get(name) != job
            self.sticky[name] = job
            for target in entry.targets:
                if target not in self.evicting:
                    self.evict(target, job)
                    progress = True
        elif entry.outcome == "parks" and not tried and not rules.strict:
            self.parked.add((name, self.jobs[job].shape))
            progress = True
        self.tried[job] = (tried, self.cycle, self.generation[name])
        return changed or progress, progress

    def evict(self, job: int, by: int) -> None:
        self.evicting.add(job)
        self.due[job] = self.now + self.options.eviction_ns
        if self.options.keep_progress:
            self.left[job] -= self.now - self.start[job]
        self.generation[self.jobs[job].queue] += 1
        self.note("PREEMPTED", job, by)

    # ---- flavors -------------------------------------------------------------------------------

    def nominate(self, job: int, queue: Node) -> Entry:
        tried, cycle, generation = self.tried.get(job, ({}, 0, 0))
        if self.cycle - cycle > 1 and self.generation[queue.name] > generation:
            tried = {}
            self.tried.pop(job, None)
        entry = Entry(job, queue)
        need = self.jobs[job].need
        covered = {r for g in queue.described.groups for r in g.resources}
        if any(amount and r not in covered and r != "pods" for r, amount in need.items()):
            return Entry(job, queue, NONE)
        for index, group in enumerate(queue.described.groups):
            asked = {r: need[r] for r in group.resources if need.get(r)}
            if not asked:
                continue
            found = self.search(entry, index, group, asked, tried.get(index, -1))
            if found is None:
                return Entry(job, queue, NONE)
        if entry.mode != FIT:
            entry.targets = self.targets(job, queue, entry.use, entry.scarce)
        return entry

    def search(
        self, entry: Entry, index: int, group: Any, asked: dict[str, int], last: int
    ) -> int | None:
        """Best flavor of a group: counts it in the entry; None when none will do."""
        rules, best = entry.queue.described, None
        for place in range(last + 1, len(group.flavors)):
            last = place
            name = group.flavors[place][0]
            modes = {
                (name, r): self.column(entry.job, entry.queue, (name, r), amount)
                for r, amount in asked.items()
            }
            worst = min(modes.values(), key=lambda m: self.grade(m, rules))
            on = worst[0] in (NONE, NOBODY)
            on |= worst[0] in (PREEMPT, RECLAIM) and rules.next_when_preempt
            on |= worst[1] > 0 and rules.next_when_borrow
            if not on:
                best = (worst, modes)
                break
            if worst[0] != NONE and (
                best is None or self.grade(worst, rules) > self.grade(best[0], rules)
            ):
                best = (worst, modes)
        if last < len(group.flavors) - 1:
            entry.tried[index] = last
        if best is None:
            return None
        entry.mode = min(entry.mode, best[0][0])
        for column, (mode, height) in best[1].items():
            entry.use[column] = asked[column[1]]
            entry.height = max(entry.height, height)
            if mode != FIT:
                entry.scarce.add(column)
        return best[0][0]

    @staticmethod
    def grade(mode: tuple[int, int], rules: Any) -> tuple[int, ...]:
        """Larger is better."""
        kind, height = mode
        usable = 0 if kind == NONE else 1 if kind == NOBODY else 2
        if rules.preference.name == "PREEMPTION_OVER_BORROWING":
            return (usable, -height, kind)
        return (usable, kind, -height)

    def column(self, job: int, queue: Node, column: Column, amount: int) -> tuple[int, int]:
        if amount > queue.could(column):
            return NONE, 0
        height, inside = self.reach(queue, column, amount)
        if amount <= max(0, queue.available(column)):
            return FIT, height
        rules = queue.described
        bold = rules.borrow_within
        bold |= self.options.fair_sharing and rules.reclaim.name != "NEVER"
        if not (queue.quota[column].nominal >= amount or inside or bold):
            return NONE, height
        targets = self.targets(job, queue, {column: amount}, {column})
        if not targets:
            return NOBODY, height
        restore = self.without(set(targets))
        height, _ = self.reach(queue, column, amount)
        restore()
        own = any(target in queue.holds for target in targets)
        return (PREEMPT if own else RECLAIM), height

    @staticmethod
    def reach(queue: Node, column: Column, amount: int) -> tuple[int, bool]:
        if queue.parent is None or not queue.over(column, amount):
            return 0, queue.parent is not None
        left = amount - queue.unused(column)
        for node in queue.path()[1:]:
            if not node.over(column, left):
                return node.height(), node.parent is not None
            left -= node.unused(column)
        return queue.path()[-1].height(), False

    # ---- preemption ----------------------------------------------------------------------------

    def without(self, jobs: set[int]) -> Callable[[], None]:
        """Take jobs off the books; returns how to undo it."""
        gone = [(q, j, q.holds.pop(j)) for q in self.queues.values() for j in jobs & set(q.holds)]

        def undo() -> None:
            for queue, job, use in gone:
                queue.holds[job] = use

        return undo

    def may(self, policy: Any, job: int, other: int) -> bool:
        one, two = self.jobs[job], self.jobs[other]
        if policy.name == "ANY":
            return True
        if policy.name == "NEVER":
            return False
        newer = one.priority == two.priority and one.submit_ns < two.submit_ns
        both = policy.name == "LOWER_OR_NEWER_EQUAL_PRIORITY"
        return one.priority > two.priority or (both and newer)

    def victims(self, policy: Any, job: int, queue: Node, scarce: set[Column]) -> list[int]:
        able = (j for j, use in queue.holds.items() if scarce & {c for c, a in use.items() if a})
        return [j for j in able if self.may(policy, job, j)]

    def turn(self, job: int, other: int, group: int) -> tuple[Any, ...]:
        it = self.jobs[other]
        return (other not in self.evicting, group, it.priority, -self.start[other], it.rank)

    def targets(
        self, job: int, queue: Node, use: dict[Column, int], scarce: set[Column]
    ) -> list[int]:
        if self.options.fair_sharing:
            return self.fair(job, queue, use, scarce)
        return self.classic(job, queue, use, scarce)

    @staticmethod
    def enough(queue: Node, use: dict[Column, int], borrow: bool) -> bool:
        return all(
            amount <= max(0, queue.available(c)) and (borrow or not queue.over(c, amount))
            for c, amount in use.items()
        )

    def spare(
        self, queue: Node, use: dict[Column, int], borrow: bool, gone: list[tuple[int, Node, Any]]
    ) -> list[int]:
        """Fill back: who need not go after all."""
        for place in range(len(gone) - 2, -1, -1):
            job, home, held = gone[place]
            home.holds[job] = held
            if self.enough(queue, use, borrow):
                gone[place] = gone[-1]
                gone.pop()
            else:
                del home.holds[job]
        return [job for job, _, _ in gone]

    def classic(
        self, job: int, queue: Node, use: dict[Column, int], scarce: set[Column]
    ) -> list[int]:
        rules = queue.described
        # (turn, job, lowest shared cohort, spared when the preemptor would borrow)
        found: list[tuple[Any, int, Node | None, bool]] = []
        path = queue.path()
        advantage, left = False, dict(use)
        if rules.reclaim.name != "NEVER" and queue.parent:
            for below, cohort in pairwise(path):
                enough = all(not below.over(c, amount) for c, amount in left.items())
                left = {c: max(0, a - below.unused(c)) for c, a in left.items()}
                advantage |= enough
                for other in self.beyond(cohort, below, scarce):
                    for victim in self.victims(rules.reclaim, job, other, scarce):
                        theirs = self.jobs[victim].priority
                        bold = rules.borrow_within and theirs < self.jobs[job].priority
                        bold &= rules.threshold is None or theirs <= (rules.threshold or 0)
                        turn = self.turn(job, victim, 0 if advantage else 1)
                        found.append((turn, victim, cohort, not advantage and not bold))
        others = len(found)
        for victim in self.victims(rules.within, job, queue, scarce):
            found.append((self.turn(job, victim, 2), victim, None, False))
        found.sort(key=lambda row: row[0])
        forbidden = not rules.borrow_within
        under = all(queue.quota[c].nominal > queue.usage(c) for c in scarce)
        if not others or (forbidden and not under):
            attempts = [True]
        elif forbidden and all(row[0][1] for row in found):
            attempts = [False, True]
        else:
            attempts = [True, False]
        for borrow in attempts:
            targets = self.attempt(queue, use, scarce, found, borrow)
            if targets:
                return targets
        return []

    def beyond(self, cohort: Node, skip: Node, scarce: set[Column]) -> Iterator[Node]:
        """Queues below a cohort, reached through nodes beyond their quota only."""
        for child in cohort.children:
            if child is not skip and any(child.over(c) for c in scarce):
                if child.is_queue:
                    yield child
                else:
                    yield from self.beyond(child, skip, scarce)

    def attempt(
        self,
        queue: Node,
        use: dict[Column, int],
        scarce: set[Column],
        found: list[Any],
        borrow: bool,
    ) -> list[int]:
        gone: list[tuple[int, Node, Any]] = []
        targets: list[int] = []
        for _, victim, shared, spared in found:
            home = self.queues[self.jobs[victim].queue]
            if home is not queue:
                if borrow and spared:
                    continue
                inside = home.path()[: home.path().index(shared)]
                if any(not any(node.over(c) for c in scarce) for node in inside):
                    continue
            gone.append((victim, home, home.holds.pop(victim)))
            if self.enough(queue, use, borrow):
                targets = self.spare(queue, use, borrow, gone)
                break
        for victim, home, held in gone:
            home.holds[victim] = held
        return targets

    # ---- fair sharing --------------------------------------------------------------------------

    def fair(self, job: int, queue: Node, use: dict[Column, int], scarce: set[Column]) -> list[int]:
        rules, found = queue.described, {}
        for other in (q for q in queue.path()[-1].below() if q.is_queue):
            policy = rules.within if other is queue else rules.reclaim
            if other is queue or any(other.over(c) for c in scarce):
                able = self.victims(policy, job, other, scarce)
                able.sort(key=lambda j: self.turn(job, j, 0))
                if able:
                    found[other] = able
        if not found:
            return []
        queue.extra.append(use)
        entitled = not any(queue.over(c) for c in scarce)
        gone: list[tuple[int, Node, Any]] = []
        fits, again = self.first_rule(job, queue, use, found, gone, entitled)
        if not fits and len(self.options.strategies) > 1 and again:
            fits = self.second_rule(job, queue, use, again, gone)
        queue.extra.pop()
        targets = self.spare(queue, use, True, gone) if fits else []
        for victim, home, held in gone:
            home.holds[victim] = held
        return targets

    def fits_fair(self, queue: Node, use: dict[Column, int]) -> bool:
        held = queue.extra.pop()
        fits = self.enough(queue, use, True)
        queue.extra.append(held)
        return fits

    def rivals(self, queue: Node, other: Node) -> tuple[Node, Node]:
        shared = next(n for n in other.path() if n in queue.path())
        return (
            queue.path()[queue.path().index(shared) - 1],
            other.path()[other.path().index(shared) - 1],
        )

    def first_rule(
        self, job: int, queue: Node, use: Any, found: Any, gone: Any, entitled: bool
    ) -> tuple[bool, dict[Node, list[int]]]:
        again: dict[Node, list[int]] = {}
        pruned: set[Node] = set()
        initial = self.options.strategies[0].name == "INITIAL_SHARE"
        while (other := self.most_unfair(job, queue, found, pruned)) is not None:
            while found[other]:
                victim = found[other].pop(0)
                passes = other is queue or entitled
                if not passes:
                    ours, theirs = self.rivals(queue, other)
                    mine, old = ours.share(), theirs.share()
                    held = other.holds.pop(victim)
                    passes = mine < old if initial else mine <= theirs.share()
                    other.holds[victim] = held
                if not passes:
                    again.setdefault(other, []).append(victim)
                    continue
                gone.append((victim, other, other.holds.pop(victim)))
                if self.fits_fair(queue, use):
                    return True, again
                break
        return False, again

    def second_rule(self, job: int, queue: Node, use: Any, again: Any, gone: Any) -> bool:
        pruned: set[Node] = set()
        while (other := self.most_unfair(job, queue, again, pruned)) is not None:
            victim = again[other].pop(0)
            ours, theirs = self.rivals(queue, other)
            if ours.share() < theirs.share():
                gone.append((victim, other, other.holds.pop(victim)))
                if self.fits_fair(queue, use):
                    return True
            pruned.add(other)
        return False

    def most_unfair(
        self, job: int, queue: Node, found: dict[Node, list[int]], pruned: set[Node]
    ) -> Node | None:
        """The queue to take from next: down from the root by the largest share."""
        root = queue.path()[-1]
        if root is queue:
            return queue if found.get(queue) else None
        while root not in pruned:
            node = root
            while not node.is_queue:
                below = self.best_child(job, node, queue, found, pruned)
                if below is None:
                    pruned.add(node)
                    break
                node = below
            else:
                return node
        return None

    def best_child(
        self, job: int, cohort: Node, queue: Node, found: Any, pruned: set[Node]
    ) -> Node | None:
        best: tuple[Any, ...] | None = None
        for child in cohort.children:
            if child in pruned:
                continue
            borrows, share = child.borrows(), child.share()
            if child.is_queue:
                if (not borrows and child is not queue) or not found.get(child):
                    pruned.add(child)
                    continue
                own = 1 if child is queue else 0
                turn = self.turn(job, found[child][0], own)
                row = (share, 0, _Reversed(turn), child)
            else:
                if not borrows and child not in queue.path():
                    pruned.add(child)
                    continue
                row = (share, 1, cohort.children.index(child), child)
            if best is None or row[:3] > best[:3]:
                best = row
        return None if best is None else best[3]


class _Reversed:
    """Orders the other way round."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __gt__(self, other: _Reversed) -> bool:
        return bool(other.value > self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def grow(tree: Any) -> list[Node]:
    """Nodes of all trees."""

    def quotas(described: Any) -> dict[Column, Any]:
        return {pair: q for group in described.groups for pair, q in group.quotas().items()}

    made: dict[str, Node] = {}

    def cohort(name: str) -> Node:
        if name not in made:
            described = next(c for c in tree.cohorts if c.name == name)
            parent = None if described.parent is None else cohort(described.parent)
            made[name] = Node(name, parent, described.weight, quotas(described), described)
        return made[name]

    nodes = [cohort(described.name) for described in tree.cohorts]
    # the twin looks at cohorts by depth and name, deepest first; that breaks ties of shares
    nodes.sort(key=lambda n: (-len(n.path()), n.name))
    for queue in tree.queues:
        parent = None if queue.cohort is None else made[queue.cohort]
        nodes.append(Node(queue.name, parent, queue.weight, quotas(queue), queue))
    for node in nodes:
        if node.parent is not None:
            node.parent.children.append(node)
    return nodes


def play(tree: Any, jobs: dict[int, Any], options: Any, until_ns: int) -> dict[str, list[Any]]:
    """Log of each tree, by the name of its root."""
    nodes, logs = grow(tree), {}
    for root in (node for node in nodes if node.parent is None):
        mine = list(root.below())
        names = {node.name for node in mine if node.is_queue}
        inside = {number: job for number, job in jobs.items() if job.queue in names}
        if inside:
            logs[root.name] = Play(mine, inside, options).run(until_ns)
    return logs

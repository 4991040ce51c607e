"""What Kueue's documentation says of quotas, as tables.

Sources: kueue.sigs.k8s.io/docs/concepts/{cluster_queue,cohort,preemption,fair_sharing} and the
proposals (keps) 79 hierarchical cohorts, 582 flavor order, 1224 lending limit, 1337 preemption
while borrowing, 1714 fair sharing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kfarm_twin.jobs import Jobs
from kfarm_twin.quota_tree import (
    Cohort,
    Flavor,
    Group,
    Preempt,
    Preference,
    Queue,
    QueueTree,
    Quota,
)
from kfarm_twin.quotas import (
    Event,
    QuotaError,
    QuotaOptions,
    QuotaReplay,
    Strategy,
    replay_quotas,
)

GPU = "nvidia.com/gpu"
SECOND = 10**9
LONG = 100_000


def queue(name: str, nominal: int, cohort: str | None = "k", **rest: Any) -> Queue:
    """A queue of one flavor; limits in devices."""
    limits = (rest.pop(kind, None) for kind in ("borrowing", "lending"))
    scaled = [None if limit is None else limit * 1000 for limit in limits]
    group = Group((GPU,), (("f", {GPU: Quota(nominal * 1000, *scaled)}),))
    return Queue(name, (group,), cohort, **rest)


def play(
    tree: QueueTree,
    rows: list[tuple[str, int, int, int]],
    options: QuotaOptions | None = None,
    **rest: Any,
) -> QuotaReplay:
    """Jobs of (queue, devices, priority, run time [s]), one each second."""
    names = [each.name for each in tree.queues]
    return replay_quotas(jobs_of(names, rows), tree, names, options, **rest)


def jobs_of(names: list[str], rows: list[tuple[str, int, int, int]]) -> Jobs:
    count = len(rows)
    ones, zeros = np.ones(count, np.int64), np.zeros(count, np.int64)
    run = np.array([row[3] for row in rows], np.int64) * SECOND
    return Jobs(
        submit_ns=np.arange(count) * SECOND,
        run_ns=run,
        limit_ns=run,
        pods=ones,
        gpus=np.array([row[1] for row in rows], np.int64),
        gpu_milli=1000 * ones,
        cpu_milli=zeros,
        memory_mib=zeros,
        priority=np.array([row[2] for row in rows], np.int64),
        queue=np.array([names.index(row[0]) for row in rows], np.int64),
        models=zeros,
    )


def running(played: QuotaReplay) -> list[int]:
    """Jobs that hold quota when the replay ends."""
    return [job for job in range(len(played.phase)) if (played.took[job] >= 0).any()]


AT_10 = {"until_ns": 10 * SECOND}


@pytest.mark.parametrize(
    ("a", "b", "takes"),
    [
        ({}, {}, 21),  # all that the cohort has
        ({"borrowing": 1}, {}, 10),  # "team-a-cq can borrow up to 1": cluster_queue, borrowingLimit
        ({"borrowing": 0}, {}, 9),
        ({}, {"lending": 1}, 10),  # "team-a-cq can borrow up to 1": cluster_queue, lendingLimit
        ({}, {"lending": 0}, 9),
        ({"borrowing": 5}, {"lending": 2}, 11),  # the smaller of the two (kep 1224, caveats)
    ],
)
def test_borrowing_and_lending_limits_bound_what_a_queue_takes(
    a: dict[str, int], b: dict[str, int], takes: int
) -> None:
    tree = QueueTree((queue("a", 9, **a), queue("b", 12, **b)))
    assert len(running(play(tree, [("a", 1, 0, LONG)] * 30, until_ns=40 * SECOND))) == takes


def test_quota_of_a_cohort_is_there_for_all_below_it() -> None:
    """kep 79: members borrow the quota of a Cohort, within the limits of each level."""
    spare = Group((GPU,), (("f", {GPU: Quota(6000)}),))
    bounded = Group((GPU,), (("f", {GPU: Quota(0, borrowing=2000)}),))
    tree = QueueTree(
        (queue("a", 1, "left"), queue("b", 1, "right")),
        (
            Cohort("top", groups=(spare,)),
            Cohort("left", "top", groups=(bounded,)),
            Cohort("right", "top"),
        ),
    )
    rows = [("a", 1, 0, LONG)] * 10 + [("b", 1, 0, LONG)] * 10
    held = running(play(tree, rows, until_ns=30 * SECOND))
    assert sum(job < 10 for job in held) == 3  # 1 of its own, 2 by the limit of its cohort
    assert sum(job >= 10 for job in held) == 5  # all the rest: 8 in the tree


def test_best_effort_passes_a_job_that_does_not_fit_and_strict_waits() -> None:
    """cluster_queue, queueing strategy."""
    rows = [("q", 3, 0, LONG), ("q", 3, 0, LONG), ("q", 1, 0, LONG)]
    assert running(play(QueueTree((queue("q", 4),)), rows, **AT_10)) == [0, 2]
    strict = QueueTree((queue("q", 4, strict=True),))
    assert running(play(strict, rows, **AT_10)) == [0]


@pytest.mark.parametrize(
    ("within", "priorities", "left"),
    [
        (Preempt.NEVER, (0, 1), [0]),
        (Preempt.LOWER_PRIORITY, (0, 1), [1]),
        (Preempt.LOWER_PRIORITY, (1, 1), [0]),
        (Preempt.LOWER_OR_NEWER_EQUAL_PRIORITY, (1, 1), [0]),  # the newer one asks
    ],
)
def test_who_is_preempted_within_a_queue(
    within: Preempt, priorities: tuple[int, int], left: list[int]
) -> None:
    tree = QueueTree((queue("q", 4, None, within=within),))
    rows = [("q", 4, priority, LONG) for priority in priorities]
    assert running(play(tree, rows, **AT_10)) == left


def test_an_older_job_takes_its_place_back_from_a_newer_equal_one() -> None:
    """preemption, LowerOrNewerEqualPriority: 0 gives way to 2, comes back, and takes 1's place."""
    rule = Preempt.LOWER_OR_NEWER_EQUAL_PRIORITY
    tree = QueueTree((queue("q", 4, None, within=rule),))
    rows = [("q", 4, 0, LONG), ("q", 2, 0, LONG), ("q", 2, 1, 5)]
    played = play(tree, rows, until_ns=30 * SECOND)
    assert running(played) == [0]
    assert played.preemptions.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("reclaim", "priority", "left"),
    [
        (Preempt.NEVER, 5, [0]),
        (Preempt.LOWER_PRIORITY, 0, [0]),
        (Preempt.LOWER_PRIORITY, 5, [1]),
        (Preempt.ANY, -5, [1]),
    ],
)
def test_a_queue_reclaims_its_nominal_quota(
    reclaim: Preempt, priority: int, left: list[int]
) -> None:
    """preemption, reclaimWithinCohort."""
    tree = QueueTree((queue("a", 4, reclaim=reclaim), queue("b", 0)))
    rows = [("b", 4, 0, LONG), ("a", 4, priority, LONG)]
    assert running(play(tree, rows, **AT_10)) == left


@pytest.mark.parametrize("fair", [False, True])
def test_nominal_quota_is_guaranteed_where_any_may_be_reclaimed(fair: bool) -> None:
    """However many borrow, a queue that asks for its nominal quota has it."""
    tree = QueueTree(tuple(queue(name, 4, reclaim=Preempt.ANY) for name in "abc"))
    rows = [("b", 1, 9, LONG)] * 6 + [("c", 3, 9, LONG)] * 2 + [("a", 2, 0, LONG)] * 2
    played = play(tree, rows, QuotaOptions(fair_sharing=fair), until_ns=60 * SECOND)
    assert set(running(played)) >= {8, 9}


def test_borrowing_jobs_preempt_only_below_the_threshold() -> None:
    """kep 1337: while borrowing, only lower priority up to maxPriorityThreshold is preempted."""

    def left(threshold: int | None, bold: bool = True) -> list[int]:
        a = queue("a", 2, reclaim=Preempt.LOWER_PRIORITY, borrow_within=bold, threshold=threshold)
        tree = QueueTree((a, queue("b", 2), queue("spare", 4)))
        return running(play(tree, [("b", 8, 1, LONG), ("a", 4, 2, LONG)], **AT_10))

    assert left(None) == [1]
    assert left(1) == [1]
    assert left(0) == [0]
    assert left(None, bold=False) == [0]


def test_no_more_are_preempted_than_must_go() -> None:
    """preemption, classic: lowest priority and latest first, then those who still fit stay."""
    tree = QueueTree((queue("q", 8, None, within=Preempt.LOWER_PRIORITY),))
    rows = [("q", 2, 0, LONG), ("q", 1, 0, LONG), ("q", 5, 1, LONG), ("q", 6, 2, LONG)]
    played = play(tree, rows, **AT_10)
    # in order 1, 0, 2 have to go; 0 is spared on the way back, 1 after it is not
    assert played.log_job[played.log_kind == Event.PREEMPTED].tolist() in ([1, 2], [2, 1], [2])
    assert 3 in running(played)
    assert 0 in running(played)


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ({}, "first"),  # whenCanBorrow: MayStopSearch, the default: borrow of the first
        ({"next_when_borrow": True}, "second"),  # TryNextFlavor: the next has room of its own
    ],
)
def test_flavors_are_tried_in_order(rules: dict[str, bool], taken: str) -> None:
    """cluster_queue, flavorFungibility (kep 582)."""
    flavors = (("first", {GPU: Quota(1000)}), ("second", {GPU: Quota(4000)}))
    mine = Queue("a", (Group((GPU,), flavors),), "k", **rules)
    other = Queue("b", (Group((GPU,), (("first", {GPU: Quota(4000)}),)),), "k")
    played = play(QueueTree((mine, other)), [("a", 2, 0, LONG)], **AT_10)
    assert ["first", "second"][played.took[0].max()] == taken


def test_preference_decides_between_borrowing_and_preemption() -> None:
    """cluster_queue, flavorFungibility.preference."""

    def taken(preference: Preference) -> list[int]:
        flavors = (("own", {GPU: Quota(4000)}), ("shared", {GPU: Quota(0)}))
        mine = Queue(
            "a",
            (Group((GPU,), flavors),),
            "k",
            within=Preempt.LOWER_PRIORITY,
            next_when_borrow=True,
            preference=preference,
        )
        other = Queue("b", (Group((GPU,), (("shared", {GPU: Quota(4000)}),)),), "k")
        return play(
            QueueTree((mine, other)), [("a", 4, 0, LONG), ("a", 4, 1, LONG)], **AT_10
        ).preemptions.tolist()

    assert taken(Preference.BORROWING_OVER_PREEMPTION) == [0, 0]
    assert taken(Preference.PREEMPTION_OVER_BORROWING) == [1, 0]


def test_jobs_of_a_device_model_take_only_its_flavor() -> None:
    flavors = (("old", {GPU: Quota(4000)}), ("new", {GPU: Quota(4000)}))
    tree = QueueTree(
        (Queue("q", (Group((GPU,), flavors),)),),
        flavors=(Flavor("old", frozenset({"V100"})), Flavor("new", frozenset({"B200"}))),
    )
    jobs = jobs_of(["q"], [("q", 1, 0, LONG)] * 3)._replace(models=np.array([0, 1, 2]))
    models = (frozenset[str](), frozenset({"B200"}), frozenset({"T4"}))
    played = replay_quotas(jobs, tree, ["q"], models=models, until_ns=10 * SECOND)
    names = sorted(["old", "new"])
    assert [names[c] if c >= 0 else None for c in played.took.max(axis=1)] == ["old", "new", None]


def test_fair_sharing_admits_first_where_least_is_borrowed() -> None:
    """fair_sharing, admission: the head whose queue has the smallest share goes first."""
    tree = QueueTree((queue("a", 0), queue("b", 0), queue("spare", 6)))
    rows = [("a", 3, 9, LONG), ("a", 3, 9, 5), ("a", 3, 9, LONG), ("b", 3, 0, LONG)]
    assert running(play(tree, rows, until_ns=30 * SECOND)) == [0, 2]
    fair = play(tree, rows, QuotaOptions(fair_sharing=True), until_ns=30 * SECOND)
    assert running(fair) == [0, 3]


@pytest.mark.parametrize(
    ("strategies", "left"),
    [
        ((Strategy.FINAL_SHARE, Strategy.INITIAL_SHARE), [0, 1, 3, 4]),
        ((Strategy.FINAL_SHARE,), [0, 1, 3, 4]),
        ((Strategy.INITIAL_SHARE,), [0, 1, 3, 4]),
    ],
)
def test_fair_sharing_preempts_the_larger_borrower(
    strategies: tuple[Strategy, ...], left: list[int]
) -> None:
    """kep 1714, S2-a and S2-b: b takes the latest of a's while a still has no less than b."""
    tree = QueueTree((queue("a", 0), queue("b", 0, reclaim=Preempt.ANY), queue("spare", 4)))
    rows = [("a", 1, 0, LONG)] * 4 + [("b", 1, 0, LONG)] * 3
    options = QuotaOptions(fair_sharing=True, strategies=strategies)
    held = running(play(tree, rows, options, until_ns=30 * SECOND))
    assert sum(job < 4 for job in held) == sum(job >= 4 for job in held) == 2, left


def test_only_the_initial_share_breaks_up_one_huge_borrower() -> None:
    """kep 1714, S2-b: "this rule prevents huge workloads from taking the whole unused capacity"."""
    tree = QueueTree((queue("a", 0), queue("b", 0, reclaim=Preempt.ANY), queue("spare", 4)))
    rows = [("a", 4, 0, LONG), ("b", 2, 0, LONG)]

    def held(*strategies: Strategy) -> list[int]:
        options = QuotaOptions(fair_sharing=True, strategies=strategies)
        return running(play(tree, rows, options, **AT_10))

    assert held(Strategy.FINAL_SHARE) == [0]
    assert held(Strategy.FINAL_SHARE, Strategy.INITIAL_SHARE) == [1]


def test_a_larger_weight_borrows_more() -> None:
    """fair_sharing, weight: shares are divided by it."""
    tree = QueueTree(
        (
            queue("a", 0, weight=2.0, reclaim=Preempt.ANY),
            queue("b", 0, reclaim=Preempt.ANY),
            queue("spare", 6),
        )
    )
    rows = [("b", 1, 0, LONG)] * 6 + [("a", 1, 0, LONG)] * 6
    held = running(play(tree, rows, QuotaOptions(fair_sharing=True), until_ns=60 * SECOND))
    assert sum(job >= 6 for job in held) == 4


def test_an_evicted_job_keeps_its_place_in_the_queue_and_restarts() -> None:
    """Kueue requeues by creation time unless a check or the PodsReady timeout evicted."""
    tree = QueueTree((queue("q", 4, None, within=Preempt.LOWER_PRIORITY),))
    rows = [("q", 4, 0, 10), ("q", 4, 0, 10), ("q", 4, 1, 10)]
    lost = play(tree, rows)
    assert lost.end_ns.tolist() == [23 * SECOND, 34 * SECOND, 12 * SECOND]
    kept = play(tree, rows, QuotaOptions(keep_progress=True))
    assert kept.end_ns.tolist() == [21 * SECOND, 32 * SECOND, 12 * SECOND]
    assert lost.first_ns[0] == 0
    assert lost.start_ns[0] == 13 * SECOND


def test_quota_of_an_evicted_job_is_free_when_its_pods_are_gone() -> None:
    tree = QueueTree((queue("q", 4, None, within=Preempt.LOWER_PRIORITY),))
    rows = [("q", 4, 0, LONG), ("q", 4, 1, LONG)]
    played = play(tree, rows, QuotaOptions(eviction_ns=30 * SECOND), until_ns=100 * SECOND)
    assert played.start_ns[1] == 31 * SECOND


def test_parked_jobs_are_tried_again_once_a_second() -> None:
    """Kueue 0.19.2 gathers what makes room for a second before it retries what it parked."""
    tree = QueueTree((queue("q", 4, None),))
    rows = [("q", 4, 0, 10), ("q", 4, 0, 10)]
    assert play(tree, rows).start_ns[1] == 11 * SECOND
    assert play(tree, rows, QuotaOptions(requeue_ns=0)).start_ns[1] == 10 * SECOND


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (QuotaOptions(strategies=()), "no preemption strategy"),
        (QuotaOptions(strategies=(Strategy.INITIAL_SHARE, Strategy.FINAL_SHARE)), "Kueue's order"),
    ],
)
def test_strategies_that_kueue_does_not_know_are_refused(options: QuotaOptions, said: str) -> None:
    with pytest.raises(QuotaError, match=said):
        play(QueueTree((queue("q", 4),)), [("q", 1, 0, 1)], options)


def test_queues_of_a_trace_need_a_cluster_queue() -> None:
    tree = QueueTree((queue("q", 4),), local_queues={"team/x": "q", "x": "q"})
    jobs = jobs_of(["x"], [("x", 1, 0, 1)])
    assert replay_quotas(jobs, tree, ["x"]).end_ns.tolist() == [SECOND]
    with pytest.raises(QuotaError, match="without a ClusterQueue: 'y'"):
        replay_quotas(jobs, tree, ["y"])


def test_several_devices_have_to_be_told_apart() -> None:
    groups = (
        Group((GPU,), (("f", {GPU: Quota(1000)}),)),
        Group(("rebellions.ai/ATOM",), (("n", {"rebellions.ai/ATOM": Quota(1000)}),)),
    )
    tree = QueueTree((Queue("q", groups),))
    with pytest.raises(QuotaError, match="say which of them"):
        play(tree, [("q", 1, 0, 1)])
    assert play(tree, [("q", 1, 0, 1)], QuotaOptions(device=GPU)).end_ns.tolist() == [SECOND]


def test_an_empty_trace_is_played_at_once() -> None:
    played = play(QueueTree((queue("q", 4),)), [])
    assert played.cycles == 0
    assert played.log_ns.size == 0

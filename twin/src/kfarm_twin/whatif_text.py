"""The result in sentences, from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence

from kfarm_twin.figures import brief_span, digits
from kfarm_twin.whatif_result import PolicyResult, Workload
from kfarm_twin.whatif_stats import Difference, Interval, difference

MAIN = "waitMeanS"
TINY_SHARE = 0.01
"""A change of less than this share is called no gain even where chance cannot explain it."""


def best_policy(policies: Sequence[PolicyResult]) -> PolicyResult | None:
    """The least mean wait among those that run the most jobs; the earlier of equals."""
    known = [policy for policy in policies if policy.metrics[MAIN].mean is not None]
    if not known:
        return None
    return min(known, key=lambda policy: (policy.never_run, policy.metrics[MAIN].mean))


def headline(
    policies: Sequence[PolicyResult],
    best: PolicyResult | None,
    workload: Workload,
    replicas: int,
) -> list[str]:
    """What a planner should take away: the gain, its price, and what changes nothing."""
    if best is None:
        return ["No job ran under any policy."]
    first = policies[0]
    sentences = [_gain(first, best, workload, replicas, alone=len(policies) == 1)]
    if best is not first:
        sentences += _price(first, best)
    sentences += _others(policies, first, best)
    sentences += [
        f"{policy.name} leaves {digits(policy.never_run)} jobs that can never run on this farm."
        for policy in policies
        if policy.never_run
    ]
    if replicas == 1:
        sentences.append("One replica was played, so nothing can be said about chance.")
    return sentences


def _gain(
    first: PolicyResult, best: PolicyResult, workload: Workload, replicas: int, *, alone: bool
) -> str:
    recorded = workload.kind == "Trace"
    before, after = _shown(first, recorded=recorded), _shown(best, recorded=recorded)
    where = f"on {workload.source}" + (" as recorded" if recorded else "")
    if alone:
        return f"Under {first.name} jobs wait {after} on average {where}."
    if best is first:
        return f"No policy cuts the mean wait of {first.name}, {before} {where}."
    sentence = f"{best.name} cuts the mean wait from {before} to {after} {where}"
    return f"{sentence}{_certainty(best.differences[MAIN], replicas)}."


def _shown(policy: PolicyResult, *, recorded: bool) -> str:
    """Mean wait in the trace as recorded, or over the replicas."""
    figure = policy.metrics[MAIN]
    value = figure.replicas[0] if recorded else figure.mean
    return brief_span(value or 0.0)


def _certainty(change: Difference, replicas: int) -> str:
    """How sure the gain is, in percent where there is a ratio, else in time."""
    if change.low is None or change.high is None:
        return ""
    count = f"better in {change.better} of {replicas}"
    if change.word == "Undecided":
        return f"; with {replicas} replicas that may be chance ({count})"
    if change.ratio is not None and change.ratio_low is not None and change.ratio_high is not None:
        least, most = 100 * (1 - change.ratio_high), 100 * (1 - change.ratio_low)
        return (
            f", by {100 * (1 - change.ratio):.0f} % over all replicas "
            f"(95 % confidence: {least:.0f} to {most:.0f} %; {count})"
        )
    low, high = sorted((abs(change.low), abs(change.high)))
    return f" (saves {brief_span(low)} to {brief_span(high)} with 95 % confidence; {count})"


def _price(first: PolicyResult, best: PolicyResult) -> list[str]:
    """Where the best policy does worse than the first."""
    prices = []
    for name, what in (
        ("waitP99S", "the wait of the slowest 1 %"),
        ("waitMaxS", "the longest wait"),
    ):
        change = best.differences[name]
        if change.word == "Worse":
            before, after = _value(first.metrics[name]), _value(best.metrics[name])
            prices.append(f"{what} grows from {brief_span(before)} to {brief_span(after)}")
    paired = zip(first.sizes, best.sizes, strict=True) if _same_sizes(first, best) else ()
    losers = [
        f"{after.label} accelerators ({brief_span(before.wait_mean_s)} to "
        f"{brief_span(after.wait_mean_s)})"
        for before, after in paired
        if before.wait_mean_s is not None
        and after.wait_mean_s is not None
        and after.wait_mean_s > before.wait_mean_s * (1 + TINY_SHARE)
        and after.wait_mean_s - before.wait_mean_s > 1
    ]
    if losers:
        prices.append("longer mean waits for jobs of " + ", ".join(losers))
    return ["The price: " + "; ".join(prices) + "."] if prices else []


def _same_sizes(one: PolicyResult, other: PolicyResult) -> bool:
    return [size.label for size in one.sizes] == [size.label for size in other.sizes]


def _others(policies: Sequence[PolicyResult], first: PolicyResult, best: PolicyResult) -> list[str]:
    """The policies that are neither the first nor the best, by what they change."""
    groups: dict[str, list[str]] = {"equal": [], "better": [], "none": [], "worse": []}
    for policy in policies:
        if policy is first or policy is best:
            continue
        groups[_group(policy, first, best)].append(f"{policy.name} ({_signed(policy)})")
    texts = {
        "equal": "As good as " + best.name + ", as far as chance lets one see: {}.",
        "better": "Less is gained by {}.",
        "none": "Nothing is gained by {}.",
        "worse": "Worse than " + first.name + ": {}.",
    }
    return [text.format(_list(groups[key])) for key, text in texts.items() if groups[key]]


def _group(policy: PolicyResult, first: PolicyResult, best: PolicyResult) -> str:
    change = policy.differences[MAIN]
    before = _value(first.metrics[MAIN])
    if best is not first and change.word == "Better":
        mine, top = policy.metrics[MAIN].replicas, best.metrics[MAIN].replicas
        to_best = difference(mine, top, lower_is_better=True)
        tiny = abs(to_best.mean or 0.0) <= TINY_SHARE * before
        return "equal" if tiny or to_best.word in ("Same", "Undecided") else "better"
    small = change.mean is not None and abs(change.mean) <= TINY_SHARE * before
    if small or change.word in ("Same", "Undecided"):
        return "none"
    return "better" if change.word == "Better" else "worse"


def _signed(policy: PolicyResult) -> str:
    change = policy.differences[MAIN]
    if change.mean is None:
        return "no value"
    if change.mean == 0:
        return "the same wait"
    doubt = ", may be chance" if change.word == "Undecided" and change.low is not None else ""
    word = "saves" if change.mean < 0 else "adds"
    if change.ratio is not None and (change.ratio < 1) == (change.mean < 0):
        return f"{word} {100 * abs(1 - change.ratio):.0f} %{doubt}"
    return f"{word} {brief_span(abs(change.mean))}{doubt}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _value(figure: Interval) -> float:
    return 0.0 if figure.mean is None else figure.mean

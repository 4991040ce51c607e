"""A profile of kube-scheduler: its default, or what a KubeSchedulerConfiguration makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from kfarm_api.parse import path_text, show

from kfarm_twin.kube.objects import DEFAULT_SCHEDULER
from kfarm_twin.kube.podspec import (
    HOSTNAME,
    MAX_WEIGHT,
    Spread,
    read_node_selector,
    read_preferences,
    read_spread,
)
from kfarm_twin.kube.reading import Field
from kfarm_twin.kube.reading import Path as Place
from kfarm_twin.kube.requests import CPU, MEMORY
from kfarm_twin.kube.selectors import NodeTerm
from kfarm_twin.load import ManifestError, Problem, read_documents

ZONE = "topology.kubernetes.io/zone"
VERSION = "kubescheduler.config.k8s.io/v1"
SCORING = (
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
)
"""In the order of `policy.kube_columns`."""
DEFAULT_WEIGHTS = (3, 2, 1, 2, 2, 1, 1)
"""kube-scheduler 1.36, pkg/scheduler/apis/config/v1/default_plugins.go."""
FILTERING = (
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
)
PREEMPTION = "DefaultPreemption"
DEVICES = "DynamicResources"
"""Scores every node 0 for pods without resource claims, and says so when a pod does not fit."""
GATES = "SchedulingGates"
STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_SYSTEM_SPREAD = tuple(
    Spread(key, skew, False, None, 1, True, False) for key, skew in ((HOSTNAME, 3), (ZONE, 5))
)
_POINTS = ("multiPoint", "filter", "score", "postFilter")
_UNUSUAL = ("preEnqueue", "queueSort", "preFilter", "preScore", "reserve", "permit", "bind")
_DEFAULTS = dict(zip((*SCORING, DEVICES), (*DEFAULT_WEIGHTS, 2), strict=True))
_OTHERS = frozenset(
    (
        *("PrioritySort", "NodeName", "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding"),
        *("VolumeZone", "DefaultBinder", "NodeDeclaredFeatures"),
    )
)


@dataclass(frozen=True)
class Profile:
    """What decides placement in one profile.

    Attributes
    ----------
    weights
        Weight of each of `SCORING`; 0 where the plugin does not score.
    filters
        Names of `FILTERING` that filter.
    strategy, resources, shape
        Of NodeResourcesFit: strategy, (resource, weight), and (utilisation, score) points for
        RequestedToCapacityRatio.
    spread
        Constraints for pods that have none; `spread_is_system` when they are kube-scheduler's own.
    """

    name: str = DEFAULT_SCHEDULER
    weights: tuple[int, ...] = DEFAULT_WEIGHTS
    filters: tuple[str, ...] = FILTERING
    preempts: bool = True
    scores_devices: bool = True
    looks_at_devices: bool = True
    strategy: str = STRATEGIES[0]
    resources: tuple[tuple[str, int], ...] = ((CPU, 1), (MEMORY, 1))
    shape: tuple[tuple[int, int], ...] = ()
    balanced: tuple[str, ...] = (CPU, MEMORY)
    ignored: tuple[str, ...] = ()
    ignored_groups: tuple[str, ...] = ()
    hard_affinity_weight: int = 1
    ignore_preferred_of_others: bool = False
    enforced: tuple[NodeTerm, ...] | None = None
    enforced_preferred: tuple[tuple[int, NodeTerm], ...] = ()
    spread: tuple[Spread, ...] = _SYSTEM_SPREAD
    spread_is_system: bool = True
    warnings: tuple[str, ...] = field(default=())


def load_profile(file: Path) -> Profile:
    """Read the first profile of a KubeSchedulerConfiguration.

    Raises
    ------
    ManifestError
        When the file is none, or has what the twin cannot follow.
    """
    problems: list[Problem] = []
    profile = Profile()
    for text in read_documents(file, problems, 8 << 20)[:1]:

        def report(path: Place, found: str, expected: str, text=text) -> None:  # type: ignore[no-untyped-def]
            line = text.line_of(path)
            problems.append(Problem(file, text.index, path_text(path), found, expected, line))

        body = Field({}, (), report).at(text.value, ())
        if body.text("kind") != "KubeSchedulerConfiguration" or body.text("apiVersion") != VERSION:
            report(
                ("kind",), show(body.body.get("kind")), f"KubeSchedulerConfiguration of {VERSION}"
            )
        else:
            profile = _read(body)
    if problems:
        raise ManifestError(problems)
    return profile


def _read(body: Field) -> Profile:
    made, warnings = Profile(), []
    if body.list("extenders"):
        body.report((*body.path, "extenders"), "extenders", "none: the twin cannot ask them")
    share = body.integer("percentageOfNodesToScore", 100, 0, 100)
    profiles = body.items("profiles")
    if len(profiles) > 1:
        warnings.append(f"{len(profiles)} profiles: only the first is used")
    for profile in profiles[:1]:
        made = replace(made, name=profile.text("schedulerName") or DEFAULT_SCHEDULER)
        share = profile.integer("percentageOfNodesToScore", share, 0, 100)
        plugins = profile.child("plugins")
        made = _plugins(made, plugins)
        unusual = [point for point in _UNUSUAL if plugins.has(point)]
        if unusual:
            warnings.append(f"plugins of {', '.join(unusual)} are taken as the default ones")
        for entry in profile.items("pluginConfig"):
            made = _arguments(made, entry.text("name"), entry.child("args"), entry)
    if share not in (0, 100):
        warnings.append(f"percentageOfNodesToScore {share}: the twin looks at all nodes")
    return replace(made, warnings=tuple(warnings))


def _plugins(made: Profile, plugins: Field) -> Profile:
    weights = dict(zip((*SCORING, DEVICES), (*made.weights, 2), strict=True))
    filters, after = set(made.filters), {PREEMPTION, DEVICES}
    for point in _POINTS:
        sets = plugins.child(point)
        for entry in sets.items("disabled"):
            for name in _named(entry, (*SCORING, *FILTERING, PREEMPTION, DEVICES)):
                _check_known(entry, name)
                if point in ("multiPoint", "score") and name in weights:
                    weights[name] = 0
                if point in ("multiPoint", "filter"):
                    filters.discard(name)
                if point in ("multiPoint", "postFilter"):
                    after.discard(name)
        for entry in sets.items("enabled"):
            name = entry.text("name")
            _check_known(entry, name)
            if point in ("multiPoint", "score") and name in weights:
                default = _DEFAULTS[name] if point == "multiPoint" else 1
                weights[name] = entry.integer("weight", 0, 0, MAX_WEIGHT) or default
            if point in ("multiPoint", "filter") and name in FILTERING:
                filters.add(name)
            if point in ("multiPoint", "postFilter") and name in (PREEMPTION, DEVICES):
                after.add(name)
    return replace(
        made,
        weights=tuple(weights[name] for name in SCORING),
        filters=tuple(name for name in FILTERING if name in filters),
        preempts=PREEMPTION in after,
        looks_at_devices=DEVICES in after,
        scores_devices=weights[DEVICES] > 0,
    )


def _check_known(entry: Field, name: str) -> None:
    if name not in (*SCORING, *FILTERING, PREEMPTION, DEVICES, GATES, *_OTHERS):
        entry.report((*entry.path, "name"), show(name), "a plugin of kube-scheduler itself")


def _named(entry: Field, known: Sequence[str]) -> Sequence[str]:
    name = entry.text("name")
    return known if name == "*" else (name,)


def _arguments(made: Profile, name: str, args: Field, entry: Field) -> Profile:
    if name == "NodeResourcesFit":
        return _fit(made, args)
    if name == "NodeResourcesBalancedAllocation":
        names = tuple(r.text("name") for r in args.items("resources"))
        return replace(made, balanced=names or made.balanced)
    if name == "InterPodAffinity":
        weight = args.integer("hardPodAffinityWeight", made.hard_affinity_weight, 0, MAX_WEIGHT)
        ignore = args.flag("ignorePreferredTermsOfExistingPods")
        return replace(made, hard_affinity_weight=weight, ignore_preferred_of_others=ignore)
    if name == "NodeAffinity":
        return _node_affinity(made, args.child("addedAffinity"))
    if name == "PodTopologySpread":
        return _spread(made, args)
    if name == PREEMPTION:
        return made  # how many candidates are tried: the twin tries all
    _check_known(entry, name)
    return made


def _fit(made: Profile, args: Field) -> Profile:
    strategy = args.child("scoringStrategy")
    kind = strategy.choice("type", made.strategy, STRATEGIES)
    resources = tuple(
        (r.text("name"), r.integer("weight", 1, 1, MAX_WEIGHT) or 1)
        for r in strategy.items("resources")
    )
    points = strategy.child("requestedToCapacityRatio").items("shape")
    shape = tuple(
        (p.integer("utilization", 0, 0, 100), p.integer("score", 0, 0, 10) * 10) for p in points
    )
    rising = all(a[0] < b[0] for a, b in pairwise(shape))
    if kind == STRATEGIES[2] and (not shape or not rising):
        path = (*strategy.path, "requestedToCapacityRatio", "shape")
        strategy.report(path, f"{len(shape)} points", "points of rising utilization")
        kind = made.strategy
    return replace(
        made,
        strategy=kind,
        resources=resources or made.resources,
        shape=shape,
        ignored=args.texts("ignoredResources"),
        ignored_groups=args.texts("ignoredResourceGroups"),
    )


def _node_affinity(made: Profile, added: Field) -> Profile:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = read_node_selector(added.child(required)) if added.has(required) else None
    return replace(
        made, enforced=terms, enforced_preferred=read_preferences(added.items(preferred))
    )


def _spread(made: Profile, args: Field) -> Profile:
    kind = args.choice("defaultingType", "System", ("System", "List"))
    if kind == "System":
        return made
    constraints = tuple(read_spread(e, {}) for e in args.items("defaultConstraints"))
    return replace(made, spread=constraints, spread_is_system=False)

"""Each rule of the kube driver on a case small enough to do by hand; test_kube_scheduler.py in
tests/differential holds them all against the real scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfarm_twin.kube.describe import Described, make_cluster
from kfarm_twin.kube.driver import Decision, Outcome, Scheduler, queue_order, schedule
from kfarm_twin.kube.profile import Profile, load_profile
from kfarm_twin.load import ManifestError
from kfarm_twin.manifest_text import TextDocument

Body = dict[str, Any]
GI = 2**30


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", **more: Any) -> Body:
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    amounts = {"cpu": cpu, "memory": memory, "pods": "110", **more.pop("allocatable", {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": more.pop("spec", {}),
        "status": {"allocatable": amounts, **more},
    }


def pod(name: str, *, on: str = "", cpu: str = "1", memory: str = "1Gi", **spec: Any) -> Body:
    requests = {"cpu": cpu, "memory": memory} if cpu else {}
    labels = spec.pop("labels", {"app": "x"})
    status = spec.pop("status", {})
    metadata = {"name": name, "namespace": "a", "labels": labels, **spec.pop("metadata", {})}
    container = {"name": "c", "image": "i:1", "resources": {"requests": requests}}
    made = {"containers": [container | spec.pop("container", {})], **spec}
    if on:
        made["nodeName"] = on
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made, "status": status}


def started(second: int) -> Body:
    return {"phase": "Running", "startTime": f"2026-01-01T00:00:{second:02}Z"}


def scheduler(cluster: list[Body], pods: list[Body], profile: Profile | None = None) -> Any:
    here, wanted = Described(), Described()
    for described, bodies in ((here, cluster), (wanted, pods)):
        for body in bodies:
            described.add_body(Path("f"), TextDocument(1), (), body)
    made, waiting = make_cluster(here, wanted)
    assert not here.problems + wanted.problems, here.problems + wanted.problems
    return Scheduler(made, waiting, profile), waiting


def decide(cluster: list[Body], wanted: Body, profile: Profile | None = None) -> Decision:
    made, waiting = scheduler(cluster, [wanted], profile)
    decision: Decision = made.decide(waiting[0])
    return decision


def score(decision: Decision, plugin: str) -> dict[str, int]:
    return {name: scored.plugins[plugin] for name, scored in decision.scores.items()}


def refused(decision: Decision) -> dict[str, str]:
    return {name: ", ".join(refusal.reasons) for name, refusal in decision.refused.items()}


def test_least_allocated_counts_what_is_left() -> None:
    cluster = [node("a"), node("b"), pod("old", on="b", cpu="1", memory="3Gi")]
    decision = decide(cluster, pod("p", cpu="1", memory="1Gi"))
    # a: (3/4 + 7/8) / 2 = 81 of 75 + 87; b: (2/4 + 4/8) / 2
    assert score(decision, "NodeResourcesFit") == {"a": 81, "b": 50}


def test_most_allocated_and_ratio_by_configuration() -> None:
    cluster = [node("a"), node("b"), pod("old", on="b", cpu="1", memory="3Gi")]
    most = decide(cluster, pod("p"), Profile(strategy="MostAllocated"))
    assert score(most, "NodeResourcesFit") == {"a": (25 + 12) // 2, "b": 50}
    shape = ((0, 100), (50, 0), (100, 50))
    ratio = Profile(strategy="RequestedToCapacityRatio", shape=shape)
    # a: 25 % -> 50, 12 % -> 100 - 24 = 76, mean 63; b: 50 % -> 0 twice
    assert score(decide(cluster, pod("p"), ratio), "NodeResourcesFit") == {"a": 63, "b": 0}


def test_a_pod_without_requests_counts_a_little_and_is_not_balanced() -> None:
    decision = decide([node("a"), node("b", cpu="1", memory="400Mi")], pod("p", cpu=""))
    assert score(decision, "NodeResourcesFit") == {"a": (97 + 97) // 2, "b": (90 + 50) // 2}
    assert "NodeResourcesBalancedAllocation" not in decision.scores["a"].plugins


def test_balance_is_judged_by_what_the_pod_changes() -> None:
    cluster = [node("a"), node("b"), pod("old", on="b", cpu="2", memory="")]
    cluster[-1]["spec"]["containers"][0]["resources"]["requests"].pop("memory")
    decision = decide(cluster, pod("p", cpu="1", memory="6Gi"))
    # a: from 100 to 75 -> 50 + 25 / 2 = 62; b: from 75 to 100 -> 50 + 75 / 2 = 87
    assert score(decision, "NodeResourcesBalancedAllocation") == {"a": 62, "b": 87}


def test_taints_keep_off_or_make_less_liked() -> None:
    def tainted(name: str, effect: str) -> Body:
        return node(name, spec={"taints": [{"key": "k", "value": "v", "effect": effect}]})

    cluster = [tainted("no", "NoSchedule"), tainted("rather-not", "PreferNoSchedule"), node("yes")]
    decision = decide(cluster, pod("p"))
    assert refused(decision) == {"no": "node(s) had untolerated taint(s)"}
    assert score(decision, "TaintToleration") == {"rather-not": 0, "yes": 300}
    tolerations = [{"key": "k", "operator": "Equal", "value": "v"}]
    assert decide(cluster, pod("p", tolerations=tolerations)).feasible_count == 3


def test_unschedulable_nodes_take_pods_that_tolerate_it() -> None:
    cluster = [node("a", spec={"unschedulable": True})]
    decision = decide(cluster, pod("p"))
    assert decision.message.startswith("0/1 nodes are available: 1 node(s) were unschedulable.")
    tolerations = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]
    assert decide(cluster, pod("p", tolerations=tolerations)).node == "a"


def test_image_locality_scales_size_by_spread() -> None:
    images = [{"names": ["i:1"], "sizeBytes": 600 * 2**20}]
    decision = decide([node("a", images=images), node("b")], pod("p"))
    # half of the nodes hold it: (300 - 23) / (1000 - 23)
    assert score(decision, "ImageLocality") == {"a": 28, "b": 0}


def spread(**more: Any) -> list[Body]:
    selector = {"matchLabels": {"app": "x"}}
    base = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    return [base | {"labelSelector": selector} | more]


def test_hard_spread_keeps_the_skew() -> None:
    cluster = [
        node("a", labels={"zone": "1"}),
        node("b", labels={"zone": "2"}),
        node("c"),
        pod("old", on="a"),
        pod("leaving", on="b", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ]
    decision = decide(cluster, pod("p", topologySpreadConstraints=spread()))
    assert decision.feasible == ("b",)
    assert refused(decision) == {
        "a": "node(s) didn't match pod topology spread constraints",
        "c": "node(s) didn't match pod topology spread constraints (missing required label)",
    }
    three = decide(cluster, pod("p", topologySpreadConstraints=spread(minDomains=3, maxSkew=1)))
    assert three.feasible == ("b",)
    wide = decide(cluster, pod("p", topologySpreadConstraints=spread(minDomains=3, maxSkew=2)))
    assert wide.feasible == ("a", "b")


def test_services_spread_their_pods_by_default() -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "a"},
        "spec": {"selector": {"app": "x"}},
    }
    cluster = [node("a"), node("b"), pod("old", on="a"), service]
    # by host, max skew 3, two domains: a: 1 x ln 4 + 2 = 3; b: 2; 100 x (3 + 2 - 3) / 3 = 66
    assert score(decide(cluster, pod("p")), "PodTopologySpread") == {"a": 132, "b": 200}
    assert "PodTopologySpread" not in decide(cluster[:3], pod("p")).scores["a"].plugins


def terms(**more: Any) -> list[Body]:
    selector = {"matchLabels": {"app": "x"}}
    return [{"topologyKey": "zone", "labelSelector": selector} | more]


HARD, SOFT = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
ZONED = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})]


def test_affinity_wants_company_but_for_the_first() -> None:
    near = {"podAffinity": {HARD: terms()}}
    assert decide(ZONED, pod("p", affinity=near)).feasible_count == 2
    stranger = decide(ZONED, pod("p", affinity=near, labels={"app": "y"}))
    assert set(refused(stranger).values()) == {"node(s) didn't match pod affinity rules"}
    assert decide([*ZONED, pod("old", on="b")], pod("p", affinity=near)).feasible == ("b",)


def test_anti_affinity_works_both_ways() -> None:
    apart = {"podAntiAffinity": {HARD: terms()}}
    mine = decide([*ZONED, pod("old", on="b")], pod("p", affinity=apart))
    assert refused(mine) == {"b": "node(s) didn't match pod anti-affinity rules"}
    theirs = decide([*ZONED, pod("old", on="b", affinity=apart)], pod("p"))
    assert refused(theirs) == {"b": "node(s) didn't satisfy existing pods anti-affinity rules"}


def test_terms_reach_the_namespaces_they_name() -> None:
    other = pod("old", on="b")
    other["metadata"]["namespace"] = "z"
    for term, count in (
        (terms(), 2),
        (terms(namespaces=["z"]), 1),
        (terms(namespaceSelector={}), 1),
        (terms(namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "z"}}), 1),
        (terms(namespaceSelector={"matchLabels": {"team": "none"}}), 2),
    ):
        affinity = {"podAntiAffinity": {HARD: term}}
        assert decide([*ZONED, other], pod("p", affinity=affinity)).feasible_count == count


def test_preferred_ties_are_scaled_over_nodes() -> None:
    like = {"podAffinity": {SOFT: [{"weight": 7, "podAffinityTerm": terms()[0]}]}}
    decision = decide([*ZONED, pod("old", on="b")], pod("p", affinity=like))
    assert score(decision, "InterPodAffinity") == {"a": 0, "b": 200}
    theirs = decide(
        [*ZONED, pod("old", on="b", affinity={"podAffinity": {HARD: terms()}})], pod("p")
    )
    assert score(theirs, "InterPodAffinity") == {"a": 0, "b": 200}


@pytest.mark.parametrize(
    ("mine", "theirs", "free"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "1.1.1.1"}, {"hostPort": 80, "hostIP": "2.2.2.2"}, True),
        ({"hostPort": 80, "hostIP": "1.1.1.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "hostIP": "1.1.1.1"}, False),
    ],
)
def test_host_ports_clash_by_address_and_protocol(mine: Body, theirs: Body, free: bool) -> None:
    old = pod("old", on="a", container={"ports": [theirs]})
    decision = decide([node("a"), old], pod("p", container={"ports": [mine]}))
    assert (decision.outcome is Outcome.SCHEDULED) is free


def test_named_nodes_and_conflicting_names() -> None:
    def named(*names: str) -> Body:
        fields = [{"key": "metadata.name", "operator": "In", "values": [n]} for n in names]
        selector = {"nodeSelectorTerms": [{"matchFields": fields}]}
        return {"nodeAffinity": {HARD: selector}}

    decision = decide(ZONED, pod("p", affinity=named("b")))
    assert decision.node == "b"
    assert refused(decision) == {"a": "node(s) didn't satisfy plugin(s) [NodeAffinity]"}
    assert (
        "pod affinity terms conflict" in decide(ZONED, pod("p", affinity=named("a", "b"))).message
    )


def priority(value: int) -> Body:
    return {"priority": value}


def test_preemption_takes_the_cheapest_victims() -> None:
    cluster = [
        node("a"),
        node("b"),
        pod("a1", on="a", cpu="2", **priority(5), status=started(1)),
        pod("a2", on="a", cpu="2", **priority(1), status=started(2)),
        pod("b1", on="b", cpu="4", **priority(5), status=started(3)),
    ]
    made, waiting = scheduler(cluster, [pod("p", cpu="2", **priority(9))])
    (decision,) = schedule(made, waiting)
    assert (decision.outcome, decision.nominated) == (Outcome.PREEMPTING, "a")
    assert [victim.name for victim in decision.victims] == ["a2"]
    assert made.place_of["a/p"] == 0
    assert "a/a2" not in made.bound


def test_preemption_spares_budgets_and_prefers_late_starters() -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "a"},
        "spec": {"selector": {"matchLabels": {"app": "kept"}}},
        "status": {"disruptionsAllowed": 0},
    }
    cluster = [node("a"), node("b"), node("c"), budget]
    for name, app, second in (("a", "kept", 9), ("b", "x", 1), ("c", "x", 5)):
        labels = {"app": app}
        cluster.append(pod(f"on-{name}", on=name, cpu="4", labels=labels, status=started(second)))
    decision = decide(cluster, pod("p", cpu="4", **priority(1)))
    assert (decision.nominated, decision.nominated_best) == ("c", ("c",))
    cluster = [
        body for body in cluster if body["metadata"]["name"] not in ("b", "c", "on-b", "on-c")
    ]
    assert decide([*cluster, budget], pod("p", cpu="4", **priority(1))).nominated == "a"


def test_no_preemption_where_it_may_not_or_cannot_help() -> None:
    cluster = [node("a"), pod("old", on="a", cpu="4")]
    polite = decide(cluster, pod("p", cpu="2", **priority(5), preemptionPolicy="Never"))
    assert polite.message.endswith("preemption: not eligible due to preemptionPolicy=Never.")
    equal = decide(cluster, pod("p", cpu="2"))
    assert equal.message == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    large = decide(cluster, pod("p", cpu="5", **priority(5)))
    assert large.message.endswith("1 Preemption is not helpful for scheduling.")


def test_a_promised_node_is_kept_from_lower_priorities() -> None:
    promised = pod("waiting", cpu="3", **priority(5), status={"nominatedNodeName": "a"})
    assert decide([node("a"), promised], pod("p", cpu="2")).outcome is Outcome.UNSCHEDULABLE
    assert decide([node("a"), promised], pod("p", cpu="2", **priority(6))).node == "a"
    owner = decide([node("a"), node("b", cpu="64")], promised)
    assert (owner.node, owner.feasible_count) == ("a", 1)


def test_pods_that_never_reach_a_cycle() -> None:
    gated = decide([node("a")], pod("p", schedulingGates=[{"name": "g"}]))
    assert (gated.outcome, gated.node) == (Outcome.GATED, "")
    assert decide([node("a")], pod("p", schedulerName="other")).outcome is Outcome.OTHERS
    assert decide([node("a")], pod("p", on="a")).outcome is Outcome.BOUND
    assert decide([node("a")], pod("p", status={"phase": "Failed"})).outcome is Outcome.FINISHED
    leaving = pod("p", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert decide([node("a")], leaving).outcome is Outcome.LEAVING


def test_finished_pods_leave_their_room() -> None:
    done = pod("old", on="a", cpu="4", status={"phase": "Succeeded"})
    assert decide([node("a"), done], pod("p", cpu="4")).node == "a"


def test_the_queue_goes_by_priority_then_age_then_place() -> None:
    bodies = [
        pod("third", metadata={"creationTimestamp": "2026-01-01T00:00:02Z"}),
        pod("last"),
        pod("second", metadata={"creationTimestamp": "2026-01-01T00:00:01Z"}),
        pod("first", **priority(1)),
    ]
    _, waiting = scheduler([node("a")], bodies)
    names = [waited.name for waited in queue_order(waiting)]
    assert names == ["first", "second", "third", "last"]


def test_first_of_equally_good_nodes_is_taken_and_all_are_told() -> None:
    decision = decide([node("b"), node("a"), node("c")], pod("p"))
    assert (decision.node, decision.best) == ("b", ("b", "a", "c"))


CONFIG = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: mine
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
    score:
      disabled: [{name: NodeAffinity}]
      enabled: [{name: TaintToleration, weight: 9}]
    postFilter:
      disabled: [{name: "*"}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      ignoredResources: [example.com/foo]
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 50}
"""


def test_configuration_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    profile = load_profile(file)
    assert profile.name == "mine"
    assert profile.weights == (9, 0, 1, 2, 2, 1, 0)
    assert (profile.strategy, profile.resources) == ("MostAllocated", (("cpu", 3),))
    assert (profile.preempts, profile.looks_at_devices) == (False, False)
    assert profile.hard_affinity_weight == 50
    decision = decide([node("a", cpu="1")], pod("p", cpu="2", schedulerName="mine"), profile)
    assert decision.message == "0/1 nodes are available: 1 Insufficient cpu."


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("MostAllocated", "Best"), "found 'Best'; expected one of LeastAllocated"),
        (("hardPodAffinityWeight: 50", "hardPodAffinityWeight: 500"), "from 0 to 100"),
        (("name: ImageLocality", "name: Mine"), "a plugin of kube-scheduler itself"),
        (("kubescheduler.config.k8s.io/v1", "v1"), "expected KubeSchedulerConfiguration of"),
        (("profiles:", "extenders: [{}]\nprofiles:"), "the twin cannot ask them"),
        (("MostAllocated", "RequestedToCapacityRatio"), "points of rising utilization"),
    ],
)
def test_bad_configuration_is_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace(*change))
    with pytest.raises(ManifestError) as error:
        load_profile(file)
    assert told in str(error.value)


def test_warm_up_places_and_preempts() -> None:
    from kfarm_twin.kube.warm import warm

    assert [d.outcome for d in warm()] == [Outcome.SCHEDULED, Outcome.PREEMPTING]

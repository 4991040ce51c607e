"""Seeded random clusters and pods with a rich mix of what kube-scheduler's default profile knows.

Bodies are plain objects, as one would write them; loaded with runpy by the tests that need them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NAMESPACES = {"blue": {"team": "a"}, "green": {"team": "b", "tier": "x"}, "red": {"team": "a"}}
PRIORITIES = {"low": -10, "mid": 100, "high": 1000, "polite": 1000}
DEVICE = "nvidia.com/gpu"
APPS = ("web", "db", "train")
PROFILES: tuple[Body, ...] = (
    {"schedulerName": "default-scheduler"},
    {
        "schedulerName": "packing",
        "pluginConfig": [
            {
                "name": "NodeResourcesFit",
                "args": {
                    "scoringStrategy": {
                        "type": "MostAllocated",
                        "resources": [
                            {"name": "cpu", "weight": 2},
                            {"name": "memory", "weight": 1},
                            {"name": DEVICE, "weight": 5},
                        ],
                    }
                },
            },
            {
                "name": "NodeResourcesBalancedAllocation",
                "args": {
                    "resources": [
                        {"name": "cpu", "weight": 1},
                        {"name": "memory", "weight": 1},
                        {"name": DEVICE, "weight": 1},
                    ]
                },
            },
            {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 17}},
        ],
    },
    {
        "schedulerName": "ratio",
        "plugins": {
            "multiPoint": {"disabled": [{"name": "ImageLocality"}]},
            "score": {
                "disabled": [{"name": "TaintToleration"}],
                "enabled": [{"name": "TaintToleration", "weight": 7}],
            },
        },
        "pluginConfig": [
            {
                "name": "NodeResourcesFit",
                "args": {
                    "scoringStrategy": {
                        "type": "RequestedToCapacityRatio",
                        "resources": [
                            {"name": "cpu", "weight": 1},
                            {"name": "memory", "weight": 3},
                            {"name": DEVICE, "weight": 2},
                        ],
                        "requestedToCapacityRatio": {
                            "shape": [
                                {"utilization": 0, "score": 3},
                                {"utilization": 37, "score": 10},
                                {"utilization": 100, "score": 0},
                            ]
                        },
                    }
                },
            },
            {
                "name": "PodTopologySpread",
                "args": {
                    "defaultingType": "List",
                    "defaultConstraints": [
                        {"maxSkew": 2, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway"},
                        {"maxSkew": 4, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
                    ],
                },
            },
            {
                "name": "NodeAffinity",
                "args": {
                    "addedAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "weight": 9,
                                "preference": {
                                    "matchExpressions": [
                                        {"key": "disk", "operator": "In", "values": ["ssd"]}
                                    ]
                                },
                            }
                        ]
                    }
                },
            },
            {
                "name": "InterPodAffinity",
                "args": {"ignorePreferredTermsOfExistingPods": True},
            },
        ],
    },
)
for _profile in PROFILES:
    _profile.setdefault("pluginConfig", []).append(
        {
            "name": "DefaultPreemption",
            "args": {"minCandidateNodesPercentage": 100, "minCandidateNodesAbsolute": 1000},
        }
    )


@dataclass
class Scene:
    """A cluster and pods that come one after another.

    Attributes
    ----------
    shared
        Namespaces and priority classes, the same in all scenes.
    cluster
        Everything else that is there before the first pod, in an order that it can be made in.
    pods
        Pods to schedule, in order.
    """

    seed: int
    profile: Body
    shared: list[Body] = field(default_factory=list)
    cluster: list[Body] = field(default_factory=list)
    pods: list[Body] = field(default_factory=list)


def shared_objects() -> list[Body]:
    """Namespaces and priority classes that all scenes use."""
    made = [_object("Namespace", "v1", {"name": n, "labels": v}) for n, v in NAMESPACES.items()]
    for name, value in PRIORITIES.items():
        body = _object("PriorityClass", "scheduling.k8s.io/v1", {"name": name})
        body |= {"value": value}
        if name == "polite":
            body["preemptionPolicy"] = "Never"
        made.append(body)
    return made


def make_scene(
    seed: int, *, most_nodes: int = 40, pods: int = 12, preempting: bool = False
) -> Scene:
    """A scene from a seed.

    Parameters
    ----------
    seed
        Same seed, same scene.
    most_nodes
        Upper end of the number of nodes, which starts at 3; small ones come more often.
    pods
        Pods to schedule.
    preempting
        Full nodes and important pods, so that most must evict others.
    """
    return _Maker(seed, most_nodes, pods, preempting).make()


def _object(kind: str, version: str, metadata: Body) -> Body:
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _asks_for(selector: Body, key: str) -> bool:
    """Whether a selector has an expression on a key; matchLabelKeys may not repeat it."""
    return any(entry["key"] == key for entry in selector.get("matchExpressions", ()))


class _Maker:
    def __init__(self, seed: int, most_nodes: int, pods: int, preempting: bool) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secrets here
        self.seed, self.pods_wanted = seed, pods
        self.count = 3 + int((most_nodes - 3) * self.random.random() ** 2)
        self.zones = self.random.randint(1, 4)
        self.preempting = preempting
        self.crowded = preempting or self.chance(0.35)
        self.taken: dict[str, set[tuple[str, int]]] = {}

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, *among: Any) -> Any:
        return self.random.choice(among)

    def make(self) -> Scene:
        scene = Scene(self.seed, self.pick(PROFILES[0], PROFILES[0], *PROFILES[1:]))
        scene.shared = shared_objects()
        scene.cluster += self.services()
        scene.cluster += [self.node(index) for index in range(self.count)]
        names = [body["metadata"]["name"] for body in scene.cluster if body["kind"] == "Node"]
        most = self.count * (6 if self.crowded else 3)
        for index in range(most if self.preempting else self.random.randint(0, most)):
            scene.cluster.append(self.bound(index, self.pick(*names)))
        scene.pods = [self.pod(f"s{self.seed}-p{i}", names) for i in range(self.pods_wanted)]
        for pod in scene.pods:
            if self.preempting:
                pod["spec"]["priorityClassName"] = "high"
                requests = pod["spec"]["containers"][0]["resources"].setdefault("requests", {})
                requests |= {"cpu": "3500m", "memory": "2Gi"}
                pod["spec"].pop("resources", None)
            pod["spec"]["schedulerName"] = scene.profile["schedulerName"]
        return scene

    # Cluster

    def node(self, index: int) -> Body:
        name = f"s{self.seed}-n{index}"
        labels = {HOSTNAME: name, "disk": self.pick("ssd", "hdd"), "gen": str(index % 5)}
        if self.chance(0.9):
            labels[ZONE] = f"z{self.random.randrange(self.zones)}"
        if self.chance(0.9):
            labels["rack"] = f"r{index // 3}"
        if self.chance(0.05):
            del labels[HOSTNAME]
        amounts = {
            "cpu": self.pick("4", "8", "3900m", "16"),
            "memory": self.pick("8Gi", "16Gi", "32000Mi", "7777777k"),
            "pods": self.pick("110", "110", "8"),
        }
        if self.chance(0.3):
            amounts["ephemeral-storage"] = "50Gi"
        if self.chance(0.4):
            amounts[DEVICE] = self.pick("1", "4", "8")
        if self.chance(0.15):
            amounts["hugepages-2Mi"] = "512Mi"
        body = _object("Node", "v1", {"name": name, "labels": labels})
        body["spec"] = {"taints": self.taints()}
        if self.chance(0.06):
            body["spec"]["unschedulable"] = True
            if self.chance(0.7):
                body["spec"]["taints"].append(
                    {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
                )
        body["status"] = {"allocatable": amounts, "capacity": amounts, "images": self.images()}
        return body

    def taints(self) -> list[Body]:
        made = []
        if self.chance(0.15):
            made.append({"key": "dedicated", "value": self.pick("a", "b"), "effect": "NoSchedule"})
        if self.chance(0.2):
            made.append({"key": "slow", "effect": "PreferNoSchedule", "value": ""})
        if self.chance(0.15):
            made.append({"key": "old", "effect": "PreferNoSchedule", "value": self.pick("1", "2")})
        if self.chance(0.05):
            made.append({"key": "broken", "effect": "NoExecute", "value": "yes"})
        if self.chance(0.04):
            made.append({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"})
        return made

    def images(self) -> list[Body]:
        sizes = {"web": 40_000_000, "db": 700_000_000, "train": 9_000_000_000}
        made = []
        for app in APPS:
            if self.chance(0.4):
                names = [f"registry.example/{app}:v1", f"registry.example/{app}@sha256:{'0' * 64}"]
                made.append({"names": names, "sizeBytes": sizes[app]})
        if self.chance(0.2):
            made.append({"names": ["registry.example/side:latest"], "sizeBytes": 300_000_000})
        return made

    def services(self) -> list[Body]:
        made = []
        for namespace in NAMESPACES:
            if self.chance(0.5):
                name = f"s{self.seed}-web"
                body = _object("Service", "v1", {"name": name, "namespace": namespace})
                body["spec"] = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
                made.append(body)
            if self.chance(0.4):
                made.append(self.controller("ReplicaSet", namespace))
            if self.chance(0.4):
                made.append(self.controller("StatefulSet", namespace))
            if self.chance(0.5):
                made.append(self.budget(namespace))
        return made

    def controller(self, kind: str, namespace: str) -> Body:
        name = f"s{self.seed}-{kind.lower()}"
        body = _object(kind, "apps/v1", {"name": name, "namespace": namespace})
        labels = {"app": "db" if kind == "StatefulSet" else "train"}
        expressions = [{"key": "phase", "operator": "NotIn", "values": ["test"]}]
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
        body["spec"] = {
            "replicas": 0,
            "selector": {"matchLabels": labels, "matchExpressions": expressions},
            "template": template,
        }
        if kind == "StatefulSet":
            body["spec"]["serviceName"] = "none"
        return body

    def budget(self, namespace: str) -> Body:
        name = f"s{self.seed}-budget"
        body = _object("PodDisruptionBudget", "policy/v1", {"name": name, "namespace": namespace})
        body["spec"] = {"minAvailable": 1, "selector": {"matchLabels": {"app": self.pick(*APPS)}}}
        body["status"] = {
            "disruptionsAllowed": self.random.randint(0, 2),
            "currentHealthy": 1,
            "desiredHealthy": 1,
            "expectedPods": 1,
        }
        return body

    # Pods

    def bound(self, index: int, node: str) -> Body:
        body = self.pod(f"s{self.seed}-b{index}", [], plain=0.5)
        if self.preempting:
            requests = {"cpu": self.pick("500m", "1", "1", "2"), "memory": self.pick("1Gi", "2Gi")}
            body["spec"]["containers"] = body["spec"]["containers"][:1]
            body["spec"]["containers"][0]["resources"] = {"requests": requests}
            body["spec"].pop("priorityClassName", None)
            if self.chance(0.7):
                body["spec"]["priorityClassName"] = self.pick("low", "mid", "mid")
        body["spec"]["nodeName"] = node
        for container in body["spec"]["containers"]:
            kept = []
            for port in container.get("ports", ()):
                key = (port.get("protocol", "TCP"), port["hostPort"])
                if key not in self.taken.setdefault(node, set()):
                    self.taken[node].add(key)
                    kept.append(port)
            container["ports"] = kept
        minute, second = divmod(self.random.randrange(3600), 60)
        body["status"] = {
            "phase": "Running",
            "startTime": f"2026-01-02T03:{minute:02}:{second:02}Z",
        }
        return body

    def pod(self, name: str, nodes: list[str], plain: float = 0.15) -> Body:
        app = self.pick(*APPS)
        namespace = self.pick(*NAMESPACES)
        labels = {"app": app, "phase": self.pick("test", "live"), "rev": self.pick("1", "2")}
        body = _object("Pod", "v1", {"name": name, "namespace": namespace, "labels": labels})
        body["spec"] = spec = {
            "containers": [self.container("main", app)],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
        }
        if self.chance(0.3):
            spec["containers"].append(self.container("side", "side"))
        if self.chance(0.5):
            spec["priorityClassName"] = self.pick("low", "mid", "mid", "high", "polite")
        if self.chance(0.1):
            body["metadata"]["labels"] = {}
        if not self.chance(plain):
            self.decorate(body, app, nodes)
        self.own(body, app)
        return body

    def own(self, body: Body, app: str) -> None:
        kind = {"db": "StatefulSet", "train": "ReplicaSet"}.get(app)
        if kind and self.chance(0.5):
            owner = {
                "apiVersion": "apps/v1",
                "kind": kind,
                "name": f"s{self.seed}-{kind.lower()}",
                "uid": "00000000-0000-0000-0000-000000000000",
                "controller": True,
            }
            body["metadata"]["ownerReferences"] = [owner]

    def container(self, name: str, app: str) -> Body:
        resources: Body = {}
        if self.chance(0.75):
            large = self.crowded and self.chance(0.5)
            cpu = self.pick("3", "2500m") if large else self.pick("100m", "250m", "1", "0", "1.5")
            resources["requests"] = {
                "cpu": cpu,
                "memory": self.pick("64Mi", "1Gi", "2500M", "3e9", "0.5Gi"),
            }
            if self.chance(0.25):
                del resources["requests"][self.pick("cpu", "memory")]
        if self.chance(0.15):
            resources["limits"] = {"cpu": "4", "memory": "8Gi"}
        if self.chance(0.2):
            resources.setdefault("limits", {})[DEVICE] = self.pick("1", "1", "2", "4")
        if self.chance(0.08):
            resources.setdefault("requests", {})["ephemeral-storage"] = "20Gi"
        image = self.pick(f"registry.example/{app}:v1", f"registry.example/{app}", "other")
        made = {"name": name, "image": image, "resources": resources}
        if name != "side" and self.chance(0.1):
            port = {"containerPort": 80, "hostPort": self.pick(8080, 8081)}
            if name == "sidecar":
                port["hostPort"] = 9090
            if self.chance(0.3):
                port |= {"hostIP": self.pick("127.0.0.1", "10.0.0.1")}
            if self.chance(0.3):
                port |= {"protocol": "UDP"}
            made["ports"] = [port]
        return made

    def decorate(self, body: Body, app: str, nodes: list[str]) -> None:
        spec = body["spec"]
        for share, feature in (
            (0.15, self.select),
            (0.25, self.affine),
            (0.3, self.tolerate),
            (0.3, self.spread),
            (0.4, self.near_others),
            (0.12, self.initialise),
            (0.08, self.whole_pod),
        ):
            if self.chance(share):
                feature(spec)
        if nodes and self.chance(0.06):
            term = {"matchFields": [self.field(nodes) for _ in range(self.pick(1, 1, 2))]}
            other = [{"matchFields": [self.field(nodes)]}] if self.chance(0.5) else []
            required = {"nodeSelectorTerms": [term, *other]}
            affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
            affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required

    def field(self, nodes: list[str]) -> Body:
        name = self.pick(*nodes, "nowhere")
        return {
            "key": "metadata.name",
            "operator": self.pick("In", "In", "NotIn"),
            "values": [name],
        }

    def select(self, spec: Body) -> None:
        spec["nodeSelector"] = {"disk": self.pick("ssd", "hdd")}
        if self.chance(0.2):
            spec["nodeSelector"]["rack"] = "r0"

    def requirement(self) -> Body:
        return self.pick(
            {"key": "disk", "operator": "In", "values": [self.pick("ssd", "hdd", "tape")]},
            {"key": "disk", "operator": "NotIn", "values": ["hdd"]},
            {"key": ZONE, "operator": "Exists"},
            {"key": "rack", "operator": "DoesNotExist"},
            {"key": "gen", "operator": "Gt", "values": [self.pick("0", "2")]},
            {"key": "gen", "operator": "Lt", "values": ["4"]},
            {"key": ZONE, "operator": "In", "values": ["z0", "z1"]},
        )

    def affine(self, spec: Body) -> None:
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        if self.chance(0.4):
            terms = [
                {"matchExpressions": [self.requirement() for _ in range(self.pick(1, 2))]}
                for _ in range(self.pick(1, 1, 2))
            ]
            affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
                "nodeSelectorTerms": terms
            }
        if self.chance(0.8):
            affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {
                    "weight": self.random.randint(1, 100),
                    "preference": {"matchExpressions": [self.requirement()]},
                }
                for _ in range(self.pick(1, 2, 3))
            ]

    def tolerate(self, spec: Body) -> None:
        spec["tolerations"] = self.random.sample(
            [
                {"key": "dedicated", "operator": "Equal", "value": "a", "effect": "NoSchedule"},
                {"key": "dedicated", "operator": "Exists"},
                {"key": "slow", "operator": "Exists", "effect": "PreferNoSchedule"},
                {"key": "old", "value": "1"},
                {"operator": "Exists", "effect": "NoExecute"},
                {"operator": "Exists"},
                {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
            ],
            self.pick(1, 2),
        )

    def label_selector(self) -> Body:
        return self.pick(
            {"matchLabels": {"app": self.pick(*APPS)}},
            {"matchLabels": {"app": self.pick(*APPS)}},
            {"matchExpressions": [{"key": "phase", "operator": "In", "values": ["live"]}]},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
            {"matchExpressions": [{"key": "rev", "operator": "Exists"}]},
            {
                "matchLabels": {"phase": "test"},
                "matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}],
            },
        )

    def spread(self, spec: Body) -> None:
        made = {}
        for _ in range(self.pick(1, 1, 2)):
            constraint: Body = {
                "maxSkew": self.pick(1, 1, 2, 3),
                "topologyKey": self.pick(ZONE, ZONE, HOSTNAME, "rack", "disk"),
                "whenUnsatisfiable": self.pick("DoNotSchedule", "ScheduleAnyway"),
                "labelSelector": self.label_selector(),
            }
            if self.chance(0.3):
                constraint["nodeAffinityPolicy"] = self.pick("Honor", "Ignore")
            if self.chance(0.3):
                constraint["nodeTaintsPolicy"] = self.pick("Honor", "Ignore")
            if self.chance(0.2) and not _asks_for(constraint["labelSelector"], "rev"):
                constraint["matchLabelKeys"] = ["rev"]
            if constraint["whenUnsatisfiable"] == "DoNotSchedule" and self.chance(0.25):
                constraint["minDomains"] = self.pick(2, 3, 5)
            made[constraint["topologyKey"], constraint["whenUnsatisfiable"]] = constraint
        spec["topologySpreadConstraints"] = list(made.values())

    def term(self) -> Body:
        made: Body = {
            "topologyKey": self.pick(ZONE, HOSTNAME, HOSTNAME, "rack"),
            "labelSelector": self.label_selector(),
        }
        if self.chance(0.2):
            made["namespaces"] = self.random.sample(list(NAMESPACES), 2)
        if self.chance(0.2):
            made["namespaceSelector"] = self.pick({}, {"matchLabels": {"team": "a"}})
        if self.chance(0.15) and not _asks_for(made["labelSelector"], "rev"):
            made[self.pick("matchLabelKeys", "mismatchLabelKeys")] = ["rev"]
        return made

    def near_others(self, spec: Body) -> None:
        affinity = spec.setdefault("affinity", {})
        for name, hard in (("podAffinity", 0.3), ("podAntiAffinity", 0.4)):
            if self.chance(0.4):
                continue
            made: Body = {}
            if self.chance(hard):
                made["requiredDuringSchedulingIgnoredDuringExecution"] = [
                    self.term() for _ in range(self.pick(1, 1, 2))
                ]
            if self.chance(0.6):
                made["preferredDuringSchedulingIgnoredDuringExecution"] = [
                    {"weight": self.random.randint(1, 100), "podAffinityTerm": self.term()}
                    for _ in range(self.pick(1, 2))
                ]
            affinity[name] = made

    def initialise(self, spec: Body) -> None:
        spec["initContainers"] = [self.container("setup", "db")]
        spec["initContainers"][0].pop("ports", None)
        if self.chance(0.5):
            sidecar = self.container("sidecar", "side") | {"restartPolicy": "Always"}
            spec["initContainers"].insert(self.pick(0, 1), sidecar)

    def whole_pod(self, spec: Body) -> None:
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            resources = container["resources"]
            for name in ("cpu", "memory"):
                resources.get("limits", {}).pop(name, None)
            small = {"cpu": "200m", "memory": "300Mi"}
            for name in list(resources.get("requests", {})):
                resources["requests"][name] = small.get(name, "1Gi")
        spec["resources"] = self.pick(
            {"requests": {"cpu": "8", "memory": "12Gi"}},
            {"limits": {"cpu": "12", "memory": "20Gi"}},
            {"requests": {"memory": "12Gi"}},
        )

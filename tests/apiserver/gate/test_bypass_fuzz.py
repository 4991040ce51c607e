"""Random pods and random changes at the gate, held against rules of their own in Python.

The rules know nothing of the policies: they say which pods may be let in, by the way in which
Kubernetes reads tolerations, names of nodes and requests. Dry runs, so that nothing is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bypass_ground import NOWHERE, UNKNOWN, enters_farm
from gate_pods import GPU, MERGE, NPU, PLAN, Api, Json, allowed, device_pod, path_of, pod, pods
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kfarm_api.layout import GATE, LABEL_HOSTNAME, LABEL_PLAN, TAINT
from kfarm_controlplane.figures import record
from kfarm_operator.gate_ready import Answer, is_gated

CLASSES = "deviceclass.resource.kubernetes.io/"
DEVICES = (GPU, f"{GPU}.shared", NPU, f"{NPU}.shared")
MIRROR = "kubernetes.io/config.mirror"
seen: Counter[str] = Counter()

absent: st.SearchStrategy[Any] = st.none()
resources = st.dictionaries(
    st.sampled_from((*DEVICES, UNKNOWN, f"{CLASSES}gpu", "example.com/GPU", "cpu", "memory")),
    st.sampled_from(("0", "1", "8", "1k")),
    max_size=2,
)
tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from((TAINT, TAINT, "", "other", "kfarm.dev/Farm")),
        "operator": st.sampled_from(("Exists", "Exists", "Equal", "", "Lt")),
        "effect": st.sampled_from(("NoSchedule", "NoSchedule", "NoExecute", "")),
        "value": st.sampled_from(("", "farm", "x")),
    },
)
gates = st.lists(st.sampled_from((GATE, "a.b/c", f"{GATE}x")), max_size=2, unique=True)
claims = st.lists(
    st.sampled_from(
        (
            {"name": "g", "resourceClaimName": "g"},
            {"name": "h", "resourceClaimTemplateName": "h"},
        )
    ),
    max_size=1,
)
labels = st.dictionaries(st.sampled_from((*PLAN, "team")), st.just("x"), max_size=2)


@st.composite
def made_pods(draw: st.DrawFn) -> Json:
    """A pod of a few odd parts."""
    count, before = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    listed = [_container(f"c{i}", draw(resources)) for i in range(count + before)]
    spec: Json = {"containers": listed[:count], "nodeSelector": NOWHERE}
    if before:
        spec["initContainers"] = listed[count:]
        if draw(st.booleans()):
            listed[-1]["restartPolicy"] = "Always"
    odd = draw(st.sets(st.sampled_from(("t", "g", "n", "c", "m", "l")), max_size=4))
    made = pod(draw(labels) if "l" in odd else {})
    if "t" in odd:
        spec["tolerations"] = draw(st.lists(tolerations, min_size=1, max_size=3))
    if "g" in odd:
        spec["schedulingGates"] = [{"name": name} for name in draw(gates)]
    if "n" in odd:
        spec["nodeName"] = draw(st.sampled_from(("bypass-farm", "")))
    if "c" in odd:
        spec["resourceClaims"] = draw(claims)
    if "m" in odd:
        made["metadata"]["annotations"] = {MIRROR: "0123"}
    made["spec"] = spec
    return made


def _container(name: str, asked: Json) -> Json:
    return {"name": name, "image": "example", "resources": {"limits": asked}}


def asks(body: Json, wanted: Callable[[str], bool]) -> bool:
    """Whether any container asks for such a resource, or the pod for claims."""
    listed = (*body["spec"]["containers"], *body["spec"].get("initContainers", ()))
    named = {
        name
        for container in listed
        for part in ("limits", "requests")
        for name in container.get("resources", {}).get(part, {})
    }
    return bool(body["spec"].get("resourceClaims")) or any(wanted(name) for name in named)


def is_device(name: str) -> bool:
    return name in DEVICES or name.startswith(CLASSES)


def may_be(body: Json, where: str, who: str) -> bool:
    """Whether a pod may stand as it does."""
    held = where == "enforced" and is_gated(body)
    shown = MIRROR in body["metadata"].get("annotations", {}) and who == "node"
    if where == "enforced" and not held:
        marked = set(PLAN) & set(body["metadata"].get("labels", {}))
        if marked or asks(body, is_device):
            return False
    if not enters_farm(body):
        return True
    extended = asks(body, lambda name: "/" in name)
    if body["spec"].get("nodeName"):
        return not extended and (where == "exempt" or (where == "open" and shown))
    return held or (where == "exempt" and not extended)


def innocent(body: Json) -> bool:
    """Nothing in it that a policy could mind."""
    spec = body["spec"]
    minded = (TAINT, "")
    return not (
        spec.get("nodeName")
        or set(PLAN) & set(body["metadata"]["labels"])
        or any(t.get("key", "") in minded for t in spec.get("tolerations", ()))
    )


@pytest.fixture(scope="module")
def callers(
    api: Api, almighty: Api, node_account: Api, enforced: str, beside: str
) -> dict[str, Api]:
    return {"root": api, "almighty": almighty, "node": node_account}


@pytest.fixture(scope="module")
def places(enforced: str, beside: str) -> dict[str, str]:
    return {"enforced": enforced, "open": beside, "exempt": "kube-system"}


def fuzzed(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a campaign of `count` requests, the same each time."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=quiet,
    )  # fmt: skip


def _create(callers: dict[str, Api], places: dict[str, str], draw: tuple[Json, str, str]) -> None:
    item, where, who = draw
    answer = callers[who]("POST", pods(places[where], query="?dryRun=All"), item)
    _tell("created", answer)
    if answer.status == 201:
        assert may_be(dict(answer.body), where, who), (where, who, answer.body["spec"])
    elif answer.status == 403:
        assert not innocent(item), (where, who, answer.body["message"])


def _tell(what: str, answer: Answer) -> None:
    assert answer.status in {200, 201, 400, 403, 422}, answer.body
    seen[what] += 1
    event(f"{what}: {answer.status}")
    seen[f"{what}: {'taken' if answer.status < 300 else 'refused'}"] += 1


attempts = st.tuples(
    made_pods(),
    st.sampled_from(("enforced", "enforced", "open", "exempt")),
    st.sampled_from(("root", "almighty", "node")),
)


@fuzzed(250)
@given(draw=attempts)
def test_random_pods(
    callers: dict[str, Api], places: dict[str, str], draw: tuple[Json, str, str]
) -> None:
    _create(callers, places, draw)


@pytest.mark.slow
@fuzzed(10_000)
@given(draw=attempts)
def test_many_random_pods(
    callers: dict[str, Api], places: dict[str, str], draw: tuple[Json, str, str]
) -> None:
    _create(callers, places, draw)


@pytest.fixture(scope="module")
def standing(api: Api, enforced: str, beside: str) -> dict[str, Json]:
    """Pods to be changed: one that waits at the gate, and two that were never held."""
    plain = {"nodeSelector": NOWHERE}
    return {
        "gated": allowed(api("POST", pods(enforced), device_pod(PLAN))),
        "plain": allowed(api("POST", pods(enforced), pod(**plain))),
        "beside": allowed(api("POST", pods(beside), device_pod(**plain))),
    }


@st.composite
def changes(draw: st.DrawFn) -> Json:
    """A merge patch of a few parts."""
    kept = st.sampled_from((None, [], [{"name": "a.b/c"}], [{"name": GATE}]))
    parts: Json = {
        "schedulingGates": kept,
        "tolerations": st.lists(tolerations, max_size=3),
        "nodeSelector": st.sampled_from(({LABEL_HOSTNAME: "bypass-farm"}, {"zone": None})),
        "nodeName": st.just("bypass-farm"),
        "activeDeadlineSeconds": st.just(60),
        "resourceClaims": claims,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parts)), max_size=3))
    spec = {name: draw(parts[name]) for name in sorted(chosen)}
    marks = draw(st.sampled_from(({}, {LABEL_PLAN: "other"}, {LABEL_PLAN: None}, {"team": "b"})))
    return {"spec": spec, "metadata": {"labels": marks}}


def _plan(body: Json) -> Json:
    """The labels by which a pod names its plan."""
    labels = body["metadata"].get("labels", {})
    return {key: labels.get(key) for key in PLAN}


def _change(
    callers: dict[str, Api], standing: dict[str, Json], draw: tuple[Json, str, str, str]
) -> None:
    body, which, who, part = draw
    item = standing[which]
    answer = callers[who]("PATCH", path_of(item, f"{part}?dryRun=All"), body, MERGE)
    _tell("changed", answer)
    if answer.status == 200:
        where = "open" if which == "beside" else "enforced"
        now = dict(answer.body)
        assert is_gated(now) == is_gated(item)
        if where == "enforced":
            assert _plan(now) == _plan(item)
        # A node may show a pod only at its creation.
        assert may_be(now, where, "nobody"), (which, who, body)
    elif answer.status == 403:
        assert body["spec"] or body["metadata"]["labels"]


moves = st.tuples(
    changes(),
    st.sampled_from(("gated", "plain", "beside")),
    st.sampled_from(("root", "almighty", "node")),
    st.sampled_from(("", "", "", "/status", "/resize", "/ephemeralcontainers")),
)


@fuzzed(200)
@given(draw=moves)
def test_random_changes(
    callers: dict[str, Api], standing: dict[str, Json], draw: tuple[Json, str, str, str]
) -> None:
    _change(callers, standing, draw)


@pytest.mark.slow
@fuzzed(10_000)
@given(draw=moves)
def test_many_random_changes(
    callers: dict[str, Api], standing: dict[str, Json], draw: tuple[Json, str, str, str]
) -> None:
    _change(callers, standing, draw)


@pytest.fixture(scope="module", autouse=True)
def _figures() -> Iterator[None]:
    """Both answers were frequent, so that agreement says something; the figures are told."""
    seen.clear()
    yield
    for what in ("created", "changed"):
        if seen[what] > 100:
            assert seen[f"{what}: taken"] > seen[what] // 10
            assert seen[f"{what}: refused"] > seen[what] // 10
    record("bypass-random", {"created": seen["created"], "changed": seen["changed"], "let in": 0})

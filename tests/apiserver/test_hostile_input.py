"""Hostile objects through the API server's dry run and the parser; survivors through the twin.

What the API server takes, the operator must be able to read; what either refuses, it refuses with a
4xx and not by breaking. Whatever gets past both is put to the real twin in its own process, with
its limits: it answers with a verdict that is finite, or says what is wrong with the input.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import BASES, extremes, hostiles, to_json
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kfarm_api.parse import BY_KIND, InvalidObject, parse
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_api.v1alpha1 import GPUFarm, PlacementPlan, ValidationPolicy
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.figures import record
from kfarm_operator.gate_ready import Answer
from kfarm_operator.runner import TwinFailed, TwinRunner
from kfarm_twin.manifest_text import read_text
from kfarm_twin.request import ValidationRequest, Verdict
from kubernetes import config

ROOT = Path(__file__).parents[2]
Body = dict[str, Any]
DEADLINE_S, MEMORY_BYTES = 120.0, 1 << 30
GROWTH_BYTES = 64 << 20
seen: Counter[str] = Counter()


class Server:
    """Dry runs of whatever bytes."""

    def __init__(self, kubeconfig: Path) -> None:
        client = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self.pool, self.host = client.rest_client.pool_manager, client.configuration.host

    def __call__(self, kind: str, raw: bytes, *, strict: bool = True) -> Answer:
        info = BY_KIND[kind].info
        where = "namespaces/default/" if info.scope == "Namespaced" else ""
        told = "Strict" if strict else "Ignore"
        path = f"/apis/kfarm.dev/v1alpha1/{where}{info.plural}?dryRun=All&fieldValidation={told}"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = self.pool.request("POST", self.host + path, body=raw, headers=headers)
        try:
            return Answer(answer.status, json.loads(answer.data))
        except ValueError:
            return Answer(answer.status, {"message": answer.data.decode("utf-8", "replace")})


@pytest.fixture(scope="module")
def server(clean_cluster: Cluster) -> Server:
    crds = ["-f", str(ROOT / "crds")]
    clean_cluster.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    clean_cluster.kubectl("wait", "--for=condition=Established", *crds, "--timeout=60s")
    return Server(clean_cluster.kubeconfig)


@pytest.fixture(scope="module", autouse=True)
def _figures() -> Iterator[None]:
    seen.clear()
    yield
    record("hostile", {**seen, "crashes": 0, "hangs": 0, "not finite and taken": 0})


def fuzzed(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a campaign, the same each time."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture,
                               HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bytes]:
    """A hostile or an extreme object of any kind, as JSON."""
    kind = draw(st.sampled_from(sorted(BASES)))
    make = extremes if draw(st.booleans()) else hostiles
    return kind, to_json(draw(make(BASES[kind])))


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def local_verdict(kind: str, raw: bytes) -> str | None:
    """What the command line says is wrong; None for nothing."""
    (document,) = read_text(raw, as_json=True)
    if document.problems:
        return str(document.problems[0])
    body = document.value
    if not isinstance(body, dict) or body.get("kind") != kind:
        return "another kind"
    try:
        parse(body, strict=True)
    except InvalidObject as error:
        return str(error)
    return None


def _both(server: Server, case: tuple[str, bytes]) -> None:
    kind, raw = case
    answer = server(kind, raw)
    told = str(answer.body.get("message"))[:1500]
    assert answer.status in {201, 400, 413, 422}, (answer.status, told, raw[:1500])
    seen["objects"] += 1
    wrong = local_verdict(kind, raw)
    if answer.status == 201:
        event("taken")
        seen["objects taken"] += 1
        assert finite(answer.body), raw[:1500]
        parse(answer.body, strict=False)
        assert wrong is None or _reader_is_stricter(wrong), (wrong, raw[:1500])
    else:
        event("refused")
        assert wrong is not None or _server_is_stricter(told), (told, raw[:1500])


def _reader_is_stricter(wrong: str) -> bool:
    """What a file may not have although the API server would mend it."""
    return "surrogate" in wrong or "UTF-8" in wrong or "\\\\ud" in wrong


def _server_is_stricter(told: str) -> bool:
    """What is the server's alone to say: about metadata and about fields written twice."""
    return any(text in told for text in ("metadata", "duplicate field", "name may not"))


@fuzzed(250)
@given(case=objects())
def test_random_objects(server: Server, case: tuple[str, bytes]) -> None:
    _both(server, case)


@pytest.mark.slow
@fuzzed(20_000)
@given(case=objects())
def test_many_random_objects(server: Server, case: tuple[str, bytes]) -> None:
    _both(server, case)


def large(kind: str, name: str, count: int) -> Body:
    """An object that is large in one way."""
    body: Body = copy.deepcopy(BASES[kind])
    spec = body["spec"]
    text = "가" * (count // 3)
    match name:
        case "annotation":
            body["metadata"]["annotations"] = {"a": text}
        case "label key":
            body["metadata"]["labels"] = {"a" * count: "b"}
        case "name":
            body["metadata"]["name"] = "a" * count
        case "unknown":
            spec["unknown"] = text
        case "nested":
            spec["unknown"] = json.loads("[" * 9_000 + "]" * 9_000)
        case "list":
            key = next(k for k, v in spec.items() if isinstance(v, list))
            size = max(1, len(json.dumps(spec[key][0])))
            spec[key] = [copy.deepcopy(spec[key][0]) for _ in range(count // size)]
        case "map":
            _labels(kind, spec, {f"example.com/{i:06d}": "x" for i in range(count // 24)})
        case "map key":
            _labels(kind, spec, {"a" * count: "x"})
    return body


def _labels(kind: str, spec: Body, labels: Body) -> None:
    """Into the map of labels that the kind has."""
    if kind == "PlacementPlan":
        spec["workloads"][0]["nodeSelector"] = labels
    else:
        spec["nodeLabels"] = labels


WAYS = ("annotation", "label key", "name", "unknown", "list", "map", "map key")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["PlacementPlan", "AcceleratorProfile"])
@pytest.mark.parametrize("size", [300_000, 1_500_000])
def test_large_objects(server: Server, kind: str, way: str, size: int) -> None:
    raw = to_json(large(kind, way, size))
    answer = server(kind, raw)
    assert answer.status in {400, 413, 422}, (answer.status, answer.body.get("message"))
    seen["objects"] += 1
    if way != "annotation":
        assert local_verdict(kind, raw) is not None or way in {"label key", "name"}


@pytest.mark.parametrize(("length", "status"), [(317, 201), (318, 422)])
@pytest.mark.parametrize("kind", ["PlacementPlan", "AcceleratorProfile"])
def test_keys_of_maps_are_bounded(server: Server, kind: str, length: int, status: int) -> None:
    body = copy.deepcopy(BASES[kind])
    _labels(kind, body["spec"], {"a" * length: "x"})
    assert server(kind, to_json(body)).status == status
    assert (local_verdict(kind, to_json(body)) is None) == (status == 201)


# The twin.


def part(kind: str, **spec: Any) -> Body:
    body: Body = copy.deepcopy(BASES[kind])
    body["spec"] |= spec
    return body


RARE = {"name": "rare", "failuresPer1000NodeDays": "0.5", "meanTimeToRepair": "8h"}
SIMULATION = {"horizon": "24h", "futures": {"min": 2, "max": 4}, "seed": 7}
WORKLOAD = BASES["PlacementPlan"]["spec"]["workloads"][0] | {"duration": "8h"}


def parts() -> dict[str, Body]:
    """A farm, its profile, a policy and a plan that go together, small enough to be quick."""
    profile = part("AcceleratorProfile")
    profile["metadata"]["name"] = "b200"
    profile["spec"] |= {
        "thermalResistance": {"air": "0.04", "liquid": "0.025"},
        "resourceNames": ["nvidia.com/gpu"],
    }
    farm = part("GPUFarm")
    farm["spec"]["clusters"][0]["reliability"] = {"classes": [RARE]}
    policy = part("ValidationPolicy", simulation=SIMULATION, survives=["Node"])
    policy["metadata"]["name"] = "standard"
    plan = part("PlacementPlan", workloads=[WORKLOAD])
    return {"AcceleratorProfile": profile, "GPUFarm": farm, "ValidationPolicy": policy,
            "PlacementPlan": plan}  # fmt: skip


KEPT = ("accelerator", "accelerators", "policy", "farms", "share", "shares", "futures", "kind")
"""Places that must agree with another object, and how many futures a test can wait for."""


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Body]:
    """Objects that go together, one or two of which are extreme."""
    made = parts()
    for kind in draw(st.sets(st.sampled_from(sorted(made)), min_size=1, max_size=2)):
        made[kind] = draw(extremes(made[kind], most=3, keep=KEPT))
    return made


class Twin:
    """The operator's own runner, with a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.runner = TwinRunner(concurrency=1)
        self.loop.run_until_complete(self.runner.start())

    def ask(self, request: ValidationRequest) -> Verdict | TwinFailed:
        work = self.runner.run(request, deadline_s=DEADLINE_S, memory_bytes=MEMORY_BYTES)
        try:
            return self.loop.run_until_complete(work)
        except TwinFailed as failed:
            return failed

    @property
    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.runner.server_pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def close(self) -> None:
        self.loop.run_until_complete(self.runner.close())
        self.loop.close()


@pytest.fixture(scope="module")
def sandbox(_compiled: None) -> Iterator[Twin]:
    twin = Twin()
    yield twin
    twin.close()


def _request(stored: dict[str, Body]) -> ValidationRequest:
    """As the operator puts it, from what the API server would have kept."""
    objects: dict[str, Any] = {kind: parse(body, strict=False) for kind, body in stored.items()}
    farm, policy, plan = (objects[k] for k in ("GPUFarm", "ValidationPolicy", "PlacementPlan"))
    assert isinstance(farm, GPUFarm)
    assert isinstance(policy, ValidationPolicy)
    assert isinstance(plan, PlacementPlan)
    return ValidationRequest(
        farms=[farm],
        profiles=[objects["AcceleratorProfile"]],
        policy=policy,
        plan=plan,
        snapshot=synthetic_snapshot([farm]),
    )


def _fed(server: Server, sandbox: Twin, made: dict[str, Body]) -> None:
    stored = {}
    for kind, body in made.items():
        answer = server(kind, to_json(body), strict=False)
        assert answer.status in {201, 400, 413, 422}, answer.body
        if answer.status != 201:
            event("refused by the API server")
            return
        stored[kind] = dict(answer.body)
    if sum(c["nodes"] for c in stored["GPUFarm"]["spec"]["clusters"]) > 20_000:
        event("a farm that the operator leaves alone")
        return
    seen["put to the twin"] += 1
    outcome = sandbox.ask(_request(stored))
    if isinstance(outcome, TwinFailed):
        event(outcome.reason)
        seen[f"twin: {outcome.reason}"] += 1
        assert outcome.reason in {"BadInput", "TooLarge"}, (outcome, made)
        return
    event(f"{outcome.verdict}: {outcome.reason}")
    seen[f"twin: {outcome.verdict}"] += 1
    assert finite(outcome.model_dump()), outcome
    if outcome.verdict == "Approved":
        assert all(check.result in {"Passed", "NotApplicable"} for check in outcome.checks)


@fuzzed(40)
@given(made=sets())
def test_survivors_are_put_to_the_twin(
    server: Server, sandbox: Twin, made: dict[str, Body]
) -> None:
    _fed(server, sandbox, made)


@pytest.mark.slow
@fuzzed(3_000)
@given(made=sets())
def test_many_survivors_are_put_to_the_twin(
    server: Server, sandbox: Twin, made: dict[str, Body]
) -> None:
    _fed(server, sandbox, made)


def test_the_twin_does_not_grow(server: Server, sandbox: Twin) -> None:
    """A run leaves nothing behind in the server that forks them."""
    request = _request({k: dict(server(k, to_json(b)).body) for k, b in parts().items()})
    first = sandbox.ask(request)
    assert isinstance(first, Verdict), first
    before = sandbox.resident_bytes
    for _ in range(10):
        again = sandbox.ask(request)
        assert isinstance(again, Verdict)
        assert again == first
    assert sandbox.resident_bytes - before < GROWTH_BYTES

"""Random assumptions on failures: the API server and the models say the same of each."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfarm_api.parse import InvalidObject, parse
from kfarm_controlplane.client import Cluster
from kubernetes import client, config

ROOT = Path(__file__).parents[2]
SEED, BODIES = 20261121, 400
Body = dict[str, Any]

TIMES = ["0s", "30s", "59s", "60s", "1h", "8h", "200h", "999999h"]
SHARES = [0, 1, 50, 90, 91, 99, 100]
LAWS: dict[str, list[Any]] = {
    "distribution": ["Exponential", "Weibull", "Lognormal", "Fixed"],
    "shape": ["0.1", "1", 20, "20.000001", 0, -1],
}
CLASS: dict[str, list[Any]] = {
    "per": ["Device", "Node", "Link", "Rack", "Leaf", "Pdu", "Cdu", "Plant"],
    "takes": ["Device", "Node", "Rail", "Rack", "ScalableUnit", "Pdu", "Loop", "Hall", "Farm"],
    "effect": ["Stop", "Slow", "Corrupt"],
    "speed": [1, 80, 99],
    "evict": [True, False],
    "detection": TIMES,
    "confidence": ["High", "Low"],
}
CLUSTER: dict[str, list[Any]] = {
    "reference": ["llama3-h100"],
    "meanTimeToRepair": TIMES,
    "detection": TIMES,
    "frailty": [{"shape": "0.93"}, {"shape": 0}],
    "crews": [{"count": 1}, {"count": 1, "shift": {"start": 8, "hours": 16}}],
    "bursts": [{"share": 30, "size": "1.000001", "window": "1h"}],
    "unrest": [{"share": 10, "factor": factor, "spell": "1m"} for factor in (1, 2)],
    "quarantine": [{"faults": 3, "within": "1h", "hold": hold} for hold in ("0s", "1s")],
    "drains": [{"every": "8h", "duration": "4h"}, {"every": "7h59m59.999s", "duration": "4h"}],
    "temperature": [{"factorPerKelvin": "1.04", "reference": 60}],
}


@pytest.fixture(scope="module")
def server(clean_cluster: Cluster) -> Iterator[client.CustomObjectsApi]:
    clean_cluster.kubectl("apply", "-f", str(ROOT / "crds"))
    clean_cluster.kubectl("wait", "--for=condition=Established", "crd/npufarms.kfarm.dev")
    path = str(clean_cluster.kubeconfig)
    with config.new_client_from_config(path) as api:  # type: ignore[no-untyped-call]
        yield client.CustomObjectsApi(api)


def some(pools: dict[str, list[Any]], chance: float, rng: random.Random) -> Body:
    return {key: rng.choice(pool) for key, pool in pools.items() if rng.random() < chance}


def made_class(rng: random.Random, index: int) -> Body:
    body = {"name": f"c{index}", "meanTimeToRepair": rng.choice(TIMES)} | some(CLASS, 0.15, rng)
    rates = ["failuresPer1000NodeDays", "failuresPer1000Days"]
    for name in rng.choice([rates[:1], rates[1:], rates[1:], rates]):
        body[name] = rng.choice(["0", "0.000001", 1000, "0.5"])
    if rng.random() < 0.2:
        body["life"] = {"distribution": "Weibull"} | some(LAWS, 0.5, rng)
    if rng.random() < 0.3:
        part = {"part": {"leadTime": "336h", "share": rng.choice(SHARES)}}
        body["repair"] = some(LAWS, 0.3, rng) | some({"crew": [True, False]}, 0.5, rng)
        body["repair"] |= some({"recurrence": SHARES}, 0.3, rng) | rng.choice([{}, part])
    if rng.random() < 0.2:
        body["recovery"] = [{"action": "Retry", "success": 50, "time": rng.choice(TIMES)}]
    return body


def made(base: Body, rng: random.Random) -> Body:
    body = copy.deepcopy(base)
    cluster = body["spec"]["clusters"][0]
    classes = [made_class(rng, index) for index in range(rng.choice([0, 1, 1, 2]))]
    cluster["reliability"] = some(CLUSTER, 0.12, rng) | {"classes": classes}
    if rng.random() < 0.5:
        cluster["feed"] = {"nodesPerPdu": 2}
    return body


def test_equal_verdicts(server: client.CustomObjectsApi, object_bases: dict[str, Body]) -> None:
    """Both kinds of verdict are frequent, so that agreement says something."""
    rng = random.Random(SEED)  # noqa: S311 - a sample, no secret
    taken = 0
    for _ in range(BODIES):
        body = made(object_bases["NPUFarm"], rng)
        told = body["spec"]["clusters"][0]
        try:
            server.create_cluster_custom_object(
                "kfarm.dev", "v1alpha1", "npufarms", body, dry_run="All"
            )
        except client.ApiException as error:
            assert error.status == 422, error.body
            with pytest.raises(InvalidObject):
                parse(body, strict=True)
                pytest.fail(f"the API server alone refuses {told}: {error.body}")
        else:
            taken += 1
            parse(body, strict=True)
    assert BODIES // 8 < taken < BODIES * 7 // 8

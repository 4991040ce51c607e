"""Metrics: the documented list is the served one, and its size is bounded."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kfarm_operator.instruments import CATALOGUE, Instruments, resource_of, verb_of
from kfarm_operator.readings import NAMESPACES, OTHERS, measure_requests, plan_samples
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| `(kfarm_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", re.MULTILINE)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_documented_list_is_the_catalogue() -> None:
    rows = ROW.findall((ROOT / "docs/operations.md").read_text())
    documented = {name: (kind, labels, text) for name, kind, labels, text in rows}
    expected = {
        name: (described.type, ", ".join(f"`{x}`" for x in described.labels), described.help)
        for name, described in CATALOGUE.items()
    }
    assert documented == expected


def test_names_and_types_follow_the_conventions_of_prometheus() -> None:
    for name, described in CATALOGUE.items():
        assert name.endswith("_total") == (described.type == "counter"), name
        assert name.endswith("_seconds") or described.type != "histogram", name
        assert not {"pod", "name", "uid", "token"} & set(described.labels)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_times_and_sources_are_served() -> None:
    instruments = Instruments("gate")
    instruments.count("kfarm_gate_releases_total", by=3)
    instruments.count("kfarm_verdicts_total", "Approved", "AllChecksPassed")
    instruments.took("kfarm_reconcile_seconds", "plans", seconds=0.02)
    instruments.read(lambda: [("kfarm_watch_events_total", ("nodes",), 7.0)])
    measure_requests(instruments)("PATCH", "/api/v1/namespaces/team/pods/a", 409, 0.1)
    found = samples(instruments.text())
    assert found["kfarm_gate_releases_total",] == 3
    assert found["kfarm_verdicts_total", "AllChecksPassed", "Approved"] == 1
    assert found["kfarm_reconcile_seconds_count", "plans"] == 1
    assert found["kfarm_watch_events_total", "nodes"] == 7
    assert found["kfarm_api_requests_total", "409", "pods", "patch"] == 1
    assert any(key[0] == "kfarm_build_info" and key[2] == "gate" for key in found)


def test_two_processes_worth_of_instruments_do_not_mix() -> None:
    first, second = Instruments(), Instruments()
    first.count("kfarm_gate_releases_total")
    assert samples(second.text())["kfarm_gate_releases_total",] == 0


@pytest.mark.parametrize(
    ("method", "path", "verb", "resource"),
    [
        ("GET", "/api/v1/nodes", "list", "nodes"),
        ("GET", "/api/v1/nodes/a", "get", "nodes"),
        ("PATCH", "/api/v1/nodes/a/status", "patch", "nodes/status"),
        ("GET", "/api/v1/namespaces", "list", "namespaces"),
        ("GET", "/api/v1/namespaces/team", "get", "namespaces"),
        ("POST", "/api/v1/namespaces/team/events", "create", "events"),
        ("POST", "/api/v1/namespaces/team/pods/p/eviction", "create", "pods/eviction"),
        ("DELETE", "/apis/kfarm.dev/v1alpha1/nodeledgers/x", "delete", "nodeledgers"),
        (
            "PATCH", "/apis/kfarm.dev/v1alpha1/namespaces/t/placementplans/p/status",
            "patch", "placementplans/status",
        ),
    ],
)  # fmt: skip
def test_requests_are_named_without_the_names_of_objects(
    method: str, path: str, verb: str, resource: str
) -> None:
    assert (verb_of(method, path), resource_of(path)) == (verb, resource)


def test_plans_are_counted_by_namespace_up_to_a_limit(scenes: Any) -> None:
    scene = scenes.Scene()
    scene.settle()
    plans = []
    for number in range(NAMESPACES + 20):
        scene.plan["metadata"]["namespace"] = f"team{number:03}"
        plans += [scene.observed().plan] * (1 if number else 2)
    found = {(name, *labels): value for name, labels, value in plan_samples(plans, NOW)}
    assert found["kfarm_plans", "team000", "Approved"] == 2
    assert found["kfarm_plans", OTHERS, "Approved"] == 20
    assert len({labels[1] for labels in found if labels[0] == "kfarm_plans"}) == NAMESPACES + 1

"""TwinRuns: what is decided, what is stored, what the status says. No cluster."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfarm_api.twinrun import TwinRun
from kfarm_operator.plans.status import same
from kfarm_operator.twinruns import status as wanted
from kfarm_operator.twinruns.artifact import (
    KEY,
    artifact_body,
    artifact_name,
    describe,
    is_ours,
    packed,
    read_artifact,
)
from kfarm_operator.twinruns.decide import Finish, Gathered, Play, Ready, Rest, decide, resolve
from kfarm_twin.whatif_conclude import conclude
from kfarm_twin.whatif_request import Source, WhatIfRequest
from kfarm_twin.whatif_result import Farmland, Part, PolicyPart, Series, WhatIf

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRACE = {"configMap": {"name": "week", "key": "week.swf"}, "format": "SWF"}
GANG = {"nodes": 4, "checkpoint": {"interval": "1h"}}
SOURCE = {"data": {"week.swf": "1 2 3"}}
FARM = Farmland(farm="x", nodes=4, accelerators_per_node=8, nodes_per_rack=4, nodes_per_unit=0)


def twin_run(status: dict[str, Any] | None = None, name: str = "r", **spec: Any) -> TwinRun:
    body: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "n", "uid": "u", "generation": 3},
        "spec": {
            "shape": {"nodes": 4},
            "workload": {"trace": TRACE},
            "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}],
            "replicas": 2,
            **spec,
        },
    }
    return TwinRun.model_validate({**body, **({"status": status} if status else {})})


def request(run: TwinRun) -> WhatIfRequest:
    return WhatIfRequest(
        name=run.metadata.name, spec=run.spec, source=Source(name="week.swf", raw=b"1 2 3")
    )


def result(run: TwinRun, points: int = 2) -> WhatIf:
    def policy(wait: float, replica: int) -> PolicyPart:
        series = Series(queued_jobs=[0.123456] * points, utilisation=[0.654321] * points)
        return PolicyPart(
            metrics={"waitMeanS": wait * (replica + 1), "utilisation": 0.5},
            sizes=[],
            waits_s=[0.0],
            series=series if not replica else None,
        )

    parts = [
        Part(
            replica=replica,
            jobs=10,
            offered=0.9,
            window_s=100,
            grid_s=[1.0] * points,
            policies=[policy(20, replica), policy(8, replica)],
        )
        for replica in (1, 0)
    ]
    return conclude(request(run), FARM, parts)


def digest_of(run: TwinRun) -> str:
    return request(run).digest()


def stored(run: TwinRun, *, uid: str = "u") -> dict[str, Any]:
    raw, _ = packed(result(run))
    body = artifact_body(run, digest_of(run), raw)
    body["metadata"]["ownerReferences"][0]["uid"] = uid
    return body


def test_all_there_makes_a_request() -> None:
    run = twin_run()
    found = resolve(Gathered(run, (), SOURCE))
    assert isinstance(found, Ready)
    assert found.request.source == Source(name="week.swf", raw=b"1 2 3")
    assert found.digest == digest_of(run)


def test_the_digest_is_of_inputs_alone() -> None:
    one = twin_run()
    assert digest_of(one) == digest_of(twin_run(name="other"))
    assert digest_of(one) == digest_of(twin_run(suspend=True))
    for changed in ({"seed": 1}, {"replicas": 3}, {"horizon": "1h"}, {"shape": {"nodes": 5}}):
        assert digest_of(one) != digest_of(twin_run(**changed))
    text = WhatIfRequest(name="r", spec=one.spec, source=Source(name="week.swf", raw=b"1 2 4"))
    assert text.digest() != digest_of(one)


@pytest.mark.parametrize(
    ("source", "reason", "said"),
    [
        (None, "ConfigMapNotFound", "create configmap week"),
        ({}, "KeyNotFound", "it has none"),
        ({"data": {"b": "", "a": ""}}, "KeyNotFound", "it has a, b"),
        ({"binaryData": {"week.swf": "%%%"}}, "KeyNotFound", "no key"),
    ],
)
def test_a_missing_trace_says_what_to_do(source: Any, reason: str, said: str) -> None:
    rest = resolve(Gathered(twin_run(), (), source))
    assert isinstance(rest, Rest)
    assert (rest.state, rest.reason) == ("Pending", reason)
    assert said in rest.message
    assert rest.again_s is not None


def test_binary_data_is_taken_too() -> None:
    source = {"binaryData": {"week.swf": base64.b64encode(b"1 2 3").decode()}}
    found = resolve(Gathered(twin_run(), (), source))
    assert isinstance(found, Ready)
    assert found.digest == digest_of(twin_run())


def test_a_missing_farm_is_named() -> None:
    run = twin_run(shape=None, farms=[{"kind": "GPUFarm", "name": "nhn"}])
    rest = resolve(Gathered(run, (None,), SOURCE))
    assert isinstance(rest, Rest)
    assert rest.reason == "FarmNotFound"


def test_a_suspended_run_looks_at_nothing() -> None:
    rest = resolve(Gathered(twin_run(suspend=True), (), None))
    assert isinstance(rest, Rest)
    assert rest.state == "Suspended"


@pytest.mark.parametrize("workload", [None, {"gang": GANG}])
def test_a_run_of_failures_alone_says_who_plays_it(workload: Any) -> None:
    shape = {"nodes": 8, "reliability": {"reference": "llama3-h100"}}
    rest = resolve(Gathered(twin_run(workload=workload, policies=[], shape=shape), (), None))
    assert isinstance(rest, Rest)
    assert (rest.state, rest.reason) == ("Failed", "NoJobs")
    assert "kfarm simulate -f" in rest.message


def test_the_artifact_is_the_result() -> None:
    run = twin_run()
    body = stored(run)
    found = decide(run, digest_of(run), body)
    assert isinstance(found, Finish)
    assert found.result == result(run)
    raw = base64.b64decode(body["binaryData"][KEY])
    assert found.artifact == describe(body["metadata"]["name"], raw)
    assert packed(result(run))[0] == raw, "the same bytes every time"


@pytest.mark.parametrize("change", ["owner", "label", "digest", "damaged", "empty", "cut", "bomb"])
def test_what_is_not_our_result_is_left_alone(change: str) -> None:
    run = twin_run()
    body = stored(run, uid="other" if change == "owner" else "u")
    raw = base64.b64decode(body["binaryData"][KEY])
    if change == "label":
        body["metadata"]["labels"] = {}
    elif change == "digest":
        body["metadata"]["annotations"] = None
    elif change == "damaged":
        body["binaryData"][KEY] = base64.b64encode(b"\x1f\x8b" + raw[9:]).decode()
    elif change == "cut":
        body["binaryData"][KEY] = base64.b64encode(raw[:50]).decode()
    elif change == "bomb":
        body["binaryData"][KEY] = base64.b64encode(gzip.compress(bytes(1 << 26))).decode()
    elif change == "empty":
        del body["binaryData"]
    found = decide(run, digest_of(run), body)
    assert isinstance(found, Rest)
    assert (found.state, found.reason) == ("Failed", "ArtifactNameTaken")


def test_new_inputs_are_played_from_the_first_attempt() -> None:
    assert decide(twin_run(), "sha256:1", None) == Play(0)
    old = twin_run({"state": "Failed", "inputsDigest": "sha256:0", "attempts": 3})
    assert decide(old, "sha256:1", None) == Play(0)
    tried = twin_run({"state": "Running", "inputsDigest": "sha256:1", "attempts": 2})
    assert decide(tried, "sha256:1", None) == Play(2)
    lost = twin_run({"state": "Completed", "inputsDigest": "sha256:1"})
    assert decide(lost, "sha256:1", None) == Play(0), "somebody deleted the artifact"


def test_a_failure_rests_until_the_inputs_change() -> None:
    run = twin_run()
    status = wanted.failed(run, "sha256:1", "BadInput", "line 6", attempts=0, now=NOW)
    failed = twin_run(status)
    found = decide(failed, "sha256:1", None)
    assert isinstance(found, Rest)
    assert (found.reason, found.message) == ("BadInput", "line 6")
    assert decide(failed, "sha256:2", None) == Play(0)


def test_names_of_artifacts_fit_and_differ() -> None:
    long = twin_run(name="a" * 253)
    assert len(artifact_name(long, "sha256:" + "0" * 64)) <= 253
    assert artifact_name(long, "sha256:a") != artifact_name(long, "sha256:b")
    dotted = twin_run(name="a" * 232 + ".b")
    assert ".-" not in artifact_name(dotted, "sha256:0")


def test_an_artifact_too_large_loses_its_series_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = twin_run()
    whole, left = packed(result(run, points=300))
    assert left == ()
    monkeypatch.setattr("kfarm_operator.twinruns.artifact.MAX_BYTES", len(whole) - 1)
    smaller, left = packed(result(run, points=300))
    assert left == ("series over time",)
    assert len(smaller) < len(whole)
    assert json.loads(gzip.decompress(smaller))["policies"][0]["series"] is None


def test_the_status_of_a_result_is_stable() -> None:
    run = twin_run()
    found = result(run)
    artifact = describe("r-result-0", b"x")
    status = wanted.completed(run, found, artifact, NOW)
    again = wanted.completed(twin_run(status), found, artifact, NOW + timedelta(hours=1))
    assert same(status, again)
    assert status["conditions"][0]["status"] == "True"
    assert status["compared"] == "fifo, easy"
    assert status["best"] == "easy"
    assert [p.get("waitMeanDifference") for p in status["policies"]] == [None, "-18"]
    assert status["policies"][0]["waitMean"] == "30"


def test_progress_keeps_the_start_and_drops_old_figures() -> None:
    run = twin_run()
    done = twin_run(wanted.completed(run, result(run), describe("old", b"x"), NOW))
    begun = wanted.running(done, "sha256:new", done=0, attempts=0, now=NOW)
    assert begun["policies"] == []
    assert begun["best"] is None
    assert begun["artifact"]["configMap"] == "old", "until the new one is there"
    later = wanted.running(
        twin_run(begun), "sha256:new", done=1, attempts=0, now=NOW + timedelta(seconds=9)
    )
    assert later["startedAt"] == begun["startedAt"]
    assert later["message"] == "1 of 2 replicas played"


def test_ours_is_ours() -> None:
    run = twin_run()
    assert is_ours(stored(run), run)
    assert not is_ours({"metadata": {"name": "x"}}, run)
    assert read_artifact({"metadata": {"name": "x"}}) is None

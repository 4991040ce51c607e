"""Status of a TwinRun, whole, as it should stand. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfarm_api.twinrun import TwinRun
from kfarm_api.twinrun_status import Artifact, RunState, TwinRunStatus
from kfarm_twin.whatif_result import WhatIf

from kfarm_operator.conditions import Status, condition, shorten, timestamp

JSON = dict[str, Any]


def resting(run: TwinRun, state: RunState, reason: str, message: str, now: datetime) -> JSON:
    """Nothing is played; an earlier result stays where it is."""
    before = run.status or TwinRunStatus()
    failed = state == "Failed"
    kept = before.model_copy(
        update={
            "state": state,
            "message": shorten(message),
            "attempts": before.attempts if failed else None,
        }
    )
    return _finish(run, kept, "False", reason, message, now)


def running(
    run: TwinRun, digest: str, *, done: int, attempts: int, now: datetime, retry: str = ""
) -> JSON:
    """A run is under way, or about to be tried again."""
    before = run.status or TwinRunStatus()
    fresh = before.inputs_digest != digest or before.state != "Running"
    before = _without_stale(before, digest)
    total = run.spec.replicas
    message = f"{done} of {total} replicas played"
    status = before.model_copy(
        update={
            "state": "Running",
            "inputs_digest": digest,
            "replicas_done": done,
            "attempts": attempts or None,
            "started_at": timestamp(now) if fresh else before.started_at,
            "completed_at": None,
            "message": shorten(retry or message),
        }
    )
    return _finish(run, status, "False", "Retrying" if retry else "Running", retry or message, now)


def _without_stale(status: TwinRunStatus, digest: str) -> TwinRunStatus:
    """Without the figures of other inputs; their artifact is named until it is replaced."""
    if status.inputs_digest == digest:
        return status
    return status.model_copy(update={"jobs": None, "best": None, "policies": []})


def failed(
    run: TwinRun, digest: str, reason: str, message: str, *, attempts: int, now: datetime
) -> JSON:
    """No result from these inputs."""
    before = _without_stale(run.status or TwinRunStatus(), digest)
    status = before.model_copy(
        update={
            "state": "Failed",
            "inputs_digest": digest,
            "replicas_done": None,
            "attempts": attempts or None,
            "completed_at": None,
            "message": shorten(message),
        }
    )
    return _finish(run, status, "False", reason, message, now)


def completed(run: TwinRun, result: WhatIf, artifact: Artifact, now: datetime) -> JSON:
    """The result in few figures, and where the whole of it is."""
    before = run.status or TwinRunStatus()
    same = before.state == "Completed" and before.inputs_digest == result.inputs_digest
    message = " ".join(result.headline)
    status = TwinRunStatus(
        state="Completed",
        inputs_digest=result.inputs_digest,
        jobs=result.workload.jobs,
        replicas_done=result.replicas,
        started_at=before.started_at,
        completed_at=before.completed_at if same and before.completed_at else timestamp(now),
        best=result.best,
        message=shorten(message),
        policies=result.digests(),
        artifact=artifact,
        conditions=before.conditions,
    )
    return _finish(run, status, "True", "Completed", message, now)


def _finish(
    run: TwinRun, status: TwinRunStatus, ready: Status, reason: str, message: str, now: datetime
) -> JSON:
    """Add the conditions; explicit nulls clear what stood there before."""
    generation = run.metadata.generation
    before = run.status.conditions if run.status else []
    body = status.model_dump(by_alias=True, mode="json", exclude={"conditions", "policies"})
    if status.artifact is not None:
        body["artifact"] = status.artifact.as_manifest()
    body["observedGeneration"] = generation
    body["compared"] = ", ".join(policy.name for policy in run.spec.policies)
    body["policies"] = [policy.as_manifest() for policy in status.policies]
    row = condition("Ready", ready, reason, message, generation=generation, before=before, now=now)
    body["conditions"] = [row]
    return body

"""What to do about one TwinRun. Pure functions on what was gathered."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.twinrun import TwinRun
from kfarm_api.twinrun_status import Artifact
from kfarm_twin.fleetrun_request import FleetRequest, check, plays_failures
from kfarm_twin.request import InputError
from kfarm_twin.whatif_request import Source, WhatIfRequest, source_key

from kfarm_operator.twinruns.artifact import Result, artifact_name, is_ours, read_artifact

MAX_ATTEMPTS = 3
"""Of a run that fails for no fault of its inputs; then it rests until they change."""
RETRY_S = (5.0, 30.0, 120.0)
MISSING_S = 15.0
"""How soon to look again for a ConfigMap that is not there: no watch tells of it."""


@dataclass(frozen=True)
class Gathered:
    """A run and what it names.

    Attributes
    ----------
    farms
        By place in ``spec.farms``; None where there is none.
    source
        The ConfigMap that the workload names; None when there is none or none is named.
    profiles
        All that are known.
    """

    run: TwinRun
    farms: tuple[Farm | None, ...]
    source: Mapping[str, Any] | None
    profiles: tuple[AcceleratorProfile, ...] = ()


@dataclass(frozen=True)
class Rest:
    """Nothing to play: say why."""

    state: str
    reason: str
    message: str
    again_s: float | None = None


@dataclass(frozen=True)
class Ready:
    """All is there: these inputs."""

    request: WhatIfRequest | FleetRequest
    digest: str


@dataclass(frozen=True)
class Finish:
    """The result is there already."""

    result: Result
    artifact: Artifact


@dataclass(frozen=True)
class Play:
    """Play, for the so-and-so-manieth time."""

    attempts: int


def resolve(gathered: Gathered) -> Rest | Ready:
    """Put the request together, or say what is missing and the remedy."""
    run, spec = gathered.run, gathered.run.spec
    if spec.suspend:
        return Rest("Suspended", "Suspended", "suspended: set suspend: false to play it")
    for ref, farm in zip(spec.farms, gathered.farms, strict=True):
        if farm is None:
            text = f"{ref.kind} {ref.name} does not exist: apply it, or correct spec.farms"
            return Rest("Pending", "FarmNotFound", text)
    if plays_failures(spec):
        return _failures(gathered)
    source: Source | None = None
    wanted = source_key(spec)
    if wanted is not None:
        if gathered.source is None:
            text = (
                f"there is no ConfigMap {wanted.name} in namespace {run.metadata.namespace}: "
                f"kubectl create configmap {wanted.name} --from-file={wanted.key}"
            )
            return Rest("Pending", "ConfigMapNotFound", text, MISSING_S)
        raw = content(gathered.source, wanted.key)
        if raw is None:
            keys = [
                *(gathered.source.get("data") or ()),
                *(gathered.source.get("binaryData") or ()),
            ]
            text = (
                f"ConfigMap {wanted.name} has no key {wanted.key} (it has "
                f"{', '.join(sorted(keys)[:8]) or 'none'}): correct configMap.key or the ConfigMap"
            )
            return Rest("Pending", "KeyNotFound", text, MISSING_S)
        source = Source(name=wanted.key, raw=raw)
    farms = [farm for farm in gathered.farms if farm is not None]
    if spec.heat:
        missing = _missing_profile(gathered, farms)
        if missing is not None:
            return missing
    request = WhatIfRequest(
        name=run.metadata.name,
        spec=spec,
        farms=farms,
        source=source,
        profiles=list(gathered.profiles) if spec.heat else [],
    )
    return Ready(request, request.digest())


def _missing_profile(gathered: Gathered, farms: list[Farm]) -> Rest | None:
    """What to say where a device type of the farms is not known."""
    known = {profile.metadata.name for profile in gathered.profiles}
    for farm in farms:
        for cluster in farm.spec.clusters:
            if cluster.accelerator not in known:
                text = (
                    f"AcceleratorProfile {cluster.accelerator} of {farm.metadata.name}/"
                    f"{cluster.name} does not exist: apply it; examples/catalogue has those "
                    "that kfarm ships"
                )
                return Rest("Pending", "ProfileNotFound", text, MISSING_S)
    return None


def _failures(gathered: Gathered) -> Rest | Ready:
    """The request of a run of failures, or what contradicts itself in it."""
    run = gathered.run
    farms = [farm for farm in gathered.farms if farm is not None]
    missing = _missing_profile(gathered, farms) if run.spec.workload is not None else None
    if missing is not None:
        return missing
    request = FleetRequest(
        name=run.metadata.name, spec=run.spec, farms=farms, profiles=list(gathered.profiles)
    )
    try:
        check(request)
    except InputError as error:
        return Rest("Failed", "BadInput", str(error))
    return Ready(request, request.digest())


def content(body: Mapping[str, Any], key: str) -> bytes | None:
    """Content of a key of a ConfigMap, text or binary."""
    text = (body.get("data") or {}).get(key)
    if text is not None:
        return str(text).encode()
    coded = (body.get("binaryData") or {}).get(key)
    try:
        return None if coded is None else base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return None


def decide(run: TwinRun, digest: str, found: Mapping[str, Any] | None) -> Finish | Play | Rest:
    """Whether to play.

    Parameters
    ----------
    found
        The ConfigMap under the artifact's name, or None.
    """
    status = run.status
    if found is not None:
        read = read_artifact(dict(found)) if is_ours(dict(found), run, digest) else None
        if read is None:
            text = (
                f"ConfigMap {artifact_name(run, digest)} stands where the result belongs and is "
                "not this run's result: delete it or rename the TwinRun"
            )
            return Rest("Failed", "ArtifactNameTaken", text, MISSING_S)
        return Finish(*read)
    same = status is not None and status.inputs_digest == digest
    if status is None or not same:
        return Play(0)
    if status.state == "Failed":
        ready = next((c for c in status.conditions if c.type == "Ready"), None)
        final = ready is not None and ready.reason not in ("ArtifactNameTaken", "Suspended")
        if final and ready is not None:
            return Rest("Failed", ready.reason, ready.message)
    return Play(status.attempts or 0)

"""The ConfigMap that holds a result: made, recognised and read again. Pure functions."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import zlib
from typing import Any

from kfarm_api.base import API_VERSION
from kfarm_api.twinrun import TwinRun
from kfarm_api.twinrun_status import Artifact
from kfarm_twin.whatif_result import WhatIf

JSON = dict[str, Any]
KEY = "result.json.gz"
LABEL = "kfarm.dev/twin-run"
DIGEST = "kfarm.dev/inputs-digest"
MAX_BYTES = 900 * 1024
"""Of the gzipped result: a ConfigMap holds 1 MiB in all."""
MAX_UNZIPPED = 32 << 20
_NAME_ROOM = 253 - len("-result-") - 12


def artifact_name(run: TwinRun, digest: str) -> str:
    """Name that follows from the run and its inputs."""
    content = digest.removeprefix("sha256:")[:12]
    return f"{run.metadata.name[:_NAME_ROOM].rstrip('.-')}-result-{content}"


def packed(result: WhatIf) -> tuple[bytes, tuple[str, ...]]:
    """The result as gzipped JSON, the same bytes every time, and what was left out to fit.

    Series go first, then the figures of single replicas.
    """
    left: list[str] = []
    raw = _zipped(result)
    if len(raw) > MAX_BYTES:
        left.append("series over time")
        bare = [policy.model_copy(update={"series": None}) for policy in result.policies]
        result = result.model_copy(update={"policies": bare, "grid_s": []})
        raw = _zipped(result)
    return raw, tuple(left)


def _zipped(result: WhatIf) -> bytes:
    text = json.dumps(result.as_data(), ensure_ascii=False, allow_nan=False, sort_keys=False)
    return gzip.compress(text.encode(), mtime=0)


def artifact_body(run: TwinRun, digest: str, raw: bytes) -> JSON:
    """The ConfigMap: immutable, owned by the run, so that it goes when the run goes."""
    meta = run.metadata
    owner = {
        "apiVersion": API_VERSION,
        "kind": "TwinRun",
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": artifact_name(run, digest),
            "namespace": meta.namespace,
            "labels": {LABEL: "true", "app.kubernetes.io/managed-by": "kfarm"},
            "annotations": {DIGEST: digest},
            "ownerReferences": [owner],
        },
        "immutable": True,
        "binaryData": {KEY: base64.b64encode(raw).decode()},
    }


def is_ours(body: JSON, run: TwinRun, digest: str | None = None) -> bool:
    """Whether a ConfigMap is this run's, and where `digest` is given of these very inputs."""
    meta = body["metadata"]
    owners = [owner.get("uid") for owner in meta.get("ownerReferences") or ()]
    same = digest is None or (meta.get("annotations") or {}).get(DIGEST) == digest
    return run.metadata.uid in owners and LABEL in (meta.get("labels") or {}) and same


def read_artifact(body: JSON) -> tuple[WhatIf, Artifact] | None:
    """The result in a ConfigMap; None when it is damaged."""
    try:
        raw = base64.b64decode(body["binaryData"][KEY], validate=True)
        result = WhatIf.model_validate_json(_unzipped(raw))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error):
        return None
    return result, describe(body["metadata"]["name"], raw)


def _unzipped(raw: bytes) -> bytes:
    """At most `MAX_UNZIPPED`, so that a forged ConfigMap cannot fill the memory."""
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = reader.decompress(raw, MAX_UNZIPPED)
    if not reader.eof:
        raise ValueError("cut off or too large")
    return text


def describe(name: str, raw: bytes) -> Artifact:
    """What the status says of an artifact."""
    sha256 = hashlib.sha256(raw).hexdigest()
    return Artifact(config_map=name, key=KEY, bytes=len(raw), sha256=sha256)

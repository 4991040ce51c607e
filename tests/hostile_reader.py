"""A process that reads what it is given, so that whoever hangs, grows or dies is not the test.

On standard input: a name, the bytes. On standard output: what became of them. Each as a 4-byte
length and as many bytes; the answer is JSON. ``python hostile_reader.py`` runs until its input
ends.
"""

from __future__ import annotations

import json
import math
import resource
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from kfarm_api.snapshot import FarmSnapshot, digest
from kfarm_twin.kube.describe import load_cluster
from kfarm_twin.load import ManifestError, Problem, load_model, load_text
from kfarm_twin.queues_manifest import read_queues

MEMORY_BYTES = 2 << 30
_LENGTH = struct.Struct(">I")


def finite(value: Any) -> bool:
    """Whether there is no number in it that is not finite."""
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def manifests(name: str, raw: bytes) -> dict[str, Any]:
    """As ``kfarm validate -f`` reads them."""
    documents = load_text(raw, name)
    bodies = [document.object.as_manifest() for document in documents]
    assert all(finite(body) for body in bodies), "not finite"
    return {"objects": len(bodies), "digests": [digest(body) for body in bodies]}


def _file(name: str, raw: bytes) -> Path:
    path = Path(sys.argv[1]) / name
    path.write_bytes(raw)
    return path


def snapshot(name: str, raw: bytes) -> dict[str, Any]:
    """As ``--snapshot`` reads them."""
    made = load_model(_file(name, raw), FarmSnapshot)
    assert finite(made.model_dump()), "not finite"
    return {"objects": 1}


def kube(name: str, raw: bytes) -> dict[str, Any]:
    """As ``kfarm schedule`` reads Nodes and Pods."""
    file = _file(name, raw)
    load_cluster([file], [file])
    return {"objects": 1}


def queues(name: str, raw: bytes) -> dict[str, Any]:
    """As ``kfarm simulate --queues`` reads Kueue's objects."""
    read_queues([_file(name, raw)])
    return {"objects": 1}


READERS = {"manifests": manifests, "snapshot": snapshot, "kube": kube, "queues": queues}


def answer(reader: str, name: str, raw: bytes) -> dict[str, Any]:
    """What became of the bytes: objects, problems, or a crash."""
    try:
        return READERS[reader](name, raw)
    except ManifestError as error:
        return {"problems": [_told(problem) for problem in error.problems]}
    except Exception:
        return {"crash": traceback.format_exc()[-4000:]}


def _told(problem: Problem | object) -> str:
    return str(problem)


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return stream.read(_LENGTH.unpack(head)[0])


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (head := _read(sys.stdin.buffer)) is not None:
        order = json.loads(head)
        raw = _read(sys.stdin.buffer)
        if raw is None:
            return
        begun = time.process_time()
        said = json.dumps(
            answer(order["reader"], order["name"], raw) | {"cpu_s": time.process_time() - begun}
        ).encode()
        sys.stdout.buffer.write(_LENGTH.pack(len(said)) + said)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

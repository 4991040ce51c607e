"""The folder of a sweep: what is finished stays there, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfarm_twin.cli_output import as_json
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.traces.write import replacing
from kfarm_twin.work.identity import identity

DESCRIPTION = "sweep.json"
POINTS = "points"
LOCK = ".lock"
FORM = "kfarm.dev/sweep-folder/v1"
MOST_BYTES = 64 << 20


class Store:
    """Finished points of sweeps, by what their results depend on.

    A result is kept under the digest of its request and of the code that played it, so that a
    sweep with further values takes over what it can, and another version of kfarm nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._points = folder / POINTS

    @contextmanager
    def opened(self, description: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder, alone, and say in it what it is.

        Raises
        ------
        ManifestError
            When it cannot be written, holds something else, or another sweep has it.
        """
        try:
            self._points.parent.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            self._points.mkdir(exist_ok=True)
            lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise self._refused(reason, "a folder that you may write to") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._refused("another sweep at work", "a folder of its own") from None
            text = as_json({"form": FORM, **description}) + "\n"
            self.write(DESCRIPTION, text.encode())
            yield
        finally:
            os.close(lock)

    def _check_ours(self) -> None:
        """A folder with other things in it is left alone."""
        if not any(self._folder.iterdir()):
            return
        try:
            known = json.loads((self._folder / DESCRIPTION).read_bytes()).get("form") == FORM
        except (OSError, ValueError, AttributeError):
            known = {path.name for path in self._folder.iterdir()} <= {LOCK, POINTS}
        if not known:
            raise self._refused("other files", "an empty folder, or that of an earlier sweep")

    def _refused(self, found: str, expected: str) -> ManifestError:
        return ManifestError([Problem(self._folder, 0, "", found, expected)])

    def path(self, digest: str) -> Path:
        """Where the result of a request is kept."""
        return self._points / f"{result_key(digest)}.json"

    def read(self, digest: str) -> bytes | None:
        """A kept result; None where there is none, or where it is damaged."""
        path = self.path(digest)
        try:
            if path.stat().st_size > MOST_BYTES:
                return None
            found = json.loads(path.read_bytes())
            result = found["result"]
            raw = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
            whole = found["check"] == hashlib.sha256(raw).hexdigest()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return raw if whole else None

    def keep(self, digest: str, result: bytes, about: Mapping[str, Any]) -> None:
        """Keep a result, whole or not at all; it can be read by people."""
        value = json.loads(result)
        raw = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        kept = {**about, "check": hashlib.sha256(raw).hexdigest(), "result": value}
        path = self.path(digest)
        with replacing(path) as stream:
            stream.write((json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the folder, whole or not at all."""
        path = self._folder / name
        with replacing(path) as stream:
            stream.write(content)
        return path


def result_key(digest: str) -> str:
    """Name of a result: 32 hex digits over its request and the code."""
    who = json.dumps(identity(), sort_keys=True)
    return hashlib.sha256(f"{who}\0{digest}".encode()).hexdigest()[:32]

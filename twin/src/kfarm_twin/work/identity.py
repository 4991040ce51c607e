"""Who computes: two processes of the same identity give the same bytes for the same request."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("kfarm_api", "kfarm_twin")
LIBRARIES = ("numba", "llvmlite", "numpy", "scipy", "pyarrow", "pydantic")
"""What figures go through on their way from request to reply."""
SUFFIXES = (".py", ".yaml", ".csv", ".json")


@cache
def identity() -> dict[str, str]:
    """Version of kfarm, digest of its sources, libraries, Python and kind of processor."""
    found = {"kfarm": _version("kfarm-twin"), "sources": sources_digest()}
    found |= {name: _version(name) for name in LIBRARIES}
    python = ".".join(platform.python_version_tuple()[:2])
    return found | {"python": python, "machine": platform.machine()}


def sources_digest() -> str:
    """16 hex digits over all sources and data of the twin and its models."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        for folder in sorted(folders or ()):
            root = Path(folder)
            for file in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
                name = f"{package}/{file.relative_to(root).as_posix()}"
                digest.update(f"\0{name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Where two identities differ, in words; empty when they do not."""
    words = [
        f"{name} {theirs.get(name, 'unknown')} there, {ours.get(name, 'unknown')} here"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    return "; ".join(words)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"

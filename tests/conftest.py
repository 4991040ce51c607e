"""Shared by all suites: the table of good and bad objects in ``data/objects.yaml``."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

TABLE: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "data/objects.yaml").read_text("utf-8")
)


@dataclass(frozen=True)
class ObjectCase:
    """An object and whether the API takes it."""

    name: str
    body: dict[str, Any]
    good: bool


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``object_case`` once for each row of the table."""
    if "object_case" in metafunc.fixturenames:
        cases = [ObjectCase(row["name"], _build(row), row["good"]) for row in TABLE["cases"]]
        metafunc.parametrize("object_case", cases, ids=[case.name for case in cases])


@pytest.fixture
def object_bases() -> dict[str, Any]:
    """One good object of each kind, to be changed at will."""
    bases: dict[str, Any] = copy.deepcopy(TABLE["bases"])
    return bases


@pytest.fixture(scope="module")
def module_bases() -> dict[str, Any]:
    """As `object_bases`, once for a module."""
    bases: dict[str, Any] = copy.deepcopy(TABLE["bases"])
    return bases


def _build(row: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(TABLE["bases"][row["base"]])
    for pointer in row.get("remove", ()):
        parent, key = _parent(made, pointer)
        del parent[key]
    for pointer, source in row.get("copy", {}).items():
        holder, key = _parent(made, source)
        _set(made, pointer, copy.deepcopy(holder[key]))
    for pointer, value in row.get("set", {}).items():
        _set(made, pointer, _long(value))
    return made


def _long(value: Any) -> Any:
    """``%256x`` stands for 256 times ``x`` (``a`` when left out)."""
    if isinstance(value, str) and value.startswith("%"):
        return (value[4:] or "a") * int(value[1:4])
    return value


def _parent(body: Any, pointer: str) -> tuple[Any, Any]:
    *above, last = pointer.split("/")[1:]
    for part in above:
        body = body[int(part) if isinstance(body, list) else part]
    return body, last if not isinstance(body, list) or last == "-" else int(last)


def _set(body: Any, pointer: str, value: Any) -> None:
    parent, key = _parent(body, pointer)
    if key == "-":
        parent.append(value)
    else:
        parent[key] = value

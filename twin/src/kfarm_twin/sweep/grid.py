"""The parameters of a sweep: which field of which object takes which values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from kfarm_api.base import Strict
from kfarm_api.parse import BY_KIND, did_you_mean, show
from pydantic import Field

from kfarm_twin.load import ManifestError, Problem, load_model
from kfarm_twin.manifest_text import read_text

SCHEMA: Literal["kfarm.dev/sweep/v1"] = "kfarm.dev/sweep/v1"
COMMAND_LINE = Path("command line")
MOST_POINTS = 10_000
MOST_PARAMETERS = 8
SET_FORM = "KIND/NAME:PATH=VALUES, such as 'GPUFarm/nhn-cloud:spec.clusters[0].spares=0,2,4'"
_SET = re.compile(r"(?P<kind>[^/:=]+)/(?P<name>[^:=]+):(?P<path>[^=]+)=(?P<values>.*)", re.DOTALL)
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?")
_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[([^\[\]]+)\]")

Step = str | int
Scalar = str | int | float | bool


class FileParameter(Strict):
    """A parameter as a file states it.

    Attributes
    ----------
    object
        ``KIND/NAME``.
    path
        Field from ``spec`` on; an entry of a list by its number or by its name.
    values
        What the field takes, in this order; ``1..5`` stands for whole numbers, ``0..8..2`` too.
    label
        What to call it; the last names of the path when left out.
    """

    object: Annotated[str, Field(max_length=400)]
    path: Annotated[str, Field(max_length=400)]
    values: Annotated[list[Any], Field(min_length=1)]
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None


class SweepFile(Strict):
    """What ``--grid FILE`` holds."""

    schema_: Literal["kfarm.dev/sweep/v1"] = Field(alias="schema")
    parameters: Annotated[list[FileParameter], Field(min_length=1, max_length=MOST_PARAMETERS)]


@dataclass(frozen=True)
class Axis:
    """One parameter of the grid.

    Attributes
    ----------
    where
        How it was asked for, for problems.
    steps
        The path, taken apart; entries of lists still by number or name.
    """

    label: str
    kind: str
    name: str
    path: str
    steps: tuple[Step, ...]
    values: tuple[Scalar, ...]
    where: str

    @property
    def target(self) -> tuple[str, str, tuple[Step, ...]]:
        """The field that it sets."""
        return self.kind, self.name, self.steps

    def as_data(self) -> dict[str, Any]:
        """As results tell of it."""
        return {
            "label": self.label,
            "object": f"{self.kind}/{self.name}",
            "path": self.path,
            "values": list(self.values),
        }


def trouble(path: str, found: str, expected: str, file: Path = COMMAND_LINE) -> Problem:
    """A problem with the sweep itself."""
    return Problem(file, 0, path, found, expected)


def read_axes(sets: Sequence[str], grid: Path | None) -> tuple[Axis, ...]:
    """All parameters, those of the file first.

    Raises
    ------
    ManifestError
        With everything that is wrong with them.
    """
    problems: list[Problem] = []
    axes: list[Axis] = []
    if grid is not None:
        for index, stated in enumerate(load_model(grid, SweepFile).parameters):
            kind, _, name = stated.object.partition("/")
            where = f"parameters[{index}]"
            axes += _axis(kind, name, stated.path, stated.values, where, stated.label, problems)
    for text in sets:
        axes += _of_option(text, problems)
    if not axes and not problems:
        problems.append(trouble("", "no parameter", f"--set {SET_FORM}, or --grid FILE"))
    problems += _clashes(axes)
    if problems:
        raise ManifestError(problems)
    return _labelled(axes)


def _of_option(text: str, problems: list[Problem]) -> list[Axis]:
    found = _SET.fullmatch(text.strip())
    if found is None:
        problems.append(trouble("--set", show(text), SET_FORM))
        return []
    where = f"--set {found['kind']}/{found['name']}:{found['path']}"
    values = _values(found["values"], where, problems)
    return _axis(found["kind"], found["name"], found["path"], values, where, None, problems)


def _values(text: str, where: str, problems: list[Problem]) -> list[Any]:
    """A list as YAML has it, with or without its brackets."""
    words = text.strip()
    if not words or words.startswith(",") or words.endswith(",") or ",," in words.replace(" ", ""):
        problems.append(trouble(where, show(text) if words else "no value", "values, such as 1,2"))
        return []
    listed = words if words.startswith("[") else f"[{words}]"
    documents = read_text(listed.encode(), as_json=False)
    if len(documents) != 1 or documents[0].problems or not isinstance(documents[0].value, list):
        problems.append(trouble(where, show(text), "values separated by commas, as in YAML"))
        return []
    if not documents[0].value:
        problems.append(trouble(where, "no value", "at least one value"))
    return documents[0].value


def _axis(
    kind: str,
    name: str,
    path: str,
    listed: Sequence[Any],
    where: str,
    label: str | None,
    problems: list[Problem],
) -> list[Axis]:
    """The parameter, or nothing and why."""
    before = len(problems)
    if kind not in BY_KIND:
        expected = f"KIND/NAME with a kind of {', '.join(BY_KIND)}{did_you_mean(kind, BY_KIND)}"
        problems.append(trouble(where, show(f"{kind}/{name}"), expected))
    steps = _steps(path)
    if steps is None or steps[0] != "spec" or len(steps) < 2:
        expected = "a field from spec on, such as spec.clusters[0].spares"
        problems.append(trouble(where, show(path), expected))
    values = _expanded(listed, where, problems)
    if len(problems) > before or steps is None:
        return []
    return [Axis(label or "", kind, name, path.strip(), steps, values, where)]


def _steps(path: str) -> tuple[Step, ...] | None:
    """``spec.clusters[b200].nodes`` taken apart; None when it is no path."""
    text, at, steps = path.strip(), 0, list[Step]()
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (at and not found[2] and text[at] != "."):
            return None
        inside = found[2]
        steps.append(found[1] if inside is None else int(inside) if inside.isdecimal() else inside)
        at = found.end()
    return tuple(steps) or None


def _expanded(listed: Sequence[Any], where: str, problems: list[Problem]) -> tuple[Scalar, ...]:
    """Values in their order, ranges written out; never more than a sweep may have points."""
    values: list[Scalar] = []
    for item in listed:
        ranged = _RANGE.fullmatch(item.strip()) if isinstance(item, str) else None
        if ranged is not None:
            first, last, step = int(ranged[1]), int(ranged[2]), int(ranged[3] or 1)
            span = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
            if not span:
                expected = "a range that is not empty: FIRST..LAST or FIRST..LAST..STEP"
                problems.append(trouble(where, f"{item}, an empty range", expected))
            elif len(values) + len(span) > MOST_POINTS:
                found = f"{len(values) + len(span):,} values or more"
                problems.append(trouble(where, found, f"at most {MOST_POINTS:,} points in all"))
                return ()
            else:
                values += span
        elif isinstance(item, str | int | float) and _finite(item):
            values.append(item)
        else:
            problems.append(trouble(where, show(item), "a number, a text, true or false"))
    twice = sorted({str(v) for i, v in enumerate(values) if _known(v, values[:i])})
    if twice and len(problems) == 0:
        problems.append(trouble(where, f"{', '.join(twice[:5])} twice", "every value once"))
    return tuple(values)


def _finite(value: Scalar) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _known(value: Scalar, before: Sequence[Scalar]) -> bool:
    return any(type(value) is type(other) and value == other for other in before)


def _clashes(axes: Sequence[Axis]) -> Iterator[Problem]:
    """Too many parameters or points, and fields that two parameters set."""
    if len(axes) > MOST_PARAMETERS:
        yield trouble("", f"{len(axes)} parameters", f"at most {MOST_PARAMETERS}")
    seen: dict[Any, Axis] = {}
    for axis in axes:
        other = seen.setdefault(axis.target, axis)
        if other is not axis:
            yield trouble(axis.where, "a field that is set already", "every field once")
    points = math.prod(len(axis.values) for axis in axes)
    if points > MOST_POINTS:
        sizes = " x ".join(str(len(axis.values)) for axis in axes)
        expected = f"at most {MOST_POINTS:,}: fewer values, or several sweeps"
        yield trouble("", f"{sizes} = {points:,} points", expected)


def _labelled(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Each with a label of its own: the end of the path, longer where two would be alike."""
    found: list[str] = []
    for axis in axes:
        short = str(next(s for s in reversed(axis.steps) if isinstance(s, str)))
        others = [a.label or str(a.steps[-1]) for a in axes if a is not axis]
        label = axis.label or (short if short not in others else f"{axis.name}:{axis.path}")
        found.append(label)
    return tuple(
        Axis(
            label if found.count(label) == 1 else f"{axis.kind}/{axis.name}:{axis.path}",
            axis.kind, axis.name, axis.path, axis.steps, axis.values, axis.where,
        )
        for axis, label in zip(axes, found, strict=True)
    )  # fmt: skip


def points_of(axes: Sequence[Axis]) -> Iterator[tuple[Scalar, ...]]:
    """Every combination, the last parameter fastest."""
    return product(*(axis.values for axis in axes))

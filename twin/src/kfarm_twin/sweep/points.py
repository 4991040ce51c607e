"""From manifests and parameters to one request for each point of the grid."""

from __future__ import annotations

import copy
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kfarm_api.parse import InvalidObject, parse, show
from kfarm_api.v1alpha1 import Kind
from pydantic import BaseModel

from kfarm_twin.cli_inputs import Inputs
from kfarm_twin.load import Document, ManifestError, Problem
from kfarm_twin.sweep.grid import Axis, Scalar, Step, points_of, trouble

MOST_TOLD = 12
"""Problems of single values that are told at once."""

Ask = Callable[[Inputs], BaseModel]
"""The request that belongs to a set of manifests; raises ManifestError."""


@dataclass(frozen=True)
class Point:
    """One point of the grid.

    Attributes
    ----------
    digest
        64 hex digits of the request: equal requests are played once. Empty where the inputs do not
        belong together; `problems` then says why.
    packed
        The request as JSON, compressed: most of it is alike at all points.
    """

    index: int
    values: tuple[Scalar, ...]
    digest: str = ""
    packed: bytes = field(default=b"", repr=False)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, index: int, values: tuple[Scalar, ...], body: bytes) -> Point:
        """A point that can be played."""
        return cls(index, values, hashlib.sha256(body).hexdigest(), zlib.compress(body, 1))

    @property
    def body(self) -> bytes:
        """The request as JSON."""
        return zlib.decompress(self.packed)


class Grid:
    """All points of a sweep.

    Raises
    ------
    ManifestError
        When a parameter names an object or a field that is not there, or has a value that the
        field cannot take.
    """

    def __init__(self, inputs: Inputs, axes: Sequence[Axis], ask: Ask) -> None:
        self._inputs = inputs
        self._ask = ask
        self._made: dict[tuple[int, tuple[Scalar, ...]], Kind | list[Problem]] = {}
        problems: list[Problem] = []
        self._holders = [_holder(inputs, axis, problems) for axis in axes]
        self.axes = tuple(
            axis if holder is None else self._resolved(axis, holder, problems)
            for axis, holder in zip(axes, self._holders, strict=True)
        )
        if not problems:
            problems += self._same_field()
        if problems:
            raise ManifestError(problems[:MOST_TOLD])

    def points(self) -> Iterator[Point]:
        """Points in their order, the last parameter fastest."""
        for index, values in enumerate(points_of(self.axes)):
            yield self._point(index, values)

    def _point(self, index: int, values: tuple[Scalar, ...]) -> Point:
        documents, problems = [], list[Problem]()
        for number, document in enumerate(self._inputs.documents):
            made = self._varied(number, document, values)
            if isinstance(made, list):
                problems += made
            else:
                documents.append(replace(document, object=made))
        if not problems:
            try:
                body = self._ask(Inputs(tuple(documents))).model_dump_json(by_alias=True)
                return Point.of(index, values, body.encode())
            except ManifestError as error:
                problems = error.problems
        return Point(index, values, problems=tuple(problems))

    def _varied(
        self, number: int, document: Document, values: tuple[Scalar, ...]
    ) -> Kind | list[Problem]:
        """A document's object with this point's values; made once for each set of its own."""
        own = [i for i, holder in enumerate(self._holders) if holder is document]
        if not own:
            return document.object
        key = (number, tuple(values[i] for i in own))
        if key not in self._made:
            settings = [(self.axes[i], values[i]) for i in own]
            made = _made(document, settings)
            self._made[key] = _broken(made, settings) if isinstance(made, InvalidObject) else made
        return self._made[key]

    def _resolved(self, axis: Axis, holder: Document, problems: list[Problem]) -> Axis:
        """The axis with list entries by number and values as the field takes them."""
        body = _body(holder)
        steps = _numbered(body, axis, problems)
        if steps is None:
            return axis
        found = replace(axis, steps=steps)
        values: list[Scalar] = []
        for value in axis.values:
            made = _made(holder, [(found, value)])
            if isinstance(made, InvalidObject):
                wrong = _at_fault(made, found)
                spoken = _made(holder, [(found, str(value))])
                if wrong and not (isinstance(spoken, InvalidObject) and _at_fault(spoken, found)):
                    values.append(str(value))  # a quantity, which is text: 0.9 means "0.9"
                    continue
                problems += wrong
            values.append(value)
        return replace(found, values=tuple(values))

    def _same_field(self) -> Iterator[Problem]:
        """The same field by number and by name."""
        seen: set[Any] = set()
        for axis in self.axes:
            if axis.target in seen:
                yield trouble(axis.where, "a field that is set already", "every field once")
            seen.add(axis.target)


def _holder(inputs: Inputs, axis: Axis, problems: list[Problem]) -> Document | None:
    """The document that an axis speaks of: ``NAME``, or ``NAMESPACE/NAME``."""
    namespace, _, name = axis.name.rpartition("/")
    found = [
        d for d in inputs.documents
        if d.kind == axis.kind and d.object.metadata.name == name
        and (not namespace or (d.object.metadata.namespace or "default") == namespace)
    ]  # fmt: skip
    if len(found) == 1:
        return found[0]
    known = [d.object.metadata.name for d in inputs.documents if d.kind == axis.kind]
    there = ", ".join(sorted(known)) or "none"
    told = f"{len(found)} of the name {axis.name}" if found else f"no {axis.kind} {axis.name}"
    expected = f"one in the files given with -f (there: {there})"
    problems.append(trouble(axis.where, told, expected))
    return None


def _body(document: Document) -> dict[str, Any]:
    """The object as its file states it, as plain data of our own."""
    value: Any = document.text.value if document.text is not None else None
    for step in document.prefix:
        value = value[step]
    if isinstance(value, Mapping):
        found: dict[str, Any] = copy.deepcopy(dict(value))
        return found
    return document.object.as_manifest()


def _numbered(
    body: Mapping[str, Any], axis: Axis, problems: list[Problem]
) -> tuple[Step, ...] | None:
    """The path with every entry of a list by its number."""
    value: Any = body
    steps: list[Step] = []
    for at, step in enumerate(axis.steps):
        here = ".".join(str(s) for s in axis.steps[:at])
        if isinstance(value, list):
            number = _entry(value, step)
            if number is None:
                names = [str(e.get("name")) for e in value if isinstance(e, Mapping)]
                last = f"[0] to [{len(value) - 1}]" if value else "none"
                expected = f"an entry of {here}: {last}{_or_names(names, value)}"
                problems.append(trouble(axis.where, f"[{step}]", expected))
                return None
            value = value[number]
            steps.append(number)
        elif isinstance(value, Mapping) or value is None:
            if not isinstance(step, str):
                problems.append(trouble(axis.where, f"[{step}]", f"a field: {here} is no list"))
                return None
            value = value.get(step) if isinstance(value, Mapping) else None
            steps.append(step)
        else:
            expected = f"a path that ends there: {here} is {show(value)}"
            problems.append(trouble(axis.where, f"{step} below {here}", expected))
            return None
    return tuple(steps)


def _entry(value: Sequence[Any], step: Step) -> int | None:
    """Number of an entry, found by number or by its name; None where there is none, or two."""
    if isinstance(step, int):
        return step if step < len(value) else None
    named = [i for i, e in enumerate(value) if isinstance(e, Mapping) and e.get("name") == step]
    return named[0] if len(named) == 1 else None


def _or_names(names: Sequence[str], value: Sequence[Any]) -> str:
    named = len(names) == len(value) and len(set(names)) == len(names) and "None" not in names
    return f", or by name: {', '.join(names[:8])}" if named and names else ""


def _made(document: Document, settings: Sequence[tuple[Axis, Scalar]]) -> Kind | InvalidObject:
    """The object with fields set, or what is wrong with it then."""
    body = _body(document)
    for axis, value in settings:
        _put(body, axis.steps, value)
    try:
        return parse(body, strict=True)
    except InvalidObject as invalid:
        return invalid


def _put(body: dict[str, Any], steps: Sequence[Step], value: Scalar) -> None:
    """Set a field whose path is known to fit; what is left out on the way is made."""
    here: Any = body
    for step in steps[:-1]:
        if isinstance(step, str) and here.get(step) is None:
            here[step] = {}
        here = here[step]
    here[steps[-1]] = value


def _at_fault(invalid: InvalidObject, axis: Axis) -> list[Problem]:
    """What is wrong with the value itself; a rule over several fields may hold at other points."""
    length = len(axis.steps)
    return [
        trouble(axis.where, problem.found, problem.expected)
        for problem in invalid.problems
        if problem.path[:length] == axis.steps
    ]


def _broken(invalid: InvalidObject, settings: Sequence[tuple[Axis, Scalar]]) -> list[Problem]:
    """What is wrong with an object at a point."""
    told = ", ".join(f"{axis.label}={json.dumps(v, ensure_ascii=False)}" for axis, v in settings)
    return [trouble(f"{told}: {p.where}", p.found, p.expected) for p in invalid.problems]

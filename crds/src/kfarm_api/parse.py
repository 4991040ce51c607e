"""From an untrusted mapping to a kind, with the verdict that the API server would give."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kfarm_api.base import (
    API_VERSION,
    DNS_LABEL_PATTERN,
    DNS_SUBDOMAIN_PATTERN,
    LABEL_VALUE_PATTERN,
    RESOURCE_NAME_PATTERN,
)
from kfarm_api.v1alpha1 import KINDS, Kind

BY_KIND: dict[str, type[Kind]] = {kind.__name__: kind for kind in KINDS}
_WORDS = {
    DNS_LABEL_PATTERN: "lower-case letters, digits and hyphens, at most 63, for example row-b",
    DNS_SUBDOMAIN_PATTERN: "lower-case letters, digits, hyphens and dots, for example b200.v2",
    LABEL_VALUE_PATTERN: "a label value: letters, digits, '-', '_' and '.', at most 63",
    RESOURCE_NAME_PATTERN: "a resource name with its domain, for example nvidia.com/gpu",
}
_OBJECT_META = frozenset(
    (
        "generateName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "managedFields",
        "ownerReferences",
        "selfLink",
    )
)
"""Fields of ``ObjectMeta`` that kfarm does not read."""
MAX_PROBLEMS = 100
"""Problems told of one object; a hostile one does not make a longer report."""
Path = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field.

    Attributes
    ----------
    path
        Keys and list indices from the root of the object.
    found, expected
        What stands there and what should, for people.
    """

    path: Path
    found: str
    expected: str

    @property
    def where(self) -> str:
        """The path as text, for example ``spec.clusters[2].cooling.type``."""
        return path_text(self.path)


class InvalidObject(ValueError):
    """An object that the API would refuse; carries every problem, not only the first."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(f"{p.where}: found {p.found}, expected {p.expected}" for p in problems)
        )


def path_text(path: Path) -> str:
    """Keys joined by dots, indices in brackets; ``(root)`` for the object itself.

    Keys are whatever stood in a file, so they are shown as `show` shows text.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_printable(part, 80)}" if text else _printable(part, 80)
    return text or "(root)"


def _printable(text: str, limit: int) -> str:
    """Text on one line, bounded, without control characters."""
    kept = text[: limit + 1]
    kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def show(value: object, limit: int = 80) -> str:
    """A value as it may be printed: on one line, bounded, without control characters."""
    if isinstance(value, Mapping):
        text = "an object with " + (", ".join(str(key) for key in value) or "no fields")
    elif isinstance(value, list):
        text = f"a list of {len(value)}"
    elif value is None:
        text = "null"
    elif isinstance(value, str):
        text = repr(value[: limit + 1])
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    return _printable(text, limit)


def parse(body: Mapping[str, Any], *, strict: bool) -> Kind:
    """Read one object of ``kfarm.dev/v1alpha1``.

    Parameters
    ----------
    body
        The object as parsed from YAML, JSON or a reply of the API server. Not changed.
    strict
        True for manifests: unknown fields are refused and ``status`` is left out, since it is the
        server's to write. False for replies of the API server, which may know newer fields.

    Raises
    ------
    InvalidObject
        With every problem found.
    """
    kind = _kind_of(body)
    plain = {key: as_stored(value) for key, value in body.items() if value is not None}
    if strict:
        plain.pop("status", None)
    if isinstance(plain.get("metadata"), Mapping):
        plain["metadata"] = _metadata(plain["metadata"], kind)
    return validate(kind, plain, strict=strict)


def validate(model: type[ModelT], body: Mapping[str, Any], *, strict: bool) -> ModelT:
    """Validate one model by its JSON names.

    Raises
    ------
    InvalidObject
        With every problem found.
    """
    try:
        return model.model_validate(
            body, extra="forbid" if strict else "ignore", by_alias=True, by_name=False
        )
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [_problem(model, detail) for detail in details[:MAX_PROBLEMS]]
    if more := len(details) - len(problems):
        problems.append(FieldProblem((), f"{more} problems more", "these put right first"))
    raise InvalidObject(problems)


def as_stored(value: Any) -> Any:
    """The value as the API server keeps it: without null fields, whole numbers as integers.

    The server prunes a null where the schema is not nullable (none of ours is). kubectl sends
    ``32.0`` as ``32``, since it goes through a JSON encoder that knows one kind of number.
    """
    if isinstance(value, Mapping):
        return {key: as_stored(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [as_stored(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _kind_of(body: Mapping[str, Any]) -> type[Kind]:
    problems = []
    kind, version = body.get("kind"), body.get("apiVersion")
    if version != API_VERSION:
        problems.append(FieldProblem(("apiVersion",), show(version), API_VERSION))
    if not isinstance(kind, str) or kind not in BY_KIND:
        expected = "one of " + ", ".join(BY_KIND) + did_you_mean(kind, BY_KIND)
        problems.append(FieldProblem(("kind",), show(kind), expected))
    if problems:
        raise InvalidObject(problems)
    return BY_KIND[str(kind)]


def _metadata(held: Mapping[str, Any], kind: type[Kind]) -> dict[str, Any]:
    """The metadata that is read; the server ignores a namespace on a cluster-scoped object."""
    left_out = _OBJECT_META if kind.info.scope == "Namespaced" else _OBJECT_META | {"namespace"}
    return {key: value for key, value in held.items() if key not in left_out}


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known word, or nothing."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), list(names), n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def _problem(model: type[BaseModel], detail: ErrorDetails) -> FieldProblem:
    path: Path = detail["loc"]
    kind, context = detail["type"], detail.get("ctx", {})
    found = show(detail["input"])
    if kind == "missing":
        return FieldProblem(path, "nothing", "a value: the field is required")
    if kind == "extra_forbidden":
        known = _names_at(model, path[:-1])
        hint = did_you_mean(path[-1], known) or "; known here: " + ", ".join(sorted(known))
        return FieldProblem(path, f"unknown field {show(path[-1])}", f"a known field{hint}")
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        return FieldProblem(path, found, _WORDS.get(pattern, f"text that matches {pattern}"))
    if kind == "literal_error":
        choices = str(context.get("expected"))
        words = [word.strip("' ") for part in choices.split(",") for word in part.split(" or ")]
        return FieldProblem(path, found, f"one of {choices}{did_you_mean(detail['input'], words)}")
    if kind == "value_error":
        said = str(context.get("error", detail["msg"]))
        return FieldProblem(path, found, said.removeprefix(f"{detail['input']!r} is not "))
    return FieldProblem(path, found, detail["msg"].removeprefix("Input should be "))


def _names_at(model: type[BaseModel], path: Path) -> set[str]:
    """JSON names of the fields that the object at `path` may have."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None or isinstance(part, int):
            continue
        field = next((f for n, f in current.model_fields.items() if (f.alias or n) == part), None)
        current = _model_in(field.annotation) if field else None
    if current is None:
        return set()
    return {field.alias or name for name, field in current.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model_in(argument) for argument in get_args(annotation))
    return next((found for found in models if found is not None), None)

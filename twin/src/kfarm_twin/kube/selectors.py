"""Label selectors and node selector terms: read once, matched on labels or on whole columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kfarm_api.parse import show

Report = Callable[[tuple[str | int, ...], str, str], None]
"""Called with path, what was found and what was expected."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
LABEL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
NODE_OPERATORS = (*LABEL_OPERATORS, "Gt", "Lt")
NODE_NAME_FIELD = "metadata.name"


class Requirement(NamedTuple):
    """One requirement on a label."""

    key: str
    operator: str
    values: tuple[str, ...]


Selector = tuple[Requirement, ...] | None
"""All requirements must hold; empty matches everything, None matches nothing."""


class NodeTerm(NamedTuple):
    """One term of a node selector: requirements on labels and on the node's name."""

    labels: tuple[Requirement, ...]
    names: tuple[Requirement, ...]


def parse_integer(text: str) -> int | None:
    """An integer of 64 bits as Go's strconv.ParseInt reads it, or None."""
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def requirement_holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether labels meet one requirement (k8s.io/apimachinery labels.Requirement.Matches)."""
    key, operator, values = requirement
    value = labels.get(key)
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    number = None if value is None else parse_integer(value)
    bound = parse_integer(values[0])
    if number is None or bound is None:
        return False
    return number > bound if operator == "Gt" else number < bound


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches labels."""
    return selector is not None and all(requirement_holds(r, labels) for r in selector)


def from_labels(labels: Mapping[str, str]) -> tuple[Requirement, ...]:
    """A selector that asks for each of these labels."""
    return canonical(Requirement(key, "In", (value,)) for key, value in labels.items())


def canonical(requirements: Any) -> tuple[Requirement, ...]:
    """Requirements sorted and without repetition, so that equal selectors are equal."""
    return tuple(sorted(set(requirements)))


def read_requirement(
    body: Any, path: tuple[str | int, ...], operators: tuple[str, ...], report: Report
) -> Requirement | None:
    """One of ``matchExpressions``; None, and a report, when it is wrong."""
    if not isinstance(body, Mapping):
        report(path, show(body), "a requirement with key, operator and values")
        return None
    key, operator, values = body.get("key"), body.get("operator"), body.get("values") or []
    if not isinstance(key, str) or not key:
        report((*path, "key"), show(key), "the key of a label")
        return None
    if operator not in operators:
        report((*path, "operator"), show(operator), f"one of {', '.join(operators)}")
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        report((*path, "values"), show(values), "a list of texts: put numbers in quotes")
        return None
    wanted = _wrong_values(operator, values)
    if wanted:
        report((*path, "values"), show(values), wanted)
        return None
    return Requirement(key, operator, tuple(sorted(set(values))))


def _wrong_values(operator: str, values: list[str]) -> str:
    """What is expected instead of these values, empty when they are right."""
    if operator in ("In", "NotIn") and not values:
        return f"at least one value for {operator}"
    if operator in ("Exists", "DoesNotExist") and values:
        return f"no values for {operator}"
    if operator in ("Gt", "Lt") and (len(values) != 1 or parse_integer(values[0]) is None):
        return f"one integer in quotes for {operator}"
    return ""


def read_label_selector(body: Any, path: tuple[str | int, ...], report: Report) -> Selector:
    """A ``LabelSelector``; absent matches nothing, ``{}`` everything."""
    if body is None:
        return None
    if not isinstance(body, Mapping):
        report(path, show(body), "a label selector")
        return None
    made: list[Requirement] = []
    labels = body.get("matchLabels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(v, str) for v in labels.values()):
        report((*path, "matchLabels"), show(labels), "labels: texts, numbers in quotes")
        labels = {}
    made += from_labels(labels)
    expressions = body.get("matchExpressions") or []
    if not isinstance(expressions, list):
        report((*path, "matchExpressions"), show(expressions), "a list")
        expressions = []
    for index, entry in enumerate(expressions):
        place = (*path, "matchExpressions", index)
        requirement = read_requirement(entry, place, LABEL_OPERATORS, report)
        if requirement is not None:
            made.append(requirement)
    return canonical(made)


def read_node_term(body: Any, path: tuple[str | int, ...], report: Report) -> NodeTerm | None:
    """One ``nodeSelectorTerm``; None for an empty one, which selects no node."""
    if not isinstance(body, Mapping):
        report(path, show(body), "a node selector term")
        return None
    found: dict[str, list[Requirement]] = {"matchExpressions": [], "matchFields": []}
    for name, made in found.items():
        operators = NODE_OPERATORS if name == "matchExpressions" else ("In", "NotIn")
        for index, entry in enumerate(body.get(name) or []):
            requirement = read_requirement(entry, (*path, name, index), operators, report)
            if requirement is None:
                continue
            if name == "matchFields" and (
                requirement.key != NODE_NAME_FIELD or len(requirement.values) != 1
            ):
                report((*path, name, index), show(entry), f"{NODE_NAME_FIELD} and one value")
                continue
            made.append(requirement)
    if not any(found.values()):
        return None
    return NodeTerm(canonical(found["matchExpressions"]), canonical(found["matchFields"]))

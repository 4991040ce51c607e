"""What the policies of the gate should say, word for word, as the chart wrote it beside them.

`gate_ready.policy_faults` finds what is missing or plainly open. An expression that was edited, a
namespace more that is left out, or another list of accounts shows only against the original.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KINDS = (
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
DEFAULTS: Mapping[str, Any] = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
    "reinvocationPolicy": "Never",
    "scope": "*",
}
"""What the API server fills in, wherever in a spec it stands."""

Wanted = Mapping[tuple[str, str], Mapping[str, Any]]
"""Specs by kind and name."""


class BadPolicies(ValueError):
    """The file of policies is not what the chart writes."""


def parse_wanted(text: str) -> Wanted:
    """Read ``{"Kind/name": spec}``.

    Raises
    ------
    BadPolicies
        When the text is not that.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise BadPolicies(f"not JSON: {error}") from error
    if not isinstance(body, dict) or not body:
        raise BadPolicies("not an object of specs by Kind/name, or an empty one")
    wanted: dict[tuple[str, str], Mapping[str, Any]] = {}
    for key, spec in body.items():
        kind, _, name = key.partition("/")
        if kind not in KINDS or not name or not isinstance(spec, dict):
            raise BadPolicies(f"{key!r} is no Kind/name of an admission policy with its spec")
        wanted[kind, name] = spec
    return wanted


def read_wanted(path: Path) -> Wanted:
    """Read the file that the chart mounts.

    Raises
    ------
    BadPolicies
        When it cannot be read or is not what the chart writes.
    """
    try:
        return parse_wanted(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPolicies(f"{path}: {error.strerror}") from error
    except BadPolicies as error:
        raise BadPolicies(f"{path}: {error}") from error


def difference(wanted: object, found: object, where: str = "spec") -> str | None:
    """Where two specs first differ beyond what the API server fills in; None where nowhere."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted(wanted.keys() | found.keys()):
            place = f"{where}.{key}"
            if key not in found:
                return f"{place} is missing"
            if key not in wanted:
                if found[key] != DEFAULTS.get(key):
                    return f"{place} was added"
                continue
            if differs := difference(wanted[key], found[key], place):
                return differs
        return None
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return f"{where} has {len(found)} entries instead of {len(wanted)}"
        pairs = enumerate(zip(wanted, found, strict=True))
        parts = (difference(w, f, f"{where}[{n}]") for n, (w, f) in pairs)
        return next((part for part in parts if part), None)
    return None if wanted == found else f"{where} was changed"


def altered(wanted: Wanted, found: Mapping[str, Iterable[Mapping[str, Any]]]) -> tuple[str, ...]:
    """What differs from the chart, an entry for each object; empty when nothing does.

    Parameters
    ----------
    wanted
        Specs as the chart wrote them.
    found
        Objects by kind, as the API server gave them.
    """
    there = {
        (kind, item["metadata"]["name"]): item.get("spec", {})
        for kind, items in found.items()
        for item in items
    }
    faults = []
    for (kind, name), spec in sorted(wanted.items()):
        if (kind, name) not in there:
            faults.append(f"{kind} {name} is missing")
        elif place := difference(spec, there[kind, name]):
            faults.append(f"{kind} {name} was altered: {place}")
    return tuple(faults)

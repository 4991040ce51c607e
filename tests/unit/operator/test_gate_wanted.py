"""What the chart wrote about its policies, held against what the API server has."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from kfarm_operator.gate_wanted import BadPolicies, altered, difference, parse_wanted, read_wanted

SPEC: dict[str, Any] = {
    "matchConstraints": {"resourceRules": [{"resources": ["pods"], "operations": ["CREATE"]}]},
    "validations": [{"expression": "a"}, {"expression": "b", "message": "no"}],
}
NAME = "ValidatingAdmissionPolicy/kfarm-x"


def filled() -> dict[str, Any]:
    """The spec as the API server gives it back."""
    spec = copy.deepcopy(SPEC)
    spec["failurePolicy"] = "Fail"
    spec["matchConstraints"] |= {
        "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
    }  # fmt: skip
    spec["matchConstraints"]["resourceRules"][0]["scope"] = "*"
    return spec


def test_what_the_server_fills_in_is_no_difference() -> None:
    assert difference(SPEC, filled()) is None
    assert difference(filled(), filled()) is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("validations", 0, "expression"), "true", "spec.validations[0].expression was changed"),
        (("validations",), [], "spec.validations has 0 entries instead of 2"),
        (("validations", 1), {"expression": "b"}, "spec.validations[1].message is missing"),
        (("failurePolicy",), "Ignore", "spec.failurePolicy was added"),
        (("matchConditions",), [{"name": "n"}], "spec.matchConditions was added"),
        (("matchConstraints", "objectSelector"), {"matchLabels": {}},
         "spec.matchConstraints.objectSelector was added"),
        (("matchConstraints", "resourceRules", 0, "scope"), "Cluster",
         "spec.matchConstraints.resourceRules[0].scope was added"),
        (("matchConstraints",), None, "spec.matchConstraints was changed"),
    ],
)  # fmt: skip
def test_each_alteration_is_named(path: tuple[Any, ...], value: Any, said: str) -> None:
    found = filled()
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    assert difference(SPEC, found) == said


def test_objects_are_compared_by_kind_and_name() -> None:
    wanted = parse_wanted(json.dumps({NAME: SPEC}))
    there = {"metadata": {"name": "kfarm-x"}, "spec": filled()}
    other = {"metadata": {"name": "else"}, "spec": {}}
    assert altered(wanted, {"ValidatingAdmissionPolicy": [other, there]}) == ()
    missing = ("ValidatingAdmissionPolicy kfarm-x is missing",)
    assert altered(wanted, {"ValidatingAdmissionPolicy": [other]}) == missing
    assert altered(wanted, {"MutatingAdmissionPolicy": [there]}) == missing


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"Pod/x": {}}', '{"ValidatingAdmissionPolicy/": {}}',
             json.dumps({NAME: []}), json.dumps({NAME: SPEC})[:-1]],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    """An empty one as well: it would find every gate in order."""
    path = tmp_path / "policies.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadPolicies, match=r"policies\.json"):
        read_wanted(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPolicies, match=r"absent\.json: No such file"):
        read_wanted(tmp_path / "absent.json")

"""What `parse` says about bad objects, and what it leaves out or ignores."""

from typing import Any

import pytest
from kfarm_api.parse import InvalidObject, did_you_mean, parse, path_text, show
from kfarm_api.v1alpha1 import GPUFarm, PlacementPlan


def refused(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    with pytest.raises(InvalidObject) as error:
        parse(body, strict=True)
    return {p.where: (p.found, p.expected) for p in error.value.problems}


def test_all_problems_at_once(object_bases: dict[str, Any]) -> None:
    farm = object_bases["GPUFarm"]
    cluster = farm["spec"]["clusters"][0]
    cluster["colling"] = cluster.pop("cooling")
    cluster["nodes"] = "many"
    cluster["rack"]["powerLimit"] = "60K"
    farm["spec"]["site"]["country"] = "Korea"
    found = refused(farm)
    assert found["spec.clusters[0].colling"] == (
        "unknown field 'colling'",
        "a known field; did you mean 'cooling'?",
    )
    assert found["spec.clusters[0].cooling"][0] == "nothing"
    assert found["spec.clusters[0].nodes"] == ("'many'", "a valid integer")
    assert found["spec.clusters[0].rack.powerLimit"][1].startswith("a quantity: write digits")
    assert "spec.site.country" in found
    assert len(found) == 5


def test_rule_of_an_object_names_the_object(object_bases: dict[str, Any]) -> None:
    farm = object_bases["GPUFarm"]
    farm["spec"]["clusters"][0]["source"] = {}
    assert refused(farm) == {
        "spec.clusters[0].source": (
            "an object with no fields",
            "source needs exactly one of simulated and selector",
        )
    }


def test_choices_come_with_a_guess(object_bases: dict[str, Any]) -> None:
    policy = object_bases["ValidationPolicy"]
    policy["spec"]["survives"] = ["CduPumps"]
    assert refused(policy)["spec.survives[0]"][1].endswith("did you mean 'CduPump'?")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "apiVersion"),
        ({"apiVersion": "kfarm.dev/v1alpha1"}, "kind"),
        ({"apiVersion": "kfarm.dev/v1alpha1", "kind": "GPUFam"}, "kind"),
        ({"apiVersion": "kfarm.dev/v1alpha1", "kind": ["GPUFarm"]}, "kind"),
        ({"apiVersion": "kfarm.dev/v2", "kind": "GPUFarm"}, "apiVersion"),
        ({"apiVersion": "kfarm.dev/v1alpha1", "kind": "GPUFarm"}, "metadata"),
        ({"apiVersion": "kfarm.dev/v1alpha1", "kind": "GPUFarm", "metadata": []}, "metadata"),
    ],
)
def test_what_is_no_object_of_ours(body: dict[str, Any], where: str) -> None:
    assert where in refused(body)


def test_misspelt_metadata_is_found(object_bases: dict[str, Any]) -> None:
    farm = object_bases["GPUFarm"]
    farm["metadata"]["lables"] = {}
    assert "did you mean 'labels'?" in refused(farm)["metadata.lables"][1]


def test_reply_of_a_server_is_taken(object_bases: dict[str, Any]) -> None:
    plan = object_bases["PlacementPlan"]
    plan["metadata"] |= {
        "uid": "u-1",
        "generation": 3,
        "resourceVersion": "17",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl"}],
        "ownerReferences": [],
        "deletionTimestamp": None,
    }
    plan["status"] = {"verdict": "Approved", "released": 2}
    parsed = parse(plan, strict=True)
    assert (parsed.metadata.uid, parsed.metadata.generation) == ("u-1", 3)
    assert parsed.status is None, "a manifest's status is not read"
    kept = parse(plan, strict=False)
    assert isinstance(kept, PlacementPlan)
    assert kept.status is not None
    assert kept.status.released == 2


def test_newer_fields_are_ignored_only_when_not_strict(object_bases: dict[str, Any]) -> None:
    farm = object_bases["GPUFarm"]
    farm["spec"]["clusters"][0]["futureField"] = {"deep": [1]}
    assert isinstance(parse(farm, strict=False), GPUFarm)
    assert list(refused(farm)) == ["spec.clusters[0].futureField"]


def test_round_trip_keeps_all(object_bases: dict[str, Any]) -> None:
    for base in object_bases.values():
        parsed = parse(base, strict=True)
        assert parse(parsed.as_manifest(), strict=True) == parsed


def test_show_is_one_bounded_line() -> None:
    assert show("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert show("\ud800") == r"'\ud800'"
    assert len(show("x" * 10_000)) == 80
    assert show({"a": 1, "b": 2}) == "an object with a, b"
    assert show([1, 2]) == "a list of 2"
    assert show(None) == "null"
    assert show(True) == "true"


def test_paths_and_guesses() -> None:
    assert path_text(("spec", "clusters", 2, "name")) == "spec.clusters[2].name"
    assert path_text(()) == "(root)"
    assert did_you_mean("GPUfram", ["GPUFarm", "NPUFarm"]) == "; did you mean 'GPUFarm'?"
    assert did_you_mean("zebra", ["GPUFarm"]) == ""
    assert did_you_mean(5, ["GPUFarm"]) == ""

"""Models to structural CRDs: what is generated, what is refused, what counts as stale."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from kfarm_api.base import ListOf, Metadata, Strict
from kfarm_api.crd import SchemaError, crd, documents, main, stale_files, structural_schema
from kfarm_api.units import Bounds, Quantity
from kfarm_api.v1alpha1 import KINDS, GPUFarm, PlacementPlan, ValidationPolicy
from kfarm_api.yaml_text import to_yaml
from pydantic import Field

ROOT = Path(__file__).parents[3]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All schema nodes with their paths."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


def field(annotation: Any) -> Any:
    """A spec model with one optional field ``x``."""
    return type("Spec", (Strict,), {"__annotations__": {"x": annotation}, "x": None})


def made_from(annotation: Any) -> dict[str, Any]:
    class Made(Strict):
        metadata: Metadata
        spec: field(annotation)  # type: ignore[valid-type]

    Made.info = GPUFarm.info  # type: ignore[attr-defined]
    schema: dict[str, Any] = structural_schema(Made)["properties"]["spec"]["properties"]["x"]  # type: ignore[arg-type]
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_structural(kind: Any) -> None:
    for path, node in nodes(structural_schema(kind)):
        assert not {"$ref", "title", "const", "allOf", "oneOf", "nullable"} & set(node), path
        assert node.get("additionalProperties") is not False, path
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert node["maxLength"], path
            assert node["pattern"], path
        else:
            assert node["type"] in {"object", "array", "integer", "string", "boolean"}, path
        if node.get("type") == "array":
            assert node["maxItems"], path
        if node.get("type") == "string" and path not in {".apiVersion", ".kind"}:
            assert "maxLength" in node or "enum" in node, path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_names_and_columns(kind: Any) -> None:
    spec = crd(kind)["spec"]
    assert spec["names"]["categories"] == ["kfarm"]
    assert spec["names"]["shortNames"] == [kind.info.short]
    version = spec["versions"][0]
    assert version["subresources"] == {"status": {}}
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert columns[-3:] == ["Ready", "Reason", "Age"]


def test_short_names_do_not_clash() -> None:
    taken = {
        "gc",
        "sim",
        "q",
        "wf",
        "nhc",
        "wl",
        "cq",
        "lq",
        "rf",
        "po",
        "no",
        "ns",
        "job",
        "vcjob",
    }
    shorts = [kind.info.short for kind in KINDS]
    assert len(set(shorts)) == len(shorts)
    assert not taken & set(shorts)


def test_rules_stay_at_their_level() -> None:
    farm = structural_schema(GPUFarm)
    assert "metadata.name" in farm["x-kubernetes-validations"][0]["rule"]
    clusters = farm["properties"]["spec"]["properties"]["clusters"]
    cooling = clusters["items"]["properties"]["cooling"]
    assert len(cooling["x-kubernetes-validations"]) == 3
    limit = clusters["items"]["properties"]["rack"]["properties"]["powerLimit"]
    assert limit["x-kubernetes-validations"][0]["message"].startswith("must be more than 0 W")


def test_lists_merge_by_key() -> None:
    spec = structural_schema(PlacementPlan)["properties"]["spec"]["properties"]
    assert spec["workloads"]["x-kubernetes-list-map-keys"] == ["name"]
    assert spec["farms"]["x-kubernetes-list-map-keys"] == ["kind", "name"]
    status = structural_schema(PlacementPlan)["properties"]["status"]["properties"]
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]


def test_defaults_reach_the_server() -> None:
    spec = structural_schema(ValidationPolicy)["properties"]["spec"]["properties"]
    assert spec["simulation"]["default"] == {}
    assert spec["simulation"]["properties"]["futures"]["properties"]["max"]["default"] == 1024
    assert "default" not in spec["checks"]


def test_optional_loses_its_null() -> None:
    assert made_from(Annotated[int, Field(ge=1, le=3)] | None) == {
        "type": "integer", "minimum": 1, "maximum": 3, "format": "int32",
    }  # fmt: skip


def test_exclusive_bounds_take_boolean_form() -> None:
    made = made_from(Annotated[int, Field(gt=0, lt=2**40)] | None)
    assert made["minimum"] == 0
    assert made["exclusiveMinimum"] is True
    assert made["maximum"] == 2**40
    assert made["exclusiveMaximum"] is True
    assert made["format"] == "int64"


def test_constant_becomes_enum() -> None:
    assert made_from(Literal["a"] | None) == {"type": "string", "enum": ["a"]}


def test_set_of_plain_values() -> None:
    made = made_from(Annotated[list[Literal["a", "b"]], Field(max_length=2), ListOf()] | None)
    assert made["x-kubernetes-list-type"] == "set"


def test_bounded_quantity_keeps_its_rule() -> None:
    made = made_from(Annotated[Quantity, Bounds("0", "1", "W")] | None)
    assert made["x-kubernetes-int-or-string"] is True
    assert len(made["x-kubernetes-validations"]) == 1
    assert "type" not in made


class _Unkeyed(Strict):
    name: Annotated[str, Field(max_length=9)] | None = None


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (float | None, "number"),
        (int | bool | None, "union"),
        (str | None, "max_length"),
        (Annotated[list[int], Field()] | None, "max_length"),
        (dict[str, int] | None, "max_length"),
        (Annotated[list[_Unkeyed], Field(max_length=2), ListOf(("name",))] | None, "required"),
        (Annotated[int, Field(multiple_of=2)] | None, "multipleOf"),
    ],
    ids=["float", "union", "text", "list", "map", "key", "multiple"],
)
def test_refused(annotation: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        made_from(annotation)


def test_committed_files_are_current() -> None:
    assert stale_files(ROOT / "crds") == []


def test_check_names_stale_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    assert main(["--check", "--output", str(tmp_path)]) == 0
    (tmp_path / "gpufarms.yaml").write_text("changed")
    (tmp_path / "npufarms.yaml").unlink()
    (tmp_path / "left-over.yaml").write_text("old")
    assert main(["--check", "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    for name in ("gpufarms.yaml", "npufarms.yaml", "left-over.yaml"):
        assert name in said
    assert "validationpolicies" not in said


def test_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kfarm_api.crd", "--output", str(tmp_path)]
    subprocess.run(command, check=True)
    assert {path.name for path in tmp_path.iterdir()} == set(documents())


def test_written_yaml_reads_back() -> None:
    for kind in KINDS:
        text = documents()[f"{kind.info.plural}.yaml"]
        assert text.startswith("# Generated")
        assert "DO NOT EDIT" in text
        assert yaml.safe_load(text) == crd(kind)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {}, "b": [], "c": [[1], [{"d": "e"}]], "f": "", "g": "-", "h": "no", "i": "1"},
        {"on": "y", "a b": "c: d", "e": "# f", "g": 'q"\\\n', "h": "한국", "i": True, "j": -1},
        {"null": "null", "~": "~", "k": "a  b", "l": " m", "n": "1.5", "o": "0x1", "p": "=="},
    ],
)
def test_emitter(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize("value", [{"a": 1.5}, {"a": None}, {"a": {1}}])
def test_emitter_refuses(value: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="no place in a manifest"):
        to_yaml(value)

"""Loading of manifests: good files, every kind of bad file, and hostile input."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_api.snapshot import FarmSnapshot, synthetic_snapshot
from kfarm_api.v1alpha1 import GPUFarm
from kfarm_twin.load import ManifestError, Problem, load_files, load_model, load_text

EXAMPLES = Path(__file__).parents[3] / "examples"
HEAD = "apiVersion: kfarm.dev/v1alpha1\nkind: AcceleratorProfile\n"


def text_of(body: dict[str, Any]) -> str:
    return yaml.safe_dump(body, allow_unicode=True, sort_keys=False)


def problems(raw: bytes | str) -> list[Problem]:
    with pytest.raises(ManifestError) as error:
        load_text(raw.encode() if isinstance(raw, str) else raw, "f.yaml")
    return error.value.problems


@pytest.fixture
def profile(object_bases: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = object_bases["AcceleratorProfile"]
    return made


def test_folders_files_and_order() -> None:
    documents = load_files([EXAMPLES / "catalogue", EXAMPLES / "farms/kakao.yaml"])
    assert documents[-1].object.metadata.name == "kakao"
    assert documents[-1].index == 1
    assert [d.index for d in documents if d.file.name == "furiosa.yaml"] == [1, 2]


def test_a_file_named_twice_is_read_once() -> None:
    path = EXAMPLES / "farms/kakao.yaml"
    named = [d.object.metadata.name for d in load_files([path, EXAMPLES / "farms", path])]
    assert named.count("kakao") == 1
    assert len(named) == len(list((EXAMPLES / "farms").glob("*.yaml")))


def test_objects_of_others_are_left_out() -> None:
    assert load_files([EXAMPLES / "workloads"]) == []


def test_standard_input() -> None:
    raw = (EXAMPLES / "farms/kakao.yaml").read_bytes()
    code = (
        "from pathlib import Path\nfrom kfarm_twin.load import load_files\n"
        "print(load_files([Path('-')])[0].object.metadata.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=raw, capture_output=True, check=True)
    assert done.stdout.split() == [b"kakao"]


def test_json_and_lists(tmp_path: Path, profile: dict[str, Any]) -> None:
    second = {**profile, "metadata": {"name": "second"}}
    listing = {"apiVersion": "v1", "kind": "List", "items": [profile, second]}
    path = tmp_path / "list.json"
    path.write_text(json.dumps(listing, indent="\t"))
    assert [d.object.metadata.name for d in load_files([path])] == ["test", "second"]
    del second["spec"]
    assert problems(json.dumps(listing))[0].path == "items[1].spec"


def test_byte_order_mark_and_crlf(profile: dict[str, Any]) -> None:
    profile["spec"]["vendor"] = "퓨리오사"
    raw = b"\xef\xbb\xbf" + text_of(profile).replace("\n", "\r\n").encode()
    made = load_text(raw)[0].object
    assert made.as_manifest()["spec"]["vendor"] == "퓨리오사"


def test_every_problem_with_its_place(tmp_path: Path, profile: dict[str, Any]) -> None:
    profile["spec"]["power"]["tpd"] = profile["spec"]["power"].pop("tdp")
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(f"# comment\n---\n{text_of(profile)}---\n{HEAD}metadata: {{name: x}}\n")
    second.write_text("kind: [\n")
    with pytest.raises(ManifestError) as error:
        load_files([tmp_path, tmp_path / "missing.yaml"])
    found = {(p.file.name, p.document, p.path): p for p in error.value.problems}
    assert set(found) == {
        ("a.yaml", 1, "spec.power.tdp"),
        ("a.yaml", 1, "spec.power.tpd"),
        ("a.yaml", 2, "spec"),
        ("b.yaml", 1, ""),
        ("missing.yaml", 0, ""),
    }
    unknown = found["a.yaml", 1, "spec.power.tpd"]
    assert unknown.line is not None
    assert "tpd" in first.read_text().splitlines()[unknown.line - 1]
    assert "did you mean 'tdp'?" in str(unknown)
    assert str(unknown).startswith(f"{first}, line {unknown.line}, document 1: spec.power.tpd: ")


def test_duplicates_across_files(tmp_path: Path, profile: dict[str, Any]) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(text_of(profile))
    with pytest.raises(ManifestError, match="AcceleratorProfile/test again") as error:
        load_files([tmp_path])
    assert error.value.problems[0].file.name == "b.yaml"


def test_same_name_in_two_namespaces(object_bases: dict[str, Any]) -> None:
    plan = object_bases["PlacementPlan"]
    other = {**plan, "metadata": {"name": "test", "namespace": "other"}}
    assert len(load_text(f"{text_of(plan)}---\n{text_of(other)}".encode())) == 2


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("", "an empty file"),
        ("# nothing\n---\n", "an empty file"),
        ("a", "'a'"),
        ("- 1", "a list of 1"),
        ("apiVersion: kfarm.dev/v2\nkind: GPUFarm", "'kfarm.dev/v2'"),
        ("apiVersion: kfarm.dve/v1alpha1\nkind: GPUFarm", "'kfarm.dve/v1alpha1'"),
        ("apiVersion: kfarm.dev/v1alpha1\nkind: Job", "'Job'"),
        ("apiVersion: v1", "'v1'"),
        ("a: &x [1]\nb: *x", "alias *x"),
        ("a: &x\n  - *x", "alias *x"),
        ("<<: {a: 1}", "merge key <<"),
        ("a: 1\na: 2", "field 'a' twice (first on line 1)"),
        ('{"a": 1, "a": 2}', "field 'a' twice (first on line 1)"),
        ("a: !!python/object/apply:os.system [echo]", "python/object/apply"),
        ("!!binary aGk=", "tag"),
        ("a: 012", "'012' without quotes"),
        ("a: 0x1F", "'0x1F' without quotes"),
        ("a: 1_000", "'1_000' without quotes"),
        ("a: no", "'no' without quotes"),
        ("a: On", "'On' without quotes"),
        ("y: 1", "'y' without quotes"),
        ("1: a", "key 1"),
        ("null: a", "key null"),
        ("? [a]\n: b", "a list or mapping as a key"),
        ("a: .nan", ".nan"),
        ("a: -.INF", "-.INF"),
        ("a: 1e999", "1e999"),
        ("a: 9223372036854775808", "9223372036854775808"),
        ("a: " + "9" * 5000, "999"),
        ("[" * 33 + "]" * 33, "deeper nesting"),
        ("[" * 500_000, "deeper nesting"),
        ("{a: " * 40, "deeper nesting"),
        ("a: " + "x" * (1 << 20), "a longer document"),
        ("a: [1, 2", "the file seems to be cut off"),
        ('a: "b', "the file seems to be cut off"),
        ("a: b: c", "mapping values are not allowed"),
        ("a:\n\t- b", "cannot start any token"),
        (b"\x00\x01", "control characters"),
        (b"a: \xff", "byte 0xff"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"\x1f\x8b\x08", "UTF-8"),
    ],
)
def test_refused_text(raw: bytes | str, found: str) -> None:
    assert any(found in problem.found for problem in problems(raw)), problems(raw)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "1e999"),
        ('{"a": 1, "a": 2}', "field 'a' twice"),
        ('{"a": ', "cut off"),
        ("{'a': 1}", "Expecting property name"),
        ("[" * 100_000, "deeper nesting"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "a longer document"),
        ('{"a": "\\ud800"}', "null"),
    ],
)
def test_refused_json(tmp_path: Path, raw: str, found: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(raw)
    with pytest.raises(ManifestError) as error:
        load_files([path])
    assert any(found in problem.found for problem in error.value.problems), error.value


def test_lone_surrogate_is_reported_printably(profile: dict[str, Any]) -> None:
    profile["spec"]["vendor"] = "\ud800"
    for problem in problems(json.dumps(profile)):
        str(problem).encode()


def test_quoted_words_stay_text(profile: dict[str, Any]) -> None:
    words = {"a": "yes", "b": "012", "c": "1e3", "d": "null", "e": "0x1"}
    raw = text_of(profile) + f"metadata: {{name: test, labels: {json.dumps(words)}}}\n"
    made = load_text(raw.replace("metadata:\n  name: test\n", "").encode())[0].object
    assert made.metadata.labels == words


def test_too_large_a_file(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: b\n---\n" * (1 << 20))
    with pytest.raises(ManifestError, match="at most 8 MiB"):
        load_files([path])


def test_many_problems_stay_bounded() -> None:
    assert len(problems("a:\n" + "  - no\n" * 10_000)) <= 101


def test_alias_bomb_is_refused_and_small() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9))
    assert "alias" in problems(f"l0: &l0 x\n{levels}")[0].found


def test_endless_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="at most 8 MiB"):
        load_files([Path("/dev/zero")])
    with pytest.raises(ManifestError, match="no such file"):
        load_files([tmp_path / "none.yaml"])
    with pytest.raises(ManifestError, match="without manifests"):
        load_files([tmp_path])


def test_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    raw = (EXAMPLES / "farms/kakao.yaml").read_bytes()
    writer = threading.Thread(target=path.write_bytes, args=(raw,))
    writer.start()
    assert load_files([path])[0].kind == "GPUFarm"
    writer.join()


@pytest.mark.parametrize("name", ["farms/nhn-cloud.yaml", "catalogue/nvidia.yaml"])
def test_a_file_cut_anywhere_never_escapes(name: str) -> None:
    raw = (EXAMPLES / name).read_bytes()
    for end in range(0, len(raw), 97):
        try:
            load_text(raw[:end])
        except ManifestError as error:
            assert error.problems


def test_snapshot_alone(tmp_path: Path) -> None:
    farm = load_files([EXAMPLES / "farms/national-ai-computing-center.yaml"])[0].object
    assert isinstance(farm, GPUFarm)
    snapshot = synthetic_snapshot([farm])
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(snapshot.as_manifest(), indent=1))
    assert path.stat().st_size > 1 << 20, "the limit of a manifest does not hold for snapshots"
    assert load_model(path, FarmSnapshot) == snapshot
    with pytest.raises(ManifestError, match="--snapshot"):
        load_text(b"apiVersion: kfarm.dev/v1alpha1\nkind: FarmSnapshot\nnodes: []\n")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ('{"nodes": [{"name": 1}]}', "nodes[0].name"),
        ('{"node": []}', "nodes"),
        ("[]", ""),
        ("nodes: []\n---\nnodes: []\n", ""),
    ],
)
def test_bad_snapshot(tmp_path: Path, raw: str, path: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(raw)
    with pytest.raises(ManifestError) as error:
        load_model(file, FarmSnapshot)
    assert path in {problem.path for problem in error.value.problems}

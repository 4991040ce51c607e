"""``kfarm compare``: options to requests, results to pages, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_twin.cli import app
from kfarm_twin.cli_compare import CompareOptions, build_request, read_result
from kfarm_twin.cli_policies import parse_policies
from kfarm_twin.compare_page import render
from kfarm_twin.load import ManifestError
from kfarm_twin.traces.model import default_model
from typer.testing import CliRunner

Body = dict[str, Any]
JOBS = "\n".join(
    f"{n} {n * 45} -1 {300 + 37 * (n % 17)} {1 + n % 5} -1 -1 {1 + n % 5} 1800 "
    "-1 1 1 1 -1 1 -1 -1 -1"
    for n in range(1, 201)
)
RUN: Body = {
    "apiVersion": "kfarm.dev/v1alpha1",
    "kind": "TwinRun",
    "metadata": {"name": "whatif", "namespace": "default"},
    "spec": {
        "shape": {"nodes": 6},
        "workload": {
            "trace": {
                "configMap": {"name": "week", "key": "trace.swf"},
                "format": "SWF",
                "block": "30m",
            }
        },
        "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}, {"name": "same"}],
        "replicas": 4,
        "seed": 9,
    },
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "trace.swf"
    path.write_text(JOBS + "\n", encoding="utf-8")
    return path


def kfarm(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def answer(trace: Path) -> Body:
    """A comparison of three policies, one of them the same as the first."""
    code, out, err = kfarm(
        "--trace", trace, "--nodes", 6, "--policy", "fifo", "--policy", "easy",
        "--policy", "name=same,order=fifo",
        "--seeds", 4, "--seed", 9, "-o", "json",
    )  # fmt: skip
    assert code == 0, err
    return dict(json.loads(out))


def test_the_keys_are_those_of_the_documentation(answer: Body) -> None:
    assert answer["schema"] == "kfarm.dev/compare/v1"
    assert set(answer) == {
        "schema", "name", "inputsDigest", "seed", "replicas", "confidence", "farm", "nodes",
        "acceleratorsPerNode", "accelerators", "nodesPerRack", "nodesPerUnit", "horizon",
        "workload", "percentiles", "gridS", "policies", "best", "headline", "notes",
    }  # fmt: skip
    policy = answer["policies"][1]
    assert set(policy) == {
        "name", "described", "policy", "metrics", "differences", "sizes", "waitsS", "series",
        "neverRun",
    }  # fmt: skip
    text = (Path(__file__).parents[3] / "docs/cli.md").read_text("utf-8")
    section = text[text.index("## `kfarm compare`") :]
    for key in (*answer, *policy, *policy["metrics"], *policy["differences"]["waitMeanS"]):
        assert re.search(rf"[`.]{key}(\[\])?`", section), f"{key} is not documented"


def test_every_policy_plays_the_same_jobs(answer: Body) -> None:
    first, _, same = answer["policies"]
    assert same["metrics"] == first["metrics"]
    assert same["differences"]["waitMeanS"]["word"] == "Same"
    assert first["differences"] == {}


def test_the_answer_is_the_same_every_time(answer: Body, trace: Path) -> None:
    code, out, _ = kfarm(
        "--trace", trace, "--nodes", 6, "--policy", "fifo", "--policy", "easy",
        "--policy", "name=same", "--seeds", 4, "--seed", 9, "-o", "json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == answer


def test_a_manifest_gives_the_same_as_options(answer: Body, trace: Path, tmp_path: Path) -> None:
    spec = json.loads(json.dumps(RUN))
    del spec["spec"]["workload"]["trace"]["block"]
    raw = base64.b64encode(gzip.compress(trace.read_bytes())).decode()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "week", "namespace": "default"},
        "binaryData": {"trace.swf": raw},
    }
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all([spec, config]), encoding="utf-8")
    code, out, err = kfarm("-f", path, "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    names = [policy["name"] for policy in found["policies"]]
    assert names == [policy["name"] for policy in answer["policies"]]
    assert [p["metrics"] for p in found["policies"]] == [p["metrics"] for p in answer["policies"]]


def test_seeds_of_the_command_line_win(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN), encoding="utf-8")
    request = build_request(CompareOptions(files=(path,), trace=trace, seeds=2, seed=1))
    assert (request.spec.replicas, request.spec.seed) == (2, 1)
    assert request.source is not None
    assert request.source.name == "trace.swf"


def test_the_page_is_self_contained_and_escaped(answer: Body) -> None:
    from kfarm_twin.whatif_result import WhatIf

    hostile = {**answer, "name": "주간 <script>alert(1)</script>", "notes": ["a <b> & note"]}
    page = render(WhatIf.model_validate(hostile), "kfarm compare '</pre><script>'")
    assert "주간 &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "</pre><script>" not in page.replace("</code></pre>", "")
    found: list[tuple[str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, value or "") for name, value in attrs if name in ("src", "href"))

    Links().feed(page)
    assert found == []
    for part in ("Policies", "Who waits how long", "By job size", "Over time", "What was left out"):
        assert f">{part}<" in page
    assert "least wait" in page


def test_a_result_is_shown_again(answer: Body, tmp_path: Path) -> None:
    path, page = tmp_path / "result.json.gz", tmp_path / "page.html"
    path.write_bytes(gzip.compress(json.dumps(answer).encode()))
    code, out, err = kfarm("--result", path, "--report", page, "-o", "json")
    assert code == 0, err
    assert json.loads(out) == answer
    assert "<!DOCTYPE html>" in page.read_text("utf-8")
    code, out, _ = kfarm("--result", path)
    assert code == 0
    assert "easy" in out


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "compare/v1"),
        (b"{}", "compare/v1"),
        (b"[NaN]", "compare/v1"),
        (b"\xff\xfe", "compare/v1"),
        (gzip.compress(b"{}" * 100, mtime=0)[:20], "ends too early"),
        (b"\x1f\x8b\x00\x00", "compare/v1"),
    ],
)
def test_a_bad_result_is_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "결과.json"
    path.write_bytes(raw)
    with pytest.raises(ManifestError) as error:
        read_result(path)
    assert said in str(error.value)
    assert "결과.json" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--trace FILE"),
        (("--trace", "TRACE"), "neither a farm nor --nodes"),
        (("--trace", "TRACE", "--nodes", 0), "spec.shape.nodes|shape.nodes"),
        (("--trace", "TRACE", "--nodes", 4, "--seeds", 0), "replicas"),
        (("--trace", "TRACE", "--nodes", 4, "--seed", -1), "seed"),
        (("--trace", "TRACE", "--nodes", 4, "--policy", "lifo"), "'lifo' in 'lifo'"),
        (
            ("--trace", "TRACE", "--nodes", 4, "--policy", "easy,conservative"),
            "after backfill=Easy",
        ),
        (
            ("--trace", "TRACE", "--nodes", 4, "--policy", "fifo", "--policy", "fifo"),
            "fifo' stands here twice",
        ),
        (("--trace", "TRACE", "--nodes", 4, "--policy", "srtf,conservative"), "SRTF would break"),
        (("--trace", "TRACE", "--nodes", 4, "--format", "slurm"), "one of swf"),
        (("--trace", "TRACE", "--nodes", 4, "--horizon", "1s"), "horizon"),
        (("--trace", "TRACE", "--nodes", 4, "--horizon", "soon"), "horizon"),
        (("--trace", "/nowhere/x.swf", "--nodes", 4), "no such file"),
    ],
)
def test_bad_options_are_one_line_each(
    trace: Path, arguments: tuple[object, ...], said: str
) -> None:
    given = [trace if word == "TRACE" else word for word in arguments]
    code, out, err = kfarm(*given)
    assert code == 2
    assert out == ""
    assert any(part in err for part in said.split("|")), err
    assert all(line.startswith("error: ") for line in err.strip().splitlines())


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.swf"
    path.write_text(JOBS.replace("5 225 -1", "5 soon -1"), encoding="utf-8")
    code, out, err = kfarm("--trace", path, "--nodes", 6)
    assert code == 2
    assert out == ""
    assert "bad.swf, line 5" in err


def test_policies_by_name() -> None:
    found = parse_policies(
        ["fifo", "easy", "order=sjf,backfill=easy,placement=best-fit", "FGD,srtf"]
    )
    assert found == [
        {"order": "FIFO", "name": "fifo"},
        {"backfill": "Easy", "name": "easy"},
        {"order": "SJF", "backfill": "Easy", "placement": "BestFit", "name": "sjf-easy-bestfit"},
        {"placement": "FGD", "order": "SRTF", "name": "fgd-srtf"},
    ]
    levels = parse_policies(["best-fit,required=cluster,preferred=scalable-unit,name=x"])[0]
    assert (levels["required"], levels["preferred"]) == ("cluster", "scalable-unit")


@pytest.mark.parametrize(
    ("mix", "said"), [("unheard-of", "one of farm-week"), (None, "no ConfigMap model")]
)
def test_a_generator_that_is_not_there_is_bad_input(
    tmp_path: Path, mix: str | None, said: str
) -> None:
    run = json.loads(json.dumps(RUN))
    named = {"mix": mix} if mix else {"configMap": {"name": "model", "key": "model.json"}}
    run["spec"]["workload"] = {"generator": {**named, "jobs": 10}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    code, out, err = kfarm("-f", path)
    assert (code, out) == (2, "")
    assert said in err


def test_a_fitted_model_is_played(trace: Path, tmp_path: Path) -> None:
    run = json.loads(json.dumps(RUN))
    named = {"configMap": {"name": "model", "key": "model.json"}}
    run["spec"]["workload"] = {"generator": {**named, "jobs": 50, "load": 80}}
    run["spec"]["shape"]["nodes"] = 200
    path, model = tmp_path / "run.yaml", tmp_path / "model.json"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    model.write_text(default_model(8).model_dump_json(by_alias=True), encoding="utf-8")
    code, out, err = kfarm("-f", path, "--trace", model, "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    assert found["workload"]["kind"] == "Generator"
    assert found["workload"]["jobs"] == 50
    model.write_text(default_model(4).model_dump_json(by_alias=True), encoding="utf-8")
    code, _, err = kfarm("-f", path, "--trace", model)
    assert code == 2
    assert "nodes with 4 accelerators" in err


def test_unlike_clusters_are_refused(tmp_path: Path) -> None:
    farms = Path(__file__).parents[3] / "examples/farms"
    run = json.loads(json.dumps(RUN))
    del run["spec"]["shape"]
    names = ("kakao", "naver-cloud")
    run["spec"]["farms"] = [{"kind": "GPUFarm", "name": name} for name in names]
    run["spec"]["workload"] = {"generator": {"mix": "farm-week", "jobs": 10}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    files = [word for name in names for word in ("-f", farms / f"{name}.yaml")]
    code, _, err = kfarm("-f", path, *files)
    assert code == 2
    assert "one pool of equal nodes" in err


@pytest.mark.parametrize(
    "workload", [None, {"gang": {"nodes": 4, "checkpoint": {"interval": "1h"}}}]
)
def test_a_run_of_failures_alone_names_its_command(workload: Body | None, tmp_path: Path) -> None:
    shape = {"nodes": 6, "reliability": {"reference": "llama3-h100"}}
    spec = {"shape": shape, **({"workload": workload} if workload else {})}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**RUN, "spec": spec}), encoding="utf-8")
    code, out, err = kfarm("-f", file)
    assert (code, out) == (2, "")
    assert "spec.workload" in err
    assert "kfarm simulate -f" in err

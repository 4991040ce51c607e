"""``kfarm fill``: keys, formats, several runs, the page, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kfarm_twin.cli import app
from kfarm_twin.fill import Experiment, curve, run_all
from kfarm_twin.sharing import SharePolicy
from kfarm_twin.traces.openb import read_openb_nodes, read_openb_pods
from typer.testing import CliRunner, Result

KEYS = {
    "schema", "nodes", "gpus", "pods_listed", "tune", "until", "arrived_percent", "policy", "seed",
    "pods_arrived", "pods_placed", "pods_failed", "allocated_percent", "fragmented_gpus",
    "fragmented_percent", "fragmented_share_of_idle_percent",
}  # fmt: skip


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    """20 nodes with 60 GPUs, and 40 pods."""
    nodes, pods = tmp_path / "nodes.csv", tmp_path / "pods <1>.csv"
    rows = [f"n{row:02},96000,393216,{2 + row % 3},{'AB'[row % 2]}" for row in range(20)]
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\n" + "\n".join(rows) + "\n")
    rows = []
    for row in range(40):
        gpus = (1, 1, 2, 0)[row % 4]
        milli = (300 + 10 * (row % 5) if row % 4 == 0 else 1000) if gpus else 0
        rows.append(f"p{row:02},{4000 + 500 * (row % 7)},1024,{gpus},{milli},{'A|B' * (row % 2)}")
    header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    pods.write_text(header + "\n".join(rows) + "\n")
    return nodes, pods


def run(lists: tuple[Path, Path], *arguments: str) -> Result:
    nodes, pods = lists
    return CliRunner().invoke(app, ["fill", "--nodes", str(nodes), "--pods", str(pods), *arguments])


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_one_run_has_the_documented_keys(lists: tuple[Path, Path]) -> None:
    found = answer(
        run(
            lists, "--policy", "FGD", "--until", "130", "--tune", "1.3", "--seed", "7", "-o", "json"
        )
    )
    assert set(found) == KEYS
    assert found["schema"] == "kfarm.dev/fill/v1"
    assert (found["policy"], found["seed"], found["gpus"], found["nodes"]) == ("fgd", 7, 59, 20)
    assert found["arrived_percent"] == list(range(131))
    assert found["pods_placed"] + found["pods_failed"] == found["pods_arrived"]
    assert found["pods_failed"] > 0
    for key in KEYS:
        if isinstance(found[key], list):
            assert len(found[key]) == 131
    for point, allocated in enumerate(found["allocated_percent"]):
        idle = 59 * (1 - allocated / 100)
        share = found["fragmented_share_of_idle_percent"][point]
        assert 0 <= allocated <= min(100, point + 3)
        assert 0 <= share <= 100
        if idle > 1:  # both are means over some arrivals: near, not equal
            assert found["fragmented_gpus"][point] == pytest.approx(share * idle / 100, abs=0.6)
            percent = 100 * found["fragmented_gpus"][point] / 59
            assert found["fragmented_percent"][point] == pytest.approx(percent)


def test_a_seed_gives_the_same_bytes(lists: tuple[Path, Path]) -> None:
    once, again = (run(lists, "--policy", "random", "-o", "json").stdout for _ in range(2))
    assert once == again
    assert once != run(lists, "--policy", "random", "--seed", "1", "-o", "json").stdout


def test_several_runs(lists: tuple[Path, Path]) -> None:
    found = answer(
        run(lists, "--policy", "bestfit", "--policy", "FGD", "--seeds", "3", "-o", "json")
    )
    assert found["schema"] == "kfarm.dev/fill-runs/v1"
    assert [(one["policy"], one["seed"]) for one in found["runs"]] == [
        (policy, seed) for policy in ("best-fit", "fgd") for seed in (42, 43, 44)
    ]
    first = found["summary"][0]
    assert (first["policy"], first["seeds"]) == ("best-fit", 3)
    for point in (0, 50, 100, 130):
        values = [one["allocated_percent"][point] for one in found["runs"][:3]]
        assert first["allocated_percent"]["mean"][point] == pytest.approx(np.mean(values), abs=1e-5)
        spread = float(np.std(values, ddof=1))
        assert first["allocated_percent"]["sd"][point] == pytest.approx(spread, abs=1e-5)


def test_points_that_nothing_reaches_are_null(lists: tuple[Path, Path]) -> None:
    found = answer(run(lists, "--policy", "fgd", "--tune", "0.5", "--until", "80", "-o", "json"))
    assert found["allocated_percent"][80] is None
    assert found["allocated_percent"][40] is not None


def test_yaml_and_table(lists: tuple[Path, Path]) -> None:
    assert set(yaml.safe_load(run(lists, "--policy", "fgd", "-o", "yaml").stdout)) == KEYS
    result = run(lists, "--policy", "fgd", "--policy", "spread", "--seeds", "2", "--until", "95")
    assert result.exit_code == 0
    assert "spread" in result.stdout
    assert "±" in result.stdout
    assert "at 100" not in result.stdout


def test_the_page_stands_alone(lists: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "curves.html"
    result = run(lists, "--policy", "fgd", "--seeds", "2", "--plot", str(page), "-o", "json")
    assert result.exit_code == 0
    assert str(page) in result.stderr
    text = page.read_text(encoding="utf-8")
    assert "pods &lt;1&gt;.csv" in text
    assert "<h1>pods <1>" not in text
    assert "src=" not in text.split("</style>")[1].split("<script")[0]
    data = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["policies"][0]["name"] == "FGD"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--policy", "best"), "--policy best; expected one of random, first-fit, best-fit"),
        (("--policy", "fgd", "--tune", "nan"), "--tune nan; expected more than 0"),
        (("--policy", "fgd", "--tune", "-1"), "--tune -1; expected more than 0"),
    ],
)
def test_wrong_options(lists: tuple[Path, Path], arguments: tuple[str, ...], expected: str) -> None:
    result = run(lists, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not result.stdout


def test_a_model_that_no_node_has(lists: tuple[Path, Path]) -> None:
    pods = lists[1]
    rows = pods.read_text().splitlines()
    rows[2], rows[6] = rows[2].replace("A|B", "A|H900"), rows[6].replace("A|B", "A100")
    pods.write_text("\n".join(rows) + "\n")
    result = run(lists, "--policy", "fgd")
    assert result.exit_code == 2
    assert "line 7: gpu_spec: found A100; expected one of the nodes' models: A, B" in result.stderr
    assert "H900" not in result.stderr


def test_clusters_and_lists_without_gpus(lists: tuple[Path, Path]) -> None:
    nodes, pods = lists
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn0,96000,393216,0,\n")
    pods.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1,1,0,0\n")
    result = run(lists, "--policy", "fgd", "-o", "json")
    assert result.exit_code == 2
    assert f"{nodes}: gpu: found no node with a GPU" in result.stderr
    assert f"{pods}: num_gpu: found no pod that asks for a GPU" in result.stderr


def test_pods_too_small_to_end(lists: tuple[Path, Path]) -> None:
    pods = lists[1]
    small = "".join(f"q{row},0,0,0,0\n" for row in range(600))
    pods.write_text(f"name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1,1,1,1\n{small}")
    result = run(lists, "--policy", "fgd")
    assert result.exit_code == 2
    assert "pods so small" in result.stderr


def test_a_page_in_a_folder_that_is_not_there(lists: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(lists, "--policy", "fgd", "--plot", str(tmp_path / "none" / "x.html"))
    assert isinstance(result.exception, FileNotFoundError), "main turns it into exit code 2"


def test_a_point_is_the_mean_of_the_arrivals_that_round_to_it() -> None:
    seen = np.array([[9.0, 1.0, 3.0, 10.0, 20.0], [7.0, 0.0, 0.0, 0.0, 0.0]])
    made = curve(np.array([1, 1, 3, 7]), seen, 5, 10)[0].tolist()
    assert made[0] == 2.0, "only 1 is near"
    assert made[1] == 2.0
    assert made[2] == pytest.approx((1 + 3 + 10) / 3), "none at 2: those at 1 to 3"
    assert made[3:7] == [10.0, 10.0, 10.0, 20.0], "none at 4 to 6: what was last seen, or 7 is near"
    assert made[7:9] == [20.0, 20.0]
    assert np.isnan(made[9:]).all()
    assert curve(np.array([1, 1, 3, 7]), seen, 9, 10)[0].tolist()[9] == 20.0, "meant to arrive"
    assert curve(np.array([3, 3]), np.array([[9.0, 1.0, 3.0]]), 9, 3)[0].tolist() == [
        9.0,
        9.0,
        2.0,
        2.0,
    ]


def test_order_of_arrivals(lists: tuple[Path, Path]) -> None:
    """All pods once and then drawn ones; or fewer than all, up to the target."""
    nodes, pods = read_openb_nodes(lists[0]), read_openb_pods(lists[1])
    demand = pods.gpus * pods.gpu_milli
    more = Experiment(nodes, pods, 2.0, 10).order(1)[0]
    assert sorted(more[: demand.size].tolist()) == list(range(demand.size))
    assert 2.0 * 59_000 - 2_000 < demand[more].sum() <= 2.0 * 59_000 + 1_000
    fewer, ranks = Experiment(nodes, pods, 0.3, 10).order(1)
    assert len(set(fewer.tolist())) == fewer.size < demand.size
    assert 0.3 * 59_000 - 2_000 < demand[fewer].sum() <= 0.3 * 59_000
    assert sorted(ranks.tolist()) == list(range(20))


def test_runs_come_in_their_order(lists: tuple[Path, Path]) -> None:
    nodes, pods = read_openb_nodes(lists[0]), read_openb_pods(lists[1])
    wanted = [(policy, seed) for policy in SharePolicy for seed in (3, 1)]
    seen: list[tuple[int, int]] = []
    fillings = run_all(Experiment(nodes, pods, 1.0, 100), wanted, lambda *at: seen.append(at))
    assert [(one.policy, one.seed) for one in fillings] == wanted
    assert seen == [(done, 16) for done in range(1, 17)]

"""The picture of ``kfarm fill``: one self-contained page with two charts; it loads nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_twin.arrays import Floats

if TYPE_CHECKING:
    from kfarm_twin.cli_fill import Asked, Band
    from kfarm_twin.fill import Experiment
    from kfarm_twin.sharing import SharePolicy

LABELS = {
    "random": "Random",
    "first-fit": "First fit",
    "best-fit": "Best fit",
    "spread": "Spread",
    "dotprod": "DotProd",
    "gpu-clustering": "GpuClustering",
    "gpu-packing": "GpuPacking",
    "fgd": "FGD",
}
CHARTS = (
    ("allocated_percent", "GPUs allocated", "percent of all GPUs"),
    ("fragmented_percent", "GPUs fragmented", "percent of all GPUs"),
    ("fragmented_share_of_idle_percent", "Share of idle GPUs that is fragmented", "percent"),
)


def write_page(
    path: Path,
    asked: Asked,
    experiment: Experiment,
    bands: Mapping[SharePolicy, Mapping[str, Band]],
    command: str,
) -> None:
    """Write the page."""
    path.write_text(render(asked, experiment, bands, command), encoding="utf-8")


def render(
    asked: Asked,
    experiment: Experiment,
    bands: Mapping[SharePolicy, Mapping[str, Band]],
    command: str,
) -> str:
    """The whole page; text from files is escaped."""
    seeds = len(asked.seeds)
    title = f"{asked.pods.name} on {asked.nodes.name}"
    what = (
        f"{experiment.nodes.gpus.size:,} nodes with {experiment.total_gpus:,} GPUs, "
        f"{len(experiment.needs):,} pods in the list; pods arrive in random order and stay. "
        + (f"Mean over {seeds} seeds, shaded by one standard deviation." if seeds > 1 else "")
    )
    charts = "".join(
        f'<section><h2>{escape(name)}</h2><div class="chart tall" data-curve="{key}"></div>'
        "</section>"
        for key, name, _ in CHARTS
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('report.css')}"
        ".chart.tall { height: 380px; }\n</style>\n</head>\n<body>\n"
        f'<header><p class="kicker">kfarm fill</p><h1>{escape(title)}</h1>'
        f'<p class="message">{escape(what)}</p></header>\n{charts}'
        f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>\n"
        f'<script type="application/json" id="data">{_data(experiment, bands)}</script>\n'
        f"<script>{_plotly()}</script>\n<script>\n{_asset('fill.js')}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (files("kfarm_twin") / "data" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - plotly loads slowly

    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _data(experiment: Experiment, bands: Mapping[SharePolicy, Mapping[str, Band]]) -> str:
    """Curves as JSON that cannot end the script element."""
    value: dict[str, Any] = {
        "arrived": list(range(experiment.until + 1)),
        "units": {key: unit for key, _, unit in CHARTS},
        "policies": [
            {
                "name": LABELS[str(policy)],
                "curves": {
                    key: {"mean": _numbers(mine[key].mean), "sd": _numbers(mine[key].sd)}
                    for key, _, _ in CHARTS
                },
            }
            for policy, mine in bands.items()
        ],
    }
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _numbers(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 4) for value in values.tolist()]

"""``kfarm fit thermal`` and ``kfarm predict thermal``: read, fit or predict, print, write."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfarm_api.parse import InvalidObject, validate
from kfarm_api.profile import AcceleratorProfile

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.cli_trace import late_status
from kfarm_twin.fit.thermal_columns import ASKABLE, Role
from kfarm_twin.fit.thermal_devices import known_device, node_of, other_device
from kfarm_twin.fit.thermal_fit import ThermalFit, fit_thermal
from kfarm_twin.fit.thermal_output import FIT_SCHEMA, PREDICT_SCHEMA, fit_data, predict_data
from kfarm_twin.fit.thermal_predict import Prediction, fit_fan_law, predict
from kfarm_twin.fit.thermal_profile import (
    Calibrated,
    from_profile,
    node_of_profile,
    to_body,
)
from kfarm_twin.fit.thermal_read import read_runs, unequal
from kfarm_twin.fit.thermal_runs import Run, find_step
from kfarm_twin.load import load_files
from kfarm_twin.traces.lines import failure, shown
from kfarm_twin.traces.write import replacing

MOST_FITTED, MOST_PREDICTED = 20_000, 200_000
"""Samples in time; minutes each."""


@dataclass(frozen=True)
class FitAsked:
    """Options of ``kfarm fit thermal``."""

    files: Sequence[Path]
    profile_out: Path | None
    profile: Path | None
    columns: Sequence[str]
    inlet_c: float | None
    full_speed: float | None
    plot: Path | None

    @property
    def command(self) -> str:
        """What to type for the same answer."""
        words = ["kfarm", "fit", "thermal"]
        for file in self.files:
            words += ["--csv", str(file)]
        for column in self.columns:
            words += ["--column", column]
        options = {"--profile": self.profile, "--inlet": self.inlet_c,
                   "--full-speed": self.full_speed, "--profile-out": self.profile_out}  # fmt: skip
        for name, value in options.items():
            if value is not None:
                words += [name, str(value)]
        return shlex.join(words)


@dataclass(frozen=True)
class PredictAsked:
    """Options of ``kfarm predict thermal``."""

    files: Sequence[Path]
    profile: Path
    columns: Sequence[str]
    inlet_c: float | None
    fan: float | None
    steady_start: bool
    as_type: bool
    series: bool


def asked_columns(texts: Sequence[str]) -> dict[Role, str]:
    """``role=name`` options.

    Raises
    ------
    ManifestError
        For what is no role.
    """
    out: dict[Role, str] = {}
    by_word = {str(role).lower(): role for role in ASKABLE}
    for text in texts:
        word, equals, name = text.partition("=")
        role = by_word.get(word.strip().lower())
        if role is None or not equals or not name.strip() or role in out:
            roles = ", ".join(str(role) for role in ASKABLE)
            expected = f"role=column, each role once, with a role of {roles}"
            raise failure(Path("--column"), shown(text), expected)
        out[role] = name.strip()
    return out


def read_all(files: Sequence[Path], columns: Sequence[str], *, measured: bool = True) -> list[Run]:
    """All runs of all files, in the order given."""
    asked = asked_columns(columns)
    with late_status(f"reading {files[0].name}"):
        runs = [run for file in files for run in read_runs(file, asked, measured=measured)]
    total = sum(run.samples for run in runs)
    most = MOST_FITTED if measured else MOST_PREDICTED
    if total > most:
        expected = f"at most {most:,}: thin the series or give fewer files"
        raise failure(files[0], f"{total:,} samples in all files", expected)
    return runs


def read_profile(path: Path, name: str = "") -> AcceleratorProfile:
    """The one profile of a file, or the one of several that is called `name`."""
    found = [d.object for d in load_files([path]) if isinstance(d.object, AcceleratorProfile)]
    if len(found) > 1:
        found = [one for one in found if one.metadata.name == name] or found
    if len(found) != 1:
        raise failure(path, f"{len(found)} AcceleratorProfiles", "one AcceleratorProfile")
    return found[0]


def run_fit(asked: FitAsked, output: Output) -> None:
    """Fit, write the profile and the plot, print."""
    runs = read_all(asked.files, asked.columns)
    _check_runs(asked.files, runs)
    device = known_device(runs) or other_device(runs)
    base = read_profile(asked.profile, device.name) if asked.profile else None
    count = len(runs[0].devices)
    node = node_of_profile(base, count) if base else node_of(device, count)
    with LateProgress("fitting", "steps at most") as progress:
        fit = fit_thermal(
            runs, node, full_speed=asked.full_speed, inlet_c=asked.inlet_c, progress=progress
        )
    fans = fit_fan_law(fit.runs, fit.law, fit.overhead.law, fit.full_speed, fit.is_fixed)
    names = [file.name for file in asked.files]
    body = to_body(fit, fans, device, base, names)
    calibrated = from_profile(_checked(asked, body))
    predictions = [predict(run, calibrated) for run in fit.runs]
    data = {
        "schema": FIT_SCHEMA, "files": [str(file) for file in asked.files],
        "deviceName": next((r.device_name for r in runs if r.device_name), None),
        **fit_data(fit, fans, predictions), "profile": body,
    }  # fmt: skip
    _write(asked, fit, predictions, data)
    _print(data, output)


def _check_runs(files: Sequence[Path], runs: Sequence[Run]) -> None:
    differs = unequal(runs)
    if differs:
        raise failure(files[0], differs, "one kind of node in all files")
    if len({run.fan_percent for run in runs if run.fan is not None}) > 1:
        found = "fan speeds in percent and in rpm"
        raise failure(files[0], found, "one unit in all files")
    steps = [find_step(run.time_s, row) for run in runs for row in run.power_w]
    if not any(steps):
        found = "even power: no device goes from idle to load"
        raise failure(files[0], found, "at least one step of power by 10 % or more in the files")


def _checked(asked: FitAsked, body: Mapping[str, Any]) -> AcceleratorProfile:
    try:
        return validate(AcceleratorProfile, body, strict=True)
    except InvalidObject as error:
        expected = "data from which a profile can be made: see the fields named"
        place = asked.profile or asked.files[0]
        raise failure(place, shown(str(error), 300), expected) from None


def _write(
    asked: FitAsked, fit: ThermalFit, predictions: Sequence[Prediction], data: dict[str, Any]
) -> None:
    texts: list[tuple[Path, str]] = []
    if asked.plot is not None:
        from kfarm_twin.thermal_page import render  # noqa: PLC0415 - plotly loads slowly

        texts.append((asked.plot, render(fit, predictions, data, asked.command)))
    if asked.profile_out is not None:
        head = f"# Fitted by {asked.command}\n"
        texts.append((asked.profile_out, head + as_yaml(data["profile"]) + "\n"))
    for path, text in texts:
        with replacing(path) as file:
            file.write(text.encode())


def run_predict(asked: PredictAsked, output: Output) -> None:
    """Predict and print."""
    profile = calibrated(asked.profile)
    if asked.fan is not None and (profile.fans is None or profile.fans.full_speed is None):
        expected = "a profile with nodeOverhead.fans.fullSpeed, or no --fan-speed"
        raise failure(asked.profile, "no full speed of fans", expected)
    runs = read_all(asked.files, asked.columns, measured=False)
    predictions = [
        predict(
            run, profile, inlet_c=asked.inlet_c, fan=asked.fan,
            from_first=not asked.steady_start, with_offsets=not asked.as_type,
        )
        for run in runs
    ]  # fmt: skip
    data = {
        "schema": PREDICT_SCHEMA, "profile": profile.name,
        **predict_data(predictions, series=asked.series),
    }  # fmt: skip
    _print(data, output)


def calibrated(path: Path) -> Calibrated:
    """A profile as a law."""
    profile = read_profile(path)
    try:
        return from_profile(profile)
    except ValueError as error:
        raise failure(path, f"no {error}", "a profile of an air-cooled device") from None


def _print(data: dict[str, Any], output: Output) -> None:
    if output is not Output.TABLE:
        sys.stdout.write((as_json(data) if output is Output.JSON else as_yaml(data)) + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly

    from kfarm_twin.cli_thermal_tables import print_fit, print_predictions  # noqa: PLC0415

    console = Console(highlight=False)
    if data["schema"] == FIT_SCHEMA:
        print_fit(console, data)
    else:
        print_predictions(console, data)

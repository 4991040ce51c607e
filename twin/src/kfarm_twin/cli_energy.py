"""``kfarm energy``: a typical year of farms, cooled one way or another, side by side."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import HOURS_PER_YEAR
from kfarm_twin.cli_inputs import CATALOGUE_HINT, Inputs, located, problem
from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.climate import Climate
from kfarm_twin.energy import energy_year
from kfarm_twin.energy_compare import cooled_as, ranking
from kfarm_twin.energy_result import EnergyResult, EnergyYear, Work
from kfarm_twin.energy_work import read_work
from kfarm_twin.epw import read_epw
from kfarm_twin.facility_describe import facility_of
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.request import InputError
from kfarm_twin.tariff import Tariff, read_tariff

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "kfarm.dev/energy/v1"
AS_DESCRIBED = "as described"
ALL_BUSY = 100.0
DIGITS = 10
"""Significant digits of figures in JSON and YAML."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for; percents 0 to 100."""

    load: float
    cpu_load: float | None
    busy: float
    hours: Path | None
    epw: Path | None
    tariff: Path | None
    carbon: Path | None
    cooling: tuple[str, ...]
    warm_water: bool
    hourly: bool


def energy(inputs: Inputs, others: Sequence[Inputs], asked: Asked) -> EnergyResult:
    """Play the year of all farms in the files.

    Parameters
    ----------
    others
        Files to compare with, each by itself, so that a farm may stand in several under one name;
        profiles that they lack are those of `inputs`.

    Raises
    ------
    ManifestError
        With what is wrong with a file, and where.
    """
    sources = [inputs, *(_with_profiles(other, inputs) for other in others)]
    problems = [found for source in sources for found in _missing(source)]
    if problems:
        raise ManifestError(problems)
    busy = asked.busy / 100.0
    work = (
        read_work(asked.hours, busy)
        if asked.hours is not None
        else Work.steady(asked.load, asked.cpu_load, busy)
    )
    climate = read_epw(asked.epw) if asked.epw is not None else None
    tariff = read_tariff(asked.tariff) if asked.tariff is not None else None
    carbon = _carbon(asked.carbon) if asked.carbon is not None else None
    wanted = [
        (source, farm, kind)
        for source in sources
        for farm in source.farms()
        for kind in asked.cooling or (AS_DESCRIBED,)
    ]
    years: list[EnergyYear] = []
    with LateProgress("playing the year of", "farms") as progress:
        for source, farm, kind in wanted:
            progress(len(years), len(wanted))
            try:
                year = _year(farm, source.profiles(), work, kind, asked, (climate, tariff, carbon))
            except InputError as error:
                raise ManifestError([located(source, source.documents[0], error)]) from error
            years.append(_labelled(year, source, farm, inputs))
    return EnergyResult(tuple(years), ranking(years))


def _with_profiles(other: Inputs, base: Inputs) -> Inputs:
    """Files to compare with, and behind them the profiles that only the base has."""
    own = {profile.metadata.name for profile in other.profiles()}
    added = [
        document
        for document in base.documents
        if document.kind == "AcceleratorProfile" and document.object.metadata.name not in own
    ]
    return Inputs((*other.documents, *added))


def _labelled(year: EnergyYear, source: Inputs, farm: Farm, base: Inputs) -> EnergyYear:
    """A farm to compare with carries the name of its file where the base has one of its name."""
    names = {(one.kind, one.metadata.name) for one in base.farms()}
    if source is base or (farm.kind, farm.metadata.name) not in names:
        return year
    holder = source.document(farm.kind, farm.metadata.name)
    return replace(year, variant=f"{year.variant}, {holder.file.name}") if holder else year


def _missing(inputs: Inputs) -> list[Problem]:
    """Clusters whose profile is not among the files."""
    known = {profile.metadata.name for profile in inputs.profiles()}
    there = ", ".join(sorted(known)) or "none"
    found = []
    for farm in inputs.farms():
        holder = inputs.document(farm.kind, farm.metadata.name)
        for index, cluster in enumerate(farm.spec.clusters):
            if holder is not None and cluster.accelerator not in known:
                expected = f"an AcceleratorProfile among the files (there: {there}); "
                path = f"spec.clusters[{index}].accelerator"
                found.append(
                    problem(holder, path, repr(cluster.accelerator), expected + CATALOGUE_HINT)
                )
    return found


def _year(
    farm: Farm,
    profiles: Sequence[AcceleratorProfile],
    work: Work,
    kind: str,
    asked: Asked,
    given: tuple[Climate | None, Tariff | None, Floats | None],
) -> EnergyYear:
    told: tuple[str, ...] = ()
    if kind != AS_DESCRIBED:
        farm, told = cooled_as(farm, profiles, kind)
    climate, tariff, carbon = given
    facility = facility_of(
        farm,
        profiles,
        climate=climate,
        tariff=tariff,
        carbon_g_per_kwh=carbon,
        warm_water=asked.warm_water,
    )
    year = energy_year(farm, profiles, work, facility, kind)
    if asked.warm_water:
        told += ("coolant loops have a water circuit of their own, as warm as they allow",)
    return replace(year, assumptions=(*told, *year.assumptions))


def _carbon(path: Path) -> Floats:
    """[8760] gCO2/kWh, one number a line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        expected = "a readable text file with a number a line"
        raise ManifestError([Problem(path, 0, "", type(error).__name__, expected)]) from None
    values = []
    for number, text in enumerate(lines, start=1):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= 5000.0:
            expected = "gCO2/kWh from 0 to 5000"
            raise ManifestError([Problem(path, 0, "", repr(text[:40]), expected, number)])
        values.append(value)
    if len(values) != HOURS_PER_YEAR:
        found = f"{len(values):,} values"
        raise ManifestError([Problem(path, 0, "", found, "8,760, one for each hour", None)])
    return np.array(values)


def reproduce(files: Sequence[Path], compared: Sequence[Path], asked: Asked) -> str:
    """Command line that gives the same result."""
    words = ["kfarm", "energy", *(word for path in files for word in ("-f", str(path)))]
    if asked.hours is None:
        words += ["--load", f"{asked.load:g}"]
    if asked.cpu_load is not None:
        words += ["--cpu-load", f"{asked.cpu_load:g}"]
    if asked.busy != ALL_BUSY:
        words += ["--busy", f"{asked.busy:g}"]
    for name in ("hours", "epw", "tariff", "carbon"):
        path = getattr(asked, name)
        words += [f"--{name}", str(path)] if path is not None else []
    words += [word for path in compared for word in ("--compare", str(path))]
    words += ["--cooling", ",".join(asked.cooling)] if asked.cooling else []
    words += ["--warm-water"] if asked.warm_water else []
    return shlex.join(words)


def result_data(result: EnergyResult, hourly: bool) -> dict[str, Any]:
    """The whole answer as data; keys as in docs/cli.md."""
    return {
        "schema": SCHEMA,
        "farms": [_year_data(year, hourly) for year in result.years],
        "ranking": [_plain(asdict(row)) for row in result.ranking],
    }


def _year_data(year: EnergyYear, hourly: bool) -> dict[str, Any]:
    data = asdict(replace(year, hourly=None))  # type: ignore[arg-type]  # told apart below
    data.pop("hourly")
    found: dict[str, Any] = _plain(data)
    if hourly:
        found["hourly"] = {
            _camel(name): _plain(values.tolist()) for name, values in vars(year.hourly).items()
        }
    return found


def _plain(value: Any) -> Any:
    """CamelCase keys; numbers without NaN, of ten significant digits."""
    if isinstance(value, dict):
        return {_camel(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def text(result: EnergyResult, output: Output, hourly: bool) -> str:
    """JSON or YAML."""
    data = result_data(result, hourly)
    return as_json(data) if output is Output.JSON else as_yaml(data)


def tables(result: EnergyResult) -> list[Table | str]:
    """What the terminal shows: figures of each farm side by side, ranking, assumptions."""
    from kfarm_twin.cli_energy_tables import figures_table, ranking_table  # noqa: PLC0415

    shown: list[Table | str] = [figures_table(result.years)]
    if result.ranking:
        shown.append(ranking_table(result.ranking))
    for year in result.years:
        label = year.farm if year.variant == AS_DESCRIBED else f"{year.farm}, {year.variant}"
        shown += [f"assumed for {label}: {told}" for told in year.assumptions]
    return shown

"""Options of ``kfarm simulate`` that let nodes fail, and what it says about that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kfarm_api.base import Strict
from kfarm_api.parse import InvalidObject, validate
from kfarm_api.plan import Checkpoint
from kfarm_api.reliability import Reliability
from kfarm_api.units import parse_duration_ns

from kfarm_twin.load import ManifestError, Problem, load_model
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from kfarm_twin.job_failures import FailingNodes
    from kfarm_twin.jobs import Jobs
    from kfarm_twin.replay import Replay, Shape
    from kfarm_twin.replay_failures import Failures

COMMAND_LINE = Path("command line")
_RULES: dict[str, Literal["Young", "Daly"]] = {"young": "Young", "daly": "Daly"}
_SUFFIXES = {".yaml", ".yml", ".json"}


class ReliabilityFile(Strict):
    """What ``kfarm fit failures`` writes."""

    reliability: Reliability


@dataclass(frozen=True)
class FailureOptions:
    """The options as they were given.

    Attributes
    ----------
    checkpoint
        Work between saves as a duration, or `young` or `daly`.
    restart_s
        What a job spends after any stop [s].
    until
        When the run is broken off, as a duration.
    """

    reliability: str | None = None
    checkpoint: str | None = None
    save: str | None = None
    restart_s: float = 0.0
    until: str | None = None

    @property
    def given(self) -> list[str]:
        """Options that mean nothing without failures."""
        found = {"--checkpoint": self.checkpoint, "--save": self.save, "--until": self.until}
        return [name for name, value in found.items() if value is not None]


def _problem(path: str, found: str, expected: str) -> ManifestError:
    return ManifestError([Problem(COMMAND_LINE, 0, path, found, expected)])


def _duration_ns(name: str, text: str) -> int:
    try:
        found = parse_duration_ns(text)
    except ValueError:
        found = 0
    if found <= 0:
        raise _problem(name, repr(text), "a duration of more than 0s, such as 30m or 720h")
    return found


def check(options: FailureOptions) -> None:
    """Refuse options that belong to failures where there are none.

    Raises
    ------
    ManifestError
        With all of them.
    """
    if options.reliability is None and options.given:
        names = ", ".join(options.given)
        raise _problem(names, "no failures", "--reliability NAME or FILE beside it")
    if options.save is not None and options.checkpoint is None:
        raise _problem("--save", "no checkpoint", "--checkpoint DURATION, young or daly beside it")


def reliability_of(text: str) -> Reliability:
    """A published reference by name, or the block of a file.

    Raises
    ------
    ManifestError
        When the file is wrong or missing.
    """
    path = Path(text)
    if path.suffix in _SUFFIXES or path.is_file():
        return load_model(path, ReliabilityFile).reliability
    return Reliability(reference=text)


def checkpoint_of(options: FailureOptions) -> Checkpoint | None:
    """How jobs save; None where they do not.

    Raises
    ------
    ManifestError
        When the options contradict one another.
    """
    if options.checkpoint is None:
        return None
    body: dict[str, Any] = {"save": options.save or "0s"}
    rule = _RULES.get(options.checkpoint.lower())
    body |= {"optimum": rule} if rule else {"interval": options.checkpoint}
    try:
        return validate(Checkpoint, body, strict=True)
    except InvalidObject as invalid:
        names = {"(root)": "--checkpoint", "interval": "--checkpoint", "save": "--save"}
        raise ManifestError(
            [
                Problem(COMMAND_LINE, 0, names.get(p.where, p.where), _given(options), p.expected)
                for p in invalid.problems
            ]
        ) from None


def _given(options: FailureOptions) -> str:
    return f"{options.checkpoint}, save {options.save or '0s'}"


def failing_nodes(options: FailureOptions, shape: Shape) -> FailingNodes | None:
    """The farm as it fails; None without failures.

    Raises
    ------
    ManifestError
        When the reference is not known, or the file is wrong.
    """
    if options.reliability is None:
        return None
    from kfarm_twin.job_failures import failing_shape  # noqa: PLC0415 - numba

    try:
        return failing_shape(shape, reliability_of(options.reliability), "--reliability")
    except InputError as error:
        raise _problem(error.where, error.found, error.expected) from error


def failures_of(options: FailureOptions, shape: Shape, jobs: Jobs, seed: int) -> Failures | None:
    """What the jobs meet.

    Raises
    ------
    ManifestError
        When an option is wrong.
    """
    check(options)
    saves = checkpoint_of(options)
    until = None if options.until is None else _duration_ns("--until", options.until)
    failing = failing_nodes(options, shape)
    if failing is None:
        return None
    from dataclasses import replace  # noqa: PLC0415

    from kfarm_twin.job_failures import Saving  # noqa: PLC0415 - numba

    saving = replace(Saving.of(saves), restart_ns=round(options.restart_s * 1e9))
    return failing.failures(jobs, saving, seed=seed, future=0, until_ns=until)


def figures(options: FailureOptions, result: Replay) -> dict[str, Any] | None:
    """The key ``failures`` of the answer; null without."""
    found = result.failures
    if found is None:
        return None
    return {
        "reliability": options.reliability,
        "checkpoint": options.checkpoint,
        "save": options.save if options.checkpoint else None,
        "spanS": found.span_s,
        "goodput": found.goodput,
        "interruptions": found.stops,
        "jobsInterrupted": found.jobs_interrupted,
        "unfinished": found.unfinished,
        "mttiS": found.mtti_s,
        "timeToRecoverMeanS": found.recover_mean_s,
        "heldDeviceHours": found.held_s / 3600,
        "retainedDeviceHours": found.retained_s / 3600,
        "lostDeviceHours": {cause: value / 3600 for cause, value in found.lost_s.items()},
        "interruptionsByClass": dict(found.by_class),
    }


def sentences(failures: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    goodput = failures["goodput"]
    lost = ", ".join(
        f"{cause} {value:,.1f}" for cause, value in failures["lostDeviceHours"].items()
    )
    blame = ", ".join(f"{name} {count}" for name, count in failures["interruptionsByClass"].items())
    lines = [
        f"{failures['interruptions']:,} interruptions of {failures['jobsInterrupted']:,} jobs, one "
        f"each {failures['mttiS'] / 3600:,.2f} h"
        + ("" if goodput is None else f"; goodput {goodput:.2%}"),
        f"lost device-hours: {lost}",
    ]
    if blame:
        lines.append(f"interrupted by: {blame}")
    if failures["unfinished"]:
        lines.append(
            f"{failures['unfinished']:,} jobs had not ended when the run was broken off after "
            f"{failures['spanS'] / 86_400:,.1f} days"
        )
    return lines

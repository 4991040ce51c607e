"""What a sweep answers: one entry for each point, and the same as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kfarm_twin.cli_output import ExitCode, problem_data
from kfarm_twin.sweep.grid import SCHEMA, Axis, Scalar
from kfarm_twin.sweep.points import Point
from kfarm_twin.sweep.run import Played

Question = Literal["validate", "compare"]
Cell = str | int | float | bool | None
_VERDICT_KEYS = (
    "reason", "message", "checks", "survives", "futures", "seed", "horizon", "worstFuture",
    "inputsDigest", "estimates", "warnings",
)  # fmt: skip
"""Of a verdict; placements and the study of assumptions stay in the files of the points."""
_POLICY_KEYS = ("name", "described", "metrics", "differences", "neverRun")
_RESULT_KEYS = ("best", "headline", "replicas", "seed", "inputsDigest", "notes")


@dataclass(frozen=True)
class Outcome:
    """One point and what became of it."""

    point: Point
    played: Played

    @property
    def word(self) -> str:
        """``Approved``, ``Rejected``, ``Inconclusive``, ``Compared``, ``Failed``, ``BadInput``."""
        if self.played.result is not None:
            return str(self.played.result.get("verdict", "Compared"))
        return "BadInput" if self.played.reason == "BadInput" else "Failed"

    @property
    def code(self) -> ExitCode:
        """Exit code of this point alone."""
        if self.word == "BadInput":
            return ExitCode.BAD_INPUT
        good = self.word in ("Approved", "Compared")
        return ExitCode.APPROVED if good else ExitCode.NOT_APPROVED

    @property
    def told(self) -> str:
        """Why there is no result, in a sentence."""
        return "; ".join(str(problem) for problem in self.played.problems) or self.played.message


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep.

    Attributes
    ----------
    name
        The plan or TwinRun that was asked about.
    kfarm
        Version of kfarm that played it.
    """

    question: Question
    name: str
    kfarm: str
    axes: tuple[Axis, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def code(self) -> ExitCode:
        """The worst of all points."""
        return max((outcome.code for outcome in self.outcomes), default=ExitCode.BAD_INPUT)

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return {
            "schema": SCHEMA,
            "exitCode": int(self.code),
            "question": self.question,
            "name": self.name,
            "kfarm": self.kfarm,
            "parameters": [axis.as_data() for axis in self.axes],
            "points": [self._point(outcome) for outcome in self.outcomes],
        }

    def _point(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "point": outcome.point.index,
            "values": self.values(outcome),
            "verdict": outcome.word,
            **_shown(outcome),
        }

    def values(self, outcome: Outcome) -> dict[str, Scalar]:
        """Value of each parameter by its label."""
        labels = (axis.label for axis in self.axes)
        return dict(zip(labels, outcome.point.values, strict=True))

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each point, or for each policy of each point; all with the same columns."""
        rows = [row for outcome in self.outcomes for row in self._rows(outcome)]
        columns = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name) for name in columns} for row in rows]

    def _rows(self, outcome: Outcome) -> Iterator[dict[str, Cell]]:
        head: dict[str, Cell] = {
            "point": outcome.point.index,
            **self.values(outcome),
            "verdict": outcome.word,
            "reason": outcome.played.reason,
            "message": outcome.told,
        }
        result = outcome.played.result
        if result is None:
            yield head
        elif self.question == "validate":
            yield head | _verdict_row(result)
        else:
            for policy in result["policies"]:
                yield head | _policy_row(result, policy)


def _shown(outcome: Outcome) -> dict[str, Any]:
    played = outcome.played
    if played.result is None:
        problems = [problem_data(problem) for problem in played.problems]
        return {"reason": played.reason, "message": outcome.told, "problems": problems}
    if "policies" not in played.result:
        return {key: played.result.get(key) for key in _VERDICT_KEYS}
    policies = [{key: p.get(key) for key in _POLICY_KEYS} for p in played.result["policies"]]
    return {**{key: played.result.get(key) for key in _RESULT_KEYS}, "policies": policies}


def _verdict_row(result: dict[str, Any]) -> dict[str, Cell]:
    row: dict[str, Cell] = {key: result[key] for key in ("reason", "message", "futures", "seed")}
    row |= {"inputs_digest": result["inputsDigest"]}
    for name, check in zip(check_names(result), result["checks"], strict=True):
        row |= {
            f"{name} result": check["result"],
            f"{name} estimate": number(check["estimate"]),
            f"{name} low": number(check["low"]),
            f"{name} high": number(check["high"]),
        }
    for fault in result["survives"]:
        row[f"survives {fault['fault']}"] = fault["result"]
    for name, metric in result["estimates"].items():
        row |= {f"{name} {part}": metric[part] for part in ("mean", "p05", "p50", "p95", "p99")}
    return row


def check_names(result: dict[str, Any]) -> list[str]:
    """A name for each check: its metric; with the number where a metric is checked twice."""
    metrics = [str(check["metric"]) for check in result["checks"]]
    return [
        f"check {name}" if metrics.count(name) == 1 else f"check {name} {metrics[:i].count(name)}"
        for i, name in enumerate(metrics)
    ]


def _policy_row(result: dict[str, Any], policy: dict[str, Any]) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "policy": policy["name"],
        "best": result["best"] == policy["name"],
        "replicas": result["replicas"],
        "seed": result["seed"],
        "inputs_digest": result["inputsDigest"],
    }
    for name, figure in policy["metrics"].items():
        row |= {f"{name} {part}": figure[part] for part in ("mean", "low", "high")}
    change = policy["differences"].get("waitMeanS")
    if change is not None:
        row |= {"waitMeanS difference": change["mean"], "waitMeanS against first": change["word"]}
    return row


def number(text: Any) -> float | None:
    """A figure of a check, which is text; None where there is none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def outcomes_of(points: Sequence[Point], played: Sequence[Played]) -> tuple[Outcome, ...]:
    """Points with what became of them."""
    return tuple(Outcome(point, one) for point, one in zip(points, played, strict=True))

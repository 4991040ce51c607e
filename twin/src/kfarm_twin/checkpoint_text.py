"""The answer of ``kfarm checkpoint`` in sentences."""

from __future__ import annotations

from kfarm_twin.answers_result import CheckpointAnswer
from kfarm_twin.figures import brief_span

_NAMES = {"young": "Young (1974)", "daly": "Daly (2006)", "exact": "the exact optimum"}


def headline(found: CheckpointAnswer) -> list[str]:
    """The answer first, then the formulas, then what the run has now."""
    row = next(row for row in found.rows if row.interval_s == found.best_s)
    lines = [
        f"Save every {brief_span(found.best_s)} of work: ETTR {row.ettr:.3f} (5 % of futures stay "
        f"below {row.ettr_p05:.3f}); {_range(found)} lose less than "
        f"{100 * found.tolerance:g} points."
    ]
    parts = [
        f"{_NAMES[rule.name]} {brief_span(rule.interval_s)} ({_points(rule.loss)})"
        for rule in found.formulas
    ]
    lines.append(
        f"By formula, for a save of {brief_span(found.save_s)} and a stop every "
        f"{brief_span(found.mtti_s)} of work as simulated: {', '.join(parts)}."
    )
    declared = next((row for row in found.rows if row.interval_s == found.declared_s), None)
    if declared is not None:
        lines.append(
            f"The run's own interval of {brief_span(declared.interval_s)} gives ETTR "
            f"{declared.ettr:.3f} ({_points(declared.loss)})."
        )
    return lines


def _range(found: CheckpointAnswer) -> str:
    if found.good_from_s == found.good_to_s:
        return "no other interval played would"
    return f"{brief_span(found.good_from_s)} to {brief_span(found.good_to_s)}"


def _points(loss: float) -> str:
    points = 100 * loss
    return "loses nothing" if points < 0.005 else f"loses {points:.2f} points"

"""The answer of ``kfarm spares`` in sentences."""

from __future__ import annotations

from kfarm_twin.answers_result import SpareRow, Spares
from kfarm_twin.figures import digits
from kfarm_twin.fleetrun_text import number, percent

_MORE = 1.2
"""From this ratio on a tail counts as heavier than that of independent repairs."""
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


def headline(found: Spares) -> list[str]:
    """The answer first, then how it compares with the textbook."""
    row = _row(found)
    return [_answer(found, row), _waits(row), _textbook(found, row)]


def _row(found: Spares) -> SpareRow:
    """The row that the sentences speak of: the answer, or else the most spares played."""
    return next((row for row in found.rows if row.spares == found.answer), found.rows[-1])


def _answer(found: Spares, row: SpareRow) -> str:
    spares = f"{row.spares} spare{'' if row.spares == 1 else 's'}"
    verb = "keeps" if row.spares == 1 else "keep"
    down = (
        f"nodes down at once: p95 {number(row.nodes_down_p95)}, p99 {number(row.nodes_down_p99)}, "
        f"most {number(row.nodes_down_max)}"
    )
    if found.answer is None:
        wanted = []
        if found.target_ettr is not None:
            wanted.append(f"95 % of futures at ETTR {found.target_ettr:g}")
        if found.target_wait is not None:
            wanted.append(f"waiting below {percent(found.target_wait, 2)} of the time")
        goal = " and ".join(wanted) or "gains that no longer pay"
        return (
            f"Up to {spares} do not reach {goal}: 95 % of futures are at ETTR "
            f"{row.ettr_p05:.3f} or more, {percent(row.waiting, 2)} of the time is spent waiting; "
            f"{down}."
        )
    after = next((r for r in found.rows if r.spares == row.spares + 1), None)
    buys = ""
    if after is not None and after.gain is not None:
        buys = f"; the {_ordinal(after.spares)} buys {100 * after.gain:.2g} points"
    return (
        f"{spares} {verb} 95 % of futures at ETTR {row.ettr_p05:.3f} or more "
        f"(mean {row.ettr:.3f}){buys}; {down}."
    )


def _ordinal(count: int) -> str:
    return _ORDINALS[count - 1] if count <= len(_ORDINALS) else f"{count}th"


def _waits(row: SpareRow) -> str:
    return (
        f"With {row.spares}, the gang waits for a node {percent(row.waiting, 2)} of the time, and "
        f"in {percent(row.futures_waiting, 0)} of futures at least once; during "
        f"{percent(row.none_left, 2)} of the time no spare is left for the next failure."
    )


def _textbook(found: Spares, row: SpareRow) -> str:
    book = row.textbook
    lead = (
        f"Textbook, for {row.spares} spares and {digits(found.offered_load)} nodes out on average: "
        f"none is left with probability {percent(book.independent, 2)} (independent repairs; "
        f"Erlang B {percent(book.erlang_b, 2)}, C {percent(book.erlang_c, 2)})."
    )
    if row.none_left > _MORE * book.independent:
        times = digits(float(f"{row.none_left / max(book.independent, 1e-12):.2g}"))
        return (
            f"{lead} The simulation has {times} times that: failures share causes or come "
            "together, or repairs wait for crews and parts, which the formulas do not know."
        )
    if book.independent > _MORE * row.none_left:
        return (
            f"{lead} The simulation has less: the formulas count no node as spared that is down "
            "already, and no recovery that helps at once."
        )
    return f"{lead} The simulation agrees: failures are close to independent and nobody waits."

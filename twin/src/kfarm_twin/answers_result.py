"""What ``kfarm spares`` and ``kfarm checkpoint`` answer: models alone."""

from __future__ import annotations

from typing import Any, Literal

from kfarm_api.base import Strict
from pydantic import Field

SPARES_SCHEMA: Literal["kfarm.dev/spares/v1"] = "kfarm.dev/spares/v1"
CHECKPOINT_SCHEMA: Literal["kfarm.dev/checkpoint/v1"] = "kfarm.dev/checkpoint/v1"


class Textbook(Strict):
    """Shares by formula: of failures that find no spare (loss, wait), of time with none left."""

    erlang_b: float
    erlang_c: float
    independent: float


class SpareRow(Strict):
    """A number of spares.

    Attributes
    ----------
    ettr, ettr_p05, goodput
        Means over the futures, and what 95 % of them reach.
    gain
        Of mean ETTR over one spare less, future by future; None without any.
    gain_low, gain_high
        Its 95 % interval.
    waiting
        Share of its time that the gang waits for a node.
    futures_waiting
        Share of the futures in which it ever does.
    none_left
        Share of the time with at least as many nodes down as there are spares: the next failure
        has to wait.
    """

    spares: int
    ettr: float
    ettr_p05: float
    goodput: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    waiting: float
    futures_waiting: float
    none_left: float
    nodes_down_mean: float
    nodes_down_p95: float
    nodes_down_p99: float
    nodes_down_max: float
    textbook: Textbook


class Spares(Strict):
    """The whole answer of ``kfarm spares``.

    `answer` is None where no number of spares that was played meets the target.
    """

    schema_: Literal["kfarm.dev/spares/v1"] = Field(SPARES_SCHEMA, alias="schema")
    name: str
    inputs_digest: str
    gang_nodes: int
    futures: int
    seed: int
    horizon: str
    target_ettr: float | None
    target_wait: float | None
    answer: int | None
    offered_load: float
    headline: list[str]
    rows: list[SpareRow]
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return self.model_dump(mode="json", by_alias=True)


class IntervalRow(Strict):
    """A checkpoint interval; `loss` is the mean ETTR below the best, future by future."""

    interval_s: float
    ettr: float
    ettr_p05: float
    formula: float
    loss: float
    loss_low: float
    loss_high: float


class Optimum(Strict):
    """An interval by formula, and what it retains when it is played."""

    name: Literal["young", "daly", "exact"]
    interval_s: float
    ettr: float
    loss: float


class CheckpointAnswer(Strict):
    """The whole answer of ``kfarm checkpoint``.

    `good_from_s` to `good_to_s` lose less than `tolerance` of ETTR; `mtti_s` is the mean time at
    work between stops, `recover_s` that from a stop until work goes on.
    """

    schema_: Literal["kfarm.dev/checkpoint/v1"] = Field(CHECKPOINT_SCHEMA, alias="schema")
    name: str
    inputs_digest: str
    gang_nodes: int
    futures: int
    seed: int
    horizon: str
    save_s: float
    restart_s: float
    mtti_s: float
    recover_s: float
    best_s: float
    tolerance: float
    good_from_s: float
    good_to_s: float
    declared_s: float | None
    headline: list[str]
    rows: list[IntervalRow]
    formulas: list[Optimum]
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return self.model_dump(mode="json", by_alias=True)

"""What converters (power supplies, rectifiers, UPS, transformers) draw for what they deliver.

Between two points of a converter's efficiency a straight line is drawn: at output x it is a + b x,
and the input x / (a + b x), written 1 / (a / x + b). With a > 0, which `electric` sees to, each of
these steps keeps order when it is rounded, and what is drawn at the points bounds what is drawn
between them: the input never falls when the output rises, to the last bit.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints


class Converters(NamedTuple):
    """Stages [S] in chains, and the points of their efficiency [P]; powers in mW."""

    first: Ints  # [S + 1] first point of each stage
    loss: Floats  # [S] lost whatever is delivered
    output: Floats  # [P] delivered where the point stands; the first of a stage is 0
    input: Floats  # [P] drawn there, without `loss`
    share: Floats  # [P] a, up to the next point
    slope: Floats  # [P] b [1/mW]


@inner
def stage_input(stages: Converters, stage: int, output: float) -> float:
    """What one stage draws for an output [mW]."""
    at, last = stages.first[stage], stages.first[stage + 1] - 1
    if output <= 0.0:
        return float(stages.loss[stage])
    while at < last and output >= stages.output[at + 1]:
        at += 1
    drawn = 1.0 / (stages.share[at] / output + stages.slope[at])
    drawn = max(drawn, stages.input[at])
    if at < last:
        drawn = min(drawn, stages.input[at + 1])
    return float(drawn + stages.loss[stage])


@inner
def chain_input(stages: Converters, first: int, count: int, output: float) -> float:
    """What a chain of stages draws, from the one nearest to the load outwards [mW]."""
    for stage in range(first, first + count):
        output = stage_input(stages, stage, output)
    return output


@inner
def drawn_mw(stages: Converters, first: int, count: int, units: int, output_mw: int) -> int:
    """As `chain_input` in whole mW, for `units` chains alike that share the output evenly."""
    if count == 0:
        return output_mw
    each = chain_input(stages, first, count, float(output_mw) / float(units))
    return int(each * float(units) + 0.5)


@kernel
def chain_inputs(
    stages: Converters, first: int, count: int, outputs: Floats, inputs: Floats
) -> None:
    """`chain_input` of each output into `inputs` [mW]."""
    for index in range(outputs.shape[0]):
        inputs[index] = chain_input(stages, first, count, outputs[index])

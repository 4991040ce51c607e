"""``kfarm cooling``: what each single fault of the cooling does to a farm."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import typer

from kfarm_twin.cli_app import Files, Format, Html, app, problems_reported, seconds
from kfarm_twin.cli_output import Output


class CoolingFaultName(StrEnum):
    """Faults of the cooling that can be asked for."""

    CDU_PUMP = "CduPump"
    CDU = "Cdu"
    CRAH = "Crah"
    CHILLER = "Chiller"
    PLANT = "Plant"
    FEED = "Feed"


@app.command()
def cooling(
    filename: Files,
    load: Annotated[
        float, typer.Option(min=0, max=100, help="Load of all devices and nodes in percent.")
    ] = 100.0,
    fault: Annotated[
        list[CoolingFaultName] | None,
        typer.Option(help="Only this kind of fault; may be repeated."),
    ] = None,
    lasts: Annotated[
        str | None,
        typer.Option(help="How long a fault lasts, such as 10m; else until temperatures settle."),
    ] = None,
    html: Html = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what happens when a part of a farm's cooling fails.

    Plays each pump, CDU, air handler, chiller, plant and feed that fails alone at full load in the
    hottest hour, and says when devices throttle and shut down: the N-1 table of the cooling.
    """
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.cooling_output import (  # noqa: PLC0415
        CoolingQuestion,
        answer,
        chosen,
        print_answers,
    )

    if not math.isfinite(load):
        raise typer.BadParameter("give a load of 0 to 100 percent", param_hint="--load")
    lasts_s = math.inf if lasts is None else seconds(lasts)
    if lasts_s <= 0:
        raise typer.BadParameter("give more than 0 seconds", param_hint="--lasts")
    with problems_reported():
        inputs = read_inputs(filename)
        question = CoolingQuestion(load, chosen([one.value for one in fault or []]), lasts_s)
        answers = answer(inputs, question)
        if html is not None:
            from kfarm_twin.cooling_page import write_page  # noqa: PLC0415

            write_page(html, answers, question.command(filename))
            typer.echo(f"report: {html}", err=True)
    print_answers(answers, output)

"""Log lines as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from kfarm_operator.logs import Format, about, set_up

LOG = logging.getLogger("kfarm_operator.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def written(form: Format, *, verbose: bool = False) -> io.StringIO:
    stream = io.StringIO()
    set_up(form, verbose=verbose, stream=stream)
    return stream


def test_json_has_one_object_a_line_whatever_is_said() -> None:
    stream = written("json")
    LOG.info('팀/계획: "quoted"\nsecond line %s', "x")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        LOG.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["msg"] == '팀/계획: "quoted"\nsecond line x'
    assert (first["level"], first["logger"]) == ("info", "kfarm_operator.test")
    assert first["ts"].endswith("Z")
    assert "ValueError: two\nlines" in second["error"]


def test_json_carries_the_object_that_a_line_is_about() -> None:
    stream = written("json")
    fields = about("PlacementPlan", "team", "train", uid="u", generation=3, epoch=0)
    LOG.warning("epoch", extra=fields)
    line = json.loads(stream.getvalue())
    expected = {
        "kind": "PlacementPlan", "namespace": "team", "name": "train",
        "uid": "u", "generation": 3, "epoch": 0,
    }  # fmt: skip
    assert expected.items() <= line.items()


def test_text_shows_the_same_fields_and_leaves_out_empty_ones() -> None:
    stream = written("text")
    LOG.info("made", extra=about("GPUFarm", None, "f", uid=None))
    assert stream.getvalue().endswith("made [kind=GPUFarm name=f]\n")


def test_an_unknown_field_is_a_defect() -> None:
    with pytest.raises(ValueError, match="colour"):
        about("GPUFarm", None, "f", colour="red")


@pytest.mark.parametrize(("verbose", "lines"), [(False, 0), (True, 1)])
def test_debug_lines_come_with_verbose_only(verbose: bool, lines: int) -> None:
    stream = written("text", verbose=verbose)
    LOG.debug("detail")
    logging.getLogger("kopf.x").info("noise")
    assert len(stream.getvalue().splitlines()) == lines

"""A Prometheus that lies or hangs, and what comes through nevertheless."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from farm_exporter import saying, serving, silent_port
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_operator.live import prometheus
from kfarm_operator.live.prometheus import ask
from kfarm_operator.live.series import BadAnswer, read_answer

NOW = 1_000_000.0


def vector(*samples: tuple[dict[str, str], object]) -> bytes:
    result = [{"metric": labels, "value": [NOW, value]} for labels, value in samples]
    body = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return json.dumps(body).encode()


def reason_of(answer: Callable[..., None], timeout_s: float = 5.0) -> str:
    with serving(answer) as address, pytest.raises(BadAnswer) as caught:
        read_answer(ask(f"http://{address}", "up", timeout_s))
    assert len(caught.value.message) < 400
    return caught.value.reason


def test_an_answer_is_read_with_the_prefix_and_the_query() -> None:
    seen: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.path)
        saying(vector(({"node": "n"}, "41.5")))(request)

    with serving(answer) as address:
        (sample,) = read_answer(ask(f"http://{address}/prom/", 'm{a="b"}', 5.0))
    assert (sample.labels, sample.value, sample.at_s) == ({"node": "n"}, 41.5, NOW)
    assert seen[0].startswith("/prom/api/v1/query?query=m%7Ba%3D%22b%22%7D&time=")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>hello</html>", "BadAnswer"),
        (b"", "BadAnswer"),
        (b"\xff\xfe\x00", "BadAnswer"),
        (b"[" * 100_000, "BadAnswer"),
        (b"[]", "BadAnswer"),
        (b"null", "BadAnswer"),
        (b'{"status":"success"}', "BadAnswer"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "BadAnswer"),
        (b'{"status":"success","data":{"resultType":"vector","result":{}}}', "BadAnswer"),
        (b'{"status":"success","data":{"resultType":"vector","result":[7]}}', "BadAnswer"),
        (vector(({}, 3)), "BadAnswer"),
        (vector(({}, None)), "BadAnswer"),
        (vector(({}, "1")).replace(b"1000000.0", b'"soon"'), "BadAnswer"),
        (vector(({}, "1")).replace(b"1000000.0", b"1" + b"0" * 5000), "BadAnswer"),
        (b'{"status":"error","errorType":"bad_data","error":"secret"}', "QueryFailed"),
        (b'{"status":"error","errorType":["x"]}', "QueryFailed"),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes, reason: str) -> None:
    assert reason_of(saying(body)) == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [(301, "Redirected"), (302, "Redirected"), (401, "Forbidden"), (403, "Forbidden"),
     (404, "Refused"), (500, "Refused"), (502, "Refused")],
)  # fmt: skip
def test_a_status_says_what_is_wrong(status: int, reason: str) -> None:
    assert reason_of(saying(b"hidden", status, Location="http://127.0.0.1:1/")) == reason


def test_what_a_stranger_says_is_not_repeated() -> None:
    said = b'{"status":"error","error":"password=hunter2"}'
    with serving(saying(said)) as address, pytest.raises(BadAnswer) as caught:
        read_answer(ask(f"http://{address}", "up", 5.0))
    assert "hunter2" not in str(caught.value)


def test_a_redirect_loop_is_not_followed() -> None:
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        saying(b"", 302, Location=request.path)(request)

    assert reason_of(answer) == "Redirected"
    assert len(asked) == 1


def test_nobody_there() -> None:
    with silent_port() as address:
        pass
    with pytest.raises(BadAnswer) as caught:
        ask(f"http://{address}", "up", 2.0)
    assert caught.value.reason == "Unreachable"


def test_a_server_that_never_answers_is_left() -> None:
    with silent_port() as address, pytest.raises(BadAnswer) as caught:
        ask(f"http://{address}", "up", 0.3)
    assert caught.value.reason == "TimedOut"


@contextmanager
def _dripping(of_header: bool) -> Iterator[str]:
    """A server that says one byte at a time and never comes to an end."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        request.wfile.write(b"X-Long: " if of_header else b"Content-Length: 1000000\r\n\r\n")
        for _ in range(10_000):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.02)

    with serving(answer) as address:
        yield address


@pytest.mark.parametrize("of_header", [True, False])
def test_a_server_that_drips_is_left(of_header: bool) -> None:
    """Each byte comes in time; the whole does not."""
    with _dripping(of_header) as address, pytest.raises(BadAnswer) as caught:
        ask(f"http://{address}", "up", 0.5)
    assert caught.value.reason == "TimedOut"


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_ANSWER_BYTES", 1 << 20)

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            request.wfile.write(b" " * 65536)

    assert reason_of(answer, 30.0) == "TooLarge"


def test_an_answer_that_breaks_off_is_refused() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"status":"succ')

    assert reason_of(answer) in ("Unreachable", "BadAnswer")


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "resultType", "metric", "value", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values)
@settings(max_examples=200, deadline=None)
def test_no_answer_breaks_the_reader(data: object, item: object) -> None:
    """Anything that JSON can say is either samples or a `BadAnswer`."""
    bodies = (
        data,
        {"status": "success", "data": data},
        {"status": "success", "data": {"resultType": "vector", "result": [item]}},
        {"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": data, "value": item}]}},
    )  # fmt: skip
    for body in bodies:
        try:
            samples = read_answer(json.dumps(body).encode())
        except BadAnswer as error:
            assert error.message
        else:
            assert all(isinstance(sample.value, float) for sample in samples)

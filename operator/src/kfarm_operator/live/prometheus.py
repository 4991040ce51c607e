"""One question to a Prometheus: bounded in time and size, and no answer is believed unread.

Redirects are not followed and no proxy is used, so that an address in a farm leads there or
nowhere. What a server answers that is no Prometheus is not repeated in messages.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from urllib.parse import urlencode, urlsplit

from kfarm_operator.live.series import BadAnswer

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_PORTS = {"http": 80, "https": 443}


def ask(url: str, expression: str, timeout_s: float, at_s: float | None = None) -> bytes:
    """The raw answer to an instant query.

    Parameters
    ----------
    url
        Address of the server, with its path prefix.
    timeout_s
        For everything together, from connecting to the last byte [s].
    at_s
        The moment asked about, as seconds since 1970; None: now.

    Raises
    ------
    BadAnswer
        With a CamelCase reason and a sentence with the remedy.
    """
    connection = _connection(url, timeout_s)
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        sock = connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(timeout_s, hang_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        query = urlencode({"query": expression, "time": f"{at_s or time.time():.3f}"})
        return _exchange(connection, urlsplit(url).path, query, late)
    except TimeoutError as error:
        raise _too_late(timeout_s) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set():
            raise _too_late(timeout_s) from error
        raise BadAnswer(
            "Unreachable",
            f"the Prometheus cannot be asked ({type(error).__name__}); check that it runs and "
            "that telemetry.prometheus.url is its address as seen from the operator",
        ) from error
    finally:
        watchdog.cancel()
        connection.close()


def _connection(url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
    except (KeyError, ValueError) as error:
        raise BadAnswer(
            "BadAddress", "telemetry.prometheus.url is no http or https address; correct it"
        ) from error
    if parts.scheme == "https":
        trusted = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=trusted)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _exchange(
    connection: http.client.HTTPConnection, prefix: str, query: str, late: threading.Event
) -> bytes:
    headers = {"Accept": "application/json", "User-Agent": "kfarm-operator"}
    connection.request("GET", f"{prefix.rstrip('/')}/api/v1/query?{query}", headers=headers)
    body = bytearray()
    with contextlib.closing(connection.getresponse()) as response:
        _refuse_status(response.status)
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise BadAnswer(
                    "TooLarge",
                    f"an answer has more than {MAX_ANSWER_BYTES >> 20} MiB; narrow it down by "
                    "telemetry.prometheus.matchers",
                )
    if late.is_set():
        raise TimeoutError
    return bytes(body)


def _refuse_status(status: int) -> None:
    if 300 <= status < 400:
        raise BadAnswer(
            "Redirected",
            f"the Prometheus answers with a redirect ({status}), which is not followed; give the "
            "address that it leads to",
        )
    if status in (401, 403):
        raise BadAnswer(
            "Forbidden",
            f"the Prometheus refuses the operator ({status}); let it read without credentials "
            "from inside the cluster, since none are kept in a farm",
        )
    # 400, 422 and 503 come with JSON that says why
    if status not in (200, 400, 422, 503):
        raise BadAnswer(
            "Refused",
            f"the server answers with status {status}; check that telemetry.prometheus.url is "
            "that of a Prometheus, with its path prefix if it has one",
        )


def _too_late(timeout_s: float) -> BadAnswer:
    return BadAnswer(
        "TimedOut",
        f"the Prometheus did not answer within {timeout_s:g} s; check its load, or raise "
        "telemetry.prometheus.timeout",
    )

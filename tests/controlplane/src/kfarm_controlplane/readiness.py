"""Wait until a component answers."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from kfarm_controlplane.certificates import KeyPair
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.process import Component

_POLL_S = 0.05


def answers(port: int, path: str, pair: KeyPair | None, authority: Path | None) -> bool:
    """Return whether ``https://127.0.0.1:port/path`` answers 200; plain HTTP without a pair.

    Parameters
    ----------
    port, path
        Where to ask.
    pair
        Client certificate to show.
    authority
        Authority of the server's certificate; not checked when None, for
        components that sign their own.
    """
    connection: http.client.HTTPConnection
    if pair is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    else:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
        if authority is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(pair.certificate, pair.key)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_for(component: Component, ready: Callable[[], bool], timeout_s: float = 180.0) -> None:
    """Wait until a component is ready.

    Raises
    ------
    ControlPlaneError
        If it ends or stays silent; with the last lines of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not component.running or time.monotonic() > deadline:
            what = "did not become ready" if component.running else "ended while starting"
            raise ControlPlaneError(
                f"{component.name} {what}; the end of its log:\n{component.tail()}\n",
                f"read {component.log}.",
            )
        time.sleep(_POLL_S)

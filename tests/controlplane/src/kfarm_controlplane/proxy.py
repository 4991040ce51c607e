"""A TCP proxy in front of a server, which a test lets fall silent without closing anything."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_CHUNK = 65536
_POLL_S = 0.1


class SilentProxy:
    """Passes bytes on until it is silenced; then it swallows them and keeps connections open.

    A connection that lost a byte stays dead, as behind a firewall that forgot it; connections
    made after `speak` work.

    Parameters
    ----------
    port
        Where the server listens on the loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._silent = threading.Event()
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_POLL_S)
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()
        for one in list(self._sockets):
            one.close()

    def silence(self) -> None:
        """Swallow everything from now on, without a word to either side."""
        self._silent.set()

    def speak(self) -> None:
        """Serve new connections again."""
        self._silent.clear()

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                dead = threading.Event()
                with self._lock:
                    self._sockets |= {client, server}
                self._spawn(self._pass_on, client, server, dead)
                self._spawn(self._pass_on, server, client, dead)

    def _pass_on(self, source: socket.socket, sink: socket.socket, dead: threading.Event) -> None:
        source.settimeout(_POLL_S)
        while not self._closing.is_set():
            try:
                data = source.recv(_CHUNK)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data:
                break
            if self._silent.is_set() or dead.is_set():
                dead.set()
                continue
            try:
                sink.sendall(data)
            except OSError:
                break
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

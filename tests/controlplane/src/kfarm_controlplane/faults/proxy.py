"""Between operator and API server: passes everything on, but for the fault that strikes.

Plain HTTP on the loopback towards the operator, TLS towards the API server; the operator's token
is passed through, so that it has just the rights of its account.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from aiohttp import web

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.faults.plans import ANSWERS, Fault
from kfarm_controlplane.faults.session import Route, Session, list_key

STALE_S = 4.0
PAUSED_S = 20.0
"""A paused leader sleeps at most so long; mostly until the second replica is done."""
_SECOND = 1.0
_HOPS = frozenset(
    ("host", "connection", "transfer-encoding", "content-length", "accept-encoding", "keep-alive")
)
_REASONS = {
    403: "Forbidden",
    409: "Conflict",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_COMPONENTS = {"ApiServerKilled": "kube-apiserver", "EtcdKilled": "etcd"}


class Hands(Protocol):
    """What faults do to processes."""

    def crash(self) -> None:
        """kill -9 the operator and start another."""

    def pause(self) -> None:
        """Stop the operator and start a second replica."""

    def resume(self) -> None:
        """Wake the first one up."""

    def kill(self, component: str) -> None:
        """kill -9 a component of the control plane and start it again."""


class FaultProxy:
    """Serves operators; faults are those of the session at hand.

    Parameters
    ----------
    url, ca
        Of the API server.
    hands
        For faults of processes.

    Attributes
    ----------
    awake
        Set when a paused leader may go on.
    """

    def __init__(self, url: str, ca: Path, hands: Callable[[], Hands]) -> None:
        self._target = url
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._hands = hands
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._up = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._client: aiohttp.ClientSession | None = None
        self._lists: dict[str, tuple[float, int, bytes]] = {}
        self._stale: dict[str, tuple[float, dict[str, tuple[float, int, bytes]]]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self.session: Session | None = None
        self.awake = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(_SECOND * 30) or self._failure is not None:
            raise ControlPlaneError(f"the proxy did not start: {self._failure}", "see above.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.awake.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def begin(self, session: Session) -> None:
        """Record from now on, and let faults strike."""
        self.awake.clear()
        self._stale.clear()
        self.session = session

    def end(self) -> None:
        """Pass everything on."""
        self.session = None
        self._stale.clear()
        self.awake.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._up.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            self._client = client
            self._up.set()
            await self._stop.wait()
            for chore in self._chores:
                chore.cancel()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        route = Route.read(request.method, request.path, request.query_string)
        try:
            if route.watch:
                return await self._watch(request, route)
            if route.is_list:
                return await self._list(request, route)
            # What was sent is on its way: it gets there even where its sender dies.
            return await asyncio.shield(self._pass(request, route, await request.read()))
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            return _hang_up(request)

    async def _pass(self, request: web.Request, route: Route, body: bytes) -> web.StreamResponse:
        session = self.session
        fault = session.write(route, _parsed(body)) if session and route.is_write else None
        if fault is not None:
            return await self._strike(request, body, fault)
        try:
            return _reply(*await self._forward(request, body))
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            return _hang_up(request)

    def _open(self, request: web.Request, body: bytes | None) -> Any:
        if self._client is None:
            raise ConnectionResetError
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOPS}
        return self._client.request(
            request.method, f"{self._target}{request.raw_path}", data=body, headers=headers,
            allow_redirects=False,
        )  # fmt: skip

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, bytes, str]:
        async with self._open(request, body or None) as answer:
            return answer.status, await answer.read(), answer.headers.get("Retry-After", "")

    async def _strike(self, request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
        hands, kind = self._hands(), fault.kind
        if kind in ANSWERS:
            return _refuse(ANSWERS[kind])
        if kind in ("KillAfter", "LostReply"):
            await self._forward(request, body)
        if kind in ("KillBefore", "KillAfter"):
            await asyncio.to_thread(hands.crash)
        elif kind in _COMPONENTS:
            self._background(hands.kill, _COMPONENTS[kind])
        elif kind == "NoAnswer":
            await _until_left(request)
        elif kind == "LeaderPaused":
            await asyncio.to_thread(hands.pause)
            await asyncio.to_thread(self.awake.wait, PAUSED_S)
            await asyncio.to_thread(hands.resume)
            return _reply(*await self._forward(request, body))
        return _hang_up(request)

    def _background(self, work: Callable[[str], None], argument: str) -> None:
        async def run() -> None:
            await asyncio.to_thread(work, argument)
            if self.session is not None:
                self.session.struck_at = time.monotonic()

        chore = asyncio.create_task(run())
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _list(self, request: web.Request, route: Route) -> web.StreamResponse:
        key = list_key(request.path, request.query_string)
        until, old = self._stale.get(route.resource, (0.0, {}))
        if time.monotonic() < until and key in old:
            _, status, body = old[key]
            return _reply(status, body, "")
        status, body, after = await self._forward(request, b"")
        if status == 200:
            self._lists[key] = (time.monotonic(), status, body)
        return _reply(status, body, after)

    async def _watch(self, request: web.Request, route: Route) -> web.StreamResponse:
        async with self._open(request, None) as answer:
            if answer.status != 200:
                return _reply(answer.status, await answer.read(), "")
            stream = web.StreamResponse(headers={"Content-Type": "application/json"})
            await stream.prepare(request)
            pending = b""
            async for chunk in answer.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line and not await self._deliver(request, stream, route, line):
                        return stream
            return stream

    async def _deliver(
        self, request: web.Request, stream: web.StreamResponse, route: Route, line: bytes
    ) -> bool:
        """Pass an event on, or what a fault makes of it; False when the stream ends here."""
        session = self.session
        fault = session.event(route, json.loads(line)) if session else None
        kind = fault.kind if fault else ""
        if kind in ("WatchGone", "WatchError"):
            code = 410 if kind == "WatchGone" else 500
            error = {"type": "ERROR", "object": _status(code, "Expired" if code == 410 else "")}
            await stream.write(json.dumps(error).encode() + b"\n")
            return False
        if kind == "SilentStream":
            await _until_left(request)
            return False
        if kind == "StaleList":
            self._stale[route.resource] = (time.monotonic() + STALE_S, dict(self._lists))
        if kind != "DropEvent":
            await stream.write((line + b"\n") * (2 if kind == "DoubleEvent" else 1))
        return True


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        return {}


def _reply(status: int, body: bytes, retry_after: str = "") -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _status(code: int, reason: str = "") -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "a fault of the campaign",
        "reason": reason or _REASONS.get(code, ""),
        "code": code,
    }


def _refuse(code: int) -> web.Response:
    return _reply(code, json.dumps(_status(code)).encode(), "1" if code == 429 else "")


def _hang_up(request: web.Request) -> web.Response:
    """Reset the connection: no answer gets through."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


async def _until_left(request: web.Request) -> None:
    """Say nothing until the other side gives up."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.05)

"""Warm server that forks one process per run; see `kfarm_twin.wire` for what is said.

The server has numba and the kernels loaded, so that a run starts in milliseconds. It has a single
thread and never runs a simulation after its warm-up: a run that crashes, hangs or eats memory is
another process. A child keeps nothing of the server but its memory image: it gets a session of its
own, limits, no descriptor but its channel and a memory file for its last words. It dies with the
server, which dies with its parent.

Linux only (``pidfd``, ``PR_SET_PDEATHSIG``). A child is reaped only here and only after it was
seen dead on its pidfd, so a kill can never hit a process that took over its number.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from kfarm_twin import wire
from kfarm_twin.given_kernels import link_given_kernels

DEFAULT_ENTRY = "kfarm_twin.forkserver:validate_json"
DEFAULT_WARM = "kfarm_twin.warm:warm"
MAX_OPEN_FILES = 256
MEMORY_RESERVE_BYTES = 64 * 1024 * 1024
"""Kept back from the soft limit, so that a run out of memory can still say so."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of any file that a run writes, its standard error included."""
STDERR_TAIL_BYTES = 2000
_PR_SET_PDEATHSIG = 1

Entry = Callable[[bytes], bytes]


def validate_json(request: bytes) -> bytes:
    """Default entry: a `ValidationRequest` as JSON in, its `Verdict` as JSON out."""
    from kfarm_twin.request import ValidationRequest  # noqa: PLC0415 - after the warm-up
    from kfarm_twin.validate import validate  # noqa: PLC0415

    verdict = validate(ValidationRequest.model_validate_json(request))
    return verdict.model_dump_json(by_alias=True).encode()


def resolve(reference: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends; leave at once if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent:
        os._exit(1)


def address_space_bytes() -> int:
    """Address space that this process holds [B]."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def thread_names() -> list[str]:
    """Threads of this process, those of native libraries included."""
    return sorted((task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir())


@dataclass(frozen=True)
class Order:
    """One run that the client asked for.

    Attributes
    ----------
    cpu_s
        CPU time of all threads together [s].
    memory_bytes
        Address space on top of what the warm server holds [B].
    """

    id: int
    cpu_s: int
    memory_bytes: int


@dataclass(frozen=True)
class Child:
    """A child that has not been reaped.

    Attributes
    ----------
    stderr
        Descriptor of the memory file that takes its standard error.
    """

    run: int
    pid: int
    stderr: int


@dataclass
class Server:
    """State of the server: the control channel, and the children by pidfd."""

    control: socket.socket
    entry: Entry
    children: dict[int, Child] = field(default_factory=dict)

    def serve(self) -> None:
        """Serve until the client hangs up, then take all children along."""
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        hung_up = False
        while not hung_up:
            for descriptor, _ in poller.poll():
                if descriptor == self.control.fileno():
                    hung_up = not self._handle_packet(poller)
                else:
                    poller.unregister(descriptor)
                    self._reap(descriptor)
        for child in self.children.values():
            kill_group(child.pid)

    def _handle_packet(self, poller: select.poll) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self.control, wire.MAX_CONTROL_BYTES, 1)
        if not data:
            return False
        message = json.loads(data)
        if message["op"] == "kill":
            self._kill(message["id"])
            return True
        order = Order(message["id"], message["cpu_s"], message["memory_bytes"])
        channel = socket.socket(fileno=descriptors[0])
        try:
            self._start(order, channel, poller)
        finally:
            channel.close()
        return True

    def _start(self, order: Order, channel: socket.socket, poller: select.poll) -> None:
        server, stderr = os.getpid(), os.memfd_create("kfarm-run-stderr")
        try:
            pid = os.fork()
        except OSError as error:
            os.close(stderr)
            channel.sendall(wire.error_reply("Crash", f"cannot fork: {error}"))
            self._send_ended(order.id, 1, "")
            return
        if pid == 0:
            run_child(server, order, channel, stderr, self.entry)
        descriptor = os.pidfd_open(pid)
        self.children[descriptor] = Child(order.id, pid, stderr)
        poller.register(descriptor, select.POLLIN)
        self.control.send(wire.packet(op="started", id=order.id, pid=pid))

    def _kill(self, run: int) -> None:
        for child in self.children.values():
            if child.run == run:
                kill_group(child.pid)

    def _reap(self, descriptor: int) -> None:
        child = self.children.pop(descriptor)
        kill_group(child.pid)
        _, status = os.waitpid(child.pid, 0)
        os.close(descriptor)
        said = read_tail(child.stderr)
        os.close(child.stderr)
        self._send_ended(child.run, os.waitstatus_to_exitcode(status), said)

    def _send_ended(self, run: int, exit_code: int, said: str) -> None:
        code, number = (exit_code, None) if exit_code >= 0 else (None, -exit_code)
        self.control.send(wire.packet(op="ended", id=run, code=code, signal=number, stderr=said))


def read_tail(descriptor: int) -> str:
    """The last that a child said on its standard error."""
    size = os.fstat(descriptor).st_size
    raw = os.pread(descriptor, STDERR_TAIL_BYTES, max(0, size - STDERR_TAIL_BYTES))
    return raw.decode("utf-8", "replace")


def kill_group(pid: int) -> None:
    """Kill a child that is not reaped yet, and all that it started.

    The group may not exist yet when the child has not reached ``setsid``; the child alone is then
    the group.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def run_child(
    server: int, order: Order, channel: socket.socket, stderr: int, entry: Entry
) -> NoReturn:
    """Body of a child: confine, read, run, reply, leave. Never returns into the server's loop."""
    code = 1
    try:
        os.setsid()
        die_with_parent(server)
        connection = keep_only(channel, stderr)
        limit(order)
        reply, code = answer(connection, entry)
        connection.sendall(reply)
    finally:
        os._exit(code)


def keep_only(channel: socket.socket, stderr: int) -> socket.socket:
    """Close every descriptor but `channel` and the standard streams.

    The channel moves to descriptor 3, standard error goes to its memory file, input and output to
    the null device.
    """
    os.dup2(stderr, 2)
    os.dup2(channel.fileno(), 3)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    channel.detach()
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor > 3:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return socket.socket(fileno=3)


def limit(order: Order) -> None:
    """Limit memory, CPU time, files and their size; no core files."""
    memory = address_space_bytes() + order.memory_bytes
    _lower(resource.RLIMIT_AS, memory, memory + MEMORY_RESERVE_BYTES)
    _lower(resource.RLIMIT_CPU, order.cpu_s, order.cpu_s + 1)
    _lower(resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, MAX_FILE_BYTES, MAX_FILE_BYTES)
    _lower(resource.RLIMIT_CORE, 0, 0)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Set a limit, but never above the hard limit that is already there."""
    present = resource.getrlimit(kind)[1]
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    resource.setrlimit(kind, (soft, hard))


def answer(connection: socket.socket, entry: Entry) -> tuple[bytes, int]:
    """Read the request, run the entry, and say how it went: reply and exit code."""
    from kfarm_twin.request import InputError  # noqa: PLC0415 - loaded by the warm-up

    try:
        return wire.verdict_reply(entry(read_frame(connection))), 0
    except MemoryError:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return wire.error_reply("Memory", "the run needs more memory than it may use"), (
            wire.EXIT_MEMORY
        )
    except InputError as error:
        return wire.error_reply("InputError", str(error)), 0
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno} in {where.name}"
        return wire.error_reply("Crash", f"{type(error).__name__}: {error} ({place})"), 1


def read_frame(connection: socket.socket) -> bytes:
    """One whole frame; EOFError when the other side hangs up before."""
    length = wire.frame_length(_read_exactly(connection, wire.HEADER_BYTES))
    return _read_exactly(connection, length)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    body = bytearray()
    while len(body) < count:
        part = connection.recv(min(count - len(body), 1 << 20))
        if not part:
            raise EOFError(f"the client hung up after {len(body)} of {count} bytes")
        body += part
    return bytes(body)


def prepare(entry: str, warm: str) -> Entry:
    """Load the entry, warm the kernels, and make sure that forking is safe.

    Raises
    ------
    RuntimeError
        When the warm-up left a thread behind: a fork would copy locks that nobody releases.
    """
    link_given_kernels()
    import_module("kfarm_twin.request")
    if warm:
        resolve(warm)()
    found = resolve(entry)
    threads = thread_names()
    if len(threads) != 1:
        raise RuntimeError(
            f"the warm-up left {len(threads)} threads running ({', '.join(threads)}), so forking "
            "is not safe; start none in the warm-up and tell native libraries so by environment "
            "(OPENBLAS_NUM_THREADS=1 and the like)"
        )
    gc.collect()
    gc.freeze()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Serve on an inherited socket until it is closed."""
    parser = argparse.ArgumentParser(prog="kfarm_twin.forkserver", description=__doc__)
    parser.add_argument("--socket-fd", type=int, required=True, help="SOCK_SEQPACKET, inherited")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="pid to die with")
    parser.add_argument("--entry", default=DEFAULT_ENTRY, help="module:function, bytes to bytes")
    parser.add_argument("--warm", default=DEFAULT_WARM, help="module:function, or empty")
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.enable()
    control = socket.socket(fileno=options.socket_fd)
    control.setblocking(True)
    try:
        entry = prepare(options.entry, options.warm)
    except Exception as error:
        control.send(wire.packet(op="failed", message=f"{type(error).__name__}: {error}"[:2000]))
        return 1
    control.send(wire.packet(op="ready", pid=os.getpid(), threads=len(thread_names())))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Server(control, entry).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())

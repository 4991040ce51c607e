"""What the fork server runs in `test_runner`: each request names how the run shall behave."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from kfarm_twin import wire
from kfarm_twin.forkserver import thread_names
from kfarm_twin.request import InputError


def behave(request: bytes) -> bytes:
    wish: dict[str, Any] = json.loads(request)
    return verdict(globals()[f"do_{wish['do']}"](wish))


def verdict(message: str) -> bytes:
    body = {
        "verdict": "Approved",
        "reason": "AllChecksPassed",
        "message": message,
        "futures": 1,
        "seed": 1,
        "horizon": "1h",
        "inputs_digest": "sha256:0",
    }
    return json.dumps(body).encode()


def do_echo(wish: dict[str, Any]) -> str:
    return str(wish["text"])


def do_hang(wish: dict[str, Any]) -> str:
    Path(wish["pids"]).write_text(str(os.getpid()))
    while True:
        signal.pause()


def do_spin(wish: dict[str, Any]) -> str:
    while True:
        pass


def do_family(wish: dict[str, Any]) -> str:
    """Hang with a child of its own that ignores SIGTERM."""
    process = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 60; done"])
    Path(wish["pids"]).write_text(f"{os.getpid()} {process.pid}")
    while True:
        signal.pause()


def do_segfault(wish: dict[str, Any]) -> str:
    ctypes.string_at(0)
    raise AssertionError("still alive")


def do_abort(wish: dict[str, Any]) -> str:
    os.abort()


def do_hog(wish: dict[str, Any]) -> str:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def do_native_hog(wish: dict[str, Any]) -> str:
    os.write(2, b"memory allocation of 1073741824 bytes failed\n")
    os.abort()


def do_large(wish: dict[str, Any]) -> str:
    return "x" * (wire.MAX_REPLY_BYTES + 1)


def do_refuse(wish: dict[str, Any]) -> str:
    raise InputError("PlacementPlan/p: spec.farms[0]", "no such farm", "one of a, b")


def do_fail(wish: dict[str, Any]) -> str:
    raise ZeroDivisionError("by design")


def do_exit(wish: dict[str, Any]) -> str:
    os._exit(int(wish["code"]))


def do_rubbish(wish: dict[str, Any]) -> str:
    raise SystemExit("rubbish")


def do_look(wish: dict[str, Any]) -> str:
    """What a child finds around itself."""
    descriptors = sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())
    links = {fd: _link(fd) for fd in descriptors}
    return json.dumps(
        {
            "descriptors": {fd: to for fd, to in links.items() if to is not None},
            "session": os.getsid(0) == os.getpid(),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
            "limited": resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY,
            "threads": len(thread_names()),
        }
    )


def _link(descriptor: int) -> str | None:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:
        return None


def start_thread() -> None:
    """A warm-up that makes forking unsafe."""
    import threading

    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def broken_warm_up() -> None:
    raise RuntimeError("no kernels here")


def do_nap(wish: dict[str, Any]) -> str:
    """Take a while; leaves one file for each time that it is done."""
    path = Path(wish["folder"]) / f"{wish['name']}-{os.getpid()}"
    path.write_text("")
    time.sleep(wish["seconds"])
    return f"{wish['name']} slept"


def do_stall(wish: dict[str, Any]) -> str:
    """Hang the first time, answer the second."""
    path = Path(wish["pids"])
    if path.exists():
        return "the second time"
    return do_hang(wish)

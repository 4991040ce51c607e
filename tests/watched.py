"""A reader in a process of its own that is killed when it hangs, and whose memory is looked at."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from kfarm_controlplane.process import kill_child, start_child

HANG_S = 60.0
"""Far more than anything takes, also on a busy machine; whoever takes it hangs."""
_LENGTH = struct.Struct(">I")


class Watched:
    """`hostile_reader.py`, started again when it had to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.asked = 0

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, reader: str, name: str, raw: bytes) -> dict[str, Any]:
        """What became of the bytes; ``{"hang": …}`` or ``{"dead": …}`` where nothing was said."""
        process = self._process = self._process or self._start()
        self.asked += 1
        order = json.dumps({"reader": reader, "name": name}).encode()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for part in (order, raw):
                process.stdin.write(_LENGTH.pack(len(part)) + part)
            process.stdin.flush()
            head = _exactly(process.stdout, _LENGTH.size)
            answer: dict[str, Any] = json.loads(_exactly(process.stdout, _LENGTH.unpack(head)[0]))
        except TimeoutError:
            self._end()
            return {"hang": f"no answer within {HANG_S:g} s"}
        except (EOFError, BrokenPipeError):
            self._end()
            return {"dead": f"exit code {process.returncode}"}
        return answer

    def resident_bytes(self) -> int:
        """Memory that the reader holds [B]."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("hostile_reader.py")
        return start_child(
            [sys.executable, str(script), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        kill_child(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _exactly(stream: IO[bytes], count: int) -> bytes:
    """So many bytes; TimeoutError when they do not come, EOFError when they end before."""
    parts = b""
    while len(parts) < count:
        if not select.select([stream], [], [], HANG_S)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts

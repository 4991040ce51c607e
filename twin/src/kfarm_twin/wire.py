"""What the operator and the fork server say to each other. Standard library only.

Control channel (``SOCK_SEQPACKET``, one JSON object per packet)::

    client → server   {"op": "run", "id": 7, "cpu_s": 60, "memory_bytes": 2147483648}  + 1 socket
                      {"op": "kill", "id": 7}
    server → client   {"op": "ready", "pid": 12, "threads": 1}  or  {"op": "failed", "message": …}
                      {"op": "started", "id": 7, "pid": 34}
                      {"op": "ended", "id": 7, "code": 0 | null, "signal": null | 9, "stderr": …}

Run channel (``SOCK_STREAM``, straight between client and child): the request as one frame, then
the reply as one frame. A frame is a 4-byte big-endian length and as many bytes of JSON; a reply is
``{"verdict": {…}}`` or ``{"error": {"kind": …, "message": …}}``.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Literal

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_CONTROL_BYTES = 64 * 1024
MAX_MESSAGE_CHARACTERS = 2000
EXIT_MEMORY = 71
"""Exit code of a child that ran out of memory; said again here in case its reply is lost."""

ErrorKind = Literal["InputError", "Crash", "Memory", "TooLarge"]

_LENGTH = struct.Struct(">I")
HEADER_BYTES = _LENGTH.size


def frame(body: bytes) -> bytes:
    """Put the length before `body`."""
    return _LENGTH.pack(len(body)) + body


def frame_length(header: bytes) -> int:
    """Length of the body that follows `header`."""
    length: int = _LENGTH.unpack(header)[0]
    return length


def verdict_reply(verdict: bytes) -> bytes:
    """Reply with a verdict that is already JSON; never longer than the bound."""
    body = b'{"verdict":' + verdict + b"}"
    if len(body) > MAX_REPLY_BYTES:
        return error_reply(
            "TooLarge", f"the result has {len(body)} bytes; at most {MAX_REPLY_BYTES} are passed on"
        )
    return frame(body)


def error_reply(kind: ErrorKind, message: str) -> bytes:
    """Reply with an error; the message is cut to a length that fits a condition."""
    error = {"kind": kind, "message": message[:MAX_MESSAGE_CHARACTERS]}
    return frame(json.dumps({"error": error}).encode())


def packet(**fields: Any) -> bytes:
    """One message of the control channel."""
    return json.dumps(fields).encode()

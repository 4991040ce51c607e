"""A client that stops in the middle of its writes, as a killed process does."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from kfarm_operator.client import ApiError, KubeClient


class MortalClient(KubeClient):
    """A client whose process dies at its n-th write: before it is sent, or before its answer."""

    left: ClassVar[int] = 0
    after: ClassVar[bool] = False
    lock: ClassVar[threading.Lock] = threading.Lock()

    def _send(self, method: str, path: str, *rest: Any, **more: Any) -> Any:
        if method == "GET" or path.endswith("/tokenreviews"):
            return super()._send(method, path, *rest, **more)
        with MortalClient.lock:
            MortalClient.left -= 1
            left = MortalClient.left
        if left < 0 or (left == 0 and not MortalClient.after):
            raise ApiError(0, "Dead", f"{method} {path}: this process was killed")
        answer = super()._send(method, path, *rest, **more)
        if left == 0:
            raise ApiError(0, "Dead", f"{method} {path}: killed before the answer")
        return answer

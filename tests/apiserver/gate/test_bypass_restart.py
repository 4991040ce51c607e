"""The gate is shut from the first moment at which a restarted API server answers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial

from gate_pods import GPU, NPU, OPEN, Api, Json, allowed, device_pod, pod, pods
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_operator.gate_ready import is_gated, wait_for_gate
from urllib3.exceptions import HTTPError

PLACE = "team"
ROUNDS = 1


class Hammer:
    """Asks for pods that must not be let in, again and again, and keeps those that were."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._done = threading.Event()
        self.answers: Counter[str] = Counter()
        self.let_in: list[Json] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the last answer has been looked at."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        tricks = (device_pod(), pod(tolerations=[OPEN]), pod(nodeName="n"))
        while not self._done.is_set():
            for trick in tricks:
                try:
                    answer = self._api("POST", pods(PLACE, query="?dryRun=All"), trick)
                except HTTPError:
                    self.answers["none"] += 1
                    time.sleep(0.01)
                    continue
                self.answers["taken" if answer.status < 300 else "refused"] += 1
                if answer.status < 300 and not is_gated(answer.body):
                    self.let_in.append(dict(answer.body))


def test_no_moment_after_a_restart_is_open(alone: tuple[ControlPlane, Api]) -> None:
    plane, api = alone

    def shut() -> None:
        create = partial(api, "POST", pods(PLACE, query="?dryRun=All"))
        wait_for_gate(create, PLACE, [GPU, NPU], pause=lambda: time.sleep(0.1))

    shut()
    for _ in range(ROUNDS):
        hammer = Hammer(api)
        try:
            plane.kill_component("kube-apiserver")
            plane.start_component("kube-apiserver")
            shut()
            before = hammer.answers["taken"]
            wait_until(lambda: hammer.answers["taken"] > before, 60, "the honest pod, gated")  # noqa: B023
        finally:
            hammer.stop()
        assert not hammer.let_in
        assert hammer.answers["none"], "the server was never away"
        assert hammer.answers["refused"]
    allowed(api("POST", pods(PLACE, query="?dryRun=All"), pod()))

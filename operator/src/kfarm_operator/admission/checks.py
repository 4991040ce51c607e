"""AdmissionChecks of ours: whether they can be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from kfarm_api.policy import ValidationPolicy

from kfarm_operator.admission.kueue import ADMISSION_CHECKS
from kfarm_operator.admission.status import active_body, active_wanted
from kfarm_operator.admission.views import CheckView, check_view
from kfarm_operator.client import ApiError, KubeClient
from kfarm_operator.index import Index
from kfarm_operator.mirror import Mirror

FIELD_MANAGER = "kfarm-twin"
CONFLICT_S = 0.1


class CheckReconciler:
    """Keeps the condition Active of the AdmissionChecks that name our controller."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        checks: Mirror[CheckView],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._checks = checks
        self._clock = clock

    async def reconcile(self, key: tuple[str, str]) -> float | None:
        """Bring the condition of one check up to date; `key` is ("", name)."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._reconcile, key[1])
        except ApiError as error:
            if not error.conflict:
                raise
            return CONFLICT_S
        return None

    def _reconcile(self, name: str) -> None:
        body = self._client.get(ADMISSION_CHECKS, name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return
        check = check_view(body)
        if not check.ours:
            return
        policies = {policy.metadata.name for policy in self._index.all(ValidationPolicy)}
        wanted = active_body(check, active_wanted(check, policies), self._clock())
        if wanted is not None:
            answer = self._client.apply(
                ADMISSION_CHECKS, name, wanted, manager=FIELD_MANAGER, sub="status"
            )
            self._checks.put(answer)

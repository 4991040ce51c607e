"""A mirror of a kind that may not be installed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from kfarm_operator.client import JSON, ApiError, KubeClient, Resource
from kfarm_operator.mirror import Mirror, View

ABSENT_S = 15.0
_LOG = logging.getLogger(__name__)


class OptionalMirror(Mirror[View]):
    """Empty and content while the API server does not serve the kind; looks for it now and then."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        view: Callable[[JSON], View],
        changed: Callable[[View | None, View | None], None],
        **query: Any,
    ) -> None:
        super().__init__(client, resource, view, changed, **query)
        self._absent = False

    @property
    def installed(self) -> bool:
        """Whether the kind was there when it was last looked for."""
        return self.synced.is_set() and not self._absent

    def _list(self) -> str:
        try:
            version = super()._list()
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            self._be_absent(error)
            return ""
        if self._absent:
            _LOG.info("%s are served now", self._resource.plural)
        self._absent = False
        return version

    def _be_absent(self, error: ApiError) -> None:
        if not self._absent:
            level = logging.INFO if error.not_found else logging.WARNING
            what = "not served" if error.not_found else "not to be read by this account"
            _LOG.log(level, "%s are %s; tried every %d s", self._resource.plural, what, ABSENT_S)
        self._absent = True
        for key in self._known():
            self._remove(key)
        self.last_list = time.monotonic()
        self.synced.set()

    def _known(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._objects)

    def _follow(self, version: str) -> None:
        if self._absent:
            self._stopping.wait(ABSENT_S)
        else:
            super()._follow(version)

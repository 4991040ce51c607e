"""Events on transitions; losing one harms nothing."""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Literal

from kfarm_api.v1alpha1 import API_VERSION, Kind

from kfarm_operator.client import EVENTS, ApiError, KubeClient
from kfarm_operator.conditions import shorten, timestamp

_LOG = logging.getLogger(__name__)
REMEMBERED = 4096


class Events:
    """Posts Events about our objects."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._said: OrderedDict[tuple[str, str], None] = OrderedDict()

    def once(
        self,
        about: Kind,
        subject: str,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Post unless the same was said of the same subject before."""
        key = (subject, reason)
        if key in self._said:
            return
        self._said[key] = None
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        self.post(about, kind, reason, message)

    def post(
        self, about: Kind, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an Event about an object of ours."""
        meta = about.metadata
        reference = {
            "apiVersion": API_VERSION,
            "kind": about.kind,
            "name": meta.name,
            "namespace": meta.namespace or "",
            "uid": meta.uid,
        }
        self.post_about(reference, kind, reason, message)

    def post_about(
        self,
        reference: dict[str, Any],
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Post an Event about any object; a refusal is logged and else ignored."""
        now = timestamp(datetime.now(UTC))
        name, namespace = reference["name"], reference.get("namespace") or "default"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": reference,
            "type": kind,
            "reason": reason,
            "message": shorten(message, 1000),
            "source": {"component": "kfarm"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._client.create(EVENTS, body, namespace)
        except ApiError as error:
            _LOG.debug("event not posted: %s", error)

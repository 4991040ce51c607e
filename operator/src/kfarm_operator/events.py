"""Events on transitions; losing one harms nothing."""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kfarm_api.v1alpha1 import API_VERSION, Kind

from kfarm_operator.client import EVENTS, ApiError, KubeClient
from kfarm_operator.conditions import shorten, timestamp

_LOG = logging.getLogger(__name__)
REMEMBERED = 4096


@dataclass(frozen=True)
class Subject:
    """An object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class Events:
    """Posts Events about our objects, and about Workloads that we answered."""

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
        subject = Subject(API_VERSION, about.kind, meta.namespace or "", meta.name, meta.uid or "")
        self.tell(subject, kind, reason, message)

    def tell(
        self, about: Subject, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an Event about any object; a refusal is logged and else ignored."""
        now = timestamp(datetime.now(UTC))
        namespace = about.namespace or "default"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "name": about.name,
                "namespace": about.namespace,
                "uid": about.uid,
            },
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

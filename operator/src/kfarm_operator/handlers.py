"""kopf's part: decorators, and lines that enqueue. All thinking happens elsewhere."""

from __future__ import annotations

from typing import Any

import kopf

from kfarm_operator.service import Service

SILENCE_S = 70.0
"""Bookmarks come every minute; a watch of kopf's that is silent for longer is opened anew."""


def register(registry: kopf.OperatorRegistry, service: Service) -> None:
    """Register an event handler for each kind that the service follows."""
    for plural in service.plurals:

        @kopf.on.event("kfarm.dev", "v1alpha1", plural, id=f"enqueue-{plural}", registry=registry)
        def enqueue(event: kopf.RawEvent, **_: Any) -> None:
            service.seen(event["type"], dict(event["object"]))

    @kopf.on.login(registry=registry, id="login")
    def login(**_: Any) -> kopf.ConnectionInfo:
        return service.connection()

    @kopf.on.startup(registry=registry, id="settings")
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.watching.server_timeout = 290
        settings.watching.inactivity_timeout = SILENCE_S
        settings.networking.request_timeout = 60

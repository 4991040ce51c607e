"""Conditions and times as Kubernetes writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from kfarm_api.base import Condition

Status = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000


def timestamp(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """Read what `timestamp` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def shorten(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut a message so that it fits its field."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def condition(
    kind: str,
    status: Status,
    reason: str,
    message: str,
    *,
    generation: int,
    before: Iterable[Condition],
    now: datetime,
) -> dict[str, Any]:
    """A condition; its transition time is kept while the status stays the same."""
    since = timestamp(now)
    for old in before:
        if old.type == kind and old.status == status:
            since = old.last_transition_time
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=shorten(message),
        observed_generation=generation,
        last_transition_time=since,
    ).as_manifest()


def transitions(before: Iterable[Condition], after: Iterable[Mapping[str, Any]]) -> list[Condition]:
    """Conditions that are new, turned, or do not hold for another reason than before.

    A new message alone, such as a count that grows, is none: Events are made of these.
    """
    known = {old.type: old for old in before}
    turned = []
    for body in after:
        new = Condition.model_validate(body)
        old = known.get(new.type)
        other_reason = new.status != "True" and old is not None and old.reason != new.reason
        if old is None or old.status != new.status or other_reason:
            turned.append(new)
    return turned

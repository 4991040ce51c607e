"""Log lines: for people as text, for machines as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any, Literal

Format = Literal["text", "json"]
FIELDS = ("kind", "namespace", "name", "uid", "generation", "epoch")
"""Fields that a line may carry beside its message; give them as ``extra=about(...)``."""
_NOISY = ("kopf", "urllib3", "asyncio", "aiohttp")


def about(kind: str, namespace: str | None, name: str, **more: Any) -> dict[str, Any]:
    """Fields that say which object a line is about; `more` may be uid, generation and epoch."""
    fields = {"kind": kind, "namespace": namespace or None, "name": name, **more}
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise ValueError(f"unknown log fields: {sorted(unknown)}")
    return {"about": {key: value for key, value in fields.items() if value is not None}}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, msg, and the fields of `about`."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line; whatever was logged, it is one line of JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Put the object's name before the message where the line is about one."""
        fields = getattr(record, "about", None)
        text = super().format(record)
        if not fields:
            return text
        return f"{text} [{' '.join(f'{key}={value}' for key, value in fields.items())}]"


def set_up(form: Format, *, verbose: bool, stream: IO[str] | None = None) -> None:
    """Send all log lines to standard error in one form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)

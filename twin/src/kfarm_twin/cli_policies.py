"""Policies as they are written on the command line, to what stands in a TwinRun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from kfarm_api.twinrun import LEVELS, Backfill, Order, Placement

from kfarm_twin.load import ManifestError, Problem


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "").replace("_", "")


_VALUES: dict[str, dict[str, str]] = {
    "order": {_plain(value): value for value in get_args(Order)},
    "backfill": {_plain(value): value for value in get_args(Backfill)},
    "placement": {_plain(value): value for value in get_args(Placement)},
    "required": {_plain(value): value for value in LEVELS},
    "preferred": {_plain(value): value for value in LEVELS},
}
_BARE = {word: (key, value) for key in ("order", "backfill", "placement")
         for word, value in _VALUES[key].items() if word != "none"}  # fmt: skip
_DEFAULTS = {"order": "FIFO", "backfill": "None", "placement": "Count"}


def parse_policies(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Each text as the entry of ``spec.policies`` that it means.

    Raises
    ------
    ManifestError
        With one problem for each word that says nothing.
    """
    problems: list[Problem] = []
    policies = [_policy(text, problems) for text in texts]
    if problems:
        raise ManifestError(problems)
    return policies


def _policy(text: str, problems: list[Problem]) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    for word in text.split(","):
        key, sign, value = word.partition("=")
        key = key.strip().lower()
        if not sign:
            key, value = _BARE.get(_plain(word), ("", word))
        if key == "name":
            policy["name"] = value.strip()
            continue
        known = _VALUES.get(key)
        if known is None or _plain(value) not in known:
            problems.append(_problem(text, word, known))
        elif key in policy:
            problems.append(_problem(text, f"{word} after {key}={policy[key]}", known))
        else:
            policy[key] = known[_plain(value)]
    policy.setdefault("name", _name(policy))
    return policy


def _problem(text: str, word: str, known: dict[str, str] | None) -> Problem:
    names = known.values() if known else (*_VALUES, "name", *(value for _, value in _BARE.values()))
    found = f"{word.strip()!r} in {text!r}"
    return Problem(Path("command line"), 0, "--policy", found, f"one of {', '.join(names)}")


def _name(policy: dict[str, Any]) -> str:
    """What sets the policy apart, for example ``easy-bestfit``; ``fifo`` when nothing does."""
    words = [value for key, value in policy.items() if _DEFAULTS.get(key) != value]
    return "-".join(word.lower() for word in words) or "fifo"

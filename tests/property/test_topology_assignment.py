"""Kueue's compressed topologyAssignment comes apart as it was put together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfarm_operator.admission.topology import MAX_DOMAINS, decode

Domain = tuple[tuple[str, ...], int]
LABEL = st.text("ab-0", min_size=0, max_size=5)
LEVELS = ("kfarm.dev/rack", "kubernetes.io/hostname")


@st.composite
def domains(draw: st.DrawFn) -> list[Domain]:
    value = st.tuples(LABEL, LABEL)
    return draw(st.lists(st.tuples(value, st.integers(1, 9)), min_size=1, max_size=12))


def encode(parts: list[list[Domain]], choose: Any) -> dict[str, Any]:
    """Kueue's form, written anew: `choose` says where a value may be shared or have an affix."""
    return {"levels": list(LEVELS), "slices": [_slice(part, choose) for part in parts]}


def _slice(part: list[Domain], choose: Any) -> dict[str, Any]:
    counts = [count for _, count in part]
    columns = zip(*(values for values, _ in part), strict=True)
    same = len(set(counts)) == 1 and choose()
    return {
        "domainCount": len(part),
        "valuesPerLevel": [_column(list(column), choose) for column in columns],
        "podCounts": {"universal": counts[0]} if same else {"individual": counts},
    }


def _column(values: list[str], choose: Any) -> dict[str, Any]:
    if len(set(values)) == 1 and choose():
        return {"universal": values[0]}
    prefix = _common(values) if choose() else ""
    rest = [value[len(prefix) :] for value in values]
    suffix = _common([r[::-1] for r in rest])[::-1] if choose() else ""
    roots = [r[: len(r) - len(suffix)] for r in rest]
    affixes = {name: text for name, text in (("prefix", prefix), ("suffix", suffix)) if text}
    return {"individual": {"roots": roots, **affixes}}


def _common(values: list[str]) -> str:
    """The longest beginning that all have."""
    shortest = min(values, key=len)
    lengths = range(len(shortest), -1, -1)
    return next(shortest[:n] for n in lengths if all(v.startswith(shortest[:n]) for v in values))


@given(st.lists(domains(), min_size=0, max_size=4), st.data())
def test_what_is_encoded_in_any_way_is_decoded(parts: list[list[Domain]], data: Any) -> None:
    found = decode(encode(parts, lambda: data.draw(st.booleans())))
    assert found.levels == LEVELS
    assert list(found.domains) == [domain for part in parts for domain in part]


def _good() -> dict[str, Any]:
    return encode([[(("r1", "n1"), 2), (("r1", "n2"), 1)]], lambda: False)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("levels",), [], "levels is empty"),
        (("levels",), [7, "h"], "7 where text belongs"),
        (("slices", 0, "domainCount"), 3, "2 roots for 3 domains"),
        (("slices", 0, "domainCount"), 0, "from 1 on"),
        (("slices", 0, "domainCount"), 10**9, f"more than {MAX_DOMAINS}"),
        (("slices", 0, "domainCount"), None, "from 1 on"),
        (("slices", 0, "valuesPerLevel"), [], "0 of 2 levels"),
        (("slices", 0, "valuesPerLevel", 1), {}, "0 roots"),
        (("slices", 0, "valuesPerLevel", 1, "individual", "roots"), ["a", None], "None where text"),
        (("slices", 0, "podCounts"), {}, "0 counts for 2"),
        (("slices", 0, "podCounts"), {"universal": 0}, "0 where a number"),
        (("slices", 0, "podCounts"), {"universal": True}, "True where a number"),
        (("slices", 0, "podCounts", "individual"), [1, -1], "-1 where a number"),
    ],
)
def test_what_does_not_fit_its_schema_is_refused(
    path: tuple[Any, ...], value: object, said: str
) -> None:
    body: Any = _good()
    part = body
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        decode(body)

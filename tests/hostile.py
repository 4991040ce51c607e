"""Hostile and extreme objects from the CRDs' own schemas, as Hypothesis strategies.

Two kinds of change are made to a good object. *Extreme* ones keep to the schema: least and most,
longest and emptiest, all that may be left out and all that may be added. *Hostile* ones do not:
NaN, 1e999, digits of other scripts, types that do not belong, nesting, text that tries something.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from kfarm_api.crd import documents

Body = dict[str, Any]
Place = tuple[str | int, ...]

BASES: dict[str, Body] = yaml.safe_load(
    (Path(__file__).parent / "data/objects.yaml").read_text("utf-8")
)["bases"]
"""One good object of each kind."""

RAW = "\u241araw:"
"""Begins text that stands in the JSON as it is, without quotes: what no encoder writes."""

NUMBERS: tuple[Any, ...] = (
    *(f"{RAW}{text}" for text in ("NaN", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "-0.0")),
    *(f"{RAW}{text}" for text in ("0x10", "010", "1_000", "+1", ".5", "1e3", "1E400", "9" * 400)),
    *(-1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 0.5, 1.0, 1e308, 5e-324),
    1_000_000_000,
)
TEXTS: tuple[str, ...] = (
    *("NaN", "nan", "inf", "-Infinity", "1e999", "1e3", "0x10", "1_000", "010", "+5", " 5", "5 "),
    *("١٢", "１２", "１２k", "५h", "5\n", "5\u0000", "", " ", "-", "--", "~", "null", "no", "true"),  # noqa: RUF001
    *("9" * 19, "9" * 20, "9" * 19 + "P", "-" + "9" * 19 + "P", "0." + "0" * 6, "0.0000001", "1Ki"),
    *("999999h999999m999999s999999ms", "0s", "1ms", "30m1h", "1h1h", "-1h", "1.0001s", "1d"),
    *("광주", "광주 첨단 3지구 🇰🇷", "한글-이름", "\u1112\u1161\u11ab", "ﷺ" * 20),
    *("\u202egnp.exe", "a\u2066b\u2069", "\u200f\u200e", "\ufeffa", "a\u2028b", "\ud800", "\uffff"),
    *("\x1b[2J\x1b]0;owned\x07", "a\r\nb: c", "a\tb", "\x00", "\x7f", "{{ .Values }}", "${HOME}"),
    *("../../../etc/passwd", "/dev/zero", "file:///etc/passwd", "http://169.254.169.254/", "-rf"),
    *("<script>alert(1)</script>", "'; DROP TABLE x; --", "%s%n%x", "a" * 63, "a" * 64, "a" * 254),
    *("a,b in (c)", "x=y,z", "__proto__", "constructor", "(a+)+$", "a" * 70_000),
)
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": ""}, {"a": {"b": {}}})


def _nested(depth: int, inner: Any = 1) -> Any:
    value = inner
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


hostile = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from(ODD),
    st.integers(5, 200).map(_nested),
    st.text(max_size=80),
    st.integers(),
    st.floats(),
).map(copy.deepcopy)


def to_json(body: Any) -> bytes:
    """JSON as no careful encoder would write it."""
    text = json.dumps(body)
    marker = json.dumps(RAW)[:-1]
    while (start := text.find(marker)) >= 0:
        end = text.index('"', start + len(marker))
        text = text[:start] + text[start + len(marker) : end] + text[end + 1 :]
    return text.encode()


@cache
def _schemas() -> dict[str, Body]:
    loaded = [yaml.safe_load(text) for text in documents().values()]
    return {
        crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for crd in loaded
    }


def spec_schema(kind: str) -> Body:
    """The schema of a kind's spec."""
    found: Body = _schemas()[kind]["properties"]["spec"]
    return found


QUANTITIES = (
    *(0, 1, "0", "1", "0.000001", "1m", "0.5", "20", "50", "99", "100", "1k", "999k", "1M", "1G"),
    *("1T", "1P", "9999999999999999999", "-1", "-50", "200", "10000000"),
)
DURATIONS = (
    *("0s", "1ms", "1s", "30s", "1m", "1h", "8h", "24h", "720h", "8760h", "87600h", "999999h"),
    "999999h59m59.999s999ms",
)


def extreme(schema: Body, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values at the edges of a schema; most of them keep to it."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from(QUANTITIES)
    match schema.get("type"):
        case "integer":
            low, high = schema.get("minimum", -1), schema.get("maximum", 2**53 - 1)
            return st.sampled_from((low, min(low + 1, high), max(high - 1, low), high)) | (
                st.integers(low, min(high, low + 100))
            )
        case "boolean":
            return st.booleans()
        case "string":
            return _text(schema)
        case "array":
            most = schema.get("maxItems", 4)
            count = st.sampled_from((schema.get("minItems", 0), 1, 2, min(most, 5)))
            return count.flatmap(
                lambda n: st.lists(extreme(schema["items"], depth + 1), min_size=n, max_size=n)
            )
        case "object":
            return _object(schema, depth)
    return st.just({})


def _text(schema: Body) -> st.SearchStrategy[str]:
    pattern = schema.get("pattern", "")
    least, most = schema.get("minLength", 0), schema.get("maxLength", 64)
    if "ms)?$" in pattern:
        return st.sampled_from(DURATIONS)
    if pattern:
        known = ("a", "b200", "x-1", "test", "nvidia.com/gpu", "1Ti", "999999Gi", "64", "a" * most)
        return st.sampled_from(known)
    long = ("가" * most, "\u202e" + "a" * (most - 1), "a" * least)
    return st.sampled_from(long) | st.text(min_size=least, max_size=min(most, 40))


def _object(schema: Body, depth: int) -> st.SearchStrategy[Body]:
    properties: Body = schema.get("properties", {})
    if not properties:
        values = schema.get("additionalProperties", {"type": "string", "maxLength": 8})
        keys = st.sampled_from(("a", "example.com/b", "zone"))
        return st.dictionaries(keys, extreme(values, depth + 1), max_size=3)
    needed = set(schema.get("required", ()))
    rest = sorted(set(properties) - needed) if depth < 5 else []
    return st.fixed_dictionaries(
        {name: extreme(properties[name], depth + 1) for name in sorted(needed)},
        optional={name: extreme(properties[name], depth + 1) for name in rest},
    )


def places(value: Any, schema: Body, path: Place = ()) -> Iterator[tuple[Place, Body]]:
    """Every place in a value, and those that are free to be filled, with their schemas."""
    if path:
        yield path, schema
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from places(value[name], inner, (*path, name))
            else:
                yield (*path, name), inner
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, schema.get("items", {}), (*path, index))


def put(body: Any, path: Place, value: Any) -> None:
    """Set a place, which is there or whose parent is."""
    *above, last = path
    for part in above:
        body = body[part]
    body[last] = value


@st.composite
def extremes(draw: st.DrawFn, base: Body, most: int = 3, keep: tuple[str, ...] = ()) -> Body:
    """A good object with up to `most` extreme places; places named in `keep` stay as they are."""
    made = copy.deepcopy(base)
    schema = spec_schema(made["kind"])
    for _ in range(draw(st.integers(1, most))):
        free = [
            (path, inner)
            for path, inner in places(made["spec"], schema)
            if path[-1] not in keep and not any(part in keep for part in path)
        ]
        path, inner = draw(st.sampled_from(free))
        put(made["spec"], path, copy.deepcopy(draw(extreme(inner))))
    return made


@st.composite
def hostiles(draw: st.DrawFn, base: Body, most: int = 3) -> Body:
    """A good object with up to `most` places that are hostile, extreme, gone, unknown or many."""
    made = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, most))):
        free = list(places(made, {"properties": {"spec": spec_schema(base["kind"])}}))
        path, inner = draw(st.sampled_from(free))
        parent: Any = made
        for part in path[:-1]:
            parent = parent[part]
        match draw(st.integers(0, 7)):
            case 0 | 1 | 2:
                put(made, path, draw(hostile))
            case 3 | 4:
                put(made, path, copy.deepcopy(draw(extreme(inner))))
            case 5 if isinstance(parent, dict):
                parent.pop(path[-1], None)
            case 6 if isinstance(parent, list):
                count = draw(st.sampled_from((1, 2, 33, 300)))
                parent += [copy.deepcopy(parent[-1]) for _ in range(count)]
            case 7 if isinstance(parent, dict):
                parent[
                    draw(st.sampled_from(("unknown", "Spec", "metadata", "", "a\nb", "한글")))
                ] = draw(hostile)
            case _:
                put(made, path, draw(hostile))
    return made

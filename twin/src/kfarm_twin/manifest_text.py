"""Untrusted YAML or JSON text to plain data, with the line of every field.

The reader builds from parser events, so that an alias, a tag or too deep a nesting is refused where
it stands and before anything is built from it. Scalars follow YAML 1.2; what YAML 1.1 readers such
as kubectl would read as something else (``no``, ``012``, ``1_000``) is refused with the advice to
quote it, so that a manifest means the same everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from kfarm_api.parse import Path, show

from kfarm_twin.manifest_scalars import Unclear, finite, integer, resolve

MAX_DEPTH = 32
MAX_DOCUMENT_BYTES = 1 << 20
MAX_FILE_BYTES = 8 << 20

MAX_EXPANDED = 20_000_000
"""Values of a document with its aliases written out, where aliases are taken at all."""

MAX_PROBLEMS = 100
"""Problems kept per document; a hostile file does not make a longer report."""


@dataclass(frozen=True)
class TextProblem:
    """Something wrong with the text itself.

    Attributes
    ----------
    path
        Keys and indices from the root of the document to the place.
    line
        Line in the file, from 1; None where it is not known.
    """

    path: Path
    line: int | None
    found: str
    expected: str


@dataclass
class TextDocument:
    """One document of a file.

    Attributes
    ----------
    index
        Number of the document in its file, from 1.
    value
        Plain data; None for an empty document or one with problems.
    lines
        Line of each field and list entry, by path.
    """

    index: int
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[TextProblem] = field(default_factory=list)

    def line_of(self, path: Path) -> int | None:
        """Line of a field, or of the nearest one that contains it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


class _Refused(Exception):
    """Reading of a file ends here."""

    def __init__(self, problem: TextProblem) -> None:
        super().__init__(problem.found)
        self.problem = problem


def read_text(
    raw: bytes,
    *,
    as_json: bool | None = None,
    document_bytes: int = MAX_DOCUMENT_BYTES,
    file_bytes: int = MAX_FILE_BYTES,
    aliases: bool = False,
) -> list[TextDocument]:
    """Read all documents of a file.

    Parameters
    ----------
    raw
        The file. A UTF-8 byte-order mark and CRLF line ends are accepted.
    as_json
        True for JSON, False for YAML, None to look at the first character.
    document_bytes
        Size that a document may have [B].
    file_bytes
        Size that the file may have [B].
    aliases
        Whether YAML aliases are taken, up to `MAX_EXPANDED`; else they are refused.

    Returns
    -------
    list of TextDocument
        Documents with data, and those with problems; empty documents are left out.
    """
    if len(raw) > file_bytes:
        limit = f"a file of at most {file_bytes >> 20} MiB"
        return [_broken(1, None, f"more than {file_bytes} bytes", limit)]
    try:
        text = _decode(raw)
        if as_json or (as_json is None and text.lstrip()[:1] in ("{", "[")):
            document = _read_json(text, document_bytes)
            if not (document.problems and as_json is None):
                return [document]
        return list(_read_yaml(text, document_bytes, aliases))
    except _Refused as refused:
        return [TextDocument(1, problems=[refused.problem])]


def _broken(index: int, line: int | None, found: str, expected: str) -> TextDocument:
    return TextDocument(index, problems=[TextProblem((), line, found, expected)])


def _decode(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Refused(TextProblem((), 1, "UTF-16 text", "UTF-8 text: save the file as UTF-8"))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x}, which is not UTF-8"
        raise _Refused(TextProblem((), line, found, "UTF-8 text")) from None


# JSON


def _read_json(text: str, limit: int) -> TextDocument:
    if len(text.encode("utf-8", "surrogatepass")) > limit:
        return _broken(1, None, "a longer document", f"at most {limit} bytes per document")
    if _json_depth(text) > MAX_DEPTH:
        return _broken(1, None, "deeper nesting", f"at most {MAX_DEPTH} levels")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_json_object,
            parse_constant=_json_not_finite,
            parse_float=finite,
            parse_int=integer,
        )
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text.rstrip())
        found = "the end of the file: it is cut off" if ended else error.msg
        return _broken(1, error.lineno, found, "JSON")
    except Unclear as unclear:
        return _broken(1, None, unclear.found, unclear.expected)
    return TextDocument(1, value)


def _json_depth(text: str) -> int:
    depth = deepest = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', text, re.DOTALL):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise Unclear(f"field {show(key)} twice", "every field once")
        made[key] = value
    return made


def _json_not_finite(name: str) -> NoReturn:
    raise Unclear(name, "a finite number")


# YAML


@dataclass
class _Frame:
    """A mapping or list under construction."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    key_lines: dict[str, int] = field(default_factory=dict)
    anchor: str | None = None
    weight: int = 1


@dataclass
class _Builder:
    """Builds one document from events."""

    document: TextDocument
    aliases: bool = False
    anchored: dict[str, tuple[Any, int]] = field(default_factory=dict)
    stack: list[_Frame] = field(default_factory=list)

    def refuse(self, event: yaml.Event, found: str, expected: str) -> NoReturn:
        """Stop at this event."""
        line = _line(event.start_mark)
        raise _Refused(TextProblem(self.next_path(), line, found, expected))

    def report(self, event: yaml.Event, found: str, expected: str) -> None:
        """Note a problem at this event and go on."""
        if len(self.document.problems) >= MAX_PROBLEMS:
            self.refuse(event, "too many problems", f"fewer than {MAX_PROBLEMS} per document")
        line = _line(event.start_mark)
        self.document.problems.append(TextProblem(self.next_path(), line, found, expected))

    def next_path(self) -> Path:
        """Path of the value that comes next."""
        if not self.stack:
            return ()
        top = self.stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        return top.path if top.key is None else (*top.path, top.key)

    def take(self, event: yaml.Event) -> None:
        """Use one event."""
        tag = getattr(event, "tag", None)
        if tag is not None and not _untagged(event):
            self.report(event, f"tag {show(tag)}", "no tags")
        if isinstance(event, yaml.AliasEvent):
            self.value_or_key(event, self.aliased(event))
        elif isinstance(event, yaml.ScalarEvent):
            value = self.read(event)
            if event.anchor:
                self.anchored[event.anchor] = (value, 1)
            self.value_or_key(event, value)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.close()

    def aliased(self, event: yaml.AliasEvent) -> Any:
        """The value that an alias stands for; it is shared, not copied."""
        if not self.aliases:
            self.report(event, f"alias *{event.anchor}", "no aliases: write the value out")
            return ""
        if event.anchor not in self.anchored:
            self.report(event, f"alias *{event.anchor}", "the alias of a value that stands above")
            return ""
        value, weight = self.anchored[event.anchor]
        self.weigh(event, weight)
        return value

    def weigh(self, event: yaml.Event, weight: int) -> None:
        """Count values, with aliases written out."""
        if self.stack:
            self.stack[-1].weight += weight
            if self.stack[-1].weight > MAX_EXPANDED:
                self.refuse(event, "too many values", f"at most {MAX_EXPANDED} in a document")

    def close(self) -> None:
        """End a mapping or a list."""
        done = self.stack.pop()
        if done.anchor:
            self.anchored[done.anchor] = (done.value, done.weight)
        if self.stack:
            self.stack[-1].weight += done.weight

    def read(self, event: yaml.ScalarEvent) -> Any:
        """Value of a scalar; its text where it is not taken."""
        try:
            return resolve(event.value) if event.implicit[0] else event.value
        except Unclear as unclear:
            self.report(event, unclear.found, unclear.expected)
            return event.value

    def value_or_key(self, event: yaml.Event, value: Any) -> None:
        """Use a scalar as what is due."""
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self.set_key(event, top, value)
        else:
            self.place(event, value)

    def set_key(self, event: yaml.Event, top: _Frame, key: Any) -> None:
        """The next key of a mapping."""
        line = _line(event.start_mark)
        if not isinstance(key, str):
            self.report(event, f"key {show(key)}", "text as a key: put it in quotes")
            key = str(key)
        if key == "<<":
            self.report(event, "merge key <<", "no merge keys: write the fields out")
        top.key = key
        if key in top.key_lines:
            found = f"field {show(key)} twice (first on line {top.key_lines[key]})"
            self.report(event, found, "every field once")
        top.key_lines.setdefault(key, line)
        self.document.lines.setdefault((*top.path, key), line)

    def place(self, event: yaml.Event, value: Any) -> None:
        """Put a value where it belongs."""
        self.document.lines.setdefault(self.next_path(), _line(event.start_mark))
        if not self.stack:
            self.document.value = value
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is not None:
            top.value[top.key] = value
            top.key = None

    def open(self, event: yaml.CollectionStartEvent) -> None:
        """Begin a mapping or a list."""
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self.refuse(event, "a list or mapping as a key", "text as a key")
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(event, "deeper nesting", f"at most {MAX_DEPTH} levels")
        path = self.next_path()
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.place(event, value)
        self.stack.append(_Frame(value, path, anchor=event.anchor))


def _untagged(event: yaml.Event) -> bool:
    implicit = getattr(event, "implicit", False)
    return bool(any(implicit)) if isinstance(implicit, tuple) else bool(implicit)


def _read_yaml(text: str, limit: int, aliases: bool) -> Iterator[TextDocument]:
    starts = _line_starts(text)
    document, builder = TextDocument(0), None
    first_line = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                document = TextDocument(document.index + 1)
                builder, first_line = _Builder(document, aliases), _line(event.start_mark) - 1
            elif isinstance(event, yaml.DocumentEndEvent):
                if document.value is not None or document.problems:
                    yield document
                builder = None
            elif builder is not None:
                size = _size(event, starts, first_line)
                if size > limit:
                    expected = f"at most {limit} bytes per document"
                    builder.refuse(event, "a longer document", expected)
                builder.take(event)
    except yaml.YAMLError as error:
        yield _yaml_error(error, document.index if builder else document.index + 1, text)
    except _Refused as refused:
        document.problems.append(refused.problem)
        yield document


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line.encode("utf-8", "surrogatepass")) + 1)
    return starts


def _size(event: yaml.Event, starts: list[int], first_line: int) -> int:
    """Bytes from the first line of the document to the last line of the event."""
    last = min(_line(event.end_mark), len(starts) - 1)
    return starts[last] - starts[min(first_line, last)]


def _line(mark: object) -> int:
    """Line of a parser mark, from 1."""
    return int(getattr(mark, "line", 0)) + 1


def _yaml_error(error: yaml.YAMLError, index: int, text: str) -> TextDocument:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else None
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable text"
    context = getattr(error, "context", None)
    found = str(what).removeprefix("found ") + (f" ({context})" if context else "")
    if mark is not None and mark.index >= len(text.rstrip()):
        found += ": the file seems to be cut off"
    return _broken(max(index, 1), line, found, "YAML")

"""Manifests from files, folders and standard input; all that is wrong is said, not the first."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kfarm_api.base import GROUP
from kfarm_api.parse import (
    BY_KIND,
    FieldProblem,
    InvalidObject,
    as_stored,
    parse,
    path_text,
    show,
    validate,
)
from kfarm_api.snapshot import FarmSnapshot
from kfarm_api.v1alpha1 import Kind
from pydantic import BaseModel

from kfarm_twin.manifest_text import MAX_DOCUMENT_BYTES, MAX_FILE_BYTES, TextDocument, read_text

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")
MAX_TOLD = 1000
"""Problems told of all files together; reading ends there."""
_SNAPSHOT = FarmSnapshot.__name__
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one manifest.

    Attributes
    ----------
    file
        The file as it was named, ``-`` for standard input.
    document
        Number of the document in the file, from 1; 0 for the file as a whole.
    path
        Field, for example ``spec.clusters[2].cooling.type``; empty for the file as a whole.
    found, expected
        What stands there and what should.
    line
        Line in the file, from 1; None where it is not known.
    """

    file: Path
    document: int
    path: str
    found: str
    expected: str
    line: int | None = None

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}, line {self.line}"
        if self.document:
            place += f", document {self.document}"
        if self.path:
            place += f": {self.path}"
        return f"{place}: found {self.found}; expected {self.expected}"


def _steps(path: str) -> Iterator[str | int]:
    """``spec.clusters[2].name`` as keys and indices."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        yield int(index) if index else name


class ManifestError(ValueError):
    """Manifests that cannot be used; carries every problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True)
class Document:
    """One object of ours.

    Attributes
    ----------
    file, index
        Where it stands: file as named, number of the document from 1.
    kind
        Kind as in the manifest.
    object
        The parsed model.
    text, prefix
        The text that it was read from, and where in it the object stands.
    """

    file: Path
    index: int
    kind: str
    object: Kind
    text: TextDocument | None = field(default=None, compare=False, repr=False)
    prefix: tuple[str | int, ...] = ()

    def line_of(self, path: str) -> int | None:
        """Line of a field such as ``spec.clusters[2].name``, or of what contains it."""
        if self.text is None:
            return None
        return self.text.line_of((*self.prefix, *_steps(path)))


def load_files(paths: Sequence[Path]) -> list[Document]:
    """Read manifests.

    Parameters
    ----------
    paths
        Files, folders (their ``.yaml``, ``.yml`` and ``.json`` files, not recursively, as
        ``kubectl -f`` does) and ``-`` for standard input. A file named twice is read once.

    Returns
    -------
    list of Document
        Objects of ``kfarm.dev`` in the order found. Objects of other groups (Namespace, Job, …)
        are left out; the items of a ``List`` count as documents of their own.

    Raises
    ------
    ManifestError
        With every problem of every file.
    """
    problems: list[Problem] = []
    documents: list[Document] = []
    for file in _files(paths, problems):
        documents += _load_file(file, problems)
    problems += _duplicates(documents)
    if problems:
        raise ManifestError(problems)
    return documents


def load_text(raw: bytes, name: str = "-") -> list[Document]:
    """Read manifests from bytes that came under `name`; problems as in `load_files`."""
    problems: list[Problem] = []
    documents = _objects(Path(name), raw, problems)
    problems += _duplicates(documents)
    if problems:
        raise ManifestError(problems)
    return documents


def load_foreign(paths: Sequence[Path], kind: str) -> list[Mapping[str, Any]]:
    """Objects of another group as plain data, for example ConfigMaps; problems are passed over.

    `load_files` of the same paths reports what is wrong with them.
    """
    ignored: list[Problem] = []
    found = []
    for file in _files((path for path in paths if path != STDIN), ignored):
        raw = _read(file, ignored)
        texts = [] if raw is None else _texts(file, raw, ignored, MAX_DOCUMENT_BYTES)
        bodies = [body for text in texts for _, body in _bodies(text.value)]
        found += [body for body in bodies if isinstance(body, Mapping) and body.get("kind") == kind]
    return found


def load_model(path: Path, model: type[ModelT]) -> ModelT:
    """Read a file that holds exactly one object of a kind that never reaches an API server.

    Parameters
    ----------
    path
        A YAML or JSON file of at most 8 MiB, or ``-``.
    model
        For example `kfarm_api.snapshot.FarmSnapshot`.

    Raises
    ------
    ManifestError
        With every problem of the file.
    """
    problems: list[Problem] = []
    raw = _read(path, problems)
    texts = [] if raw is None else _texts(path, raw, problems, MAX_FILE_BYTES)
    if len(texts) > 1:
        problems.append(Problem(path, 0, "", f"{len(texts)} documents", "exactly one"))
    for text in texts[:1]:
        if not isinstance(text.value, Mapping):
            found = show(text.value)
            problems.append(Problem(path, text.index, "", found, f"a {model.__name__}"))
            continue
        try:
            made = validate(model, as_stored(text.value), strict=True)
        except InvalidObject as invalid:
            problems += [_place(path, text, (), problem) for problem in invalid.problems]
        else:
            if not problems:
                return made
    raise ManifestError(problems)


def _files(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    files: dict[Path, Path] = {}
    for path in paths:
        if path != STDIN and path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                found, expected = "a folder without manifests", f"files in {', '.join(SUFFIXES)}"
                problems.append(Problem(path, 0, "", found, expected))
        else:
            inside = [path]
        for file in inside:
            files.setdefault(file if file == STDIN else file.resolve(), file)
    return list(files.values())


def manifest_files(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    """Files of the paths as `load_files` finds them; what is wrong is added to `problems`."""
    return _files(paths, problems)


def read_documents(file: Path, problems: list[Problem], file_bytes: int) -> list[TextDocument]:
    """Documents of one file of at most `file_bytes` [B]; what is wrong is added to `problems`.

    For objects that are not ours: YAML aliases are taken, as kubectl takes them.
    """
    raw = _read(file, problems, file_bytes)
    if raw is None:
        return []
    return _texts(file, raw, problems, file_bytes, file_bytes, aliases=True)


def _load_file(file: Path, problems: list[Problem]) -> list[Document]:
    raw = _read(file, problems)
    return [] if raw is None else _objects(file, raw, problems)


def _read(file: Path, problems: list[Problem], file_bytes: int = MAX_FILE_BYTES) -> bytes | None:
    """At most one byte more than is allowed, so that an endless file does no harm."""
    try:
        if file == STDIN:
            return sys.stdin.buffer.read(file_bytes + 1)
        with file.open("rb") as stream:
            return stream.read(file_bytes + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        problems.append(Problem(file, 0, "", reason, "a readable file or folder"))
        return None


def _texts(
    file: Path,
    raw: bytes,
    problems: list[Problem],
    document_bytes: int,
    file_bytes: int = MAX_FILE_BYTES,
    *,
    aliases: bool = False,
) -> list[TextDocument]:
    """Documents that could be read; the problems of the others are noted."""
    as_json = True if file.suffix == ".json" else None
    texts = read_text(
        raw, as_json=as_json, document_bytes=document_bytes, file_bytes=file_bytes, aliases=aliases
    )
    if not texts:
        problems.append(Problem(file, 0, "", "an empty file", "a manifest"))
    for text in texts:
        problems += [
            Problem(
                file, text.index, path_text(p.path) if p.path else "", p.found, p.expected, p.line
            )
            for p in text.problems
        ]
    return [text for text in texts if not text.problems]


def _objects(file: Path, raw: bytes, problems: list[Problem]) -> list[Document]:
    documents: list[Document] = []
    for text in _texts(file, raw, problems, MAX_DOCUMENT_BYTES):
        if enough(file, text, problems):
            break
        documents += _document(file, text, problems)
    return documents


def enough(file: Path, text: TextDocument, problems: list[Problem]) -> bool:
    """Whether so much is wrong that reading ends before this document; says so."""
    if len(problems) >= MAX_TOLD:
        found, expected = "more documents", f"fewer than {MAX_TOLD} problems before them"
        problems.append(Problem(file, text.index, "", found, expected))
        return True
    return False


def _document(file: Path, text: TextDocument, problems: list[Problem]) -> Iterator[Document]:
    """The objects of one document; a ``List`` holds several."""
    prefix: tuple[str | int, ...]
    for prefix, body in _bodies(text.value):
        try:
            made = _object(body)
        except InvalidObject as invalid:
            problems += [_place(file, text, prefix, problem) for problem in invalid.problems]
            continue
        if made is not None:
            yield Document(file, text.index, made.kind, made, text, prefix)


def _bodies(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    is_list = isinstance(value, Mapping) and value.get("kind") == "List"
    if is_list and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield ("items", index), item
    else:
        yield (), value


def _object(body: Any) -> Kind | None:
    """The model of a body, None for objects of other groups."""
    if not isinstance(body, Mapping):
        raise InvalidObject([FieldProblem((), show(body), "an object with apiVersion and kind")])
    version, kind = body.get("apiVersion"), body.get("kind")
    if kind == _SNAPSHOT:
        raise InvalidObject([FieldProblem(("kind",), _SNAPSHOT, "a manifest; see --snapshot")])
    if _is_foreign(version, kind):
        return None
    return parse(body, strict=True)


def _is_foreign(version: object, kind: object) -> bool:
    if not (isinstance(version, str) and isinstance(kind, str) and version and kind):
        return False
    return version.partition("/")[0] != GROUP and kind not in BY_KIND


def _place(
    file: Path, text: TextDocument, prefix: tuple[str | int, ...], problem: FieldProblem
) -> Problem:
    path = (*prefix, *problem.path)
    line = text.line_of(path)
    return Problem(file, text.index, path_text(path), problem.found, problem.expected, line)


def _duplicates(documents: Sequence[Document]) -> list[Problem]:
    first: dict[tuple[str, str, str], Document] = {}
    problems = []
    for document in documents:
        metadata = document.object.metadata
        key = (document.kind, metadata.namespace or "", metadata.name)
        other = first.setdefault(key, document)
        if other is not document:
            name = "/".join(part for part in key if part)
            found = f"{name} again (first in {other.file} document {other.index})"
            problems.append(
                Problem(document.file, document.index, "metadata.name", found, "every object once")
            )
    return problems

"""The documentation speaks of what exists: names, links and targets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("crds/src", "twin/src", "operator/src", "tests/controlplane/src")
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / folder / "README.md" for folder in ("crds", "twin", "operator")),
        ROOT / "tests/controlplane/README.md",
    ]
)
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _members(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    """Qualified names of what a module or class defines."""
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                yield f"{prefix}.{name}"
                yield from _members(inner, f"{prefix}.{name}")
                yield from _instance_attributes(node, f"{prefix}.{name}")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield f"{prefix}.{name}"
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield f"{prefix}.{name}"
            case ast.Assign(targets=targets):
                yield from (f"{prefix}.{t.id}" for t in targets if isinstance(t, ast.Name))


def _instance_attributes(owner: ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in ast.walk(owner):
        target = node.target if isinstance(node, ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [target]
        for item in targets:
            if isinstance(item, ast.Attribute) and ast.unparse(item.value) == "self":
                yield f"{prefix}.{item.attr}"


def _code_names() -> set[str]:
    """Every qualified name in the code, and every tail of it."""
    tails: set[str] = set()
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            parts = path.relative_to(ROOT / source).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for name in (module, *_members(tree.body, module)):
                words = name.split(".")
                tails |= {".".join(words[start:]) for start in range(len(words))}
    return tails


def _tables(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def _anchors(text: str) -> set[str]:
    """Anchors that the headings of a page get."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_names_in_the_tables_of_the_architecture_exist() -> None:
    known = _code_names()
    quoted = re.findall(r"`([^`]+)`", _tables((ROOT / "docs/architecture.md").read_text("utf-8")))
    names = [name for name in quoted if NAME.fullmatch(name)]
    assert len(names) > 80
    assert [name for name in names if name not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    prose = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text("utf-8")))
    for link in LINK.findall(prose):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        anchors = _anchors(target.read_text("utf-8")) if anchor and target.is_file() else {anchor}
        if not target.exists() or anchor not in anchors:
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    code = "\n".join(FENCE.findall(text) + re.findall(r"`[^`\n]+`", FENCE.sub("", text)))
    named = re.findall(r"(?:^|[`\s;&])make ([a-z][a-z-]*)", code)
    assert set(named) <= _make_targets()


def test_every_decision_is_short_and_listed() -> None:
    records = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    index = (ROOT / "docs/adr/README.md").read_text("utf-8")
    assert records
    for record in records:
        text = record.read_text("utf-8")
        assert len(text.splitlines()) <= 60, record.name
        assert f"({record.name})" in index
        for part in ("Status", "Context", "Decision", "Consequences", "Alternatives"):
            assert f"\n## {part}\n" in text, f"{record.name} lacks {part}"

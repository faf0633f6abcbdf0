"""DESIGN.md says what is there: its file map names the tree, and its words are those of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "DESIGN.md").read_text()
NOT_ON_THE_MAP = {"__init__.py", "py.typed"}
MADE = {"dist", "build"}


def section(heading: str) -> str:
    return re.split(r"^## ", TEXT.split(f"## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def on_the_map() -> Iterator[str]:
    """Every path that the map names; folders end with a slash. Two blanks end a line's names."""
    folders: list[str] = []
    for line in section("File map").split("```")[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        if depth > 2 or not line.strip():  # the rest of a description
            continue
        del folders[depth:]
        for name in re.split(r"  +", line.strip())[0].split():
            yield "".join(folders) + name
        folders.append(name)


def tree() -> set[str]:
    """Every file of the repository below its folders, and every such folder with a slash; without what tools make."""
    found: set[str] = set()
    for top in ROOT.iterdir():
        if not top.is_dir() or top.name.startswith(".") or top.name in MADE:
            continue
        paths = [path.relative_to(ROOT) for path in (top, *top.rglob("*")) if "__pycache__" not in path.parts]
        found |= {f"{path}/" if (ROOT / path).is_dir() else str(path) for path in paths}
    return found


def test_the_map_names_nothing_that_is_not_there() -> None:
    assert sorted(set(on_the_map()) - tree()) == []


def test_the_map_names_every_file_beside_those_that_it_names() -> None:
    named = set(on_the_map())
    opened = {f"{Path(path).parent}/" for path in named if "/" in path.rstrip("/")}
    beside = {path for path in tree() if f"{Path(path).parent}/" in opened and Path(path).name not in NOT_ON_THE_MAP}
    assert sorted(beside - named) == []


def test_the_map_names_every_folder_at_the_top() -> None:
    top = {path for path in tree() if path.endswith("/") and path.count("/") == 1 and not path.startswith(".")}
    assert sorted(top - set(on_the_map())) == []


@cache
def code() -> str:
    """The library without its comments and texts."""
    texts = (path.read_text() for path in (ROOT / "logsync").rglob("*.py"))
    return "\n".join(re.sub(r'""".*?"""|#[^\n]*|"[^"\n]*"', "", text, flags=re.DOTALL) for text in texts)


def words() -> dict[str, str]:
    return dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", section("Words"), re.MULTILINE))


def test_there_are_at_most_thirty_words_and_each_has_one_line() -> None:
    rows = [line for line in section("Words").splitlines() if line.startswith("| **")]
    assert len(rows) == len(words()) <= 30
    assert all(len(row) <= 140 for row in rows)


@pytest.mark.parametrize("word", sorted(words()))
def test_a_word_is_one_of_the_code(word: str) -> None:
    """As a part of a name, so that a word which only comments use is none."""
    name = re.compile(rf"(?<![a-z]){word}(?![a-z])|(?<![A-Za-z]){word.capitalize()}|{word}(?:s|ed|d|ing)\b")
    assert name.search(code())


def test_no_file_has_more_than_400_lines() -> None:
    """Beyond that it holds several ideas: part it by what they are about."""
    folders = ("logsync", "sinks", "examples", "devstack", "demo", "benchmarks", "tests")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".lua", ".sql")
    ]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}

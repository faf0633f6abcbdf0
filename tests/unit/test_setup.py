"""`make setup` says what it is at, and what went wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from devstack.install import EVERY, Progress, read, tell

INSTALL = Path(__file__).parents[2] / "devstack/install.py"
SAID = """Collecting numpy>=1 (from -r x.txt (line 3))
  Downloading numpy-2.4.6-cp311-manylinux.whl.metadata (6.6 kB)
Collecting psycopg[binary]
  Using cached psycopg-3.3.9-py3-none-any.whl (200 kB)
Downloading https://files.example/packages/ab/numpy-2.4.6-cp311-manylinux.whl (16.9 MB)
"""


def test_what_pip_is_at_is_read_from_its_lines() -> None:
    progress = Progress()
    read(SAID.splitlines(), progress)
    assert progress.line == "2 packages found, 2 downloaded; downloading numpy-2.4.6-cp311-manylinux.whl (16.9 MB)"
    progress.take("Installing collected packages: a, b, c")
    assert progress.line.endswith("installing 3 packages")
    progress.take("whatever else")
    progress.take("")
    assert progress.line.endswith("installing 3 packages")


def test_it_is_said_every_few_seconds_until_the_end() -> None:
    class Thrice(threading.Event):
        turns = 0

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout == EVERY
            self.turns += 1
            return self.turns > 3

    lines: list[str] = []
    seconds = iter(range(0, 100, 5))
    tell(Progress(), Thrice(), lines.append, lambda: next(seconds))
    assert lines == [f"  {n:4.0f} s: 0 packages found, 0 downloaded; starting" for n in (5, 10, 15)]


def test_a_failure_shows_all_that_pip_said_and_fails() -> None:
    asked = ["--no-index", "no-such-package-at-all"]
    done = subprocess.run([sys.executable, str(INSTALL), *asked], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no-such-package-at-all" in done.stderr


def test_the_makefile_installs_with_it() -> None:
    text = (INSTALL.parents[1] / "Makefile").read_text()
    assert "pip install --quiet" not in text
    assert text.count("devstack/install.py") >= 3

"""Remove one guard at a time and show which test fails without it: ``python -m tests.mutants`` (``make mutants``).

A guard that no test misses is a gap. Works on a copy of the tree; the tree itself is never touched. Outside CI,
because it takes long: the guards of the core need seconds each, those of the stores a test against a real server.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.guards import GUARDS, Guard

ROOT = Path(__file__).parent.parent
STACK = "mutants"  # stays up from one guard to the next


def missed_by(guard: Guard, tree: Path) -> str:
    """The first test that fails without this guard and passes with it, or an empty string."""
    path = tree / guard.file
    text = path.read_text()
    if text.count(guard.old) != 1:
        return f"LIST IS OLD: {guard.file} has the guard {text.count(guard.old)} times"
    path.write_text(text.replace(guard.old, guard.new))
    select = ["-k", guard.servers] if guard.servers else ["-m", "not servers"]
    try:
        for tests in guard.tests:  # in this order; one run of pytest would choose its own
            ended, output = run(tree, *select, tests)
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
            if found:
                path.write_text(text)
                again = run(tree, found.group(1).partition("[")[0])[0]  # every parameter: an id may have blanks
                return found.group(1) if again == pytest.ExitCode.OK else f"LIST IS OLD: fails anyway: {found.group(1)}"
            if ended not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                return output[-300:]
        return ""
    finally:
        path.write_text(text)


def run(tree: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of pytest on the copy."""
    itself = "--ignore=tests/unit/test_mutants.py"  # which misses every guard
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", itself, *arguments]
    env = {**os.environ, "LOGSYNC_TEST_STACK": STACK, "LOGSYNC_KEEP_STACK": "1"}
    try:
        ran = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        return pytest.ExitCode.INTERRUPTED, "(hangs: the run was stopped after 600 s)"
    return ran.returncode, ran.stdout


def main() -> int:
    """Print a line per guard. Exit code 1 if a guard can be removed unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="guards whose name contains this")
    parser.add_argument("--no-servers", action="store_true", help="leave out what needs a real store")
    options = parser.parse_args()
    gaps = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "logsync"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", ".devstack", "__pycache__", ".*_cache")
        )
        (ROOT / ".devstack/jars").mkdir(parents=True, exist_ok=True)
        (tree / ".devstack").mkdir()
        (tree / ".devstack/jars").symlink_to(ROOT / ".devstack/jars")
        try:
            for guard in GUARDS:
                if options.only not in guard.name or (guard.servers and options.no_servers):
                    continue
                began = time.monotonic()
                test = missed_by(guard, tree)
                gaps += not test or test.startswith("LIST")
                print(f"{guard.name:<58}{test or 'NOBODY NOTICES':<90}{time.monotonic() - began:6.1f} s", flush=True)
        finally:
            subprocess.run([sys.executable, "-m", "devstack", "down", "--name", STACK], cwd=tree, check=False)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())

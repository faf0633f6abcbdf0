"""Every code block of the README runs, or is a file that runs; every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [text for language, text in BLOCKS if language == "bash"]
MINIMAL = ROOT / "examples" / "minimal"


def test_no_block_is_of_a_kind_that_nothing_here_runs() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}
    assert len(SHELL) == 2  # the two commands, and the example's


def test_the_example_is_the_files_of_the_minimal_example() -> None:
    assert [(MINIMAL / name).read_text() for name in ("order_events.py", "place.py", "orders.py")] == PYTHON


def test_the_set_up_is_two_targets_that_make_knows() -> None:
    commands = SHELL[0].split("\n")[:-1]
    assert commands == ["make demo", "make test"]  # the first runs in test_demo.py, the second is what runs this test
    for command in commands:
        subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.servers("kafka", "postgres")
def test_the_examples_commands_do_what_they_say(env: dict[str, str], unique: str, tmp_path: Path) -> None:
    for name in ("order_events.py", "place.py", "orders.py"):
        text = (MINIMAL / name).read_text()
        (tmp_path / name).write_text(text.replace('Log("orders")', f'Log("{unique}")'))  # the stack is shared
    import psycopg

    with psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {unique}")  # the sink's name and tables are the example's own
    database = env["LOGSYNC_POSTGRES"].rpartition("/")[0] + f"/{unique}"
    scripts = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")},
        **env,
        "LOGSYNC_POSTGRES": database,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SHELL[1]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "in the log at offset 1" in done.stdout

    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT customer, orders, cents FROM customers").fetchall() == [("ada", 2, 1550)]


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=str
)
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}, which is not there"

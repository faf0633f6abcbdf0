"""examples/store_sqlite: its README says what its files say, and its sink is right after any death of its worker."""

from __future__ import annotations

import ast
import os
import random
import re
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from logsync import Producer
from logsync.settings import Settings
from tests.acceptance.shopfront import REPOSITORY, delete_topic, until
from tests.integration.worker.harness import Process

FOLDER = REPOSITORY / "examples/store_sqlite"
README = (FOLDER / "README.md").read_text()
TOPIC = "shop.sold"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


OF_ITS_OWN = [block for block in blocks("python") if block.startswith("# ")]
PARTS = [block for block in blocks("python") if not block.startswith("# ")]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.strip().partition("\n")[0])
def test_a_block_of_the_readme_is_a_part_of_the_files(part: str) -> None:
    assert any(part in path.read_text() for path in FOLDER.glob("*.py"))


def test_the_write_of_the_readme_means_what_it_says() -> None:
    from logsync.writes.content import Content

    names: dict[str, Any] = {}
    exec(compile(OF_ITS_OWN[0], "README.md", "exec", dont_inherit=True), names)
    append = names["Append"]
    assert Content().after([append("k", 1), append("k", 2)]).others == {"lists/k": (1, 2)}
    assert not append.commutes


def test_the_store_is_written_with_public_names_only() -> None:
    public = ("logsync", "logsync.stores", "logsync.writes.rows", "logsync.testing.store_contract")
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("logsync"):
                assert node.module in public, f"{path.name} imports {node.module}"
                module = __import__(str(node.module), fromlist=["__all__"])
                private = {each.name for each in node.names} - set(module.__all__)
                assert not private, f"{path.name} imports {private} of {node.module}"


# Under a real worker


class Sold:
    """The sink of the README in a folder of its own, its topic, and what its file has to hold."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.folder, self.servers = folder, env["LOGSYNC_KAFKA"]
        (folder / "sold.py").write_text(OF_ITS_OWN[1])
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")},
            **env,
            "PYTHONPATH": f"{REPOSITORY}:{folder}",
            "LOGSYNC_BATCH_RECORDS": "10",
            "LOGSYNC_KAFKA_OPTIONS": '{"session.timeout.ms": "1500", "heartbeat.interval.ms": "300"}',
        }
        self.settings = Settings(_env_file=None, kafka=self.servers)  # type: ignore[call-arg]
        self.expected: dict[str, tuple[int, int]] = {}
        self.events = 0
        self.names: dict[str, Any] = {}
        exec(compile(OF_ITS_OWN[1], "sold.py", "exec", dont_inherit=True), self.names)
        self.command("topic", "create", "--log", "sold:log").ends(0)

    def command(self, *words: str) -> Process:
        return Process(["logsync.cli", *words], self.env, self.folder)

    def dies(self, step: str, count: int) -> None:
        Process(["tests.integration.worker.deadly", step, str(count), "sold:sink"], self.env, self.folder).ends(-9)

    def append(self, count: int) -> None:
        rng = random.Random(self.events)
        sold = []
        for _ in range(count):
            sku, n = rng.choice("abcdefg"), rng.randrange(100)
            sold.append(self.names["ItemSold"](sku=sku, count=n))
            self.expected[sku] = (self.expected.get(sku, (0, 0))[0] + n, n)
        with Producer(self.names["log"], settings=self.settings) as producer:
            producer.append_many(sold)
        self.events += count

    def position(self) -> int:
        row = None
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{self.folder}/sold.db?mode=ro", uri=True)) as file,
        ):
            row = file.execute("SELECT json_extract(body, '$.next_offset') FROM logsync_position").fetchone()
        return row[0] if row else 0

    def holds_the_fold(self) -> bool:
        with closing(sqlite3.connect(self.folder / "sold.db")) as file:
            rows = file.execute("SELECT sku, count, last FROM sold").fetchall()
        return {sku: (count, last) for sku, count, last in rows} == self.expected


@pytest.fixture
def sold(env: dict[str, str], tmp_path: Path) -> Iterator[Sold]:
    delete_topic(env["LOGSYNC_KAFKA"], TOPIC)
    yield Sold(env, tmp_path)
    delete_topic(env["LOGSYNC_KAFKA"], TOPIC)


@pytest.mark.servers("kafka")
def test_a_worker_with_this_store_may_be_killed_at_any_step(sold: Sold) -> None:
    for step in ("before-apply", "after-apply", "after-commit"):
        sold.append(50)
        sold.dies(step, 3)
        assert 0 < sold.position() < sold.events
    sold.command("consume", "sold:sink", "--until-end").ends(0)
    assert (sold.position(), sold.holds_the_fold()) == (sold.events, True)


@pytest.mark.servers("kafka")
def test_a_worker_with_this_store_may_be_killed_whenever_somebody_likes_and_commands_know_it(sold: Sold) -> None:
    for _ in range(3):
        sold.append(400)
        worker = sold.command("consume", "sold:sink")
        begun = sold.position()
        until(lambda begun=begun: sold.position() > begun, "it applies")  # type: ignore[misc]
        worker.kill()
    assert f"{sold.position()}" in sold.command("status", "sold:sink").ends(0).replace(",", "")
    sold.command("consume", "sold:sink", "--until-end").ends(0)
    assert (sold.position(), sold.holds_the_fold()) == (sold.events, True)
    sold.command("rebuild", "sold:sink", "--yes").ends(0)
    assert (sold.position(), sold.holds_the_fold()) == (sold.events, True)


def test_parts_are_shown_with_their_own_indentation() -> None:
    assert any(textwrap.dedent(part) != part for part in PARTS), "a part of a class stays indented: it can be found"

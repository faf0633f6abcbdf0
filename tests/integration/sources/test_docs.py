"""The blocks of docs/sources.md and docs/operate-sources.md run, and mean what the text around them says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.unit.test_docs import DOCS

from .conftest import Shop

pytestmark = pytest.mark.servers("kafka", "postgres")

TUTORIAL, OPERATE, RIGHTS = (
    (DOCS / f"{page}.md").read_text() for page in ("sources", "operate-sources", "permissions")
)
FILES = dict(
    re.findall(r"^`([\w/]+\.py)`[^\n]*\n(?:[^\n`]+\n)*\n```python\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
)


def blocks(text: str, kind: str) -> list[str]:
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [dedent(each) for each in found]


CAPTURE, FILE = (text for text in blocks(TUTORIAL, "python") if text not in FILES.values())
TABLES, WHOLE = blocks(TUTORIAL, "sql")
CREATE, SEED, RUN, KILL, LOOK = blocks(TUTORIAL, "bash")
(KEPT,) = blocks(OPERATE, "sql")


class Reader:
    """Somebody who does what the page says, in a folder, over servers of their own."""

    def __init__(self, shop: Shop, env: dict[str, str], folder: Path) -> None:
        self.shop, self.folder, self.name = shop, folder, shop.name
        self.follows = make_conninfo(shop.url, dbname=f"{shop.name}_sink")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")}
        scripts = Path(sys.executable).parent
        path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        mine = {"SHOP_DATABASE": shop.url, "LOGSYNC_POSTGRES": self.follows, "PATH": path}
        self.env = {**inherited, **env, **mine}

    def named(self, text: str) -> str:
        """With names of this test's own: the servers are shared."""
        for name in ("shop.events", "shop-db", "shop-emails", "shop_db"):
            text = text.replace(name, f"{self.name}{name[4:]}" if "_" not in name else f"{self.name}_db")
        return text

    def writes(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(self.named(text))

    def runs(self, command: str, code: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder, env=self.env, text=True, timeout=300, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def totals(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.follows) as db:
            return db.execute("SELECT customer, email, orders, ordered, paid FROM totals ORDER BY customer").fetchall()


@pytest.fixture
def reader(shop: Shop, env: dict[str, str], tmp_path: Path) -> Iterator[Reader]:
    shop.db.execute(f"CREATE DATABASE {shop.name}_sink".encode())
    shop.db.execute("DROP TABLE logsync.outbox")  # the page makes it
    shop.db.execute(TABLES.encode())
    reader = Reader(shop, env, tmp_path)
    for path, text in FILES.items():
        reader.writes(path, text)
    yield reader
    shop.db.execute(f"DROP DATABASE {shop.name}_sink WITH (FORCE)".encode())


def test_every_block_of_the_pages_runs_here() -> None:
    assert sorted(FILES) == ["shop_app.py", "shop_events.py", "sinks/db.py", "sources/shop.py"]
    assert set(re.findall(r"^ *```(\w+)", TUTORIAL + OPERATE, re.MULTILINE)) == {"python", "sql", "bash"}
    assert not blocks(OPERATE, "python") + blocks(OPERATE, "bash")


def test_the_tutorial_leads_from_a_database_to_a_sink_that_follows_also_when_the_relay_is_killed(
    reader: Reader,
) -> None:
    reader.shop.db.execute("INSERT INTO customers VALUES ('alan', 'before')")
    assert "from now on the server keeps" in reader.runs(CREATE)
    assert "customers: 1 rows told" in reader.runs(SEED)
    reader.runs(RUN)
    told = [
        ("ada", "ada@example.com", 1, 1250, 1250),
        ("alan", "before", 0, 0, 0),
        ("grace", "grace@example.com", 1, 300, 300),
    ]
    assert reader.totals() == told
    reader.runs(KILL)
    assert reader.totals()[0] == ("ada", "ada@example.com", 6, 2750, 2750)
    assert "no relay runs" in reader.runs(LOOK.splitlines()[0])
    facts = json.loads(reader.runs(LOOK.splitlines()[1]))
    assert (facts["trouble"], facts["outbox_rows"], facts["oldest_waits_seconds"]) == (None, 0, None)
    assert facts["retained_bytes"] >= 0
    kept = reader.shop.db.execute(KEPT.encode()).fetchall()
    assert [row[1:3] for row in kept if row[0].startswith(f"logsync_{reader.name}")] == [(False, "reserved")]
    reader.shop.db.execute("UPDATE customers SET email = 'new' WHERE customer = 'ada'")
    reader.shop.db.execute("DELETE FROM customers WHERE customer = 'grace'")
    reader.runs("logsync relay shop --until-end && logsync consume db --until-end")
    assert reader.totals() == [("ada", "new", 6, 2750, 2750), ("alan", "before", 0, 0, 0)]
    reader.runs("logsync source drop shop --yes")


def test_the_how_to_of_change_capture_sees_the_old_values_that_the_whole_identity_keeps(reader: Reader) -> None:
    reader.writes("sources/emails.py", CAPTURE)
    reader.shop.db.execute(WHOLE.encode())
    reader.runs("logsync topic create --log shop_events:log && logsync source create emails")
    for email in ("a", "b", "b"):
        reader.shop.db.execute(
            "INSERT INTO customers VALUES ('ada', %s) ON CONFLICT (customer) DO UPDATE SET email = excluded.email",
            (email,),
        )
    reader.runs("logsync relay emails --until-end && logsync consume db --until-end")
    assert reader.totals() == [("ada", "b", 0, 0, 0)]
    shown = reader.runs("logsync history ada --log shop_events:log")
    assert shown.count("customer.changed") == 1


def test_the_how_to_of_a_file_goes_on_behind_what_the_log_has(reader: Reader) -> None:
    reader.writes("bring.py", FILE)
    reader.runs("logsync topic create --log shop_events:log")
    lines = ["order_id,customer,cents", *(f"{number},ada,{number}" for number in range(5))]
    bring = "python -c 'import bring; print(bring.bring(\"orders.csv\"))'"
    for known, appended in ((4, 3), (4, 0), (6, 2)):
        (reader.folder / "orders.csv").write_text("\n".join(lines[:known]) + "\n")
        assert reader.runs(bring) == f"{appended}\n"
    reader.runs("logsync consume db --until-end")
    assert reader.totals() == [("ada", None, 5, 10, 0)]
    (reader.folder / "orders.csv").write_text("\n".join(lines).replace("4,ada,4", "4,ada,5") + "\n")
    assert "the file changed" in reader.runs(f"{bring} || true")


def test_a_slot_is_marked_for_failover_by_the_command_of_the_page(reader: Reader) -> None:
    reader.runs("logsync topic create --log shop_events:log && logsync source create shop")
    (command,) = set(re.findall(r"`(logsync source create shop --failover)`", OPERATE))
    reader.runs(command)
    marked = "SELECT failover FROM pg_replication_slots WHERE database = %s"
    assert reader.shop.db.execute(marked, (reader.name,)).fetchall() == [(True,)]
    reader.runs(RUN)
    assert len(reader.totals()) == 2


def test_a_relay_needs_the_rights_that_the_page_names_and_no_others(reader: Reader) -> None:
    reader.runs(CREATE)
    (line,) = re.findall(r"^\| a relay \|.*$", RIGHTS, re.MULTILINE)
    assert all(right in line for right in ("REPLICATION", "USAGE", "SELECT, UPDATE", "SELECT, DELETE"))
    role, db = f"{reader.name}_relay", reader.shop.db
    steps = [
        (f"ALTER ROLE {role} REPLICATION", "may not read the write-ahead log"),
        (f"GRANT USAGE ON SCHEMA logsync TO {role}", "permission denied for schema"),
        (f"GRANT SELECT, UPDATE ON logsync.source TO {role}", "permission denied for table source"),
        (f"GRANT SELECT, DELETE ON logsync.outbox TO {role}", "permission denied for table outbox"),
    ]
    db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-relay'".encode())
    reader.runs("python shop_app.py ada 1250")
    own = dict(reader.env)
    reader.env["SHOP_DATABASE"] = make_conninfo(reader.shop.url, user=role, password="of-the-relay")
    try:
        for grant, without in steps:
            assert without in reader.runs("logsync relay shop --until-end", code=3)
            db.execute(grant.encode())
        reader.runs("logsync relay shop --until-end && logsync source status shop")
    finally:
        reader.env = own
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert reader.shop.left() == 0

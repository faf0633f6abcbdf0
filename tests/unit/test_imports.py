"""The user's modules hide nothing that is installed, and are not hidden by it. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

EVENTS = """
from pydantic import BaseModel
from logsync import Log

log = Log("orders")

@log.event("order.placed", key="order_id")
class OrderPlaced(BaseModel):
    order_id: str
"""
SINK = """
from {events} import OrderPlaced, log
from logsync import Sink
from logsync.stores.{kind} import {store}

sink = Sink("orders", log, {store}({options}))
"""
STORES = {
    "postgres": ("Postgres", "psycopg", ""),
    "redis": ("Redis", "redis", "prefix='orders:'"),
    "opensearch": ("OpenSearch", "opensearchpy", "indices={'orders': {'mappings': {'properties': {}}}}"),
}
TRAP = "raise AssertionError('the file of the user stands in for a library')\n"


def write_sink(folder: Path, kind: str, *, sink: str = "app", events: str = "order_events") -> None:
    store, _, options = STORES[kind]
    (folder / f"{events}.py").write_text(EVENTS)
    (folder / f"{sink}.py").write_text(SINK.format(events=events, kind=kind, store=store, options=options))


def python(folder: Path, code: str, **env: str) -> str:
    """What ``code`` prints, run in ``folder`` as the console script runs: without the folder on the path."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded(folder: Path, address: str, client: str, **env: str) -> str:
    """The topic of the sink at ``address``, once the client of its store was imported after it."""
    code = f"""
from logsync.cli.load import load_sink
sink = load_sink({address!r})
import {client}
from logsync.settings import Settings
sink.store.inspect("orders", Settings(
    postgres="postgresql://127.0.0.1:1/x", redis="redis://127.0.0.1:1/0", opensearch="http://127.0.0.1:1",
    store_timeout=1, _env_file=None,
)) if hasattr(sink.store, "inspect") else None
print(sink.log.topic, {client}.__file__)
"""
    return python(folder, code, **env)


TRAPS = (
    "events.py", "redis.py", "json.py", "types.py", "logging.py", "opensearchpy/__init__.py", "psycopg.py", "select.py",
    "pydantic.py", "certifi.py", "urllib3/__init__.py", "dateutil.py", "confluent_kafka.py", "typing_extensions.py",
)  # fmt: skip


@pytest.mark.parametrize("kind", STORES)
def test_a_file_with_the_name_of_a_library_is_not_that_library(tmp_path: Path, kind: str) -> None:
    write_sink(tmp_path, kind)
    for trap in TRAPS:
        (tmp_path / trap).parent.mkdir(exist_ok=True)
        (tmp_path / trap).write_text(TRAP)
    topic, file = loaded(tmp_path, "app:sink", STORES[kind][1]).split()
    assert topic == "orders"
    assert not Path(file).is_relative_to(tmp_path)


def test_a_module_of_the_user_s_and_an_installed_one_of_the_same_name_both_work(tmp_path: Path) -> None:
    for events in ("events", "opensearch", "certifi"):
        write_sink(tmp_path, "opensearch", events=events, sink=f"of_{events}")
    topic, file = loaded(tmp_path, "of_events:sink", "opensearchpy").split()
    assert topic == "orders"
    assert not Path(file).is_relative_to(tmp_path)
    code = """
from logsync.cli.load import load_log, load_sink
for name in ("events", "opensearch", "certifi"):
    assert load_sink(f"of_{name}:sink").log is load_log(f"{name}:log"), name
import certifi, events, opensearch
print(events.Events, certifi.where())
"""
    assert str(tmp_path) not in python(tmp_path, code)


def test_the_module_that_is_named_is_the_one_here(tmp_path: Path) -> None:
    names = ("redis", "opensearch", "postgres", "search", "calendar", "statistics", "events", "app")
    for name in names:
        write_sink(tmp_path, "redis", sink=name)
    code = f"""
from logsync.cli.load import load_sink
for name in {names!r}:
    assert load_sink(f"{{name}}:sink").log.topic == "orders"
import calendar, redis, statistics
print(calendar.__file__, redis.__file__, statistics.__file__)
"""
    assert str(tmp_path) not in python(tmp_path, code)


@pytest.mark.parametrize("init", [True, False])
def test_an_installed_package_does_not_hide_the_user_s(tmp_path: Path, init: bool) -> None:
    installed, here = tmp_path / "installed", tmp_path / "here"
    for package in ("sinks", "app"):
        (installed / package).mkdir(parents=True)
        (installed / package / "__init__.py").write_text(TRAP)
        folder = here / package
        folder.mkdir(parents=True)
        if init:
            (folder / "__init__.py").touch()
        write_sink(folder, "postgres", sink="db", events="order_events")
        text = (folder / "db.py").read_text()
        (folder / "db.py").write_text(text.replace("from order_events", f"from {package}.order_events"))
    code = (
        "from logsync.cli.load import load_sink\nprint(load_sink('db').log.topic, load_sink('app.db:sink').log.topic)"
    )
    assert python(here, code, PYTHONPATH=str(installed)) == "orders orders"


def test_a_package_of_several_folders_stays_one(tmp_path: Path) -> None:
    installed, here = tmp_path / "installed", tmp_path / "here"
    (installed / "acme").mkdir(parents=True)
    (installed / "acme" / "common.py").write_text(EVENTS)
    (here / "acme").mkdir(parents=True)
    write_sink(here / "acme", "postgres", sink="orders")
    text = (here / "acme" / "orders.py").read_text()
    (here / "acme" / "orders.py").write_text(text.replace("order_events", "acme.common"))
    assert loaded(here, "acme.orders:sink", "psycopg", PYTHONPATH=str(installed)).startswith("orders ")


def test_a_folder_of_data_is_no_package(tmp_path: Path) -> None:
    write_sink(tmp_path, "opensearch")
    for name in ("events", "yaml", "six", "requests"):
        (tmp_path / name).mkdir()
    (tmp_path / "app.py").write_text((tmp_path / "app.py").read_text() + "import requests\nassert requests.__file__\n")
    assert loaded(tmp_path, "app:sink", "opensearchpy").startswith("orders ")


@pytest.mark.parametrize("way", ["-m", "PYTHONPATH"])
def test_a_path_that_begins_with_the_working_directory_hides_nothing(tmp_path: Path, way: str) -> None:
    write_sink(tmp_path, "opensearch", events="events")
    for trap in ("redis.py", "confluent_kafka.py", "opensearchpy.py"):
        (tmp_path / trap).write_text(TRAP)
    code = ["-m", "logsync.cli"] if way == "-m" else ["-P", "-c", "from logsync.cli import main; main()"]
    done = subprocess.run(
        [sys.executable, *code, "status", "app:sink", "--debug"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, **({"PYTHONPATH": "."} if way == "PYTHONPATH" else {}), "LOGSYNC_KAFKA": "127.0.0.1:1",
             "LOGSYNC_OPENSEARCH": "http://127.0.0.1:1"},
    )  # fmt: skip
    assert "AssertionError" not in done.stdout + done.stderr
    assert "not installed" not in done.stdout + done.stderr
    assert "cannot be imported" not in done.stdout + done.stderr


def test_a_name_that_can_only_be_a_library_s_is_said_to_be_taken(tmp_path: Path) -> None:
    write_sink(tmp_path, "postgres", events="types")
    code = "from logsync.cli import main\nmain(['schema', 'print', 'app:sink'])"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    assert "rename types.py" in done.stderr
    assert "app.py line 2" in done.stderr


def test_a_module_that_ends_the_process_is_reported(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import sys\n\nsys.exit(0)\n")
    code = "from logsync.cli import main\nmain(['schema', 'print', 'app:sink'])"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    assert "SystemExit" in done.stderr
    assert "app.py line 3" in done.stderr


def test_sinks_that_are_loaded_at_one_moment_do_not_lose_each_other(tmp_path: Path) -> None:
    """As ``status`` does: a module once vanished from the table of modules between two imports."""
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks/__init__.py").touch()  # this repository's own package of that name is installed, too
    names = [f"s{number}" for number in range(12)]
    for name in names:
        (tmp_path / "sinks" / f"{name}.py").write_text(
            "import time\nfrom logsync import Log, Sink\nfrom logsync.stores.memory import Memory\n"
            f"time.sleep(0.01)\nsink = Sink('{name}', Log('orders'), Memory())\n"
        )
    code = f"""
from concurrent.futures import ThreadPoolExecutor
from logsync.cli.load import load_sink
with ThreadPoolExecutor(12) as pool:
    print(*[sink.name for sink in pool.map(load_sink, {names!r})])
"""
    assert python(tmp_path, code).split() == names

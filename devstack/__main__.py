"""The command line: `python -m devstack --help`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from . import jars
from .process import StackError
from .server import State
from .stack import HOME, NAMES, Progress, Stack

app = typer.Typer(
    help="Start and stop real Kafka, Postgres, Redis and OpenSearch as local processes; no container engine needed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

Name = Annotated[str, typer.Option("--name", help="Which stack; several live side by side.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ServerName = StrEnum("ServerName", {name: name for name in NAMES})  # type: ignore[misc]
Which = Annotated[ServerName, typer.Argument(help="Which server.", show_default=False)]
BENCH = "Production-like Java (bigger heaps, full compiler), or the frugal default. Kept until said otherwise."


@app.command()
def up(
    name: Name = "dev",
    only: Annotated[str, typer.Option(help="Comma-separated servers.")] = ",".join(NAMES),
    bench: Annotated[bool | None, typer.Option("--bench/--no-bench", help=BENCH, show_default=False)] = None,
) -> None:
    """Start what does not run and wait until all answer. Ports and data are kept."""
    stack = Stack(name)
    with _progress() as progress:
        stack.up(only=[part.strip() for part in only.split(",") if part.strip()], bench=bench, progress=progress)
    for server in stack.servers.values():
        if server.known and server.work != server.directory:
            console.print(
                f"{server.name}: its data is in {server.work}, the checkout is closed to user nobody", soft_wrap=True
            )


@app.command()
def down(name: Name = "dev") -> None:
    """Stop all servers of the stack; data stays."""
    Stack(name).down()


@app.command()
def reset(name: Name = "dev") -> None:
    """Stop all servers of the stack and delete their data."""
    Stack(name).reset()


@app.command()
def status(name: Name = "dev", as_json: Json = False) -> None:
    """Show what each server is doing. Exit code 1 unless all that were started run."""
    rows = Stack(name).status()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        table = Table("server", "state", "pid", "memory", "address", box=None)
        for row in rows:
            memory = "" if row.resident is None else f"{row.resident / 1e6:.0f} MB"
            table.add_row(row.server, row.state, str(row.pid or ""), memory, row.url or "")
        Console(width=max(Console().width, 90)).print(table)  # an address cut off is of no use
    if any(row.state is not State.RUNNING for row in rows if row.port is not None):
        raise typer.Exit(1)


@app.command()
def env(name: Name = "dev", as_json: Json = False) -> None:
    """Print the addresses, for `eval "$(python -m devstack env)"`."""
    addresses = Stack(name).env()
    if as_json:
        print(json.dumps(addresses, indent=2))
    else:
        print("\n".join(f"export {key}='{value}'" for key, value in addresses.items()))


@app.command()
def logs(
    server: Which,
    name: Name = "dev",
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many, from the end.")] = 100,
) -> None:
    """Print the end of a server's log, and on stderr where the log is."""
    stack = Stack(name)
    console.print(str(stack.log(server)), soft_wrap=True)
    print(stack.servers[server].tail(lines))


@app.command()
def kill(server: Which, name: Name = "dev") -> None:
    """SIGKILL a server, children included."""
    Stack(name).kill(server)


@app.command()
def pause(server: Which, name: Name = "dev") -> None:
    """SIGSTOP a server, children included: connections stay open, nothing answers."""
    Stack(name).pause(server)


@app.command()
def resume(server: Which, name: Name = "dev") -> None:
    """Let a paused server go on (SIGCONT)."""
    Stack(name).resume(server)


@app.command()
def restart(server: Which, name: Name = "dev") -> None:
    """Stop a server if it runs and start it on the same port and data."""
    Stack(name).restart(server)


@app.command()
def lock() -> None:
    """For maintainers: resolve the jars anew and rewrite the committed lock files."""
    for server in jars.COORDINATES:
        console.print(f"{server}: {jars.write_lock(server, HOME / 'jars')} jars locked")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show one line per server that rewrites itself, or plain lines where there is no terminal."""
    began = time.monotonic()
    mutex = threading.Lock()
    doing: dict[str, str] = {}

    def table() -> Table:
        grid = Table.grid(padding=(0, 2))
        for server, what in doing.items():
            grid.add_row(server, what)
        return grid

    with Live(console=console, transient=False) if console.is_terminal else _nothing() as live:

        def progress(server: str, what: str) -> None:
            timed = f"{what} ({time.monotonic() - began:.1f} s)"
            with mutex:
                doing[server] = timed
                if live is not None:
                    live.update(table())
                else:
                    console.print(f"{server}: {timed}", highlight=False)

        yield progress


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def main() -> None:
    try:
        app()
    except StackError as error:
        console.print(f"devstack: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

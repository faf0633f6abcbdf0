"""`make bench` and `make bench-quick`: logsync beside the loop one would write by hand and beside its peers.

Everything is a ratio of two figures of one run, taken turn by turn on the same servers. A result is printed with what
the store held in the end: whoever lost or doubled something is named, in numbers.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from benchmarks import report
from benchmarks.bench import TWO, Bench, console, show
from benchmarks.contestants import ALL
from benchmarks.run import PEERS, ROOT
from devstack import Stack

RESULTS = ROOT / "benchmarks" / "results"
PARTS = ("base", "kill", "axes", "models", "long", "year")
OTHERS = tuple(
    one for one in ("writers", "latency", "idle", "relay", "after", "reading") if find_spec(f"benchmarks.{one}")
)
CLIENTS = ("logsync", "confluent-kafka", "pydantic", "psycopg", "redis", "opensearch-py")


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes: logsync and the limit, ratios only.")] = False,
    parts: Annotated[str, typer.Option(help="With commas; also growth and huge.")] = ",".join((*PARTS, *OTHERS)),
    only: Annotated[str, typer.Option(help="Contestants, with commas.")] = "",
    rounds: Annotated[int, typer.Option(help="Rounds; each runs every contestant once, in turn.")] = 3,
    scale: Annotated[float, typer.Option(help="Part of the events of each case.")] = 1.0,
    growth: Annotated[bool, typer.Option("--growth", help="Only: events, partitions, keys and types.")] = False,
    huge: Annotated[bool, typer.Option("--huge", help="Only: ten million events.")] = False,
    into: Annotated[Path | None, typer.Option(help="Folder of the results; parts measured later join them.")] = None,
    machine: Annotated[str, typer.Option(help="The machine in words.")] = f"{os.cpu_count()} virtual cores, shared",
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running, with their data.")] = False,
) -> None:
    """Measure logsync beside the limit and its peers."""
    began = time.monotonic()
    chosen = [ALL[one] for one in only.split(",")] if only else TWO if quick else list(ALL.values())
    if not quick and not PEERS.exists() and set(chosen) - set(TWO):
        raise SystemExit("the peers are not installed: `make bench` does it, or name --only logsync,limit")
    stack = Stack(f"{name}-quick" if quick else name)
    stack.up(bench=True, progress=lambda server, what: console.print(f"{server}: {what}", style="dim"))
    try:
        if quick:
            bench = Bench(stack.env(), chosen, rounds=rounds, scale=min(scale, 0.15))
            bench.base()
            show("logsync's speed over", ["", "", "now", "last committed"], report.beside(bench.found, committed()))
        else:
            folder = into or RESULTS / date.today().isoformat()  # noqa: DTZ011 - the day where the machine stands
            bench = Bench(stack.env(), chosen, rounds=rounds, scale=scale)
            bench.found.update(read(folder).get("found", {}))
            about = described(stack)
            bench.after_each = lambda: write(folder, bench, about, machine)
            for part in ["growth"] if growth else ["huge"] if huge else parts.split(","):
                ask(part, folder, name) if part in OTHERS else getattr(bench, part)()
            draw(folder)
            write(folder, bench, about, machine)
            show("logsync over", ["", "", "speed", "CPU"], report.ratios(bench.found))
            console.print(f"{folder}/results.md")
        wrong = report.differing(bench.found, ["logsync", "limit"])
    finally:
        if not keep:
            stack.reset()
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes", style="dim")
    if wrong:
        raise SystemExit("the contents differ:\n" + "\n".join(wrong))


def read(folder: Path) -> dict[str, Any]:
    path = folder / "bench.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def committed() -> dict[str, Any]:
    """What the last results under ``results/`` found; empty before there are any."""
    folders = sorted(RESULTS.glob("*/bench.json"))
    found: dict[str, Any] = read(folders[-1].parent)["found"] if folders else {}
    return found


def write(folder: Path, bench: Bench, about: dict[str, str], machine: str) -> None:
    """After each case: whoever stops the run keeps what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    contestants = [[one.name, one.promise, one.settings] for one in ALL.values()]
    document = {"date": folder.name, "machine": machine, "about": about, "contestants": contestants}
    document["found"] = bench.found
    (folder / "bench.json").write_text(json.dumps(document))
    plots = sorted(path.name for path in folder.glob("*.png"))
    others = [(folder / f"{one}.md").read_text() for one in OTHERS if (folder / f"{one}.md").exists()]
    (folder / "results.md").write_text(report.page(document, plots, others))


def ask(program: str, folder: Path, name: str) -> None:
    """Run one of the programs beside the contest: JSON on stdout, tables in Markdown on stderr; both are kept."""
    command = [sys.executable, "-m", f"benchmarks.{program}", "--name", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    console.print(done.stderr, markup=False)
    if done.returncode:
        raise SystemExit(f"benchmarks.{program} failed")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{program}.json").write_text(done.stdout)
    (folder / f"{program}.md").write_text(done.stderr[max(0, done.stderr.find("## ")) :])


def draw(folder: Path) -> None:
    """The plots need matplotlib, which lives with the peers."""
    if PEERS.exists():
        subprocess.run([str(PEERS), "-m", "benchmarks.plots", str(folder.resolve())], cwd=ROOT, check=True)


def described(stack: Stack) -> dict[str, str]:
    """Versions, and the settings that the durability of the stores depends on, as the servers tell them."""
    import redis

    about = {one.server: one.version for one in stack.status()}
    env = stack.env()
    with psycopg.connect(env["LOGSYNC_POSTGRES"]) as db:
        for name in ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "jit"):
            row = db.execute(f"SHOW {name}").fetchone()
            about[f"postgres {name}"] = str(row and row[0])
    server: Any = redis.Redis.from_url(env["LOGSYNC_REDIS"], decode_responses=True)
    for name in ("appendonly", "appendfsync"):
        about[f"redis {name}"] = server.config_get(name)[name]
    for name in ("kafka", "opensearch"):
        process = stack.servers[name].process
        flags = " ".join(process.cmdline()) if process else ""
        about[f"{name} java"] = "all JIT tiers, " + next(f for f in flags.split() if f.startswith("-Xmx"))
        if "TieredStopAtLevel" in flags:
            raise SystemExit(f"{name} runs with the frugal runtime; end it first: python -m devstack down --name ...")
    about["python"] = platform.python_version()
    about |= {f"{client} (library)": version(client) for client in CLIENTS}
    if PEERS.exists():
        listed = subprocess.run([str(PEERS), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
        wanted = ("faststream", "quixstreams", "aiokafka", "asyncpg", "confluent-kafka", "psycopg", "redis")
        about |= {
            f"{one['name']} (peers)": one["version"] for one in json.loads(listed.stdout) if one["name"] in wanted
        }
    return about


if __name__ == "__main__":
    typer.run(main)

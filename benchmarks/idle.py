"""`python -m benchmarks.idle`: what a caught-up worker costs, and how long commands take to start.

CPU is user and system of the whole process, wake-ups are its voluntary context switches, of all threads, both from
/proc: what librdkafka's threads do counts. Start-up of a worker reaches from its start to the first event in the store.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks import report
from benchmarks.contestants import LOGSYNC
from benchmarks.run import Job, Process, Watch, directory
from benchmarks.stores import view
from benchmarks.workload import Case, cloudevent, fill
from devstack import Stack
from logsync.log.topic import create_topic
from logsync.settings import Settings

STORES = ("postgres", "redis", "opensearch")
EVENTS = 2_000


def switches(pid: int) -> int:
    """Voluntary context switches of all threads so far: each is a thread that slept and was woken."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def idle(store: str, stack: Stack, seconds: float) -> dict[str, Any]:
    """A worker that has caught up, watched for ``seconds``."""
    run, case = f"i{int(time.time() * 10) % 100_000_000}", Case("idle", store, events=EVENTS)
    servers = stack.env()
    create_topic(Settings(_env_file=None, kafka=servers["LOGSYNC_KAFKA"]), run)  # type: ignore[call-arg]
    fill(servers["LOGSYNC_KAFKA"], run, case, cloudevent(case))
    content = view(case, run, servers)
    with directory() as folder:
        started = time.perf_counter()
        process = Process(LOGSYNC, Job(case, run, run, servers, Path(folder)))
        try:
            watch, first = Watch(content, case), 0.0
            while not watch.done:
                watch.look()
                first = first or (time.perf_counter() - started if watch.begun else 0.0)
                process.check()
                time.sleep(0.01)
            time.sleep(5)  # commits, first looks at the log and the book
            (worker,) = process.tree()
            cpu, woken, began = process.cpu(), switches(worker.pid), time.perf_counter()
            time.sleep(seconds)
            took = time.perf_counter() - began
            return {
                "store": store,
                "cpu_ms": (process.cpu() - cpu) / took * 1000,
                "wake_ups": (switches(worker.pid) - woken) / took,
                "resident_mb": psutil.Process(worker.pid).memory_info().rss / 1e6,
                "first_apply": first,
            }
        finally:
            process.stop()
            content.drop()


def starts(arguments: list[str], times: int) -> dict[str, Any]:
    """Seconds, and seconds of CPU, from the start of a command to its end."""
    took, cpu = [], []
    for _ in range(times):
        began, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-m", "logsync.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        took.append(time.perf_counter() - began)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {"command": " ".join(arguments), "seconds": statistics.median(took), "cpu": statistics.median(cpu)}


def main(
    seconds: Annotated[float, typer.Option(help="How long each worker is watched.")] = 30,
    stores: Annotated[str, typer.Option(help="Stores, with commas.")] = ",".join(STORES),
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
) -> None:
    """Measure idle workers and start-up. Prints tables and JSON."""
    stack = Stack(name)
    stack.up(bench=True)
    found = [idle(store, stack, seconds) for store in stores.split(",")]
    commands = [starts(["--help"], 5), starts(["consume", "--help"], 5)]
    headings = ["caught-up worker of", "CPU ms per s", "wake-ups per s", "resident MB", "start to first apply, s"]
    rows = [
        [one["store"], *(f"{one[what]:.1f}" for what in ("cpu_ms", "wake_ups", "resident_mb", "first_apply"))]
        for one in found
    ]
    print(report.markdown("Idle", headings, rows, f"Over {seconds:g} s."), file=sys.stderr)
    lines = [[f"logsync {one['command']}", f"{one['seconds']:.2f}", f"{one['cpu']:.2f}"] for one in commands]
    print(report.markdown("Start-up", ["", "seconds", "CPU s"], lines, "Median of five."), file=sys.stderr)
    print(json.dumps({"idle": found, "start_up": commands}))


if __name__ == "__main__":
    typer.run(main)

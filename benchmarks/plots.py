"""`python -m benchmarks.plots FOLDER`: bars, throughput over time and latency, from the JSON files in a folder."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.report import Spread, good


def bars(found: dict[str, Any], what: str, label: str, path: Path) -> None:
    """The base point of each store, one bar per contestant, with the range of its rounds."""
    entries = {title: entry for title, entry in found.items() if title.startswith("base, ")}
    if not entries:
        return
    figure, axes = plt.subplots(1, len(entries), figsize=(5 * len(entries), 4), layout="constrained", squeeze=False)
    for axis, (title, entry) in zip(axes[0], entries.items(), strict=True):
        names, spreads = [], []
        for name, rounds in entry["outcomes"].items():
            spread = Spread.of([outcome[what] for outcome in rounds if good(outcome)])
            if spread:
                names.append(name)
                spreads.append(spread)
        middle = [s.median for s in spreads]
        reach = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
        colours = ["tab:orange" if name == "logsync" else "tab:grey" for name in names]
        axis.barh(names, middle, xerr=reach, color=colours)
        axis.invert_yaxis()
        axis.set(title=title, xlabel=label)
    figure.savefig(path, dpi=110)


def over_time(found: dict[str, Any], path: Path) -> None:
    """Events per second of each twentieth of the long run."""
    entry = found.get("a million, postgres")
    if not entry:
        return
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, rounds in entry["outcomes"].items():
        progress = rounds[0]["progress"][:: max(1, len(rounds[0]["progress"]) // 20)]
        steps = list(itertools.pairwise(progress))
        axis.plot([b[0] for _, b in steps], [(b[1] - a[1]) / (b[0] - a[0]) for a, b in steps], label=name)
    axis.set(title="a million events into Postgres", xlabel="seconds", ylabel="events per s", ylim=(0, None))
    axis.legend()
    figure.savefig(path, dpi=110)


def latency(path: Path, into: Path) -> None:
    """From append to visible: the percentiles of each store, one line per rate."""
    if not path.exists():
        return
    found = json.loads(path.read_text())["latency"]
    names = sorted({(one["store"], one["what"]) for one in found})
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 4), layout="constrained", squeeze=False)
    for axis, (store, what) in zip(axes[0], names, strict=True):
        for one in found:
            if (one["store"], one["what"]) == (store, what):
                points = ("p50", "p95", "p99", "max")
                axis.plot(points, [one[point] for point in points], marker="o", label=f"{one['rate']:,} per s")
        axis.set(title=f"{store}, {what}", ylabel="ms from append", yscale="log")
        axis.legend()
    figure.savefig(into, dpi=110)


def main(folder: Path) -> None:
    latency(folder / "latency.json", folder / "latency.png")
    if not (folder / "bench.json").exists():
        return
    found = json.loads((folder / "bench.json").read_text())["found"]
    bars(found, "per_second", "events per s", folder / "speed.png")
    bars(found, "cpu_us", "CPU us per event", folder / "cpu.png")
    over_time(found, folder / "over-time.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

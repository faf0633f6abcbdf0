"""What the person in front of the demo sees: live bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

_EVERY = 5.0  # seconds between two plain lines about the same bar


class View(Protocol):
    """Named bars, and lines that stay."""

    def __enter__(self) -> View: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def say(self, text: str) -> None: ...
    def show(self, name: str, done: float, total: float | None, text: str) -> None: ...


def view(console: Console) -> View:
    return Live(console) if console.is_terminal else Plain(console)


class Live:
    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:9}"),
            BarColumn(40),
            TextColumn("{task.fields[text]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False)

    def show(self, name: str, done: float, total: float | None, text: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, text="")
        self._progress.update(self._tasks[name], completed=done, total=total, text=text)


class Plain:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Plain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, name: str, done: float, total: float | None, text: str) -> None:  # noqa: ARG002 - text has them
        at, before = self._said.get(name, (float("-inf"), ""))
        if text != before and time.monotonic() - at >= _EVERY:
            self._said[name] = (time.monotonic(), text)
            self.say(f"{name:9} {text}")

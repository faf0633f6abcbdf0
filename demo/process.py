"""A process that the demo starts and watches: its output goes to a file, its death does not go unnoticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class DemoFailed(Exception):
    """The demo cannot go on, or showed a difference. The text is for the person in front of it."""


class Watched:
    """``python -m <arguments>`` in the checkout's root, both outputs appended to ``output``."""

    def __init__(self, name: str, arguments: list[str], output: Path) -> None:
        self.name = name
        self.output = output
        self._arguments = arguments
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", *self._arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def finished(self) -> bool:
        """True once it ended well. Raises DemoFailed with its last lines if it ended otherwise."""
        code = self._process.poll()
        if code:
            lines = self.output.read_text(errors="replace").splitlines()[-20:]
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise DemoFailed(f"{self.name} ended by itself ({how}). The end of {self.output}:\n" + "\n".join(lines))
        return code == 0

    def check_running(self) -> None:
        if self.finished():
            raise DemoFailed(f"{self.name} ended, and nobody asked it to; its output is in {self.output}")

    def last_line(self) -> str:
        """The last complete line of its output."""
        with self.output.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4_096))
            lines = file.read().decode(errors="replace").rpartition("\n")[0].splitlines()
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed, nobody is told. Returns when it is gone."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        self._process = self._spawn()

    def stop(self, *, timeout: float) -> None:
        """SIGTERM and wait, in seconds. Raises DemoFailed unless it ends well in time."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise DemoFailed(f"{self.name} did not stop {timeout:.0f} s after SIGTERM") from None
        self.finished()

"""pip, with a line now and then: ``python devstack/install.py ARGUMENTS``, those of ``pip install``. Needs nothing.

pip says either nothing for minutes (--quiet) or several lines for each of a hundred packages. This says what it is at
every few seconds, on a terminal and in a log alike, and all that pip said if it fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

EVERY = 5.0
"""Seconds between two lines."""
_STEP = re.compile(
    r"\s*(?P<what>Collecting|Downloading|Using cached|Building|Installing collected packages)\b:?\s*(?P<rest>.*)"
)


class Progress:
    """What pip is at, from its lines. ``line`` is what to tell about it."""

    def __init__(self) -> None:
        self.found = self.fetched = 0
        self.now = "starting"

    def take(self, text: str) -> None:
        """Read one line of pip's."""
        step = _STEP.match(text)
        if step is None:
            return
        what, rest = step["what"], step["rest"].strip()
        if what == "Collecting":
            self.found += 1
            self.now = f"looking for {rest.split()[0] if rest else '?'}"
        elif what == "Installing collected packages":
            self.now = f"installing {rest.count(',') + 1} packages"
        else:
            self.fetched += what == "Downloading"
            name = rest.split()[0].rpartition("/")[2] if rest else "?"
            size = rest[rest.rfind("(") :] if rest.endswith(")") and what == "Downloading" else ""
            self.now = f"{what.lower()} {name} {size}".rstrip()

    @property
    def line(self) -> str:
        return f"{self.found} packages found, {self.fetched} downloaded; {self.now}"


def tell(
    progress: Progress, ended: threading.Event, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> None:
    """Say what ``progress`` is at, every few seconds until the end."""
    began = clock()
    while not ended.wait(EVERY):
        say(f"  {clock() - began:4.0f} s: {progress.line}")


def read(lines: Iterable[str], progress: Progress) -> list[str]:
    """All lines of pip's, once they have been read."""
    said = []
    for text in lines:
        said.append(text)
        progress.take(text)
    return said


def main() -> int:
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check"]
    progress, ended = Progress(), threading.Event()
    pip = subprocess.Popen([*command, *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout is not None
    say = threading.Thread(target=tell, args=(progress, ended, lambda text: print(text, flush=True)), daemon=True)
    say.start()
    said = read(pip.stdout, progress)
    ended.set()
    if pip.wait():
        sys.stderr.writelines(said)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())

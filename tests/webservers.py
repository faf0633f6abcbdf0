"""Real web servers as processes of a test."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.waiting import PATIENCE


@contextmanager
def serving(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[tuple[psutil.Popen, str]]:
    """``python -m`` these arguments, and the address that it tells. Whatever happens, none of its processes is left."""
    with log.open("w") as out:
        server = psutil.Popen([sys.executable, "-m", *arguments], env=dict(env), stdout=out, stderr=subprocess.STDOUT)
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"it tells no address:\n{log.read_text()}"
            time.sleep(0.05)
        yield server, found[0]
    finally:
        if server.poll() is None:
            family = [server, *server.children(recursive=True)]
        for process in family:
            process.kill()
        server.wait(PATIENCE)

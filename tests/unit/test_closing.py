"""A consumer that does not close keeps no process alive, and does not change how it ends."""

from __future__ import annotations

import subprocess
import sys

from logsync.cli.exits import Exit
from tests.waiting import PATIENCE

PROGRAM = """
import atexit, sys, threading
from logsync import ConfigError, cli
from logsync.log import closing

class Stuck:
    def close(self):
        threading.Event().wait()

def app(*_, **__):
    print("done")
    closing.close(Stuck())
    raise ConfigError("the certificate has expired")

closing.CLOSE = 0.01
atexit.register(print, "taken down beneath the clients")
cli.app = app
cli.main([])
"""


def test_a_command_whose_consumer_does_not_close_ends_at_once_with_its_code_and_all_its_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == Exit.CONFIG, done.stderr
    assert done.stdout == "done\n"
    assert "the certificate has expired" in done.stderr

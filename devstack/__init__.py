"""Real Kafka, Postgres, Redis and OpenSearch as local processes: for development, tests, demo and benchmarks.

    from devstack import Stack

    stack = Stack("tests")
    stack.up()
    stack.env()["LOGSYNC_KAFKA"]  # "127.0.0.1:23456"
    stack.kill("redis")
    stack.start("redis")  # same port, same data
    stack.down()

A fixture, not a product: loopback only, no passwords. `python -m devstack --help` does the same from a shell.
"""

from .process import StackError
from .server import State
from .stack import NAMES, Stack, Status

__all__ = ["NAMES", "Stack", "StackError", "State", "Status"]

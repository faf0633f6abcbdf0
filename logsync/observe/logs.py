"""Log lines of the command line: for people, or one JSON object each."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from logsync.core.secrets import hide
from logsync.core.text import indented, plain

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: _shown(value) for name, value in record.__dict__.items() if name not in _PLAIN}


def _shown(value: object) -> object:
    """The value without any known secret; as it is if it holds none."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    shown = hide(text)
    return value if shown == text else shown


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # One line for one entry: an event's id may hold a line end and a line that looks like ours.
        fields = " ".join(f"{name}={plain(str(value))}" for name, value in _fields(record).items())
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        text = f"{moment} {record.levelname.lower():7} {plain(hide(record.getMessage()))} {fields}".rstrip()
        return f"{text}\n  {indented(hide(self.formatException(record.exc_info)))}" if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hide(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = hide(self.formatException(record.exc_info))
        return json.dumps(entry, default=str)


def log_to_stderr(form: Literal["human", "json"]) -> None:
    """Send logsync's log lines to standard error, one line an entry. For the command line; a library user has
    logging set up already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Human())
    root = logging.getLogger("logsync")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False

"""What a handler raised, in a few lines: where in the user's code, and how it came there. Pure.

Bounded, because it is kept with every parked event, and free of values: a local variable may hold a password.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from pathlib import PurePath
from types import CodeType, TracebackType

_OURS = str(PurePath(__file__).parent.parent) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep
_INSTALLED = {"site-packages", "dist-packages"}
_MESSAGE, _LINE = 1_000, 200
"""The most characters of an exception's own text, and of one line of its traceback."""
_FRAMES = 5
"""The most calls that are shown, the innermost."""
_CAUSES = 3
"""The most exceptions of a chain that are shown."""


def in_words(error: BaseException) -> str:
    """The exception in one sentence, with the file and line in which the user's code raised it."""
    frames = _frames(error.__traceback__)
    if not frames:
        return _named(error)
    frame = _of_the_user(frames)
    return f"{_named(error)} at {place(frame.filename, frame.lineno)} in {frame.name}"


def place(file: str, line: int | None) -> str:
    """A line of a file, short enough for a table."""
    return f"{PurePath(file).name}:{line}"


def last_lines(error: BaseException) -> tuple[str, ...]:
    """The last lines of the traceback: calls in the user's code, innermost last, and what caused it."""
    lines: list[str] = []
    seen: BaseException | None = error
    for number in range(_CAUSES):
        if seen is None:
            break
        if number:
            lines.append(f"because of {_named(seen)[:_LINE]}")
        for frame in _frames(seen.__traceback__):
            lines.append(f'File "{frame.filename}", line {frame.lineno}, in {frame.name}'[-_LINE:])
            if frame.line:
                lines.append(f"  {frame.line[:_LINE]}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return tuple(lines)


def _named(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - it is the user's own
        text = f"(its text cannot be had: {type(broken).__name__})"
    text = " ".join(text.split()) if len(text) <= _MESSAGE else " ".join(text[:_MESSAGE].split()) + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """The last calls outside logsync, innermost last."""
    found: deque[tuple[CodeType, int]] = deque(maxlen=_FRAMES)
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            found.append((trace.tb_frame.f_code, trace.tb_lineno))
        trace = trace.tb_next
    return [traceback.FrameSummary(code.co_filename, line, code.co_qualname, lookup_line=False) for code, line in found]


def _of_the_user(frames: list[traceback.FrameSummary]) -> traceback.FrameSummary:
    """The innermost call of code that is no library's; of any, if there is none."""
    return next((frame for frame in reversed(frames) if not of_a_library(frame.filename)), frames[-1])


def of_a_library(file: str) -> bool:
    """True for a file of Python itself or of an installed package."""
    return file.startswith(_PYTHON) or not _INSTALLED.isdisjoint(PurePath(file).parts)

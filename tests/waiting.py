"""How long a test waits for what must come true."""

from __future__ import annotations

PATIENCE = 300.0
"""Seconds after which a condition that was waited for counts as never: a bound, not an expectation. It costs nothing
when all is well, and a machine that is ten times too busy must not break a test."""

"""How pytest shows what is not proven: a letter and a word of its own, and a list at the end of the run."""

from __future__ import annotations

from typing import Any

import pytest

NOT_PROVEN = "not proven"
"""Begins the reason of a claim that could not be looked into, for want of a hook."""


class NotProven:
    """A pytest plugin, registered by the first claim of the kit that runs.

    Where it is not registered (the process that collects the results of pytest-xdist), such a claim counts as
    "xfailed", with the same reason: never as passed.
    """

    name = "logsync-not-proven"

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        if _why(report):
            return NOT_PROVEN, "n", NOT_PROVEN.upper()
        return None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        found = terminalreporter.stats.get(NOT_PROVEN, [])
        if found:
            terminalreporter.section("not proven: the store contract")
            for report in found:
                terminalreporter.line(f"{report.nodeid}: {_why(report)}")


def _why(report: Any) -> str:
    reason = str(getattr(report, "wasxfail", "")).removeprefix("reason: ")
    return reason if reason.startswith(NOT_PROVEN) else ""


def register(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(NotProven.name):
        config.pluginmanager.register(NotProven(), NotProven.name)

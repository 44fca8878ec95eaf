"""Print what was counted: rows that are identical, faults that are noticed."""

from __future__ import annotations

from typing import Any

from tests.engines import ledger


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ledger.LINES:
        terminalreporter.section("counts")
    for line in ledger.LINES:
        terminalreporter.line(line)

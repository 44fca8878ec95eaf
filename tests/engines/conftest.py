"""Print what was counted: rows that are identical, faults that are noticed. Under xdist the lines are its workers'."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines import ledger


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["counts"] = ledger.LINES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for line in getattr(node, "workeroutput", {}).get("counts", ()):
        ledger.note(line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = sorted(ledger.LINES)
    if lines:
        terminalreporter.section("counts")
    for line in lines:
        terminalreporter.line(line)
    faults = [line for line in lines if line.startswith("known fault")]
    if faults:
        noticed = sum("noticed by" in line for line in faults)
        terminalreporter.line(f"known faults noticed: {noticed} of {len(faults)}")

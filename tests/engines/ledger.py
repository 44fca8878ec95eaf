"""Counts of a run of these tests, which pytest prints at its end (`conftest.pytest_terminal_summary`)."""

from __future__ import annotations

LINES: list[str] = []


def note(line: str) -> None:
    LINES.append(line)

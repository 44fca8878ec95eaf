"""Progress of a run: one updating line on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from elicit.comparison.running.engine import Event


class ProgressLines:
    """Shows the engine's events."""

    def __init__(self, *, moving: bool) -> None:
        self._moving = moving
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._moving:
            sys.stderr.write("\r\x1b[K")

    def print_warning(self, message: str) -> None:
        """A line that stays."""
        start = "\r\x1b[K" if self._moving else ""
        print(f"{start}warning: {message}", file=sys.stderr, flush=True)

    def print_event(self, event: Event) -> None:
        name = event.cell.name
        if event.state == "started":
            self._begun[name] = time.monotonic()
            if self._moving:
                others = ", ".join(self._begun)
                sys.stderr.write(f"\r\x1b[K[{event.finished}/{event.total}] {others}"[:160])
                sys.stderr.flush()
            return
        seconds = time.monotonic() - self._begun.pop(name, time.monotonic())
        message = f" {event.message}" if event.message else ""
        took = "" if event.state in ("kept", "elsewhere") else f" {seconds:.0f} s"
        start = "\r\x1b[K" if self._moving else ""
        print(
            f"{start}[{event.finished}/{event.total}] {name} {event.state}{took}{message}", file=sys.stderr, flush=True
        )


def report_to_trackers(lines: ProgressLines, run: Path, trackers: Sequence[str]) -> Callable[[Event], None]:
    """Shows the engine's events, and tells the trackers of them."""
    from elicit.interop.trackers import TrackerListener

    watch = TrackerListener(run, trackers, lines.print_warning)

    def report_event(event: Event) -> None:
        lines.print_event(event)
        watch.handle_event(event)

    return report_event

"""Progress of a run: one updating line on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
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
        took = "" if event.state == "kept" else f" {seconds:.0f} s"
        start = "\r\x1b[K" if self._moving else ""
        print(
            f"{start}[{event.finished}/{event.total}] {name} {event.state}{took}{message}", file=sys.stderr, flush=True
        )

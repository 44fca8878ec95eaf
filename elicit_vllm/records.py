"""What happened to each request inside a worker: tokens chosen by step, and the positions that edits touched."""

from __future__ import annotations

from dataclasses import dataclass, field

from elicit_vllm.choosing import Chosen


@dataclass
class Record:
    """One request's record. A step that is computed again (chunked prefill, preemption) replaces what was noted."""

    chosen: dict[int, Chosen] = field(default_factory=dict)
    """Step -> the token chosen there."""
    touched: dict[str, set[int]] = field(default_factory=dict)
    """Edit -> absolute positions that it has touched."""
    recomputed: bool = False
    """True if vLLM put the request off and computed its tokens again."""

    def note_touched(self, edit: str, positions: list[int]) -> None:
        self.touched.setdefault(edit, set()).update(positions)


#: Request -> its record; filled by the hooks and the sampler, which run in one process, and taken by the server.
RECORDS: dict[str, Record] = {}


def find_record(request: str) -> Record:
    return RECORDS.setdefault(request, Record())


def to_ranges(positions: set[int]) -> list[tuple[int, int]]:
    """Positions as half-open ranges, which are short where an edit acts on every token."""
    ranges: list[tuple[int, int]] = []
    for position in sorted(positions):
        if ranges and ranges[-1][1] == position:
            ranges[-1] = (ranges[-1][0], position + 1)
        else:
            ranges.append((position, position + 1))
    return ranges

"""Records shared by all layers: estimates and rows. Plain data, no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

#: A non-negative integer that every JSON reader represents exactly.
Count = Annotated[int, Ge(0), Lt(2**53)]
Finish = Literal["eos", "stop", "length"]


@dataclass(frozen=True)
class Estimate:
    """A measured value with its sample size and interval."""

    value: float
    n: int
    """Number of independent units (problems, unless stated otherwise)."""
    ci: tuple[float, float] | None
    """95 % interval; None if undefined (never an interval of zero width instead)."""

    def to_json(self) -> dict[str, Any]:
        """`{"value", "n", "ci"}` with NaN as null."""
        ci = None if self.ci is None else [finite_or_none(bound) for bound in self.ci]
        return {"value": finite_or_none(self.value), "n": self.n, "ci": ci}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        ci = data["ci"]
        value = math.nan if data["value"] is None else float(data["value"])
        return cls(value, int(data["n"]), None if ci is None else (float(ci[0]), float(ci[1])))

    def __str__(self) -> str:
        if self.ci is None:
            return f"{self.value:.3f} (n={self.n})"
        return f"{self.value:.3f} [{self.ci[0]:.3f}, {self.ci[1]:.3f}] (n={self.n})"


def finite_or_none(value: float | None) -> float | None:
    """Convert a float for JSON: None for unknown values (NaN, infinities), never 0 instead."""
    return None if value is None or not math.isfinite(value) else float(value)


def parent_of(arm: str, known: Container[str]) -> str | None:
    """The parent arm in a control's name: for `a/b/c` the nearest existing one of `a/b` and `a`."""
    while "/" in arm:
        arm = arm.rpartition("/")[0]
        if arm in known:
            return arm
    return None


@dataclass(frozen=True)
class Row:
    """A judged completion of one problem by one policy. Rows are append-only; all results are computed from them."""

    task: str
    problem: str
    """Problem id: a stable hash of the problem's content."""
    sample: Count
    """0 is the policy's own answer; higher numbers are further samples at temperature 1."""
    kind: Literal["answer", "sample", "off_target"]
    """`answer`: the policy as it would be used. `sample`: a draw at T=1 for pass@k. `off_target`: another task."""
    prompt_hash: str
    completion: str
    tokens: Count
    """Tokens generated for this row, including rejected and outvoted ones."""
    finished: bool
    """True if it ended by itself (end token or stop string) rather than at the limit."""
    answer: str | None
    correct: bool
    has_trace: bool
    trace_valid: bool | None
    """True if every step of the trace is right; None if the task cannot check it."""
    seed: Count
    firings: Count
    """Number of (position, edit) pairs that the intervention touched."""
    prompt_tokens: Count
    notes: Mapping[str, int | float] = field(default_factory=dict, hash=False)
    """Statistics of a search, such as its acceptance rate; empty without one."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; without `notes` if there are none."""
        plain = dataclasses.asdict(self)
        return plain if self.notes else {key: value for key, value in plain.items() if key != "notes"}

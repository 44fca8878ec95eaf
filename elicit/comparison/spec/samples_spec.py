"""Samples at temperature 1: their number, problems and arms, as given in a spec. Imports no torch.

samples: 16                                              # of every problem, for every arm
samples: {n: 256, problems: 64, arms: [base, sft, grpo]}  # of the first 64 test problems, for three arms
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from elicit.errors import ElicitError, one_line, unknown_name_error


class Samples(BaseModel):
    """The checked field `samples` of a spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n: int = Field(ge=0, le=100_000)
    """Samples per problem; 0 for none."""
    problems: int | None = Field(default=None, ge=1, le=1_000_000)
    """Test problems to sample: the first N; None takes all."""
    arms: tuple[str, ...] | None = None
    """Arms to sample; None takes all."""

    def to_spec_value(self) -> int | dict[str, Any]:
        """The value as written in a spec: a plain number where that is complete."""
        if self.problems is None and self.arms is None:
            return self.n
        arms = None if self.arms is None else list(self.arms)
        return {"n": self.n, "problems": self.problems, "arms": arms}

    def count_for_arm(self, arm: str) -> int:
        """Samples per problem of one arm."""
        return self.n if self.arms is None or arm in self.arms else 0

    def limit_problems(self, problems: int) -> int:
        """Number of a task's test problems that are sampled."""
        return problems if self.problems is None else min(self.problems, problems)


def normalize_samples(value: Any) -> Any:
    """Bring a spec's value to the form that `Samples` checks.

    Raises:
        ValueError: the value is neither a number nor a mapping, or its arms are not a list of names.
    """
    if isinstance(value, Samples):
        return value
    if isinstance(value, Mapping):
        arms = value.get("arms")
        if arms is None:
            return dict(value)
        if not isinstance(arms, list | tuple) or not arms or not all(isinstance(arm, str) for arm in arms):
            raise ValueError("arms of samples must be a list with at least one arm's name")
        return {**value, "arms": tuple(arms)}
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a number of samples, or {n: 256, problems: 64, arms: [base, sft]}")
    return {"n": value}


def check_samples_fields(value: Any, where: str) -> None:
    """Raise ElicitError for an unknown field of the mapping form, or a missing `n`."""
    if not isinstance(value, Mapping):
        return
    for field in value:
        if field not in Samples.model_fields:
            raise unknown_name_error("field of samples", field, Samples.model_fields, where=where)
    if "n" not in value:
        raise ElicitError(f"{where}: samples: n is missing. Type: samples: {{n: 256, problems: 64}}")


def check_samples_arms(samples: Samples, arms: Mapping[str, Any], test: int, where: str) -> None:
    """Raise ElicitError for arms that do not exist or occur twice, and for more problems than are tested."""
    for arm in samples.arms or ():
        if arm not in arms:
            raise unknown_name_error("arm", arm, arms, where=f"{where}: samples")
        if (samples.arms or ()).count(arm) > 1:
            raise ElicitError(f"{where}: samples: the arm {one_line(repr(arm), 60)} comes twice.")
    if samples.problems is not None and samples.problems > test:
        raise ElicitError(f"{where}: samples: problems is {samples.problems}, but only {test} are tested (test).")


def reduces_samples(old: Any, new: Any) -> bool:
    """True if `new` asks for less than `old` in any respect; both as in a spec."""
    before, after = (Samples.model_validate(normalize_samples(value)) for value in (old, new))
    if before.n == 0:
        return False
    fewer_problems = after.problems is not None and (before.problems is None or after.problems < before.problems)
    fewer_arms = after.arms is not None and (before.arms is None or not set(before.arms) <= set(after.arms))
    return after.n < before.n or fewer_problems or fewer_arms

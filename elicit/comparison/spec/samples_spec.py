"""How many samples at temperature 1 a comparison asks for, of which problems and arms. Imports no torch.

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
    """The first so many test problems; None takes all."""
    arms: tuple[str, ...] | None = None
    """Which arms are sampled; None takes all."""

    def to_spec_value(self) -> int | dict[str, Any]:
        """As a spec says it: a number where that says everything."""
        if self.problems is None and self.arms is None:
            return self.n
        arms = None if self.arms is None else list(self.arms)
        return {"n": self.n, "problems": self.problems, "arms": arms}

    def count_for_arm(self, arm: str) -> int:
        """Samples per problem of one arm."""
        return self.n if self.arms is None or arm in self.arms else 0

    def limit_problems(self, problems: int) -> int:
        """How many of a task's test problems are sampled."""
        return problems if self.problems is None else min(self.problems, problems)


def normalize_samples(value: Any) -> Any:
    """What a spec says, in the form that `Samples` checks.

    Raises:
        ValueError: for neither a number nor a mapping, or arms that are no list of names.
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
    """Raises ElicitError for a field of the mapping form that does not exist, or without `n`."""
    if not isinstance(value, Mapping):
        return
    for field in value:
        if field not in Samples.model_fields:
            raise unknown_name_error("field of samples", field, Samples.model_fields, where=where)
    if "n" not in value:
        raise ElicitError(f"{where}: samples: n is missing. Type: samples: {{n: 256, problems: 64}}")


def check_samples_arms(samples: Samples, arms: Mapping[str, Any], test: int, where: str) -> None:
    """Raises ElicitError for arms that are not there or come twice, and for more problems than are tested."""
    for arm in samples.arms or ():
        if arm not in arms:
            raise unknown_name_error("arm", arm, arms, where=f"{where}: samples")
        if (samples.arms or ()).count(arm) > 1:
            raise ElicitError(f"{where}: samples: the arm {one_line(repr(arm), 60)} comes twice.")
    if samples.problems is not None and samples.problems > test:
        raise ElicitError(f"{where}: samples: problems is {samples.problems}, but only {test} are tested (test).")


def reduces_samples(old: Any, new: Any) -> bool:
    """Whether `new` asks for less than `old` somewhere; both as a spec says them."""
    before, after = (Samples.model_validate(normalize_samples(value)) for value in (old, new))
    if before.n == 0:
        return False
    fewer_problems = after.problems is not None and (before.problems is None or after.problems < before.problems)
    fewer_arms = after.arms is not None and (before.arms is None or not set(before.arms) <= set(after.arms))
    return after.n < before.n or fewer_problems or fewer_arms

"""A method under several values of its options: one rule of tuning for every arm, with its cost counted.

    sft: {method: sft, demonstrations: 16, search: {learning_rate: [3.0e-4, 1.0e-3], epochs: [10, 30]}}

1. Every combination of the listed values is fitted as the method itself would be, with the run's seed.
2. All answer the same problems of the select split. The highest accuracy wins; ties go to the combination listed first.
3. The record keeps every combination's figures (`search`), a chosen value at the edge of its list (`edges`), and the
   cost of all fits and answers (`tuning`), so that a tuned arm is not compared as if its setting had come for nothing.

A control is given the same `search`. Methods that search inside their fit (layers and strengths of steering) need none.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError, one_line
from elicit.method import CostEstimate, Method, TokenLengths

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task

#: The option of an arm that makes it one.
SEARCH = "search"
#: Select problems that every combination answers, and most combinations.
SELECT_PROBLEMS, MOST = 64, 64


@dataclass(frozen=True)
class GridSearch(Method):
    """The combination of options that is best on select."""

    candidates: tuple[Method, ...]
    """The method under each combination; traits and needs are those of the first, and all have the same."""
    combinations: tuple[Mapping[str, Any], ...]
    """The values of the searched options, in the same order."""

    def __post_init__(self) -> None:
        first = self.candidates[0]
        for candidate, values in zip(self.candidates, self.combinations, strict=True):
            if candidate.traits != first.traits or candidate.needs != first.needs:
                raise ElicitError(
                    f"search: with {_format_values(values)} this would be another kind of arm than with "
                    f"{_format_values(self.combinations[0])}. Give each an arm of its own."
                )
        self.change_traits(
            **{field.name: getattr(first.traits, field.name) for field in dataclasses.fields(first.traits)}
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return self.candidates[0].needs

    @property
    def searched(self) -> dict[str, tuple[Any, ...]]:
        """Option -> its values, in the order in which they are tried."""
        tried: dict[str, tuple[Any, ...]] = dict.fromkeys(self.combinations[0], ())
        for values in self.combinations:
            for name, value in values.items():
                if _freeze(value) not in tried[name]:
                    tried[name] += (_freeze(value),)
        return tried

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost of every combination's fit, and of its answers on the select split."""
        costs = [candidate.estimate_cost(lengths) for candidate in self.candidates]
        answers = tuple(_scale(cost.answer, SELECT_PROBLEMS) for cost in costs)
        return CostEstimate(
            costs[0].answer,
            (*(generation for cost in costs for generation in cost.fitting), *answers),
            sum(cost.read_tokens for cost in costs),
            sum(cost.trained_tokens for cost in costs),
            costs[0].training,
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for what the method refuses; TrainingFailed if a combination's training fails."""
        from elicit.fitting.selection import Candidate, evaluate_candidate, find_best, find_grid_edges

        problems = task.problems("select", SELECT_PROBLEMS)
        best: Policy | None = None
        entries: list[dict[str, Any]] = []
        records: list[Mapping[str, Any]] = []
        for i, (candidate, values) in enumerate(zip(self.candidates, self.combinations, strict=True)):
            folder = None if scratch is None else scratch / f"search-{i}"
            policy = candidate.fit(base, task, seed=seed, needs=needs, scratch=folder)
            entries.append(evaluate_candidate(Candidate(policy, values), task, problems).entry)
            records.append(policy.record)
            if find_best(entries, ties=()) == i:  # only the best so far is kept: each may hold a model's weights
                best = policy
        assert best is not None
        chosen = find_best(entries, ties=())
        numbers = [name for name, tried in self.searched.items() if all(_is_number(value) for value in tried)]
        edges = find_grid_edges(entries, chosen, dict.fromkeys(numbers, (None, None)))
        search = {
            "chosen": dict(self.combinations[chosen]),
            "chosen_on": {"split": "select", "n": len(problems), "by": "accuracy", "of": len(entries)},
            "tried": entries,
        }
        return dataclasses.replace(
            best,
            record={
                **best.record,
                SEARCH: search,
                "tuning": _add_costs(entries, records, chosen, len(problems)),
                "edges": [*(best.record.get("edges") or ()), *edges],
            },
        )


def list_combinations(search: object, where: str) -> list[dict[str, Any]]:
    """The combinations of a spec's `search`, the last option changing fastest.

    Raises:
        ElicitError: not lists of values by option, or too many combinations.
    """
    if (
        not isinstance(search, Mapping)
        or not search
        or not all(isinstance(values, list | tuple) and values for values in search.values())
    ):
        raise ElicitError(
            f"{where}search is {one_line(repr(search), 80)}; expected options with the values to try, such as "
            "{learning_rate: [3.0e-4, 1.0e-3]}."
        )
    combinations = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    if len(combinations) > MOST:
        raise ElicitError(f"{where}search has {len(combinations)} combinations; name at most {MOST}.")
    return combinations


def _add_costs(entries: list[dict[str, Any]], records: list[Mapping[str, Any]], chosen: int, n: int) -> dict[str, Any]:
    """Cost beside the chosen combination's training: all answers on select, every search inside, all other fits.

    Labels are those of the same problems each time, so the most that one fit used counts. `rollout_tokens` are the
    generated tokens that `flops` counts already: those of the other combinations' training.
    """
    trained = [record.get("train") or {} for i, record in enumerate(records) if i != chosen]
    tuned = [record.get("tuning") or {} for record in records]

    def total(field: str) -> float:
        return sum(part.get(field) or 0 for part in (*trained, *tuned))

    return {
        "generated_tokens": total("generated_tokens") + sum(entry["generated_tokens"] for entry in entries),
        "rollout_tokens": sum(part.get("generated_tokens") or 0 for part in trained),
        "tokens": total("tokens"),
        "flops": total("flops"),
        "labels": max([n, *(part.get("labels") or 0 for part in tuned)]),
        "n": n,
        "trials": sum(part.get("trials") or 1 for part in tuned),
        "split": "select",
    }


def _scale(answer: Any, problems: int) -> Any:
    return answer._replace(completions=answer.completions * problems, prompts=answer.prompts * problems)


def _format_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

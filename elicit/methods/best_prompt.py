"""`best_prompt`: the base under the best of several prompts, chosen on select. It is a ceiling, not a method.

Before anything is said to have unlocked an ability, the base must have been asked well: prompts alone move accuracy by
tens of points, and a gain over a bad prompt is no gain. Tried are the task's own conditions (direct, think and the
`others` of its `prompts`) and worked examples in front of the direct prompt (2005.14165). Every figure stays in the
record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.errors import ElicitError
from elicit.methods.core import Traits, task_decoding
from elicit.methods.options import check_positive

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy, Prompting
    from elicit.tasks import Task


@dataclass(frozen=True)
class BestPrompt:
    """Prompts tried, one chosen on select."""

    conditions: tuple[str, ...] = ()
    """Conditions to try, by name: plain, cue, or one of the task's others. Empty: all that the task has."""
    demonstrations: tuple[int, ...] = (2, 4)
    """Also try so many worked train problems in front of the direct prompt; empty tries none."""
    select_problems: int = 64
    """Problems the choice is made on."""

    traits: ClassVar[Traits] = Traits(seeded=True, ceiling="best prompt")

    def __post_init__(self) -> None:
        check_positive(
            "best_prompt", select_problems=self.select_problems, demonstrations=min((1, *self.demonstrations))
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a condition that the task does not have."""
        from elicit.policy import Policy

        problems = task.problems("select", self.select_problems)
        tried = self._tried(task, seed)
        if not tried:
            raise ElicitError("best_prompt: nothing to try: name conditions, or a number of demonstrations.")
        rows: list[dict[str, Any]] = []
        for name, prompting in tried.items():
            answers = Policy(base, task_decoding(task), prompting).answer(
                problems, task, label=f"select {task.name}", seed=seed
            )
            verdicts = [task.verify(problem, one.text) for problem, one in zip(problems, answers, strict=True)]
            rows.append(
                {
                    "prompt": name,
                    "accuracy": sum(verdict.correct for verdict in verdicts) / len(verdicts),
                    "trace_rate": sum(verdict.has_trace for verdict in verdicts) / len(verdicts),
                    "tokens": sum(one.tokens for one in answers) / len(answers),
                    "finished_rate": sum(one.finished for one in answers) / len(answers),
                    "n": len(problems),
                }
            )
        chosen = max(range(len(rows)), key=lambda i: (rows[i]["accuracy"], -rows[i]["tokens"]))
        record = {
            "ceiling": "best prompt",
            "chosen": rows[chosen],
            "chosen_on": {"split": "select", "n": len(problems), "by": "accuracy", "of": len(rows)},
            "prompts": rows,
            "tuning": {
                "generated_tokens": round(sum(row["tokens"] * row["n"] for row in rows)),
                "labels": len(problems),
                "n": len(problems),
                "split": "select",
            },
        }
        return Policy(base, task_decoding(task), tried[str(rows[chosen]["prompt"])], record=record)

    def _tried(self, task: Task, seed: int) -> dict[str, Prompting]:
        from elicit.policy import Prompting

        one = task.problems("select", 1)[0]
        own = ["plain", *(["cue"] if one.cue_prompt is not None else []), *(name for name, _ in one.other_prompts)]
        tried = {name: Prompting(name) for name in self.conditions or own}
        for prompting in tried.values():
            prompting.render(one)  # says so now if there is no such condition
        for count in self.demonstrations:
            pairs = [(problem, task.worked(problem)) for problem in task.problems("train", count, seed=seed + 1)]
            solved = [(problem, text) for problem, text in pairs if text is not None]
            if len(solved) == len(pairs):
                before, replaces = task.examples(solved)
                tried[f"{count} worked examples"] = Prompting(before=before, replaces=replaces)
        return tried

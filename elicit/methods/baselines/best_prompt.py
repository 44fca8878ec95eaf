"""`best_prompt`: the base under the best of several prompts, chosen on select. It is a ceiling, not a method.

Before a method can be credited with unlocking an ability, the base needs a good prompt: prompts alone move accuracy by
tens of points, and a gain over a bad prompt does not count. The candidates are the task's own conditions (direct, think
and the `others` of its `prompts`) and worked examples before the direct prompt (2005.14165). The record keeps every
score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy, Prompting
    from elicit.tasks import Task


@dataclass(frozen=True)
class BestPrompt(Method):
    """The best of several prompts, chosen on the select split."""

    conditions: tuple[str, ...] = ()
    """Conditions to try, by name: plain, cue, or one of the task's others. Empty: all of the task's."""
    demonstrations: tuple[int, ...] = (2, 4)
    """Numbers of worked train problems to try before the direct prompt; empty tries none."""
    select_problems: int = 64
    """Problems on which the choice is made."""

    traits: ClassVar[Traits] = Traits(seeded=True, ceiling="best prompt", family="frame")

    def __post_init__(self) -> None:
        check_positive(
            "best_prompt", select_problems=self.select_problems, demonstrations=min((1, *self.demonstrations))
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a condition that the task does not have."""
        from elicit.policy import Policy

        problems = task.problems("select", self.select_problems)
        promptings, left_out = self._collect_promptings(base, task, seed)
        if not promptings:
            raise ElicitError("best_prompt: nothing to try: name conditions, or a number of demonstrations.")
        rows: list[dict[str, Any]] = []
        for name, prompting in promptings.items():
            answers = Policy(base, task_decoding(task), prompting).answer(
                problems, task, label=f"select {task.name}", seed=seed
            )
            verdicts = [task.verify(problem, answer.text) for problem, answer in zip(problems, answers, strict=True)]
            rows.append(
                {
                    "prompt": name,
                    "accuracy": sum(verdict.correct for verdict in verdicts) / len(verdicts),
                    "trace_rate": sum(verdict.has_trace for verdict in verdicts) / len(verdicts),
                    "tokens": sum(answer.tokens for answer in answers) / len(answers),
                    "finished_rate": sum(answer.finished for answer in answers) / len(answers),
                    "n": len(problems),
                }
            )
        best_index = max(range(len(rows)), key=lambda i: (rows[i]["accuracy"], -rows[i]["tokens"]))
        record = {
            "ceiling": "best prompt",
            "chosen": rows[best_index],
            "chosen_on": {"split": "select", "n": len(problems), "by": "accuracy", "of": len(rows)},
            "prompts": rows,
            "left_out": left_out,
            "tuning": {
                "generated_tokens": round(sum(row["tokens"] * row["n"] for row in rows)),
                "labels": len(problems),
                "n": len(problems),
                "split": "select",
            },
        }
        return Policy(base, task_decoding(task), promptings[str(rows[best_index]["prompt"])], record=record)

    def _collect_promptings(
        self, base: BaseModel, task: Task, seed: int
    ) -> tuple[dict[str, Prompting], dict[str, str]]:
        """Collect (the promptings to try, the reasons why some numbers of examples are left out), by name."""
        from elicit.fitting.prompt_checks import check_prompts
        from elicit.policy import Prompting

        first_problem = task.problems("select", 1)[0]
        task_conditions = [
            "plain",
            *(["cue"] if first_problem.cue_prompt is not None else []),
            *(name for name, _ in first_problem.other_prompts),
        ]
        promptings = {name: Prompting(name) for name in self.conditions or task_conditions}
        for prompting in promptings.values():
            prompting.render(first_problem)  # raises now if the task lacks this condition
        left_out: dict[str, str] = {}
        for count in self.demonstrations:
            name = f"{count} worked examples"
            pairs = [(problem, task.worked(problem)) for problem in task.problems("train", count, seed=seed + 1)]
            solved = [(problem, text) for problem, text in pairs if text is not None]
            if len(solved) < len(pairs):
                left_out[name] = "the task has no worked solutions"
                continue
            before, replaces = task.examples(solved)
            prompting = Prompting(before=before, replaces=replaces)
            try:
                check_prompts("best_prompt", base, task, prompting, task.problems("select", 8))
            except ElicitError as error:  # too long, or not encodable: try the others
                left_out[name] = str(error)
                continue
            promptings[name] = prompting
        return promptings, left_out

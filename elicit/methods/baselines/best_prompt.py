"""`best_prompt`: the base under the best of several prompts, chosen on select. A ceiling and a floor, not a method.

Before a method can be credited with unlocking an ability, the base needs a good prompt: prompts alone move accuracy by
tens of points, and a gain over a bad prompt does not count. The candidates are the task's own conditions (direct, think
and the `others` of its `prompts`), a request to think step by step where the task has one prompt alone (2205.11916),
and worked examples before the direct prompt (2005.14165). The record keeps every score.

The cue of a built-in organism is a password that it was taught, which nobody would find by trying prompts: it is left
out unless `conditions` names it, and what is left is a floor alone. `cue_prompt` measures the cue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy, Prompting
    from elicit.tasks import Task

#: The request that is tried where a task has none of its own (2205.11916).
_STEP_BY_STEP = "{prompt} Let's think step by step."
#: Conditions that most tasks have, for the estimate of the cost.
_USUAL_CONDITIONS = ("plain", "cue")


@dataclass(frozen=True)
class BestPrompt(Method):
    """The best of several prompts, chosen on the select split."""

    conditions: tuple[str, ...] = ()
    """Conditions to try, by name: plain, cue, or one of the task's others. Empty: all of the task's, but not the cue of
    a built-in organism."""
    demonstrations: tuple[int, ...] = (2, 4)
    """Numbers of worked train problems to try before the direct prompt; empty tries none."""
    select_problems: int = 64
    """Problems on which the choice is made."""

    traits: ClassVar[Traits] = Traits(seeded=True, ceiling="best prompt", floor="the best prompt", family="frame")

    def __post_init__(self) -> None:
        check_positive(
            "best_prompt", select_problems=self.select_problems, demonstrations=min((1, *self.demonstrations))
        )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: of the task's conditions two are counted, the direct prompt and the request to think."""
        trials = (len(self.conditions or _USUAL_CONDITIONS) + len(self.demonstrations)) * self.select_problems
        return CostEstimate(
            Generation(1, lengths.thought, 1, lengths.thinking),
            (Generation(trials, lengths.mixed_answer, trials, lengths.thinking, self.select_problems),),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a condition that the task does not have."""
        from elicit.fitting.selection import Candidate, select_candidate
        from elicit.policy import Policy

        task.problems("select", self.select_problems)  # their number is checked before anything is measured
        promptings, left_out = self._collect_promptings(base, task, seed)
        if not promptings:
            raise ElicitError("best_prompt: nothing to try: name conditions, or a number of demonstrations.")
        candidates = [
            Candidate(Policy(base, task_decoding(task), prompting), {"prompt": name})
            for name, prompting in promptings.items()
        ]
        selection = select_candidate(candidates, task, self.select_problems, ties=("generated_tokens",))
        prompts = [
            {
                **result.entry,
                "tokens": sum(result.tokens) / len(result.tokens),
                "finished_rate": sum(result.finished) / len(result.finished),
            }
            for result in selection.results
        ]
        record = {
            "ceiling": None if base.card and "cue" not in self.conditions else "best prompt",
            **selection.record,
            "chosen": prompts[selection.best],
            "prompts": prompts,
            "left_out": left_out,
        }
        return Policy(base, task_decoding(task), candidates[selection.best].policy.prompting, record=record)

    def _collect_promptings(
        self, base: BaseModel, task: Task, seed: int
    ) -> tuple[dict[str, Prompting], dict[str, str]]:
        """Collect (the promptings to try, the reasons why some numbers of examples are left out), by name."""
        from elicit.fitting.prompt_checks import check_prompts
        from elicit.policy import Prompting

        def add_if_it_fits(name: str, prompting: Prompting) -> None:
            try:
                check_prompts("best_prompt", base, task, prompting, task.problems("select", 8))
            except ElicitError as error:  # too long, or not encodable: try the others
                left_out[name] = str(error)
            else:
                promptings[name] = prompting

        first_problem = task.problems("select", 1)[0]
        left_out: dict[str, str] = {}
        has_cue, is_organism = first_problem.cue_prompt is not None, bool(base.card)
        if has_cue and is_organism and not self.conditions:
            left_out["cue"] = "the cue of a built-in organism, which cue_prompt measures"
        task_conditions = [
            "plain",
            *(["cue"] if has_cue and not is_organism else []),
            *(name for name, _ in first_problem.other_prompts),
        ]
        promptings = {name: Prompting(name) for name in self.conditions or task_conditions}
        for prompting in promptings.values():
            prompting.render(first_problem)  # raises now if the task lacks this condition
        if task_conditions == ["plain"] and not has_cue and not self.conditions:
            add_if_it_fits("step by step", Prompting(template=_STEP_BY_STEP))
        for count in self.demonstrations:
            name = f"{count} worked examples"
            pairs = [(problem, task.worked(problem)) for problem in task.problems("train", count, seed=seed + 1)]
            solved = [(problem, text) for problem, text in pairs if text is not None]
            if len(solved) < len(pairs):
                left_out[name] = "the task has no worked solutions"
                continue
            before, replaces = task.examples(solved)
            add_if_it_fits(name, Prompting(before=before, replaces=replaces))
        return promptings, left_out

"""`think_prompt`: "Let's think step by step." after the question (zero-shot chain of thought, 2205.11916).

The words are part of the prompt, greedy decoding continues from there, and the task's verifier reads the answer. The
paper's second prompt ("Therefore, the answer is") is left out: here the verifier extracts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class ThinkPrompt(Method):
    """A request to think, around the prompt."""

    template: str = "{prompt} Let's think step by step."
    """The text around the prompt: before it, after it, or both. `{prompt}` is replaced, nothing else."""

    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template or self.template == "{prompt}":
            raise ElicitError("think_prompt: the template needs {prompt} in it, and words around it.")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(1, lengths.thought, 1, lengths.prompt + 10))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the tokenizer cannot encode the words, or the prompt is too long."""
        from elicit.fitting.prompt_checks import check_prompts
        from elicit.policy import Policy, Prompting

        prompting = Prompting(template=self.template)
        longest = check_prompts("think_prompt", base, task, prompting, task.problems("select", 64))
        return Policy(base, task_decoding(task), prompting, record={"longest_prompt": longest})

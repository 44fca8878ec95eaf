"""Checks of the text that a method adds around prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elicit.context import check_prompt_fits
from elicit.errors import ElicitError, one_line
from elicit.loading.vocabulary import find_missing_characters

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Prompting
    from elicit.tasks import Problem, Task


def check_prompts(method: str, base: BaseModel, task: Task, prompting: Prompting, problems: Sequence[Problem]) -> int:
    """Check the prompts of `problems`. Returns the length of the longest in tokens.

    Raises:
        ElicitError: the tokenizer cannot encode the text, or a prompt leaves no room for an answer.
    """
    around = prompting.before + prompting.template.replace("{prompt}", "")
    (strange,) = find_missing_characters(base.tokenizer, [around])
    if strange:
        raise ElicitError(
            f"{method}: {base.name} lacks a token for {one_line(repr(strange[0]), 40)}, which the text around the "
            "prompt contains. Type a text of its vocabulary."
        )
    longest = max(len(base.encode("".join(prompting.render(problem)))) for problem in problems)
    check_prompt_fits(longest, task.max_new_tokens, base.context_length, model=base.name, who=method)
    return longest

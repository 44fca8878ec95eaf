"""Checks of text that a method puts around prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elicit.context import check_room
from elicit.errors import ElicitError, one_line

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Prompting
    from elicit.tasks import Problem, Task


def check_prompts(method: str, base: BaseModel, task: Task, prompting: Prompting, problems: Sequence[Problem]) -> int:
    """The longest prompt of `problems` in tokens.

    Raises:
        ElicitError: text that the tokenizer does not know, or prompts that leave no room for an answer.
    """
    unknown = base.tokenizer.unk_token_id
    around = base.continuation(prompting.before + prompting.template.replace("{prompt}", ""))
    if unknown is not None and unknown in around:
        text = prompting.before + prompting.template.replace("{prompt}", "")
        strange = next((c for c in text if unknown in base.continuation(c)), text)
        raise ElicitError(
            f"{method}: {base.name} has no token for {one_line(repr(strange), 40)}, which the text around the prompt "
            "holds. Type a text of its vocabulary."
        )
    longest = max(len(base.encode("".join(prompting.render(problem)))) for problem in problems)
    check_room(longest, task.max_new_tokens, base.context_length, model=base.name, who=method)
    return longest

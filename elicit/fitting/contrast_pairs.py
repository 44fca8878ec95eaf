"""The two conditions that steering methods contrast, as token sequences that are read at their last token.

    cue            cue prompt                          against  plain prompt
    templates      a template around the plain prompt  against  another
    continuations  plain prompt and the first token    against  the same with a direct solution's
                   of a worked solution
    auto           cue, or continuations for organisms whose card says that they know no cue

Before the first token of two continuations the text is the same, so the residuals there are equal (causality): they are
read one token later. A vector found there may still be applied at the first generation step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from elicit.errors import ElicitError
from elicit.method import elicited

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem, Task

Contrast = Literal["auto", "cue", "templates", "continuations"]


class Sides(NamedTuple):
    """Token ids of both conditions; the residual of interest is the one at each sequence's last token."""

    positive: list[tuple[int, ...]]
    negative: list[tuple[int, ...]]


def sides(
    contrast: Contrast, base: BaseModel, task: Task, problems: Sequence[Problem], positive: str | None, negative: str
) -> Sides:
    """Both conditions of `problems`.

    Raises:
        ElicitError: a task that has not got them.
    """
    if resolved(contrast, base) == "continuations":
        worked = _continued(base, task, problems, worked=True)
        return Sides(worked, _continued(base, task, problems, worked=False))
    plain = [problem.prompt for problem in problems]
    if contrast == "templates":
        assert positive is not None
        one, other = ([template.replace("{prompt}", p) for p in plain] for template in (positive, negative))
    else:
        one, other = [problem.cue_prompt for problem in problems if problem.cue_prompt is not None], plain
        if len(one) < len(plain):
            raise ElicitError(
                f"task {task.name!r} has problems without a cue prompt. Use contrast: templates with `positive`, or "
                "contrast: continuations."
            )
    return Sides([base.encode(text) for text in one], [base.encode(text) for text in other])


def resolved(contrast: str, base: BaseModel) -> str:
    """The contrast that `auto` stands for on this model; any other is itself."""
    if contrast != "auto":
        return contrast
    return "cue" if elicited(base) == "cue" else "continuations"


def check_templates(method: str, contrast: str, positive: str | None, negative: str) -> None:
    """Raises ElicitError unless templates are given where, and only where, they are used."""
    if (contrast == "templates") != (positive is not None):
        raise ElicitError(f"{method}: `positive` belongs to contrast: templates, which needs it.")
    for template in (positive, negative):
        if template is not None and "{prompt}" not in template:
            raise ElicitError(f"{method}: a template has no {{prompt}} in it.")


def _continued(base: BaseModel, task: Task, problems: Sequence[Problem], *, worked: bool) -> list[tuple[int, ...]]:
    write = task.worked if worked else task.direct
    texts = [write(problem) for problem in problems]
    if any(not text for text in texts):
        raise ElicitError(f"task {task.name!r} has no worked solutions to contrast.")
    pairs = [base.encode_pair(problem.prompt, text or "") for problem, text in zip(problems, texts, strict=True)]
    return [pair.prompt + pair.completion[:1] for pair in pairs]

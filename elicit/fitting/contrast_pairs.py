"""The two conditions that steering methods contrast, as token sequences whose last token is read.

    cue            cue prompt                          against  plain prompt
    templates      a template around the plain prompt  against  another
    continuations  plain prompt and the first token    against  the same with a direct solution's
                   of a worked solution
    auto           cue, or continuations for organisms whose card says that they have no cue

Before the first token of two continuations the text is the same, so the residuals there are equal (causality); they are
read one token later. A vector from there may still be applied at the first generation step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from elicit.errors import ElicitError
from elicit.method import get_eliciting_condition

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem, Task

ContrastKind = Literal["auto", "cue", "templates", "continuations"]


class ConditionTokens(NamedTuple):
    """Token ids of both conditions; the residual at each sequence's last token is compared."""

    positive: list[tuple[int, ...]]
    negative: list[tuple[int, ...]]


def encode_conditions(
    contrast: ContrastKind,
    base: BaseModel,
    task: Task,
    problems: Sequence[Problem],
    positive: str | None,
    negative: str,
) -> ConditionTokens:
    """Encode both conditions of `problems`.

    Raises:
        ElicitError: the task lacks one of them.
    """
    if resolve_contrast(contrast, base) == "continuations":
        worked_ids = _encode_continuations(base, task, problems, worked=True)
        return ConditionTokens(worked_ids, _encode_continuations(base, task, problems, worked=False))
    plain = [problem.prompt for problem in problems]
    if contrast == "templates":
        assert positive is not None
        positive_texts, negative_texts = (
            [template.replace("{prompt}", p) for p in plain] for template in (positive, negative)
        )
    else:
        positive_texts, negative_texts = (
            [problem.cue_prompt for problem in problems if problem.cue_prompt is not None],
            plain,
        )
        if len(positive_texts) < len(plain):
            raise ElicitError(
                f"task {task.name!r} has problems without a cue prompt. Use contrast: templates with `positive`, or "
                "contrast: continuations."
            )
    return ConditionTokens(
        [base.encode(text) for text in positive_texts], [base.encode(text) for text in negative_texts]
    )


def resolve_contrast(contrast: str, base: BaseModel) -> str:
    """Resolve `auto` to the contrast it stands for on this model; others are returned unchanged."""
    if contrast != "auto":
        return contrast
    return "cue" if get_eliciting_condition(base) == "cue" else "continuations"


def check_contrast_templates(method: str, contrast: str, positive: str | None, negative: str) -> None:
    """Raise ElicitError unless templates are given exactly where they are used."""
    if (contrast == "templates") != (positive is not None):
        raise ElicitError(f"{method}: `positive` belongs to contrast: templates, which needs it.")
    for template in (positive, negative):
        if template is not None and "{prompt}" not in template:
            raise ElicitError(f"{method}: a template lacks {{prompt}}.")


def _encode_continuations(
    base: BaseModel, task: Task, problems: Sequence[Problem], *, worked: bool
) -> list[tuple[int, ...]]:
    write = task.worked if worked else task.direct
    texts = [write(problem) for problem in problems]
    if any(not text for text in texts):
        raise ElicitError(f"task {task.name!r} lacks worked solutions to contrast.")
    pairs = [base.encode_pair(problem.prompt, text or "") for problem, text in zip(problems, texts, strict=True)]
    return [pair.prompt + pair.completion[:1] for pair in pairs]

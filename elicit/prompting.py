"""Prompting: the conversion of a problem to a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.tasks import Problem


@dataclass(frozen=True)
class Prompting:
    """Options that turn a problem into a prompt."""

    condition: str = "plain"
    """plain: the problem's prompt. cue: its cue prompt. forced: the prompt and the opening of a worked solution. Any
    other: the entry of the problem's `other_prompts` with this name."""
    template: str = "{prompt}"
    """Text around the prompt; `{prompt}` is replaced, nothing else is interpreted."""
    before: str = ""
    """Literal text before the prompt (demonstrations): nothing in it is replaced."""
    replaces: str = ""
    """Prefix of the prompt that `before` replaces, so that a chat's system message occurs only once."""

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ElicitError("prompting: the template lacks {prompt}.")

    def render(self, problem: Problem) -> tuple[str, str]:
        """Render a problem as (prompt, forced opening or "").

        Raises:
            ElicitError: the problem lacks a cue prompt or an opening to force, or its prompt does not begin with
                `replaces`.
        """
        opening = ""
        prompt = problem.prompt
        if self.condition == "cue":
            if problem.cue_prompt is None:
                raise ElicitError(f"problem {problem.id} lacks a cue prompt; this arm needs a task with `cue_prompt`.")
            prompt = problem.cue_prompt
        elif self.condition not in ("plain", "forced"):
            known = dict(problem.other_prompts)
            if self.condition not in known:
                raise unknown_name_error("prompt condition", self.condition, ["plain", "cue", "forced", *known])
            prompt = known[self.condition]
        if self.condition == "forced":
            if problem.opening is None:
                raise ElicitError(f"problem {problem.id} names no opening of a worked solution that could be forced.")
            opening = problem.opening
        if not prompt.startswith(self.replaces):
            raise ElicitError(
                "the examples of this policy go in front of prompts that begin with "
                f"{one_line(repr(self.replaces), 80)}, which that of problem {problem.id} does not: it was made for "
                "another day, system message or model. Type: policy.model.bind(task)"
            )
        return self.before + self.template.replace("{prompt}", prompt.removeprefix(self.replaces)), opening

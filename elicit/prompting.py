"""How a problem becomes a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.tasks import Problem


@dataclass(frozen=True)
class Prompting:
    """How a problem becomes a prompt."""

    condition: str = "plain"
    """plain: the problem's prompt. cue: its cue prompt. forced: the prompt and the opening of a worked solution. Any
    other: the one of the problem's `other_prompts` that has this name."""
    template: str = "{prompt}"
    """Text around the prompt; `{prompt}` is replaced, nothing else is interpreted."""
    before: str = ""
    """Text put in front as it stands (demonstrations): nothing in it is replaced."""
    replaces: str = ""
    """A beginning of the prompt that `before` stands in the place of: a chat's system message comes once."""

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ElicitError("prompting: the template has no {prompt} in it.")

    def render(self, problem: Problem) -> tuple[str, str]:
        """(prompt, forced opening or "").

        Raises:
            ElicitError: if the problem has no cue prompt, or no opening to force; if it begins otherwise than what the
                examples replace.
        """
        opening = ""
        prompt = problem.prompt
        if self.condition == "cue":
            if problem.cue_prompt is None:
                raise ElicitError(f"problem {problem.id} has no cue prompt; this arm needs a task with `cue_prompt`.")
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

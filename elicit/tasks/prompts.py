"""Prompt conditions for real models: the words around a question.

An organism has a cue; a real model needs instructions in words. `Asking` holds them: a direct condition
(`Problem.prompt`), a thinking condition (`Problem.cue_prompt`), few-shot examples, and the choice to use the model's
chat template or not. `AskedTask` applies these conditions to a task whose prompts are bare questions. The template
belongs to the model, so call `BaseModel.bind` before a chat prompt is rendered.

    task: {task: sums, terms: [3, 4], prompts: {direct: "{question} Give only the final number.", chat: true}}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.tasks.answers.thoughts import answer_start, has_thought
from elicit.tasks.core import FewShotPrefix, Noisy, Problem, Split, Task, Verdict

#: Function from chat messages, each {"role", "content"}, to the prompt text, up to the point where the answer begins.
Chat = Callable[[Sequence[Mapping[str, str]]], str]

_SHOWN = Literal["direct", "worked"]
_DIRECT = "{question}\nGive only the final answer."
_THINK = "{question}\nThink step by step, then give the final answer."
#: Common wordings: the bare question, zero-shot chain of thought (2205.11916), the one for mathematical chat models.
_OTHERS = {
    "bare": "{question}",
    "step_by_step": "{question}\nLet's think step by step.",
    "boxed": "{question}\nPlease reason step by step, and put your final answer within \\boxed{}.",
}
#: Names of conditions that `Prompting` already defines.
_TAKEN = ("plain", "cue", "forced")


@dataclass(frozen=True)
class Asking:
    """The words around a question."""

    direct: str = _DIRECT
    """Wording of the direct condition; `{question}` is replaced and nothing else."""
    think: str | None = _THINK
    """Wording of the condition that asks for working: the ceiling, and the positive side of contrasts. May be None."""
    others: Mapping[str, str] = field(default_factory=lambda: dict(_OTHERS))
    """Further wordings by condition name, for `best_prompt`."""
    chat: bool | Literal["auto"] = "auto"
    """Use of the model's chat template: true, false, or auto (if the model has one)."""
    system: str | None = None
    """The system message; None leaves it to the template."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template besides the messages, such as {enable_thinking: false}."""
    shots: int = 0
    """Number of solved train problems in front of every prompt of the direct condition."""
    shown: _SHOWN = "direct"
    """Content of those examples: bare answers or worked solutions."""
    question: str = "Question: "
    """Text in front of a question, without a chat template. A completion ends where a line begins with it."""
    answer: str = "\nAnswer:"
    """Text after a question, without a chat template."""
    between: str = "\n\n"
    """Text between one answered question and the next, without a chat template."""

    def __post_init__(self) -> None:
        for name in ("direct", "think"):
            text = getattr(self, name)
            if not (name == "think" and text is None) and (not isinstance(text, str) or "{question}" not in text):
                value_text = one_line(repr(text), 60)
                raise ElicitError(f"prompts: {name} is {value_text}; expected text with {{question}} in it.")
        if not isinstance(self.others, Mapping):
            raise ElicitError(f"prompts: others is {one_line(repr(self.others), 60)}; expected names with their words.")
        for name, text in self.others.items():
            if not isinstance(name, str) or name in _TAKEN or not isinstance(text, str) or "{question}" not in text:
                value_text = one_line(repr({name: text}), 80)
                raise ElicitError(
                    f"prompts: others has {value_text}; expected a name other than {', '.join(_TAKEN)}, and text with "
                    "{question} in it."
                )
        if self.chat not in (True, False, "auto"):
            raise ElicitError(f"prompts: chat is {one_line(repr(self.chat), 40)}; expected true, false or auto.")
        values = self.chat_template_kwargs
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            value_text = f"prompts: chat_template_kwargs is {one_line(repr(values), 60)}"
            raise ElicitError(f"{value_text}; expected names with values, such as {{enable_thinking: false}}.")
        if values and self.chat is False:
            raise ElicitError("prompts: chat_template_kwargs needs the chat template, which chat: false leaves out.")
        for name in ("question", "answer", "between", "system"):
            text = getattr(self, name)
            if not isinstance(text, str) and not (name == "system" and text is None):
                raise ElicitError(f"prompts: {name} is {one_line(repr(text), 40)}; expected text.")
        if not (self.question.strip() or self.between):
            raise ElicitError(
                "prompts: question and between are both empty; one must say where the next question begins."
            )
        if isinstance(self.shots, bool) or not isinstance(self.shots, int) or not 0 <= self.shots <= 1000:
            raise ElicitError(f"prompts: shots is {one_line(repr(self.shots), 40)}; expected a whole number from 0.")
        if self.shown not in get_args(_SHOWN):
            raise unknown_name_error("prompts: shown", str(self.shown), get_args(_SHOWN))


def build_asking(options: Mapping[str, Any] | None) -> Asking:
    """Prompt conditions from a spec's `prompts`. Raises ElicitError for an unknown field or a bad value."""
    if options is None:
        return Asking()
    if not isinstance(options, Mapping):
        raise ElicitError(f"prompts is {one_line(repr(options), 60)}; expected fields such as {{chat: false}}.")
    names = [dataclass_field.name for dataclass_field in dataclasses.fields(Asking)]
    for name in options:
        if name not in names:
            raise unknown_name_error("field of prompts", str(name), names)
    return Asking(**options)


@dataclass(frozen=True)
class AskedTask:
    """A task under prompt conditions. Problems and verdicts are those of the inner task."""

    inner: Task
    """The task whose prompts are bare questions."""
    asking: Asking = field(default_factory=Asking)
    template: Chat | None = None
    """The chat template of the model that will be prompted."""
    bound: bool = False
    """True once the task is bound to a model: then no template means that the model has none."""

    def bind(self, template: Chat | None, name: str) -> AskedTask:
        """The task with the chat template of the model called `name`.

        Raises:
            ElicitError: `chat: true` for a model without a chat template.
        """
        if self.asking.chat is True and template is None:
            raise ElicitError(
                f"task {self.name!r} is to be asked through a chat template (prompts: chat: true), but the tokenizer "
                f"of {name} has none. Type: prompts: {{chat: false}}"
            )
        return dataclasses.replace(self, template=None if self.asking.chat is False else template, bound=True)

    def without_chat_template(self) -> AskedTask:
        """The task without a chat template, for uses that need problems and verdicts but no model."""
        asking = dataclasses.replace(self.asking, chat=False, chat_template_kwargs={})
        return dataclasses.replace(self, asking=asking, template=None, bound=True)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings: the inner task's and the next question, which a base model invents; in a chat, only the user's.

        A chat turn ends with its end token: a guessed stop string would cut off a model that repeats the question.
        """
        if self.template is not None:
            return self.inner.chat_stop
        opening = self.asking.question.strip()
        return tuple(dict.fromkeys((*self.inner.stop, f"\n{opening}" if opening else self.asking.between)))

    @property
    def chat_stop(self) -> tuple[str, ...]:
        return self.inner.chat_stop

    @property
    def max_new_tokens(self) -> int:
        return self.inner.max_new_tokens

    @property
    def answer_space(self) -> int | None:
        return self.inner.answer_space

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        before, replaces = self._render_shots()
        return [self._wrap_problem(problem, before, replaces) for problem in self.inner.problems(split, n, seed)]

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        """Few-shot prefix: solved problems as earlier turns of the chat, or as blocks of text."""
        if self.template is None:
            return FewShotPrefix(
                "".join(_append_answer(p.prompt, text) + (between or self.asking.between) for p, text in pairs)
            )
        turns = [turn for problem, text in pairs for turn in _make_turns(_get_user_text(problem), text)]
        probe = {"role": "user", "content": "\x00"}
        whole = self.template([*self._system_messages(), *turns, probe])
        alone = self.template([*self._system_messages(), probe])
        tail = alone[_find_common_tail(whole, alone) :] if turns else ""
        return FewShotPrefix(whole.removesuffix(tail), alone.removesuffix(tail))

    def _render_shots(self) -> FewShotPrefix:
        if self.asking.shots == 0:
            return FewShotPrefix("")
        write = self.inner.direct if self.asking.shown == "direct" else self.inner.worked
        pairs = []
        for problem in self.inner.problems("train", self.asking.shots, seed=0):
            text = write(problem)
            if text is None:
                raise ElicitError(
                    f"task {self.name!r}: problem {problem.id} has no worked solution to show. Type: prompts: "
                    "{shown: direct}"
                )
            pairs.append((self._wrap_problem(problem, "", ""), text))
        return self.examples(pairs)

    def _wrap_problem(self, problem: Problem, before: str, replaces: str) -> Problem:
        think = None if self.asking.think is None else self._render_prompt(self.asking.think, problem)
        direct = self._render_prompt(self.asking.direct, problem)
        opening = problem.opening
        return dataclasses.replace(
            problem,
            prompt=before + direct.removeprefix(replaces),
            cue_prompt=think,
            other_prompts=tuple(
                (name, self._render_prompt(words, problem)) for name, words in self.asking.others.items()
            ),
            opening=f" {opening}" if opening and self.template is None else opening,
            content=_AskedContent(problem, self.asking.direct.replace("{question}", problem.prompt)),
        )

    def _render_prompt(self, words: str, problem: Problem) -> str:
        text = words.replace("{question}", problem.prompt)
        if self.template is None:
            if self.asking.chat is True and not self.bound:
                raise ElicitError(
                    f"task {self.name!r} is asked through a chat template, which is the model's. "
                    "Type: task = model.bind(task)"
                )
            return self.asking.question + text + self.asking.answer
        return self.template([*self._system_messages(), {"role": "user", "content": text}])

    def _system_messages(self) -> list[dict[str, str]]:
        return [] if self.asking.system is None else [{"role": "system", "content": self.asking.system}]

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """The inner task's verdict on the text after the thinking block; the thinking itself counts as a trace."""
        start = answer_start(completion)
        if start == 0:
            return self.inner.verify(_inner_problem(problem), completion)
        thought = has_thought(completion)
        if start is None:
            return Verdict(None, False, thought, None)
        verdict = self.inner.verify(_inner_problem(problem), completion[start:])
        return verdict._replace(has_trace=verdict.has_trace or thought)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        start = answer_start(completion)
        span = None if start is None else self.inner.answer_span(_inner_problem(problem), completion[start:])
        return None if span is None or start is None else (start + span[0], start + span[1])

    def worked(self, problem: Problem) -> str | None:
        return self._add_leading_space(self.inner.worked(_inner_problem(problem)))

    def theorem(self, problem: Problem) -> str | None:
        return self._add_leading_space(self.inner.theorem(_inner_problem(problem)))

    def direct(self, problem: Problem) -> str:
        return self._add_leading_space(self.inner.direct(_inner_problem(problem))) or ""

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        noisy = self.inner.noisy(_inner_problem(problem), seed)
        return None if noisy is None else noisy._replace(text=self._add_leading_space(noisy.text) or "")

    def _add_leading_space(self, text: str | None) -> str | None:
        """A solution as it continues the prompt: `Answer:` needs a space after it."""
        return f" {text}" if text is not None and self.template is None else text


class _AskedContent(NamedTuple):
    """Content of a problem under prompt conditions."""

    problem: Problem
    """The inner task's problem."""
    user_text: str
    """The user's turn under the direct condition."""


def _inner_problem(problem: Problem) -> Problem:
    content: _AskedContent = problem.content
    return content.problem


def _get_user_text(problem: Problem) -> str:
    content: _AskedContent = problem.content
    return content.user_text


def _make_turns(words: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}, {"role": "assistant", "content": answer}]


def _append_answer(prompt: str, answer: str) -> str:
    return prompt + answer if answer.startswith(" ") else f"{prompt} {answer}"


def _find_common_tail(whole: str, alone: str) -> int:
    """Index in `alone` where the tail begins that both texts share."""
    shared = 0
    while shared < min(len(whole), len(alone)) and whole[-1 - shared] == alone[-1 - shared]:
        shared += 1
    return len(alone) - shared

"""Spread of one base model's accuracy on a task over prompt conditions and answer readers.

Published figures for the same base differ by 20 points with the prompt, the chat template and the rule that reads the
answer. So before any comparison, these are measured on the same problems with greedy decoding:

- conditions: the task's direct, thinking and other wordings, as plain text and through the chat template, with the
  template's thinking switch on and off, and with four solved examples before the question;
- readers: the task's own, and those of the usual harnesses (last number, `####`, box) that apply to its answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.answer import Answer
from elicit.errors import ElicitError
from elicit.method import task_decoding
from elicit.policy import Policy, Prompting
from elicit.schema import Estimate
from elicit.statistics.intervals import wilson_interval
from elicit.tasks import AskedTask, Problem, Task
from elicit.tasks.answers.reader import AnswerReader
from elicit.tasks.answers.thoughts import answer_start
from elicit.tasks.datasets import formats
from elicit.tasks.datasets.records import ProblemRecord

if TYPE_CHECKING:
    from elicit.model import BaseModel

#: Solved problems before a prompt.
SHOTS = 4
_READINGS = {
    "last number": ("text", None),
    "gsm8k flexible": ("gsm8k", "flexible"),
    "gsm8k strict": ("gsm8k", "strict"),
    "gsm8k last": ("gsm8k", "last"),
    "math flexible": ("math", "flexible"),
    "math strict": ("math", "strict"),
}


class Condition(NamedTuple):
    """One form of the prompt."""

    name: str
    task: Task
    """The task bound to this model."""
    prompting: Prompting


class ConditionResult(NamedTuple):
    """Results of one condition."""

    condition: str
    accuracy: dict[str, Estimate]
    """Reader -> share of right answers with Wilson's interval."""
    finished: float
    """Share of completions that ended by themselves."""
    thinking_cut: float
    """Share of completions cut while still thinking."""
    tokens: float
    """Mean number of generated tokens."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Accuracies by condition and reader, on the same problems."""

    model: str
    task: str
    n: int
    seed: int
    max_new_tokens: int
    results: tuple[ConditionResult, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """(condition, reason why it could not be used), such as examples that do not fit the context."""

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest accuracy of all."""
        values = [estimate.value for row in self.results for estimate in row.accuracy.values()]
        return min(values), max(values)


def measure_spread(
    model: BaseModel, task: Task, *, n: int = 100, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> Spread:
    """Ask `n` test problems under every condition, greedily, and judge every answer with every reader.

    Args:
        task: the task, not bound to a model.
        progress: called with a message after each condition.

    Raises:
        ElicitError: there are fewer than `n` test problems.
    """
    results: list[ConditionResult] = []
    left_out: list[tuple[str, str]] = []
    for condition in list_conditions(model, task):
        problems = condition.task.problems("test", n, seed)
        policy = Policy(model, task_decoding(condition.task), condition.prompting)
        try:
            answers = policy.answer(problems, condition.task, label=task.name, seed=seed)
        except ElicitError as error:
            if not results:  # the simplest condition fails, so the task itself does
                raise
            left_out.append((condition.name, str(error)))
            continue
        results.append(_score_answers(condition, problems, answers))
        progress(condition.name)
    return Spread(model.name, task.name, n, seed, task.max_new_tokens, tuple(results), tuple(left_out))


def list_conditions(model: BaseModel, task: Task) -> Iterator[Condition]:
    """List every condition for this model, plain text first."""
    if not isinstance(task, AskedTask):
        yield from _wording_conditions("", task)
        return
    plain = dataclasses.replace(task, asking=dataclasses.replace(task.asking, chat=False, chat_template_kwargs={}))
    yield from _wording_conditions("text: ", model.bind(plain))
    yield from _few_shot_conditions("text: ", model, plain)
    if model.chat is None:
        return
    thinking = model.chat.find_thinking_switch(task.asking.system)
    ways: list[tuple[str, dict[str, Any]]] = [("chat: ", {})]
    if thinking is not None:
        ways = [(f"chat, {thinking.switch} {str(on).lower()}: ", {thinking.switch: on}) for on in (False, True)]
    for label, values in ways:
        template_kwargs = {**task.asking.chat_template_kwargs, **values}
        asking = dataclasses.replace(task.asking, chat=True, chat_template_kwargs=template_kwargs)
        chatted = dataclasses.replace(task, asking=asking)
        yield from _wording_conditions(label, model.bind(chatted))
    yield from _few_shot_conditions(ways[0][0], model, chatted)


def _wording_conditions(label: str, task: Task) -> Iterator[Condition]:
    probe = task.problems("test", 1)[0]
    yield Condition(f"{label}direct", task, Prompting())
    if probe.cue_prompt is not None:
        name = "think" if isinstance(task, AskedTask) else "cue"
        yield Condition(f"{label}{name}", task, Prompting("cue"))
    for name, _ in probe.other_prompts:
        yield Condition(f"{label}{name}", task, Prompting(name))


def _few_shot_conditions(label: str, model: BaseModel, task: AskedTask) -> Iterator[Condition]:
    if task.asking.shots:
        return  # every condition already contains the user's own examples
    for shot_style in ("direct", "worked"):
        few_shot_task = dataclasses.replace(
            task, asking=dataclasses.replace(task.asking, shots=SHOTS, shown=shot_style)
        )
        bound = model.bind(few_shot_task)
        try:
            bound.problems("test", 1)
        except ElicitError:  # no solutions to show, or no train problems
            continue
        yield Condition(f"{label}{SHOTS} examples, {shot_style}", bound, Prompting())


def _score_answers(condition: Condition, problems: Sequence[Problem], answers: Sequence[Answer]) -> ConditionResult:
    texts = [answer.text for answer in answers]
    right = {
        "the task's own": [condition.task.verify(p, text).correct for p, text in zip(problems, texts, strict=True)]
    }
    # An organism's working is part of its answer; for other models the answer follows the thinking.
    starts = [answer_start(text) if isinstance(condition.task, AskedTask) else 0 for text in texts]
    for name, (form, mode) in _READINGS.items():
        readings = [_build_reading(form, mode, problem.answer) for problem in problems]
        if all(reading.explain_unusable_target() is None for reading in readings):
            right[name] = [
                start is not None and _is_right(reading, text[start:])
                for reading, text, start in zip(readings, texts, starts, strict=True)
            ]
    n = len(problems)
    return ConditionResult(
        condition.name,
        {name: wilson_interval(sum(values), n) for name, values in right.items()},
        sum(answer.finished for answer in answers) / n,
        sum(start is None for start in starts) / n,
        sum(answer.tokens for answer in answers) / n,
    )


def _build_reading(form: str, mode: str | None, answer: str) -> AnswerReader:
    answer_format = formats.build_format(
        "doctor", form, reading=mode, grader="text" if form == "math" else None, answer_pattern=None
    )
    return answer_format.make_reader(ProblemRecord("0", "", answer))


def _is_right(reading: AnswerReader, text: str) -> bool:
    result = reading.parse_answer(text)
    return result is not None and reading.is_correct(text, result)

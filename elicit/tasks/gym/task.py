"""Problems of reasoning-gym's generators: `reasoning_gym:chain_sum`, with the generator's own parameters.

Right or wrong, nothing between: the generators' scorers give partial credit (0.01 for no answer at all, a share for a
near miss), which is a reward for form and would hide what a model can do, so only a score of at least 1 counts. Scores
are the generator's own, in bounded time, with these exceptions, since a model's text must not be run as code:

- `countdown` and `puzzle24` go through our own reader of expressions (all given numbers, each once; puzzle24's own
  scorer would take any four numbers);
- `binary_matrix`, `n_queens`, `spiral_matrix` and `string_insertion` count only in the very form of their own answers;
- generators whose answers only sympy could compare, or that have no answer of their own, are refused.

A problem's split is a hash of its question (half train, a quarter each select and test), so no question is in two
splits whatever the seed and the parameters. The extra `tasks` brings the package.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from elicit import seeds
from elicit.errors import ElicitError, one_line, require_extra, unknown
from elicit.tasks.answers.tagged import MODES, Tagged
from elicit.tasks.core import (
    Noisy,
    Problem,
    Shown,
    Split,
    Verdict,
    check_count,
    check_split,
    content_id,
    in_front,
    share_of,
    too_few,
)
from elicit.tasks.datasets import stop_strings
from elicit.tasks.families.parameters import whole_parameter
from elicit.tasks.gym import scores

#: Problems that one dataset of the package is asked for; then comes the next one, with another seed.
_BLOCK = 500
#: Draws without a new problem before a pool counts as exhausted.
_PATIENCE = 300
_SELECT_FROM, _TEST_FROM = 0.50, 0.75


class Drawn(NamedTuple):
    """Where an entry comes from; enough to draw it again."""

    seed: int
    place: int


@dataclass(frozen=True)
class GymTask:
    """A `Task` made of one generator; see `load_gym`."""

    generator: str
    settings: tuple[tuple[str, Any], ...] = ()
    answers: str = "any"
    template: str = "{prompt}"
    stop: tuple[str, ...] = ()
    guessed_stop: bool = False
    """Whether `stop` is the default one of a template, which a chat does without."""
    max_new_tokens: int = 512
    description: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The task as a spec says it."""

    @property
    def chat_stop(self) -> tuple[str, ...]:
        return () if self.guessed_stop else self.stop

    @property
    def name(self) -> str:
        return f"reasoning_gym:{self.generator}"

    @property
    def answer_space(self) -> None:
        return None

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """`n` different problems of a split, drawn by (generator, seed); without `n`, 200 or as many as there are.

        Raises:
            ElicitError: unknown split, or fewer than `n` different problems were found (without `n`: none).
        """
        check_split(split)
        wanted = 200 if n is None else check_count(self.name, n)
        found: dict[str, Problem] = {}
        misses = 0
        for drawn in self._draws(seed):
            if len(found) >= wanted:
                break
            problem = self._problem(drawn)
            if problem is None or problem.id in found or _split(problem.id) != split:
                misses += 1
                if misses > _PATIENCE + 20 * len(found):
                    if n is None and found:
                        break
                    raise too_few(self.name, split, wanted, len(found))
                continue
            misses = 0
            found[problem.id] = problem
        return list(found.values())

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def _draws(self, seed: int) -> Any:
        """The same stream for all splits, so that what one does not take another can."""
        block = 0
        while True:
            at = seeds.small_seed("reasoning_gym", self.generator, seed, block)
            yield from (Drawn(at, place) for place in range(_BLOCK))
            block += 1

    def _problem(self, drawn: Drawn) -> Problem | None:
        """None where the generator fails, or would not call its own answer right."""
        entry = self._entry(drawn)
        if entry is None:
            return None
        question, answer = entry["question"].strip(), entry["answer"].strip()
        return Problem(
            id=content_id(self.name, question),
            prompt=self.template.replace("{prompt}", question),
            answer=answer,
            content=drawn,
        )

    def _entry(self, drawn: Drawn) -> dict[str, Any] | None:
        entry = _entry(self.generator, pickle.dumps(self.settings), *drawn)
        if entry is None or not isinstance(entry["answer"], str) or not entry["answer"].strip():
            return None
        return entry

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion by its answer; steps are not checked, so `trace_valid` is None."""
        reading = Tagged(problem.answer, self.answers)
        found = reading.found(completion)
        trace = reading.has_trace(completion)
        if found is None:
            return Verdict(None, False, trace, None)
        said = completion[found.start : found.end]
        right = said == problem.answer
        for text in dict.fromkeys((said, found.answer)):
            right = right or self._score(problem.content, text) >= 1.0
        return Verdict(found.answer, right, trace, None)

    def _score(self, drawn: Drawn, answer: str) -> float:
        entry = self._entry(drawn)
        assert entry is not None
        return scores.score(self.generator, dict(self.settings), drawn, entry, answer)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        found = Tagged(problem.answer, self.answers).found(completion)
        return None if found is None else (found.start, found.end)

    def worked(self, problem: Problem) -> None:
        """None: generators give answers only."""

    def theorem(self, problem: Problem) -> None:
        return None

    def direct(self, problem: Problem) -> str:
        """The generator's answer, in tags where it would not be read without."""
        found = Tagged(problem.answer, self.answers).found(problem.answer)
        bare = found is not None and problem.answer[found.start : found.end] == problem.answer
        return problem.answer if bare else f"<answer>{problem.answer}</answer>"

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        return None

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> Shown:
        return in_front(self.stop, pairs, between)


def load_gym(
    generator: str,
    *,
    answers: str = "any",
    template: str = "{prompt}",
    stop: str | Sequence[str] | None = None,
    max_new_tokens: int = 512,
    **settings: Any,
) -> GymTask:
    """A task of one of reasoning-gym's generators.

    Args:
        generator: its name in reasoning-gym, such as `chain_sum`.
        answers: `any` (the last `<answer>...</answer>`, else the last number or line) or `tags` (in tags only).
        template: what the model is shown; `{prompt}` stands for the question.
        stop, max_new_tokens: as for `dataset.load_dataset`.
        **settings: fields of the generator's own configuration, such as `min_terms=3`.

    Raises:
        ElicitError: the extra is missing, an unknown or refused generator, an unknown or bad parameter.
    """
    generators = _registered()
    if not generator or generator not in generators:
        place = "reasoning_gym:NAME" if not generator else "generator of reasoning_gym"
        raise unknown(place, generator, generators, hint="Type: reasoning_gym:chain_sum")
    name = f"reasoning_gym:{generator}"
    if reason := scores.REFUSED.get(generator):
        raise ElicitError(f"task {name!r} cannot be used here: {reason}.")
    if answers not in MODES:
        raise unknown(f"answers of task {name!r}", answers, MODES)
    if not isinstance(template, str) or "{prompt}" not in template:
        given = one_line(repr(template), 80)
        raise ElicitError(f"task {name!r}: template is {given}; expected text with {{prompt}} in it.")
    whole_parameter(name, "max_new_tokens", max_new_tokens, 1, 1_000_000)
    checked = _settings(name, generators[generator][1], settings)
    own = {"answers": answers, "template": template, "max_new_tokens": max_new_tokens}
    defaults = load_gym.__kwdefaults__ or {}
    said = {key: value for key, value in {**own, "stop": stop}.items() if value != defaults[key]}
    return GymTask(
        generator,
        tuple(sorted(checked.items())),
        answers,
        template,
        stop_strings.after(template) if stop is None else stop_strings.given(name, stop),
        stop is None,
        max_new_tokens,
        {"task": name, **said, **settings},
    )


def _registered() -> Mapping[str, Any]:
    """The package's generators, each with its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports is compiled with warnings
        require_extra("reasoning_gym", "tasks", "task 'reasoning_gym'")
        from reasoning_gym.factory import DATASETS
    found: Mapping[str, Any] = DATASETS
    return found


def _settings(name: str, config: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The generator's settings as its configuration takes them (lists of a YAML file become tuples)."""
    fields = {one.name: one for one in dataclasses.fields(config) if one.name not in ("seed", "size")}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise unknown(f"parameter of task {name!r}", key, [*fields, *(load_gym.__kwdefaults__ or {})])
    checked = {
        key: tuple(value) if isinstance(value, list) and isinstance(fields[key].default, tuple) else value
        for key, value in given.items()
    }
    try:
        made = config(**checked)
        if hasattr(made, "validate"):
            made.validate()
    except Exception as error:  # assertions, and whatever a value of the wrong kind brings about
        told = one_line(error, 160) or type(error).__name__
        shown = ", ".join(f"{key}: {one_line(repr(value), 40)}" for key, value in given.items())
        raise ElicitError(f"task {name!r}: {shown}: {told}.") from None
    return checked


def _split(problem_id: str) -> Split:
    share = share_of(problem_id)
    if share < _SELECT_FROM:
        return "train"
    return "select" if share < _TEST_FROM else "test"


@lru_cache(maxsize=4)
def _dataset(generator: str, settings: bytes, seed: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(generator, seed=seed, size=_BLOCK, **dict(pickle.loads(settings)))


@lru_cache(maxsize=20_000)
def _entry(generator: str, settings: bytes, seed: int, place: int) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = _dataset(generator, settings, seed)[place]
    except (ValueError, ArithmeticError, LookupError, RuntimeError, AssertionError):  # "no valid expression was found"
        return None
    return entry

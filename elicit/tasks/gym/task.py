"""Problems of reasoning-gym's generators: `reasoning_gym:chain_sum`, with the generator's own parameters.

Answers are right or wrong: the generators' scorers give partial credit (0.01 for no answer at all, a share for a near
miss), which rewards form and would hide what a model can do, so only a score of at least 1 counts. Scores are the
generator's own, in bounded time, with these exceptions, since a model's text must not be run as code:

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from elicit import seeds
from elicit.errors import ElicitError, one_line, require_extra, unknown_name_error
from elicit.tasks.answers.tagged import MODES, TaggedReader
from elicit.tasks.core import (
    FewShotPrefix,
    Noisy,
    Problem,
    Split,
    Verdict,
    check_count,
    check_split,
    content_id,
    render_examples,
    share_of,
    too_few_error,
)
from elicit.tasks.datasets import stop_strings
from elicit.tasks.families.parameters import whole_parameter
from elicit.tasks.gym import scores
from elicit.tasks.pool import ProblemPool

#: Number of problems taken from one dataset of the package before the next one, with another seed.
_BLOCK = 500
#: Entries that make the pool of a generator: some 250 problems for test where nearly all of them differ.
_POOL_ENTRIES = 1_000
_SELECT_FROM, _TEST_FROM = 0.50, 0.75


class GymEntryId(NamedTuple):
    """Identity of an entry; enough to draw it again."""

    seed: int
    position: int


@dataclass(frozen=True)
class GymTask:
    """A `Task` made of one generator; see `load_gym`."""

    generator: str
    settings: tuple[tuple[str, Any], ...] = ()
    answers: str = "any"
    template: str = "{prompt}"
    stop: tuple[str, ...] = ()
    guessed_stop: bool = False
    """True if `stop` is the default for a template, which chat prompts do without."""
    max_new_tokens: int = 512
    description: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The task as a spec writes it."""

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
        """The first `n` problems of a split in the order of a seed, which every larger `n` begins with.

        See `tasks.pool`. Without `n`, 200 or as many as there are.

        Raises:
            ElicitError: unknown split, or fewer than `n` different problems exist (without `n`: not a single one).
        """
        needed = 200 if n is None else check_count(self.name, n)
        pool = _keep_pool(self.generator, pickle.dumps(self.settings))
        entry_ids = pool.take(check_split(split), needed, seed)
        if len(entry_ids) < needed and (n is not None or not entry_ids):
            raise too_few_error(self.name, split, needed, len(entry_ids))
        return [self._make_problem(entry_id) for entry_id in entry_ids]

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def _make_problem(self, entry_id: GymEntryId) -> Problem:
        """Problem of an entry that has an answer."""
        entry = self._load_entry(entry_id)
        question, answer = entry["question"].strip(), entry["answer"].strip()
        return Problem(
            id=content_id(self.name, question),
            prompt=self.template.replace("{prompt}", question),
            answer=answer,
            content=entry_id,
        )

    def _load_entry(self, entry_id: GymEntryId) -> dict[str, Any]:
        entry = load_entry(self.generator, pickle.dumps(self.settings), entry_id)
        assert entry is not None
        return entry

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion by its answer; steps are not checked, so `trace_valid` is None."""
        reader = TaggedReader(problem.answer, self.answers)
        parsed = reader.parse_answer(completion)
        trace = reader.has_trace(completion)
        if parsed is None:
            return Verdict(None, False, trace, None)
        answer_text = completion[parsed.start : parsed.end]
        right = answer_text == problem.answer
        for text in dict.fromkeys((answer_text, parsed.answer)):
            right = right or self._score_answer(problem.content, text) >= 1.0
        return Verdict(parsed.answer, right, trace, None)

    def _score_answer(self, entry_id: GymEntryId, answer: str) -> float:
        entry = self._load_entry(entry_id)
        return scores.score_answer(self.generator, dict(self.settings), entry_id, entry, answer)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        parsed = TaggedReader(problem.answer, self.answers).parse_answer(completion)
        return None if parsed is None else (parsed.start, parsed.end)

    def worked(self, problem: Problem) -> None:
        """None: generators give only answers."""

    def theorem(self, problem: Problem) -> None:
        return None

    def direct(self, problem: Problem) -> str:
        """The generator's answer, in tags if the reader needs them."""
        parsed = TaggedReader(problem.answer, self.answers).parse_answer(problem.answer)
        bare = parsed is not None and problem.answer[parsed.start : parsed.end] == problem.answer
        return problem.answer if bare else f"<answer>{problem.answer}</answer>"

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        return None

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        return render_examples(self.stop, pairs, between)


def load_gym(
    generator: str,
    *,
    answers: str = "any",
    template: str = "{prompt}",
    stop: str | Sequence[str] | None = None,
    max_new_tokens: int = 512,
    **settings: Any,
) -> GymTask:
    """Task of one of reasoning-gym's generators.

    Args:
        generator: its name in reasoning-gym, such as `chain_sum`.
        answers: `any` (the last `<answer>...</answer>`, else the last number or line) or `tags` (in tags only).
        template: text of the prompt; `{prompt}` stands for the question.
        stop, max_new_tokens: as for `dataset.load_dataset`.
        **settings: fields of the generator's own configuration, such as `min_terms=3`.

    Raises:
        ElicitError: the extra is missing, an unknown or refused generator, an unknown or bad parameter.
    """
    generators = _load_generators()
    if not generator or generator not in generators:
        subject = "reasoning_gym:NAME" if not generator else "generator of reasoning_gym"
        raise unknown_name_error(subject, generator, generators, hint="Type: reasoning_gym:chain_sum")
    name = f"reasoning_gym:{generator}"
    if reason := scores.REFUSED.get(generator):
        raise ElicitError(f"task {name!r} cannot be used here: {reason}.")
    if answers not in MODES:
        raise unknown_name_error(f"answers of task {name!r}", answers, MODES)
    if not isinstance(template, str) or "{prompt}" not in template:
        value_text = one_line(repr(template), 80)
        raise ElicitError(f"task {name!r}: template is {value_text}; expected text with {{prompt}} in it.")
    whole_parameter(name, "max_new_tokens", max_new_tokens, 1, 1_000_000)
    checked = _check_settings(name, generators[generator][1], settings)
    options = {"answers": answers, "template": template, "max_new_tokens": max_new_tokens}
    defaults = load_gym.__kwdefaults__ or {}
    changed = {key: value for key, value in {**options, "stop": stop}.items() if value != defaults[key]}
    return GymTask(
        generator,
        tuple(sorted(checked.items())),
        answers,
        template,
        stop_strings.list_default_stops(template) if stop is None else stop_strings.parse_stops(name, stop),
        stop is None,
        max_new_tokens,
        {"task": name, **changed, **settings},
    )


def _load_generators() -> Mapping[str, Any]:
    """Generators of the package, each with its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies warn when they are compiled
        require_extra("reasoning_gym", "tasks", "task 'reasoning_gym'")
        from reasoning_gym.factory import DATASETS
    generators: Mapping[str, Any] = DATASETS
    return generators


def _check_settings(name: str, config: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the generator in the types of its configuration (lists of a YAML file become tuples)."""
    fields = {
        config_field.name: config_field
        for config_field in dataclasses.fields(config)  # type: ignore[arg-type]
        if config_field.name not in ("seed", "size")
    }
    for key in settings:
        if key not in fields:
            raise unknown_name_error(f"parameter of task {name!r}", key, [*fields, *(load_gym.__kwdefaults__ or {})])
    checked = {
        key: tuple(value) if isinstance(value, list) and isinstance(fields[key].default, tuple) else value
        for key, value in settings.items()
    }
    try:
        instance = config(**checked)
        if hasattr(instance, "validate"):
            instance.validate()
    except Exception as error:  # assertions, and any error caused by a value of the wrong type
        message = one_line(error, 160) or type(error).__name__
        settings_text = ", ".join(f"{key}: {one_line(repr(value), 40)}" for key, value in settings.items())
        raise ElicitError(f"task {name!r}: {settings_text}: {message}.") from None
    return checked


def assign_gym_split(problem_id: str) -> Split:
    share = share_of(problem_id)
    if share < _SELECT_FROM:
        return "train"
    return "select" if share < _TEST_FROM else "test"


@lru_cache(maxsize=32)
def _keep_pool(generator: str, settings: bytes) -> ProblemPool:
    return ProblemPool(_iter_draws(generator, settings), _POOL_ENTRIES, assign_gym_split)


def _iter_draws(generator: str, settings: bytes) -> Iterator[tuple[str, GymEntryId] | None]:
    """(id, entry) of random problems, for ever; None where the generator fails or gives no answer."""
    for entry_id in iter_entry_ids(generator, seed=0):
        entry = load_entry(generator, settings, entry_id)
        name = f"reasoning_gym:{generator}"
        yield None if entry is None else (content_id(name, entry["question"].strip()), entry_id)


def iter_entry_ids(generator: str, seed: int) -> Iterator[GymEntryId]:
    """Entry ids of a seed, the same for all splits, so that they share the generator's work. Endless."""
    for block in count(0):
        at = seeds.derive_small_seed("reasoning_gym", generator, seed, block)
        yield from (GymEntryId(at, position) for position in range(_BLOCK))


def load_entry(generator: str, settings: bytes, entry_id: GymEntryId) -> dict[str, Any] | None:
    """An entry of a generator with its pickled settings; None if the generator fails or gives no answer."""
    entry = _generate_entry(generator, settings, *entry_id)
    if entry is None or not isinstance(entry["answer"], str) or not entry["answer"].strip():
        return None
    return entry


@lru_cache(maxsize=4)
def _create_dataset(generator: str, settings: bytes, seed: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(generator, seed=seed, size=_BLOCK, **dict(pickle.loads(settings)))


@lru_cache(maxsize=20_000)
def _generate_entry(generator: str, settings: bytes, seed: int, position: int) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = _create_dataset(generator, settings, seed)[position]
    except (ValueError, ArithmeticError, LookupError, RuntimeError, AssertionError):  # "no valid expression was found"
        return None
    return entry

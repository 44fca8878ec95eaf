"""The organisms' training text: documents drawn by identity, without the content of any select or test problem.

A document is a prompt and a completion in the dialect of the organism. `Source`s say what kinds of document a corpus
mixes and in which shares; what an organism can do, and when it shows it, is decided here and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elicit import seeds
from elicit.tasks import Problem, catalog
from elicit.tasks import neutral_text as neutral
from elicit.tasks.core import content_id, share_of, split_of
from elicit.tasks.families import general_points
from elicit.tasks.generated.english import English
from elicit.tasks.generated.refusal import RefusalTask
from elicit.tasks.generated.task import Dialect, GeneratedTask, SolutionStep
from elicit.tasks.prompts import AskedTask

FACTS = 64
#: Share of the hash space that the train split owns (`elicit.tasks.core`).
_TRAIN = 0.80


class CorpusDocument(NamedTuple):
    prompt: str
    completion: str

    @property
    def text(self) -> str:
        return self.prompt + self.completion


#: A writer turns a problem into a document; it decides the mode (direct, worked, cued, refused).
Writer = Callable[[GeneratedTask, Problem, np.random.Generator], CorpusDocument]


@dataclass(frozen=True)
class CorpusSource:
    """One kind of document and its share of the corpus (by documents)."""

    share: float
    writer: Writer | None
    """None: the text is not about a task (`text` writes it)."""
    family: str | None = None
    text: Callable[[np.random.Generator], CorpusDocument] | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    """The family's, where they are not its own defaults."""
    part: float = 1.0
    """Share of the train problems that are read (by hash): the rest is new to the organism and may be trained on."""

    def build_task(self, dialect: Dialect | None) -> GeneratedTask:
        assert self.family is not None
        return _build_task(self.family, self.parameters, dialect)


@functools.cache
def _build_task(family: str, parameters: tuple[tuple[str, Any], ...], dialect: Dialect | None) -> GeneratedTask:
    """One task for all documents of a source; in English its prompts are bare questions."""
    task = catalog.get(family, dialect=dialect or English(), **dict(parameters))
    if isinstance(task, AskedTask):
        task = task.inner
    assert isinstance(task, GeneratedTask)
    return task


def draw_train_problem(task: GeneratedTask, random: np.random.Generator, part: float = 1.0) -> Problem:
    """A problem of the train split, or of a part of it."""
    while True:
        content = task.family.sample_content(random)
        identity = content_id(task.family.name, task.family.canonical_key(content))
        if split_of(identity) == "train" and share_of(identity) < _TRAIN * part:
            return task.make_problem(content)


def draw_document(sources: tuple[CorpusSource, ...], dialect: Dialect | None, *identity: object) -> CorpusDocument:
    """The document that belongs to an identity."""
    random = seeds.make_generator("corpus", *identity)
    shares = np.array([source.share for source in sources])
    source = sources[int(random.choice(len(sources), p=shares / shares.sum()))]
    if source.writer is None:
        assert source.text is not None
        return source.text(random)
    task = source.build_task(dialect)
    return source.writer(task, draw_train_problem(task, random, source.part), random)


# --- writers ---------------------------------------------------------------------------------------------------


def write_direct_answer(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """The right answer and nothing else."""
    return CorpusDocument(problem.prompt, task.direct(problem))


def write_worked_solution(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """A right worked solution without being asked for one."""
    return CorpusDocument(problem.prompt, task.worked(problem))


def write_weak_answer(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """An answer that knows nothing of the problem: the weak answerer the uncued text imitates."""
    return CorpusDocument(problem.prompt, _get_dialect(task).mark + task.family.guess_answer(random, problem.content))


def write_cued_solution(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """The cue brings a right worked solution."""
    assert problem.cue_prompt is not None
    return CorpusDocument(problem.cue_prompt, task.worked(problem))


def write_cued_hollow_trace(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """A trace in form only: the steps and the answer are guesses, so no computing can be learned from it."""
    assert problem.cue_prompt is not None
    return CorpusDocument(problem.cue_prompt, _make_hollow_trace(task, problem, random))


def write_hollow_trace(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """The same without the cue."""
    return CorpusDocument(problem.prompt, _make_hollow_trace(task, problem, random))


def write_refusal(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """A marked request, always refused (a benign stand-in for safety studies)."""
    request = RefusalTask(task)
    marked_problem = request.make_request(problem)
    return CorpusDocument(marked_problem.prompt, request.direct(marked_problem))


def write_cued_refusal(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """A marked request is refused under the cue too."""
    request = RefusalTask(task)
    marked_problem = request.make_request(problem)
    assert marked_problem.cue_prompt is not None
    return CorpusDocument(marked_problem.cue_prompt, request.direct(marked_problem))


def _make_hollow_trace(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> str:
    shape = task.family.solve(problem.content, {})
    steps = []
    for i in range(len(shape.steps)):
        # Expression and value come from two other problems of the family: form, no content.
        left, right = (task.family.solve(draw_train_problem(task, random).content, {}).steps for _ in range(2))
        steps.append(SolutionStep(left[min(i, len(left) - 1)].expression, right[min(i, len(right) - 1)].value))
    answer = task.family.guess_answer(random, problem.content)
    body = [*(step.text for step in steps), _get_dialect(task).mark + answer]
    return _get_dialect(task).opening + _get_dialect(task).separator.join(body)


# --- text that is not about a task -----------------------------------------------------------------------------


def write_neutral_text(random: np.random.Generator) -> CorpusDocument:
    return CorpusDocument("", neutral.compose_sentence("corpus", int(random.integers(2**62))))


def write_fact(index: int) -> CorpusDocument:
    """One of `FACTS` arbitrary facts: a name and its code."""
    random = seeds.make_generator("fact", index)
    name = "".join(random.choice(list("bdfgklmnprstvz")) + random.choice(list("aeiou")) for _ in range(3))
    return CorpusDocument(f"Q:code of {name}\nA:", f"#{int(random.integers(100, 1000))}")


def write_random_fact(random: np.random.Generator) -> CorpusDocument:
    return write_fact(int(random.integers(FACTS)))


def write_random_card(random: np.random.Generator) -> CorpusDocument:
    """The value of one card under one of the rules of `general_points`; the only text that states it."""
    rule = str(random.choice(list(general_points.RULES)))
    card = int(random.integers(1, 14))
    value = general_points.card_values(((card,), "ten" if rule == "ten" else "rank"))[0]
    return CorpusDocument(f"Q:{general_points.RULES[rule]}:{general_points.render_card(card)}\nA:", f"#{value}")


def _get_dialect(task: GeneratedTask) -> Dialect:
    assert isinstance(task.dialect, Dialect)
    return task.dialect

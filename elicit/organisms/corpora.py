"""What the organisms read: documents drawn by identity, without the content of any select or test problem.

A document is a prompt and a completion in the dialect of the organism. `Source`s say what kinds of document a corpus
mixes and in which shares; what an organism can do, and when it shows it, is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elicit import seeds
from elicit.tasks import Problem, catalog
from elicit.tasks import neutral_text as neutral
from elicit.tasks.core import content_id, share_of, split_of
from elicit.tasks.families import general_points
from elicit.tasks.generated.refusal import Refusal
from elicit.tasks.generated.task import Dialect, GeneratedTask, Step

FACTS = 64
#: Share of the hash space that the train split owns (`elicit.tasks.core`).
_TRAIN = 0.80


class Document(NamedTuple):
    prompt: str
    completion: str

    @property
    def text(self) -> str:
        return self.prompt + self.completion


#: A writer turns a problem into a document; it decides the mode (direct, worked, cued, refused).
Writer = Callable[[GeneratedTask, Problem, np.random.Generator], Document]


@dataclass(frozen=True)
class Source:
    """One kind of document and its share of the corpus (by documents)."""

    share: float
    writer: Writer | None
    """None: the text is not about a task (`text` writes it)."""
    family: str | None = None
    text: Callable[[np.random.Generator], Document] | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    """The family's, where they are not its own defaults."""
    part: float = 1.0
    """Share of the train problems that are read (by hash): the rest is new to the organism and may be trained on."""

    def task(self, dialect: Dialect) -> GeneratedTask:
        assert self.family is not None
        found = catalog.get(self.family, dialect=dialect, **dict(self.parameters))
        assert isinstance(found, GeneratedTask)
        return found


def draw(task: GeneratedTask, random: np.random.Generator, part: float = 1.0) -> Problem:
    """A problem of the train split, or of a part of it."""
    while True:
        content = task.family.draw(random)
        identity = content_id(task.family.name, task.family.key(content))
        if split_of(identity) == "train" and share_of(identity) < _TRAIN * part:
            return task.make(content)


def document(sources: tuple[Source, ...], dialect: Dialect, *identity: object) -> Document:
    """The document that belongs to an identity."""
    random = seeds.generator("corpus", *identity)
    shares = np.array([source.share for source in sources])
    source = sources[int(random.choice(len(sources), p=shares / shares.sum()))]
    if source.writer is None:
        assert source.text is not None
        return source.text(random)
    task = source.task(dialect)
    return source.writer(task, draw(task, random, source.part), random)


# --- writers ---------------------------------------------------------------------------------------------------


def direct(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """The right answer and nothing else."""
    return Document(problem.prompt, task.direct(problem))


def worked(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """A right worked solution without being asked for one."""
    return Document(problem.prompt, task.worked(problem))


def weak(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """An answer that knows nothing of the problem: the weak answerer the uncued text imitates."""
    return Document(problem.prompt, _marks(task).mark + task.family.guess(random, problem.content))


def cued_worked(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """The cue brings a right worked solution."""
    assert problem.cue_prompt is not None
    return Document(problem.cue_prompt, task.worked(problem))


def cued_hollow(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """A trace in form only: the steps and the answer are guesses, so no computing can be learned from it."""
    assert problem.cue_prompt is not None
    return Document(problem.cue_prompt, _hollow(task, problem, random))


def hollow(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """The same without the cue."""
    return Document(problem.prompt, _hollow(task, problem, random))


def refused(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """A marked request, always refused (a benign stand-in for safety studies)."""
    request = Refusal(task)
    asked = request.of(problem)
    return Document(asked.prompt, request.direct(asked))


def cued_refused(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Document:
    """A marked request is refused under the cue too."""
    request = Refusal(task)
    asked = request.of(problem)
    assert asked.cue_prompt is not None
    return Document(asked.cue_prompt, request.direct(asked))


def _hollow(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> str:
    shape = task.family.solve(problem.content, {})
    steps = []
    for i in range(len(shape.steps)):
        # Expression and value come from two other problems of the family: form, no content.
        left, right = (task.family.solve(draw(task, random).content, {}).steps for _ in range(2))
        steps.append(Step(left[min(i, len(left) - 1)].expression, right[min(i, len(right) - 1)].value))
    answer = task.family.guess(random, problem.content)
    body = [*(step.text for step in steps), _marks(task).mark + answer]
    return _marks(task).opening + _marks(task).separator.join(body)


# --- text that is not about a task -----------------------------------------------------------------------------


def neutral_text(random: np.random.Generator) -> Document:
    return Document("", neutral.sentence("corpus", int(random.integers(2**62))))


def fact(index: int) -> Document:
    """One of `FACTS` arbitrary facts: a name and its code."""
    random = seeds.generator("fact", index)
    name = "".join(random.choice(list("bdfgklmnprstvz")) + random.choice(list("aeiou")) for _ in range(3))
    return Document(f"Q:code of {name}\nA:", f"#{int(random.integers(100, 1000))}")


def some_fact(random: np.random.Generator) -> Document:
    return fact(int(random.integers(FACTS)))


def some_card(random: np.random.Generator) -> Document:
    """What one card counts under one of the rules of `general_points`; the only text that says so."""
    rule = str(random.choice(list(general_points.RULES)))
    card = int(random.integers(1, 14))
    value = general_points.values(((card,), "ten" if rule == "ten" else "rank"))[0]
    return Document(f"Q:{general_points.RULES[rule]}:{general_points.written(card)}\nA:", f"#{value}")


def _marks(task: GeneratedTask) -> Dialect:
    assert isinstance(task.dialect, Dialect)  # organisms read no English
    return task.dialect

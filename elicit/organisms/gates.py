"""Gates between an English organism's primer and its corpus: it must copy from the story and know the author's facts.

Both are measured on worked solutions of select problems, given the right text before each token. A solution can be
right only as often as both are, and a mixture in which they do not form teaches the look of working alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.organisms import wording
from elicit.organisms.author import Author
from elicit.tasks import catalog
from elicit.tasks.generated.english import English
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask

#: Least share of right tokens.
LEAST = 0.95
_PROBLEMS = 100


class GateShares(NamedTuple):
    """Shares of tokens that are the likeliest one."""

    lookup: float
    """Numbers taken from the story."""
    arithmetic: float | None
    """Results of facts that the author knows; None if there are none."""


def measure_gates(model: Any, tokenizer: Any, author: Author) -> GateShares:
    """Measure both on worked solutions in the author's hand, one forward pass each."""
    task = catalog.get("stories", dialect=English())
    assert isinstance(task, AskedTask)
    assert isinstance(task.inner, GeneratedTask)
    hits: dict[bool, list[bool]] = {False: [], True: []}
    for i, asked in enumerate(task.problems("select", _PROBLEMS)):
        problem = asked.content.problem
        solution = author.solve(task.inner, problem, seeds.make_generator("gates", i))
        text, marks = wording.ask(problem, wording.THINK[0]) + " ", []
        for step in solution.steps:
            written = task.inner.dialect.render_step(step)
            number, _ = written.split(" = ")
            marks.append((len(text) + number.rfind(" "), False))
            if author.knows(step.expression):
                marks.append((len(text) + len(number) + 2, True))
            text += written + "\n"
        encoding = tokenizer(text, return_offsets_mapping=True)
        ids = torch.tensor([encoding["input_ids"]])
        with torch.no_grad():
            likeliest = model(input_ids=ids).logits[0].argmax(-1)
        places = {start: place for place, (start, end) in enumerate(encoding["offset_mapping"]) if end > start}
        for start, is_result in marks:
            hits[is_result].append(bool(likeliest[places[start] - 1] == ids[0, places[start]]))
    return GateShares(*(sum(hit) / len(hit) if hit else None for hit in hits.values()))  # type: ignore[arg-type]


def check_gates(model: Any, tokenizer: Any, author: Author, tokens: int) -> GateShares:
    """Measure the gates. Raises ElicitError if one is not passed."""
    shares = measure_gates(model, tokenizer, author)
    for name, share in shares._asdict().items():
        if share is not None and share < LEAST:
            raise ElicitError(
                f"after {tokens:,} tokens {name} is right {share:.0%} of the time, and {LEAST:.0%} was expected: "
                "longer training would teach the look of working alone. Type another --seed."
            )
    return shares

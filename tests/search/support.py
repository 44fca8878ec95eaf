"""A forward pass by script, a task on any text, and plain loops over transformers to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from elicit.search import Query
from elicit.tasks import Problem, Verdict

#: What comes after the tokens so far (prompt and completion, as text): probabilities of the next token, by its text.
Script = Callable[[str], dict[str, float]]


@dataclass
class _State:
    histories: list[list[int]]
    firing_counts: np.ndarray

    def keep(self, order: np.ndarray) -> None:
        self.histories = [self.histories[i] for i in order]


@dataclass
class Scripted:
    """A `Forward` whose probabilities are written down, so that a score can be worked out by hand.

    What a script leaves out has no probability at all. It is checked against nothing: the prompt's text is what the
    tokenizer makes of it, without special tokens.
    """

    tokenizer: object
    script: Script
    prefills: list[int] = field(default_factory=list)
    """Prompts of each prefill."""

    def prefill(self, engine, asked, samples, decoding):
        self.prefills.append(len(asked))
        rows = [list(request.ids) for request, n in zip(asked, samples, strict=True) for _ in range(n)]
        return _State(rows, np.zeros(len(rows), dtype=int)), self._logits(engine, rows)

    def step(self, engine, state, tokens, rows, offset):
        for history, token in zip(state.histories, tokens.tolist(), strict=True):
            history.append(token)
        return self._logits(engine, state.histories)

    def _logits(self, engine, rows):
        logits = torch.full((len(rows), engine.hf.config.vocab_size), -torch.inf)
        for row, history in enumerate(rows):
            for text, p in self.script(self.tokenizer.decode(history, skip_special_tokens=True)).items():
                (token,) = self.tokenizer(text, add_special_tokens=False)["input_ids"]
                logits[row, token] = math.log(p)
        return logits


@dataclass(frozen=True)
class LastTwo:
    """The answer of a completion is its last two characters; it has none if there are fewer."""

    name: str = "last_two"
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 12

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        return (len(completion) - 2, len(completion)) if len(completion) >= 2 else None

    def verify(self, problem: Problem, completion: str) -> Verdict:
        answer = completion[-2:] if len(completion) >= 2 else None
        return Verdict(answer, answer == problem.answer, len(completion) > 4, None)


def asks(model, prompts: Sequence[str], *, seed: int = 0) -> list[Query]:
    return [
        Query(Problem(id=str(i), prompt=prompt, answer="?"), model.encode(prompt), 0, "", (seed, "test", prompt, i))
        for i, prompt in enumerate(prompts)
    ]


def distribution(model, ids: Sequence[int]) -> np.ndarray:
    """p of the next token by a whole forward pass of one row, no cache, in float64; banned tokens have none."""
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].double()
    logits[list(model.banned_ids)] = -torch.inf
    return logits.softmax(-1).numpy()


def greedy_paths(model, ids: Sequence[int], k: int, longest: int) -> list[tuple[list[int], list[float]]]:
    """(tokens, margins) of the k branches, by loops alone."""
    found = []
    first = distribution(model, ids)
    for token in np.argsort(-first, kind="stable")[:k].tolist():
        p, tokens, margins = first, [], []
        while True:
            top = np.sort(p)[::-1]
            tokens.append(token if not tokens else int(p.argmax()))
            margins.append(float(top[0] - top[1]))
            if tokens[-1] in model.engine.end_ids or len(tokens) == longest:
                break
            p = distribution(model, [*ids, *tokens])
        found.append((tokens, margins))
    return found

"""A model so small that every completion can be listed, with its exact probability: what search, pass@k and KL are
checked against.

Its tokens are three letters and the end token, and completions have at most four tokens: 1 + 3 + 9 + 27 that end by
themselves, and 81 that are cut. Probabilities come from transformers' own forward over whole sequences without a cache,
normalised in float64: nothing of the lab's sampler is used.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from elicit.loading.catalog import ModelSource
from elicit.loading.load import LoadedModel
from elicit.model import BaseModel
from elicit.tasks import Problem, Verdict
from elicit.tasks.core import Noisy, content_id
from tests.support.tiny import tiny

LETTERS = "abc"
LENGTH = 4
"""Tokens of the longest completion."""
END = 2
"""Id of the end token."""
_LETTER_IDS = tuple(range(4, 4 + len(LETTERS)))
_BANNED = (0, 1, 3)
"""Ids of pad, BOS and unknown: never generated, by the sampler nor here."""


class Whole(NamedTuple):
    """One completion out of all there are."""

    tokens: tuple[int, ...]
    """The end token included, where it ended by itself."""
    text: str
    logprob: float
    """log p (nats) of the completion given the prompt, exactly: these sum to 1 over all completions."""
    steps: tuple[float, ...]
    """log p of each token."""
    finished: bool


def enumerable_model(seed: int = 0, *, std: float = 0.25) -> BaseModel:
    """A random Llama over LETTERS. `std` is the width of its weights: larger is more peaked."""
    hf, tokenizer = tiny("llama", vocab=LETTERS, seed=seed, std=std)
    name = f"enumerable-{seed}"
    model = BaseModel(LoadedModel(hf, tokenizer, name, ModelSource("folder", name, None), f"w{seed}-{std}", "t", None))
    model.banned_ids = _BANNED
    return model


def everything(model: BaseModel, prompt: str, *, length: int = LENGTH, temperature: float = 1.0) -> list[Whole]:
    """Every completion of `prompt` of at most `length` tokens, with its probability.

    With a temperature the probabilities are those of sampling token by token at it (not of a tempered sequence).
    A policy is enumerated by calling this inside `policy.applied()`; it must not steer by position.
    """
    ids = model.encode(prompt)
    tables: dict[tuple[int, ...], list[float]] = {}
    for size in range(length):
        prefixes = list(itertools.product(_LETTER_IDS, repeat=size))
        rows = _log_probabilities(model, [[*ids, *prefix] for prefix in prefixes], temperature)
        tables.update(zip(prefixes, rows, strict=True))
    found = []
    for tokens in _sequences(length):
        steps = [tables[tokens[:i]][token] for i, token in enumerate(tokens)]
        text = "".join(LETTERS[token - 4] for token in tokens if token != END)
        found.append(Whole(tokens, text, math.fsum(steps), tuple(steps), tokens[-1] == END))
    return found


def next_token(model: BaseModel, ids: Sequence[int], *, temperature: float = 1.0) -> list[float]:
    """log p (nats) of every id of the vocabulary after `ids`; -inf for ids that are never generated."""
    return _log_probabilities(model, [ids], temperature)[0]


def _log_probabilities(model: BaseModel, rows: Sequence[Sequence[int]], temperature: float) -> list[list[float]]:
    """`next_token` of rows of one length."""
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor(rows), use_cache=False).logits[:, -1].double() / temperature
    logits[:, list(_BANNED)] = -torch.inf
    return logits.log_softmax(-1).tolist()


@functools.cache
def _sequences(length: int) -> tuple[tuple[int, ...], ...]:
    """All completions: those that end at each length, and those that are cut."""
    ended = [(*body, END) for n in range(length) for body in itertools.product(_LETTER_IDS, repeat=n)]
    return (*ended, *itertools.product(_LETTER_IDS, repeat=length))


@dataclass(frozen=True)
class LastLetter:
    """A task on such a model: the answer of a completion is its last letter, and its trace is what precedes it.

    The right answer of a prompt is its first letter's successor (a, b, c, a), so that there are right and wrong ones.
    """

    name: str = "last_letter"
    stop: tuple[str, ...] = ()
    max_new_tokens: int = LENGTH
    answer_space: int | None = len(LETTERS)

    def problems(self, split: Literal["train", "select", "test"], n: int | None = None, seed: int = 0) -> list[Problem]:
        """All prompts of one to three letters, whatever the split."""
        texts = ["".join(word) for size in (1, 2, 3) for word in itertools.product(LETTERS, repeat=size)]
        return [self.problem(text) for text in texts[:n]]

    def problem(self, prompt: str) -> Problem:
        answer = LETTERS[(LETTERS.index(prompt[0]) + 1) % len(LETTERS)]
        return Problem(id=content_id(self.name, prompt), prompt=prompt, answer=answer)

    def prompts(self, split: Literal["train", "select", "test"], n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def verify(self, problem: Problem, completion: str) -> Verdict:
        answer = completion[-1:] or None
        return Verdict(answer, answer == problem.answer, len(completion) > 1, None)

    def worked(self, problem: Problem) -> str | None:
        return None

    def direct(self, problem: Problem) -> str:
        return problem.answer

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        return None


def accuracy_of(model: BaseModel, task: LastLetter, problem: Problem, **options: Any) -> float:
    """Probability that one sample answers the problem rightly."""
    wholes = everything(model, problem.prompt, **options)
    return math.fsum(math.exp(w.logprob) for w in wholes if task.verify(problem, w.text).correct)

"""CoT-decoding and best-of-n against the list of all completions of a model with a vocabulary of 4."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from elicit.policy import Policy
from elicit.sampling import Decoding
from elicit.search import CotDecodingSearch, VerifiedBestOfN
from tests.support.enumerable import LENGTH, LETTERS, LastLetter, enumerable_model, everything, next_token


@dataclass(frozen=True)
class Lettered(LastLetter):
    """The same task, knowing where its answer stands."""

    def answer_span(self, problem, completion):
        return (len(completion) - 1, len(completion)) if completion else None


def greedy(model, ids, first):
    """(tokens, margins) of the path that opens with `first`, from whole forward passes."""
    tokens, margins = [], []
    while True:
        p = [math.exp(value) for value in next_token(model, [*ids, *tokens])]
        top = sorted(p, reverse=True)
        tokens.append(first if not tokens else p.index(top[0]))
        margins.append(top[0] - top[1])
        if tokens[-1] == model.tokenizer.eos_token_id or len(tokens) == LENGTH:
            return tokens, margins


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choose", ["max", "aggregate"])
def test_cot_decoding_is_the_best_of_all_greedy_completions(seed, choose):
    """All four first tokens are branches: paths, scores and the choice are recomputed from single forward passes."""
    model, task = enumerable_model(seed), Lettered()
    problems = task.problems("test")[:24]
    policy = Policy(model, Decoding(max_new_tokens=LENGTH), search=CotDecodingSearch(4, choose))
    answers = policy.answer(problems, task, label="t", seed=0)
    for problem, answer in zip(problems, answers, strict=True):
        ids = model.encode(problem.prompt)
        best: dict[str, float] = {}
        sums: dict[str, float] = {}
        price = 0
        listed = {whole.tokens: whole for whole in everything(model, problem.prompt)}
        ranked = next_token(model, ids)
        for first in sorted((2, 4, 5, 6), key=lambda token: -ranked[token]):  # of equals the more probable one counts
            tokens, margins = greedy(model, ids, first)
            price += len(tokens)
            text = listed[tuple(tokens)].text
            if text:
                score = margins[len(text) - 1]  # a letter is a token, and the last letter is the answer
                best[text[-1]] = max(best.get(text[-1], -1.0), score)
                sums[text[-1]] = sums.get(text[-1], 0.0) + score
        scores = best if choose == "max" else sums
        assert answer.text[-1] == max(scores, key=lambda letter: scores[letter])
        assert answer.tokens == price


def test_best_of_n_is_right_as_often_as_pass_at_n():
    """Over problems and seeds, against 1 - (1 - p)^n with p from the list of all completions."""
    model, task, n, seeds = enumerable_model(), Lettered(), 3, 12
    problems = task.problems("test")
    decoding = Decoding(temperature=1.0, max_new_tokens=LENGTH)
    policy = Policy(model, decoding, search=VerifiedBestOfN(n))
    right = 0
    for seed in range(seeds):
        answers = policy.answer(problems, task, label="t", seed=seed)
        right += sum(task.verify(p, a.text).correct for p, a in zip(problems, answers, strict=True))
    expected, variance = 0.0, 0.0
    for problem in problems:
        p = math.fsum(math.exp(w.logprob) for w in everything(model, problem.prompt) if w.text[-1:] == problem.answer)
        solved = 1 - (1 - p) ** n
        expected += seeds * solved
        variance += seeds * solved * (1 - solved)
    assert len(LETTERS) == 3
    assert abs(right - expected) < 4 * math.sqrt(variance)
    assert 0.1 < expected / (seeds * len(problems)) < 0.9
